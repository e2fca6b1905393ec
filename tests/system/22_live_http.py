"""Live health by HTTP (spec 3.3, 3.4, 6): broadcasts, POST /ws/send, management of connections. See 48_topics.py for the clients."""
import concurrent.futures
import importlib
import json
import re
import signal
import uuid

from harness import equal, test, wait_until
from live import ahead, count, person

topics = importlib.import_module("48_topics")

HEALTH, CHAT, NOTIFY, SEND = "/ws/broadcast-health-update", "/ws/broadcast-chat-message", "/ws/broadcast-notification", "/ws/send"


def admin(s):
    return s.token("root", role="admin")


def listen(s, user, *names, server=None):
    return topics.connect(s, server or s.node1, names, s.token(user))


def say(s, kind, data, user, want=200, api=None, role=None, headers=None, **more):
    message = {"type": kind, "data": data, **more}
    return (api or s.api).post(SEND, message, s.token(user, role=role), headers).want(want)


def conversation(s, *users):
    return say(s, "create_conversation", {"participants": list(users[1:])}, users[0])["data"]["conversation_id"]


def audit_lines(s, **fields):
    lines = []
    for path in s.log_files():
        lines += [line for line in path.read_text(errors="replace").splitlines() if " audit event=" in line]
    return [line for line in lines if all(re.search(rf" {k}={re.escape(v)}( |$)", line) for k, v in fields.items())]


@test("a service's reading is stored, reaches the user, and is answered with what it became")
def _(s):
    user = person(s)
    with listen(s, user, f"health/{user}") as client:
        body = {"user_id": user, "metric": "blood_pressure", "value": 120, "unit": "mmHg", "timestamp": "2024-01-01T00:00:00Z"}
        reply = s.api.post(HEALTH, body, s.service()).want(200)
        assert isinstance(reply.pop("id"), int), reply
        equal(reply, {"status": "broadcasted", "topic": f"health/{user}", "seq": 1, "clients_notified": 1, "metric": "blood_pressure"}, "reply")
        got = client.next()
        equal((got["type"], got["topic"], got["seq"]), ("health_update", f"health/{user}", 1), "message")
        equal({k: got["data"][k] for k in ("metric", "value", "unit")}, {"metric": "blood_pressure", "value": 120, "unit": "mmHg"}, "data")
    equal(count(s, "health_reading", f"user_id = '{user}'"), 1, "readings")


@test("a user publishes their own readings and nobody else's; a clinician's grant is to read")
def _(s):
    user, other = person(s), person(s)
    s.sql(f"insert into tidings.health_grant values ('{user}', '{other}')")
    body = {"user_id": user, "metric": "pulse", "value": 70}
    s.api.post(HEALTH, body, s.token(user)).want(200)
    s.api.post(HEALTH, body, admin(s)).want(200)
    s.api.post(HEALTH, body, s.token(other)).want(403)
    s.api.post(HEALTH, body, s.token(other, role="clinician")).want(403)
    s.api.post(HEALTH, body).want(401)
    equal(count(s, "health_reading", f"user_id = '{user}'"), 2, "readings")
    history = say(s, "get_health", {"user_id": user}, other, role="clinician")
    equal([r["value"] for r in history["data"]["readings"]], [70, 70], "readings that the clinician sees")


@test("a chat message of a service is shown under its sender's name to all participants")
def _(s):
    ann, bob = person(s), person(s)
    place = conversation(s, ann, bob)
    with listen(s, ann, f"chat/{place}") as one, listen(s, bob, f"chats/{bob}") as two:
        body = {"conversation_id": place, "message": "Hello, how can I help you?", "sender": "ai_assistant"}
        reply = s.api.post(CHAT, body, s.service()).want(200)
        equal((reply["status"], reply["topic"], reply["seq"], reply["conversation_id"]), ("broadcasted", f"chat/{place}", 1, place), "reply")
        for client in (one, two):
            data = client.next()["data"]
            equal((data["sender"], data["message"], data["message_id"]), ("ai_assistant", body["message"], reply["message_id"]), "data")
    s.api.post(CHAT, {"conversation_id": place, "message": "me"}, s.token(bob)).want(200)
    s.api.post(CHAT, {"conversation_id": place, "message": "me"}, s.token(person(s))).want(403)
    missing = {"conversation_id": str(uuid.uuid4()), "message": "me"}
    s.api.post(CHAT, missing, s.service()).want(404)
    s.api.post(CHAT, missing, s.token(bob)).want(403)


