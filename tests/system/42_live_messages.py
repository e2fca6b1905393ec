"""Live health: each message that a client may send, each refusal, and what ends a connection, over the wire."""
import datetime
import importlib
import json
import socket
import uuid

from harness import Closed, RawClient, equal, test, wait_until
from live import TALKATIVE, Live, ahead, combined, conversation, count, notify, person

topics = importlib.import_module("48_topics")


def shout(live, type, count):
    """Says it again and again, also when the server has had enough."""
    try:
        for _ in range(count):
            live.send(type)
    except Closed:
        pass


def notes_until_pong(live):
    """The ids of the notifications that were on their way."""
    live.send("ping")
    ids = []
    while (m := live.next())["type"] != "pong":
        for x in m["data"]["messages"] if m["type"] == "reconnect_messages" else [m]:
            if x["type"] == "notification":
                ids.append(x["notification"]["id"])
    return ids


# ---------------------------------------------------------------------------------------------------- what may be said


def everything(conversation_id, note, other):
    """Every message of a user that the database answers: type, data, type of the answer, members of its data."""
    quiet = {"start": "22:00", "end": "07:00", "time_zone": "Europe/Berlin"}
    c = {"conversation_id": conversation_id}
    return [
        ("health_update", {"metric": "pulse", "value": 70.5, "unit": "bpm", "timestamp": "2024-01-01T00:00:00Z"}, "health_update_stored", {"metric", "id", "seq"}),
        ("health_update", {"metric": "pulse", "value": 71}, "health_update_stored", {"metric", "id", "seq"}),
        ("set_threshold", {"metric": "pulse", "low": 40, "high": 140, "severity": "high"}, "threshold_set", {"metric"}),
        ("get_thresholds", {}, "thresholds", {"thresholds"}),
        ("set_threshold", {"metric": "pulse", "low": None, "high": None}, "threshold_set", {"metric"}),
        ("get_health", {"metric": "pulse", "since": "2020-01-01T00:00:00Z", "limit": 5}, "health_history", {"readings", "more"}),
        ("get_health", {}, "health_history", {"readings", "more"}),
        ("create_conversation", {"participants": [other]}, "conversation_created", {"conversation_id", "participants"}),
        ("create_conversation", {"participants": [other], "conversation_id": str(uuid.uuid4())}, "conversation_created", {"conversation_id", "participants"}),
        ("join", {**c, "user_id": other}, "joined", {"conversation_id"}),
        ("join", c, "joined", {"conversation_id"}),
        ("chat_message", {**c, "message": "hi"}, "chat_message_sent", {"message_id", "seq"}),
        ("typing", {**c, "is_typing": True}, "typing_sent", set()),
        ("get_history", {**c, "limit": 10}, "chat_history", {"messages", "more"}),
        ("get_history", {**c, "before": 1}, "chat_history", {"messages", "more"}),
        ("set_preferences", {"types": {"appointment_reminder": False}, "quiet_hours": quiet}, "preferences", {"types", "quiet_hours"}),
        ("set_preferences", {"quiet_hours": None}, "preferences", {"types", "quiet_hours"}),
        ("get_preferences", {}, "preferences", {"types", "quiet_hours"}),
        ("get_notifications", {"unread_only": True, "limit": 10}, "notifications", {"notifications", "unread"}),
        ("mark_read", {"id": note}, "marked_read", {"id", "unread"}),
        ("get_trending", {"by": "treatment", "days": 7, "sort": "change", "limit": 1}, "trending", {"by", "days", "cursor", "left_out", "trending"}),
        ("ack", {"id": note}, "acked", {"id"}),
        ("ack", {"topic": f"notifications/{other}", "seq": 1}, None, None),
    ]


@test("each message that a client may send is answered in the form of all messages, with its correlation_id, its members in data or beside type")
def _(s):
    with s.node(**TALKATIVE) as node, s.web(node) as web:
        for server in (node, web):
            user, other = person(s), person(s)
            with combined(s, server, user) as live:
                c = conversation(live, other)
                note = notify(s, user)["id"]
                for kind, data, answer, members in everything(c, note, other):
                    for form in ("data", "beside"):
                        correlation = str(uuid.uuid4())
                        live.send(kind, data if form == "data" else None, correlation, **(data if form == "beside" else {}))
                        m = live.next()
                        equal(m.pop("correlation_id"), correlation, f"correlation_id of the answer to {kind}")
                        if answer is None:
                            equal((m["type"], m["data"]["code"]), ("error", "forbidden"), f"answer to {kind}")
                            continue
                        equal((set(m), m["type"]), ({"type", "data", "timestamp"}, answer), f"answer to {kind} {form}: {m}")
                        assert members <= set(m["data"]), f"{members} in {m}"
                        datetime.datetime.strptime(m["timestamp"], "%Y-%m-%dT%H:%M:%S.%f%z")
                live.send("get_preferences", {})
                equal("correlation_id" in live.next(), False, "a correlation_id that nobody sent")
                live.ask("ping", want="pong")
                for text in ("ping", '{"type":"ping"}'):
                    live.client.send(text)
                    equal(live.next()["type"], "pong", f"answer to {text}")


