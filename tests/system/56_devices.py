"""Clients that keep no cursor: resumed by the name of their device, from what they have confirmed; and those without a name (section 7)."""
import ast
import contextlib
import importlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time

from harness import WAIT_S, Client, RawClient, equal, free_port, loop, test, wait_until

reference, guide = importlib.import_module("90_quick_reference"), importlib.import_module("91_live_guide")

PING, PONG = 9, 10


def path(s, d, device=None, user="456", **more):
    query = {"token": s.token(user), "device": device, **more}
    return f"/ws/{d}?" + "&".join(f"{k}={v}" for k, v in query.items() if v is not None)


def connect(s, d, device=None, server=None, **how):
    return Client(f"ws://127.0.0.1:{(server or s.node1).port}{path(s, d, device, **how)}")


def raw(s, d, device=None, **how):
    """One that answers no ping."""
    client = RawClient(s.node1.port, path(s, d, device, **how))
    client.first = client.next()
    equal(client.first["type"], "connect", "first message")
    return client


def vanish(client):
    """Its connection is gone without a close."""
    loop().loop.call_soon_threadsafe(client.ws.transport.abort)
    wait_until(lambda: client.is_closed, "the connection to be gone")


def seqs(client, last):
    """Of what comes until that one."""
    got = []
    while last not in got:
        m = client.next()
        got += [x["seq"] for x in m["data"]["messages"]] if m["type"] == "reconnect_messages" else [m["seq"]]
    return got


def place(s, d, device, user="456"):
    rows = s.sql(f"select seq from tidings.device where user_id = '{user}' and name = '{device}' and topic = 'diagnosis/{d}'")
    return int(rows[0][0]) if rows else None


def wait_place(s, d, device, seq):
    wait_until(lambda: place(s, d, device) == seq, f"{device} to have confirmed {seq}")


def confirmed(s, d):
    rows = s.sql(f"select o.confirmed from tidings.delivered o join tidings.topic t on t.id = o.topic_id where t.name = 'diagnosis/{d}'")
    return int(rows[0][0]) if rows else 0


def wait_confirmed(s, d, seq):
    wait_until(lambda: confirmed(s, d) == seq, f"{seq} to be confirmed")


def recommend(s, d, *reasons):
    for reason in reasons:
        s.recommend(d, str(reason))


def resumed_by(client):
    return client.first["data"]["resumed_by"]


# ------------------------------------------------------------------------------------------------------------- by WebSocket


@test("a client goes on by the name of its device from what the pongs of its WebSocket have confirmed, and a cursor that is given wins")
def _(s):
    d = s.diagnosis()
    with connect(s, d, "phone") as phone:
        equal(resumed_by(phone), "queue", "the first time")
        recommend(s, d, 1, 2, 3)
        equal(seqs(phone, 3), [1, 2, 3], "what comes")
        wait_place(s, d, "phone", 3)
        vanish(phone)
    recommend(s, d, 4, 5)
    with connect(s, d, "phone") as phone:
        equal((resumed_by(phone), phone.cursor.split("-")[1]), ("device", "3"), "what connect says")
        missed = phone.next()
        equal([(m["seq"], m["cursor"]) for m in missed["data"]["messages"]],
              [(n, f"{phone.cursor.split('-')[0]}-{n}") for n in (4, 5)], "what was missed, each with its cursor")
        wait_place(s, d, "phone", 5)
    with connect(s, d, "phone", cursor=missed["data"]["messages"][0]["cursor"]) as phone:
        equal((resumed_by(phone), seqs(phone, 5)), ("cursor", [5]), "by a cursor")


@test("what a device has not confirmed comes again with the same seq, unless it was acked; a frozen phone uses nothing up for one without a name")
def _(s):
    d = s.diagnosis()
    with raw(s, d, "phone") as phone:
        recommend(s, d, 1, 2, 3)
        first = [phone.next() for _ in range(3)]
    with raw(s, d, "phone") as phone:
        equal(resumed_by(phone), "device", "how it goes on")
        again = phone.next()["data"]["messages"]
        equal(again, first, "the same once more")
        phone.send(1, json.dumps({"type": "ack", "seq": 2}).encode())
        wait_place(s, d, "phone", 2)
    with raw(s, d) as nobody:
        equal((resumed_by(nobody), [m["seq"] for m in nobody.next()["data"]["messages"]]), ("queue", [3]), "what waits for one without a name")
    with connect(s, d, "phone") as phone:
        equal(seqs(phone, 3), [3], "after the ack")
        wait_place(s, d, "phone", 3)
    with raw(s, d) as nobody:
        s.recommend(d, "live")
        equal(nobody.next()["seq"], 4, "what comes first once all is confirmed")


