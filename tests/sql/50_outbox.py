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


def drain(db):
    while (due := db.relay()) == "0":
        pass
    return due


def body(db, topic):
    return db.one(f"select m.body from tidings.message m join tidings.topic t on t.id = m.topic_id where t.name = '{topic}' order by m.seq desc limit 1")


def state(db):
    messages, oldest_s, failed, stuck = db.sql("select messages, oldest_s, failed, stuck from tidings.outbox_state()", user="tidings_status")[0]
    return int(messages), float(oldest_s), int(failed), stuck == "t"


@test("whatever white space json from SQL has, the message is one line, in the form of those by HTTP; json, jsonb and text are taken")
def normal_form(db):
    # An event stream ends a message at a line break: its client lost it, or never came past it.
    text = r'{"a":' + "\n" + r'1,' + "\r\t" + r'"b b":["x  \" y\\", "\n\\\"", {"c" : null}]  }'
    for n, data in enumerate((f"$j${text}$j$", f"$j${text}$j$::json", f"$j${text}$j$::jsonb", f"$j${text}$j$::text", f"jsonb_pretty($j${text}$j$)")):
        db.sql(f"select tidings.publish('form/{n}', 'x y', {data})")
        drain(db)
        got = body(db, f"form/{n}")
        equal(got, json.dumps(json.loads(got), separators=(",", ":"), ensure_ascii=False), "the form")
        equal(json.loads(got)["data"], json.loads(text), "data")
    db.sql("select tidings.publish('form/9', 't', 5), tidings.publish('form/9', 't', true), tidings.publish('form/9', 't', 'null')")
    drain(db)
    equal([b["data"] for b in db.bodies("form/9")], [5, True, None], "what else is JSON")
    got = db.act("u", "health_update", {"metric": "m", "value": 1})
    rows = db.sql("select reply from tidings.act('u', 'user', null, 'health_update', E'{\"metric\":\"m\",\\n\"value\":1}', E'{\"a\":\\n1}', 100, 60)", user="tidings_publisher")
    equal((got.outcome, len(rows), json.loads(rows[0][0])["correlation_id"], "\n" in body(db, "health/u")), ("ok", 1, {"a": 1}, False), "a correlation_id")


@test("publish() to one user, without one connection, or to those who are connected alone")
def to_whom(db):
    connection = "11111111-2222-3333-4444-555555555555"
    db.sql(f"select tidings.publish('whom', 't', '1', to_user => '456', exclude => '{connection}', expires_at => now() + interval '1 hour')")
    listener = db.session("tidings_sidecar")
    listener.listen("ephemeral")
    db.sql("select tidings.publish('whom', 't', '2', ephemeral => true)")
    drain(db)
    rows = db.sql("select to_user, exclude, body::json ->> 'data' from tidings.message m join tidings.topic t on t.id = m.topic_id where t.name = 'whom'")
    equal(rows, [["456", connection, "1"]], "what is kept")
    equal(len(listener.notifications("ephemeral")), 1, "what is sent at once")


