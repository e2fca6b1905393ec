"""/metrics, of a sidecar and of the web server's programs (spec section 9, what is counted where)."""
import contextlib
import os
import re
import signal
import socket
import subprocess
import time

from harness import Lock, RawClient, Skip, Transaction, equal, find_program, stopped, test, wait_until

SERIES = re.compile(r'(?P<name>[a-z_]+)(?:\{(?P<labels>[^}]*)\})? (?P<value>\S+)')


def scrape(api):
    """{(name, its labels, sorted): value}"""
    reply = api.request("GET", "/metrics", timeout=20)
    equal((reply.status, reply.headers["Content-Type"]), (200, "text/plain; version=0.0.4; charset=utf-8"), f"answer of {reply!r}")
    found = {}
    for line in reply.body.decode().splitlines():
        if line.startswith("#"):
            continue
        match = SERIES.fullmatch(line)
        assert match, f"not a series: {line}"
        labels = tuple(sorted(re.findall(r'(\w+)="([^"]*)"', match["labels"] or "")))
        assert (match["name"], labels) not in found, f"twice: {line}"
        found[match["name"], labels] = float(match["value"])
    return found


def value(series, name, **labels):
    return series.get((name, tuple(sorted(labels.items()))))


def total(series, name, **labels):
    """The sum over the labels that are not named."""
    return sum(v for (n, its), v in series.items() if n == name and set(labels.items()) <= set(its))


def promtool(*args, **how):
    if not find_program("promtool"):
        raise Skip("promtool is not installed")
    return subprocess.run([find_program("promtool"), *map(str, args)], capture_output=True, text=True, **how)


@test("promtool finds nothing wrong with the metrics of a sidecar")
def _(s):
    done = promtool("check", "metrics", input=s.node1.api.get("/metrics").body.decode())
    equal((done.returncode, done.stdout, done.stderr), (0, "", ""), "promtool check metrics")


@test("whoever asks for OpenMetrics gets that, of a sidecar and through the web server, and a strict reader takes it")
def _(s):
    from prometheus_client.openmetrics.parser import text_string_to_metric_families
    asked = {"Accept": "application/openmetrics-text;version=1.0.0;q=0.8,text/plain;version=0.0.4;q=0.5,*/*;q=0.1"}
    d = s.diagnosis()
    with s.connect(d) as client:
        s.recommend(d)
        client.next()
    for door, counter in ((s.node1.api, "tidings_fetches"), (s.api, "tidings_http_requests")):
        reply = door.request("GET", "/metrics", headers=asked, timeout=20)
        equal((reply.status, reply.headers["Content-Type"]), (200, "application/openmetrics-text; version=1.0.0; charset=utf-8"), f"answer of {reply!r}")
        families = {family.name: family for family in text_string_to_metric_families(reply.body.decode())}
        equal(families[counter].type, "counter", counter)
        assert any(f.type == "histogram" and f.samples for f in families.values()), f"histograms of {list(families)}"
        refused = door.request("GET", "/metrics", headers={"Accept": "application/openmetrics-text;q=0"}, timeout=20)
        assert refused.headers["Content-Type"].startswith("text/plain;"), f"answer of {refused!r}"


