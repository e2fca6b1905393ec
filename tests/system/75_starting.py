"""How the programs start: settings, and what they need not being there."""
import contextlib
import os
import re
import resource
import shutil
import signal
import socket
import stat
import subprocess

from harness import Lock, Node, RawClient, Stack, Transaction, descendants, equal, free_port, is_running, test, wait_until

PROGRAMS = ("tidings-ws", "api.fcgi", "broadcast.fcgi", "live.fcgi", "status.fcgi", "history.fcgi")


def start(s, program, *args, **settings):
    return subprocess.run([s.program(program), *args], capture_output=True, text=True, timeout=30, stdin=subprocess.DEVNULL,
                          env=s.environment(**settings))


@test("every program refuses an unknown setting and a bad value, and names it")
def _(s):
    for program in PROGRAMS:
        for name, value in (("TIDINGS_NO_SUCH", "1"), ("TIDINGS_QUEUE_MAX", "many"), ("TIDINGS_HEARTBEAT", "0"), ("TIDINGS_STATUS", "perhaps")):
            done = start(s, program, **{name: value})
            equal(done.returncode, 2, f"exit status of {program} with {name}={value} ({done.stderr})")
            assert name in done.stderr, f"{program}: {done.stderr}"


@test("every program refuses an option that it does not know, names it, and says how it is called")
def _(s):
    for program in PROGRAMS:
        for option in ("--frobnicate", "frobnicate"):
            done = start(s, program, option)
            equal(done.returncode, 2, f"exit status of {program} {option} ({done.stderr})")
            assert f"unknown argument {option}\nUsage: {program} " in done.stderr, f"{program}: {done.stderr}"


@test("--check-config prints what counts, and starts nothing")
def _(s):
    for program in PROGRAMS:
        done = start(s, program, "--check-config", TIDINGS_QUEUE_MAX="77")
        equal(done.returncode, 0, f"exit status of {program} ({done.stderr})")
        assert "TIDINGS_QUEUE_MAX=77" in done.stdout, done.stdout


@test("keys that others may read, or that are not there, are refused by name and never printed")
def _(s):
    folder = s.folder / "loose"
    folder.mkdir(mode=0o700, exist_ok=True)
    (folder / "default.HS256").write_text("not-a-secret-any-more-0123456789abcdef")
    for mode, keys in ((0o644, folder), (None, s.folder / "nowhere")):
        if mode:
            (folder / "default.HS256").chmod(mode)
        for program in PROGRAMS:
            done = start(s, program, TIDINGS_JWT_KEYS=keys, TIDINGS_WS_PORT=s.node1.port)
            # What systemd takes for: starting it again is of no use.
            equal(done.returncode, 2, f"exit status of {program}: {done.stderr}")
            assert str(keys) in done.stderr or "default.HS256" in done.stderr, done.stderr
            assert "not-a-secret" not in done.stderr, done.stderr


@test("a connection string that is none is refused by every program as a wrong setting, and not shown")
def _(s):
    for program in PROGRAMS:
        done = start(s, program, TIDINGS_DATABASE="host= password=not-to-be-shown =", TIDINGS_WS_PORT=free_port())
        equal(done.returncode, 2, f"exit status of {program}: {done.stderr}")
        assert "the database connection string is not valid" in done.stderr and "not-to-be-shown" not in done.stderr, f"{program}: {done.stderr}"


@test("a sidecar that may not have as many descriptors as clients does not start, and says how many it needs")
def _(s):
    done = subprocess.run([s.program("tidings-ws")], capture_output=True, text=True, timeout=30, env=s.environment(TIDINGS_WS_PORT=free_port()),
                          preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (1000, 1000)))
    assert done.returncode != 0 and "needs 12048 descriptors, and the limit is 1000" in done.stderr, done.stderr


@test("a sidecar that is out of descriptors says so once, keeps whom it has, and serves those who waited when there are some again; SIGUSR1 counts them",
      allow="cannot accept connections")
def _(s):
    d = s.diagnosis()
    with s.node() as node, s.connect(d, server=node) as first:
        limits = resource.prlimit(node.pid, resource.RLIMIT_NOFILE)
        log = lambda: node.log.read_text()
        resource.prlimit(node.pid, resource.RLIMIT_NOFILE, (len(os.listdir(f"/proc/{node.pid}/fd")), limits[1]))
        try:
            with socket.create_connection(("127.0.0.1", node.port), timeout=20) as waiting:
                waiting.sendall(b"GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n")
                wait_until(lambda: "cannot accept connections" in log(), "it to say so")
                for _n in range(3):
                    s.recommend(d)
                equal([first.next()["seq"] for _n in range(3)], [1, 2, 3], "what is delivered meanwhile")
                resource.prlimit(node.pid, resource.RLIMIT_NOFILE, limits)
                assert waiting.recv(100).startswith(b"HTTP/1.1 404"), "the answer to who waited"
        finally:
            resource.prlimit(node.pid, resource.RLIMIT_NOFILE, limits)
        equal(log().count("cannot accept connections"), 1, "lines in the log")
        with s.connect(d, server=node):
            node.signal(signal.SIGUSR1)
            counters = wait_until(lambda: re.search("counters (.*)$", log(), re.M), "the counters")[1]
            got = dict(pair.split("=") for pair in counters.split())
            equal((got["connections"], got["opened"], got["deliveries"], got["topics"]), ("2", "2", "3", "1"), f"of {counters}")