@test("publish() refuses what is too large, for no time, for a diagnosis that is not there, of a name or a type that are the product's own")
def refuses_more(db):
    db.sql("insert into tidings.diagnosis values (1285704473650888702, '456')")
    call = lambda topic="a", type="t", data="'{}'", **more: db.psql(f"select tidings.publish('{topic}', '{type}', {data}"
                                                                    + "".join(f", {k} => {v}" for k, v in more.items()) + ")").stderr
    for why, more in (
            ("256 KiB", {"data": "to_json(repeat('x', 262144))"}), ("7,500 bytes", {"data": "to_json(repeat('x', 7500))", "ephemeral": "true"}),
            ("a year ahead", {"deliver_at": "'infinity'"}), ("a year ahead", {"deliver_at": "'-infinity'"}),
            ("a year ahead", {"deliver_at": "now() + interval '367 days'"}), ("expires_at", {"expires_at": "'infinity'"}),
            ("for later", {"ephemeral": "true", "deliver_at": "now()"}), ("to_user", {"to_user": "''"}), ("type", {"type": "x" * 129}),
            ("there is no diagnosis 999999999", {"topic": "diagnosis/999999999"}),
            ("there is no chat", {"topic": "chat/11111111-2222-3333-4444-555555555555"}),
            *(("begins so", {"topic": t}) for t in ("diagnosis/0123", "diagnosis/123/", "Diagnosis/1", "diagnosis/9223372036854775808", "diagnosis", "health/",
                                                    "Health/456", "chat/1", "CHATS/456", "notifications/")),
            *(("said by the server", {"type": t}) for t in ("reconnect_messages", "connect", "pong", "error", "revoked", "presence"))):
        error = call(**more)
        assert "ERROR:  tidings: " in error and why in error, f"{more}: {error}"
    equal(db.one("select count(*) from tidings.outbox"), "0", "in the outbox")
    for right in ({"topic": "diagnoses/1"}, {"topic": "health/456"}, {"topic": "chats/456"}, {"topic": "healthy"}, {"type": "health_alert"},
                  {"data": "to_json(repeat('x', 262000))"}, {"topic": "diagnosis/1285704473650888702"}):
        equal(call(**right), "", str(right))
    drain(db)


@test("publish() takes and refuses the names and types that HTTP does")
def same_lists(db):
    import pathlib
    import re
    source = pathlib.Path(__file__).parents[2] / "src/domain/topic/message_type.c"
    own = re.findall(r'"(\w+)",', re.search(r"own\[\] = \{(.*?)\};", source.read_text(), re.S)[1])
    assert len(own) > 10, own
    equal(sorted(re.findall(r"'(\w+)'", db.one("select translate(prosrc, E'\\n\\t', '') from pg_proc where oid = 'tidings.type_is_own'::regproc"))), sorted(own), "types")


@test("a row that cannot be relayed is put aside with its error, tried again and given up; the rest goes on, and both are counted")
def poison(db):
    user, good = db.user(), db.topic()
    drain(db)
    # No way in lets these through: they stand for what nobody has thought of.
    db.sql("insert into tidings.outbox (deliver_at, topic, body) values (now() - interval '1 hour', 'a name that no topic has', '{}')")
    db.sql(f"insert into tidings.outbox (deliver_at, topic, ephemeral, body) values (now() - interval '1 hour', 'poison/{user}', true, '{{\"x\":\"{'x' * 9000}\"}}')")
    db.sql(publish(good, '{"n":1}') + "; " + publish(good, '{"n":2}'))
    db.act("svc", "notify", {"user_id": user, "type": "system", "title": "T", "message": "M", "deliver_at": db.one("select tidings.stamp(clock_timestamp())")},
           role="service")
    drain(db)
    equal([b["data"]["n"] for b in db.bodies(good)], [1, 2], "the rest")
    equal(len(db.bodies(f"notifications/{user}")), 1, "notifications")
    waiting = lambda: db.sql("select attempts > 0, attempts = 10, failed_at is not null, last_error <> '' from tidings.outbox order by id")
    equal(waiting(), [["t", "f", "f", "t"]] * 2, "put aside")
    for _ in range(10):
        db.sql("update tidings.outbox set deliver_at = now() where failed_at is null")
        drain(db)
    equal(waiting(), [["t", "t", "t", "t"]] * 2, "given up")
    equal((state(db)[0], *state(db)[2:]), (0, 2, False), "counted")
    db.sql("update tidings.outbox set failed_at = null, deliver_at = now(), body = '{}', topic = 'mended/' || id")
    drain(db)
    equal(db.one("select count(*) from tidings.topic where name like 'mended/%'"), "2", "mended by an operator")
    equal(state(db)[2], 0, "given up")


