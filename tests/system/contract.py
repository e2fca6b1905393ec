"""
contract - holds what goes over the wire against web/openapi.json and web/asyncapi.json.

	exchange()	a request and its answer
	Dialog		what is said on one WebSocket, both ways; event(): what comes on an event stream
	found		what was not as described, since somebody looked last: the runner fails the test that caused it

An answer with a status, a header, a member or a value that is not described is found. A request is held against the description only
where it was answered with success: tests say much that is wrong on purpose. Clients have to pass over members that they do not know;
here such a member is found, since nobody would read of it.
"""
import copy
import json
import pathlib
import re
import urllib.parse

import fastjsonschema

WEB = pathlib.Path(__file__).resolve().parents[2] / "web"
OPENAPI = json.loads((WEB / "openapi.json").read_text())
ASYNCAPI = json.loads((WEB / "asyncapi.json").read_text())

found = []

# Those that fastjsonschema does not know; patterns and bounds say the same.
FORMATS = {"int64": ".*", "uuid": ".*"}
# Of HTTP itself, or of the server in front.
USUAL = {"connection", "content-length", "content-type", "date", "keep-alive", "server", "transfer-encoding", "accept-ranges", "etag",
         "last-modified", "content-security-policy", "referrer-policy", "x-content-type-options", "vary", "upgrade"}
PREFLIGHT = {"access-control-allow-methods", "access-control-allow-headers", "access-control-max-age", "access-control-allow-origin",
             "access-control-expose-headers", "cache-control", "x-request-id"}


def resolve(document, node):
    while "$ref" in node:
        at = document
        for part in node["$ref"].removeprefix("#/").split("/"):
            at = at[part.replace("~1", "/").replace("~0", "~")]
        node = at
    return node


def closed(node):
    """The same schema, which takes no member that it does not name."""
    if isinstance(node, list):
        return [closed(n) for n in node]
    if not isinstance(node, dict):
        return node
    node = {k: closed(v) for k, v in node.items()}
    if "properties" in node and "additionalProperties" not in node and "object" in node.get("type", ()):
        node["additionalProperties"] = False
    return node


def route(method, path):
    """Without braces, which fastjsonschema would fill in."""
    return f"{method.upper()} {path.replace('{', '<').replace('}', '>')}"


class Validators:
    """All schemas, compiled at once: compiling them one by one walks through all of them each time."""

    def __init__(self):
        schemas = copy.deepcopy(OPENAPI["components"]["schemas"])
        ours = json.loads(json.dumps(ASYNCAPI["components"]["schemas"]).replace("openapi.json#", "#"))
        assert not schemas.keys() & ours.keys(), "a name of a schema is in both documents"
        schemas.update(ours)
        self.wanted = {}
        for name in schemas:
            self.wanted[f"message {name}"] = {"$ref": f"#/components/schemas/{name}"}
        for path, item in OPENAPI["paths"].items():
            for method, operation in item.items():
                where = route(method, path)
                for status, answer in operation["responses"].items():
                    for kind, content in resolve(OPENAPI, answer).get("content", {}).items():
                        self.wanted[f"{where} {status} {kind}"] = content["schema"]
                if "requestBody" in operation:
                    self.wanted[f"{where} body"] = operation["requestBody"]["content"]["application/json"]["schema"]
                for parameter in operation.get("parameters", ()):
                    p = resolve(OPENAPI, parameter)
                    self.wanted[f"{where} {p['in']} {p['name']}"] = p["schema"]
        for name, header in OPENAPI["components"]["headers"].items():
            self.wanted[f"header {name}"] = header["schema"]
        self.compiled = {}
        self.schemas = {False: schemas, True: closed(schemas)}

    def problem(self, name, value, strict=True):
        """What is wrong with it; None: nothing."""
        assert name in self.wanted, name
        if strict not in self.compiled:
            properties = closed(self.wanted) if strict else self.wanted
            whole = {"properties": properties, "components": {"schemas": self.schemas[strict]}}
            self.compiled[strict] = fastjsonschema.compile(whole, formats=FORMATS)
        try:
            self.compiled[strict]({name: value})
        except fastjsonschema.JsonSchemaException as e:
            return str(e).replace(f"data.{name}", "it")
        return None


