"""What the pages read: history and status."""
import json
import uuid

from harness import equal, test, wait_until


def header(rows):
    """outcome, recovered, missed_from, missed_to, next_seq, and the seqs"""
    return [*rows[0][:1], *rows[0][2:6], [int(r[6]) for r in rows if r[6]]]


@test("history without a cursor gives the newest, with one what lies after it")
def history(db):
    topic = db.topic()
    equal(header(db.history(topic)), ["ok", "t", "", "", "0", []], "of what is new")
    db.publish(topic, count=12)
    epoch = db.history(topic)[0][1]
    equal(header(db.history(topic, limit=5)), ["ok", "t", "", "", "12", [8, 9, 10, 11, 12]], "the newest")
    equal(header(db.history(topic, epoch=epoch, after=3, limit=4)), ["ok", "t", "", "", "7", [4, 5, 6, 7]], "after a cursor")
    equal(header(db.history(topic, epoch=epoch, after=12)), ["ok", "t", "", "", "12", []], "at the end")
    equal(epoch, db.attach(("456", "user", topic))[0][2], "epoch, as attach says it")


@test("history says what is missing: a gap, another epoch, a cursor from the future")
def history_gap(db):
    topic = db.topic()
    db.publish(topic, count=50)
    db.age(topic, 61)
    db.publish(topic, queue_max=10)
    epoch = db.history(topic)[0][1]
    equal(header(db.history(topic, epoch=epoch, after=3))[:5], ["ok", "f", "4", "41", "51"], "a gap")
    equal(header(db.history(topic, epoch=epoch, after=41))[1:4], ["t", "", ""], "just none")
    for what, where in (("another epoch", {"epoch": "0123456789abcd", "after": 42}), ("the future", {"epoch": epoch, "after": 52})):
        equal(header(db.history(topic, limit=3, **where)), ["ok", "f", "", "", "51", [49, 50, 51]], what)


@test("history shows what is for that user, and nothing that has expired; the cursor passes over the rest")
def history_some(db):
    topic = db.topic()
    db.publish(topic, to_user="456"), db.publish(topic, to_user="789"), db.publish(topic)
    db.publish(topic, expires_at="2001-01-01T00:00:00Z"), db.publish(topic, to_user="789")
    equal(header(db.history(topic))[4:], ["5", [1, 3]], "of the owner")
    epoch = db.history(topic)[0][1]
    equal(header(db.history(topic, epoch=epoch, after=3))[4:], ["5", []], "nothing to show, yet further on")


@test("history asks the same rule as everything")
def history_refused(db):
    topic = db.topic("789")
    equal([db.history(topic, user="456")[0][0], db.history("diagnosis/999999996")[0][0], db.history(topic, user=None)[0][0],
           db.history(topic, user="svc", role="service")[0][0], db.history(topic, user="root", role="admin")[0][0]],
          ["forbidden", "not_found", "forbidden", "forbidden", "ok"], "outcomes")


@test("status counts what is connected to nodes that live, and what waits that nobody was sent")
def status(db):
    db.sql("delete from tidings.node; delete from tidings.presence; delete from tidings.connection")
    read = lambda: json.loads(db.one("select tidings.status()", user="tidings_status"))
    empty = read()
    for key in ("total_diagnoses", "total_connections", "active_connections", "connections_opened", "users_online"):
        equal(empty[key], 0, key)
    equal((empty["connections_by_diagnosis"], empty["nodes"]), ({}, []), "of an idle system")
    a, b, health = db.topic(), db.topic(), "health/456"
    db.publish(a, count=4), db.publish(a, to_user="z"), db.publish(b, count=2), db.publish(health)
    ids = [db.topic_id(t) for t in (a, b, health)]
    node, dead = db.node(), db.node()
    c = [str(uuid.uuid4()) for _ in range(4)]
    db.flush(node, presence=[(ids[0], 2), (ids[2], 1)], opened=[(c[0], ids[0], "u"), (c[1], ids[0], None), (c[2], ids[2], "u")], delivered=[(ids[0], 5)])
    db.flush(dead, presence=[(ids[1], 1)], opened=[(c[3], ids[1], "v")])
    db.sql(f"update tidings.node set opened = 9; update tidings.node set heartbeat_at = now() - interval '16 s' where id = '{dead}'")
    got = read()
    number = lambda topic: topic.split("/")[1]
    equal({k: got[k] for k in ("total_diagnoses", "total_connections", "active_connections", "connections_opened", "users_online")},
          {"total_diagnoses": 1, "total_connections": 3, "active_connections": 3, "connections_opened": 9, "users_online": 1}, "counts")
    equal(got["connections_by_diagnosis"], {number(a): 2}, "connections_by_diagnosis")
    queued = got["queued_messages_by_diagnosis"]
    equal((queued.get(number(a)), queued.get(number(b))), (1, 2), "queued: the one for z, and two that nobody was sent")
    equal(got["subscriptions"], {"health_updates": 1, "chat": 0, "notifications": 0}, "subscriptions")
    equal(got["connections_by_transport"], {"websocket": 3, "sse": 0, "long_poll": 0}, "connections_by_transport")
    equal([(n["id"], n["connections"]) for n in got["nodes"]], [(node, 3)], "nodes")
    equal(db.one("select tidings.live_nodes()", user="tidings_status"), "1", "live nodes")


@test("what /health tries is done by the role of the status alone; a disk that takes no more is an error, a read-only server a no")
def commit_works(db):
    session = db.session("tidings_status")
    before = db.one("select pg_current_wal_insert_lsn()")
    equal(session.sql("select tidings.commit_works()"), [["t"]], "works")
    equal(db.one(f"select pg_current_wal_insert_lsn() > '{before}'"), "t", "something was written")
    session.sql("set default_transaction_read_only = on")
    equal(session.sql("select tidings.commit_works()"), [["f"]], "works when read-only")
    # As much room as a disk that is full.
    db.sql("alter role tidings_status set temp_file_limit = 0")
    try:
        assert "temp_file_limit" in db.psql("select tidings.commit_works()", user="tidings_status").stderr, "nothing was written to a file"
    finally:
        db.sql("alter role tidings_status reset temp_file_limit")


@test("history that is read while its topic is trimmed says what is missing")
def history_trimmed(db):
    # What is kept was looked at in one statement and read in the next: what was trimmed between them was a silent hole.
    topic = db.topic()
    db.publish(topic, count=20)
    n, epoch = db.topic_id(topic), db.history(topic)[0][1]
    trimmer, reader = db.session("postgres"), db.session("tidings_reader")
    trimmer.sql("begin")
    trimmer.sql("lock tidings.message")
    reader.send(f"select * from tidings.history('456', 'user', '{topic}', '{epoch}', 3, 100)")
    waiting = "select count(*) from pg_stat_activity where wait_event_type = 'Lock' and query like '%tidings.history%' and pid <> pg_backend_pid()"
    wait_until(lambda: db.one(waiting) == "1", "the reader to wait for what it reads")
    trimmer.sql(f"delete from tidings.message where topic_id = {n} and seq <= 15")
    trimmer.sql(f"update tidings.topic set first_seq = 16 where id = {n}")
    trimmer.sql("commit")
    equal(header(reader.receive()), ["ok", "f", "4", "15", "20", [16, 17, 18, 19, 20]], "after a cursor")
