"""Topics that come and go on an open connection: `subscribe` and `unsubscribe` on /ws?topics=."""
import contextlib
import importlib
import threading

from harness import Client, Closed, equal, test, wait_until
from live import Talk

topics_of_a_request = importlib.import_module("48_topics")


def name(diagnosis):
    return f"diagnosis/{diagnosis}"


class Watcher(Talk):
    """A connection that its request gives these topics."""

    def __init__(self, s, server, topics, user="456", hello=True, token=True, **query):
        query = {"token": s.token(user) if token else None, **query}
        super().__init__(Client(f"ws://127.0.0.1:{server.port}{topics_of_a_request.path('ws', topics, **query)}", hello=hello))

    def subscribe(self, topic, **members):
        data = self.ask("subscribe", want="subscribed", subscription=topic, **members)
        equal(data["topic"], topic, "the topic")
        return data

    def unsubscribe(self, topic):
        self.ask("unsubscribe", want="unsubscribed", subscription=topic)

    def messages(self, count):
        """So many, missed or live, as (topic, seq)."""
        return [(m["topic"], m["seq"]) for m in topics_of_a_request.unpack(self.client, count)]


@test("a topic is subscribed to and given up on an open connection: missed first, then what comes; the others go on")
def _(s):
    for server in (s.node1, s.web1):
        a, b = s.diagnosis(), s.diagnosis()
        with Watcher(s, server, [name(a)]) as watcher:
            id = watcher.client.id
            place = watcher.subscribe(name(b))
            equal((place["recovered"], place["resumed_by"]), (True, "queue"), "a new topic")
            equal(watcher.subscribe(name(b))["cursor"], place["cursor"], "again")
            equal([s.recommend(d)["clients_notified"] for d in (b, a, b)], [1, 1, 1], "clients_notified")
            equal(watcher.messages(3), [(name(b), 1), (name(a), 1), (name(b), 2)], "live")
            watcher.unsubscribe(name(b))
            watcher.unsubscribe(name(b))
            wait_until(lambda: s.recommend(b)["clients_notified"] == 0, "nobody to be subscribed")
            s.recommend(a)
            equal(watcher.messages(1), [(name(a), 2)], "what comes of the one that stayed")
            back = watcher.subscribe(name(b), cursor=place["cursor"])
            equal((back["cursor"], back["recovered"], back["resumed_by"]), (place["cursor"], True, "cursor"), "back with a cursor")
            last = s.recommend(b)["seq"]
            equal(watcher.messages(last), [(name(b), n + 1) for n in range(last)], "all that was missed, then what comes")
            watcher.unsubscribe(name(b))
            watcher.unsubscribe(name(a))
            equal(watcher.client.answers()["type"], "pong", "one without a topic")
            watcher.subscribe(name(a), rewind=1)
            equal(watcher.messages(1), [(name(a), 2)], "rewound")
            equal(watcher.client.id, id, "the connection")


@test("what may not be subscribed to is refused by an answer, and the connection and its topics stay")
def _(s):
    a, theirs = s.diagnosis(), s.diagnosis(owner="789")
    with s.node(TIDINGS_BAD_MESSAGES_MAX=100) as node, Watcher(s, node, [name(a)]) as watcher:
        for topic, code in ((name(theirs), "forbidden"), ("diagnosis/987654321", "forbidden"), ("health/789", "forbidden"), ("no such", "unknown_subscription"),
                            ("health", "unknown_subscription"), ("diagnosis/0123", "unknown_subscription")):
            equal(watcher.refused("subscribe", subscription=topic), code, topic)
        equal(watcher.refused("unsubscribe", subscription="no such"), "unknown_subscription", "unsubscribe")
        for wrong in ({"subscription": 7}, {}, {"subscription": name(a), "rewind": 0}, {"subscription": name(a), "types": []}):
            watcher.client.send({"type": "subscribe", **wrong})
            m = watcher.client.next()
            equal((m["type"], m["data"]["code"], len(m["data"]["errors"])), ("error", "invalid_message", 1), f"{wrong}: {m}")
        for n in range(99):
            watcher.subscribe("health/456" if n == 0 else name(s.diagnosis()))
        equal(watcher.refused("subscribe", subscription=name(s.diagnosis())), "too_many_subscriptions", "the 101st")
        s.recommend(a)
        equal(watcher.messages(1), [(name(a), 1)], "what comes")
    d = s.diagnosis()
    with s.connect(d) as one:
        one.send({"type": "subscribe", "subscription": name(a)})
        equal(one.next()["data"]["code"], "unknown_type", "where the request names no topics, messages have no names of topics")


