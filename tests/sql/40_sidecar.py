"""What the sidecars call: attach, fetch, flush, heartbeat; and how many clients a publisher is told."""
import subprocess
import uuid

from database import Item, Request, batch_sql, quote
from harness import equal, test


def uuids(count):
    return [str(uuid.uuid4()) for _ in range(count)]


def clients(db, topic, **more):
    return db.publish(topic, **more)[0].clients


@test("rows that a buried node wrote once more before it died go when the next node comes; those of nodes that live stay")
def orphans(db):
    alive, gone = db.node(), str(uuid.uuid4())
    topic = db.topic()
    db.publish(topic)
    id = db.topic_id(topic)
    for node in (alive, gone):
        db.flush(node, presence=[(id, 1)], opened=[(str(uuid.uuid4()), id, "456")])
    of = lambda: sorted({r[0] for r in db.sql("select node_id from tidings.presence union select node_id from tidings.connection") if r[0] in (alive, gone)})
    equal(of(), sorted((alive, gone)), "rows before")
    db.node()
    equal(of(), [alive], "rows after")


@test("clients counts those of all nodes that live, topic by topic")
def counts(db):
    a, b = db.topic(), db.topic()
    db.publish(a), db.publish(b)
    one, two, dead = db.node(), db.node(), db.node()
    ia, ib = db.topic_id(a), db.topic_id(b)
    equal(clients(db, a), 0, "clients before any came")
    db.flush(one, presence=[(ia, 3), (ib, 1)])
    db.flush(two, presence=[(ia, 4)])
    db.flush(dead, presence=[(ia, 5), (ib, 5)])
    db.sql(f"update tidings.node set heartbeat_at = now() - interval '16 s' where id = '{dead}'")
    equal([r.clients for r in db.batch([Request([Item(a), Item(b), Item(a), Item("counts/nobody")])])], [7, 1, 7, 0], "clients")
    db.flush(one, presence=[(ia, 0)])
    equal(clients(db, a), 4, "clients when some have gone")


@test("clients of a message for one user, or not for one connection, are those that get it")
def counts_some(db):
    topic, other = db.topic(), db.topic()
    db.publish(topic), db.publish(other)
    node, dead, n, m = db.node(), db.node(), db.topic_id(topic), db.topic_id(other)
    u1, u2, v, elsewhere, lost = uuids(5)
    db.flush(node, presence=[(n, 3), (m, 1)], opened=[(u1, n, "u"), (u2, n, "u"), (v, n, "v"), (elsewhere, m, "u")])
    db.flush(dead, presence=[(n, 1)], opened=[(lost, n, "u")])
    db.sql(f"update tidings.node set heartbeat_at = now() - interval '16 s' where id = '{dead}'")
    nobody = str(uuid.uuid4())
    got = db.batch([Request([Item(topic, to_user=u, exclude=e)]) for u, e in (
        (None, None), ("u", None), ("w", None), (None, v), (None, nobody), ("u", u1), ("u", v), (None, elsewhere), (None, lost))])
    equal([r.clients for r in got], [3, 2, 0, 2, 3, 1, 2, 3, 3], "clients")


@test("attach tells who may, makes what is not there yet, and says no more than it has to")
def attach(db):
    mine, foreign, public = db.topic("456"), db.topic("789"), db.topic("789")
    db.sql(f"update tidings.diagnosis set public = true where id = {public.split('/')[1]}")
    granted = f"diagnosis/{db.diagnosis('789', ['456'])}"
    db.publish(mine, count=2)
    got = db.attach(("456", "user", mine), ("456", "user", foreign), ("456", "user", granted), ("456", "user", "diagnosis/999999997"),
                    (None, "user", public), (None, "user", mine), ("4567", "user", "health/4567"), ("4567", "user", "health/45"),
                    ("svc", "service", mine), ("root", "admin", foreign), ("456", "user", mine), ("root", "admin", "orders/1"))
    equal([r[0] for r in got], ["ok", "forbidden", "ok", "not_found", "ok", "forbidden", "ok", "forbidden", "forbidden", "ok", "ok", "ok"], "outcomes")
    equal(got[0], got[10], "the same asked twice")
    equal(got[0][3:], ["2", "1", "0", "f"], "where it is")
    equal(got[6][3:], ["0", "1", "0", "f"], "where a new one is")
    equal(got[1][1:], [""] * 4 + ["0", "f"], "what is told of a topic that is someone else's")
    equal(db.one("select count(*) from tidings.topic where name in ('health/45', 'diagnosis/999999997')"), "0", "topics made for the refused")
    assert len({r[2] for r in got if r[0] == "ok"}) == 6, "each topic has an epoch of its own"


