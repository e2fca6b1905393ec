"""Live health: rights that end while messages flow. What was sequenced before the end arrives, nothing after it does."""
import contextlib
import http.client
import importlib
import json
import signal
import threading

from harness import WAIT_S, Closed, Lock, equal, stopped, test, wait_until
from live import TALKATIVE, Live, combined, conversation, notify, person

topics = importlib.import_module("48_topics")


class Stream:
    """Publishes 1, 2, 3 … by `publish` in a thread until it is ended."""

    def __init__(self, publish):
        self.publish, self.count, self.trouble = publish, 0, None
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def _run(self):
        try:
            while not self.stop.is_set():
                self.publish(self.count + 1)
                self.count += 1
        except Exception as e:
            self.trouble = e

    def wait(self, count):
        wait_until(lambda: self.trouble or self.count >= count, f"{count} publishes")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop.set()
        self.thread.join()
        assert not self.trouble, self.trouble


def seqs_until_end(live, topic):
    """The seqs of that topic until it ends for this client; and all that comes until the answer to a ping."""
    seqs, how = [], None
    try:
        while how is None or how == "unsubscribed":
            m = live.next()
            if m["type"] == "unsubscribed":
                equal((m["data"]["topic"], m["data"]["reason"]), (topic, "revoked"), "the end")
                how = "unsubscribed"
                # It may be closed already; what came before that is read all the same.
                with contextlib.suppress(Closed):
                    live.send("ping")
            elif m["type"] == "pong":
                break
            for x in m["data"]["messages"] if m["type"] == "reconnect_messages" else [m]:
                if x.get("topic") == topic:
                    seqs.append(x["seq"])
    except Closed as c:
        how = c.code
    return seqs, how


def until_closed(client):
    """All that comes, and the code of the close."""
    said = []
    try:
        while True:
            said.append(client.next())
    except Closed as c:
        return said, c.code


def switchable(s):
    """A user with an account, another, and the topic of a diagnosis that the second owns and the first may see."""
    user, other = person(s), person(s)
    d = s.diagnosis(owner=other, granted=[user])
    s.sql(f"insert into tidings.app_user values ('{user}'), ('{other}')")
    return user, other, d, f"diagnosis/{d}"


def revoked_seq(s, topic, user):
    return int(s.sql(f"select max(m.seq) from tidings.message m join tidings.topic t on t.id = m.topic_id where t.name = '{topic}' and m.revocation and m.to_user = '{user}'")[0][0])


def publish(s, topic):
    token = s.service()

    def one(n):
        s.api.post("/ws/publish", {"topic": topic, "type": "n", "data": {"n": n}}, token).want(200)

    return one


def check_revocation(s, topic, revoked, withdraw, publish_one, other):
    """`revoked`: (user, live) whose right ends by withdraw() while messages flow; `other` keeps its own."""
    with Stream(publish_one) as stream:
        stream.wait(10)
        withdraw()
        stream.wait(stream.count + 10)
    for user, live in revoked:
        seqs, how = seqs_until_end(live, topic)
        end = revoked_seq(s, topic, user)
        assert seqs, f"{user} got nothing at all"
        equal(seqs, list(range(seqs[0], seqs[0] + len(seqs))), f"seqs of {user}")
        equal((seqs[-1], how), (end - 1, "unsubscribed" if how == "unsubscribed" else 1012), f"the last of {user}, whose right ended at {end}")
    last = s.last_seq(topic)
    seen = []
    while not seen or seen[-1] < last:
        m = other.next()
        if m.get("topic") == topic:
            seen.append(m["seq"])
    ends = {revoked_seq(s, topic, user) for user, _ in revoked}
    equal(seen, [n for n in range(seen[0], last + 1) if n not in ends], "the seqs of who keeps the right")


