"""Several topics over one connection, with one combined cursor: /ws, /sse and /poll with ?topics=."""
import contextlib
import http.client
import json
import re
import threading
import urllib.parse

import contract
from harness import WAIT_S, Client, equal, test, wait_until


def doors(s):
    return (s.node1, s.web1)


def path(kind, topics, **parameters):
    query = {"topics": ",".join(topics), **{k: v for k, v in parameters.items() if v is not None}}
    return f"/{kind}?{urllib.parse.urlencode(query, safe='/,:')}"


def names(*diagnoses):
    return [f"diagnosis/{d}" for d in diagnoses]


def connect(s, server, topics, token=None, cursor=None, hello=True):
    return Client(f"ws://127.0.0.1:{server.port}{path('ws', topics, token=token or s.token(), cursor=cursor)}", hello=hello)


def poll(s, server, topics, cursor=None, timeout=None, token=None, want=200):
    return server.api.get(path("poll", topics, cursor=cursor, timeout=timeout), token or s.token()).want(want)


@contextlib.contextmanager
def events(s, server, topics, cursor=None, last_id=None, token=None, **more):
    """The events of a stream, one (event, id, data) after the other."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=WAIT_S)
    headers = {"Authorization": f"Bearer {token or s.token()}"}
    if last_id:
        headers["Last-Event-ID"] = last_id
    connection.request("GET", path("sse", topics, cursor=cursor, **more), headers=headers)
    reply = connection.getresponse()
    equal(reply.status, 200, "status")

    def read():
        event = {}
        for line in reply:
            line = line.rstrip(b"\n").decode()
            if line == "" and "data" in event:
                data = json.loads(event["data"])
                contract.event("/sse", data)
                yield event.get("event", "message"), event.get("id"), data
                event = {}
            elif line and not line.startswith(":"):
                name, value = line.split(": ", 1)
                event[name] = value

    try:
        yield read()
    finally:
        reply.close()
        connection.close()


def of_topics(messages):
    """topic: its seqs, in the order in which they came."""
    got = {}
    for m in messages:
        got.setdefault(m["topic"], []).append(m["seq"])
    return got


def unpack(client, count):
    """So many messages of a WebSocket, missed or live."""
    got = []
    while len(got) < count:
        m = client.next()
        if m["type"] == "reconnect_messages":
            assert all(x["topic"] == m["topic"] for x in m["data"]["messages"]), m
            got += m["data"]["messages"]
        else:
            got.append(m)
    return got


@test("one WebSocket, event stream or poll carries several topics: each in its order, and `connect` tells each one's place")
def _(s):
    for server in doors(s):
        a, b = s.diagnosis(), s.diagnosis()
        topics = names(a, b)
        with connect(s, server, topics) as client, events(s, server, topics) as stream:
            first = client.first
            assert "diagnosis_id" not in first, first
            equal(set(first["data"]["topics"]), set(topics), "topics in connect")
            equal(first["data"]["cursor"], ".".join(first["data"]["topics"][t]["cursor"] for t in topics), "the combined cursor")
            equal((first["data"]["recovered"], first["data"]["topics"][topics[0]]["recovered"]), (True, True), "recovered")
            event, place, data = next(stream)
            equal((event, place, set(data["data"]["topics"])), ("connect", first["data"]["cursor"], set(topics)), "the same in an event stream")
            start = poll(s, server, topics)
            equal((start["messages"], start["cursor"], set(start["topics"])), ([], first["data"]["cursor"], set(topics)), "and in a poll")
            for n in range(3):
                equal(s.recommend(a, str(n))["clients_notified"], 3, "clients_notified, a poller between two polls among them")
                s.recommend(b, str(n))
            want = {topics[0]: [1, 2, 3], topics[1]: [1, 2, 3]}
            equal(of_topics(unpack(client, 6)), want, "at the WebSocket")
            got = [next(stream) for _ in range(6)]
            equal(of_topics(m for _, _, m in got), want, "in the event stream")
            equal(got[-1][1], ".".join(f"{c.rsplit('-', 1)[0]}-3" for c in place.split(".")), "the id of its last event")
            messages, cursor = [], start["cursor"]
            while len(messages) < 6:
                body = poll(s, server, topics, cursor, 20)
                messages += body["messages"]
                cursor = body["cursor"]
            equal(of_topics(messages), want, "by polls")


@test("the combined cursor resumes each topic where it was, on another transport too; a part may be empty")
def _(s):
    for server in doors(s):
        a, b, c = s.diagnosis(), s.diagnosis(), s.diagnosis()
        topics = names(a, b, c)
        cursor = poll(s, server, topics)["cursor"]
        for d, count in ((a, 2), (b, 1), (c, 3)):
            for n in range(count):
                s.recommend(d, str(n))
        want = {topics[0]: [1, 2], topics[1]: [1], topics[2]: [1, 2, 3]}
        with connect(s, server, topics, cursor=cursor) as client:
            equal(of_topics(unpack(client, 6)), want, "by WebSocket")
            client.answers()
        with events(s, server, topics, last_id=cursor) as stream:
            next(stream)
            got = [next(stream) for _ in range(6)]
            equal(of_topics(m for _, _, m in got), want, "by event stream")
        with events(s, server, topics, last_id=got[3][1]) as stream:
            next(stream)
            equal([next(stream)[2] for _ in range(2)], [m for _, _, m in got[4:]], "from an id in the middle")
        parts = cursor.split(".")
        mixed = f"{parts[0]}..{parts[2].rsplit('-', 1)[0]}-2"
        body = poll(s, server, topics, mixed, 0)
        equal(body["recovered"], True, "recovered with an empty part")
        got = of_topics(body["messages"])
        equal((got[topics[0]], got[topics[2]]), ([1, 2], [3]), "each after its own cursor")
        equal(poll(s, server, topics[:1], "", 0)["recovered"], True, "recovered with the only part empty")
        equal(poll(s, server, list(reversed(topics)), ".".join(reversed(body["cursor"].split("."))), 0)["messages"], [],
              "the same topics in another order, their cursors with them")


@test("a topic that is not allowed refuses the request, and is named: 403 with errors, or an error message and 1008")
def _(s):
    for server in doors(s):
        mine, theirs = s.diagnosis(), s.diagnosis(owner="789")
        topics = names(mine, theirs)
        for kind in ("poll", "sse"):
            reply = server.api.get(path(kind, topics), s.token())
            problem = reply.want(403)
            equal(problem["errors"], [{"field": "topics", "message": topics[1]}], f"errors of {kind}")
            reply = server.api.get(path(kind, names(mine, 987654321)), s.token())
            equal(reply.want(403)["errors"][0]["message"], "diagnosis/987654321", "one that is not there")
        with connect(s, server, topics, hello=False) as client:
            error = client.next()
            equal((error["type"], error["data"]["code"], error["data"]["topic"]), ("error", "forbidden", topics[1]), "the error")
            equal(client.closed(), (1008, "not allowed"), "the close")
        equal(server.api.get(path("poll", ["health/456", "notifications/456"]), s.token()).status, 200, "one's own topics")
        equal(server.api.get(path("poll", ["health/789"]), s.token()).status, 403, "somebody else's")


@test("topics must be 1 to 100 different names: else 422, on every transport, before anything happens")
def _(s):
    many = [f"x/{n}" for n in range(101)]
    admin = s.token("1", role="admin")
    for server in doors(s):
        for query in ("", "?topics=", "?topics=,", "?topics=a,", "?topics=a,a", "?topics=a%20b", "?topics=%C3%A4", "?topics=" + "a" * 129,
                      "?topics=" + ",".join(many)):
            for kind in ("poll", "sse"):
                reply = server.api.get(f"/{kind}{query}", admin)
                equal([e["field"] for e in reply.want(422)["errors"]], ["topics"], query)
            try:
                Client(f"ws://127.0.0.1:{server.port}/ws{query}", headers={"Authorization": f"Bearer {admin}"})
                raise AssertionError(f"a WebSocket with {query[:30]} was let in")
            except Exception as e:
                assert "422" in str(e), repr(e)
        equal(len(server.api.get(path("poll", many[:100]), admin).want(200)["topics"]), 100, "a hundred are let in")


@test("a damaged combined cursor, one of another length or of other topics is told: recovered is false for those it concerns")
def _(s):
    a, b = s.diagnosis(), s.diagnosis()
    topics = names(a, b)
    s.recommend(a)
    s.recommend(b)
    good = poll(s, s.node1, topics)["cursor"].split(".")
    for cursor, want in ((good[0], (False, False)), (".".join(good + good[:1]), (False, False)), (f"{good[0]}.x", (True, False)),
                         (".".join(reversed(good)), (False, False)), (f"{good[0]}.{good[1]}9", (True, False)), ("..", (False, False))):
        body = poll(s, s.node1, topics, cursor, 0)
        equal(tuple(body["topics"][t]["recovered"] for t in topics), want, f"recovered after {cursor}")
        equal(body["recovered"], False, "on top")
        with connect(s, s.node1, topics, cursor=cursor) as client:
            equal(tuple(client.first["data"]["topics"][t]["recovered"] for t in topics), want, f"recovered after {cursor} at a WebSocket")


@test("one connection on several topics is one connection in /ws/status, and gone from all of them when it goes")
def _(s):
    with s.node() as node:
        a, b = s.diagnosis(), s.diagnosis()
        wait_until(lambda: s.status()["total_connections"] == 0, "nobody to be connected")
        with connect(s, node, names(a, b)):
            status = s.status()
            equal((status["total_connections"], status["connections_by_transport"]["websocket"]), (1, 1), "connections")
            equal([status["connections_by_diagnosis"][str(d)] for d in (a, b)], [1, 1], "of each diagnosis")
            equal([n["connections"] for n in status["nodes"] if n["connections"]], [1], "of its node")
        s.wait_watchers(a, 0)
        s.wait_watchers(b, 0)


@test("a poller between two polls counts as connected until the grace is over; its next poll takes the place over")
def _(s):
    with s.node(TIDINGS_POLL_GRACE=2) as node, s.web(node) as web:
        for server in (node, web):
            a, b = s.diagnosis(), s.diagnosis()
            topics = names(a, b)
            cursor = poll(s, server, topics)["cursor"]
            for n in range(20):
                counted = s.recommend(a, str(n))["clients_notified"]
                equal(counted, 1, "clients_notified between two polls")
                body = poll(s, server, topics, cursor, 20)
                cursor = body["cursor"]
                equal(body["messages"][-1]["data"]["reason"], str(n), "the message that was published between them")
            equal(s.sql(f"select count(distinct c.id) from tidings.connection c join tidings.topic t on t.id = c.topic_id where t.name = 'diagnosis/{a}'"),
                  [["1"]], "connections written down")
            s.wait_watchers(a, 0)
            s.wait_watchers(b, 0)
            equal(s.recommend(a)["clients_notified"], 0, "once the grace is over")


@test("two pollers of one user for the same topics are two, and each takes over a place")
def _(s):
    with s.node(TIDINGS_POLL_GRACE=2) as node:
        d = s.diagnosis()
        topics = names(d)
        cursor = poll(s, node, topics)["cursor"]
        replies = []
        for turn in range(3):
            held = [threading.Thread(target=lambda: replies.append(poll(s, node, topics, cursor, 20))) for _ in range(2)]
            for t in held:
                t.start()
            s.wait_watchers(d, 2)
            equal(s.recommend(d, str(turn))["clients_notified"], 2, "clients_notified")
            for t in held:
                t.join()
            equal([len(r["messages"]) for r in replies[-2:]], [1, 1], "both got it")
            equal(s.watchers(d), 2, "between two polls")
            cursor = replies[-1]["cursor"]
        s.wait_watchers(d, 0)


def of_user(s, d, user):
    return s.sql(f"select c.id from tidings.connection c join tidings.topic t on t.id = c.topic_id where t.name = 'diagnosis/{d}' and c.user_id = '{user}'")


@test("pollers between two polls are at most as many as a node may have connections: the one that is away for the longest gives way")
def _(s):
    d = s.diagnosis()
    users = [f"absent{n}" for n in range(4)]

    def counted():
        return [user for user in users if of_user(s, d, user)]

    with s.node(TIDINGS_CONNECTIONS_MAX=3, TIDINGS_POLL_GRACE=60) as node:
        for n, user in enumerate(users):
            poll(s, node, names(d), token=s.token(user, role="admin"))
            wait_until(lambda n=n: counted() == users[max(0, n - 2):n + 1], "the three that have come last to be counted")
        with connect(s, node, names(d)) as client:
            client.answers()


@test("TIDINGS_POLL_GRACE=0: between two polls nobody is there, and each poll is a connection of its own")
def _(s):
    d = s.diagnosis()
    with s.node(TIDINGS_POLL_GRACE=0) as node, contextlib.closing(http.client.HTTPConnection("127.0.0.1", node.port, timeout=WAIT_S)) as connection:
        for _n in range(10):
            node.api.request_on(connection, "GET", path("poll", names(d), timeout=0), token=s.token("graceless", role="admin")).want(200)
        s.wait_watchers(d, 0)
        equal(len(set(re.findall(r"event=connect .*connection=(\S+)", node.log.read_text()))), 10, "connections")
        equal(s.recommend(d)["clients_notified"], 0, "clients_notified")


@test("a topic with much to tell and a slow reader do not keep another topic of the same connection waiting for ever")
def _(s):
    a, b = s.diagnosis(), s.diagnosis()
    topics = names(a, b)
    big = "x" * 3000
    with connect(s, s.node1, topics) as client:
        for n in range(300):
            s.recommend(a, big)
        s.recommend(b, "small")
        got = unpack(client, 301)
        equal(of_topics(got), {topics[0]: list(range(1, 301)), topics[1]: [1]}, "all of it")
