"""Several hosts in TIDINGS_DATABASE: every connection of ours leaves one that hangs, or that can only be read, for the next."""
import concurrent.futures
import contextlib
import importlib
import os
import re
import shutil
import signal
import socket
import subprocess
import threading

import harness
from harness import Transaction, equal, stopped, test, wait_until
from live import Live, person

status = importlib.import_module("30_status")

EXPECTED = "database|connection|away|server|recovery|read-only"
LINKS = {"fetches", "queries", "acts", "listener"}


class Way:
    """Another way to PostgreSQL, which can come to a standstill: nothing is closed, new connections are taken, nothing is carried."""

    def __init__(self, s, frozen=False):
        self.to = f"{s.pg_folder}/.s.PGSQL.5432"
        self.folder = s.folder / s._name("way")
        self.folder.mkdir()
        self.moving = threading.Event()
        if not frozen:
            self.moving.set()
        self.server = socket.socket(socket.AF_UNIX)
        self.server.bind(f"{self.folder}/.s.PGSQL.5432")
        self.server.listen(100)
        self.sockets = []
        threading.Thread(target=self._serve, daemon=True).start()

    def _carry(self, source, target):
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                self.moving.wait()
                target.sendall(data)
            self.moving.wait()
            target.shutdown(socket.SHUT_RDWR)

    def _serve(self):
        with contextlib.suppress(OSError):
            while True:
                ours, _address = self.server.accept()
                theirs = socket.socket(socket.AF_UNIX)
                theirs.connect(self.to)
                self.sockets += [ours, theirs]
                threading.Thread(target=self._carry, args=(ours, theirs), daemon=True).start()
                threading.Thread(target=self._carry, args=(theirs, ours), daemon=True).start()

    def stop(self):
        self.moving.clear()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.server.shutdown(socket.SHUT_RDWR)
        self.server.close()
        for each in self.sockets:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        self.moving.set()


def hosts(*folders):
    return f"host={','.join(map(str, folders))} dbname=tidings"


def links_at(node, folder):
    """Names of the sidecar's links whose last connection is to that host."""
    last = dict(re.findall(r"database connected connection=(\S+) .*host=(\S+)", node.log.read_text(errors="replace")))
    return {link for link, host in last.items() if host == str(folder)}


def taken(web, s, d):
    return web.api.post("/ws/broadcast-recommendation-update", {"diagnosis_id": d, "old_data": {}, "new_data": {}, "reason": "r"}, s.token()).status == 200


def everything_works(s, node, web, d):
    wait_until(lambda: taken(web, s, d), "a broadcast to be taken")
    wait_until(lambda: s.lets_in(d, node), "the sidecar to let clients in")
    with s.connect(d, server=node) as client:
        seq = s.recommend(d, api=web.api)["seq"]
        client.seqs_up_to(seq)
    wait_until(lambda: web.api.get(f"/ws/history/{d}", s.token()).status == 200, "/ws/history")
    wait_until(lambda: web.api.get("/health").status == 200, "/health")


@test("a first host that takes connections and says nothing is passed, and the next one used", allow=EXPECTED)
def _(s):
    with Way(s, frozen=True) as mute:
        database = hosts(mute.folder, s.pg_folder)
        with s.node(TIDINGS_DATABASE=database) as node, s.web(node, TIDINGS_DATABASE=database) as web:
            wait_until(lambda: links_at(node, s.pg_folder) == LINKS, "every link of the sidecar to be at the second host")
            everything_works(s, node, web, s.diagnosis())


@test("a host that hangs is left by all that were connected to it, and those who listen stay connected and miss nothing", allow=EXPECTED)
def _(s):
    d = s.diagnosis()
    with Way(s) as way:
        database = hosts(way.folder, s.pg_folder)
        with s.node(TIDINGS_DATABASE=database) as node, s.web(node, TIDINGS_DATABASE=database) as web, s.connect(d, server=node) as client:
            equal(links_at(node, way.folder), LINKS, "links at the first host")
            everything_works(s, node, web, d)
            way.stop()
            wait_until(lambda: links_at(node, s.pg_folder) == LINKS, "every link of the sidecar to be at the second host")
            everything_works(s, node, web, d)
            s.typing(f"diagnosis/{d}")
            while client.next()["type"] != "typing":
                pass


