"""The example applications (etc/examples/lists): each is started as its README says, and used by people, and in a browser."""
import base64
import contextlib
import http.client
import importlib
import json
import os
import pathlib
import re
import shutil
import subprocess
from types import SimpleNamespace

from harness import TOP, Process, equal, find_program, free_port, port_open, test, wait_until

pages = importlib.import_module("93_page")
python = importlib.import_module("99_python")
servers = importlib.import_module("95_web_servers")
EXAMPLE = TOP / "etc" / "examples" / "lists"
INSTALLED = pathlib.Path(os.environ.get("TIDINGS_EXAMPLES", TOP / "build" / "test" / "examples"))
PEOPLE = {"anna": "one", "ben": "two", "cara": "three", "a\0": "one"}
# The line of its README that starts it, and what it is behind.
APPLICATIONS = {"fastapi": ("/usr/bin/python3 -m uvicorn --port 8080 app:app", "nginx"),
                "django": ("/usr/bin/python3 app.py runserver --noreload 8080", "apache"),
                "express": ("node app.mjs 8080", "nginx"),
                "php": ("/usr/sbin/lighttpd -D -f lighttpd.conf", None)}


def basic(who):
    return {"Authorization": "Basic " + base64.b64encode(f"{who}:{PEOPLE[who]}".encode()).decode()}


@contextlib.contextmanager
def tables(s):
    """schema.sql, while the block lasts."""
    before = "\n".join("\t".join(row) for row in s.sql("select pg_get_functiondef('tidings.authorize'::regproc)"))
    s.sql((EXAMPLE / "schema.sql").read_text())
    try:
        yield
    finally:
        s.sql(f"{before}; drop schema lists cascade; drop owned by lists_app; drop role lists_app;")