ODD_TEXTS = ["x", " ", "ü" * 128, "\U0001f4a9" * 128, '"', "\\", "\\\\\"", "\x01\x1f\x7f", "\r\n", "</script>", "'; drop table tidings.topic; --", "%s%n%%", "${x}",
             "\u2028", "null", "{}", "0"]


@test("a correlation_id of any text comes back as it was, in answers, in errors and in what is pushed")
def _(s):
    user, conversation_id = person(s), str(uuid.uuid4())
    with s.node(**TALKATIVE) as node, combined(s, node, user) as live, combined(s, s.node1, user, "health_updates") as other:
        for text in ODD_TEXTS:
            for escaped in (False, True):
                for message, answer in (({"type": "ping"}, "pong"), ({"type": "get_preferences"}, "preferences"),
                                        ({"type": "subscribe", "subscription": "no such"}, "error"), ({"type": "nonsense"}, "error"),
                                        ({"type": "get_history", "conversation_id": conversation_id}, "error"), ({"type": "typing"}, "error"),
                                        ({"type": "subscribe", "subscription": "chat"}, "subscribed"),
                                        ({"type": "unsubscribe", "subscription": "chat"}, "unsubscribed"),
                                        ({"type": "health_update", "metric": "m", "value": 1}, "health_update_stored")):
                    live.client.send(json.dumps({**message, "correlation_id": text}, ensure_ascii=escaped))
                    m = live.next()
                    equal((m["type"], m.get("correlation_id")), (answer, text), f"answer to {message}")
                equal(other.until("health_update")["correlation_id"], text, "in what is pushed")
        for wrong in (1, True, {}, [], "", "x" * 129, "ü" * 129):
            live.send("ping", correlation_id=wrong)
            m = live.next()
            equal((m["type"], m["data"]["code"], "correlation_id" in m), ("error", "invalid_message", False), f"answer to {wrong!r}")
        live.send("ping", correlation_id=None)
        equal(live.next()["type"], "pong", "null is none")


@test("a correlation_id of 60,000 characters, and one that is no Unicode, are refused and end nothing")
def _(s):
    with s.node(**TALKATIVE) as node, combined(s, node, person(s)) as live:
        for text in (json.dumps("x" * 60000), '"\\ud800"', '"\\u0000"', '"\\udc00\\ud800"'):
            for kind in ("ping", "get_preferences", "subscribe"):
                live.client.send('{"type":"%s","correlation_id":%s,"subscription":"chat"}' % (kind, text))
                m = live.next()
                equal((m["type"], m["data"].get("code")), ("error", "invalid_message"), f"answer to {kind} with {text[:20]}")
        live.ask("ping", want="pong")


# ---------------------------------------------------------------------------------------------------- what may not


