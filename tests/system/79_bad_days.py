"""Bad days (doc/bad-days.md): a clock that is wrong, a disk that is full, two installations in one cluster."""
import contextlib
import importlib
import os
import pathlib
import re
import subprocess
import types

from harness import PG_BIN, TOP, Skip, clock_ahead, equal, test, wait_until

outage = importlib.import_module("85_outage")
metrics = importlib.import_module("31_metrics")


# ------------------------------------------------------------------------------------------------------------- the clock


def checked(node, result):
    return metrics.value(metrics.scrape(node.api), "tidings_token_checks_total", result=result) or 0


@test("on a machine whose clock is an hour wrong tokens are taken and refused by that clock, and counted; order, cursors, what is due, what expires and who lives are not")
def _(s):
    for hours, refused, word in ((1, {"ttl": 1800}, "expired"), (-1, {"ttl": 7200, "nbf": int(float(s.sql("select extract(epoch from now())")[0][0]))}, "not valid yet")):
        d, good = s.diagnosis(), s.token(ttl=7200)
        due, soon, end = (s.sql(f"""select to_char(now() at time zone 'UTC' + interval '{more}', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')""")[0][0] for more in ("1 second", "30 minutes", "90 minutes"))
        with clock_ahead(s, hours * 3600) as settings, s.node(**settings) as node, s.web(node, **settings) as web:
            before = checked(node, "expired" if hours > 0 else "claims")
            code, reason = s.refused(d, server=node, token=s.token(**refused))
            assert code == 1008 and word in reason, (code, reason)
            assert checked(node, "expired" if hours > 0 else "claims") > before, "it is not counted"
            web.api.get(f"/ws/history/{d}", s.token(**refused)).want(401)
            if hours < 0:
                # As long as the clock is behind, whoever has a token that is over is let in.
                s.connect(d, server=node, token=s.token(ttl=-1800)).close()
            with s.connect(d, server=node, token=good) as wrong, s.connect(d, token=good) as right:
                s.wait_watchers(d, 2)
                equal(s.recommend(d, "of the wrong", token=good, api=web.api)["clients_notified"], 2, "clients_notified")
                s.recommend(d, "of the right", token=good)
                message = {"topic": f"diagnosis/{d}", "type": "note", "data": {}}
                if hours > 0:
                    web.api.post("/ws/publish", {**message, "expires_at": soon}, s.token("svc", "service", ttl=7200)).want(422)
                web.api.post("/ws/publish", [{**message, "expires_at": end}, {**message, "deliver_at": due}], s.token("svc", "service", ttl=7200)).want(200)
                for client in (wrong, right):
                    equal([m["seq"] for m in client.take(4)], [1, 2, 3, 4], "seqs, in order")
            for one, other in ((wrong, s.node1), (right, node)):
                with s.connect(d, server=other, token=good, cursor=one.cursor) as again:
                    equal((again.first["data"]["recovered"], again.seqs_up_to(4)), (True, [1, 2, 3, 4]), "at another node")
            assert s.sql(f"select 1 from tidings.node where id = '{node.id()}' and heartbeat_at > clock_timestamp() - interval '15 seconds'"), "it was given up"
            equal((node.api.get("/health/ready").status, web.api.get("/health").status), (200, 200), "/health")


# -------------------------------------------------------------------------------------------------------------- the disk


