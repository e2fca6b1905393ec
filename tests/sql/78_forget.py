"""tidings.forget(): what is kept about a user goes, and what others need names nobody."""
import json
import re

from database import Item, Request, quote
from harness import equal, test, wait_until

# Whoever is named in one of them, but for a column that says whom a diagnosis was granted to by somebody else, is.
TEXT_COLUMNS = ("select c.relname, a.attname from pg_class c join pg_attribute a on a.attrelid = c.oid where c.relnamespace = 'tidings'::regnamespace "
                "and c.relkind = 'r' and a.attnum > 0 and not a.attisdropped and a.atttypid in ('text'::regtype, 'text[]'::regtype, 'jsonb'::regtype)")


def forget(db, user):
    return {kind: (int(deleted), int(anonymised)) for kind, deleted, anonymised in db.sql(f"select * from tidings.forget({quote(user)})")}


def named(db, user):
    """Where the user's id still is."""
    return [f"{table}.{column}" for table, column in db.sql(TEXT_COLUMNS)
            if db.sql(f"select 1 from tidings.{table} t where t.{column}::text ~ '(^|[^A-Za-z0-9-]){user}([^A-Za-z0-9-]|$)' limit 1")]


def everything(db, user, friend, assistant, clinician):
    """Has something stored of a user wherever something can be. The conversations: with a friend, with the assistant."""
    db.sql(f"insert into tidings.app_user values ('{user}'); insert into tidings.health_grant values ('{user}', '{clinician}')")
    owned, granted = db.topic(user), db.topic(clinician)
    db.sql(f"insert into tidings.diagnosis_grant values ({granted.split('/')[1]}, '{user}'), ({owned.split('/')[1]}, '{friend}')")
    db.batch([Request([Item(owned, effect=(1, "0.5", None))], user, "user", "key", "h")])
    db.publish(granted, to_user=user)
    db.publish(owned, deliver_at="2030-01-01T00:00:00Z")
    with_friend, alone = db.conversation(friend, user), db.conversation(user, assistant)
    for conversation in (with_friend, alone):
        equal(db.act(user, "chat_message", {"conversation_id": conversation, "message": f"secret of {user}"[:6]}, daily_max=1000).outcome, "ok", "chat")
    db.act(friend, "chat_message", {"conversation_id": with_friend, "message": "hello"})
    db.act(assistant, "chat_message", {"conversation_id": alone, "message": "an answer", "sender": "Assistant"}, role="service")
    db.act(user, "set_threshold", {"metric": "pulse", "high": 1})
    for value in (0, 2):
        db.act(user, "health_update", {"metric": "pulse", "value": value})
    db.sql(f"insert into tidings.device values ('{user}', 'phone', '{granted}', 'e', 1, now()), ('{clinician}', 'phone', 'health/{user}', 'e', 1, now())")
    db.act(user, "set_preferences", {"types": {"system": False}})
    for to in (user, friend):
        db.act(user, "notify", {"user_id": to, "type": "system", "title": "t", "message": "m"}, role="service")
    for topic, writer in ((owned, user), (owned, friend), (granted, user)):
        d = int(topic.split("/")[1])
        equal(db.act(writer, "submit_feedback", {"diagnosis_id": d, "rating": 5, "comment": f"of {d}"}).outcome, "ok", "feedback")
        equal(db.act(writer, "recommend", {"diagnosis_id": d, "herb": "Ginger", "condition": "dyspepsia", "reason": "r"}).outcome, "ok", "a recommendation")
    db.sql(f"insert into tidings.prediction (recommendation_id, patient, model, success) values (1, '{user}', 'rules-1', 0.5)")
    return owned, granted, with_friend, alone


