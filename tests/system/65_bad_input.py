"""Bad input from outside leaves others as they were. Each mischief, on both doors; then a healthy client still gets a message."""
import array
import contextlib
import fcntl
import http.client
import json
import os
import resource
import socket
import struct
import termios
import threading

from harness import WAIT_S, Closed, RawClient, Skip, equal, frame, test, upgrade_request, wait_until
from live import TALKATIVE


def mischief(s, act, ports=None):
    """Runs act(port, diagnosis) at each door while a healthy client watches; it must still be served."""
    for port in ports or (s.node1.port, s.web1.port):
        d = s.diagnosis()
        with s.connect(d) as healthy:
            with contextlib.suppress(ConnectionError, EOFError):
                act(port, d)
            seq = s.recommend(d)["seq"]
            last = healthy.next()
            equal(last["seq"], seq, "the healthy client's next message")
            with s.connect(d, cursor=last["cursor"]) as new:
                new.answers()
            healthy.answers()
        s.wait_watchers(d, 0)


def dial(port):
    return socket.create_connection(("127.0.0.1", port), timeout=WAIT_S)


def drain(sock):
    """Reads what comes until the server closes or has no more to say."""
    sock.settimeout(5)
    data = b""
    with contextlib.suppress(ConnectionError, socket.timeout):
        while chunk := sock.recv(65536):
            data += chunk
    return data


@test("garbage instead of HTTP")
def _(s):
    def act(port, d):
        for data in (os.urandom(5000).replace(b"\0", b"\1"), b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + os.urandom(500), b"\r\n" * 5000,
                     b"\0" * 5000, b"GET\r\n\r\n", b"GET  HTTP/1.1\r\n\r\n", b"A" * 100000):
            with dial(port) as sock:
                with contextlib.suppress(ConnectionError):
                    sock.sendall(data)
                    sock.shutdown(socket.SHUT_WR)
                drain(sock)

    mischief(s, act)


@test("half an upgrade, then silence, many at once")
def _(s):
    held = []

    def act(port, d):
        for n in range(50):
            sock = dial(port)
            sock.sendall(upgrade_request(f"/ws/{d}")[: 20 + n])
            held.append(sock)

    mischief(s, act)
    for sock in held:
        sock.close()


@test("an upgrade, and not a byte after it")
def _(s):
    held = []

    def act(port, d):
        for _n in range(20):
            held.append(RawClient(port, f"/ws/{d}", handshake=False))
            held[-1].s.sendall(upgrade_request(f"/ws/{d}"))

    mischief(s, act)
    for client in held:
        client.close()


def code(n, reason=b""):
    return struct.pack("!H", n) + reason


# RFC 6455, sections 5 and 7.4; RFC 7692, section 6.
BREACHES = [(1002, bad) for bad in (
    # not masked, whatever it is
    frame(1, b"ping", mask=False), frame(1, b"", mask=False), frame(1, b"x" * 300, mask=False), frame(2, b"x", mask=False),
    frame(9, b"x", mask=False), frame(10, b"x", mask=False), frame(8, code(1000), mask=False),
    # reserved bits and opcodes
    frame(0x41, b"x"), frame(0x21, b"x"), frame(0x11, b"x"), frame(0x49, b"x"), frame(0x4A, b"x"), frame(0x48, code(1000)), frame(3, b"x"),
    frame(0xB, b"x"), frame(0xF, b"x"),
    # fragments
    frame(0, b"x"), frame(1, b"a", fin=False) + frame(1, b"b"), frame(1, b"a", fin=False) + frame(0x40, b"b"),
    # control frames that are too long, or in fragments
    frame(9, b"x" * 126), frame(8, b"x" * 200), frame(9, b"x", fin=False), frame(9, b"", length=1 << 62),
    # lengths that are not in their shortest form, or negative
    b"\x81\xfe\0\x05" + bytes(4) + b"hello", b"\x81\xff" + bytes(7) + b"\x05" + bytes(4) + b"hello", b"\x81\xff\x80" + bytes(11) + b"x",
    # closes
    frame(8, b"x"), *(frame(8, code(n)) for n in (0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65535)),
)] + [(1007, frame(8, code(1000, b"\xff"))), (1007, frame(8, code(1000, b"\xe2\x82")))]


