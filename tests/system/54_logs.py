"""Lines of the log, one structure everywhere: what they are about, as JSON too; ids of requests; addresses behind proxies; the audit trail in a place of its own."""
import importlib
import json
import os
import re
import signal
import subprocess
import uuid

from harness import RawClient, Skip, command_line, descendants, edited, equal, free_port, port_open, test, wait_until

metrics = importlib.import_module("31_metrics")
web_servers = importlib.import_module("95_web_servers")

CLIENT, OTHER = "203.0.113.9", "2001:db8:2::7"
PROXIES = "127.0.0.1, 10.0.0.0/8, unix"
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
TRACEPARENT = f"00-{TRACE}-00f067aa0ba902b7-01"


def pairs(line):
    return {k: v.strip('"') for k, v in re.findall(r' (\w+)=("[^"]*"|\S+)', line)}


def lines_with(log, *texts):
    return [pairs(line) for line in log.read_text(errors="replace").splitlines() if all(t in line for t in texts)]


def lines_of(log, count, *texts):
    """So many, once they are there: a thread of the program writes them."""
    wait_until(lambda: len(lines_with(log, *texts)) >= count, f"{count} lines with {texts} in {log.name}")
    found = lines_with(log, *texts)
    equal(len(found), count, f"lines with {texts} in {log.name}")
    return found


def line_with(log, *texts):
    return lines_of(log, 1, *texts)[0]


@test("as JSON every line of every program is one object: time, level, program, pid, msg, and what logfmt has as pairs")
def _(s):
    user = 'x" "outcome":"ok'
    d = s.diagnosis(owner=user)
    quiet = {"TIDINGS_LOG_FORMAT": "json", "TIDINGS_LOG_LEVEL": "debug"}
    with s.node(**quiet) as node, s.web(node, **quiet) as web:
        with s.connect(d, token=s.token(user), server=node) as client:
            s.recommend(d, "never in a log", token=s.token(user), api=web.api)
            client.next()
        web.api.post("/ws/publish", {}, s.token(user)).want(403)
        web.api.post("/ws/publish", {}).want(401)
        wait_until(lambda: '"event":"disconnect"' in node.log.read_text(), "the disconnect")
        of_node = node.log.read_text().splitlines()
        of_web = [line for line in web.log.read_text().splitlines() if line.startswith("{")]
    for line in (*of_node, *of_web):
        line = json.loads(line)
        equal([*line][:5], ["time", "level", "program", "pid", "msg"], f"the first members of {line}")
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line["time"]), line
        assert all(isinstance(v, str) for k, v in line.items() if k != "pid"), line
    equal({json.loads(line)["program"] for line in of_web}, {"api.fcgi", "broadcast.fcgi", "live.fcgi", "status.fcgi", "history.fcgi"}, "programs that lighttpd has started")
    audit = [json.loads(line) for line in (*of_node, *of_web) if '"msg":"audit"' in line]
    connected = next(a for a in audit if a.get("connection") == client.id and a["event"] == "authenticate")
    equal((connected["level"], connected["user"], connected["role"], connected["client"], connected["outcome"]), ("notice", user, "user", "127.0.0.1", "ok"), "the connection")
    published = next(a for a in audit if a["event"] == "publish" and a["outcome"] == "ok")
    equal((published["user"], published["topic"], published["seq"], published["client"]), (user, f"diagnosis/{d}", "1", "127.0.0.1"), "what was published")
    closing = [json.loads(line) for line in of_node if '"msg":"closing"' in line]
    assert any(c.get("connection") == client.id and c["user"] == user for c in closing), closing
    assert "never in a log" not in "".join((*of_node, *of_web))