def wrong_members(user, conversation_id):
    c = {"conversation_id": conversation_id}
    note = {"id": str(uuid.uuid4())}
    many = [f"p{n}" for n in range(51)]
    return [
        ("health_update", {}), ("health_update", {"metric": "m"}), ("health_update", {"value": 1}), ("health_update", {"metric": "", "value": 1}),
        ("health_update", {"metric": "m", "value": "1"}), ("health_update", {"metric": "m", "value": None}), ("health_update", {"metric": "m", "value": True}),
        ("health_update", {"metric": 7, "value": 1}), ("health_update", {"metric": "m" * 129, "value": 1}), ("health_update", {"metric": "m", "value": 1e300}),
        ("health_update", {"metric": "m", "value": 1, "unit": "u" * 129}), ("health_update", {"metric": "m", "value": 1, "timestamp": "yesterday"}),
        ("health_update", {"metric": "m", "value": 1, "timestamp": "2024-02-30T00:00:00Z"}), ("health_update", {"metric": "m", "value": 1, "timestamp": 5}),
        ("health_update", {"metric": "m", "value": 1, "timestamp": "2024-01-01T00:00:00"}), ("health_update", {"metric": "m", "value": 1, "timestamp": ahead(3600)}),
        ("health_update", {"metric": "m", "value": 1, "user_id": ""}), ("health_update", {"metric": "m", "value": 1, "user_id": "x" * 129}),
        ("health_update", {"metric": "m\x00", "value": 1}),
        ("set_threshold", {}), ("set_threshold", {"metric": "m", "low": 2, "high": 1}), ("set_threshold", {"metric": "m", "low": 1, "high": 1}),
        ("set_threshold", {"metric": "m", "low": "1"}), ("set_threshold", {"metric": "m", "low": 1, "severity": "bad"}),
        ("get_health", {"limit": 0}), ("get_health", {"limit": 501}), ("get_health", {"limit": "5"}), ("get_health", {"limit": 1.5}), ("get_health", {"since": "x"}),
        ("create_conversation", {}), ("create_conversation", {"participants": []}), ("create_conversation", {"participants": many}),
        ("create_conversation", {"participants": "x"}), ("create_conversation", {"participants": [None]}), ("create_conversation", {"participants": [""]}),
        ("create_conversation", {"participants": ["a b"]}), ("create_conversation", {"participants": ["ü"]}), ("create_conversation", {"participants": [1.5]}),
        ("create_conversation", {"participants": ["x"], "conversation_id": "no-uuid"}), ("create_conversation", {"participants": ["x" * 128]}),
        ("join", {}), ("join", {"conversation_id": "x"}), ("join", {"conversation_id": 5}), ("join", {**c, "user_id": {}}), ("join", {**c, "user_id": "a b"}),
        ("chat_message", c), ("chat_message", {"message": "x"}), ("chat_message", {**c, "message": ""}), ("chat_message", {**c, "message": "x" * 4001}),
        ("chat_message", {**c, "message": 5}), ("chat_message", {**c, "message": "\x00"}), ("chat_message", {**c, "message": None}),
        ("typing", c), ("typing", {**c, "is_typing": "yes"}), ("typing", {**c, "is_typing": 1}), ("typing", {"is_typing": True}),
        ("get_history", {}), ("get_history", {**c, "before": 0}), ("get_history", {**c, "before": "x"}), ("get_history", {**c, "limit": 101}), ("get_history", {**c, "limit": 0}),
        ("set_preferences", {"types": {"nonsense": True}}), ("set_preferences", {"types": {"system": "no"}}), ("set_preferences", {"types": []}),
        ("set_preferences", {"quiet_hours": {}}), ("set_preferences", {"quiet_hours": {"start": "22:00", "end": "07:00"}}),
        ("set_preferences", {"quiet_hours": {"start": "24:00", "end": "07:00", "time_zone": "UTC"}}),
        ("set_preferences", {"quiet_hours": {"start": "22:00", "end": "22:00", "time_zone": "UTC"}}),
        ("set_preferences", {"quiet_hours": {"start": "22:00", "end": "07:00", "time_zone": "Mars/Olympus"}}),
        ("set_preferences", {"quiet_hours": {"start": "22:00", "end": "07:00", "time_zone": "../../etc/passwd"}}),
        ("set_preferences", {"quiet_hours": "never"}),
        ("mark_read", {}), ("mark_read", {"id": 5}), ("mark_read", {"id": "x"}), ("get_notifications", {"unread_only": 1}), ("get_notifications", {"limit": 101}),
        ("ack", {}), ("ack", {"seq": 1}), ("ack", {"topic": f"health/{user}"}), ("ack", {"topic": f"health/{user}", "seq": -1}),
        ("ack", {"topic": f"health/{user}", "seq": 1, **note}), ("ack", {"topic": "a b", "seq": 1}), ("ack", {"id": "x"}), ("ack", {"topic": f"health/{user}", "seq": 10**20}),
        ("subscribe", {}), ("subscribe", {"subscription": 5}), ("subscribe", {"subscription": ""}), ("subscribe", {"subscription": "chat", "cursor": 5}),
        ("unsubscribe", {}), ("refresh_token", {}), ("refresh_token", {"token": 5}), ("refresh_token", {"token": "x" * 8193}),
        ("get_health", {"user_id": []}),
    ]


@test("wrong members are invalid_message, with a sentence, and nothing is stored")
def _(s):
    user = person(s)
    with s.node(**TALKATIVE) as node, combined(s, node, user) as live:
        c = conversation(live, person(s))
        for kind, data in wrong_members(user, c):
            message = {"type": kind, "data": data, "correlation_id": "w"}
            live.send(kind, data, "w")
            m = live.next()
            equal((m["type"], m["data"].get("code")), ("error", "invalid_message"), f"answer to {json.dumps(message)[:300]}")
            assert m["data"]["message"].strip(), m
            if "\\u0000" not in json.dumps(data):
                equal(m.get("correlation_id"), "w", f"correlation_id of the answer to {kind} {data}")
        for table, where in (("health_reading", f"user_id = '{user}'"), ("chat_message", f"conversation_id = '{c}'"), ("health_threshold", f"user_id = '{user}'"),
                             ("notification_preference", f"user_id = '{user}'")):
            equal(count(s, table, where), 0, f"rows in {table}")
        equal(count(s, "conversation", f"creator = '{user}'"), 1, "conversations")
        equal(count(s, "participant", f"conversation_id = '{c}'"), 2, "participants")
        live.ask("ping", want="pong")


