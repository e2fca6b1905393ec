"""/health, /ws/status and /ws/history (spec 3.4)."""
import concurrent.futures
import contextlib
import json
import re
import signal
import subprocess
import time

from harness import Lock, RawClient, edited, equal, test, wait_until


@test("/health says healthy")
def _(s):
    reply = s.api.get("/health")
    equal(reply.want(200)["status"], "healthy", "status")
    assert reply.body.replace(b" ", b"").startswith(b'{"status":"healthy"'), reply


@test("/ws/status has every field, and needs no token")
def _(s):
    d = s.diagnosis()
    before = wait_until(lambda: (now := s.status())["total_connections"] == 0 and now, "everyone to be gone")
    with s.connect(d), s.connect(d):
        s.wait_watchers(d, 2)
        now = wait_until(lambda: (r := s.api.get("/ws/status").want(200))["total_connections"] == 2 and r, "a copy that has both")
        for field, kind in (("timestamp", str), ("total_diagnoses", int), ("total_connections", int), ("active_connections", int),
                            ("connections_opened", int), ("users_online", int), ("connections_by_diagnosis", dict),
                            ("queued_messages_by_diagnosis", dict), ("subscriptions", dict), ("connections_by_transport", dict),
                            ("nodes", list)):
            assert isinstance(now.get(field), kind), f"{field}: {now.get(field)!r}"
        equal(now["status"], "healthy", "status")
        equal(now["total_connections"], now["active_connections"], "open now")
        wait_until(lambda: s.api.get("/ws/status").want(200)["connections_opened"] >= before["connections_opened"] + 2, "connections_opened to count both")
        equal(set(now["subscriptions"]), {"health_updates", "chat", "notifications"}, "subscriptions")
        assert now["connections_by_transport"]["websocket"] >= 2, now
        assert set(now["connections_by_transport"]) >= {"websocket", "sse", "long_poll"}, now
        equal(sum(n["connections"] for n in now["nodes"]), now["total_connections"], "sum over the nodes")
        assert all(n["id"] and n["started_at"] for n in now["nodes"]), now["nodes"]
        equal(sum(now["connections_by_diagnosis"].values()), now["total_connections"], "sum over the diagnoses")
    s.wait_watchers(d, 0)
    equal(str(d) in s.status()["connections_by_diagnosis"], False, "a diagnosis that nobody watches is not listed")


@test("total_diagnoses and users_online count diagnoses and users, not connections")
def _(s):
    wait_until(lambda: s.status()["total_connections"] == 0, "everyone to be gone")
    one, two = s.diagnosis(granted=["457"]), s.diagnosis()
    with s.connect(one), s.connect(one), s.connect(one, user="457"), s.connect(two):
        s.wait_watchers(two, 1)
        now = s.status()
        equal((now["total_diagnoses"], now["users_online"], now["total_connections"]), (2, 2, 4), "diagnoses, users, connections")


@test("queued_messages_by_diagnosis counts what no client has been sent")
def _(s):
    d = s.diagnosis()
    for _n in range(3):
        s.recommend(d)
    equal(s.status()["queued_messages_by_diagnosis"].get(str(d)), 3, "queued")
    with s.connect(d) as client:
        client.next()
        wait_until(lambda: str(d) not in s.status()["queued_messages_by_diagnosis"], "the queue to be empty")


MAPS = {"connections_by_diagnosis", "queued_messages_by_diagnosis", "nodes"}


@test("TIDINGS_STATUS=totals, the default, tells numbers to everyone, and names diagnoses and nodes to an admin alone; a bad token is refused")
def _(s):
    with s.web(TIDINGS_STATUS="totals") as web:
        for token in (None, s.token(), s.service()):
            got = web.api.get("/ws/status", token).want(200)
            equal((MAPS & set(got), got["status"], type(got["total_diagnoses"])), (set(), "healthy", int), "without an admin's token")
        equal(MAPS - set(web.api.get("/ws/status", s.token("root", role="admin")).want(200)), set(), "missing with an admin's")
        web.api.get("/ws/status", s.token(ttl=-60)).want(401)


