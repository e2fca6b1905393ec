"""
NOTIFY is only a doorbell: messages arrive without it, behind a pooler that swallows it, and while the connection that listens is lost again
and again.
"""
import asyncio
import contextlib
import importlib
import json
import re
import shutil
import signal
import socket
import subprocess
import threading
import time
import types

import websockets

import harness
from harness import LISTENS, Lock, Process, Skip, equal, find_program, free_port, test, wait_until
from live import TALKATIVE, combined, person

outage = importlib.import_module("85_outage")
streams = importlib.import_module("47_streams")

EXPECTED = "database|connection|away|server|terminat|publishing"


# ------------------------------------------------------------------------------------------------------------- PgBouncer


class Pooler:
    """
    PgBouncer on a socket of its own. With `mode` "session" each connection keeps its server; else transactions are pooled, over fewer servers than there are connections of ours, so that each
    statement may meet another server than the one before.
    """

    def __init__(self, s, servers=2, mode="transaction"):
        self.program = find_program("pgbouncer")
        if not self.program:
            raise Skip("there is no pgbouncer")
        self.s, self.port = s, free_port()
        self.folder = s.folder / s._name("pgbouncer")
        self.folder.mkdir()
        (self.folder / "users").write_text("".join(f'"{role}" ""\n' for role in harness.ROLES))
        (self.folder / "ini").write_text(
            f"[databases]\ntidings = host={s.pg_folder}\n[pgbouncer]\nlisten_addr =\nlisten_port = {self.port}\n"
            f"unix_socket_dir = {self.folder}\nunix_socket_mode = 0777\nauth_type = trust\nauth_file = {self.folder}/users\n"
            f"pool_mode = {mode}\ndefault_pool_size = {servers}\nmax_client_conn = 200\nserver_login_retry = 1\n")
        if s.pg_user:
            shutil.chown(self.folder, s.pg_user)
        self.conninfo = f"host={self.folder} port={self.port} dbname=tidings"
        self.process = None

    def start(self):
        # runuser is not between us and it: a signal is to reach it.
        before = ["setpriv", "--reuid", self.s.pg_user, "--regid", self.s.pg_user, "--clear-groups", "--"] if self.s.pg_user else []
        self.process = Process(self.folder.name, [*before, self.program, "-q", self.folder / "ini"], self.s.environment(), self.s.logs, cwd="/")
        self.s.processes.append(self.process)
        wait_until(lambda: self.process.alive() and (self.folder / f".s.PGSQL.{self.port}").exists(), "pgbouncer to listen")

    def kill(self):
        self.process.child.kill()
        self.process.wait()
        self.s.forget(self.process)
        self.process = None
        (self.folder / f".s.PGSQL.{self.port}").unlink()

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        if self.process:
            self.kill()


@contextlib.contextmanager
def pooled(s, servers=2, **settings):
    """PgBouncer, a sidecar and a web server whose programs know of no other database."""
    with Pooler(s, servers) as pooler:
        settings.setdefault("TIDINGS_DATABASE", pooler.conninfo)
        with s.node(**settings) as node, s.web(node, **settings) as web:
            yield types.SimpleNamespace(pooler=pooler, node=node, web=web, api=web.api, token=s.token, lines=lambda what: lines(node, what))


def lines(node, what):
    return [line for line in node.log.read_text(errors="replace").splitlines() if re.search(what, line)]


def drain(reader, last):
    wait_until(lambda: last in reader.messages or reader.code, "the last message", 60)
    reader.end()
    equal((reader.code, reader.twice, reader.order), (None, [], list(range(1, last + 1))), "closed, twice, order")


