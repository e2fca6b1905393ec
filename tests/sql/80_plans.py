"""A plan that was made while the tables were empty is still right when they are large."""
import uuid

from database import Item, Request, act_sql, answer, batch_sql, quote
from harness import equal, test, wait_until

TABLES = ("topic", "message", "delivered", "presence", "connection", "idempotency", "effectiveness", "outbox", "diagnosis", "diagnosis_grant",
          "app_user", "health_grant", "health_threshold", "health_state", "health_reading", "conversation", "participant", "chat_message",
          "notification_preference", "notification", "notification_push", "departure", "roster_watch", "recommendation", "feedback", "effect", "effect_day", "effect_vote", "effect_trend", "effect_shown", "prediction")


def scans(db):
    return {r[0]: (int(r[1]), int(r[2]), int(r[3])) for r in db.sql(
        "select relname, seq_scan, seq_tup_read, coalesce(idx_tup_fetch, 0) from pg_stat_user_tables where schemaname = 'tidings'")
        if r[0] in TABLES}


def empty(db):
    # Without the triggers: nobody's rights are to be ended.
    db.sql(f"set session_replication_role = replica; truncate tidings.node, {', '.join('tidings.' + t for t in TABLES)} restart identity")


@test("sessions whose plans were made on empty tables scan no table and no whole index of 100,000 topics and 300,000 messages")
def no_scans(db):
    db.end_sessions()
    db.sql("alter system set autovacuum = off")
    db.sql("select pg_reload_conf()")
    empty(db)
    db.sql("vacuum analyze")
    publisher, sidecar, reader = db.session(), db.session("tidings_sidecar"), db.session("tidings_reader")
    db.sql("insert into tidings.diagnosis values (1, '456')")
    operator = db.session("postgres")
    operator.sql("set enable_seqscan = off")
    node, link = db.node(), str(uuid.uuid4())
    db.flush(node, opened=[(link, 0, "456")])
    conversation = db.conversation("456", "789")
    note = db.act("svc", "notify", {"user_id": "456", "type": "system", "title": "t", "message": "m"}, role="service").data["id"]
    turn = 0

    def use():
        """Everything but the status page, which counts, and the sweep."""
        nonlocal turn
        turn += 1
        names = [f"diagnosis/{1 + (turn * 31 + n * 977) % 90000}" for n in range(20)]
        publisher.sql(batch_sql([Request([Item(n, to_user="456", exclude=node, effect=(1, "0.5", None))], "456", "user", f"{turn}-{n}", "h") for n in names],
                                queue_max=1, min_age_s=0, daily_max=1000))
        publisher.sql(batch_sql([Request([Item(n)]) for n in names], queue_max=1, min_age_s=0))
        attach = f"tidings.attach({quote(['456'] * 20)}, {quote(['user'] * 20)}, {quote(names)}"
        rows = sidecar.sql(f"select topic_id, epoch, last_seq from {attach})")
        sidecar.sql(f"select count(*) from {attach}, p_afters => {quote([0] * 20, 'int8')}, p_epochs => {quote([r[1] for r in rows])}, p_rows => 100, "
                    "p_bytes => 100000)")
        places = [(int(r[0]), int(r[2])) for r in rows if r[0]]
        sidecar.sql(f"select count(*) from {attach}, p_afters => {quote([None] * 20, 'int8')}, p_epochs => {quote([None] * 20)}, p_devices => {quote(['phone'] * 20)})")
        db.flush(node, devices=[("456", "phone", n, r[1], turn) for n, r in zip(names, rows) if r[0]], run=sidecar.sql)
        sidecar.sql(f"select count(*) from tidings.fetch({quote([p[0] for p in places], 'int8')}, {quote([0] * len(places), 'int8')}, "
                    f"{quote([r[1] for r in rows if r[0]])}, 100, 100000)")
        sidecar.sql(f"select count(*) from tidings.unsent({places[0][0] if places else 1}, '456', 0, 1, 100, 100000)")
        db.flush(node, presence=[(p[0], turn % 2) for p in places], delivered=places, sent=places, run=sidecar.sql)
        live = str(uuid.uuid4())
        equal(sidecar.sql(f"select tidings.admit('{node}', 'turn-{turn}', '{live}', 'websocket', now()::text, false, 5)"), [["ok"]], "admit")
        db.flush(node, opened=[(live, p[0], f"turn-{turn}") for p in places], run=sidecar.sql)
        db.flush(node, closed=[(live, t) for t in (0, *(p[0] for p in places))], run=sidecar.sql)
        sidecar.sql(f"select tidings.heartbeat('{node}', now()::text, 1, 1, {quote([p[0] for p in places], 'int8')}, "
                    f"{quote([p[1] for p in places], 'int8')}, {quote([r[1] for r in rows if r[0]])}, p_grace_ms => 1)")
        watched = quote([p[0] for p in places][:3], 'int8')
        sidecar.sql(f"select count(*) from tidings.rosters('{node}', {watched}, {watched}, 100, 10000)")
        publisher.sql(f"select * from tidings.roster_page('456', 'admin', '{names[0]}', 'a', 100, 10000, false)")
        sidecar.sql("select tidings.relay(100, 60)")
        sidecar.sql(f"select tidings.sweep({max(1, turn * 10)}, 10, 1000, 100, 60, 604800, 86400)")
        sidecar.sql("select tidings.retain(true, 1000, 1000, 864000, 864000, 864000)")
        for type, data in (
                ("set_threshold", {"metric": "pulse", "high": 1}), ("health_update", {"metric": "pulse", "value": turn % 3}), ("get_thresholds", {}),
                ("get_health", {}), ("get_health", {"metric": "pulse"}), ("get_health", {"since": "2020-01-01T00:00:00Z"}),
                ("get_health", {"metric": "pulse", "since": "2020-01-01T00:00:00Z"}), ("create_conversation", {"participants": ["789"]}),
                ("join", {"conversation_id": conversation, "user_id": "789"}), ("chat_message", {"conversation_id": conversation, "message": "x"}),
                ("typing", {"conversation_id": conversation, "is_typing": True}), ("get_history", {"conversation_id": conversation}),
                ("notify", {"user_id": "456", "type": "system", "title": "t", "message": "m", "priority": "critical"}),
                ("set_preferences", {"types": {"system": True}}), ("get_preferences", {}), ("get_notifications", {}), ("get_notifications", {"unread_only": True}),
                ("ack", {"topic": "notifications/456", "seq": turn}), ("mark_read", {"id": note}), ("ack", {"id": note})):
            equal(answer(publisher.sql(act_sql("456", "user", type, data, daily_max=100000))).outcome, "ok", type)
        herb = {"diagnosis_id": 1, "herb": "Ginger", "condition": "dyspepsia", "reason": "r"}
        recommended = answer(publisher.sql(act_sql("456", "user", "recommend", herb))).data["recommendation_id"]
        said = answer(publisher.sql(act_sql("456", "user", "submit_feedback", {"diagnosis_id": 1, "rating": 5, "recommendation_id": recommended}))).data["feedback_id"]
        replaced = answer(publisher.sql(act_sql("svc", "service", "recommend", {**herb, "replaces": recommended}))).data["recommendation_id"]
        for type, data in (("decide_recommendation", {"recommendation_id": replaced, "status": "active"}),
                           ("decide_recommendation", {"recommendation_id": replaced, "status": "withdrawn"}),
                           ("get_feedback", {"diagnosis_id": 1}), ("get_feedback", {"diagnosis_id": 1, "recommendation_id": recommended, "before": said + 1}),
                           ("get_recommendations", {"diagnosis_id": 1}), ("get_recommendations", {"diagnosis_id": 1, "status": "active"}),
                           ("get_analytics", {"diagnosis_id": 1}), ("get_effectiveness", {"recommendation_id": recommended}), ("get_trending", {}), ("predict", {"diagnosis_id": 1}),
                           ("get_trending", {"by": "treatment", "sort": "change"}), ("get_trending", {"condition": "dyspepsia", "sort": "effectiveness"}),
                           ("rate_feedback", {"feedback_id": said, "rating": 1}), ("comment_feedback", {"feedback_id": said, "comment": "x"}),
                           ("withdraw_feedback", {"feedback_id": said})):
            equal(answer(publisher.sql(act_sql("456", "user", type, data, daily_max=100000))).outcome, "ok", type)
        equal(answer(publisher.sql(act_sql("root", "admin", "get_models", {}))).outcome, "ok", "models")
        publisher.sql(act_sql("svc", "service", "get_receipt", {"id": note}))
        sidecar.sql("select tidings.redeliver('{456,789}')")
        sidecar.sql("select tidings.user_active('{456,789}')")
        sidecar.sql(f"select tidings.report('{node}', '{{{link}}}', '{{null}}', '{{x}}')")
        sidecar.sql(f"select count(*) from tidings.attach('{{456}}', '{{user}}', '{{chat/{conversation}}}', true)")
        publisher.sql(f"select tidings.connection_health('456', 'user', '{link}'), tidings.disconnect('456', 'user', '{link}'), "
                      "tidings.reconnect_user('7', 'user', '7')")
        operator.sql(f"insert into tidings.diagnosis_grant values (1, 'turn-{turn}'); delete from tidings.diagnosis_grant where user_id = 'turn-{turn}' "
                     f"and diagnosis_id = 1; insert into tidings.app_user values ('turn-{turn}'); "
                     f"update tidings.app_user set active = false where id = 'turn-{turn}'")
        reader.sql(f"select count(*) from tidings.history('456', 'user', {quote(names[0])}, null, null, 100)")

    for _ in range(10):
        use()
    db.sql("insert into tidings.diagnosis select n, '456' from generate_series(1, 100000) n on conflict do nothing")
    db.sql("insert into tidings.topic (name) select 'diagnosis/' || n from generate_series(1, 100000) n on conflict do nothing")
    db.sql("insert into tidings.message (topic_id, seq, created_at, body) select id, s, now() - interval '1 h', '{}' from tidings.topic t, "
           "generate_series(t.first_seq, t.first_seq + 2) s on conflict do nothing")
    db.sql("insert into tidings.delivered select id, 1 from tidings.topic on conflict do nothing")
    db.sql("insert into tidings.presence select t.id, n.id, 1 from tidings.topic t, tidings.node n on conflict do nothing")
    db.sql("insert into tidings.connection select gen_random_uuid(), n.id, t.id, '456', 'websocket', now() from tidings.topic t, tidings.node n limit 100000")
    db.sql(f"insert into tidings.connection select gen_random_uuid(), '{node}', 0, 'u' || n, 'websocket', now() from generate_series(1, 100000) n")
    db.sql("insert into tidings.departure select t.id, 'g' || t.id % 100, now(), now() + interval '1 h' from tidings.topic t limit 100000")
    db.sql("insert into tidings.roster_watch select t.id, gen_random_uuid() from tidings.topic t limit 100000")
    db.sql("insert into tidings.idempotency select 'c', n::text, 'h', null, now() from generate_series(1, 50000) n")
    db.sql("insert into tidings.quota select 'u' || n, current_date, 1 from generate_series(1, 50000) n")
    db.sql("insert into tidings.effectiveness select id, 1, 0.1 from tidings.topic on conflict do nothing")
    db.sql("insert into tidings.outbox (deliver_at, topic, body) select now() + interval '1 day', 'x', '{}' from generate_series(1, 50000)")
    db.sql("insert into tidings.diagnosis_grant select n, 'g' || n from generate_series(1, 20000) n")
    db.sql("insert into tidings.app_user select 'g' || n from generate_series(1, 20000) n")
    db.sql("insert into tidings.health_grant select 'g' || n, 'd' || n from generate_series(1, 20000) n")
    db.sql("insert into tidings.health_threshold select 'g' || n, 'pulse', 1, 2 from generate_series(1, 20000) n")
    db.sql("insert into tidings.health_state select 'g' || n, 'pulse' from generate_series(1, 20000) n")
    db.sql("insert into tidings.health_reading (user_id, metric, value, measured_at, pushed) select case when n % 2 = 0 then '456' else 'u' || n % 1000 end, "
           "'m' || n % 5, 1, now() - n * interval '1 s', true from generate_series(1, 50000) n")
    db.sql("insert into tidings.conversation select gen_random_uuid(), 'x' from generate_series(1, 20000)")
    db.sql("insert into tidings.participant select id, 'u' || row_number() over () from tidings.conversation on conflict do nothing")
    db.sql("insert into tidings.chat_message (conversation_id, user_id, message, created_at) select c.id, 'x', 'm', now() from tidings.conversation c")
    db.sql(f"insert into tidings.chat_message (conversation_id, user_id, message, created_at) select '{conversation}', 'x', 'm', now() from generate_series(1, 30000)")
    db.sql("insert into tidings.notification_preference (user_id) select 'g' || n from generate_series(1, 20000) n")
    db.sql("insert into tidings.notification (user_id, type, title, message, priority, push_at, sent_at, read_at) select case when n % 20 = 0 then '456' else "
           "'u' || n % 1000 end, 'system', 't', 'm', 'critical', null, now(), now() from generate_series(1, 40000) n")
    db.sql("insert into tidings.notification_push select 'u', row_number() over (), id from tidings.notification")
    db.sql("insert into tidings.recommendation (diagnosis_id, herb, condition, status) select n % 20000 + 1, 'h', 'c', 'declined' from generate_series(1, 40000) n")
    db.sql("insert into tidings.prediction (recommendation_id, patient, model, success) select n, 'u' || n, 'rules-1', 0.5 from generate_series(1, 40000) n")
    db.sql("insert into tidings.feedback (diagnosis_id, recommendation_id, user_id, patient, rating, effectiveness, said, folded) select n % 20000 + 1, n, 'u' || n, '456', 5, 1, "
           "false, true from generate_series(1, 40000) n")
    sessions = (publisher, sidecar, reader, operator)
    before = settled(db, sessions)
    for _ in range(10):
        use()
    after = settled(db, sessions)
    for table in TABLES:
        scanned, fetched = (after[table][n] - before[table][n] for n in (1, 2))
        equal(scanned, 0, f"rows of {table} read by sequential scans")
        assert fetched < 20000, f"{fetched} rows of {table} fetched by index: a whole one was read"
    empty(db)
    db.sql("alter system reset autovacuum")
    db.sql("select pg_reload_conf()")


