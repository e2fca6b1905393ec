"""Conversations: who takes part, what is said, who gets it."""
import json
import uuid

from database import act_sql, answer, quote
from harness import equal, test, wait_until


def said(db, topic):
    return [b["data"]["message"] for b in db.bodies(topic) if b["type"] == "chat_message"]


def say(db, user, conversation, message="hello", **more):
    return db.act(user, "chat_message", {"conversation_id": conversation, "message": message, **more.pop("data", {})}, **more)


@test("create_conversation: an ordinary user takes part in what they create, a service only when named")
def create(db):
    a, b = db.user(), db.user()
    got = db.act(a, "create_conversation", {"participants": [b, b, 456, a]}, correlation=7)
    equal((got.outcome, got.topic, got.reply["type"], got.reply["correlation_id"]), ("ok", "", "conversation_created", 7), "answer")
    equal(sorted(map(str, got.data["participants"])), sorted([a, b, "456"]), "participants")
    assert 456 in got.data["participants"], got.data
    equal(db.act("svc", "create_conversation", {"participants": [b]}, role="service").data["participants"], [b], "a service's")
    equal(db.act(a, "create_conversation", {"participants": ["a b"]}).outcome, "invalid", "of one that has no topic")


@test("create_conversation again with the same id changes nothing, and is for its creator only")
def create_twice(db):
    a, b, id = db.user(), db.user(), str(uuid.uuid4())
    asked = {"participants": [b], "conversation_id": id}
    equal([db.act(u, "create_conversation", asked).outcome for u in (a, a, b)], ["ok", "ok", "forbidden"], "outcomes")
    equal(db.act(a, "create_conversation", {"participants": ["x"], "conversation_id": id}).data, {"conversation_id": id, "participants": [a, b]}, "it")


@test("join: who takes part may invite, and a service and an admin; nobody comes in uninvited")
def join(db):
    a, b, c, stranger = (db.user() for _ in range(4))
    id = db.conversation(a, b)
    ask = lambda who, user=None, role="user": db.act(who, "join", {"conversation_id": id, **({"user_id": user} if user else {})}, role=role)
    equal([ask(stranger).outcome, ask(stranger, stranger).outcome, ask(stranger, c).outcome], ["forbidden"] * 3, "uninvited")
    got = ask(b, c)
    equal((got.outcome, got.reply["type"], got.data["user_id"], sorted(got.data["participants"])), ("ok", "joined", c, sorted([a, b, c])), "invited")
    equal([ask(c).outcome, ask("svc", "bot", "service").outcome, ask("root", "bot", "admin").outcome], ["ok"] * 3, "again")
    equal(ask(a, "a b").outcome, "invalid", "one that has no topic")
    equal(db.act(a, "join", {"conversation_id": str(uuid.uuid4())}).outcome, "not_found", "no such conversation")


@test("who was put out of a conversation that they created does not come back by themselves: not by join, not by creating it again")
def creator_put_out(db):
    # The creator might join, whoever they were: removal by SQL was no removal for them.
    a, b = db.user(), db.user()
    id = db.conversation(a, b)
    db.sql(f"delete from tidings.participant where conversation_id = '{id}' and user_id = '{a}'")
    asks = [("join", {"conversation_id": id}), ("join", {"conversation_id": id, "user_id": db.user()}),
            ("create_conversation", {"conversation_id": id, "participants": [b]}), ("chat_message", {"conversation_id": id, "message": "m"})]
    equal([db.act(a, type, data).outcome for type, data in asks], ["forbidden"] * 4, "outcomes")
    equal(db.act(b, "join", {"conversation_id": id, "user_id": a}).outcome, "ok", "invited by who takes part")
    equal(db.act(a, "chat_message", {"conversation_id": id, "message": "m"}).outcome, "ok", "and there again")