@test("a request is found again by the id that it brings, or is given: in the answer, and in the line of each thing that it caused")
def _(s):
    d = s.diagnosis()
    log = s.web1.log

    def publish(**headers):
        return s.api.post("/ws/publish", [{"topic": f"diagnosis/{d}", "type": "note", "data": n} for n in range(2)], s.service(), headers=headers)

    given = f"order-{uuid.uuid4()}"
    reply = publish(**{"X-Request-Id": given})
    equal(reply.headers["X-Request-Id"], given, "the id in the answer")
    equal([x["seq"] for x in lines_of(log, 2, f" request={given}")], ["1", "2"], "messages of the request in the log")
    traced = publish(traceparent=TRACEPARENT, **{"X-Request-Id": f"{given}-2"})
    equal(traced.headers["X-Request-Id"], f"{given}-2", "the id in the answer")
    equal({x["trace"] for x in lines_of(log, 2, f" request={given}-2")}, {TRACE}, "traces in the log")
    equal(publish(traceparent=TRACEPARENT).headers["X-Request-Id"], TRACE, "the id where there is a trace alone")
    own = publish().headers["X-Request-Id"]
    uuid.UUID(own)
    lines_of(log, 2, f" request={own}")
    # Refused, by whomever.
    for path, token in (("/ws/publish", None), ("/ws/publish", "x.y.z"), ("/ws/send", s.token()), ("/ws/user/1/reconnect", s.token())):
        id = uuid.uuid4().hex
        refused = s.api.post(path, {}, token, headers={"X-Request-Id": id})
        assert refused.status >= 400 and refused.headers["X-Request-Id"] == id, refused
        line_with(log, f" request={id}")
    for path in ("/ws/status", "/ws/history/1", "/health", "/ws/nothing/there"):
        assert s.api.get(path, s.token(), {"X-Request-Id": given}).headers["X-Request-Id"] == given, path


@test("what went wrong while a program served somebody is found by the user, and by the request", allow="not now|database error")
def _(s):
    d, user, id = s.diagnosis(), f"u-{uuid.uuid4()}", uuid.uuid4().hex
    with edited(s, "history", "begin", "begin raise exception 'not now';"):
        equal(s.api.get(f"/ws/history/{d}", s.token(user), {"X-Request-Id": id}).status, 500, "status")
    line = line_with(s.web1.log, "database error", f"request={id}")
    equal((line["user"], line["client"]), (user, "127.0.0.1"), "whose it was")
    # In the audit trail each is there once.
    s.api.post("/ws/publish", {"topic": f"diagnosis/{d}", "type": "note", "data": 1}, s.token(user, role="service"), headers={"X-Request-Id": id})
    lines_of(s.web1.log, 1, f" user={user} ", f" request={id}", "event=publish")
    equal(len(re.findall(rf"event=publish.* user={user}.* user=", s.web1.log.read_text())), 0, "lines that name the user twice")


@test("what could break a header or a line, is too long or may be a token, is no id of a request: another is given, and it is in no log")
def _(s):
    d = s.diagnosis()
    for bad in ("two words", "x" * 65, s.token(), 'a"b', "a;b", "\u00e9".encode().decode("latin-1"), "", "<b>", "a,b"):
        reply = s.api.post("/ws/publish", {"topic": f"diagnosis/{d}", "type": "note", "data": 1}, s.service(), headers={"X-Request-Id": bad, "traceparent": bad})
        uuid.UUID(reply.headers["X-Request-Id"])
        if len(bad) > 3:
            assert bad not in s.web1.log.read_text(), bad


@test("the sidecar takes the id of a request too: in its answers, and in the line of the connection")
def _(s):
    d = s.diagnosis()
    for path, headers in ((f"/poll/{d}?timeout=0", {}), ("/nothing", {}), (f"/poll/{d}?timeout=x", {}), ("/poll/1?timeout=0", {"Authorization": "Bearer x"})):
        id = uuid.uuid4().hex
        reply = s.node1.api.get(path, None if headers else s.token(), {"X-Request-Id": id, **headers})
        equal(reply.headers["X-Request-Id"], id, f"the id in the answer of {path}")
    id = uuid.uuid4().hex
    with RawClient(s.node1.port, s.ws_path(d, s.token()), [f"X-Request-Id: {id}"]) as client:
        connection = client.next()["data"]["connection_id"]
        equal(line_with(s.node1.log, "event=connect", f"request={id}")["connection"], connection, "the connection in the log")
    assert "X-Request-Id" not in s.node1.api.get(f"/poll/{d}?timeout=0", s.token(), {"X-Request-Id": "two words"}).headers


