"""Every close code of section 4's table that applies."""
import contextlib
import http.client
import signal
import threading
import time

import websockets

from harness import WAIT_S, Client, Closed, RawClient, equal, frame, test, upgrade_request, wait_until
from live import TALKATIVE


@test("1000 when the client closes, and its place is free at once")
def _(s):
    d = s.diagnosis()
    client = s.connect(d)
    equal(client.close(1000), 1000, "code that came back")
    s.wait_watchers(d, 0)
    with s.connect(d) as client:
        client.close(1001)
    s.wait_watchers(d, 0)


@test("1001 for a client that sends no frame for longer than the limit; one that answers heartbeats stays")
def _(s):
    d = s.diagnosis()
    with s.node(TIDINGS_IDLE_TIMEOUT=2, TIDINGS_HEARTBEAT=600) as still, s.node(TIDINGS_IDLE_TIMEOUT=3, TIDINGS_HEARTBEAT=1) as beating:
        with s.connect(d, server=beating) as lively, s.connect(d, server=still) as idle:
            equal(idle.closed()[0], 1001, "close code")
            with s.connect(d, server=still) as idle:
                equal(idle.closed()[0], 1001, "close code")
            s.recommend(d)
            equal(lively.next()["type"], "recommendation_update", "who answers heartbeats")


@test("a peer that answers no ping is dropped, and others are not")
def _(s):
    d = s.diagnosis()
    with s.node(TIDINGS_HEARTBEAT=1) as node, s.connect(d, server=node) as lively, s.raw_connect(d, node) as silent:
        silent.end()
        s.wait_watchers(d, 1)
        equal(s.recommend(d)["clients_notified"], 1, "clients_notified")
        equal(lively.next()["seq"], 1, "seq")


@test("1003 for a binary frame")
def _(s):
    d = s.diagnosis()
    with s.connect(d) as client:
        client.send(b"ping")
        equal(client.closed()[0], 1003, "close code")


@test("1007 for text that is not UTF-8, in one frame or over fragments")
def _(s):
    d = s.diagnosis()
    for bad in (b"\xff", b"ping\xc0\x80", b"\xed\xa0\x80", b"abc\xe2\x82", b"\xf5\x80\x80\x80"):
        with s.raw_connect(d) as client:
            client.send(1, bad)
            equal(client.end(), 1007, f"close code for {bad!r}")
    with s.raw_connect(d) as client:
        client.send(1, b"\xe2", fin=False)
        client.send(0, b"\x28\xa1")
        equal(client.end(), 1007, "close code over fragments")
    with s.raw_connect(d) as client:
        client.send(1, b'{"type":"ping","x":"\xe2', fin=False)
        client.send(0, b'\x82\xac"}')
        equal(client.next()["type"], "pong", "a character over two fragments is fine")


@test("1009 for a message over 64 KiB, in one frame, over fragments or only announced; 64 KiB is fine")
def _(s):
    d = s.diagnosis()
    with s.connect(d) as client:
        ping = '{"type":"ping","x":"%s"}'
        client.answers(ping % ("x" * (65536 - len(ping) + 2)))
        client.send("x" * 65537)
        equal(client.closed()[0], 1009, "close code")
    with s.raw_connect(d) as client:
        client.send(1, b"x" * 40000, fin=False)
        client.send(0, b"x" * 40000)
        equal(client.end(), 1009, "close code over fragments")
    with s.raw_connect(d) as client:
        client.send(1, b"x" * 70000, length=1 << 40)
        assert client.end() in (1009, 1002, None), "close code of one announced"
    with s.connect(d) as client:
        client.answers()


@test("1008 for a bad token, an expired one, one not valid yet, and none")
def _(s):
    d = s.diagnosis()
    for token in ("x", "a.b.c", s.token()[:-3], s.token(ttl=-1)[:-3], "x" * 6000):
        equal(s.refused(d, token=token), (1008, "authentication failed"), f"the close for {token[:20]}")
    equal(s.refused(d, token=s.token(ttl=-1)), (1008, "token expired"), "an expired one")
    equal(s.refused(d, token=s.token(nbf=int(time.time()) + 1000)), (1008, "token not valid yet"), "one that is not valid yet")
    with s.node(TIDINGS_AUTHENTICATE_TIMEOUT=1) as node:
        with Client(f"ws://127.0.0.1:{node.port}/ws/{d}", hello=False) as client:
            equal(client.closed()[0], 1008, "close code without a token")
        with Client(f"ws://127.0.0.1:{node.port}/ws/{d}", hello=False) as client:
            client.send({"type": "authenticate", "token": s.token(ttl=-1)})
            equal(client.closed()[0], 1008, "close code of a bad authenticate message")


