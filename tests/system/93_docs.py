"""
openapi.json and asyncapi.json: that they are of the programs as they are, and the page /docs that is made from them, in a real browser.
(That each answer and message is as they say is looked at in all tests: contract.py.)
"""
import email.message
import importlib
import json
import pathlib
import re
import subprocess
import sys

import contract
from harness import TOP, Reply, equal, test, wait_until

sys.path.insert(0, str(TOP / "tests" / "lib"))

from client_types import TYPES  # noqa: E402

clients = importlib.import_module("92_client")
pages = importlib.import_module("93_page")
OPENAPI, ASYNCAPI = contract.OPENAPI, contract.ASYNCAPI
DRAWN = "#close-codes"  # what is drawn of the documents


def read(*path):
    return pathlib.Path(TOP, *path).read_text()


def described():
    return {(method.upper(), re.sub(r"\{\w+\}", "*", path)) for path, item in OPENAPI["paths"].items() for method in item}


def served():
    """(method, path), from the tables in the programs' sources; a part of a path that may be anything is *."""
    routes = set()
    for source in sorted((TOP / "fcgi" / "programs").glob("*.c")):
        routes |= {(m, p.replace("**", "*")) for m, p in re.findall(r'\{"([A-Z]+)", "(/[^"]*)", \w+\}', source.read_text())}
    sidecar = re.search(r"\} routes\[\] = \{(.*?)\};", read("ws", "net", "router.c"), re.S)[1]
    for path in re.findall(r'"(/\w+)"', sidecar):
        routes |= {("GET", path), ("GET", f"{path}/*")}
    live = re.search(r"endpoints\[\] = \{(.*?)\n\};", read("ws", "live", "live_connection.c"), re.S)[1]
    routes |= {("GET", f"/ws/{name}") for name in re.findall(r'\{"(\w+)"', live)}
    return routes


def codes(schema):
    return ASYNCAPI["components"]["schemas"][schema]["properties"]["data"]["properties"]["code"]["oneOf"]


def operations():
    return [(path, method.upper(), operation) for path, item in OPENAPI["paths"].items() for method, operation in item.items()]


@test("each route that the programs serve is in openapi.json, and each that is there is served")
def _(s):
    found = served()
    assert {("POST", "/ws/publish"), ("GET", "/ws/history/*"), ("GET", "/sse/*"), ("GET", "/ws/combined"), ("DELETE", "/ws/connection/*")} <= found, found
    equal(described() - found, {("GET", path) for path in ("/admin", "/dashboard", "/docs", "/openapi.json", "/asyncapi.json")}, "described, and in no program")
    equal(found - described(), set(), "in a program, and not described")
    token = s.token("root", role="admin")
    for path, method, operation in operations():
        for parameter in operation.get("parameters", ()):
            p = contract.resolve(OPENAPI, parameter)
            if p["in"] == "path":
                path = path.replace(f"{{{p['name']}}}", str(p["example"]))
        if path.startswith("/sse"):
            continue
        reply = s.api.request(method, path + ("?timeout=0" if path.startswith("/poll/") else ""), "{}" if method == "POST" else None, token)
        assert reply.status != 405 and b"nothing at this path" not in reply.body, f"{method} {path}: {reply!r}"
    known = {contract.channel_of(path.replace("{diagnosis_id}", "123")) for path, _, operation in operations()
             if "101" in operation["responses"] or re.match("/(sse|poll)", path)}
    equal(known, set(contract.CHANNELS), "channels")


@test("/docs names each route, and a type that is the server's own is one in the documents, in its source and in no other")
def _(s):
    page = s.api.get("/docs").body.decode()
    table = page[page.index('id="routes"'):page.index("</table>")]
    named = re.findall(r"<code>(?:([A-Z]+) )?(/\S*?)(?: \(WebSocket\))?</code></td>", table)
    equal({(method or "GET", re.sub(r"\{\w+\}", "*", path)) for method, path in named}, described(), "routes in the table")
    source = re.search(r"own\[\] = \{(.*?)\}", read("src", "domain", "topic", "message_type.c"), re.S)[1]
    own = set(re.findall(r'"(\w+)"', source))
    equal(own, set(OPENAPI["components"]["schemas"]["ServerType"]["enum"]), "the server's own types")


# A code of an error, where the programs say one.
CODE = re.compile(r'(?:error_code = |(?:refuse_user|reply_refuse|reply_error)\(\w+(?:->\w+)*, |refuse\(fault, |refuse\(d, limits, now_us, )"(\w+)"'
                  r'|code\\":\\"(\w+)|\? "(\w+)"\s*: "(\w+)"')


