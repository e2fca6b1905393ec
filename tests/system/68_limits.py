"""What is limited is the work that somebody causes, not how often they ask; and who has not said who they are takes nobody's place."""
import concurrent.futures
import contextlib
import importlib
import json
import threading

from harness import Closed, RawClient, Transaction, equal, frame, test, upgrade_request, wait_until
from live import TALKATIVE, Live, conversation, notify, person

deflate = importlib.import_module("52_deflate")
bad_input = importlib.import_module("65_bad_input")

PING, PONG = 9, 10
NEVER_WHOLE = {"fin": False}


def stranger(node, d):
    return RawClient(node.port, f"/ws/{d}")


def asking(node, request):
    """A client that has sent that."""
    client = RawClient(node.port, "", handshake=False)
    client.s.sendall(request)
    return client


def is_served(client):
    """It is answered: it has its place."""
    client.send(PING, b"still here")
    equal(client.frame(), (PONG, b"still here"), "answer to a ping")


@test("strangers have an eighth of the places, and on a full node none that a user wants: the oldest goes; a bad token moves nobody")
def _(s):
    # They counted as everybody: a thousand connects a second without a token kept all users out.
    d = s.diagnosis()
    with s.node(TIDINGS_CONNECTIONS_MAX=16) as node, contextlib.ExitStack() as here:
        strangers = [here.enter_context(stranger(node, d)) for _ in range(4)]
        equal([c.end() for c in strangers[:2]], [1013] * 2, "the oldest of too many")
        users = [here.enter_context(s.connect(d, server=node)) for _ in range(14)]
        equal(s.refused(d, token="no.to.ken", server=node)[0], 1008, "a bad token")
        with Live(s, node, "combined", user=person(s), how="query"):
            equal(strangers[2].end(), 1013, "the oldest, for a user")
            is_served(strangers[3])
            equal(stranger(node, d).end(), 1013, "one more stranger")
            is_served(strangers[3])
            users.append(here.enter_context(s.connect(d, server=node)))
            equal(strangers[3].end(), 1013, "the other, for another user")
            equal(s.refused(d, server=node)[0], 1013, "where users have all places")
        for client in users:
            client.answers()
        # One who says in time who they are keeps the place.
        wait_until(lambda: s.lets_in(d, node), "a place")
        late = here.enter_context(stranger(node, d))
        late.send(1, json.dumps({"type": "authenticate", "token": s.token()}).encode())
        equal(late.next()["type"], "connect", "answer to authenticate")
        equal(s.refused(d, server=node)[0], 1013, "on the full node")
        is_served(late)


@test("strangers who come and are sent away, and do not answer, leave users their way in")
def _(s):
    # Each kept its socket for 5 s, and of so many being closed nobody else was served.
    d = s.diagnosis()
    with s.node(TIDINGS_CONNECTIONS_MAX=8) as node, contextlib.ExitStack() as here:
        for _ in range(900):
            here.enter_context(stranger(node, d))
        with s.connect(d, server=node) as client:
            client.answers()


@test("a message that does not come to its end in time is closed with 1013, whatever else comes meanwhile")
def _(s):
    # It was kept until the client was idle: for an hour, or for ever with a ping now and then.
    d = s.diagnosis()
    with s.node(TIDINGS_SLOW_TIMEOUT=1, **TALKATIVE) as node:
        for path in (s.ws_path(d, s.token()), f"/ws/combined?token={s.token(person(s))}"):
            with RawClient(node.port, path) as client:
                client.send(1, b'{"type":', **NEVER_WHOLE)
                is_closed = False
                with contextlib.suppress(ConnectionError, EOFError):
                    for n in range(100000):
                        client.send(PING, b"%d" % n)
                        opcode, payload = client.frame()
                        is_closed = opcode == 8
                        if is_closed:
                            equal((payload[:2], payload[2:]), ((1013).to_bytes(2, "big"), b"sending too slowly"), "close")
                            break
                assert is_closed, "it went on"


@test("messages that have not come whole have one limit for all clients: beyond it the one that was begun first goes")
def _(s):
    # Each client could have one of the largest, and nobody counted them.
    d = s.diagnosis()
    part = b'{"type":"ping","x":"' + b"x" * 1000000
    with s.node(TIDINGS_MESSAGE_MAX=1048576, **TALKATIVE) as node, contextlib.ExitStack() as here:
        crowd = [here.enter_context(s.raw_connect(d, node)) for _ in range(24)]
        for client in crowd:
            client.send(1, part, **NEVER_WHOLE)
        for client in crowd[:6]:
            equal(client.end(), 1013, "the first ones")
        for client in crowd[-8:]:
            client.send(0, b'"}')
            equal(client.next()["type"], "pong", "the last ones")