@test("forget() leaves the id of a user nowhere, says of each kind what it has erased, and keeps what is others'")
def erases(db):
    user, friend, assistant, clinician, other = (db.user() for _ in range(5))
    everything(db, other, friend, assistant, clinician)
    owned, granted, with_friend, alone = everything(db, user, friend, assistant, clinician)
    assert {"topic.name", "message.body", "message.to_user", "chat_message.user_id", "health_reading.user_id", "notification.publisher", "idempotency.caller",
            "app_user.id", "diagnosis.owner", "quota.user_id", "health_grant.user_id", "feedback.user_id", "feedback.patient", "prediction.patient", "recommendation.decided_by"} <= set(named(db, user)), named(db, user)
    before = {t: db.sql(f"select count(*) from tidings.{t}") for t in ("app_user", "conversation")}
    told = db.session("tidings_sidecar")
    told.listen("control")
    done = forget(db, user)
    # The end of a right is told in the topic, and goes with it.
    equal(set(named(db, user)) - {"message.to_user"}, set(), "where the id still is")
    equal(db.sql(f"select count(*) from tidings.message where to_user = '{user}' and not revocation and body <> ''"), [["0"]], "messages for the user")
    queued = done.pop("queued_messages")
    assert queued[0] >= 8, queued
    equal(done, {"idempotency_keys": (1, 0), "diagnoses": (1, 0), "rights": (2, 0), "account": (1, 0), "chat_messages": (2, 1), "conversations": (1, 0),
                 "readings": (2, 0), "thresholds": (1, 0), "notifications": (2, 1), "preferences": (1, 0), "devices": (1, 0), "feedback": (2, 1), "predictions": (1, 0), "recommendations": (2, 1), "scheduled_messages": (1, 0), "connections": (0, 0),
                 "topics": (5, 0), "quotas": (1, 0)}, "what was erased")
    assert f"forget {user}" in told.notifications("control")
    said = db.act(friend, "get_history", {"conversation_id": with_friend}).data["messages"]
    equal([m["message"] for m in said], ["secret", "hello"], "what the friend reads")
    assert re.fullmatch("forgotten-[0-9a-f]{8}", said[0]["sender"]) and said[0]["user_id"] == said[0]["sender"], said
    equal(db.act(friend, "get_notifications").data["unread"], 2, "the friend's notifications")
    equal(db.act(assistant, "get_history", {"conversation_id": alone}, role="service").outcome, "not_found", "the conversation with the assistant")
    equal({t: int(before[t][0][0]) - int(db.sql(f"select count(*) from tidings.{t}")[0][0]) for t in before}, {"app_user": 1, "conversation": 1}, "gone")
    equal(db.sql("select tidings.authorize(u, 'user', t, 'subscribe') from (values "
                 f"('{user}', '{granted}'), ('{friend}', '{owned}'), ('{user}', 'chat/{with_friend}'), ('{clinician}', 'health/{user}')) as v(u, t)"), [["f"]] * 4, "rights")
    equal(db.sql("select tidings.authorize(u, 'user', t, 'subscribe') from (values "
                 f"('{clinician}', '{granted}'), ('{friend}', 'chat/{with_friend}')) as v(u, t)"), [["t"]] * 2, "others' rights")
    said = db.act(clinician, "get_feedback", {"diagnosis_id": int(granted.split("/")[1])}).data["feedback"]
    equal([(f["rating"], f["comment"], f["user_id"].startswith("forgotten-")) for f in said], [(5, f"of {granted.split('/')[1]}", True)], "feedback on somebody else")
    again = forget(db, user)
    equal({k for k, v in again.items() if v != (0, 0)}, set(), "a second time")
    equal(len(named(db, other)) > 10, True, "where the other's id is")


@test("a message of others that names who is forgotten reaches nobody any more; the numbering of their topics goes on without a hole")
def queues(db):
    user, friend = db.user(), db.user()
    conversation = db.conversation(friend, user)
    for who in (user, friend, user, friend):
        db.act(who, "chat_message", {"conversation_id": conversation, "message": f'from {who} "user_id":{json.dumps(user)},'})
    inbox = f"chats/{friend}"
    forget(db, user)
    for topic, last in ((f"chat/{conversation}", 5), (inbox, 4)):
        equal([(r[1], bool(r[2])) for r in db.fetch([(db.topic_id(topic), 0)])],
              [("1", False), ("2", True), ("3", False), ("4", True), ("5", True)][:last], f"seq, and whether there is a body, in {topic}")
    equal([int(r[6]) for r in db.history(inbox, user=friend, after=0, epoch=db.one(f"select epoch || tidings.cluster_tag() from tidings.topic where name = '{inbox}'"))],
          [2, 4], "history")
    db.act(friend, "chat_message", {"conversation_id": conversation, "message": "m"})
    equal(db.last_seq(inbox), 5, "the last seq")


