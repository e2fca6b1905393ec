"""
The same behind the other web servers, as etc/nginx.conf.example and etc/apache.conf.example have it, with FastCGI programs that were
started on a socket (as systemd does).
"""
import contextlib
import http.client
import re
import shutil
import socket
import subprocess
import uuid

import harness
from harness import Api, Process, equal, free_port, test, wait_until


class SocketProcess(Process):
    """A program whose descriptor 0 is the socket that it listens on."""

    def __init__(self, name, program, path, env, folder):
        self.name, self.log = name, folder / f"{name}.log"
        with socket.socket(socket.AF_UNIX) as listener, open(self.log, "ab") as log:
            listener.bind(str(path))
            path.chmod(0o666)
            listener.listen(128)
            self.child = subprocess.Popen([str(program)], env=env, stdin=listener.fileno(), stdout=log, stderr=log)


def replace_each(text, pairs):
    for old, new in pairs:
        assert old in text, old
        text = text.replace(old, new)
    return text


NGINX = ("-e", "stderr", "-c")
APACHE = ("-D", "FOREGROUND", "-f")


def nginx_configuration(s, folder, port, backend):
    site = replace_each((harness.TOP / "etc/nginx.conf.example").read_text(), (
        ("listen 8000;", f"listen 127.0.0.1:{port};"), ("server 127.0.0.1:8001", f"server {backend}"), ("/run/tidings/", f"{folder}/"),
        ("/var/log/nginx/", f"{folder}/"), ("/usr/local/share/tidings/", f"{harness.TOP}/"),
        ("include fastcgi_params;", "include /etc/nginx/fastcgi_params;")))
    paths = "".join(f"{kind}_temp_path {folder}/{kind};\n" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    user = "user www-data;\n" if s.pg_user else ""
    return f"daemon off;\n{user}pid {folder}/pid;\nerror_log stderr crit;\nevents {{ }}\nhttp {{\ninclude /etc/nginx/mime.types;\n{paths}{site}}}\n"


def socket_of(s, node):
    """The sidecar's; their workers are of the group that it is for."""
    if s.pg_user:
        shutil.chown(node.socket, group="www-data")
    return node.socket


def nginx(s, folder, port, node):
    return "nginx", nginx_configuration(s, folder, port, f"127.0.0.1:{node.port}"), NGINX


def nginx_by_path(s, folder, port, node):
    return "nginx", nginx_configuration(s, folder, port, f"unix:{socket_of(s, node)}"), NGINX


def apache_configuration(s, folder, port, backend):
    modules = ("mpm_event", "authz_core", "alias", "dir", "mime", "headers", "proxy", "proxy_http", "proxy_fcgi")
    site = replace_each((harness.TOP / "etc/apache.conf.example").read_text(), (
        ("http://127.0.0.1:8001", backend), ("/run/tidings/", f"{folder}/"), ("${APACHE_LOG_DIR}/", f"{folder}/"),
        ("/usr/local/share/tidings/", f"{harness.TOP}/")))
    loads = "".join(f"LoadModule {m}_module /usr/lib/apache2/modules/mod_{m}.so\n" for m in modules)
    user = "User www-data\nGroup www-data\n" if s.pg_user else ""
    return (f"ServerRoot {folder}\nServerName localhost\nPidFile {folder}/pid\nMutex file:{folder} default\nListen 127.0.0.1:{port}\n{loads}"
            f"{user}ErrorLog /dev/stderr\nTypesConfig /etc/mime.types\n<VirtualHost *:{port}>\n{site}</VirtualHost>\n")


def apache(s, folder, port, node):
    return "apache2", apache_configuration(s, folder, port, f"http://127.0.0.1:{node.port}"), APACHE


def apache_by_path(s, folder, port, node):
    return "apache2", apache_configuration(s, folder, port, f"unix:{socket_of(s, node)}|http://tidings-ws"), APACHE


SERVERS = (nginx, nginx_by_path, apache, apache_by_path)


@contextlib.contextmanager
def web_server(s, kind, node=None, **settings):
    port = free_port()
    folder = s.folder / s._name(kind.__name__)
    folder.mkdir()
    name, text, arguments = kind(s, folder, port, node or s.node1)
    program = shutil.which(name, path="/usr/sbin:/usr/bin:/usr/local/sbin")
    assert program, f"there is no {name}"
    (folder / "conf").write_text(text)
    running = []
    try:
        for p in ("broadcast", "live", "status", "history"):
            running.append(SocketProcess(f"{folder.name}-{p}", s.program(f"{p}.fcgi"), folder / f"{p}.sock", s.environment(**settings), s.logs))
        web = Process(folder.name, [program, *arguments, folder / "conf"], s.environment(), s.logs)
        running.append(web)
        web.wait_port(port)
        web.port, web.api, web.folder = port, Api(port), folder
        wait_until(lambda: web.api.get("/health").status == 200, f"{folder.name} to answer")
        yield web
    finally:
        for process in reversed(running):
            process.stop()


def use(s, web):
    d, other, token = s.diagnosis(), s.diagnosis(), s.token("456")
    equal(web.api.get("/health").want(200)["status"], "healthy", "status")
    assert b"/ws/{diagnosis_id} (WebSocket)" in web.api.get("/docs").body
    assert "default-src 'none'" in web.api.get("/docs").headers["Content-Security-Policy"]
    client = harness.Client(f"ws://127.0.0.1:{web.port}/ws/{d}?token={token}")
    body = {"diagnosis_id": d, "old_data": {"a": 1}, "new_data": {"a": 2}, "reason": "web server"}
    reply = web.api.post("/ws/broadcast-recommendation-update", body, token).want(200)
    equal(client.next()["seq"], reply["seq"], "seq")
    client.answers()
    equal(len(web.api.get(f"/ws/history/{d}?token={token}").want(200)["messages"]), 1, "messages kept")
    equal(len(web.api.get(f"/poll/{d}?cursor={client.first['data']['cursor']}", token).want(200)["messages"]), 1, "messages of a poll")
    connection = http.client.HTTPConnection("127.0.0.1", web.port, timeout=harness.WAIT_S)
    connection.request("GET", f"/sse/{other}?token={token}")
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
    web.api.post("/ws/broadcast-recommendation-update", body).want(401)
    web.api.get("/nowhere").want(404)
    web.api.post("/ws/publish", b" " * 300_000, s.service()).want(413)
    web.api.post("/ws/publish", b" " * 1_200_000, s.service()).want(413)
    for path, status in (("/", 200), ("/tidings.js", 200), ("/ws/1", 426)):
        equal(web.api.get(path).status, status, path)
    equal(web.api.request("TRACE", "/").want(405)["status"], 405, "TRACE")
    client.close()


@test("behind nginx and behind Apache, by the sidecar's port and by its path: every route, WebSocket too, and errors are problems")
def _(s):
    for kind in SERVERS:
        with web_server(s, kind) as web:
            use(s, web)


@test("behind nginx and behind Apache: no token in any log, also while the sidecar is away", allow=".*")
def _(s):
    for kind in (nginx, apache):
        node, d, token = s.start_node(), s.diagnosis(), s.token("456")
        with web_server(s, kind, node) as web:
            harness.Client(f"ws://127.0.0.1:{web.port}/ws/{d}?token={token}").close()
            web.api.get(f"/ws/history/{d}?token={token}").want(200)
            web.api.get(f"/nowhere?token={token}", token).want(404)
            s.forget(node)
            equal(node.stop(), 0, "exit status")
            for path in ("ws", "poll", "sse"):
                assert web.api.get(f"/{path}/{d}?token={token}").status in (502, 503), path
        signature = token.rsplit(".", 1)[1]
        for log in (web.log, *web.folder.glob("*.log")):
            text = log.read_text(errors="replace")
            assert signature not in text and not re.search(r"[?&]token=", text), log
        assert "/ws/history/" in (web.folder / "tidings.log").read_text()