FORWARDED = (
    # what comes, from a proxy that is trusted, and who it is
    ({}, "127.0.0.1"),
    ({"X-Forwarded-For": CLIENT}, CLIENT),
    ({"X-Forwarded-For": f"6.6.6.6, {CLIENT}, 10.0.0.2"}, CLIENT),
    ({"X-Forwarded-For": f"[{OTHER}]:4711"}, OTHER),
    ({"X-Forwarded-For": "6.6.6.6, unknown"}, "127.0.0.1"),
    ({"Forwarded": f'for=6.6.6.6, for="[{OTHER}]:4711";proto=https, for=10.0.0.2'}, OTHER),
    ({"Forwarded": f'for="6.6.6.6, for={CLIENT}'}, CLIENT),
    ({"Forwarded": "for=6.6.6.6", "X-Forwarded-For": CLIENT}, "127.0.0.1"),
    ({"Forwarded": f"for={CLIENT}", "X-Forwarded-For": f"6.6.6.6, {CLIENT}"}, CLIENT),
)


def client_of_publish(s, web, headers):
    id = uuid.uuid4().hex
    web.api.post("/ws/publish", {"topic": "x", "type": "note", "data": 1}, s.service(), headers={**headers, "X-Request-Id": id}).want(200)
    log = getattr(web, "broadcast", web).log
    return line_with(log, "event=publish", f"request={id}")["client"]


def client_of_connection(s, port, path, node, headers):
    with RawClient(port, path, [f"{k}: {v}" for k, v in headers.items()]) as raw:
        id = raw.next()["data"]["connection_id"]
        return line_with(node.log, "event=connect", id)["client"]


@test("behind proxies that are trusted the client's address is in the log, from either header, read from the right; nobody else is believed")
def _(s):
    d = s.diagnosis()
    with s.node(TIDINGS_TRUSTED_PROXIES=PROXIES) as node, s.web(node, TIDINGS_TRUSTED_PROXIES=PROXIES) as web:
        for headers, client in FORWARDED:
            equal(client_of_publish(s, web, headers), client, f"whose request it is, with {headers}")
            equal(client_of_connection(s, node.port, s.ws_path(d, s.token()), node, headers), client, f"whose connection it is, with {headers}")
    for headers, _client in FORWARDED:
        equal(client_of_publish(s, s.web1, headers), "127.0.0.1", f"to a web server that trusts nobody, with {headers}")
        equal(client_of_connection(s, s.node1.port, s.ws_path(d, s.token()), s.node1, headers), "127.0.0.1", f"to a sidecar that trusts nobody, with {headers}")


@test("a header that FastCGI cannot tell from a proxy's is not believed, nor is the one that the proxies do not write")
def _(s):
    with s.web(TIDINGS_TRUSTED_PROXIES=PROXIES, TIDINGS_PROXY_HEADER="x-forwarded-for") as web:
        # lighttpd may refuse it, or pass on one of both: then there is only one.
        for headers in ({"X_Forwarded_For": "6.6.6.6", "X-Forwarded-For": CLIENT}, {"X-Forwarded-For": CLIENT, "X_Forwarded_For": "6.6.6.6"}):
            assert client_of_publish(s, web, headers) in (CLIENT, "127.0.0.1")
        equal(client_of_publish(s, web, {"Forwarded": "for=6.6.6.6"}), "127.0.0.1", "by the header that is not read")
        equal(client_of_publish(s, web, {"Forwarded": "for=6.6.6.6", "X-Forwarded-For": CLIENT}), CLIENT, "by the one that is")


@test("behind each web server the sidecar's log has the client's address, and whatever a client claims is not believed")
def _(s):
    d = s.diagnosis()
    for kind in (web_servers.lighttpd, web_servers.nginx_by_path, web_servers.apache_by_path):
        with s.node(TIDINGS_TRUSTED_PROXIES="unix") as node, web_servers.web_server(s, kind, node) as web:
            for headers in ({}, {"X-Forwarded-For": "6.6.6.6"}, {"X-Forwarded-For": "unix, 127.0.0.1"}, {"Forwarded": "for=6.6.6.6"}):
                equal(client_of_connection(s, web.port, s.ws_path(d, s.token()), node, headers), "127.0.0.1", f"by {kind.__name__}, with {headers}")
                equal(client_of_publish(s, web, headers), "127.0.0.1", f"of FastCGI by {kind.__name__}, with {headers}")


