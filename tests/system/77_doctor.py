"""tidings doctor: what is wrong with an installation, each thing really broken, and read in a sentence; and tidings canary."""
import base64
import contextlib
import hashlib
import json
import os
import pwd
import queue
import re
import resource
import shutil
import signal
import socket
import subprocess
import threading

from harness import PG_BIN, TOP, Lock, Process, Silence, Skip, clock_ahead, edited, equal, find_program, free_port, stopped, test, wait_until
from live import combined, notify, person

LOGINS = ("api.fcgi, broadcast.fcgi, live.fcgi", "history.fcgi", "status.fcgi", "tidings-ws")
WELL = ["configuration", "keys", "descriptors", "sidecar here", *(f"login of {programs}" for programs in LOGINS), "server", "roles", "clock", "schema",
        "notifications", "sidecars", "outbox", "publishing"]


def doctor(s, *args, user=None, preexec_fn=None, **settings):
    """Exit status, and what is said of each thing that is not well: {about: [sentences]}."""
    who = {"user": user, "group": user, "extra_groups": []} if user else {}
    # Which may not look into root's folder.
    program = shutil.copy(s.program("tidings"), s.folder)
    env = s.environment(**{"TIDINGS_WS_SOCKET": s.node1.socket, "TIDINGS_LISTEN_DATABASE": "", **settings})
    done = subprocess.run([program, "doctor", "--dir", s.share / "sql", "--json", *map(str, args)], capture_output=True, text=True, env=env, timeout=120,
                          preexec_fn=preexec_fn, **who)
    assert done.stdout, done.stderr
    found = {}
    for line in json.loads(done.stdout):
        found.setdefault(line["check"], [])
        if line["result"] != "ok":
            found[line["check"]].append((line["result"], line["problem"]))
    return done.returncode, {about: problems for about, problems in found.items() if problems}, list(found)


def wait_ready_here(s):
    """A sidecar that looks at itself now and then sees what is broken, and that it is mended, a moment later."""
    wait_until(lambda: s.node1.api.get("/health/ready").status == 200, "the first sidecar to be ready")


@contextlib.contextmanager
def changed(s, change, back):
    s.sql(change)
    try:
        yield
    finally:
        s.sql(back)


@contextlib.contextmanager
def setting(s, name, value):
    """A setting of the server, for a while; each session that begins has it."""
    def wait(sign):
        s.sql("select pg_reload_conf()")
        wait_until(lambda: s.sql(f"select 1 from pg_settings where name = '{name}' and reset_val {sign} '{value}'"), f"{name} to count")

    s.sql(f"alter system set {name} = '{value}'")
    wait("=")
    try:
        yield
    finally:
        s.sql(f"alter system reset {name}")
        wait("<>")


@contextlib.contextmanager
def database(s, options, migrated=False):
    name = s._name("examined")
    s.sql(f"create database {name} {options}", database="postgres")
    if migrated:
        s.command("tidings", "migrate", "--dir", TOP / "sql", TIDINGS_DATABASE=f"host={s.pg_folder} dbname={name} user=postgres")
    try:
        yield {"TIDINGS_DATABASE": f"host={s.pg_folder} dbname={name}"}
    finally:
        s.sql(f"drop database {name}", database="postgres")


@contextlib.contextmanager
def keys(s, name="default.HS256", text="0123456789abcdef" * 4, mode=0o600):
    folder = s.folder / s._name("loose-keys")
    folder.mkdir(mode=0o700)
    (folder / name).write_text(text)
    (folder / name).chmod(mode)
    yield {"TIDINGS_JWT_KEYS": folder}


@contextlib.contextmanager
def no_sidecar(s):
    s.node1.stop()
    try:
        yield
    finally:
        s.replace_node1()
        s.wait_ready()
        wait_ready_here(s)
        # The web server looks only now and then whether one that was away is back.
        wait_until(lambda: s.api.get("/poll/4?timeout=0", s.token()).status == 200, "the web server to find it")


