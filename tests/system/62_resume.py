"""
Every client gets every message: random walks of publishers, wandering clients and bad weather, judged against the truth (walker.py).

TIDINGS_WALK_SEED (default 1) is the first seed, TIDINGS_WALKS how many (default 2), TIDINGS_WALK_STEPS how long each is (default 30).
A seed fixes what everyone decides, not when the machine lets them: run a failing one several times.
"""
import contextlib
import importlib
import os
import random
import signal
import threading
import time

import walker
from harness import Transaction, equal, pages_apart, stopped, test, wait_until
from walker import USERS, Event, Progress, Publisher, Row, Truth, Wanderer, judge

topics_of = importlib.import_module("48_topics")

SEED = int(os.environ.get("TIDINGS_WALK_SEED", 1))
WALKS = int(os.environ.get("TIDINGS_WALKS", 2))
STEPS = int(os.environ.get("TIDINGS_WALK_STEPS", 30))
EXPECTED = "database|connection|away|server|terminat|statement|deleted|backend"


# --------------------------------------------------------------------------------------------------------------- the judge


def faults_of(events, gone=(), retired=(), user="456"):
    """Judges a diary about a topic with the messages a-1 … a-9: a-3 for user 457, a-5 not for connection x; and b-1, b-2 in the next epoch."""
    def row(epoch, n):
        return Row({"data": {"key": f"{epoch}{n}"}}, "457" if (epoch, n) == ("a", 3) else None, "x" if (epoch, n) == ("a", 5) else None, False,
                   1.0 if n in gone else None, False)

    truth = Truth()
    truth.rows["t"] = {"a": {n: row("a", n) for n in range(1, 10)}, "b": {n: row("b", n) for n in (1, 2)}}
    truth.retired["t"] = {e: (4.0, 5.0) for e in retired}
    diary = []
    for kind, data in events:
        if kind == "message" and isinstance(data, tuple):
            data = {"seq": data[1], "data": {"key": f"{data[0]}{data[1]}"}}
        if kind == "connect":
            data = (*data, 10.0)
        diary.append(Event(kind, "x", "t", data, 10.0))
    return judge(diary, user, truth)


def told(sent, got, recovered=True, missed=None):
    return ("connect", (sent, got, (got or "a").split("-")[0], recovered, missed))


def came(*numbers, epoch="a"):
    return [("message", (epoch, n)) for n in numbers]


@test("the judge of the walks lets pass what is right, and finds each thing that may be wrong")
def _(_s):
    gap = {"from": 3, "to": 6}
    right = (
        ([told(None, "a-0"), *came(1, 2, 4, 6, 7, 8, 9)], {}),
        ([told(None, "a-0"), *came(1, 2), told("a-2", "a-2"), *came(4)], {}),
        ([told(None, "a-2"), *came(4, 6), ("cursor", "a-6")], {}),
        ([told(None, "a-0"), *came(1, 2), told("a-2", "a-6", False, gap), *came(7)], {"gone": range(1, 7)}),
        ([told(None, "a-0"), *came(1, 2), told("a-2", "b-0", False), *came(1, 2, epoch="b")], {"retired": "a"}),
        ([told(None, "a-6"), *came(3), *came(7)], {"user": "457"}),
        ([told(None, None), *came(4, 6), ("cursor", "a-6")], {}),
    )
    for events, how in right:
        equal(faults_of(events, **how), [], f"faults of {events}")
    wrong = {
        "a silent hole": [([told(None, "a-0"), *came(1, 4)], {}), ([told(None, "a-0"), *came(1), ("cursor", "a-2")], {}),
                          ([told(None, "a-0"), *came(1, 2, 4)], {"user": "457"}), ([told(None, None), *came(1, 4), ("cursor", "a-6")], {})],
        "came after": [([told(None, "a-0"), *came(1, 2, 2)], {}), ([told(None, "a-0"), *came(1, 2), told("a-2", "a-2"), *came(2)], {}),
                       ([told(None, "a-0"), *came(1, 2, 1)], {}), ([told(None, "a-4"), *came(4)], {})],
        "not what was committed": [([told(None, "a-0"), ("message", {"seq": 1, "data": {"key": "a2"}})], {}), ([told(None, "a-9"), *came(10)], {})],
        "which is for": [([told(None, "a-2"), *came(3)], {}), ([told(None, "a-3"), *came(4, 5)], {})],
        "was still there": [([told(None, "a-0"), *came(1, 2), told("a-2", "a-6", False, gap)], {"gone": range(1, 6)})],
        "missed {": [([told(None, "a-0"), *came(1), told("a-1", "a-6", False, gap)], {"gone": range(1, 7)}),
                     ([told(None, "a-2"), told("a-2", "a-7", False, gap)], {"gone": range(1, 8)})],
        "resumed at": [([told(None, "a-0"), *came(1, 2), told("a-2", "a-4"), *came(6)], {})],
        "without a word": [([told(None, "a-0"), told("a-0", "b-0", False)], {})],
        "had ended": [([told(None, "a-0"), *came(1), told("a-1", "a-1")], {"retired": "a"})],
        "went past": [([told(None, "a-9"), ("cursor", "a-11")], {})],
        "goes back": [([told(None, "a-0"), *came(1, 2), ("cursor", "a-1")], {})],
    }
    for sentence, cases in wrong.items():
        for events, how in cases:
            found = faults_of(events, **how)
            assert found and sentence in found[0], f"wanted {sentence!r} of {events} {how}, got {found}"


