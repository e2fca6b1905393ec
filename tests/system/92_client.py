"""
The client (web/tidings.js) against the whole of tidings: in Node, and in a real browser on a page that lighttpd serves; through
networks that let everything through, refuse WebSocket, swallow it, and hold back streams (web/test/network.mjs).
"""
import contextlib
import json
import os
import pathlib
import queue
import shutil
import signal
import subprocess
import threading

from harness import Skip, TOP, WAIT_S, equal, test, wait_until

WEB = pathlib.Path(os.environ.get("TIDINGS_WEB", TOP / "build" / "test" / "web"))
NETWORKS = {"open": "websocket", "refuse": "sse", "swallow": "sse", "buffer": "long_poll"}
BEST = ["websocket", "sse", "long_poll"]
OPTIONS = {"connectTimeout": WAIT_S * 1000, "backoffMin": 50, "backoffMax": 500}
IMPATIENT = {**OPTIONS, "connectTimeout": 3000}  # where the network lets nothing through that would say no


def options_in(mode):
    return IMPATIENT if mode in ("swallow", "buffer") else OPTIONS


def command(kind):
    """What starts drive.mjs; its packages are there then."""
    node, browser = shutil.which("node"), shutil.which("chromium")
    if not node or not shutil.which("npm"):
        raise Skip("no node with npm here")
    if kind == "chromium" and not browser:
        raise Skip("no chromium here")
    done = subprocess.run([TOP / "web" / "test" / "prepare", WEB], capture_output=True, text=True)
    equal(done.returncode, 0, f"exit status of npm ci: {done.stdout}{done.stderr}")
    return [node, WEB / "test" / "drive.mjs", kind], [browser or ""]


class Driven:
    """A client in Node or in a browser, behind a network of its own: web/test/drive.mjs tells the commands and the events."""

    def __init__(self, s, kind, port):
        before, after = command(kind)
        self.errors = open(s.logs / f"drive-{kind}.txt", "a+")
        self.child = subprocess.Popen([*before, str(port), *after], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.errors, text=True,
                                      env=s.browser_environment())
        self.events, self.replies = [], queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()
        self.origin = self._reply("start", 60)

    def _read(self):
        for line in self.child.stdout:
            message = json.loads(line)
            (self.events.append if "event" in message else self.replies.put)(message)

    def _reply(self, what, seconds=WAIT_S):
        try:
            reply = self.replies.get(timeout=seconds)
        except queue.Empty:
            self.errors.seek(0)
            raise AssertionError(f"no answer to {what}: {self.errors.read()[-2000:]}; events: {self.events[-5:]}") from None
        equal(reply["did"], what, "what was answered")
        return reply["result"]

    def do(self, what, seconds=WAIT_S, **more):
        self.child.stdin.write(json.dumps({"do": what, **more}) + "\n")
        self.child.stdin.flush()
        return self._reply(what, seconds)

    def all(self, event, tab=0):
        return [e["detail"] for e in list(self.events) if e["event"] == event and e.get("tab", 0) == tab]

    def event(self, name, count=1, tab=0):
        wait_until(lambda: len(self.all(name, tab)) >= count, f"{name} {count} in {self.events[-20:]}", 60)
        return self.all(name, tab)[count - 1]

    def seqs(self, topic, tab=0):
        return [m["seq"] for m in self.all("message", tab) if m["topic"] == topic and "seq" in m]

    def wait_seq(self, topic, seq, tab=0):
        wait_until(lambda: self.seqs(topic, tab)[-1:] == [seq], f"message {seq} of {topic}; last events: {self.events[-5:]}", 60)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.child.stdin.close()
        try:
            self.child.wait(WAIT_S)
        except subprocess.TimeoutExpired:
            self.child.kill()
            self.child.wait()
        self.errors.close()