@test("attach writes down whoever it lets in, where their node is known: a client more of the topic, and a connection")
def attach_counts(db):
    topic, foreign, node = db.topic("456"), db.topic("789"), db.node()
    a, b, refused, here = (str(uuid.uuid4()) for _ in range(4))

    def attach(node, ever, *wanted):
        users, topics, connections = (quote(list(v)) for v in zip(*wanted))
        n = len(wanted)
        return db.sidecar(f"select outcome, counted from tidings.attach({users}, {quote(['user'] * n)}, {topics}, false, '{node}', {ever}, {connections}, "
                          f"{quote(['sse'] * n)}, {quote(['2026-01-02T03:04:05Z'] * n)}) order by item")

    clients = lambda: db.publish(topic)[0].clients
    equal(attach(node, 3, ("456", topic, a), ("456", topic, b), ("456", foreign, refused), ("456", topic, None)),
          [["ok", "t"], ["ok", "t"], ["forbidden", "f"], ["ok", "f"]], "what is told")
    equal(clients(), 2, "clients, of one topic in one call")
    equal(attach(node, 4, ("456", topic, here)), [["ok", "t"]], "one more")
    equal(attach(node, 4, ("456", topic, here)), [["ok", "f"]], "the same again")
    equal(clients(), 3, "clients")
    equal(db.sql(f"select id, user_id, transport, connected_at from tidings.connection where node_id = '{node}' and id = '{a}'"),
          [[a, "456", "sse", db.one("select '2026-01-02T03:04:05Z'::timestamptz")]], "a connection")
    equal(db.one(f"select count(*) from tidings.connection where node_id = '{node}'"), "3", "connections")
    equal(db.one(f"select opened from tidings.node where id = '{node}'"), "4", "connections since its start")
    n = db.topic_id(topic)
    db.flush(node, presence=[(n, 1)], closed=[(b, n), (here, n)], opened_ever=4)
    equal(clients(), 1, "clients, as the node says it then")
    unknown = str(uuid.uuid4())
    equal(attach(unknown, 1, ("456", topic, b)), [["ok", "f"]], "of a node that is not known")
    equal((clients(), db.one(f"select count(*) from tidings.connection where node_id = '{unknown}'")), (1, "0"), "what is written down of that")


NONE, DAMAGED = (None, None), (0, None)


def missed(db, *wanted, rows=500, size=1 << 20, queue_max=100, columns="topic_id, after, seq"):
    """What attach() brings of what was missed; wanted: (user, role, topic, (after, epoch))"""
    users, roles, names, cursors = zip(*wanted)
    afters, epochs = quote([c[0] for c in cursors], "int8"), quote([c[1] for c in cursors])
    got = db.sidecar(f"select item, {columns} from tidings.attach({quote(list(users))}, {quote(list(roles))}, {quote(list(names))}, "
                     f"p_afters => {afters}, p_epochs => {epochs}, p_queue_max => {queue_max}, p_rows => {rows}, p_bytes => {size})")
    equal([r[0] for r in got], [str(n) for n in range(1, len(wanted) + 1)] + [""] * (len(got) - len(wanted)), "items, and then messages")
    return [r[1:] for r in got[len(wanted):]]