# ------------------------------------------------------------------------------------------------------------- the weather


class Weather(threading.Thread):
    """What goes wrong: one thing after another, each some messages after the one before, until the publishers are done."""

    def __init__(self, world, seed, progress, kinds):
        super().__init__(name="weather", daemon=True)
        self.world, self.s, self.progress = world, world.s, progress
        self.random = random.Random(f"{seed}/weather")
        self.kinds, self.steps, self.error = kinds, [], None
        self.retired = {}

    def run(self):
        try:
            while not self.progress.done:
                self.progress.wait(self.random.choice(self.world.topics), self.random.randint(5, 40))
                if not self.progress.done:
                    kind = self.random.choice(self.kinds)
                    self.steps.append(kind)
                    getattr(self, kind)()
        except Exception as e:
            self.error = e

    def kill_node(self):
        place = self.random.randrange(len(self.world.nodes))
        self.world.nodes[place].signal(signal.SIGKILL)
        self.world.nodes[place].wait()
        self.world.replace(place)

    def end_node(self):
        place = self.random.randrange(len(self.world.nodes))
        equal(self.world.nodes[place].stop(), 0, "exit status of a node")
        self.world.replace(place)

    def freeze_node(self):
        node = self.random.choice(self.world.nodes)
        node.signal(signal.SIGSTOP)
        self.progress.wait(self.random.choice(self.world.topics), self.random.randint(1, 30), 3)
        node.signal(signal.SIGCONT)

    def restart(self, mode):
        self.s.stop_postgres(mode)
        self.s.start_postgres()

    def restart_database(self):
        self.restart("fast")

    def crash_database(self):
        self.restart("immediate")

    def terminate(self, which):
        self.s.sql(f"select pg_terminate_backend(pid) from pg_stat_activity where {which}")

    def terminate_listeners(self):
        self.terminate("application_name = 'tidings-ws listener'")

    def terminate_all(self):
        self.terminate("usename like 'tidings_%'")

    def end_epoch(self, topic, change):
        epoch = self.s.sql(f"select epoch || tidings.cluster_tag() from tidings.topic where name = '{topic}'")
        if not epoch:
            return
        began = time.time()
        self.s.sql(change)
        self.retired.setdefault(topic, {})[epoch[0][0]] = (began, time.time())

    def make_anew(self):
        """The topic is deleted: whoever publishes next makes it anew."""
        topic = self.random.choice(self.world.topics)
        which = f"(select id from tidings.topic where name = '{topic}')"
        self.end_epoch(topic, f"select from tidings.topic where name = '{topic}' for update; "
                              f"delete from tidings.message where topic_id = {which}; delete from tidings.delivered where topic_id = {which}; "
                              f"delete from tidings.topic where name = '{topic}'")

    def restore(self):
        """As after a restore from a backup that lacked the newest: they are gone, and their numbers are given again."""
        topic, epoch = self.random.choice(self.world.topics), f"{self.random.getrandbits(32):08x}"
        self.end_epoch(topic, f"""do $$
declare
	t tidings.topic;
	last int8;
begin
	select * into t from tidings.topic where name = '{topic}' for update;
	if found then
		last := greatest(coalesce((select max(seq) from tidings.message where topic_id = t.id), t.first_seq - 1) - {self.random.randint(0, 10)}, t.first_seq - 1);
		delete from tidings.message where topic_id = t.id and seq > last;
		update tidings.delivered set seq = least(seq, last), confirmed = least(confirmed, last) where topic_id = t.id;
		update tidings.topic set epoch = '{epoch}' where id = t.id;
		perform public.witness_inherit(t.id, t.epoch, '{epoch}', last);
	end if;
end $$""")