class Place:
    """A sidecar that comes and goes, with a web server before it that stays."""

    def __init__(self, s, **settings):
        self.s, self.settings = s, settings
        self.node = s.start_node(**settings)
        self.web = s.start_web(self.node)
        self.user = str(s.diagnosis())  # one that nobody else is

    def stop(self, how=signal.SIGTERM):
        self.node.signal(how)
        self.node.wait()
        self.s.forget(self.node)

    def start(self):
        self.node = self.s.start_node(self.node.port, **self.settings)

    def diagnosis(self):
        return f"diagnosis/{self.s.diagnosis(owner=self.user)}"

    def publish(self, *topics, api=None):
        """The last seq of each."""
        reply = (api or self.s.api).post("/ws/publish", [{"topic": t, "type": "note", "data": {}} for t in topics], self.s.service()).want(200)
        return {r["topic"]: r["seq"] for r in reply["results"]}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for process in (self.web, self.node):
            self.s.forget(process)
            with contextlib.suppress(AssertionError):
                process.stop()


def story(s, kind, mode):
    """Everything that happens to a client in its life; in the end each message has come, once, in order."""
    with Place(s) as place, Driven(s, kind, place.web.port) as client:
        a, b, c, health = place.diagnosis(), place.diagnosis(), place.diagnosis(), f"health/{place.user}"
        last = place.publish(a, b, health)
        client.do("network", mode=mode)
        tokens = {"first": s.token(place.user, ttl=10), "expiring": s.token(place.user), "refused": s.token(place.user)}
        client.do("new", tokens=tokens, options={"topics": [a, b, health], **options_in(mode)})
        equal(client.event("connected")["transport"], NETWORKS[mode], "transport")

        def everything_came():
            for topic, seq in last.items():
                client.wait_seq(topic, seq)

        for _n in range(3):
            last |= place.publish(a, b, health)
        everything_came()

        # The token is about to expire, or, where the machine was too slow for that, has; what is published while it is exchanged comes too.
        assert client.event("token", 2) in ("expiring", "refused"), "why another token is wanted"
        last |= place.publish(a, b, health)
        everything_came()

        # The sidecar goes in form, and comes back.
        place.stop()
        last |= place.publish(a, b)
        place.start()
        last |= place.publish(a, health)
        everything_came()

        # One topic comes, one goes.
        last |= place.publish(c, c)
        client.do("subscribe", topic=c)
        client.do("unsubscribe", topic=b)
        client.wait_seq(c, 2)
        wait_until(lambda: client.all("connected")[-1]["topics"] == [a, health, c], "the topics to be those")
        place.publish(b)
        last_b = last.pop(b)
        last |= place.publish(a, c, health)
        everything_came()

        # The sidecar crashes; meanwhile the queue of one topic is trimmed.
        place.stop(signal.SIGKILL)
        known = last[a]
        with s.web(TIDINGS_QUEUE_MAX=10, TIDINGS_QUEUE_MIN_AGE=0) as narrow:
            for _n in range(40):
                last |= place.publish(a, api=narrow.api)
        last |= place.publish(c, health)
        first = s.api.get(f"/ws/history/{a.split('/')[1]}", s.token(place.user)).want(200)["messages"][0]["seq"]
        place.start()
        everything_came()

        equal(client.all("gap"), [{"topic": a, "from": known + 1, "to": first - 1}], "gaps")
        for topic, seq in last.items():
            wanted = [n for n in range(1, seq + 1) if topic != a or not known < n < first]
            equal(client.seqs(topic), wanted, f"seqs of {topic}")
        equal(client.seqs(b), list(range(1, last_b + 1)), "seqs of the topic that went")
        equal([e for e in client.all("error") if e["code"] not in ("busy", "unreachable")], [], "errors")
        equal(client.all("pageerror"), [], "errors of the page")
        # None that this network lets not through; where the machine was too busy for connectTimeout, also a lesser one for a while.
        used = {e["transport"] for e in client.all("connected")} | {client.do("state")["transport"]}
        best = BEST.index(NETWORKS[mode])
        assert NETWORKS[mode] in used and not used & set(BEST[:best]), f"transports {used}"