@test("a host that hangs for one connection is left by all of them, which must not be at two servers", allow=EXPECTED)
def _(s):
    d = s.diagnosis()
    for link in ("queries", "acts"):
        with Way(s) as way:
            database = hosts(way.folder, s.pg_folder)
            with s.node(TIDINGS_DATABASE=database, TIDINGS_DATABASE_TIMEOUT=1000) as node, s.web(node, TIDINGS_DATABASE=database) as web:
                equal(links_at(node, way.folder), LINKS, "links at the first host")
                with stopped(s.backend(link)):
                    wait_until(lambda: links_at(node, s.pg_folder) == LINKS, f"every link of the sidecar to be at the second host: {link}")
                everything_works(s, node, web, d)


@test("while what a live client says waits for a standby that is missing, the sidecar's other connections stay where they are", allow=EXPECTED)
def _(s):
    # With another host to try, all of them left a server that answered, and nobody was let in meanwhile.
    d = s.diagnosis()
    with Way(s, frozen=True) as mute, s.node(TIDINGS_DATABASE=hosts(s.pg_folder, mute.folder), TIDINGS_DATABASE_TIMEOUT=2000) as node:
        away = lambda: set(re.findall(r"database away connection=(\S+)", node.log.read_text()))
        with Live(s, node, "health", user=person(s), how="query") as live, status.standby_missing(s):
            live.send("health_update", {"metric": "pulse", "value": 70})
            wait_until(away, "the connection of acts to give up")
            assert s.lets_in(d, node), "somebody comes"
            equal(live.next()["data"]["code"], "unavailable", "what it is told")
        wait_until(lambda: links_at(node, s.pg_folder) == LINKS and s.lets_in(d, node), "acts to be back")
        equal(away(), {"acts"}, "connections that left")
    s.wait_ready()


@test("a listener that nothing comes to notices by itself that its host hangs", allow=EXPECTED)
def _(s):
    d = s.diagnosis()
    with Way(s) as way, s.node(TIDINGS_LISTEN_DATABASE=hosts(way.folder, s.pg_folder)) as node, s.connect(d, server=node) as client:
        wait_until(lambda: "listener" in links_at(node, way.folder), "it to be at the first host")
        way.stop()
        wait_until(lambda: "listener" in links_at(node, s.pg_folder), "it to be at the second host")
        # Connected is not listening yet.
        wait_until(lambda: node.api.get("/health/ready").status == 200, "it to listen there")
        s.typing(f"diagnosis/{d}")
        equal(client.next()["type"], "typing", "what only NOTIFY brings")


@test("what one thread of a FastCGI program finds out about a host, the others need not find out again", allow=EXPECTED)
def _(s):
    threads, user = 6, person(s)
    reading = {"type": "health_update", "data": {"metric": "pulse", "value": 70}}
    with Way(s) as way, s.web(TIDINGS_DATABASE=hosts(way.folder, s.pg_folder), TIDINGS_DATABASE_TIMEOUT=10000) as web:
        def say():
            return web.api.post("/ws/send", reading, s.token(user)).status

        def said_at_once():
            """By as many threads: their statements wait for each other's end."""
            with concurrent.futures.ThreadPoolExecutor(threads) as pool:
                with Transaction(s, "lock table tidings.health_reading in access exclusive mode"):
                    sayings = [pool.submit(say) for _n in range(threads)]
                    wait_until(lambda: s.sql("""select count(*) from pg_stat_activity where application_name = 'tidings live'
                        and wait_event_type = 'Lock'""")[0][0] == str(threads), "each to have a connection")
                return [saying.result() for saying in sayings]

        equal(said_at_once(), [200] * threads, "at first")
        way.stop()
        equal(say(), 503, "the one that finds out")
        equal(said_at_once(), [200] * threads, "afterwards")


@test("what status.fcgi finds out about a host by looking at its health, its status need not find out again", allow=EXPECTED)
def _(s):
    with Way(s) as way, s.web(TIDINGS_DATABASE=hosts(way.folder, s.pg_folder), TIDINGS_DATABASE_TIMEOUT=1000) as web:
        works = lambda path: web.api.get(path).status == 200
        wait_until(lambda: works("/ws/status") and works("/health"), "both to be answered at first")
        # None is on its way.
        wait_until(lambda: s.sql("""select 1 from (select * from pg_stat_activity where application_name = 'tidings status'
            and query like '%tidings.status()%' order by backend_start desc limit 1) newest
            where state = 'idle' and state_change < clock_timestamp() - interval '1 second'"""), "the last status to be read")
        way.stop()
        wait_until(lambda: not works("/health"), "the host to be missed")
        wait_until(lambda: works("/health"), "the next host to be asked for health")
        wait_until(lambda: works("/ws/status"), "the status")
        lost = re.findall(r"database connection lost statement=(\S+)", web.log.read_text())
        assert "health" in lost and "status" not in lost, lost


