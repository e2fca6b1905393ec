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


@test("a page of connections: the oldest first, of a user or a topic; lag and what waits are what the nodes told since they were asked")
def pages(db):
    user, topic = db.user(), db.topic()
    db.publish(topic)
    node, ids = connections(db, *[user] * 5, topics=[db.topic_id(topic)])
    ask = lambda **more: call(db, "select connections, next, fresh from tidings.connections(%s)" % ", ".join(
        f"{k} => {v}" for k, v in {"p_user": f"'{user}'", "p_topic": "null", "p_limit": 2, **more}.items()))
    got, after = [], None
    while True:
        rows, after, fresh = ask(**({"p_after": f"'{after}'"} if after else {}))
        got += [(c["connection_id"], c["topics"], c["lag"], c["waiting_bytes"]) for c in json.loads(rows)]
        equal(fresh, "f", "whether all have told, where none was asked")
        if not after:
            break
    equal(got, [(c, [topic], None, None) for c in sorted(ids)], "all pages, of one moment by id")
    equal(json.loads(ask(p_user="null", p_topic=f"'{topic}'", p_limit=9)[0])[4]["connection_id"], sorted(ids)[4], "of the topic")
    heard = controls(db)
    asked = call(db, f"select tidings.ask_reports(array{ids[:2]})")[0]
    slow = call(db, "select tidings.ask_slow()")[0]
    equal(heard(), [f"report {ids[0]} {ids[1]}", "report_slow"], "control")
    db.sidecar(f"select tidings.report('{node}', array['{ids[0]}', '{ids[1]}'], array[null, null], array[null, null], array[7, 0], array[0, 0])")
    rows = {c["connection_id"]: c["lag"] for c in json.loads(ask(p_asked=f"'{asked}'", p_limit=9)[0])}
    equal(rows, {c: {ids[0]: 7, ids[1]: 0}.get(c) for c in ids}, "lag")
    equal([c["connection_id"] for c in json.loads(ask(p_asked=f"'{slow}'", p_slow="true", p_limit=9)[0])], [ids[0]], "those that lag")


@test("drain: for an admin alone, and the node is told; whether it drains is what its heartbeat says")
def drain(db):
    node, heard = db.node(), controls(db)
    ask = lambda role, n=node, order="true": call(db, f"select * from tidings.drain('{role}', '{n}', {order})")
    equal([ask("user")[0], ask("service")[0], ask("admin", uuid.uuid4())[0], ask("admin", "x")[0]], ["forbidden", "forbidden", "not_found", "not_found"], "others")
    equal((ask("admin"), ask("admin", order="false")), ((["ok", "f", "0"]),) * 2, "before it has begun")
    equal(heard(), [f"drain {node}"], "control")
    db.sidecar(f"select tidings.heartbeat('{node}', now()::text, 3, 3, '{{}}', '{{}}', '{{}}', true)")
    equal(ask("admin", order="false"), ["ok", "t", "3"], "after its heartbeat")
    bury(db, node)
    equal(ask("admin")[0], "not_found", "of one that is gone")


@test("operations are told to those who watch, by the node that has been there longest; where nobody watches nothing is")
def operations(db):
    topic, listener = "tidings/operations", db.session("tidings_sidecar")
    listener.listen("ephemeral")
    db.sql("update tidings.node set heartbeat_at = '-infinity'")
    old, new = db.node(), db.node()
    db.sql(f"update tidings.node set started_at = now() - interval '1 day' where id = '{old}'")
    tell = lambda n: db.sidecar(f"select tidings.tell_operations('{n}')")
    tell(old)
    equal(listener.notifications("ephemeral"), [], "where nobody watches")
    equal(db.sidecar(f"select outcome from tidings.attach('{{root}}', '{{admin}}', '{{{topic}}}')"), [["ok"]], "an admin")
    for role in ("user", "clinician", "service"):
        equal(db.sidecar(f"select outcome from tidings.attach('{{root}}', '{{{role}}}', '{{{topic}}}')"), [["forbidden"]], role)
    db.flush(new, presence=[(db.topic_id(topic), 1)])
    tell(new)
    equal(listener.notifications("ephemeral"), [], "by another node")
    tell(old)
    told, = listener.notifications("ephemeral")
    data = json.loads(told.split(" ", 3)[3])["data"]
    equal((data["nodes_count"], [n["id"] for n in data["nodes"]]), (2, [old, new]), "what is told")
    db.sql("insert into tidings.node select gen_random_uuid(), now(), now(), 0, 0 from generate_series(1, 300)")
    tell(old)
    told, = listener.notifications("ephemeral")
    data = json.loads(told.split(" ", 3)[3])["data"]
    equal((data["nodes_count"], len(data["nodes"])), (302, 40), "of many nodes")
    assert len(told) < 7500, f"{len(told)} bytes"
    db.sql("delete from tidings.node; delete from tidings.presence")
