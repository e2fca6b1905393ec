"""Generic publish (spec 3.2)."""
import datetime
import json
import uuid

from harness import equal, test, wait_until

PUBLISH = "/ws/publish"


def ahead(seconds):
    now = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=seconds)
    return now.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def topic(d):
    return f"diagnosis/{d}"


@test("one message to any topic is answered with its result, and arrives with exactly its fields")
def _(s):
    d = s.diagnosis()
    with s.connect(d) as client:
        reply = s.api.post(PUBLISH, {"topic": topic(d), "type": "note", "data": {"a": [1, None]}, "priority": "high",
                                     "correlation_id": "c-1"}, s.service()).want(200)
        equal(reply, {"status": "broadcasted", "results": [{"topic": topic(d), "seq": 1, "clients_notified": 1}]}, "reply")
        got = client.next()
        assert got.pop("timestamp"), got
        equal({k: got[k] for k in ("type", "diagnosis_id", "seq", "data", "priority", "correlation_id")}, {
            "type": "note", "diagnosis_id": d, "seq": 1, "data": {"a": [1, None]}, "priority": "high", "correlation_id": "c-1"}, "message")
        for data in (1, "x", None, [], True):
            s.api.post(PUBLISH, {"topic": topic(d), "type": "note", "data": data}, s.token("root", role="admin")).want(200)
            equal(client.next()["data"], data, "data")


@test("topics of a service's own take messages, too")
def _(s):
    name = f"News.{uuid.uuid4()}:a/b_c-d"
    for n in (1, 2):
        equal(s.api.post(PUBLISH, {"topic": name, "type": "x", "data": {}}, s.service()).want(200)["results"],
              [{"topic": name, "seq": n, "clients_notified": 0}], "results")


@test("a batch of 500 over several topics is published in its order; 501 are refused")
def _(s):
    one, two = s.diagnosis(), s.diagnosis()
    with s.connect(one) as client, s.connect(two) as client2:
        batch = [{"topic": topic(two if n % 5 == 0 else one), "type": "n", "data": n} for n in range(500)]
        results = s.api.post(PUBLISH, batch, s.service()).want(200)["results"]
        equal([r["topic"] for r in results], [m["topic"] for m in batch], "topics")
        equal([r["seq"] for r in results if r["topic"] == topic(two)], list(range(1, 101)), "seqs")
        equal([m["data"] for m in client2.take(100)], list(range(0, 500, 5)), "messages")
        equal([m["data"] for m in client.take(400)], [n for n in range(500) if n % 5], "messages")
        s.api.post(PUBLISH, batch + batch[:1], s.service()).want(422)
        equal(s.recommend(one)["seq"], 401, "seq of the next message")


@test("a batch with one refused or invalid item publishes nothing")
def _(s):
    d = s.diagnosis()
    fine = {"topic": topic(d), "type": "x", "data": 1}
    errors = s.api.post(PUBLISH, [fine, {**fine, "type": ""}], s.service()).want(422)["errors"]
    assert any("1" in e["field"] for e in errors), f"which item: {errors}"
    s.api.post(PUBLISH, [fine, {**fine, "topic": "diagnosis/987654321"}], s.service()).want(404)
    s.api.post(PUBLISH, [fine, {**fine, "topic": "news"}], s.token()).want(403)
    equal(s.recommend(d)["seq"], 1, "seq of the next message")


@test("an ephemeral message reaches who is connected, has no seq, and is not in the history")
def _(s):
    d = s.diagnosis(granted=["457"])
    with s.connect(d) as client, s.connect(d, user="457") as other:
        reply = s.api.post(PUBLISH, {"topic": topic(d), "type": "typing", "data": {"on": True}, "ephemeral": True}, s.service()).want(200)
        result = reply["results"][0]
        equal((result["topic"], result.get("seq"), result["clients_notified"]), (topic(d), None, 2), "result")
        got = client.next()
        equal((got["type"], got["data"], "seq" in got), ("typing", {"on": True}, False), "message")
        other.next()
        s.api.post(PUBLISH, {"topic": topic(d), "type": "typing", "data": 2, "ephemeral": True, "to_user_id": 457}, s.service()).want(200)
        s.api.post(PUBLISH, {"topic": topic(d), "type": "typing", "data": 3, "ephemeral": True, "exclude_connection_id": other.id},
                   s.service()).want(200)
        s.recommend(d)
        equal(other.next()["data"], 2, "to_user_id")
        equal([m.get("data") for m in client.take(2)][0], 3, "exclude_connection_id")
        equal(other.next()["seq"], 1, "seq of a stored one")
    equal([m["type"] for m in s.api.get(f"/ws/history/{d}", s.token()).want(200)["messages"]], ["recommendation_update"], "history")