@test("behind PgBouncer, which pools transactions: everything arrives by WebSocket, event stream and poll, and one line in the log says what is lost")
def _(s):
    d = s.diagnosis()
    with pooled(s) as p:
        with s.connect(d, server=p.node) as client, contextlib.closing(streams.Stream(s, p.web, d).connection), s.connect(d, server=p.web) as through:
            stream = streams.Stream(s, p.web, d)
            held = streams.Held(s, p.web, d, client.cursor, watchers=5)
            began = time.monotonic()
            equal(s.recommend(d, "pooled", api=p.api), {"status": "broadcasted", "diagnosis_id": d, "clients_notified": 5, "seq": 1}, "reply")
            equal(client.next()["seq"], 1, "seq by WebSocket")
            print(f"# without NOTIFY, behind a pooler: {time.monotonic() - began:.1f} s")
            equal(through.next()["seq"], 1, "seq through the web server")
            equal(stream.event()["data"]["seq"], 1, "seq in the event stream")
            equal([m["seq"] for m in held.result()["messages"]], [1], "seqs of the poll")
            stream.connection.close()
        with s.connect(d, server=p.node, cursor=client.cursor) as again:
            equal(again.seqs_up_to(1), [1], "what was missed")
        equal([m["seq"] for m in p.api.get(f"/ws/history/{d}", s.token()).want(200)["messages"]], [1], "history")
        equal(p.api.get("/health").status, 200, "/health")
        equal(len(p.lines("database connected connection=.* pooler=yes")), 4, "connections that found a pooler")
        equal(len(p.lines("no notifications through a pooler")), 1, "lines about what a pooler takes away")


@test("behind PgBouncer under load, with bodies larger than its buffers: dense, in order, nothing refused, nothing answered to somebody else")
def _(s):
    small, large = s.diagnosis(), s.diagnosis()
    # On a busy machine two servers for all of it may take their time.
    patient = {"TIDINGS_DATABASE_TIMEOUT": 60000}
    with pooled(s, **patient) as p, s.node(TIDINGS_DATABASE=p.pooler.conninfo, **patient) as node2:
        clients = [s.connect(d, server=node) for d in (small, large) for node in (p.node, node2)]
        readers = [outage.Reader(c) for c in clients]
        load = outage.Load(p, small)
        coming, stop, big = [], threading.Event(), "x" * 60000

        def come_and_go():
            # Statements of many kinds are under way at once: attach, unsent, fetch of what was missed, flush.
            while not stop.is_set():
                with s.connect(small, server=(p.node, node2)[len(coming) % 2], cursor=None) as client:
                    coming.append(client.first["data"]["recovered"])

        comers = [threading.Thread(target=come_and_go) for _n in range(3)]
        for t in comers:
            t.start()
        try:
            for n in range(60):
                s.recommend(large, str(n), api=p.api, new_data={"herb": big})
            wait_until(lambda: load.seen(200) >= 400, "the load to run", 60)
        finally:
            load.end()
            stop.set()
            for t in comers:
                t.join()
        for d, of in ((small, readers[:2]), (large, readers[2:])):
            last = s.recommend(d, "last", api=p.api)["seq"]
            for reader in of:
                drain(reader, last)
        equal((load.odd[:3], load.seen(503)), ([], 0), "replies that are not 200")
        equal({q for q, why in load.acknowledged.items() if readers[0].messages[q] != why}, set(), "acknowledged, and another one delivered")
        assert len(coming) > 10 and all(coming), f"{len(coming)} came, recovered: {set(coming)}"
        equal([lines(n, "database (away|statement)|error:") for n in (p.node, node2)], [[], []], "trouble in the logs")
        for client in clients:
            client.close()


@test("behind PgBouncer, which was stopped while a crowd came: statements larger than its buffers never meet half way")
def _(s):
    # It gives the server away at the answer to one statement, though half of the next has reached it.
    d = s.diagnosis()
    with pooled(s, TIDINGS_LISTEN_DATABASE=s.conninfo, TIDINGS_DATABASE_TIMEOUT=60000) as p, s.connect(d, server=p.node) as client:
        reader, load = outage.Reader(client), outage.Load(p, d, 3)
        try:
            for _n in range(6):
                firsts = harness.loop().run(crowd(p, s.ws_path(d, s.token()), 800), 60)
                equal({f["type"] for f in firsts}, {"connect"}, "types of the first messages")
                s.wait_watchers(d, 1, 40)
        finally:
            p.pooler.process.signal(signal.SIGCONT)
            load.end()
        drain(reader, s.recommend(d, "last", api=p.api)["seq"])
        equal(load.odd[:3], [], "replies that are neither 200 nor a proper 503")
        equal(p.lines("database (away|statement)|error:"), [], "trouble in the log")