@test("where accounts count, an ordinary user lets in who has one that is active; a service lets in anybody")
def accounts(db):
    # Made-up ids became inboxes that nobody read, and that stayed: fifty for each conversation.
    a, b, gone, nobody = (db.user() for _ in range(4))
    db.sql(f"insert into tidings.app_user values ('{a}', true), ('{b}', true), ('{gone}', false)")
    create = lambda *users, who=a, role="user": db.act(who, "create_conversation", {"participants": list(users)}, role=role, require_user=True)
    equal([(got.outcome, got.detail) for got in (create(b, nobody), create(gone))], [("invalid", "One of these users has no active account")] * 2, "created")
    equal(create(nobody, who="svc", role="service").outcome, "ok", "by a service")
    id = create(b).data["conversation_id"]
    join = lambda user, role="user": db.act(b if role == "user" else "svc", "join", {"conversation_id": id, "user_id": user}, role=role, require_user=True)
    equal([join(nobody).outcome, join(gone).outcome, join(a).outcome, join("assistant", "service").outcome], ["invalid", "invalid", "ok", "ok"], "joined")
    equal(db.act(a, "create_conversation", {"participants": [nobody]}).outcome, "ok", "where they do not count")


@test("a conversation has room for 100")
def room(db):
    a, b = db.user(), db.user()
    id = db.conversation(a, b)
    db.sql(f"insert into tidings.participant select '{id}', 'p' || n from generate_series(1, 98) n")
    equal(db.act(a, "join", {"conversation_id": id, "user_id": b}).outcome, "ok", "one who is in it")
    equal(db.act(a, "join", {"conversation_id": id, "user_id": "p99"}).outcome, "invalid", "one more")


@test("chat_message: stored, and sent to the conversation and to each participant's inbox with the same message_id")
def message(db):
    a, b, c = db.user(), db.user(), db.user()
    id = db.conversation(a, b, c)
    text = 'a "quote", \\, \n, </script>, €, {"x":1}'
    got = say(db, b, id, text, correlation={"k": [1]}, data={"sender": "ai_assistant"})
    topic = f"chat/{id}"
    equal((got.outcome, got.topic, got.seq, got.clients, got.reply["type"]), ("ok", topic, 1, 0, "chat_message_sent"), "answer")
    for t in (topic, f"chats/{a}", f"chats/{b}", f"chats/{c}"):
        (m,) = db.bodies(t)
        equal((m["topic"], m["type"], m["correlation_id"]), (t, "chat_message", {"k": [1]}), t)
        equal({k: v for k, v in m["data"].items() if k != "timestamp"}, {
            "conversation_id": id, "message_id": got.data["message_id"], "sender": b, "user_id": b, "message": text}, t)


@test("act_size: what a chat message, a sign of typing and a new conversation make, by who takes part; else one")
def size(db):
    a = db.user()
    id = db.conversation(a, *(db.user() for _ in range(9)))
    ask = lambda type, data: int(db.one(f"select tidings.act_size('{type}', '{json.dumps(data)}')", user="tidings_sidecar"))
    equal([ask(type, {"conversation_id": id}) for type in ("chat_message", "typing", "get_history")], [11, 11, 1], "in a conversation of ten")
    equal([ask("create_conversation", data) for data in ({"participants": ["u", "v"]}, {})], [3, 1], "a new one")


@test("a service shows a name of its own, and its user_id says who it was")
def sender(db):
    a = db.user()
    id = db.conversation(a, a)
    equal(say(db, "svc", id, role="service", data={"sender": a}).outcome, "ok", "outcome")
    equal(say(db, "svc", id, role="service").outcome, "ok", "outcome")
    equal([(m["data"]["sender"], m["data"]["user_id"]) for m in db.bodies(f"chat/{id}")], [(a, "svc"), ("svc", "svc")], "sender")


@test("who does not take part neither writes, types nor reads; what is not there is not found")
def strangers(db):
    a, stranger = db.user(), db.user()
    id = db.conversation(a, a)
    for type, data in (("chat_message", {"message": "x"}), ("typing", {"is_typing": True}), ("get_history", {})):
        equal([db.act(stranger, type, {"conversation_id": c, **data}).outcome for c in (id, str(uuid.uuid4()))], ["forbidden", "not_found"], type)
    equal(db.act("svc", "get_history", {"conversation_id": id}, role="service").outcome, "forbidden", "a service that does not take part")
    equal(db.act("svc", "join", {"conversation_id": id}, role="service").outcome, "ok", "join")
    equal(db.act("svc", "get_history", {"conversation_id": id}, role="service").outcome, "ok", "an assistant")
    equal([r[0] for r in db.attach(("svc", "service", f"chat/{id}"), ("svc", "service", "chats/svc"), (stranger, "user", f"chat/{id}"), (a, "user", f"chat/{id}"),
                                   (a, "user", f"chats/{a}"), (a, "user", f"chats/{stranger}"), ("svc", "service", f"health/{a}"),
                                   (a, "user", f"chat/{id.upper()}"))],
          ["ok", "ok", "forbidden", "ok", "ok", "forbidden", "forbidden", "forbidden"], "subscribe")


