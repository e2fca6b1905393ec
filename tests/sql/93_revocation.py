"""A right that is withdrawn ends the subscription at a seq: nothing sequenced after it is that user's."""
import uuid

from database import Item, Request, batch_sql
from harness import equal, test


def revocations(db, topic):
    """(seq, user): "-" is whoever has no token, "*" everybody."""
    return [(int(r[0]), r[1]) for r in db.sql("select m.seq, coalesce(nullif(m.to_user, ''), case when m.to_user = '' then '-' else '*' end) from tidings.message m join tidings.topic t on t.id = m.topic_id "
                                              f"where t.name = '{topic}' and m.revocation order by 1")]


def controls(db):
    listener = db.session("tidings_sidecar")
    listener.listen("control")
    return lambda: listener.notifications("control")


@test("a grant that is deleted: a revocation in the topic, for that user alone, and the nodes are told its seq")
def grant(db):
    heard = controls(db)
    topic = f"diagnosis/{db.diagnosis('789', ['456', 'other'])}"
    db.publish(topic)
    db.sql(f"delete from tidings.diagnosis_grant where diagnosis_id = {topic[10:]} and user_id = '456'")
    db.publish(topic)
    equal(revocations(db, topic), [(2, "456")], "revocations")
    id = db.topic_id(topic)
    equal(heard(), [f"revoke {id} 2 456"], "control")
    equal([r[1:] for r in db.fetch([(id, 0)], columns="to_user, revocation")], [["1", "", "f"], ["2", "456", "t"], ["3", "", "f"]], "fetch")


@test("what else gives a right: an owner that changes, a clinician's grant, taking part; and who keeps it by another is left alone")
def others(db):
    n = db.diagnosis("789", ["456"])
    db.sql(f"update tidings.diagnosis set owner = '456' where id = {n}")
    db.sql(f"delete from tidings.diagnosis_grant where diagnosis_id = {n}")
    db.sql(f"update tidings.diagnosis set public = true where id = {n}")
    equal(revocations(db, f"diagnosis/{n}"), [(1, "789")], "of the diagnosis: the owner that was, not the one who still is")
    user, doctor, next_one = db.user(), db.user(), db.user()
    db.sql(f"insert into tidings.health_grant values ('{user}', '{doctor}')")
    db.sql(f"update tidings.health_grant set clinician_id = clinician_id where user_id = '{user}'")
    equal(db.one(f"select count(*) from tidings.topic where name = 'health/{user}'"), "0", "an update that changes nothing")
    db.sql(f"update tidings.health_grant set clinician_id = '{next_one}' where user_id = '{user}'")
    db.sql(f"delete from tidings.health_grant where user_id = '{user}'")
    equal(revocations(db, f"health/{user}"), [(1, doctor), (2, next_one)], "of health")
    conversation = db.conversation(user, doctor, next_one)
    db.sql(f"delete from tidings.participant where conversation_id = '{conversation}' and user_id <> '{user}'")
    equal(sorted(u for _, u in revocations(db, f"chat/{conversation}")), sorted([doctor, next_one]), "of the conversation")
    equal([r[0] for r in db.attach((doctor, "user", f"chat/{conversation}"), (user, "user", f"chat/{conversation}"))], ["forbidden", "ok"], "attach")


@test("a diagnosis or conversation that is deleted puts out everyone")
def deleted(db):
    n = db.diagnosis("789", ["456"])
    db.sql(f"delete from tidings.diagnosis where id = {n}")
    equal(sorted(u for _, u in revocations(db, f"diagnosis/{n}")), ["456", "789"], "of the diagnosis")
    a, b = db.user(), db.user()
    conversation = db.conversation(a, b)
    db.sql(f"delete from tidings.conversation where id = '{conversation}'")
    equal(sorted(u for _, u in revocations(db, f"chat/{conversation}")), sorted([a, b]), "of the conversation")
    equal(db.attach((a, "user", f"chat/{conversation}"))[0][0], "not_found", "attach")


