"""What is kept: the newest 100, whatever is young, nothing that is too old."""
import re

from database import Item, Request, batch_sql
from harness import equal, test, wait_until


@test("what is over the count stays while it is young, and goes when it is not")
def count_and_age(db):
    topic = db.topic()
    db.publish(topic, count=60, queue_max=10)
    equal(db.counter(topic), (1, 60), "young: first and last")
    db.age(topic, 61)
    db.publish(topic, count=5, queue_max=10)
    equal(db.counter(topic), (56, 65), "old: first and last")
    equal(db.kept(topic), list(range(56, 66)), "kept")


@test("publishing trims when 32 may go, all of them then; the sweep takes what is left")
def in_steps(db):
    topic = db.topic()
    db.publish(topic, count=50)
    db.age(topic, 61)
    db.publish(topic, queue_max=20)
    equal(db.counter(topic), (1, 51), "31 are over: first and last")
    db.publish(topic, queue_max=20)
    equal(db.counter(topic), (33, 52), "32 are over: first and last")
    db.publish(topic, count=10, queue_max=20)
    db.age(topic, 61)
    db.sweep(queue_max=20)
    equal(db.counter(topic), (43, 62), "after the sweep: first and last")


@test("publishing does not write the topic's row: a long snapshot has no versions of it to keep")
def row_is_not_written(db):
    topic, snapshot = db.topic(), db.session("postgres")
    db.publish(topic)
    version = lambda: db.sql(f"select xmin, ctid from tidings.topic where name = '{topic}'")
    before = version()
    snapshot.sql("begin isolation level repeatable read")
    snapshot.sql("select")
    for _ in range(20):
        db.publish(topic, count=2)
    equal(version(), before, "the row's version")
    equal(db.counter(topic), (1, 41), "first and last")


@test("what is old but not over the count stays")
def age_without_count(db):
    topic = db.topic()
    db.publish(topic, count=10, queue_max=10)
    db.age(topic, 3600)
    db.publish(topic, queue_max=11)
    equal(db.counter(topic), (1, 11), "first and last")


@test("only what is old goes, although more is over the count")
def partly_old(db):
    topic = db.topic()
    db.publish(topic, count=40)
    db.age(topic, 61)
    db.publish(topic, count=20)
    db.publish(topic, queue_max=5)
    equal(db.counter(topic), (41, 61), "first and last")
    equal(db.kept(topic), list(range(41, 62)), "kept")


@test("a backlog is trimmed a bounded number at a time, faster than it grows")
def bounded(db):
    topic = db.topic()
    db.publish(topic, count=400, queue_max=10)
    db.age(topic, 61)
    db.publish(topic, queue_max=10)
    first, last = db.counter(topic)
    assert 1 < first < 100, f"trimmed up to {first} at once"
    equal(db.kept(topic), list(range(first, last + 1)), "kept without a hole")
    for _ in range(25):
        db.publish(topic, queue_max=10)
    assert 401 - 32 < db.counter(topic)[0] <= 401, f"{db.counter(topic)}: what is old is gone, but for the last few"
    db.sweep(queue_max=10)
    equal(db.counter(topic), (401, 426), "first and last after a sweep")


@test("several topics of one batch are trimmed each by its own limits")
def several(db):
    topics = [db.topic() for _ in range(3)]
    for n, t in enumerate(topics):
        db.publish(t, count=40 + 10 * n)
        db.age(t, 61)
    db.batch([Request([Item(t) for t in topics])], queue_max=15)
    equal([db.counter(t) for t in topics], [(1, 41), (37, 51), (47, 61)], "first and last")


@test("the sweep trims quiet topics: by count and age, and by age alone past the TTL")
def sweep(db):
    crowded, stale, young = db.topic(), db.topic(), db.topic()
    for t in (crowded, stale, young):
        db.publish(t, count=20)
    db.age(crowded, 61)
    db.age(stale, 604801)
    db.publish(stale, count=2)
    db.sweep(queue_max=10)
    equal([db.counter(t) for t in (crowded, stale, young)], [(11, 20), (21, 22), (1, 20)], "first and last")
    equal([len(db.kept(t)) for t in (crowded, stale, young)], [10, 2, 20], "kept")
    db.age(stale, 604801)
    db.sweep()
    equal((db.counter(stale), db.kept(stale)), ((23, 22), []), "an empty queue")
    equal(db.publish(stale)[0].seq, 23, "the next seq")


@test("the metrics tell what was trimmed because it was too many, too old, and expired")
def reasons(db):
    def trimmed():
        found = re.findall(r'tidings_trimmed_messages_total\{reason="(\w+)"\} (\d+)', "\n".join(r[0] for r in db.sql("select tidings.metrics()", user="tidings_status")))
        return {reason: int(messages) for reason, messages in found}

    db.end_sessions()  # so that all they did is in the statistics
    db.sweep()
    before = trimmed()
    crowded, stale = db.topic(), db.topic()
    db.publish(crowded, count=20)
    db.publish(stale, count=3)
    db.publish(stale, count=4, expires_at=db.one("select now() + interval '1 hour'"))
    db.age(crowded, 61)
    db.age(stale, 604801)
    db.sql(f"update tidings.message set expires_at = now() - interval '1 s' where topic_id = {db.topic_id(stale)} and expires_at is not null")
    db.sweep(queue_max=10)
    wait_until(lambda: {r: n - before[r] for r, n in trimmed().items()} == {"count": 10, "age": 3, "expired": 4}, "10, 3 and 4")