@test("a ping with the place follows messages, one at a time; none follows for a client with a cursor, of which no row is kept")
def _(s):
    d = s.diagnosis()
    with raw(s, d, "phone") as phone, raw(s, d, cursor=phone.first["data"]["cursor"]) as keeper:
        equal(keeper.first["data"]["resumed_by"], "cursor", "how it goes on")
        recommend(s, d, 1)
        equal(phone.next()["seq"], 1, "a message")
        opcode, number = phone.frame()
        equal((opcode, number.isdigit()), (PING, True), f"what follows, {number}")
        phone.send(PONG, b"something else")
        recommend(s, d, 2)
        equal(phone.next()["seq"], 2, "no other ping before the pong")
        equal(place(s, d, "phone"), 0, "before the pong")
        phone.send(PONG, number)
        wait_place(s, d, "phone", 1)
        equal(phone.frame()[0], PING, "the next, since there is more to confirm")
        equal([keeper.frame()[0], keeper.frame()[0]], [1, 1], "frames for the one with a cursor")
        keeper.send(1, b"ping")
        equal(json.loads(keeper.frame()[1])["type"], "pong", "and then nothing")
    equal(s.sql(f"select name from tidings.device where topic = 'diagnosis/{d}'"), [["phone"]], "rows")


@test("a close that the client begins confirms what it was sent, and one by which it refuses a message does not")
def _(s):
    d = s.diagnosis()
    for device, code, place_after in (("phone", 1000, 2), ("tablet", 1001, 2), ("watch", 1009, 0)):
        recommend(s, d, *(() if device != "phone" else (1, 2)))
        with raw(s, d, device, **({"rewind": 2} if device != "phone" else {})) as client:
            equal(len(client.next()["data"]["messages"]), 2, f"what {device} gets")
            client.send(8, code.to_bytes(2, "big"))
            equal(client.end(), code, "the answer")
        s.wait_watchers(d, 0)
        wait_place(s, d, device, place_after)


@test("what no client has confirmed waits for whoever comes without a name, and what one has confirmed does not")
def _(s):
    d = s.diagnosis()
    with raw(s, d) as frozen:
        recommend(s, d, 1, 2)
        equal([frozen.next()["seq"] for _ in range(2)], [1, 2], "what the frozen one was sent")
        with connect(s, d) as other:
            equal((resumed_by(other), seqs(other, 2)), ("queue", [1, 2]), "what the next one gets")
            wait_confirmed(s, d, 2)
        with connect(s, d) as third:
            s.recommend(d, "live")
            equal(third.next()["seq"], 3, "what the third one gets first")


@test("a tablet that stays takes nothing from the phone, which comes back by its name; nor does one device the place of another")
def _(s):
    d = s.diagnosis()
    with connect(s, d, "phone") as phone, connect(s, d, "tablet") as tablet:
        recommend(s, d, 1)
        equal((seqs(phone, 1), seqs(tablet, 1)), ([1], [1]), "both")
        wait_place(s, d, "phone", 1)
        vanish(phone)
        recommend(s, d, 2, 3)
        equal(seqs(tablet, 3), [2, 3], "at the tablet")
        wait_place(s, d, "tablet", 3)
    with connect(s, d, "phone") as phone:
        equal((resumed_by(phone), seqs(phone, 3)), ("device", [2, 3]), "at the phone")


