"""What a reload (SIGHUP) reads again of the file that the settings come from, and what it says of the rest."""
import os
import re
import signal
import subprocess

from harness import equal, test, wait_until

PROGRAMS = ("api.fcgi", "broadcast.fcgi", "live.fcgi", "history.fcgi", "status.fcgi")
ORIGIN = "https://app.example"


class Settings:
    """A file of settings, of programs that are started with it."""

    def __init__(self, s, **settings):
        self.path = s.folder / s._name("settings")
        self.save(**settings)

    def save(self, **settings):
        self.path.write_text("# settings\n" + "".join(f'{name}="{value}"\n' for name, value in settings.items()))


def count(words, logs):
    return sum(len(re.findall(words, p.read_text(errors="replace"))) for p in logs)


def reload_node(node):
    before = count("keys read", [node.log])
    node.signal(signal.SIGHUP)
    wait_until(lambda: count("keys read", [node.log]) > before, "it to have read everything")


def reload_programs(s, web):
    # A web server that answers may not have started all of them yet.
    wait_until(lambda: all(web.programs(name) for name in PROGRAMS), "the programs to run")
    before = count("JWT keys loaded anew", s.log_files())
    pids = [pid for name in PROGRAMS for pid in web.programs(name)]
    for pid in pids:
        os.kill(pid, signal.SIGHUP)
    wait_until(lambda: count("JWT keys loaded anew", s.log_files()) >= before + len(pids), "them to have read everything")


def named_origin(api, path, token):
    return api.get(path, token, {"Origin": ORIGIN}).headers["Access-Control-Allow-Origin"]


@test("a reload changes a sidecar's origins, limits and level of the log, and drops nobody; what is taken out of the file again is as it was")
def _(s):
    # To raise a limit, every client had to be sent away.
    d = s.diagnosis()
    settings = Settings(s)
    with s.node(TIDINGS_ENVIRONMENT_FILE=settings.path) as node, s.connect(d, server=node) as client:
        origin = lambda: named_origin(node.api, f"/poll/{d}", s.token("admin", "admin"))
        equal(origin(), None, "at first: the origin")
        settings.save(TIDINGS_ALLOWED_ORIGINS=ORIGIN, TIDINGS_USER_CONNECTIONS_MAX=1, TIDINGS_LOG_LEVEL="debug", TIDINGS_CLIENT_RATE=1, TIDINGS_CLIENT_BURST=1,
                      TIDINGS_MESSAGE_MAX=128)
        reload_node(node)
        equal(origin(), ORIGIN, "the origin")
        equal(s.refused(d, server=node)[0], 1008, "one more connection of this user")
        assert " debug: " in node.log.read_text(), "nothing is told in detail"
        for line in ("TIDINGS_ALLOWED_ORIGINS=" + ORIGIN, "TIDINGS_USER_CONNECTIONS_MAX=1", "TIDINGS_MESSAGE_MAX=128"):
            assert f"notice: from now on {line}\n" in node.log.read_text(), line
        for _n in range(10):
            client.send("ping")
        assert "error" in {client.next()["type"] for _n in range(10)}, "a client may say as much as before"
        with s.connect(d, user="admin", token=s.token("admin", "admin"), server=node) as other:
            other.send("x" * 129)
            equal(other.closed()[0], 1009, "a message of more than 128 bytes")
        settings.save()
        reload_node(node)
        equal(origin(), None, "in the end: the origin")
        assert s.lets_in(d, node), "one more connection"
        s.recommend(d)
        while client.next()["type"] != "recommendation_update":
            pass


