"""What is kept: the newest 100, whatever is young, nothing that is too old."""
from database import Item, Request, batch_sql
from harness import equal, test, wait_until


@test("what is over the count stays while it is young, and goes when it is not")
def count_and_age(db):
    topic = db.topic()
    db.publish(topic, count=30, queue_max=10)
    equal(db.counter(topic), (1, 30), "young: first and last")
    db.age(topic, 61)
    db.publish(topic, count=5, queue_max=10)
    equal(db.counter(topic), (26, 35), "old: first and last")
    equal(db.kept(topic), list(range(26, 36)), "kept")


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
    db.publish(topic, count=12)
    db.age(topic, 61)
    db.publish(topic, count=20)
    db.publish(topic, queue_max=5)
    equal(db.counter(topic), (13, 33), "first and last")
    equal(db.kept(topic), list(range(13, 34)), "kept")


@test("a backlog is trimmed a bounded number at a time, faster than it grows")
def bounded(db):
    topic = db.topic()
    db.publish(topic, count=400, queue_max=10)
    db.age(topic, 61)
    db.publish(topic, queue_max=10)
    first, last = db.counter(topic)
    assert 1 < first < 50, f"trimmed up to {first} at once"
    equal(db.kept(topic), list(range(first, last + 1)), "kept without a hole")
    for _ in range(25):
        db.publish(topic, queue_max=10)
    equal(db.counter(topic), (401, 426), "first and last: all that is old is gone")


@test("what an ephemeral message trims, which has no seq itself, is known to be gone")
def by_ephemeral(db):
    topic = db.topic()
    db.publish(topic, count=40, queue_max=10)
    db.age(topic, 61)
    db.batch([Request([Item(topic, ephemeral=True)])], queue_max=10)
    first, last = db.counter(topic)
    assert first > 1 and last == 40, (first, last)
    equal(db.kept(topic), list(range(first, last + 1)), "kept")


@test("several topics of one batch are trimmed each by its own limits")
def several(db):
    topics = [db.topic() for _ in range(3)]
    for n, t in enumerate(topics):
        db.publish(t, count=10 + 5 * n)
        db.age(t, 61)
    db.batch([Request([Item(t) for t in topics])], queue_max=15)
    equal([db.counter(t) for t in topics], [(1, 11), (2, 16), (7, 21)], "first and last")


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


@test("the sweep waits for no appender, and does not take back what one trimmed meanwhile")
def sweep_and_appender(db):
    topic, appender, sweeper = db.topic(), db.session(), db.session("tidings_sidecar")
    db.publish(topic, count=30)
    db.age(topic, 61)
    appender.sql("begin")
    db.batch([Request([Item(topic)])], appender, queue_max=10)
    sweeper.sql("select tidings.sweep(0, 100000, 20, 60, 604800)")
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
                for table in ("message", "topic", "delivered"):
                    db.sql(f"vacuum tidings.{table}")

    def sizes():
        return {t: int(db.one(f"select pg_total_relation_size('tidings.{t}')")) for t in ("message", "topic", "delivered", "node")}

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
