"""How much a user may have stored on a day, and topics that nobody needs any more."""
import json

from database import Item, Request, act_sql, answer, batch_sql, quote
from harness import equal, test


def reading(n=1):
    return "health_update", {"metric": "pulse", "value": n}


def stored(db, user):
    return int(db.one(f"select coalesce(sum(kib), 0) from tidings.quota where user_id = '{user}'"))


@test("what is stored of a user ends at the day's quota, by every act that stores and by publishing; what stores nothing goes on, and so does the next day")
def quota(db):
    # Fifty a second were four million rows a day, kept for good.
    user, topic = db.user(), None
    topic = db.topic(user)
    say = lambda type, data: db.act(user, type, data, daily_max=20).outcome
    conversation = db.act(user, "create_conversation", {"participants": ["a", "b"]}, daily_max=20).data["conversation_id"]
    equal((say(*reading()), say("chat_message", {"conversation_id": conversation, "message": "m" * 3000})), ("ok", "ok"), "a reading, a long message")
    equal(stored(db, user), 3 + 1 + 4, "KiB")
    effect = lambda n: db.batch([Request([Item(topic, '{"data":{}}', effect=(n, "0.5", None))], user, "user")], daily_max=20)[0].outcome
    equal([effect(n) for n in range(1, 13)], ["ok"] * 12, "effectiveness")
    storing = [reading(), ("chat_message", {"conversation_id": conversation, "message": "m"}), ("join", {"conversation_id": conversation, "user_id": "c"}),
               ("submit_feedback", {"diagnosis_id": int(topic.split("/")[1]), "rating": 5}),
               ("recommend", {"diagnosis_id": int(topic.split("/")[1]), "herb": "h", "condition": "c", "reason": "r"}),
               ("create_conversation", {"participants": ["a"]}), ("notify", {"user_id": user, "type": "system", "title": "t", "message": "m"})]
    equal([say(*s) for s in storing] + [effect(13)], ["over_quota"] * 8, "over it")
    equal(say("typing", {"conversation_id": conversation, "is_typing": True}), "ok", "what is not stored")
    equal(say("get_health", {}), "ok", "reading")
    equal(db.batch([Request([Item(topic)], user, "user")], daily_max=20)[0].outcome, "ok", "what the queue trims")
    equal(int(db.one(f"select count(*) from tidings.effectiveness e join tidings.topic t on t.id = e.topic_id where t.name = '{topic}'")), 12, "effects")
    equal([db.act(db.user(), *reading(), daily_max=20).outcome, db.act(user, *reading()).outcome, db.act(user, *storing[-1], role="admin", daily_max=20).outcome],
          ["ok"] * 3, "others, without a limit, an admin")
    db.sql(f"update tidings.quota set day = day - 2 where user_id = '{user}'")
    equal([say(*s) for s in storing[:1]], ["ok"], "on another day")
    db.sweep()
    equal(stored(db, user), 1, "left by the sweep")


@test("a key that was used is answered again though the quota is used up; one that was refused is not used")
def keys(db):
    user = db.user()
    topic = db.topic(user)
    ask = lambda key, daily_max=2: db.batch([Request([Item(topic)], user, "user", key, "h")], daily_max=daily_max)[0]
    first = ask("a")
    equal([first.outcome, ask("b").outcome, ask("c").outcome], ["ok", "ok", "over_quota"], "three keys")
    again = ask("a")
    equal((again.outcome, again.seq), ("replayed", first.seq), "the first again")
    together = db.batch([Request([Item(topic)], user, "user", "d", "h"), Request([Item(topic)], user, "user", "d", "h"), Request([Item(topic)])], daily_max=2)
    equal([r.outcome for r in together], ["over_quota", "busy", "ok"], "twice at once, beside somebody else")
    equal(ask("c", 10).outcome, "ok", "tried again")
    once = lambda key, type, data, daily_max: answer(db.sql(
        f"select outcome, detail, reply, topic, seq, clients from tidings.act_once('{user}', 'user', null, '{type}', "
        f"{quote(json.dumps(data))}, null, 100, 60, '{key}', 'h', false, {daily_max})", user="tidings_publisher"))
    before = stored(db, user)
    equal([once(key, *reading(), before + 1).outcome for key in ("e", "f", "e")], ["ok", "over_quota", "ok"], "acts with keys")
    equal(stored(db, user), before + 2, "a reading, and its reply")
    for n in range(40):
        db.act(user, *reading(n))
    # A long reply is kept for its key, whatever was asked.
    equal(once("g", "get_health", {}, 1000).outcome, "ok", "reading")
    assert stored(db, user) >= before + 5, stored(db, user)
    equal(once("h", "get_health", {}, before + 2).outcome, "over_quota", "reading with a key")


@test("of a large quota few rows are written, and the sum is right to a few percent")
def by_chance(db):
    user = db.user()
    db.sql(f"set search_path = tidings; select count(quota_take('{user}', 'user', 1, 100000)) from generate_series(1, 50000)")
    assert 35000 < stored(db, user) < 65000, stored(db, user)
    writes = int(db.one(f"select kib / 100 from tidings.quota where user_id = '{user}'"))
    assert writes < 1000, writes
    db.sql(f"set search_path = tidings; select count(quota_take('{user}', 'service', 1, 100000)) from generate_series(1, 1000)")
    equal(stored(db, user), writes * 100, "after a service's")