@test("a sidecar counts who came, by which transport, what it delivered, and how they went")
def _(s):
    d = s.diagnosis()
    with s.node() as node:
        before = scrape(node.api)
        equal((value(before, "tidings_connections", transport="websocket"), value(before, "tidings_connections_limit"),
               value(before, "tidings_users"), value(before, "tidings_draining")), (0, 10000, 0, 0), "at first")
        equal(set(dict(next(its for n, its in before if n == "tidings_build_info"))), {"version", "lws", "libpq"}, "labels of the build")
        with s.connect(d, server=node) as one, s.connect(d, server=node), RawClient(node.port, "", handshake=False) as stream:
            stream.s.sendall(f"GET /sse/{d}?token={s.token()} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
            s.wait_watchers(d, 3)
            for _n in range(2):
                s.recommend(d)
            one.take(2)
            one.answers()
            one.send("{")
            one.next()
            now = wait_until(lambda: total(n := scrape(node.api), "tidings_deliveries_total") == 6 and n, "six deliveries")
            equal((value(now, "tidings_connections", transport="websocket"), value(now, "tidings_connections", transport="sse"),
                   value(now, "tidings_users"), value(now, "tidings_topics"), value(now, "tidings_subscriptions")), (2, 1, 1, 1, 3), "now")
            equal((value(now, "tidings_deliveries_total", transport="websocket"), value(now, "tidings_deliveries_total", transport="sse")), (4, 2), "deliveries")
            equal(value(now, "tidings_delivery_delay_seconds_count"), 6, "deliveries whose delay is known")
            for name, least, labels in (("tidings_delivery_delay_seconds_sum", 0, {}), ("tidings_fan_out_duration_seconds_count", 1, {"clients": "1"}),
                                        ("tidings_fetch_duration_seconds_count", 1, {}), ("tidings_fetches_total", 1, {}),
                                        ("tidings_fetched_messages_total", 2, {}), ("tidings_notifications_total", 1, {}),
                                        ("tidings_delivered_bytes_total", 1, {}), ("process_open_fds", 10, {}), ("process_resident_memory_bytes", 1000000, {}), ("process_cpu_seconds_total", 0, {})):
                assert value(now, name, **labels) >= least, f"{name}: {value(now, name, **labels)}"
            assert value(now, "tidings_sent_bytes_total") > value(now, "tidings_delivered_bytes_total"), "bytes"
            equal(value(now, "tidings_connections_opened_total", transport="websocket"), 2, "opened")
            equal((value(now, "tidings_client_messages_total", type="ping"),
                   value(now, "tidings_client_messages_refused_total", reason="invalid")), (1, 1), "messages of clients")
            equal(value(now, "tidings_token_checks_total", result="ok"), 3, "tokens")
            equal(value(now, "tidings_keys", alg="HS256"), 2, "keys")
            equal((value(now, "tidings_database_up", use="calls"), value(now, "tidings_database_up", use="listen")), (1, 1), "the database")
            one.close(1000)
        gone = wait_until(lambda: total(n := scrape(node.api), "tidings_connections") == 0 and n, "all to be gone")
        equal((value(gone, "tidings_users"), value(gone, "tidings_topics"), value(gone, "tidings_subscriptions")), (0, 0, 0), "once all are gone")
        equal(value(gone, "tidings_connections_closed_total", transport="websocket", code="1000"), 2, "closed with 1000")
        equal(value(gone, "tidings_connections_closed_total", transport="sse", code="eof"), 1, "event streams that ended")
        # What is counted twice would be a reader's first question.
        equal(total(gone, "tidings_connections_opened_total"), total(gone, "tidings_connections_closed_total"), "opened and closed")


@test("the delay of a delivery is from when its message was stored, whatever held it up")
def _(s):
    d = s.diagnosis()
    with s.node() as node, s.connect(d, server=node) as client:
        # A fetch that is under way at the database would bring it as young as it is there.
        s.recommend(d)
        client.next()
        before = value(wait_until(lambda: value(n := scrape(node.api), "tidings_delivery_delay_seconds_count") == 1 and n, "the first to be counted"),
                       "tidings_delivery_delay_seconds_sum")
        with stopped(node.pid):
            s.recommend(d)
            age = float(s.sql(f"""select extract(epoch from clock_timestamp() - m.created_at) from tidings.message m join tidings.topic t on t.id = m.topic_id
                where t.name = 'diagnosis/{d}' order by m.seq desc limit 1""")[0][0])
        client.next()
        delay = wait_until(lambda: value(n := scrape(node.api), "tidings_delivery_delay_seconds_count") == 2 and n, "it to be counted")
        # In milliseconds, each of the two.
        told = value(delay, "tidings_delivery_delay_seconds_sum") - before
        assert told > age - 0.002, f"{told} s, of one that was {age} s old when it went on"


@test("a sidecar counts who was refused and why, what was resumed and what is gone")
def _(s):
    d = s.diagnosis()
    with s.node(TIDINGS_QUEUE_MAX=2, TIDINGS_QUEUE_MIN_AGE=0) as node, s.web(node, TIDINGS_QUEUE_MAX=2, TIDINGS_QUEUE_MIN_AGE=0) as web:
        with s.connect(d, server=node) as client:
            cursor = client.cursor
        for _n in range(40):
            s.recommend(d, api=web.api)
        wait_until(lambda: int(s.sql(f"select first_seq from tidings.topic where name = 'diagnosis/{d}'")[0][0]) > 1, "some to be trimmed")
        with s.connect(d, server=node, cursor=cursor) as client:
            missed = client.first["data"]["missed"]
            resumed = client.next()["data"]["messages"]
            with s.connect(d, server=node, cursor=client.cursor.rsplit("-", 1)[0] + f"-{resumed[-1]['seq']}"):
                pass
        s.refused(d, server=node, user="nobody")
        s.refused(d, server=node, token=s.token(ttl=-60))
        s.refused(d, server=node, token="x")
        now = scrape(node.api)
        equal((value(now, "tidings_resumes_total", transport="websocket", recovered="no"),
               value(now, "tidings_resumes_total", transport="websocket", recovered="yes")), (1, 1), "resumes")
        equal(value(now, "tidings_missed_messages_total"), missed["to"] - missed["from"] + 1, "messages that are gone")
        equal(value(now, "tidings_resumed_messages_total"), len(resumed), "messages that came before")
        equal((value(now, "tidings_connections_refused_total", reason="token"), value(now, "tidings_connections_refused_total", reason="forbidden")),
              (2, 1), "refused")
        equal((value(now, "tidings_token_checks_total", result="expired"), value(now, "tidings_token_checks_total", result="signature")), (1, 1), "tokens")
        equal(value(now, "tidings_connections_closed_total", transport="websocket", code="1008"), 3, "closed with 1008")
        equal(value(now, "tidings_catch_up_clients"), 0, "who catches up")


@test("a poller is one connection as long as it comes again, between its polls too")
def _(s):
    d = s.diagnosis()
    with s.node() as node:
        cursor = node.api.get(f"/poll/{d}", s.token()).want(200)["cursor"]
        for _n in range(3):
            cursor = node.api.get(f"/poll/{d}?cursor={cursor}&timeout=0", s.token()).want(200)["cursor"]
            now = scrape(node.api)
            equal((value(now, "tidings_connections", transport="long_poll"), value(now, "tidings_connections_opened_total", transport="long_poll"),
                   value(now, "tidings_subscriptions")), (1, 1, 1), "of one poller")
        gone = wait_until(lambda: value(n := scrape(node.api), "tidings_connections", transport="long_poll") == 0 and n, "it to have stayed away")
        equal((value(gone, "tidings_connections_closed_total", transport="long_poll", code="1000"), value(gone, "tidings_subscriptions")), (1, 0), "once it did")


@test("the time from a ping to its pong is measured, of a client that answers, and how late the loop's timers come")
def _(s):
    with s.node(TIDINGS_HEARTBEAT=1) as node, s.connect(s.diagnosis(), server=node):
        wait_until(lambda: value(scrape(node.api), "tidings_client_round_trip_seconds_count") >= 1, "a pong to be counted")
        assert value(scrape(node.api), "tidings_loop_delay_seconds_count") >= 1, "no timer of the loop was looked at"


@test("TIDINGS_METRICS: local refuses whoever comes through a proxy, token takes an admin's alone, off knows no such path; HEAD and POST are as elsewhere")
def _(s):
    # Behind a proxy of the same machine everybody would come from the loopback.
    for header in ("X-Forwarded-For", "Forwarded", "Via", "X-Real-IP"):
        s.node1.api.get("/metrics", headers={header: "1.1 a"}).want(403)
    head = s.node1.api.request("HEAD", "/metrics")
    equal((head.status, head.body, int(head.headers["Content-Length"]) > 1000), (200, b"", True), "HEAD")
    s.node1.api.post("/metrics", {}).want(405)
    with RawClient(s.node1.socket, "", handshake=False) as client:
        client.s.sendall(b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n")
        assert client._head().startswith(b"HTTP/1.1 200"), "by its path"
    with s.node(TIDINGS_METRICS="token") as node:
        refused = node.api.get("/metrics")
        refused.want(401)
        assert "invalid_token" in refused.headers["WWW-Authenticate"], refused
        node.api.get("/metrics", s.token(ttl=-60)).want(401)
        node.api.get("/metrics", s.service()).want(403)
        admin = node.api.get("/metrics", s.token("root", role="admin"))
        equal((admin.status, b"tidings_connections" in admin.body), (200, True), "an admin")
    with s.node(TIDINGS_METRICS="off") as node:
        node.api.get("/metrics").want(404)
        node.api.post("/metrics", {}).want(404)


@test("a sidecar whose database is away tells its metrics all the same, and that it is away", allow="database|connection|publishing|POOL|session")
def _(s):
    s.stop_postgres()
    try:
        wait_until(lambda: value(n := scrape(s.node1.api), "tidings_database_up", use="calls") == 0
                   and value(n, "tidings_database_up", use="listen") == 0, "it to be told")
    finally:
        s.start_postgres()
    s.wait_ready()
    now = wait_until(lambda: value(n := scrape(s.node1.api), "tidings_database_up", use="calls") == 1
                     and value(n, "tidings_database_up", use="listen") == 1 and n, "it to be back", 60)
    equal([value(now, "tidings_database_connects_total", use=use) >= least for use, least in (("calls", 6), ("listen", 2))], [True, True], "connects")


# ---- of the web server's programs, and of the queue


@test("promtool finds nothing wrong with the metrics of the web server, and no name is on both sides but the process's and the audit trail's")
def _(s):
    done = promtool("check", "metrics", input=s.api.get("/metrics").body.decode())
    equal((done.returncode, done.stdout, done.stderr), (0, "", ""), "promtool check metrics")
    both = {name for name, _ in scrape(s.api)} & {name for name, _ in scrape(s.node1.api)}
    equal({name for name in both if not name.startswith("process_")}, {"tidings_audit_lines_lost_total"}, "names that both export")


@test("the FastCGI programs count requests by route and status, what was published, commits, and who was over the rate")
def _(s):
    d = s.diagnosis()
    with s.web(TIDINGS_PUBLISH_RATE=1, TIDINGS_PUBLISH_BURST=2) as web:
        s.recommend(d, api=web.api, token=s.service(), headers={"Idempotency-Key": "k"})
        s.recommend(d, api=web.api, token=s.service(), headers={"Idempotency-Key": "k"})
        web.api.post("/ws/publish", [{"topic": f"diagnosis/{d}", "type": "t", "data": {}}] * 3, s.service()).want(200)
        s.recommend(d, api=web.api, token=s.token("stranger"), want=403)
        for _n in range(3):
            last = web.api.get(f"/ws/history/{d}", s.token())
        last.want(429)
        web.api.get(f"/ws/connection/{'0' * 8}-0000-4000-8000-{'0' * 12}/health", s.token("root", role="admin")).want(404)
        web.api.post("/ws/history/1", {}).want(405)
        web.api.get("/ws/broadcast-feedback-update").want(405)
        now = scrape(web.api)
        requests = lambda program, route, status: value(now, "tidings_http_requests_total", program=program, route=route, status=str(status))
        equal((requests("broadcast", "/ws/broadcast-recommendation-update", 200), requests("broadcast", "/ws/broadcast-recommendation-update", 403),
               requests("broadcast", "/ws/publish", 200), requests("broadcast", "/ws/broadcast-feedback-update", 405)), (2, 1, 1, 1), "of broadcast")
        equal((requests("history", "/ws/history/*", 200), requests("history", "/ws/history/*", 429), requests("history", "/ws/history/*", 405)), (2, 1, 1), "of history")
        equal((requests("live", "/ws/connection/*/health", 404), requests("live", "/ws/send", 200)), (1, None), "of live")
        equal({result: value(now, "tidings_published_messages_total", result=result) for result in ("committed", "repeated", "refused", "failed")},
              {"committed": 4, "repeated": 1, "refused": 1, "failed": 0}, "published")
        # One who repeats, and one who may not, are a batch as well.
        equal((value(now, "tidings_commit_duration_seconds_count"), value(now, "tidings_commit_messages_sum")), (4, 6), "commits, and messages in them")
        equal(value(now, "tidings_rate_limited_total", role="user"), 1, "over the rate")
        equal((value(now, "tidings_http_threads", program="broadcast"), value(now, "tidings_publish_waiting")), (64, 0), "gauges")
        # A request is one until its thread is free again, which is after the answer.
        wait_until(lambda: value(scrape(web.api), "tidings_http_requests_in_flight", program="broadcast") == 0, "nothing to be in flight")
        equal(value(now, "tidings_http_request_duration_seconds_count", program="broadcast", route="/ws/publish"), 1, "durations")
        texts = web.api.get("/metrics").body.decode()
        for secret in (f"diagnosis/{d}", f"/{d}", "stranger", "000000000000"):
            assert secret not in texts, f"{secret} in a label"


@test("what a FastCGI program has counted is there after it ends, and is added to by the next, killed or not; of gauges only those who live count")
def _(s):
    d = s.diagnosis()
    count = lambda web: value(scrape(web.api), "tidings_http_requests_total", program="broadcast", route="/ws/publish", status="200")
    publish = lambda web: web.api.post("/ws/publish", {"topic": f"diagnosis/{d}", "type": "t", "data": {}}, s.service()).want(200)
    web = s.start_web()
    try:
        publish(web)
        old = web.programs("broadcast.fcgi")
        os.kill(old[0], signal.SIGKILL)
        # lighttpd starts another; what comes before that is refused.
        wait_until(lambda: web.api.post("/ws/publish", {"topic": f"diagnosis/{d}", "type": "t", "data": {}}, s.service()).status == 200, "another to answer")
        wait_until(lambda: count(web) == 2, "both to be told")
        equal([p.name for p in sorted(web.folder.glob("broadcast.*.metrics"))], ["broadcast.0.metrics"], "files")
        equal(value(scrape(web.api), "tidings_http_threads", program="broadcast"), 64, "threads of the one that lives")
    finally:
        s.forget(web)
        web.stop()
    with contextlib.closing(Again(s, web)) as again:
        publish(again.web)
        equal(count(again.web), 3, "by those of the next web server")


class Again:
    """Another web server on the folder of one that has ended."""

    def __init__(self, s, web):
        self.s, self.web = s, s.start_web(folder=web.folder)

    def close(self):
        self.s.forget(self.web)
        self.web.stop()


@test("status.fcgi that finds no file to count in tells what is its own all the same, and what the others have counted")
def _(s):
    folder = s.folder / s._name("without-a-file")
    for number in range(64):
        (folder / f"status.{number}.metrics").mkdir(parents=True)
    web = s.start_web(folder=folder)
    try:
        now = scrape(web.api)
        equal((value(now, "tidings_http_threads", program="status"), value(now, "tidings_http_threads", program="broadcast")), (4, 64), "threads")
    finally:
        s.forget(web)
        web.stop()


@test("where TIDINGS_STATE cannot be written to the programs say so and serve")
def _(s):
    with s.web() as web:
        env = {**web.how["env"], "TIDINGS_STATE": "/nowhere"}
        listener = socket.socket(socket.AF_UNIX)
        path = s.folder / "lonely.sock"
        listener.bind(str(path))
        listener.listen()
        child = subprocess.Popen([s.program("status.fcgi")], env=env, stdin=listener, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        try:
            said = ""
            while "serving" not in said:
                said += child.stderr.readline()
            assert "/nowhere: No such file or directory" in said, said
        finally:
            child.terminate()
            child.communicate()


@test("the queue's metrics follow the queue: what no client has been sent, the outbox, critical notifications that nobody has acked")
def _(s):
    d = s.diagnosis()
    user = f"u{d}"
    with s.web() as web:
        before = scrape(web.api)
    s.sql("delete from tidings.outbox")
    for _n in range(3):
        s.recommend(d)
    s.sql(f"select tidings.publish('diagnosis/{d}', 'later', '{{}}', deliver_at => now() + interval '1 hour')")
    s.api.post("/ws/broadcast-notification", {"user_id": user, "type": "system", "title": "t", "message": "m", "priority": "critical"}, s.service()).want(200)
    wait_until(lambda: s.sql(f"select 1 from tidings.notification where user_id = '{user}' and sent_at is not null"), "it to be sent")
    with s.web() as web:
        now = scrape(web.api)
        grown = value(now, "tidings_queue_undelivered_messages") - value(before, "tidings_queue_undelivered_messages")
        equal((grown >= 3, value(now, "tidings_queue_oldest_undelivered_seconds") > 0), (True, True), f"undelivered, {grown} more")
        equal((value(now, "tidings_outbox_messages", state="scheduled"), value(now, "tidings_outbox_messages", state="failed")), (1, 0), "outbox")
        assert value(now, "tidings_notifications_unacked", priority="critical") >= 1, "unacked"
        assert value(now, "tidings_notifications_oldest_unacked_seconds", priority="critical") > 0, "oldest unacked"
        equal(value(now, "tidings_nodes_live"), int(s.sql("select tidings.live_nodes()")[0][0]), "nodes")
        equal(value(now, "tidings_schema_version"), int(s.sql("select max(version) from tidings.applied()")[0][0]), "schema")
        assert value(now, "tidings_node_heartbeat_age_seconds", node=s.node1.id()) < 15, "heartbeat"
        assert value(now, "tidings_table_bytes", table="message") > 0 and value(now, "tidings_table_dead_rows", table="message") >= 0, "tables"
        assert 0 <= value(now, "tidings_notify_queue_ratio") < 1, "notify"
        # Within 10 s nobody asks again, whoever scrapes.
        s.recommend(d)
        equal(value(scrape(web.api), "tidings_queue_undelivered_messages"), value(now, "tidings_queue_undelivered_messages"), "a moment later")
    s.sql("delete from tidings.outbox")


@test("the oldest snapshot is that of whoever keeps dead rows, once tidings_owner may see other sessions")
def _(s):
    s.sql("grant pg_read_all_stats to tidings_owner")
    try:
        with Transaction(s, "set transaction isolation level repeatable read"):
            time.sleep(0.01)
            assert float(dict(line.rsplit(" ", 1) for (line,) in s.sql("select unnest(string_to_array(tidings.metrics(), E'\\n'))"))
                         ["tidings_oldest_snapshot_seconds"]) > 0
    finally:
        s.sql("revoke pg_read_all_stats from tidings_owner")


@test("a scrape is answered while the database hangs, with what the programs count, and of the queue what was read a moment before", allow="database")
def _(s):
    with s.web(TIDINGS_DATABASE_TIMEOUT=60000) as web:
        before = wait_until(lambda: value(n := scrape(web.api), "tidings_nodes_live") is not None and n, "the queue to be told")

        def is_asked_again():
            equal(value(scrape(web.api), "tidings_schema_version"), value(before, "tidings_schema_version"), "of the queue, while it hangs")
            return s.sql("select 1 from pg_stat_activity where wait_event_type = 'Lock' and query like '%tidings.metrics()%'")

        with Lock(s, "tidings.topic"):
            wait_until(is_asked_again, "the copy from before to be too old to be given without a look")
            equal(value(scrape(web.api), "tidings_nodes_live"), value(before, "tidings_nodes_live"), "of the queue, once somebody looks")


@test("a scrape is answered while the database hangs, with what the programs count, also where the queue has never been told; it is once it can be", allow="database")
def _(s):
    with s.web(TIDINGS_DATABASE_TIMEOUT=60000) as web:
        with Lock(s, "tidings.topic"):
            # The first waits for a while, and those that come then for nothing.
            for _n in range(5):
                now = scrape(web.api)
                equal((value(now, "tidings_nodes_live"), value(now, "tidings_http_threads", program="status")), (None, 4), "while it hangs")
        wait_until(lambda: value(scrape(web.api), "tidings_nodes_live") is not None, "the queue to be told", 90)


@test("TIDINGS_METRICS holds at the web server too: who is not of this machine, or comes by a proxy, is refused")
def _(s):
    for header in ("X-Forwarded-For", "Forwarded", "Via", "X-Real-IP"):
        s.api.get("/metrics", headers={header: "10.0.0.1"}).want(403)
    head = s.api.request("HEAD", "/metrics")
    equal((head.status, head.body, int(head.headers["Content-Length"]) > 1000), (200, b"", True), "HEAD")
    s.api.post("/metrics", {}).want(405)
    with s.web(TIDINGS_METRICS="token") as web:
        web.api.get("/metrics").want(401)
        web.api.get("/metrics", s.service()).want(403)
        equal(web.api.get("/metrics", s.token("root", role="admin")).status, 200, "an admin")
    with s.web(TIDINGS_METRICS="off") as web:
        web.api.get("/metrics").want(404)