@test("a topic that is subscribed to on an open connection costs its user as much as one more in a request")
def _(s):
    topics = [name(s.diagnosis(owner="909")) for _ in range(90)]
    with s.node(TIDINGS_CONNECT_RATE=1, TIDINGS_CONNECT_BURST=2, TIDINGS_CLIENT_BURST=1000, TIDINGS_BAD_MESSAGES_MAX=100) as node:
        with Watcher(s, node, topics[:1], user="909") as watcher:
            for topic in topics[1:]:
                watcher.say("subscribe", subscription=topic)
            answers = [watcher.client.next() for _ in topics[1:]]
            told = {m["data"].get("code", m["type"]) for m in answers}
            equal((told, sum(m["type"] == "subscribed" for m in answers) >= 16), ({"subscribed", "rate_limited"}, True), "the answers")
            wait_until(lambda: watcher.answer(watcher.say("subscribe", subscription=topics[-1]), "subscribed", "error")["type"] == "subscribed", "it to be allowed again")


@test("what is asked for before `connect` is answered after it, and who has not said who it is, is told so")
def _(s):
    a, b, c = (s.diagnosis() for _ in range(3))
    s.recommend(b)
    with Watcher(s, s.node1, [name(a)], hello=False) as watcher:
        asked = [watcher.say("subscribe", subscription=name(b)), watcher.say("unsubscribe", subscription=name(a)), watcher.say("subscribe", subscription=name(c))]
        first = watcher.client.next()
        equal((first["type"], list(first["data"]["topics"])), ("connect", [name(a)]), "the first message")
        got = [watcher.client.next() for _ in range(4)]
        equal(sorted(m["correlation_id"] for m in got if "correlation_id" in m), asked, f"the answers {got}")
        equal([m["data"]["messages"][0]["seq"] for m in got if m["type"] == "reconnect_messages"], [1], "what was missed")
        equal(s.recommend(a)["clients_notified"], 0, "given up")
    with Watcher(s, s.node1, [name(a)], hello=False, token=False) as stranger:
        stranger.client.send({"type": "subscribe", "subscription": name(b)})
        stranger.client.send({"type": "authenticate", "token": s.token()})
        equal(stranger.client.next()["type"], "connect", "the first message")
        equal(stranger.client.next()["data"]["code"], "not_authenticated", "what was said before")
        stranger.subscribe(name(b))
    flood = Watcher(s, s.node1, [name(a)])
    with contextlib.suppress(Closed):
        for _n in range(200):
            flood.say("subscribe", subscription=name(b))
    equal(flood.client.closed()[0], 1008, "one that asks without an end")


@test("topics that come and go at full rate, from the place where each was left, bring every message once and in order")
def _(s):
    steady, moving = s.diagnosis(), [s.diagnosis() for _ in range(3)]
    publishing, failed = threading.Event(), []
    publishing.set()

    def publish():
        try:
            while publishing.is_set():
                s.api.post("/ws/publish", [{"topic": name(d), "type": "n", "data": n} for n, d in enumerate([steady, *moving] * 3)], s.service()).want(200)
        except Exception as e:  # pylint: disable=broad-except
            failed.append(e)

    publisher = threading.Thread(target=publish)
    with s.node(TIDINGS_CLIENT_RATE=100000, TIDINGS_CLIENT_BURST=100000) as node, Watcher(s, node, [name(steady)]) as watcher:
        got, cursors = {name(d): [] for d in (steady, *moving)}, {name(d): watcher.subscribe(name(d))["cursor"] for d in moving}

        def take(m):
            for x in m["data"]["messages"] if m["type"] == "reconnect_messages" else [m] if m.get("seq") else []:
                got[x["topic"]].append(x["seq"])
                cursors[x["topic"]] = x["cursor"]

        def hear_until(correlation):
            while (m := watcher.client.next()).get("correlation_id") != correlation:
                take(m)
            assert m["type"] != "error", m

        publisher.start()
        try:
            for n in range(60):
                topic = name(moving[n % 3])
                hear_until(watcher.say("unsubscribe", subscription=topic))
                watcher.say("unsubscribe", subscription=topic)  # and twice is no harm
                hear_until(watcher.say("subscribe", subscription=topic, cursor=cursors[topic]))
        finally:
            publishing.clear()
            publisher.join()
        equal(failed, [], "what went wrong in publishing")
        last = {topic: s.last_seq(topic) for topic in got}
        while any(not seqs or seqs[-1] < last[topic] for topic, seqs in got.items()):
            take(watcher.client.next())
        equal(got, {topic: list(range(1, seq + 1)) for topic, seq in last.items()}, "what came")


