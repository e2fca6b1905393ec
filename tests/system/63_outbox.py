"""tidings.publish() and deliver_at with sidecars at work: transactions that stay open, and nodes that die while something is due."""
import contextlib
import importlib
import signal
import subprocess
import threading

from harness import Lock, equal, test, wait_until

outage = importlib.import_module("85_outage")
streams = importlib.import_module("47_streams")

EXPECTED = "database|connection|terminat|statement"


class Session:
    """psql, kept open."""

    def __init__(self, s):
        self.psql = subprocess.Popen(["psql", "-qXAt", "-v", "ON_ERROR_STOP=1"], env=s.psql_env("postgres", "tidings"), stdin=subprocess.PIPE,
                                     stdout=subprocess.PIPE, text=True)

    def sql(self, query):
        """Has been run when this returns."""
        self.psql.stdin.write(query + ";\n\\echo done\n")
        self.psql.stdin.flush()
        while True:
            line = self.psql.stdout.readline()
            assert line, f"psql ended in {query}"
            if line == "done\n":
                return

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.psql.communicate()


def publish(d, name, **more):
    return f"select tidings.publish('diagnosis/{d}', 'note', '{{\"reason\":\"{name}\"}}'" + "".join(f", {k} => {v}" for k, v in more.items()) + ")"


def reasons(messages):
    return [m["data"]["reason"] for m in messages]


def now(s, plus=0):
    return s.sql(f"select clock_timestamp() + interval '{plus} s'")[0][0]


def all_by(s, plus, statements):
    """One transaction; the moment that lies so many seconds after its beginning, however long it took to get there."""
    soon = f"now() + interval '{plus} s'"
    return s.sql("begin; " + "; ".join(statements(soon)) + f"; select {soon}; commit")[-1][0]


def wait_past(s, moment):
    wait_until(lambda: s.sql(f"select clock_timestamp() > '{moment}'")[0][0] == "t", f"the time to pass {moment}")


# ----------------------------------------------------------------------------------------- transactions that stay open


@test("a transaction that has published and stays open delays nobody, on its own topic or another; its messages come when it commits, in order")
def _(s):
    d, other = s.diagnosis(), s.diagnosis()
    with Session(s) as slow, s.connect(d) as client, s.connect(other) as elsewhere:
        slow.sql("begin; " + publish(d, "slow 1") + "; " + publish(other, "slow 1"))
        for n in range(10):
            # By HTTP, from SQL, and in a batch; each arrives before the next is sent.
            s.recommend(d, f"http {n}")
            s.sql(publish(d, f"sql {n}"))
            s.api.post("/ws/publish", [{"topic": f"diagnosis/{x}", "type": "note", "data": {"reason": f"batch {n}"}} for x in (d, other)],
                       s.service()).want(200)
            equal(sorted(reasons(client.take(3))), [f"batch {n}", f"http {n}", f"sql {n}"], "what arrives meanwhile")
            equal(reasons(elsewhere.take(1)), [f"batch {n}"], "what arrives elsewhere")
        slow.sql(publish(d, "slow 2"))
        s.sql(publish(other, "fast"))
        equal(reasons(elsewhere.take(1)), ["fast"], "what arrives elsewhere")
        slow.sql("commit")
        last = client.take(2)
        equal([(m["seq"], m["data"]["reason"]) for m in last], [(31, "slow 1"), (32, "slow 2")], "after the commit")
        equal([(m["seq"], m["data"]["reason"]) for m in elsewhere.take(1)], [(12, "slow 1")], "after the commit, elsewhere")
        client.answers()


@test("a transaction that has published, stays open and is rolled back: nothing of it is ever sent, and no seq is lost")
def _(s):
    d = s.diagnosis()
    with Session(s) as slow, s.connect(d) as client:
        slow.sql("begin; " + publish(d, "never"))
        s.sql(publish(d, "one"))
        equal(reasons(client.take(1)), ["one"], "meanwhile")
        slow.sql("rollback")
        s.sql(publish(d, "two"))
        equal([(m["seq"], m["data"]["reason"]) for m in client.take(1)], [(2, "two")], "afterwards")


