"""The three diagnosis broadcasts (spec 3.1): what is answered, and what the clients get."""
import json
import re
import threading
import uuid
from decimal import Decimal

from harness import equal, test, wait_until

RECOMMENDATION = "/ws/broadcast-recommendation-update"
EFFECTIVENESS = "/ws/broadcast-effectiveness-update"
FEEDBACK = "/ws/broadcast-feedback-update"
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)$")


def is_cursor(text, seq):
    assert re.fullmatch(rf"[0-9a-z]{{1,32}}-{seq}", text), text


def is_time(text):
    assert isinstance(text, str) and TIME.match(text), f"not RFC 3339: {text!r}"


@test("a recommendation update is answered and arrives with exactly its fields")
def _(s):
    d = s.diagnosis()
    with s.connect(d) as client:
        reply = s.api.post(RECOMMENDATION, {
            "diagnosis_id": d, "old_data": {"herb": "Ginger", "dosage": "1g", "frequency": "2x daily"},
            "new_data": {"herb": "Turmeric", "dosage": "2g", "frequency": "3x daily"}, "reason": "User feedback – naïve ☕"},
            s.token()).want(200)
        equal(reply, {"status": "broadcasted", "diagnosis_id": d, "clients_notified": 1, "seq": 1}, "reply")
        got = client.next()
        is_time(got.pop("timestamp"))
        is_cursor(got.pop("cursor"), 1)
        is_time(got["data"].pop("timestamp"))
        equal(got, {"type": "recommendation_update", "topic": f"diagnosis/{d}", "diagnosis_id": d, "seq": 1, "data": {
            "old_recommendation": {"herb": "Ginger", "dosage": "1g", "frequency": "2x daily"},
            "new_recommendation": {"herb": "Turmeric", "dosage": "2g", "frequency": "3x daily"},
            "reason": "User feedback – naïve ☕", "changed_fields": ["herb", "dosage", "frequency"]}}, "message")


@test("changed_fields lists what differs in the new data's order, then what was removed")
def _(s):
    d = s.diagnosis()
    with s.connect(d) as client:
        for old, new, changed in (
                ({"a": 1, "b": 2, "c": 3}, {"c": 3, "b": 4, "n": 1}, ["b", "n", "a"]),
                ({}, {}, []),
                ({"z": 1, "y": 2}, {}, ["z", "y"]),
                ({"x": {"k": [1, 2], "l": None}}, {"x": {"l": None, "k": [1, 2]}}, []),
                ({"x": [1, 2]}, {"x": [2, 1]}, ["x"]),
                ({"x": 1}, {"x": "1"}, ["x"]),
                ({"x": None}, {}, ["x"]),
                ({"x": True}, {"x": 1}, ["x"])):
            s.recommend(d, old_data=old, new_data=new)
            equal(client.next()["data"]["changed_fields"], changed, f"changed_fields of {old} -> {new}")


@test("an effectiveness update is answered and arrives with exactly its fields")
def _(s):
    d = s.diagnosis()
    with s.connect(d) as client:
        reply = s.api.post(EFFECTIVENESS, {"diagnosis_id": d, "recommendation_id": 789, "new_effectiveness": 0.85, "confidence": 0.92,
                                           "sample_size": 150}, s.token()).want(200)
        equal(reply, {"status": "broadcasted", "diagnosis_id": d, "clients_notified": 1, "seq": 1}, "reply")
        got = client.next()
        is_time(got.pop("timestamp"))
        is_cursor(got.pop("cursor"), 1)
        got["data"].pop("timestamp", None)
        equal(got, {"type": "effectiveness_update", "topic": f"diagnosis/{d}", "diagnosis_id": d, "seq": 1, "data": {
            "recommendation_id": 789, "new_effectiveness": 0.85, "confidence": 0.92, "sample_size": 150}}, "message")


