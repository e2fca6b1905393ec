"""Clients that follow a topic by its cursor, over each transport, whatever happens to the server, and remember what they were given."""
import http.client
import json
import random
import socket
import struct
import threading
import time

from faults.proof import Stretch, seq_of, told_lost
from harness import RawClient

POLL_S = 3


class Follower(threading.Thread):
    def __init__(self, stack, transport, diagnosis, user, seed):
        super().__init__(daemon=True, name=f"{transport} {user} {diagnosis}")
        self.stack, self.transport, self.diagnosis, self.user = stack, transport, diagnosis, user
        self.random = random.Random(seed)
        self.cursor = None
        self.stretches = []
        self.over = threading.Event()
        self.socket = None
        self.connects = self.refusals = self.greetings = self.resets = 0
        self.dropped = 0  # connections that were there, and were ended by a server
        self.faults = []  # what no server may send

    def run(self):
        while not self.over.is_set():
            greetings, resets = self.greetings, self.resets
            try:
                self.connects += 1
                getattr(self, self.transport)(self.random.choice(self.stack.doors()))
            except (OSError, EOFError, http.client.HTTPException, AssertionError, struct.error):
                self.refusals += 1
            except json.JSONDecodeError as e:
                self.faults.append(f"not JSON: {e.doc[:200]}")
            finally:
                self.hang_up()
            if self.transport != "poll" and self.greetings > greetings and self.resets == resets and not self.over.is_set():
                self.dropped += 1
            self.over.wait(self.random.uniform(0.02, 0.4))

    def hang_up(self, reset=False):
        s, self.socket = self.socket, None
        if s:
            try:
                if reset:
                    s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    s.shutdown(socket.SHUT_RD)
                s.close()
            except OSError:
                pass

    def reset(self):
        """The network breaks this connection."""
        if self.socket:
            self.resets += 1
        self.hang_up(reset=True)

    def path(self, kind, **query):
        query = {"token": self.stack.token(self.user), "cursor": self.cursor, **query}
        return f"/{kind}/{self.diagnosis}?" + "&".join(f"{k}={v}" for k, v in query.items() if v is not None)

    def starts(self, said, messages=()):
        """`messages`: what lies before the cursor that it was told."""
        self.greetings += 1
        after = next((m["seq"] - 1 for m in messages if "seq" in m), seq_of(said["cursor"]))
        if not self.cursor:
            self.stretches.append(Stretch(after))
        elif not said["recovered"]:
            self.stretches.append(Stretch(after, told_lost(seq_of(self.cursor), after, said.get("missed"))))
        self.cursor = said["cursor"]

    def take(self, message):
        now = time.monotonic()
        for m in message["data"]["messages"] if message["type"] == "reconnect_messages" else [message]:
            if "seq" not in m:
                continue
            self.stretches[-1].received.append((m["seq"], m["data"].get("reason") or m["data"].get("key"), now))
            self.cursor = f"{self.cursor.rsplit('-', 1)[0]}-{m['seq']}"

    def websocket(self, port):
        client = RawClient(port, self.path("ws"))
        self.socket = client.s
        client.s.settimeout(self.stack.patience_s)
        said = client.next()
        self.starts(said["data"])
        while not self.over.is_set():
            opcode, payload = client.frame()
            if opcode == 1:
                self.take(json.loads(payload))
            elif opcode == 9:
                client.send(10, payload)
            elif opcode == 8:
                return

    def response(self, port, path, headers=None):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=self.stack.patience_s)
        connection.connect()
        self.socket = connection.sock
        connection.request("GET", path, headers=headers or {})
        return connection.getresponse()

    def event_stream(self, port):
        reply = self.response(port, self.path("sse", cursor=None), {"Last-Event-ID": self.cursor} if self.cursor else {})
        if reply.status != 200:
            raise OSError(reply.status)
        kind, data, place = "message", None, None
        while not self.over.is_set():
            line = reply.readline().decode()
            if not line.endswith("\n"):
                return
            name, _, value = line.rstrip("\n").partition(": ")
            if name == "event":
                kind = value
            elif name == "id":
                place = value
            elif name == "data":
                data = json.loads(value)
            elif line == "\n" and data is not None:
                if kind == "connect":
                    self.starts({**data["data"], "cursor": place})
                else:
                    self.take(data)
                    self.cursor = place
                kind, data = "message", None

    def poll(self, port):
        reply = self.response(port, self.path("poll", timeout=POLL_S))
        if reply.status != 200:
            raise OSError(reply.status)
        body = json.loads(reply.read())
        self.starts(body, body["messages"])
        for m in body["messages"]:
            self.take(m)
        self.cursor = body["cursor"]

    def keys(self):
        return [key for stretch in self.stretches for _seq, key, _when in stretch.received]


TRANSPORTS = ("websocket", "event_stream", "poll")
