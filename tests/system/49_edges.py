"""What happens while the database takes its time: subscriptions that end, and polls that are answered, while a page is under way."""
import contextlib
import http.client
import importlib
import os
import select
import signal
import socket
import subprocess
import threading

import harness
from harness import equal, test, wait_until
from live import Live

topics = importlib.import_module("48_topics")


def backends(s):
    return {int(row[0]) for row in s.sql("select pid from pg_stat_activity where application_name = 'tidings-ws queries'")}


@contextlib.contextmanager
def node_and_backend(s, **settings):
    """A sidecar that waits for the database as long as it takes, and the pid of the process that answers its questions there."""
    before = backends(s)
    with s.node(TIDINGS_DATABASE_TIMEOUT=60000, **settings) as node:
        yield node, wait_until(lambda: backends(s) - before, "its connection to the database").pop()


@contextlib.contextmanager
def stopped(pid):
    """The database does not answer meanwhile."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def fill(s, diagnosis, messages, size):
    s.sql(f"set search_path = tidings; select append(array_fill('diagnosis/{diagnosis}'::text, array[{messages}]),"
          f" array_fill(json_build_object('type', 'x', 'topic', 'diagnosis/{diagnosis}', 'data', repeat('x', {size}))::text, array[{messages}]),"
          f" array_fill(0::int8, array[{messages}]), n, n, n, n::int8[], n, n, 1::int8 << 60, 3600)"
          f" from (select array_fill(null::text, array[{messages}]) as n) as n;"
          f" select notify('messages', id::text) from topic where name = 'diagnosis/{diagnosis}'")


def epoch(s, node, diagnosis):
    with topics.connect(s, node, topics.names(diagnosis)) as client:
        return client.cursor.rsplit("-", 1)[0]


@test("who ends one subscription while a page of it is under way gets the others all the same")
def _(s):
    a, b = s.diagnosis(), s.diagnosis()
    cursors = [epoch(s, s.node1, d) + "-0" for d in (a, b)]
    fill(s, a, 300, 60000)
    fill(s, b, 3, 10)
    with node_and_backend(s) as (node, backend), Live(s, node, "combined") as one:
        for d, cursor in zip((a, b), cursors):
            one.send("subscribe", subscription=f"diagnosis/{d}", cursor=cursor)
        for _ in range(2):
            one.until("subscribed")
        with stopped(backend):
            one.send("unsubscribe", subscription=f"diagnosis/{a}")
            one.until("unsubscribed")
        got = []
        while len(got) < 3:
            m = one.next()
            assert m["topic"] == f"diagnosis/{b}", m
            got.append(m["seq"])
        equal(got, [1, 2, 3], "the other's")


def has_more(reader):
    return bool(reader.buffer) or bool(select.select([reader.s], [], [], 0)[0])


@contextlib.contextmanager
def full_of_slow_readers(s, node, diagnosis, cursor):
    """So much waits for sockets that no page is read from the database: four pages are more than the MiB that it may be."""
    path = s.ws_path(diagnosis, s.token(), cursor)
    readers = [harness.RawClient(node.port, path, rcvbuf=4096) for _ in range(16)]
    try:
        for reader in readers:
            reader.next()
        wait_until(lambda: sum(map(has_more, readers)) >= 4, "pages to be on their way")
        yield
    finally:
        for reader in readers:
            reader.close()


class Poller(threading.Thread):
    """One poll, which is on its way at once; it is awaited in a thread, and join() gives its reply."""

    def __init__(self, s, node, names, cursor):
        super().__init__(daemon=True)
        self.connection, self.reply = http.client.HTTPConnection("127.0.0.1", node.port, timeout=60), None
        self.connection.request("GET", topics.path("poll", names, cursor=cursor, timeout=55), headers={"Authorization": f"Bearer {s.token()}"})
        self.start()

    def run(self):
        with contextlib.closing(self.connection):
            reply = self.connection.getresponse()
            self.reply = harness.Reply(reply.status, reply.headers, reply.read()).want(200)

    def join(self):
        super().join(harness.WAIT_S)
        assert self.reply, "the poll was not answered"
        return self.reply


@test("a poll that is answered for one topic while a page of another is awaited: that page keeps nobody else from theirs")
def _(s):
    big, a, b = s.diagnosis(), s.diagnosis(), s.diagnosis()
    cursor = epoch(s, s.node1, big) + "-0"
    fill(s, big, 60, 60000)
    both = topics.names(a, b)
    with node_and_backend(s, TIDINGS_CATCH_UP_MAX=1048576) as (node, backend):
        place = topics.poll(s, node, both)["cursor"]
        with full_of_slow_readers(s, node, big, cursor):
            first = Poller(s, node, both, place)
            other = Poller(s, node, both[:1], place.split(".")[0])
            s.wait_watchers(a, 2)
            with stopped(backend):
                # Nothing is left of its first message: whoever had none has to ask the database.
                fill(s, a, 2, 10)
                s.sql(f"delete from tidings.message where seq = 1 and topic_id = (select id from tidings.topic where name = '{both[0]}');"
                      f" update tidings.topic set first_seq = 2 where name = '{both[0]}'")
                fill(s, b, 1, 10)
            reply = first.join()
            equal([m["topic"] for m in reply["messages"]], both[1:], "topics in the first reply")
            reply = topics.poll(s, node, both, reply["cursor"], 2)
            equal(reply["topics"][both[0]]["missed"], {"from": 1, "to": 1}, "what is told to be gone")
        reply = topics.poll(s, node, both[:1], other.join()["cursor"], 20)
        equal([m["seq"] for m in reply["messages"]], [2], "what the other gets in the end")


@test("a poll that waits for a page which nobody reads is answered in time, at its place, and a later one gets the page")
def _(s):
    big, a = s.diagnosis(), s.diagnosis()
    cursor = epoch(s, s.node1, big) + "-0"
    fill(s, big, 60, 60000)
    place = topics.poll(s, s.node1, topics.names(a))["cursor"]
    fill(s, a, 3, 10)
    with node_and_backend(s) as (node, backend):
        with stopped(backend):
            # Nobody is let in either.
            node.api.get(topics.path("poll", topics.names(a), cursor=place, timeout=1), s.token()).want(503)
    with node_and_backend(s, TIDINGS_CATCH_UP_MAX=1048576, TIDINGS_SLOW_TIMEOUT=600) as (node, _backend):
        with full_of_slow_readers(s, node, big, cursor):
            wait_until(lambda: not topics.poll(s, node, topics.names(a), place, 1)["messages"], "no page to be read any more")
            reply = topics.poll(s, node, topics.names(a), place, 1)
            equal((reply["cursor"], reply["messages"], reply["recovered"]), (place, [], True), "reply")
        wait_until(lambda: [m["seq"] for m in topics.poll(s, node, topics.names(a), place, 5)["messages"]] == [1, 2, 3], "the page")


@test("a poller that an administrator disconnects is gone at once, while it is held and between two polls")
def _(s):
    d = s.diagnosis()

    def rows():
        return s.sql(f"select c.id from tidings.connection c join tidings.topic t on t.id = c.topic_id where t.name = 'diagnosis/{d}'")

    def disconnect():
        path = f"/ws/connection/{wait_until(rows, 'the poller to be known')[0][0]}"
        equal(s.api.request("DELETE", path, token=s.token("root", role="admin")).want(200)["status"], "disconnected", "reply")
        equal(rows(), [], "connections")

    place = topics.poll(s, s.node1, topics.names(d))["cursor"]
    disconnect()
    poller = Poller(s, s.node1, topics.names(d), place)
    disconnect()
    equal(poller.join()["messages"], [], "its reply")


@test("a right that is withdrawn while a poller is still reading its reply is withdrawn for its next poll too")
def _(s):
    d = s.diagnosis(granted=["reader"])
    names, token = topics.names(d), s.token("reader")
    cursor = epoch(s, s.node1, d) + "-0"
    fill(s, d, 1, 3000000)
    with socket.socket() as slow, topics.connect(s, s.node1, names, token) as witness:
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        slow.settimeout(harness.WAIT_S)
        slow.connect(("127.0.0.1", s.node1.port))
        slow.sendall(f"GET {topics.path('poll', names, cursor=cursor, token=token)} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        equal(slow.recv(8), b"HTTP/1.1", "the reply's beginning")
        s.sql(f"delete from tidings.diagnosis_grant where diagnosis_id = {d}")
        equal(witness.closed()[0], 1008, "the close of another of their connections")
        rest = b""
        while not rest.endswith(b"}}}"):
            rest += slow.recv(1 << 16)
        s.recommend(d)
        reply = s.node1.api.get(topics.path("poll", names, cursor=cursor[:-1] + "1", timeout=5), token)
        equal(reply.status, 403, f"status of the next poll: {reply!r}")


@test("a right that is withdrawn while a live connection comes in takes the stream from it, not its answer to authenticate")
def _(s):
    user = "withdrawn"
    revoking = subprocess.Popen(["psql", "-qX", "-c", "do $$ begin for i in 1..1000000 loop"
                                 f" perform tidings.revoke('{user}', 'health/{user}'); commit; end loop; end $$"],
                                env=s.psql_env("postgres", "tidings"), stderr=subprocess.DEVNULL)
    try:
        for _ in range(30):
            with Live(s, s.node1, "health", user, how="query", authenticate=False) as one:
                equal(one.until("authenticated", "unsubscribed")["type"], "authenticated", "what comes first")
                one.ask("ping", want="pong")
    finally:
        s.sql("select pg_terminate_backend(pid) from pg_stat_activity where query like 'do $$ begin%' and pid <> pg_backend_pid()")
        revoking.wait()


@test("what somebody says that waits for a lock in the database keeps no message from others")
def _(s):
    d, user = s.diagnosis(), "locked"
    with s.node(TIDINGS_DATABASE_TIMEOUT=30000) as node, Live(s, node, "combined", user) as one, s.connect(d, server=node) as other:
        one.ask("health_update", {"metric": "pulse", "value": 1}, "health_update_stored")
        psql = subprocess.Popen(["psql", "-qXAt"], env=s.psql_env("postgres", "tidings"), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        psql.stdin.write(f"begin; select 'there' from tidings.topic where name = 'health/{user}' for update;\n")
        psql.stdin.flush()
        equal(psql.stdout.readline(), "there\n", "answer of psql")
        one.send("health_update", {"metric": "pulse", "value": 2})
        wait_until(lambda: s.sql("select 1 from pg_stat_activity where wait_event_type = 'Lock'"), "it to wait")
        s.recommend(d)
        equal(other.next()["seq"], 1, "the message")
        psql.communicate("rollback;\n")
        equal(one.next()["type"], "health_update_stored", "the answer, which was not given up meanwhile")