@test("a notification reaches its user, and its receipt can be read by its publisher and by services")
def _(s):
    user, other = person(s), person(s)
    with listen(s, user, f"notifications/{user}") as client:
        body = {"user_id": user, "type": "health_alert", "title": "Blood Pressure Alert", "message": "above normal", "priority": "high"}
        reply = s.api.post(NOTIFY, body, s.token(user)).want(200)
        equal((reply["status"], reply["topic"], reply["seq"], reply["clients_notified"]), ("broadcasted", f"notifications/{user}", 1, 1), "reply")
        note = client.next()["notification"]
        equal({k: note[k] for k in ("id", "type", "title", "priority")},
              {"id": reply["id"], "type": "health_alert", "title": body["title"], "priority": "high"}, "notification")
    receipt = f"/ws/notification/{reply['id']}/receipt"
    for token in (s.token(user), s.service(), admin(s)):
        got = s.api.get(receipt, token).want(200)
        equal((got["id"], got["attempts"], "sent_at" in got, "acked_at" in got), (reply["id"], 1, True, False), "receipt")
    equal(say(s, "ack", {"id": reply["id"]}, user)["type"], "acked", "answer to the ack")
    assert s.api.get(receipt, s.service()).want(200)["acked_at"]
    s.api.get(receipt, s.token(other)).want(403)
    s.api.get(receipt).want(401)
    s.api.get(f"/ws/notification/{uuid.uuid4()}/receipt", s.service()).want(404)
    s.api.get(f"/ws/notification/{uuid.uuid4()}/receipt", s.token(other)).want(403)
    s.api.get("/ws/notification/7/receipt", s.service()).want(404)
    s.api.post(NOTIFY, body, s.token(other)).want(403)


@test("a reminder has no seq before its time")
def _(s):
    user = person(s)
    body = {"user_id": user, "type": "medication_reminder", "title": "Pills", "message": "Two", "deliver_at": ahead(600)}
    reply = s.api.post(NOTIFY, body, s.service()).want(200)
    equal((reply["seq"], reply["clients_notified"]), (None, 0), "reply")
    assert uuid.UUID(reply["id"])
    s.api.post(NOTIFY, {**body, "deliver_at": ahead(400 * 86400)}, s.service()).want(422)


@test("the same Idempotency-Key is answered as the first time, and nothing is done twice")
def _(s):
    user = person(s)
    body = {"user_id": user, "metric": "pulse", "value": 70}
    key = {"Idempotency-Key": str(uuid.uuid4())}
    first = s.api.post(HEALTH, body, s.service(), key).want(200)
    equal(s.api.post(HEALTH, body, s.service(), key).want(200), first, "the second reply")
    errors = s.api.post(HEALTH, {**body, "value": 71}, s.service(), key).want(422)["errors"]
    equal([e["field"] for e in errors], ["Idempotency-Key"], "errors")
    equal(count(s, "health_reading", f"user_id = '{user}'"), 1, "readings")
    s.api.post(HEALTH, body, s.service(), {"Idempotency-Key": "x" * 129}).want(422)
    s.api.post(HEALTH, body, s.service(), {"Idempotency-Key": str(uuid.uuid4())}).want(200)
    equal(count(s, "health_reading", f"user_id = '{user}'"), 2, "readings")


@test("the same request many times at once under one Idempotency-Key is done once, and all get its reply")
def _(s):
    user, key = person(s), {"Idempotency-Key": str(uuid.uuid4())}
    body = {"user_id": user, "metric": "pulse", "value": 70}
    with concurrent.futures.ThreadPoolExecutor(12) as pool:
        replies = list(pool.map(lambda _: s.api.post(HEALTH, body, s.service(), key).want(200), range(36)))
    equal(len({json.dumps(r) for r in replies}), 1, "different replies")
    equal(count(s, "health_reading", f"user_id = '{user}'"), 1, "readings")