@test("what is no JSON object is invalid_message, a type that is unknown here is unknown_type, and the connection goes on")
def _(s):
    with s.node(**TALKATIVE) as node, combined(s, node, person(s)) as live:
        deep = '{"type":"ping","x":' + "[" * 40 + "]" * 40 + "}"
        for text in ("", "{", "nonsense", "[]", "5", "null", '"ping"', "{'type':'ping'}", '{"type":"ping"}x', '{"type":"ping","type":"ack"}', '{"type":"ping",}', deep, "\ufeff{}",
                     '{"type":5}', "{}", '{"data":{}}', '{"type":null}', '{"type":"health_update","data":5}', '{"type":"health_update","data":[]}',
                     '{"type":"chat_message","data":{"message":"\\ud800","conversation_id":"%s"}}' % uuid.uuid4()):
            live.client.send(text)
            m = live.next()
            equal((m["type"], m["data"].get("code")), ("error", "invalid_message"), f"answer to {text[:80]!r}")
        for kind in ("nonsense", "notify", "get_receipt", "heartbeat", "connect", "Ping", "ping ", "broadcast_chat", "error", "x" * 1000, "\u0001"):
            live.send(kind, {}, "u")
            m = live.next()
            equal((m["type"], m["data"]["code"], m["correlation_id"]), ("error", "unknown_type", "u"), f"answer to {kind[:30]!r}")
        live.ask("ping", want="pong")


@test("too large is 1009, binary 1003, not UTF-8 1007; the limit itself is let through")
def _(s):
    with Live(s, s.node1, user=person(s)) as live:
        empty = json.dumps({"type": "ping", "x": ""})
        live.client.send(empty[:-2] + "x" * (65536 - len(empty)) + '"}')
        live.until("pong")
    for message, code in ((b"binary", 1003), ("x" * 65537, 1009)):
        for authenticate in (True, False):
            with Live(s, s.node1, user=person(s), authenticate=authenticate) as live:
                live.client.send(message)
                equal(live.client.closed()[0], code, f"close after {message[:10]!r}")
    for authenticate in (True, False):
        token = f"?token={s.token(person(s))}" if authenticate else ""
        with RawClient(s.node1.port, f"/ws/chat{token}") as raw:
            raw.send(1, b'{"type":"ping","x":"\xff"}')
            equal(raw.end(), 1007, "close after what is not UTF-8")


@test("who says too much is told rate_limited, and closed with 1008 when they do not stop")
def _(s):
    with s.node(TIDINGS_CLIENT_RATE=1, TIDINGS_CLIENT_BURST=5, TIDINGS_BAD_MESSAGES_MAX=3) as node:
        with combined(s, node, person(s)) as live:
            shout(live, "ping", 30)
            seen = []
            try:
                while True:
                    m = live.next()
                    seen.append(m["data"].get("code", m["type"]))
            except Closed as c:
                equal((c.code, c.reason), (1008, "too many bad messages"), "the close")
            equal(seen[-3:], ["rate_limited"] * 3, "before it")
            assert 1 <= seen.count("pong") <= 8, seen
        with Live(s, node, user=person(s), authenticate=False) as live:
            shout(live, "ping", 30)
            equal(live.client.closed(), (1008, "too many bad messages"), "before it is authenticated")


@test("a hundred subscriptions, and the next is too_many_subscriptions until one is given up")
def _(s):
    user = person(s)
    ids = [s.ids + n + 1 for n in range(101)]
    s.ids += 101
    s.sql(f"insert into tidings.diagnosis (id, owner) select n, '{user}' from generate_series({ids[0]}, {ids[-1]}) n")
    with s.node(**TALKATIVE) as node, combined(s, node, user) as live:
        for d in ids[:100]:
            live.send("subscribe", subscription=f"diagnosis/{d}")
        equal({live.until("subscribed")["data"]["subscription"] for _ in range(100)}, {f"diagnosis/{d}" for d in ids[:100]}, "subscribed")
        equal(live.refused("subscribe", subscription=f"diagnosis/{ids[100]}"), "too_many_subscriptions", "the next")
        live.ask("subscribe", want="subscribed", subscription=f"diagnosis/{ids[0]}")
        live.ask("unsubscribe", want="unsubscribed", subscription=f"diagnosis/{ids[0]}")
        live.ask("subscribe", want="subscribed", subscription=f"diagnosis/{ids[100]}")
        for d in (ids[1], ids[100]):
            equal(s.recommend(d, token=s.token(user))["clients_notified"], 1, "clients_notified")
            equal(live.until("recommendation_update")["diagnosis_id"], d, "diagnosis")


@test("authenticate a second time is already_authenticated; anything before the first is not_authenticated")
def _(s):
    user = person(s)
    with s.node(**TALKATIVE) as node, Live(s, node, "combined", user=user, authenticate=False) as live:
        for kind, data, _answer, _members in everything(str(uuid.uuid4()), str(uuid.uuid4()), "x"):
            equal(live.refused(kind, data), "not_authenticated", f"{kind} before")
        for kind in ("subscribe", "unsubscribe"):
            equal(live.refused(kind, subscription="chat"), "not_authenticated", f"{kind} before")
        equal(live.refused("refresh_token", token=s.token(user)), "not_authenticated", "refresh_token before")
        live.ask("ping", want="pong")
        equal(live.ask("authenticate", want="authenticated", token=s.token(user))["user_id"], user, "user")
        equal(live.refused("authenticate", token=s.token(user)), "already_authenticated", "again")
        equal(live.refused("authenticate", token=s.token("789")), "already_authenticated", "as another")
        live.ask("get_preferences", want="preferences")