async def crowd(p, path, size):
    """So many clients are there before the pooler goes on; their first messages."""
    p.pooler.process.signal(signal.SIGSTOP)
    clients = await asyncio.gather(*(websockets.connect(f"ws://127.0.0.1:{p.node.port}{path}", compression=None, open_timeout=60, close_timeout=0.1)
                                     for _n in range(size)))
    p.pooler.process.signal(signal.SIGCONT)
    firsts = [json.loads(text) for text in await asyncio.gather(*(c.recv() for c in clients))]
    await asyncio.gather(*(c.close() for c in clients))
    return firsts


@test("behind PgBouncer the timeouts hold: a topic that someone holds locked is refused by the server, and others are served", allow=EXPECTED)
def _(s):
    # They came as `options`, which PgBouncer refuses, or drops when told to ignore them.
    locked, free = s.diagnosis(), s.diagnosis()
    with pooled(s, TIDINGS_DATABASE_TIMEOUT=2000) as p:
        s.recommend(locked, api=p.api)
        with s.connect(free, server=p.node) as client:
            with Lock(s, "tidings.message"):
                s.recommend(locked, api=p.api, want=503)
            wait_until(lambda: s.api.get("/health").status == 200 and p.api.get("/health").status == 200, "/health")
            equal(s.recommend(free, api=p.api)["seq"], 1, "seq of another diagnosis")
            equal(client.next()["seq"], 1, "seq at its client")
        equal(s.recommend(locked, api=p.api)["seq"], 2, "seq afterwards: the refused one was not half done")
        log = p.web.log.read_text(errors="replace")
        assert re.search(r"statement=publish_batch error=.?(55P03|57014)", log), log[-1500:]


@test("behind PgBouncer, whatever the database's defaults are, what is answered is committed, and in READ COMMITTED")
def _(s):
    d = s.diagnosis()
    with outage.seen_by_verdicts(s) as seen, pooled(s) as p, s.connect(d, server=p.node) as client:
        s.recommend(d, api=p.api)
        client.next()
        p.api.get(f"/ws/history/{d}", s.token()).want(200)
        equal(seen(), [["on read committed"]], "what the sessions have")


@test("behind PgBouncer, where no order is heard, the connections of an account that is switched off are sent away all the same")
def _(s):
    user = person(s)
    s.sql(f"insert into tidings.app_user values ('{user}')")
    with pooled(s, TIDINGS_REQUIRE_USER="yes", **TALKATIVE) as p, combined(s, p.node, user) as live, combined(s, p.node, person(s), role="service") as service:
        s.sql(f"update tidings.app_user set active = false where id = '{user}'")
        equal(live.client.closed()[0], 1012, "the close")
        service.ask("ping", want="pong")


@test("PgBouncer killed and started again under load, three times: nothing acknowledged is lost, nobody is dropped", allow=EXPECTED)
def _(s):
    d = s.diagnosis()
    with pooled(s) as p:
        with s.connect(d, server=p.node) as one, s.connect(d, server=p.web) as two:
            readers = [outage.Reader(c) for c in (one, two)]
            load = outage.Load(p, d)
            try:
                wait_until(lambda: load.seen(200) >= 100, "the load to run")
                for _n in range(3):
                    p.pooler.kill()
                    before = load.seen(503)
                    wait_until(lambda: load.seen(503) > before + 5, "broadcasts to be refused")
                    p.pooler.start()
                    before = load.seen(200)
                    wait_until(lambda: load.seen(200) >= before + 50, "broadcasts to be taken again", 40)
            finally:
                load.end()
            last = s.recommend(d, "last", api=p.api)["seq"]
            for reader in readers:
                drain(reader, last)
            equal(load.odd[:3], [], "replies that are neither 200 nor a proper 503")
            equal({q for q, why in load.acknowledged.items() if readers[0].messages[q] != why}, set(), "acknowledged, and not delivered")


