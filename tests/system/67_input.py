"""What comes from strangers: members that are not known, ids, types and topics, bodies, parameters; the same on every way in."""
import os
import signal
import socket
import uuid

from harness import Transaction, equal, test, wait_until
from live import Live, combined, count, person

RECOMMENDATION, EFFECTIVENESS, FEEDBACK, PUBLISH = ("/ws/broadcast-recommendation-update", "/ws/broadcast-effectiveness-update",
                                                    "/ws/broadcast-feedback-update", "/ws/publish")
SEND = "/ws/send"
LARGEST = 2**63 - 1


def errors(problem):
    return {e["field"]: e["message"] for e in problem["errors"]}


@test("a misspelt limit changes no threshold: it is refused and named, by WebSocket, by /ws/send and beside type")
def _(s):
    user = person(s)
    with combined(s, s.node1, user) as live:
        live.ask("set_threshold", {"metric": "pulse", "high": 120, "severity": "critical"}, "threshold_set")
        kept = live.ask("get_thresholds", {}, "thresholds")["thresholds"]
        for data in ({"metric": "pulse", "hihg": 130}, {"metric": "pulse", "low": 40, "max": 130}):
            for form in ({"data": data}, data):
                answer = live.ask("set_threshold", form.get("data"), "error", **(form if "data" not in form else {}))
                equal(answer["code"], "invalid_message", "code")
                wrong = [name for name in data if name not in ("metric", "low")]
                equal({k: v for k, v in errors(answer).items() if k != "low"}, {wrong[0]: "is not known here"}, f"errors of {data}")
            reply = s.api.post(SEND, {"type": "set_threshold", "data": data}, s.token(user)).want(422)
            equal({k: v for k, v in errors(reply).items() if k != "low"}, {wrong[0]: "is not known here"}, f"errors of {data}")
        equal(errors(live.ask("set_threshold", {"metric": "pulse"}, "error")), {"low": "is required, or high, or severity; null takes a bound away"}, "none")
        equal(live.ask("get_thresholds", {}, "thresholds")["thresholds"], kept, "thresholds")


@test("what changes something in live health refuses a member that it does not know, on each of its routes; a question passes over it")
def _(s):
    user = person(s)
    one, note = {"user_id": user, "metric": "pulse", "value": 70}, {"user_id": user, "type": "system", "title": "t", "message": "m"}
    for path, body, extra in (("/ws/broadcast-health-update", one, "untit"), ("/ws/broadcast-notification", note, "dilver_at"),
                              ("/ws/broadcast-chat-message", {"conversation_id": str(uuid.uuid4()), "message": "m"}, "sendr")):
        equal(errors(s.api.post(path, {**body, extra: "x"}, s.service()).want(422)), {extra: "is not known here"}, path)
    equal(count(s, "health_reading", f"user_id = '{user}'"), 0, "readings")
    equal(count(s, "notification", f"user_id = '{user}'"), 0, "notifications")
    s.api.post(SEND, {"type": "get_health", "data": {"metirc": "pulse"}}, s.token(user)).want(200)
    with combined(s, s.node1, user) as live:
        equal(errors(live.ask("set_preferences", {"quiet_hour": None}, "error")), {"quiet_hour": "is not known here"}, "errors")
        answer = live.ask("health_update", {"metirc": "pulse", "value": "70"}, "error")
        equal(errors(answer), {"metric": "is required", "value": "must be a number from -1e15 to 1e15", "metirc": "is not known here"}, "all at once")


@test("a broadcast names in its reply what nothing was done with, and so does its replay")
def _(s):
    d = s.diagnosis()
    body = {"diagnosis_id": d, "feedback_id": 1, "rating": 3, "effectiveness": 0.5, "recomendation_id": 7}
    key = {"Idempotency-Key": str(uuid.uuid4())}
    first = s.api.post(FEEDBACK, body, s.token(), key).want(200)
    equal(first["ignored"], ["recomendation_id"], "ignored")
    equal(s.api.post(FEEDBACK, body, s.token(), key).want(200)["ignored"], ["recomendation_id"], "ignored, replayed")
    items = [{"topic": "in.a", "type": "t", "data": 1}, {"topic": "in.b", "type": "t", "data": 1, "dilver_at": "2030-01-01T00:00:00Z"}]
    equal(s.api.post(PUBLISH, items, s.service()).want(200)["ignored"], ["[1].dilver_at"], "ignored of a list")
    assert "ignored" not in s.recommend(d)