@test("many transactions, some open for long and some rolled back, beside broadcasts on the same topic: dense for everyone, each exactly once")
def _(s):
    d, committed = s.diagnosis(), []
    lock = threading.Lock()

    def transactions(number):
        with Session(s) as session:
            for n in range(15):
                name, good = f"{number}-{n}", n % 3 != 0
                session.sql("begin; " + publish(d, name))
                if n % 5 == 0:
                    # Open while others come and go.
                    before = load.seen(200)
                    wait_until(lambda: load.seen(200) > before + 20, "broadcasts meanwhile")
                session.sql("commit" if good else "rollback")
                if good:
                    with lock:
                        committed.append(name)

    with s.node() as node2, s.connect(d) as one, s.connect(d, server=node2) as two:
        readers = [Everything(c) for c in (one, two)]
        load = outage.Load(s, d, 3)
        try:
            threads = [threading.Thread(target=transactions, args=(n,)) for n in range(4)]
            for t in threads:
                t.start()
            for t in threads:
                t.join()
        finally:
            load.end()
        equal(len(committed), 40, "committed")
        wait_until(lambda: s.sql("select count(*) from tidings.outbox")[0][0] == "0", "the outbox to be empty")
        last = s.recommend(d, "last")["seq"]
        for reader in readers:
            got = reader.up_to(last)
            equal([seq for seq, _reason in got], list(range(1, last + 1)), "seqs")
            equal(sorted(reason for seq, reason in got if seq not in load.acknowledged and seq != last), sorted(committed), "from SQL")


class Everything:
    """Reads one client in a thread: (seq, reason) of whatever comes."""

    def __init__(self, client):
        self.client, self.got = client, []
        self.last = None
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self):
        while self.last is None or not self.got or self.got[-1][0] < self.last:
            with contextlib.suppress(AssertionError):
                m = self.client.next(1)
                self.got += [(x["seq"], x["data"]["reason"]) for x in (m["data"]["messages"] if m["type"] == "reconnect_messages" else [m])]

    def up_to(self, last):
        wait_until(lambda: self.got and self.got[-1][0] >= last, f"seq {last}")
        self.last = last
        self.thread.join()
        return self.got


@test("json with line breaks from SQL is one event of a stream, and jsonb too; what comes after it arrives")
def _(s):
    d = s.diagnosis()
    with contextlib.closing(streams.Stream(s, s.node1, d)) as stream:
        for n, data in enumerate(("E'{\"n\":\\n0,\\r\"x\":\\r\\n{}}'", "jsonb_pretty('{\"n\":1,\"x\":{}}')::json", "'{\"n\":2,\"x\":{}}'::jsonb")):
            s.sql(f"select tidings.publish('diagnosis/{d}', 'note', {data})")
            equal(stream.event()["data"]["data"], {"n": n, "x": {}}, "data")


@test("/health and /ws/status are not green while the relay stands still, and the log is told; they are again when it moves")
def _(s):
    d = s.diagnosis()
    health, status = lambda: s.api.get("/health"), lambda: s.api.get("/ws/status").want(200)
    equal(set(health().want(200)["checks"].items()), {(c, "healthy") for c in ("database", "sidecar", "relay", "publishing")}, "checks")
    with Session(s) as holder, s.connect(d) as client:
        holder.sql("begin; select pg_advisory_xact_lock(hashtext('tidings.relay'))")
        s.sql(publish(d, "late"))
        s.sql("update tidings.outbox set deliver_at = now() - interval '1 minute'; "
              "update tidings.relay_state set idle_at = '-infinity', warned_at = '-infinity'")
        reply = health()
        equal((reply.status, reply.json["checks"]["relay"], reply.json["checks"]["sidecar"]), (503, "unhealthy", "healthy"), "/health")
        equal(status()["status"], "unhealthy", "status in /ws/status")
        outbox = wait_until(lambda: (o := status()["outbox"])["messages"] and o, "the rest of /ws/status, which may be a second old, to say so")
        equal((outbox["messages"], outbox["failed"], outbox["oldest_s"] >= 60), (1, 0, True), "/ws/status")
        wait_until(lambda: "1 messages wait to be relayed" in s.node1.log.read_text(), "the log to be told")
        holder.sql("commit")
        equal(reasons(client.take(1)), ["late"], "what arrives at last")
    wait_until(lambda: health().status == 200 and status()["status"] == "healthy", "both to be healthy")


