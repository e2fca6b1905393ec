"""The routes of the operator's page, and what it is fed by: rights, what each shows and does, nodes that are drained, tidings/operations."""
import errno
import importlib
import signal
import socket
import urllib.parse
import uuid

from harness import RawClient, equal, test, wait_until
from live import count, person

topics = importlib.import_module("48_topics")
live_http = importlib.import_module("22_live_http")

ROUTES = (("GET", "/ws/connections"), ("GET", "/ws/topics"), ("GET", "/ws/outbox"), ("POST", "/ws/outbox/failed/retry"), ("DELETE", "/ws/outbox/failed"),
          ("POST", "/ws/topic/shop/1/revoke?user=456"), ("POST", f"/ws/node/{uuid.uuid4()}/drain"))
EVENTS = {"/ws/outbox/failed/retry": "manage_outbox_retry", "/ws/outbox/failed": "manage_outbox_drop", "/ws/topic/shop/1/revoke": "manage_revoke",
          ROUTES[-1][1]: "manage_drain"}
WATCHED = "tidings/operations"


def admin(s):
    return s.token("root", role="admin")


def ask(s, path, api=None, **query):
    return (api or s.api).get(f"{path}?{urllib.parse.urlencode(query)}", admin(s)).want(200)


def closed(port):
    with socket.socket() as connection:
        return connection.connect_ex(("127.0.0.1", port)) == errno.ECONNREFUSED


def delete(s, path):
    return s.api.request("DELETE", path, None, admin(s))


def listen(s, user, *names, server=None, role=None):
    return topics.connect(s, server or s.node1, names, s.token(user, role=role))


def connection(s, client_id, **query):
    return next((c for c in ask(s, "/ws/connections", **query)["connections"] if c["connection_id"] == client_id), None)


@test("what operators see and do is for admins alone: 401 without a token, 403 for others, and an audit line of what was to be done")
def _(s):
    who = person(s)
    for method, path in ROUTES:
        body = "" if method == "POST" else None
        s.api.request(method, path, body).want(401)
        for role in (None, "clinician", "service"):
            s.api.request(method, path, body, s.token(who, role=role)).want(403)
        event = EVENTS.get(path.partition("?")[0])
        if event:
            assert live_http.audit_lines(s, event=event, user=who, outcome="refused"), f"no audit line of {event}"


@test("what is wrong in a question of an operator is told by its field, and nothing is done")
def _(s):
    for path, field in (("/ws/connections?limit=0", "limit"), ("/ws/connections?limit=101", "limit"), ("/ws/connections?topic=a%20b", "topic"),
                        ("/ws/connections?user=", "user"), (f"/ws/connections?user={'x' * 129}", "user"), ("/ws/connections?after=17", "after"),
                        ("/ws/connections?after=1.x", "after"), (f"/ws/connections?after=99999999999999999999.{uuid.uuid4()}", "after"),
                        ("/ws/connections?slow=yes", "slow"), ("/ws/topics?by=name", "by"), ("/ws/topics?by=lag&by=rate", "by"), ("/ws/outbox?failed=2", "failed")):
        equal([e["field"] for e in s.api.get(path, admin(s)).want(422)["errors"]], [field], path)
    for path in ("/ws/topic/shop/1/revoke", "/ws/topic/shop/1/revoke?user=456&everyone=1", "/ws/topic/shop/1/revoke?anonymous=0"):
        equal([e["field"] for e in s.api.post(path, "", admin(s)).want(422)["errors"]], ["user"], path)
    s.api.post("/ws/topic/a%20b/revoke?user=456", "", admin(s)).want(404)
    s.api.post("/ws/node/x/drain", "", admin(s)).want(404)
    s.api.post(f"/ws/node/{uuid.uuid4()}/drain", "", admin(s)).want(404)
    for path in ("/ws/outbox/17000000", "/ws/outbox/x%27"):
        delete(s, path).want(404)
        s.api.post(f"{path}/retry", "", admin(s)).want(404)