@test("1008 for a diagnosis of someone else and for one that does not exist, with the same words; for a service with words of its own")
def _(s):
    foreign = s.diagnosis(owner="ada")
    equal({s.refused(foreign), s.refused(987654321)}, {(1008, "not allowed")}, "a user")
    equal({s.refused(foreign, token=s.service()), s.refused(987654321, token=s.service())}, {(1008, "A service publishes, and reads nothing.")}, "a service")


@test("1008 when the token expires while connected")
def _(s):
    d = s.diagnosis()
    with s.connect(d) as other, s.connect(d, token=s.token(ttl=5)) as client:
        equal(client.closed()[0], 1008, "close code")
        s.recommend(d)
        equal(other.next()["seq"], 1, "others stay")


@test("1008 for one connection too many of a user; another user, a place that is free again, and an admin, who has no such limit, are fine")
def _(s):
    d = s.diagnosis(granted=["457"])
    with s.node(TIDINGS_USER_CONNECTIONS_MAX=2) as node:
        one, two = s.connect(d, server=node), s.connect(d, server=node)
        equal(s.refused(d, server=node)[0], 1008, "close code of the third")
        s.connect(d, user="457", server=node).close()
        for admin in [s.connect(d, token=s.token(role="admin"), server=node) for _ in range(3)]:
            admin.close()
        one.close()
        wait_until(lambda: s.lets_in(d, node), "the place to be free")
        s.recommend(d)
        equal(two.next()["seq"], 1, "seq")
        two.close()


@test("1008 for too many bad messages")
def _(s):
    d = s.diagnosis()
    with s.node(TIDINGS_BAD_MESSAGES_MAX=3) as node, s.connect(d, server=node) as client, s.connect(d, server=node) as other:
        errors = 0
        try:
            for _n in range(10):
                client.send("nonsense")
                equal(client.next()["type"], "error", "answer")
                errors += 1
        except Closed as c:
            equal(c.code, 1008, "close code")
        assert 2 <= errors <= 4, f"closed after {errors} errors"
        other.answers()


@test("a client over its message rate is told so")
def _(s):
    d = s.diagnosis()
    with s.node(TIDINGS_CLIENT_RATE=1, TIDINGS_CLIENT_BURST=5) as node, s.connect(d, server=node) as client:
        for _n in range(15):
            client.send("ping")
        types = [m["type"] for m in client.take(15)]
        equal(types[:5], ["pong"] * 5, "the burst")
        assert "error" in types[5:], types


@test("1012 for every client when the node is told to end; it ends cleanly, and lets nobody in meanwhile")
def _(s):
    d = s.diagnosis()
    node = s.start_node(TIDINGS_DRAIN_TIME=1)
    clients = [s.connect(d, server=node) for _ in range(40)]
    cursor = clients[0].cursor
    node.signal(signal.SIGTERM)
    for client in clients:
        equal(client.closed()[0], 1012, "close code")
    equal(node.wait(), 0, "exit status")
    s.forget(node)
    s.recommend(d)
    with s.connect(d, cursor=cursor) as client:
        equal([m["seq"] for m in client.next()["data"]["messages"]], [1], "what a client resumes with elsewhere")


@test("while a node drains, who is still connected still gets messages, and new ones are sent away")
def _(s):
    d = s.diagnosis()
    node = s.start_node(TIDINGS_DRAIN_TIME=3)
    clients = [s.connect(d, server=node) for _ in range(30)]
    node.signal(signal.SIGTERM)
    got, codes = [], []

    def read(client):
        try:
            while True:
                got.append(client.next()["type"])
        except Closed as c:
            codes.append(c.code)

    threads = [threading.Thread(target=read, args=(c,)) for c in clients]
    for t in threads:
        t.start()
    wait_until(lambda: codes, "the first close")
    s.recommend(d)
    try:
        with s.connect(d, server=node, hello=False) as late:
            equal(late.closed()[0], 1012, "close code of a late one")
    except (OSError, websockets.InvalidHandshake):
        pass  # it does not even listen any more, or ended meanwhile
    for t in threads:
        t.join(20)
    equal(codes, [1012] * 30, "close codes")
    assert got, "nobody who was still connected got the message"
    equal(node.wait(), 0, "exit status")
    s.forget(node)


