"""Programs that are short of memory: nothing is half done, nobody hears a wrong thing, and they go on."""
import contextlib
import json
import mmap
import os
import pathlib
import struct
import subprocess
import sys
import types

import websockets

from harness import Closed, RawClient, Skip, equal, test, wait_until
from live import TALKATIVE, Live, person

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from faults.follower import Follower  # noqa: E402

SEEDS = range(1, 5)
EVERY = (150, 40, 12)  # one allocation of so many fails
PATIENCE_S = 8  # of a client, without a byte: longer than the sidecar's heartbeat
CLOSE_CODES = (1011, 1012, 1013)
ERRORS = r"memory|database|JWT"  # what a program may say of it


class Scarce:
    """Preloads scarce.c into programs that are started with its settings, and says when memory is short in them."""

    def __init__(self, s):
        program = s.program("tidings-ws")
        if b"libasan" in subprocess.run(["ldd", program], capture_output=True, check=True).stdout:
            raise Skip("AddressSanitizer has its own allocator")
        library, control = s.folder / "scarce.so", s.folder / "scarce"
        subprocess.run([os.environ.get("CC", "cc"), "-std=gnu11", "-D_GNU_SOURCE", "-O2", "-fPIC", "-shared", "-o", library,
                        pathlib.Path(__file__).with_name("scarce.c")], check=True)
        control.write_bytes(bytes(12))
        control.chmod(0o666)
        with open(control, "r+b") as f:
            self.words = mmap.mmap(f.fileno(), 12)
        self.settings = {"LD_PRELOAD": library, "SCARCE": control}

    @contextlib.contextmanager
    def __call__(self, every, seed):
        self.words[:8] = struct.pack("=II", every, seed)
        try:
            yield
        finally:
            self.words[:4] = struct.pack("=I", 0)

    @property
    def failed(self):
        return struct.unpack("=I", self.words[8:])[0]


def programs(web):
    return {name: web.programs(f"{name}.fcgi") for name in ("api", "broadcast", "live", "history", "status")}


def ask(api, *args):
    """A reply; None: the connection was cut."""
    try:
        return api.request(*args)
    except (OSError, EOFError, ValueError):
        return None


@test("a web server's programs that are short of memory say 503 and whether it was done; each message that was acknowledged is there once", allow=ERRORS)
def _(s):
    # Without memory a good token was refused, a body was no JSON, and what had been committed was said not to be.
    scarce = Scarce(s)
    d = s.diagnosis()
    told = {}
    with s.web(**scarce.settings) as web:
        equal(web.api.get(f"/ws/history/{d}", s.token()).status, 200, "history before")
        equal(web.api.post("/ws/send", {"type": "get_thresholds"}, s.token()).status, 200, "live before")
        before = programs(web)
        for every in EVERY:
            for seed in SEEDS:
                with scarce(every, seed):
                    for n in range(8):
                        reason = f"{every} {seed} {n} " + "x" * n * 40
                        body = {"diagnosis_id": d, "old_data": {"a": [1.5, {"b": reason}]}, "new_data": {}, "reason": reason, "to_user_id": 456}
                        reply = ask(web.api, "POST", "/ws/broadcast-recommendation-update", json.dumps(body), s.token())
                        told[reason] = "cut" if reply is None else 200 if reply.status == 200 else reply.want(503)["done"]
                        history = ask(web.api, "GET", f"/ws/history/{d}?limit=100", None, s.token())
                        assert history is None or history.status in (200, 503), repr(history)
                        sent = ask(web.api, "POST", "/ws/send", {"type": "get_thresholds", "correlation_id": reason[:20]}, s.token())
                        assert sent is None or sent.status in (200, 503), repr(sent)
                        if sent and sent.status == 200:
                            equal(sent.json["correlation_id"], reason[:20], "whose answer it is")
                        status = ask(web.api, "GET", "/ws/status")
                        assert status is None or status.status in (200, 503), repr(status)
        equal(programs(web), before, "programs that go on")
        stored = [m[0] for m in s.sql(f"""select m.body::json->'data'->>'reason' from tidings.message m join tidings.topic t on t.id = m.topic_id
            where t.name = 'diagnosis/{d}' order by m.seq""")]
        for reason, outcome in told.items():
            count = stored.count(reason)
            wanted = {200: [1], "no": [0], "unknown": [0, 1], "cut": [0, 1]}[outcome]
            # The queue keeps what is younger than a minute, and 100 at least.
            assert count in wanted, f"{reason!r} was told {outcome}, and is there {count} times"
        assert scarce.failed > 100, f"only {scarce.failed} allocations failed"
        kinds = set(told.values())
        assert {200, "no"} <= kinds, f"only {kinds}"
        body = {"diagnosis_id": d, "old_data": {}, "new_data": {}, "reason": "afterwards"}
        wait_until(lambda: web.api.post("/ws/broadcast-recommendation-update", body, s.token()).status == 200, "publishing to go on")


