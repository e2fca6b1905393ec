"""The example applications (etc/examples/lists): each is started as its README says, and used by people, and in a browser."""
import base64
import contextlib
import http.client
import importlib
import json
from types import SimpleNamespace

from harness import TOP, Process, equal, free_port, test, wait_until

pages = importlib.import_module("93_page")
python = importlib.import_module("97_python")
EXAMPLE = TOP / "etc" / "examples" / "lists"
PEOPLE = {"anna": "one", "ben": "two", "cara": "three"}
APPLICATIONS = {"fastapi": ["-m", "uvicorn", "--port", "{port}", "fastapi_app:app"],
                "django": ["django_app.py", "runserver", "--noreload", "127.0.0.1:{port}"]}


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


@contextlib.contextmanager
def application(s, name, port, url):
    """It, running, for pages that find tidings there."""
    arguments = [a.format(port=port) for a in APPLICATIONS[name]]
    env = s.environment(DATABASE=f"{s.conninfo} user=postgres options='-c role=lists_app'", TIDINGS_URL=url,
                        TIDINGS_KEY=s.keys / "default.HS256", PYTHONPATH=TOP / "python", PYTHONDONTWRITEBYTECODE="1")
    process = Process(name, ["/usr/bin/python3", *arguments], env, s.logs, cwd=EXAMPLE)
    try:
        process.wait_port(port)
        yield
    finally:
        process.stop()


def ask(port, who, path, body=None):
    """(status, JSON or bytes) of its answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    with contextlib.closing(connection):
        headers = {**(basic(who) if who else {}), "Content-Type": "application/json"}
        connection.request("GET" if body is None else "POST", path, body and json.dumps(body), headers)
        reply = connection.getresponse()
        text = reply.read()
    return reply.status, json.loads(text) if "json" in (reply.getheader("Content-Type") or "") else text


def used(s, name, port, web, page):
    topic, count = "lists/1", len(ask(port, "anna", "/lists/1")[1]["items"])
    equal([ask(port, who, "/lists/1")[0] for who in (None, "cara", "ben")], [401, 403, 200], "statuses of the list")
    page.do("open", path="/", origin=f"http://127.0.0.1:{port}", user="ben", password=PEOPLE["ben"])
    heard = python.Heard("sync", web.port, ask(port, "ben", "/token")[1]["token"], [topic])
    heard.wait_up()
    wait_until(lambda: len(page.texts("li")) == count and page.evaluate("document.querySelector('[role=status]').textContent === ''"),
               "the list to be shown", 60)
    before = len(heard.events)
    equal(ask(port, "anna", "/lists/1/items", {"text": " "})[0], 422, "status of an item without text")
    status, item = ask(port, "anna", "/lists/1/items", {"text": f"by {name} & <b>"})
    equal(status, 201, "status of an item")
    wait_until(lambda: len(heard.events) > before, "the message", 60)
    equal([(e.type, e.data) for e in heard.events[before:]], [("item_added", item)], "what ben hears")
    wait_until(lambda: page.texts("li")[count:] == [f"by {name} & <b>"], "the item to be shown", 60)
    page.on("input", "fill", "from the page")
    page.on("button", "click")
    wait_until(lambda: page.texts("li")[count + 1:] == ["from the page"], "the item of the page", 60)
    equal([i["text"] for i in ask(port, "anna", "/lists/1")[1]["items"]][count:], [f"by {name} & <b>", "from the page"], "the list")
    heard.close()
    stranger = python.Heard("sync", web.port, ask(port, "cara", "/token")[1]["token"], [topic])
    assert isinstance(stranger.ended(), python.tidings.ForbiddenError), stranger.error


@test("the example of a list, with FastAPI and with Django: what one adds the others see, in the browser too; strangers see nothing")
def lists(s):
    ports = {name: free_port() for name in APPLICATIONS}
    origins = ",".join(f"http://127.0.0.1:{port}" for port in ports.values())
    with tables(s), s.node(TIDINGS_ALLOWED_ORIGINS=origins) as node, s.web(node, TIDINGS_ALLOWED_ORIGINS=origins) as web:
        with pages.Page(s, SimpleNamespace(web=web)) as page:
            for name, port in ports.items():
                with application(s, name, port, page.origin):
                    used(s, name, port, web, page)