@test("each frame that RFC 6455 does not allow is answered by its close code, and nothing comes behind it")
def _(s):
    def act(port, d):
        server = s.node1 if port == s.node1.port else s.web1
        for want, bad in BREACHES:
            with s.raw_connect(d, server) as client:
                client.s.sendall(bad + frame(1, b"ping") + frame(9, b"late"))
                equal(client.end(), want, f"close code for {bad!r}")
                with contextlib.suppress(EOFError, ConnectionError):
                    raise AssertionError(f"{client.frame()} behind the close for {bad!r}")

    mischief(s, act)


@test("a close is answered by the client's code, or by none, and what comes behind it is not read")
def _(s):
    def act(port, d):
        server = s.node1 if port == s.node1.port else s.web1
        for body, want in ((b"", b""), (code(1000), code(1000)), (code(1001, "auf Wiedersehen, \u00fc".encode()), code(1001)), (code(1012), code(1012)),
                           (code(3000), code(3000)), (code(4999), code(4999))):
            with s.raw_connect(d, server) as client:
                client.s.sendall(frame(1, b"pi", fin=False) + frame(8, body) + frame(0, b"ng") + frame(1, b"ping") + frame(9, b"late"))
                equal(client.frame(), (8, want), f"answer to {body!r}")
                with contextlib.suppress(EOFError, ConnectionError):
                    raise AssertionError(f"{client.frame()} behind the answer to {body!r}")

    mischief(s, act)


@test("a client that says that it is over, or breaks the rules, and ends its side of the connection at once, is answered all the same")
def _(s):
    d = s.diagnosis()
    for said, want in ((frame(8, code(1000)), 1000), (frame(3, b"x"), 1002), (frame(2, b"x"), 1003), (frame(1, b"pi", fin=False) + frame(8, code(4000)), 4000)):
        for _n in range(5):
            with s.raw_connect(d) as client:
                client.s.sendall(said)
                client.s.shutdown(socket.SHUT_WR)
                equal(client.end(), want, f"close code for {said!r}")
    s.wait_watchers(d, 0)


@test("pings that come together are answered, the last of them at least, before what comes behind them")
def _(s):
    def act(port, d):
        with s.raw_connect(d, s.node1 if port == s.node1.port else s.web1) as client:
            client.s.sendall(b"".join(frame(9, b"payload-%d" % n) for n in range(10)) + frame(1, b"ping"))
            pongs = []
            while (got := client.frame())[0] == 10:
                pongs.append(got[1])
            equal((pongs[-1], got[0]), (b"payload-9", 1), "the last pong, and what follows")

    mischief(s, act)


@test("a client that has broken the protocol is sent nothing more, and what comes then waits for the next")
def _(s):
    d = s.diagnosis()
    for bad in (frame(3, b"x"), frame(1, b"ping", mask=False)):
        with s.raw_connect(d, s.node1) as client:
            client.s.sendall(bad)
            equal(client.frame(), (8, code(1002, b"an unknown opcode" if bad[0] & 15 == 3 else b"a frame that is not masked")), "close")
            seq = s.recommend(d)["seq"]
            with contextlib.suppress(EOFError, ConnectionError):
                raise AssertionError(f"{client.frame()} behind the close")
        with s.connect(d) as client:
            equal([m["seq"] for m in client.next()["data"]["messages"]], [seq], "what waits")


