"""What a client chooses of a topic: its history, its newest messages, some types (section 7)."""
import contextlib
import http.client
import importlib

from harness import WAIT_S, Client, Closed, equal, test, wait_until
from live import Live

topics_of = importlib.import_module("48_topics")


def publish(s, topic, *types, **more):
    """A message of each type, told apart by its data."""
    items = [{"topic": topic, "type": t, "data": {"n": n}, **more} for n, t in enumerate(types)]
    return [r["seq"] for r in s.web1.api.post("/ws/publish", items, s.service()).want(200)["results"]]


def history(s, topic, token=None, want=200, **parameters):
    query = "".join(f"&{k}={v}" for k, v in parameters.items())
    return s.web1.api.get(f"/ws/history?topic={topic}{query}", token or s.token()).want(want)


def seqs(body):
    return [m["seq"] for m in body["messages"]]


# ------------------------------------------------------------------------------------------------------------- history


@test("the history of any topic that one may read: the newest, what came after a cursor, and page by page before a seq")
def _(s):
    d = s.diagnosis()
    topic = f"diagnosis/{d}"
    empty = history(s, topic)
    equal((empty["messages"], empty["recovered"]), ([], True), "of a topic that nobody has used")
    publish(s, topic, *"aabbaabbaa")
    newest = history(s, topic, limit=3)
    equal((seqs(newest), newest["cursor"].split("-")[1]), ([8, 9, 10], "10"), "the newest")
    equal(seqs(history(s, topic, since=empty["cursor"])), list(range(1, 11)), "after the cursor of before")
    pages, before = [], 11
    while got := seqs(page := history(s, topic, before=before, limit=4)):
        equal(page["cursor"], f"{newest['cursor'].split('-')[0]}-{got[-1]}", "the cursor of a page")
        pages, before = pages + [got], got[0]
    equal(pages, [[7, 8, 9, 10], [3, 4, 5, 6], [1, 2]], "pages")
    equal((seqs(history(s, topic, types="b")), seqs(history(s, topic, types="b,c", before=8, limit=1)), seqs(history(s, topic, types="b", since=empty["cursor"], limit=4))),
          ([3, 4, 7, 8], [7], [3, 4]), "of one type")
    equal(history(s, topic, types="b", since=empty["cursor"], limit=4)["cursor"].split("-")[1], "4", "the cursor goes past what is of another type")
    equal(seqs(s.web1.api.get(f"/ws/history/{d}?before=3&types=a", s.token()).want(200)), [1, 2], "by the diagnosis")


@test("history tells messages for somebody else to nobody, and a page before a seq is as long without them")
def _(s):
    topic = f"diagnosis/{s.diagnosis(granted=('457',))}"
    for n in range(6):
        publish(s, topic, "a", **({"to_user_id": "457"} if n % 2 else {}))
    equal((seqs(history(s, topic, before=6, limit=2)), seqs(history(s, topic, limit=2, token=s.token("457")))), ([3, 5], [5, 6]), "seqs")


@test("history of a topic is refused as everything else is: who may not, names that are none, parameters that do not fit")
def _(s):
    topic = f"diagnosis/{s.diagnosis()}"
    history(s, topic, token=s.token("789"), want=403)
    history(s, "health/456", token=s.token("789"), want=403)
    history(s, topic, token=s.service(), want=403)
    history(s, "diagnosis/999999999", token=s.token(role="admin"), want=404)
    s.web1.api.get(f"/ws/history?topic={topic}").want(401)
    s.web1.api.post("/ws/history", {}, s.token()).want(405)
    for query, field in (("", "topic"), ("topic=", "topic"), ("topic=a%20b", "topic"), ("topic=Diagnosis/1", "topic"), (f"topic={topic}&before=0", "before"),
                         (f"topic={topic}&before=x", "before"), (f"topic={topic}&before=3&since=abc-1", "before"), (f"topic={topic}&since=x", "since"),
                         (f"topic={topic}&limit=101", "limit"), (f"topic={topic}&types=", "types"), (f"topic={topic}&types=a,a", "types"), (f"topic={topic}&types=a,,b", "types"),
                         (f"topic={topic}&types=" + ",".join(map(str, range(21))), "types"), (f"topic={topic}&types=" + "x" * 129, "types"),
                         (f"topic={topic}&topic={topic}", "topic")):
        problem = s.web1.api.get(f"/ws/history?{query}", s.token()).want(422)
        equal([e["field"] for e in problem["errors"]], [field], query)
    equal([e["field"] for e in s.web1.api.get(f"/ws/history/1?topic={topic}", s.token()).want(422)["errors"]], ["topic"], "a topic for one diagnosis")