@test("a notification that cannot be relayed is put aside, and those of others go on")
def poison_note(db):
    users = [db.user() for _ in range(3)]
    for u in users:
        db.sql(f"insert into tidings.notification (user_id, type, title, message) values ('{u}', 'system', 'T', 'M')")
    db.sql(f"create function pg_temp.no() returns trigger language plpgsql as 'begin raise exception ''no''; end'; "
           f"create trigger no before insert on tidings.notification_push for each row when (new.user_id = '{users[1]}') execute function pg_temp.no(); "
           "select tidings.relay(100, 60) from generate_series(1, 3)")
    equal([len(db.bodies(f"notifications/{u}")) for u in users], [1, 0, 1], "pushed")
    equal(db.sql(f"select failures, last_error from tidings.notification where user_id = '{users[1]}'"), [["1", "P0001 no"]], "its row")
    db.sql(f"update tidings.notification set push_at = now() where user_id = '{users[1]}'")
    drain(db)
    equal(len(db.bodies(f"notifications/{users[1]}")), 1, "pushed at last")


@test("a topic that an open transaction has locked, or is about to make, holds nothing else back; what is for it keeps its order")
def locked_topic(db):
    locked, free, slow = db.topic(), db.topic(), db.session("postgres")
    db.publish(locked)
    slow.sql(f"begin; select from tidings.topic where name = '{locked}' for update; insert into tidings.topic (name) values ('fresh/1')")
    db.sql(f"select tidings.publish('{locked}', 't', to_json(n)) from generate_series(1, 1200) n; select tidings.publish('fresh/1', 't', '1')")
    db.sql(publish(free))
    db.act("svc", "notify", {"user_id": "789", "type": "system", "title": "T", "message": "M"}, role="service")
    until = drain(db)
    assert int(until) == 100, f"next in {until} ms"
    equal((len(db.bodies(free)), len(db.bodies(locked))), (1, 1), "messages")
    equal(state(db)[0], 1201, "due")
    slow.sql("rollback")
    db.sql(f"select tidings.publish('{locked}', 't', '1201')")
    drain(db)
    equal([b["data"] for b in db.bodies(locked)][1:], list(range(1, 1202)), "in order")
    equal(len(db.bodies("fresh/1")), 1, "in the new topic")


@test("expires_at comes through the outbox to the microsecond, whatever DateStyle and time zone are")
def date_style(db):
    topic = db.topic()
    want = "2031-07-01 10:20:30.123456+00"
    db.sql(publish(topic, expires_at=f"'{want}'"))
    session = db.session("postgres")
    session.sql("set datestyle = 'SQL, DMY'; set timezone = 'Asia/Kolkata'; set role tidings_owner")
    while session.sql("select tidings.relay(100, 60)") == [["0"]]:
        pass
    equal(db.one(f"select m.expires_at = '{want}' from tidings.message m join tidings.topic t on t.id = m.topic_id where t.name = '{topic}'"), "t", "the same")


@test("what was published while the server's clock was ahead goes when it is right again; what is for later stays for later")
def clock_ahead(db):
    topic = db.topic()
    db.sql(publish(topic, '{"n":1}') + "; " + publish(topic, '{"n":2}', deliver_at="now() + interval '20 days'"))
    db.sql("update tidings.outbox set deliver_at = deliver_at + interval '30 days'")
    drain(db)
    equal([b["data"]["n"] for b in db.bodies(topic)], [1], "messages")
    db.sql("delete from tidings.outbox")


@test("while an old snapshot makes the outbox slow to read from its beginning, the relay begins where it left off, and looks at the rest now and then")
def begins_where_it_left_off(db):
    topic = db.topic()
    drain(db)
    db.sql("insert into tidings.relay_state (look_from, look_again_at) values (now(), now() + interval '1 minute') "
           "on conflict (one) do update set look_from = excluded.look_from, look_again_at = excluded.look_again_at")
    db.sql(publish(topic, '{"n":1}'))
    db.sql("update tidings.outbox set deliver_at = now() - interval '1 hour'")
    db.sql(publish(topic, '{"n":2}'))
    drain(db)
    equal([b["data"]["n"] for b in db.bodies(topic)], [2], "from there")
    for n, again in enumerate(("now()", "now() + interval '1 year'"), 3):  # the second by a clock that was ahead
        db.sql(publish(topic, f'{{"n":{n}}}'))
        db.sql("update tidings.outbox set deliver_at = now() - interval '1 hour'")
        db.sql(f"update tidings.relay_state set look_from = now(), look_again_at = {again}")
        drain(db)
    equal([b["data"]["n"] for b in db.bodies(topic)], [2, 1, 3, 4], "from the beginning")
    db.sql("delete from tidings.relay_state")
    old = db.session("postgres")
    old.sql("begin isolation level repeatable read")
    old.sql("select count(*) from tidings.outbox")
    begins = lambda: db.one("select coalesce(max(look_from), '-infinity') > '-infinity' from tidings.relay_state")
    db.sql("select tidings.publish('snapshot', 't', '1') from generate_series(1, 8000)")
    equal((begins(), drain(db), begins()), ("f", "", "t"), "beside a snapshot")
    old.sql("commit")
    db.sql("vacuum tidings.outbox")
    db.sql("delete from tidings.relay_state")
    drain(db)
    equal(begins(), "f", "when it is gone")


