"""Three sidecars and two web servers on one database: any of them may be killed, all of them restarted in turn, and nobody loses anything."""
import contextlib
import http.client
import os
import signal
import threading
import time

import walker
from harness import Closed, descendants, equal, is_running, test, wait_until
from walker import USERS, Follower, PollLink, Progress, Publisher, StreamLink, WebSocketLink

EXPECTED = "database|connection|away|server|terminat|backend|unexpected|child|establishing|socket|gw_backend|spawn|signal"
KINDS = (WebSocketLink, StreamLink, PollLink)


class Cluster:
    """nodes and webs that can be asked for doors; web n stands before node n."""

    def __init__(self, s, stack, **settings):
        self.s, self.settings = s, settings
        self.nodes = [s.start_node(**settings) for _n in range(3)]
        self.webs = [s.start_web(self.nodes[n]) for n in range(2)]
        stack.callback(self.end)

    def end(self):
        for p in (*self.webs, *self.nodes):
            self.s.forget(p)
            p.stop()

    def doors(self):
        return [x.port for x in (*self.nodes, *self.webs)]

    def apis(self):
        return [web.api for web in self.webs]

    def restart_node(self, place, how):
        old = self.nodes[place]
        old.signal(how)
        code = old.wait(60)
        self.s.forget(old)
        self.nodes[place] = self.s.start_node(old.port, **self.settings)
        return code

    def kill_web(self, place):
        """lighttpd alone: its programs go too, and another web server takes its place in its folder, on another port."""
        old = self.webs[place]
        programs = descendants(old.pid)
        assert len(programs) >= 4, programs
        old.signal(signal.SIGKILL)
        old.wait()
        self.s.forget(old)
        self.webs[place] = self.s.start_web(self.nodes[place], old.folder)
        equal([len(self.webs[place].programs(f"{p}.fcgi")) for p in ("api", "broadcast", "live", "history", "status")], [1] * 5, "programs of the new one")
        wait_until(lambda: not any(is_running(p) for p in programs), "the programs of the old one to end")