@test("improvement is counted from the old effectiveness given, else from the last one broadcast for that recommendation")
def _(s):
    d = s.diagnosis()
    with s.connect(d) as client:
        def update(recommendation, new, **more):
            s.api.post(EFFECTIVENESS, {"diagnosis_id": d, "recommendation_id": recommendation, "new_effectiveness": new,
                                       "confidence": 1, "sample_size": 0, **more}, s.token()).want(200)
            data = client.next()["data"]
            return data.get("old_effectiveness"), data.get("improvement")

        equal(update(1, 0.85, old_effectiveness=0.72, herb="Ginger"), (0.72, 0.13), "given")
        equal(update(1, 0.9), (0.85, 0.05), "the last one")
        equal(update(2, 0.5), (None, None), "another recommendation has none")
        equal(update(1, 0.4), (0.9, -0.5), "it may fall")
        equal(update(1, 0), (0.4, -0.4), "to nothing")
    other = s.diagnosis()
    with s.connect(other) as client:
        s.api.post(EFFECTIVENESS, {"diagnosis_id": other, "recommendation_id": 1, "new_effectiveness": 1, "confidence": 0,
                                   "sample_size": 1, "herb": "Ginger"}, s.token()).want(200)
        data = client.next()["data"]
        assert "improvement" not in data, f"another diagnosis' recommendation counted: {data}"
        equal(data["herb"], "Ginger", "herb")


@test("a feedback update is answered and arrives with exactly its fields")
def _(s):
    d = s.diagnosis()
    with s.connect(d) as client:
        sent = {"diagnosis_id": d, "feedback_id": 999, "rating": 5, "effectiveness": 0.95}
        equal(s.api.post(FEEDBACK, sent, s.token()).want(200),
              {"status": "broadcasted", "diagnosis_id": d, "clients_notified": 1, "seq": 1}, "reply")
        got = client.next()
        is_time(got.pop("timestamp"))
        is_cursor(got.pop("cursor"), 1)
        is_time(got["data"].pop("timestamp"))
        equal(got, {"type": "feedback_update", "topic": f"diagnosis/{d}", "diagnosis_id": d, "seq": 1,
                    "data": {"feedback_id": 999, "rating": 5, "effectiveness": 0.95}}, "message")
        s.api.post(FEEDBACK, {**sent, "recommendation_id": 7, "comment": "é" * 4000}, s.token()).want(200)
        data = client.next()["data"]
        equal((data["recommendation_id"], data["comment"]), (7, "é" * 4000), "optional fields")


@test("the data arrives as it was sent: numbers, escapes and characters of every kind")
def _(s):
    d = s.diagnosis()
    with s.connect(d) as client:
        odd = '{"big":12345678901234567890123,"small":1.10,"tiny":1e-7,"text":"\\u0041\\ud83d\\ude00 \\"q\\" \\\\ \\n </script> \\u2028",' \
              '"nested":{"a":[1,[2,{"b":null}]],"":true},"__proto__":{}}'
        body = '{"diagnosis_id":%d,"old_data":{},"new_data":%s,"reason":"\\u00e9\\t"}' % (d, odd)
        s.api.post(RECOMMENDATION, body, s.token()).want(200)
        text = client.text()
        got = json.loads(text, parse_float=Decimal)
        equal(got["data"]["new_recommendation"], json.loads(odd, parse_float=Decimal), "new_recommendation")
        equal(got["data"]["reason"], "é\t", "reason")
        # What no JSON reader could take on is refused, or comes out as JSON all the same.
        reply = s.api.post(RECOMMENDATION, '{"diagnosis_id":%d,"old_data":{},"new_data":{"x":1e400,"y":"\\u0000"},"reason":"r"}' % d,
                           s.token())
        if reply.status == 200:
            text = client.text()
            assert not re.search("Infinity|NaN", text), text
            equal(json.loads(text)["data"]["new_recommendation"]["y"], "\0", "NUL")
        else:
            assert reply.status in (400, 422), reply
            reply.check_problem()


@test("owner, granted, service and admin may broadcast")
def _(s):
    d = s.diagnosis(owner="ada", granted=["456"])
    with s.connect(d, user="ada") as client:
        for n, token in enumerate((s.token("ada"), s.token("456"), s.service(), s.token("root", role="admin"),
                                   s.token("svc", roles=["user", "service"])), 1):
            equal(s.recommend(d, token=token)["seq"], n, "seq")
            equal(client.next()["seq"], n, "seq")


