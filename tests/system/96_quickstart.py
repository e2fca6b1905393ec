"""etc/quickstart, as somebody uses it who has just got it: what it prints is done, Ctrl-C, and once more."""
import contextlib
import importlib
import json
import os
import pathlib
import re
import shlex
import shutil
import signal
import socket
import subprocess
import types

from harness import Api, Client, Process, TOP, command_line, descendants, equal, free_port, is_running, test, wait_until

pages = importlib.import_module("93_page")
dashboards = importlib.import_module("93_dashboard")


def environment(s, state, port, ws_port):
    return {**{k: v for k, v in os.environ.items() if not k.startswith(("TIDINGS_", "PG"))}, "TIDINGS_PORT": str(port), "TIDINGS_WS_PORT": str(ws_port),
            "TIDINGS_STATE": str(state), "TIDINGS_BUILD": str(s.program("tidings-ws").parent)}


class Quickstart(Process):
    def __init__(self, s, state, port, ws_port, program=TOP / "etc" / "quickstart", **settings):
        self.state = state
        env = {**environment(s, state, port, ws_port), **settings}
        # Where this runs behind a shell's `&`, Ctrl-C is ignored, and bash would inherit that.
        super().__init__(s._name("quickstart"), ["env", "--default-signal=INT", program], env, s.folder)
        try:
            wait_until(lambda: self.alive() and "Ctrl-C stops everything" in self.text(), "quickstart to be ready", 120)
        except BaseException:
            super().stop(60)
            raise

    def text(self):
        return self.log.read_text(errors="replace")

    def token(self, name):
        return re.search(rf"^\s*{name}=(\S+)$", self.text(), re.M)[1]

    def curl(self, n):
        """The n-th curl command that it prints, as a shell takes it."""
        commands = re.findall(r"^    curl (?:.*\\\n)*.*$", self.text(), re.M)
        env = {**os.environ, "USER_TOKEN": self.token("USER_TOKEN")}
        return subprocess.run(["sh", "-c", commands[n].replace("curl ", "curl -sS --fail-with-body ", 1)], env=env, capture_output=True, text=True, check=True).stdout

    def stop(self, seconds=60):
        self.signal(signal.SIGINT)
        try:
            self.wait(seconds)
        except subprocess.TimeoutExpired:
            super().stop(seconds)
            raise
        for log, last in (("tidings-ws", "notice: stopped"), ("postgresql", "database system is shut down")):
            lines = (self.state / "log" / f"{log}.log").read_text(errors="replace").splitlines()
            assert last in lines[-1], f"{log} was not ended in order: {lines[-3:]}"


@test("quickstart: what it prints works, Ctrl-C ends all of it in order, and a second start has what was there")
def _(s):
    state, port, ws_port = s.folder / "quickstart", free_port(), free_port()
    for turn in (1, 2):
        quick = Quickstart(s, state, port, ws_port)
        with contextlib.ExitStack() as ended:
            ended.callback(quick.stop)
            client = shlex.split(re.search(r"-m websockets (.*)$", quick.text(), re.M)[1])[0].replace("$USER_TOKEN", quick.token("USER_TOKEN"))
            with Client(client) as listening:
                assert '"clients_notified":1' in quick.curl(0).replace(" ", ""), "reply"
                message = listening.next()
                equal((message["seq"], message["data"]["reason"]), (turn, "a first broadcast"), "message")
                assert '"total_connections":1' in quick.curl(1).replace(" ", ""), "/ws/status"
                # As the README has it: by whoever started it, with the settings that it has written.
                for verb in ("status", f"canary --url http://localhost:{port}", "doctor --dir sql", "tail --help"):
                    done = subprocess.run(["sh", "-c", f"set -a; . {state}/tidings.env; set +a; exec {s.program('tidings')} {verb}"], capture_output=True, text=True, cwd=TOP,
                                          env={k: v for k, v in os.environ.items() if not k.startswith(("TIDINGS_", "PG"))})
                    equal(done.returncode, 0, f"exit status of tidings {verb} ({done.stdout}{done.stderr})")
            for name in ("openapi", "asyncapi"):
                assert name in Api(port).get(f"/{name}.json").want(200), name


