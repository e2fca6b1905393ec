"""Live health while the database or a sidecar goes away in the middle of a chat: who sent something is told, nothing is half stored, nothing is lost."""
import contextlib
import importlib
import signal
import threading

from harness import Closed, Lock, Transaction, equal, test, wait_until
from live import TALKATIVE, Live, combined, conversation, count, person

topics = importlib.import_module("48_topics")


class Writer:
    """Says chat messages 0, 1, 2 … one after the other; each is answered before the next. Remembers the answers."""

    def __init__(self, live, conversation_id, name, pace=0.005):
        self.live, self.c, self.name, self.pace = live, conversation_id, name, pace
        self.stored, self.refused, self.unanswered, self.trouble = [], [], [], None
        self.inbox = {}  # seq: message_id
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def hear(self, m):
        for x in m["data"]["messages"] if m["type"] == "reconnect_messages" else [m]:
            if x["type"] == "chat_message":
                assert x["seq"] not in self.inbox, f"twice: {x}"
                self.inbox[x["seq"]] = x["data"]["message_id"]

    def _run(self):
        n, text = 0, None
        try:
            while not self.stop.wait(self.pace):
                text = f"{self.name}-{n}"
                n += 1
                self.live.send("chat_message", {"conversation_id": self.c, "message": text}, text)
                while (m := self.live.next()).get("correlation_id") != text or m["type"] == "chat_message":
                    self.hear(m)
                if m["type"] == "chat_message_sent":
                    self.stored.append((m["data"]["message_id"], text))
                else:
                    equal((m["type"], m["data"]["code"]), ("error", "unavailable"), "answer")
                    self.refused.append(text)
        except Closed:
            self.unanswered.append(text)
        except Exception as e:
            self.trouble = e

    def end(self):
        self.stop.set()
        self.thread.join()
        assert not self.trouble, self.trouble

    def wait(self, what, count):
        wait_until(lambda: self.trouble or len(getattr(self, what)) >= count, f"{count} {what} of {self.name}")


def check_whole(s, c, users, stored):
    """What is stored is in the conversation's topic and in all inboxes, once each, in one order; all that was acknowledged is there."""
    said = s.sql(f"select id, message from tidings.chat_message where conversation_id = '{c}' order by id")
    assert {(int(i), text) for i, text in said} >= set(stored), "an acknowledged message is not stored"
    equal(len({text for _, text in said}), len(said), "messages that are stored once")
    for topic in [f"chat/{c}", *(f"chats/{u}" for u in users)]:
        rows = s.sql("select m.body::json -> 'data' ->> 'message_id' from tidings.message m join tidings.topic t on t.id = m.topic_id "
                     f"where t.name = '{topic}' order by m.seq")
        equal([i for [i] in rows], [i for i, _ in said], f"messages in {topic}")
    return [int(i) for i, _ in said]


def all_of(live, cursor_name, have, want):
    """Reads until all of `want` has been seen once, `have` included."""
    seen = dict(have)
    while len(seen) < len(want):
        m = live.next()
        for x in m["data"]["messages"] if m["type"] == "reconnect_messages" else [m]:
            if x["type"] == "chat_message" and x["topic"] == cursor_name:
                assert x["seq"] not in seen, f"twice: {x}"
                seen[x["seq"]] = x["data"]["message_id"]
    equal([seen[n] for n in sorted(seen)], want, f"messages of {cursor_name}")
    equal(sorted(seen), list(range(1, len(want) + 1)), f"seqs of {cursor_name}")


@test("PostgreSQL goes away in the middle of a chat: the sender is told, connections stay, nothing is half stored, and all goes on when it is back",
      allow="database|Database|terminat")