@test("before it has a user a client's message may have 16 KiB, a compressed one too; that is enough for any token")
def _(s):
    d = s.diagnosis()

    def authenticate(size, token):
        return json.dumps({"type": "authenticate", "token": token, "x": "y" * size}).encode()

    with s.node(TIDINGS_DEFLATE="yes") as node:
        with stranger(node, d) as client:
            client.send(1, authenticate(15000, s.token()))
            equal(client.next()["type"], "connect", "answer")
            client.send(1, json.dumps({"type": "ping", "x": "y" * 30000}).encode())
            equal(client.next()["type"], "pong", "a longer one, with a user")
        for path in (f"/ws/{d}", "/ws/combined"):
            with RawClient(node.port, path) as client:
                client.send(1, authenticate(17000, s.token()))
                equal(client.end(), 1009, f"close at {path}")
            with deflate.Deflating(node.port, path) as client:
                client.s.sendall(deflate.compressed_frame(deflate.pack(authenticate(17000, s.token()))))
                equal(client.end(), 1009, f"close at {path}, compressed")


@test("a message costs by its size, as it came and as it is inflated; over the rate nothing is inflated")
def _(s):
    d = s.diagnosis()
    large = json.dumps({"type": "ping", "x": "y" * 60000}).encode()
    with s.node(TIDINGS_DEFLATE="yes", TIDINGS_CLIENT_RATE=1, TIDINGS_CLIENT_BURST=10) as node:
        for path in (s.ws_path(d, s.token()), f"/ws/combined?token={s.token(person(s))}"):
            for compressed in (False, True):
                with deflate.Deflating(node.port, path) as client:
                    while client.next()["type"] not in ("connect", "authenticated"):
                        pass
                    data = deflate.compressed_frame(deflate.pack(large)) if compressed else frame(1, large)
                    client.s.sendall(data + frame(1, b'{"type":"ping"}'))
                    equal(client.next()["type"], "pong", "answer to a large one")
                    equal(client.next()["data"]["code"], "rate_limited", f"answer to a small one behind it, at {path}, {compressed}")
                    # Looked into, it would be closed with 1007.
                    client.s.sendall(deflate.compressed_frame(b"\xff\xff\xff"))
                    equal(client.next()["data"]["code"], "rate_limited", "answer to a damaged one")


@test("pings, pongs and empty fragments count as well: 1008 for who does not stop")
def _(s):
    # None of them was counted: a message of endless empty fragments passed every limit.
    d = s.diagnosis()
    with s.node(TIDINGS_CLIENT_RATE=1, TIDINGS_CLIENT_BURST=5, TIDINGS_BAD_MESSAGES_MAX=3) as node:
        for what, begin in ((frame(PING, b""), b""), (frame(PONG, b""), b""), (frame(0, b"", fin=False), frame(1, b"", fin=False))):
            with s.raw_connect(d, node) as client:
                opcode = payload = None
                client.s.sendall(begin + what * 300)
                pongs = 0
                with contextlib.suppress(EOFError, ConnectionError):
                    while True:
                        opcode, payload = client.frame()
                        pongs += opcode == PONG
                        if opcode == 8:
                            break
                equal((opcode, payload), (8, (1008).to_bytes(2, "big") + b"too many bad messages"), "the end")
                assert pongs <= 8, pongs


