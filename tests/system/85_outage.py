"""PostgreSQL goes away under load and comes back: nothing acknowledged is lost, nobody is dropped, nothing of ours is restarted."""
import concurrent.futures
import contextlib
import http.client
import importlib
import os
import pathlib
import re
import signal
import subprocess
import threading

from harness import Closed, Lock, Transaction, equal, test, wait_until
from live import Live, combined, notify, person

status = importlib.import_module("30_status")


class Load:
    """Threads that broadcast until told to stop; remembers what was answered."""

    def __init__(self, s, diagnosis, threads=6):
        self.s, self.d = s, diagnosis
        self.stop = threading.Event()
        self.lock = threading.Lock()
        self.acknowledged, self.statuses, self.odd = {}, {}, []
        self.threads = [threading.Thread(target=self._run, args=(n,)) for n in range(threads)]
        for t in self.threads:
            t.start()

    def _run(self, number):
        token, n = self.s.token(), 0
        while not self.stop.is_set():
            reason = f"{number}-{n}"
            n += 1
            body = {"diagnosis_id": self.d, "old_data": {}, "new_data": {}, "reason": reason}
            try:
                reply = self.s.api.post("/ws/broadcast-recommendation-update", body, token)
            except (OSError, http.client.HTTPException) as e:
                with self.lock:
                    self.odd.append(repr(e))
                continue
            with self.lock:
                self.statuses[reply.status] = self.statuses.get(reply.status, 0) + 1
                if reply.status == 200:
                    self.acknowledged[reply.json["seq"]] = reason
                elif reply.status != 503:
                    self.odd.append(repr(reply))
                elif not reply.headers.get("Retry-After", "").isdigit() or reply.headers.get_content_type() != "application/problem+json":
                    self.odd.append(repr(reply))

    def seen(self, status):
        with self.lock:
            return self.statuses.get(status, 0)

    def end(self):
        self.stop.set()
        for t in self.threads:
            t.join()


class Reader:
    """Reads one client in a thread; remembers every message."""

    def __init__(self, client):
        self.client, self.messages, self.code = client, {}, None
        self.order, self.twice = [], []
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.done = threading.Event()
        self.thread.start()

    def _run(self):
        while not self.done.is_set():
            try:
                m = self.client.next(1)
            except Closed as c:
                self.code = c.code
                return
            except AssertionError:
                continue
            for x in m["data"]["messages"] if m["type"] == "reconnect_messages" else [m]:
                if x.get("type") != "recommendation_update":
                    continue
                if x["seq"] in self.messages:
                    self.twice.append(x["seq"])
                self.messages[x["seq"]] = x["data"]["reason"]
                self.order.append(x["seq"])

    def end(self):
        self.done.set()
        self.thread.join()


def outage(s, away):
    d = s.diagnosis()
    with contextlib.ExitStack() as stack:
        node2 = stack.enter_context(s.node())
        clients = [stack.enter_context(s.connect(d, server=server)) for server in (s.node1, node2, s.web1, node2, s.node1)]
        readers = [Reader(c) for c in clients]
        load = Load(s, d)
        try:
            wait_until(lambda: load.seen(200) >= 200, "the load to run")
            away(load, d)
            before = load.seen(200)
            wait_until(lambda: load.seen(200) >= before + 200, "broadcasts to be taken again", 40)
        finally:
            load.end()
        wait_until(lambda: s.recommend(d, "count")["clients_notified"] == len(clients), "every client to be counted again", 40)
        last = all_told(s, d, load, readers)
    kept, cursor = {}, clients[0].cursor
    while True:
        page = s.api.get(f"/ws/history/{d}?limit=100&since={cursor}", s.token()).want(200)
        if not page["messages"]:
            break
        kept.update({m["seq"]: m["data"]["reason"] for m in page["messages"]})
        cursor = page["cursor"]
    equal({q for q, why in load.acknowledged.items() if kept.get(q) != why and q > last - 100}, set(), "not in the history")
    s.wait_ready()


