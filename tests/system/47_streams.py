"""Long-poll and server-sent events for one diagnosis (section 5), at the sidecar's own port and behind lighttpd."""
import contextlib
import http.client
import json
import re
import signal
import socket
import struct
import threading

import contract
from harness import WAIT_S, Lock, RawClient, Reply, equal, test, wait_until


def doors(s):
    """The first sidecar, and lighttpd in front of it."""
    return (s.node1, s.web1)


@contextlib.contextmanager
def node_and_web(s, **settings):
    with s.node(**settings) as node, s.web(node) as web:
        yield node, web


def path(kind, d, token=None, cursor=None, timeout=None):
    query = [f"{k}={v}" for k, v in (("token", token), ("cursor", cursor), ("timeout", timeout)) if v is not None]
    return f"/{kind}/{d}" + ("?" + "&".join(query) if query else "")


def poll(s, server, d, cursor=None, timeout=None, user="456", token=None, headers=None):
    """A poll's reply: {cursor, messages, recovered}."""
    reply = server.api.get(path("poll", d, None, cursor, timeout), token or s.token(user), headers)
    body = reply.want(200)
    check_headers(reply)
    return body


def check_headers(reply):
    equal(reply.headers["Cache-Control"], "no-store", f"Cache-Control of {reply!r}")
    equal(reply.headers["X-Accel-Buffering"], "no", f"X-Accel-Buffering of {reply!r}")


def seqs(body):
    return [m["seq"] for m in body["messages"]]


class Held:
    """A poll that is under way in a thread."""

    def __init__(self, s, server, d, cursor, timeout=55, watchers=None, **how):
        self.reply = self.error = None

        def run():
            try:
                self.reply = poll(s, server, d, cursor, timeout, **how)
            except Exception as e:
                self.error = e

        self.thread = threading.Thread(target=run, daemon=True)
        self.thread.start()
        if watchers:
            s.wait_watchers(d, watchers)

    def result(self):
        self.thread.join(WAIT_S)
        assert not self.thread.is_alive(), "the poll is still held"
        if self.error:
            raise self.error
        return self.reply


class Stream:
    """
    An event stream; `first` is the event `connect`. It ends with a reset, which lighttpd notices at once: what one test leaves behind is
    not counted in the next.
    """

    def __init__(self, s, server, d, user="456", token=None, cursor=None, headers=None, rcvbuf=None, in_query=False, reset=True):
        self.connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=WAIT_S)
        self.connection.sock = socket.socket()
        if rcvbuf:
            self.connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, rcvbuf)
        if reset:
            self.connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.sock.settimeout(WAIT_S)
        self.connection.sock.connect(("127.0.0.1", server.port))
        token = token or s.token(user)
        all_headers = {} if in_query else {"Authorization": f"Bearer {token}"}
        self.path = path("sse", d, token if in_query else None, cursor)
        self.connection.request("GET", self.path, headers={**all_headers, **(headers or {})})
        self.reply = self.connection.getresponse()
        self.comments, self.retry = 0, None
        equal(self.reply.status, 200, "status")
        equal(self.reply.headers.get_content_type(), "text/event-stream", "content type")
        check_headers(self.reply)
        self.first = self.event()
        equal(self.first["event"], "connect", f"the first event {self.first}")

    def line(self):
        line = self.reply.readline()
        if not line.endswith(b"\n"):
            raise EOFError("the stream ended")
        return line.rstrip(b"\n").decode()

    def event(self):
        """The next event: {event, id, data}; comments are counted."""
        event = {"event": "message", "id": None, "data": None}
        while True:
            line = self.line()
            if line == "":
                if event["data"] is not None:
                    contract.event(self.path, event["data"])
                    return event
            elif line.startswith(":"):
                self.comments += 1
            else:
                name, value = line.split(": ", 1)
                assert name in ("event", "id", "data", "retry"), line
                if name == "retry":
                    self.retry = int(value)
                else:
                    event[name] = json.loads(value) if name == "data" else value

    def comment(self):
        """Reads on to the next comment, before which the stream may tell its place."""
        line = self.line()
        while not line.startswith(":"):
            assert line == "" or line.startswith("id: "), f"a line before the comment: {line}"
            line = self.line()

    @property
    def cursor(self):
        return self.first["id"]

    def take(self, count):
        return [self.event() for _ in range(count)]

    def ended(self):
        """The stream's last event, `close`; then it ends."""
        event = self.event()
        while event["event"] != "close":
            event = self.event()
        with contextlib.suppress(EOFError):
            raise AssertionError(f"after the end: {self.event()}")
        return event["data"]["data"]["code"]

    def close(self):
        self.reply.close()
        self.connection.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def reply_from(file):
    """One reply off a connection on which more may follow."""
    status = int(file.readline().split()[1])
    headers = http.client.parse_headers(file)
    if headers.get("Transfer-Encoding") == "chunked":
        body = b""
        while size := int(file.readline(), 16):
            body += file.read(size)
            file.readline()
        file.readline()
    else:
        body = file.read(int(headers["Content-Length"]))
    return Reply(status, headers, body)