@test("what is somebody else's or not there is forbidden alike to users and clinicians, not_found to services and admins")
def _(s):
    owner, other = person(s), person(s)
    nowhere = str(uuid.uuid4())
    with s.node(**TALKATIVE) as node, combined(s, node, owner) as mine:
        c = conversation(mine, person(s))
        note = notify(s, owner)["id"]
        for role in ("user", "clinician"):
            with combined(s, node, other, role=role) as live:
                for kind, data in (("health_update", {"metric": "m", "value": 1, "user_id": owner}), ("set_threshold", {"metric": "m", "low": 1, "user_id": owner}),
                                   ("get_thresholds", {"user_id": owner}), ("get_health", {"user_id": owner}), ("ack", {"topic": f"notifications/{owner}", "seq": 1}),
                                   ("ack", {"topic": f"chat/{c}", "seq": 1}), ("create_conversation", {"participants": [other], "conversation_id": c})):
                    equal(live.refused(kind, data), "forbidden", f"{kind} of a {role}")
                for kind, data in (("join", {"conversation_id": c}), ("join", {"conversation_id": c, "user_id": other}), ("chat_message", {"conversation_id": c, "message": "x"}),
                                   ("typing", {"conversation_id": c, "is_typing": True}), ("get_history", {"conversation_id": c}), ("mark_read", {"id": note}), ("ack", {"id": note})):
                    missing = {**data, **({"conversation_id": nowhere} if "conversation_id" in data else {"id": nowhere})}
                    answers = []
                    for what in (data, missing):
                        live.send(kind, what, "f")
                        m = live.next()
                        answers.append((m["type"], m["data"]["code"], m["data"]["message"], m["correlation_id"]))
                    equal(answers[0][:2], ("error", "forbidden"), f"{kind} of a {role}")
                    equal(answers[1], answers[0], f"{kind} of what is not there, of a {role}")
        for role in ("service", "admin"):
            with combined(s, node, other, role=role) as live:
                for kind, data in (("join", {"conversation_id": nowhere, "user_id": other}), ("chat_message", {"conversation_id": nowhere, "message": "x"}),
                                   ("mark_read", {"id": nowhere}), ("ack", {"id": nowhere})):
                    equal(live.refused(kind, data), "not_found", f"{kind} of a {role}")
                equal(live.refused("health_update", {"metric": "m", "value": 1}), "invalid_message", f"a reading of a {role}'s own")
    for table, where in (("health_reading", f"user_id = '{owner}'"), ("chat_message", f"conversation_id = '{c}'"), ("participant", f"conversation_id = '{c}' and user_id = '{other}'"),
                         ("health_threshold", f"user_id = '{owner}'"), ("notification", f"id = '{note}' and (acked_at is not null or read_at is not null)")):
        equal(count(s, table, where), 0, f"rows in {table}")


@test("roles on each endpoint: a service reads no health or notifications, an admin all, a clinician what is granted")
def _(s):
    patient, clinician = person(s), person(s)
    s.sql(f"insert into tidings.health_grant values ('{patient}', '{clinician}')")
    with s.node(**TALKATIVE) as node:
        for endpoint, stream in (("health", "health_updates"), ("chat", "chat"), ("notifications", "notifications"), ("combined", None)):
            for role in ("user", "clinician", "service", "admin"):
                user = person(s)
                has_stream = stream and (role != "service" or stream == "chat")
                live = Live(s, node, endpoint, user=user, role=role)
                equal((live.auth["data"]["role"], live.auth["data"]["subscriptions"]), (role, [stream] if has_stream else []), f"{role} on {endpoint}")
                live.send("subscribe", subscription=f"health/{patient}", correlation="s")
                while (m := live.next()).get("correlation_id") != "s":
                    pass
                equal(m["data"].get("code", m["type"]), "subscribed" if role == "admin" else "forbidden", f"another's health, {role} on {endpoint}")
                live.close()
        with combined(s, node, clinician, f"health/{patient}", role="clinician") as live:
            equal(live.ask("set_threshold", {"metric": "pulse", "high": 100, "user_id": patient}, "threshold_set")["metric"], "pulse", "threshold")
            equal(len(live.ask("get_thresholds", {"user_id": patient}, "thresholds")["thresholds"]), 1, "thresholds")
            s.api.post("/ws/broadcast-health-update", {"user_id": patient, "metric": "pulse", "value": 120}, s.service()).want(200)
            equal([live.until("health_update", "health_alert")["type"] for _ in range(2)], ["health_update", "health_alert"], "what the clinician sees")
            equal(len(live.ask("get_health", {"user_id": patient}, "health_history")["readings"]), 1, "readings")
            equal(live.refused("health_update", {"metric": "pulse", "value": 1, "user_id": patient}), "forbidden", "a grant is to read")
            equal(live.refused("subscribe", subscription=f"notifications/{patient}"), "forbidden", "the patient's notifications")
        with combined(s, node, clinician) as live:
            equal(live.refused("subscribe", subscription=f"health/{patient}"), "forbidden", "with the role of a user")