# ------------------------------------------------------------------------------------------------------ nodes that die


@contextlib.contextmanager
def two_nodes(s):
    """The only nodes there are: each is known in the database by its name. The first sidecar is there again at the end."""
    equal(s.node1.stop(), 0, "exit status")
    nodes = {name: s.start_node(TIDINGS_DATABASE=f"{s.conninfo} application_name={name}") for name in ("node-a", "node-b")}
    try:
        yield nodes
    finally:
        for node in nodes.values():
            node.signal(signal.SIGCONT)
            s.forget(node)
            node.stop()
        s.replace_node1()
        s.wait_ready()


def relaying(s):
    """(name, pid) of whoever holds the relay's lock."""
    rows = s.sql("select a.application_name, a.pid from pg_locks l join pg_stat_activity a on a.pid = l.pid "
                 "where l.locktype = 'advisory' and l.granted and a.usename = 'tidings_sidecar'")
    return tuple(rows[0]) if rows else None


def kill(s, node):
    node.child.kill()
    node.wait()
    s.forget(node)


def dies_relaying(s, end_its_server):
    d = s.diagnosis()
    with two_nodes(s) as nodes:
        clients = {name: s.connect(d, server=node) for name, node in nodes.items()}
        s.recommend(d, "before")
        for client in clients.values():
            equal(client.next()["seq"], 1, "seq")
        with Lock(s, "tidings.message"):
            soon = all_by(s, 2, lambda soon: (publish(d, "due 1"), publish(d, "late", deliver_at=soon), publish(d, "due 2"),
                                              publish(d, "expired", expires_at=soon)))
            name, pid = wait_until(lambda: relaying(s), "a node to relay")
            kill(s, nodes[name])
            if end_its_server:
                s.sql(f"select pg_terminate_backend({pid})")
                wait_until(lambda: s.sql(f"select count(*) from pg_stat_activity where pid = {pid}")[0][0] == "0", "its server process to end")
            wait_past(s, soon)
        survivor = ({*nodes} - {name}).pop()
        got = clients[survivor].take(3)
        # What expired took a seq, in the order in which it was due, and "late" came after it.
        equal([(m["seq"], m["data"]["reason"]) for m in got], [(2, "due 1"), (3, "due 2"), (5, "late")], "what the other node delivers")
        equal(s.sql(f"select min(created_at) >= '{soon}' from tidings.message where body like '%late%' and topic_id = "
                    f"(select id from tidings.topic where name = 'diagnosis/{d}')")[0][0], "t", "delivered not before its time")
        with s.connect(d, server=nodes[survivor], cursor=clients[name].cursor.rsplit("-", 1)[0] + "-1") as again:
            equal(reasons(again.next()["data"]["messages"]), ["due 1", "due 2", "late"], "to the dead node's client, which resumes here")
        equal(s.sql("select count(*) from tidings.outbox")[0][0], "0", "left in the outbox")
        for client in clients.values():
            with contextlib.suppress(Exception):
                client.close()


@test("the node that relays is killed and its server process ends: what was due is delivered by the other, once, in order; deliver_at and expires_at hold",
      allow=EXPECTED)
def _(s):
    dies_relaying(s, True)