@test("a chat message costs by how many it goes to, on a WebSocket and by HTTP; a new conversation by who takes part")
def _(s):
    # One account wrote 101 messages for each of its own, more than the system can.
    user = person(s)

    def conversation(others):
        return s.api.post("/ws/send", {"type": "create_conversation", "data": {"participants": [person(s) for _ in range(others)]}},
                          s.token(user)).want(200)["data"]["conversation_id"]

    large, small = conversation(1), conversation(1)
    s.sql(f"insert into tidings.participant select '{large}', 'crowd' || n from generate_series(1, 95) n")
    with s.node(TIDINGS_CLIENT_RATE=1, TIDINGS_CLIENT_BURST=3) as node, s.web(TIDINGS_PUBLISH_RATE=1, TIDINGS_PUBLISH_BURST=3) as web:
        def said(live, conversation):
            """Whether two chat messages, one after the other, are taken."""
            for _ in range(2):
                live.client.send({"type": "chat_message", "data": {"conversation_id": conversation, "message": "m"}})
                answer = live.until("chat_message_sent", "error")
                if answer["type"] == "error":
                    return answer["data"]["code"]
            return "sent"

        for conversation_id, wanted in ((small, "sent"), (large, "rate_limited")):
            with Live(s, node, "combined", user=user, how="query") as live:
                equal(said(live, conversation_id), wanted, "on a WebSocket")
            path, status = "/ws/send", 200
            sender = person(s)
            s.sql(f"insert into tidings.participant values ('{conversation_id}', '{sender}')")
            for _ in range(2):
                status = web.api.post(path, {"type": "chat_message", "data": {"conversation_id": conversation_id, "message": "m"}}, s.token(sender)).status
            equal(status, 200 if wanted == "sent" else 429, "by HTTP")
        creator = person(s)
        asked = [web.api.post("/ws/send", {"type": "create_conversation", "data": {"participants": [person(s) for _ in range(49)]}},
                              s.token(creator)).status for _ in range(2)]
        equal(asked, [200, 429], "conversations")


@test("what is stored of a user ends at the day's quota: quota_exceeded on a WebSocket, which stays, 429 by HTTP, with when the day ends; a service has none")
def _(s):
    # Fifty a second were kept for good, four million rows a day.
    user, other = person(s), person(s)
    d = s.diagnosis(owner=user)
    reading = {"type": "health_update", "data": {"metric": "pulse", "value": 70, "unit": "bpm"}}
    with s.node(TIDINGS_USER_DAILY_MAX=4) as node, s.web(node, TIDINGS_USER_DAILY_MAX=4) as web:
        with Live(s, node, "health", user=user, how="query") as live:
            answers = []
            for n in range(3):
                live.client.send({**reading, "correlation_id": f"c{n}"})
                answers.append(live.until("health_update_stored", "error"))
            web.api.post("/ws/send", reading, s.token(user)).want(200)
            live.client.send({**reading, "correlation_id": "c7"})
            answers.append(live.until("health_update_stored", "error"))
            equal([m["type"] for m in answers], ["health_update_stored"] * 3 + ["error"], f"answers {answers}")
            equal((answers[-1]["data"]["code"], answers[-1]["correlation_id"]), ("quota_exceeded", "c7"), "the error")
            assert 0 < answers[-1]["data"]["retry_after"] <= 86400, answers
            live.client.send({"type": "ping"})
            live.until("pong")
        effect = {"diagnosis_id": d, "recommendation_id": 1, "new_effectiveness": 0.5, "confidence": 0.5, "sample_size": 1}
        feedback = {"diagnosis_id": d, "feedback_id": 1, "rating": 5, "effectiveness": 0.5}
        for path, body, headers in (("/ws/send", reading, {}), ("/ws/broadcast-effectiveness-update", effect, {}),
                                    ("/ws/broadcast-feedback-update", feedback, {"Idempotency-Key": "k"})):
            reply = web.api.post(path, body, s.token(user), headers)
            reply.want(429)
            assert 0 < int(reply.headers["Retry-After"]) <= 86400, reply
        web.api.post("/ws/broadcast-feedback-update", feedback, s.token(user)).want(200)
        web.api.post("/ws/broadcast-effectiveness-update", effect, s.service()).want(200)
        web.api.post("/ws/send", reading, s.token(other)).want(200)


@test("coming back for many critical notifications, which go again each time, costs by how many they are")
def _(s):
    # A user with a hundred of their own who came back in a loop had a hundred written each time.
    many, few = person(s), person(s)
    with s.node(TIDINGS_CONNECT_RATE=1, TIDINGS_CONNECT_BURST=4) as node:
        for user, count in ((many, 90), (few, 1)):
            for _ in range(count):
                notify(s, user, priority="critical")
            come = lambda: Live(s, node, "notifications", user=user, how="query")
            with come() as live:
                # They have been asked for once one of them comes again.
                first = live.until("notification")["notification"]["id"]
                while live.until("notification")["notification"]["id"] != first:
                    pass
            told = None
            try:
                come().close()
            except Closed as c:
                told = (c.code, c.reason)
            equal(told, (1013, "coming too often") if user == many else None, f"with {count}")