@test("an ephemeral message over 7,500 bytes is refused, one of about that much arrives")
def _(s):
    d = s.diagnosis()
    with s.connect(d) as client:
        s.api.post(PUBLISH, {"topic": topic(d), "type": "x", "data": "x" * 7600, "ephemeral": True}, s.service()).want(422)
        s.api.post(PUBLISH, {"topic": topic(d), "type": "x", "data": "x" * 7000, "ephemeral": True}, s.service()).want(200)
        equal(len(client.next()["data"]), 7000, "length")


@test("deliver_at a moment ahead is scheduled, then arrives once, and is not there before")
def _(s):
    d = s.diagnosis()
    with s.connect(d) as client:
        reply = s.api.post(PUBLISH, {"topic": topic(d), "type": "later", "data": 1, "deliver_at": ahead(600)}, s.service()).want(200)
        equal(reply["results"][0].get("seq"), None, "seq of a scheduled message")
        equal(s.recommend(d, "now")["seq"], 1, "seq of what is sent now")
        # The moment is put off until here: a slow machine must not reach it earlier.
        soon = s.sql(f"update tidings.outbox set deliver_at = clock_timestamp() + interval '1 s' where topic = '{topic(d)}' returning deliver_at; "
                     "select tidings.notify('outbox', '')")[0][0]
        equal([m["type"] for m in client.take(2)], ["recommendation_update", "later"], "order")
        equal(s.sql(f"select m.created_at >= '{soon}' from tidings.message m join tidings.topic t on t.id = m.topic_id where t.name = '{topic(d)}' "
                    "and m.seq = 2"), [["t"]], "delivered not before its time")
        equal(s.recommend(d)["seq"], 3, "seq of the next message")
    s.api.post(PUBLISH, {"topic": topic(d), "type": "past", "data": 1, "deliver_at": ahead(-5)}, s.service()).want(200)


@test("what has expired is delivered to nobody, and is no hole")
def _(s):
    d = s.diagnosis()
    with s.connect(d) as client:
        cursor = client.cursor
    s.recommend(d, "first")
    s.api.post(PUBLISH, {"topic": topic(d), "type": "brief", "data": 1, "expires_at": ahead(1)}, s.service()).want(200)
    s.api.post(PUBLISH, {"topic": topic(d), "type": "lasting", "data": 1, "expires_at": ahead(600)}, s.service()).want(200)

    def types():
        return [m["type"] for m in s.api.get(f"/ws/history/{d}", s.token()).want(200)["messages"]]

    wait_until(lambda: types() == ["recommendation_update", "lasting"], "the message to expire")
    with s.connect(d, cursor=cursor) as client:
        equal(client.first["data"]["recovered"], True, "recovered")
        equal([m["type"] for m in client.next()["data"]["messages"]], ["recommendation_update", "lasting"], "messages")


@test("tidings.publish() in a transaction of anyone's is delivered when it commits, and not when it does not")
def _(s):
    d = s.diagnosis()
    with s.connect(d) as client:
        s.sql(f"begin; select tidings.publish('{topic(d)}', 'no', '1'::json); rollback")
        s.sql(f"begin; select tidings.publish('{topic(d)}', 'yes', '{json.dumps({'a': 1})}'::json); commit")
        got = client.next()
        equal((got["type"], got["data"], got["seq"]), ("yes", {"a": 1}, 1), "message")