@test("the node that relays is killed, and its server process goes on with it: what was due is delivered by the other, once, in order", allow=EXPECTED)
def _(s):
    dies_relaying(s, False)


@test("a node that knows when the next is due is killed before: the other delivers it, not before its time")
def _(s):
    d = s.diagnosis()
    with two_nodes(s) as nodes:
        soon = now(s, 3)
        s.api.post("/ws/publish", {"topic": f"diagnosis/{d}", "type": "note", "data": {"reason": "later"},
                                   "deliver_at": s.sql(f"select to_char('{soon}'::timestamptz at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"')")[0][0]},
                   s.service()).want(200)
        s.sql(publish(d, "from SQL", deliver_at=f"'{soon}'"))
        with s.connect(d, server=nodes["node-b"]) as client:
            kill(s, nodes["node-a"])
            s.recommend(d, "meanwhile")
            got = client.take(3)
            equal((sorted(reasons(got)), [m["seq"] for m in got]), (["from SQL", "later", "meanwhile"], [1, 2, 3]), "what arrives")
        equal(s.sql(f"select min(created_at) >= date_trunc('milliseconds', '{soon}'::timestamptz) from tidings.message where body not like '%meanwhile%' and "
                    f"topic_id = (select id from tidings.topic where name = 'diagnosis/{d}')")[0][0], "t", "delivered not before its time")


@test("a node that is stopped, not dead, holds nothing back: the other relays")
def _(s):
    d = s.diagnosis()
    with two_nodes(s) as nodes, s.connect(d, server=nodes["node-b"]) as client:
        nodes["node-a"].signal(signal.SIGSTOP)
        for n in range(20):
            s.sql(publish(d, str(n)))
            equal((client.next())["data"]["reason"], str(n), "what arrives")
        nodes["node-a"].signal(signal.SIGCONT)


@test("no node at all while things become due: the first that is there delivers them, in order of their time; what expired meanwhile is passed over")
def _(s):
    d = s.diagnosis()
    equal(s.node1.stop(), 0, "exit status")
    soon = all_by(s, 1, lambda soon: (publish(d, "second", deliver_at=soon), publish(d, "first"), publish(d, "expired", expires_at=soon)))
    wait_past(s, soon)
    s.replace_node1()
    s.wait_ready()
    wait_until(lambda: s.sql("select count(*) from tidings.outbox")[0][0] == "0", "the outbox to be empty")
    with s.connect(d) as client:
        got = client.next()["data"]["messages"]
        equal([(m["seq"], m["data"]["reason"]) for m in got], [(1, "first"), (3, "second")], "what waited")


@test("nodes are killed, one after the other, under transactions and broadcasts: whoever stays connected gets all, dense, each once", allow=EXPECTED)
def _(s):
    d, committed = s.diagnosis(), []
    stop = threading.Event()

    def transactions():
        with Session(s) as session:
            while not stop.is_set():
                session.sql("begin; " + publish(d, f"sql {len(committed)}") + "; commit")
                committed.append(f"sql {len(committed)}")

    with s.connect(d) as client:
        reader, load = Everything(client), outage.Load(s, d, 2)
        publisher = threading.Thread(target=transactions)
        publisher.start()
        try:
            for _n in range(4):
                node = s.start_node()
                wait_until(lambda: s.lets_in(d, node), "the node to let clients in")
                before, sent = load.seen(200), len(committed)
                wait_until(lambda: load.seen(200) > before + 30 and len(committed) > sent + 30, "the load to run")
                kill(s, node)
        finally:
            stop.set()
            publisher.join()
            load.end()
        wait_until(lambda: s.sql("select count(*) from tidings.outbox")[0][0] == "0", "the outbox to be empty")
        last = s.recommend(d, "last")["seq"]
        got = reader.up_to(last)
    equal([seq for seq, _reason in got], list(range(1, last + 1)), "seqs")
    equal([reason for seq, reason in got if seq not in load.acknowledged and seq != last], committed, "from SQL")