@test("a device that has confirmed nothing goes on where it began, whatever others confirm meanwhile; and rewinds only where its place is gone")
def _(s):
    d = s.diagnosis()
    recommend(s, d, 1)
    with connect(s, d) as other:
        equal(seqs(other, 1), [1], "the other one")
        wait_confirmed(s, d, 1)
        with raw(s, d, "phone"):
            recommend(s, d, 2, 3)
            equal(seqs(other, 3), [2, 3], "the other one")
            wait_confirmed(s, d, 3)
    with raw(s, d, "phone", rewind=1) as phone:
        equal((resumed_by(phone), [m["seq"] for m in phone.next()["data"]["messages"]]), ("device", [2, 3]), "the phone")
    s.sql(f"update tidings.topic set epoch = 'another' where name = 'diagnosis/{d}'")
    wait_until(lambda: s.lets_in(d, s.node1), "the numbering to be noticed")
    with raw(s, d, "phone", rewind=1) as phone:
        data = phone.first["data"]
        equal((data["resumed_by"], data["recovered"], data["rewound"]), ("device", False, True), "by another numbering")
        equal([m["seq"] for m in phone.next()["data"]["messages"]], [3], "the newest")


# --------------------------------------------------------------------------------------------------- the other transports, and live


@test("a poll and an event stream go on by the name of a device, and the next poll's cursor or Last-Event-ID confirms")
def _(s):
    d = s.diagnosis()
    ask = f"/poll/{d}?device=phone&timeout=0"
    equal(s.node1.api.get(ask, s.token()).want(200)["messages"], [], "nothing yet")
    recommend(s, d, 1, 2)
    for _ in range(2):
        reply = s.node1.api.get(ask, s.token()).want(200)
        equal((reply["resumed_by"], [m["seq"] for m in reply["messages"]]), ("device", [1, 2]), "what comes, until it is confirmed")
    recommend(s, d, 3)
    after = s.node1.api.get(f"{ask}&cursor={reply['cursor']}", s.token()).want(200)
    equal((after["resumed_by"], [m["seq"] for m in after["messages"]]), ("cursor", [3]), "by its cursor")
    wait_place(s, d, "phone", 2)
    equal([m["seq"] for m in s.node1.api.get(ask, s.token()).want(200)["messages"]], [3], "what is left")
    with contextlib.closing(socket.create_connection(("127.0.0.1", s.node1.port), WAIT_S)) as stream:
        stream.sendall(f"GET /sse/{d}?device=phone&token={s.token()} HTTP/1.1\r\nHost: x\r\nLast-Event-ID: {after['cursor']}\r\n\r\n".encode())
        wait_place(s, d, "phone", 3)
    with raw(s, d) as nobody:
        s.recommend(d, "live")
        equal(nobody.next()["seq"], 4, "what one without a name gets first")


@test("a live client names its device as it authenticates, and each of its subscriptions without a cursor goes on by that")
def _(s):
    def begin(user):
        live = Client(f"ws://127.0.0.1:{s.node1.port}/ws/combined", hello=False)
        equal(live.next()["type"], "connection_established", "first message")
        live.send({"type": "authenticate", "token": s.token(user), "device": "phone"})
        equal(live.next()["type"], "authenticated", "answer")
        live.send({"type": "subscribe", "subscription": f"diagnosis/{d}"})
        return live, live.next()["data"]

    d = s.diagnosis()
    live, told = begin("456")
    equal(told["resumed_by"], "queue", "the first time")
    recommend(s, d, 1, 2)
    equal([live.next()["seq"] for _ in range(2)], [1, 2], "what comes")
    live.send({"type": "ack", "topic": f"diagnosis/{d}", "seq": 1})
    wait_until(lambda: (place(s, d, "phone") or 0) >= 1, "the ack or the pong")
    wait_place(s, d, "phone", 2)
    vanish(live)
    recommend(s, d, 3)
    live, told = begin("456")
    equal((told["resumed_by"], live.next()["seq"]), ("device", 3), "what it goes on with")
    live.close()


# ------------------------------------------------------------------------------------------------------------- looking after them