@test("errors name what is wrong on a diagnosis' WebSocket too")
def _(s):
    with s.connect(s.diagnosis()) as client:
        for message, wrong in (({"type": "ack"}, {"seq": "is required"}), ({"type": "ack", "seq": LARGEST + 1}, {"seq": f"must be an integer from 0 to {LARGEST}"}),
                               ({"typ": "ping"}, {"type": "is required"})):
            client.send(message)
            answer = client.next()
            equal((answer["type"], answer["data"]["code"], errors(answer["data"])), ("error", "invalid_message", wrong), f"answer to {message}")


@test("types that the server says itself, and topics that only look like its own, are no publisher's")
def _(s):
    for kind in ("connect", "reconnect_messages", "error", "pong", "heartbeat", "presence", "connection_established", "unsubscribed"):
        equal(list(errors(s.api.post(PUBLISH, {"topic": "in.c", "type": kind, "data": {}}, s.service()).want(422))), ["type"], kind)
    for topic in ("diagnosis/0123", "diagnosis/123/", "Diagnosis/123", f"diagnosis/{LARGEST + 1}", "diagnosis", "HEALTH/456", "health/", "chat/1", "Chats/ann"):
        for body in ({"topic": topic, "type": "t", "data": {}}, [{"topic": "in.c", "type": "t", "data": {}}, {"topic": topic, "type": "t", "data": {}}]):
            field = "topic" if isinstance(body, dict) else "[1].topic"
            equal(list(errors(s.api.post(PUBLISH, body, s.service()).want(422))), [field], topic)
    with combined(s, s.node1, person(s)) as live:
        for name in ("health", "chats", "diagnosis/0123", "Health/1"):
            answer = live.ask("subscribe", want="error", subscription=name)
            equal(answer["code"], "unknown_subscription", f"code of {name}")
            assert "health_updates" in answer["message"], answer


@test("a ratio over 1 in its last digit is refused, and numbers that a double takes for the same are told apart")
def _(s):
    d = s.diagnosis()
    text = '{"diagnosis_id":%d,"recommendation_id":1,"new_effectiveness":%s,"confidence":1.000,"sample_size":1}'
    equal(errors(s.api.post(EFFECTIVENESS, text % (d, "1.00000000000000000000001"), s.token()).want(422)), {"new_effectiveness": "must be a number from 0 to 1"}, "errors")
    s.api.post(EFFECTIVENESS, text % (d, "1.00000000000000000000000"), s.token()).want(200)
    with s.connect(d) as client:
        s.api.post(RECOMMENDATION, '{"diagnosis_id":%d,"reason":"r","old_data":{"a":1e400,"b":1e22,"c":[1e-400]},'
                                   '"new_data":{"a":1e500,"b":10000000000000000000000,"c":[0]}}' % d, s.token()).want(200)
        got = []
        while not (got and got[-1]["type"] == "recommendation_update"):
            m = client.next()
            got += m["data"]["messages"] if m["type"] == "reconnect_messages" else [m]
        m = got[-1]
        equal(m["data"]["changed_fields"], ["a", "c"], "changed_fields")


@test("a body that is compressed is 415, whatever is in it; identity is none")
def _(s):
    body = {"topic": "in.d", "type": "t", "data": {}}
    for coding in ("gzip", "br", "x"):
        reply = s.api.post(PUBLISH, body, s.service(), {"Content-Encoding": coding})
        reply.want(415)
        equal(reply.headers["Accept-Encoding"], "identity", "Accept-Encoding")
    s.api.post(PUBLISH, body, s.service(), {"Content-Encoding": "identity"}).want(200)
    s.api.post("/ws/broadcast-health-update", {"user_id": person(s), "metric": "a", "value": 1}, s.service(), {"Content-Encoding": "gzip"}).want(415)