for kind, place_ in (("node", "in Node"), ("chromium", "in Chromium")):
    for mode, network in (("open", "an open network"), ("refuse", "a network that refuses WebSocket"),
                          ("swallow", "a network that swallows WebSocket"), ("buffer", "a network that holds streams back")):
        @test(f"the client {place_}, {network}: every message comes, once, in order, whatever happens", allow="Connection refused|backend")
        def _(s, kind=kind, mode=mode):
            story(s, kind, mode)


@test("a network that becomes better: the client in Chromium goes back to WebSocket by itself, and nothing is lost")
def _(s):
    with Place(s) as place, Driven(s, "chromium", place.web.port) as client:
        topic = place.diagnosis()
        client.do("network", mode="buffer")
        client.do("new", tokens={"first": s.token(place.user)}, options={"topics": [topic], "probeInterval": 200, **IMPATIENT})
        equal(client.event("connected")["transport"], "long_poll", "transport")
        client.do("network", mode="open")
        last = place.publish(topic)[topic]
        while client.do("state")["transport"] != "websocket":
            last = place.publish(topic)[topic]
        last = place.publish(topic)[topic]
        client.wait_seq(topic, last)
        equal(client.seqs(topic), list(range(1, last + 1)), "seqs")
        equal((client.all("disconnected"), client.all("gap"), client.all("error")), ([], [], []), "breaks")


@test("a page that is loaded anew begins with the transport that worked, and goes on from the cursors that it kept")
def _(s):
    with Place(s) as place, Driven(s, "chromium", place.web.port) as client:
        topic = place.diagnosis()
        start = {"tokens": {"first": s.token(place.user)}, "options": {"topics": [topic], **OPTIONS}}
        place.publish(topic)
        client.do("network", mode="refuse")
        client.do("new", **start)
        client.wait_seq(topic, 1)
        equal(client.event("connected")["transport"], "sse", "transport")
        equal(client.do("asked"), ["/ws", "/poll", "/sse"], "the first time: before a stream, a poll fetches what waits")
        cursors = client.do("state")["cursors"]
        client.do("go", path="/docs")
        place.publish(topic)
        start["options"]["cursors"] = cursors
        client.do("new", **start)
        client.wait_seq(topic, 2)
        client.event("connected", 2)
        equal(client.do("asked"), ["/sse"], "the second time")
        equal(client.seqs(topic), [1, 2], "seqs")


@test("topics that are not allowed are dropped with an error, by each transport; the others go on")
def _(s):
    for kind in ("node", "chromium"):
        with Place(s) as place, Driven(s, kind, place.web.port) as client:
            for n, transport in enumerate(("websocket", "sse", "long_poll"), 1):
                topic, foreign = place.diagnosis(), f"diagnosis/{s.diagnosis(owner='999')}"
                place.publish(topic)
                options = {"topics": [foreign, topic, "health/999"], "transports": [transport], **OPTIONS}
                client.do("new", tokens={"first": s.token(place.user)}, options=options)
                client.wait_seq(topic, 1)
                equal([(e["code"], e["topic"]) for e in client.all("error")[-2:]], [("forbidden", foreign), ("forbidden", "health/999")], "errors")
                equal((client.do("state")["topics"], len(client.all("error"))), ([topic], 2 * n), "what is left")


@test("a page of another origin gets everything by each transport where that is allowed; where it is not, nothing over HTTP")
def _(s):
    with Place(s) as place, Driven(s, "chromium", place.web.port) as client:
        client.do("go", path="/elsewhere")
        with s.node(TIDINGS_ALLOWED_ORIGINS=client.origin) as node:
            for n, transport in enumerate(("websocket", "sse", "long_poll"), 1):
                topic = place.diagnosis()
                place.publish(topic)
                client.do("new", url=f"http://127.0.0.1:{node.port}", tokens={"first": s.token(place.user)},
                          options={"topics": [topic], "transports": [transport], **OPTIONS})
                client.wait_seq(topic, 1)
                equal(client.event("connected", n)["transport"], transport, "transport")
        equal(client.all("gap"), [], "gaps")
        before = len(client.all("error"))
        client.do("new", url=f"http://127.0.0.1:{place.node.port}", tokens={"first": s.token(place.user)},
                  options={"topics": [topic], "transports": ["sse", "long_poll"], **OPTIONS})
        equal(client.event("error", before + 1)["code"], "unreachable", "error")
        equal(client.seqs(topic), [1], "what came in all")


