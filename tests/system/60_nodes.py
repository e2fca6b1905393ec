"""Two sidecars on one database: presence, resuming elsewhere, a node that dies."""
import contextlib
import http.client
import json
import signal
import threading

from harness import LISTENS, WAIT_S, Closed, Lock, Transaction, edited, equal, pages_apart, stopped, test, wait_until
from live import Live, person


@test("a message published once reaches the clients of both nodes, and clients_notified counts both at once")
def _(s):
    d = s.diagnosis()
    with s.node() as node2:
        clients = []
        for n in range(1, 7):
            clients.append(s.connect(d, server=node2 if n % 2 else s.node1))
            equal(s.recommend(d, str(n))["clients_notified"], n, "clients_notified")
        for n, client in enumerate(clients, 1):
            # What another node's client was sent a moment ago may still count as waiting here: it may come again, never out of order.
            seqs = client.seqs_up_to(6)
            equal((seqs[-(7 - n):], seqs), (list(range(n, 7)), sorted(set(seqs))), "seqs")
            client.answers()
        status = s.status()
        equal(status["connections_by_diagnosis"][str(d)], 6, "connections_by_diagnosis")
        # Who polled before this test may count still, for a moment.
        wait_until(lambda: sorted(n["connections"] for n in s.status()["nodes"] if n["connections"]) == [3, 3], "three connections on each node")
        for client in clients:
            client.close()
        s.wait_watchers(d, 0)


@test("a client is let in and counted by one statement; nothing else is written for it before it is told that it is connected")
def _(s):
    d = s.diagnosis()
    calls = lambda name: int(s.sql(f"select coalesce(sum(calls), 0) from pg_stat_user_functions where schemaname = 'tidings' and funcname = '{name}'")[0][0])
    # Of sessions that begin from now on: of no other node's.
    s.sql("alter role tidings_sidecar set track_functions = 'all'")
    try:
        with s.node() as node, contextlib.ExitStack() as clients:
            attached, flushed = calls("attach"), calls("flush")
            for n in range(1, 6):
                clients.enter_context(s.connect(d, server=node))
                equal(s.sql(f"select clients from tidings.presence p, tidings.topic t where t.id = p.topic_id and t.name = 'diagnosis/{d}'"), [[str(n)]], "clients")
            wait_until(lambda: calls("attach") - attached == 5, "five statements that let somebody in")
            equal(calls("flush") - flushed, 0, "flushes")
    finally:
        s.sql("alter role tidings_sidecar reset track_functions")


@test("exclude_connection_id and to_user_id work across nodes")
def _(s):
    d = s.diagnosis(granted=["457"])
    with s.node() as node2, s.connect(d) as one, s.connect(d, user="457", server=node2) as two:
        equal(s.recommend(d, "a", exclude_connection_id=two.id)["clients_notified"], 1, "clients_notified")
        equal(s.recommend(d, "b", to_user_id=457)["clients_notified"], 1, "clients_notified")
        s.recommend(d, "c")
        equal([m["data"]["reason"] for m in one.take(2)], ["a", "c"], "the first node's client")
        equal([m["data"]["reason"] for m in two.take(2)], ["b", "c"], "the second node's client")


@test("resuming on the other node by cursor, under way: nothing lost, nothing twice")
def _(s):
    d = s.diagnosis()
    total = 300
    with s.node() as node2:
        token = s.token()
        publisher = threading.Thread(target=lambda: [s.recommend(d, str(n), token) for n in range(total)])
        seqs, cursor, epoch, turn = [], None, None, 0
        while len(seqs) < total:
            with s.connect(d, cursor=cursor, server=(s.node1, node2)[turn % 2]) as client:
                equal(client.first["data"]["recovered"], True, "recovered")
                epoch = epoch or client.cursor.rsplit("-", 1)[0]
                if turn == 0:
                    publisher.start()
                turn += 1
                seqs += client.seqs_up_to(min(total, len(seqs) + 37))
            cursor = f"{epoch}-{seqs[-1]}"
        publisher.join()
        equal(seqs, list(range(1, total + 1)), "seqs")


@test("a node that is killed is gone from status and clients_notified; its clients resume on another")
def _(s):
    d = s.diagnosis()
    node2 = s.start_node()
    client = s.connect(d, server=node2)
    with s.connect(d) as other:
        s.wait_watchers(d, 2)
        node2.signal(signal.SIGKILL)
        node2.wait()
        s.forget(node2)
        try:
            client.next()
            raise AssertionError("the client of a killed node is still connected")
        except Closed as c:
            equal(c.code, 1006, "what the client sees")
        s.recommend(d, "while away")
        with s.connect(d, cursor=client.cursor) as again:
            equal([m["data"]["reason"] for m in again.next()["data"]["messages"]], ["while away"], "resumed with")
        s.wait_watchers(d, 1, 40)
        equal(s.recommend(d)["clients_notified"], 1, "clients_notified")
        equal([m["seq"] for m in other.take(2)], [1, 2], "the other client's")


