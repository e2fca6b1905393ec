"""Many publishers at once: numbering, order, deadlocks."""
import random
import threading

from database import Item, Request, batch_sql, quote
from harness import equal, test


@test("concurrent publishers on overlapping topics: seq is dense, in commit order, and nobody deadlocks")
def dense_in_commit_order(db):
    topics = [db.topic() for _ in range(6)]
    db.batch([Request([Item(t)]) for t in topics])
    ids = {t: db.topic_id(t) for t in topics}
    rng = random.Random(7)
    publishers, batches, size = 4, 40, 24
    failures, seen, done = [], {i: 1 for i in ids.values()}, threading.Event()

    def publish(seed):
        mine = random.Random(seed)
        session = db.session()
        for _ in range(batches):
            left, skip = [Request([Item(mine.choice(topics))]) for _ in range(size)], bool(seed % 2)
            while left:
                rows = session.receive_after(batch_sql(left, skip_locked=skip))
                if any("lock timeout" in r[0] for r in rows):
                    skip = True
                elif any(len(r) != 4 or r[1] not in ("ok", "busy") for r in rows):
                    failures.append(rows)
                    break
                else:
                    left = [request for request, row in zip(left, rows) if row[1] == "busy"]

    def read():
        """Asks for what lies after its cursors, as a sidecar does."""
        session = db.session("tidings_sidecar")
        epochs = db.epochs(quote(list(seen), "int8"))
        last_look = False
        while not last_look:
            last_look = done.is_set()
            places = list(seen.items())
            rng.shuffle(places)
            for topic, seq, *_ in session.sql(
                    f"select topic_id, seq from tidings.fetch(array{[p[0] for p in places]}::int8[], "
                    f"array{[p[1] for p in places]}::int8[], {quote([epochs[str(p[0])] for p in places])}, 100000, 100000000)"):
                if int(seq) != seen[int(topic)] + 1:
                    failures.append(f"topic {topic}: {seq} after {seen[int(topic)]}")
                seen[int(topic)] = int(seq)

    reader = threading.Thread(target=read)
    writers = [threading.Thread(target=publish, args=(n,)) for n in range(publishers)]
    for t in [reader, *writers]:
        t.start()
    for t in writers:
        t.join()
    done.set()
    reader.join()
    equal(failures, [], "failures")
    equal(sum(seen.values()), publishers * batches * size + len(topics), "messages read")
    for t in topics:
        equal(db.kept(t), list(range(1, seen[ids[t]] + 1)), t)
        equal(db.one(f"select bool_and(ok) from (select created_at >= lag(created_at, 1, created_at) over (order by seq) as ok "
                     f"from tidings.message where topic_id = {ids[t]}) m"), "t", "created_at follows seq")
    equal(db.one("select deadlocks from pg_stat_database where datname = 'tidings'"), "0", "deadlocks")


@test("many make the same new topics at once, in different orders: each is made once")
def new_topics(db):
    for turn in range(5):
        names = [f"fresh/{turn}/{n}" for n in range(30)]
        sessions = [db.session() for _ in range(3)] + [db.session("tidings_sidecar")]
        left = [[Request([Item(t)]) for t in random.Random(n).sample(names, len(names))] for n in range(3)]
        sessions[3].send(f"select outcome from tidings.attach(array{['svc'] * 30}, array{['admin'] * 30}, array{names[::-1]})")
        skip = False
        while any(left):
            for s, requests in zip(sessions, left):
                s.send(batch_sql(requests, skip_locked=skip) if requests else "select")
            for n, s in enumerate(sessions[:3]):
                rows = s.receive() if left[n] else s.receive()[:0]
                if not any("lock timeout" in r[0] for r in rows):
                    assert len(rows) == len(left[n]) and all(r[1] in ("ok", "busy") for r in rows), rows
                    left[n] = [request for request, row in zip(left[n], rows) if row[1] == "busy"]
            skip = True
        rows = sessions[3].receive()
        assert len(rows) == 30 and all("ok" in r or "busy" in r for r in rows), rows
        equal(db.one(f"select count(*) from (select max(m.seq) as last from tidings.topic t join tidings.message m on m.topic_id = t.id "
                     f"where t.name like 'fresh/{turn}/%' group by t.id) topics where last = 3"), "30", "topics")
        db.end_sessions()