class OwnMounts:
    """Mounts that only this PostgreSQL sees: nobody else's change, and they are gone with the process that keeps them."""

    def __init__(self, s):
        if os.geteuid() != 0:
            raise Skip("a disk of one's own takes root")
        self.s, self.folder = s, s.folder / s._name("small-disk")
        self.folder.mkdir(mode=0o755)

    def inside(self, *args):
        subprocess.run(["nsenter", "--target", str(self.keeper.pid), "--mount", *map(str, args)], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/")

    def is_apart(self):
        return os.readlink(f"/proc/{self.keeper.pid}/ns/mnt") != os.readlink("/proc/self/ns/mnt") and pathlib.Path(f"/proc/{self.keeper.pid}/cmdline").read_bytes().startswith(b"sleep")

    def mount(self, megabytes, where):
        self.inside("mount", "-t", "tmpfs", "-o", f"size={megabytes}m,mode=700,uid={self.s.pg_user},gid={self.s.pg_user}", "tmpfs", where)

    def start_postgres(self):
        self.s.postgres_alive = True
        self.inside("runuser", "-u", self.s.pg_user, "--", PG_BIN / "pg_ctl", "-D", self.s.pg_data, "-l", self.s.pg_folder / "log", "-w", "start")

    def fill(self):
        self.inside("sh", "-c", f"cat /dev/zero >{self.full}/ballast || true")

    def clear(self):
        self.inside("rm", "-f", self.full / "ballast")

    def __enter__(self):
        self.keeper = subprocess.Popen(["setpriv", "--pdeathsig", "KILL", "--", "unshare", "--mount", "--propagation", "private", "sleep", "infinity"], stdin=subprocess.DEVNULL)
        wait_until(self.is_apart, "mounts of its own")
        self.s.stop_postgres()
        self.begin()
        self.start_postgres()
        return self

    def __exit__(self, *_):
        self.clear()
        self.end()
        self.s.start_postgres()
        self.keeper.kill()
        self.keeper.wait()
        self.s.wait_ready()


class SmallDisk(OwnMounts):
    """The tables of messages, and whatever PostgreSQL puts down for a while, on a disk of 24 MB."""

    def move(self, tablespace):
        for table in ("message", "topic"):
            self.s.sql(f"alter table tidings.{table} set tablespace {tablespace}")

    def begin(self):
        self.full = self.folder
        self.mount(24, self.full)

    def __enter__(self):
        s = super().__enter__().s
        s.sql(f"create tablespace small location '{self.folder}'")
        s.sql("grant create on tablespace small to public")
        s.sql("alter system set temp_tablespaces = 'small'")
        s.sql("select pg_reload_conf()")
        self.move("small")
        s.sql("vacuum full tidings.message")  # what was trimmed leaves room in it
        s.wait_ready()
        return self

    def end(self):
        s = self.s
        s.sql("alter system reset temp_tablespaces")
        s.sql("select pg_reload_conf()")
        self.move("pg_default")
        # Sessions keep the names of their temporary tablespaces: new ones have none.
        s.sql("select pg_terminate_backend(pid) from pg_stat_activity where pid <> pg_backend_pid() and backend_type = 'client backend'")
        wait_until(lambda: s.psql("drop tablespace small").returncode == 0, "the tablespace to be unused")
        s.stop_postgres()


class SmallLog(OwnMounts):
    """PostgreSQL's own log (pg_wal) on a disk that has room for two segments more."""

    def begin(self):
        self.full = self.s.pg_data / "pg_wal"
        used = sum(file.stat().st_size for file in self.full.rglob("*") if file.is_file()) >> 20
        self.inside("mount", "--bind", self.full, self.folder)
        self.mount(used + 40, self.full)
        self.inside("sh", "-c", f"cp -a {self.folder}/. {self.full}/")

    def use_up(self):
        """What has been made for later, too; until the server cannot go on."""
        while self.s.psql("select pg_logical_emit_message(false, 'x', 'x'), pg_switch_wal()").returncode == 0:
            pass

    def is_back(self):
        """It has ended where it cannot write its log, or is about to."""
        if self.s.psql("select 1").returncode == 0:
            return True
        with contextlib.suppress(subprocess.CalledProcessError):
            self.start_postgres()
        return False

    def end(self):
        wait_until(self.is_back, "the database to be back", 60)
        self.s.stop_postgres()
        self.inside("sh", "-c", f"rm -rf {self.folder}/* && cp -a {self.full}/. {self.folder}/")


@test("a full disk: publishers get 503 and nobody is dropped, /health, the doctor, the metrics and the log say so; with room again all goes on by itself, and all that was acknowledged is there",
      allow=outage.EXPECTED + "|No space left|53100")
def _(s):
    d = s.diagnosis()
    failed = lambda: metrics.value(metrics.scrape(s.api), "tidings_published_messages_total", result="failed")
    with SmallDisk(s) as disk, s.connect(d) as one, s.connect(d, server=s.web1) as two:
        readers = [outage.Reader(c) for c in (one, two)]
        load, before = outage.Load(s, d, 3), failed()
        try:
            wait_until(lambda: load.seen(200) >= 50, "the load to run")
            disk.fill()
            wait_until(lambda: load.seen(503) > 5, "broadcasts to be refused", 60)
            reply = wait_until(lambda: (r := s.api.get("/health")).status == 503 and r, "/health to say so")
            equal(reply.json["checks"]["publishing"], "unhealthy", "the check")
            done = subprocess.run([s.program("tidings"), "doctor", "--dir", s.share / "sql"], capture_output=True, text=True,
                                  env=s.environment(TIDINGS_WS_SOCKET=s.node1.socket))
            assert re.search("^publishing: a commit is refused: .*No space left on device", done.stdout, re.M), done.stdout
            wait_until(lambda: failed() > before, "it to be counted")
            assert re.search("statement=publish_batch .*No space left on device", s.web1.log.read_text()), s.web1.log.read_text()[-1500:]
            equal([r.code for r in readers], [None, None], "how clients were closed")
            disk.clear()
            taken = load.seen(200)
            wait_until(lambda: load.seen(200) > taken + 50, "broadcasts to be taken again", 60)
        finally:
            load.end()
        outage.all_told(s, d, load, readers)
        wait_until(lambda: s.api.get("/health").status == 200, "/health to be well again")


@test("a disk that is full where PostgreSQL's own log is: publishers get 503, nobody is dropped; once PostgreSQL has been started again all that was acknowledged is there, and all goes on",
      allow=outage.EXPECTED + "|No space left|recovery|startup")
def _(s):
    d = s.diagnosis()
    with SmallLog(s) as disk:
        s.wait_ready()
        with s.connect(d) as one, s.connect(d, server=s.web1) as two:
            readers = [outage.Reader(c) for c in (one, two)]
            load = outage.Load(s, d, 3)
            try:
                wait_until(lambda: load.seen(200) >= 50, "the load to run")
                disk.fill()
                disk.use_up()
                wait_until(lambda: load.seen(503) > 5, "broadcasts to be refused", 60)
                disk.clear()
                wait_until(disk.is_back, "the database to be back", 60)
                taken = load.seen(200)
                wait_until(lambda: load.seen(200) > taken + 50, "broadcasts to be taken again", 60)
            finally:
                load.end()
            outage.all_told(s, d, load, readers)


# ------------------------------------------------------------------------------------------ two installations, one cluster


@contextlib.contextmanager
def second_installation(s):
    """Another database of the same cluster, with a sidecar and a web server of its own; roles and keys are the same."""
    name = s._name("second")
    database = f"host={s.pg_folder} dbname={name}"
    s.sql(f"create database {name}", database="postgres")
    s.command("tidings", "migrate", "--dir", TOP / "sql", TIDINGS_DATABASE=database + " user=postgres")
    try:
        with s.node(TIDINGS_DATABASE=database) as node, s.web(node, TIDINGS_DATABASE=database) as web:
            yield types.SimpleNamespace(name=name, database=database, node=node, web=web, api=web.api, token=s.token)
    finally:
        s.sql(f"drop database {name} with (force)", database="postgres")


@test("two installations in one cluster: nothing of one reaches the other, neither messages, ephemeral ones, orders nor counts; their channels have other names")
def _(s):
    d = s.diagnosis()
    ephemeral = {"topic": f"diagnosis/{d}", "type": "typing", "ephemeral": True}
    with second_installation(s) as other:
        s.sql(f"insert into tidings.diagnosis (id, owner) values ({d}, '456')", database=other.name)
        names = [{name for (name,) in s.sql("select name from tidings.channel", database=database)} for database in ("tidings", other.name)]
        equal((len(names[0]), names[0] & names[1]), (4, set()), "channels, and those of both")
        with s.connect(d) as here, s.connect(d, server=other.node) as there:
            s.wait_watchers(d, 1)
            wait_until(lambda: s.sql("select tidings.status()->'connections_by_diagnosis'->>'%d'" % d, database=other.name) == [["1"]], "the other to count its own")
            # What must not come is followed by what comes.
            for api, client, word in ((s.api, here, "here"), (other.api, there, "there")):
                api.post("/ws/publish", {**ephemeral, "data": word}, s.service()).want(200)
                equal(client.next()["data"], word, "what is in no queue")
                equal(s.recommend(d, word, api=api, headers={"Idempotency-Key": "the-same"}),
                      {"status": "broadcasted", "diagnosis_id": d, "clients_notified": 1, "seq": 1}, "the reply")
                got = client.next()
                equal((got["seq"], got["data"]["reason"]), (1, word), "what comes")
            s.api.request("DELETE", f"/ws/connection/{there.id}", token=s.token("root", role="admin")).want(404)
            s.command("tidings", "reconnect", "456")
            equal(here.closed()[0], 1012, "the close")
            there.answers()
            equal(s.api.get(f"/ws/history/{d}?since={there.cursor}", s.token()).want(200)["recovered"], False, "a cursor of the other's")
            done = subprocess.run([s.program("tidings"), "doctor", "--dir", s.share / "sql"], capture_output=True, text=True,
                                  env=s.environment(TIDINGS_DATABASE=other.database, TIDINGS_WS_SOCKET=other.node.socket))
            equal(done.returncode, 0, f"exit status of the doctor ({done.stdout})")
            assert re.search("^cluster: note: the database tidings of this cluster has an installation too, and roles are the whole cluster's", done.stdout, re.M), done.stdout