def stopped(s, mode):
    def away(load, d):
        s.stop_postgres(mode)
        try:
            before = load.seen(503)
            wait_until(lambda: load.seen(503) > before + 5, "broadcasts to be refused")
            reply = s.api.get("/health")
            equal((reply.status, reply.json["status"]), (503, "unhealthy"), "/health")
            assert "database" in reply.json["checks"], reply
            for path in ("/ws/status", f"/ws/history/{d}"):
                # A status may be a second old.
                reply = wait_until(lambda p=path: (r := s.api.get(p, s.token())).status == 503 and r, f"{path} to be refused")
                reply.want(503)
                assert reply.headers.get("Retry-After", "").isdigit(), reply
        finally:
            s.start_postgres()

    return away


EXPECTED = "database|connection|away|server|terminat"


def all_told(s, d, load, readers):
    """Nobody was dropped, each message came once and in order, and all that was acknowledged is among them; publishers were told how it was. Returns the last seq."""
    last = s.recommend(d, "last")["seq"]
    for r in readers:
        wait_until(lambda r=r: last in r.messages or r.code, "the last message to arrive", 60)
        r.end()
        equal(r.code, None, "a connected client was dropped: code")
        equal(r.twice, [], "seqs that came twice")
        equal(r.order, list(range(1, last + 1)), "order of the messages")
        missing = {q: why for q, why in load.acknowledged.items() if r.messages.get(q) != why}
        equal(missing, {}, "acknowledged, and not delivered")
    equal(load.odd[:3], [], "replies that are neither 200 nor a proper 503")
    return last


@test("PostgreSQL stopped and started again under load", allow=EXPECTED)
def _(s):
    outage(s, stopped(s, "fast"))


@test("PostgreSQL crashing under load: also the presence, which the crash empties, comes back", allow=EXPECTED)
def _(s):
    outage(s, stopped(s, "immediate"))


@test("every database connection of ours terminated under load, three times", allow=EXPECTED)
def _(s):
    def away(load, d):
        for _n in range(3):
            before = load.seen(200)
            s.sql("select pg_terminate_backend(pid) from pg_stat_activity where usename like 'tidings_%'")
            wait_until(lambda: load.seen(200) > before + 50, "broadcasts to be taken")

    outage(s, away)


@test("the connection that fetches messages terminated under load, three times: nothing is lost, nobody is dropped", allow=EXPECTED)
def _(s):
    def away(load, d):
        for _n in range(3):
            before = load.seen(200)
            s.sql("select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'tidings-ws fetches'")
            wait_until(lambda: load.seen(200) > before + 50, "broadcasts to be taken")

    outage(s, away)


@test("a database connection that ends with statements still to be read in it is found out and made anew, without waiting for a timeout", allow=EXPECTED)
def _(s):
    # The socket has an error, on which libuv stops; what the server said last was read, and then nothing.
    with s.node(TIDINGS_DATABASE_TIMEOUT=60000) as node:
        with Transaction(s, f"update tidings.node set opened = opened where id = '{node.id()}'"):
            pid = s.wait_blocked("heartbeat")
            client = s.connect(s.diagnosis(), server=node, hello=False)
            node.has_read()
            node.signal(signal.SIGSTOP)
            try:
                s.sql(f"select pg_terminate_backend({pid})")
                wait_until(lambda: not pathlib.Path(f"/proc/{pid}").exists(), "it to end")
            finally:
                node.signal(signal.SIGCONT)
            wait_until(lambda: node.log.read_text().count("database connected connection=queries") == 2, "it to be made anew")
        client.close()


@test("who is being counted when the database goes away is told to come again", allow=EXPECTED)
def _(s):
    with s.node(TIDINGS_DATABASE_TIMEOUT=60000) as node, contextlib.ExitStack() as stack:
        # Making itself known takes that table too.
        wait_until(lambda: s.sql(f"select 1 from tidings.node where id = '{node.id()}'"), "the node to be known")
        stack.enter_context(Lock(s, "tidings.presence"))
        one = s.connect(s.diagnosis(), server=node, hello=False)
        pid = s.wait_blocked("attach")
        two = s.connect(s.diagnosis(), server=node, hello=False)
        node.has_read()
        s.sql(f"select pg_terminate_backend({pid})")
        equal([client.closed() for client in (one, two)], [(1013, "try again later")] * 2, "the closes")