def refused(s, pattern, place=TOP, without=(), user=None, **settings):
    """It ends with one sentence, before there is a database, a key or a log."""
    state = s.folder / "refused"
    env = {**environment(s, state, free_port(), free_port()), **{k: str(v) for k, v in settings.items()}}
    done = subprocess.run([place / "etc" / "quickstart"], env={k: v for k, v in env.items() if k not in without}, capture_output=True, text=True, timeout=60, user=user)
    equal((done.returncode, done.stdout, done.stderr.count("\n")), (1, "", 1), f"status and output, with {done.stderr!r}")
    assert re.search(pattern, done.stderr), done.stderr
    assert not state.exists() or {p.name for p in state.iterdir()} <= {"lock"}, list(state.iterdir())


@test("quickstart: a port that is none or taken, in IPv4 or IPv6, and a path that cannot be built in are refused before anything is done")
def _(s):
    for port, why in (("08010", "is no port"), ("0", "is no port"), ("65536", "is no port")):
        refused(s, f"^quickstart: TIDINGS_WS_PORT={port} {why}", TIDINGS_WS_PORT=port)
    for family, address in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
        for name in ("TIDINGS_PORT", "TIDINGS_WS_PORT"):
            with socket.socket(family) as holder:
                # Nobody listens there: a connection would be refused as at a free port.
                holder.bind((address, 0))
                port = holder.getsockname()[1]
                refused(s, f"port {port} is taken by another program: stop that, or set {name}", **{name: port})
    if s.pg_user and s.share == TOP:
        refused(s, "user 4321 has no name", user=4321)
    place = s.folder / "my tidings"
    shutil.copytree(TOP / "etc", place / "etc")
    refused(s, "cannot be built in: move this copy to a path of letters", place, without=("TIDINGS_BUILD", "TIDINGS_STATE"))


def reached(host, port):
    try:
        socket.create_connection((host, port)).close()
    except ConnectionRefusedError:
        return False
    return True


@test("quickstart: TIDINGS_ADDRESS lets others in, to the web server alone, by the addresses that are printed; without it nobody else is")
def _(s):
    state, port, ws_port = s.folder / "network", free_port(), free_port()
    for address, other in ((None, None), ("127.0.0.2", "127.0.0.2"), ("0.0.0.0", "127.0.0.3"), ("::", "127.0.0.4")):
        quick = Quickstart(s, state, port, ws_port, **({"TIDINGS_ADDRESS": address} if address else {}))
        with contextlib.ExitStack() as ended:
            ended.callback(quick.stop)
            printed = re.findall(rf"^  on the network +http://\[?(.*?)\]?:{port}$", quick.text(), re.M)
            assert '"total_connections"' in quick.curl(1), "localhost"
            if address is None:
                equal((printed, [reached(h, port) for h in ("127.0.0.2", *addresses())]), ([], [False] * (1 + len(addresses()))), "others")
                continue
            equal(printed, [other] if address == other else [a for a in addresses() if address == "::" or ":" not in a], "addresses that are printed")
            assert "There is no TLS" in quick.text(), quick.text()
            for host in {other, *printed}:
                at = f"[{host}]" if ":" in host else host
                api, origin = Api(port, host=host), {"Origin": f"http://{at}:{port}"}
                for path in ("/", "/admin", "/docs", "/dashboard?diagnosis=123", "/demo/"):
                    equal(Api(port, described=False, host=host).get(path).status, 200, f"status of {path} at {host}")
                with Client(f"ws://{at}:{port}/ws/123?token={quick.token('USER_TOKEN')}", headers=origin) as listening:
                    s.recommend(123, host, token=quick.token("USER_TOKEN"), api=api, headers=origin)
                    equal(listening.next()["data"]["reason"], host, f"message at {host}")
                assert not reached(host, ws_port), f"the sidecar is at {host}"


