"""What counts as delivered: what has left for a client. And what is delivered to nobody any more: what has expired."""
import contextlib
import importlib
import os
import select
import signal
import socket
import struct
import time

from harness import RawClient, equal, stopped, test, wait_until

deflate = importlib.import_module("52_deflate")
edges = importlib.import_module("49_edges")
streams = importlib.import_module("47_streams")
topics = importlib.import_module("48_topics")
websocket = importlib.import_module("40_websocket")

PUBLISH = "/ws/publish"


def seqs(messages):
    return [m["seq"] for m in messages]


@contextlib.contextmanager
def reads_nothing(s, node, kind, d, user="456"):
    """Is given more than it takes, and goes."""
    path = {"ws": s.ws_path(d, s.token(user)), "sse": f"/sse/{d}?token={s.token(user)}", "poll": f"/poll/{d}?token={s.token(user)}"}[kind]
    with RawClient(node.socket, path, handshake=kind == "ws") as client:
        if kind == "ws":
            equal(client.next()["type"], "connect", "first message")
        else:
            client.s.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        wait_until(lambda: client.buffer or select.select([client.s], [], [], 1)[0], "something to come")
        yield


@test("a page or a reply that its client did not take waits for the next client, on each transport")
def _(s):
    for kind in ("ws", "sse", "poll"):
        d = s.diagnosis()
        edges.fill(s, d, 8, 60000)
        # The one between two polls counts as gone at once.
        with s.node(TIDINGS_POLL_GRACE=0) as node:
            with reads_nothing(s, node, kind, d):
                s.wait_watchers(d, 1)
            s.wait_watchers(d, 0)  # written down together with what was delivered
            with s.connect(d, server=node) as client:
                equal(client.seqs_up_to(8), list(range(1, 9)), f"what the next client is given after one by {kind}")
            s.wait_watchers(d, 0)
            with s.connect(d, server=node) as client:
                client.answers()
                s.recommend(d, "live")
                equal(client.next()["seq"], 9, "what comes first, once all has been taken")


@test("a message whose write failed, since its client's connection had just been reset, waits for the next client")
def _(s):
    for kind in ("ws", "sse", "poll"):
        d = s.diagnosis()
        with s.node(TIDINGS_DATABASE_TIMEOUT=60000, TIDINGS_POLL_GRACE=0) as node, s.connect(s.diagnosis(), server=node) as witness:
            path = f"/{kind}/{d}?token={s.token()}"
            with RawClient(node.port, path, handshake=kind == "ws") as client:
                if kind != "ws":
                    path += f"&cursor={place_of(s, node, d)}" if kind == "poll" else ""
                    client.s.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
                s.wait_watchers(d, 1)
                fetches = s.backend("fetches")
                with stopped(fetches):
                    s.recommend(d, "lost")
                    s.typing(f"diagnosis/{s.ids}")
                    equal(witness.next()["type"], "typing", "at the witness: so the message is asked for")
                    os.kill(node.pid, signal.SIGSTOP)
                # Its answer is there first, and then the reset.
                wait_until(lambda: s.sql(f"select 1 from pg_stat_activity where pid = {fetches} and state = 'idle'"), "the answer")
                client.s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            os.kill(node.pid, signal.SIGCONT)
            s.wait_watchers(d, 0)  # written down together with what was delivered
            with s.connect(d, server=node) as client:
                equal([m["data"]["reason"] for m in client.next()["data"]["messages"]], ["lost"], f"what waits after one by {kind}")


def place_of(s, node, d):
    return streams.poll(s, node, d, None, 0)["cursor"]


@test("a message for one user alone that did not leave for that user waits for them still")
def _(s):
    d = s.diagnosis(granted=["457"])
    for n in range(3):
        s.api.post(PUBLISH, {"topic": f"diagnosis/{d}", "type": "n", "data": str(n) * 200000, "to_user_id": "457"}, s.service()).want(200)
    s.recommend(d, "for all")
    with s.connect(d) as owner:
        equal(owner.next()["type"], "reconnect_messages", "what is for all")
    s.wait_watchers(d, 0)
    with reads_nothing(s, s.node1, "ws", d, "457"):
        s.wait_watchers(d, 1)
    s.wait_watchers(d, 0)
    with s.connect(d, user="457") as client:
        equal(client.seqs_up_to(3), [1, 2, 3], "what waits for that user")


