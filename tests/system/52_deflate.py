"""permessage-deflate (RFC 7692), where TIDINGS_DEFLATE switches it on: compressed once, for whoever agreed to it."""
import asyncio
import contextlib
import json
import os
import random
import socket
import struct
import threading
import zlib

import websockets

from harness import Closed, RawClient, equal, frame, loop, test, upgrade_request, wait_until
from live import TALKATIVE

AGREED = "permessage-deflate; server_no_context_takeover; client_no_context_takeover"
REASON = "a reason that says the same again and again, " * 20


def pack(text):
    c = zlib.compressobj(wbits=-15)
    packed = c.compress(text) + c.flush(zlib.Z_SYNC_FLUSH)
    assert packed.endswith(b"\0\0\xff\xff")
    return packed[:-4]


def unpack(payload):
    return zlib.decompressobj(wbits=-15).decompress(payload + b"\0\0\xff\xff")


def compressed_frame(text, opcode=1, fin=True, first=True):
    data = bytearray(frame(opcode, text, fin=fin))
    data[0] |= 0x40 if first else 0
    return bytes(data)


class Deflating(RawClient):
    """Agrees to permessage-deflate; gives messages with the payload that they came in and whether that was compressed."""

    def __init__(self, port, path, offer="permessage-deflate; client_max_window_bits"):
        super().__init__(port, path, handshake=False)
        self.s.sendall(upgrade_request(path, [f"Sec-WebSocket-Extensions: {offer}"]))
        self.head = self._head().decode()
        assert self.head.startswith("HTTP/1.1 101"), self.head

    @property
    def agreed(self):
        return [line.split(":", 1)[1].strip() for line in self.head.split("\r\n") if line.lower().startswith("sec-websocket-extensions:")]

    def message(self):
        """(message, payload as it came, was it compressed)"""
        while True:
            while len(self.buffer) < 1:
                self._more()
            first = self.buffer[0]
            opcode, payload = self.frame()
            if opcode == 8:
                raise Closed(struct.unpack("!H", payload[:2])[0], payload[2:].decode())
            if opcode == 1:
                packed = bool(first & 0x40)
                return json.loads(unpack(payload) if packed else payload), payload, packed
            equal(first & 0x70, 0, "reserved bits of a control frame")

    def next(self):
        return self.message()[0]

    def say(self, message):
        self.s.sendall(compressed_frame(pack(json.dumps(message).encode())))


def deflating(s, d, node, user="456", cursor=None, **how):
    client = Deflating(node.port, s.ws_path(d, s.token(user), cursor), **how)
    equal(client.next()["type"], "connect", "first message")
    return client


@test("permessage-deflate is agreed where it is switched on and offered as it can be kept, and nowhere else")
def _(s):
    d = s.diagnosis()
    with s.node(TIDINGS_DEFLATE="yes") as node:
        for offer, agreed in (("permessage-deflate", [AGREED]), ("permessage-deflate; client_max_window_bits", [AGREED]),
                              ("permessage-deflate; server_max_window_bits=10, permessage-deflate", [AGREED]),
                              ("permessage-deflate; server_max_window_bits=10", []), ("x-unheard-of", [])):
            with deflating(s, d, node, offer=offer) as client:
                equal(client.agreed, agreed, f"answer to {offer}")
                client.send(1, b'{"type":"ping"}')
                equal(client.next()["type"], "pong", "answer")
        with s.connect(d, server=node) as client:
            client.answers()
    with deflating(s, d, s.node1) as client:
        equal(client.agreed, [], "answer where it is off")
        s.recommend(d, REASON)
        equal(client.message()[2], False, "compressed where it is off")


@test("a message is the same bytes for all who take it compressed, and for the others the same message")
def _(s):
    d = s.diagnosis()
    with s.node(TIDINGS_DEFLATE="yes") as node:
        with deflating(s, d, node) as one, deflating(s, d, node) as two, s.connect(d, server=node) as plain:
            for n in range(3):
                s.recommend(d, f"{n} {REASON}")
                want = plain.text()
                (m1, payload1, packed1), (_, payload2, packed2) = one.message(), two.message()
                equal([packed1, packed2], [True, True], "compressed")
                equal(payload1, payload2, "bytes")
                equal(unpack(payload1).decode(), want, "message")
                assert len(payload1) < len(want) / 2, (len(payload1), len(want))
                equal(m1["seq"], n + 1, "seq")
            s.sql(f"select tidings.publish('diagnosis/{d}', 'x', '{{}}', expires_at => now() - interval '1 second')")
            s.recommend(d, "", to_user_id="456")
            equal(one.next()["seq"], plain.next()["seq"], "seq of one for this user alone")