@test("1013 on a full node")
def _(s):
    d = s.diagnosis()
    with s.node(TIDINGS_CONNECTIONS_MAX=3) as node:
        clients = [s.connect(d, server=node) for _ in range(3)]
        equal(s.refused(d, server=node)[0], 1013, "close code of the fourth")
        clients[0].close()
        wait_until(lambda: s.lets_in(d, node), "the place to be free")
        s.recommend(d)
        equal([c.next()["seq"] for c in clients[1:]], [1, 1], "those that are in")


@test("1013 for a client that reads too slowly; others are not delayed, and it resumes where it was")
def _(s):
    d = s.diagnosis()
    with s.node(TIDINGS_SLOW_TIMEOUT=3) as node:
        slow, deaf = (RawClient(node.port, s.ws_path(d, s.token()), rcvbuf=4096) for _ in range(2))
        first = slow.next()
        with s.connect(d, server=node) as healthy:
            for n in range(80):
                equal(s.recommend(d, str(n), old_data={}, new_data={"x": "y" * 200000})["seq"], n + 1, "seq")
                equal(healthy.next()["seq"], n + 1, "the healthy one's next seq")
            wait_until(lambda: node.log.read_text().count("reads too slowly") == 2, "both to be found too slow")
            got, code = [], None
            try:
                while True:
                    got.append(slow.next())
            except Closed as c:
                code = c.code
            equal([m["seq"] for m in got], list(range(1, len(got) + 1)), "what the slow one got")
            assert len(got) < 80, "it was not slow"
            equal(code, 1013, "close code")
            slow.close()
            s.wait_watchers(d, 1)  # also the one that never reads is gone
            s.recommend(d, "after")
            equal(healthy.next()["data"]["reason"], "after", "the healthy one's message")
        deaf.close()
        epoch = first["data"]["cursor"].rsplit("-", 1)[0]
        with s.connect(d, cursor=f"{epoch}-{len(got)}", server=node) as again:
            equal(again.seqs_up_to(81), list(range(len(got) + 1, 82)), "resumed with")


@test("1013 for a new client while the database is away; who is connected stays", allow="database|connection|away")
def _(s):
    d = s.diagnosis()
    with s.connect(d) as client:
        s.stop_postgres()
        try:
            equal(s.refused(d)[0], 1013, "close code")
            client.answers()
        finally:
            s.start_postgres()
        s.wait_ready()
        wait_until(lambda: s.lets_in(d, s.node1), "new clients to be let in")
        s.recommend(d)
        equal(client.next()["seq"], 1, "seq")


@test("1012 for who comes while the node drains, on a connection that was there before, by WebSocket; 503 for a poll")
def _(s):
    d = s.diagnosis()
    node = s.start_node(TIDINGS_DRAIN_TIME=3)
    clients = [s.connect(d, server=node) for _ in range(30)]
    head = upgrade_request(s.ws_path(d, s.token()))
    late = RawClient(node.port, "", handshake=False)
    late.s.sendall(head[:20])
    poll = http.client.HTTPConnection("127.0.0.1", node.port, timeout=WAIT_S)
    equal(node.api.request_on(poll, "GET", f"/poll/{d}?timeout=0", token=s.token()).want(200)["messages"], [], "a poll before")
    node.signal(signal.SIGTERM)
    equal(clients[0].closed()[0], 1012, "close code of one that was there")
    late.s.sendall(head[20:])
    assert b" 101 " in late._head(), "no upgrade"
    equal(late.end(), 1012, "close code of who comes late")
    reply = node.api.request_on(poll, "GET", f"/poll/{d}?timeout=0", token=s.token())
    assert reply.want(503)["detail"].startswith("This server is going away"), reply
    for client in clients[1:]:
        equal(client.closed()[0], 1012, "close code")
    equal(node.wait(), 0, "exit status")
    s.forget(node)


@test("1013 for a client that says much and reads none of the answers: they have a limit")
def _(s):
    d = s.diagnosis()
    with s.node(TIDINGS_SLOW_TIMEOUT=600, **TALKATIVE) as node, RawClient(node.socket, s.ws_path(d, s.token())) as client:
        equal(client.next()["type"], "connect", "first message")
        said, answered = 40000, 0
        with contextlib.suppress(ConnectionError):
            client.s.sendall(frame(1, b"ping") * said)
        try:
            while answered < said:
                equal(client.next()["type"], "pong", "answer")
                answered += 1
        except Closed as c:
            equal((c.code, c.reason), (1013, "reading too slowly"), "the close")
        assert 0 < answered < said, f"{answered} of {said} were answered"