@test("connections: those of a user, of a topic, page by page; each with its topics, its node and its lag")
def _(s):
    who, topic = f"root-{uuid.uuid4()}", f"desk/{uuid.uuid4()}"
    with s.node() as other, listen(s, who, topic, f"health/{who}", role="admin") as one, listen(s, who, topic, server=other, role="admin") as two:
        wait_until(lambda: count(s, "connection", f"user_id = '{who}'") == 3, "the connections to be known")
        of_user = ask(s, "/ws/connections", user=who)
        equal([(c["connection_id"], c["user_id"], c["transport"], c["topics"], c["lag"], c["waiting_bytes"]) for c in of_user["connections"]],
              [(one.id, who, "websocket", [topic, f"health/{who}"], 0, 0), (two.id, who, "websocket", [topic], 0, 0)], "of the user")
        equal((of_user["next"], len({c["node"] for c in of_user["connections"]})), (None, 2), "the end, and nodes")
        first = ask(s, "/ws/connections", topic=topic, limit=1)
        second = ask(s, "/ws/connections", topic=topic, limit=1, after=first["next"])
        third = ask(s, "/ws/connections", topic=topic, limit=1, after=second["next"])
        equal([[c["connection_id"] for c in page["connections"]] for page in (first, second, third)], [[one.id], [two.id], []], "pages")
        equal(third["next"], None, "after the last")
        equal(ask(s, "/ws/connections", user="nobody/at:all"), {"connections": [], "next": None}, "of nobody")


@test("a connection that reads nothing is found by slow=1, with what waits for it; one that reads is not")
def _(s):
    topic = f"desk/{uuid.uuid4()}"
    path = topics.path("ws", [topic], token=s.token("root", role="admin"))
    with RawClient(s.node1.port, path, rcvbuf=4096) as slow, listen(s, "root", topic, role="admin") as quick:
        slow_id = slow.next()["data"]["connection_id"]
        for _n in range(60):
            s.api.post("/ws/publish", {"topic": topic, "type": "note", "data": "x" * 200000}, s.service()).want(200)
            quick.next()
        found = wait_until(lambda: connection(s, slow_id, topic=topic, slow=1), "the one that reads nothing")
        assert found["lag"] > 0 or found["waiting_bytes"] > 0, found
        equal(connection(s, quick.id, topic=topic, slow=1), None, "the one that reads")


@test("topics by rate, by lag and by clients")
def _(s):
    name = f"desk/{uuid.uuid4()}"
    with listen(s, "root", name, role="admin") as client:
        for _n in range(3):
            s.api.post("/ws/publish", {"topic": name, "type": "note", "data": {}}, s.service()).want(200)
            client.next()
        for by, member, value in (("rate", "per_minute", 3), ("clients", "clients", 1), ("lag", "last_seq", 3)):
            found = [t for t in ask(s, "/ws/topics", by=by, limit=100)["topics"]]
            assert by == "lag" or [t[member] for t in found] == sorted((t[member] for t in found), reverse=True), f"the order by {by}: {found}"
            if by != "lag":
                equal([t[member] for t in found if t["topic"] == name], [value], f"{member} by {by}")


@test("the history of any topic is for who may read it, and counts for nobody as having been sent anything")
def _(s):
    who, other = person(s), person(s)
    topic = f"health/{who}"
    s.api.post("/ws/publish", [{"topic": topic, "type": "note", "data": n} for n in range(3)], s.service()).want(200)
    first = s.api.get(f"/ws/history?topic={topic}&limit=2", admin(s)).want(200)
    equal(([m["data"] for m in first["messages"]], first["recovered"]), ([1, 2], True), "the newest")
    s.api.post("/ws/publish", {"topic": topic, "type": "note", "data": 3}, s.service()).want(200)
    then = s.api.get(f"/ws/history?topic={topic}&since={first['cursor']}", s.token(who)).want(200)
    equal([m["data"] for m in then["messages"]], [3], "what came after")
    s.api.get(f"/ws/history?topic={topic}", s.token(other)).want(403)
    s.api.get(f"/ws/history?topic={topic}").want(401)
    for query in ("", "?topic=", "?topic=a%20b", "?topic=diagnosis/0123"):
        equal([e["field"] for e in s.api.get(f"/ws/history{query}", admin(s)).want(422)["errors"]], ["topic"], query)
    with listen(s, who, topic) as client:
        equal([m["data"] for m in topics.unpack(client, 4)], [0, 1, 2, 3], "what its user is sent")


@test("revoke ends one user's subscription to a topic, and leaves an audit line")
def _(s):
    who, topic = person(s), f"health/{person(s)}"
    s.sql(f"insert into tidings.health_grant values ('{topic.partition('/')[2]}', '{who}')")
    with listen(s, who, topic, role="clinician") as client, listen(s, topic.partition("/")[2], topic) as owner:
        reply = s.api.post(f"/ws/topic/{topic}/revoke?user={who}", "", admin(s)).want(200)
        equal(reply, {"status": "revoked", "topic": topic, "user_id": who}, "reply")
        equal(client.closed()[0], 1008, "the close")
        s.api.post("/ws/publish", {"topic": topic, "type": "note", "data": {}}, s.service()).want(200)
        equal(owner.next()["type"], "note", "what the owner gets")
        assert live_http.audit_lines(s, event="manage_revoke", user="root", topic=topic, outcome="ok")