@test("attach brings what each one missed: after its cursor; without a good one, what no client has been sent, the newest of it")
def attach_pages(db):
    topic, node = db.topic(), db.node()
    db.publish(topic, count=10)
    id = db.topic_id(topic)
    epoch = db.epochs(quote([id], "int8"))[str(id)]

    def of(cursor, **how):
        got = missed(db, ("456", "user", topic, cursor), **how)
        equal({(r[0], r[1]) for r in got}, {(str(id), str(int(r[2]) - 1)) for r in got[:1]}, "topic and place")
        return [int(r[2]) for r in got]

    equal(of((7, epoch)), [8, 9, 10], "after a cursor")
    equal((of((10, epoch)), of((9, epoch), rows=0)), ([], []), "where nothing was missed, and where no pages are wanted")
    equal((of(NONE), of(NONE, queue_max=4)), (list(range(1, 11)), [7, 8, 9, 10]), "without a cursor")
    db.flush(node, delivered=[(id, 8)])
    equal((of(NONE), of(NONE, queue_max=1)), ([9, 10], [10]), "without a cursor, when some was delivered")
    for cursor in (DAMAGED, (9, "other"), (11, epoch)):
        equal((of(cursor), of(cursor, queue_max=3)), (list(range(1, 11)), [8, 9, 10]), f"after {cursor}")
    db.sql(f"delete from tidings.message where topic_id = {id} and seq < 5; update tidings.topic set first_seq = 5 where id = {id}")
    equal((of((2, epoch)), of(DAMAGED), of((6, epoch))), ([5, 6, 7, 8, 9, 10], [5, 6, 7, 8, 9, 10], [7, 8, 9, 10]), "when some is gone")
    db.flush(node, delivered=[(id, 10)])
    equal(of(NONE), [], "without a cursor, when all was delivered")


@test("attach brings a page once for all who are at the same place, within rows of a place and bytes of all, those first who missed least")
def attach_pages_once(db):
    a, b = db.topic(), db.topic()
    db.publish(a, "x" * 1000, count=5), db.publish(b, "y" * 1000, count=3)
    ia, ib = db.topic_id(a), db.topic_id(b)
    epochs = db.epochs(quote([ia, ib], "int8"))
    at = lambda topic, after: ("root", "admin", topic, (after, epochs[str(db.topic_id(topic))]))
    page = lambda id, after, last: [[str(id), str(after), str(n)] for n in range(after + 1, last + 1)]
    equal(missed(db, at(a, 1), at(a, 1), at(b, 0), at(a, 3), at(a, 1)), page(ia, 3, 5) + page(ib, 0, 3) + page(ia, 1, 5), "three places")
    equal(missed(db, at(a, 0), at(b, 0), rows=2), page(ib, 0, 2) + page(ia, 0, 2), "two rows of each")
    equal(missed(db, at(a, 0), at(b, 1), size=2500), page(ib, 1, 3) + page(ia, 0, 1), "2,500 bytes of all, begun")
    equal(missed(db, at(a, 0), at(b, 1), size=1), page(ib, 1, 2), "one at least")


@test("attach brings messages as fetch does, those of others for the sidecar to leave out; who may not have the topic, or has some unsent, brings none")
def attach_pages_what(db):
    topic, node, connection = db.topic("456"), db.node(), str(uuid.uuid4())
    db.publish(topic, "1"), db.publish(topic, "2", expires_at="2001-01-01T00:00:00Z"), db.publish(topic, "3", to_user="457", exclude=connection)
    db.publish(topic, "4", expires_at="2099-01-01T00:00:00Z")
    db.sql(f"select tidings.revoke('nobody', '{topic}')")
    id = db.topic_id(topic)
    epoch = db.epochs(quote([id], "int8"))[str(id)]
    columns = "seq, to_user, exclude, body, revocation, expires_in_ms > 0"
    got = missed(db, ("456", "user", topic, (0, epoch)), columns=columns)
    equal(got[:4], [["1", "", "", "1", "f", ""], ["2", "", "", "", "f", "f"], ["3", "457", connection, "3", "f", ""], ["4", "", "", "4", "f", "t"]], "messages")
    equal(got, [r[1:] for r in db.fetch([(id, 0)], columns="to_user, exclude, body, revocation, expires_in_ms > 0")], "as fetch has them")
    equal(missed(db, ("789", "user", topic, (0, epoch)), ("456", "user", "diagnosis/999999996", (0, epoch)), (None, "user", topic, NONE)), [], "of who may not")
    db.sql(f"insert into tidings.diagnosis_grant values ({topic.split('/')[1]}, '457')")
    equal(len(missed(db, ("457", "user", topic, NONE), columns="seq")), len(got), "without a cursor, before anyone was sent anything")
    db.flush(node, delivered=[(id, 3)])
    equal(missed(db, ("457", "user", topic, NONE)), [], "when some is unsent")
    equal([r[2] for r in missed(db, ("457", "user", topic, NONE), ("456", "user", topic, NONE))][:1], ["4"], "for another")