@test("PgBouncer that lets us in with no PostgreSQL behind it: 503, and an outage is a line in the log, not one for each try", allow=EXPECTED)
def _(s):
    # Each time that the pooler let it in, the sidecar took the outage for over, and tried again at once.
    d = s.diagnosis()
    with pooled(s) as p:
        s.recommend(d, api=p.api)
        with s.connect(d, server=p.node) as client:
            # One that is still catching up would be told to come again.
            client.seqs_up_to(s.recommend(d, api=p.api)["seq"])
            before = len(p.lines("database (connected|away)"))
            s.stop_postgres()
            try:
                for _n in range(8):
                    s.recommend(d, api=p.api, want=503)
                equal(p.api.get("/health").status, 503, "/health")
                away = [line for line in p.lines("database (connected|away)")[before:]]
                links = [re.search(r"away connection=(\S+)", line)[1] for line in away]
                assert len(links) == len(set(links)), away
                said = [line for line in p.web.log.read_text(errors="replace").splitlines() if "publishing goes on" in line]
                equal(said, [], "what broadcast.fcgi said")
            finally:
                s.start_postgres()
            s.wait_ready()
            wait_until(lambda: p.api.get("/health").status == 200, "/health", 40)
            wait_until(lambda: p.api.post("/ws/broadcast-recommendation-update", {"diagnosis_id": d, "old_data": {}, "new_data": {}, "reason": "back"},
                                          s.token()).status == 200, "a broadcast to be taken", 40)
            last = s.recommend(d, "last", api=p.api)["seq"]
            client.seqs_up_to(last)


@test("TIDINGS_LISTEN_DATABASE: the doorbell comes straight from PostgreSQL, the rest through PgBouncer; so ephemeral messages arrive too")
def _(s):
    d = s.diagnosis()
    with pooled(s, TIDINGS_LISTEN_DATABASE=s.conninfo) as p, s.connect(d, server=p.node) as client:
        # Listening, and known to be: it tells so by a heartbeat.
        wait_until(lambda: p.lines("database connected connection=listener pooler=no"), "the listener")
        message = {"topic": f"diagnosis/{d}", "type": "typing", "data": {"n": 1}, "ephemeral": True}
        wait_until(lambda: s.sql(f"select count(*) from pg_stat_activity where application_name = 'tidings-ws listener' and {LISTENS}")[0][0] == "2",
                   "both sidecars to listen")
        p.api.post("/ws/publish", message, s.service()).want(200)
        equal(client.next()["data"], {"n": 1}, "data")
        s.recommend(d, api=p.api)
        equal(client.next()["seq"], 1, "seq")
        equal(p.lines("no notifications"), [], "lines about what a pooler takes away")


@test("TIDINGS_LISTEN_DATABASE that leads to a pooler: one that keeps sessions is listened through; of one that pools transactions the log and tidings doctor say so, and all that is kept arrives")
def _(s):
    d = s.diagnosis()

    def said(node):
        return lines(node, "TIDINGS_LISTEN_DATABASE names a pooler that keeps no sessions: .* has to name PostgreSQL itself")

    def doctor(pooler):
        done = subprocess.run([s.program("tidings"), "doctor", "--dir", harness.TOP / "sql"], capture_output=True, text=True,
                              env=s.environment(TIDINGS_LISTEN_DATABASE=pooler.conninfo, TIDINGS_WS_SOCKET=s.node1.socket))
        return done.returncode, [line for line in done.stdout.splitlines() if not line.endswith(": ok")]

    with Pooler(s, mode="session", servers=8) as pooler:
        with s.node(TIDINGS_LISTEN_DATABASE=pooler.conninfo) as node, s.connect(d, server=node) as client:
            wait_until(lambda: lines(node, "database connected connection=listener pooler=yes"), "the listener")
            s.typing(f"diagnosis/{d}")
            equal(client.next()["type"], "typing", "what only NOTIFY brings")
            equal(doctor(pooler), (0, []), "what the doctor finds")
            equal(said(node), [], "lines about a pooler")
    with Pooler(s) as pooler:
        with s.node(TIDINGS_LISTEN_DATABASE=pooler.conninfo) as node, s.connect(d, server=node) as client:
            wait_until(lambda: said(node), "it to say so", 60)
            s.recommend(d)
            equal(client.next()["seq"], 1, "what is kept")
            status, found = doctor(pooler)
            assert status == 1 and len(found) == 1 and re.match("notifications: none came within 5 s: TIDINGS_LISTEN_DATABASE names a pooler that keeps no sessions", found[0]), found
            equal(len(said(node)), 1, "lines about the pooler")


