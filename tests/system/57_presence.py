"""Who is on a topic: GET /ws/presence, and `presence`, `join`, `leave` for those who ask for them (section 7)."""
import contextlib
import importlib
import signal

from harness import Client, Closed, RawClient, edited, equal, test, wait_until
from live import Live

topics_of = importlib.import_module("48_topics")

TRANSPORTS = ("websocket", "sse", "long_poll", "live")
SOON = {"TIDINGS_PRESENCE_GRACE": 1}
RULE = "tidings.default_authorize(user_id, role, topic, action)"


class Watcher:
    """A client that wants to know who is there."""

    def __init__(self, s, server, transport, topic, user="456"):
        self.server, self.transport, self.topic, self.token = server, transport, topic, s.token(user)
        self.stack, self.got, self.cursor = contextlib.ExitStack(), [], None
        path = topics_of.path("ws", [topic], token=self.token, presence="yes")
        if transport == "websocket":
            self.link = self.stack.enter_context(Client(f"ws://127.0.0.1:{server.port}{path}"))
        elif transport == "sse":
            self.link = self.stack.enter_context(topics_of.events(s, server, [topic], token=self.token, presence="yes"))
            next(self.link)
        elif transport == "live":
            self.link = self.stack.enter_context(Live(s, server, "combined", token=self.token))
            self.link.ask("subscribe", want="subscribed", subscription=topic, presence=True)
        else:
            self.poll()

    def poll(self):
        reply = self.server.api.get(topics_of.path("poll", [self.topic], cursor=self.cursor, timeout=20, presence="yes"), self.token).want(200)
        self.cursor = reply["cursor"]
        self.got += reply["messages"]

    def message(self):
        if self.transport == "long_poll":
            while not self.got:
                self.poll()
            return self.got.pop(0)
        return next(self.link)[2] if self.transport == "sse" else self.link.next()

    def next(self):
        """Of what is told about who is there: its type, and its data."""
        while (m := self.message())["type"] not in ("presence", "join", "leave"):
            pass
        equal((m["topic"], "seq" in m), (self.topic, False), "topic, and whether it has a seq")
        return m["type"], m["data"]

    def users(self):
        """Who is there, by the list that comes now: user ids, and their connections."""
        kind, data = self.next()
        equal(kind, "presence", "what comes first")
        return {u["user_id"]: u["connections"] for u in data["users"]}

    def told(self, *wanted):
        """These come next, as (type, user id)."""
        for one in wanted:
            kind, data = self.next()
            equal((kind, data.get("user_id")), one, "what is told")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stack.close()


def page(s, topic, token=None, want=200, api=None, **more):
    query = "".join(f"&{k}={v}" for k, v in more.items())
    return (api or s.web1.api).get(f"/ws/presence?topic={topic}{query}", token or s.service()).want(want)


def shown(body):
    return {u["user_id"]: u["connections"] for u in body["users"]}


def watched(s):
    """A topic that many may read."""
    return f"diagnosis/{s.diagnosis(granted=('457', '458', '459'))}"


def come(s, topic, user, server):
    return s.connect(int(topic.split("/")[1]), user=user, server=server)


@test("who is there comes first, then join and leave, on every transport, straight from a sidecar and through the web server")
def _(s):
    with s.node(**SOON) as node, s.web(node) as web:
        for server in (node, web):
            for transport in TRANSPORTS:
                topic = watched(s)
                with Watcher(s, server, transport, topic) as w:
                    equal(w.users(), {456: 1}, f"{transport}: at first")
                    with come(s, topic, "457", node):
                        w.told(("join", 457))
                    w.told(("leave", 457))


@test("a user is one entry, however many tabs and transports; only the last that goes is a leave")
def _(s):
    topic = watched(s)
    with s.node(**SOON) as node, s.web(node) as web, Watcher(s, node, "websocket", topic) as w:
        equal(w.users(), {456: 1}, "at first")
        with come(s, topic, "457", node):
            w.told(("join", 457))
            with come(s, topic, "457", node), topics_of.events(s, web, [topic], token=s.token("457")) as stream:
                next(stream)
                with come(s, topic, "458", node):
                    w.told(("join", 458))
                    equal(shown(page(s, topic)), {456: 1, 457: 3, 458: 1}, "connections")
            # One of three is left; the one who has gone altogether is told, and nothing before that.
            w.told(("leave", 458))
            # A stream that has ended behind the web server is noticed when that says so.
            wait_until(lambda: shown(page(s, topic))[457] == 1, "one connection of three to be left")
        w.told(("leave", 457))