@test("fetch gives what comes after each cursor, within rows and bytes, and at least one")
def fetch(db):
    a, b = db.topic(), db.topic()
    db.publish(a, "x" * 1000, count=5), db.publish(b, "y" * 10, count=3)
    ia, ib = db.topic_id(a), db.topic_id(b)
    seqs = lambda rows: [(int(r[0]), int(r[1])) for r in rows]
    equal(seqs(db.fetch([(ib, 1), (ia, 0)], rows=2)), [(ib, 2), (ib, 3), (ia, 1), (ia, 2)], "two rows each")
    equal(seqs(db.fetch([(ia, 0), (ib, 0)], size=2500)), [(ia, 1), (ia, 2), (ia, 3), (ib, 1), (ib, 2), (ib, 3)], "2,500 bytes each, begun")
    equal(seqs(db.fetch([(ia, 2), (ib, 3)], size=1)), [(ia, 3)], "one at least")
    equal(seqs(db.fetch([(ia, 5), (ib, 99)])), [], "nothing")


@test("fetch gives nothing of a topic that is numbered anew, or gone, and says so")
def fetch_another(db):
    a, b = db.topic(), db.topic()
    db.publish(a, count=2), db.publish(b)
    ia, ib = db.topic_id(a), db.topic_id(b)
    before = db.epochs(quote([ia, ib], "int8"))
    equal([r[:2] for r in db.fetch([(-1, 0), (ia, 0, "other"), (ib, 0)])], [["-1", ""], [str(ia), ""], [str(ib), "1"]], "of one among others")
    db.sql("select tidings.renew_epochs()")
    equal([r[:2] for r in db.fetch([(ia, 0, before[str(ia)]), (ib, 1, before[str(ib)])])], [[str(ia), ""], [str(ib), ""]], "when all are others")
    equal([r[1] for r in db.fetch([(ia, 0)])], ["1", "2"], "seqs in the new one")


@test("fetch passes over a message that has expired, without its body")
def fetch_expired(db):
    topic = db.topic()
    db.publish(topic, "1"), db.publish(topic, "2", expires_at="2001-01-01T00:00:00Z"), db.publish(topic, "3", expires_at="2099-01-01T00:00:00Z")
    db.publish(topic, "4", expires_at="infinity")
    equal([r[1:] for r in db.fetch([(db.topic_id(topic), 0)])], [["1", "1"], ["2", ""], ["3", "3"], ["4", "4"]], "messages")
    left = [r[2] for r in db.fetch([(db.topic_id(topic), 0)], columns="expires_in_ms")]
    equal((left[0], left[3]), ("", ""), "what never expires")
    assert int(left[1]) < 0 < int(left[2]), f"ms that are left: {left}"


@test("a message for one user waits for that user, however far others have been sent")
def unsent(db):
    topic, node = db.topic(), db.node()
    db.publish(topic, "1", to_user="456"), db.publish(topic, "2"), db.publish(topic, "3", to_user="other"), db.publish(topic, "4", to_user="456")
    db.publish(topic, "5", to_user="456", expires_at="2001-01-01T00:00:00Z")
    n = db.topic_id(topic)
    waiting = lambda up_to=9: [r[0] for r in db.sidecar(f"select seq from tidings.unsent({n}, '456', 0, {up_to}, 100, 100000)")]
    equal(db.attach(("456", "user", topic))[0][6], "f", "unsent before anyone was sent anything")
    db.flush(node, delivered=[(n, 2)])
    equal(db.attach(("456", "user", topic), ("root", "admin", topic)), [r[:6] + [u] for r, u in zip(
        db.attach(("456", "user", topic), ("root", "admin", topic)), "tf")], "unsent of each")
    equal((waiting(), waiting(2)), (["1", "4"], ["1"]), "waiting")
    pages = lambda after, rows, size: [r[0] for r in db.sidecar(f"select seq from tidings.unsent({n}, '456', {after}, 9, {rows}, {size})")]
    equal((pages(0, 1, 1000), pages(1, 1, 1000), pages(0, 10, 1), pages(4, 10, 1)), (["1"], ["4"], ["1"], []), "by rows and bytes")
    db.flush(node, sent=[(n, 1), (n, 77)])
    equal(waiting(), ["4"], "waiting after the first was sent")
    equal(db.attach(("456", "user", topic))[0][6], "f", "unsent")