@test("a health grant that is withdrawn in a stream of readings: the clinician, on two nodes, gets all before it and nothing after")
def _(s):
    patient, clinician = person(s), person(s)
    topic = f"health/{patient}"
    s.sql(f"insert into tidings.health_grant values ('{patient}', '{clinician}')")
    token = s.service()

    def reading(n):
        s.api.post("/ws/broadcast-health-update", {"user_id": patient, "metric": "m", "value": n}, token).want(200)

    with s.node(**TALKATIVE) as node2, combined(s, s.node1, patient, "health_updates") as own, \
            combined(s, s.node1, clinician, topic, role="clinician") as one, combined(s, node2, clinician, topic, role="clinician") as two:
        check_revocation(s, topic, [(clinician, one), (clinician, two)], lambda: s.sql(f"delete from tidings.health_grant where clinician_id = '{clinician}'"), reading, own)
        for live in (one, two):
            equal(live.refused("subscribe", subscription=topic), "forbidden", "again")
            equal(live.refused("get_health", {"user_id": patient}), "forbidden", "history")
        s.sql(f"insert into tidings.health_grant values ('{patient}', '{clinician}')")
        one.ask("subscribe", want="subscribed", subscription=topic)
        reading(0)
        one.until("health_update")


@test("a participant who is put out in the middle of a chat: nothing of it after that, on any of its ways, on two nodes")
def _(s):
    ann, bob = person(s), person(s)
    with s.node(**TALKATIVE) as node2, combined(s, node2, ann, "chat") as writer, combined(s, s.node1, bob, "chat") as inbox:
        c = conversation(writer, bob)
        topic = f"chat/{c}"
        for live in (writer, inbox):
            live.ask("subscribe", want="subscribed", subscription=topic)
        with combined(s, node2, bob, topic) as two:
            check_revocation(s, topic, [(bob, inbox), (bob, two)], lambda: s.sql(f"delete from tidings.participant where conversation_id = '{c}' and user_id = '{bob}'"),
                             lambda n: s.api.post("/ws/broadcast-chat-message", {"conversation_id": c, "message": str(n)}, s.token(ann)).want(200), writer)
            end = s.sql(f"select count(*) from tidings.message m join tidings.topic t on t.id = m.topic_id where t.name = '{topic}' and not m.revocation and m.seq < {revoked_seq(s, topic, bob)}")
            equal(s.sql(f"select count(*) from tidings.message m join tidings.topic t on t.id = m.topic_id where t.name = 'chats/{bob}'"), end, "messages in the inbox")
            equal(two.refused("chat_message", {"conversation_id": c, "message": "let me back"}), "forbidden", "a message")
            equal(two.refused("get_history", {"conversation_id": c}), "forbidden", "history")
            equal(two.refused("join", {"conversation_id": c}), "forbidden", "uninvited")


@test("an account that is switched off in a stream of messages: its connections on two nodes get nothing after that, and are not let in again")
def _(s):
    user, other, d, topic = switchable(s)
    required = {"TIDINGS_REQUIRE_USER": "yes", **TALKATIVE}
    with s.node(**required) as a, s.node(**required) as b, combined(s, a, other, topic) as owner, combined(s, a, user, topic) as one, combined(s, b, user, topic) as two:
        check_revocation(s, topic, [(user, one), (user, two)], lambda: s.sql(f"update tidings.app_user set active = false where id = '{user}'"), publish(s, topic), owner)
        for live in (one, two):
            equal(live.client.closed(), (1012, "reconnect"), "the close")
        for node in (a, b):
            for how in (user, person(s)):
                with Live(s, node, user=how, authenticate=False) as live:
                    live.send("authenticate", token=s.token(how))
                    equal(live.next()["data"]["code"], "authentication_failed", "coming back")
                    equal(live.client.closed()[0], 1008, "the close")
            equal(s.refused(d, user=user, server=node), (1008, "not allowed"), "a diagnosis alone")
            equal(node.api.get(f"/poll/{d}?timeout=0", s.token(user)).status, 403, "by long-poll")
            s.connect(d, user=other, server=node).close()
        s.sql(f"update tidings.app_user set active = true where id = '{user}'")
        with combined(s, b, user, topic):
            pass