@test("what was refused under an Idempotency-Key may be tried again with it")
def _(s):
    ann, bob = person(s), person(s)
    place = conversation(s, ann, person(s))
    key = {"Idempotency-Key": str(uuid.uuid4())}
    hello = {"conversation_id": place, "message": "hi"}
    say(s, "chat_message", hello, bob, want=403, headers=key)
    say(s, "join", {"conversation_id": place, "user_id": bob}, ann)
    first = say(s, "chat_message", hello, bob, headers=key)
    equal(say(s, "chat_message", hello, bob, headers=key), first, "the second reply")
    equal(count(s, "chat_message", f"conversation_id = '{place}'"), 1, "messages")


@test("every message that a client may send has its twin in POST /ws/send, with the reply that a WebSocket gets")
def _(s):
    ann, bob = person(s), person(s)
    place = conversation(s, ann, bob)
    note = s.api.post(NOTIFY, {"user_id": ann, "type": "system", "title": "t", "message": "m"}, s.service()).want(200)["id"]
    quiet = {"start": "22:00", "end": "07:00", "time_zone": "Europe/Berlin"}
    for kind, data, answer in (
            ("health_update", {"metric": "pulse", "value": 70.5}, "health_update_stored"),
            ("set_threshold", {"metric": "pulse", "low": 40, "high": 140, "severity": "high"}, "threshold_set"),
            ("get_thresholds", {}, "thresholds"),
            ("get_health", {"metric": "pulse", "since": "2020-01-01T00:00:00Z", "limit": 5}, "health_history"),
            ("create_conversation", {"participants": [bob]}, "conversation_created"),
            ("join", {"conversation_id": place, "user_id": person(s)}, "joined"),
            ("chat_message", {"conversation_id": place, "message": "hi"}, "chat_message_sent"),
            ("typing", {"conversation_id": place, "is_typing": True}, "typing_sent"),
            ("get_history", {"conversation_id": place, "limit": 10}, "chat_history"),
            ("set_preferences", {"types": {"system": False}, "quiet_hours": quiet}, "preferences"),
            ("get_preferences", {}, "preferences"),
            ("mark_read", {"id": note}, "marked_read"),
            ("get_notifications", {"unread_only": True}, "notifications"),
            ("ack", {"topic": f"notifications/{ann}", "seq": 1}, "acked"),
            ("ack", {"id": note}, "acked")):
        reply = say(s, kind, data, ann, correlation_id=f"c-{kind}")
        equal((reply["type"], reply["correlation_id"]), (answer, f"c-{kind}"), f"reply to {kind}")
        assert isinstance(reply["data"], dict) and reply["timestamp"], reply
        assert "correlation_id" not in say(s, kind, data, ann), "a correlation_id that nobody sent"
    equal(say(s, "get_preferences", {}, ann)["data"]["quiet_hours"], quiet, "quiet hours")
    equal(say(s, "set_preferences", {"quiet_hours": None}, ann)["data"]["quiet_hours"], None, "quiet hours taken away")


@test("members may stand beside type where there is no data")
def _(s):
    user = person(s)
    s.api.post(SEND, {"type": "health_update", "metric": "pulse", "value": 70}, s.token(user)).want(200)
    equal(count(s, "health_reading", f"user_id = '{user}'"), 1, "readings")


@test("types that belong to a connection, and unknown ones, are 422 by HTTP")
def _(s):
    for message in ({"type": "authenticate", "token": "x"}, {"type": "refresh_token", "token": "x"}, {"type": "ping"},
                    {"type": "subscribe", "subscription": "chat"}, {"type": "unsubscribe", "subscription": "chat"},
                    {"type": "notify", "data": {}}, {"type": "get_receipt", "data": {}}, {"type": "dance"}, {"type": 1}, {}):
        errors = s.api.post(SEND, message, s.token()).want(422)["errors"]
        equal([e["field"] for e in errors], ["type"], f"errors of {message}")


