"""doc/flutter.md: its requests, as they stand there, sent by what plays the phone; what it says of closes and waits, beside the cases of tests/vectors."""
import contextlib
import http.client
import json
import re
import uuid

from harness import TOP, WAIT_S, Client, equal, test

PAGE = (TOP / "doc" / "flutter.md").read_text()
REQUESTS = re.findall(r"^```http\n(.*?)^```$", PAGE, re.M | re.S)


class Phone:
    """Sends a request of the page, whose placeholders it fills in; `sent`: those that it has."""

    def __init__(self, s, server, diagnosis):
        self.s, self.server, self.topic, self.sent = s, server, f"diagnosis/{diagnosis}", []
        self.cursor, self.key = "", str(uuid.uuid4())

    def request(self, begins, fills=""):
        """(method, path, headers, body) of the first request that begins so and has that text."""
        text = next(r for r in REQUESTS if r.startswith(begins) and fills in r)
        self.sent.append(text)
        fill = {"diagnosis/123": self.topic, "/ws/123": f"/ws/{self.topic.split('/')[1]}", "TOKEN": self.s.token(), "CURSOR": self.cursor, "KEY": self.key}
        text = re.sub("|".join(fill), lambda found: fill[found[0]], text)
        head, _, body = text.partition("\n\n")
        first, *lines = head.splitlines()
        method, path = first.split(" ")
        return method, path, dict(line.split(": ", 1) for line in lines), body.strip() or None

    def opened(self, begins, fills=""):
        """A WebSocket, as the page has it opened."""
        _, path, headers, _ = self.request(begins, fills)
        return Client(f"ws://127.0.0.1:{self.server.port}{path}", headers={k: v for k, v in headers.items() if k == "Authorization"},
                      subprotocols=headers["Sec-WebSocket-Protocol"].split(", ") if "Sec-WebSocket-Protocol" in headers else None)

    def answered(self, begins, fills="", server=None):
        method, path, headers, body = self.request(begins, fills)
        return (server or self.server).api.request(method, path, body and json.loads(body), headers=headers).want(200)

    @contextlib.contextmanager
    def stream(self, begins):
        """(id, message) of each event."""
        method, path, headers, _ = self.request(begins)
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=WAIT_S)
        connection.request(method, path, headers=headers)
        reply = connection.getresponse()
        equal((reply.status, reply.headers.get_content_type()), (200, "text/event-stream"), "status and type")

        def events():
            event = {}
            for line in reply:
                # As the page's Dart reads it.
                name, colon, rest = line.rstrip(b"\n").decode().partition(":")
                if not name and not colon:
                    if "data" in event:
                        yield event.get("id"), json.loads(event["data"])
                    event = {}
                elif name:
                    event[name] = rest.lstrip()

        try:
            yield events()
        finally:
            reply.close()
            connection.close()

    def saw(self, m):
        """It has handled the message, and keeps its cursor."""
        self.cursor = f"{self.cursor.split('-')[0]}-{m['seq']}"


@test("the requests of doc/flutter.md, as they stand there, in the story of a phone: connected, in the background, resumed, by each transport, from a state, by its device's name")
def _(s):
    for server in (s.node1, s.web1):
        diagnosis = s.diagnosis()
        phone = Phone(s, server, diagnosis)

        def publish(*ns):
            for n in ns:
                s.web1.api.post("/ws/publish", {"topic": phone.topic, "type": "note", "data": n}, s.service()).want(200)

        publish(1)
        with phone.opened("GET /ws?topics=diagnosis/123\nAuthorization") as first:
            entry = first.first["data"]["topics"][phone.topic]
            equal(entry["recovered"], True, "recovered")
            phone.cursor = entry["cursor"]
            missed = first.next()
            equal((missed["type"], [m["data"] for m in missed["data"]["messages"]]), ("reconnect_messages", [1]), "what waited")
            publish(2)
            phone.saw(first.next())
            first.close(1000)
        publish(3, 4)
        with phone.opened("GET /ws?topics=diagnosis/123&cursor=CURSOR") as resumed:
            equal(resumed.first["data"]["topics"][phone.topic]["recovered"], True, "recovered")
            back = resumed.next()["data"]["messages"]
            equal([m["data"] for m in back], [3, 4], "what came in the background")
            phone.saw(back[0])
        with phone.stream("GET /sse") as events:
            equal(next(events)[1]["type"], "connect", "the first event")
            phone.cursor, m = next(events)
            equal(m["data"], 4, "what came after the cursor")
        s.wait_watchers(diagnosis, 0)
        publish(5)
        polled = phone.answered("GET /poll", "cursor=CURSOR")
        equal(([m["data"] for m in polled["messages"]], polled["recovered"]), ([5], True), "a poll from there")
        publish(6)
        with phone.opened("GET /ws?topics=diagnosis/123\nSec-WebSocket-Protocol: tidings, bearer") as browser:
            equal(browser.next()["data"]["messages"][-1]["data"], 6, "the last of what waits for a page of Flutter for the web")
        publish(7)
        equal(phone.answered("GET /poll", "timeout=0")["messages"][-1]["data"], 7, "the last that the first poll brings, without a cursor")
        state = phone.answered("GET /ws/history", server=s.web1)
        equal([m["data"] for m in state["messages"]], list(range(1, 8)), "a state")
        phone.cursor = state["cursor"]
        publish(8)
        with phone.opened("GET /ws?topics=diagnosis/123&cursor=CURSOR") as following:
            equal([m["data"] for m in following.next()["data"]["messages"]], [8], "what follows the state")
        said = [phone.answered("POST /ws/send", server=s.web1) for _ in range(2)]
        equal(said[0], said[1], "the answer to what was said twice with one key")
        with phone.opened("GET /ws/123?token=TOKEN&device=phone-7") as named:
            equal(named.first["type"], "connect", "first message")
        equal(set(REQUESTS) - set(phone.sent), set(), "requests of the page that nobody has sent")


@test("what doc/flutter.md says of an end: each close code of tests/vectors, with the wait that the cases have; and the backoff is doc/clients.md's")
def _(s):
    rows = re.findall(r"^\| (\d{4})(.*?) \| .*? \| (.*?) \|$", PAGE, re.M)
    ends = {}
    for code, _, then in rows:
        ends.setdefault(int(code), []).append(then)
    cases = [case for path in sorted((TOP / "tests" / "vectors").glob("*.json")) for case in json.loads(path.read_text())["cases"]]
    codes = {step["closed"][0] for case in cases for step in case["steps"] if "closed" in step}
    equal(codes - set(ends), set(), "codes of the cases that the page does not have")
    for case in cases:
        for step, after in zip(case["steps"], case["steps"][1:]):
            if "closed" in step and "waits_ms" in after and after["waits_ms"][0] >= 2000:
                assert any("2 s more" in then for then in ends[step["closed"][0]]), case["name"]
    sentence = "500 ms, doubled with each attempt, at most 30 s; of that, half to all, at random. It begins anew after a connection that\nlasted 10 s."
    assert " ".join(sentence.split()) in " ".join(PAGE.split()) and " ".join(sentence.split()) in " ".join((TOP / "doc" / "clients.md").read_text().split()), sentence