class World:
    """Two nodes and two web servers of our own beside the stack's; the second ones keep only 20 messages, whatever their age."""

    def __init__(self, s, stack):
        self.s = s
        few = {"TIDINGS_QUEUE_MAX": 20, "TIDINGS_QUEUE_MIN_AGE": 0}
        common = {"TIDINGS_TAIL_MAX": 65536, "TIDINGS_SLOW_TIMEOUT": 2, "TIDINGS_DRAIN_TIME": 1}
        self.settings = [common, {**common, **few}]
        self.nodes = [s.start_node(**each) for each in self.settings]
        stack.callback(self.end)
        self.webs = [stack.enter_context(s.web(self.nodes[0])), stack.enter_context(s.web(self.nodes[1], **few))]
        self.topics = []

    def replace(self, place):
        self.s.forget(self.nodes[place])
        self.nodes[place] = self.s.start_node(self.nodes[place].port, **self.settings[place])

    def end(self):
        for node in self.nodes:
            self.s.forget(node)
            node.stop()

    def ports(self):
        return [x.port for x in (*self.nodes, *self.webs, self.s.node1)]


def run_walk(world, seed, kinds, clients=6, publishers=2, steps=STEPS, several=False):
    """One walk. Returns (faults, figures); a client with a fault has printed its steps."""
    s = world.s
    diagnoses = [s.diagnosis(granted=["457"]) for _n in range(3)]
    world.topics = [f"diagnosis/{d}" for d in diagnoses]
    progress = Progress()
    wanderers = []
    for n in range(clients):
        user = USERS[n % 2]
        topics = world.topics if several else [world.topics[n % len(world.topics)]]
        wanderers.append(Wanderer(f"client{n}", seed, world.ports, topics, user, s.token(user), progress, several))
    apis = [world.webs[0].api, world.webs[1].api, s.api]

    def there():
        return [w.link_id for w in wanderers if w.link_id]

    sources = [Publisher(f"publisher{n}", seed, s, lambda: apis, diagnoses, steps, progress, USERS, there) for n in range(publishers)]
    weather = Weather(world, seed, progress, kinds)
    threads = [*wanderers, *sources, weather]
    for t in threads:
        t.start()
    try:
        for p in sources:
            p.join()
    finally:
        progress.finish()
    for t in threads:
        t.join(60)
        assert not t.is_alive(), f"seed {seed}: {t.name} is stuck, its last steps: {t.steps[-5:]}"
    for t in (*sources, weather):
        if t.error:
            raise t.error
    return walker.verdict(s, diagnoses, f"seed {seed}", wanderers, sources, weather.steps, weather.retired)


def walks(s, kinds, **how):
    with contextlib.ExitStack() as stack:
        stack.enter_context(walker.witness(s))
        world = World(s, stack)
        for seed in range(SEED, SEED + WALKS):
            start = time.monotonic()
            faults, figures = run_walk(world, seed, kinds, **how)
            print(f"# seed {seed}, {time.monotonic() - start:.1f} s: {figures}", flush=True)
            assert not faults, f"seed {seed}: " + "; ".join(faults[:6])


NODES = ("kill_node", "end_node", "freeze_node", "terminate_listeners")
DATABASE = ("restart_database", "crash_database", "terminate_listeners", "terminate_all", "kill_node")
EPOCHS = ("make_anew", "restore", "kill_node", "crash_database")


@test("random walks while nodes die, end and come back: each client's stream is dense, or its gaps are told", allow=EXPECTED)
def _(s):
    walks(s, NODES)


@test("random walks while the database is restarted, crashes and throws everyone out", allow=EXPECTED)
def _(s):
    walks(s, DATABASE)