@test("what is flushed twice is as if flushed once, and delivered never goes back")
def flush_twice(db):
    topic = db.topic()
    db.publish(topic, to_user="u", count=5)
    n, node, (c, d) = db.topic_id(topic), db.node(), uuids(2)
    for _ in range(2):
        db.flush(node, presence=[(n, 2)], opened=[(c, n, "u"), (d, n, None)], delivered=[(n, 5)], sent=[(n, 1)])
    db.flush(node, delivered=[(n, 3)])
    equal(clients(db, topic), 2, "clients")
    equal(db.one(f"select count(*) from tidings.connection where topic_id = {n}"), "2", "connections")
    equal(db.one(f"select seq from tidings.delivered where topic_id = {n}"), "5", "delivered")
    for _ in range(2):
        db.flush(node, presence=[(n, 0)], closed=[(c, n)])
    equal(db.sql(f"select id from tidings.connection where topic_id = {n}"), [[d]], "connections left")
    equal(db.one(f"select count(*) from tidings.presence where topic_id = {n}"), "0", "presence")


@test("a connection on several topics has a row for each: one of them may go, and status counts it once")
def several_topics(db):
    topics = [db.topic() for _ in range(3)]
    for t in topics:
        db.publish(t)
    ids, node, (c,) = [db.topic_id(t) for t in topics], db.node(), uuids(1)
    db.flush(node, presence=[(i, 1) for i in ids], opened=[(c, i, "u") for i in ids])
    equal(db.one(f"select count(*) from tidings.connection where id = '{c}'"), "3", "rows")
    equal(db.one("select (tidings.status()->>'total_connections')::int - (select count(distinct id) from tidings.connection)"), "0", "connections")
    db.flush(node, presence=[(ids[1], 0)], closed=[(c, ids[1])])
    equal(db.sql(f"select topic_id from tidings.connection where id = '{c}' order by 1"), [[str(i)] for i in sorted((ids[0], ids[2]))], "rows left")


def heartbeat_sql(node, places=()):
    ids, lasts = (", ".join(str(p[n]) for p in places) for n in (0, 1))
    epochs = ", ".join(f"'{p[2]}'" for p in places)
    return (f"select * from tidings.heartbeat('{node}', now()::text, 7, 9, array[{ids}]::int8[], array[{lasts}]::int8[], "
            f"array[{epochs}]::text[])")


def heartbeat(db, node, places=()):
    return db.sidecar(heartbeat_sql(node, places))


@test("a heartbeat tells a node that it was unknown, which topics moved, and which are others now")
def heartbeats(db):
    node = str(uuid.uuid4())
    equal(heartbeat(db, node), [["0", "0", ""]], "of a new node")
    equal(heartbeat(db, node), [], "of one that is known")
    topics = [db.topic() for _ in range(4)]
    for t in topics:
        db.publish(t)
    states = [db.attach(("root", "admin", t))[0] for t in topics]
    places = [(int(s[1]), int(s[3]), s[2]) for s in states]
    equal(heartbeat(db, node, places), [], "when nothing has moved")
    db.publish(topics[1])
    db.sql(f"update tidings.topic set epoch = 'another' where id = {places[2][0]}")
    db.sql(f"delete from tidings.topic where id = {places[3][0]}")
    got = {int(r[0]): r[1:] for r in heartbeat(db, node, places)}
    equal(sorted(got), [places[1][0], places[2][0], places[3][0]], "topics")
    equal(got[places[1][0]], ["2", places[1][2]], "one that moved")
    assert got[places[2][0]][1].startswith("another"), got
    equal(got[places[3][0]], ["", ""], "one that is gone")