@test("a user sees and forgets their own devices, of which the 20 used last are kept; a name that is none is refused everywhere")
def _(s):
    d, user = s.diagnosis(owner="devices-1"), "devices-1"
    token = s.token(user)
    equal(s.api.get("/ws/devices", token).want(200), {"devices": []}, "at first")
    for n in range(22):
        with connect(s, d, f"d{n:02}", user=user):
            wait_until(lambda: s.sql(f"select 1 from tidings.device where user_id = '{user}' and name = 'd{n:02}'"), "its row")
    listed = s.api.get("/ws/devices", token).want(200)["devices"]
    equal([x["device"] for x in listed], [f"d{n:02}" for n in range(21, 1, -1)], "the 20 that were used last")
    equal({x["topics"] for x in listed}, {1}, "topics")
    equal(s.api.get("/ws/devices", s.token("devices-2")).want(200), {"devices": []}, "of somebody else")
    s.api.request("DELETE", "/ws/devices/d21", token=s.token("devices-2")).want(404)
    equal(s.api.request("DELETE", "/ws/devices/d21", token=token).want(200), {"status": "forgotten", "device": "d21"}, "reply")
    s.api.request("DELETE", "/ws/devices/d21", token=token).want(404)
    s.api.request("DELETE", "/ws/devices/d%2021", token=token).want(404)
    for bad in ("", "a%20b", "x" * 65, "%C3%A4"):
        for route in (f"/poll/{d}", f"/sse/{d}"):
            problem = s.node1.api.get(f"{route}?device={bad}", token).want(422)
            equal([e["field"] for e in problem["errors"]], ["device"], f"what is wrong with {bad!r}")
    with connect(s, d, "d02", user=user) as client:
        client.send({"type": "ack", "seq": 0, "topic": f"diagnosis/{d}"})
        client.answers()
    live = Client(f"ws://127.0.0.1:{s.node1.port}/ws/chat", hello=False)
    live.next()
    live.send({"type": "authenticate", "token": token, "device": "a b"})
    equal(live.next()["data"]["code"], "invalid_message", "of a live client")
    live.close()


# ------------------------------------------------------------------------------------------------------ the seeds' clients, as they are


# What it prints has no seq: what it reads is told.
READ_BY_JAVASCRIPT = """
const parse = JSON.parse;
JSON.parse = (text) => { process.stdout.write(`${text}\\n`); return parse(text); };
console.log = () => {};
"""

# What web_socket_channel does for the seed's Dart client: it answers pings, and closes by 1001.
DART = """
import asyncio, signal, sys, websockets

async def run(uri):
    async with websockets.connect(uri, ping_interval=None) as channel:
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, lambda: asyncio.ensure_future(channel.close(1001)))
        async for message in channel:
            print(message, flush=True)

asyncio.run(run("ws://localhost:8000/ws/123?token=YOUR_JWT_TOKEN"))
"""


class Seed:
    """A client of the seeds, as a process: unchanged but for where it connects to, and the name of its device."""

    def __init__(self, s, kind, d, user, port, device):
        token, here = s.token(user), f"127.0.0.1:{port}"
        at = f"ws://{here}/ws/{d}?token={token}&device={device}"
        if kind == "javascript":
            command, before = reference.node_command()
            args = [*command, before + READ_BY_JAVASCRIPT + reference.JAVASCRIPT.replace("ws://localhost:8000/ws/123?token=YOUR_JWT_TOKEN", at)]
        elif kind == "dart":
            args = [sys.executable, "-u", "-c", DART.replace("ws://localhost:8000/ws/123?token=YOUR_JWT_TOKEN", at)]
        else:
            text = guide.PYTHON.replace("localhost:8000/ws/health", f"{here}/ws/health?device={device}").replace("your_jwt_token_here", token)
            args = [sys.executable, "-u", "-c", text]
        self.out = s.logs / f"seed-{kind}-{device}-{time.monotonic_ns()}.txt"
        self.python = kind == "python"
        with open(self.out, "wb") as out:
            self.child = subprocess.Popen(args, stdout=out, stderr=subprocess.STDOUT)

    def messages(self):
        got = []
        for line in self.out.read_text().split("\n")[:-1]:
            if self.python and line.startswith("Received: "):
                m = ast.literal_eval(line.removeprefix("Received: "))
            elif not self.python and line.startswith("{"):
                m = json.loads(line)
            else:
                continue
            got += m["data"]["messages"] if m.get("type") == "reconnect_messages" else [m]
        return [m for m in got if "type" in m]

    def seqs(self):
        return [m["seq"] for m in self.messages() if "seq" in m]

    def is_there(self):
        return any(m["type"] in ("connect", "subscribed") for m in self.messages())

    def wait_there(self):
        wait_until(self.is_there, f"the client to be connected: {self.out.read_text()[-500:]}", 60)

    def wait_seq(self, seq):
        wait_until(lambda: seq in self.seqs(), f"{seq}, of {self.seqs()}", 60)

    def end(self, how=signal.SIGKILL):
        self.child.send_signal(signal.SIGCONT)
        self.child.send_signal(how)
        self.child.wait(WAIT_S)