@test("random walks while topics are made anew and restored: nobody takes the new numbers for the old ones", allow=EXPECTED)
def _(s):
    walks(s, EPOCHS)


@test("random walks of clients that listen to several topics with one cursor, adding and dropping topics between connects", allow=EXPECTED)
def _(s):
    walks(s, (*NODES, "restart_database", "crash_database", "make_anew", "restore"), several=True)


# ------------------------------------------------------------------------------------- what the walks found, one by one


def publish(s, d, count, size=10):
    batch = [{"topic": f"diagnosis/{d}", "type": "n", "data": {"n": n, "x": "y" * size}} for n in range(count)]
    for n in range(0, count, 500):
        s.api.post("/ws/publish", batch[n:n + 500], s.service()).want(200)


def drain(s, node, topics, cursor, goal, got):
    """Polls on until each topic's cursor is at its goal; got is {topic: [seq]}."""
    while any(walker.split(c)[1] < goal[t] for t, c in zip(topics, cursor.split("."))):
        body = node.api.get(f"/poll?topics={','.join(topics)}&timeout=1&cursor={cursor}", s.token()).want(200)
        cursor = body["cursor"]
        for m in body["messages"]:
            got[m["topic"]].append(m["seq"])
        assert body["recovered"], body


@test("a poll of several topics that breaks off half-way gives what it had gathered, or the cursor from before it",
      allow="database|statement|timeout|lock")
def _(s):
    # The cursor had moved past the first topic's messages, which were thrown away when the second one's page failed.
    a, b = s.diagnosis(), s.diagnosis()
    topics = [f"diagnosis/{a}", f"diagnosis/{b}"]
    with s.node(TIDINGS_DATABASE_TIMEOUT=2000, TIDINGS_POLL_GRACE=1) as node, s.connect(a, server=node) as client:
        start = node.api.get(f"/poll?topics={','.join(topics)}&timeout=0", s.token()).want(200)["cursor"]
        wait_until(lambda: s.watchers(b) == 0, "the poller to be gone")
        publish(s, a, 5)
        publish(s, b, 5)
        equal(client.take(5)[-1]["seq"], 5, "the first topic is in the node's memory, the other is not: seq")
        replies = []
        poll = threading.Thread(target=lambda: replies.append(node.api.get(f"/poll?topics={','.join(topics)}&timeout=1&cursor={start}", s.token())))
        # It is let in, and gathers what memory has; what it asks the database for does not come.
        with pages_apart(s), stopped(s.backend("fetches")):
            poll.start()
            poll.join()
        got, cursor = {t: [] for t in topics}, start
        if replies[0].status == 200:
            cursor = replies[0].json["cursor"]
            for m in replies[0].json["messages"]:
                got[m["topic"]].append(m["seq"])
        else:
            replies[0].want(503)
        s.wait_ready()
        wait_until(lambda: s.lets_in(a, node), "the node to let clients in")
        drain(s, node, topics, cursor, {t: 5 for t in topics}, got)
        equal(got, {t: [1, 2, 3, 4, 5] for t in topics}, "seqs")


@test("bursts beyond what a node keeps in memory on one topic, while another trickles: a poller of both misses nothing")
def _(s):
    a, b = s.diagnosis(), s.diagnosis()
    topics = [f"diagnosis/{a}", f"diagnosis/{b}"]
    with s.node(TIDINGS_TAIL_MAX=65536) as node:
        cursor = node.api.get(f"/poll?topics={','.join(topics)}&timeout=0", s.token()).want(200)["cursor"]
        done = threading.Event()

        def trickle():
            while not done.is_set():
                publish(s, b, 1)

        trickling = threading.Thread(target=trickle)
        bursts = threading.Thread(target=lambda: [publish(s, a, 2000) for _n in range(5)])
        got = {t: [] for t in topics}
        trickling.start()
        bursts.start()
        try:
            drain(s, node, topics, cursor, {topics[0]: 10000, topics[1]: 1}, got)
        finally:
            bursts.join()
            done.set()
            trickling.join()
        equal(got[topics[0]], list(range(1, 10001)), "seqs of the bursts")
        equal(got[topics[1]], list(range(1, len(got[topics[1]]) + 1)), "seqs of the other topic")