@test("typing goes to the others and to the conversation, is not stored, and not sent to who types")
def typing(db):
    a, b, c, me = db.user(), db.user(), db.user(), str(uuid.uuid4())
    id = db.conversation(a, b, c)
    say(db, a, id)
    listener = db.session("tidings_sidecar")
    listener.listen("ephemeral")
    got = db.act(a, "typing", {"conversation_id": id, "is_typing": True}, connection=me)
    equal((got.outcome, got.topic, got.seq, got.reply["type"]), ("ok", f"chat/{id}", None, "typing_sent"), "answer")
    sent = [p.split(" ", 4) for p in listener.notifications("ephemeral")]
    bodies = [json.loads(p[4]) for p in sent]
    equal(sorted(b["topic"] for b in bodies), sorted([f"chat/{id}", f"chats/{b}", f"chats/{c}"]), "topics")
    equal({p[1] for p in sent}, {me}, "excluded")
    equal(bodies[0]["data"], {"conversation_id": id, "user_id": a, "is_typing": True}, "data")
    equal(db.counter(f"chat/{id}"), (1, 1), "seqs of the conversation")


@test("get_history goes back page by page, oldest first in each")
def history(db):
    a = db.user()
    id = db.conversation(a, a)
    for n in range(5):
        say(db, a, id, str(n))
    got, before = [], {}
    while True:
        page = db.act(a, "get_history", {"conversation_id": id, "limit": 2, **before}).data
        got = [m["message"] for m in page["messages"]] + got
        if not page["more"]:
            break
        before = {"before": page["messages"][0]["message_id"]}
    equal(got, list("01234"), "messages")
    equal(db.act(a, "get_history", {"conversation_id": id, "before": 1}).data["messages"], [], "before the first")


@test("messages sent at once have ids in the order of their seqs")
def order(db):
    a = db.user()
    id = db.conversation(a, a)
    holder, sessions = db.session("postgres"), [db.session() for _ in range(10)]
    holder.sql("begin")
    holder.sql(f"select from tidings.conversation where id = '{id}' for update")
    for s in sessions:
        s.send(act_sql(a, "user", "chat_message", {"conversation_id": id, "message": "x"}))
    holder.sql("commit")
    for s in sessions:
        equal(answer(s.receive()).outcome, "ok", "outcome")
    ids = [b["data"]["message_id"] for b in db.bodies(f"chat/{id}")]
    equal((len(ids), ids), (10, sorted(ids)), "ids")


@test("who joins while a message is being sent gets all that comes after")
def join_while_sending(db):
    a, b = db.user(), db.user()
    id = db.conversation(a, a)
    sender, host = db.session(), db.session()
    sender.sql("begin")
    sender.sql(act_sql(a, "user", "chat_message", {"conversation_id": id, "message": "before"}))
    host.send(act_sql(a, "user", "join", {"conversation_id": id, "user_id": b}))
    assert not host.answered(0.2), "the one who invites did not wait"
    sender.sql("commit")
    equal(answer(host.receive()).outcome, "ok", "outcome")
    say(db, a, id, "after")
    equal(said(db, f"chats/{b}"), ["after"], "of the inbox")