@test("a refusal says every member that is wrong, and stores nothing")
def _(s):
    user = person(s)
    for path, body, fields in (
            (HEALTH, {"value": "x", "unit": 1}, ["metric", "unit", "user_id", "value"]),
            (CHAT, {"message": ""}, ["conversation_id", "message"]),
            (NOTIFY, {"user_id": user, "type": "sms", "priority": "dire"}, ["message", "priority", "title", "type"]),
            (SEND, {"type": "health_update", "data": {"metric": "", "value": None}}, ["metric", "value"]),
            (SEND, {"type": "health_update", "data": 1}, ["data"]),
            (SEND, [], ["body"])):
        errors = s.api.post(path, body, s.token(user)).want(422)["errors"]
        equal(sorted(e["field"] for e in errors), fields, f"errors of {body}")
    equal(count(s, "health_reading", f"user_id = '{user}'"), 0, "readings")


@test("values of the right kind that mean nothing are 422 with a sentence")
def _(s):
    user = person(s)
    zone = {"quiet_hours": {"start": "22:00", "end": "07:00", "time_zone": "Mars/Olympus"}}
    for kind, data, word in (("health_update", {"metric": "a", "value": 1, "timestamp": ahead(86400)}, "future"),
                             ("set_preferences", zone, "time zone")):
        detail = say(s, kind, data, user, want=422)["detail"]
        assert word in detail and detail.endswith("."), detail


@test("400, 405, 411, 413 and 415 are as on the other routes")
def _(s):
    for path in (HEALTH, CHAT, NOTIFY, SEND):
        for body in ("", "x", '{"a":1,"a":1}', b"\xff"):
            s.api.post(path, body, s.token()).want(400)
        s.api.post(path, b" " * 300_000, s.token()).want(413)
        s.api.post(path, "{}", s.token(), {"Content-Type": "text/plain"}).want(415)
        reply = s.api.get(path, s.token())
        equal((reply.status, reply.headers["Allow"]), (405, "POST"), f"GET {path}")
    for method, path, allow in (("POST", f"/ws/connection/{uuid.uuid4()}", "DELETE"), ("DELETE", "/ws/connection/a/health", "GET, HEAD"),
                                ("GET", "/ws/user/456/reconnect", "POST"), ("DELETE", "/ws/notification/a/receipt", "GET, HEAD")):
        reply = s.api.request(method, path, token=admin(s), body="{}" if method == "POST" else None)
        equal((reply.status, reply.headers["Allow"]), (405, allow), f"{method} {path}")
    for path in ("/ws/connection/", "/ws/connection/x/y/health", "/ws/user/reconnect", "/ws/user//reconnect", "/ws/notification/", "/ws/user/456"):
        s.api.get(path, admin(s)).want(404)


@test("a user who says too much is 429, a service is not")
def _(s):
    user = person(s)
    with s.web(TIDINGS_PUBLISH_RATE=1, TIDINGS_PUBLISH_BURST=3) as web:
        def ask():
            return web.api.post(SEND, {"type": "get_preferences"}, s.token(user))

        equal([ask().status for _ in range(3)], [200] * 3, "the burst")
        limited = wait_until(lambda: (reply := ask()).status != 200 and reply, "a refusal")
        limited.want(429)
        assert int(limited.headers["Retry-After"]) >= 1, limited
        for _ in range(6):
            web.api.post(HEALTH, {"user_id": user, "metric": "a", "value": 1}, s.service()).want(200)


@test("orders about connections and reads are charged to their user: 429 with Retry-After, and an audit line; an admin is not")
def _(s):
    user, other = person(s), person(s)
    with s.web(TIDINGS_PUBLISH_RATE=1, TIDINGS_PUBLISH_BURST=20) as web:
        def order(what, who):
            return web.api.request(*what, token=s.token(who) if who != "admin" else admin(s))

        for method, path, allowed in (("POST", f"/ws/user/{other}/reconnect", 403), ("DELETE", f"/ws/connection/{uuid.uuid4()}", 403),
                                      ("GET", f"/ws/connection/{uuid.uuid4()}/health", 403)):
            who, replies = person(s), []

            def refusal():
                replies.append(order((method, path), who))
                return replies[-1].status != allowed and replies[-1]

            equal([order((method, path), who).status for _ in range(2)], [allowed] * 2, f"the burst of {method} {path}")
            refused = wait_until(refusal, "a refusal")
            refused.want(429)
            # Each is as much as ten requests: one more may be asked for every ten seconds.
            assert len(replies) < 10, f"{len(replies)} of {method} {path}"
            assert int(refused.headers["Retry-After"]) >= 1, refused
            for _ in range(4):
                assert order((method, path), "admin").status in (200, 404), path
            if method != "GET":
                assert audit_lines(s, event="manage_reconnect" if method == "POST" else "manage_disconnect", user=who, outcome="refused"), path
        for path in (f"/ws/notification/{uuid.uuid4()}/receipt", f"/ws/history/{s.diagnosis(owner=user)}"):
            who = user if "history" in path else person(s)
            status = order(("GET", path), who).status
            refused = wait_until(lambda: (reply := order(("GET", path), who)).status != status and reply, "a refusal")
            refused.want(429)