@test("two users chat, one by long-poll in Chromium, one by WebSocket in Node: what they say, typing, a refusal, and an ack of what is critical")
def _(s):
    with Place(s) as place, Driven(s, "chromium", place.web.port) as ann, Driven(s, "node", place.web.port) as bob:
        users = {}
        for client, name, mode in ((ann, "ann", "buffer"), (bob, "bob", "open")):
            users[name] = f"{name}{place.user}"
            client.do("network", mode=mode)
            client.do("new", tokens={"first": s.token(users[name])}, options={"topics": [f"chats/{users[name]}"], **options_in(mode)})
        equal([c.event("connected")["transport"] for c in (ann, bob)], ["long_poll", "websocket"], "transports")

        made = ann.do("send", type="create_conversation", data={"participants": [users["bob"]]})
        equal(made["type"], "conversation_created", "answer")
        about = {"conversation_id": made["data"]["conversation_id"]}
        equal(bob.do("send", type="typing", data={**about, "is_typing": True})["type"], "typing_sent", "answer")
        typing = ann.event("message")
        equal((typing["type"], typing["data"]["user_id"], typing.get("seq")), ("typing", users["bob"], None), "typing")
        said = [(ann, "ann", "Hello"), (bob, "bob", "Hello yourself"), (ann, "ann", "How are you?")]
        for client, _name, text in said:
            sent = client.do("send", type="chat_message", data={**about, "message": text})
            equal(sent["type"], "chat_message_sent", "answer")
        wanted = [(users[name], text) for _client, name, text in said]
        for client, name in ((ann, "ann"), (bob, "bob")):
            client.wait_seq(f"chats/{users[name]}", 3)
            heard = [m["data"] for m in client.all("message") if m["type"] == "chat_message"]
            equal([(m["sender"], m["message"]) for m in heard], wanted, f"what {name} heard")
        equal(heard[-1]["message_id"], sent["data"]["message_id"], "message_id")
        history = ann.do("send", type="get_history", data={**about, "limit": 2})["data"]
        equal(([m["message"] for m in history["messages"]], history["more"]), ([text for _name, text in wanted[1:]], True), "history")

        refused = bob.do("send", type="chat_message", data={**about})["error"]
        equal((refused["code"], refused["status"], refused["errors"]), ("invalid", 422, [{"field": "message", "message": "is required"}]), "refusal")
        foreign = bob.do("send", type="get_health", data={"user_id": users["ann"]})["error"]
        equal((foreign["code"], foreign["status"]), ("forbidden", 403), "refusal")

        notifications = f"notifications/{users['ann']}"
        ann.do("subscribe", topic=notifications)
        note = s.api.post("/ws/broadcast-notification", {"user_id": users["ann"], "type": "system", "title": "Evacuate", "message": "Now",
                                                         "priority": "critical"}, s.service()).want(200)

        def came():
            return [m for m in ann.all("message") if m["topic"] == notifications]

        wait_until(came, "the notification", 60)
        equal(came()[0]["notification"]["id"], note["id"], "id")
        receipt = f"/ws/notification/{note['id']}/receipt"
        assert "acked_at" not in s.api.get(receipt, s.service()).want(200), "it is acked already"
        equal(ann.do("ack", message=came()[0])["type"], "acked", "answer")
        assert s.api.get(receipt, s.service()).want(200)["acked_at"], "it is not acked"
        equal([c.all(e) for c in (ann, bob) for e in ("error", "gap", "pageerror")], [[]] * 6, "errors and gaps")


TABS = 10