class Standby:
    """A standby of the stack's PostgreSQL, by streaming replication."""

    def __init__(self, s):
        self.s = s
        self.folder = s.folder / s._name("standby")
        self.folder.mkdir()
        if s.pg_user:
            shutil.chown(self.folder, s.pg_user)
        self.data = self.folder / "data"
        with open(s.pg_data / "pg_hba.conf", "a") as hba:
            hba.write("local replication postgres peer map=tidings\n")
        s.sql("select pg_reload_conf()")
        wait_until(lambda: "replication" in s.sql("select string_agg(database::text, ' ') from pg_hba_file_rules")[0][0], "pg_hba.conf to be read")
        s._as_postgres(harness.PG_BIN / "pg_basebackup", "-D", self.data, "-R", "-h", s.pg_folder, "-U", "postgres", "-c", "fast")
        with open(self.data / "postgresql.conf", "a") as conf:
            conf.write(f"unix_socket_directories = '{self.folder}'\n")
        self._control("-l", self.folder / "log", "start")

    def _control(self, *args):
        before = ["runuser", "-u", self.s.pg_user, "--"] if self.s.pg_user else []
        subprocess.run([*before, harness.PG_BIN / "pg_ctl", "-D", self.data, "-w", *args], check=True, stdout=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL, cwd="/")

    def has(self, d):
        done = subprocess.run(["psql", "-qXAt", "-c", f"select 1 from tidings.diagnosis where id = {d}"], capture_output=True, text=True,
                              env={**self.s.psql_env("postgres", "tidings"), "PGHOST": str(self.folder)})
        return done.stdout.strip() == "1"

    def promote(self):
        self._control("promote")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._control("-m", "immediate", "stop")


@contextlib.contextmanager
def standing_still(s):
    """Each process of the stack's PostgreSQL is stopped."""
    postmaster = int((s.pg_data / "postmaster.pid").read_text().splitlines()[0])
    os.kill(postmaster, signal.SIGSTOP)
    stopped = [postmaster, *harness.descendants(postmaster)]
    for pid in stopped:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in stopped:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


@test("when the primary hangs and its standby, which answered all the time, is promoted, everything is there by itself", allow=".*")
def _(s):
    d = s.diagnosis()
    with Standby(s) as standby:
        # The standby comes first: whoever answers and can only be read is passed.
        for database in (hosts(standby.folder, s.pg_folder), hosts(s.pg_folder, standby.folder) + " target_session_attrs=read-write"):
            with s.node(TIDINGS_DATABASE=database) as node, s.web(node, TIDINGS_DATABASE=database) as web:
                wait_until(lambda: links_at(node, s.pg_folder) == LINKS, "every link of the sidecar to be at the primary")
                everything_works(s, node, web, d)
        with s.node(TIDINGS_DATABASE=database) as node, s.web(node, TIDINGS_DATABASE=database) as web:
            everything_works(s, node, web, d)
            wait_until(lambda: standby.has(d), "replication")
            with standing_still(s):
                standby.promote()
                wait_until(lambda: links_at(node, standby.folder) == LINKS, "every link of the sidecar to be at the new primary")
                everything_works(s, node, web, d)
    s.wait_ready()
    wait_until(lambda: taken(s.web1, s, d), "a broadcast to be taken by the stack's own")


@test("a connection that stays at a server which is not the primary any more, and takes itself for one, follows the others", allow=".*")
def _(s):
    d = s.diagnosis()
    with Standby(s) as standby, Way(s) as way:
        with s.node(TIDINGS_DATABASE=hosts(way.folder)) as node, s.web(node, TIDINGS_DATABASE=hosts(standby.folder)) as web:
            with s.connect(d, server=node) as client:
                s.recommend(d)
                equal(client.next()["seq"], 1, "seq")
                wait_until(lambda: standby.has(d), "replication")
                standby.promote()
                # One way for all of them: only who connects anew comes to the new one.
                way.to = f"{standby.folder}/.s.PGSQL.5432"
                s.sql(f"select pg_terminate_backend({s.backend('queries')})")
                equal(client.closed()[0], 1012, "close")
            fetches = lambda: node.log.read_text().count("database connected connection=fetches")
            wait_until(lambda: (s.lets_in(d, node), fetches() == 2)[1], "the connection of fetches to be made anew, as somebody comes")
            everything_works(s, node, web, d)
            equal(fetches(), 2, "how often it was made")