@test("a sidecar whose port is taken says so and ends")
def _(s):
    done = start(s, "tidings-ws", TIDINGS_WS_PORT=s.node1.port)
    assert done.returncode > 0, f"{done.returncode}: {done.stderr}"
    assert str(s.node1.port) in done.stderr, done.stderr


@test("a sidecar's socket is for its user and group alone, is freed when it ends, and is taken over from one that was killed, and from nothing else")
def _(s):
    d = s.diagnosis()
    node = s.start_node()
    # It comes a moment after the port.
    wait_until(node.socket.exists, "the socket")
    at = node.socket.stat()
    equal((stat.S_ISSOCK(at.st_mode), stat.S_IMODE(at.st_mode)), (True, 0o660), "socket, mode")
    port = str(free_port())
    done = start(s, "tidings-ws", TIDINGS_WS_PORT=port, TIDINGS_WS_SOCKET=node.socket)
    assert done.returncode > 0 and str(node.socket) in done.stderr, f"{done.returncode}: {done.stderr}"
    equal(node.socket.stat().st_ino, at.st_ino, "the socket of the one that runs")
    with s.web(node) as web:
        s.connect(d, server=web).close()
        node.signal(signal.SIGKILL)
        node.wait()
        s.forget(node)
        assert node.socket.exists(), "a killed one leaves its socket behind"
        equal(web.api.get(f"/poll/{d}?timeout=0", s.token()).status, 503, "nobody there")
        node = s.start_node(node.port)
        wait_until(lambda: web.api.get(f"/poll/{d}?timeout=0", s.token()).status == 200, "the web server to find the new one")
        s.connect(d, server=web).close()
    s.forget(node)
    equal(node.stop(), 0, "exit status")
    assert not node.socket.exists(), "one that ends leaves nothing behind"
    file = s.folder / "no-socket"
    file.write_text("mine")
    for path in (file, s.folder / ("x" * 108), s.folder / "nowhere" / "ws.sock"):
        done = start(s, "tidings-ws", TIDINGS_WS_PORT=port, TIDINGS_WS_SOCKET=path)
        assert done.returncode > 0 and ("TIDINGS_WS_SOCKET" in done.stderr or str(path) in done.stderr), f"{done.returncode}: {done.stderr}"
    equal(file.read_text(), "mine", "the file")


@test("everything may be started before the database, and serves once it is there", allow="database|connection|away|server")
def _(s):
    d = s.diagnosis()
    s.stop_postgres()
    try:
        with s.node() as node, s.web(node) as web:
            equal(s.refused(d, server=node)[0], 1013, "close code")
            equal(web.api.get("/health").status, 503, "/health")
            s.recommend(d, api=web.api, want=503)
            s.start_postgres()
            wait_until(lambda: web.api.get("/health").status == 200, "/health to be 200", 40)
            wait_until(lambda: s.lets_in(d, node), "clients to be let in")
            with s.connect(d, server=web) as client:
                body = {"diagnosis_id": d, "old_data": {}, "new_data": {}, "reason": "r"}
                reply = wait_until(lambda: (r := web.api.post("/ws/broadcast-recommendation-update", body, s.token())).status == 200 and r,
                                   "a broadcast to be taken")
                equal((reply.json["clients_notified"], reply.json["seq"], client.next()["seq"]), (1, 1, 1), "clients_notified and seqs")
    finally:
        if not s.postgres_alive:
            s.start_postgres()
    s.wait_ready()


@test("a sidecar tells its supervisor that it serves and is alive, how many are connected, what keeps it from being ready, and that it goes",
      allow="database|connection|away|server")
def _(s):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as supervisor:
        path = s.folder / "notify"
        supervisor.bind(str(path))
        if s.pg_user:
            path.chmod(0o666)
        supervisor.settimeout(30)
        told = lambda: supervisor.recv(1000).decode()

        def tells(text):
            wait_until(lambda: told() == text, f"it to tell {text!r}")

        with s.node(NOTIFY_SOCKET=path, WATCHDOG_USEC=200000) as node:
            while (text := told()) != "READY=1":
                assert text.startswith("WATCHDOG=1\nSTATUS=0 connections; not ready: "), text
            tells("WATCHDOG=1\nSTATUS=0 connections; ready")
            with s.connect(s.diagnosis(), server=node):
                tells("WATCHDOG=1\nSTATUS=1 connections; ready")
                s.stop_postgres()
                try:
                    tells("WATCHDOG=1\nSTATUS=1 connections; not ready: database")
                finally:
                    s.start_postgres()
                tells("WATCHDOG=1\nSTATUS=1 connections; ready")
            node.signal(signal.SIGTERM)
            tells("STOPPING=1")
    s.wait_ready()