@test("a TTL below the minimal age counts: also what is over the count goes by it")
def short_ttl(db):
    topic = db.topic()
    db.publish(topic, count=10)
    db.age(topic, 20)
    db.publish(topic, count=10)
    db.sweep(queue_max=15, min_age_s=60, ttl_s=10)
    equal(db.counter(topic), (11, 20), "first and last")


@test("a sweep deletes no more rows in a call than it is told, goes on where it ended, and one node does it at a time")
def sweep_in_steps(db):
    topics, other = [db.topic() for _ in range(3)], db.session("tidings_sidecar")
    db.sweep()
    db.batch([Request([Item(t) for _ in range(100)]) for t in topics] + [Request([Item(topics[0])], key=f"sweep{n}", hash="1") for n in range(100)])
    for t in topics:
        db.age(t, 61)
    db.sql("update tidings.idempotency set created_at = created_at - interval '25 hours' where key like 'sweep%'")
    other.sql("begin")
    other.sql("select tidings.sweep(0, 100000, 0, 10, 60, 604800)")
    equal(db.sweep(queue_max=10, rows=64), 1, "calls while another is at it")
    equal([len(db.kept(t)) for t in topics], [200, 100, 100], "kept while another is at it")
    other.sql("rollback")
    after, steps = "0", []
    left = lambda: [int(db.one(f"select count(*) from tidings.{t}")) for t in ("message", "idempotency where key like 'sweep%'")]
    before = left()
    while after:
        after = db.sidecar(f"select tidings.sweep({after}, 1000, 64, 10, 60, 604800)")[0][0]
        now = left()
        steps.append(tuple(b - n for b, n in zip(before, now)))
        before = now
    assert all(messages <= 64 and keys <= 64 for messages, keys in steps), steps
    equal([sum(s) for s in zip(*steps)], [370, 100], "messages and keys deleted")
    equal([len(db.kept(t)) for t in topics], [10, 10, 10], "kept")


@test("the sweep waits for no appender, and does not take back what one trimmed meanwhile")
def sweep_and_appender(db):
    topic, appender, sweeper = db.topic(), db.session(), db.session("tidings_sidecar")
    db.publish(topic, count=60)
    db.age(topic, 61)
    appender.sql("begin")
    db.batch([Request([Item(topic)])], appender, queue_max=10)
    sweeper.sql("select tidings.sweep(0, 100000, 1000, 20, 60, 604800)")
    appender.sql("commit")
    db.sweep(queue_max=25)
    first, last = db.counter(topic)
    equal(db.kept(topic), list(range(first, last + 1)), "kept without a hole")


@test("under sustained publishing the tables stop growing, and the updates of counters are HOT")
def no_growth(db):
    topics = [db.topic() for _ in range(8)]
    db.batch([Request([Item(t)]) for t in topics])
    ids = [db.topic_id(t) for t in topics]
    requests = [Request([Item(t, '{"type":"t","data":{"x":"' + "x" * 300 + '"}}')]) for t in topics for _ in range(40)]
    publisher, sidecar, node = db.session(), db.session("tidings_sidecar"), db.node()
    sql = batch_sql(requests, min_age_s=0)

    def publish(first, last):
        for n in range(first, last):
            publisher.sql(sql)
            db.flush(node, delivered=[(i, n) for i in ids], run=sidecar.sql)
            sidecar.sql(f"select tidings.heartbeat('{node}', now()::text, 1, 1, '{{}}', '{{}}', '{{}}')")
            if n % 20 == 0:
                for table in ("message", "topic", "delivered", "node"):
                    db.sql(f"vacuum tidings.{table}")

    def sizes():
        return {t: int(db.one(f"select pg_relation_size('tidings.{t}') + pg_indexes_size('tidings.{t}')")) for t in ("message", "topic", "delivered", "node")}

    def updates(table):
        return [int(v) for v in db.sql(f"select n_tup_upd, n_tup_hot_upd from pg_stat_user_tables where relname = '{table}'")[0]]

    publish(1, 60)
    before = sizes()
    publish(60, 180)
    after = sizes()
    for table in before:
        assert after[table] <= before[table] * 1.1, f"{table}: {before[table]} bytes, then {after[table]}"
    db.end_sessions()
    wait_until(lambda: updates("delivered")[0] >= 170 * 8, "the statistics")
    for table in ("topic", "delivered", "node"):
        total, hot = updates(table)
        assert hot >= total * 0.9, f"{hot} of {total} updates of {table} were HOT"
