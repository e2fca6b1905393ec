"""
The same behind web servers that are there already, as etc/lighttpd-site.conf.in, etc/lighttpd-tidings.conf.in, etc/nginx.conf.example.in,
etc/apache-site.conf.in and etc/apache.conf.example.in have it, with FastCGI programs that were started on a socket (as systemd does).
"""
import contextlib
import http.client
import json
import re
import shutil
import signal
import socket
import subprocess
import threading
import uuid

import harness
from harness import Api, Lock, Process, equal, free_port, test, wait_until


class SocketProcess(Process):
    """A program whose descriptor 0 is the socket that it listens on."""

    def __init__(self, name, program, path, env, folder):
        self.name, self.log, self.path = name, folder / f"{name}.log", path
        with socket.socket(socket.AF_UNIX) as listener, open(self.log, "ab") as log:
            listener.bind(str(path))
            path.chmod(0o666)
            listener.listen(128)
            self.child = subprocess.Popen([str(program)], env=env, stdin=listener.fileno(), stdout=log, stderr=log)

    def stop(self):
        status = super().stop()
        # One that was killed has left it.
        self.path.unlink(missing_ok=True)
        return status


def replace_each(text, pairs):
    for old, new in pairs:
        assert old in text, old
        text = text.replace(old, new)
    return text


LIGHTTPD = ("-D", "-f")
NGINX = ("-e", "stderr", "-c")
APACHE = ("-D", "FOREGROUND", "-f")


def lighttpd(s, folder, port, node, share):
    """The main configuration is one that knows nothing of tidings."""
    included = folder / "lighttpd-tidings.conf"
    included.write_text(replace_each((harness.TOP / "etc/lighttpd-tidings.conf.in").read_text(), (
        ("@pkgdatadir@", str(share)), ("/run/tidings/", f"{folder}/"), ("/var/log/lighttpd/", f"{folder}/"))))
    site = replace_each((harness.TOP / "etc/lighttpd-site.conf.in").read_text(), (
        ('$SERVER["socket"] == ":8000"', f'$HTTP["host"] =~ "^(localhost|127.0.0.1:{port})$"'), ("systemd-cat -t lighttpd", f"cat >>{folder}/error.log"),
        ("/run/tidings-ws/ws.sock", str(socket_of(s, node))),
        ("@pkgdatadir@/etc/lighttpd-tidings.conf", str(included))))
    user = ""
    if s.pg_user:
        user = 'server.username = "www-data"\nserver.groupname = "www-data"\n'
        shutil.chown(folder, "www-data")  # as Debian's /var/log/lighttpd is
    return "lighttpd", (f'server.modules = ( "mod_indexfile", "mod_access" )\nserver.document-root = "/var"\nserver.port = {port}\n'
                        f'server.bind = "127.0.0.1"\n{user}server.upload-dirs = ( "{folder}" )\nserver.errorlog = "/dev/null"\n'
                        f'index-file.names = ( "index.php" )\nmimetype.assign = ( ".html" => "text/html" )\n{site}'), LIGHTTPD