@test("of two who store for one user at once both count; who stores for another waits for nobody")
def at_once(db):
    user, other, first, second = db.user(), db.user(), db.session(), db.session()
    say = lambda user: act_sql(user, "user", *reading(), daily_max=100)
    first.sql("begin")
    first.sql(say(user))
    equal(answer(second.sql(say(other))).outcome, "ok", "another user's")
    second.send(batch_sql([Request([Item(db.topic(user))], user, "user", "k", "h"), Request([Item(db.topic(other))], other, "user", "k", "h")], daily_max=100))
    first.sql("commit")
    second.receive()
    equal([stored(db, user), stored(db, other)], [2, 2], "both")


@test("a topic without messages and clients is forgotten after its time, unless it is somebody's; whoever has a cursor to it is told")
def forgotten(db):
    # The inboxes of ids that somebody made up stayed for good.
    user, made_up, account = db.user(), db.user(), db.user()
    db.sql(f"insert into tidings.app_user values ('{account}')")
    conversation = db.conversation(user, made_up, account)
    db.act(user, "chat_message", {"conversation_id": conversation, "message": "m"})
    inboxes = [f"chats/{u}" for u in (user, made_up, account)]
    diagnosis, connected, fresh = db.topic(), f"health/{db.user()}", f"health/{db.user()}"
    for topic in (diagnosis, connected):
        db.publish(topic)
    names = [*inboxes, f"chat/{conversation}", diagnosis, connected]
    old = db.history(inboxes[1], user=made_up)[0]
    for topic in names:
        db.age(topic, 604801)
    left = lambda: [t for t in names + [fresh] if db.sql(f"select 1 from tidings.topic where name = '{t}'")]
    sweep = lambda: db.sweep(keep_s=86400)
    sweep()
    equal(left(), names, "as soon as they are empty")
    db.publish(fresh)
    db.flush(db.node(), presence=[(db.topic_id(connected), 1)])
    db.sql("update tidings.topic set empty_at = empty_at - interval '86401 s'")
    db.sweep(keep_s=0)
    equal(left(), names + [fresh], "where they are kept for ever")
    # One that somebody appends to at this moment is left alone.
    appender = db.session()
    appender.sql("begin")
    appender.sql(batch_sql([Request([Item(inboxes[0])])]))
    sweep()
    appender.sql("commit")
    equal(left(), [inboxes[0], inboxes[2], f"chat/{conversation}", diagnosis, connected, fresh], "after a day")
    again = db.history(inboxes[1], user=made_up, epoch=old[1], after=1)[0]
    assert again[1] != old[1] and again[2] == "f", (old, again)


def due_and_crowded(db, due, crowded, count):
    """So many messages are published to each: all of the due topics' are trimmed, and the topics may be forgotten; of the crowded one's much is to be trimmed."""
    for topic in (*due, crowded):
        db.publish(topic, count=count)
    for topic in due:
        db.age(topic, 604801)
    db.sweep()
    db.sql(f"update tidings.topic set empty_at = now() - interval '86401 s' where name = any ('{{{','.join(due)}}}')")
    db.age(crowded, 61)


def there(db, topics):
    return [t for t in topics if db.sql(f"select 1 from tidings.topic where name = '{t}'")]


@test("a topic for which the operator's rule fails is kept, with a warning that names it; the sweep goes on with the others")
def rule_fails(db):
    # The whole call was taken back, what it had trimmed too, and no later topic was ever come to.
    bad, later, crowded = db.topic(), f"health/{db.user()}", db.topic()
    due_and_crowded(db, (bad, later), crowded, 20)
    rule = lambda language, body: db.sql(f"create or replace function tidings.topic_exists(topic text) returns boolean language {language} stable as $${body}$$")
    sweep = lambda: db.psql("select tidings.sweep(0, 100000, 1000, 10, 60, 604800, 86400)", user="tidings_sidecar")
    fails = f"begin if topic = '{bad}' then raise exception 'no rule' using errcode = '%s'; end if; return true; end"
    try:
        rule("plpgsql", fails % "57014")
        done = sweep()
        assert "ERROR:  no rule" in done.stderr, f"an error of the server: {done.stderr}"
        equal((there(db, (bad, later)), len(db.kept(crowded))), ([bad, later], 20), "where the server is in trouble")
        rule("plpgsql", fails % "22012")
        done = sweep()
        assert f"WARNING:  tidings: whether {bad} may be forgotten is not known" in done.stderr and "22012 no rule" in done.stderr, done.stderr
        equal((there(db, (bad, later)), len(db.kept(crowded))), ([bad], 10), "where the rule fails")
        equal(sweep().stderr, "", "asked again at once")
    finally:
        rule("sql", "select tidings.default_topic_exists(topic)")


@test("a topic that has much to trim keeps none that lie before it from being forgotten")
def forgotten_before_a_crowded_one(db):
    # The call ended there, and the next began there.
    before, crowded, after = f"health/{db.user()}", db.topic(), f"health/{db.user()}"
    due_and_crowded(db, (before, after), crowded, 200)
    equal(db.sweep(queue_max=10, rows=64, keep_s=86400) > 3, True, "calls")
    equal((there(db, (before, after)), len(db.kept(crowded))), ([], 10), "in one pass")