@contextlib.contextmanager
def mute_at_first(s):
    """Another way to PostgreSQL, on which the first LISTEN gets no answer: what to connect to."""
    folder, port, muted = s.folder / s._name("mute"), free_port(), threading.Event()

    def carry(source, target, to_server):
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if to_server and b"tidings.listen()" in data and not muted.is_set():
                    muted.set()
                else:
                    target.sendall(data)
            target.shutdown(socket.SHUT_RDWR)

    def serve():
        with contextlib.suppress(OSError):
            while True:
                ours, _address = server.accept()
                theirs = socket.socket(socket.AF_UNIX)
                theirs.connect(f"{s.pg_folder}/.s.PGSQL.5432")
                threading.Thread(target=carry, args=(ours, theirs, True), daemon=True).start()
                threading.Thread(target=carry, args=(theirs, ours, False), daemon=True).start()

    folder.mkdir()
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(f"{folder}/.s.PGSQL.{port}")
        server.listen()
        threading.Thread(target=serve, daemon=True).start()
        yield f"host={folder} port={port} dbname=tidings"
        server.shutdown(socket.SHUT_RDWR)


@test("a LISTEN that gets no answer is given up, and another connection listens")
def _(s):
    d = s.diagnosis()
    with mute_at_first(s) as conninfo, s.node(TIDINGS_LISTEN_DATABASE=conninfo, TIDINGS_DATABASE_TIMEOUT=1000) as node, s.connect(d, server=node) as client:

        def heard():
            s.typing(f"diagnosis/{d}")
            try:
                return client.next(1)["type"] == "typing"
            except AssertionError:
                return False

        wait_until(heard, "what only NOTIFY brings")


@test("tidings doctor works through PgBouncer, and says that notifications take PostgreSQL itself; so does tidings migrate")
def _(s):
    with Pooler(s) as pooler:
        def doctor(**settings):
            done = subprocess.run([s.program("tidings"), "doctor", "--dir", harness.TOP / "sql"], capture_output=True, text=True,
                                  env=s.environment(TIDINGS_DATABASE=pooler.conninfo, TIDINGS_WS_SOCKET=s.node1.socket, **settings))
            return done.returncode, [line for line in done.stdout.splitlines() if not line.endswith(": ok")]

        status, said = doctor()
        assert status == 1 and len(said) == 1 and re.match("notifications: .* pooler.*TIDINGS_LISTEN_DATABASE", said[0]), said
        equal(doctor(TIDINGS_LISTEN_DATABASE=s.conninfo), (0, []), "with a way to PostgreSQL itself")
        done = subprocess.run([s.program("tidings"), "migrate", "--dir", harness.TOP / "sql"], capture_output=True, text=True,
                              env=s.environment(TIDINGS_DATABASE=pooler.conninfo + " user=postgres"))
        assert done.returncode == 1 and "PostgreSQL itself" in done.stderr, done


# -------------------------------------------------------------------------------------------------- a doorbell that fails