@test("clients_notified counts those that are connected at that moment, and is exact as soon as their connect message arrived")
def _(s):
    d = s.diagnosis(granted=["457"])
    equal(s.recommend(d)["clients_notified"], 0, "nobody")
    clients = []
    for n in range(1, 5):
        clients.append(s.connect(d, user="456" if n % 2 else "457"))
        equal(s.recommend(d)["clients_notified"], n, "clients_notified")
    for client in clients:
        client.close()
    wait_until(lambda: s.recommend(d)["clients_notified"] == 0, "the clients to be gone")


@test("exclude_connection_id leaves that connection out, and only that one")
def _(s):
    d = s.diagnosis()
    with s.connect(d) as one, s.connect(d) as two:
        equal(s.recommend(d, "not for one", exclude_connection_id=one.id)["clients_notified"], 1, "clients_notified")
        equal(s.recommend(d, "for both", exclude_connection_id=str(uuid.uuid4()))["clients_notified"], 2, "clients_notified")
        equal([m["data"]["reason"] for m in two.take(2)], ["not for one", "for both"], "the other connection")
        equal(one.next()["data"]["reason"], "for both", "the excluded one's first message")


@test("to_user_id reaches that user's connections only, now and from the queue")
def _(s):
    d = s.diagnosis(granted=["457"])
    with s.connect(d, user="456") as owner, s.connect(d, user="457") as other, s.connect(d, user="457") as other2:
        equal(s.recommend(d, "personal", to_user_id=457)["clients_notified"], 2, "clients_notified")
        equal(s.recommend(d, "text id", to_user_id="457")["clients_notified"], 2, "clients_notified")
        equal(s.recommend(d, "all")["clients_notified"], 3, "clients_notified")
        for client in (other, other2):
            equal([m["data"]["reason"] for m in client.take(3)], ["personal", "text id", "all"], "the user's messages")
        equal(owner.next()["data"]["reason"], "all", "the other user's first message")
        cursor = owner.cursor
    with s.connect(d, user="456", cursor=cursor) as owner:
        equal([m["data"]["reason"] for m in owner.next()["data"]["messages"]], ["all"], "what another user resumes with")
        equal(owner.first["data"]["recovered"], True, "recovered: another user's message is no hole")


@test("an Idempotency-Key seen before returns the same reply and publishes nothing")
def _(s):
    d = s.diagnosis()
    key = {"Idempotency-Key": str(uuid.uuid4())}
    with s.connect(d) as client:
        first = s.recommend(d, "once", headers=key)
        equal(first["clients_notified"], 1, "clients_notified")
    with s.connect(d, cursor=client.cursor) as client:
        client.next()
        equal(s.recommend(d, "once", headers=key), first, "second reply")
        equal(s.recommend(d, "after")["seq"], 2, "seq of the next message")
        equal(client.next()["data"]["reason"], "after", "next message")


@test("an Idempotency-Key with another body is 422, and of another caller it is another key")
def _(s):
    d = s.diagnosis(granted=["457"])
    key = {"Idempotency-Key": str(uuid.uuid4())}
    s.recommend(d, "first", headers=key)
    s.recommend(d, "second", headers=key, want=422)
    equal(s.recommend(d, "first", token=s.token("457"), headers=key)["seq"], 2, "seq")
    s.api.post(FEEDBACK, {"diagnosis_id": d, "feedback_id": 1, "rating": 1, "effectiveness": 0}, s.token(), key).want(422)


@test("an Idempotency-Key that is too long or not printable is refused")
def _(s):
    d = s.diagnosis()
    for key in ("k" * 129, "a\tb", "é".encode("latin-1")):
        reply = s.api.post(RECOMMENDATION, {"diagnosis_id": d, "old_data": {}, "new_data": {}, "reason": "r"}, s.token(),
                           {"Idempotency-Key": key})
        assert reply.status in (400, 422), f"key {key!r}: {reply}"
        reply.check_problem()
    equal(s.recommend(d, headers={"Idempotency-Key": "k" * 128})["seq"], 1, "seq")


@test("sixteen concurrent requests with one Idempotency-Key publish once")
def _(s):
    d = s.diagnosis()
    key = {"Idempotency-Key": str(uuid.uuid4())}
    token, replies = s.token(), []
    threads = [threading.Thread(target=lambda: replies.append(s.recommend(d, "once", token, headers=key))) for _ in range(16)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    equal(len(replies), 16, "number of replies")
    assert all(r == replies[0] for r in replies), replies
    equal(s.recommend(d)["seq"], 2, "seq of the next message")