validators = Validators()


def find(what):
    # One cause can be met thousands of times.
    if len(found) < 20:
        found.append(what)


def show(value):
    text = value if isinstance(value, str) else repr(value) if isinstance(value, bytes) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 600 else text[:600] + "…"


# ------------------------------------------------------------------------------------------------------------------ HTTP


def pattern_of(path):
    # A user's id may have slashes in it; what is no number is no diagnosis, so there is no such path.
    part = {"{user_id}": ".+", "{topic}": ".+", "{diagnosis_id}": "[1-9][0-9]*", "{id}": "[^/]+", "{name}": "[^/]+", "{stream}": "(?:health|chat|notifications|combined)"}
    return re.compile("".join(part.get(p) or re.escape(p) for p in re.split(r"(\{\w+\})", path)), re.S)


PATHS = sorted(((pattern_of(p), p, item) for p, item in OPENAPI["paths"].items()), key=lambda entry: "{" in entry[1])
# Of requests that nobody can read, serve or hand on.
UNLESS_AWAY = OPENAPI["components"]["headers"]["RetryAfterUnlessAway"]
ON_THE_WAY = set(OPENAPI["components"]["responses"]["OnTheWay"]["x-statuses"])


def path_of(target):
    """(path as it is described, its item), or (None, None)."""
    path = urllib.parse.unquote(urllib.parse.urlsplit(target).path, errors="replace")
    for pattern, name, item in PATHS:
        if pattern.fullmatch(path):
            return name, item
    return None, None


def header_of(answer, name):
    for known, header in answer.get("headers", {}).items():
        if known.lower() == name:
            return header["$ref"].rpartition("/")[2] if "$ref" in header else known
    return None


def exchange(method, target, headers, body, reply, sidecar=False):
    """
    A request and its answer: a harness.Reply.

        body	bytes, or None: not known, or none
        sidecar	it answers on its own port, where the web server's other programs are not
    """
    path, item = path_of(target)
    what = f"{method} {target.partition('?')[0]} {reply.status}"
    if path is None:
        unknown_path(what, method, target, reply)
    elif method == "OPTIONS":
        preflight(what, method, reply)
    elif method.lower() in item or method == "HEAD" and "get" in item:
        known = "get" if method == "HEAD" else method.lower()
        answered(what, route(known, path), item[known], method, reply, sidecar)
        if reply.status < 300:
            asked(what, route(known, path), item[known], target, headers, body)
    else:
        if reply.status not in {405, *ON_THE_WAY} and not (sidecar and reply.status == 404):
            find(f"{what}: a method that is not described, and not 405")
        check_problem(what, method, reply)


def unknown_path(what, method, target, reply):
    path = urllib.parse.urlsplit(target).path
    if reply.status < 400:
        if not (path == "/" or (WEB / path.lstrip("/")).is_file()):
            find(f"{what}: a path that is not described")
        return
    refused(what, method, reply, "a path that is not described, and not 404")


def preflight(what, method, reply):
    if reply.status == 204:
        others = {name.lower() for name in reply.headers} - USUAL - PREFLIGHT
        if others or reply.body:
            find(f"{what}: {sorted(others)} and a body of {len(reply.body)} bytes are not described")
        return
    refused(what, method, reply, "this status is not described")


def refused(what, method, reply, otherwise):
    """Where no operation says which statuses there are."""
    if reply.status not in {403, 404, 405, 503, *ON_THE_WAY}:
        find(f"{what}: {otherwise}")
    check_problem(what, method, reply)


def check_problem(what, method, reply):
    if method == "HEAD" or not reply.body:
        return
    wrong = reply.headers.get_content_type() != "application/problem+json" or validators.problem("message Problem", reply.json)
    if wrong:
        find(f"{what}: {wrong}: {show(reply.body)}")


def is_servers_own(reply):
    """The web server answers by itself, with a file."""
    path = WEB / "problem" / f"{reply.status}.html"
    return path.is_file() and path.read_bytes() == reply.body