def settled(db, sessions):
    """The statistics, once those of all sessions are in."""
    for s in sessions:
        s.sql("select pg_stat_force_next_flush()")
    last = None

    def same():
        nonlocal last
        was, last = last, scans(db)
        return last if was == last else None

    db.sql("select pg_sleep(1.2)")
    return wait_until(same, "the statistics")


@test("of what no client has been sent the metrics count 100,000 messages at most, in the newest 100,000 topics, whatever lies there")
def bounded_metrics(db):
    empty(db)
    db.sql("insert into tidings.topic (name) select 'diagnosis/' || n from generate_series(1, 2) n")
    db.sql("insert into tidings.message (topic_id, seq, created_at, body) select t, n, now() - t * interval '1 hour', '{}' "
           "from generate_series(1, 2) t, generate_series(1, 60000) n")
    db.sql("analyze")
    told = dict(line.rsplit(" ", 1) for (line,) in db.sql("select unnest(string_to_array(tidings.metrics(), E'\\n'))"))
    equal(told["tidings_queue_undelivered_messages"], "100000", "messages")
    assert 7200 <= float(told["tidings_queue_oldest_undelivered_seconds"]) < 10800, told
    db.sql("insert into tidings.delivered values (2, 59999)")
    told = dict(line.rsplit(" ", 1) for (line,) in db.sql("select unnest(string_to_array(tidings.metrics(), E'\\n'))"))
    equal(told["tidings_queue_undelivered_messages"], "60001", "once one topic's have been sent but for one")
    empty(db)