@test("a reload changes origins and limits of the FastCGI programs, also of what they write into the queue")
def _(s):
    d = s.diagnosis()
    settings = Settings(s)
    with s.web(TIDINGS_ENVIRONMENT_FILE=settings.path) as web:
        large = "x" * 4000
        says = lambda text, want: web.api.post("/ws/send", {"type": "get_thresholds", "correlation_id": text}, s.token()).want(want)
        origin = lambda: named_origin(web.api, f"/ws/history/{d}", s.token())
        s.recommend(d, large, api=web.api)
        equal(origin(), None, "at first: the origin")
        settings.save(TIDINGS_ALLOWED_ORIGINS=ORIGIN, TIDINGS_BODY_MAX=4000, TIDINGS_QUEUE_MAX=2, TIDINGS_QUEUE_MIN_AGE=0)
        reload_programs(s, web)
        equal(origin(), ORIGIN, "the origin")
        s.recommend(d, large, api=web.api, want=413)
        says(large, 413)
        # It is trimmed some 30 at a time.
        many = [{"topic": f"diagnosis/{d}", "type": "n", "data": n} for n in range(60)]
        web.api.post("/ws/publish", many, s.service()).want(200)
        s.recommend(d, api=web.api)
        kept = s.sql(f"select count(*) from tidings.message m join tidings.topic t on t.id = m.topic_id where t.name = 'diagnosis/{d}'")
        assert int(kept[0][0]) < 32, f"{kept} messages are kept"
        settings.save(TIDINGS_PUBLISH_RATE=1, TIDINGS_PUBLISH_BURST=1)
        reload_programs(s, web)
        s.recommend(d, large, api=web.api)
        wait_until(lambda: web.api.post("/ws/broadcast-recommendation-update", {}, s.token()).status == 429, "a publisher to be over the rate")
        wait_until(lambda: web.api.post("/ws/send", {}, s.token()).status == 429, "a user to be over the rate")
        equal(origin(), None, "the origin")
        settings.save()
        reload_programs(s, web)
        s.recommend(d, api=web.api)


@test("what a reload does not change is named in the log, without its value, and only where it has changed; a file in which anything is wrong changes nothing",
      allow="are not read again|cannot be read")
def _(s):
    d = s.diagnosis()
    settings = Settings(s, TIDINGS_WS_PORT=8001)
    with s.node(TIDINGS_ENVIRONMENT_FILE=settings.path) as node, s.web(node, TIDINGS_ENVIRONMENT_FILE=settings.path) as web:
        # Its port is another than the file's, as that of tidings-ws@8002 is.
        settings.save(TIDINGS_WS_PORT=8001, TIDINGS_DATABASE="host=elsewhere password=secret", TIDINGS_THREADS=3)
        reload_node(node)
        reload_programs(s, web)
        for name in ("TIDINGS_DATABASE", "TIDINGS_THREADS"):
            equal(count(f"warning: {name} has changed: that counts from the next start on", [node.log]), 1, f"{name} in the log of the sidecar")
            equal(count(f"warning: {name} has changed: that counts from the next start on", [web.log]), len(PROGRAMS), f"{name} in the logs of the programs")
        for log in (node.log, web.log):
            assert "secret" not in log.read_text() and "TIDINGS_WS_PORT has" not in log.read_text(), log.read_text()
        for wrong, why in (({"TIDINGS_QUEUE_MAX": "many"}, "TIDINGS_QUEUE_MAX must be a whole number"), ({"TIDINGS_NO_SUCH": 1}, "TIDINGS_NO_SUCH is not an option")):
            settings.save(TIDINGS_ALLOWED_ORIGINS=ORIGIN, **wrong)
            reload_node(node)
            reload_programs(s, web)
            equal([count(f"are not read again: {why}", [log]) for log in (node.log, web.log)], [1, len(PROGRAMS)], f"{wrong} in the logs")
            equal(named_origin(node.api, f"/poll/{d}", s.token()), None, "the sidecar's origin")
            equal(named_origin(web.api, f"/ws/history/{d}", s.token()), None, "the programs' origin")
        settings.path.unlink()
        reload_node(node)
        assert "cannot be read: No such file" in node.log.read_text(), "nothing is said of a file that is gone"


@test("a program does not start with a file of settings that is not there, and names it")
def _(s):
    for program in ("tidings-ws", *PROGRAMS):
        done = subprocess.run([s.program(program)], capture_output=True, text=True, timeout=30, stdin=subprocess.DEVNULL,
                              env=s.environment(TIDINGS_ENVIRONMENT_FILE=s.folder / "nowhere.env", TIDINGS_WS_PORT=s.node1.port))
        equal(done.returncode, 2, f"exit status of {program}: {done.stderr}")
        assert "nowhere.env" in done.stderr, done.stderr