def epoch_of(cursor):
    return cursor.rsplit("-", 1)[0]


# ------------------------------------------------------------------------------------------------------------ long-poll


@test("a held poll and an event stream count in clients_notified, and by their names in connections_by_transport")
def _(s):
    for server in doors(s):
        d = s.diagnosis()
        start = poll(s, server, d)["cursor"]
        held = Held(s, server, d, start, watchers=1)
        # Who polled before this test may count still.
        wait_until(lambda: s.status()["connections_by_transport"]["long_poll"] == 1, "this poll to be the only one")
        with Stream(s, server, d) as stream, s.connect(d, server=server) as client:
            s.wait_watchers(d, 3)
            by = s.status()["connections_by_transport"]
            equal((by["long_poll"], by["sse"]), (1, 1), f"in {by}")
            equal(s.recommend(d)["clients_notified"], 3, "clients_notified")
            equal((seqs(held.result()), stream.event()["data"]["seq"], client.next()["seq"]), ([1], 1, 1), "each one's message")


@test("a poll without a cursor is answered at once, with what waits; the next poll's cursor confirms that, and nothing is left to take")
def _(s):
    for server in doors(s):
        d = s.diagnosis()
        body = poll(s, server, d)
        equal((body["messages"], body["recovered"]), ([], True), "an empty queue")
        for n in range(3):
            s.recommend(d, str(n))
        body = poll(s, server, d)
        equal((seqs(body), body["recovered"]), ([1, 2, 3], True), "what waited")
        equal(body["messages"][0]["type"], "recommendation_update", "the message is a whole one")
        equal((set(body), body["resumed_by"]), ({"cursor", "messages", "recovered", "resumed_by"}, "queue"), "members")
        equal(seqs(poll(s, server, d)), [1, 2, 3], "what nobody has confirmed")
        # That is written down within a moment.
        equal(seqs(poll(s, server, d, body["cursor"], 0)), [], "after its cursor")
        wait_until(lambda: seqs(poll(s, server, d)) == [], "what was taken to be taken")
        equal(body["cursor"].rsplit("-", 1)[1], "3", "seq in the cursor")


@test("a poll with a cursor: at once when there is something, held until something comes, empty after its timeout")
def _(s):
    for server in doors(s):
        d = s.diagnosis()
        start = poll(s, server, d)["cursor"]
        body = poll(s, server, d, start, 1)
        equal((body["messages"], body["cursor"], body["recovered"]), ([], start, True), "after the timeout")
        equal(poll(s, server, d, start, 0)["messages"], [], "with timeout=0")
        held = Held(s, server, d, start, watchers=1)
        s.recommend(d, "first")
        body = held.result()
        equal([m["data"]["reason"] for m in body["messages"]], ["first"], "a held poll's messages")
        for n in range(5):
            s.recommend(d, str(n))
        body = poll(s, server, d, body["cursor"], 55)
        equal(seqs(body)[0], 2, "the next")
        # timeout=0 looks as well as any other: what is there comes at once.
        equal(seqs(poll(s, server, d, start, 0)), [1, 2, 3, 4, 5, 6], "all of it, with timeout=0")
        equal(seqs(poll(s, server, d, f"{epoch_of(start)}-4")), [5, 6], "what is after that cursor, with the timeout left out")


@test("a poll whose timeout ends while the database is slow is answered with what the database has")
def _(s):
    # It was answered as empty, though its page was under way: with timeout=0 that is any poll at an unlucky moment.
    d, other = s.diagnosis(), s.diagnosis()
    with s.node(TIDINGS_DATABASE_TIMEOUT=30000) as node:
        start = poll(s, node, d)["cursor"]
        for n in range(30):
            s.recommend(d, str(n))
        clock = Held(s, node, other, poll(s, node, other)["cursor"], 1, watchers=1)
        with Lock(s, "tidings.message"):
            held = [Held(s, node, d, start, 0) for _n in range(100)]
            waiting = "select count(*) from pg_stat_activity where application_name = 'tidings-ws queries' and wait_event_type = 'Lock'"
            wait_until(lambda: s.sql(waiting) == [["1"]], "the sidecar to wait for the database")
            equal(seqs(clock.result()), [], "one that is answered at its timeout")
        for each in held:
            equal(seqs(each.result()), list(range(1, 31)), "seqs")