@test("what comes behind the request of an event stream is thrown away, of a poll's next one a little is kept")
def _(s):
    # 36 KB were kept for each, counted nowhere, for as long as the stream lasted.
    d = s.diagnosis()
    head = f"HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {s.token()}\r\n"
    with RawClient(s.node1.socket, "", handshake=False) as client:
        client.s.sendall(f"GET /sse/{d} {head}\r\n".encode())
        client._head()
        for _ in range(64):
            client.s.sendall(b"x" * 65536)
        s.recommend(d, "behind it")
        while b"behind it" not in client.buffer:
            client._more()
    d = s.diagnosis()
    with s.connect(d) as client:
        cursor = client.cursor
    with RawClient(s.node1.socket, "", handshake=False) as client:
        client.s.sendall(f"GET /poll/{d}?cursor={cursor}&timeout=20 {head}\r\n".encode())
        s.wait_watchers(d, 1)
        client.s.sendall(f"GET /poll/{d}?cursor={cursor}&timeout=0 {head}X-Long: {'x' * 9000}\r\n\r\n".encode())
        s.recommend(d, "first")
        for _ in range(2):
            equal(b"first" in client_reply(client), True, "a reply with the message")


def client_reply(client):
    head = client._head().decode()
    length = next(int(line.split(":")[1]) for line in head.split("\r\n") if line.lower().startswith("content-length"))
    assert head.startswith("HTTP/1.1 200"), head
    return client._bytes(length)


@test("a user who comes too often is told: 1013 on a WebSocket, 429 with Retry-After by HTTP; another is not; a poll from memory is cheap")
def _(s):
    # Connects and polls were free: each asks the database three times.
    d, other = s.diagnosis(granted=["457"]), person(s)
    with s.node(TIDINGS_CONNECT_RATE=1, TIDINGS_CONNECT_BURST=6, TIDINGS_POLL_GRACE=60) as node:
        def poll(query="timeout=0", who="456"):
            return node.api.get(f"/poll/{d}?{query}", s.token(who))

        def until_refused(come):
            return wait_until(lambda: (got := come()) and got, "a refusal")

        poll().want(200)
        refused = until_refused(lambda: (reply := poll()).status != 200 and reply)
        refused.want(429)
        assert int(refused.headers["Retry-After"]) >= 1, refused

        def knock():
            with s.connect(d, server=node, hello=False) as client:
                try:
                    client.next()
                except Closed as c:
                    return c.code, c.reason

        equal(until_refused(knock), (1013, "coming too often"), "close")
        reply = until_refused(lambda: (reply := node.api.get(f"/sse/{d}", s.token())).status != 200 and reply)
        reply.want(429)
        equal(poll(who="457").status, 200, "another user's")
        with s.connect(d, user="457", server=node) as client:
            client.answers()
        # Live health has its own limit of connections, and the same rate.
        def live():
            try:
                with Live(s, node, user=other, how="query"):
                    return None
            except Closed as c:
                return c.code, c.reason
        equal(until_refused(live), (1013, "coming too often"), "close of live health")
    with s.node(TIDINGS_CONNECT_RATE=1, TIDINGS_CONNECT_BURST=6, TIDINGS_POLL_GRACE=60) as node:
        cursor = node.api.get(f"/poll/{d}?timeout=0", s.token()).want(200)["cursor"]
        s.recommend(d)
        # What the tail has already is told at once, again and again.
        for _ in range(24):
            equal(node.api.get(f"/poll/{d}?cursor={cursor}&timeout=5", s.token()).status, 200, "a poll from memory")


def said(client):
    """All that it is sent until its end."""
    with contextlib.suppress(EOFError, ConnectionError):
        while True:
            client._more()
    return client.buffer