@test("how a connection is, is told to its user and to an admin, from whichever node it is on")
def _(s):
    user = person(s)
    with s.node() as node2, listen(s, user, f"health/{user}") as one, listen(s, user, f"notifications/{user}", server=node2) as two:
        for client, stream in ((one, "health_updates"), (two, "notifications")):
            path = f"/ws/connection/{client.id}/health"
            wait_until(lambda: s.api.get(path, admin(s)).status == 200, "the connection to be known")
            for token in (s.token(user), admin(s)):
                got = s.api.get(path, token).want(200)
                health = got["health"]
                equal((got["connection_id"], health["user_id"], health["subscriptions"], health["is_healthy"], health["transport"]),
                      (client.id, user, [stream], True, "websocket"), "health")
                assert all(k in health for k in ("state", "connected_at", "last_activity", "retry_count", "recovery_attempts", "node")), got
            s.api.get(path, s.token(person(s))).want(403)
            s.api.get(path).want(401)
    s.api.get(f"/ws/connection/{uuid.uuid4()}/health", admin(s)).want(404)
    s.api.get(f"/ws/connection/{uuid.uuid4()}/health", s.token(user)).want(403)


@test("DELETE of a connection answers when it is gone, wherever it is; and only its user or an admin may")
def _(s):
    user = person(s)
    with s.node() as node2:
        for token, server in ((s.token(user), s.node1), (admin(s), node2)):
            with listen(s, user, f"health/{user}", server=server) as client:
                path = f"/ws/connection/{client.id}"
                wait_until(lambda: count(s, "connection", f"id = '{client.id}'") == 1, "the connection to be known")
                s.api.request("DELETE", path, token=s.token(person(s))).want(403)
                reply = s.api.request("DELETE", path, token=token).want(200)
                equal(reply, {"status": "disconnected", "connection_id": client.id}, "reply")
                equal(count(s, "connection", f"id = '{client.id}'"), 0, "rows of it")
                equal(client.closed(), (1000, "disconnected by administrator"), "close")
                s.api.request("DELETE", path, token=admin(s)).want(404)
                s.api.request("DELETE", path, token=s.token(user)).want(403)


@test("DELETE of a connection whose node does not answer is 504, and says so", allow="")
def _(s):
    user = person(s)
    with s.node() as node2:
        with listen(s, user, f"health/{user}", server=node2) as client:
            wait_until(lambda: count(s, "connection", f"id = '{client.id}'") == 1, "the connection to be known")
            node2.signal(signal.SIGSTOP)
            try:
                s.api.request("DELETE", f"/ws/connection/{client.id}", token=admin(s)).want(504)
            finally:
                node2.signal(signal.SIGCONT)
            equal(client.closed()[0], 1000, "close code, when it goes on")


@test("a user's connections are told to come again, on all nodes")
def _(s):
    user = person(s)
    with s.node() as node2:
        with listen(s, user, f"health/{user}") as one, listen(s, user, f"health/{user}", server=node2) as two, listen(s, "456", "health/456") as other:
            wait_until(lambda: count(s, "connection", f"user_id = '{user}'") == 2, "the connections to be known")
            s.api.post(f"/ws/user/{user}/reconnect", "", s.token(person(s))).want(403)
            equal(s.api.post(f"/ws/user/{user}/reconnect", "", admin(s)).want(200),
                  {"status": "reconnecting", "user_id": user, "connections": 2}, "reply")
            equal([one.closed()[0], two.closed()[0]], [1012, 1012], "close codes")
            other.answers()
    equal(s.api.post("/ws/user/987654321/reconnect", "", admin(s)).want(200),
          {"status": "reconnecting", "user_id": 987654321, "connections": 0}, "reply for nobody")
    wait_until(lambda: count(s, "connection", f"user_id = '{user}'") == 0, "the connections to be known as gone")
    equal(s.api.post(f"/ws/user/{user}/reconnect", "", s.token(user)).want(200)["connections"], 0, "connections")