@test("a chain of polls while 200 messages are published misses none and repeats none")
def _(s):
    for server in doors(s):
        d = s.diagnosis()
        cursor, token = poll(s, server, d)["cursor"], s.token()
        publisher = threading.Thread(target=lambda d=d: [s.recommend(d, str(n), token) for n in range(200)])
        publisher.start()
        got = []
        while len(got) < 200:
            body = poll(s, server, d, cursor, 20, token=token)
            equal(body["recovered"], True, "recovered")
            cursor = body["cursor"]
            got += seqs(body)
            equal(cursor.rsplit("-", 1)[1], str(got[-1] if got else 0), "seq in the cursor")
        publisher.join()
        equal(got, list(range(1, 201)), "seqs")


@test("WebSocket, event stream and poll in turn, on one node and the other, with the cursor carried along: nothing missed, nothing twice")
def _(s):
    d = s.diagnosis()
    token, total = s.token(), 200
    with node_and_web(s) as (node2, web2):
        servers = (s.node1, web2, node2, s.web1)
        cursor = poll(s, s.node1, d)["cursor"]
        epoch = epoch_of(cursor)
        publisher = threading.Thread(target=lambda: [s.recommend(d, str(n), token) for n in range(total)])
        publisher.start()
        got, turn = [], 0
        while len(got) < total:
            server, upto = servers[turn % 4], min(total, len(got) + 11)
            if turn % 3 == 0:
                with s.connect(d, token=token, cursor=cursor, server=server) as client:
                    equal(client.first["data"]["recovered"], True, "recovered")
                    got += client.seqs_up_to(upto)
                cursor = f"{epoch}-{got[-1]}"
            elif turn % 3 == 1:
                with Stream(s, server, d, token=token, cursor=cursor) as stream:
                    equal(stream.first["data"]["data"]["recovered"], True, "recovered")
                    while not got or got[-1] < upto:
                        event = stream.event()
                        got.append(event["data"]["seq"])
                        cursor = event["id"]
            else:
                body = poll(s, server, d, cursor, 20, token=token)
                equal(body["recovered"], True, "recovered")
                got += seqs(body)
                cursor = body["cursor"]
            turn += 1
        publisher.join()
    equal(got, list(range(1, total + 1)), "seqs")


@test("a hole is told: recovered is false, and which messages are gone")
def _(s):
    d = s.diagnosis()
    # A poller would be held in its place, and what came after that kept in memory.
    with s.connect(d) as client:
        start = client.first["data"]["cursor"]
    s.wait_watchers(d, 0)
    with s.web(TIDINGS_QUEUE_MAX=10, TIDINGS_QUEUE_MIN_AGE=0) as web:
        for n in range(60):
            s.recommend(d, str(n), api=web.api)
    for server in doors(s):
        body = poll(s, server, d, start)
        first = seqs(body)[0]
        assert 1 < first <= 51, f"kept from {first}"
        equal((body["recovered"], body.get("missed")), (False, {"from": 1, "to": first - 1}), "recovered and missed")
        equal(seqs(body), list(range(first, 61)), "what is still there is given")
        body = poll(s, server, d, body["cursor"], 0)
        equal((body["messages"], body["recovered"], "missed" in body), ([], True, False), "the next poll")
        with Stream(s, server, d, cursor=start) as stream:
            data = stream.first["data"]["data"]
            equal((data["recovered"], data["missed"]), (False, {"from": 1, "to": first - 1}), "the same in an event stream")
            equal([e["data"]["seq"] for e in stream.take(61 - first)], list(range(first, 61)), "its events")


@test("a foreign, a future and a damaged cursor are answered at once: recovered is false, with what is there")
def _(s):
    d, empty = s.diagnosis(), s.diagnosis()
    for n in range(3):
        s.recommend(d, str(n))
    epoch = epoch_of(poll(s, s.node1, d)["cursor"])
    for server in doors(s):
        for cursor in ("zzzzzz-1", f"{epoch}-999", "rubbish", "", "%20", f"{epoch}-", f"{epoch}--1", "x" * 500):
            body = poll(s, server, d, cursor, 55)
            equal((body["recovered"], seqs(body)), (False, [1, 2, 3]), f"recovered and messages with {cursor!r}")
            body = poll(s, server, empty, cursor, 55)
            equal((body["recovered"], seqs(body)), (False, []), f"the same of an empty queue with {cursor!r}")
            equal(poll(s, server, empty, body["cursor"], 0)["recovered"], True, "recovered with the cursor it gave")
        with Stream(s, server, d, headers={"Last-Event-ID": "rubbish"}) as stream:
            equal(stream.first["data"]["data"]["recovered"], False, "recovered in an event stream")
            equal([e["data"]["seq"] for e in stream.take(3)], [1, 2, 3], "its events")