class Silence(harness.Silence):
    """The same, and whether anything was rung all the same."""

    def __enter__(self):
        super().__enter__()
        # What listens, and is never rung for.
        self.ear = subprocess.Popen(["psql", "-qXAt"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=self.s.psql_env("postgres", "tidings"))
        self.ear.stdin.write("".join(f"listen {self.s.channel(p)};\n" for p in ("messages", "outbox")))
        self.heard()
        return self

    def heard(self):
        """The notifications that have come so far."""
        self.ear.stdin.write("select 'end';\n")
        self.ear.stdin.flush()
        got = []
        while not got or got[-1] != "end\n":
            got.append(self.ear.stdout.readline())
            assert got[-1], "psql ended"
        # It tells of them after the answer to a statement: so ask once more.
        self.ear.stdin.write("select 'all';\n")
        self.ear.stdin.flush()
        while got[-1] != "all\n":
            got.append(self.ear.stdout.readline())
            assert got[-1], "psql ended"
        return [line for line in got if "notification" in line]

    def __exit__(self, *_):
        self.ear.stdin.close()
        self.ear.wait()
        super().__exit__()


@test("no NOTIFY at all: messages arrive by WebSocket, event stream and poll, and from tidings.publish(); then, with NOTIFY, as before")
def _(s):
    d = s.diagnosis()
    with s.connect(d) as client, Silence(s) as silence:
        stream = streams.Stream(s, s.node1, d)
        held = streams.Held(s, s.node1, d, client.cursor, watchers=3)
        began = time.monotonic()
        equal(s.recommend(d, "unheard")["clients_notified"], 3, "clients_notified")
        equal(client.next()["seq"], 1, "seq by WebSocket")
        print(f"# without NOTIFY: {time.monotonic() - began:.1f} s")
        equal(stream.event()["data"]["seq"], 1, "seq in the event stream")
        equal([m["seq"] for m in held.result()["messages"]], [1], "seqs of the poll")
        began = time.monotonic()
        s.sql(f"select tidings.publish('diagnosis/{d}', 'note', '{{}}')")
        equal(client.next()["type"], "note", "type")
        print(f"# without NOTIFY, from SQL: {time.monotonic() - began:.1f} s")
        equal(stream.event()["data"]["seq"], 2, "seq in the event stream")
        stream.connection.close()
        equal(silence.heard(), [], "notifications")
    with s.connect(d) as client:
        s.recommend(d, "heard")
        equal(client.next()["seq"], 3, "seq")


@test("what comes behind large messages that have expired waits for no heartbeat", allow="no heartbeat now")
def _(s):
    d = s.diagnosis()
    topic = f"diagnosis/{d}"
    one = "tidings.publish('%s', 'n', json_build_object('n', %d, 'x', repeat('x', 200000)), null, %s)"
    with s.node() as node, s.connect(d, server=node) as client:
        node.signal(signal.SIGSTOP)
        try:
            s.sql("""create function public.refuse() returns trigger language plpgsql as $$ begin raise 'no heartbeat now'; end $$;
                create trigger refuse before update of heartbeat_at on tidings.node for each row execute function public.refuse()""")
            s.sql("select " + ", ".join(one % (topic, n, "clock_timestamp() + interval '1 second'" if n == 0 else "null") for n in range(3)))
            wait_until(lambda: s.sql(f"""select 1 from tidings.topic t join tidings.message m on m.topic_id = t.id
                where t.name = '{topic}' and (select max(seq) from tidings.message where topic_id = t.id) = 3 and m.seq = 1 and m.expires_at < clock_timestamp()"""), "the first to expire")
            node.signal(signal.SIGCONT)
            equal([client.next()["data"]["n"] for _n in range(2)], [1, 2], "the others")
        finally:
            node.signal(signal.SIGCONT)
            s.sql("drop function public.refuse() cascade")


@test("no NOTIFY at all, under load: dense and in order on two nodes")
def _(s):
    d = s.diagnosis()
    with s.node() as node2, s.connect(d) as one, s.connect(d, server=node2) as two:
        with Silence(s) as silence:
            readers = [outage.Reader(c) for c in (one, two)]
            load = outage.Load(s, d)
            try:
                wait_until(lambda: load.seen(200) >= 300, "the load to run", 60)
            finally:
                load.end()
            last = s.recommend(d, "last")["seq"]
            for reader in readers:
                drain(reader, last)
            equal(silence.heard(), [], "notifications")
        equal(load.odd[:3], [], "replies that are neither 200 nor a proper 503")


@test("the connection that listens, terminated again and again under load: nothing is lost, nobody is dropped", allow=EXPECTED)
def _(s):
    d = s.diagnosis()
    listening = f"select pid from pg_stat_activity where application_name = 'tidings-ws listener' and {LISTENS}"
    with s.connect(d) as one, s.connect(d, server=s.web1) as two:
        readers = [outage.Reader(c) for c in (one, two)]
        load = outage.Load(s, d)
        try:
            for _n in range(12):
                (pid,) = wait_until(lambda: len(pids := [row[0] for row in s.sql(listening)]) == 1 and pids, "one listener to listen")
                before = load.seen(200)
                s.sql(f"select pg_terminate_backend({pid})")
                wait_until(lambda: load.seen(200) > before + 10, "broadcasts meanwhile")
                wait_until(lambda: [row[0] for row in s.sql(listening)] not in ([], [pid]), "the listener to come back", 40)
        finally:
            load.end()
        last = s.recommend(d, "last")["seq"]
        for reader in readers:
            drain(reader, last)
        equal((load.odd[:3], load.seen(503)), ([], 0), "replies that are not 200")
        equal({q for q, why in load.acknowledged.items() if readers[0].messages[q] != why}, set(), "acknowledged, and not delivered")