@test("one publisher that has not committed delays nobody: what is for the same topic is busy, and follows when it is tried again")
def waits_for_nobody(db):
    a, b = db.topic(), db.topic()
    first = db.session()
    for end, seq in (("rollback", 1), ("commit", 2)):
        first.sql("begin")
        equal([r.seq for r in db.batch([Request([Item(a)])], first)], [1], "seq")
        equal([(r.outcome, r.seq) for r in db.batch([Request([Item(a)]), Request([Item(b)]), Request([Item(b), Item(a)])])],
              [("busy", None), ("ok", seq), ("busy", None), ("busy", None)], "while the first has its topic")
        first.sql(end)
        equal(db.batch([Request([Item(a)])])[0].seq, seq, f"after its {end}")
        db.sql(f"delete from tidings.message where topic_id = {db.topic_id(a)}")


@test("a topic that another transaction has made, and not committed, delays nobody")
def new_topic_of_another(db):
    other = db.session()
    other.sql("begin")
    db.batch([Request([Item("unborn/1")])], other)
    equal([r.outcome for r in db.batch([Request([Item("unborn/2")]), Request([Item("unborn/1")]), Request([Item("unborn/3"), Item("unborn/1")])])],
          ["ok", "busy", "busy", "busy"], "outcomes")
    equal([r[0] for r in db.attach(("root", "admin", "unborn/1"), ("root", "admin", "unborn/4"))], ["busy", "ok"], "outcomes of attach")
    refusal = db.session("tidings_reader").receive_after("select outcome from tidings.history('root', 'admin', 'unborn/1', null, 0, 10)")[0][0]
    assert "is making this topic" in refusal, refusal
    other.sql("rollback")
    equal(db.batch([Request([Item("unborn/1")])])[0].seq, 1, "seq afterwards")


@test("flush, sweep, trimming and publishing of the same rows at once: no deadlock")
def no_deadlock(db):
    topics = [db.topic() for _ in range(4)]
    db.batch([Request([Item(t, to_user="456")]) for t in topics for _ in range(50)])
    ids = [db.topic_id(t) for t in topics]
    nodes = [db.node() for _ in range(2)]
    failures = []

    def repeat(user, make, times=60):
        session = db.session(user)
        for n in range(times):
            rows = session.receive_after(make(n))
            failures.extend(r for r in rows if r and r[0].startswith(("ERROR", "FATAL")))

    def publish(n):
        order = random.Random(n).sample(topics, 4)
        return batch_sql([Request([Item(t, to_user="456")]) for t in order * 5], queue_max=10, min_age_s=0)

    def mark(node):
        def make(n):
            rng = random.Random(n + hash(node))
            places = [(i, s) for i in ids for s in range(n * 5, n * 5 + 20)]
            rng.shuffle(places)
            found = []
            db.flush(node, presence=[(i, n % 3) for i in rng.sample(ids, 4)], delivered=[(i, n * 5) for i in rng.sample(ids, 4)],
                     sent=places, run=found.append)
            return found[0]
        return make

    work = [threading.Thread(target=repeat, args=a) for a in (
        ("tidings_publisher", publish), ("tidings_publisher", publish), ("tidings_sidecar", mark(nodes[0])), ("tidings_sidecar", mark(nodes[1])),
        ("tidings_sidecar", lambda n: "select tidings.sweep(0, 100000, 1000, 10, 0, 604800)"),
        ("tidings_sidecar", lambda n: f"select tidings.heartbeat('{nodes[n % 2]}', now()::text, 1, 1, '{{}}', '{{}}', '{{}}')"))]
    for t in work:
        t.start()
    for t in work:
        t.join()
    equal(failures, [], "failures")
    equal(db.one("select deadlocks from pg_stat_database where datname = 'tidings'"), "0", "deadlocks")
    for t in topics:
        first, last = db.counter(t)
        equal(db.kept(t), list(range(first, last + 1)), f"{t} is kept without a hole")


@test("whoever appends in a transaction with an old snapshot is told so, and gives no number twice")
def old_snapshot(db):
    for trimmed in (False, True):
        topic, old = db.topic(), db.session()
        db.publish(topic)
        old.sql("begin isolation level repeatable read")
        old.sql("select")
        db.publish(topic, count=2)
        if trimmed:
            db.age(topic, 604801)
            db.sweep()
        refusal = old.receive_after(batch_sql([Request([Item(topic)])]))[0][0]
        assert "does not see" in refusal or "could not serialize" in refusal, refusal
        equal(db.counter(topic), (4 if trimmed else 1, 3), "first and last")
        old.close()