@test("what was given up is listed first, with the error; retry sends it on its way, drop forgets it")
def _(s):
    name = f"desk/{uuid.uuid4()}"
    ids = [r[0] for r in s.sql(f"insert into tidings.outbox (deliver_at, topic, body, attempts, last_error, failed_at) select now(), '{name}', "
                               "tidings.message_text('note', '" + name + "', null, 'data', to_json(n)), 10, '22P02 <b>', now() from generate_series(1, 3) n returning id")]
    found = [o for o in ask(s, "/ws/outbox", failed=1)["outbox"] if o["topic"] == name]
    equal([(o["id"], o["kind"], o["attempts"], o["error"]) for o in found], [(i, "message", 10, "22P02 <b>") for i in ids], "given up")
    equal(delete(s, f"/ws/outbox/{ids[0]}").want(200), {"status": "dropped", "count": 1}, "drop")
    equal(s.api.post(f"/ws/outbox/{ids[1]}/retry", "", admin(s)).want(200), {"status": "retrying", "count": 1}, "retry")
    wait_until(lambda: s.sql(f"select body::json->>'data' from tidings.message m join tidings.topic t on t.id = m.topic_id where t.name = '{name}'") == [["2"]],
               "the message")
    equal([o["id"] for o in ask(s, "/ws/outbox", failed=1)["outbox"] if o["topic"] == name], ids[2:], "what is left")
    delete(s, f"/ws/outbox/{ids[1]}").want(404)
    s.sql("delete from tidings.outbox where failed_at is not null")
    equal(delete(s, "/ws/outbox/failed").want(200), {"status": "dropped", "count": 0}, "drop of all, where there is nothing")


@test("a node that is drained lets its clients go to another, takes no new ones, is shown as draining, and stays until it is stopped")
def _(s):
    who = person(s)
    with s.node(TIDINGS_DRAIN_TIME="1") as node, s.web(node) as web:
        with listen(s, who, f"health/{who}", server=node) as client:
            place = wait_until(lambda: connection(s, client.id, user=who), "the connection to be known")["node"]
            state = lambda: {n["id"]: (n["draining"], n["connections"]) for n in s.api.get("/ws/status", admin(s)).want(200)["nodes"]}
            equal(state()[place], (False, 1), "before")
            reply = s.api.post(f"/ws/node/{place}/drain", "", admin(s)).want(200)
            equal((reply["status"], reply["node"]), ("draining", place), "reply")
            equal(client.closed()[0], 1012, "the close")
        wait_until(lambda: state()[place] == (True, 0), "the node to be empty")
        wait_until(lambda: closed(node.port), "its port to be closed")
        equal(web.api.get("/health/ready").status, 503, "whether it is ready")
        equal(s.api.post(f"/ws/node/{place}/drain", "", admin(s)).want(200)["status"], "draining", "once more")
        assert node.alive(), "it has gone"
        others = [n for n in state() if n != place]
        assert others and not any(state()[n][0] for n in others), "other nodes drain too"
        node.signal(signal.SIGTERM)
        equal(node.wait(), 0, "its end")
        wait_until(lambda: place not in state(), "it to be shown no more")
    assert live_http.audit_lines(s, event="manage_drain", user="root", subject=place, outcome="ok")


@test("tidings/operations is for admins alone, tells them every few seconds how things are, and nobody publishes there")
def _(s):
    who = person(s)
    with listen(s, "root", WATCHED, role="admin") as client:
        told = client.next()
        equal((told["type"], told["topic"], "seq" in told), ("operations", WATCHED, False), "what is told")
        nodes = {n["id"] for n in told["data"]["nodes"]}
        assert s.sql("select 1 from tidings.node where id = any ('{%s}')" % ",".join(nodes)), nodes
        assert told["data"]["connections"] >= 1 and told["data"]["nodes_count"] == len(nodes), told
        for token in (s.service(), admin(s), s.token(who)):
            s.api.post("/ws/publish", {"topic": WATCHED, "type": "operations", "data": {}, "ephemeral": True}, token).want(403)
        refused = s.psql(f"select tidings.publish('{WATCHED}', 'operations', '{{}}')").stderr
        assert "nobody publishes" in refused, refused
    for role in (None, "clinician", "service"):
        s.api.get(f"/ws/history?topic={WATCHED}", s.token(who, role=role)).want(403)
        s.api.get(f"/poll?topics={WATCHED}&timeout=0", s.token(who, role=role)).want(403)