@test("a cursor into a topic of who was forgotten is told that its numbering is another")
def cursors(db):
    user = db.user()
    topic = f"health/{user}"
    db.publish(topic, count=3)
    before = db.history(topic, user=user)[0]
    forget(db, user)
    db.publish(topic, count=5)
    after = db.history(topic, user=user, epoch=before[1], after=2)
    equal((after[0][2], [r[6] for r in after]), ("f", ["1", "2", "3", "4", "5"]), "recovered, and what comes")


@test("who publishes to what forget() has locked comes after it, whichever topics: none waits in a ring, and nothing else waits")
def beside_publishers(db):
    user, friend = db.user(), db.user()
    low = db.topic(friend)
    db.publish(low)
    conversation = db.conversation(friend, user)
    db.sql(f"insert into tidings.diagnosis_grant values ({low.split('/')[1]}, '{user}')")
    db.act(user, "chat_message", {"conversation_id": conversation, "message": "m"})
    first, session = db.session(), db.session("postgres")
    first.sql("begin")
    db.batch([Request([Item(low)])], first)
    session.send(f"select count(*) from tidings.forget('{user}')")
    wait_until(lambda: db.sql("select 1 from pg_stat_activity where wait_event_type = 'Lock' and query ~ 'tidings.forget'"), "forget() to wait")
    db.batch([Request([Item(f"chats/{user}"), Item(f"chat/{conversation}")])], first)
    equal(db.act(db.user(), "health_update", {"metric": "pulse", "value": 1}).outcome, "ok", "somebody else's")
    first.sql("commit")
    equal(session.receive(), [["19"]], "kinds")
    equal(db.sql(f"select count(*) from tidings.topic where name = 'chats/{user}'"), [["0"]], "their topic")


@test("forget() that fails half way, or is taken back, has erased nothing and told nobody")
def taken_back(db):
    user, told, session = db.user(), db.session("tidings_sidecar"), db.session("postgres")
    told.listen("control")
    friend = db.user()
    everything(db, user, friend, db.user(), db.user())
    told.notifications("control")
    before = named(db, user)
    session.sql("begin")
    session.sql(f"select count(*) from tidings.forget('{user}')")
    equal([r.outcome for r in db.batch([Request([Item(f"chats/{friend}")]), Request([Item(f"health/{friend}")])])], ["busy", "ok"], "while it is open")
    session.sql("rollback")
    equal(sorted(named(db, user)), sorted(before), "where the id is")
    equal(told.notifications("control"), [], "what sidecars are told")
    session.sql("begin isolation level repeatable read")
    assert "READ COMMITTED" in session.receive_after(f"select tidings.forget('{user}')")[0][0]
    session.sql("rollback")
    for wrong in ("", "x" * 129, None):
        assert "a user id has 1 to 128 bytes" in db.psql(f"select tidings.forget({quote(wrong)})").stderr, wrong


@test("where accounts and diagnoses are views of an operator's tables their rows stay, and what is queued for them goes")
def views(db):
    user = db.user()
    topic = db.topic(user)
    db.publish(topic)
    db.sql("alter table tidings.diagnosis rename to theirs; create view tidings.diagnosis as select * from tidings.theirs; "
           "alter table tidings.app_user rename to their_users; create view tidings.app_user as select * from tidings.their_users; "
           f"grant all on tidings.diagnosis, tidings.app_user to tidings_owner; insert into tidings.their_users values ('{user}')")
    try:
        done = forget(db, user)
        equal((done["diagnoses"], done["account"], done["topics"]), ((0, 0), (0, 0), (1, 0)), "what was erased")
        equal(db.sql(f"select count(*) from tidings.theirs where owner = '{user}' union all select count(*) from tidings.their_users where id = '{user}'"), [["1"]] * 2, "rows")
        equal(db.sql(f"select count(*) from tidings.message m join tidings.topic t on t.id = m.topic_id where t.name = '{topic}' and not m.revocation"), [["0"]], "messages")
    finally:
        db.sql("drop view tidings.diagnosis, tidings.app_user; alter table tidings.theirs rename to diagnosis; alter table tidings.their_users rename to app_user")