@test("a node that is silent for 15 s is buried by another's heartbeat, and is unknown when it comes back")
def buried(db):
    topic = db.topic()
    db.publish(topic)
    n, node, dead, c = db.topic_id(topic), db.node(), db.node(), str(uuid.uuid4())
    db.flush(dead, presence=[(n, 2)], opened=[(c, n, "u")])
    # At once: it is a second away from being dead.
    after_14_s = db.sql(f"update tidings.node set heartbeat_at = clock_timestamp() - interval '14 s' where id = '{dead}'; {heartbeat_sql(node)}; "
                        f"{batch_sql([Request([Item(topic)])])}")
    equal(after_14_s[-1][1:], ["ok", "2", "2"], "outcome, seq and clients after 14 s")
    db.sql(f"update tidings.node set heartbeat_at = now() - interval '16 s' where id = '{dead}'")
    heartbeat(db, node)
    for table, column in (("node", "id"), ("presence", "node_id"), ("connection", "node_id")):
        equal(db.one(f"select count(*) from tidings.{table} where {column} = '{dead}'"), "0", table)
    equal(heartbeat(db, dead), [["0", "0", ""]], "of the one that comes back")


@test("a node that is about to write is not buried half way")
def buried_while_writing(db):
    topic = db.topic()
    db.publish(topic)
    n, node, slow = db.topic_id(topic), db.node(), db.node()
    writer = db.session("tidings_sidecar")
    writer.sql("begin")
    db.flush(slow, presence=[(n, 1)], run=writer.sql)
    db.sql(f"update tidings.node set heartbeat_at = now() - interval '16 s' where id = '{slow}'")
    heartbeat(db, node)
    writer.sql("commit")
    equal(db.one(f"select count(*) from tidings.node where id = '{slow}'"), "1", "the node, while it wrote")
    heartbeat(db, node)
    equal(db.one(f"select count(*) from tidings.presence where node_id = '{slow}'"), "0", "its presence, after")


@test("a node that says farewell leaves nothing")
def farewell(db):
    topic = db.topic()
    db.publish(topic)
    node, n = db.node(), db.topic_id(topic)
    db.flush(node, presence=[(n, 1)], opened=[(str(uuid.uuid4()), n, "u")])
    db.sidecar(f"select tidings.farewell('{node}')")
    equal(db.one(f"select (select count(*) from tidings.node where id = '{node}') + (select count(*) from tidings.presence where node_id = "
                 f"'{node}') + (select count(*) from tidings.connection where node_id = '{node}')"), "0", "rows")


@test("what is trimmed in the very middle of attach makes no first_seq beyond the place that attach gives")
def attach_trimmed_halfway(db):
    # A verdict that waits stands in for a slow moment between the two.
    topic = db.topic("456")
    db.publish(topic)
    holder, session = db.session("postgres"), db.session("tidings_sidecar")
    db.sql("alter function tidings.verdict(text, text, text, text, boolean) rename to real_verdict")
    db.sql("""create function tidings.verdict(user_id text, role text, topic text, action text, require_user boolean) returns text language plpgsql as $$
        declare v text := tidings.real_verdict(user_id, role, topic, action, require_user);
        begin if action = 'subscribe' then perform pg_advisory_xact_lock_shared(7); end if; return v; end $$;
        alter function tidings.verdict owner to tidings_owner""")
    try:
        holder.sql("begin")
        holder.sql("select pg_advisory_xact_lock(7)")
        session.send(f"select last_seq, first_seq from tidings.attach('{{456}}', '{{user}}', '{{{topic}}}')")
        assert not session.answered(0.3), f"attach did not wait: {session.buffer}"
        db.publish(topic, count=10)
        db.age(topic, 604801)
        db.sweep()
        equal(db.counter(topic), (12, 11), "first and last, when all of it is gone")
        holder.sql("commit")
        equal(session.receive(), [["1", "2"]], "last_seq and first_seq")
    finally:
        db.sql("drop function tidings.verdict(text, text, text, text, boolean)")
        db.sql("alter function tidings.real_verdict(text, text, text, text, boolean) rename to verdict")


@test("what was delivered or sent by another numbering says nothing about this one; nor what is ahead of it")
def flush_of_another_numbering(db):
    # What went wrong: after a failover behind a pooler a node wrote down the old numbers, and messages of the new ones counted as delivered.
    topic, node = db.topic(), db.node()
    db.publish(topic, to_user="456")
    n = db.topic_id(topic)
    delivered = lambda: db.sql(f"select seq from tidings.delivered where topic_id = {n}")
    db.flush(node, delivered=[(n, 150, "0123456789abcd")], sent=[(n, 1, "0123456789abcd")])
    equal((delivered(), db.attach(("456", "user", topic))[0][6]), ([], "f"), "by another numbering")
    equal(db.one(f"select sent from tidings.message where topic_id = {n}"), "f", "sent, by another numbering")
    db.flush(node, delivered=[(n, 150)], sent=[(n, 1)])
    equal(delivered(), [["1"]], "ahead")
    equal(db.one(f"select sent from tidings.message where topic_id = {n}"), "t", "sent")