@test("many messages for one user alone come in pages, as others do")
def _(s):
    d = s.diagnosis(granted=["457"])
    for n in range(6):
        s.api.post(PUBLISH, {"topic": f"diagnosis/{d}", "type": "n", "data": str(n) * 100000, "to_user_id": "457"}, s.service()).want(200)
    s.recommend(d, "for all")
    with s.connect(d) as owner:
        equal(owner.next()["type"], "reconnect_messages", "what is for all")
    s.wait_watchers(d, 0)
    with s.connect(d, user="457") as client:
        pages = [seqs(websocket.missed(client)) for _ in range(2)]
        equal(pages, [[1, 2, 3], [4, 5, 6]], "pages")
        client.answers()
    s.wait_watchers(d, 0)
    with s.connect(d, user="457") as client:
        client.answers()
        s.recommend(d, "live")
        equal(client.next()["seq"], 8, "what comes first, once all has been taken")


def publish_brief(s, d, seconds, **more):
    until = time.time() + seconds
    text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(until)) + f".{int(until * 1000) % 1000:03d}Z"
    s.api.post(PUBLISH, {"topic": f"diagnosis/{d}", "type": "brief", "data": deflate.REASON, "expires_at": text, **more}, s.service()).want(200)
    return until


def wait_expired(until):
    wait_until(lambda: time.time() > until, "the message to expire")


def first_of(s, node, kind, d, cursor):
    """The seqs of what comes first after a cursor, over one transport or another."""
    if kind == "poll":
        return seqs(streams.poll(s, node, d, cursor, 0)["messages"])
    if kind == "sse":
        with topics.events(s, node, topics.names(d), cursor) as events:
            next(events)
            return [next(events)[2]["seq"] for _ in range(2)]
    with (deflate.deflating if kind == "deflate" else s.connect)(*((s, d, node) if kind == "deflate" else (d,)), cursor=cursor,
                                                                **({} if kind == "deflate" else {"server": node})) as client:
        return seqs(client.next()["data"]["messages"])


@test("what has expired is passed over in memory too, on each transport, compressed or not, for all or for one user")
def _(s):
    d = s.diagnosis()
    with s.node(TIDINGS_DEFLATE="yes") as node, s.connect(d, server=node) as witness, deflate.deflating(s, d, node) as packed:
        cursor = witness.cursor
        s.recommend(d, "first " + deflate.REASON)
        until = max(publish_brief(s, d, 1.5), publish_brief(s, d, 1.5, to_user_id="456"))
        s.recommend(d, "last " + deflate.REASON)
        for client in (witness, packed):
            equal([client.next()["seq"] for _ in range(4)], [1, 2, 3, 4], "live")
        wait_expired(until)
        for kind in ("ws", "deflate", "sse", "poll"):
            equal(first_of(s, node, kind, d, cursor), [1, 4], f"after a cursor, by {kind}")


@test("what expires while a poll holds it is not in the reply")
def _(s):
    a, b = s.diagnosis(), s.diagnosis()
    both = topics.names(a, b)
    place = topics.poll(s, s.node1, both)["cursor"]
    edges.fill(s, b, 1, 10)
    with s.node(TIDINGS_DATABASE_TIMEOUT=60000) as node, s.connect(a, server=node) as witness:
        # The one topic is answered from memory; the other waits for the database.
        with edges.no_pages_of(s, b):
            until = publish_brief(s, a, 2)
            equal(witness.next()["seq"], 1, "in memory")
            poller = edges.Poller(s, node, both, place)
            s.wait_watchers(a, 2)
            wait_expired(until)
        reply = poller.join()
        equal([(m["topic"], m["seq"]) for m in reply["messages"]], [(both[1], 1)], "messages")
        equal([p.rsplit("-", 1)[1] for p in reply["cursor"].split(".")], ["1", "1"], "the cursor has gone past it")