@test("a node that is stopped for a while is counted again, and its clients lost nothing")
def _(s):
    d = s.diagnosis()
    node2 = s.start_node()
    with s.connect(d, server=node2) as client:
        node2.signal(signal.SIGSTOP)
        for n in range(5):
            s.recommend(d, str(n))
        node2.signal(signal.SIGCONT)
        equal([m["seq"] for m in client.take(5)], [1, 2, 3, 4, 5], "seqs")
        wait_until(lambda: s.recommend(d)["clients_notified"] == 1, "the node to be counted again")
    s.forget(node2)
    equal(node2.stop(), 0, "exit status")


@test("two clients without a cursor, on two nodes at once, get what waited: at least one of them, and in order")
def _(s):
    d = s.diagnosis()
    with s.node() as node2:
        for n in range(5):
            s.recommend(d, str(n))
        clients = []
        threads = [threading.Thread(target=lambda x=x: clients.append(s.connect(d, server=x))) for x in (s.node1, node2)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        s.recommend(d)
        got = sorted(client.seqs_up_to(6) for client in clients)
        assert got[0] == [1, 2, 3, 4, 5, 6] and got[1] in ([1, 2, 3, 4, 5, 6], [6]), got
        for client in clients:
            client.close()


def waiting_for_457(s, topic_known):
    """A message for them alone, and one that another has been sent, while they are being let in: before the database looks at the topic, or after."""
    d = s.diagnosis(granted=["457"])
    with s.node(TIDINGS_DATABASE_TIMEOUT=60000) as node, s.connect(d, server=node) as there:
        with Lock(s, "tidings.delivered"):
            first = s.connect(d if topic_known else s.diagnosis(), user="457" if topic_known else "456", server=node, hello=False)
            s.wait_blocked("attach")
            late = first if topic_known else s.connect(d, user="457", server=node, hello=False)
            node.has_read()
            s.recommend(d, "for 457", to_user_id="457")
            s.recommend(d, "for all")
            equal(there.next()["data"]["reason"], "for all", "at the other")
        equal(late.next()["type"], "connect", "first")
        m = late.next()
        # What the other was sent waits, too, until it has confirmed that.
        reasons = [x["data"]["reason"] for x in m["data"].get("messages", [])]
        assert m["type"] == "reconnect_messages" and reasons in (["for 457"], ["for 457", "for all"]), m
        s.recommend(d, "last")
        last = late.next()
        equal(last["data"]["reason"], "last", "the next message")
        with s.connect(d, user="457", server=node, cursor=last["cursor"]) as again:
            s.recommend(d, "afterwards")
            equal(again.next()["data"]["reason"], "afterwards", "who comes after that")
        first.close()
        late.close()


@test("a message for one user, and a later one that is delivered to others while that user connects: it waits for them, and comes once")
def _(s):
    waiting_for_457(s, False)
    waiting_for_457(s, True)


@test("clients_notified is right again after a node could not say goodbye to its former session in the database",
      allow="database|connection|statement|lock|sidecar")
def _(s):
    # A farewell that failed was taken for done, and the next numbers were built on what it had left behind.
    d = s.diagnosis()
    with s.node(TIDINGS_DATABASE_TIMEOUT=2000) as node:
        one, two, three = (s.connect(d, server=x) for x in (node, s.node1, node))
        s.wait_watchers(d, 3)
        before = len(node.log.read_text())
        with Lock(s, "tidings.connection"):
            s.sql("select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'tidings-ws queries'")
            wait_until(lambda: "statement=farewell" in node.log.read_text()[before:], "the farewell to fail")
        s.wait_ready()
        s.wait_watchers(d, 3, 40)
        one.close()
        s.wait_watchers(d, 2)
        wait_until(lambda: s.recommend(d)["clients_notified"] == 2, "two clients to be counted as two")
        wait_until(lambda: s.lets_in(d, node), "new clients to be let in")
        s.wait_watchers(d, 2)
        with s.connect(d, server=node):
            equal(s.recommend(d)["clients_notified"], 3, "clients_notified with one more")
        two.close()
        three.close()
        s.wait_watchers(d, 0)
        equal(s.recommend(d)["clients_notified"], 0, "clients_notified when all are gone")


@test("a node that has said farewell to the database does not say behind it that it lives", allow="database|terminat|connection")
def _(s):
    with s.node() as node:
        node_id = node.id()
        with Lock(s, "tidings.presence"):
            node.signal(signal.SIGTERM)
            queries = s.wait_blocked("farewell")
            # Whoever listens anew sends a heartbeat.
            listening = "from pg_stat_activity where application_name = 'tidings-ws listener'"
            before = [pid for [pid] in s.sql(f"select pid {listening} order by backend_start")]
            s.sql(f"select pg_terminate_backend({before[-1]})")
            wait_until(lambda: s.sql(f"select 1 {listening} and pid not in ({', '.join(before)}) and {LISTENS}"), "it to listen anew")
        equal(node.wait(), 0, "exit status")
        wait_until(lambda: not s.sql(f"select 1 from pg_stat_activity where pid = {queries}"), "its session to end")
        equal(s.sql(f"select heartbeat_at from tidings.node where id = '{node_id}'"), [], "the node")


@test("a topic that gets another epoch (a standby that lacked the newest took over): everyone gets 1012 and comes back, told that it is not recovered")
def _(s):
    # All of them were sent away at once, however many; now over the time that a draining node takes.
    topics = [s.diagnosis() for _n in range(10)]
    with s.node(TIDINGS_DRAIN_TIME=1) as node:
        clients = [(d, s.connect(d, server=node)) for d in topics for _n in range(12)]
        for d in topics:
            s.recommend(d)
        cursor = {}
        for d, client in clients:
            equal(client.next()["seq"], 1, "seq")
            cursor[d] = client.cursor.rsplit("-", 1)[0] + "-1"
        names = ", ".join(f"'diagnosis/{d}'" for d in topics)
        s.sql(f"update tidings.topic set epoch = 'other' || id where name in ({names})")
        for _d, client in clients:
            equal(client.closed()[0], 1012, "close code")
        for d in topics:
            s.wait_watchers(d, 0)
            with s.connect(d, cursor=cursor[d], server=node) as client:
                equal(client.first["data"]["recovered"], False, "recovered")
                assert client.cursor.startswith("other"), client.cursor
                equal(client.seqs_up_to(1), [1], "what is there")
                equal(s.recommend(d)["seq"], 2, "seq")
                equal(client.next()["seq"], 2, "the next message")


@test("who comes to a topic that has got another epoch is let in while those who were there are still being sent away")
def _(s):
    d = s.diagnosis()
    with s.node(TIDINGS_DRAIN_TIME=600) as node:
        clients = [s.connect(d, server=node) for _n in range(60)]
        s.sql(f"update tidings.topic set epoch = 'another' || id where name = 'diagnosis/{d}'")
        equal(clients[0].closed()[0], 1012, "close code of the first")
        with s.connect(d, server=node) as new:
            assert new.cursor.startswith("another"), new.cursor
            seq = s.recommend(d)["seq"]
            equal(new.next()["seq"], seq, "message")
            clients[-1].answers()
        for client in clients[1:]:
            client.close()


@test("a poller who comes back while its topic gets another epoch is told to come again, and goes on in the new one", allow="database|terminat|connection")
def _(s):
    d, token = s.diagnosis(), s.token()
    listening = "select pid from pg_stat_activity where application_name = 'tidings-ws listener'"
    with s.node(TIDINGS_DATABASE_TIMEOUT=60000, TIDINGS_POLL_GRACE=60) as node, \
            contextlib.closing(http.client.HTTPConnection("127.0.0.1", node.port, timeout=WAIT_S)) as poll:
        node.api.get(f"/poll/{d}?timeout=0", token).want(200)
        with Lock(s, "tidings.delivered"):
            s.connect(s.diagnosis(), server=node, hello=False)
            s.wait_blocked("attach")
            # Whoever listens anew sends a heartbeat: so the node finds out before it has the answer to the poll, and after it was asked.
            before = [pid for [pid] in s.sql(f"{listening} order by backend_start")]
            s.sql(f"select pg_terminate_backend({before[-1]})")
            wait_until(lambda: s.sql(f"{listening} and pid not in ({', '.join(before)}) and {LISTENS}"), "it to listen anew")
            poll.request("GET", f"/poll/{d}?timeout=0", headers={"Authorization": f"Bearer {token}"})
            node.has_read()
            s.sql(f"update tidings.topic set epoch = 'other' || id where name = 'diagnosis/{d}'")
        reply = poll.getresponse()
        equal((reply.status, json.load(reply)["detail"]), (503, "Reconnect."), "the reply")
        assert node.api.get(f"/poll/{d}?timeout=0", token).want(200)["cursor"].startswith("other"), "where it goes on"


@test("a database that lost the newest messages (a standby that lacked them took over): what is published then waits for the next client",
      allow="database|connection|terminat|server")
def _(s):
    # The old numbers were written down as delivered: what came under them again went to nobody.
    d = s.diagnosis()
    row = f"(select id from tidings.topic where name = 'diagnosis/{d}')"
    with s.node() as node:
        client = s.connect(d, server=node)
        for n in range(5):
            s.recommend(d, str(n))
        equal(client.seqs_up_to(5), [1, 2, 3, 4, 5], "seqs")
        wait_until(lambda: s.sql(f"select seq, confirmed from tidings.delivered where topic_id = {row}") == [["5", "5"]], "that to be written down")
        node.signal(signal.SIGSTOP)
        try:
            s.sql(f"""begin; update tidings.topic set epoch = 'restored' where id = {row};
                delete from tidings.message where topic_id = {row} and seq > 2;
                update tidings.delivered set seq = 2, confirmed = least(confirmed, 2) where topic_id = {row}; commit;
                select pg_terminate_backend(pid) from pg_stat_activity where application_name like 'tidings-ws%'""")
        finally:
            node.signal(signal.SIGCONT)
        equal(client.closed()[0], 1012, "the close")
        s.wait_ready()
        # When this one is in, all that the node wrote down about the first is.
        wait_until(lambda: s.lets_in(s.diagnosis(), node), "clients to be let in")
        for n in range(3):
            s.recommend(d, f"new {n}")
        with s.connect(d, server=node) as back:
            s.recommend(d, "live")
            equal(back.seqs_up_to(6), [3, 4, 5, 6], "what waited, and what is new")


def fetched(s):
    """What the newest sidecar may fetch by now has been answered, and read."""
    moment = s.sql("select clock_timestamp()")[0][0]
    return lambda: s.sql(f"""select 1 from pg_stat_activity where pid = {s.backend("fetches")} and state = 'idle'
        and query like '%tidings.fetch(%' and query_start > '{moment}'""")


@test("what is published reaches those who listen while whatever else the sidecar asks of the database waits")
def _(s):
    d, user = s.diagnosis(), person(s)
    with s.node(TIDINGS_DATABASE_TIMEOUT=60000) as node, s.connect(d, server=node) as client, contextlib.ExitStack() as stack:
        def reaches_it(seq):
            s.recommend(d)
            equal(client.next()["seq"], seq, "seq")

        with Transaction(s, f"update tidings.node set opened = opened where id = '{node.id()}'"):
            s.wait_blocked("heartbeat")
            reaches_it(1)
        with Lock(s, "tidings.connection"):
            stack.enter_context(s.connect(s.diagnosis(), server=node, hello=False))
            s.wait_blocked("attach")
            reaches_it(2)
        gone = s.connect(s.diagnosis(), server=node)
        with Lock(s, "tidings.connection"):
            gone.close()
            s.wait_blocked("flush")
            reaches_it(3)
        with Transaction(s, f"do $$ begin perform pg_advisory_xact_lock(hashtextextended('tidings.admit {user}', 0)); end $$"):
            live = stack.enter_context(Live(s, node, "combined", user, how="query", authenticate=False))
            s.wait_blocked("admit")
            reaches_it(4)
        live.until("authenticated")
        # A rule of the operator's own that takes long, over many who come at once.
        with edited(s, "authorize", "tidings.default_authorize(", "(action <> 'subscribe' or (select true from pg_advisory_xact_lock_shared(60)))"
                    " and tidings.default_authorize("):
            with Transaction(s, "do $$ begin perform pg_advisory_xact_lock(60); end $$"):
                many = [stack.enter_context(s.connect(s.diagnosis(), server=node, hello=False)) for _n in range(30)]
                s.wait_blocked("attach")
                reaches_it(5)
            equal({each.next()["type"] for each in many}, {"connect"}, "what each of them is told in the end")
        reaches_it(6)


@test("who is let in as the topic was a while ago, others having been sent more meanwhile, goes on behind their cursor: nothing missed, nothing twice")
def _(s):
    d = s.diagnosis()
    with s.node(TIDINGS_DATABASE_TIMEOUT=60000) as node, s.connect(d, server=node) as there:
        cursor = there.cursor
        with Lock(s, "tidings.delivered"):
            clients = [s.connect(d, server=node, cursor=each, hello=False) for each in (cursor, None)]
            s.wait_blocked("attach")
            for n in range(3):
                s.recommend(d, str(n))
            equal(there.seqs_up_to(3), [1, 2, 3], "at the other")
        for client in clients:
            equal(client.next()["type"], "connect", "first message")
        s.recommend(d, "afterwards")
        after, new = [client.seqs_up_to(4) for client in clients]
        equal(after, [1, 2, 3, 4], "seqs with a cursor")
        # Without one it gets what the other has not confirmed yet.
        equal(new, [1, 2, 3, 4][-len(new):], "seqs without")
        for client in clients:
            client.close()


@test("what is published when somebody has been told that they are connected is not among what they missed, however late the database answers")
def _(s):
    d = s.diagnosis()
    for n in range(3):
        s.recommend(d, str(n))
    with s.node(TIDINGS_DATABASE_TIMEOUT=60000) as node:
        with pages_apart(s), stopped(s.backend("fetches")):
            client = s.connect(d, server=node)
            s.recommend(d, "live")
        m = client.next()
        equal((m["type"], [x["seq"] for x in m["data"].get("messages", [])]), ("reconnect_messages", [1, 2, 3]), "what was missed")
        equal(client.next().get("seq"), 4, "what comes after that")
        client.close()


# That of one node waits before it looks at the topics, and again when it has.
LOOKS, WAITING = "return query select * from moved(p_topics, p_last_seqs, p_epochs);", "perform pg_advisory_xact_lock({}) from public.waiting w where w.node = p_node;"


@test("an answer to the heartbeat that is older than what was fetched meanwhile is not taken for another numbering")
def _(s):
    d = s.diagnosis()
    holding = lambda number: Transaction(s, f"do $$ begin perform pg_advisory_xact_lock({number}); end $$")
    waits = lambda number: s.sql(f"select 1 from pg_locks where locktype = 'advisory' and objid = {number} and not granted")
    s.sql("create table public.waiting (node text); grant select on public.waiting to tidings_owner")
    try:
        with edited(s, "heartbeat", LOOKS, WAITING.format(60001) + LOOKS + WAITING.format(60002)), \
                s.node(TIDINGS_DATABASE_TIMEOUT=60000) as node, s.connect(d, server=node) as client:
            with holding(60002):
                with holding(60001):
                    s.sql(f"insert into public.waiting values ('{node.id()}')")
                    wait_until(lambda: waits(60001), "a heartbeat to be sent")
                    s.recommend(d)
                    equal(client.next()["seq"], 1, "seq")
                wait_until(lambda: waits(60002), "it to have looked")
                s.recommend(d)
                equal(client.next()["seq"], 2, "seq")
            # What it asks after that is answered behind the heartbeat.
            s.connect(s.diagnosis(), server=node).close()
            client.answers()
            s.recommend(d)
            equal(client.next()["seq"], 3, "seq")
    finally:
        s.sql("drop table public.waiting")


@test("what is numbered anew is not given out under the old numbers, however long the heartbeat takes that finds out")
def _(s):
    d = s.diagnosis()
    with s.node(TIDINGS_DATABASE_TIMEOUT=60000) as node, s.connect(d, server=node) as client:
        with Transaction(s, f"update tidings.node set opened = opened where id = '{node.id()}'"):
            s.wait_blocked("heartbeat")
            s.sql("select tidings.renew_epochs()")
            is_fetched = fetched(s)
            s.recommend(d)
            wait_until(is_fetched, "it to be fetched")
            node.has_read()
            s.typing(f"diagnosis/{d}")
            equal(client.next()["type"], "typing", "what comes meanwhile")
        equal(client.closed()[0], 1012, "close")


@test("a connection that fetches anew from a database that was set back, under the same epochs, finds that out before it takes anything",
      allow="database|terminat|connection")
def _(s):
    d = s.diagnosis()
    with s.node(TIDINGS_DATABASE_TIMEOUT=60000) as node, s.connect(d, server=node) as client:
        for n in range(5):
            s.recommend(d, str(n))
        client.seqs_up_to(5)
        with Transaction(s, f"update tidings.node set opened = opened where id = '{node.id()}'"):
            s.wait_blocked("heartbeat")
            s.sql(f"delete from tidings.message where seq > 3 and topic_id = (select id from tidings.topic where name = 'diagnosis/{d}');"
                  f" select pg_terminate_backend({s.backend('fetches')})")
            wait_until(lambda: node.log.read_text().count("database connected connection=fetches") == 2, "it to be made anew")
            is_fetched = fetched(s)
            equal([s.recommend(d, str(n))["seq"] for n in range(3)], [4, 5, 6], "seqs that were given before")
            wait_until(is_fetched, "them to be fetched")
            node.has_read()
            s.typing(f"diagnosis/{d}")
            equal(client.next()["type"], "typing", "what comes meanwhile")
        equal(client.closed()[0], 1012, "close")