@test("413 says how large a body may be")
def _(s):
    assert "262144 bytes" in s.api.post(PUBLISH, b" " * 262145, s.service()).want(413)["detail"]


@test("404 says what there is not: a conversation, a notification, a connection")
def _(s):
    for method, path, body, what in (("POST", "/ws/broadcast-chat-message", {"conversation_id": str(uuid.uuid4()), "message": "m"}, "conversation"),
                                     ("GET", f"/ws/notification/{uuid.uuid4()}/receipt", None, "notification"),
                                     ("GET", f"/ws/connection/{uuid.uuid4()}/health", None, "connection"),
                                     ("DELETE", f"/ws/connection/{uuid.uuid4()}", None, "connection")):
        reply = s.api.request(method, path, body, s.token("root", role="admin")).want(404)
        equal(reply["detail"], f"There is no such {what}.", path)
    with Live(s, s.node1, "combined", user="root", role="admin") as live:
        equal(live.ask("get_history", {"conversation_id": str(uuid.uuid4())}, "error")["message"], "There is no such conversation.", "message")


@test("503 says whether it was done: no where the database was not there, unknown where its answer was lost", allow="database|publishing")
def _(s):
    d, user = s.diagnosis(), person(s)
    with s.web(TIDINGS_DATABASE_TIMEOUT=1000, TIDINGS_THREADS=1) as web:
        def ask(path, body):
            return web.api.post(path, body, s.service()).want(503)["done"]

        publish, reading = (PUBLISH, {"topic": "in.e", "type": "t", "data": {}}), ("/ws/broadcast-health-update", {"user_id": user, "metric": "a", "value": 1})
        for request in (publish, reading):
            web.api.post(*request, s.service()).want(200)  # it is prepared then
        pids = {name: {int(r[0]) for r in s.sql(f"select pid from pg_stat_activity where application_name = 'tidings {name}'")} for name in ("broadcast", "live")}
        for name, request in (("broadcast", publish), ("live", reading)):
            for pid in pids[name]:
                os.kill(pid, signal.SIGSTOP)
            try:
                equal(ask(*request), "unknown", f"{name}, while the database hangs")
            finally:
                for pid in pids[name]:
                    os.kill(pid, signal.SIGCONT)
        wait_until(lambda: web.api.post(*publish, s.service()).status == 200, "publishing to go on")
        # A lock that it waits for in vain: the database says itself that nothing was done.
        with Transaction(s, "lock table tidings.message in access exclusive mode"):
            equal(ask(*publish), "no", "a timeout")
            equal(web.api.get(f"/ws/history/{d}", s.token()).want(503)["done"], "no", "a question")


@test("the same Idempotency-Key and body on another route is refused, not answered as the first")
def _(s):
    d = s.diagnosis()
    body = {"diagnosis_id": d, "old_data": {}, "new_data": {}, "reason": "r", "recommendation_id": 1, "new_effectiveness": 0.5, "confidence": 0.5,
            "sample_size": 1}
    key = {"Idempotency-Key": str(uuid.uuid4())}
    s.api.post(RECOMMENDATION, body, s.token(), key).want(200)
    equal(list(errors(s.api.post(EFFECTIVENESS, body, s.token(), key).want(422))), ["Idempotency-Key"], "errors")


@test("admins and services have no rate limit, users have")
def _(s):
    d = s.diagnosis()
    with s.web(TIDINGS_PUBLISH_RATE=1, TIDINGS_PUBLISH_BURST=2) as web:
        for token in (s.service(), s.token("root", role="admin")):
            for _ in range(5):
                s.recommend(d, token=token, api=web.api)
        statuses = [web.api.post(FEEDBACK, {"diagnosis_id": d, "feedback_id": 1, "rating": 1, "effectiveness": 1}, s.token()).status for _ in range(8)]
        assert 429 in statuses and 200 in statuses, statuses


