"""A plan that was made while the tables were empty is still right when they are large."""
from database import Item, Request, batch_sql, quote
from harness import equal, test, wait_until

TABLES = ("topic", "message", "delivered", "presence", "connection", "idempotency", "effectiveness", "outbox", "diagnosis", "diagnosis_grant")


def scans(db):
    return {r[0]: (int(r[1]), int(r[2]), int(r[3])) for r in db.sql(
        "select relname, seq_scan, seq_tup_read, coalesce(idx_tup_fetch, 0) from pg_stat_user_tables where schemaname = 'tidings'")
        if r[0] in TABLES}


@test("sessions whose plans were made on empty tables scan no table and no whole index of 100,000 topics and 300,000 messages")
def no_scans(db):
    db.end_sessions()
    db.sql("alter system set autovacuum = off")
    db.sql("select pg_reload_conf()")
    db.sql(f"truncate tidings.node, {', '.join('tidings.' + t for t in TABLES)} restart identity")
    db.sql("vacuum analyze")
    publisher, sidecar, reader = db.session(), db.session("tidings_sidecar"), db.session("tidings_reader")
    node = db.node()
    turn = 0

    def use():
        """Everything but the status page, which counts, and the sweep."""
        nonlocal turn
        turn += 1
        names = [f"diagnosis/{1 + (turn * 31 + n * 977) % 90000}" for n in range(20)]
        publisher.sql(batch_sql([Request([Item(n, to_user="456", exclude=node, effect=(1, "0.5", None))], "456", "user", f"{turn}-{n}", "h") for n in names],
                                queue_max=1, min_age_s=0))
        publisher.sql(batch_sql([Request([Item(n)]) for n in names], queue_max=1, min_age_s=0))
        rows = sidecar.sql(f"select topic_id, epoch, last_seq from tidings.attach({quote(['456'] * 20)}, {quote(['user'] * 20)}, {quote(names)})")
        places = [(int(r[0]), int(r[2])) for r in rows if r[0]]
        sidecar.sql(f"select count(*) from tidings.fetch({quote([p[0] for p in places], 'int8')}, {quote([0] * len(places), 'int8')}, 100, 100000)")
        sidecar.sql(f"select count(*) from tidings.unsent({places[0][0] if places else 1}, '456', 1)")
        db.flush(node, presence=[(p[0], turn % 2) for p in places], delivered=places, sent=places, run=sidecar.sql)
        sidecar.sql(f"select tidings.heartbeat('{node}', now()::text, 1, 1, {quote([p[0] for p in places], 'int8')}, "
                    f"{quote([p[1] for p in places], 'int8')}, {quote([r[1] for r in rows if r[0]])})")
        sidecar.sql("select tidings.relay(100, 60)")
        sidecar.sql(f"select tidings.sweep({max(1, turn * 10)}, 10, 100, 60, 604800)")
        reader.sql(f"select count(*) from tidings.history('456', 'user', {quote(names[0])}, null, null, 100)")

    for _ in range(10):
        use()
    db.sql("insert into tidings.diagnosis select n, '456' from generate_series(1, 100000) n on conflict do nothing")
    db.sql("insert into tidings.topic (name, last_seq) select 'diagnosis/' || n, 3 from generate_series(1, 100000) n on conflict do nothing")
    db.sql("update tidings.topic set first_seq = last_seq - 2 where last_seq > 3")
    db.sql("insert into tidings.message (topic_id, seq, created_at, body) select id, s, now() - interval '1 h', '{}' from tidings.topic t, "
           "generate_series(t.first_seq, t.last_seq) s on conflict do nothing")
    db.sql("insert into tidings.delivered select id, 1 from tidings.topic on conflict do nothing")
    db.sql("insert into tidings.presence select t.id, n.id, 1 from tidings.topic t, tidings.node n on conflict do nothing")
    db.sql("insert into tidings.connection select gen_random_uuid(), n.id, t.id, '456', 'websocket', now() from tidings.topic t, tidings.node n limit 100000")
    db.sql("insert into tidings.idempotency select 'c', n::text, 'h', null, now() from generate_series(1, 50000) n")
    db.sql("insert into tidings.effectiveness select id, 1, 0.1 from tidings.topic on conflict do nothing")
    db.sql("insert into tidings.outbox (deliver_at, topic, body) select now() + interval '1 day', 'x', '{}' from generate_series(1, 50000)")
    before = settled(db)
    for _ in range(10):
        use()
    after = settled(db)
    for table in TABLES:
        scanned, fetched = (after[table][n] - before[table][n] for n in (1, 2))
        equal(scanned, 0, f"rows of {table} read by sequential scans")
        assert fetched < 20000, f"{fetched} rows of {table} fetched by index: a whole one was read"
    db.sql("alter system reset autovacuum")
    db.sql("select pg_reload_conf()")


def settled(db):
    """The statistics, once those of all sessions are in: idle ones report within a second or so."""
    last = None

    def same():
        nonlocal last
        was, last = last, scans(db)
        return last if was == last else None

    db.sql("select pg_sleep(1.2)")
    return wait_until(same, "the statistics")
