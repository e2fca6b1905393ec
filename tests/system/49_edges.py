"""What happens while the database takes its time: subscriptions that end, and polls that are answered, while a page is under way."""
import contextlib
import http.client
import importlib
import select
import socket
import subprocess
import threading
import time

import harness
from harness import Closed, Lock, RawClient, Transaction, equal, pages_apart, stopped, test, wait_until
from live import Live

topics = importlib.import_module("48_topics")


@contextlib.contextmanager
def node_and_backend(s, link, **settings):
    """A sidecar that waits for the database as long as it takes, and the pid of the process that answers it there on that connection."""
    with s.node(TIDINGS_DATABASE_TIMEOUT=60000, **settings) as node:
        yield node, s.backend(link)


def fill(s, diagnosis, messages, size):
    s.sql(f"set search_path = tidings; select append(array_fill('diagnosis/{diagnosis}'::text, array[{messages}]),"
          f" array_fill(json_build_object('type', 'x', 'topic', 'diagnosis/{diagnosis}', 'timestamp', '2026-11-21T10:00:00.123Z',"
          f" 'data', repeat('x', {size}))::text, array[{messages}]),"
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
    with node_and_backend(s, "fetches") as (node, backend), Live(s, node, "combined") as one:
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


@contextlib.contextmanager
def no_pages_of(s, diagnosis):
    """The database gives no page of this topic's first messages meanwhile; all are asked for."""
    fetch = s.psql("select pg_get_functiondef('tidings.fetch(int8[], int8[], text[], int8, int8)'::regprocedure)").stdout
    s.sql(fetch.replace('tidings."fetch"(', "tidings.real_fetch(") + f"""; grant execute on function tidings.real_fetch to public;
        create or replace function tidings.fetch(p_topics int8[], p_after int8[], p_epochs text[], p_rows int8, p_bytes int8)
        returns table (topic_id int8, seq int8, to_user text, exclude text, body text, revocation boolean, expires_in_ms int8, age_ms int8)
        language plpgsql security definer set search_path = tidings, pg_temp as $$ begin
            if exists (select from unnest(p_topics, p_after) as t(id, after) join tidings.topic using (id) where after = 0 and name = 'diagnosis/{diagnosis}') then
                perform pg_advisory_xact_lock_shared(49);
            end if;
            return query select * from tidings.real_fetch(p_topics, p_after, p_epochs, p_rows, p_bytes);
        end $$""")
    try:
        with pages_apart(s), Transaction(s, "do $$ begin perform pg_advisory_xact_lock(49); end $$"):
            yield
    finally:
        wait_until(lambda: not s.sql("select from pg_locks where locktype = 'advisory' and objid = 49"), "those who waited to be served")
        s.sql(fetch + "; drop function tidings.real_fetch")


def has_more(reader):
    return bool(reader.buffer) or bool(select.select([reader.s], [], [], 0)[0])


@contextlib.contextmanager
def readers_of_nothing(s, node, diagnosis, cursor, count=16):
    """Clients that are given pages, as much as a MiB can hold of them, and take nothing of it."""
    path = s.ws_path(diagnosis, s.token(), cursor)
    with contextlib.ExitStack() as stack:
        readers = [stack.enter_context(RawClient(node.socket, path)) for _ in range(count)]
        for reader in readers:
            reader.next()
        wait_until(lambda: all(map(has_more, readers)), "pages to be on their way")
        yield readers


def how_it_ends(reader, last):
    """For one that begins to read: the close code, or None when it has all messages; they come in their order, without a hole."""
    seqs = []
    try:
        while not seqs or seqs[-1] < last:
            seqs += [m["seq"] for m in reader.next()["data"]["messages"]]
            equal(seqs, list(range(1, len(seqs) + 1)), "seqs")
    except Closed as end:
        return end.code
    return None


class Poller(threading.Thread):
    """One poll, which is on its way at once; it is awaited in a thread, and join() gives its reply."""

    def __init__(self, s, node, names, cursor, timeout=55):
        super().__init__(daemon=True)
        self.connection, self.reply = http.client.HTTPConnection("127.0.0.1", node.port, timeout=60), None
        self.connection.request("GET", topics.path("poll", names, cursor=cursor, timeout=timeout), headers={"Authorization": f"Bearer {s.token()}"})
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
    a, b, c = s.diagnosis(), s.diagnosis(), s.diagnosis()
    both = topics.names(a, b)
    with node_and_backend(s, "fetches") as (node, backend), s.connect(c, server=node) as witness:
        place = topics.poll(s, node, both)["cursor"]
        first = Poller(s, node, both, place)
        other = Poller(s, node, both[:1], place.split(".")[0])
        s.wait_watchers(a, 2)
        with stopped(backend):
            # Nothing is left of its first message: whoever had none has to ask the database.
            fill(s, a, 2, 10)
            s.sql(f"delete from tidings.message where seq = 1 and topic_id = (select id from tidings.topic where name = '{both[0]}');"
                  f" update tidings.topic set first_seq = 2 where name = '{both[0]}'")
            fill(s, b, 1, 10)
            # What is sent without being stored comes behind what is rung for: the node has heard that.
            s.api.post("/ws/publish", {"topic": f"diagnosis/{c}", "type": "t", "data": {}, "ephemeral": True}, s.service()).want(200)
            witness.next()
        reply = first.join()
        equal([m["topic"] for m in reply["messages"]], both[1:], "topics in the first reply")
        reply = topics.poll(s, node, both, reply["cursor"], 2)
        equal(reply["topics"][both[0]]["missed"], {"from": 1, "to": 1}, "what is told to be gone")
        reply = topics.poll(s, node, both[:1], other.join()["cursor"], 20)
        equal([m["seq"] for m in reply["messages"]], [2], "what the other gets in the end")


@test("a poll that waits for a page is answered in time, at its place, and a later one gets the page; who is not polling is told 1013")
def _(s):
    a = s.diagnosis()
    place = topics.poll(s, s.node1, topics.names(a))["cursor"]
    fill(s, a, 3, 10)
    with node_and_backend(s, "queries", TIDINGS_SLOW_TIMEOUT=2) as (node, backend):
        with stopped(backend):
            # Nobody is let in either.
            node.api.get(topics.path("poll", topics.names(a), cursor=place, timeout=1), s.token()).want(503)
        with no_pages_of(s, a):
            poller = Poller(s, node, topics.names(a), place, timeout=1)
            reply = poller.join()
            equal((reply["cursor"], reply["messages"], reply["recovered"]), (place, [], True), "reply")
        equal([m["seq"] for m in topics.poll(s, node, topics.names(a), place, 5)["messages"]], [1, 2, 3], "the page")
        for told in (told_by_websocket, told_by_stream):
            with no_pages_of(s, a):
                equal(told(s, node, topics.names(a), place), (1013, "what was missed is not there in time: try again later"), "what is told")


def told_by_websocket(s, node, names, cursor):
    with topics.connect(s, node, names, cursor=cursor) as client:
        return client.closed()


def told_by_stream(s, node, names, cursor):
    with topics.events(s, node, names, cursor) as events:
        event = next(events)
        while event[0] != "close":
            event = next(events)
        return event[2]["data"]["code"], event[2]["data"]["reason"]


@test("those who read nothing keep nobody else from what they missed: they are closed with 1013 for the others")
def _(s):
    big, a, live = s.diagnosis(), s.diagnosis(), s.diagnosis()
    cursor = epoch(s, s.node1, big) + "-0"
    fill(s, big, 60, 60000)
    place = topics.poll(s, s.node1, topics.names(a))["cursor"]
    fill(s, a, 12, 60000)
    with s.node(TIDINGS_CATCH_UP_MAX=1048576, TIDINGS_SLOW_TIMEOUT=600) as node, readers_of_nothing(s, node, big, cursor) as readers:
        def all_come():
            with topics.connect(s, node, topics.names(a), cursor=place) as client:
                equal(client.seqs_up_to(12), list(range(1, 13)), "by WebSocket")
            with topics.events(s, node, topics.names(a), place) as events:
                next(events)
                equal([next(events)[2]["seq"] for _ in range(12)], list(range(1, 13)), "by event stream")
            reply = topics.poll(s, node, topics.names(a), place, 0)
            equal([m["seq"] for m in reply["messages"]], list(range(1, len(reply["messages"]) + 1)), "by poll")
            assert reply["messages"], "the poll's reply is empty"
            return True

        wait_until(lambda: all_come() and GIVEN_UP in node.log.read_text(), "one of them to be given up")
        # Nor is one that is slow for a moment closed in their stead.
        with RawClient(node.socket, s.ws_path(live, s.token())) as client:
            equal(client.next()["type"], "connect", "first message")
            for n in range(6):
                s.recommend(live, str(n), old_data={}, new_data={"x": "y" * 200000})
            equal([client.next()["seq"] for _ in range(6)], [1, 2, 3, 4, 5, 6], "live")
        assert 1013 in [how_it_ends(reader, 60) for reader in readers], "nobody was told so"


GIVEN_UP = "closing a client: too many bytes are held for clients"


@test("what is given from memory has the same limit as what comes from the database, and a client that reads gets it all")
def _(s):
    d = s.diagnosis()
    with s.node(TIDINGS_CATCH_UP_MAX=1048576, TIDINGS_SLOW_TIMEOUT=600) as node, s.connect(d, server=node) as witness:
        for n in range(4):
            s.recommend(d, str(n), old_data={}, new_data={"x": "y" * 200000})
            equal(witness.next()["seq"], n + 1, "in memory")
        with readers_of_nothing(s, node, d, witness.cursor, 60) as readers:
            # Of each, 200 KB are the kernel's.
            wait_until(lambda: node.log.read_text().count(GIVEN_UP) >= 20, "those who are too many to be given up")
            with s.connect(d, server=node, cursor=witness.cursor) as client:
                equal(client.seqs_up_to(4), [1, 2, 3, 4], "of one that reads")
            assert 1013 in [how_it_ends(reader, 4) for reader in readers], "nobody was told so"
        s.recommend(d, "after")
        equal(witness.next()["seq"], 5, "of one that was live all the time")


@test("what was missed comes in pages from memory too")
def _(s):
    d = s.diagnosis()
    with s.connect(d) as witness:
        for n in range(6):
            s.recommend(d, str(n), old_data={}, new_data={"x": "y" * 100000})
            equal(witness.next()["seq"], n + 1, "in memory")
        with s.connect(d, cursor=witness.cursor) as client:
            equal([[m["seq"] for m in client.next()["data"]["messages"]] for _ in range(2)], [[1, 2, 3], [4, 5, 6]], "pages")


@test("messages that do not come whole are held within the same limit: who sends halves is closed with 1013")
def _(s):
    d = s.diagnosis()
    with s.node(TIDINGS_CATCH_UP_MAX=1048576) as node, contextlib.ExitStack() as stack:
        clients = [stack.enter_context(RawClient(node.port, s.ws_path(d, s.token()))) for _ in range(30)]
        for client in clients:
            equal(client.next()["type"], "connect", "first message")
            client.send(1, b"x" * 60000, fin=False)
        wait_until(lambda: node.log.read_text().count(GIVEN_UP) >= 10, "those who are too many to be given up")
        told = wait_until(lambda: [client for client in clients if has_more(client)], "one of them to be told")
        equal({client.end() for client in told}, {1013}, "how it ends")
        with s.connect(d, server=node) as other:
            other.answers()


@test("a client that reads slowly and steadily gets its whole page; one that takes next to nothing is closed")
def _(s):
    d = s.diagnosis()
    cursor = epoch(s, s.node1, d) + "-0"
    fill(s, d, 12, 60000)
    with s.node(TIDINGS_SLOW_TIMEOUT=2) as node, RawClient(node.socket, s.ws_path(d, s.token(), cursor)) as steady, \
            RawClient(node.socket, s.ws_path(d, s.token(), cursor)) as lazy:
        # Its socket is writable again only when three quarters of what the kernel keeps are read: at this pace after more than 3 s.
        while len(steady.buffer) < 300000:
            steady.buffer += steady.s.recv(4096)
            lazy.buffer += lazy.s.recv(128)
            time.sleep(0.1)
        equal(steady.next()["type"], "connect", "first message")
        equal(how_it_ends(steady, 12), None, "how the steady one ends")
        equal(node.log.read_text().count("reads too slowly"), 1, "found too slow")
        assert lazy.end() in (1013, None), "how the lazy one ends"


@test("a WebSocket that has fallen behind what is in memory gets the rest from the database, message by message as the others")
def _(s):
    d = s.diagnosis()
    with s.node(TIDINGS_TAIL_MAX=65536, TIDINGS_SLOW_TIMEOUT=600) as node, s.connect(d, server=node) as witness, \
            RawClient(node.socket, s.ws_path(d, s.token())) as slow:
        equal(slow.next()["type"], "connect", "first message")
        for n in range(1, 61):
            s.recommend(d, str(n), old_data={}, new_data={"x": "y" * 20000})
            equal(witness.next()["seq"], n, "at one that reads")
        got = [slow.next() for _ in range(60)]
        equal([(m["type"], m["seq"]) for m in got], [("recommendation_update", n) for n in range(1, 61)], "at one that did not")
        s.recommend(d)
        equal((slow.next()["seq"], witness.next()["seq"]), (61, 61), "live again")


@test("who is let in late, since the database takes its time, is not pinged before that, nor taken for silent")
def _(s):
    d = s.diagnosis()
    with s.node(TIDINGS_HEARTBEAT=1, TIDINGS_DATABASE_TIMEOUT=60000) as node, s.raw_connect(d, node) as witness, contextlib.ExitStack() as here:
        with Lock(s, "tidings.delivered"):
            late = here.enter_context(RawClient(node.port, s.ws_path(d, s.token())))
            stream = here.enter_context(RawClient(node.port, "", handshake=False))
            stream.s.sendall(f"GET /sse/{d}?token={s.token()} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            s.wait_blocked("attach")
            pings = 0
            while pings < 5:
                opcode, payload = witness.frame()
                if opcode == 9:
                    witness.send(10, payload)
                    pings += 1
        opcode, payload = late.frame()
        assert opcode == 1 and b'"type":"connect"' in payload, (opcode, payload)
        assert stream._head().startswith(b"HTTP/1.1 200 "), "no reply"


@test("whose rights have ended, and what came before that is not there in time, is told 1012 all the same")
def _(s):
    s.ids += 1
    user = f"late{s.ids}"
    d = s.diagnosis(granted=[user])
    s.sql(f"insert into tidings.app_user values ('{user}')")
    with node_and_backend(s, "fetches", TIDINGS_REQUIRE_USER="yes") as (node, backend), s.connect(d, user=user, server=node) as client, \
            s.connect(s.diagnosis(), token=s.token("root", role="admin"), server=node) as other:
        with stopped(backend):
            s.sql(f"update tidings.app_user set active = false where id = '{user}'")
            equal(client.closed(), (1012, "reconnect"), "the close")
            assert "what came before that was not there in time" in node.log.read_text()
            other.answers()


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