# ------------------------------------------------------------------------------------------------- rewind, and some types


class Watcher:
    """A client by one transport or another: messages(count) of it, and what it was told where it began."""

    def __init__(self, s, server, transport, topics, token=None, cursor=None, **more):
        query = {"cursor": cursor, **more}
        self.s, self.server, self.transport, self.topics, self.token, self.stack = s, server, transport, topics, token or s.token(), contextlib.ExitStack()
        self.query = {k: v for k, v in query.items() if v is not None}
        self.cursor, self.got, self.place = cursor, [], {}
        path = topics_of.path("sse" if transport == "sse" else "ws", topics, token=self.token, **self.query)
        if transport == "websocket":
            self.link = self.stack.enter_context(Client(f"ws://127.0.0.1:{server.port}{path}"))
            self.place = self.link.first["data"]
        elif transport == "sse":
            # As an EventSource that comes back says it.
            query = {"last_id" if k == "cursor" else k: v for k, v in self.query.items()}
            self.link = self.stack.enter_context(topics_of.events(s, server, topics, token=self.token, **query))
            _, self.cursor, first = next(self.link)
            self.place = first["data"]
        elif transport == "live":
            assert len(topics) == 1
            self.link = Live(s, server, "combined", token=self.token)
            self.stack.callback(self.link.client.close)
            types = {"types": more["types"].split(",")} if more.get("types") else {}
            self.link.send("subscribe", subscription=topics[0], **{k: v for k, v in self.query.items() if k != "types"}, **types)
            self.place = self.link.until("subscribed")["data"]
        else:
            self.poll(timeout=0)
        self.cursor = self.place["cursor"]

    def poll(self, timeout):
        query = {**self.query, "cursor": self.cursor, "timeout": timeout}
        self.place = self.server.api.get(topics_of.path("poll", self.topics, **query), self.token).want(200)
        self.cursor, self.got = self.place["cursor"], self.got + self.place["messages"]

    def rewound(self):
        """Has it been told so, wherever that is said? Of its one topic."""
        return [self.place.get("topics", {self.topics[0]: self.place})[self.topics[0]].get("rewound", False)]

    def messages(self, count):
        while len(self.got) < count:
            if self.transport == "long_poll":
                self.poll(timeout=50)
            elif self.transport == "sse":
                kind, place, m = next(self.link)
                if kind == "close":
                    raise Closed(m["data"]["code"], m["data"]["reason"])
                self.cursor = place
                self.got.append(m)
            else:
                m = self.link.next()
                if m["type"] == "reconnect_messages":
                    equal(m["data"].get("rewound", False), self.rewound()[0], "rewound, with the messages")
                    self.got += m["data"]["messages"]
                elif "topic" in m:  # no heartbeat
                    self.got.append(m)
        return [m["seq"] for m in self.got]

    def now(self):
        """Its cursor, once it has had what there is."""
        if self.transport == "long_poll":
            self.poll(timeout=0)
        elif self.transport == "websocket":
            pong = self.link.answers()["data"]
            equal("cursor" in pong, "types" in self.query, "a place with the pong")
            if "cursor" in pong:
                self.cursor = pong["cursor"]
                return self.cursor
        if self.transport in ("live", "websocket") and self.got:
            self.cursor = f"{self.place['cursor'].split('-')[0]}-{self.got[-1]['seq']}"
        return self.cursor

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stack.close()


TRANSPORTS = ("websocket", "sse", "long_poll", "live")


def everywhere(s):
    return [(server, transport) for server in (s.node1, s.web1) for transport in TRANSPORTS]