@test("a huge header and very many headers")
def _(s):
    def act(port, d):
        for headers in ((f"X-Long: {'x' * 100000}",), [f"X-{n}: {n}" for n in range(5000)], (f"Sec-WebSocket-Protocol: {'a,' * 20000}b",),
                        (f"Cookie: {'x' * 20000}",)):
            with dial(port) as sock:
                with contextlib.suppress(ConnectionError):
                    sock.sendall(upgrade_request(f"/ws/{d}", headers))
                    sock.shutdown(socket.SHUT_WR)
                drain(sock)
        with dial(port) as sock:
            with contextlib.suppress(ConnectionError):
                sock.sendall(f"GET /ws/{d}?token={'x' * 200000} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
                sock.shutdown(socket.SHUT_WR)
            drain(sock)

    mischief(s, act)


@test("an upgrade byte by byte is served all the same")
def _(s):
    d = s.diagnosis()
    for server in (s.node1, s.web1):
        client = RawClient(server.port, "", handshake=False)
        for byte in upgrade_request(s.ws_path(d, s.token())):
            client.s.sendall(bytes([byte]))
        assert b" 101 " in client._head(), "no upgrade"
        equal(client.next()["type"], "connect", "first message")
        for byte in frame(1, b'{"type":"ping"}'):
            client.s.sendall(bytes([byte]))
        equal(client.next()["type"], "pong", "answer")
        client.close()


@test("frames sent together with the upgrade are answered after the connect message, in order")
def _(s):
    d = s.diagnosis()
    for server in (s.node1, s.web1):
        client = RawClient(server.port, "", handshake=False)
        client.s.sendall(upgrade_request(s.ws_path(d, s.token())) + frame(1, b"ping") + frame(1, b"nonsense") + frame(9, b"p"))
        assert b" 101 " in client._head(), "no upgrade"
        types = []
        while len(types) < 4:
            opcode, payload = client.frame()
            types.append("frame" if opcode == 10 else json.loads(payload)["type"])
        equal([t for t in types if t != "frame"], ["connect", "pong", "error"], "messages")
        client.close()


@test("connections that end abruptly: reset right after the upgrade, half-closed, closed inside a frame")
def _(s):
    def act(port, d):
        path = s.ws_path(d, s.token())
        for n in range(30):
            sock = dial(port)
            sock.sendall(upgrade_request(path))
            if n % 3 == 0:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            elif n % 3 == 1:
                sock.shutdown(socket.SHUT_WR)
            else:
                sock.sendall(frame(1, b"x" * 1000)[:500])
            sock.close()
        client = RawClient(port, path)
        client.next()
        client.s.shutdown(socket.SHUT_WR)
        client.end()
        client.close()

    mischief(s, act)


@test("a flood of pings from one client delays nobody else")
def _(s):
    def act(port, d):
        with s.raw_connect(d, s.node1 if port == s.node1.port else s.web1) as client:
            with contextlib.suppress(ConnectionError):
                client.s.sendall(frame(9, b"x" * 125) * 5000 + frame(1, b"ping") * 500)

    mischief(s, act)


@test("paths with odd bytes, and a diagnosis id at the edges")
def _(s):
    def act(port, d):
        for path in (b"/ws/%00", b"/ws/\xff", b"/ws/1%2f2", b"/ws/1?token=%ff%fe", b"/ws/1?token=%", b"/ws/1?" + b"a=b&" * 1000, b"/ws/1?token",
                     b"/ws/999999999999999999?token=x", b"//ws/1", b"/ws/1#x", b"*", b"http://localhost/ws/1"):
            with dial(port) as sock:
                sock.sendall(b"GET " + path + upgrade_request("")[4:])
                sock.shutdown(socket.SHUT_WR)
                drain(sock)

    mischief(s, act)


@test("a body that stops half-way holds up no other request, and publishes nothing")
def _(s):
    d = s.diagnosis()
    head = (f"POST /ws/broadcast-recommendation-update HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            f"Authorization: Bearer {s.token()}\r\nContent-Length: 1000\r\n\r\n" '{"diagnosis_id"').encode()
    held = [dial(s.web1.port) for _ in range(100)]
    for sock in held:
        sock.sendall(head)
    equal(s.recommend(d)["seq"], 1, "seq")
    for sock in held:
        sock.close()
    equal(s.recommend(d)["seq"], 2, "seq")


@test("a chunked body is taken like any other, and a broken one is refused")
def _(s):
    d = s.diagnosis()
    body = b'{"diagnosis_id":%d,"old_data":{},"new_data":{},"reason":"chunked"}' % d
    head = (f"POST /ws/broadcast-recommendation-update HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            f"Authorization: Bearer {s.token()}\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n").encode()
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(body[i:i + 7]), body[i:i + 7]) for i in range(0, len(body), 7)) + b"0\r\n\r\n"
    reply = s.api.raw(head + chunks)
    assert reply.status in (200, 411), reply
    reply = s.api.raw(head + b"zz\r\n" + body)
    equal(reply.status, 400, "status of a broken one")
    reply.check_problem()


# ------------------------------------------------------------------------------------------- what a review once found


def many_sockets(count):
    """Lets this process have that many."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < count:
        raise Skip(f"a process may have only {hard} descriptors here")
    if soft != resource.RLIM_INFINITY and soft < count:
        resource.setrlimit(resource.RLIMIT_NOFILE, (count, hard))


def publish_many(s, d, count, size, **more):
    batch = [{"topic": f"diagnosis/{d}", "type": "n", "data": {"n": n, "x": "y" * size}, **more} for n in range(count)]
    at_once = max(1, 200000 // (size + 100))
    for n in range(0, count, at_once):
        s.api.post("/ws/publish", batch[n:n + at_once], s.service()).want(200)


def from_the_start(s, d):
    """The cursor before the first message."""
    with s.connect(d) as client:
        return client.cursor.rsplit("-", 1)[0] + "-0"


def seqs_of(message):
    return [m["seq"] for m in message["data"]["messages"]] if message["type"] == "reconnect_messages" else [message["seq"]]


@test("pings behind the head of a client that catches up: it gets each message once")
def _(s):
    # Each ping made it ask the database for the same page again, and two answers were written into each other.
    d = s.diagnosis()
    publish_many(s, d, 300, 3000)
    path = s.ws_path(d, s.token(), from_the_start(s, d))
    with s.node(**TALKATIVE) as node:
        catch_up_among_pings(node, path)


def catch_up_among_pings(node, path):
    for _n in range(20):
        with RawClient(node.port, path, handshake=False) as client:
            client.s.sendall(upgrade_request(path) + frame(9, b"x") * 200)
            stop = threading.Event()

            def ping(client=client, stop=stop):
                with contextlib.suppress(OSError):
                    while not stop.is_set():
                        client.s.sendall(frame(9, b"x"))

            pinger = threading.Thread(target=ping, daemon=True)
            pinger.start()
            assert b" 101 " in client._head(), "no upgrade"
            equal(client.next()["type"], "connect", "first message")
            seqs = []
            while not seqs or seqs[-1] < 300:
                seqs += seqs_of(client.next())
            stop.set()
            pinger.join()
            equal(seqs, list(range(1, 301)), "seqs")


class SlowClient(RawClient):
    """Reads little at a time, and pings all the while."""

    reads = 0

    def _more(self):
        self.reads += 1
        if self.reads % 16 == 0:
            self.send(9, b"PINGPAYLOAD")
        data = self.s.recv(4096)
        if not data:
            raise EOFError("the server closed")
        self.buffer += data


@test("a slow reader of large pages: no pong and no close frame ever lands inside a message")
def _(s):
    # libwebsockets put its own frames between two writes of one frame.
    d = s.diagnosis()
    publish_many(s, d, 30, 190000)
    path = s.ws_path(d, s.token(), from_the_start(s, d))
    # Its pings are many: that is not what this is about.
    with s.node(**TALKATIVE) as node, SlowClient(node.port, path, rcvbuf=4096) as client:
        seqs, pongs = [], 0
        client.send(9, b"PINGPAYLOAD")
        while not seqs or seqs[-1] < 30:
            opcode, payload = client.frame()
            assert opcode in (1, 9, 10), f"opcode {opcode}"
            if opcode == 1:
                message = json.loads(payload)
                seqs += seqs_of(message) if message["type"] != "connect" else []
            elif opcode == 10:
                equal(payload, b"PINGPAYLOAD", "a pong")
                pongs += 1
        equal(seqs, list(range(1, 31)), "seqs")
        assert pongs, "no ping was answered"
    with s.node(TIDINGS_SLOW_TIMEOUT=1) as node, RawClient(node.port, path, rcvbuf=4096) as client:
        wait_until(lambda: "reads too slowly" in node.log.read_text(), "it to be found too slow")
        seqs, code = [], None
        with contextlib.suppress(EOFError, ConnectionError):
            try:
                while True:
                    message = client.next()
                    seqs += seqs_of(message) if message["type"] != "connect" else []
            except Closed as c:
                code = c.code
        equal(seqs, list(range(1, len(seqs) + 1)), "what it got")
        assert len(seqs) < 30, "it was not slow"
        assert code in (1013, None), f"close code {code}"


@test("more silent sockets, or half heads, than the door takes keep nobody else out")
def _(s):
    # 1,024 of them were held for ten seconds, and nobody else was accepted meanwhile.
    many_sockets(4096)
    d = s.diagnosis()
    with s.node(TIDINGS_CONNECTIONS_MAX=10) as small:
        # Of heads that have come in part 1,024 are kept, however many connections a node may have.
        for node, said in ((small, b""), (s.node1, b"GET /po")):
            crowd = [dial(node.port) for _n in range(1100)]
            try:
                for sock in crowd:
                    with contextlib.suppress(ConnectionError):
                        sock.sendall(said)
                for _n in range(10):
                    with s.connect(d, server=node) as client:
                        client.answers()
                # Some have been dismissed for the newer ones, not all of them by and by. (Which is the oldest the kernel says: it tells of
                # what came together in any order.)
                dismissed = sum(map(readable_end, crowd))
                assert 0 < dismissed < len(crowd) / 2, f"{dismissed} of {len(crowd)} dismissed"
            finally:
                for sock in crowd:
                    sock.close()


class Poller:
    """Polls that are answered at once, all on one connection."""

    def __init__(self, s, node, d):
        self.api, self.token, self.path = node.api, s.token(), f"/poll/{d}?timeout=0"
        self.connection = http.client.HTTPConnection("127.0.0.1", node.port, timeout=WAIT_S)
        self.poll()

    def poll(self):
        assert self.api.request_on(self.connection, "GET", self.path, token=self.token).want(200)["recovered"]
        # http.client makes another one when it is told that this one is closed.
        assert self.connection.sock, "it is not kept"

    def is_closed(self):
        return readable_end(self.connection.sock)


@contextlib.contextmanager
def pollers(s, node, d, count):
    made = []
    try:
        for _n in range(count):
            made.append(Poller(s, node, d))
        yield made
    finally:
        for poller in made:
            poller.connection.close()


@test("as many pollers as a node may have connections keep theirs between two polls")
def _(s):
    # From 1,024 on a connection was closed after the reply that had promised to keep it.
    many_sockets(4096)
    d = s.diagnosis()
    with s.node(TIDINGS_CONNECTIONS_MAX=1300) as node, pollers(s, node, d, 1300) as all_of_them:
        equal([p.is_closed() for p in all_of_them].count(True), 0, "connections that were closed")
        for poller in all_of_them:
            poller.poll()


@test("silent sockets take no poller's connection; more pollers than there are places keep nobody else out")
def _(s):
    # Whoever was there for the longest went first, whether it had been served or not.
    many_sockets(4096)
    d = s.diagnosis()
    with s.node(TIDINGS_CONNECTIONS_MAX=100) as node, pollers(s, node, d, 90) as kept:
        silent = [dial(node.port) for _n in range(1500)]
        try:
            with s.connect(d, server=node) as client:
                client.answers()
            equal([p.is_closed() for p in kept].count(True), 0, "pollers' connections that were closed")
            for poller in kept:
                poller.poll()
        finally:
            for sock in silent:
                sock.close()
    with s.node(TIDINGS_CONNECTIONS_MAX=10) as node, pollers(s, node, d, 1100) as crowd:
        for _n in range(10):
            with s.connect(d, server=node) as client:
                client.answers()
        equal((crowd[0].is_closed(), crowd[500].is_closed()), (True, False), "closed: the oldest, a newer one")
        crowd[500].poll()


def readable_end(sock):
    timeout = sock.gettimeout()
    sock.setblocking(False)
    try:
        return sock.recv(1) == b""
    except BlockingIOError:
        return False
    except ConnectionError:
        return True
    finally:
        sock.settimeout(timeout)


@test("more connects than a node takes: each is told, who is in is served, and places that are left are free")
def _(s):
    # Sessions that were being refused were not counted: there was no limit to them.
    many_sockets(4096)
    d = s.diagnosis()
    path = s.ws_path(d, s.token())
    with s.node(TIDINGS_CONNECTIONS_MAX=1) as node:
        with s.connect(d, server=node) as inside:
            crowd = [RawClient(node.port, path, handshake=False) for _n in range(800)]
            for client in crowd:
                with contextlib.suppress(ConnectionError):
                    client.s.sendall(upgrade_request(path))
            s.recommend(d)
            equal(inside.next()["seq"], 1, "who is in is served")
            told = {}
            for client in crowd:
                status = int(client._head().split()[1])
                how = client.end() if status == 101 else status
                told[how] = told.get(how, 0) + 1
                client.close()
            # How many become sessions first depends on how fast they come.
            equal((set(told) | {503}, sum(told.values())), ({1013, 503}, 800), f"told {told}")
            inside.answers()
        wait_until(lambda: s.lets_in(d, node), "the place to be free")


def unread(clients):
    """Bytes that wait to be read, for each."""
    counts = []
    for client in clients:
        count = array.array("i", [0])
        fcntl.ioctl(client.s, termios.FIONREAD, count)
        counts.append(count[0])
    return counts


@test("200 ephemeral messages to many subscribers of one topic: another topic's client is served between them, and each gets all in order")
def _(s):
    # Whatever had come of them in one piece was written to all subscribers before the loop looked at anything else.
    many_sockets(4096)
    d = s.diagnosis()
    path = s.ws_path(d, s.token())
    # No ping of the node's own comes meanwhile: its bytes would belong to no message.
    with s.node(TIDINGS_CLIENT_RATE=1000000, TIDINGS_CLIENT_BURST=1000000, TIDINGS_HEARTBEAT=600) as node:
        crowd = [RawClient(node.port, path) for _n in range(1600)]
        for client in crowd:
            equal(client.next()["type"], "connect", "first message")
        with s.connect(s.diagnosis(), server=node) as other:
            s.wait_watchers(d, 1600)

            def served_between():
                publisher = threading.Thread(target=publish_many, args=(s, d, 200, 100), kwargs={"ephemeral": True})
                publisher.start()
                found, before, same = False, unread(crowd[::40]), 0
                while publisher.is_alive() or same < 20:
                    other.answers()
                    now = unread(crowd[::40])
                    # One had what another had not; then a ping was answered, and that other still had not.
                    found = found or min(now) == min(before) < max(before)
                    same = same + 1 if min(now) > 0 and now == before else 0
                    before = now
                publisher.join()
                for client in crowd[::40]:
                    equal([client.next()["data"]["n"] for _n in range(200)], list(range(200)), "order")
                for client in set(crowd) - set(crowd[::40]):
                    for _n in range(200):
                        equal(client.frame()[0], 1, "opcode")
                return found

            # Whether a ping arrives in the middle is the machine's choice.
            wait_until(served_between, "a ping to be answered in the middle of a fan-out")
            other.answers()
        equal(set(unread(crowd)), {0}, "bytes that came, and belong to no message")
        for client in crowd:
            client.close()
