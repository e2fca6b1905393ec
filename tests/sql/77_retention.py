"""How long messages, readings, chat and notifications are kept: by policies, and by days."""
import itertools

from database import Item, Request, quote
from harness import equal, test

DAY = 86400
PREFIX = itertools.count(1)


def retain(db, readings=0, chat=0, notifications=0, devices=0, rows=1000, ms=60000, begins=True, run=None):
    """Days. Is there more?"""
    return (run or db.sidecar)(f"select tidings.retain({begins}, {rows}, {ms}, {readings * DAY}, {chat * DAY}, {notifications * DAY}, {devices * DAY})")[0][0] == "t"


def all_of(db, **how):
    """How many steps it took."""
    for steps in range(1, 1000):
        if not retain(db, **how):
            return steps
    raise AssertionError("there is more and more")


def count(db, table, user):
    return int(db.one(f"select count(*) from tidings.{table} where user_id = '{user}'"))


def readings(db, user, number, age="0"):
    db.sql(f"insert into tidings.health_reading (user_id, metric, value, pushed) select '{user}', 'pulse', n, true from generate_series(1, {number}) n")
    db.sql(f"update tidings.health_reading set received_at = received_at - interval '{age}' where user_id = '{user}'")


def notifications(db, user, number, age, push_at="null"):
    db.sql(f"insert into tidings.notification (user_id, type, title, message, created_at, due_at, push_at, sent_at) select '{user}', 'system', 't', 'm', "
           f"now() - interval '{age}', now() - interval '{age}', {push_at}, now() - interval '{age}' from generate_series(1, {number})")


def chat(db, number, age):
    user = db.user()
    conversation = db.conversation(user, db.user())
    db.sql(f"insert into tidings.chat_message (conversation_id, user_id, message, created_at) select '{conversation}', '{user}', 'm', "
           f"now() - interval '{age}' from generate_series(1, {number})")
    return user


def anew(db):
    """Nothing that other tests made is in the way, and no node that lives has its turn instead."""
    db.sql("update tidings.node set heartbeat_at = now() - interval '1 hour'; delete from tidings.health_reading; delete from tidings.chat_message; delete from tidings.notification; delete from tidings.device; delete from tidings.retained")


def policy(db, queue_max=None, queue_ttl=None, under=""):
    """A prefix with such a policy."""
    prefix = f"{under}kept{next(PREFIX)}/"
    db.sql(f"insert into tidings.policy values ('{prefix}', {quote(queue_max)}, {quote(queue_ttl)})")
    return prefix


@test("the policy of the longest prefix counts instead of TIDINGS_QUEUE_MAX: where messages are published, and for the sweep; others are as the settings say")
def policy_count(db):
    few = policy(db, 5)
    many, other = f"{policy(db, 60, under=few)}t", "elsewhere/t"
    topics = [f"{few}t", many, other]
    for t in topics:
        db.publish(t, count=99)
        db.age(t, 61)
    db.batch([Request([Item(t) for t in topics])], queue_max=20)
    kept = [len(db.kept(t)) for t in topics]
    equal((kept[0] == kept[2] < 60, kept[1]), (True, 60), f"kept: {kept}")
    db.sweep(queue_max=20)
    equal([len(db.kept(t)) for t in topics], [5, 60, 20], "kept after a sweep")
    equal([db.counter(t)[1] for t in topics], [100] * 3, "the last seq")
    db.sql("delete from tidings.policy")
    db.sweep(queue_max=20)
    equal(len(db.kept(many)), 20, "without the policy")


@test("the policy of a topic counts instead of TIDINGS_QUEUE_TTL, longer and shorter")
def policy_ttl(db):
    short, long, other = policy(db, queue_ttl="1 hour") + "t", policy(db, queue_ttl="30 days") + "t", "elsewhere/ttl"
    for t in (short, long, other):
        db.publish(t, count=20)
        db.age(t, 7200)
    db.sweep()
    equal([len(db.kept(t)) for t in (short, long, other)], [0, 20, 20], "kept after two hours")
    for t in (short, long, other):
        db.age(t, 8 * DAY)
    db.sweep()
    equal([len(db.kept(t)) for t in (short, long, other)], [0, 20, 0], "after a week")
    # Its minimal age is never longer than the policy's TTL.
    db.publish(short, count=5)
    db.age(short, 3601)
    db.sweep(queue_max=1, min_age_s=DAY)
    equal(db.kept(short), [], "kept beyond the TTL")
    db.sql("delete from tidings.policy")


