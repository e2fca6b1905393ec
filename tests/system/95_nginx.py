"""The same behind nginx, as etc/nginx.conf.example has it, with FastCGI programs that were started on a socket (as systemd does)."""
import contextlib
import re
import shutil
import socket
import uuid
import subprocess

import harness
from harness import Api, Process, Skip, equal, free_port, test, wait_until


class SocketProcess(Process):
    """A program whose descriptor 0 is the socket that it listens on."""

    def __init__(self, name, program, path, env, folder):
        self.name, self.log = name, folder / f"{name}.log"
        with socket.socket(socket.AF_UNIX) as listener, open(self.log, "ab") as log:
            listener.bind(str(path))
            path.chmod(0o666)
            listener.listen(128)
            self.child = subprocess.Popen([str(program)], env=env, stdin=listener.fileno(), stdout=log, stderr=log)


@contextlib.contextmanager
def nginx(s, **settings):
    program = shutil.which("nginx", path="/usr/sbin:/usr/bin:/usr/local/sbin")
    if not program:
        raise Skip("there is no nginx")
    port = free_port()
    folder = s.folder / s._name("nginx")
    folder.mkdir()
    site = (harness.TOP / "etc/nginx.conf.example").read_text()
    for old, new in (("listen 8000;", f"listen 127.0.0.1:{port};"), ("127.0.0.1:8001", f"127.0.0.1:{s.node1.port}"),
                     ("/run/tidings/", f"{folder}/"), ("/var/log/nginx/", f"{folder}/"),
                     ("/usr/local/share/tidings/", f"{harness.TOP}/"), ("include fastcgi_params;", "include /etc/nginx/fastcgi_params;")):
        assert old in site, old
        site = site.replace(old, new)
    paths = "".join(f"{kind}_temp_path {folder}/{kind};\n" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    (folder / "nginx.conf").write_text(f"daemon off;\npid {folder}/pid;\nerror_log stderr crit;\nevents {{ }}\nhttp {{\n"
                                       f"include /etc/nginx/mime.types;\n{paths}{site}}}\n")
    running = []
    try:
        for name in ("broadcast", "live", "status", "history"):
            running.append(SocketProcess(f"{folder.name}-{name}", s.program(f"{name}.fcgi"), folder / f"{name}.sock", s.environment(**settings), s.logs))
        web = Process(folder.name, [program, "-p", folder, "-e", "stderr", "-c", folder / "nginx.conf"], s.environment(), s.logs)
        running.append(web)
        web.wait_port(port)
        web.port, web.api, web.folder = port, Api(port), folder
        yield web
    finally:
        for process in reversed(running):
            process.stop()


@test("behind nginx: every route, WebSocket too, and errors are problems")
def _(s):
    with nginx(s) as web:
        d = s.diagnosis()
        token = s.token("456")
        wait_until(lambda: web.api.get("/health").status == 200, "nginx to answer")
        equal(web.api.get("/health").want(200)["status"], "healthy", "status")
        assert b"/ws/{diagnosis_id} (WebSocket)" in web.api.get("/docs").body
        assert "default-src 'none'" in web.api.get("/docs").headers["Content-Security-Policy"]
        client = harness.Client(f"ws://127.0.0.1:{web.port}/ws/{d}?token={token}")
        body = {"diagnosis_id": d, "old_data": {"a": 1}, "new_data": {"a": 2}, "reason": "nginx"}
        reply = web.api.post("/ws/broadcast-recommendation-update", body, token).want(200)
        equal(client.next()["seq"], reply["seq"], "seq")
        client.answers()
        equal(len(web.api.get(f"/ws/history/{d}?token={token}").want(200)["messages"]), 1, "messages kept")
        web.api.get("/ws/status").want(200)
        equal(web.api.post("/ws/send", {"type": "get_preferences"}, token).want(200)["type"], "preferences", "reply of /ws/send")
        web.api.post("/ws/broadcast-health-update", {"user_id": 456, "metric": "pulse", "value": 70}, s.service()).want(200)
        web.api.request("DELETE", f"/ws/connection/{uuid.uuid4()}", token=s.token("root", role="admin")).want(404)
        web.api.post("/ws/user/456/reconnect", "", s.token("457")).want(403)
        web.api.post("/ws/broadcast-recommendation-update", body).want(401)
        web.api.get("/nowhere").want(404)
        web.api.post("/ws/publish", b" " * 300_000, s.service()).want(413)
        web.api.post("/ws/publish", b" " * 1_200_000, s.service()).want(413)
        client.close()


@test("behind nginx: no token in any log", allow=".*")
def _(s):
    with nginx(s) as web:
        token = s.token("456")
        d = s.diagnosis()
        harness.Client(f"ws://127.0.0.1:{web.port}/ws/{d}?token={token}").close()
        web.api.get(f"/ws/history/{d}?token={token}").want(200)
        web.api.get(f"/nowhere?token={token}", token).want(404)
    signature = token.rsplit(".", 1)[1]
    for log in (web.log, *web.folder.glob("*.log")):
        text = log.read_text(errors="replace")
        assert signature not in text and not re.search(r"[?&]token=", text), log
    assert "/ws/history/" in (web.folder / "tidings.log").read_text()