@test("a node that has yet to read what came before an account was switched off: its connections get that, and nothing after it")
def _(s):
    user, _other, d, topic = switchable(s)
    token = s.service()

    def one(n):
        s.api.post("/ws/publish", {"topic": topic, "type": "n", "data": {"n": n, "text": "x" * 30000}}, token).want(200)

    both = [topic, f"notifications/{user}"]
    with s.node(TIDINGS_REQUIRE_USER="yes", **TALKATIVE) as node, combined(s, node, user, topic, "notifications") as live, \
            s.connect(d, user=user, server=node) as alone, topics.connect(s, node, both, s.token(user)) as several:
        node.signal(signal.SIGSTOP)
        try:
            for n in range(1, 9):
                one(n)
                if n == 5:
                    notify(s, user)
                    s.sql(f"update tidings.app_user set active = false where id = '{user}'")
                    s.typing(topic)
        finally:
            node.signal(signal.SIGCONT)
        said, code = until_closed(live)
        equal(code, 1012, "the close")
        equal([m["seq"] for m in said if m.get("topic") == topic and m["type"] == "n"], [1, 2, 3, 4, 5], "the messages")
        equal({m["data"]["topic"] for m in said if m["type"] == "unsubscribed"}, set(both), "what has ended")
        equal(len([m for m in said if m["type"] == "notification"]), 1, "notifications")
        all_types = {m["type"] for m in said}
        said, code = until_closed(alone)
        equal(code, 1008, "the close of a connection to the diagnosis alone")
        equal([m["seq"] for m in said], [1, 2, 3, 4, 5], "its messages")
        all_types |= {m["type"] for m in said}
        said, code = until_closed(several)
        assert code in (1008, 1012), "the close of one to several topics"
        equal([m["data"]["n"] for m in said if m["type"] == "n"], [1, 2, 3, 4, 5], "its messages")
        equal(len([m for m in said if m["type"] == "notification"]), 1, "its notifications")
        all_types |= {m["type"] for m in said}
        assert "typing" not in all_types, "an ephemeral message from after the end came"


@test("a diagnosis that changes hands in a stream of messages: the old owner gets nothing after it, an admin goes on")
def _(s):
    old, new, admin = person(s), person(s), person(s)
    d = s.diagnosis(owner=old)
    topic = f"diagnosis/{d}"
    with s.node(**TALKATIVE) as node2, combined(s, s.node1, admin, topic, role="admin") as watching, combined(s, s.node1, old, topic) as one, combined(s, node2, old, topic) as two:
        check_revocation(s, topic, [(old, one), (old, two)], lambda: s.sql(f"update tidings.diagnosis set owner = '{new}' where id = {d}"), publish(s, topic), watching)


@test("a subscription under way when its right ends gets nothing of what comes after the end")
def _(s):
    owner, user = person(s), person(s)
    with s.node(**TALKATIVE) as node2, s.node(**TALKATIVE) as node3, combined(s, node2, user) as live, combined(s, node3, user) as second:
        for _ in range(8):
            d = s.diagnosis(owner=owner, granted=[user])
            topic = f"diagnosis/{d}"
            with Stream(publish(s, topic)) as stream:
                stream.wait(3)
                withdraw = threading.Thread(target=s.sql, args=(f"delete from tidings.diagnosis_grant where diagnosis_id = {d}",))
                withdraw.start()
                for client in (live, second):
                    for _ in range(6):
                        client.send("subscribe", subscription=topic)
                        client.send("unsubscribe", subscription=topic)
                    client.send("subscribe", subscription=topic)
                withdraw.join()
                stream.wait(stream.count + 3)
            end = revoked_seq(s, topic, user)
            for client in (live, second):
                # Until its node has read the end, it is told that it is subscribed.
                m = {"type": "subscribed"}
                while m["type"] != "error":
                    client.send("subscribe", subscription=topic, correlation="afterwards")
                    while (m := client.next()).get("correlation_id") != "afterwards":
                        for x in m["data"].get("messages", []) if m["type"] == "reconnect_messages" else [m]:
                            assert x.get("topic") != topic or "seq" not in x or x["seq"] < end, f"{x} after {end}"
                equal(m["data"]["code"], "forbidden", "afterwards")