@test("user ids of odd characters: spaces, letters of all the world and 128 bytes may connect; a stream is theirs where a topic can have the name")
def _(s):
    with s.node(**TALKATIVE) as node:
        for user in ("a b", "jörg", "a@b.example", "x" * 128, "ü" * 64, "\U0001f4a9", "' or 1=1", '"quoted"', "back\\slash", "{}", "-7", "007", "1e5", "999999999999999", "9999999999999999"):
            allowed = all(ch.isascii() and (ch.isalnum() or ch in "_.:/-") for ch in user) and len(user) <= 114
            for endpoint in ("combined", "chat"):
                live = Live(s, node, endpoint, user=user, authenticate=False)
                live.send("authenticate", token=s.token(user))
                m = live.next()
                if endpoint == "chat" and not allowed:
                    equal((m["type"], m["data"]["code"]), ("error", "invalid_user"), f"{user!r} on {endpoint}")
                    equal(live.client.closed()[0], 1008, "the close")
                    continue
                equal(m["type"], "authenticated", f"{user!r} on {endpoint}: {m}")
                equal(str(m["data"]["user_id"]), user, "user_id")
                if endpoint == "combined":
                    live.ask("get_preferences", want="preferences")
                    if allowed:
                        live.ask("health_update", {"metric": "m", "value": 1}, "health_update_stored")
                    else:
                        equal(live.refused("subscribe", subscription="chat"), "unknown_subscription", f"{user!r}")
                        equal(live.refused("health_update", {"metric": "m", "value": 1}) in ("invalid_message", "forbidden"), True, "a reading")
                live.close()
        for user in ("", "x" * 129, "new\nline", "\x00", "tab\t"):
            with Live(s, node, user=user, authenticate=False) as live:
                live.send("authenticate", token=s.token(user))
                equal(live.next()["data"]["code"], "authentication_failed", f"{user!r}")


# ---------------------------------------------------------------------------------------------------- time


@test("a heartbeat comes every TIDINGS_HEARTBEAT, also to who talks all the time, and before authenticate too")
def _(s):
    with s.node(TIDINGS_HEARTBEAT=1, **TALKATIVE) as node:
        with Live(s, node, user=person(s), authenticate=False) as live:
            equal(live.welcome["data"]["heartbeat_interval"], 1, "heartbeat_interval")
            for _ in range(2):
                equal(set(live.until("heartbeat")), {"type", "data", "timestamp"}, "members")
        with Live(s, node, user=person(s)) as live:

            def beat():
                live.send("ping")
                return live.until("pong", "heartbeat")["type"] == "heartbeat"

            for _ in range(2):
                wait_until(beat, "a heartbeat")


@test("a peer that answers no ping for two heartbeats is dropped, and is nobody any more")
def _(s):
    with s.node(TIDINGS_HEARTBEAT=1) as node:
        user = person(s)
        with RawClient(node.port, f"/ws/health?token={s.token(user)}") as raw:

            def written_down():
                # It lives as long as it answers.
                opcode, payload = raw.frame()
                if opcode == 9:
                    raw.send(10, payload)
                return count(s, "connection", f"user_id = '{user}'") > 0

            wait_until(written_down, "the connection to be written down")
            equal(raw.end(), None, "no close frame: nobody is there")
            wait_until(lambda: count(s, "connection", f"user_id = '{user}'") == 0, "the connection to be gone")


@test("no frame for the idle limit is 1001; a pong is a frame, and pongs keep a connection that says nothing")
def _(s):
    with s.node(TIDINGS_IDLE_TIMEOUT=2, TIDINGS_HEARTBEAT=60) as node, Live(s, node, user=person(s)) as live:
        equal(live.client.closed(), (1001, "idle"), "the close")
    with s.node(TIDINGS_IDLE_TIMEOUT=3, TIDINGS_HEARTBEAT=1) as node, Live(s, node, user=person(s)) as live:
        for _ in range(5):
            live.until("heartbeat")


# ---------------------------------------------------------------------------------------------------- notifications


def due_now(s, note):
    """As if its time to go again had come; and wakes the relay as a new one does."""
    s.sql(f"update tidings.notification set push_at = clock_timestamp() where id = '{note}' and push_at is not null; select tidings.notify('outbox', '')")