@test("an account that is deactivated or deleted is put out of all that it may read and all that it listens to, and told to come again")
def account(db):
    for leave in ("update tidings.app_user set active = false where id = '{}'", "delete from tidings.app_user where id = '{}'"):
        user, patient = db.user(), db.user()
        db.sql(f"insert into tidings.app_user values ('{user}'), ('{patient}')")
        db.sql(f"insert into tidings.health_grant values ('{patient}', '{user}')")
        owned, granted, own = db.topic(user), f"diagnosis/{db.diagnosis('789', [user])}", f"custom/{user}"
        conversation = db.conversation(user, patient)
        db.publish(own)
        node = db.node()
        db.flush(node, opened=[(str(uuid.uuid4()), db.topic_id(own), user)])
        heard = controls(db)
        db.sql(leave.format(user))
        topics = [f"health/{user}", f"notifications/{user}", f"chats/{user}", f"chat/{conversation}", f"health/{patient}", owned, granted, own]
        equal([[u for _, u in revocations(db, t)] for t in topics], [[user]] * 8, "revocations")
        equal([c.split()[0] for c in heard()], ["revoke"] * 8 + ["reconnect"], "control")
        db.sql(f"update tidings.app_user set active = false where id = '{user}'")
        equal(len(heard()), 0, "once more")


@test("attach refuses users who are not there or not active, when told to; user_active says so too")
def require_user(db):
    user, gone, unknown = db.user(), db.user(), db.user()
    db.sql(f"insert into tidings.app_user values ('{user}', true), ('{gone}', false)")
    equal(db.sidecar(f"select tidings.user_active('{{{user},{gone},{unknown},null}}')"), [["{t,f,f,f}"]], "user_active")
    public = db.topic("789")
    db.sql(f"update tidings.diagnosis set public = true where id = {public[10:]}")
    call = lambda more: [r[0] for r in db.sidecar(
        f"select outcome from tidings.attach(array['{user}', '{gone}', '{unknown}', null], '{{user,user,user,user}}', "
        f"'{{health/{user},health/{gone},health/{unknown},{public}}}'{more})")]
    equal(call(", true"), ["ok", "forbidden", "forbidden", "ok"], "when told to")
    equal((call(", false"), call("")), (["ok"] * 4, ["ok"] * 4), "otherwise")


WITHDRAWALS = {
    "a grant": "delete from tidings.diagnosis_grant where diagnosis_id = {n}",
    "an account": "update tidings.app_user set active = false where id = '{user}'",
    "public": "update tidings.diagnosis set public = false where id = {n}",
    "participation": "delete from tidings.participant where conversation_id = '{chat}' and user_id = '{user}'",
    "by hand": "select tidings.revoke('{user}', '{topic}')",
}


def withdrawable(db):
    """Everything of WITHDRAWALS, of a user of its own: (names for it, the topics that are concerned)"""
    user, other = db.user(), db.user()
    n = db.diagnosis("789", [user])
    db.sql(f"insert into tidings.app_user values ('{user}'); update tidings.diagnosis set public = true where id = {n}")
    names = {"n": n, "user": user, "topic": f"diagnosis/{n}", "chat": db.conversation(other, user)}
    db.publish(names["topic"])
    return names, other, [names["topic"], f"chat/{names['chat']}"]


def went_on(db, names, other, topics):
    """All that others do with these topics, each done before this returns."""
    publisher = db.session()
    publisher.sql("set statement_timeout = '10s'")
    outcomes = [r[1] for r in publisher.sql(batch_sql([Request([Item(t)]) for t in topics]))]
    said = db.act(other, "chat_message", {"conversation_id": names["chat"], "message": "x"})
    db.sql(f"select tidings.publish('{names['topic']}', 'from SQL', '{{}}')")
    db.relay()
    equal((outcomes, said.outcome, db.one("select count(*) from tidings.outbox")), (["ok", "ok"], "ok", "0"), "publishing")


@test("a transaction that withdraws a right and stays open delays nobody: broadcasts, chat and relay go on, and what they publish is before the end")
def open_transaction(db):
    # What went wrong: the trigger appended to the topic at once, and so held its counter until the operator's COMMIT. For 5 s at a time
    # nothing was published at all: whole batches, the relay, and with it every act of a node.
    for what, statement in WITHDRAWALS.items():
        names, other, topics = withdrawable(db)
        admin = db.session("postgres")
        admin.sql("begin")
        admin.sql(statement.format(**names))
        went_on(db, names, other, topics)
        equal([revocations(db, t) for t in topics], [[], []], f"{what}: while it is open")
        last = [db.counter(t)[1] for t in topics]
        admin.sql("commit")
        ended = [r for t, seq in zip(topics, last) for r in revocations(db, t)]
        assert ended and all(seq > min(last) for seq, _ in ended), f"{what}: {ended}, after {last}"
        equal(db.one("select count(*) from tidings.withdrawal"), "0", f"{what}: left over")