@test("all who bring no token, or a bad one, have one rate: beyond it they wait for their turn, on each transport, and are let in or refused with 429; users are let in at once")
def _(s):
    # Who came without a token was counted nowhere; then each was let in, to be told that there are too many, and others waited for that.
    d = s.diagnosis()
    s.sql(f"update tidings.diagnosis set public = true where id = {d}")
    few = {"TIDINGS_STRANGER_RATE": 1, "TIDINGS_STRANGER_BURST": 6}

    def users_come(node):
        with s.connect(d, server=node) as client, Live(s, node, user=person(s), how="query"):
            client.answers()
        node.api.get(f"/poll/{d}?timeout=0", s.token()).want(200)

    def come(node, path):
        return asking(node, upgrade_request(path) if path.startswith("/ws") else f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode())

    def crowd(node, *paths):
        """The answers to these, which come at once; whoever comes with a token meanwhile is let in."""
        with contextlib.ExitStack() as here:
            clients = [here.enter_context(come(node, path)) for path in paths]
            users_come(node)
            return [client._head() for client in clients]

    for settings, paths, let_in in (
            ({"TIDINGS_ANONYMOUS": "public"}, (f"/poll/{d}?timeout=0", f"/sse/{d}", f"/ws/{d}"), (b"200", b"200", b"101")),
            ({}, (f"/ws/{d}", "/ws/combined"), (b"101", b"101")),
            ({}, (f"/ws/{d}?token=no.to.ken", f"/poll/{d}?token=no.to.ken", f"/sse/{d}?token=no.to.ken"), (b"101", b"401", b"401"))):
        with s.node(**settings, **few) as node:
            heads = crowd(node, *paths * 12)
            statuses = [head.split()[1] for head in heads]
            assert set(statuses) == {*let_in, b"429"}, statuses
            for kind, fine in enumerate(let_in):
                assert statuses[kind] == fine, f"the first one of its kind: {statuses}"
            assert all(b"\r\nRetry-After: " in head for head in heads if head.split()[1] == b"429"), heads
            users_come(node)
            node.api.get(f"/poll/{d}").want(200 if settings else 401)
            equal(crowd(node, paths[0])[0].split()[1], let_in[0], "who comes when the rest has gone")


@test("those who wait for their turn are the ones that go when there are too many: a poller keeps its place between two polls")
def _(s):
    d = s.diagnosis()
    with s.node(TIDINGS_CONNECTIONS_MAX=10, TIDINGS_STRANGER_RATE=1, TIDINGS_STRANGER_BURST=1) as node, \
            bad_input.pollers(s, node, d, 1) as (poller,), contextlib.ExitStack() as here:
        for _ in range(1100):
            here.enter_context(asking(node, upgrade_request(f"/ws/{d}")))
        with s.connect(d, server=node) as client:
            client.answers()
        equal(poller.is_closed(), False, "its connection is closed")
        poller.poll()


@test("those who wait for their turn have 8 MiB of heads with those that have not come whole, and one who goes has none")
def _(s):
    with s.node(TIDINGS_STRANGER_RATE=1, TIDINGS_STRANGER_BURST=1) as node:
        def closed():
            """Not so when it took so long that their own time was over (429)."""
            with contextlib.ExitStack() as here:
                clients = [here.enter_context(RawClient(node.port, "", handshake=False)) for _ in range(700)]
                for client in clients:
                    client.s.sendall(upgrade_request("/ws/1", ["X: " + "x" * 15000]))
                return {said(client) for client in clients[10:50]} == {b""}

        wait_until(closed, "those who wait for the longest to be closed")
        asking(node, upgrade_request("/ws/1")).close()
        with s.connect(s.diagnosis(), server=node) as client:
            client.answers()


@test("who is refused for a rate or a token, and asks again at once, is answered more slowly than who is not")
def _(s):
    # A script that was refused kept the web server and its programs busy.
    d = s.diagnosis()
    with s.web(TIDINGS_PUBLISH_RATE=1, TIDINGS_PUBLISH_BURST=1) as web:
        for token, status in ((s.token(), 429), ("bad", 401)):
            served, refused = 0, []
            done = threading.Event()

            def ask():
                while not done.is_set():
                    refused.append(web.api.get(f"/ws/history/{d}", token).status)

            with concurrent.futures.ThreadPoolExecutor(1) as pool:
                script = pool.submit(ask)
                try:
                    while served < 200:
                        web.api.get(f"/ws/history/{d}", s.token("1", role="admin")).want(200)
                        served += 1
                finally:
                    done.set()
                script.result()
            assert set(refused) <= {200, status} and status in refused, refused
            assert len(refused) < served, f"{len(refused)} refusals beside {served} answers"


@test("a connect costs by its topics")
def _(s):
    # A hundred were asked for as one.
    with s.node(TIDINGS_CONNECT_RATE=1, TIDINGS_CONNECT_BURST=9) as node:
        def come(user, topics):
            with RawClient(node.port, "/ws?topics=" + ",".join(f"no/{n}" for n in range(topics)) + f"&token={s.token(user)}") as client:
                return client.end()

        one, many = person(s), person(s)
        equal([come(one, 1) for _ in range(4)], [1008] * 4, "with one topic")
        equal(wait_until(lambda: [code for _ in range(4) if (code := come(many, 100)) != 1008], "a refusal")[0], 1013, "with a hundred")
        equal(come(one, 1), 1008, "with one topic still")


