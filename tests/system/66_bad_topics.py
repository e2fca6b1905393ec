"""Bad input where topics are named (`?topics=`): each is answered in form, nothing is answered twice, and others are served as before."""
import contextlib
import http.client
import re
import socket
import urllib.parse

from harness import WAIT_S, Closed, RawClient, equal, read_reply, test, upgrade_request, wait_until

KINDS = ("poll", "sse")


def doors(s):
    return (s.node1, s.web1)


def name_of(diagnosis):
    return f"diagnosis/{diagnosis}"


def path(kind, topics, **query):
    """`topics` as it is to stand in the URL; None: left out."""
    parts = ([] if topics is None else [f"topics={topics}"]) + [f"{k}={v}" for k, v in query.items() if v is not None]
    return f"/{kind}" + ("?" + "&".join(parts) if parts else "")


def poll(s, server, topics, token=None, **query):
    query.setdefault("timeout", 0)
    return server.api.get(path("poll", topics, **query), token or s.token()).want(200)


def upgrade_status(server, target, token):
    """The status that a WebSocket handshake gets."""
    with RawClient(server.port, "", handshake=False) as client:
        client.s.sendall(upgrade_request(target, [f"Authorization: Bearer {token}"]))
        return int(client._head().split()[1])


def opens(s, server, target, token):
    """The status of an event stream that is left at once, and its head."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=WAIT_S) as sock:
        sock.sendall(f"GET {target} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\r\n".encode())
        reply = http.client.HTTPResponse(sock)
        reply.begin()
        return reply.status


@contextlib.contextmanager
def undisturbed(s):
    """A client that listens to a topic by name, and must be served all the same; `with` gives the topic."""
    d = s.diagnosis()
    with s.connect(d) as healthy:
        yield name_of(d)
        for _n in range(2):
            seq = s.recommend(d)["seq"]
            equal(healthy.next()["seq"], seq, "the healthy client's next message")
        healthy.answers()
        for server in doors(s):
            equal(len(poll(s, server, name_of(d), cursor=healthy.cursor)["messages"]) > 0, True, "a poll beside it gets something")


def dismissed(s, server, reply):
    """lighttpd refuses a URL with control characters itself."""
    return server is s.web1 and reply.status == 400 and reply.want(400)


# ---------------------------------------------------------------------------------------------------------------- topics


@test("topics that are missing, empty, twice, too many or no names are 422, for polls, event streams and WebSockets alike")
def _(s):
    a, b = (name_of(s.diagnosis()) for _n in range(2))
    admin = s.token("1", role="admin")
    bad = (None, "", ",", f"{a},", f",{a}", f"{a},,{b}", f"{a},{a}", f"{a},{b},{a}", f"{a},diagnosis%2F{a.split('/')[1]}", "a%20b", "+", f"{a}+",
           "a%00b", "%00", "%ff", "%c3%bc", "%", "%2", "%zz", f"{a}%", "a%0d%0ab", "a%0aid:%201", "a;b", "a%22b", "a%5cb", "a%3Cb%3E", "a*b", "..%00",
           "x" * 129, f"{a}," + "x" * 129, ",".join(f"t{n}" for n in range(101)), ",".join(["t"] * 100), "," * 99, "," * 5000)
    for server in doors(s):
        for topics in bad:
            for kind in KINDS:
                reply = server.api.get(path(kind, topics), admin)
                if dismissed(s, server, reply):
                    continue
                problem = reply.want(422)
                assert "topics" in problem["detail"] or any(e["field"] == "topics" for e in problem.get("errors", [])), problem
            status = upgrade_status(server, path("ws", topics), admin)
            assert status == 422 or server is s.web1 and status == 400, f"status {status} of a WebSocket with topics={topics!r}"


@test("topics are names: percent-encoded ones, a hundred of them and long ones are taken, and come back as they are")
def _(s):
    admin = s.token("1", role="admin")
    a, b = (name_of(s.diagnosis()) for _n in range(2))
    long = "x" * 128
    cases = {f"{a},{b}": [a, b], urllib.parse.quote(a, safe=""): [a], urllib.parse.quote(f"{a},{b}", safe=""): [a, b],
             "".join(f"%{ord(c):02x}" for c in a): [a], long: [long], f"{long},{a}": [long, a], ",".join(f"t{n}" for n in range(100)):
             [f"t{n}" for n in range(100)], "a.b,a-b,a_b,a:b,a/b": ["a.b", "a-b", "a_b", "a:b", "a/b"], "..,.": ["..", "."], "//": ["//"]}
    for server in doors(s):
        for topics, names in cases.items():
            body = poll(s, server, topics, admin)
            equal(list(body["topics"]), names, f"topics of {topics[:60]!r}")
            equal(len(body["cursor"].split(".")), len(names), f"parts of the cursor {body['cursor'][:200]}")
            equal(body["cursor"], ".".join(body["topics"][n]["cursor"] for n in names), "the combined cursor is made of the single ones")
            equal(opens(s, server, path("sse", topics), admin), 200, f"status of an event stream of {topics[:60]!r}")
            equal(upgrade_status(server, path("ws", topics), admin), 101, f"status of a WebSocket of {topics[:60]!r}")


@test("one topic that is not allowed refuses all, and is named; a foreign one and one that is not there look the same")
def _(s):
    mine, foreign = s.diagnosis(), s.diagnosis(owner="999")
    for server in doors(s):
        seen = set()
        for other in (name_of(foreign), "diagnosis/987654321", "health/457", "chat/1", "whatever", "diagnosis/0", "diagnosis/01"):
            for topics in (f"{name_of(mine)},{other}", f"{other},{name_of(mine)}", other):
                for kind in KINDS:
                    reply = server.api.get(path(kind, topics), s.token())
                    problem = reply.want(403)
                    equal([(e["field"], e["message"]) for e in problem["errors"]], [("topics", other)], "errors")
                    seen.add(reply.body.replace(other.encode(), b"X"))
                with RawClient(server.port, path("ws", topics), [f"Authorization: Bearer {s.token()}"]) as client:
                    error = client.next()
                    equal((error["type"], error["data"]["code"], error["data"]["topic"]), ("error", "forbidden", other), f"error {error}")
                    try:
                        raise AssertionError(f"not closed, but {client.next()}")
                    except Closed as c:
                        equal((c.code, c.reason), (1008, "not allowed"), "close")
        equal(len(seen), 1, f"different bodies: {seen}")
        equal(s.watchers(mine), 0, "connections counted of what was refused")
        # An expired token is told before a topic.
        server.api.get(path("poll", "whatever"), s.token(ttl=-5)).want(401)
        server.api.get(path("poll", "whatever")).want(401)


@test("a right that is taken away ends a poller too that keeps coming back")
def _(s):
    # Its place between two polls was taken over without asking, so that it was never asked again.
    for server in doors(s):
        d = s.diagnosis(granted=["457"])
        token = s.token("457")
        cursor = poll(s, server, name_of(d), token)["cursor"]
        s.sql(f"delete from tidings.diagnosis_grant where diagnosis_id = {d}")

        def refused():
            reply = server.api.get(path("poll", name_of(d), timeout=1, cursor=cursor), token)
            assert reply.status in (200, 403), reply
            return reply.status == 403

        wait_until(refused, "it to be refused")


# --------------------------------------------------------------------------------------------------------------- cursors


@test("combined cursors that are forged, foreign, of the future, damaged, too short or too long: not recovered, with what is there")
def _(s):
    a, b = s.diagnosis(), s.diagnosis()
    names = [name_of(a), name_of(b)]
    topics = ",".join(names)
    for d in (a, b):
        for n in range(3):
            s.recommend(d, str(n))
    ca, cb = poll(s, s.node1, topics)["cursor"].split(".")
    ea, eb = (c.rsplit("-", 1)[0] for c in (ca, cb))

    def seqs(body, topic):
        return [m["seq"] for m in body["messages"] if m["topic"] == topic]

    all_lost = ("rubbish", "%20", ca, f".{ca}.", f"{ca}.{cb}.{ca}", f"{ca}.{cb}.", "..", "...", "." * 500, f"{ca},{cb}", "x" * 4000)
    one_lost = {f"{cb}.{ca}": (False, False), f"{ea}-999.{cb}": (False, True), f"{ca}.{eb}-4": (True, False), f"{ca}.zzzzzz-1": (True, False),
                f"{ca}.{eb}": (True, False), f"{ca}.{eb}-": (True, False), f"{ca}.{eb}--1": (True, False),
                f"{ca}.{eb}-99999999999999999999999": (True, False), f"{ca}.-3": (True, False), f"{ca}.%20": (True, False),
                f"{ca}. {cb}".replace(" ", "%20"): (True, False), f"{ca}.{eb}-3x": (True, False)}
    for server in doors(s):
        for cursor in all_lost:
            body = poll(s, server, topics, cursor=cursor, timeout=55)
            equal(body["recovered"], False, f"recovered with {cursor[:80]!r}")
            for name in names:
                equal((body["topics"][name]["recovered"], seqs(body, name)), (False, [1, 2, 3]), f"{name} with {cursor[:80]!r}")
            equal(poll(s, server, topics, cursor=body["cursor"])["recovered"], True, "recovered with what it gave")
        for cursor, wanted in one_lost.items():
            body = poll(s, server, topics, cursor=cursor, timeout=55)
            told = tuple(body["topics"][n]["recovered"] for n in names)
            # One part that is damaged may be taken as damage of it all, never as recovered.
            assert told == wanted or told == (False, False), f"recovered with {cursor!r}: {told}, wanted {wanted}"
            for name, good in zip(names, told):
                equal(seqs(body, name), [] if good else [1, 2, 3], f"{name} with {cursor!r}")
        # Empty parts are topics without a cursor.
        for cursor in (f"{ea}-1.", f".{eb}-1", "."):
            body = poll(s, server, topics, cursor=cursor)
            equal(body["recovered"], True, f"recovered with {cursor!r}")
            for name, part in zip(names, cursor.split(".")):
                if part:
                    equal(seqs(body, name), [2, 3], f"{name} with {cursor!r}")
        # A combined one is none for a single diagnosis, and the other way round.
        equal(server.api.get(f"/poll/{a}?timeout=0&cursor={ca}.{cb}", s.token()).want(200)["recovered"], False, "a combined one for /poll/{id}")
        equal(poll(s, server, names[0], cursor=ca)["recovered"], True, "a single one for one topic")


@test("Last-Event-ID with anything in it opens an event stream that says whether it could resume")
def _(s):
    a, b = s.diagnosis(), s.diagnosis()
    topics = f"{name_of(a)},{name_of(b)}"
    good = poll(s, s.node1, topics)["cursor"]
    for server in doors(s):
        for value, recovered in ((good, True), ("x", False), (good + ".", False), (good.replace(".", ".."), False), ("\xff\xfe", False), ("," * 300, False),
                                 (good.split(".")[0], False)):
            connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=WAIT_S)
            connection.request("GET", path("sse", topics), headers={"Authorization": f"Bearer {s.token()}", "Last-Event-ID": value.encode("latin-1")})
            reply = connection.getresponse()
            equal(reply.status, 200, f"status with Last-Event-ID {value!r}")
            line = b""
            while not line.startswith(b"data: "):
                line = reply.readline()
                assert line, "the stream ended"
            assert (b'"recovered":true,' in line) == recovered or not recovered and b'"recovered":false' in line, f"{value!r}: {line!r}"
            connection.close()
            reply.close()


@test("timeouts outside 0 to 55 are 422")
def _(s):
    topic = name_of(s.diagnosis())
    for server in doors(s):
        for bad in ("56", "-1", "x", "", "1.5", "%20", "00", "055", "+5", "1e1", "0x5", "5s", "1000000000000000000000", "%30%00"):
            reply = server.api.get(path("poll", topic, timeout=bad), s.token())
            if dismissed(s, server, reply):
                continue
            equal([e["field"] for e in reply.want(422)["errors"]], ["timeout"], bad)


# ----------------------------------------------------------------------------------------------------------- connections


@test("polls that nobody reads the answers of: each is let go, others are served")
def _(s):
    with undisturbed(s) as topic:
        held = []
        for server in doors(s):
            for _n in range(100):
                sock = socket.create_connection(("127.0.0.1", server.port), timeout=WAIT_S)
                sock.sendall(f"GET {path('poll', topic, timeout=1)} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {s.token()}\r\n\r\n".encode())
                held.append(sock)
        for sock in held[::2]:
            sock.close()
    for sock in held:
        sock.close()
    d = topic.split("/")[1]
    s.wait_watchers(d, 0)


@test("many polls in one piece on one connection, unread: as many answers as were asked for, or an end that says so, in order")
def _(s):
    d = s.diagnosis()
    topic = name_of(d)
    for n in range(5):
        s.recommend(d, "x" * 1000)
    start = poll(s, s.node1, topic)["cursor"].rsplit("-", 1)[0] + "-0"
    ask = f"GET {path('poll', topic, cursor=start, timeout=0)} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {s.token()}\r\n\r\n".encode()
    last = ask.replace(b"timeout=0", b"timeout=99")
    with undisturbed(s):
        for server in doors(s):
            with socket.create_connection(("127.0.0.1", server.port), timeout=WAIT_S) as sock, sock.makefile("rb") as file:
                with contextlib.suppress(ConnectionError):
                    sock.sendall(ask * 50 + last)
                statuses = []
                with contextlib.suppress(ConnectionError):
                    while line := file.readline():
                        statuses.append(int(line.split()[1]))
                        headers = http.client.parse_headers(file)
                        assert "Content-Length" in headers, f"{headers.items()}"
                        file.read(int(headers["Content-Length"]))
                        if headers.get("Connection", "").lower() == "close" or statuses[-1] == 422:
                            break
                assert statuses and set(statuses[:-1]) <= {200} and statuses[-1] in (200, 422), statuses
                assert statuses[-1] == 422 or headers.get("Connection", "").lower() == "close", f"{len(statuses)} answers, and no word of an end"


def answers(port, data):
    """Statuses of all answers to these bytes, until the server ends the connection or has been silent since it was told that no more comes."""
    with socket.create_connection(("127.0.0.1", port), timeout=WAIT_S) as sock, sock.makefile("rb") as file:
        with contextlib.suppress(ConnectionError):
            sock.sendall(data)
            sock.shutdown(socket.SHUT_WR)
        statuses = []
        with contextlib.suppress(ConnectionError, ValueError, IndexError):
            while line := file.readline():
                statuses.append(int(line.split()[1]))
                headers = http.client.parse_headers(file)
                if "Content-Length" in headers:
                    file.read(int(headers["Content-Length"]))
                else:
                    file.read()
        return statuses


@test("heads on which two readers could disagree are refused at the sidecar's port: nothing hidden in them is served")
def _(s):
    with undisturbed(s) as topic:
        token = s.token()
        hidden = f"GET {path('poll', topic, timeout=0)} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\r\n"
        for kind in KINDS:
            line = f"GET {path(kind, topic, timeout=0 if kind == 'poll' else None)}"
            auth = f"Authorization: Bearer {token}\r\n"
            shapes = {
                "a body by length": f"{line} HTTP/1.1\r\nHost: x\r\n{auth}Content-Length: {len(hidden)}\r\n\r\n{hidden}",
                "a chunked body": f"{line} HTTP/1.1\r\nHost: x\r\n{auth}Transfer-Encoding: chunked\r\n\r\n{len(hidden):x}\r\n{hidden}\r\n0\r\n\r\n",
                "both": f"{line} HTTP/1.1\r\nHost: x\r\n{auth}Content-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{hidden}",
                "two lengths": f"{line} HTTP/1.1\r\nHost: x\r\n{auth}Content-Length: 0\r\nContent-Length: {len(hidden)}\r\n\r\n{hidden}",
                "a length like no other": f"{line} HTTP/1.1\r\nHost: x\r\n{auth}Content-Length: +0\r\n\r\n{hidden}",
                "space before a colon": f"{line} HTTP/1.1\r\nHost: x\r\n{auth}Transfer-Encoding : chunked\r\n\r\n{hidden}",
                "a folded line": f"{line} HTTP/1.1\r\nHost: x\r\n{auth}X: a\r\n Content-Length: 10\r\n\r\n{hidden}",
                "bare LF": f"{line} HTTP/1.1\nHost: x\n{auth}\n{hidden}",
                "a bare CR in a header": f"{line} HTTP/1.1\r\nHost: x\rContent-Length: 9\r\n{auth}\r\n{hidden}",
                "two hosts": f"{line} HTTP/1.1\r\nHost: x\r\nHost: y\r\n{auth}\r\n{hidden}",
                "no host": f"{line} HTTP/1.1\r\n{auth}\r\n{hidden}",
                "two tokens": f"{line} HTTP/1.1\r\nHost: x\r\n{auth}{auth}\r\n{hidden}",
                "two places to resume from": f"{line} HTTP/1.1\r\nHost: x\r\n{auth}Last-Event-ID: a-1\r\nLast-Event-ID: b-2\r\n\r\n{hidden}",
                "HTTP/1.0": f"{line} HTTP/1.0\r\nHost: x\r\n{auth}\r\n{hidden}",
                "HTTP/0.9": f"{line}\r\n{hidden}",
                "HTTP/2": f"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n{hidden}",
                "a tab for a space": f"{line.replace(' ', chr(9))} HTTP/1.1\r\nHost: x\r\n{auth}\r\n{hidden}",
                "a fragment": f"{line}#x HTTP/1.1\r\nHost: x\r\n{auth}\r\n{hidden}",
                "a method in small letters": f"{line.replace('GET', 'get')} HTTP/1.1\r\nHost: x\r\n{auth}\r\n{hidden}",
                "a NUL": f"{line} HTTP/1.1\r\nHost: x\r\nX: a\0b\r\n{auth}\r\n{hidden}",
            }
            for what, data in shapes.items():
                statuses = answers(s.node1.port, data.encode())
                assert len(statuses) <= 1 and all(400 <= x < 600 for x in statuses), f"{kind}, {what}: answered with {statuses}"
                # What lighttpd makes of it is its own (1.4.79 has answered a folded line with 500), but it asks the sidecar for no more
                # than what it answers.
                statuses = answers(s.web1.port, data.encode()) if kind == "poll" else []
                assert len(statuses) <= 2, f"{kind}, {what}, behind lighttpd: answered with {statuses}"
    s.wait_watchers(topic.split("/")[1], 0)


@test("a target with a scheme and a host is taken for its path, as RFC 9112 asks")
def _(s):
    with undisturbed(s) as topic:
        for server in doors(s):
            equal(server.api.get(f"http://localhost{path('poll', topic, timeout=0)}", s.token()).status, 200, f"at {server.port}")


@test("heads that come byte by byte, or never to an end, are waited for without delaying others; who has waited long enough is told 408")
def _(s):
    with undisturbed(s) as topic:
        held = []
        for server in doors(s):
            head = f"GET {path('poll', topic, timeout=0)} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {s.token()}\r\n\r\n".encode()
            for n in range(60):
                sock = socket.create_connection(("127.0.0.1", server.port), timeout=WAIT_S)
                sock.sendall(head[: 1 + n * (len(head) - 2) // 60])
                held.append(sock)
            with socket.create_connection(("127.0.0.1", server.port), timeout=WAIT_S) as sock:
                for byte in head:
                    sock.sendall(bytes([byte]))
                equal(read_reply(sock).want(200)["recovered"], True, "recovered")
        # The sidecar's own, which has one limit for the whole head.
        for sock in held[:60]:
            read_reply(sock).want(408)
        for sock in held:
            sock.close()


@test("long heads: topics that fill a URL are taken up to its limit, and refused beyond")
def _(s):
    admin = s.token("1", role="admin")
    for server in doors(s):
        topics = ",".join(f"{n:03d}" + "x" * 100 for n in range(100))
        equal(len(poll(s, server, topics, admin)["topics"]), 100, "topics")
        topics = ",".join(f"{n:03d}" + "x" * 125 for n in range(100))
        assert server.api.get(path("poll", topics), admin).status in (200, 400, 414, 431), "status of a very long URL"
        assert server.api.get(path("poll", "x" * 30000), admin).status in (400, 414, 422, 431), "status of one that is far too long"


@test("other methods than GET are 405 with Allow; a WebSocket path without an upgrade is 426 with a Link to the poll")
def _(s):
    topic = name_of(s.diagnosis())
    for server in doors(s):
        for kind in KINDS:
            for method in ("POST", "PUT", "DELETE", "PATCH", "OPTIONS", "HEAD"):
                reply = server.api.request(method, path(kind, topic), None, s.token(), {"Content-Length": "0"})
                equal((reply.status, reply.headers["Allow"]), (405, "GET"), f"{method} on /{kind}")
        reply = server.api.get(path("ws", topic), s.token())
        reply.want(426)
        assert "</poll" in reply.headers["Link"], reply
        for target in ("/poll/", "/sse/", "/ws/", "/poll//", "/pollx?topics=" + topic, "/poll/topics=" + topic, "/poll;x?topics=" + topic):
            equal(server.api.get(target, s.token()).status, 404, f"status of {target}")


@test("CORS where topics are named: preflights and replies, listed and unlisted origins, refusals too")
def _(s):
    topic, ours, theirs = name_of(s.diagnosis()), "https://app.example", "https://evil.example"
    with s.node(TIDINGS_ALLOWED_ORIGINS=ours) as node, s.web(node) as web:
        for server in (node, web):
            for kind in KINDS:
                ask = {"Access-Control-Request-Method": "GET", "Access-Control-Request-Headers": "authorization,last-event-id"}
                reply = server.api.request("OPTIONS", path(kind, topic), headers={"Origin": ours, **ask})
                equal((reply.status, reply.headers["Access-Control-Allow-Origin"]), (204, ours), "a preflight")
                equal(reply.headers["Access-Control-Allow-Credentials"], None, "credentials")
                for origin in (theirs, "null", ours + ".evil.example", "https://APP.example:8443", f"{ours},{theirs}", ours + "/"):
                    reply = server.api.request("OPTIONS", path(kind, topic), headers={"Origin": origin, **ask})
                    equal((reply.status, reply.headers["Access-Control-Allow-Origin"]), (403, None), f"a preflight from {origin}")
            for topics, token, status in ((topic, s.token(), 200), (topic, "x", 401), (topic + ",whatever", s.token(), 403), ("", s.token(), 422)):
                for origin in (ours, theirs):
                    reply = server.api.get(path("poll", topics, timeout=0), token, {"Origin": origin})
                    equal((reply.status, reply.headers["Access-Control-Allow-Origin"]), (status, ours if origin == ours else None),
                          f"topics={topics!r} from {origin}")


@test("a topic's name is never markup, a header or a line of its own in what is answered or logged")
def _(s):
    token = s.token()
    for server in doors(s):
        for evil in ("x%0d%0aSet-Cookie:%20a=b", "%3Cscript%3E", "x%22%2C%22y", "%1b[31m", "x%0aerror:%20injected"):
            reply = server.api.get(path("poll", evil), token)
            assert dismissed(s, server, reply) or reply.want(422)
            equal(reply.headers["Set-Cookie"], None, "a cookie")
            assert b"<script" not in reply.body, reply
        told = {p.name: re.findall(rb"[^\n]*(?:\x1b|\nerror: injected)[^\n]*", p.read_bytes()) for p in s.log_files()}
        equal({name: lines for name, lines in told.items() if lines}, {}, "lines in a log")