@test("who comes back within the grace has never left: nobody is told, and `since` stays, whichever connection it is by then")
def _(s):
    topic = watched(s)
    with s.node() as node, Watcher(s, node, "websocket", topic) as w:
        w.users()
        since = lambda: {u["user_id"]: u["since"] for u in page(s, topic)["users"]}[457]
        with come(s, topic, "457", node):
            w.told(("join", 457))
            first = since()
        wait_until(lambda: shown(page(s, topic)) == {456: 1, 457: 0}, "457 to be away")
        equal(since(), first, "since when, while away")
        with come(s, topic, "457", node):
            equal(since(), first, "since when, once back")
            # As if all of it had been a day ago: what is known of it moves to the connection.
            s.sql("update tidings.departure set since = since - interval '1 day', left_at = left_at - interval '1 day' where user_id = '457'; "
                  "update tidings.connection set connected_at = connected_at - interval '1 day' where user_id = '457'")
            wait_until(lambda: not s.sql("select 1 from tidings.departure where user_id = '457'"), "the departure to be over")
            equal(since(), s.sql(f"select to_char('{first}'::timestamptz at time zone 'UTC' - interval '1 day', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"')")[0][0], "since when, after the grace")
        with come(s, topic, "457", node), come(s, topic, "458", node):
            w.told(("join", 458))


@test("two nodes: each tells of users of both, a user on both is one, and who moves from one to the other has not left")
def _(s):
    topic = watched(s)
    with s.node(**SOON) as one, s.node(**SOON) as two, Watcher(s, one, "websocket", topic) as a, Watcher(s, two, "websocket", topic, user="457") as b:
        first = a.users()
        assert 456 in first and {456, 457} <= b.users().keys()
        if 457 not in first:
            a.told(("join", 457))
        with come(s, topic, "458", one):
            for w in (a, b):
                w.told(("join", 458))
            with come(s, topic, "458", two):
                equal(shown(page(s, topic))[458], 2, "connections, over both")
            with come(s, topic, "459", two):
                for w in (a, b):
                    w.told(("join", 459))
            for w in (a, b):
                w.told(("leave", 459))
        for w in (a, b):
            w.told(("leave", 458))


@test("a node that is stopped in order takes its users along, unless they come to another within the grace")
def _(s):
    topic = watched(s)
    node2 = s.start_node(**SOON)
    with s.node(**SOON) as node, Watcher(s, node, "websocket", topic) as w:
        w.users()
        stays, goes = come(s, topic, "457", node2), come(s, topic, "458", node2)
        equal(sorted(w.next()[1]["user_id"] for _ in range(2)), [457, 458], "who has come")
        with come(s, topic, "457", node):
            s.forget(node2)
            node2.stop()
            w.told(("leave", 458))
        w.told(("leave", 457))
    for client in (stays, goes):
        client.close()


@test("users of a node that is killed leave once it counts as gone, and the grace is over; who came to another node meanwhile does not", allow=r"terminated|broken")
def _(s):
    topic = watched(s)
    node2 = s.start_node(**SOON)
    with s.node(**SOON) as node, Watcher(s, node, "websocket", topic) as w:
        w.users()
        clients = [come(s, topic, "457", node2), come(s, topic, "458", node2)]
        equal(sorted(w.next()[1]["user_id"] for _ in range(2)), [457, 458], "who has come")
        node2.signal(signal.SIGKILL)
        node2.wait()
        s.forget(node2)
        equal(sorted(shown(page(s, topic))), [456, 457, 458], "while the node may be there still")
        with come(s, topic, "457", node):
            # As if 14 of the 15 seconds were over.
            s.sql("update tidings.node set heartbeat_at = heartbeat_at - interval '14 seconds' where heartbeat_at < clock_timestamp() - interval '1 second' "
                  "and id = (select node_id from tidings.connection where user_id = '458' limit 1)")
            w.told(("leave", 458))
    for client in clients:
        with contextlib.suppress(Closed):
            client.next()


@test("of more than a hundred users a watcher gets the first hundred and the numbers, then the numbers alone; GET goes through all of them page by page")
def _(s):
    topic = watched(s)
    number = int(topic.split("/")[1])
    with s.node(**SOON) as node, contextlib.ExitStack() as clients, edited(s, "authorize", RULE, "true"):
        w = clients.enter_context(Watcher(s, node, "websocket", topic))
        equal(w.users(), {456: 1}, "at first")
        for n in range(100):
            clients.enter_context(come(s, topic, f"m{n:03}", node))
        while (told := w.next())[0] == "join":
            pass
        equal((told[0], len(told[1]["users"]), told[1]["users_total"] > 100), ("presence", 100, True), "when they are too many")
        while told[1]["users_total"] < 101:
            told = w.next()
        for n in range(100, 105):
            clients.enter_context(come(s, topic, f"m{n:03}", node))
        clients.enter_context(Client(f"ws://127.0.0.1:{node.port}/ws/{number}?token={s.token('m100')}"))
        while (told := w.next()) and told[1]["clients"] < 107:
            pass
        equal(told, ("presence", {"users_total": 106, "clients": 107, "anonymous": 0}), "the numbers alone")
        got, after = [], None
        while True:
            body = page(s, topic, limit=40, **({"after": after} if after else {}))
            equal((body["users_total"], body["clients"]), (106, 107), "numbers with a page")
            got.append([u["user_id"] for u in body["users"]])
            after = body.get("next")
            if not after:
                break
        equal(([len(p) for p in got], sum(got, [])), ([40, 40, 26], [456] + [f"m{n:03}" for n in range(105)]), "pages")
        equal(len(page(s, topic)["users"]), 100, "a page without a limit")


@test("those without a token are counted, and are no users; they are not told who is there")
def _(s):
    d = s.diagnosis()
    topic = f"diagnosis/{d}"
    s.sql(f"update tidings.diagnosis set public = true where id = {d}")
    with s.node(TIDINGS_ANONYMOUS="public", **SOON) as node, Watcher(s, node, "websocket", topic) as w:
        w.users()
        with Client(f"ws://127.0.0.1:{node.port}/ws/{d}"), Client(f"ws://127.0.0.1:{node.port}/ws/{d}"):
            body = page(s, topic)
            equal((body["clients"], body["anonymous"], body["users_total"], shown(body)), (3, 2, 1, {456: 1}), "with two of them")
            with Watcher(s, node, "websocket", topic) as other:
                kind, data = other.next()
                equal((data["clients"], data["anonymous"]), (4, 2), "as a watcher is told")
            with Client(f"ws://127.0.0.1:{node.port}/ws/{d}?presence=yes", hello=False) as stranger:
                equal(stranger.closed()[0], 1008, "a stranger who asks")
        s.web1.api.get(f"/ws/presence?topic={topic}").want(401)


@test("authorize(…, 'presence') decides who may see it: by GET, in the request and in subscribe; whoever may not gets no subscription either")
def _(s):
    topic = watched(s)
    number = topic.split("/")[1]
    with edited(s, "authorize", RULE, RULE + " and (action <> 'presence' or coalesce(user_id, '') <> '457')"):
        page(s, topic, token=s.token("457"), want=403)
        equal(shown(page(s, topic, token=s.token("456"))), {}, "for another")
        with Client(f"ws://127.0.0.1:{s.node1.port}/ws/{number}?presence=yes&token={s.token('457')}", hello=False) as client:
            equal(client.closed(), (1008, "not allowed"), "a WebSocket")
        for route in (f"/poll/{number}?presence=yes", f"/sse?topics={topic}&presence=yes"):
            s.node1.api.get(route, s.token("457")).want(403)
        with Live(s, s.node1, "combined", user="457") as live:
            equal(live.refused("subscribe", subscription=topic, presence=True), "forbidden", "subscribe")
            live.ask("subscribe", want="subscribed", subscription=topic, presence=False)
        with come(s, topic, "457", s.node1):
            pass
    page(s, topic, token=s.token("789"), want=403)
    page(s, "health/456", token=s.token("789"), want=403)
    page(s, "diagnosis/999999999", token=s.token(role="admin"), want=404)
    equal(page(s, "health/456", token=s.token()), {"topic": "health/456", "clients": 0, "anonymous": 0, "users_total": 0, "users": []}, "of one's own")


@test("a right that ends takes presence along, and who asks by a poll for what the poll before did not is asked about anew")
def _(s):
    topic = watched(s)
    with s.node(**SOON) as node, Watcher(s, node, "websocket", topic, user="457") as w:
        w.users()
        s.sql(f"delete from tidings.diagnosis_grant where diagnosis_id = {topic.split('/')[1]} and user_id = '457'")
        equal(w.link.closed()[0], 1008, "once it is gone")
    topic = watched(s)
    with edited(s, "authorize", RULE, RULE + " and action <> 'presence'"):
        first = topics_of.poll(s, s.node1, [topic])
        s.node1.api.get(topics_of.path("poll", [topic], cursor=first["cursor"], timeout=0), s.token()).want(200)
        s.node1.api.get(topics_of.path("poll", [topic], cursor=first["cursor"], timeout=0, presence="yes"), s.token()).want(403)


@test("what is asked for wrongly is 422, and where TIDINGS_PRESENCE=no nobody is told")
def _(s):
    topic = watched(s)
    for query, field in (("", "topic"), ("topic=", "topic"), ("topic=a%20b", "topic"), ("topic=Diagnosis/1", "topic"), (f"topic={topic}&limit=0", "limit"),
                         (f"topic={topic}&limit=101", "limit"), (f"topic={topic}&after=", "after"), (f"topic={topic}&topic={topic}", "topic")):
        equal([e["field"] for e in s.web1.api.get(f"/ws/presence?{query}", s.token()).want(422)["errors"]], [field], query)
    for value in ("", "1", "maybe"):
        equal([e["field"] for e in s.node1.api.get(f"/poll?topics={topic}&presence={value}", s.token()).want(422)["errors"]], ["presence"], value)
    s.node1.api.get(f"/poll?topics={topic}&timeout=0&presence=no", s.token()).want(200)
    with Live(s, s.node1, "combined") as live:
        equal(live.refused("subscribe", subscription=topic, presence="yes"), "invalid_message", "subscribe")
    with s.node(TIDINGS_PRESENCE="no") as node, s.web(node, TIDINGS_PRESENCE="no") as web:
        page(s, topic, want=404, api=web.api)
        equal([e["field"] for e in web.api.get(f"/sse?topics={topic}&presence=yes", s.token()).want(422)["errors"]], ["presence"], "a stream")
        with Live(s, web, "combined") as live:
            equal(live.refused("subscribe", subscription=topic, presence=True), "forbidden", "subscribe")
        with come(s, topic, "457", node):
            pass
        s.wait_watchers(int(topic.split("/")[1]), 0)
        equal(s.sql("select count(*) from tidings.departure where user_id = '457' and left_at > clock_timestamp() - interval '2 seconds'"), [["0"]], "departures")


@test("a watcher that takes no bytes for a while gets all of it once it does, not what changed while it did not")
def _(s):
    topic = watched(s)
    with s.node(**SOON) as node, Watcher(s, node, "websocket", topic) as other:
        other.users()
        # On its path the kernel keeps little of what nobody reads.
        with RawClient(node.socket, f"{topics_of.path('ws', [topic], token=s.token('459'), presence='yes')}") as slow:
            other.told(("join", 459))
            while slow.next()["type"] != "presence":
                pass
            for _ in range(20):
                s.api.post("/ws/publish", {"topic": topic, "type": "x", "data": "x" * 100000}, s.service()).want(200)
            with come(s, topic, "457", node):
                other.told(("join", 457))
                with come(s, topic, "458", node):
                    other.told(("join", 458))
                    while (m := slow.next())["type"] == "x":
                        pass
                    equal((m["type"], [u["user_id"] for u in m["data"].get("users", [])]), ("presence", [456, 457, 458, 459]), "what it is told")


@test("a database that comes back without what was not logged makes nobody leave while nodes may not have come back to it", allow=r".*")
def _(s):
    topic = watched(s)
    with s.node(**SOON) as one, s.node(**SOON) as two, Watcher(s, one, "websocket", topic) as w, come(s, topic, "457", two):
        if 457 not in w.users():
            w.told(("join", 457))
        two.signal(signal.SIGSTOP)
        s.stop_postgres("immediate")
        s.start_postgres()
        s.wait_ready()
        # Users of the other node are not known to the database now.
        wait_until(lambda: 456 in shown(page(s, topic)), "the first node to be known again")
        with come(s, topic, "458", one):
            w.told(("join", 458))
        two.signal(signal.SIGCONT)
        wait_until(lambda: 457 in shown(page(s, topic)), "the other node to be known again")
        with come(s, topic, "459", one):
            w.told(("join", 459))