@test("a critical notification goes again when its time comes and on every reconnect, until it is acked, by id or by topic and seq")
def _(s):
    for by in ("id", "seq"):
        user = person(s)
        with s.node() as node2, combined(s, s.node1, user, "notifications") as live:
            note = notify(s, user, priority="critical")["id"]
            first = live.until("notification")
            equal((first["notification"]["id"], first["notification"]["priority"]), (note, "critical"), "the first time")
            due_now(s, note)
            second = live.until("notification")
            equal((second["notification"]["id"], second["seq"] > first["seq"]), (note, True), "the second time")
            with combined(s, node2, user, "notifications") as back:
                equal(back.until("notification")["notification"]["id"], note, "on a reconnect")
                # It may have been the second one, which the other node had not written down as delivered yet.
                wait_until(lambda: count(s, "notification", f"id = '{note}' and attempts >= 3"), "the third time")
                what = {"id": note} if by == "id" else {"topic": f"notifications/{user}", "seq": first["seq"]}
                back.ask("ack", what, "acked")
            equal(s.sql(f"select push_at is null, acked_at is not null from tidings.notification where id = '{note}'"), [["t", "t"]], "the receipt")
            # Three, or four where the first connection's coming was seen to when there was one to send again.
            last = live.until("notification")
            while last["seq"] < s.last_seq(f"notifications/{user}"):
                last = live.until("notification")
            # Until the node has written down that it was delivered, who comes without a cursor is given it once more.
            wait_until(lambda: s.sql(f"select 1 from tidings.delivered d join tidings.topic t on t.id = d.topic_id"
                                     f" where t.name = 'notifications/{user}' and d.seq >= {last['seq']}"), "the last one to be written down as delivered")
            due_now(s, note)
            with combined(s, node2, user, "notifications") as back:
                equal(notes_until_pong(back), [], "after the ack")
            # What comes next is another one: so that one did not come again.
            other = notify(s, user)["id"]
            after = live.until("notification")
            equal(after["notification"]["id"], other, f"after {last['seq']}: {after}")


@test("a notification that is off is stored and not pushed; quiet hours hold it until they end; critical ones ignore both")
def _(s):
    user = person(s)
    with combined(s, s.node1, user, "notifications") as live:
        live.ask("set_preferences", {"types": {"system": False}}, "preferences")
        off, critical = notify(s, user)["id"], notify(s, user, priority="critical")["id"]
        equal(live.until("notification")["notification"]["id"], critical, "what is pushed")
        live.ask("ack", {"id": critical}, "acked")
        got = live.ask("get_notifications", {}, "notifications")
        equal(({n["id"] for n in got["notifications"]}, got["unread"]), ({off, critical}, 2), "what is stored")
        equal(live.ask("mark_read", {"id": off}, "marked_read")["unread"], 1, "unread")
        live.ask("set_preferences", {"types": {"system": True}, "quiet_hours": {"start": "00:00", "end": "23:59", "time_zone": "UTC"}}, "preferences")
        if s.sql("select (now() at time zone 'UTC')::time < '23:58'") == [["t"]]:
            held, loud = notify(s, user)["id"], notify(s, user, priority="critical")["id"]
            equal(live.until("notification")["notification"]["id"], loud, "in quiet hours")
            live.ask("ack", {"id": loud}, "acked")
            live.ask("set_preferences", {"quiet_hours": None}, "preferences")
            equal(live.until("notification")["notification"]["id"], held, "when they have ended")
        equal(live.ask("get_preferences", {}, "preferences")["types"]["system"], True, "preferences")


@test("a reminder comes when it is due, not before, and only once")
def _(s):
    user = person(s)
    with s.node() as node2, combined(s, node2, user, "notifications") as live:
        reminder = notify(s, user, type="medication_reminder", deliver_at=ahead(1.5))["id"]
        later = notify(s, user, type="appointment_reminder", deliver_at=ahead(3600))["id"]
        now = notify(s, user)["id"]
        equal({live.until("notification")["notification"]["id"] for _ in range(2)}, {now, reminder}, "what comes")
        equal(s.sql(f"select sent_at >= due_at from tidings.notification where id = '{reminder}'"), [["t"]], "sent not before its time")
        equal(notes_until_pong(live), [], "and nothing else")
        equal({n["id"] for n in live.ask("get_notifications", {}, "notifications")["notifications"]}, {now, reminder}, "what is there")
        equal(live.refused("mark_read", {"id": later}), "forbidden", "one that is not due")


# ------------------------------------------------------------------------------------------------ many at once


@test("each subscribe is answered, also one that comes while the same is under way, or that an unsubscribe overtakes")
def _(s):
    d = s.diagnosis()
    topic = f"diagnosis/{d}"
    with s.node(**TALKATIVE) as node, combined(s, node, "456") as live:
        for round in range(10):
            said = []
            for n, kind in enumerate(("subscribe", "subscribe", "unsubscribe", "subscribe", "unsubscribe", "unsubscribe", "subscribe", "subscribe")):
                said.append(f"{round}-{n}")
                live.send(kind, subscription=topic, correlation=said[-1])
            answers = {}
            while set(answers) != set(said):
                m = live.next()
                if "correlation_id" in m:
                    assert m["correlation_id"] not in answers, f"answered twice: {m}"
                    answers[m["correlation_id"]] = m["type"]
            equal(s.recommend(d)["clients_notified"], 1, "clients_notified")
            live.until("recommendation_update")
            live.ask("unsubscribe", want="unsubscribed", subscription=topic)