@test("a client without a cursor waits for as many messages as the topic's policy keeps")
def policy_attach(db):
    topic = policy(db, 3) + "t"
    db.publish(topic, count=10)
    attach = lambda queue_max: db.sidecar(
        f"select queue_max, last_seq, after from tidings.attach('{{456}}', '{{admin}}', '{{{topic}}}', p_afters => '{{null}}', p_epochs => '{{null}}', "
        f"p_queue_max => {queue_max}, p_rows => 100, p_bytes => 100000)")
    rows = attach(100)
    equal((rows[0][:2], len(rows) - 1, rows[1][2]), (["3", "10"], 3, "7"), "queue_max, last seq; messages, and after which")
    db.sql("delete from tidings.policy")
    equal((attach(100)[0][0], len(attach(100)) - 1), ("100", 10), "without the policy")


@test("a client that says nothing of rewind goes back as far as the topic's policy has it; what it says, and a cursor that holds, count for more")
def policy_rewind(db):
    topic = policy(db, 50) + "t"
    db.sql(f"insert into tidings.policy (prefix, rewind_default) values ('{topic}', 3)")
    db.publish(topic, count=10)
    epoch = db.one(f"select epoch || tidings.cluster_tag() from tidings.topic where name = '{topic}'")

    def begins(after="null", epoch="null", rewind="0"):
        """After which seq."""
        return db.sidecar(
            f"select after from tidings.attach('{{456}}', '{{admin}}', '{{{topic}}}', p_afters => '{{{after}}}', p_epochs => '{{{epoch}}}', p_rewinds => '{{{rewind}}}', "
            "p_queue_max => 100, p_rows => 100, p_bytes => 100000) where seq is not null limit 1")[0][0]

    equal((begins(), begins(rewind="null"), begins(rewind="5")), ("7", "7", "5"), "without a cursor")
    equal((begins("2", epoch), begins("2", "other"), begins("99", epoch), begins("0")), ("2", "7", "7", "7"), "with a cursor that holds, and with three that do not")
    db.sql("update tidings.policy set rewind_default = null")
    equal((begins(), begins(rewind="2")), ("0", "8"), "without a default")
    db.sql("delete from tidings.policy")
    for wrong in ("0", "101", "-1"):
        assert "violates check" in db.psql(f"insert into tidings.policy (prefix, rewind_default) values ('x', {wrong})").stderr, wrong


@test("withdrawing a right trims nothing, whatever the policy says")
def policy_and_revocation(db):
    user = db.user()
    topic = db.topic(user)
    db.publish(topic, count=50)
    db.age(topic, 61)
    db.sql(f"insert into tidings.policy values ('diagnosis/', 1); delete from tidings.diagnosis where owner = '{user}'")
    equal(len(db.kept(topic)), 51, "kept")
    db.sql("delete from tidings.policy")


@test("places of devices go when such a client has not been there for so many days, in steps; 0 is for ever")
def places_of_devices(db):
    anew(db)
    for age, n in (("89 days", 3), ("91 days", 25)):
        db.sql(f"insert into tidings.device select 'u', 'd' || n, '{age}', 'e', 1, now() - interval '{age}' from generate_series(1, {n}) n")
    left = lambda: int(db.one("select count(*) from tidings.device"))
    equal((retain(db), left()), (False, 28), "for ever")
    equal((retain(db, devices=90, rows=10), left()), (True, 18), "in a step")
    equal((all_of(db, devices=90, rows=10), left()), (2, 3), "in the end")


@test("readings, chat messages and notifications go when they are as old as the settings say, each by its own; 0 is for ever")
def days(db):
    anew(db)
    users = {}
    for age in ("9 days", "11 days"):
        users[age] = db.user()
        readings(db, users[age], 5, age)
        notifications(db, users[age], 5, age)
        users["chat " + age] = chat(db, 5, age)
    left = lambda: [count(db, t, users[("chat " if t == "chat_message" else "") + a]) for t in ("health_reading", "chat_message", "notification")
                    for a in ("9 days", "11 days")]
    all_of(db)
    equal(left(), [5] * 6, "for ever")
    all_of(db, readings=10)
    equal(left(), [5, 0, 5, 5, 5, 5], "readings 10 days")
    all_of(db, chat=10)
    equal(left(), [5, 0, 5, 0, 5, 5], "chat 10 days")
    all_of(db, notifications=10)
    equal(left(), [5, 0, 5, 0, 5, 0], "notifications 10 days")
    db.sql("delete from tidings.retained")
    all_of(db, readings=8, chat=8, notifications=8)
    equal(left(), [0] * 6, "8 days")