# A node makes itself known, and again when it listens. Here it is given up at once, and so is new the second time, which waits.
GIVEN_UP = """
create sequence public.known;
create function public.given_up() returns trigger language plpgsql security definer as $$
begin
	if nextval('public.known') = 1 then
		delete from tidings.node where id = new.id;
	else
		perform pg_advisory_xact_lock(4242);
	end if;
	return null;
end $$;
create trigger given_up after insert on tidings.node for each row execute function public.given_up();
"""
NOT_GIVEN_UP = "drop trigger given_up on tidings.node; drop function public.given_up(); drop sequence public.known"


@test("clients that come and go while their sidecar, which was given up, makes itself known anew leave nothing behind", allow="database")
def _(s):
    d, late = s.diagnosis(owner="early"), s.folder / "late"
    listener = s.backend("listener")
    s.sql(GIVEN_UP)
    try:
        with Transaction(s, "do $$ begin perform pg_advisory_xact_lock(4242); end $$"):
            with Lock(s, "tidings.node"):
                node = s.start_node(TIDINGS_LISTEN_DATABASE=f"host={late} dbname=tidings", TIDINGS_DATABASE_TIMEOUT=20000)
                clients = [RawClient(node.port, f"/ws/{d}?token={s.token('early')}"), RawClient(node.port, f"/ws/health?token={s.token('later')}")]
                equal(clients[1].next()["type"], "connection_established", "the first message")
                late.symlink_to(s.pg_folder)
                wait_until(lambda: s.sql("""select pid from pg_stat_activity
                    where application_name = 'tidings-ws listener' and pid <> %d and state = 'idle' and query like '%%listen%%'""" % listener), "the sidecar to listen")

            def said(event, user):
                return any(f"event={event} " in line and f"user={user} " in line for line in node.log.read_text().splitlines())

            # What was asked before for the first one is answered too, then.
            wait_until(lambda: said("authenticate", "later"), "the second one to be let in", 40)
            for client, user in zip(clients, ("early", "later")):
                client.close()
                wait_until(lambda: said("disconnect", user), f"{user} to be gone")
    finally:
        s.sql(NOT_GIVEN_UP)
    with s.connect(s.diagnosis(), server=node):
        wait_until(lambda: s.sql("select user_id from tidings.connection where user_id in ('early', 'later')") == [], "their connections to be gone")
        wait_until(lambda: s.watchers(d) == 0, "nobody to be counted")
    s.forget(node)
    equal(node.stop(), 0, "exit status")


SLOW_TO_LISTEN = """
alter function tidings.listen rename to listen_at_once;
create function tidings.listen() returns table (purpose text, name text) language plpgsql security definer set search_path = tidings, pg_temp as $$
begin
	perform pg_sleep(0.5);
	return query select * from listen_at_once();
end $$;
grant execute on function tidings.listen to tidings_sidecar;
"""
NOT_SLOW_TO_LISTEN = "drop function tidings.listen; alter function tidings.listen_at_once rename to listen"


@test("a sidecar lets clients in when it hears the orders that are about them")
def _(s):
    s.sql(SLOW_TO_LISTEN)
    try:
        with s.node() as node, s.connect(s.diagnosis(), server=node) as client:
            wait_until(lambda: s.sql(f"select 1 from tidings.connection where id = '{client.id}'"), "the connection to be known")
            s.api.request("DELETE", f"/ws/connection/{client.id}", token=s.token("root", role="admin")).want(200)
            equal(client.closed()[0], 1000, "close code")
    finally:
        s.sql(NOT_SLOW_TO_LISTEN)


@test("a program of many threads has as many connections to the database as it has served requests at once")
def _(s):
    began = s.sql("select clock_timestamp()")[0][0]
    opened = lambda name: int(s.sql(f"select count(*) from pg_stat_activity where application_name = '{name}' and backend_start > '{began}'")[0][0])
    with s.web() as web:
        for _n in range(20):
            web.api.get(f"/ws/history/{s.diagnosis()}", s.token()).want(200)
        equal([opened(name) for name in ("tidings history", "tidings live")], [1, 0], "connections")


@test("an installation for tests that fails halfway, with a program that does not listen, leaves nothing running")
def _(s):
    class Deaf(Node):
        def wait_listening(self):
            raise AssertionError("deaf")

    class Halfway(Stack):
        def _begin(self):
            super()._begin()
            begun.update(descendants(os.getpid()), [int((self.pg_data / "postmaster.pid").read_text().split()[0])])
            folders.append(self.folder)
            Deaf(self, "deaf", {})

    before, begun, folders = set(descendants(os.getpid())), set(), []
    with contextlib.suppress(AssertionError):
        Halfway()
    assert len(begun - before) > 2, begun
    wait_until(lambda: not any(map(is_running, begun - before)), "all of it to have ended")
    equal(set(filter(is_running, descendants(os.getpid()))) - before, set(), "what runs afterwards")
    shutil.rmtree(folders[0])