class Wire:
    """A network between clients and a node, which can be cut: nothing passes any more, and nobody is told."""

    def __init__(self, port):
        self.port, self.there = free_port(), port
        self.listener = socket.create_server(("127.0.0.1", self.port))
        self.sockets, self.whole = [], threading.Event()
        self.whole.set()
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                near = self.listener.accept()[0]
                far = socket.create_connection(("127.0.0.1", self.there))
                self.sockets += [near, far]
                for a, b in ((near, far), (far, near)):
                    threading.Thread(target=self._pass, args=(a, b), daemon=True).start()

    def _pass(self, a, b):
        with contextlib.suppress(OSError):
            while data := a.recv(65536):
                self.whole.wait()
                b.sendall(data)

    def cut(self):
        self.whole.clear()

    def close(self):
        self.listener.close()
        for s in self.sockets:
            s.close()


class Story:
    """What was published, and what a device has got of it, from one client after the other."""

    def __init__(self, s, kind):
        self.s, self.kind, self.user = s, kind, f"seed-{kind}"
        self.d = s.diagnosis(owner=self.user)
        self.topic = f"health/{self.user}" if kind == "python" else f"diagnosis/{self.d}"
        self.last, self.runs = 0, []

    def publish(self, count):
        for _ in range(count):
            self.last += 1
            if self.kind == "python":
                self.s.api.post("/ws/broadcast-health-update", {"user_id": self.user, "metric": "pulse", "value": self.last, "unit": "bpm"},
                                self.s.service()).want(200)
            else:
                self.s.recommend(self.d, str(self.last), self.s.service())

    def client(self, device, port=None):
        client = Seed(self.s, self.kind, self.d, self.user, port or self.s.node1.port, device)
        self.runs.append((device, client))
        client.wait_there()
        return client

    def judge(self, device):
        """Nothing is lost, each client has what it got in order, and what came twice is the same."""
        bodies = {}
        for name, client in self.runs:
            if name == device:
                got = client.seqs()
                equal(got, sorted(set(got)), f"the order at {device}")
                for m in client.messages():
                    if "seq" in m:
                        equal(bodies.setdefault(m["seq"], m), m, "what came twice")
        equal(sorted(bodies), list(range(1, self.last + 1)), f"what {device} has got")


@test("each of the seeds' clients loses nothing by its device's name alone: frozen, cut off, killed, another device there, a node killed")
def _(s):
    for kind in ("javascript", "python", "dart"):
        story = Story(s, kind)
        tablet, phone = story.client("tablet"), story.client("phone")
        story.publish(5)
        phone.wait_seq(5)
        # Frozen in mid-stream, and killed by its system.
        os.kill(phone.child.pid, signal.SIGSTOP)
        story.publish(5)
        tablet.wait_seq(10)
        phone.end()
        story.publish(5)
        # Its network ends without a word: the node takes it for connected.
        wire = Wire(s.node1.port)
        phone = story.client("phone", wire.port)
        phone.wait_seq(15)
        wire.cut()
        story.publish(5)
        tablet.wait_seq(20)
        phone.end()
        phone = story.client("phone")
        phone.wait_seq(20)
        # A node that is killed.
        with contextlib.ExitStack() as stack:
            phone.end(signal.SIGTERM)
            node = s.start_node()
            stack.callback(s.forget, node)
            phone = story.client("phone", node.port)
            story.publish(5)
            phone.wait_seq(25)
            node.signal(signal.SIGKILL)
            node.wait()
        story.publish(5)
        phone.end()
        phone = story.client("phone")
        phone.wait_seq(30)
        tablet.wait_seq(30)
        wire.close()
        for client in (phone, tablet):
            client.end()
        story.judge("phone")
        story.judge("tablet")