@test("a line about a connection says which one, whose, and from where")
def _(s):
    d = s.diagnosis()
    with s.node(TIDINGS_BAD_MESSAGES_MAX=1) as node, s.connect(d, server=node) as client:
        client.send("{")
        client.send("{")
        equal(client.closed()[0], 1008, "the close")
        line = line_with(node.log, "closing a client that sends bad messages")
        equal((line["connection"], line["user"], line["client"]), (client.id, "456", "127.0.0.1"), "what it is about")


@test("a poller that does not come back is in the audit trail with where it was")
def _(s):
    d = s.diagnosis()
    with s.node(TIDINGS_POLL_GRACE=1, TIDINGS_TRUSTED_PROXIES=PROXIES) as node:
        node.api.get(f"/poll/{d}?timeout=0", s.token(), {"X-Forwarded-For": CLIENT}).want(200)
        line = line_with(node.log, "event=disconnect")
        equal((line["transport"], line["user"], line["client"]), ("long_poll", "456", CLIENT), "the line")


@test("the audit trail in a file of its own: all programs share it, and a reload begins a new one")
def _(s):
    d = s.diagnosis()
    place = s.folder / "audit.log"
    moved = s.folder / "audit.log.1"
    where = {"TIDINGS_AUDIT_LOG": place}
    with s.node(**where) as node, s.web(node, **where) as web:
        with s.connect(d, server=node) as client:
            s.recommend(d, api=web.api)
        # Each program writes when its loop leaves it the time: who comes last is not known.
        for event in ("connect", "authenticate", "subscribe", "publish", "disconnect"):
            wait_until(lambda: f" notice: audit event={event} " in place.read_text(), f"the {event}")
        text = place.read_text()
        assert " audit " not in node.log.read_text() + web.log.read_text()
        equal(place.stat().st_mode & 0o777, 0o640, "the file's mode")
        place.rename(moved)
        for pid in (node.pid, *web.programs("broadcast.fcgi")):
            os.kill(pid, signal.SIGHUP)
        wait_until(lambda: "keys read" in node.log.read_text() and "JWT keys loaded anew" in web.log.read_text(), "the reload")
        with s.connect(d, server=node) as client:
            s.recommend(d, api=web.api)
        wait_until(lambda: place.exists() and "event=publish" in place.read_text() and f"event=disconnect connection={client.id}" in place.read_text(), "the new file")
        equal(moved.read_text(), text, "the old file")


# A journal and a /dev/log of its own, in a namespace of mounts that ends with what runs in it.
IN_A_NAMESPACE = """set -e
mount --rbind /dev {folder}
mount -t tmpfs none /dev
for name in null zero full random urandom tty; do touch /dev/$name; mount --bind {folder}/$name /dev/$name; done
mount -t tmpfs none /run
mkdir -p /run/systemd/journal /run/log/journal
ln -s /run/systemd/journal/dev-log /dev/log
{journald} &
until [ -S /run/systemd/journal/socket ] && [ -S /run/systemd/journal/dev-log ]; do sleep 0.05; done
{tidings} || status=$?
journalctl --sync || true
for match in TIDINGS_USER=456 SYSLOG_FACILITY=10; do journalctl -D /run/log/journal -q -o json --no-pager $match; done
kill %1
exit ${{status:-0}}
"""