@test("two transactions that withdraw rights to the same topics, in opposite orders, never meet in a ring")
def opposite(db):
    a, b = (f"diagnosis/{db.diagnosis('789', ['456', '457'])}" for _ in range(2))
    one, two = db.session("postgres"), db.session("postgres")
    withdraw = "delete from tidings.diagnosis_grant where diagnosis_id = %s and user_id = '%s'"
    for session, user, order in ((one, "456", (a, b)), (two, "457", (b, a))):
        session.sql("begin")
        session.sql(withdraw % (order[0][10:], user))
    one.sql(withdraw % (b[10:], "456"))
    two.sql(withdraw % (a[10:], "457"))
    equal(db.batch([Request([Item(a), Item(b)])])[0].outcome, "ok", "a batch meanwhile")
    one.send("commit")
    two.send("commit")
    one.receive(), two.receive()
    for t in (a, b):
        equal(sorted(u for _, u in revocations(db, t)), ["456", "457"], f"revocations of {t}")


@test("of two transactions that each withdraw one of a user's two rights at once, one ends the subscription")
def both_rights(db):
    user = db.user()
    topic = f"diagnosis/{db.diagnosis(user, [user])}"
    one, two = db.session("postgres"), db.session("postgres")
    one.sql("begin")
    two.sql("begin")
    one.sql(f"update tidings.diagnosis set owner = '789' where id = {topic[10:]}")
    two.sql(f"delete from tidings.diagnosis_grant where diagnosis_id = {topic[10:]}")
    one.sql("commit")
    two.sql("commit")
    equal([u for _, u in revocations(db, topic)], [user], "revocations")


@test("a right that is given back in the same transaction, or withdrawn in a part of it that is rolled back, is none that has ended")
def given_back(db):
    n = db.diagnosis("789", ["456", "457"])
    grant = f"insert into tidings.diagnosis_grant values ({n}, '456')"
    withdraw = f"delete from tidings.diagnosis_grant where diagnosis_id = {n} and user_id = "
    session = db.session("postgres")
    for statement in ("begin", f"{withdraw} '456'", grant, "savepoint s", f"{withdraw} '457'", "select tidings.revoke('458', 'diagnosis/%d')" % n, "rollback to s", "commit"):
        session.sql(statement)
    equal(revocations(db, f"diagnosis/{n}"), [], "after a rollback to a savepoint")
    session.sql("begin")
    session.sql(f"{withdraw} '456'")
    session.receive_after("select 1/0")
    session.sql("rollback")
    equal((revocations(db, f"diagnosis/{n}"), db.one("select count(*) from tidings.withdrawal")), ([], "0"), "after an error")


@test("SET CONSTRAINTS ALL IMMEDIATE ends rights within the transaction, then and with each later statement; once each")
def immediate(db):
    n = db.diagnosis("789", ["456", "457"])
    withdraw = f"delete from tidings.diagnosis_grant where diagnosis_id = {n} and user_id = "
    session = db.session("postgres")
    for statement in ("begin", f"{withdraw} '456'", "set constraints all immediate", f"{withdraw} '457'", "commit"):
        session.sql(statement)
    equal(revocations(db, f"diagnosis/{n}"), [(1, "456"), (2, "457")], "revocations")


@test("a transaction with a snapshot of its own withdraws rights too: the relay ends them right after COMMIT, however busy the topic was meanwhile")
def snapshot(db):
    for isolation in ("repeatable read", "serializable"):
        topic = f"diagnosis/{db.diagnosis('789', ['456'])}"
        listener, admin = db.session("tidings_sidecar"), db.session("postgres")
        listener.listen("outbox")
        admin.sql(f"begin isolation level {isolation}")
        admin.sql("select count(*) from tidings.diagnosis")
        db.publish(topic)
        admin.sql(f"delete from tidings.diagnosis_grant where diagnosis_id = {topic[10:]}")
        admin.sql("commit")
        equal((len(listener.notifications("outbox")), db.relay()), (1, "0"), "the relay is called, and had something to do")
        equal(revocations(db, topic), [(2, "456")], "revocations")
        equal(db.one("select count(*) from tidings.withdrawal"), "0", "left over")


@test("what raises while rights are ended after COMMIT does not stop the relay")
def relay_goes_on(db):
    topic = f"diagnosis/{db.diagnosis('789', ['456'])}"
    session = db.session("postgres")
    db.sql("create function tidings.boom() returns trigger language plpgsql as 'begin raise ''boom''; end'; "
           "create trigger boom before insert on tidings.message for each row when (new.body like '%\"revoked\"%') execute function tidings.boom()")
    try:
        session.sql("begin isolation level repeatable read")
        session.sql(f"select tidings.revoke('456', '{topic}'), tidings.publish('{topic}', 'n', '{{}}')")
        session.sql("commit")
        db.relay()
        equal(db.counter(topic)[1], 1, "seq of what was in the outbox")
    finally:
        db.sql("drop function tidings.boom() cascade")
    db.relay()
    equal(revocations(db, topic), [(2, "456")], "revocations afterwards")