@test("who has been let in but not counted yet when the database goes away is told to come again", allow=EXPECTED)
def _(s):
    users = person(s), person(s)
    with s.node(TIDINGS_DATABASE_TIMEOUT=60000) as node, contextlib.ExitStack() as stack:
        heard = lambda: s.sql(f"select heartbeat_at from tidings.node where id = '{node.id()}'")
        wait_until(heard, "the node to be known")
        before = heard()
        wait_until(lambda: heard() != before, "a heartbeat: the next, which takes that row too, is 4 s away")
        stack.enter_context(Transaction(s, f"update tidings.node set opened = opened where id = '{node.id()}'"))
        with Transaction(s, f"do $$ begin perform pg_advisory_xact_lock(hashtextextended('tidings.admit {users[0]}', 0)); end $$"):
            clients = [stack.enter_context(Live(s, node, "combined", users[0], how="query", authenticate=False))]
            s.wait_blocked("admit")
            clients.append(stack.enter_context(Live(s, node, "combined", users[1], how="query", authenticate=False)))
            node.has_read()
        # The first is being written down; the second, let in before that began, waits for it.
        s.sql(f"select pg_terminate_backend({s.wait_blocked('flush')})")
        equal([live.client.closed() for live in clients], [(1013, "try again later")] * 2, "the closes")


@test("broadcasts to a diagnosis that someone holds locked hold up nobody, come late when it is free again, and are numbered then", allow=EXPECTED)
def _(s):
    locked, others = s.diagnosis(), [s.diagnosis() for _ in range(6)]
    replies = []
    with s.web(TIDINGS_DATABASE_TIMEOUT=60000) as web, s.connect(locked) as waiting:
        slow = threading.Thread(target=lambda: replies.append((locked, web.api.post(
            "/ws/broadcast-recommendation-update", {"diagnosis_id": locked, "old_data": {}, "new_data": {}, "reason": "kept"}, s.token()))))
        with Transaction(s, f"select from tidings.topic where name = 'diagnosis/{locked}' for update"):
            slow.start()
            for n in range(20):
                for d in others:
                    equal(web.api.post("/ws/broadcast-recommendation-update", {"diagnosis_id": d, "old_data": {}, "new_data": {}, "reason": "r"},
                                       s.token()).want(200)["seq"], n + 1, "seq of another diagnosis")
            equal(replies, [], "replies while it is locked")
        slow.join()
        equal([(d, r.status, r.json["seq"]) for d, r in replies], [(locked, 200, 1)], "the reply when it is free")
        equal(waiting.next()["seq"], 1, "seq at its client")


@test("a request that takes longer than a statement may gets 503 alone: who came with it is served", allow=EXPECTED)
def _(s):
    slow, others = s.diagnosis(), [s.diagnosis() for _ in range(8)]
    s.sql("""alter function tidings.verdict(text, text, text, text, boolean) rename to real_verdict;
        create function tidings.verdict(user_id text, role text, topic text, action text, require_user boolean) returns text language plpgsql as $$
            begin if topic = 'diagnosis/%d' then perform pg_sleep(60); end if; return tidings.real_verdict(user_id, role, topic, action, require_user); end $$;
        alter function tidings.verdict owner to tidings_owner""" % slow)
    replies, barrier = {}, threading.Barrier(len(others) + 1)
    try:
        with s.web(TIDINGS_DATABASE_TIMEOUT=2000) as web:
            def post(d):
                barrier.wait()
                replies[d] = web.api.post("/ws/broadcast-recommendation-update",
                                          {"diagnosis_id": d, "old_data": {}, "new_data": {}, "reason": "r"}, s.token()).status

            threads = [threading.Thread(target=post, args=(d,)) for d in [slow, *others]]
            for t in threads:
                t.start()
            for t in threads:
                t.join()
    finally:
        s.sql("drop function tidings.verdict(text, text, text, text, boolean); alter function tidings.real_verdict(text, text, text, text, boolean) rename to verdict")
    equal(replies, {slow: 503, **{d: 200 for d in others}}, "replies")