@test("rewind: a client without a cursor, or with one that cannot be resumed, gets the newest that are its own first, also what others have had; then what comes")
def _(s):
    for server, transport in everywhere(s):
        topic = f"diagnosis/{s.diagnosis(granted=('457',))}"
        publish(s, topic, *"aaaaaaa")
        publish(s, topic, "a", to_user_id="457")
        with Watcher(s, server, "websocket", [topic]) as first:
            first.messages(7)
            epoch = first.now().split("-")[0]
            for cursor, want in ((None, [5, 6, 7]), ("abc-5", [5, 6, 7]), ("damaged", [5, 6, 7]), (f"{epoch}-99", [5, 6, 7]), (f"{epoch}-2", [3, 4, 5, 6, 7])):
                with Watcher(s, server, transport, [topic], cursor=cursor, rewind=3) as w:
                    equal(w.messages(len(want)), want, f"{transport}, {cursor}: seqs")
                    equal(w.rewound(), [len(want) == 3], f"{transport}, {cursor}: rewound")
                    equal(w.place["recovered"], cursor is None or cursor == f"{epoch}-2", f"{transport}, {cursor}: recovered")
            with Watcher(s, server, transport, [topic], rewind=2) as w:
                w.messages(2)
                seq, = publish(s, topic, "a")
                equal(w.messages(3), [6, 7, seq], f"{transport}: what comes then")
        with Watcher(s, server, transport, [topic], token=s.token("457"), rewind=100) as w:
            equal(w.messages(9), list(range(1, 10)), f"{transport}: with what is for that user alone")


@test("rewind leaves in the queue what it passes over, for a client that takes all; without rewind nothing is different")
def _(s):
    for transport in TRANSPORTS:
        topic = f"diagnosis/{s.diagnosis()}"
        publish(s, topic, *"aaaaa")
        with Watcher(s, s.node1, transport, [topic], rewind=2) as w:
            equal(w.messages(2), [4, 5], f"{transport}: the newest")
            w.now()
        with Watcher(s, s.node1, transport, [topic]) as w:
            equal((w.messages(5), w.rewound()), ([1, 2, 3, 4, 5], [False]), f"{transport}: what no client has been sent before these")


@test("a policy's rewind_default is the rewind of whoever gives none and has no cursor that can be resumed, by each transport")
def _(s):
    topic = f"diagnosis/{s.diagnosis()}"
    s.sql(f"insert into tidings.policy (prefix, rewind_default) values ('{topic}', 3)")
    try:
        publish(s, topic, *"aaaaaa")
        with Watcher(s, s.node1, "websocket", [topic]) as first:
            equal((first.messages(3), first.rewound()), ([4, 5, 6], [True]), "the first")
            epoch = first.now().split("-")[0]
        for server, transport in everywhere(s):
            for more, want, rewound in (({}, [4, 5, 6], True), ({"rewind": 1}, [6], True), ({"cursor": "abc-5"}, [4, 5, 6], True), ({"cursor": f"{epoch}-1"}, [2, 3, 4, 5, 6], False)):
                with Watcher(s, server, transport, [topic], **more) as w:
                    equal((w.messages(len(want)), w.rewound()), (want, [rewound]), f"{transport}, {more}")
    finally:
        s.sql("delete from tidings.policy")


@test("types: only these come, missed, live or ephemeral; the numbers in between are not missed, and the cursor goes past them")
def _(s):
    for server, transport in everywhere(s):
        topic = f"diagnosis/{s.diagnosis()}"
        publish(s, topic, *"abcab")
        with Watcher(s, server, transport, [topic], types="a,c") as w:
            equal(w.messages(3), [1, 3, 4], f"{transport}: missed")
            publish(s, topic, *"bbabb")
            equal(w.messages(4), [1, 3, 4, 8], f"{transport}: live")
            publish(s, topic, *"bb")
            if transport in ("websocket", "long_poll"):
                wait_until(lambda: w.now().rsplit("-", 1)[1] == "12", f"{transport}: the cursor to go past what is not wanted")
                equal(len(w.messages(4)), 4, f"{transport}: nothing of that came")
            if transport != "long_poll":
                publish(s, topic, "b", "c", ephemeral=True)
                m = next(w.link)[2] if transport == "sse" else w.link.next()
                equal((m["type"], "seq" in m), ("c", False), f"{transport}: ephemeral")
        with Watcher(s, server, transport, [topic], types="b", rewind=3) as w:
            equal((w.messages(3), w.rewound()), ([10, 11, 12], [True]), f"{transport}: the newest of a type")