@test("the cursor of a pong has the topics in the order in which their client was told of them, and goes past other types")
def _(s):
    a, b, c = (s.diagnosis() for _ in range(3))
    epoch = lambda cursor: cursor.split("-")[0]
    with Watcher(s, s.node1, [name(a)], types="feedback_update") as watcher:
        places = {name(a): watcher.client.cursor}
        for d in (b, c):
            places[name(d)] = watcher.subscribe(name(d), types=["feedback_update"])["cursor"]
        watcher.unsubscribe(name(a))
        for d in (b, b, c):
            s.recommend(d)

        def cursor():
            watcher.client.send("ping")
            return watcher.client.next()["data"]["cursor"].split(".")

        wait_until(lambda: [x.split("-")[1] for x in cursor()] == ["2", "1"], "the places to go on")
        equal([epoch(x) for x in cursor()], [epoch(places[name(d)]) for d in (b, c)], "of these topics")


@test("a right that ends while its topic is asked for, or after that, is no way to what comes then")
def _(s):
    own, d = s.diagnosis(owner="906"), s.diagnosis(granted=["906"])
    with Watcher(s, s.node1, [name(own)], user="906") as watcher:
        watcher.subscribe(name(d))
        s.recommend(d, "before")
        equal(watcher.messages(1), [(name(d), 1)], "before it")
        s.sql(f"delete from tidings.diagnosis_grant where diagnosis_id = {d}")
        s.recommend(d, "after")
        equal(watcher.client.next()["data"], {"code": "forbidden", "message": "This topic is not allowed.", "topic": name(d)}, "why")
        equal(watcher.client.closed(), (1008, "not allowed"), "the close")
    with Watcher(s, s.node1, [name(own)], user="906") as watcher:
        equal(watcher.refused("subscribe", subscription=name(d)), "forbidden", "after it")
        s.recommend(own, token=s.token("906"))
        equal(watcher.messages(1), [(name(own), 1)], "what is one's own")


@test("who has no token subscribes to what is public, and to nothing else, on an open connection too")
def _(s):
    a, b, private = (s.diagnosis() for _ in range(3))
    s.sql(f"update tidings.diagnosis set public = true where id in ({a}, {b})")
    with s.node(TIDINGS_ANONYMOUS="public") as node, Watcher(s, node, [name(a)], token=False) as watcher:
        watcher.subscribe(name(b))
        equal([watcher.refused("subscribe", subscription=topic) for topic in (name(private), "health/456", "notifications/456")], ["forbidden"] * 3, "what is not")
        s.recommend(b)
        equal(watcher.messages(1), [(name(b), 1)], "what comes")


@test("who is on a topic is told to whoever subscribes with that wish on an open connection, and its going is told to others")
def _(s):
    own, d = s.diagnosis(owner="907"), s.diagnosis(owner="907", granted=["908"])
    with s.node(TIDINGS_PRESENCE_GRACE=1) as node, Watcher(s, node, [name(own)], user="907") as ann, Watcher(s, node, [name(d)], user="908") as bob:
        ann.subscribe(name(d), presence=True)
        m = ann.client.next()
        equal((m["type"], m["topic"], {str(u["user_id"]) for u in m["data"]["users"]} >= {"908"}), ("presence", name(d), True), f"who is there: {m}")
        equal({str(u["user_id"]) for u in s.api.get(f"/ws/presence?topic={name(d)}", s.token("907")).want(200)["users"]}, {"907", "908"}, "by HTTP")
        bob.unsubscribe(name(d))
        while (m := ann.client.next())["type"] != "leave":
            pass
        equal(str(m["data"]["user_id"]), "908", "who left")