@test("PREPARE TRANSACTION with a withdrawn right is refused as a whole: PostgreSQL takes no NOTIFY in one")
def prepared(db):
    topic = f"diagnosis/{db.diagnosis('789', ['456'])}"
    session = db.session("postgres")
    session.sql("begin")
    session.sql(f"delete from tidings.diagnosis_grant where diagnosis_id = {topic[10:]}")
    assert "ERROR" in str(session.receive_after("prepare transaction 'rights'")), "it was taken"
    equal((db.attach(("456", "user", topic))[0][0], revocations(db, topic)), ("ok", []), "the right")


@test("TRUNCATE withdraws what the rows gave: grants, diagnoses, participation, accounts; and who keeps it by another right is left alone")
def truncate(db):
    names, other, (topic, chat) = withdrawable(db)
    n = db.diagnosis("790", ["790"])
    db.sql(f"insert into tidings.health_grant values ('{names['user']}', 'doctor')")
    db.sql("truncate tidings.diagnosis_grant")
    equal((revocations(db, topic)[-1:], revocations(db, f"diagnosis/{n}")), ([(2, names["user"])], []), "grants")
    db.sql("truncate tidings.health_grant, tidings.participant")
    equal([sorted(u for _, u in revocations(db, t)) for t in (f"health/{names['user']}", chat)], [["doctor"], sorted([other, names["user"]])], "the next two")
    db.sql("truncate tidings.app_user")
    equal(revocations(db, f"notifications/{names['user']}"), [(1, names["user"])], "accounts")
    db.sql("truncate tidings.diagnosis cascade")
    equal([sorted(u for _, u in revocations(db, t)) for t in (topic, f"diagnosis/{n}")], [["-", "789", names["user"]], ["790"]], "diagnoses")


@test("a public diagnosis that is made private, or deleted, puts out whoever has no token; one that is deleted and made anew as it was does not")
def public(db):
    # What went wrong: only owner and topic were compared, and a revocation needed a user.
    heard = controls(db)
    n, gone, anew = (db.diagnosis("789") for _ in range(3))
    db.sql("update tidings.diagnosis set public = true where owner = '789'")
    db.sql(f"update tidings.diagnosis set public = false where id = {n}")
    db.sql(f"delete from tidings.diagnosis where id = {gone}")
    db.sql(f"begin; delete from tidings.diagnosis where id = {anew}; insert into tidings.diagnosis values ({anew}, '789', true); commit")
    equal([sorted(u for _, u in revocations(db, f"diagnosis/{d}")) for d in (n, gone, anew)], [["-"], ["-", "789"], []], "revocations")
    equal(heard()[0], f"revoke {db.topic_id(f'diagnosis/{n}')} 1 ", "control")
    equal(db.attach((None, "user", f"diagnosis/{n}"))[0][0], "forbidden", "attach")


@test("an account that is not there or not active reads no history and publishes nothing, when accounts count; services and admins need none")
def accounts_count(db):
    user, gone, unknown = db.user(), db.user(), db.user()
    db.sql(f"insert into tidings.app_user values ('{user}', true), ('{gone}', false)")
    callers = [(u, "user", db.topic(u)) for u in (user, gone, unknown)] + [("svc", "service", db.topic()), ("root", "admin", db.topic())]
    for required, wanted in (("true", ["ok", "forbidden", "forbidden", "ok", "ok"]), ("false", ["ok"] * 5)):
        # The service reads nothing, with an account or without.
        got = [db.one(f"select outcome from tidings.history('{u}', '{role}', '{t}', null, null, 9, {required})", user="tidings_reader") for u, role, t in callers]
        equal(got, wanted[:3] + ["forbidden", "ok"], f"history, required: {required}")
        sql = batch_sql([Request([Item(t)], caller=u, role=role) for u, role, t in callers]).replace("604800, false,", f"604800, {required},")
        equal([r[1] for r in db.sql(sql, user="tidings_publisher")], wanted, f"publish_batch, required: {required}")
        said = [db.one(f"select outcome from tidings.act('{u}', '{role}', null, 'get_preferences', '{{}}', null, 100, 60, {required})", user="tidings_publisher")
                for u, role, _ in callers]
        equal(said[:3], wanted[:3], f"act, required: {required}")