def nginx(folder, site, user):
    paths = "".join(f"{kind}_temp_path {folder}/{kind};\n" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    return "nginx", (f"daemon off;\n{user and f'user {user};'}\npid {folder}/pid;\nerror_log stderr crit;\nevents {{ }}\n"
                     f"http {{\naccess_log off;\n{paths}{site}}}\n"), servers.NGINX


def apache(folder, site, user):
    loads = "".join(f"LoadModule {m}_module /usr/lib/apache2/modules/mod_{m}.so\n" for m in ("mpm_event", "authz_core", "proxy", "proxy_http"))
    return "apache2", (f"ServerRoot {folder}\nServerName localhost\nPidFile {folder}/pid\nMutex file:{folder} default\n{loads}"
                       f"{user and f'User {user}'}\nErrorLog /dev/stderr\n{site}"), servers.APACHE


@contextlib.contextmanager
def running(s, name, command, folder, port, **settings):
    process = Process(name, command, s.environment(**settings), s.logs, cwd=folder)
    try:
        wait_until(lambda: process.alive() and port_open(port), f"{name} to listen on {port}", 60)  # runserver asks the database before it listens
        yield
    finally:
        process.stop()


@contextlib.contextmanager
def behind(s, server, port, to):
    """The web server, with the site that the examples have for it."""
    folder = s.folder / s._name(f"lists-{server}")
    folder.mkdir()
    site = re.sub("808[01]", lambda m: str({"8080": port, "8081": to}[m[0]]), (EXAMPLE / f"{server}.conf").read_text())
    program, text, arguments = {"nginx": nginx, "apache": apache}[server](folder, site, "www-data" if s.pg_user else "")
    (folder / "conf").write_text(text)
    with running(s, folder.name, [find_program(program), *arguments, folder / "conf"], folder, port):
        yield


def installed():
    """A copy of the examples, with the packages that Express takes, as locked."""
    shutil.copytree(EXAMPLE, INSTALLED, dirs_exist_ok=True, ignore=shutil.ignore_patterns("node_modules", "__pycache__"))
    lock, done = INSTALLED / "express" / "package-lock.json", INSTALLED / "locked"
    if not done.exists() or done.read_bytes() != lock.read_bytes():
        npm = subprocess.run(["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--cache", INSTALLED / ".npm"], cwd=lock.parent,
                             capture_output=True, text=True)
        equal(npm.returncode, 0, f"exit status of npm ci: {npm.stdout}{npm.stderr}")
        shutil.copy(lock, done)


@contextlib.contextmanager
def application(s, name, port, url):
    """It, running, for pages that find tidings there."""
    command, server = APPLICATIONS[name]
    assert command in (EXAMPLE / name / "README.md").read_text().splitlines(), f"the README of {name} has another command"
    folder, state, own = INSTALLED / name, s.folder / s._name("lists"), free_port() if server else port
    state.mkdir()
    command = command.replace("8080", str(own))
    if not server:
        (state / "lighttpd.conf").write_text((folder / "lighttpd.conf").read_text().replace("8080", str(own)))
        command = command.replace("lighttpd.conf", str(state / "lighttpd.conf"))
    with running(s, name, command.split(), folder, own, DATABASE=f"{s.conninfo} user=postgres options='-c role=lists_app'", TIDINGS_URL=url,
                 TIDINGS_KEY=s.keys / "default.HS256", TIDINGS_STATE=state, PYTHONPATH=TOP / "python", PYTHONDONTWRITEBYTECODE="1"):
        with behind(s, server, port, own) if server else contextlib.nullcontext():
            yield


def ask(port, who, path, body=None):
    """(status, JSON or bytes) of its answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    with contextlib.closing(connection):
        headers = {**(basic(who) if who else {}), "Content-Type": "application/json"}
        connection.request("GET" if body is None else "POST", path, body and json.dumps(body), headers)
        reply = connection.getresponse()
        text = reply.read()
    return reply.status, json.loads(text) if "json" in (reply.getheader("Content-Type") or "") else text


def used(name, port, web, page):
    topic, count = "lists/1", len(ask(port, "anna", "/lists/1")[1]["items"])
    equal([ask(port, who, "/lists/1")[0] for who in (None, "a\0", "cara", "ben")], [401, 401, 403, 200], "statuses of the list")
    assert ask(port, "ben", "/lists/99999999999999999999")[0] in (403, 404), "a list that cannot be"
    page.do("open", path="/", origin=f"http://127.0.0.1:{port}", user="ben", password=PEOPLE["ben"])
    heard = python.Heard("sync", web.port, ask(port, "ben", "/token")[1]["token"], [topic])
    heard.wait_up()
    wait_until(lambda: len(page.texts("li")) == count and page.evaluate("document.querySelector('[role=status]').textContent === ''"),
               "the list to be shown", 60)
    before = len(heard.events)
    for text in (" ", "\0", "a\0b"):
        equal(ask(port, "anna", "/lists/1/items", {"text": text})[0], 422, f"status of {text!r} as an item")
    assert ask(port, "anna", "/lists/1/items", {})[0] in (400, 422), "nothing as an item"
    status, item = ask(port, "anna", "/lists/1/items", {"text": f"by {name} & <b> ü"})
    equal(status, 201, "status of an item")
    wait_until(lambda: len(heard.events) > before, "the message", 60)
    equal([(e.type, e.data) for e in heard.events[before:]], [("item_added", item)], "what ben hears")
    wait_until(lambda: page.texts("li")[count:] == [f"by {name} & <b> ü"], "the item to be shown", 60)
    page.on("input", "fill", "from the page")
    page.on("button", "click")
    wait_until(lambda: page.texts("li")[count + 1:] == ["from the page"], "the item of the page", 60)
    equal([i["text"] for i in ask(port, "anna", "/lists/1")[1]["items"]][count:], [f"by {name} & <b> ü", "from the page"], "the list")
    heard.close()
    stranger = python.Heard("sync", web.port, ask(port, "cara", "/token")[1]["token"], [topic])
    assert isinstance(stranger.ended(), python.tidings.ForbiddenError), stranger.error


@test("the example of a list, with FastAPI, Django, Express and PHP, each behind a web server: what one adds the others see, in the browser too; strangers "
      "see nothing")
def lists(s):
    ports = {name: free_port() for name in APPLICATIONS}
    origins = ",".join(f"http://127.0.0.1:{port}" for port in ports.values())
    installed()
    with tables(s), s.node(TIDINGS_ALLOWED_ORIGINS=origins) as node, s.web(node, TIDINGS_ALLOWED_ORIGINS=origins) as web:
        with pages.Page(s, SimpleNamespace(web=web)) as page:
            for name, port in ports.items():
                with application(s, name, port, page.origin):
                    used(name, port, web, page)