@test("many polls on one connection; one that is asked while the one before is held is answered after it")
def _(s):
    for server in doors(s):
        d = s.diagnosis()
        token = s.token()
        start = poll(s, server, d)["cursor"]
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=WAIT_S)
        server.api.request_on(connection, "GET", path("poll", d), token=token).want(200)
        sock = connection.sock
        assert sock, "the connection was closed after the first poll"
        for _n in range(30):
            server.api.request_on(connection, "GET", path("poll", d, None, start, 0), token=token).want(200)
            assert connection.sock is sock, "another connection had to be made"
        connection.close()
        s.wait_watchers(d, 0)
        request = "GET {} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + token + "\r\n\r\n"
        with socket.create_connection(("127.0.0.1", server.port), timeout=WAIT_S) as sock, sock.makefile("rb") as file:
            sock.sendall(request.format(path("poll", d, None, start, 55)).encode())
            s.wait_watchers(d, 1)
            second = request.format(path("poll", d, None, f"{epoch_of(start)}-1", 55)).encode()
            sock.sendall(second[:20])
            s.recommend(d, "one")
            equal(seqs(reply_from(file).want(200)), [1], "the held one")
            sock.sendall(second[20:])
            s.wait_watchers(d, 1)
            # The third comes whole while the second is held.
            sock.sendall(request.format(path("poll", d, None, start, 55)).encode())
            s.recommend(d, "two")
            equal([seqs(reply_from(file).want(200)) for _n in range(2)], [[2], [1, 2]], "those behind it")
            sock.sendall(request.format(path("poll", d, None, start, 55)).encode())
            equal(seqs(reply_from(file).want(200)), [1, 2], "one more")


@test("two polls sent in one piece are both answered, or the connection ends after the first, which says so")
def _(s):
    d = s.diagnosis()
    s.recommend(d)
    start = poll(s, s.node1, d)["cursor"]
    request = f"GET {path('poll', d, s.token(), f'{epoch_of(start)}-0')} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
    for server in doors(s):
        with socket.create_connection(("127.0.0.1", server.port), timeout=WAIT_S) as sock, sock.makefile("rb") as file:
            sock.sendall(request * 2)
            first = reply_from(file)
            equal(seqs(first.want(200)), [1], "the first")
            if first.headers["Connection"] != "close":
                equal(seqs(reply_from(file).want(200)), [1], "the second")


@test("to_user_id and exclude_connection_id hold for polls and event streams; a poll's cursor passes what was not for it")
def _(s):
    for server in doors(s):
        d = s.diagnosis(granted=["457"])
        start = poll(s, server, d)["cursor"]
        held = Held(s, server, d, start, watchers=1)
        with Stream(s, server, d, user="457") as one, Stream(s, server, d, user="457") as two:
            s.wait_watchers(d, 3)
            equal(s.recommend(d, "a", to_user_id=457)["clients_notified"], 2, "clients_notified")
            equal(s.recommend(d, "b", to_user_id=457, exclude_connection_id=one.first["data"]["data"]["connection_id"])["clients_notified"], 1,
                  "clients_notified")
            s.recommend(d, "c")
            body = held.result()
            equal([m["data"]["reason"] for m in body["messages"]], ["c"], "what the held poll of 456 got")
            equal(body["cursor"].rsplit("-", 1)[1], "3", "seq in its cursor")
            equal([e["data"]["data"]["reason"] for e in one.take(2)], ["a", "c"], "the excluded one's")
            equal([e["data"]["data"]["reason"] for e in two.take(3)], ["a", "b", "c"], "the other's")
        # All that comes is for somebody else: the cursor moves on even so.
        s.recommend(d, "d", to_user_id=457)
        body = poll(s, server, d, body["cursor"], 1)
        equal((body["messages"], body["recovered"], body["cursor"].rsplit("-", 1)[1]), ([], True, "4"), "a poll that was given nothing")
        equal([m["data"]["reason"] for m in poll(s, server, d, start, 0, user="457")["messages"]], ["a", "b", "c", "d"], "457's poll")


# --------------------------------------------------------------------------------------------------------- event streams


