"""Management: connections that are asked after, told to go, told to come again."""
import json
import uuid

from harness import equal, test


def connections(db, *users, topics=None):
    """A connection for each user, on a node of its own: (node, [connection])"""
    node, ids = db.node(), [str(uuid.uuid4()) for _ in users]
    db.flush(node, opened=[(c, t, u) for c, u in zip(ids, users) for t in (topics or [0])])
    return node, ids


def call(db, sql):
    return db.sql(sql, user="tidings_publisher")[0]


def controls(db):
    listener = db.session("tidings_sidecar")
    listener.listen("control")
    return lambda: listener.notifications("control")


def bury(db, node):
    db.sql(f"update tidings.node set heartbeat_at = now() - interval '16 s' where id = '{node}'")


@test("disconnect: one's own and an admin any, the node is told; others' is forbidden, one that is not there not found")
def disconnect(db):
    user, heard = db.user(), controls(db)
    node, (a, b) = connections(db, user, None)
    ask = lambda who, role, c: call(db, f"select tidings.disconnect('{who}', '{role}', '{c}')")[0]
    equal([ask(user, "user", a), ask("root", "admin", a), ask("other", "user", a), ask("svc", "service", a), ask(user, "user", b)],
          ["ok", "ok", "forbidden", "forbidden", "forbidden"], "outcomes")
    equal([ask("root", "admin", uuid.uuid4()), ask("root", "admin", "x' or 1"[:1])], ["not_found"] * 2, "not there")
    equal(heard(), [f"disconnect {a}"] * 2, "control")
    bury(db, node)
    equal(ask("root", "admin", a), "not_found", "of a node that is gone")


@test("reconnect: all of a user's connections on all nodes that live, each counted once")
def reconnect(db):
    user, heard = db.user(), controls(db)
    topics = [db.topic() for _ in range(2)]
    for t in topics:
        db.publish(t)
    connections(db, user, user, "other", topics=[db.topic_id(t) for t in topics]), connections(db, user)
    dead, _ = connections(db, user)
    bury(db, dead)
    ask = lambda who, role, target: call(db, f"select * from tidings.reconnect_user('{who}', '{role}', '{target}')")
    equal((ask(user, "user", user), ask("root", "admin", user)), (["ok", "3"],) * 2, "answers")
    equal((ask("other", "user", user), ask("svc", "service", user), ask("root", "admin", "nobody")), (["forbidden", ""], ["forbidden", ""], ["ok", "0"]), "others")
    equal(heard(), [f"reconnect {user}"] * 2 + ["reconnect nobody"], "control")


@test("the health of a connection: what is written down of it, and what its node reports when asked")
def health(db):
    user = db.user()
    topics = [f"health/{user}", f"chats/{user}", f"notifications/{user}", "custom/1"]
    for t in topics:
        db.publish(t)
    node, (c,) = connections(db, user, topics=[0] + [db.topic_id(t) for t in topics])
    ask = lambda who=user, role="user", asked="null": call(db, f"select * from tidings.connection_health('{who}', '{role}', '{c}', {asked})")
    outcome, text, fresh = ask()
    equal((outcome, fresh), ("ok", "f"), "outcome")
    got = json.loads(text)
    equal((got["connection_id"], sorted(got["health"].pop("subscriptions"))), (c, ["chat", "custom/1", "health_updates", "notifications"]), "subscriptions")
    equal(got["health"], {"state": "authenticated", "user_id": user, "connected_at": "2026-01-01T00:00:00.000Z", "last_activity": "2026-01-01T00:00:00.000Z",
                          "retry_count": 0, "recovery_attempts": 0, "is_healthy": True, "transport": "websocket", "node": node}, "before it was asked")
    heard = controls(db)
    asked = call(db, f"select tidings.ask_reports(array['{c}'])")[0]
    equal(heard(), [f"report {c}"], "control")
    equal(ask(asked=f"'{asked}'")[2], "f", "fresh before the report")
    db.sidecar(f"select tidings.report('{node}', '{{{c},{uuid.uuid4()}}}', '{{2026-02-02T00:00:00Z,null}}', '{{error,null}}')")
    outcome, text, fresh = ask("root", "admin", f"'{asked}'")
    got = json.loads(text)["health"]
    equal((outcome, fresh, got["state"], got["last_activity"], got["is_healthy"]), ("ok", "t", "error", "2026-02-02T00:00:00.000Z", False), "after it")
    db.sidecar(f"select tidings.report('{uuid.uuid4()}', '{{{c}}}', '{{2027-02-02T00:00:00Z}}', '{{x}}')")
    equal(json.loads(ask()[1])["health"]["state"], "error", "by a node that does not have it")
    equal((ask("other")[0], ask("svc", "service")[0]), ("forbidden",) * 2, "others")
    db.flush(node, closed=[(c, t) for t in [0] + [db.topic_id(t) for t in topics]])
    equal(ask("root", "admin"), ["not_found", "", ""], "when it has gone")


@test("a connection that listens to nothing is counted, and is no client of any topic")
def idle(db):
    count = lambda: int(db.one("select tidings.status()->>'active_connections'"))
    before, user = count(), db.user()
    node, (c,) = connections(db, user)
    equal(count(), before + 1, "connections")
    equal(call(db, f"select (health->'health'->'subscriptions')::text from tidings.connection_health('{user}', 'user', '{c}')"), ["[]"], "subscriptions")


@test("act says so when there is no such type, and nobody in particular may do nothing")
def no_type(db):
    equal([db.act(db.user(), t).outcome for t in ("nope", "")], ["invalid"] * 2, "no such type")
    equal([db.act(None, t).outcome for t in ("get_health", "get_notifications")], ["forbidden"] * 2, "anonymous")
