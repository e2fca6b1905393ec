"""A diagnosis over WebSocket (spec 4): connect message, what was missed, live messages, the client's own messages."""
import json
import re

import websockets

from harness import Client, Closed, equal, test, upgrade_request, wait_until


def reasons(messages):
    return [m["data"]["reason"] for m in messages]


def missed(client):
    """The messages of a reconnect_messages."""
    got = client.next()
    equal(got.get("type"), "reconnect_messages", f"type of {got}")
    return got["data"]["messages"]


@test("the connect message comes first, with exactly its fields")
def _(s):
    d = s.diagnosis()
    with s.connect(d) as client:
        equal(client.first["diagnosis_id"], d, "diagnosis_id")
        data = dict(client.first["data"])
        assert re.match(r"\d{4}-\d\d-\d\dT[\d:.]+Z$", data.pop("timestamp")), client.first
        assert re.match(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$", data.pop("connection_id")), client.first
        assert re.match(r"[0-9a-z]{1,32}-0$", data.pop("cursor")), client.first
        equal(data, {"user_id": 456, "message": "Successfully connected to diagnosis updates", "recovered": True, "resumed_by": "queue"}, "data")
        client.answers()


@test("user_id is an integer when it is one, else text")
def _(s):
    for user, shown in (("ada", "ada"), ("0456", "0456"), ("9007199254740993", None), ("-1", None), ("1e3", "1e3"), ('a"b\\', 'a"b\\')):
        d = s.diagnosis(owner=user)
        with s.connect(d, user=user) as client:
            got = client.first["data"]["user_id"]
            assert got == shown if shown is not None else str(got) == user, f"{user!r}: {got!r}"


@test("a token may be in the query, in Authorization or in the subprotocol list, there beside another protocol, too")
def _(s):
    d = s.diagnosis()
    url = f"ws://127.0.0.1:{s.node1.port}/ws/{d}"
    token = s.token()
    Client(f"{url}?token={token}").close()
    Client(url, headers={"Authorization": f"Bearer {token}"}).close()
    with Client(url, subprotocols=[f"bearer.{token}", "tidings"]) as client:
        equal(client.ws.subprotocol, "tidings", "subprotocol chosen")
    with Client(url, subprotocols=["tidings", f"bearer.{token}"]) as client:
        equal(client.ws.subprotocol, "tidings", "subprotocol chosen")
    with Client(url, subprotocols=[f"bearer.{token}"]) as client:  # a browser asks for one of its own to be chosen
        equal(client.ws.subprotocol, f"bearer.{token}", "subprotocol chosen")


@test("a token may come in a first authenticate message")
def _(s):
    d = s.diagnosis()
    with Client(f"ws://127.0.0.1:{s.node1.port}/ws/{d}", hello=False) as client:
        client.send({"type": "authenticate", "token": s.token()})
        got = client.next()
        while got["type"] == "authenticated":
            got = client.next()
        equal((got["type"], got["data"]["user_id"]), ("connect", 456), "first message")


@test("all of it works through lighttpd, too")
def _(s):
    d = s.diagnosis()
    with s.connect(d, server=s.web1) as client:
        equal(s.recommend(d)["clients_notified"], 1, "clients_notified")
        equal(client.next()["seq"], 1, "seq")
        client.answers()
        s.recommend(d, old_data={}, new_data={"x": "y" * 200000})
        equal(len(client.next()["data"]["new_recommendation"]["x"]), 200000, "a large message")
    with s.connect(d, server=s.web1, token="bad", hello=False) as client:
        equal(client.closed()[0], 1008, "close code")


@test("TIDINGS_ANONYMOUS=public lets anyone watch a public diagnosis, and only that")
def _(s):
    d = s.diagnosis(owner="ada")
    with s.node(TIDINGS_ANONYMOUS="public") as node:
        base = f"ws://127.0.0.1:{node.port}/ws/"
        with Client(base + "3") as client:
            equal(client.first["data"]["user_id"], None, "user_id")
        with Client(f"{base}{d}", hello=False) as client:
            equal(client.closed()[0], 1008, "a private one")
        with Client(f"{base}3?token=bad", hello=False) as client:
            equal(client.closed()[0], 1008, "a bad token is not no token")


@test("messages arrive once, in seq order, at every client")
def _(s):
    d = s.diagnosis()
    clients = [s.connect(d) for _ in range(5)]
    for n in range(50):
        s.recommend(d, str(n))
    for client in clients:
        got = client.take(50)
        equal([m["seq"] for m in got], list(range(1, 51)), "seqs")
        equal(reasons(got), [str(n) for n in range(50)], "reasons")
        client.answers()
        client.close()


@test("without a cursor: the first client gets what waited in one message, the second gets nothing old")
def _(s):
    d = s.diagnosis()
    for n in range(3):
        s.recommend(d, str(n))
    with s.connect(d) as first:
        got = first.next()
        equal(set(got), {"type", "diagnosis_id", "data"}, "fields")
        equal((got["type"], got["diagnosis_id"]), ("reconnect_messages", d), "type and diagnosis")
        equal(set(got["data"]), {"messages"}, "fields of data")
        equal(reasons(got["data"]["messages"]), ["0", "1", "2"], "messages")
        equal([m["seq"] for m in got["data"]["messages"]], [1, 2, 3], "seqs")
        wait_until(lambda: s.sql("select 1 from tidings.delivered o join tidings.topic t on t.id = o.topic_id "
                                 f"where t.name = 'diagnosis/{d}' and o.confirmed = 3"), "its pong to confirm them")
        with s.connect(d) as second:
            second.answers()
            s.recommend(d, "live")
            equal(second.next()["data"]["reason"], "live", "the second client's first message")
        equal(first.next()["data"]["reason"], "live", "the first client's next message")


@test("without a cursor: what was sent while nobody was connected waits, also after earlier clients")
def _(s):
    d = s.diagnosis()
    for round_ in range(3):
        with s.connect(d) as client:
            if round_:
                equal(reasons(missed(client)), [f"{round_ - 1} off", f"{round_ - 1} off again"], "messages")
            client.answers()
            s.recommend(d, f"{round_} on")
            equal(client.next()["data"]["reason"], f"{round_} on", "live message")
        s.wait_watchers(d, 0)
        s.recommend(d, f"{round_} off")
        s.recommend(d, f"{round_} off again")


@test("without a cursor: the newest 100 of what waits")
def _(s):
    d = s.diagnosis()
    s.api.post("/ws/publish", [{"topic": f"diagnosis/{d}", "type": "n", "data": n} for n in range(150)], s.service()).want(200)
    with s.connect(d) as client:
        equal([m["data"] for m in missed(client)], list(range(50, 150)), "messages")
        client.answers()


@test("a message for one user alone waits for that user")
def _(s):
    d = s.diagnosis(granted=["457"])
    s.recommend(d, "personal", to_user_id=457)
    with s.connect(d, user="456") as owner:
        s.recommend(d, "for all")
        equal(owner.next()["data"]["reason"], "for all", "the owner's first message")
    with s.connect(d, user="457") as other:
        equal(reasons(missed(other)), ["personal"], "messages")
    s.wait_watchers(d, 0)  # written down together with the fact that it was sent
    # A page may still be asked for when a ping is answered: what comes first tells.
    with s.connect(d, user="457") as other:
        s.recommend(d, "live")
        equal(other.next()["data"]["reason"], "live", "the first message, once it has been sent")


@test("with a cursor: everything after it, once, however often one comes back")
def _(s):
    d = s.diagnosis()
    with s.connect(d) as client:
        cursor = client.cursor
    for n in range(5):
        s.recommend(d, str(n))
    for _n in range(2):
        with s.connect(d, cursor=cursor) as client:
            equal(client.first["data"]["recovered"], True, "recovered")
            equal(reasons(missed(client)), ["0", "1", "2", "3", "4"], "messages")
            client.answers()
    epoch = cursor.rsplit("-", 1)[0]
    with s.connect(d, cursor=f"{epoch}-3") as client:
        equal(reasons(missed(client)), ["3", "4"], "after the third")
    with s.connect(d, cursor=f"{epoch}-5") as client:
        equal(client.first["data"]["recovered"], True, "recovered at the end")
        client.answers()


@test("a hole is reported: recovered is false, and missed says from and to")
def _(s):
    d = s.diagnosis()
    with s.connect(d) as client:
        cursor = client.cursor
    with s.web(TIDINGS_QUEUE_MAX=10, TIDINGS_QUEUE_MIN_AGE=0) as web:
        for n in range(60):
            s.recommend(d, str(n), api=web.api)
    kept = s.api.get(f"/ws/history/{d}", s.token()).want(200)["messages"]
    first = kept[0]["seq"]
    assert 1 < first <= 51 and kept[-1]["seq"] == 60, f"kept {first} to {kept[-1]['seq']}"
    with s.connect(d, cursor=cursor) as client:
        data = client.first["data"]
        equal((data["recovered"], data.get("missed")), (False, {"from": 1, "to": first - 1}), "recovered and missed")
        equal([m["seq"] for m in missed(client)], list(range(first, 61)), "what is still there is given")
    page = s.api.get(f"/ws/history/{d}?since={cursor}", s.token()).want(200)
    equal((page["recovered"], [m["seq"] for m in page["messages"]]), (False, list(range(first, 61))), "the history says the same")
    epoch = cursor.rsplit("-", 1)[0]
    with s.connect(d, cursor=f"{epoch}-{first - 2}") as client:
        data = client.first["data"]
        equal((data["recovered"], data.get("missed")), (False, {"from": first - 1, "to": first - 1}), "one message short")
    with s.connect(d, cursor=f"{epoch}-{first - 1}") as client:
        equal(client.first["data"]["recovered"], True, "recovered just after the hole")


@test("a foreign epoch, a cursor ahead of the queue and a damaged cursor are told: recovered is false, never an old message lost")
def _(s):
    d = s.diagnosis()
    for n in range(3):
        s.recommend(d, str(n))
    with s.connect(d) as client:
        cursor = client.cursor
        client.next()
    epoch = cursor.rsplit("-", 1)[0]
    for bad in ("0123456789abcdef-2", f"{epoch}-4", f"{epoch}-9223372036854775807"):
        with s.connect(d, cursor=bad) as client:
            equal(client.first["data"]["recovered"], False, f"recovered with {bad}")
            equal(reasons(missed(client)), ["0", "1", "2"], "all that is kept")
            client.answers()
    for bad in ("x", "-", "-1", f"{epoch}-", f"{epoch}--1", f"{epoch}-99999999999999999999", f"{epoch}-1x", "a" * 5000, "%00", "%ff-1"):
        client = s.connect(d, cursor=bad, hello=False)
        try:
            got = client.next()
            equal((got["type"], got["data"]["recovered"]), ("connect", False), f"cursor {bad[:40]!r}")
        except Closed as c:
            equal(c.code, 1008, f"cursor {bad[:40]!r}")
        client.close()


@test("many more messages than fit one write are resumed without a gap")
def _(s):
    d = s.diagnosis()
    with s.connect(d) as client:
        cursor = client.cursor
    for start in range(0, 1000, 100):
        s.api.post("/ws/publish", [{"topic": f"diagnosis/{d}", "type": "n", "data": {"n": n, "fill": "x" * 2000}}
                                   for n in range(start, start + 100)], s.service()).want(200)
    with s.connect(d, cursor=cursor) as client:
        got = []
        while len(got) < 1000:
            message = client.next()
            got += message["data"]["messages"] if message["type"] == "reconnect_messages" else [message]
        equal([m["data"]["n"] for m in got], list(range(1000)), "messages")


@test("ping, as JSON or bare text, is answered with pong")
def _(s):
    d = s.diagnosis()
    with s.connect(d) as client:
        for ping in ("ping", {"type": "ping"}, ' {"type" : "ping"} '):
            got = client.answers(ping)
            equal((set(got), got["diagnosis_id"], set(got["data"])), ({"type", "diagnosis_id", "data"}, d, {"timestamp"}), "pong")


@test("ack is taken in silence")
def _(s):
    d = s.diagnosis()
    with s.connect(d) as client:
        s.recommend(d)
        client.send({"type": "ack", "seq": client.next()["seq"]})
        client.answers()


@test("anything else gets an error, and the connection stays open")
def _(s):
    d = s.diagnosis()
    with s.connect(d) as client:
        for text in ("hello", "", "{", "[]", "1", "null", '{"type":"dance"}', '{"type":1}', "{}", '{"type":"ack"}',
                     '{"type":"ack","seq":"x"}', '{"type":"ping"', "PING", "[" * 1000, '{"type":"ack","seq":-1}'):
            client.send(text)
            got = client.next()
            equal(got.get("type"), "error", f"answer to {text[:30]!r}: {got}; type")
            assert got["data"]["code"] and got["data"]["message"], got
        client.answers()
        s.recommend(d)
        equal(client.next()["seq"], 1, "seq")


@test("a WebSocket ping frame is answered with its own payload, and the server sends pings of its own")
def _(s):
    d = s.diagnosis()
    with s.node(TIDINGS_HEARTBEAT=1) as node, s.raw_connect(d, node) as client:
        client.send(9, b"hello")
        seen = {}
        while len(seen) < 2:
            opcode, payload = client.frame()
            seen[opcode] = payload
            if opcode == 9:
                client.send(10, payload)
        equal((seen.get(10), 9 in seen), (b"hello", True), "pong and the server's ping")


@test("a message in fragments, with a ping frame between them, is one message")
def _(s):
    d = s.diagnosis()
    with s.raw_connect(d) as client:
        client.send(1, b'{"type":', fin=False)
        client.send(9, b"x")
        client.send(0, b'"pi', fin=False)
        client.send(0, b'ng"}')
        frames = dict([client.frame(), client.frame()])
        equal((frames[10], json.loads(frames[1])["type"]), (b"x", "pong"), "the answers to either")


@test("a plain GET on a WebSocket path gets 426 with a Link to its long-poll twin")
def _(s):
    d = s.diagnosis()
    for api in (s.node1.api, s.api):
        reply = api.get(f"/ws/{d}")
        reply.want(426)
        assert f"/poll/{d}" in reply.headers.get("Link", ""), reply
        # It is of one hop alone: lighttpd 1.4.79 does not hand it on.
        if api is s.node1.api:
            equal(reply.headers.get("Upgrade", "").lower(), "websocket", "Upgrade (RFC 9110, 15.5.22)")


@test("the sidecar's own port answers other paths and methods with a problem")
def _(s):
    for path in ("/", "/nope", "/ws/abc", "/ws/0", "/ws/-1", "/ws/1/2", "/../x"):
        reply = s.node1.api.get(path)
        equal(reply.status, 404, f"status of {path}")
        reply.check_problem()
    for method in ("POST", "DELETE", "PUT"):
        reply = s.node1.api.request(method, "/ws/1", "{}" if method != "DELETE" else None)
        assert reply.status in (404, 405, 413), f"{method}: {reply}"
        reply.check_problem()


def refused_with(error):
    """The status of an upgrade that was refused; websockets 13 has moved it."""
    return error.response.status_code if hasattr(error, "response") else error.status_code


@test("an upgrade on a path that is none, or with another version, is refused")
def _(s):
    for port in (s.node1.port, s.web1.port):
        for path in ("/ws/abc", "/nope", "/ws/status"):
            try:
                Client(f"ws://127.0.0.1:{port}{path}", hello=False).close()
                raise AssertionError(f"{path} was upgraded")
            except websockets.InvalidHandshake as e:
                assert 400 <= refused_with(e) < 500 or path == "/ws/status", e
    reply = s.node1.api.raw(upgrade_request("/ws/1", version=7))
    assert reply.status in (400, 426), reply