# A thing, broken; what the doctor says it is about; words of its sentence; what else is wrong because of it.
BROKEN = [
    ("a misspelt option", lambda s: {"TIDINGS_QUEUE_MAXX": "5"}, "configuration", ("TIDINGS_QUEUE_MAXX is not an option", "tidings.conf(5)"), ...),
    ("a value out of its limits", lambda s: {"TIDINGS_QUEUE_MAX": "0"}, "configuration", ("TIDINGS_QUEUE_MAX", "from 1 to 100000"), ...),
    ("no keys", lambda s: {"TIDINGS_JWT_KEYS": s.folder / "nowhere"}, "keys", ("nowhere", "TIDINGS_JWT_KEYS", "tidings keys new"), ()),
    ("a key that everybody reads", lambda s: keys(s, mode=0o644), "keys", ("default.HS256 can be read or written by every user", "chmod 600"), ()),
    ("a key that is too short", lambda s: keys(s, text="short"), "keys", ("too short",), ()),
    ("a key that is named wrongly", lambda s: keys(s, name="mykey"), "keys", ("mykey is not named <kid>.<ALG>",), ()),
    ("too few descriptors", lambda s: {"preexec_fn": lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (1000, 1000))}, "descriptors",
     ("may open 1000 files", "needs 12048", "LimitNOFILE"), ()),
    ("another socket than the sidecar's", lambda s: {"TIDINGS_WS_SOCKET": s.folder / "none.sock"}, "sidecar here", ("none.sock", "tidings-ws"), ()),
    ("a server that is not there", lambda s: {"TIDINGS_DATABASE": f"host={s.folder}/nowhere dbname=tidings"}, "login of status.fcgi",
     ("nowhere", "is PostgreSQL started"), tuple(f"login of {p}" for p in LOGINS)),
    ("a database that is not there", lambda s: {"TIDINGS_DATABASE": f"host={s.pg_folder} dbname=none_such"}, "login of history.fcgi",
     ("none_such", "does not exist", "createdb"), tuple(f"login of {p}" for p in LOGINS)),
    ("a database without the schema", lambda s: database(s, ""), "schema", ("there is none", "run tidings migrate"), ("cluster",)),
    ("a database that is not UTF-8", lambda s: database(s, "encoding 'LATIN1' locale 'C' template template0"), "server",
     ("LATIN1", "createdb -E UTF8"), ("schema", "cluster")),
    ("functions older than the programs", lambda s: changed(s, "create table public.kept as select checksum from tidings.code; update tidings.code set checksum = 'other'",
     "update tidings.code set checksum = k.checksum from public.kept k; drop table public.kept"), "schema", ("older", "run tidings migrate"), ()),
    ("tables newer than the programs", lambda s: changed(s, "insert into tidings.migration (version, name, checksum) values (99, '099_later.sql', 'x')",
     "delete from tidings.migration where version = 99"), "schema", ("Upgrade them",), ()),
    ("a role that may not log in", lambda s: changed(s, "alter role tidings_reader nologin", "alter role tidings_reader login"), "roles",
     ("tidings_reader may not log in: ALTER ROLE tidings_reader LOGIN",), ("login of history.fcgi", "schema")),
    ("a role that is not there", lambda s: changed(s, "alter role tidings_status rename to tidings_lost", "alter role tidings_lost rename to tidings_status"), "roles",
     ("there is no role tidings_status: run tidings migrate",), ("login of status.fcgi", "work")),
    ("a role that is a superuser", lambda s: changed(s, "alter role tidings_publisher superuser", "alter role tidings_publisher nosuperuser"), "roles",
     ("tidings_publisher is a superuser", "NOSUPERUSER"), ()),
    ("a role that owns everything", lambda s: changed(s, "grant tidings_owner to tidings_reader", "revoke tidings_owner from tidings_reader"), "roles",
     ("tidings_reader is a member of tidings_owner", "REVOKE"), ()),
    ("a role whose password is over", lambda s: changed(s, "alter role tidings_sidecar valid until '2020-01-01'", "alter role tidings_sidecar valid until 'infinity'"), "roles",
     ("password of tidings_sidecar is no longer valid", "VALID UNTIL"), ()),
    ("an owner who may log in", lambda s: changed(s, "alter role tidings_owner login", "alter role tidings_owner nologin"), "roles", ("ALTER ROLE tidings_owner NOLOGIN",), ()),
    ("rights that were lost", lambda s: changed(s, "revoke execute on function tidings.listen from tidings_sidecar", "grant execute on function tidings.listen to tidings_sidecar"),
     "roles", ("tidings_sidecar may not call tidings.listen()", "DELETE FROM tidings.code"), ("notifications",)),
    ("no fsync", lambda s: setting(s, "fsync", "off"), "server", ("fsync is off: after a power cut", "ALTER SYSTEM SET fsync = on"), ()),
    ("no full_page_writes", lambda s: setting(s, "full_page_writes", "off"), "server", ("full_page_writes is off",), ()),
    ("no synchronous_commit", lambda s: setting(s, "synchronous_commit", "off"), "server", ("synchronous_commit is off", "tidings.publish()"), ()),
    ("a standby that is missing", lambda s: setting(s, "synchronous_standby_names", "nobody"), "publishing", ("is not confirmed in time", "synchronous_standby_names"), ()),
    ("a database that can only be read", lambda s: setting(s, "default_transaction_read_only", "on"), "login of tidings-ws", ("read-only", "primary"),
     tuple(f"login of {p}" for p in LOGINS)),
    ("no notifications", Silence, "notifications", ("none came within 5 s", "TIDINGS_LISTEN_DATABASE"), ()),
    ("notifications of another database", lambda s: {"TIDINGS_LISTEN_DATABASE": f"host={s.pg_folder} dbname=postgres"}, "notifications", ("tidings",), ()),
    ("a clock an hour ahead", lambda s: clock_ahead(s, 3600), "clock", ("the database's is 3", " s behind this machine's", "NTP"), ()),
    ("a clock an hour behind", lambda s: clock_ahead(s, -3600), "clock", ("the database's is 3", " s ahead of this machine's"), ()),
    ("a message that was given up", lambda s: changed(s, "insert into tidings.outbox (deliver_at, topic, body, failed_at) values (now(), 'x', '{}', now())",
     "delete from tidings.outbox where topic = 'x'"), "outbox", ("1 messages were given up", "tidings outbox list --failed"), ()),
    ("no sidecar anywhere", no_sidecar, "sidecars", ("none lives", "systemctl start tidings-ws"), ("sidecar here",)),
]