@test("an order finds pollers between two polls too: one of them by its id, all of a user's whatever they watch, and no other's")
def _(s):
    user, other = person(s), person(s)
    topics = [s.diagnosis(owner=user) for _ in range(3)]

    def connections(of):
        return [row[0] for row in s.sql(f"select distinct id from tidings.connection where user_id = '{of}' order by id")]

    with s.node(TIDINGS_POLL_GRACE=60) as node:
        for d in topics:
            node.api.get(f"/poll/{d}?timeout=0", s.token(user)).want(200)
        node.api.get(f"/poll/{topics[0]}?timeout=0", s.token(user, role="clinician")).want(200)
        node.api.get(f"/poll/{s.diagnosis(owner=other)}?timeout=0", s.token(other)).want(200)
        known = wait_until(lambda: len(found := connections(user)) == 4 and found, "the pollers to be known")
        theirs = wait_until(lambda: connections(other), "the other one to be known")
        s.api.request("DELETE", f"/ws/connection/{known[1]}", token=s.token(user)).want(200)
        equal(connections(user), known[:1] + known[2:], "those that are left")
        equal(s.api.post(f"/ws/user/{user}/reconnect", "", s.token(user)).want(200)["connections"], 3, "connections")
        wait_until(lambda: not connections(user), "the pollers to be gone")
        equal(connections(other), theirs, "the other one's")


@test("a user is told to come again also while what is written down of them, which a crash has emptied, is on its way")
def _(s):
    user = person(s)
    with listen(s, user, f"health/{user}") as one, listen(s, "456", "health/456") as other:
        s.sql(f"delete from tidings.connection where user_id = '{user}'")
        equal(s.api.post(f"/ws/user/{user}/reconnect", "", admin(s)).want(200), {"status": "reconnecting", "user_id": user, "connections": 0}, "reply")
        equal(one.closed()[0], 1012, "close code")
        other.answers()


@test("while the database is away everything is 503 with Retry-After, and nothing is half stored", allow="database|Database|statement")
def _(s):
    ann, bob = person(s), person(s)
    place = conversation(s, ann, bob)
    say(s, "chat_message", {"conversation_id": place, "message": "before"}, ann)
    s.stop_postgres()
    try:
        for reply in (s.api.post(CHAT, {"conversation_id": place, "message": "lost"}, s.service()),
                      s.api.post(SEND, {"type": "chat_message", "data": {"conversation_id": place, "message": "lost"}}, s.token(ann)),
                      s.api.post(HEALTH, {"user_id": ann, "metric": "a", "value": 1}, s.service()),
                      s.api.post(f"/ws/user/{ann}/reconnect", "", admin(s)),
                      s.api.request("DELETE", f"/ws/connection/{uuid.uuid4()}", token=admin(s)),
                      s.api.get(f"/ws/connection/{uuid.uuid4()}/health", admin(s)),
                      s.api.get(f"/ws/notification/{uuid.uuid4()}/receipt", admin(s))):
            reply.want(503)
            assert int(reply.headers["Retry-After"]) >= 1, reply
        # What can be told without it still is.
        s.api.post(SEND, {"type": "dance"}, s.token(ann)).want(422)
        s.api.post(SEND, {"type": "dance"}).want(401)
    finally:
        s.start_postgres()
    s.wait_ready()
    wait_until(lambda: s.api.post(SEND, {"type": "get_preferences"}, s.token(ann)).status == 200, "live.fcgi to go on")
    equal(say(s, "chat_message", {"conversation_id": place, "message": "after"}, ann)["data"]["seq"], 2, "seq of the next message")
    messages = say(s, "get_history", {"conversation_id": place}, bob)["data"]["messages"]
    equal([m["message"] for m in messages], ["before", "after"], "history")
    equal(count(s, "health_reading", f"user_id = '{ann}'"), 0, "readings")