@test("the status is read once for all who ask within a second, and says when")
def _(s):
    # What went wrong: each call looked at every topic and connection, without a token: a loop of curl took a core of the database.
    calls = lambda: int(s.sql("select coalesce(max(calls), 0) from pg_stat_user_functions where schemaname = 'tidings' and funcname = 'status'")[0][0])
    s.sql("alter role tidings_status set track_functions = 'all'")
    try:
        with s.web() as web:
            began, before = time.monotonic(), calls()
            with concurrent.futures.ThreadPoolExecutor(16) as pool:
                stamps = {r["timestamp"] for r in pool.map(lambda _: web.api.get("/ws/status").want(200), range(200))}
            took = time.monotonic() - began
            assert len(stamps) <= took + 2, f"{len(stamps)} copies in {took:.1f} s"
        wait_until(lambda: calls() > before, "the calls to be counted")
        assert calls() - before <= took + 2, f"{calls() - before} calls in {took:.1f} s"
    finally:
        s.sql("alter role tidings_status reset track_functions")


@test("while the database hangs a crowd that asks for status and health is answered 503, and does not wait for its timeout", allow="database")
def _(s):
    # Whoever asks here waits for an answer for a third of that.
    with s.web(TIDINGS_DATABASE_TIMEOUT=60000) as web:
        web.api.get("/ws/status").want(200)
        with Lock(s, "tidings.node"):
            wait_until(lambda: web.api.get("/ws/status").status == 503, "the copy from before to be too old")
            with concurrent.futures.ThreadPoolExecutor(16) as pool:
                replies = list(pool.map(lambda n: web.api.get(("/health", "/ws/status")[n % 2]).status, range(60)))
            equal(set(replies), {503}, "replies")
        wait_until(lambda: web.api.get("/health").status == 200 and web.api.get("/ws/status").status == 200, "both to be well", 40)


@test("where the status takes long to read, and the database answers, what was read before is told, with its time")
def _(s):
    # With a million topics its maps were never read within the time that is waited for them, and so were never told.
    with s.web(TIDINGS_DATABASE_TIMEOUT=60000) as web:
        before = web.api.get("/ws/status").want(200)
        with Lock(s, "tidings.delivered"):
            slow = lambda: web.api.get("/ws/status").status and s.sql(
                "select 1 from pg_stat_activity where application_name = 'tidings status' and wait_event_type = 'Lock' and query like '%tidings.status()%'")
            wait_until(slow, "it to be read again")
            equal((web.api.get("/ws/status").want(200)["timestamp"], web.api.get("/health").status), (before["timestamp"], 200), "when it was read, and health")
        wait_until(lambda: web.api.get("/ws/status").want(200)["timestamp"] != before["timestamp"], "it to be told anew")


def unhealthy(web):
    """The checks that /health says are not healthy; what it says and its status fit."""
    reply = web.api.get("/health")
    bad = {name for name, condition in reply.json["checks"].items() if condition != "healthy"}
    equal((reply.status, reply.json["status"]), (503, "unhealthy") if bad else (200, "healthy"), f"status with {reply.json}")
    return bad


@test("/health and /ws/status are not green while the sidecar of this web server hangs, though another one lives; they are again when it answers")
def _(s):
    # It was 200, since some node had said that it lives, while every poll through that web server hung.
    with s.node() as other, s.node() as node, s.web(node) as web:
        equal(unhealthy(web), set(), "checks that are bad")
        node.signal(signal.SIGSTOP)
        wait_until(lambda: unhealthy(web) == {"sidecar"}, "the sidecar to be told")
        equal(web.api.get("/ws/status").want(200)["status"], "unhealthy", "while it hangs")
        wait_until(lambda: unhealthy(s.web1) == set(), "nothing to be bad where the sidecar is another one")
        node.signal(signal.SIGCONT)
        wait_until(lambda: unhealthy(web) == set(), "it to be well")
        equal(web.api.get("/ws/status").want(200)["status"], "healthy", "once it goes on")
        assert other.alive()
        assert "the sidecar answers again" in web.log.read_text() + (web.folder / "error.log").read_text(), "no word in the log"


@contextlib.contextmanager
def standby_missing(s):
    """Commits wait for a standby that is not there; it is back once that is called."""
    wait_for_standby(s, "nowhere")
    try:
        yield lambda: wait_for_standby(s, "")
    finally:
        wait_for_standby(s, "")


def wait_for_standby(s, names):
    """The checkpointer tells commits, when it comes to it."""
    s.sql(f"alter system set synchronous_standby_names = '{names}'", database="postgres")
    s.sql("select pg_reload_conf()", database="postgres")
    wait_until(lambda: commit_waits(s) == bool(names), "commits to follow the setting")