@test("heads that have not come whole have 8 MiB together: beyond it the one that was begun first goes")
def _(s):
    # A thousand of 32 KB were in no account.
    with s.node() as node:
        def closed():
            """Not so when it took so long that their own time was over (408)."""
            with contextlib.ExitStack() as here:
                crowd = [here.enter_context(RawClient(node.port, "", handshake=False)) for _ in range(700)]
                for client in crowd:
                    client.s.sendall(b"GET /nothing HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 15000)
                for client in crowd[-100:]:
                    client.s.sendall(b"\r\n\r\n")
                    assert client._head().startswith((b"HTTP/1.1 404", b"HTTP/1.1 408")), "no answer"
                return {said(client) for client in crowd[:100]} == {b""}

        wait_until(closed, "the first ones to be closed")


@test("who was refused for a bad head takes no place of those whose heads come in pieces")
def _(s):
    # Until they had gone, what they had sent was counted.
    with s.node() as node, contextlib.ExitStack() as here:
        for _ in range(2):
            refused = [here.enter_context(asking(node, b"GET /nothing HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 15000)) for _ in range(300)]
            s.lets_in(4, node)
            for client in refused:
                client.s.sendall(b"\n\n")
                assert client._head().startswith(b"HTTP/1.1 400"), "no refusal"
        late = here.enter_context(asking(node, b"GET /nothing HTTP/1.1\r\n"))
        s.lets_in(4, node)
        late.s.sendall(b"Host: a\r\n\r\n")
        equal(late._head().split()[1], b"404", "who comes then")


def until_pong(live):
    """What comes before it."""
    while (m := live.next())["type"] != "pong":
        yield m


@test("what a user has said and the database has not answered is bounded, whether its connections are still there or not")
def _(s):
    # It was counted by connection: who came again could say as much again.
    many, other = person(s), person(s)
    with s.node(TIDINGS_DATABASE_TIMEOUT=60000, **TALKATIVE) as node, Live(s, node, "combined", user=many, how="query") as first:
        id = conversation(first, other)
        with Transaction(s, f"select from tidings.conversation where id = '{id}' for update"):
            first.send("chat_message", {"conversation_id": id, "message": "m"})
            for n in range(6):
                with Live(s, node, "combined", user=many, how="query") as live:
                    for _ in range(60):
                        live.send("get_thresholds")
                    live.send("ping")
                    answers = list(until_pong(live))
                refused = [m for m in answers if m["type"] == "error"]
                assert bool(refused) == (n >= 4), f"connection {n}: {answers}"
                assert all(m["data"]["code"] == "rate_limited" for m in refused), refused
        first.until("chat_message_sent")
        wait_until(lambda: first.ask("get_thresholds", want="thresholds"), "what was asked for meanwhile to be done")


@test("of a user who says much at once one act after the other goes to the database: another user's waits for one of them, not for all")
def _(s):
    # Forty messages to a hundred each were carried out before anybody else's reading.
    many, other = person(s), person(s)
    with s.node(TIDINGS_DATABASE_TIMEOUT=60000, **TALKATIVE) as node, Live(s, node, "combined", user=many, how="query") as first, \
            Live(s, node, "combined", user=many, how="query") as second, Live(s, node, "combined", user=other, how="query") as third:
        id = conversation(first, other)
        with Transaction(s, f"select from tidings.conversation where id = '{id}' for update"):
            for live in (first, second):
                for n in range(20):
                    live.send("chat_message", {"conversation_id": id, "message": f"m{n}"})
                live.ask("ping", want="pong")
            wait_until(lambda: s.sql("select 1 from pg_stat_activity where application_name = 'tidings-ws acts' and wait_event_type = 'Lock'"), "the first to wait")
            third.send("health_update", {"metric": "pulse", "value": 70})
            third.ask("ping", want="pong")
        third.until("health_update_stored")
        for live in (first, second):
            said = [live.until("chat_message_sent", "error") for _ in range(20)]
            equal({m["type"] for m in said}, {"chat_message_sent"}, "answers")
        before = int(s.sql(f"""select count(*) from tidings.chat_message m, tidings.health_reading r
            where m.conversation_id = '{id}' and r.user_id = '{other}' and m.created_at < r.received_at""")[0][0])
        assert before <= 2, f"{before} messages were stored before the reading"
        equal(s.sql(f"select string_agg(message, ' ' order by m.id) = string_agg(message, ' ' order by n) from (select message, id, "
                    f"row_number() over (partition by message order by id) as copy, substr(message, 2)::int as n "
                    f"from tidings.chat_message where conversation_id = '{id}') m where copy = 1"), [["t"]], "in the order in which they were said")