@test("each close code and each code of an error that the programs say is in asyncapi.json, and the other way round")
def _(s):
    equal(set(re.findall(r"= (1\d\d\d)\b", read("src", "domain", "websocket", "close_code.h"))), set(ASYNCAPI["x-close-codes"]), "close codes")
    domain = TOP / "src" / "domain"
    watching = {domain / "dialog" / "dialog.c", TOP / "ws" / "kind" / "stream.c"}
    live = {*(TOP / "ws").rglob("*.c"), *(domain / "input").glob("*.c"), *(domain / "dialog").glob("*.c")} - watching
    for schema, sources in (("LiveError", live), ("WatchError", watching | {TOP / "ws" / "subscribe" / "subscribe_request.c"})):
        said = {code for source in sources for found in CODE.findall(source.read_text()) for code in found if code not in ("", "healthy", "unhealthy")}
        equal(said, {c["const"] for c in codes(schema)}, f"codes of {schema}")


def members(message):
    """Of what a client says beside its type: (name, required)."""
    schema = contract.resolve_any(ASYNCAPI["components"]["messages"][message]["payload"])
    schema = schema.get("oneOf", [schema])[0]
    schema = contract.resolve_any(schema["properties"].get("data", schema))
    return {(name, name in schema.get("required", ())) for name in schema.get("properties", {}).keys() - {"type", "correlation_id"}}


@test("what a client of live health may say has in asyncapi.json the types and members that the sidecar takes, and no other")
def _(s):
    taken = {name: set(members.items()) for name, sort, members in TYPES if sort != "HTTP_ACT"}
    assert {"ping", "subscribe", "set_threshold"} <= taken.keys(), taken
    live = next(c for c in contract.CHANNELS if c.key == "live")
    equal({kind: members(message) for kind, message in live.received.items()}, taken, "what may be said")


def references(node):
    if isinstance(node, dict):
        yield from [node["$ref"]] if isinstance(node.get("$ref"), str) else []
    for inner in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from references(inner)


@test("each reference in asyncapi.json leads somewhere, and the messages of an operation are its channel's")
def _(s):
    for reference in references(ASYNCAPI):
        document, _, path = reference.partition("#")
        assert contract.resolve({"": ASYNCAPI, "openapi.json": OPENAPI}[document], {"$ref": f"#{path}"}), reference
    for name, operation in ASYNCAPI["operations"].items():
        for part in (operation, operation.get("reply", {})):
            channel = part.get("channel", operation["channel"])["$ref"]
            others = [m["$ref"] for m in part.get("messages", ()) if not m["$ref"].startswith(f"{channel}/messages/")]
            equal(others, [], f"messages of {name} that are of another channel")


@test("each example in openapi.json and asyncapi.json is as its schema says")
def _(s):
    count = 0

    def check(what, name, value, strict):
        nonlocal count
        count += 1
        equal(contract.validators.problem(name, value, strict), None, f"what is wrong with an example of {what}: {value}")

    def values(content):
        return [content["example"]] if "example" in content else [e["value"] for e in content.get("examples", {}).values()]

    for path, method, operation in operations():
        where = contract.route(method, path)
        for value in values(operation.get("requestBody", {}).get("content", {}).get("application/json", {})):
            check(where, f"{where} body", value, False)
        for status, answer in operation["responses"].items():
            for kind, content in contract.resolve(OPENAPI, answer).get("content", {}).items():
                for value in values(content):
                    check(f"{where} {status}", f"{where} {status} {kind}", value, True)
        for parameter in operation.get("parameters", ()):
            p = contract.resolve(OPENAPI, parameter)
            check(f"{where} {p['name']}", f"{where} {p['in']} {p['name']}", p["example"], False)
    for name, message in ASYNCAPI["components"]["messages"].items():
        assert message["examples"], f"no example of {name}"
        for example in message["examples"]:
            check(name, f"message {contract.name_of(message['payload'])}", example["payload"], True)
    assert count > 200, count


def answer(status, body, **headers):
    message = email.message.Message()
    for name, value in {"Content_Type": "application/json", **headers}.items():
        message[name.replace("_", "-")] = value
    return Reply(status, message, json.dumps(body).encode())