@test("a notification stays while it is to be pushed, and a reminder until so many days after it was due; with one go its receipt and its places in the queue")
def notifications_that_wait(db):
    anew(db)
    user = db.user()
    notifications(db, user, 1, "20 days", "now() + interval '1 hour'")
    db.sql(f"insert into tidings.notification (user_id, type, title, message, created_at, due_at, push_at) values ('{user}', 'system', 't', 'm', "
           "now() - interval '100 days', now() - interval '9 days', null)")
    note = db.act("svc", "notify", {"user_id": user, "type": "system", "title": "t", "message": "m", "priority": "critical"}, role="service").data["id"]
    db.sql(f"update tidings.notification set push_at = null, acked_at = now(), due_at = due_at - interval '11 days' where id = '{note}'")
    all_of(db, notifications=10)
    equal(count(db, "notification", user), 2, "notifications")
    equal(db.act("svc", "get_receipt", {"id": note}, role="service").outcome, "not_found", "the receipt")
    equal(count(db, "notification_push", user), 0, "places in the queue")


@test("a step deletes no more rows of a kind than it is told, and takes no longer; the next goes on where it ended, and what is young stays")
def in_steps(db):
    anew(db)
    user, young = db.user(), db.user()
    readings(db, user, 450, "11 days")
    notifications(db, user, 450, "11 days")
    talker = chat(db, 450, "11 days")
    readings(db, young, 10)
    left = lambda: [count(db, "health_reading", user), count(db, "chat_message", talker), count(db, "notification", user)]
    keep = dict(readings=10, chat=10, notifications=10)
    equal((retain(db, **keep, rows=200), left()), (True, [250] * 3), "200 rows of each")
    equal((retain(db, **keep, rows=64), left()), (True, [186] * 3), "64 rows of each")
    equal((retain(db, **keep, ms=0), left()), (True, [86] * 3), "no time: one chunk of each")
    equal((retain(db, **keep), left()), (False, [0] * 3), "the rest")
    equal(count(db, "health_reading", young), 10, "young")


@test("one node at a time deletes; one that ends half way has deleted nothing, and the next goes on")
def one_at_a_time(db):
    anew(db)
    user, other = db.user(), db.session("tidings_sidecar")
    readings(db, user, 300, "11 days")
    equal(retain(db, readings=10, rows=100), True, "a step")
    other.sql("begin")
    retain(db, readings=10, rows=100, run=other.sql)
    equal((retain(db, readings=10, begins=False), count(db, "health_reading", user)), (False, 200), "while another is at it")
    other.close()
    db.sessions.remove(other)
    # Its session is over when its locks are gone.
    db.sql("select pg_advisory_xact_lock(hashtext('tidings.retention'))")
    equal((all_of(db, readings=10), count(db, "health_reading", user)), (1, 0), "afterwards")


@test("after a crash of the server it begins anew, and deletes what is left")
def after_a_crash(db):
    anew(db)
    user = db.user()
    readings(db, user, 300, "11 days")
    retain(db, readings=10, rows=200)
    db.sql("select")
    db.end_sessions()
    db.stop_postgres("immediate")
    db.start_postgres()
    equal(db.sql("select count(*) from tidings.retained"), [["0"]], "what it knew")
    all_of(db, readings=10)
    equal(count(db, "health_reading", user), 0, "left")