def _(s):
    for mode in ("fast", "immediate"):
        ann, bob = person(s), person(s)
        with s.node(TIDINGS_QUEUE_MAX=10000, **TALKATIVE) as a, s.node(TIDINGS_QUEUE_MAX=10000, **TALKATIVE) as b:
            one, two = Live(s, a, "chat", user=ann), Live(s, b, "chat", user=bob)
            c = conversation(one, bob)
            writers = [Writer(one, c, "ann"), Writer(two, c, "bob")]
            for w in writers:
                w.wait("stored", 20)
            s.stop_postgres(mode)
            for w in writers:
                w.wait("refused", 3)
            # What needs no database goes on; what does is refused, and ends nothing.
            for server in (a, b):
                with Live(s, server, "combined", user=person(s), authenticate=False) as live:
                    live.ask("ping", want="pong")
                    live.send("authenticate", token=s.token(person(s)))
                    equal(live.client.closed()[0], 1013, "who comes while the database is away")
            s.start_postgres()
            s.wait_ready()
            for server in (a, b):
                wait_until(lambda server=server: s.lets_in(4, server), "clients to be let in")
            for w in writers:
                w.wait("stored", len(w.stored) + 20)
            for w in writers:
                w.end()
                equal(w.unanswered, [], f"connections of {w.name} that were closed")
                assert w.refused, "nobody was told"
            want = check_whole(s, c, (ann, bob), writers[0].stored + writers[1].stored)
            for w, live, user in zip(writers, (one, two), (ann, bob)):
                all_of(live, f"chats/{user}", w.inbox, want)
                live.ask("subscribe", want="subscribed", subscription=f"chat/{c}")
                live.close()


@test("a subscription, a refresh and an unsubscribe while the database is away: answered, and the connection stays", allow="database|Database|terminat")
def _(s):
    user = person(s)
    topic = f"diagnosis/{s.diagnosis(owner=user)}"
    with s.node(**TALKATIVE) as node, combined(s, node, user, "chat") as live:
        s.stop_postgres()
        wait_until(lambda: live.ask("get_preferences", {}, "error")["code"] == "unavailable", "the node to know")
        equal(live.refused("subscribe", subscription=topic), "unavailable", "subscribe")
        live.ask("unsubscribe", want="unsubscribed", subscription="chat")
        live.ask("refresh_token", want="token_refreshed", token=s.token(user))
        live.ask("ping", want="pong")
        s.start_postgres()
        s.wait_ready()

        def back():
            live.send("subscribe", subscription=topic, correlation="s")
            while (m := live.next()).get("correlation_id") != "s":
                pass
            return m["type"] == "subscribed"

        wait_until(back, "the subscription")
        equal(s.recommend(int(topic.split("/")[1]), token=s.token(user))["clients_notified"], 1, "clients_notified")
        live.until("recommendation_update")
        equal(count(s, "connection c join tidings.topic t on t.id = c.topic_id", f"c.user_id = '{user}' and t.name = 'chats/{user}'"), 0, "what was unsubscribed meanwhile")


@test("a subscription that is under way when the database goes away is told so, and can be had again", allow="database|terminat")
def _(s):
    user = person(s)
    topic = f"diagnosis/{s.diagnosis(owner=user)}"
    with s.node(TIDINGS_DATABASE_TIMEOUT=60000, **TALKATIVE) as node, combined(s, node, user) as live:
        with Lock(s, "tidings.delivered"):
            for correlation in ("one", "two"):
                live.send("subscribe", correlation=correlation, subscription=topic)
            pid = s.wait_blocked("attach")
            s.sql(f"select pg_terminate_backend({pid})")
            for correlation in ("one", "two"):
                m = live.next()
                equal((m["data"]["code"], m["correlation_id"]), ("unavailable", correlation), "the answer")

        def has_it():
            live.send("subscribe", subscription=topic)
            return live.next()["type"] == "subscribed"

        wait_until(has_it, "the subscription")
        s.api.post("/ws/publish", {"topic": topic, "type": "n", "data": {}}, s.service()).want(200)
        equal(live.until("n")["seq"], 1, "message")