def addresses():
    """Of this machine, on its networks."""
    return subprocess.run(["hostname", "-I"], capture_output=True, text=True, check=True).stdout.split()


@test("quickstart: an address that is none, or another machine's, is refused, and so is a port that another program has at that address")
def _(s):
    for address in ("localhost", "192.0.2", "203.0.113.7", "2001:db8::7", "127.0.0.2:80", '127.0.0.1" x'):
        refused(s, f"^quickstart: TIDINGS_ADDRESS={re.escape(address)} is no address of this machine: 127.0.0.1 ", TIDINGS_ADDRESS=address)
    with socket.socket() as holder:
        holder.bind(("127.0.0.2", 0))
        port = holder.getsockname()[1]
        for address in ("127.0.0.2", "0.0.0.0", "::"):
            refused(s, f"port {port} is taken by another program: stop that, or set TIDINGS_PORT", TIDINGS_PORT=port, TIDINGS_ADDRESS=address)


@test("quickstart: a database of yours that is not UTF-8, or does not let the roles of the programs in, is refused before it is migrated")
def _(s):
    s.sql("create database latin encoding 'LATIN1' locale 'C' template template0", database="postgres")
    s.sql("create database closed", database="postgres")
    s.sql("revoke connect on database closed from public", database="postgres")
    refused(s, "the encoding of your database is LATIN1, and UTF8 is needed: createdb --encoding=UTF8",
            TIDINGS_DATABASE=f"host={s.pg_folder} dbname=latin", PGUSER="postgres")
    refused(s, "must be let into your database as tidings_publisher: .*permission denied for database",
            TIDINGS_DATABASE=f"host={s.pg_folder} dbname=closed", PGUSER="postgres")
    refused(s, "a role that may create roles is needed: .*nobody_at_all", TIDINGS_DATABASE=f"host={s.pg_folder} dbname=closed", PGUSER="nobody_at_all")
    equal(s.sql("select to_regnamespace('tidings') is null", database="closed"), [["t"]], "nothing has been migrated")


@test("quickstart: started through a link, on a state that a chmod -R has opened for all")
def _(s):
    state, port, ws_port = s.folder / "opened", free_port(), free_port()
    Quickstart(s, state, port, ws_port).stop()
    subprocess.run(["chmod", "-R", "a+rX", state], check=True)
    link = s.folder / "tidings-quickstart"
    link.symlink_to(TOP / "etc" / "quickstart")
    Quickstart(s, state, port, ws_port, link).stop()


def waits_for(pid, number):
    """A signal that was sent to a process that is stopped."""
    pending = re.search(r"^ShdPnd:\s*(\w+)$", pathlib.Path(f"/proc/{pid}/status").read_text(), re.M)[1]
    return int(pending, 16) >> (number - 1) & 1


@test("quickstart: whichever ends by itself, and however, is named, and nothing of the rest is left behind")
def _(s):
    state, port, ws_port = s.folder / "quickstart", free_port(), free_port()
    for name, program in (("lighttpd", r"lighttpd -D"), ("tidings-ws", r"/tidings-ws"), ("postgresql", r"/postgres -D")):
        quick = Quickstart(s, state, port, ws_port)
        with quick.ended_unless_begun():
            # One that answers has asked to be told of its parent's end.
            Api(port).get("/ws/history/1").want(401)
            everything = descendants(quick.pid)
            found = [p for p in everything if re.search(program, command_line(p))]
            equal(len(found), 1, f"processes of {name}")
            stuck = [p for p in descendants(found[0]) if "history.fcgi" in command_line(p)]
            with contextlib.ExitStack() as free:
                for p in stuck:
                    os.kill(p, signal.SIGSTOP)
                    free.callback(os.kill, p, signal.SIGCONT)
                os.kill(found[0], signal.SIGKILL)
                # lighttpd's programs go with it; one that cannot must be waited for.
                for p in stuck:
                    wait_until(lambda: waits_for(p, signal.SIGTERM), "a program that is stuck to be told to end")
            equal(quick.wait(60), 1, "exit status")
            assert f"quickstart: {name} has ended by itself" in quick.text(), quick.text()
            # PostgreSQL's own are in no group of ours, and see by themselves that it is gone.
            wait_until(lambda: not any(is_running(p) for p in everything), f"all to end with {name}")