class Watcher(Follower):
    """One that remembers what it is refused with."""

    def response(self, port, path, headers=None):
        reply = super().response(port, path, headers)
        if reply.status not in (200, 503):
            self.faults.append(f"{path.split('?')[0]}: {reply.status} {reply.read()[:300]!r}")
        return reply

    def websocket(self, port):
        try:
            client = RawClient(port, self.path("ws"))
        except AssertionError as e:
            if "HTTP/1.1 503" not in str(e):
                self.faults.append(str(e))
            raise
        self.socket = client.s
        client.s.settimeout(PATIENCE_S)
        greeted = False
        while not self.over.is_set():
            opcode, payload = client.frame()
            if opcode == 1 and not greeted:
                self.starts(json.loads(payload)["data"])
                greeted = True
            elif opcode == 1:
                self.take(json.loads(payload))
            elif opcode == 9:
                client.send(10, payload)
            elif opcode == 8:
                if struct.unpack("!H", payload[:2])[0] not in CLOSE_CODES:
                    self.faults.append(f"closed: {payload}")
                return


@test("a sidecar that is short of memory lets clients go with 1013 or 503 at worst; over each transport they get each message, in order and once", allow=ERRORS)
def _(s):
    scarce = Scarce(s)
    d = s.diagnosis(granted=["ann"])
    topic = f"diagnosis/{d}"
    with s.node(TIDINGS_HEARTBEAT=2, TIDINGS_CONNECT_RATE=0, **scarce.settings) as node:
        reached = types.SimpleNamespace(doors=lambda: [node.port], token=s.token, patience_s=PATIENCE_S)
        followers = [Watcher(reached, transport, d, user, 0) for transport in ("websocket", "event_stream", "poll") for user in ("456", "ann")]
        for f in followers:
            f.start()
        try:
            wait_until(lambda: all(f.cursor for f in followers), "all to be connected")
            published = []
            for every in EVERY:
                for seed in SEEDS:
                    with scarce(every, seed):
                        before = scarce.failed
                        for n in range(4):
                            published.append(f"{every} {seed} {n} " + "x" * n * 700)
                            s.recommend(d, published[-1])
                        wait_until(lambda: node.alive() and scarce.failed > before + 3, "allocations to fail")
                node.alive()
            last = s.last_seq(topic)
            wait_until(lambda: all(f.cursor.endswith(f"-{last}") for f in followers), "all to have everything", 60)
        finally:
            for f in followers:
                f.over.set()
                f.hang_up()
            for f in followers:
                f.join(PATIENCE_S * 2)
        for f in followers:
            equal(f.faults, [], f"what {f.name} was told")
            equal(len(f.stretches), 1, f"how often {f.name} was told of a hole")
            equal([seq for seq, _key, _when in f.stretches[0].received], list(range(1, last + 1)), f"numbers that {f.name} got")
            equal(f.keys(), published, f"messages that {f.name} got")
        node.alive()


def answer(live, word):
    """To a question: what is asked for, or that it cannot be had now."""
    live.send("get_thresholds", correlation=word)
    while True:
        m = live.next()
        if m.get("correlation_id") == word or m["type"] == "error":
            assert m["type"] == "thresholds" or m["data"]["code"] == "unavailable", m
            return m


@test("a live connection to a sidecar that is short of memory is answered as ever, told that it is unavailable, or let go", allow=ERRORS)
def _(s):
    scarce = Scarce(s)
    d, user = s.diagnosis(), person(s)
    with s.node(TIDINGS_HEARTBEAT=2, TIDINGS_CONNECT_RATE=0, **TALKATIVE, **scarce.settings) as node:
        def recovered():
            wait_until(lambda: s.lets_in(d, node), "the node to let clients in")
            with Live(s, node, "combined", user=user, how="query") as live:
                # Acts have a connection to the database of their own, which may be away a little longer.
                wait_until(lambda: answer(live, "afterwards")["type"] == "thresholds", "live connections to be answered")

        unavailable = gone = 0
        for every in EVERY:
            recovered()
            for seed in SEEDS:
                with scarce(every, seed):
                    for n in range(3):
                        try:
                            with Live(s, node, "combined", user=user, how="query") as live:
                                for i in range(4):
                                    unavailable += answer(live, f"{every}-{seed}-{n}-{i}")["type"] == "error"
                        except Closed as c:
                            assert c.code in (*CLOSE_CODES, 1006), str(c)
                            gone += 1
                        except (OSError, EOFError, websockets.WebSocketException):
                            gone += 1
                node.alive()
        assert scarce.failed > 20 and (unavailable or gone), (scarce.failed, unavailable, gone)
        recovered()