@test("what clients compress is read: of any size, in fragments, with a ping in between, and as it is")
def _(s):
    d = s.diagnosis()
    with s.node(TIDINGS_DEFLATE="yes", **TALKATIVE) as node, deflating(s, d, node) as client:
        for size in [0, 1, 100, *range(950, 1100), *range(2000, 2100, 7), 4096, 16000, 40000, 65000]:
            client.say({"type": "ping", "pad": "x" * size})
            equal(client.next()["type"], "pong", f"answer to {size}")
        for size in (10, 1000, 5000, 40000):
            noise = os.urandom(size // 2).hex()
            client.say({"type": "ping", "pad": noise})
            equal(client.next()["type"], "pong", f"answer to {size} of noise")
            packed = pack(json.dumps({"type": "ping", "pad": noise}).encode())
            third = len(packed) // 3
            client.s.sendall(compressed_frame(packed[:third], fin=False))
            client.s.sendall(frame(9, b"?"))
            client.s.sendall(compressed_frame(packed[third: 2 * third], opcode=0, fin=False, first=False))
            client.s.sendall(compressed_frame(packed[2 * third:], opcode=0, first=False))
            frames = dict(client.frame() for _ in range(2))
            equal(frames.get(10), b"?", "pong of the protocol")
            equal(json.loads(frames[1])["type"], "pong", f"answer to fragments of {size}")
            for fragments in ((packed, b""), (b"", packed), (b"", packed, b"")):
                for n, part in enumerate(fragments):
                    client.s.sendall(compressed_frame(part, opcode=0 if n else 1, fin=n + 1 == len(fragments), first=n == 0))
                equal(client.next()["type"], "pong", f"answer to fragments of which some are empty, {size}")
            client.send(1, json.dumps({"type": "ping", "pad": noise}).encode())
            equal(client.next()["type"], "pong", "answer to one as it is")


@test("a few bytes that stand for a message of any length are read: of 1 to 65,536 spaces, none of which is a message, each is answered")
def _(s):
    d = s.diagnosis()
    with s.node(TIDINGS_DEFLATE="yes", **TALKATIVE) as node, deflating(s, d, node) as client:
        for size in (*range(1, 4200, 3), *range(4200, 65536, 997), 65536):
            client.s.sendall(compressed_frame(pack(b" " * size)))
            equal(client.next()["data"]["code"], "invalid_message", f"answer to {size} spaces")


@test("a message that would become too large is 1009 while it is inflated, and delays nobody")
def _(s):
    d = s.diagnosis()
    with s.node(TIDINGS_DEFLATE="yes", **TALKATIVE) as node, s.connect(d, server=node) as other:
        packed = pack(b" " * 200_000_000)
        with deflating(s, d, node) as bomb:
            def throw():
                try:
                    bomb.s.sendall(compressed_frame(packed))
                except OSError:
                    pass

            thrower = threading.Thread(target=throw)
            thrower.start()
            for _ in range(50):
                other.answers()
            equal(bomb.end() in (1009, None), True, "how it ends")
            thrower.join()
        with deflating(s, d, node) as bomb:
            bomb.s.sendall(compressed_frame(pack(b" " * 100_000)))
            equal(bomb.end(), 1009, "close code of one that is small on the wire")
        other.answers()


@test("compressed bytes that are damaged end their connection, and no other")
def _(s):
    d = s.diagnosis()
    with s.node(TIDINGS_DEFLATE="yes") as node, s.connect(d, server=node) as other:
        for damaged in (b"\xff" * 50, b"\x06", pack(b'{"type":"ping"}')[:-3] + b"\xff\xff\xff"):
            with deflating(s, d, node) as client:
                client.s.sendall(compressed_frame(damaged))
                equal(client.end(), 1007, "close code")
        with deflating(s, d, node) as client:
            client.s.sendall(compressed_frame(b""))  # an empty message, and no damage
            equal(client.next()["data"]["code"], "invalid_message", "code")
        # Not agreed: RSV1 is a violation.
        with s.raw_connect(d, node) as client:
            client.s.sendall(compressed_frame(pack(b'{"type":"ping"}')))
            assert client.end() in (1002, None)
        other.answers()
        s.wait_watchers(d, 1)


def any_frame(dice):
    """One that a client may send, or not: of any kind and size, compressed or not, damaged or cut off."""
    payload = dice.choice((
        lambda: b"", lambda: b"ping", lambda: dice.randbytes(dice.choice((1, 5, 125, 126, 200, 1023, 1024, 1025, 5000))),
        lambda: json.dumps({"type": "ping", "pad": "x" * dice.choice((1, 1000, 3000))}).encode(),
        lambda: pack(b" " * dice.randrange(3070, 3100)), lambda: pack(b" " * dice.randrange(9000)), lambda: pack(dice.randbytes(300))[:dice.randrange(1, 300)]))()
    made = bytearray(frame(dice.choice((0, 1, 1, 1, 2, 3, 8, 9, 10, 11)), payload, fin=dice.random() < 0.7))
    made[0] |= dice.choice((0, 0, 0, 0x40, 0x40, 0x40, 0x20, 0x70))
    return bytes(made[: dice.randrange(1, len(made) + 1)] if dice.random() < 0.1 else made)


@test("frames of any kind, in any order, cut anywhere, on connections that are closed or reset at any moment: the sidecar goes on, and none of them stays")
def _(s):
    d, dice = s.diagnosis(), random.Random(1)
    paths = (s.ws_path(d, s.token()), f"/ws/combined?token={s.token()}", "/ws/health")
    with s.node(TIDINGS_DEFLATE="yes", TIDINGS_LIVE_CONNECTIONS_MAX=1000, **TALKATIVE) as node:
        for _ in range(1500):
            path = dice.choice(paths)
            with Deflating(node.port, path) if dice.random() < 0.7 else RawClient(node.port, path) as client, contextlib.suppress(OSError):
                data = b"".join(any_frame(dice) for _ in range(dice.randrange(1, 12)))
                while data:
                    size = dice.choice((1, 2, 7, 100, 1000, 100000))
                    client.s.sendall(data[:size])
                    data = data[size:]
                if dice.random() < 0.5:
                    client.s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        with s.connect(d, server=node) as client:
            client.answers()
            wait_until(lambda: s.sql(f"select count(distinct id) from tidings.connection where node_id = '{node.id()}'") == [["1"]], "all others to be gone")


@test("a client library that compresses by itself works through the web server, and on live connections")
def _(s):
    d = s.diagnosis()
    with s.node(TIDINGS_DEFLATE="yes") as node:
        web = s.start_web(node)

        async def talk(port, path, first):
            async with websockets.connect(f"ws://127.0.0.1:{port}{path}", compression="deflate", max_size=None) as ws:
                names = [e.name for e in getattr(ws, "protocol", ws).extensions]  # websockets 14 has moved them
                greeting = json.loads(await ws.recv())
                if first:
                    await ws.send(json.dumps({"type": "subscribe", "subscription": first, "correlation_id": "c"}))
                    while json.loads(await ws.recv()).get("correlation_id") != "c":
                        pass
                await ws.send(json.dumps({"type": "ping", "pad": REASON}))
                while json.loads(await ws.recv())["type"] != "pong":
                    pass
                await asyncio.to_thread(s.recommend, d, REASON)
                while True:
                    m = json.loads(await ws.recv())
                    if m["type"] == "recommendation_update":
                        return names, greeting, m

        for port, path, first in ((web.port, s.ws_path(d, s.token()), None), (node.port, f"/ws/combined?token={s.token()}", f"diagnosis/{d}")):
            names, _, m = loop().run(talk(port, path, first))
            equal(names, ["permessage-deflate"], "extensions")
            equal(m["data"]["reason"], REASON, "reason")
        s.forget(web)
        web.stop()


@test("clients that come and go, some compressing, get a dense stream with their cursors, compressed or not")
def _(s):
    d = s.diagnosis()
    with s.node(TIDINGS_DEFLATE="yes", TIDINGS_TAIL_MAX=65536) as node:
        seen, cursor = 0, None
        for turn in range(12):
            path = s.ws_path(d, s.token(), cursor)
            with Deflating(node.port, path) if turn % 3 else RawClient(node.port, path) as client:
                epoch = client.next()["data"]["cursor"].rsplit("-", 1)[0]
                for n in range(40):
                    s.recommend(d, f"{turn} {n} {REASON if n % 2 else ''}")
                while seen < 50 * turn + 40:
                    m = client.next()
                    for one in m["data"]["messages"] if m["type"] == "reconnect_messages" else [m]:
                        equal(one["seq"], seen + 1, "seq")
                        seen += 1
                cursor = f"{epoch}-{seen}"
            for n in range(10):
                s.recommend(d, f"while nobody is there {n}")