@test("a broadcast that was answered 503 because the database stood still is not published when that goes on", allow=EXPECTED)
def _(s):
    d = s.diagnosis()
    with s.web(TIDINGS_DATABASE_TIMEOUT=1000) as web:
        s.recommend(d, "before", api=web.api)
        pid = int(s.sql("select pid from pg_stat_activity where application_name = 'tidings broadcast' order by backend_start desc limit 1")[0][0])
        os.kill(pid, signal.SIGSTOP)
        try:
            s.recommend(d, "frozen", api=web.api, want=503)
        finally:
            os.kill(pid, signal.SIGCONT)
        wait_until(lambda: not pathlib.Path(f"/proc/{pid}").exists(), "the server process to end")
        equal(s.recommend(d, "after", api=s.api)["seq"], 2, "the next seq")


@test("a broadcast that PostgreSQL does not even take whole is told not to be done, and the next one is", allow=EXPECTED)
def _(s):
    d = s.diagnosis()
    large = {"diagnosis_id": d, "old_data": {}, "new_data": {"x": "y" * 250000}, "reason": "large"}
    with s.web(TIDINGS_DATABASE_TIMEOUT=1000) as web:
        s.recommend(d, "before", api=web.api)
        pid = int(s.sql("select pid from pg_stat_activity where application_name = 'tidings broadcast' order by backend_start desc limit 1")[0][0])
        os.kill(pid, signal.SIGSTOP)
        try:
            reply = web.api.post("/ws/broadcast-recommendation-update", large, s.token()).want(503)
        finally:
            os.kill(pid, signal.SIGCONT)
        equal(reply["done"], "no", "done")
        wait_until(lambda: web.api.post("/ws/broadcast-recommendation-update", large, s.token()).status == 200, "publishing to go on")
    equal(s.last_seq(f"diagnosis/{d}"), 2, "messages")