@test("an event stream: head, retry, the cursor as id, the message as data; Last-Event-ID and ?cursor= resume")
def _(s):
    for server in doors(s):
        d = s.diagnosis()
        s.recommend(d, "waits")
        with Stream(s, server, d) as stream, s.connect(d, server=server) as client:
            data = stream.first["data"]
            equal((data["type"], data["diagnosis_id"], data["data"]["user_id"], data["data"]["recovered"]), ("connect", d, 456, True), "connect")
            equal(data["data"]["cursor"], stream.cursor, "its id")
            assert stream.retry and stream.retry > 0, "no retry was given"
            event = stream.event()
            epoch = epoch_of(stream.cursor)
            equal((event["event"], event["id"], event["data"]["data"]["reason"]), ("message", f"{epoch}-1", "waits"), "what waited")
            reason = "Zeile\nzwei \u2028 \U0001f33f : \\ \" data: x"
            s.recommend(d, reason)
            event = stream.event()
            wanted = client.next()
            while wanted.get("seq") != 2:
                wanted = client.next()
            equal(event, {"event": "message", "id": f"{epoch}-2", "data": wanted}, "an event as it comes")
            equal(event["data"]["data"]["reason"], reason, "its text")
            s.api.post("/ws/publish", {"topic": f"diagnosis/{d}", "type": "e", "data": {}, "ephemeral": True}, s.service()).want(200)
            event = stream.event()
            equal((event["id"], event["data"]["type"], "seq" in event["data"]), (None, "e", False), "an ephemeral one: not to resume after")
        s.recommend(d, "three")
        with Stream(s, server, d, headers={"Last-Event-ID": f"{epoch}-1"}) as stream:
            equal([e["id"] for e in stream.take(2)], [f"{epoch}-2", f"{epoch}-3"], "resumed by Last-Event-ID")
        with Stream(s, server, d, cursor=f"{epoch}-2") as stream:
            equal([e["id"] for e in stream.take(1)], [f"{epoch}-3"], "resumed by ?cursor=")
        # A browser repeats the URL that it began with: the header is the newer one.
        with Stream(s, server, d, cursor=f"{epoch}-0", headers={"Last-Event-ID": f"{epoch}-2"}) as stream:
            equal([e["id"] for e in stream.take(1)], [f"{epoch}-3"], "resumed by both")


@test("an event stream that has nothing to tell gets comments")
def _(s):
    with node_and_web(s, TIDINGS_HEARTBEAT=1) as servers:
        for server in servers:
            d = s.diagnosis()
            with Stream(s, server, d) as stream:
                for _n in range(2):
                    stream.comment()
                s.recommend(d, "still there")
                equal(stream.event()["data"]["data"]["reason"], "still there", "the event after them")


@test("a node that is told to end: event streams get `close` 1012 and end, held polls are answered, empty, with their cursor")
def _(s):
    d = s.diagnosis()
    node = s.start_node()
    with s.web(node) as web:
        start = poll(s, node, d)["cursor"]
        held = [Held(s, server, d, start, watchers=n) for n, server in enumerate((node, web), 1)]
        streams = [Stream(s, server, d) for server in (node, web)]
        s.wait_watchers(d, 4)
        node.signal(signal.SIGTERM)
        equal([stream.ended() for stream in streams], [1012, 1012], "close codes")
        for each in held:
            body = each.result()
            equal((body["messages"], body["cursor"], body["recovered"]), ([], start, True), "a held poll's reply")
        equal(node.wait(), 0, "exit status")
        s.forget(node)
        for stream in streams:
            stream.close()
    s.recommend(d)
    equal(seqs(poll(s, s.node1, d, start)), [1], "resumed elsewhere")


@test("a token that expires ends an event stream with `close` 1008; a held poll is answered, and the next is told 401")
def _(s):
    for server in doors(s):
        d = s.diagnosis()
        start = poll(s, server, d)["cursor"]
        token = s.token(ttl=5)
        held = Held(s, server, d, start, token=token)
        with Stream(s, server, d, token=token) as stream:
            equal(stream.ended(), 1008, "close code")
        body = held.result()
        equal((body["messages"], body["cursor"]), ([], start), "the held poll's reply")
        server.api.get(path("poll", d, None, start), token).want(401)


@test("an event stream that is read too slowly is cut; others are not delayed, and it resumes where it was")
def _(s):
    d = s.diagnosis()
    with s.node(TIDINGS_SLOW_TIMEOUT=3) as node:
        with Stream(s, node, d, rcvbuf=4096) as slow, Stream(s, node, d, rcvbuf=4096) as deaf, Stream(s, node, d) as healthy:
            for n in range(80):
                equal(s.recommend(d, str(n), old_data={}, new_data={"x": "y" * 200000})["seq"], n + 1, "seq")
                equal(healthy.event()["data"]["seq"], n + 1, "the healthy one's next seq")
            wait_until(lambda: node.log.read_text().count("reads too slowly") == 2, "both to be found too slow")
            got, last = [], slow.cursor
            with contextlib.suppress(EOFError, ConnectionError):
                while (event := slow.event())["event"] == "message":
                    got.append(event["data"]["seq"])
                    last = event["id"]
                equal(event["data"]["data"]["code"], 1013, "close code")
            equal(got, list(range(1, len(got) + 1)), "what the slow one got")
            assert len(got) < 80, "it was not slow"
            slow.close()
            s.wait_watchers(d, 1)
            s.recommend(d, "after")
            equal(healthy.event()["data"]["data"]["reason"], "after", "the healthy one's event")
            deaf.close()
        with Stream(s, node, d, headers={"Last-Event-ID": last}) as again:
            equal([e["data"]["seq"] for e in again.take(81 - len(got))], list(range(len(got) + 1, 82)), "resumed with")