def commit_waits(s):
    done = subprocess.run(["psql", "-qX", "-c", "set statement_timeout = 100",
                           "-c", "do $$ begin perform pg_logical_emit_message(true, 'a commit', ''); commit; end $$"],
                          env=s.psql_env("postgres", "tidings"), capture_output=True, text=True)
    return "canceling wait for synchronous replication" in done.stderr


@test("/health says that publishing does not work while no commit is done, or the server is read-only, leaves no session behind for each look, and is well again after",
      allow="database|publishing|answer")
def _(s):
    # Nothing could be published for two minutes, and it was 200 throughout.
    waiting = lambda: [int(r[0]) for r in s.sql("select pid from pg_stat_activity where application_name = 'tidings status commit' and wait_event = 'SyncRep'")]
    d = s.diagnosis()
    with s.web(TIDINGS_DATABASE_TIMEOUT=500) as web:
        equal(unhealthy(web), set(), "checks that are bad")
        with standby_missing(s):
            wait_until(lambda: unhealthy(web) == {"publishing"}, "publishing to be told")
            reply = web.api.post("/ws/publish", {"topic": f"diagnosis/{d}", "type": "note", "data": {}}, s.service())
            equal((reply.status, reply.json["done"]), (503, "unknown"), "a publish")
            equal(web.api.get("/ws/status").want(200)["status"], "unhealthy", "/ws/status")
            first = wait_until(waiting, "the commit to wait")
            # The programs give up waiting, and come with another session.
            wait_until(lambda: unhealthy(web) == {"publishing"} and s.sql(f"""select 1 from pg_stat_activity
                where application_name = 'tidings status commit' and pid <> {first[0]} and state = 'idle' and query like '%commit_works%'"""),
                "another session to have looked")
            equal((unhealthy(web), waiting()), ({"publishing"}, first), "sessions that wait")
        wait_until(lambda: unhealthy(web) == set() and not waiting(), "publishing to be well")
        s.recommend(d, api=web.api)
        s.sql("alter system set default_transaction_read_only = on", database="postgres")
        s.sql("select pg_reload_conf()", database="postgres")
        try:
            wait_until(lambda: "publishing" in unhealthy(web), "publishing to be told when it is read-only")
        finally:
            s.sql("alter system reset default_transaction_read_only", database="postgres")
            s.sql("select pg_reload_conf()", database="postgres")
        wait_until(lambda: unhealthy(web) == set(), "publishing to be well when it is no longer", 40)
    s.wait_ready()


