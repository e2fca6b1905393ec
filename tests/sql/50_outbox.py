"""publish() from anyone's own transaction, and the relay that moves what is due into the queue."""
import json

from harness import equal, test


def publish(topic, data="{}", **more):
    return f"select tidings.publish('{topic}', 't', '{data}'" + "".join(f", {k} => {v}" for k, v in more.items()) + ")"


@test("publish(): the message exists if and only if the transaction commits")
def commits(db):
    topic = db.topic()
    db.sql("begin; " + publish(topic, '{"n":1}') + "; rollback")
    equal(db.relay(), "", "nothing waits")
    db.sql("begin; " + publish(topic, '{"n":2}') + "; commit")
    equal((db.relay(), db.relay()), ("0", ""), "relay")
    (message,) = db.bodies(topic)
    equal({k: v for k, v in message.items() if k != "timestamp"}, {"type": "t", "topic": topic, "diagnosis_id": int(topic[10:]), "data": {"n": 2}}, "message")


@test("publish(): a transaction that stays open delays nobody, and comes after those that were faster")
def open_transaction(db):
    topic, slow = db.topic(), db.session("postgres")
    slow.sql("begin; " + publish(topic, '{"n":"slow"}'))
    db.sql(publish(topic, '{"n":"fast"}'))
    equal(db.relay(), "0", "relay")
    equal(db.publish(topic)[0].seq, 2, "the seq of another publisher")
    slow.sql("commit")
    equal(db.relay(), "0", "relay")
    equal([b["data"].get("n") for b in db.bodies(topic)], ["fast", None, "slow"], "order")


@test("publish() says what is wrong with a name, a type or data, and quotes what it is given")
def refuses(db):
    for call in ("select tidings.publish('a b', 't', '{}')", "select tidings.publish('', 't', '{}')", "select tidings.publish(repeat('a', 129), 't', '{}')",
                 "select tidings.publish(null, 't', '{}')", "select tidings.publish('a', '', '{}')", "select tidings.publish('a', 't', null)"):
        assert "tidings: " in db.psql(call).stderr, call
    db.sql("select tidings.publish('quoting', E'a\"\\\\', '[1]'), tidings.publish(repeat('a', 128), 't', '{}')")
    db.relay()
    equal(json.loads(db.one("select body from tidings.message m join tidings.topic t on t.id = m.topic_id where name = 'quoting'"))["type"], 'a"\\', "type")


@test("publish() rings for the relay when it commits")
def rings(db):
    listener = db.session("tidings_sidecar")
    listener.listen("outbox")
    db.sql(publish("rings/1"))
    equal(len(listener.notifications("outbox")), 1, "notifications")
    db.relay()


@test("the relay goes by deliver_at, then by order, 500 at a time, and says when the next is due")
def order(db):
    topic = db.topic()
    db.sql("begin; " + publish(topic, '{"n":2}', deliver_at="now() - interval '1 s'") + "; " + publish(topic, '{"n":3}', deliver_at="now() - interval '1 s'")
           + "; " + publish(topic, '{"n":1}', deliver_at="now() - interval '2 s'") + "; " + publish(topic, deliver_at="now() + interval '60 s'")
           + "; " + publish(topic, deliver_at="now() + interval '90 s'") + "; commit")
    equal(db.relay(), "0", "relay")
    due = int(db.relay())
    assert 50000 < due <= 60000, f"next in {due} ms"
    equal([b["data"]["n"] for b in db.bodies(topic)], [1, 2, 3], "order")
    db.sql("delete from tidings.outbox")
    db.sql("select tidings.publish('relay/' || n % 7, 't', '{}') from generate_series(1, 1100) n")
    equal([db.relay() for _ in range(4)], ["0", "0", "0", ""], "relay")
    equal(db.one("select count(*) from tidings.message m join tidings.topic t on t.id = m.topic_id where t.name like 'relay/%'"), "1100", "messages")


@test("one node relays at a time; what another transaction has locked is left for later")
def one_at_a_time(db):
    topic, first, holder = db.topic(), db.session("tidings_sidecar"), db.session("postgres")
    db.sql(publish(topic, '{"n":1}'))
    first.sql("begin")
    equal(first.sql("select tidings.relay(100, 60)"), [["0"]], "the first")
    equal(db.relay(), "-1", "the second meanwhile")
    first.sql("rollback")
    holder.sql("begin")
    holder.sql("select id from tidings.outbox for update")
    db.sql(publish(topic, '{"n":2}'))
    equal(db.relay(), "0", "relay")
    equal([b["data"]["n"] for b in db.bodies(topic)], [2], "moved, past the locked one")
    holder.sql("rollback")
    db.relay()
    equal([b["data"]["n"] for b in db.bodies(topic)], [2, 1], "moved at last")


@test("what has expired before it was due takes a seq and is never sent")
def expired(db):
    topic = db.topic()
    db.sql(publish(topic, expires_at="now() - interval '1 s'"))
    db.relay()
    equal([r[2] for r in db.fetch([(db.topic_id(topic), 0)])], [""], "bodies")