@test("who is put out while they send is done first; after that they are refused, and get nothing more")
def put_out(db):
    a, b = db.user(), db.user()
    id = db.conversation(a, b)
    sender, host, late = db.session(), db.session("postgres"), db.session()
    sender.sql("begin")
    sender.sql(act_sql(b, "user", "chat_message", {"conversation_id": id, "message": "mine"}))
    host.sql("begin")
    host.sql(f"delete from tidings.participant where user_id = '{b}'")
    host.send("commit")
    wait_until(lambda: db.one("select count(*) from pg_stat_activity where wait_event_type = 'Lock' and query = 'commit;'") == "1",
               "the end of the right to wait for the sender")
    late.send(act_sql(b, "user", "chat_message", {"conversation_id": id, "message": "too late"}))
    assert not late.answered(0.2), "the late one did not wait"
    sender.sql("commit")
    host.receive()
    equal(answer(late.receive()).outcome, "forbidden", "the late one")
    say(db, a, id, "after")
    equal((said(db, f"chat/{id}"), said(db, f"chats/{b}")), (["mine", "after"], ["mine"]), "messages")
    equal([b["type"] for b in db.bodies(f"chat/{id}")], ["chat_message", "revoked", "chat_message"], "order")


@test("an act that is the victim of a deadlock is done after all")
def deadlock(db):
    a, b = db.user(), db.user()
    id = db.conversation(a, b)
    operator, act = db.session("postgres"), db.session("postgres")
    operator.sql("set deadlock_timeout = '60s'")
    operator.sql(f"begin; select from tidings.participant where user_id = '{b}' for update; delete from tidings.participant where user_id = '{b}' and false")
    operator.sql(f"update tidings.participant set user_id = '{b}2' where user_id = '{b}'; insert into tidings.participant (conversation_id, user_id) values ('{id}', 'new-{b}')")
    act.send(act_sql(a, "user", "join", {"conversation_id": id, "user_id": f"new-{b}"}))
    wait_until(lambda: db.one("select count(*) from pg_stat_activity where wait_event_type = 'Lock'") == "1", "the act to wait")
    operator.send(f"select from tidings.conversation where id = '{id}' for update")
    operator.receive()
    operator.sql("commit")
    equal(answer(act.receive()).outcome, "ok", "outcome")


@test("what meets another transaction is no fault of who asked: it is told to be tried again, not that a value is wrong")
def meets(db):
    a, b = db.user(), db.user()
    id = db.conversation(a, b)
    for state, outcome in (("foreign_key_violation", "40001"), ("unique_violation", "40001"), ("check_violation", "invalid")):
        db.sql(f"create function tidings.meets() returns trigger language plpgsql as $$begin raise {state}; end$$; "
               f"create trigger meets before insert on tidings.chat_message for each row when (new.user_id = '{a}') execute function tidings.meets()")
        try:
            said = db.psql("\\set VERBOSITY sqlstate") and db.psql(act_sql(a, "user", "chat_message", {"conversation_id": id, "message": "m"}))
            assert ("meets other transactions" in said.stderr) == (outcome == "40001"), f"{state}: {said}"
            assert (outcome == "invalid") == said.stdout.startswith("invalid"), f"{state}: {said}"
        finally:
            db.sql("drop trigger meets on tidings.chat_message; drop function tidings.meets()")


def once_sql(user, key, hash, data):
    return (f"select outcome, detail, reply, topic, seq, clients from tidings.act_once('{user}', 'user', null, 'chat_message', {quote(json.dumps(data))}, "
            f"null, 100, 60, '{key}', '{hash}')")


@test("act_once: the same key within 7 days does it once and answers the same; with another hash it is refused; older than that it is a new one")
def once(db):
    a, b = db.user(), db.user()
    data = {"conversation_id": db.conversation(a, b), "message": "m"}
    ask = lambda key="k", hash="h", **more: answer(db.sql(once_sql(a, key, hash, {**data, **more}), user="tidings_publisher"))
    first = ask()
    equal((first.outcome, ask(), ask(hash="other").outcome), ("ok", first, "key_reused"), "the same key")
    equal(ask(message="again", key="k2").seq, 2, "another")
    equal(ask(key="k3", conversation_id=str(uuid.uuid4())).outcome, "not_found", "what is refused")
    equal(ask(key="k3").seq, 3, "and may be tried again")
    age = lambda hours: db.sql(f"update tidings.idempotency set created_at = created_at - interval '{hours} hours' where caller = '{a}'")
    age(167)
    equal(ask(), first, "an hour before")
    age(2)
    equal((ask(hash="other").seq, ask(hash="other").seq, ask().outcome), (4, 4, "key_reused"), "an hour after it is a new one")
    equal(db.sql(f"select key from tidings.idempotency where caller = '{a}' order by 1"), [["k"]], "and the old ones are gone")