@test("a sidecar that is killed in the middle of a chat: with their cursors all get all of it, once, and nothing is half stored")
def _(s):
    ann, bob = person(s), person(s)
    settings = {"TIDINGS_QUEUE_MAX": 10000, **TALKATIVE}
    with s.node(**settings) as b:
        a = s.start_node(**settings)
        one, two = Live(s, a, "chat", user=ann), Live(s, b, "chat", user=bob)
        cursor = one.subscribed["data"]["cursor"]
        c = conversation(one, bob)
        writers = [Writer(one, c, "ann"), Writer(two, c, "bob")]
        for w in writers:
            w.wait("stored", 30)
        s.forget(a)
        a.child.kill()
        a.wait()
        writers[0].wait("unanswered", 1)
        writers[1].wait("stored", len(writers[1].stored) + 10)
        seen = writers[0].inbox
        epoch = cursor.rsplit("-", 1)[0]
        back = Live(s, b, "combined", user=ann)
        place = back.ask("subscribe", want="subscribed", subscription="chat", cursor=f"{epoch}-{max(seen, default=0)}")
        equal((place["recovered"], place["topic"]), (True, f"chats/{ann}"), "subscribed")
        writers[1].wait("stored", len(writers[1].stored) + 10)
        for w in writers:
            w.end()
        want = check_whole(s, c, (ann, bob), writers[0].stored + writers[1].stored)
        all_of(back, f"chats/{ann}", seen, want)
        all_of(two, f"chats/{bob}", writers[1].inbox, want)
        back.close()
        two.close()


@test("a user whose five connections died with their node is let in again when that node is given up")
def _(s):
    user = person(s)
    node = s.start_node(**TALKATIVE)
    lives = [Live(s, node, "combined", user=user) for _ in range(5)]
    s.forget(node)
    node.child.kill()
    node.wait()
    with s.node(**TALKATIVE) as other:

        def let_in():
            live = Live(s, other, "combined", user=user, authenticate=False)
            live.send("authenticate", token=s.token(user))
            m = live.next()
            if m["type"] == "authenticated":
                return [live]
            equal((m["data"]["code"], live.client.closed()), ("too_many_connections", (1008, "too many connections")), "the error")
            return None

        for live in [wait_until(let_in, "the user to be let in", 60)[0] for _ in lives]:
            live.close()


@test("an account that is switched off while a node is not listening cannot say anything there either", allow="database|Database|terminat")
def _(s):
    user, other = person(s), person(s)
    s.sql(f"insert into tidings.app_user values ('{user}'), ('{other}')")
    with s.node(TIDINGS_REQUIRE_USER="yes", **TALKATIVE) as node, combined(s, node, user) as live:
        c = conversation(live, other)
        s.sql(f"""select pg_terminate_backend(pid) from pg_stat_activity where query ~* '^listen' and pid <> pg_backend_pid();
            update tidings.app_user set active = false where id = '{user}'""")
        # When the node listens again.
        with combined(s, node, other, f"health/{other}") as watcher:
            s.sql(f"select tidings.publish('health/{other}', 'n', '{{}}')")
            watcher.until("n")

            try:
                for kind, data in (("chat_message", {"conversation_id": c, "message": "still here"}), ("health_update", {"metric": "m", "value": 1}), ("get_preferences", {})):
                    equal(live.refused(kind, data), "forbidden", kind)
                equal(live.refused("subscribe", subscription="chat"), "forbidden", "subscribe")
            except Closed as end:
                equal(end.code, 1012, "the close")
    equal(count(s, "chat_message", f"conversation_id = '{c}'"), 0, "messages")


@test("an account that is switched off right after the database crashed, while nothing is written down and no node hears: its connections are found and sent away",
      allow="database|Database|connection|terminat|server")
def _(s):
    user, other = person(s), person(s)
    s.sql(f"insert into tidings.app_user values ('{user}'), ('{other}')")
    with s.node(TIDINGS_REQUIRE_USER="yes", **TALKATIVE) as node, combined(s, node, user) as live, combined(s, node, other) as stays, \
            combined(s, node, person(s), role="service") as service, topics.connect(s, node, [f"health/{user}"], s.token(user)) as plain:
        node.signal(signal.SIGSTOP)
        try:
            s.stop_postgres("immediate")
            s.start_postgres()
            s.sql(f"update tidings.app_user set active = false where id = '{user}'")
        finally:
            node.signal(signal.SIGCONT)
        equal(live.client.closed()[0], 1012, "the close")
        assert plain.closed()[0] in (1008, 1012), "the close of one that asked for a topic"
        s.wait_ready()
        for client in (stays, service):
            client.ask("ping", want="pong")