# ------------------------------------------------------------------------- what comes with the answer that lets a client in


def one_message_each(s, node, count=100):
    """So many topics, the combined cursor of before their only message, and a token that may have them."""
    s.ids += 1
    names, root = [f"resumed/{s.ids}.{n}" for n in range(count)], s.token("root", role="admin")
    with topics_of.connect(s, node, names, root) as client:
        cursor = client.cursor
    s.api.post("/ws/publish", [{"topic": name, "type": "n", "data": {}} for name in names], s.service()).want(200)
    return names, cursor, root


@test("who comes back is given what they missed by the statement that lets them in, on every transport, with a cursor or without")
def _(s):
    d, other = s.diagnosis(), s.diagnosis()
    names = topics_of.names(d)
    with s.connect(d) as client:
        cursor = client.cursor
    publish(s, d, 5)
    publish(s, other, 3)
    # Nothing comes by another.
    with s.node(TIDINGS_DATABASE_TIMEOUT=60000, TIDINGS_POLL_GRACE=0) as node, stopped(s.backend("fetches")):
        equal([m["seq"] for m in topics_of.poll(s, node, names, cursor, 20)["messages"]], [1, 2, 3, 4, 5], "by poll")
        with topics_of.events(s, node, names, cursor) as events:
            next(events)
            equal([next(events)[2]["seq"] for _ in range(5)], [1, 2, 3, 4, 5], "by event stream")
        with s.connect(d, server=node, cursor=cursor) as client:
            equal(client.seqs_up_to(5), [1, 2, 3, 4, 5], "by WebSocket")
        with s.connect(other, server=node) as client:
            equal(client.seqs_up_to(3), [1, 2, 3], "without a cursor")


@test("what one poller has been given another one is given too, though what the node has in memory does not go as far yet")
def _(s):
    d = s.diagnosis(granted=["ann"])
    with s.node(TIDINGS_DATABASE_TIMEOUT=60000) as node:
        poll = lambda token, timeout=0: node.api.get(f"/poll/{d}?timeout={timeout}&cursor={start}", token).want(200)
        seqs = lambda body: [m["seq"] for m in body["messages"]]
        start = node.api.get(f"/poll/{d}", s.token()).want(200)["cursor"]
        equal(seqs(poll(s.token())), [], "to begin with")
        with stopped(s.backend("fetches")):
            publish(s, d, 2)
            equal(seqs(poll(s.token("ann"))), [1, 2], "by the statement that lets her in")
            equal(seqs(poll(s.token(), 2)), [1, 2], "the other one's, who has time to wait for what comes from memory")


@test("a stream of 100 topics is given what it missed of each by the one statement that lets it in, and then is live")
def _(s):
    with s.node(TIDINGS_DATABASE_TIMEOUT=60000) as node, contextlib.ExitStack() as stack:
        names, cursor, root = one_message_each(s, node)
        with stopped(s.backend("fetches")):
            client = stack.enter_context(topics_of.connect(s, node, names, root, cursor))
            equal(topics_of.of_topics(topics_of.unpack(client, 100)), {name: [1] for name in names}, "what was missed")
        s.api.post("/ws/publish", {"topic": names[-1], "type": "n", "data": {}}, s.service()).want(200)
        equal(client.next()["seq"], 2, "what comes then")


@test("streams of 100 topics that come at once are not divided among statements: each is given what it missed by its own")
def _(s):
    # The first half of one was let in by one statement, whose messages were gone when the other half was.
    with s.node(TIDINGS_DATABASE_TIMEOUT=60000) as node, contextlib.ExitStack() as stack:
        names, cursor, root = one_message_each(s, node)
        with stopped(s.backend("fetches")):
            with Transaction(s, f"select from tidings.node where id = '{node.id()}' for update"):
                for _n in range(2):
                    stack.enter_context(s.connect(s.diagnosis(), server=node, hello=False))
                s.wait_blocked("attach")
                clients = [stack.enter_context(topics_of.connect(s, node, names, root, cursor, hello=False)) for _n in range(3)]
                node.has_read()
            for client in clients:
                equal(client.next()["type"], "connect", "first message")
                equal(topics_of.of_topics(topics_of.unpack(client, 100)), {name: [1] for name in names}, "what was missed")