@test("who attaches while a right is being withdrawn has a place before the revocation, or is refused")
def attach_meanwhile(db):
    topic = f"diagnosis/{db.diagnosis('789', ['456'])}"
    db.publish(topic)
    admin = db.session("postgres")
    admin.sql("begin")
    admin.sql(f"delete from tidings.diagnosis_grant where diagnosis_id = {topic[10:]}")
    before = db.attach(("456", "user", topic))[0]
    admin.sql("commit")
    (seq, _), = revocations(db, topic)
    equal(before[0], "ok", "while it is not committed")
    assert int(before[3]) < seq, f"attached at {before[3]}, revoked at {seq}"
    equal(db.attach(("456", "user", topic))[0][0], "forbidden", "after")


@test("a right withdrawn in the very middle of attach has its revocation after the place that attach gives")
def attach_halfway(db):
    # What went wrong: last_seq was read after the right was asked for, so it could be that of the revocation itself. A verdict that
    # waits stands in for a slow moment between the two.
    topic = f"diagnosis/{db.diagnosis('789', ['456'])}"
    db.publish(topic)
    holder, session = db.session("postgres"), db.session("tidings_sidecar")
    db.sql("alter function tidings.verdict(text, text, text, text, boolean) rename to real_verdict")
    db.sql("""create function tidings.verdict(user_id text, role text, topic text, action text, require_user boolean default false) returns text language plpgsql as $$
        declare v text := tidings.real_verdict(user_id, role, topic, action, require_user);
        begin perform pg_advisory_xact_lock_shared(7); return v; end $$; alter function tidings.verdict owner to tidings_owner""")
    try:
        holder.sql("begin")
        holder.sql("select pg_advisory_xact_lock(7)")
        session.send(f"select outcome, last_seq from tidings.attach('{{456}}', '{{user}}', '{{{topic}}}')")
        assert not session.answered(0.3), f"attach did not wait: {session.buffer}"
        db.sql(f"select tidings.revoke('456', '{topic}')")
        holder.sql("commit")
        (got,) = session.receive()
        equal(got, ["ok", "1"], "outcome and place")
        equal(revocations(db, topic), [(2, "456")], "revocation")
    finally:
        db.sql("drop function tidings.verdict(text, text, text, text, boolean)")
        db.sql("alter function tidings.real_verdict(text, text, text, text, boolean) rename to verdict")


@test("a revocation is for the sidecars: no history has it, nobody waits for it, it counts as no waiting message")
def unseen(db):
    topic = f"diagnosis/{db.diagnosis('789', ['456'])}"
    db.sql(f"select tidings.revoke('456', '{topic}')")
    waiting = lambda: db.one(f"select tidings.status()->'queued_messages_by_diagnosis'->>'{topic[10:]}'")
    equal(waiting(), "", "waiting when there is nothing else")
    db.publish(topic)
    equal(waiting(), "1", "waiting")
    equal([r[6] for r in db.history(topic)], ["2"], "history of that user")
    node = db.node()
    db.flush(node, delivered=[(db.topic_id(topic), 2)])
    equal(db.attach(("456", "user", topic))[0][6], "f", "unsent")
    equal(waiting(), "", "waiting after all was delivered")


@test("revoke() is for an operator's own rules: a user, whoever has no token, or everybody; it says what it does not take")
def by_hand(db):
    heard = controls(db)
    for user in ("'456'", "''", "null"):
        db.sql(f"select tidings.revoke({user}, 'custom/revoked')")
    equal(revocations(db, "custom/revoked"), [(1, "456"), (2, "-"), (3, "*")], "revocations")
    id = db.topic_id("custom/revoked")
    equal(heard(), [f"revoke {id} 1 456", f"revoke {id} 2 ", f"revoke_all {id} 3"], "control")
    equal([r[1:] for r in db.fetch([(id, 0)], columns="to_user is null, revocation")], [["1", "f", "t"], ["2", "f", "t"], ["3", "t", "t"]], "fetch")
    equal([r[6] for r in db.history("custom/revoked", role="admin")], [""], "history")
    for call in ("select tidings.revoke('a', null)", "select tidings.revoke('a', 'b c')"):
        assert "tidings: " in db.psql(call).stderr, call


@test("whoever may delete a grant needs no other right for it")
def by_role(db):
    topic = f"diagnosis/{db.diagnosis('789', ['456'])}"
    db.sql("create role grants_app; grant usage on schema tidings to grants_app; grant select, delete on tidings.diagnosis_grant to grants_app")
    app = db.session("postgres")
    app.sql("set role grants_app")
    app.sql(f"delete from tidings.diagnosis_grant where diagnosis_id = {topic[10:]}")
    app.sql("reset role")
    db.sql("drop owned by grants_app; drop role grants_app")
    equal(revocations(db, topic), [(1, "456")], "revocations")