@test("users who are not in app_user, or not active, are refused where TIDINGS_REQUIRE_USER says so")
def _(s):
    here, gone = person(s), person(s)
    s.sql(f"insert into tidings.app_user values ('{here}', true), ('{gone}', false)")
    with s.web(TIDINGS_REQUIRE_USER="yes") as web:
        say(s, "get_preferences", {}, here, api=web.api)
        for user in (gone, person(s)):
            say(s, "get_preferences", {}, user, api=web.api, want=401)
        web.api.post(HEALTH, {"user_id": here, "metric": "a", "value": 1}, s.service()).want(200)


@test("each publish, each management act and each refused token leaves one audit line, without token or message")
def _(s):
    user, secret = person(s), f"secret{uuid.uuid4().hex}"
    token, expired = s.token(user), s.token(user, ttl=-5)
    say(s, "health_update", {"metric": secret, "value": 1}, user)
    s.api.post(HEALTH, {"user_id": user, "metric": secret, "value": "x"}, token).want(422)
    s.api.post(HEALTH, {"user_id": "456", "metric": secret, "value": 1}, token).want(403)
    s.recommend(s.diagnosis(owner=user), secret, token)
    s.api.post(f"/ws/user/{user}/reconnect", "", token).want(200)
    s.api.request("DELETE", f"/ws/connection/{uuid.uuid4()}", token=token).want(403)
    before = len(audit_lines(s, event="authenticate", path=SEND))
    s.api.post(SEND, {"type": "ping"}, expired).want(401)
    s.api.post(SEND, {"type": "ping"}).want(401)
    wait_until(lambda: len(audit_lines(s, event="authenticate", path=SEND)) == before + 2, "the refused tokens to be logged")
    wait_until(lambda: len(audit_lines(s, event="publish", user=user)) == 4, "the publishes to be logged")
    equal(len(audit_lines(s, event="publish", user=user, type="health_update", topic=f"health/{user}", seq="1", outcome="ok")), 1, "the reading")
    equal(len(audit_lines(s, event="publish", user=user, outcome="refused")), 1, "what was invalid")
    equal(len(audit_lines(s, event="publish", user=user, outcome="forbidden")), 1, "what was forbidden")
    wait_until(lambda: len(audit_lines(s, event="manage_reconnect", user=user, subject=user, outcome="ok")) == 1, "the reconnect to be logged")
    wait_until(lambda: len(audit_lines(s, event="manage_disconnect", user=user, outcome="not_found")) == 1, "the disconnect to be logged")
    everything = "".join(p.read_text(errors="replace") for p in s.log_files())
    for text in (secret, token, expired, json.dumps(secret)):
        assert text not in everything, "a token or a message is in a log"


@test("pages of an allowed origin may use these routes: preflights, and every answer")
def _(s):
    origin = "https://app.example"
    with s.web(TIDINGS_ALLOWED_ORIGINS=origin) as web:
        for method, path in (("POST", SEND), ("POST", HEALTH), ("POST", CHAT), ("POST", NOTIFY), ("POST", "/ws/user/456/reconnect"),
                             ("DELETE", f"/ws/connection/{uuid.uuid4()}"), ("GET, HEAD", f"/ws/connection/{uuid.uuid4()}/health"),
                             ("GET, HEAD", f"/ws/notification/{uuid.uuid4()}/receipt")):
            headers = {"Origin": origin, "Access-Control-Request-Method": method.split(",")[0]}
            reply = web.api.request("OPTIONS", path, headers=headers)
            equal((reply.status, reply.headers["Access-Control-Allow-Methods"], reply.headers["Access-Control-Allow-Origin"]),
                  (204, method, origin), f"preflight of {path}")
            equal(web.api.request("OPTIONS", path, headers={**headers, "Origin": "https://evil.example"}).status, 403, "another origin's")
            reply = web.api.request(method.split(",")[0], path, headers={"Origin": origin})
            equal((reply.status, reply.headers["Access-Control-Allow-Origin"]), (401, origin), f"answer of {path}")