@test("ids go up to 2^63 - 1 in every place, stay the integers that they are, and end there")
def _(s):
    user = person(s)
    s.sql(f"insert into tidings.diagnosis (id, owner) values ({LARGEST}, '{user}')")
    token = s.token(user)
    with s.connect(LARGEST, user=user) as client:
        equal(client.first["diagnosis_id"], LARGEST, "diagnosis_id in connect")
        reply = s.api.post(FEEDBACK, {"diagnosis_id": LARGEST, "feedback_id": LARGEST, "recommendation_id": 10**18, "rating": 1, "effectiveness": 1}, token).want(200)
        equal(reply["diagnosis_id"], LARGEST, "diagnosis_id in the reply")
        got = client.next()
        equal((got["diagnosis_id"], got["data"]["feedback_id"], got["data"]["recommendation_id"]), (LARGEST, LARGEST, 10**18), "message")
        s.api.post(EFFECTIVENESS, {"diagnosis_id": LARGEST, "recommendation_id": LARGEST, "new_effectiveness": 1, "confidence": 1, "sample_size": LARGEST},
                   token).want(200)
        equal(client.next()["data"]["sample_size"], LARGEST, "sample_size")
    equal(s.api.get(f"/ws/history/{LARGEST}", token).want(200)["messages"][0]["diagnosis_id"], LARGEST, "history")
    for path in (f"/poll/{LARGEST}?timeout=0", f"/poll?topics=diagnosis/{LARGEST}&timeout=0"):
        s.node1.api.get(path, token).want(200)
    s.api.post(PUBLISH, {"topic": f"diagnosis/{LARGEST}", "type": "t", "data": {}}, s.service()).want(200)
    for path in (f"/ws/{LARGEST + 1}", f"/poll/{LARGEST + 1}", f"/sse/{LARGEST + 1}", f"/ws/history/{LARGEST + 1}"):
        s.api.get(path, token).want(404)
    equal(list(errors(s.api.post(FEEDBACK, {"diagnosis_id": LARGEST + 1, "feedback_id": LARGEST + 1, "rating": 1, "effectiveness": 1}, token).want(422))),
          ["diagnosis_id", "feedback_id"], "errors")


@test("a parameter that is given twice, or is for another path, is 422 and named; one that nobody knows is passed over")
def _(s):
    d, token = s.diagnosis(), s.token()
    for path, wrong in ((f"/poll?topics=diagnosis/{d}&topics=diagnosis/1&timeout=0", "topics"), (f"/poll/{d}?topics=diagnosis/1&timeout=0", "topics"),
                        (f"/poll/{d}?timeout=0&timeout=1", "timeout"), (f"/sse/{d}?timeout=0", "timeout"), (f"/sse/{d}?cursor=a-1&cursor=a-2", "cursor"),
                        (f"/poll/{d}?token={token}&token=x", "token"), (f"/ws/history/{d}?limit=1&limit=2", "limit")):
        equal(list(errors(s.api.get(path, token).want(422))), [wrong], path)
    equal(list(errors(s.api.post(f"{PUBLISH}?token=a&token=b", {}, s.service()).want(422))), ["token"], "token")
    head = "Host: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    for path, wrong in ((f"/ws/{d}?topics=a", "topics"), ("/ws?topics=a&topics=b", "topics"), ("/ws/health?cursor=a-1", "cursor")):
        equal(list(errors(s.node1.api.raw(f"GET {path} HTTP/1.1\r\n{head}".encode()).want(422))), [wrong], path)
    s.api.get(f"/poll/{d}?timeout=0&_=1&_=2", token).want(200)


@test("100 topics of 128 characters, with their cursors, come in by both doors")
def _(s):
    names = [f"in.{n:03}" + "x" * 122 for n in range(100)]
    token = s.token("root", role="admin")
    for api in (s.api, s.node1.api):
        first = api.get(f"/poll?topics={','.join(names)}&timeout=0", token).want(200)
        equal(set(first["topics"]), set(names), "topics")
        again = api.get(f"/poll?topics={','.join(names)}&timeout=0&cursor={first['cursor']}", token).want(200)
        equal((again["recovered"], again["cursor"]), (True, first["cursor"]), "the second")


def raw(s, text):
    return s.node1.api.raw(text.encode())