@test("a node that has read further than its topic goes makes every numbering another: the database was set back")
def set_back(db):
    # As from a volume's snapshot: same cluster, same table, same timeline.
    topic, other, node = db.topic(), db.topic(), db.node()
    db.publish(topic, count=3)
    db.publish(other)
    places = [(int(s[1]), int(s[3]), s[2]) for s in db.attach(("root", "admin", topic), ("root", "admin", other))]
    equal(heartbeat(db, node, places), [], "before")
    db.sql(f"delete from tidings.message where topic_id = {places[0][0]} and seq > 1")
    db.publish(other)
    got = {int(r[0]): r[1:] for r in heartbeat(db, node, places)}
    equal(sorted((i, v[0]) for i, v in got.items()), [(places[0][0], "1"), (places[1][0], "2")], "topics")
    assert all(v[1] != epoch for v, (_, _, epoch) in zip((got[p[0]] for p in places), places)), got
    history = db.history(topic, epoch=places[0][2], after=3)
    equal(history[0][2], "f", "recovered, by a cursor from before")
    tag = db.one("select tidings.cluster_tag()")
    heartbeat(db, node, places)
    equal(db.one("select tidings.cluster_tag()"), tag, "the numbering after another node with the same places")


@test("a restore by pg_restore --clean into the same database makes every numbering another")
def restored(db):
    db.end_sessions()
    db.sql("create database restored template tidings", database="postgres")
    try:
        how = {"env": db.psql_env("postgres", "restored"), "check": True, "capture_output": True}
        tag = lambda: db.one("select tidings.cluster_tag()", database="restored")
        before = tag()
        assert before != db.one("select tidings.cluster_tag()"), "another database has the same tag"
        dump = subprocess.run(["pg_dump", "-Fc"], **how).stdout
        equal(tag(), before, "the tag while nothing happens")
        subprocess.run(["pg_restore", "--clean", "--if-exists", "-d", "restored"], input=dump, **how)
        assert tag() != before, "restored, with the same tag"
    finally:
        db.sql("drop database restored with (force)", database="postgres")


@test("nothing of ours needs MD5, which a server in FIPS mode does not have")
def no_md5(db):
    equal(db.sql("select proname from pg_proc where pronamespace = 'tidings'::regnamespace and prosrc ~* 'md5' "
                 "union select adrelid::regclass::text from pg_attrdef where pg_get_expr(adbin, adrelid) ~* 'md5'"), [], "what uses it")


@test("the status without its maps looks at no topic and no message that nobody is connected to, however many there are")
def totals(db):
    # With a million topics it took longer than anybody waited.
    db.sql("insert into tidings.diagnosis select n, 'x' from generate_series(500001, 500200) n")
    db.batch([Request([Item(f"diagnosis/{n}") for n in range(500001, 500201)])])
    db.sql("delete from tidings.presence")
    session = db.session("postgres")
    reads = lambda: int(session.sql("select sum(pg_stat_get_xact_tuples_returned(c.oid)) from pg_class c where c.relnamespace = 'tidings'::regnamespace "
                                    "and c.relname ~ '^(topic|message|delivered)'")[0][0])

    def read_by(call):
        before = reads()
        return session.sql(f"select json_object_keys({call})"), reads() - before

    session.sql("begin")
    whole, of_whole = read_by("tidings.status()")
    totals, of_totals = read_by("tidings.status(false)")
    # Who plans looks at the ends of indexes where somebody has analysed the tables.
    assert of_totals < 100 < 200 <= of_whole, f"rows and entries of indexes that were read: {of_totals}, and {of_whole} with the maps"
    equal(db.one("select 'jit=off' = any (proconfig) from pg_proc where oid = 'tidings.status'::regproc"), "t", "never compiled, which takes seconds where there is much")
    equal([k for k, in whole if [k] not in totals], ["connections_by_diagnosis", "queued_messages_by_diagnosis", "nodes"], "what is left out")
