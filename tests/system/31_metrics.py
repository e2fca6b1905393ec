"""/metrics, of a sidecar and of the web server's programs (spec section 9, what is counted where)."""
import re
import subprocess

from harness import RawClient, Skip, equal, find_program, test, wait_until

SERIES = re.compile(r'(?P<name>[a-z_]+)(?:\{(?P<labels>[^}]*)\})? (?P<value>\S+)')


def scrape(api):
    """{(name, its labels, sorted): value}"""
    reply = api.get("/metrics")
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