@test("quickstart: a day of feedback that the page plays is in the database afterwards, and on the dashboard, which has a year of it from the first")
def _(s):
    state, port, ws_port = s.folder / "day", free_port(), free_port()
    quick = Quickstart(s, state, port, ws_port)
    with contextlib.ExitStack() as ended:
        ended.callback(quick.stop)
        place = types.SimpleNamespace(web=types.SimpleNamespace(port=port))
        dashboard = ended.enter_context(dashboards.opened(s, place, 123, token=quick.token("USER_TOKEN"), **pages.WIDE))
        dashboard.wait_text("#figures", "Rating [\\d.]+ of 5")
        before = dashboard.text("#figures")
        page = ended.enter_context(pages.opened(s, place, path="/demo?seconds=6", **pages.PHONE))
        page.on("#play", "click")
        page.wait_text("#error", "token")
        page.on("#token", "fill", quick.token("SERVICE_TOKEN"))
        page.on("#play", "click")
        page.wait_text("#said", "Patient \\d+: \\w+, [1-5] of 5")
        page.wait_text("#status", "The day is over: 120 answers.")
        equal(page.text("#error"), "", "what went wrong")
        equal(page.do("axe", pages.AXE_S), [], "what axe finds")
        page.fits("the page")
        count = subprocess.run(["psql", "-qXAt", "-h", state / "run", "-U", "postgres", "-d", "tidings", "-c",
                                "select count(*) filter (where created_at > now() - interval '10 minutes'), count(*) filter (where diagnosis_id = 123) from tidings.feedback"],
                               capture_output=True, text=True, check=True).stdout.strip().split("|")
        equal(count[0], "120", "answers in the database")
        dashboard.wait_text("#figures", f"\\b{count[1]} answers")
        assert dashboard.text("#figures") != before, before
        for name, shown in (("demo", page), ("demo-dashboard", dashboard)):
            if dashboards.LOOK_AT:
                shown.do("shoot", to=str(pathlib.Path(dashboards.LOOK_AT) / f"{name}.png"))


@test("quickstart: what doc/integration.md says of one feedback is answered, and told, as it stands there")
def _(s):
    guide = (TOP / "doc" / "integration.md").read_text()
    blocks = re.findall(r"^```(sh|json)\n(.*?)^```$", guide, re.M | re.S)
    state, port, ws_port = s.folder / "guide", free_port(), free_port()
    quick = Quickstart(s, state, port, ws_port)
    with contextlib.ExitStack() as ended:
        ended.callback(quick.stop)
        env = {**os.environ, "USER_TOKEN": quick.token("USER_TOKEN")}

        def said(command):
            done = subprocess.run(["sh", "-c", command.replace("curl ", "curl --fail-with-body ", 1).replace(":8000", f":{port}")], env=env, capture_output=True, text=True)
            equal(done.returncode, 0, f"exit status of {command} ({done.stdout}{done.stderr})")
            return json.loads(done.stdout)

        with Client(f"ws://127.0.0.1:{port}/ws?topics=diagnosis/123&token={env['USER_TOKEN']}") as listening:
            answer, heard = None, 0
            for kind, text in blocks:
                if kind == "sh":
                    answer = said(text)
                    continue
                wanted = json.loads(text)
                got = listening.next() if "type" in wanted else answer
                heard += "type" in wanted
                equal(members(got), members(wanted), "members")
                equal({k: got[k] for k in ("type", "seq", "status") if k in got}, {k: wanted[k] for k in ("type", "seq", "status") if k in wanted}, "what it is")
                if wanted.get("type") == "recommendation_proposed":
                    equal((got["data"]["herb"], got["data"]["recommendation_id"]), ("Peppermint", 1), "what is proposed")
        equal(heard, 4, "messages")


def members(told):
    """Of an object and of its data."""
    return sorted(told), sorted(told.get("data", ()))