def over_path(node, path):
    """What the sidecar answers on its unix socket: status, body."""
    with RawClient(node.socket, "", handshake=False) as client:
        client.s.sendall(f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        head = client._head().decode()
        return int(head.split()[1]), json.loads(client._bytes(int(re.search(r"(?i)content-length: (\d+)", head)[1])))


@test("/health/live and /health/ready, and /health of a sidecar itself: by the web server, by its port and by its path; HEAD has no body, POST is 405")
def _(s):
    ready = wait_until(lambda: (r := s.api.get("/health/ready")).status == 200 and r, "/health/ready to be 200").json
    equal((ready["status"], set(ready["checks"]), set(ready["checks"].values())),
          ("healthy", {"database", "sidecar", "relay", "publishing", "schema"}, {"healthy"}), "ready")
    live = s.api.get("/health/live").want(200)
    equal((live["status"], "checks" in live), ("healthy", False), "live")
    for path in ("/health", "/health/ready"):
        own = s.node1.api.get(path).want(200)
        equal((own["status"], set(own["checks"]), set(own["checks"].values())),
              ("healthy", {"database", "sidecar", "schema", "listener", "relay"}, {"healthy"}), f"{path} of the sidecar")
        equal(over_path(s.node1, path)[0], 200, f"{path} by its path")
    equal(s.node1.api.get("/health/live").want(200)["status"], "healthy", "live, of the sidecar")
    for api in (s.api, s.node1.api):
        for path in ("/health", "/health/live", "/health/ready"):
            head = api.request("HEAD", path)
            equal((head.status, head.body, int(head.headers["Content-Length"]) > 20), (200, b"", True), f"HEAD {path}")
            reply = api.post(path, {})
            reply.want(405)
            equal(reply.headers["Allow"], "GET, HEAD", "Allow")
        api.get("/health/other").want(404)


@test("while the database is away /health/live stays 200, and /health/ready is 503 and says so", allow="database|connection|publishing|POOL|session")
def _(s):
    # There was no route by which to tell a program that hangs from one that waits for the database: it would have been restarted for that.
    s.stop_postgres()
    try:
        for api in (s.api, s.node1.api):
            reply = wait_until(lambda api=api: (r := api.get("/health/ready")).status == 503 and r, "it not to be ready")
            equal((reply.json["status"], reply.json["checks"]["database"], reply.json["checks"]["schema"]), ("unhealthy", "unhealthy", "unknown"), "checks")
            assert int(reply.headers["Retry-After"]) > 0, reply
            equal(api.get("/health/live").want(200)["status"], "healthy", "live")
        equal(over_path(s.node1, "/health")[1]["checks"]["database"], "unhealthy", "by its path")
    finally:
        s.start_postgres()
    s.wait_ready()
    for api in (s.api, s.node1.api):
        wait_until(lambda api=api: api.get("/health/ready").status == 200, "it to be ready again", 40)


@test("what restarts programs on /health/live restarts none while the database is away: a client stays, and gets what is published afterwards",
      allow="database|connection|publishing|POOL|session")
def _(s):
    # By /health every sidecar was restarted as long as the database was away, and its clients came again and again.
    d = s.diagnosis()
    with s.node() as node, s.web(node) as web, s.connect(d, server=node) as client:
        def restart_what_is_dead():
            for process in (node, web):
                if process.api.get("/health/live").status != 200:
                    process.signal(signal.SIGTERM)

        s.stop_postgres()
        try:
            for process in (node, web):
                wait_until(lambda p=process: restart_what_is_dead() or p.api.get("/health/ready").status == 503, "it not to be ready")
            restart_what_is_dead()
            client.answers()
        finally:
            s.start_postgres()
        s.wait_ready()
        wait_until(lambda: web.api.get("/health/ready").status == 200, "it to be ready again", 40)
        s.recommend(d, "afterwards", api=web.api)
        equal(client.next()["data"]["reason"], "afterwards", "what comes")


@test("/health/ready is 503 where the database's schema is another than the programs are for; /health, by which they work all the same, is not")
def _(s):
    wait_until(lambda: s.node1.api.get("/health/ready").status == 200, "the sidecar to be ready")
    s.sql("update tidings.code set checksum = reverse(checksum)")
    try:
        for api, names in ((s.node1.api, {"schema"}), (s.api, {"schema", "sidecar"})):
            wait_until(lambda: {name for name, condition in api.get("/health/ready").json["checks"].items() if condition != "healthy"} == names,
                       f"{names} alone to be wrong")
        equal(unhealthy(s.web1), set(), "checks of /health")
    finally:
        s.sql("update tidings.code set checksum = reverse(checksum)")
    for api in (s.api, s.node1.api):
        wait_until(lambda api=api: api.get("/health/ready").status == 200, "it to be ready again")


@test("a sidecar that lets nobody in, since the database takes nothing down, is not ready, also once nobody comes any more; it is again when it does", allow="not now")
def _(s):
    d = s.diagnosis()
    with s.node() as node:
        database = lambda: (r := node.api.get("/health/ready")).json["checks"]["database"] + f" {r.status}"
        equal(wait_until(lambda: "503" not in database() and database(), "it to be ready"), "healthy 200", "at first")
        with edited(s, "flush", "begin", "begin raise exception 'not now';"), edited(s, "attach", "begin", "begin raise exception 'not now';"):
            equal(s.refused(d, server=node)[0], 1013, "who comes")
            equal(database(), "unhealthy 503", "the check")
            refusals = node.log.read_text().count("not now")
            wait_until(lambda: node.log.read_text().count("not now") > refusals + 1, "it to be tried again")
            equal(database(), "unhealthy 503", "the check")
        wait_until(lambda: database() == "healthy 200", "it to be ready again")
        with s.connect(d, server=node) as client:
            client.answers()


@test("TIDINGS_STATUS=private asks for an admin's token")
def _(s):
    with s.web(TIDINGS_STATUS="private") as web:
        reply = web.api.get("/ws/status")
        reply.want(401)
        assert reply.headers["WWW-Authenticate"].startswith("Bearer"), reply
        web.api.get("/ws/status", s.token()).want(403)
        web.api.get("/ws/status", s.token("root", role="admin")).want(200)
        web.api.get("/health").want(200)


@test("/health is 503 and names the sidecar when none is running")
def _(s):
    s.node1.stop()
    try:
        reply = wait_until(lambda: (r := s.api.get("/health")).status == 503 and r, "/health to be 503")
        equal((reply.json["status"], reply.headers.get("Retry-After", "0").isdigit()), ("unhealthy", True), "status")
        assert set(reply.json["checks"]) >= {"database", "sidecar"}, reply
        # It was a constant.
        wait_until(lambda: s.api.get("/ws/status").want(200)["status"] == "unhealthy", "the status to say so too")
        d = s.diagnosis()
        equal(s.recommend(d)["clients_notified"], 0, "a broadcast without a sidecar is kept")
        equal(len(s.api.get(f"/ws/history/{d}", s.token()).want(200)["messages"]), 1, "the history needs no sidecar")
    finally:
        s.replace_node1()
    s.wait_ready()


@test("the history has the messages as they were sent, oldest first, and pages by cursor and limit")
def _(s):
    d = s.diagnosis()
    empty = s.api.get(f"/ws/history/{d}", s.token()).want(200)
    equal((empty["messages"], empty["recovered"]), ([], True), "an empty history")
    with s.connect(d) as client:
        for n in range(7):
            s.recommend(d, str(n))
        sent = client.take(7)
    whole = s.api.get(f"/ws/history/{d}?since={empty['cursor']}", s.token()).want(200)
    equal(whole["messages"], sent, "messages")
    equal(whole["recovered"], True, "recovered")
    pages, cursor = [], empty["cursor"]
    while True:
        page = s.api.get(f"/ws/history/{d}?since={cursor}&limit=3", s.token()).want(200)
        if not page["messages"]:
            break
        pages.append(len(page["messages"]))
        cursor = page["cursor"]
    equal(pages, [3, 3, 1], "pages")
    equal(s.api.get(f"/ws/history/{d}?since={whole['cursor']}", s.token()).want(200)["messages"], [], "after the end")
    equal(s.api.get(f"/ws/history/{d}?limit=2", s.token("root", role="admin")).want(200)["messages"] != [], True, "an admin may read")


@test("the history without a token: of a public diagnosis where TIDINGS_ANONYMOUS allows it, of no other, and nowhere else")
def _(s):
    private = s.diagnosis(owner="ada")
    paths = [f"/ws/history/{d}" for d in (3, private, 987654321)]
    s.recommend(3, "for all", token=s.service())
    with s.web(TIDINGS_ANONYMOUS="public") as web:
        equal(web.api.get(paths[0]).want(200)["messages"][-1]["data"]["reason"], "for all", "a public one")
        refusals = [web.api.get(path) for path in paths[1:]]
        equal([r.want(401)["detail"] for r in refusals], ["A token is required: Authorization: Bearer <token>."] * 2, "a private one, one that is not there")
        assert all(r.headers["WWW-Authenticate"].startswith("Bearer") for r in refusals), refusals
        web.api.get(paths[0], "bad").want(401)
        equal(web.api.get(paths[1], s.token("ada")).want(200)["messages"], [], "the private one, to its owner")
    for path in paths:
        s.api.get(path).want(401)


@test("the history's cursor continues on a WebSocket, and the other way around")
def _(s):
    d = s.diagnosis()
    for n in range(3):
        s.recommend(d, str(n))
    page = s.api.get(f"/ws/history/{d}?limit=100", s.token()).want(200)
    s.recommend(d, "3")
    with s.connect(d, cursor=page["cursor"]) as client:
        equal(client.cursor, page["cursor"], "the connect message's cursor: before what was missed")
        messages = client.next()["data"]["messages"]
        equal([m["data"]["reason"] for m in messages], ["3"], "messages")
        equal(s.api.get(f"/ws/history/{d}?since={client.cursor}", s.token()).want(200)["messages"], messages, "the history after it")


@test("the history reports a hole, a foreign epoch and a cursor ahead of the queue")
def _(s):
    d = s.diagnosis()
    s.recommend(d)
    cursor = s.api.get(f"/ws/history/{d}", s.token()).want(200)["cursor"]
    for since in ("zzzz-1", cursor.rsplit("-", 1)[0] + "-999"):
        page = s.api.get(f"/ws/history/{d}?since={since}", s.token()).want(200)
        equal(page["recovered"], False, f"recovered since {since}")
        equal([m["seq"] for m in page["messages"]], [1], "what is kept is given")