@test("a client that leaves is gone from presence at once: an event stream, a held poll")
def _(s):
    d = s.diagnosis()
    start = poll(s, s.node1, d)["cursor"]
    stream = Stream(s, s.node1, d, reset=False)
    client = RawClient(s.node1.port, "", handshake=False)
    client.s.sendall(f"GET {path('poll', d, s.token(), start, 55)} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    s.wait_watchers(d, 2)
    stream.close()
    s.wait_watchers(d, 1)
    client.close()
    s.wait_watchers(d, 0)
    equal(s.recommend(d)["clients_notified"], 0, "clients_notified")
    equal(seqs(poll(s, s.node1, d)), [1], "what was published then waits")
    # lighttpd notices with what it is given next: a comment at the latest.
    with node_and_web(s, TIDINGS_HEARTBEAT=1) as (_node, web):
        stream = Stream(s, web, d, reset=False)
        s.wait_watchers(d, 1)
        stream.close()
        s.wait_watchers(d, 0)


# -------------------------------------------------------------------------------------------------------------- refusals


@test("401 with WWW-Authenticate, 403 that is the same for foreign and missing, 404 to an admin, 405, 422: problems all")
def _(s):
    d = s.diagnosis(owner="999")
    for server in doors(s):
        for kind in ("poll", "sse"):
            for headers in ({}, {"Authorization": "Bearer"}, {"Authorization": "Bearer x.y.z"}, {"Authorization": f"Bearer {s.token(ttl=-5)}"}):
                reply = server.api.get(path(kind, d), None, headers)
                why = reply.want(401)["detail"]
                equal(reply.headers["WWW-Authenticate"], f'Bearer error="invalid_token", error_description="{why}"', "WWW-Authenticate")
                check_headers(reply)
            server.api.get(path(kind, d) + "?token=x").want(401)
            server.api.get(path(kind, d) + "?token=").want(401)
            foreign, missing = (server.api.get(path(kind, x), s.token()) for x in (d, 987654321))
            equal((foreign.want(403), missing.want(403)), (missing.json, foreign.json), "foreign and missing")
            equal(foreign.body, missing.body, "bodies of foreign and missing")
            check_headers(foreign)
            server.api.get(path(kind, 987654321), s.token("1", role="admin")).want(404)
            for method in ("POST", "PUT", "DELETE", "OPTIONS"):
                reply = server.api.request(method, path(kind, d), None, s.token("999"), {"Content-Length": "0"})
                reply.want(405)
                equal(reply.headers["Allow"], "GET", "Allow")
                equal(reply.headers["Cache-Control"], "no-store", "Cache-Control")
            for bad in ("0", "-1", "x", "1/2", "1x", "99999999999999999999"):
                server.api.get(f"/{kind}/{bad}", s.token()).want(404)
        for bad in ("56", "-1", "x", "", "1.5", "%20", "00", "1000000000000000000000"):
            problem = server.api.get(path("poll", d, timeout=bad), s.token("999")).want(422)
            equal([e["field"] for e in problem["errors"]], ["timeout"], bad)
        s.recommend(d, token=s.token("999"))
        poll(s, server, d, timeout=55, user="999")


@test("the Link of a 426 leads to the poll")
def _(s):
    for server in doors(s):
        d = s.diagnosis()
        s.recommend(d)
        reply = server.api.get(f"/ws/{d}", s.token())
        reply.want(426)
        target = re.fullmatch(r'<([^>]+)>; rel="alternate"', reply.headers["Link"]).group(1)
        equal(seqs(server.api.get(target, s.token()).want(200)), [1], "what is there")


@test("the Link of a 426 names the topics of the request; live health has none")
def _(s):
    names = [f"diagnosis/{s.diagnosis()}", "health/456"]
    for server in doors(s):
        reply = server.api.get(f"/ws?topics={','.join(names)}&token={s.token()}")
        reply.want(426)
        target = re.fullmatch(r'<([^>]+)>; rel="alternate"', reply.headers["Link"]).group(1)
        equal(target, f"/poll?topics={','.join(names)}", "target")
        server.api.get(target + "&timeout=0", s.token()).want(200)
        for path in ("/ws", "/ws?topics=a%3Eb", "/ws/health", "/ws/combined?topics=a"):
            reply = server.api.get(path)
            reply.want(426)
            equal(reply.headers.get("Link"), None, f"Link of {path}")


@test("429 for a user with too many connections; a place that is left is free again")
def _(s):
    d = s.diagnosis(granted=["457"])
    with node_and_web(s, TIDINGS_USER_CONNECTIONS_MAX=2, TIDINGS_POLL_GRACE=1) as servers:
        for server in servers:
            with Stream(s, servers[0], d) as one, s.connect(d, server=servers[0]):
                for kind in ("poll", "sse"):
                    reply = server.api.get(path(kind, d), s.token())
                    reply.want(429)
                    assert int(reply.headers["Retry-After"]) > 0, reply
                poll(s, server, d, user="457")
                one.close()
                wait_until(lambda: server.api.get(path("poll", d), s.token()).status == 200, "the place to be free")
            s.wait_watchers(d, 0)


@test("503 with Retry-After on a full node; one that is let in again works")
def _(s):
    d = s.diagnosis()
    with node_and_web(s, TIDINGS_CONNECTIONS_MAX=2, TIDINGS_POLL_GRACE=1) as servers:
        for server in servers:
            with Stream(s, servers[0], d) as one, s.connect(d, server=servers[0]):
                for kind in ("poll", "sse"):
                    reply = server.api.get(path(kind, d), s.token())
                    reply.want(503)
                    assert int(reply.headers["Retry-After"]) > 0, reply
                one.close()
                wait_until(lambda: server.api.get(path("poll", d), s.token()).status == 200, "the place to be free")
            s.wait_watchers(d, 0)


@test("503 with Retry-After while the database is away; who is connected stays, and gets what comes later", allow="database|connection|away")
def _(s):
    d = s.diagnosis()
    start = poll(s, s.node1, d)["cursor"]
    with Stream(s, s.node1, d) as stream, Stream(s, s.web1, d) as proxied:
        held = Held(s, s.node1, d, start, watchers=3)
        s.stop_postgres()
        try:
            for server in doors(s):
                for kind in ("poll", "sse"):
                    reply = server.api.get(path(kind, d), s.token())
                    reply.want(503)
                    assert int(reply.headers["Retry-After"]) > 0, reply
        finally:
            s.start_postgres()
        s.wait_ready()
        s.recommend(d, "later")
        equal([x.event()["data"]["data"]["reason"] for x in (stream, proxied)], ["later"] * 2, "the streams' events")
        equal(seqs(held.result()), [1], "the held poll's")


# ------------------------------------------------------------------------------------------------------------------ CORS


@test("CORS: an allowed origin may read replies, another may not; preflights are answered alike")
def _(s):
    d = s.diagnosis()
    ours, theirs = "https://app.example", "https://evil.example"
    with node_and_web(s, TIDINGS_ALLOWED_ORIGINS=f"{ours},https://b.example:8443") as servers:
        for server in servers:
            for kind, token, status in (("poll", s.token(), 200), ("poll", "x", 401), ("sse", "x", 401), ("poll", s.token("1"), 403)):
                reply = server.api.get(path(kind, d), token, {"Origin": ours})
                equal((reply.status, reply.headers["Access-Control-Allow-Origin"]), (status, ours), "status and the origin that may read it")
                assert "Origin" in reply.headers["Vary"], reply
                for origin in (theirs, "null", ours + ".evil.example", "https://b.example", ""):
                    reply = server.api.get(path(kind, d), token, {"Origin": origin})
                    equal((reply.status, reply.headers["Access-Control-Allow-Origin"]), (status, None), f"with origin {origin!r}")
            for origin in (ours, "https://b.example:8443"):
                with Stream(s, server, d, headers={"Origin": origin}) as stream:
                    equal(stream.reply.headers["Access-Control-Allow-Origin"], origin, "an event stream's")
            with Stream(s, server, d, headers={"Origin": theirs}) as stream:
                equal(stream.reply.headers["Access-Control-Allow-Origin"], None, "an event stream's")
            for kind in ("poll", "sse"):
                ask = {"Access-Control-Request-Method": "GET", "Access-Control-Request-Headers": "authorization"}
                reply = server.api.request("OPTIONS", path(kind, d), headers={"Origin": ours, **ask})
                equal((reply.status, reply.body), (204, b""), "status and body of a preflight")
                equal(reply.headers["Access-Control-Allow-Origin"], ours, "a preflight's origin")
                assert "GET" in reply.headers["Access-Control-Allow-Methods"], reply
                allowed = reply.headers["Access-Control-Allow-Headers"].lower()
                assert "authorization" in allowed and "last-event-id" in allowed, reply
                reply = server.api.request("OPTIONS", path(kind, d), headers={"Origin": theirs, **ask})
                reply.want(403)
                equal(reply.headers["Access-Control-Allow-Origin"], None, "a refused preflight's origin")
    # Nothing is configured on the first: no page of another origin may read.
    for server in doors(s):
        equal(server.api.get(path("poll", d), s.token(), {"Origin": ours}).headers["Access-Control-Allow-Origin"], None, "by default")


@test("polls that are answered with the same message at once each get a reply of their own: connection, origin, place, and form")
def _(s):
    d, other, ours = s.diagnosis(), s.diagnosis(), "https://app.example"
    with s.node(TIDINGS_ALLOWED_ORIGINS=ours, TIDINGS_POLL_GRACE=1) as node:
        def ask(query, *headers):
            client = socket.create_connection(("127.0.0.1", node.port), WAIT_S)
            client.sendall("\r\n".join((f"GET {query} HTTP/1.1", "Host: localhost", f"Authorization: Bearer {s.token()}", *headers, "", "")).encode())
            return client

        def answer(client):
            reply = http.client.HTTPResponse(client)
            reply.begin()
            equal(reply.status, 200, "status")
            body = json.loads(reply.read())
            client.close()
            return reply.headers, body

        places = poll(s, node, d)["cursor"]
        begin = places.rsplit("-", 1)[0]
        for turn in (1, 2, 3):
            both = node.api.get(f"/poll?topics=diagnosis/{d},diagnosis/{other}", s.token()).want(200)["cursor"]
            here = f"{begin}-{turn - 1}"
            clients = [
                ask(path("poll", d, cursor=here, timeout=55)),
                ask(path("poll", d, cursor=here, timeout=55), "Connection: close"),
                ask(path("poll", d, cursor=here, timeout=55)),
                ask(path("poll", d, cursor=here, timeout=55), f"Origin: {ours}"),
                ask(f"/poll?topics=diagnosis/{d}&cursor={here}&timeout=55"),
                ask(f"/poll?topics=diagnosis/{d},diagnosis/{other}&cursor={both}&timeout=55"),
                ask(path("poll", d, cursor=here, timeout=55)),
            ]
            with Stream(s, node, d, cursor=here) as stream, Stream(s, node, d, cursor=here) as second:
                s.wait_watchers(d, len(clients) + 2)
                s.recommend(d)
                answers = [answer(c) for c in clients]
                for each in (stream, second):
                    event = each.event()
                    equal((event["id"], event["data"]["seq"]), (f"{begin}-{turn}", turn), "event")
            for n, (headers, body) in enumerate(answers):
                equal(seqs(body), [turn], f"seqs of poll {n}")
                equal(headers["Connection"], "close" if n == 1 else "keep-alive", f"connection of poll {n}")
                equal(headers["Access-Control-Allow-Origin"], ours if n == 3 else None, f"origin of poll {n}")
                equal("topics" in body, n in (4, 5), f"form of poll {n}")
                equal(body["cursor"], both.replace(f"{begin}-{turn - 1}", f"{begin}-{turn}") if n == 5 else f"{begin}-{turn}", f"cursor of poll {n}")
            s.wait_watchers(d, 0)


@test("polls and event streams leave no token in a log")
def _(s):
    d = s.diagnosis()
    token, marker = s.token(), s.diagnosis()
    for server in doors(s):
        server.api.get(path("poll", d, token)).want(200)
        server.api.get(path("poll", d, token, timeout=99)).want(422)
        server.api.get(path("poll", 987654321, token)).want(403)
        server.api.get(path("poll", d, s.token(ttl=-5))).want(401)
        with Stream(s, server, d, token=token, in_query=True) as stream:
            s.wait_watchers(d, 1)
            s.recommend(d)
            stream.event()
        server.api.request("OPTIONS", path("poll", d, token), headers={"Origin": "https://x.example", "Access-Control-Request-Method": "GET"})
        server.api.get(path("poll", marker, token)).want(200)
    access = [p for p in s.log_files() if "access" in p.name]
    # lighttpd writes it in blocks.
    wait_until(lambda: any(f"/poll/{marker}" in p.read_text() for p in access), "the requests to be in the access log")
    for log in s.log_files():
        text = log.read_text(errors="replace")
        assert "eyJ" not in text, f"a token is in {log.name}: " + next(line for line in text.splitlines() if "eyJ" in line)[:300]