def nginx_configuration(s, folder, port, backend, share):
    site = replace_each((harness.TOP / "etc/nginx.conf.example.in").read_text(), (
        ("listen 8000;", f"listen 127.0.0.1:{port};"), ("server 127.0.0.1:8001", f"server {backend}"), ("/run/tidings/", f"{folder}/"),
        ("/var/log/nginx/", f"{folder}/"), ("@pkgdatadir@", str(share)),
        ("include fastcgi_params;", "include /etc/nginx/fastcgi_params;")))
    paths = "".join(f"{kind}_temp_path {folder}/{kind};\n" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    user = "user www-data;\n" if s.pg_user else ""
    return f"daemon off;\n{user}pid {folder}/pid;\nerror_log stderr crit;\nevents {{ }}\nhttp {{\ninclude /etc/nginx/mime.types;\n{paths}{site}}}\n"


def socket_of(s, node):
    """The sidecar's; their workers are of the group that it is for."""
    if s.pg_user:
        shutil.chown(node.socket, group="www-data")
    return node.socket


def nginx(s, folder, port, node, share):
    return "nginx", nginx_configuration(s, folder, port, f"127.0.0.1:{node.port}", share), NGINX


def nginx_by_path(s, folder, port, node, share):
    return "nginx", nginx_configuration(s, folder, port, f"unix:{socket_of(s, node)}", share), NGINX


def apache_configuration(s, folder, port, backend, share):
    modules = ("mpm_event", "authz_core", "alias", "dir", "mime", "headers", "proxy", "proxy_http", "proxy_fcgi")
    included = folder / "included"
    included.write_text(replace_each((harness.TOP / "etc/apache.conf.example.in").read_text(), (
        ("http://127.0.0.1:8001", backend), ("/run/tidings/", f"{folder}/"), ("${APACHE_LOG_DIR}/", f"{folder}/"), ("@pkgdatadir@", str(share)))))
    site = replace_each((harness.TOP / "etc/apache-site.conf.in").read_text(), (
        ("Listen 8000", f"Listen 127.0.0.1:{port}"), ("*:8000", f"*:{port}"), ("@pkgdatadir@/etc/apache.conf.example", str(included))))
    loads = "".join(f"LoadModule {m}_module /usr/lib/apache2/modules/mod_{m}.so\n" for m in modules)
    user = "User www-data\nGroup www-data\n" if s.pg_user else ""
    return (f"ServerRoot {folder}\nServerName localhost\nPidFile {folder}/pid\nMutex file:{folder} default\n{loads}"
            f"{user}ErrorLog /dev/stderr\nTypesConfig /etc/mime.types\n{site}")


def apache(s, folder, port, node, share):
    return "apache2", apache_configuration(s, folder, port, f"http://127.0.0.1:{node.port}", share), APACHE


def apache_by_path(s, folder, port, node, share):
    return "apache2", apache_configuration(s, folder, port, f"unix:{socket_of(s, node)}|http://tidings-ws", share), APACHE


SERVERS = (lighttpd, nginx, nginx_by_path, apache, apache_by_path)


@contextlib.contextmanager
def web_server(s, kind, node=None, share=None, **settings):
    port = free_port()
    folder = s.folder / s._name(kind.__name__)
    folder.mkdir()
    node = node or s.node1
    name, text, arguments = kind(s, folder, port, node, share or s.share)
    settings = {"TIDINGS_WS_PORT": node.port, **settings}
    program = harness.find_program(name)
    assert program, f"there is no {name}"
    (folder / "conf").write_text(text)
    running = []
    try:
        for p in ("broadcast", "api", "live", "status", "history"):
            running.append(SocketProcess(f"{folder.name}-{p}", s.program(f"{p}.fcgi"), folder / f"{p}.sock", s.environment(**settings), s.logs))
        web = Process(folder.name, [program, *arguments, folder / "conf"], s.environment(), s.logs)
        running.append(web)
        web.wait_port(port)
        web.port, web.api, web.folder, web.broadcast = port, Api(port), folder, running[0]
        wait_until(lambda: web.api.get("/health").status == 200, f"{folder.name} to answer")
        yield web
    finally:
        for process in reversed(running):
            process.stop()


def use(s, web):
    d, other, token = s.diagnosis(), s.diagnosis(), s.token("456")
    for path in ("/health", "/health/live", "/health/ready"):
        equal(web.api.get(path).want(200)["status"], "healthy", path)
    assert b"/ws/{diagnosis_id} (WebSocket)" in web.api.get("/docs").body
    assert "default-src 'none'" in web.api.get("/docs").headers["Content-Security-Policy"]
    for name, version in (("openapi", "3.1.0"), ("asyncapi", "3.0.0")):
        equal(web.api.get(f"/{name}.json").want(200)[name], version, f"version of {name}.json")
    client = harness.Client(f"ws://127.0.0.1:{web.port}/ws/{d}?token={token}")
    body = {"diagnosis_id": d, "old_data": {"a": 1}, "new_data": {"a": 2}, "reason": "web server"}
    reply = web.api.post("/ws/broadcast-recommendation-update", body, token).want(200)
    equal(client.next()["seq"], reply["seq"], "seq")
    client.answers()
    equal(len(web.api.get(f"/ws/history/{d}?token={token}").want(200)["messages"]), 1, "messages kept")
    equal(len(web.api.get(f"/ws/history?topic=diagnosis/{d}&token={token}").want(200)["messages"]), 1, "messages kept of the topic")
    spoken_of = s.diagnosis()
    page = f"/api/diagnosis/{spoken_of}/feedback"
    id = web.api.post(page, {"rating": 5}, token).want(200)["feedback_id"]
    equal(web.api.request("PUT", f"/api/feedback/{id}/rating", {"rating": 4}, token).want(200)["seq"], 2, "seq of a change")
    whole = web.api.get(f"{page}?limit=1", token)
    equal([f["rating"] for f in whole.want(200)["feedback"]], [4], "feedback")
    part = web.api.get(f"{page}?limit=1", token, {"Range": "bytes=0-20"})
    equal((part.status, part.body), (200, whole.body), "feedback of which a part is asked for")
    web.api.request("DELETE", f"/api/feedback/{id}", token=token).want(200)
    for path in (f"/poll/{d}", f"/poll?topics=diagnosis/{d}"):
        poll = f"{path}{'&' if '?' in path else '?'}cursor={client.cursor}"
        whole = web.api.get(poll, token)
        equal(len(whole.want(200)["messages"]), 1, "messages of a poll")
        part = web.api.get(poll, token, {"Range": "bytes=0-20"})
        equal((part.status, part.body), (200, whole.body), "a poll that asks for a part")
    with harness.Client(f"ws://127.0.0.1:{web.port}/ws?topics=diagnosis/{d},diagnosis/{other}&token={token}") as several:
        equal(set(several.first["data"]["topics"]), {f"diagnosis/{d}", f"diagnosis/{other}"}, "topics")
    for path in (f"/sse/{other}?", f"/sse?topics=diagnosis/{other}&"):
        connection = http.client.HTTPConnection("127.0.0.1", web.port, timeout=harness.WAIT_S)
        connection.request("GET", f"{path}token={token}")
        with connection.getresponse() as stream:
            equal((stream.status, stream.getheader("Content-Type")), (200, "text/event-stream; charset=utf-8"), "an event stream")
            equal(stream.readline(), b"retry: 2000\n", "the beginning of an event stream")
        connection.close()
    # A web server finds that out when it has something to write.
    wait_until(lambda: s.recommend(other) and s.watchers(other) == 0, "the event stream to be over")
    web.api.get("/ws/status").want(200)
    equal(web.api.post("/ws/send", {"type": "get_preferences"}, token).want(200)["type"], "preferences", "reply of /ws/send")
    web.api.post("/ws/broadcast-health-update", {"user_id": 456, "metric": "pulse", "value": 70}, s.service()).want(200)
    web.api.request("DELETE", f"/ws/connection/{uuid.uuid4()}", token=s.token("root", role="admin")).want(404)
    web.api.post("/ws/user/456/reconnect", "", s.token("457")).want(403)
    admin = s.token("root", role="admin")
    for path in ("/ws/connections", "/ws/topics", "/ws/outbox", "/ws/history?topic=desk/1"):
        web.api.get(path, admin).want(200)
    for path in ("/ws/topic/desk/1/revoke?user=456", "/ws/outbox/failed/retry"):
        web.api.post(path, "", admin).want(200)
    web.api.post("/ws/node/6f1c2b9a-5d0e-4c37-9a41-0be2f7d1c854/drain", "", admin).want(404)
    for name in ("admin", "dashboard?diagnosis=1"):
        page = web.api.get(f"/{name}")
        script = f'src="/{name.split("?")[0]}.js"'.encode()
        assert page.status == 200 and script in page.body and "default-src 'none'" in page.headers["Content-Security-Policy"], page
    web.api.post("/ws/broadcast-recommendation-update", body).want(401)
    web.api.get("/nowhere").want(404)
    web.api.post("/ws/publish", b" " * 300_000, s.service()).want(413)
    web.api.post("/ws/publish", b" " * 1_200_000, s.service()).want(413)
    for path, origin in (("/tidings.js", "*"), ("/tidings-link.js", "*"), ("/tidings-tabs.js", "*"), ("/live.js", None), ("/docs", None)):
        equal(web.api.get(path).headers["Access-Control-Allow-Origin"], origin, f"whose pages may read {path}")
    for path, status in (("/", 200), ("/tidings.js", 200), ("/tidings-link.js", 200), ("/ws/1", 426), ("/ws?topics=diagnosis/1", 426)):
        equal(web.api.get(path).status, status, path)
    trace = web.api.request("TRACE", "/")
    assert trace.status in (405, 501), trace
    trace.check_problem()
    client.close()


@test("behind lighttpd, nginx and Apache, by the sidecar's port and by its path: every route, WebSocket too, and errors are problems")
def _(s):
    for kind in SERVERS:
        with web_server(s, kind) as web:
            use(s, web)


@test("on a WebSocket behind lighttpd, nginx or Apache a client may say 3 MiB and more in all")
def _(s):
    text = json.dumps({"type": "ping", "padding": "x" * 16_000}).encode()
    node = s.start_node(TIDINGS_CLIENT_RATE=100000, TIDINGS_CLIENT_BURST=100000)
    with contextlib.ExitStack() as stack:
        stack.callback(node.stop)
        stack.callback(s.forget, node)
        for web in (node, stack.enter_context(s.web(node)), *(stack.enter_context(web_server(s, kind, node)) for kind in (lighttpd, nginx, apache))):
            d = s.diagnosis()
            with harness.RawClient(web.port, s.ws_path(d, s.token())) as client:
                equal(client.next()["type"], "connect", "first message")
                for n in range(200):
                    half = len(text) // 2
                    client.send(1, text[:half], fin=False)
                    client.send(0, text[half:])
                    equal(client.next()["type"], "pong", f"answer {n} through {type(web).__name__} {web.port}")
                seq = s.recommend(d)["seq"]
                equal(client.next()["seq"], seq, "a broadcast after that")


@test("behind lighttpd, nginx and Apache: no token in any log, also while the sidecar or a program is away, or a page cannot be read", allow=".*")
def _(s):
    share = s.folder / "share"
    for name in ("etc", "web"):
        shutil.copytree(s.share / name, share / name)
    (share / "web/closed.html").write_text("closed")
    (share / "web/closed.html").chmod(0)
    for kind in (lighttpd, nginx, apache):
        node, d, token = s.start_node(), s.diagnosis(), s.token("456")
        with web_server(s, kind, node, share) as web:
            harness.Client(f"ws://127.0.0.1:{web.port}/ws/{d}?token={token}").close()
            web.api.get(f"/ws/history/{d}?token={token}").want(200)
            for path, status in (("/nowhere", 404), ("/closed.html", 403)):
                web.api.get(f"{path}?token={token}", token, {"Referer": f"http://x/?token={token}"}).want(status)
            s.forget(node)
            equal(node.stop(), 0, "exit status")
            (web.folder / "history.sock").unlink()
            for path in ("ws", "poll", "sse", "ws/history"):
                reply = web.api.get(f"/{path}/{d}?token={token}", headers={"Referer": f"http://x/?token={token}"})
                assert reply.status in (502, 503), (path, reply)
        signature = token.rsplit(".", 1)[1]
        for log in (web.log, *web.folder.glob("*.log")):
            text = log.read_text(errors="replace")
            assert signature not in text and not re.search(r"[?&]token=", text), log
        assert "/ws/history/" in (web.folder / "tidings.log").read_text()


@test("behind lighttpd, nginx and Apache: when a program dies with a broadcast in hand, nothing says that it was not published: it is")
def _(s):
    # Apache's answer is 503, whose page said that nothing was done.
    d = s.diagnosis()
    for n, kind in enumerate((lighttpd, nginx, apache)):
        replies = []
        with web_server(s, kind, TIDINGS_DATABASE_TIMEOUT=60000) as web, Lock(s, "tidings.message"):
            asking = threading.Thread(target=lambda: replies.append(web.api.post("/ws/publish", {"topic": f"diagnosis/{d}", "type": "note", "data": {}}, s.service())))
            asking.start()
            wait_until(lambda: s.sql("select 1 from pg_stat_activity where wait_event_type = 'Lock' and query like '%publish_batch%'"), "the broadcast to wait")
            web.broadcast.signal(signal.SIGKILL)
            asking.join()
        reply, = replies
        assert reply.status in (500, 502, 503), reply
        equal(reply.json.get("done", "unknown"), "unknown", f"done behind {kind.__name__}")
        reply.check_problem()
        wait_until(lambda: s.last_seq(f"diagnosis/{d}") == n + 1, f"it to be published behind {kind.__name__}")