@test("outbox_state() tells when what is due has not been relayed for 10 s, and the log is told; what a long transaction has published when it commits is not that")
def stuck(db):
    topic, holder = db.topic(), db.session("postgres")
    drain(db)
    db.sql("update tidings.relay_state set idle_at = now()")
    db.sql(publish(topic))
    db.sql("update tidings.outbox set deliver_at = now() - interval '1 hour'")
    messages, oldest_s, failed, is_stuck = state(db)
    equal((messages, round(oldest_s, -2), failed, is_stuck), (1, 3600, 0, False), "just committed")
    for when in ("- interval '11 s'", "+ interval '1 year'"):
        db.sql(f"update tidings.relay_state set idle_at = now() {when}, warned_at = now() + interval '1 year'")
        equal(state(db)[3], True, f"idle {when}")
    holder.sql("begin")
    holder.sql("select pg_advisory_xact_lock(hashtext('tidings.relay'))")
    relay = lambda: db.psql("select tidings.relay(100, 60)", user="tidings_sidecar").stderr
    told = relay()
    assert "WARNING:  tidings: 1 messages wait to be relayed, the oldest for 36" in told, told
    equal(relay(), "", "told again at once")
    holder.sql("rollback")
    drain(db)
    equal(state(db)[0], 0, "due")
    db.sql("update tidings.relay_state set idle_at = '-infinity'")
    equal(state(db)[3], False, "nothing due")


@test("outbox_state() reads no more of the outbox behind an old snapshot, however much was relayed since; where the relay stands still, all that is due counts")
def state_behind_a_snapshot(db):
    # Asked every few seconds by each sidecar, on a connection that clients wait for: seconds, behind a million rows.
    topic, old = db.topic(), db.session("postgres")
    drain(db)
    db.sql("delete from tidings.relay_state")
    old.sql("begin isolation level repeatable read")
    old.sql("select count(*) from tidings.outbox")
    pages = "pg_stat_get_xact_blocks_fetched('tidings.outbox'::regclass)"

    def read():
        before, answer, after = [r[0] for r in db.sql(f"begin; select {pages}; select messages from tidings.outbox_state(); select {pages}; commit")]
        return int(answer), int(after) - int(before)

    db.sql(f"insert into tidings.outbox (deliver_at, topic, body) select now() - interval '1 hour', '{topic}', '{{\"x\":\"{'x' * 300}\"}}' from generate_series(1, 8000)")
    drain(db)
    db.sql("update tidings.relay_state set look_again_at = now() - interval '10 s'")
    db.sql(publish(topic))
    due, pages_read = read()
    equal(due, 1, "due, behind where the relay begins")
    assert pages_read < 50, f"{pages_read} pages read, for one row"
    db.sql("update tidings.outbox set deliver_at = now() - interval '1 hour'; update tidings.relay_state set look_again_at = now() - interval '61 s'")
    due, pages_read = read()
    equal((due, round(state(db)[1], -2)), (1, 3600), "due, where the relay has not looked again")
    assert pages_read > 100, f"{pages_read} pages read: nothing was to be passed over"
    old.sql("commit")
    drain(db)
    db.sql("delete from tidings.relay_state")
    db.sql("vacuum tidings.outbox")