@test("what is not described is found: a status, a header, a member, a value, a route, a message, a close code, and what was said and taken")
def _(s):
    good = {"status": "broadcasted", "diagnosis_id": 1, "clients_notified": 0, "seq": 1}
    path, sent = "/ws/broadcast-feedback-update", {"diagnosis_id": 1, "feedback_id": 1, "rating": 5, "effectiveness": 1}
    subscribed = ASYNCAPI["components"]["messages"]["Subscribed"]["examples"][0]["payload"]
    pong = {"type": "pong", "diagnosis_id": 1, "data": {"timestamp": "2026-11-21T10:00:00.123Z"}}

    def found(call):
        contract.found.clear()
        call()
        found = list(contract.found)
        contract.found.clear()
        return found

    def exchange(status=200, body=good, target=path, said=sent, method="POST", **headers):
        return found(lambda: contract.exchange(method, target, {}, json.dumps(said), answer(status, body, **headers)))

    def dialog(*heard, said=None, code=None, target="/ws/1"):
        def run():
            d = contract.Dialog(target)
            if said is not None:
                d.say(json.dumps(said))
            for message in heard:
                d.heard(message)
            d.ended(code)
        return found(run)

    equal((exchange(), exchange(Cache_Control="no-store"), dialog(pong, said={"type": "ping"}, code=1008),
           dialog(subscribed, said={"type": "subscribe", "subscription": "chat"}, target="/ws/chat")), ([], [], [], []), "found in what is described")
    for what, got in (
        ("a status", exchange(201)), ("a header", exchange(X_Other="1")), ("a header's value", exchange(Cache_Control="private")),
        ("a member", exchange(body={**good, "other": 1})), ("a value", exchange(body={**good, "seq": "1"})),
        ("a member that is missing", exchange(body={"status": "broadcasted"})),
        ("a kind of content", exchange(Content_Type="text/html")), ("a path", exchange(target="/ws/other")), ("a method", exchange(method="PUT")),
        ("a header that is missing", exchange(429, {}, Content_Type="application/problem+json")), ("a request", exchange(said={**sent, "rating": 6})),
        ("a message", dialog({**pong, "other": 1})), ("a type", dialog({"type": "other"})), ("a close code", dialog(code=1015)),
        ("what a client said", dialog(subscribed, said={"type": "subscribe", "subscription": 7}, target="/ws/chat")),
    ):
        assert got, f"{what} that is not described was not found"


def shown(page):
    page.on(DRAWN, "waitFor")


@test("the docs show each route, each status with an example, each message and each close code of the documents")
def _(s):
    with clients.Place(s) as place, pages.opened(s, place, path="/docs") as page:
        shown(page)
        entries = page.evaluate("""Object.fromEntries([...document.querySelectorAll('.entry')].map((e) => [e.id, {
            text: e.textContent, answers: e.querySelectorAll('.answer').length, forms: e.querySelectorAll('.fold').length,
            labels: [...e.querySelectorAll('[aria-label]')].map((l) => l.ariaLabel) }]))""")
        for path, method, operation in operations():
            name = operation["operationId"]
            entry = entries[name]
            assert path in entry["text"] and operation["summary"] in entry["text"], f"{method} {path}: {entry['text'][:200]}"
            equal(entry["answers"], len(operation["responses"].keys() - {"405", "default"}), f"answers of {path}")
            elsewhere = path.startswith("/sse") or "101" in operation["responses"]
            equal(entry["forms"], 0 if elsewhere else 1, f"forms that try {path}")
            for status, answer in operation["responses"].items():
                content = contract.resolve(OPENAPI, answer).get("content", {})
                if status not in ("405", "default") and any("example" in c or "examples" in c for c in content.values()):
                    assert f"Example of {name} {status}" in entry["labels"], f"no example of {name} {status}"
        for name, message in ASYNCAPI["components"]["messages"].items():
            text = entries[f"message-{name}"]["text"]
            assert message["name"] in text and json.dumps(list(message["examples"][0]["payload"])[0]) in text, f"{name}: {text[:200]}"
        everything = page.on("#reference", "textContent")
        for schema in ("LiveError", "WatchError"):
            for code in codes(schema):
                assert code["const"] in everything and code["description"].split("`")[0] in everything, code
        for code, when in ASYNCAPI["x-close-codes"].items():
            assert code + when in everything, f"{code}: {when}"
        assert all(t in everything for t in OPENAPI["components"]["schemas"]["ServerType"]["enum"])
        assert "[object" not in everything and "undefined" not in everything, re.findall(r".{40}(?:\[object|undefined).{20}", everything)
        # Each link within the page leads somewhere.
        ids = page.evaluate("[...document.querySelectorAll('[id]')].map((e) => e.id)")
        equal(sorted(set(page.evaluate("[...document.querySelectorAll('a[href^=\"#\"]')].map((a) => a.hash.slice(1))")) - set(ids)), [], "links to nowhere")
        equal(len(ids), len(set(ids)), "ids, and how many of them are different")
        page.on("#routes a >> nth=0", "click")
        wait_until(lambda: page.on("#broadcastRecommendation", "getAttribute", "open") == "", "what a link leads to, to be unfolded")