def answered(what, where, operation, method, reply, sidecar):
    status = str(reply.status)
    if status not in operation["responses"]:
        if reply.status in ON_THE_WAY:
            status = "default"
        elif not (sidecar and reply.status == 404):
            find(f"{what}: this status is not described")
            return
    answer = resolve(OPENAPI, operation["responses"].get(status, operation["responses"]["default"]))
    for name in sorted({name.lower() for name in reply.headers} - USUAL):
        known = header_of(answer, name)
        if not known:
            find(f"{what}: the header {name} is not described")
        elif known in OPENAPI["components"]["headers"]:
            value = reply.headers[name]
            wrong = validators.problem(f"header {known}", int(value) if value.isdigit() and known.startswith("RetryAfter") else value)
            if wrong:
                find(f"{what}: the header {name}: {wrong}: {value}")
    for name, header in answer.get("headers", {}).items():
        header = resolve(OPENAPI, header)
        if name not in reply.headers and (header.get("required") or header is UNLESS_AWAY and not is_servers_own(reply)):
            find(f"{what}: the header {name} is missing")
    if method == "HEAD" or reply.status < 200:
        return
    kind = reply.headers.get_content_type()
    if kind not in answer.get("content", {}):
        find(f"{what}: {kind} is not described")
    elif kind.endswith("json"):
        value = reply.json
        wrong = validators.problem(f"{where} {status if status in operation['responses'] else 'default'} {kind}", value)
        if wrong:
            find(f"{what}: {wrong}: {show(value)}")
        for message in value.get("messages", ()) if reply.status == 200 else ():
            check_message(what, message)


def asked(what, where, operation, target, headers, body):
    query = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(target).query, keep_blank_values=True, errors="replace"))
    headers = {k.lower(): v for k, v in (headers or {}).items()}
    for parameter in operation.get("parameters", ()):
        p = resolve(OPENAPI, parameter)
        given = query.get(p["name"]) if p["in"] == "query" else headers.get(p["name"].lower()) if p["in"] == "header" else None
        if given is None:
            continue
        numeric = resolve(OPENAPI, p["schema"]).get("type") == "integer" and re.fullmatch("[0-9]+", given)
        wrong = validators.problem(f"{where} {p['in']} {p['name']}", int(given) if numeric else given, strict=False)
        if wrong:
            find(f"{what}: asked with {p['name']}={given}: {wrong}")
    if "requestBody" in operation and body is not None:
        value = json.loads(body)
        wrong = validators.problem(f"{where} body", whole(value) if where == "POST /ws/send" else value, strict=False)
        if wrong:
            find(f"{what}: asked so, where {wrong}: {show(value)}")


# -------------------------------------------------------------------------------------------------------------- messages


def type_of(schema):
    """The type of the messages that this is the schema of; None: any."""
    schema = resolve_any(schema)
    if "oneOf" in schema:
        return type_of(schema["oneOf"][0])
    return schema.get("properties", {}).get("type", {}).get("const")


def name_of(reference):
    return reference["$ref"].rpartition("/")[2]


def resolve_any(schema):
    if "$ref" not in schema:
        return schema
    document = OPENAPI if schema["$ref"].startswith("openapi.json") else ASYNCAPI
    return document["components"]["schemas"][name_of(schema)]


class Channel:
    """One way of messages: what may be said, by type, and what it is answered with."""

    def __init__(self, key, channel):
        self.key, self.pattern = key, pattern_of(channel["address"])
        self.sent, self.received, self.replies = {}, {}, {}
        for operation in ASYNCAPI["operations"].values():
            if name_of(operation["channel"]) != key:
                continue
            names = [name_of(m) for m in operation["messages"]]
            answers = [name_of(m) for m in operation.get("reply", {}).get("messages", ())]
            for name in names if operation["action"] == "send" else answers:
                self.sent[self._type(name)] = name
            if operation["action"] == "receive":
                self.received[self._type(names[0])] = names[0]
                self.replies[self._type(names[0])] = {self._type(a) for a in answers} - {"error"}

    @staticmethod
    def _type(name):
        return type_of(ASYNCAPI["components"]["messages"][name]["payload"])