class Load:
    """
    Followers and publishers; `with` it things may happen, and at its end all is judged.

    several	each follower listens to all topics, with one cursor
    """

    def __init__(self, s, cluster, name, followers, tolerated=(), several=False):
        self.s, self.name, self.cluster = s, name, cluster
        self.diagnoses = [s.diagnosis(granted=["457"]) for _n in range(2)]
        self.progress = Progress()
        self.followers = []
        for n in range(followers):
            user = USERS[n % 2]
            names = [f"diagnosis/{d}" for d in self.diagnoses]
            topics = names if several else [names[n // 3 % 2]]
            self.followers.append(Follower(f"client{n}", 1, cluster.doors, topics, user, s.token(user), self.progress, several, kind=KINDS[n % 3],
                                           start=n))
        self.sources = [Publisher(f"publisher{n}", 1, s, cluster.apis, self.diagnoses, 1000000, self.progress, USERS, self.there,
                                  tolerated) for n in range(2)]
        self.steps = []

    def there(self):
        return [f.link_id for f in self.followers if f.link_id]

    def more(self, count=60):
        """Waits until so many more are published on each topic."""
        for d in self.diagnoses:
            before = self.progress.count[f"diagnosis/{d}"]
            wait_until(lambda: self.alive() and self.progress.count[f"diagnosis/{d}"] >= before + count, "publishing to go on", 60)

    def alive(self):
        for t in (*self.sources, *self.followers):
            if t.error:
                raise t.error
        return True

    def all_follow(self):
        """Everyone has got what is acknowledged by now."""
        goal = {}
        for d in self.diagnoses:
            topic = f"diagnosis/{d}"
            goal[topic] = self.s.last_seq(topic)

        def there(f):
            return all(t in f.position and walker.split(f.position[t])[1] >= goal[t] for t in f.topics)

        # What is newest may be for somebody else: those who write no cursor down for that get there with the next.
        try:
            wait_until(lambda: self.alive() and all(there(f) for f in self.followers), "every client to be where the publishers were", 60)
        except AssertionError as e:
            late = [f"{f.name} at {f.position} after {f.steps[-3:]}" for f in self.followers if not there(f)]
            raise AssertionError(f"{e}; wanted {goal}: {'; '.join(late)}") from None

    def __enter__(self):
        for t in (*self.followers, *self.sources):
            t.start()
        self.more()
        self.all_follow()
        return self

    def __exit__(self, kind, _error, _trace):
        self.sources_end()
        if kind:
            return
        faults, figures = walker.verdict(self.s, self.diagnoses, self.name, self.followers, self.sources, self.steps, {})
        print(f"# {figures}", flush=True)
        assert not faults, "; ".join(faults[:6])

    def sources_end(self):
        for source in self.sources:
            source.stop.set()
        for source in self.sources:
            source.join(70)
        self.progress.finish()
        for f in self.followers:
            f.join(30)
            assert not f.is_alive(), f"{f.name} is stuck: {f.steps[-5:]}"


def nodes_in_status(s):
    return {n["id"] for n in s.status()["nodes"]}


@test("kill -9 of a sidecar, a FastCGI program, a web server, one after another under load: clients move on, nothing is lost", allow=EXPECTED)
def _(s):
    with contextlib.ExitStack() as stack:
        stack.enter_context(walker.witness(s))
        # Those that an earlier test has killed are among them for a while.
        others = nodes_in_status(s)
        cluster = Cluster(s, stack)
        dead = wait_until(lambda: len(mine := nodes_in_status(s) - others) == 3 and mine, "the three nodes in status")
        # Who was killed cannot say whether it had committed: lighttpd's 500.
        load = stack.enter_context(Load(s, cluster, "kill -9", 12, (500,)))
        for place in (0, 1, 2):
            load.steps.append(f"node{place}")
            killed = time.monotonic()
            cluster.restart_node(place, signal.SIGKILL)
            load.more()
            load.all_follow()
        wait_until(lambda: not nodes_in_status(s) & dead, "the dead nodes to be gone from status", 60)
        print(f"# the last dead node was gone from status {time.monotonic() - killed:.1f} s after its end", flush=True)
        for name, path in (("broadcast.fcgi", None), ("history.fcgi", f"/ws/history/{load.diagnoses[0]}"), ("status.fcgi", "/ws/status")):
            load.steps.append(name)
            for web in cluster.webs:
                pids = web.programs(name)
                assert pids, f"{name} is not running"
                for pid in pids:
                    os.kill(pid, signal.SIGKILL)
                wait_until(lambda: (new := set(web.programs(name))) and not new & set(pids), f"{name} to be there again")
                if path:
                    wait_until(lambda: web.api.get(path, s.token()).status == 200, f"{path} to be answered")
            load.more()
            load.all_follow()
        for place in (0, 1):
            load.steps.append(f"lighttpd{place}")
            cluster.kill_web(place)
            load.more()
            load.all_follow()
        ended = [e for f in load.followers for e in f.ends]
        assert len(ended) >= 4, f"hardly anyone was there when something was killed: {ended}"


@test("clients_notified and presence are right again after two of three sidecars were killed at once", allow=EXPECTED)
def _(s):
    d = s.diagnosis()
    with contextlib.ExitStack() as stack:
        cluster = Cluster(s, stack)
        clients = [s.connect(d, server=node) for node in cluster.nodes for _n in range(2)]
        s.wait_watchers(d, 6)
        equal(s.recommend(d)["clients_notified"], 6, "clients_notified")
        for place in (0, 1):
            cluster.nodes[place].signal(signal.SIGKILL)
        for place in (0, 1):
            cluster.restart_node(place, signal.SIGKILL)
        moved = [s.connect(d, server=cluster.nodes[n % 3], cursor=clients[n].cursor) for n in range(4)]
        for client in moved:
            equal(client.seqs_up_to(1), [1], "resumed with")
        wait_until(lambda: s.recommend(d, "count")["clients_notified"] == 6, "six clients to be counted as six", 60)
        s.wait_watchers(d, 6)
        equal(len(s.sql("select 1 from tidings.presence p where not exists (select from tidings.node n where n.id = p.node_id)")), 0,
              "presence of nodes that are not there")
        for client in moved + clients[4:]:
            client.close()
        s.wait_watchers(d, 0)


def rolling_restart(s, several):
    with contextlib.ExitStack() as stack:
        stack.enter_context(walker.witness(s))
        cluster = Cluster(s, stack, TIDINGS_DRAIN_TIME=1)
        load = stack.enter_context(Load(s, cluster, "rolling restart", 15, several=several))
        for place in (0, 1, 2):
            load.steps.append(f"node{place}")
            equal(cluster.restart_node(place, signal.SIGTERM), 0, "exit status")
            load.more()
            load.all_follow()
        for f in load.followers:
            if f.kinds[0] is not PollLink:
                # Who was connected is told; at another door there may be no node yet.
                assert all(code == 1012 for _door, code, place in f.ends if place), f"{f.name}: {f.ends}"
        told = sum(code == 1012 for f in load.followers for _door, code, _place in f.ends)
        assert told >= 6, f"only {told} were told to reconnect"


@test("a rolling restart of all sidecars under load loses nothing, and nobody is dropped without a word", allow=EXPECTED)
def _(s):
    rolling_restart(s, False)


@test("a rolling restart under load, of clients that listen to several topics with one cursor", allow=EXPECTED)
def _(s):
    rolling_restart(s, True)


@test("a node that is told to end sends its clients away over TIDINGS_DRAIN_TIME, and serves them until then")
def _(s):
    # Told by messages, not by a clock: those who are sent away later have seen more of what was published meanwhile.
    d = s.diagnosis()
    with contextlib.ExitStack() as stack:
        cluster = Cluster(s, stack, TIDINGS_DRAIN_TIME=3)
        clients = [s.connect(d, server=cluster.nodes[0]) for _n in range(30)]
        s.wait_watchers(d, 30)
        node = cluster.nodes[0]
        s.forget(node)
        node.signal(signal.SIGTERM)
        token, last = s.token(), 0
        while node.child.poll() is None:
            last = s.recommend(d, "under way", token)["seq"]
        equal(node.wait(), 0, "exit status")
        seen = []
        for client in clients:
            seqs = []
            try:
                while True:
                    seqs.append(client.next()["seq"])
            except Closed as e:
                equal(e.code, 1012, "close code")
            equal(seqs, list(range(1, len(seqs) + 1)), "what it got before")
            seen.append(len(seqs))
        assert len(set(seen)) >= 5, f"they left at {sorted(set(seen))} of {last} messages: not spread"
        cluster.nodes[0] = s.start_node(node.port)


# -------------------------------------------------------------------------------------------------------- between two polls


class Poller(threading.Thread):
    """Polls again and again, each time with the cursor that it was given; `node` may be changed under way."""

    def __init__(self, node, target, token, timeouts, kept):
        super().__init__(daemon=True)
        self.node, self.target, self.token, self.timeouts, self.kept = node, target, token, timeouts, kept
        self.stop, self.error, self.polls = threading.Event(), None, 0
        self.seqs = []
        self.start()

    def run(self):
        try:
            cursor, connection, at = None, None, None
            while not self.stop.is_set():
                if not self.kept or at is not self.node:
                    connection, at = http.client.HTTPConnection("127.0.0.1", self.node.port, timeout=60), self.node
                timeout = self.timeouts[self.polls % len(self.timeouts)]
                query = f"timeout={timeout}" + (f"&cursor={cursor}" if cursor else "")
                joint = "&" if "?" in self.target else "?"
                body = at.api.request_on(connection, "GET", self.target + joint + query, token=self.token).want(200)
                assert body["recovered"], body
                cursor = body["cursor"]
                self.seqs += [m["seq"] for m in body["messages"] if "diagnosis_id" in m]
                self.polls += 1
                if not self.kept:
                    connection.close()
        except Exception as e:
            self.error = e

    def end(self):
        self.stop.set()
        self.join(70)
        if self.error:
            raise self.error


def sample(s, d, poller, polls):
    """clients_notified, asked again and again while so many polls are made."""
    counts, until = [], poller.polls + polls
    while poller.polls < until and poller.is_alive():
        counts.append(s.recommend(d, token=s.token())["clients_notified"])
    return counts


@test("a poller counts as one through a chain of polls: never as none, never as two; after the grace as none; on another node alike")
def _(s):
    grace = {"TIDINGS_POLL_GRACE": 2}
    with s.node(**grace) as one, s.node(**grace) as two:
        for kept, several in ((True, False), (False, True)):
            d = s.diagnosis()
            target = f"/poll?topics=diagnosis/{d},health/456" if several else f"/poll/{d}"
            poller = Poller(one, target, s.token(), (0, 5, 0, 0, 1), kept)
            wait_until(lambda: poller.polls >= 2, "the first polls")
            equal(set(sample(s, d, poller, 60)), {1}, f"clients_notified while it polls one node ({kept=} {several=})")
            poller.node = two
            # On the one it is still waited for, the other it has come to: never none.
            moving = sample(s, d, poller, 20)
            assert set(moving) <= {1, 2}, f"clients_notified while it moves: {moving}"
            wait_until(lambda: s.recommend(d)["clients_notified"] == 1, "it to be counted as one again")
            equal(set(sample(s, d, poller, 30)), {1}, f"clients_notified while it polls the other node ({kept=} {several=})")
            poller.end()
            last = s.recommend(d)["seq"]
            equal(poller.seqs, list(range(1, len(poller.seqs) + 1)), "what it was given")
            assert last - len(poller.seqs) < 10, f"{last} published, {len(poller.seqs)} given"
            wait_until(lambda: s.recommend(d)["clients_notified"] == 0, "it to be gone after the grace")
            s.wait_watchers(d, 0)


@test("pollers of a node that is killed between two polls are gone with it, and go on elsewhere", allow=EXPECTED)
def _(s):
    d = s.diagnosis()
    node = s.start_node(TIDINGS_POLL_GRACE=60)
    cursor = node.api.get(f"/poll/{d}", s.token()).want(200)["cursor"]
    s.wait_watchers(d, 1)
    equal(s.recommend(d, "a")["clients_notified"], 1, "clients_notified between two polls")
    node.signal(signal.SIGKILL)
    node.wait()
    s.forget(node)
    body = s.node1.api.get(f"/poll/{d}?timeout=0&cursor={cursor}", s.token()).want(200)
    equal([m["seq"] for m in body["messages"]], [1], "what it goes on with")
    wait_until(lambda: s.recommend(d)["clients_notified"] == 0, "the dead node's poller, and the other's after its grace, to be gone", 60)
    s.wait_watchers(d, 0)