@test("the docs are searched by the keyboard: what fits is left, the first is opened, and Escape shows all again")
def _(s):
    with clients.Place(s) as place, pages.opened(s, place, path="/docs", **pages.PHONE) as page:
        shown(page)
        page.press("/")
        equal(page.focus(), "find", "the focus")
        page.press(*"reconnect user")
        page.wait_text("#hits", "^1 hit$")
        equal(page.evaluate("[...document.querySelectorAll('.hit')].filter((e) => e.checkVisibility()).map((e) => e.id)"), ["reconnect"], "what is left")
        equal(page.on("#tokens", "isVisible"), False, "the guide is shown")
        page.press("Enter")
        equal(page.on("#reconnect", "getAttribute", "open"), "", "the first hit is unfolded")
        page.press("/", "Escape")
        equal((page.text("#hits"), page.on("#tokens", "isVisible")), ("", True), "after Escape")
        page.on("#find", "fill", "xyzzy")
        page.wait_text("#hits", "^0 hits$")
        page.on("#find", "fill", "milliseconds")
        equal(page.on("#tokens", "isVisible"), True, "the guide is searched too")


@test("a route is tried in the docs with one's token, which goes in a header, and what is answered is shown; so is what curl would say, and does")
def _(s):
    with clients.Place(s) as place, pages.opened(s, place, path="/docs#broadcastFeedback") as page:
        shown(page)
        topic, token = place.diagnosis(), s.token(place.user)

        def tried(operation, **fields):
            at = f"#{operation}"
            if not page.on(f"{at} .try", "count"):
                page.evaluate(f"document.querySelector('{at}').open = true")
                page.on(f"{at} .fold > summary", "click")
            for name, value in fields.items():
                page.on(f"#try-{operation}-{name}", "fill", value)
            page.on(f"{at} button", "click")

        tried("broadcastFeedback", body=json.dumps({"diagnosis_id": int(pages.number(topic)), "feedback_id": 1, "rating": 6, "effectiveness": 1}))
        page.wait_text("#broadcastFeedback .result", "^401 Unauthorized .*WWW-Authenticate: Bearer")
        tried("broadcastFeedback", token=token)
        page.wait_text("#broadcastFeedback .result", "^422 .*must be an integer from 1 to 5")
        tried("broadcastFeedback", body=json.dumps({"diagnosis_id": int(pages.number(topic)), "feedback_id": 1, "rating": 5, "effectiveness": 1}))
        page.wait_text("#broadcastFeedback .result", '^200 OK .*"status": "broadcasted"')
        tried("readHistory", diagnosis_id=pages.number(topic))
        page.wait_text("#readHistory .result", '^200 OK .*"feedback_update"')
        tried("pollDiagnosis", diagnosis_id="")
        page.wait_text("#pollDiagnosis .result", "^diagnosis_id is required.$")
        equal(page.focus(), "try-pollDiagnosis-diagnosis_id", "the focus")
        equal([a for a in page.all("address") if token in a], [], "addresses with the token")
        assert token not in page.evaluate("location.href + JSON.stringify(localStorage) + document.cookie + document.body.textContent")
        command = page.on("#broadcastFeedback .command", "textContent")
        done = subprocess.run(["sh", "-c", command.replace("curl", "curl -s", 1).replace("YOUR_JWT_TOKEN", token)], capture_output=True, text=True, timeout=60)
        equal(json.loads(done.stdout)["seq"], 2, f"what {command} does")


@test("without scripts the docs have the guide, each route, and where the rest is")
def _(s):
    with clients.Place(s) as place, pages.opened(s, place, path="/docs", scripts=False) as page:
        page.wait_text("noscript", "shown by JavaScript, which is off here")
        equal(page.on("#search", "isVisible"), False, "a search that finds nothing is shown")
        equal((page.on("#tokens", "isVisible"), page.on("#routes", "isVisible")), (True, True), "the guide is shown")
        equal(page.on('a[href="/openapi.json"] >> nth=0', "isVisible"), True, "the documents are linked")