CHANNELS = [Channel(k, c) for k, c in ASYNCAPI["channels"].items()]
CLOSE_CODES = {int(code) for code in ASYNCAPI["x-close-codes"]}


def channel_of(target):
    path = urllib.parse.urlsplit(target).path
    for channel in CHANNELS:
        if channel.pattern.fullmatch(path):
            return channel
    return None


def topics_of(schema):
    return schema.get("properties", {}).get("topic", {}).get("pattern")


# Messages of topics, by type: the schema's name, and the topics that they belong to. A service may give another topic's messages that type.
OF_TOPICS = {type_of(s): (name, topics_of(s)) for name, s in OPENAPI["components"]["schemas"].items() if topics_of(s)}


def message_name(message):
    """Of the schema of a topic's message."""
    name, topics = OF_TOPICS.get(message.get("type"), ("PublishedMessage", ""))
    return name if re.match(topics, message.get("topic") or "") else "PublishedMessage"


def check_message(what, message):
    """One of a topic."""
    name = message_name(message)
    wrong = validators.problem(f"message {name}", message)
    if wrong:
        find(f"{what}: {name}: {wrong}: {show(message)}")


def whole(message):
    """Members may stand in `data` or beside it; schemas have them in one place."""
    if not isinstance(message, dict) or not isinstance(message.get("type"), str):
        return message
    envelope = {k: v for k, v in message.items() if k in ("type", "timestamp", "correlation_id") and v is not None}
    members = {k: v for k, v in message.items() if k not in ("type", "timestamp", "correlation_id", "data")}
    members.update(message.get("data") or {})
    name = next((c.received[message["type"]] for c in CHANNELS if c.key == "live" and message["type"] in c.received), None)
    if name and "data" in resolve_any(ASYNCAPI["components"]["messages"][name]["payload"]).get("properties", {}):
        return {**envelope, "data": members}
    return {**envelope, **members}


class Dialog:
    """What is said on one WebSocket."""

    def __init__(self, target):
        self.channel = channel_of(target)
        self.what = target.partition("?")[0]
        self.said = []  # by the client, and not answered yet

    def heard(self, message):
        """From the server."""
        if self.channel is None:
            return
        kind = message.get("type")
        name = self.channel.sent.get(kind)
        if kind in OF_TOPICS or not name:
            name = message_name(message)
        wrong = validators.problem(f"message {name}", message)
        if wrong:
            find(f"{self.what}: {name}: {wrong}: {show(message)}")
        if kind == "reconnect_messages":
            for missed in message["data"]["messages"]:
                check_message(self.what, missed)
        if "seq" not in message:
            self._answered(kind, message.get("correlation_id"))

    def _answered(self, kind, correlation):
        """Of what was said so, one at least is as it is described: what was wrong was answered with an error."""
        asked = [m for m in self.said if correlation == m.get("correlation_id") and kind in self.channel.replies[m["type"]]]
        problems = []
        for message in asked:
            name = self.channel.received[message["type"]]
            wrong = validators.problem(f"message {name}", whole(message) if self.channel.key == "live" else message, strict=False)
            if not wrong:
                self.said.remove(message)
                return
            problems.append(f"{name}: {wrong}: {show(message)}")
        if problems:
            find(f"{self.what}: said so, and answered with {kind}: {' | '.join(problems[:3])}")

    def say(self, text):
        """From the client: whatever it is."""
        if self.channel is None or isinstance(text, bytes):
            return
        try:
            message = json.loads(text)
        except (ValueError, RecursionError):
            return
        if isinstance(message, dict) and isinstance(message.get("type"), str) and self.channel.replies.get(message["type"]):
            self.said = self.said[-200:] + [message]

    def ended(self, code):
        """By the server, with that code."""
        if self.channel is not None and 1000 <= (code or 0) < 3000 and code not in CLOSE_CODES | {1005, 1006}:
            find(f"{self.what}: closed with {code}, which is not described")


def event(target, message):
    """From the server, on an event stream."""
    dialog = Dialog(target)
    if dialog.channel is not None:
        dialog.heard(message)