def breaks(broken, s):
    """A context manager that gives settings: whatever a row of BROKEN has made."""
    made = broken(s)
    return contextlib.nullcontext(made) if isinstance(made, dict) else made


@test("of each of more than thirty things that are broken tidings doctor says in a sentence what is wrong, what to do, and nothing of what is well",
      allow="database|connection|server|commit|standby|statement")
def _(s):
    equal(doctor(s), (0, {}, WELL), "of what is well")
    sentences = set()
    for name, broken, about, words, others in BROKEN:
        wait_ready_here(s)
        with breaks(broken, s) as settings:
            settings = settings if isinstance(settings, dict) else {}
            status, found, _all = doctor(s, **settings)
        assert about in found, f"{name}: {found}"
        sentence = found[about][0][1]
        assert found[about][0][0] == "wrong" and all(word in sentence for word in words), f"{name}: {found[about]}"
        equal(status, 1, f"exit status with {name}")
        if others is not ...:
            # A sidecar may have seen it too by then, and not be ready.
            equal(set(found) - {"sidecar here"}, {about, *others} - {"sidecar here"}, f"what is wrong with {name} ({found})")
        print(f"# {about}: {sentence}")
        sentences.add(sentence)
    assert len(sentences) > 30, f"{len(sentences)} sentences"
    wait_ready_here(s)
    s.wait_ready()
    wait_until(lambda: doctor(s) == (0, {}, WELL), "all to be well again")


@test("tidings doctor says that the outbox stands still, and for how long", allow="messages wait to be relayed")
def _(s):
    with no_sidecar(s):
        s.sql("insert into tidings.outbox (deliver_at, topic, body) values (now() - interval '1 minute', 'diagnosis/1', '{\"type\":\"t\",\"data\":1}')")
        s.sql("update tidings.relay_state set idle_at = '-infinity'")
        status, found, _all = doctor(s)
        assert status == 1 and {"outbox", "sidecars", "sidecar here"} <= set(found), f"exit status {status}, what is wrong: {found}"
        seconds = re.search("1 messages wait to be relayed, the oldest for (\\d+) s", found["outbox"][0][1])[1]
        assert int(seconds) >= 60, found