# ---------------------------------------------------------------------------------------------------- races


@test("a poller who comes back when its right has ended, which its node has heard and not yet read, gets nothing from after the end")
def _(s):
    user = person(s)
    d, token = s.diagnosis(granted=[user]), s.token(user)

    def typing(n):
        s.typing(f"diagnosis/{d}", n=n)
        equal(owner.next()["data"]["n"], n, "at the owner: so the node has heard of all before it")

    with s.node(TIDINGS_DATABASE_TIMEOUT=60000, TIDINGS_POLL_GRACE=60) as node, s.connect(d, server=node) as owner, \
            contextlib.closing(http.client.HTTPConnection("127.0.0.1", node.port, timeout=WAIT_S)) as poll:
        cursor = node.api.get(f"/poll/{d}?timeout=0", token).want(200)["cursor"]
        with Lock(s, "tidings.delivered"):
            first = s.connect(s.diagnosis(), server=node, hello=False)
            s.wait_blocked("attach")
            s.sql(f"delete from tidings.diagnosis_grant where diagnosis_id = {d}")
            typing(1)
            poll.request("GET", f"/poll/{d}?timeout=50&cursor={cursor}", headers={"Authorization": f"Bearer {token}"})
            node.has_read()
            typing(2)
        reply = poll.getresponse()
        equal((reply.status, b"typing" in reply.read()), (403, False), "the reply")
        first.close()


@test("a poll of two topics, one of which has ended while the other is still looked at, gets nothing of that one from after the end")
def _(s):
    user = person(s)
    a, b = s.diagnosis(granted=[user]), s.diagnosis(granted=[user])
    names, token = topics.names(a, b), s.token(user)
    cursor = topics.poll(s, s.node1, names, timeout=0, token=token)["cursor"]

    def others_end(count):
        s.sql(f"do $$ begin for i in 1 .. {count} loop perform tidings.revoke('nobody' || i, '{names[1]}'); end loop; end $$")

    def end(d):
        s.sql(f"delete from tidings.diagnosis_grant where diagnosis_id = {d} and user_id = '{user}'")

    def typing(d):
        s.typing(f"diagnosis/{d}")
        equal(owner.next()["type"], "typing", "at the owner: so the node has heard of all before it")

    # Where it goes on has to be read from the database, in more than one page.
    others_end(600)
    with s.node(TIDINGS_DATABASE_TIMEOUT=60000) as node, topics.connect(s, node, names) as owner, contextlib.ExitStack() as stack:
        poll = stack.enter_context(contextlib.closing(http.client.HTTPConnection("127.0.0.1", node.port, timeout=WAIT_S)))
        fetches = stack.enter_context(contextlib.ExitStack())
        fetches.enter_context(stopped(s.backend("fetches")))
        poll.request("GET", topics.path("poll", names, cursor=cursor, timeout=50), headers={"Authorization": f"Bearer {token}"})
        # It is let in with the first page of the other, and the next is asked for.
        wait_until(lambda: s.sql(f"select count(*) from tidings.connection where user_id = '{user}' and node_id = '{node.id()}'") == [["2"]], "it to be let in")
        # The end of the one is read behind that page; the end of the other far behind what is still to be looked at.
        end(a)
        typing(a)
        s.recommend(a, "after the end")
        others_end(500)
        end(b)
        typing(b)
        fetches.close()
        # Both ends may have been read before its topics are looked at.
        reply = poll.getresponse()
        body = json.load(reply)
        equal((reply.status in (200, 403), body.get("messages", [])), (True, []), "the reply")
        topics.poll(s, node, names, cursor=cursor, token=token, want=403)