@test("subscriptions that come and go while pages of what was missed are under way: no message twice, none out of order, nothing is left behind")
def _(s):
    topics = [f"diagnosis/{s.diagnosis()}" for _ in range(3)]
    token = s.service()
    for topic in topics:
        for _ in range(6):
            s.api.post("/ws/publish", [{"topic": topic, "type": "n", "data": {"text": "x" * 2000}} for _ in range(100)], token).want(200)
    with s.node(TIDINGS_TAIL_MAX=65536, **TALKATIVE) as node, combined(s, node, "456") as live:
        epochs = {t: live.ask("subscribe", want="subscribed", subscription=t)["cursor"].split("-")[0] for t in topics}
        for t in topics:
            live.ask("unsubscribe", want="unsubscribed", subscription=t)
        for _ in range(5):
            for t in topics:
                live.send("subscribe", subscription=t, cursor=f"{epochs[t]}-0")
            for t in topics[:2]:
                live.send("unsubscribe", subscription=t)
            live.send("subscribe", subscription=topics[0], cursor=f"{epochs[topics[0]]}-0", correlation="last")
            place, done = {}, False
            while not done or place.get(topics[0]) != 600 or place.get(topics[2]) != 600:
                m = live.next()
                if m["type"] == "subscribed":
                    done = done or m.get("correlation_id") == "last"
                    place[m["data"]["topic"]] = 0
                elif m["type"] == "reconnect_messages":
                    for x in m["data"]["messages"]:
                        equal(x["seq"], place[x["topic"]] + 1, f"seq in {x['topic']}")
                        place[x["topic"]] = x["seq"]
                elif "seq" in m:
                    equal(m["seq"], place[m["topic"]] + 1, f"seq in {m['topic']}")
                    place[m["topic"]] = m["seq"]
            for t in topics:
                live.ask("unsubscribe", want="unsubscribed", subscription=t)
        wait_until(lambda: all(s.watchers(t.split("/")[1]) == 0 for t in topics), "nobody to be counted")


@test("a flood of acts that is not read is answered or refused, each once, and delays nobody else")
def _(s):
    with s.node(**TALKATIVE) as node, combined(s, node, person(s)) as calm:
        with combined(s, node, person(s)) as flood:
            for n in range(1000):
                flood.send("health_update", {"metric": "m", "value": n}, f"f{n}")
            calm.ask("health_update", {"metric": "m", "value": 1}, "health_update_stored")
            seen, stored = set(), 0
            while len(seen) < 1000:
                m = flood.next()
                assert m["correlation_id"] not in seen, m
                seen.add(m["correlation_id"])
                stored += m["type"] == "health_update_stored"
                assert m["type"] == "health_update_stored" or m["data"]["code"] == "rate_limited", m
            assert stored >= 64, stored
            flood.ask("get_preferences", want="preferences")


@test("clients that vanish with acts, subscriptions and pages under way leave nothing behind")
def _(s):
    user = person(s)
    with s.node(TIDINGS_LIVE_CONNECTIONS_MAX=1000, **TALKATIVE) as node:
        for n in range(40):
            raw = RawClient(node.port, f"/ws/{('health', 'chat', 'notifications', 'combined')[n % 4]}?token={s.token(user)}")
            for message in ({"type": "subscribe", "subscription": "health_updates"}, {"type": "health_update", "metric": "m", "value": n}, {"type": "get_health"},
                            {"type": "unsubscribe", "subscription": "health_updates"}, {"type": "subscribe", "subscription": "notifications"})[: n % 6]:
                raw.send(1, json.dumps(message).encode())
            if n % 3:
                raw.next()
            raw.s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            raw.close()
        # Whoever comes after them was let in after them.
        with Live(s, node, user=user) as last:
            wait_until(lambda: s.sql(f"select distinct id from tidings.connection where user_id = '{user}'") == [[last.id]], "all connections to be gone")
        wait_until(lambda: count(s, "connection", f"user_id = '{user}'") == 0, "the last to be gone")
        present = f"select coalesce(sum(p.clients), 0) from tidings.presence p join tidings.topic t on t.id = p.topic_id where t.name like '%/{user}'"
        wait_until(lambda: s.sql(present) == [["0"]], "their presence to be gone")


@test("a token of another role refreshes nothing: it does not take along what the old role could read, and that one goes on")
def _(s):
    d, user = s.diagnosis(owner=person(s)), person(s)
    with combined(s, s.node1, user, f"diagnosis/{d}", role="admin") as live:
        equal(live.refused("refresh_token", token=s.token(user)), "authentication_failed", "another role")
        s.recommend(d, token=s.service())
        # An answer to a ping might overtake it.
        live.until("recommendation_update")