for how, verb in (("close", "closed"), ("crash", "killed")):
    @test(f"ten tabs in Chromium, on event streams over HTTP/1.1, share one; the tab that has it is {verb}: each of the others has every message once")
    def _(s, how=how):
        with Place(s) as place, Driven(s, "chromium", place.web.port) as client:
            mine, theirs = place.diagnosis(), place.diagnosis()
            client.do("network", mode="refuse")
            client.do("tabs", 300, count=TABS)
            for tab in range(TABS):
                client.do("new", tab=tab, module="/tidings-tabs.js", tokens={"first": s.token(place.user), "refused": s.token(place.user)},
                          options={"topics": [mine, theirs] if tab % 2 else [mine], **OPTIONS})
                client.event("connected", tab=tab)
            streams = client.do("asked")
            assert streams.count("/sse") <= 3, f"more than the two sets of topics took: {streams}"
            for _n in range(20):
                last = place.publish(mine, theirs)
            for tab in range(TABS):
                client.wait_seq(mine, last[mine], tab)
            for _n in range(10):
                last = place.publish(mine, theirs)
            client.do("shut", tab=0, how=how)
            for _n in range(30):
                last = place.publish(mine, theirs)
            for tab in range(1, TABS):
                for topic in (mine, theirs) if tab % 2 else (mine,):
                    client.wait_seq(topic, last[topic], tab)
                    equal(client.seqs(topic, tab), list(range(1, last[topic] + 1)), f"seqs of {topic} in tab {tab}")
                equal((client.all("gap", tab), client.all("error", tab)), ([], []), f"gaps and errors in tab {tab}")
            assert client.do("asked").count("/sse") >= 1, "no other tab has connected"


@test("a page in Chromium that pauses has no connection, and goes on where it was; it reads history by HTTP")
def _(s):
    with Place(s) as place, Driven(s, "chromium", place.web.port) as client:
        topic = place.diagnosis()
        client.do("new", tokens={"first": s.token(place.user)}, options={"topics": [topic], "types": ["note"], **OPTIONS})
        client.event("connected")
        place.publish(topic)
        client.wait_seq(topic, 1)
        client.do("pause")
        equal(client.do("state")["transport"], None, "transport")
        place.publish(topic)
        client.do("resume")
        client.wait_seq(topic, 2)
        equal(client.seqs(topic), [1, 2], "seqs")
        history = client.do("history", topic=topic)
        equal(([m["seq"] for m in history["messages"]], history["recovered"]), ([1, 2], True), "history")
        equal(client.do("state")["cursors"], {topic: history["cursor"]}, "cursors")
        equal(client.all("status"), ["connected", "paused", "connecting", "connected"], "status")


@test("components of React and Vue, as in etc/examples, show what comes and how the connection is; each has every message once")
def _(s):
    with Place(s) as place, Driven(s, "chromium", place.web.port) as client:
        built = {}
        for name in ("react", "vue"):
            done = subprocess.run([WEB / "node_modules" / ".bin" / "esbuild", TOP / "etc" / "examples" / name / "app.mjs", "--bundle", "--format=iife",
                                   f"--alias:tidings-client/tabs={WEB}/tidings-tabs.js", '--define:process.env.NODE_ENV="development"'],
                                  env={**os.environ, "NODE_PATH": str(WEB / "node_modules")}, capture_output=True, text=True)
            equal(done.returncode, 0, f"exit status of esbuild: {done.stderr}")
            built[name] = done.stdout
        topic = place.diagnosis()
        client.do("go", path="/elsewhere")
        client.do("show", watch={"topic": topic, "token": s.token(place.user)}, scripts=built)
        wait_until(lambda: all(client.do("text", at=f"#{name} p") == "connected" for name in built), "both to be connected", 60)
        for _n in range(3):
            place.publish(topic)
        for name in built:
            wait_until(lambda name=name: client.do("text", at=f"#{name} ul").endswith("3: note"), f"what {name} shows", 60)
            equal(client.do("text", at=f"#{name} ul"), "1: note2: note3: note", f"what {name} shows")
        place.stop()
        wait_until(lambda: all(client.do("text", at=f"#{name} p") == "connecting" for name in built), "both to say so", 60)
        place.start()
        wait_until(lambda: all(client.do("text", at=f"#{name} p") == "connected" for name in built), "both to be connected again", 60)
        equal(client.all("pageerror"), [], "errors of the page")