def journal_of(s, place, d):
    """Lines of the audit trail of a sidecar that one client of that diagnosis has come to, as the journal has them."""
    journald = "/lib/systemd/systemd-journald"
    allowed = subprocess.run(["unshare", "--mount", "true"], capture_output=True).returncode == 0
    if not allowed or not os.path.exists(journald):
        raise Skip("no journal of one's own can be had here")
    port = free_port()
    dev = s.folder / s._name("dev")
    dev.mkdir()
    script = IN_A_NAMESPACE.format(folder=dev, journald=journald, tidings=s.program("tidings-ws"))
    env = s.environment(TIDINGS_WS_PORT=port, TIDINGS_AUDIT_LOG=place, TIDINGS_DRAIN_TIME=0)
    with subprocess.Popen(["unshare", "--mount", "--propagation", "private", "bash", "-c", script], env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        try:
            wait_until(lambda: process.poll() is not None or port_open(port), "the sidecar to listen", 60)
            with RawClient(port, s.ws_path(d, s.token())) as client:
                id = client.next()["data"]["connection_id"]
            node = wait_until(lambda: [p for p in descendants(process.pid) if "tidings-ws" in command_line(p).partition(" ")[0]], "the sidecar's pid")[0]
            os.kill(node, signal.SIGTERM)
            out, said = process.communicate(timeout=60)
        except BaseException:
            for pid in descendants(process.pid):
                os.kill(pid, signal.SIGKILL)
            raise
    equal(process.returncode, 0, f"exit status; {said.decode(errors='replace')}")
    assert b" audit " not in said, said
    return id, [json.loads(line) for line in out.splitlines()]


@test("the audit trail in the journal: each pair is a field, and it is found by its user")
def _(s):
    id, lines = journal_of(s, "journal", s.diagnosis())
    found = [x for x in lines if x.get("TIDINGS_CONNECTION") == id and x.get("TIDINGS_USER") == "456"]
    assert {"authenticate", "subscribe", "disconnect"} <= {x["TIDINGS_EVENT"] for x in found}, lines
    for x in found:
        equal((x["PRIORITY"], x["SYSLOG_FACILITY"], x["SYSLOG_IDENTIFIER"], x["TIDINGS_CLIENT"]), ("5", "10", "tidings-ws", "127.0.0.1"), f"{x}")
        assert x["MESSAGE"].startswith(f"audit event={x['TIDINGS_EVENT']} connection={id} "), x


@test("the audit trail in syslog: authpriv, notice, one line each")
def _(s):
    id, lines = journal_of(s, "syslog", s.diagnosis())
    found = [x for x in lines if f" connection={id} " in x["MESSAGE"]]
    assert {"connect", "authenticate", "subscribe", "disconnect"} <= {re.search(r"event=(\w+)", x["MESSAGE"])[1] for x in found}, lines
    for x in found:
        equal((x["PRIORITY"], x["SYSLOG_FACILITY"], x["SYSLOG_IDENTIFIER"], x["_TRANSPORT"]), ("5", "10", "tidings-ws", "syslog"), f"{x}")


@test("a full disk under the audit trail is said once and counted, and stops nothing", allow="the audit trail cannot be written")
def _(s):
    d = s.diagnosis()
    where = {"TIDINGS_AUDIT_LOG": "/dev/full"}
    with s.node(**where) as node, s.web(node, **where) as web:
        for _n in range(5):
            with s.connect(d, server=node) as client:
                s.recommend(d, api=web.api)
                client.next()
        line = line_with(node.log, "error: the audit trail cannot be written")
        equal((line["place"], line["why"]), ("/dev/full", "No space left on device"), "what is said")
        line_with(web.log, "broadcast.fcgi", "error: the audit trail cannot be written")

        def lost():
            node.signal(signal.SIGUSR1)
            return int((lines_with(node.log, " counters ") or [{"audit_lost": 0}])[-1]["audit_lost"])

        wait_until(lambda: lost() >= 20, "all that is lost to be counted")
        name = "tidings_audit_lines_lost_total"
        equal(metrics.value(metrics.scrape(node.api), name), lost(), "what Prometheus is told of the sidecar")
        wait_until(lambda: metrics.value(metrics.scrape(web.api), name, program="broadcast") == 5, "a line of each message to be counted")
        equal(metrics.value(metrics.scrape(web.api), name, program="history"), 0, "lines of a program that had none")


@test("a place for the audit trail that is none, and a list of proxies with a mistake, are told at the start")
def _(s):
    for name, value, told in (("TIDINGS_AUDIT_LOG", "audit.log", "must be an absolute path, syslog or journal"),
                              ("TIDINGS_AUDIT_LOG", "/nowhere/audit.log", "/nowhere/audit.log: No such file or directory"),
                              ("TIDINGS_TRUSTED_PROXIES", "10.0.0.0/8, proxy.example", 'not "proxy.example"'),
                              ("TIDINGS_TRUSTED_PROXIES", "10.0.0.1/8", 'not "10.0.0.1/8"')):
        done = subprocess.run([s.program("tidings-ws")], capture_output=True, text=True, env=s.environment(**{name: value}))
        equal(done.returncode, 2, f"exit status with {name}={value}")
        assert told in done.stderr, done.stderr