@test("who stores, says, reads or acknowledges while a step is open waits for nothing; what somebody has locked is passed over, and goes the next day")
def beside_others(db):
    anew(db)
    user, step, editor = db.user(), db.session("tidings_sidecar"), db.session("postgres")
    readings(db, user, 5, "11 days")
    notifications(db, user, 2, "1 day")
    conversation = db.conversation(user, db.user())
    editor.sql("begin")
    editor.sql(f"update tidings.health_reading set value = 0 where id = (select min(id) from tidings.health_reading where user_id = '{user}')")
    step.sql("begin")
    retain(db, readings=10, chat=10, notifications=10, run=step.sql)
    for type, data in (("health_update", {"metric": "pulse", "value": 1}), ("chat_message", {"conversation_id": conversation, "message": "x"}),
                       ("get_health", {}), ("get_notifications", {})):
        equal(db.act(user, type, data).outcome, "ok", type)
    note = db.act("svc", "notify", {"user_id": user, "type": "system", "title": "t", "message": "m"}, role="service").data["id"]
    equal(db.act(user, "ack", {"id": note}).outcome, "ok", "ack")
    db.publish(f"health/{user}", count=2)
    step.sql("commit")
    equal(count(db, "health_reading", user), 2, "the one that is locked, and a new one")
    editor.sql("commit")
    all_of(db, readings=10)
    equal(count(db, "health_reading", user), 2, "passed over")
    db.sql("update tidings.retained set began_at = began_at - interval '25 hours'")
    all_of(db, readings=10)
    equal(count(db, "health_reading", user), 1, "the next day")


@test("a reading that a clock dated ahead keeps no older one, and none that came after it, from going")
def clock_ahead(db):
    anew(db)
    before, ahead, after = db.user(), db.user(), db.user()
    readings(db, before, 3, "11 days")
    readings(db, ahead, 150, "-400 days")
    readings(db, after, 3, "11 days")
    all_of(db, readings=10)
    equal([count(db, "health_reading", u) for u in (before, ahead, after)], [0, 150, 0], "left")


@test("behind an old snapshot a step does not read again what former ones have deleted")
def old_snapshot(db):
    anew(db)
    user, snapshot, session = db.user(), db.session("postgres"), db.session("tidings_sidecar")
    readings(db, user, 5000, "11 days")
    notifications(db, user, 5000, "11 days")
    talker = chat(db, 5000, "11 days")
    # One after the other, as they would have come.
    db.sql(f"update tidings.notification set due_at = due_at + random() * interval '1 hour' where user_id = '{user}'; "
           f"update tidings.chat_message set created_at = created_at + random() * interval '1 hour' where user_id = '{talker}'")
    snapshot.sql("begin isolation level repeatable read")
    snapshot.sql("select count(*) from tidings.health_reading")
    tables = ("health_reading", "chat_message", "notification")
    read = lambda: [int(r[0]) for r in session.sql("select pg_stat_get_xact_blocks_fetched(('tidings.' || t)::regclass) + coalesce((select sum("
                    "pg_stat_get_xact_blocks_fetched(i.indexrelid)) from pg_index i where i.indrelid = ('tidings.' || t)::regclass), 0) "
                    f"from unnest({quote(list(tables))}) with ordinality as u(t, n) order by n")]
    blocks = []
    for _ in range(24):
        session.sql("begin")
        before = read()
        equal(retain(db, readings=10, chat=10, notifications=10, rows=200, begins=False, run=session.sql), True, "there is more")
        blocks.append([now - then for now, then in zip(read(), before)])
        session.sql("commit")
    for n, table in enumerate(tables):
        assert blocks[-1][n] < 2 * blocks[1][n] + 100, f"blocks of {table} that each step read: {[b[n] for b in blocks]}"


@test("the sweep locks topics for so long and no longer, and goes on after the last it came to: trimming, and forgetting")
def sweep_in_time(db):
    topics = [f"timed{next(PREFIX)}/{n}" for n in range(6)]
    for t in topics:
        db.publish(t, count=3)
        db.age(t, 8 * DAY)
    first = db.topic_id(topics[0]) - 1
    sweep = lambda after, ms: db.sidecar(f"select tidings.sweep({after}, 1000, 1000, 100, 60, 604800, 86400, {ms})")[0][0]
    empty = lambda: [not db.kept(t) for t in topics]
    equal(sweep(first, 0), str(db.topic_id(topics[0])), "came to")
    equal(empty(), [True] + [False] * 5, "trimmed in no time")
    equal(sweep(db.topic_id(topics[0]), 60000), str(db.topic_id(topics[-1])), "came to")
    equal(empty(), [True] * 6, "trimmed in much time")
    db.sql(f"update tidings.topic set empty_at = now() - interval '2 days' where name = any ({quote(topics)})")
    ids = [db.topic_id(t) for t in topics]
    equal(sweep(first, 0), str(ids[0]), "came to")
    there = lambda: [bool(db.sql(f"select 1 from tidings.topic where id = {i}")) for i in ids]
    equal(there(), [False] + [True] * 5, "there after no time")
    sweep(ids[0], 60000)
    equal(there(), [False] * 6, "there after much time")