@test("what a client leaves out of the queue waits for one that takes it, and so does all that came after it")
def _(s):
    for transport in TRANSPORTS:
        topic = f"diagnosis/{s.diagnosis()}"
        publish(s, topic, *"aaba")
        with Watcher(s, s.node1, transport, [topic], types="a") as w:
            equal(w.messages(3), [1, 2, 4], f"{transport}: of one type")
            publish(s, topic, *"ab")
            equal(w.messages(4), [1, 2, 4, 5], f"{transport}: of one type, live")
            cursor = w.now()
        with Watcher(s, s.node1, transport, [topic], types="a", cursor=cursor) as w:
            publish(s, topic, "a")
            equal(w.messages(1), [7], f"{transport}: goes on")
            w.now()
        with Watcher(s, s.node1, transport, [topic]) as w:
            # An event stream and a poll confirm where they come back; of some types, that says nothing of the others.
            want = [1, 2, 3, 4, 5, 6, 7] if transport in ("sse", "long_poll") else [3, 4, 5, 6, 7]
            equal(w.messages(len(want)), want, f"{transport}: of all types")
            cursor = w.now()
        if transport == "sse":
            Watcher(s, s.node1, transport, [topic], cursor=cursor).stack.close()
        with Watcher(s, s.node1, transport, [topic]) as w:
            publish(s, topic, "a")
            equal(w.messages(1), [8], f"{transport}: and then nothing waits")


@test("an event stream is told its place with each heartbeat, also when nothing that it wants has come")
def _(s):
    with s.node(TIDINGS_HEARTBEAT=1) as node:
        topic = f"diagnosis/{s.diagnosis()}"
        connection = http.client.HTTPConnection("127.0.0.1", node.port, timeout=WAIT_S)
        connection.request("GET", f"/sse?topics={topic}&types=a", headers={"Authorization": f"Bearer {s.token()}"})
        with contextlib.closing(connection.getresponse()) as reply:
            assert reply.readline()
            publish(s, topic, *"bbb")
            for line in reply:
                if line.startswith(b"id: ") and line.endswith(b"-3\n"):
                    break
        connection.close()


@test("rewind and types that are none are refused by their names, on every route and in subscribe")
def _(s):
    d, topic = s.diagnosis(), f"diagnosis/{s.diagnosis()}"
    for server in (s.node1, s.web1):
        for path in (f"/poll/{d}?", f"/poll?topics={topic}&", f"/sse/{d}?", f"/sse?topics={topic}&"):
            for wrong in ("rewind=0", "rewind=101", "rewind=x", "rewind=", "rewind=1&rewind=1", "types=", "types=a,", "types=a,a", "types=%FF", "types=" + "x" * 129):
                if server is s.web1 and "%FF" in wrong:
                    continue  # lighttpd refuses it itself
                problem = server.api.get(path + wrong, s.token()).want(422)
                equal([e["field"] for e in problem["errors"]], [wrong.split("=")[0]], path + wrong)
        for path in (f"/ws/{d}?rewind=0", f"/ws/{d}?types=", "/ws/health?rewind=1", "/ws/combined?types=a"):
            reply = server.api.request("GET", path, headers={"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13",
                                                             "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==", "Authorization": f"Bearer {s.token()}"})
            equal([e["field"] for e in reply.want(422)["errors"]], [path.split("?")[1].split("=")[0]], path)
    live = Live(s, s.node1, "combined")
    with live.client:
        for wrong in ({"rewind": 0}, {"rewind": 101}, {"rewind": "1"}, {"types": []}, {"types": "a"}, {"types": ["a", "a"]}, {"types": [1]}, {"types": [""]}):
            live.send("subscribe", subscription=topic, **wrong)
            error = live.until("error")["data"]
            equal((error["code"], [e["field"] for e in error["errors"]]), ("invalid_message", list(wrong)), str(wrong))