@test("a subscription that is given up and taken again while the database takes nothing down is there when it does again", allow="not now")
def _(s):
    topics = [f"diagnosis/{s.diagnosis()}" for _ in range(2)]
    with s.node(**TALKATIVE) as node, combined(s, node, "456", *topics) as live:
        s.sql("""create function public.refuse() returns trigger language plpgsql as $$ begin raise 'not now'; end $$;
            create trigger refuse before delete on tidings.presence for each statement execute function public.refuse()""")
        try:
            live.ask("unsubscribe", want="unsubscribed", subscription=topics[0])
            wait_until(lambda: "not now" in node.log.read_text(), "the database to refuse it")
        finally:
            s.sql("drop function public.refuse() cascade")
        live.ask("unsubscribe", want="unsubscribed", subscription=topics[1])
        live.ask("subscribe", want="subscribed", subscription=topics[1])
        equal(s.sql(f"""select t.name from tidings.connection c join tidings.topic t on t.id = c.topic_id
            where t.name in ('{"', '".join(topics)}')"""), [[topics[1]]], "what is written down")
        equal([s.watchers(t.split("/")[1]) for t in topics], [0, 1], "watchers")


@test("what all live clients have said and the database has not answered has a limit; beyond it they are told so, and all before it is answered")
def _(s):
    large = "\N{GRINNING FACE}" * 4000  # 48,000 bytes as it is written in JSON
    with s.node(TIDINGS_CATCH_UP_MAX=1 << 20, TIDINGS_DATABASE_TIMEOUT=60000, **TALKATIVE) as node, contextlib.ExitStack() as stack:
        talkers = [stack.enter_context(combined(s, node, person(s))) for _ in range(2)]
        places = [conversation(t, person(s)) for t in talkers]

        def say(talker, n):
            talkers[talker].send("chat_message", {"conversation_id": places[talker], "message": large}, f"c{n}")

        def answers(talker, count):
            told = {}
            while len(told) < count:
                m = talkers[talker].next()
                if m.get("correlation_id"):
                    assert m["correlation_id"] not in told, m
                    told[m["correlation_id"]] = m["data"].get("code", m["type"])
            return told

        with Lock(s, "tidings.participant"):
            for n in range(15):
                say(0, n)
            talkers[0].send("ping", correlation="heard")
            equal(answers(0, 1), {"heard": "pong"}, "what is answered at once")
            for n in range(15):
                say(1, n)
            talkers[1].send("ping", correlation="heard")
            refused = answers(1, 1)
            while "heard" not in refused:
                refused.update(answers(1, 1))
            equal({code for c, code in refused.items() if c != "heard"}, {"unavailable"}, "beyond the limit")
        equal(set(answers(0, 15).values()), {"chat_message_sent"}, "before the limit")
        equal(set(answers(1, 16 - len(refused)).values()), {"chat_message_sent"}, "of the other")
        say(1, "again")
        equal(answers(1, 1), {"cagain": "chat_message_sent"}, "when there is room")

        user = person(s)
        with Transaction(s, f"do $$ begin perform pg_advisory_xact_lock(hashtextextended('tidings.admit {user}', 0)); end $$"):
            early = [stack.enter_context(Live(s, node, user=user, authenticate=False)) for _ in range(5)]
            for live in early:
                live.send("authenticate", token=s.token(user))
            # All at once, so that whoever is too many leaves room to the others. One may be before it has said all that.
            for _ in range(5):
                for live in early:
                    with contextlib.suppress(Closed):
                        live.send("ping", large)
            wait_until(lambda: any(live.client.is_closed for live in early), "one to be too many")
        ends = []
        for live in early:
            try:
                ends.append(live.until("authenticated")["type"])
            except Closed as end:
                ends.append((end.code, end.reason))
        equal(set(ends), {"authenticated", (1013, "try again later")}, "what becomes of those who talk early")
        talkers[0].ask("ping", want="pong")