@test("a broadcast to a diagnosis that someone holds locked gets 503 and is not half done; others are served", allow=EXPECTED)
def _(s):
    locked, free = s.diagnosis(), s.diagnosis()
    with s.connect(free) as client, s.connect(locked) as waiting:
        holder = subprocess.Popen(["psql", "-qXAt"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=s.psql_env("postgres", "tidings"))
        try:
            holder.stdin.write(f"begin; select name from tidings.topic where name = 'diagnosis/{locked}' for update;\n")
            holder.stdin.flush()
            equal(holder.stdout.readline().strip(), f"diagnosis/{locked}", "locked")
            refused = []
            thread = threading.Thread(target=lambda: refused.append(s.api.post(
                "/ws/broadcast-recommendation-update", {"diagnosis_id": locked, "old_data": {}, "new_data": {}, "reason": "r"}, s.token())))
            thread.start()
            thread.join()
            assert refused[0].status in (200, 503), refused
            equal(refused[0].status, 503, "status while it is locked")
            equal(s.recommend(free)["seq"], 1, "seq of another diagnosis")
            equal(client.next()["seq"], 1, "seq at its client")
            waiting.answers()
        finally:
            holder.stdin.write("rollback;\n")
            holder.stdin.close()
            holder.wait()
        equal(s.recommend(locked)["seq"], 1, "seq afterwards: the refused one was not half done")
        equal(waiting.next()["seq"], 1, "seq at its client")


@test("a database that can only be read is one that is away: 503 meanwhile, and then everything goes on by itself", allow=EXPECTED + "|read-only")
def _(s):
    # What went wrong: a session that had begun read-only was kept for ever.
    d, token = s.diagnosis(), s.token()
    refused = lambda: s.api.post("/ws/broadcast-recommendation-update", {"diagnosis_id": d, "old_data": {}, "new_data": {}, "reason": "r"}, token).status == 503
    with s.connect(d) as client:
        s.sql("alter database tidings set default_transaction_read_only = on", database="postgres")
        try:
            s.sql("select pg_terminate_backend(pid) from pg_stat_activity where usename like 'tidings_%'", database="postgres")
            wait_until(refused, "broadcasts to be refused")
            for path in ("/ws/status", f"/ws/history/{d}"):
                wait_until(lambda: s.api.get(path, token).status == 503, f"{path} to be refused")
        finally:
            s.sql("alter database tidings reset default_transaction_read_only", database="postgres")
        s.wait_ready()
        wait_until(lambda: not refused(), "broadcasts to be taken again")
        seq = s.recommend(d)["seq"]
        wait_until(lambda: client.next()["seq"] == seq, "it to arrive")
        for path in ("/ws/status", f"/ws/history/{d}"):
            wait_until(lambda: s.api.get(path, token).status == 200, f"{path} to be answered again")


@contextlib.contextmanager
def seen_by_verdicts(s):
    """What the sessions of ours that ask for a right have set; [[synchronous_commit, isolation]]"""
    s.sql("""create table public.seen (what text); grant insert on public.seen to tidings_owner;
        alter function tidings.verdict(text, text, text, text, boolean) rename to real_verdict;
        create function tidings.verdict(user_id text, role text, topic text, action text, require_user boolean) returns text language plpgsql as $$
            begin insert into public.seen values (current_setting('synchronous_commit') || ' ' || current_setting('transaction_isolation'));
            return tidings.real_verdict(user_id, role, topic, action, require_user); end $$;
        alter function tidings.verdict owner to tidings_owner;
        alter database tidings set synchronous_commit = off; alter database tidings set default_transaction_isolation = serializable""")
    try:
        yield lambda: s.sql("select distinct what from public.seen")
    finally:
        s.sql("""alter database tidings reset synchronous_commit; alter database tidings reset default_transaction_isolation;
            drop function tidings.verdict(text, text, text, text, boolean); alter function tidings.real_verdict(text, text, text, text, boolean) rename to verdict;
            drop table public.seen""")


@test("whatever the database's defaults are, what is answered is committed, and in READ COMMITTED")
def _(s):
    d = s.diagnosis()
    with seen_by_verdicts(s) as seen, s.node() as node, s.web(node) as web, s.connect(d, server=node) as client:
        s.recommend(d, api=web.api)
        client.next()
        web.api.get(f"/ws/history/{d}", s.token()).want(200)
        equal(seen(), [["on read committed"]], "what the sessions have")


def uncertain(s, call, program):
    """Its answer, when the wait of its commit for a standby is cancelled: it is committed, on this server alone."""
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        answer = pool.submit(call)
        pid = wait_until(lambda: s.sql(f"select pid from pg_stat_activity where application_name = '{program}' and wait_event = 'SyncRep'"),
                         "the commit to wait")[0][0]
        s.sql(f"select pg_cancel_backend({pid})")
        return answer.result()


@test("what is committed on one server alone, since the wait for its standby was cancelled, is acknowledged to nobody, however often it is repeated",
      allow="database|answer|publishing")
def _(s):
    # The statement succeeds, and a warning says so alone: it was answered 200, and a failover lost it.
    d, user = s.diagnosis(), person(s)
    body = {"diagnosis_id": d, "old_data": {}, "new_data": {}, "reason": "r"}
    reading = {"metric": "pulse", "value": 70}
    with contextlib.ExitStack() as stack:
        pooler = stack.enter_context(importlib.import_module("87_doorbell").Pooler(s))
        node = stack.enter_context(s.node(TIDINGS_DATABASE_TIMEOUT=60000))
        webs = [stack.enter_context(s.web(node, TIDINGS_DATABASE_TIMEOUT=60000, **more)) for more in ({}, {"TIDINGS_DATABASE": pooler.conninfo})]
        live = stack.enter_context(combined(s, node, user))

        def publish(web, key):
            return web.api.post("/ws/broadcast-recommendation-update", body, s.token(), {"Idempotency-Key": key})

        def say(web, key):
            return web.api.post("/ws/send", {"type": "health_update", "data": reading}, s.token(user), {"Idempotency-Key": key})

        for n, web in enumerate(webs):
            for call, program in ((publish, "tidings broadcast"), (say, "tidings live")):
                wait_until(lambda: call(web, f"first-{n}").status == 200, "it to be taken")
                with status.standby_missing(s):
                    for _try in range(2):
                        reply = uncertain(s, lambda: call(web, f"second-{n}"), program)
                        equal((reply.status, reply.json.get("done")), (503, "unknown"), f"{program}, {reply.body}")
                equal(call(web, f"second-{n}").status, 200, "once it is replicated")
        equal(s.last_seq(f"diagnosis/{d}"), 4, "each was published once: the last seq")
        with status.standby_missing(s):
            equal(uncertain(s, lambda: live.refused("health_update", reading), "tidings-ws acts"), "unavailable", "the answer to a client")
        live.ask("health_update", reading, "health_update_stored")


@test("an outage is one line in the log of a FastCGI program, however often it tries to connect, and its end another", allow="database|connection|server")
def _(s):
    d, token = s.diagnosis(), s.token()
    with s.web() as web:
        history = lambda: web.api.get(f"/ws/history/{d}", token).status
        lines = lambda text: len(re.findall(rf"history\.fcgi\[\d+\] \w+: {text}", web.log.read_text()))
        equal(history(), 200, "at first")
        s.stop_postgres()
        try:
            equal([history() for _n in range(5)], [503] * 5, "meanwhile")
            equal(lines("database cannot be reached"), 1, "lines of it")
        finally:
            s.start_postgres()
        wait_until(lambda: history() == 200, "it to be answered again")
        equal(lines("the database is back"), 1, "lines of its end")
    s.wait_ready()


@test("while the standby that commits wait for is missing, clients come in all the same, to topics that are new and back to critical notifications too",
      allow="database|answer|publishing")
def _(s):
    # A new topic's commit, on the connection that lets clients in, kept all of them out.
    d, published, other, user = s.diagnosis(), s.diagnosis(), s.diagnosis(), person(s)
    notify(s, user, priority="critical")
    with s.node(TIDINGS_DATABASE_TIMEOUT=60000) as node, s.web(node, TIDINGS_DATABASE_TIMEOUT=60000) as web, \
            concurrent.futures.ThreadPoolExecutor(1) as pool, status.standby_missing(s) as come_back:
        with s.connect(d, server=node) as client, Live(s, node, "notifications", user=user, how="query"):
            client.answers()
            equal(web.api.get(f"/ws/history/{other}", s.token()).want(200)["messages"], [], "history")
            reply = pool.submit(s.recommend, published, api=web.api)
            # Itself, or for another's commit, which has what notifications are told by.
            wait_until(lambda: s.sql("select 1 from pg_stat_activity where application_name = 'tidings broadcast' and query like '%publish_batch%' "
                                     "and (wait_event = 'SyncRep' or wait_event_type = 'Lock' and wait_event = 'object')"), "it to wait")
            equal(s.refused(published, server=node)[0], 1013, "to a topic that waits with it")
            client.answers()
            come_back()
            equal(reply.result()["seq"], 1, "seq")
            wait_until(lambda: s.lets_in(published, node), "it to be there")
    s.wait_ready()


@test("tidings epoch: what was restored unseen is told to every client; a setting in the database says whether a failover is such a restore")
def _(s):
    d = s.diagnosis()
    how = {"TIDINGS_DATABASE": s.conninfo + " user=postgres"}
    tag = lambda: s.sql("select tidings.cluster_tag()")[0][0]
    with s.connect(d) as client:
        s.recommend(d)
        cursor, before = client.next() and client.cursor, tag()
        s.command("tidings", "epoch", "renew", **how)
        assert tag() != before, "the tag is what it was"
        equal(client.closed()[0], 1012, "the close")
    with s.connect(d, cursor=cursor, hello=False) as client:
        assert client.next()["data"].get("recovered") is False, "recovered"
    before = tag()
    s.command("tidings", "epoch", "timeline", "no", **how)
    assert tag() != before, "the tag is what it was"
    equal(s.sql("select by_timeline from tidings.numbering"), [["f"]], "the setting")
    s.command("tidings", "epoch", "timeline", "yes", **how)
    equal(tag(), before, "the tag as it was before")
    s.wait_ready()