@test("tidings doctor notes another installation in the same cluster, which is no fault")
def _(s):
    wait_ready_here(s)
    with database(s, "", migrated=True):
        status, found, _all = doctor(s)
    equal((status, [kind for kind, _text in found["cluster"]]), (0, ["note"]), "exit status, and kind")
    assert "has an installation too" in found["cluster"][0][1] and "pg_hba.conf" in found["cluster"][0][1], found


@test("tidings doctor takes the notifications of another installation, which come all the time, for what they are")
def _(s):
    wait_ready_here(s)
    with database(s, "", migrated=True) as other:
        conninfo = other["TIDINGS_DATABASE"]
        psql = subprocess.Popen([PG_BIN / "psql", "-q", conninfo + " user=postgres"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
        try:
            psql.stdin.write("select tidings.ask_reports(array[gen_random_uuid()::text]) \\watch 0.1\n")
            psql.stdin.flush()
            _status, found, _all = doctor(s, TIDINGS_LISTEN_DATABASE=conninfo)
        finally:
            psql.kill()
            psql.communicate()
    assert "none came within 5 s" in found["notifications"][0][1], found


def goes_on(s):
    """A message, and a notification to someone who always has quiet hours, in a time zone of which nothing is known."""
    d, quiet = s.diagnosis(), person(s)
    with s.connect(d) as client, combined(s, s.node1, quiet, "notifications") as live:
        s.recommend(d)
        equal(client.next()["seq"], 1, "seq")
        s.sql(f"""insert into tidings.notification_preference (user_id, quiet_start, quiet_end, time_zone)
            values ('{quiet}', '00:00', '23:59:59', 'Asia/Calcutta') on conflict do nothing""")
        notify(s, quiet)
        live.until("notification")


@test("tidings doctor says that time zone data is gone, and that connections are too few; messages go on meanwhile, and no notification waits for quiet hours", allow="database|connection|away|server")
def _(s):
    if os.geteuid() != 0:
        raise Skip("hiding time zone data from PostgreSQL takes root")
    empty = s.folder / "no-zones"
    empty.mkdir()
    # What is known without any data.
    s.sql("alter system set timezone = 'GMT'")
    s.sql("alter system set log_timezone = 'GMT'")
    s.stop_postgres()
    try:
        for zones, limit, words in ((None, 100, ("no time zone data", "tzdata")), ("Europe", 100, ("Asia/Calcutta", "tzdata-legacy")), (None, 35, ("max_connections leaves 32",))):
            hide = f"mkdir -p {empty}/Europe; cp /usr/share/zoneinfo/Europe/Berlin {empty}/Europe/; " if zones else ""
            # The mount is of this postmaster alone, and goes with it.
            subprocess.run(["unshare", "--mount", "sh", "-c", f"{hide} mount --bind {empty} /usr/share/zoneinfo && exec runuser -u postgres -- {PG_BIN}/pg_ctl -D {s.pg_data} "
                            f"-l {s.pg_folder}/log -o '-c max_connections={limit}' -w start"], check=True, stdout=subprocess.DEVNULL, cwd="/")
            s.postgres_alive = True
            s.wait_ready()
            if limit == 100:
                goes_on(s)
            _status, found, _all = doctor(s)
            said = [text for _kind, text in found["server"]]
            assert any(all(word in text for word in words) for text in said), f"{words}: {said}"
            s.stop_postgres()
    finally:
        if s.postgres_alive:
            s.stop_postgres()
        s.start_postgres()
        s.sql("alter system reset timezone")
        s.sql("alter system reset log_timezone")
        s.sql("select pg_reload_conf()")
        s.wait_ready()
        wait_ready_here(s)


ROUTELESS = """server.modules = ( "mod_fastcgi", "mod_proxy", "mod_rewrite", "mod_setenv" )
server.port = {port}
server.bind = "127.0.0.1"
server.document-root = "{folder}"
"""


@test("tidings doctor --url says which routes a web server lacks, which programs it does not reach, and that none is there", allow="connect|socket|proxy|fastcgi")
def _(s):
    program = find_program("lighttpd")
    port, folder = free_port(), s.folder / s._name("routeless")
    folder.mkdir()
    (folder / "conf").write_text(ROUTELESS.format(port=port, folder=folder))
    equal(doctor(s, "--url", f"http://127.0.0.1:{s.web1.port}"), (0, {}, [*WELL, "web server", "metrics"]), "of what is well")
    web = Process(folder.name, [program, "-D", "-f", folder / "conf"], s.environment(), s.logs)
    with web.ended_unless_begun():
        web.wait_port(port)
    try:
        status, found, _all = doctor(s, "--url", f"http://127.0.0.1:{port}")
    finally:
        web.stop()
    equal((status, set(found)), (1, {"web server", "metrics"}), "without routes")
    said = " ".join(text for _kind, text in found["web server"])
    for name in ("status.fcgi", "api.fcgi", "broadcast.fcgi", "live.fcgi", "history.fcgi", "tidings-ws"):
        assert f"does not hand it on to {name}" in said, said
    _status, found, _all = doctor(s, "--url", f"http://127.0.0.1:{port}")
    assert "is it started" in found["web server"][0][1], found
    with no_sidecar(s):
        _status, found, _all = doctor(s, "--url", f"http://127.0.0.1:{s.web1.port}")
        assert any("does not reach tidings-ws" in text for _kind, text in found["web server"]), found


@contextlib.contextmanager
def silent_sidecar(s):
    with stopped(s.node1.pid):
        yield


@contextlib.contextmanager
def no_file_of(web, program):
    """What status.fcgi finds of that program is gone."""
    files = list(web.folder.glob(f"{program}.*.metrics"))
    assert files, program
    for file in files:
        file.rename(file.with_suffix(".away"))
    try:
        yield
    finally:
        for file in files:
            file.with_suffix(".away").rename(file)


@test("tidings doctor --url says what Prometheus would not be told, and why: by a sidecar that hangs, a web server that has no such route, programs and a queue of which nothing is known, "
      "and who may not ask", allow="database|heartbeat")
def _(s):
    admins = {"TIDINGS_METRICS": "token"}
    with s.web(TIDINGS_DATABASE_TIMEOUT=60000) as web, s.web(TIDINGS_METRICS="off") as off, s.node(**admins) as node, s.web(node, **admins) as token:
        there = {"TIDINGS_WS_SOCKET": node.socket, **admins}
        for name, broken, of, settings, kind, words in (
                ("a sidecar that hangs", lambda: silent_sidecar(s), s.web1, {}, "wrong", (f"/metrics on {s.node1.socket} is not answered within 5 s", "tidings-ws")),
                ("metrics that are off", contextlib.nullcontext, off, {}, "wrong", ("/metrics is answered with 404", "TIDINGS_METRICS=off")),
                ("metrics that are off here too", contextlib.nullcontext, off, {"TIDINGS_METRICS": "off"}, "note", ("no alert fires",)),
                ("a queue of which nothing is known", lambda: Lock(s, "tidings.topic"), web, {}, "wrong", ("tells nothing of the queue", "status.fcgi within a second")),
                ("a program of which nothing is known", lambda: no_file_of(s.web1, "broadcast"), s.web1, {}, "wrong", ("tells nothing of broadcast.fcgi", "TIDINGS_STATE")),
                ("metrics for admins, and no such setting here", contextlib.nullcontext, token, {}, "wrong", ("is answered with 401", "another TIDINGS_METRICS")),
                ("metrics for admins, and no keys", contextlib.nullcontext, token, {**there, "TIDINGS_JWT_KEYS": s.folder / "nowhere"}, "not looked at", ("takes an admin's token",)),
                ("metrics for admins", contextlib.nullcontext, token, there, None, ())):
            wait_ready_here(s)
            with broken():
                _status, found, every = doctor(s, "--url", f"http://127.0.0.1:{of.port}", **settings)
            assert every[-1] == "metrics", every
            said = found.get("metrics", [(None, "")])
            assert any(what == kind and all(word in sentence for word in words) for what, sentence in said), f"{name}: {said}"
            print(f"# metrics: {said[0][1]}")


@contextlib.contextmanager
def let_in(s, system_roles):
    """Who of the system may log in as what, for a while."""
    ident = s.pg_data / "pg_ident.conf"
    before = ident.read_text()

    def write(text):
        # At once: a reload that is still on its way would find half of it, and let in nobody to ask for another.
        new = ident.with_suffix(".new")
        new.write_text(text)
        shutil.copymode(ident, new)
        shutil.chown(new, ident.stat().st_uid, ident.stat().st_gid)
        new.rename(ident)
        s.sql("select pg_reload_conf()")

    write("".join(f"tidings {user} {role}\n" for user, role in system_roles) + f"tidings {pwd.getpwuid(os.geteuid()).pw_name} postgres\n")
    try:
        yield
    finally:
        write(before)


@test("tidings doctor tells what this user may not look at, and that the rest is well: exit status 3")
def _(s):
    me = pwd.getpwuid(os.geteuid()).pw_name
    # As the programs' user where one line of pg_ident.conf was left out.
    with let_in(s, [(me, role) for role in ("tidings_publisher", "tidings_reader", "tidings_status")]):
        status, found, _all = wait_until(lambda: (c := doctor(s))[0] and c, "the line to count")
        equal((status, {kind for problems in found.values() for kind, _text in problems}), (3, {"not looked at"}), "exit status, and kinds")
        equal(set(found), {"login of tidings-ws", "notifications"}, "what was not looked at")
        assert "pg_ident.conf" in found["login of tidings-ws"][0][1], found
    if os.geteuid() == 0:
        # As the login of migrate, which may not read keys, and is none of the roles.
        with let_in(s, [("postgres", "postgres")]):
            status, found, _all = wait_until(lambda: (c := doctor(s, user="postgres", PGUSER="postgres"))[1].get("login of status.fcgi") and c, "the lines to count")
            equal((status, found["keys"][0][0]), (3, "not looked at"), "exit status, and keys")
            assert "schema" not in found and "server" not in found, found
    with let_in(s, [(me, role) for role in ("tidings_publisher", "tidings_reader", "tidings_status", "tidings_sidecar")]):
        named = doctor(s, TIDINGS_DATABASE=s.conninfo + " user=postgres")
        equal((named[0], {kind for problems in named[1].values() for kind, _text in problems}), (0, {"note"}), "with a user in TIDINGS_DATABASE")


@test("tidings doctor finds nothing wrong with the web server where its address ends in /")
def _(s):
    _status, found, looked_at = doctor(s, "--url", f"http://127.0.0.1:{s.web1.port}/")
    equal(("web server" in looked_at, found.get("web server")), (True, None), "the web server")


@test("tidings doctor says it to people in lines, as it goes on")
def _(s):
    done = subprocess.run([s.program("tidings"), "doctor", "--dir", s.share / "sql"], capture_output=True, text=True,
                          env=s.environment(TIDINGS_WS_SOCKET=s.node1.socket, TIDINGS_JWT_KEYS=s.folder / "nowhere"))
    lines = done.stdout.splitlines()
    equal((done.returncode, [line.split(":")[0] for line in lines]), (1, WELL), "exit status, and lines")
    equal([line for line in lines if not line.endswith(": ok")][0].partition(" /")[0], "keys: the folder of keys", "the one that is wrong")


# ---------------------------------------------------------------------------------------------------------------- canary


def canary(s, *args, want=0, **settings):
    done = subprocess.run([s.program("tidings"), "canary", "--json", *map(str, args)], capture_output=True, text=True, timeout=120, env=s.environment(**settings))
    equal(done.returncode, want, f"exit status of {args} ({done.stdout}{done.stderr})")
    return json.loads(done.stdout) if done.stdout else done.stderr


@test("tidings canary subscribes, publishes and compares by WebSocket, event stream and poll, through the web server and without")
def _(s):
    heard = canary(s, "--url", f"http://127.0.0.1:{s.web1.port}")
    equal([(line["transport"], line["result"]) for line in heard], [(way, "ok") for way in ("websocket", "sse", "long-poll")], "what was heard")
    assert all(0 <= line["ms"] < 10000 for line in heard), heard
    equal([line["transport"] for line in canary(s, "--url", f"http://127.0.0.1:{s.web1.port}", "--by", "sse")], ["sse"], "by one alone")
    canary(s, "--url", f"http://127.0.0.1:{s.web1.port}/")
    # What other clients have left in the queue is not taken for it.
    s.api.post("/ws/publish", [{"topic": "canary/mine", "type": "canary", "data": {"n": n}} for n in range(150)], s.service()).want(200)
    canary(s, "--url", f"http://127.0.0.1:{s.web1.port}", "--topic", "canary/mine")
    text = subprocess.run([s.program("tidings"), "canary", "--url", f"http://127.0.0.1:{s.web1.port}"], capture_output=True, text=True, env=s.environment())
    assert text.returncode == 0 and text.stdout.startswith("websocket: ok, "), text


@test("tidings canary sees that what came is not what was published, by its data or by its number")
def _(s):
    url = f"http://127.0.0.1:{s.web1.port}"
    s.sql("create function public.spoil() returns trigger language plpgsql as $$ begin new.body := replace(new.body, 'ä', 'a'); return new; end $$; "
          "create trigger spoil before insert on tidings.message for each row when (new.body like '%canary%') execute function public.spoil()")
    try:
        heard = canary(s, "--url", url, want=1)
        assert all("the data that came are not those" in line["problem"] for line in heard), heard
    finally:
        s.sql("drop trigger spoil on tidings.message; drop function public.spoil()")
    with edited(s, "publish_batch", "\t\t\tv_seqs[i], coalesce", "\t\t\tv_seqs[i] + 1000, coalesce"):
        heard = canary(s, "--url", url, want=1)
        assert all("the seq that came is not the one" in line["problem"] for line in heard), heard


PLAIN_PROXY = """daemon off;
{user}pid {folder}/pid;
error_log stderr crit;
events {{ }}
http {{
access_log off;
client_body_temp_path {folder}/body;
proxy_temp_path {folder}/proxy;
fastcgi_temp_path {folder}/fastcgi;
uwsgi_temp_path {folder}/uwsgi;
scgi_temp_path {folder}/scgi;
server {{
	listen 127.0.0.1:{port};
	location / {{
		{more}proxy_pass http://127.0.0.1:{behind};
		proxy_http_version {version};
	}}
}}
}}
"""


@contextlib.contextmanager
def plain_proxy(s, version="1.1", more=""):
    """The URL of an nginx whose settings say nothing of what comes through it but these."""
    program, port, folder = find_program("nginx"), free_port(), s.folder / s._name("plain-proxy")
    folder.mkdir()
    folder.chmod(0o777)
    (folder / "conf").write_text(PLAIN_PROXY.format(folder=folder, port=port, behind=s.web1.port, version=version, more=more, user="user www-data;\n" if s.pg_user else ""))
    proxy = Process(folder.name, [program, "-e", "stderr", "-c", folder / "conf"], s.environment(), s.logs)
    with proxy.ended_unless_begun():
        proxy.wait_port(port)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        proxy.stop()


@test("tidings canary shows a proxy that hands no WebSocket on, while event streams and polls come through it")
def _(s):
    with plain_proxy(s) as url:
        websocket, sse, poll = canary(s, "--url", url, want=1)
    assert websocket["problem"].startswith("connecting: no upgrade: HTTP/1.1 426"), websocket
    equal((sse["result"], poll["result"]), ("ok", "ok"), "the event stream, and the poll")


@test("tidings canary says that a proxy keeps event streams to itself; polls come through it, and tidings doctor finds nothing wrong with its routes")
def _(s):
    # nginx, which asks by HTTP/1.0 if it is not told otherwise, buffers then unless the reply says otherwise, which ours does.
    with plain_proxy(s, "1.0", "proxy_ignore_headers X-Accel-Buffering; ") as url:
        _websocket, sse, poll = canary(s, "--url", url, want=1)
        wait_until(lambda: doctor(s, "--url", url) == (0, {}, [*WELL, "web server", "metrics"]), "the routes to be well")
    equal(sse["problem"], "connecting: nothing came within 10 s: where polls come through, a proxy in between keeps event streams to itself (nginx: proxy_buffering off)",
          "the event stream")
    equal(poll["result"], "ok", "the poll")


@contextlib.contextmanager
def stranger(answer):
    """A server on a port of its own: what it does with each request, until it ends."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        def serve_one(link):
            with link, contextlib.suppress(OSError):
                head = b""
                while b"\r\n\r\n" not in head:
                    head += link.recv(65536)
                answer(link, head.decode())

        def serve():
            with contextlib.suppress(OSError):
                while True:
                    threading.Thread(target=serve_one, args=listener.accept()[:1], daemon=True).start()

        threading.Thread(target=serve, daemon=True).start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)


@test("tidings canary ends in time, whatever a server sends, and for how long; its tokens are good until then, and of what it is told a terminal obeys nothing")
def _(s):
    def flood(link, head):
        key = re.search(r"(?i)sec-websocket-key: *(\S+)", head)[1]
        proof = base64.b64encode(hashlib.sha1(f"{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11".encode()).digest()).decode()
        link.sendall(f"HTTP/1.1 101 Go\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {proof}\r\n\r\n".encode())
        while True:
            link.sendall(piece)

    # Of small pieces a second may bring as much as of large ones.
    for piece, problems in ((b"\x00\x01a" * 20000, ("nothing came within 1 s", "4 MiB")), (b"\x00\x7f" + (1 << 20).to_bytes(8, "big") + b"a" * (1 << 20), ("4 MiB",))):
        with stranger(flood) as url:
            (line,) = canary(s, "--url", url, "--by", "websocket", "--timeout", 1, want=1)
            assert any(problem in line["problem"] for problem in problems), line
    nonces = queue.SimpleQueue()

    def spoil(link, head):
        if head.startswith("GET /sse"):
            link.sendall(b"HTTP/1.1 200 OK\r\n\r\n: here\n\n")
            link.sendall(b"\0" + nonces.get(timeout=20) + b"\n\n")
        else:
            head += link.recv(65536).decode() if "nonce" not in head else ""
            nonces.put(re.search('"nonce":"([0-9a-f]+)"', head)[1].encode())
            link.sendall(b'HTTP/1.1 200 OK\r\nContent-Length: 23\r\n\r\n{"results":[{"seq":1}]}')

    with stranger(spoil) as url:
        (line,) = canary(s, "--url", url, "--by", "sse", want=1)
        assert "not those that were published" in line["problem"], line
    tokens = []
    with stranger(lambda link, head: (tokens.append(re.search(r"Bearer (\S+)", head)[1]), link.sendall(b"HTTP/1.1 500 \x1b[2J\xc2\x9b\r\n\r\n"))) as url:
        done = subprocess.run([s.program("tidings"), "canary", "--url", url, "--by", "websocket", "--timeout", "50"], capture_output=True, text=True, env=s.environment())
    equal((done.returncode, done.stdout), (4, "websocket: connecting: no upgrade: HTTP/1.1 500 ?[2J?\n"), "what it says")
    claims = json.loads(base64.urlsafe_b64decode(tokens[0].split(".")[1] + "=="))
    assert claims["exp"] - claims["iat"] >= 2 * 3 * 50, claims


@test("tidings canary says what is broken: nobody there, a refused token, a sidecar that is away or hangs, keys that make no token",
      allow="socket|connect|proxy|upstream")
def _(s):
    url = f"http://127.0.0.1:{s.web1.port}"
    for nothing in ("", "ftp://localhost"):
        assert "is no address of a web server" in canary(s, "--url", nothing, want=2)
    heard = canary(s, "--url", f"http://127.0.0.1:{free_port()}", want=4)
    assert all("connect" in line["problem"] for line in heard), heard
    for name, token, problem in (("bad", "x.y.z", "401"), ("nobody", s.token("nobody", role="user"), "403")):
        file = s.folder / f"{name}.jwt"
        file.write_text(token + "\n")
        file.chmod(0o600)
        heard = canary(s, "--url", url, "--publish-token", file, want=1)
        assert all(line["problem"] == f"publishing: it is answered with {problem}" for line in heard), heard
        heard = canary(s, "--url", url, "--listen-token", file, want=1)
        assert all(line["result"] == "failed" for line in heard) and "1008" in heard[0]["problem"] and problem in heard[1]["problem"] and problem in heard[2]["problem"], heard
    file.chmod(0o644)
    assert "every user of this machine" in canary(s, "--url", url, "--listen-token", file, want=1)
    folder = s.folder / "only-public"
    folder.mkdir(mode=0o700)
    shutil.copy(s.keys / "ec.ES256", folder)
    assert "--publish-token" in canary(s, "--url", url, want=1, TIDINGS_JWT_KEYS=folder)
    with s.web(s.node1) as web:
        s.node1.signal(signal.SIGSTOP)
        try:
            heard = canary(s, "--url", f"http://127.0.0.1:{web.port}", "--timeout", 1, want=1)
            assert all("nothing came within 1 s" in line["problem"] for line in heard), heard
        finally:
            s.node1.signal(signal.SIGCONT)
    with no_sidecar(s):
        heard = canary(s, "--url", url, want=1)
        assert all("503" in line["problem"] for line in heard), heard
    s.wait_ready()