@test("the sidecar's own port follows RFC 9110 and 9112: Date, HEAD, absolute-form, Host, an empty line before, 426, bare line feeds")
def _(s):
    d, token = s.diagnosis(), s.token()
    poll = f"/poll/{d}?timeout=0&token={token}"
    for reply in (raw(s, f"GET {poll} HTTP/1.1\r\nHost: a\r\n\r\n"), raw(s, f"GET http://a:80{poll} HTTP/1.1\r\nHost: b\r\n\r\n"),
                  raw(s, f"\r\nGET {poll} HTTP/1.1\r\nHost: a\r\n\r\n"), raw(s, f"GET {poll} HTTP/1.2\r\nHost: a\r\n\r\n")):
        reply.want(200)
        assert reply.headers["Date"].endswith(" GMT"), reply.headers
    for bad in (f"GET {poll} HTTP/1.1\r\nHost: a b\r\n\r\n", f"GET {poll} HTTP/1.1\r\nHost: a:99999\r\n\r\n", f"GET {poll} HTTP/1.1\r\nHost: [::1\r\n\r\n",
                f"GET {poll} HTTP/1.1\nHost: a\n\n"):
        assert raw(s, bad).want(400)["detail"]
    with socket.create_connection(("127.0.0.1", s.node1.port), timeout=10) as sock:
        sock.sendall(f"HEAD {poll} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        got = b""
        while more := sock.recv(65536):
            got += more
    assert got.startswith(b"HTTP/1.1 405 ") and got.endswith(b"\r\n\r\n"), got
    for upgrade in ("", "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 8\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"):
        reply = raw(s, f"GET /ws/{d} HTTP/1.1\r\nHost: a\r\n{upgrade}\r\n")
        reply.want(426)
        equal(reply.headers["Sec-WebSocket-Version"], "13", "Sec-WebSocket-Version")
        assert "upgrade" in [x.strip().lower() for x in reply.headers["Connection"].split(",")], reply.headers


@test("headers that are lists may come in several lines: Connection, Upgrade and Sec-WebSocket-Protocol of a handshake")
def _(s):
    d = s.diagnosis()
    lines = ["Host: a", "Connection: keep-alive", "Connection: Upgrade", "Upgrade: h2c", "Upgrade: websocket", "Sec-WebSocket-Version: 13",
             "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Protocol: tidings", f"Sec-WebSocket-Protocol: bearer.{s.token()}"]
    with socket.create_connection(("127.0.0.1", s.node1.port), timeout=10) as sock:
        sock.sendall((f"GET /ws/{d} HTTP/1.1\r\n" + "\r\n".join(lines) + "\r\n\r\n").encode())
        got = b""
        while b'"type":"connect"' not in got:
            more = sock.recv(65536)
            assert more, got
            got += more
    assert got.startswith(b"HTTP/1.1 101 ") and b"tidings\r\n" in got, got


@test("a preflight allows Cache-Control, as event streams of browsers' polyfills send it")
def _(s):
    with s.node(TIDINGS_ALLOWED_ORIGINS="https://a.example") as node, s.web(node, TIDINGS_ALLOWED_ORIGINS="https://a.example") as web:
        headers = {"Origin": "https://a.example", "Access-Control-Request-Method": "GET"}
        for path in ("/sse/1", "/poll/1", "/ws/history/1"):
            reply = web.api.request("OPTIONS", path, None, None, headers)
            equal((reply.status, "Cache-Control" in reply.headers["Access-Control-Allow-Headers"]), (204, True), path)


@test("a list that is refused says which of its messages it is refused for, and publishes none of them")
def _(s):
    d, missing = s.diagnosis(), 987654321
    items = [{"topic": topic, "type": "t", "data": {}} for topic in ("in.f", f"diagnosis/{d}", f"diagnosis/{missing}", "in.g")]
    reply = s.api.post(PUBLISH, items, s.service()).want(404)
    equal((reply["detail"], errors(reply)), ("There is no such diagnosis.", {"[2].topic": "There is no such diagnosis."}), "problem")
    equal(s.sql("select count(*) from tidings.topic where name in ('in.f', 'in.g')"), [["0"]], "topics")
    assert "errors" not in s.api.post(PUBLISH, items[2], s.service()).want(404)
