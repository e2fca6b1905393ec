"""Pages of another origin (CORS, the Fetch standard) on the routes of the FastCGI programs; the sidecar's are in 47_streams.py."""
import contextlib
import importlib

from harness import equal, test, wait_until

servers = importlib.import_module("95_web_servers")

OURS, THEIRS = "https://app.example", "https://evil.example"
ALLOWED = f"{OURS},https://b.example:8443"
PREFLIGHT = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization,content-type"}
UPDATE = "/ws/broadcast-recommendation-update"
ROUTES = (("POST", UPDATE), ("POST", "/ws/broadcast-effectiveness-update"), ("POST", "/ws/broadcast-feedback-update"), ("POST", "/ws/publish"),
          ("POST", "/ws/send"), ("POST", "/ws/broadcast-notification"), ("DELETE", "/ws/connection/0f0f0f0f-aaaa-4bbb-8ccc-123456789abc"),
          ("POST, GET, HEAD", "/api/diagnosis/1/feedback"), ("PUT", "/api/feedback/1/rating"), ("DELETE", "/api/feedback/1"),
          ("GET, HEAD", "/ws/status"), ("GET, HEAD", "/health"), ("GET, HEAD", "/ws/history/1"))


@contextlib.contextmanager
def doors(s, **settings):
    """lighttpd, nginx and Apache: their programs know the same settings."""
    with s.web(**settings) as lighttpd, servers.web_server(s, servers.nginx, **settings) as nginx, servers.web_server(s, servers.apache, **settings) as apache:
        yield lighttpd, nginx, apache


def words(header):
    return {word.strip().lower() for word in (header or "").split(",")}


def check_named(reply, origin, what):
    equal(reply.headers.get_all("Access-Control-Allow-Origin"), [origin], f"{what}: who may read {reply!r}")
    assert "origin" in words(reply.headers["Vary"]), f"{what}: no Vary in {reply!r}"
    equal(words(reply.headers["Access-Control-Expose-Headers"]), {"retry-after", "www-authenticate", "x-request-id"}, f"{what}: exposed headers")


def check_unnamed(reply, what):
    found = [name for name in reply.headers if name.lower().startswith("access-control-")]
    equal(found, [], f"{what}: CORS headers")


def answers(s):
    """(status, method, path, body, token, headers): an answer of every kind."""
    d = s.diagnosis()
    good = {"diagnosis_id": d, "old_data": {}, "new_data": {}, "reason": "r"}
    yield 200, "POST", UPDATE, good, s.token(), {}
    yield 400, "POST", UPDATE, "not JSON", s.token(), {}
    yield 401, "POST", UPDATE, good, None, {}
    yield 401, "POST", UPDATE, good, s.token(ttl=-5), {}
    yield 403, "POST", UPDATE, good, s.token("1"), {}
    yield 403, "POST", "/ws/publish", {"topic": "a", "type": "t", "data": 1}, s.token(), {}
    yield 404, "POST", UPDATE, {**good, "diagnosis_id": 987654321}, s.service(), {}
    yield 405, "GET", UPDATE, None, s.token(), {}
    yield 405, "OPTIONS", UPDATE, None, s.token(), {}
    yield 413, "POST", UPDATE, b" " * 300_000, s.token(), {}
    yield 415, "POST", UPDATE, "x", s.token(), {"Content-Type": "text/plain"}
    yield 422, "POST", UPDATE, {}, s.token(), {}
    yield 200, "GET", f"/ws/history/{d}", None, s.token(), {}
    yield 401, "GET", f"/ws/history/{d}", None, None, {}
    yield 404, "GET", "/ws/history/x", None, s.token(), {}
    yield 405, "DELETE", f"/ws/history/{d}", None, s.token(), {}
    yield 422, "GET", f"/ws/history/{d}?limit=0", None, s.token(), {}
    yield 200, "GET", "/ws/status", None, None, {}
    yield 200, "GET", "/health", None, None, {}
    yield 405, "POST", "/health", {}, None, {}


@test("CORS on the FastCGI routes: every answer, errors too, names a listed origin, and no other")
def _(s):
    with doors(s, TIDINGS_ALLOWED_ORIGINS=ALLOWED) as servers:
        for server in servers:
            for status, method, path, body, token, headers in answers(s):
                what = f"{server.name}: {method} {path} {status}"
                for origin in (OURS, "https://b.example:8443"):
                    reply = server.api.request(method, path, body, token, {**headers, "Origin": origin})
                    equal(reply.status, status, f"status of {what}")
                    check_named(reply, origin, what)
                for origin in (THEIRS, OURS + ".evil.example", "https://b.example", "http://app.example", "null", "", None):
                    reply = server.api.request(method, path, body, token, {**headers, "Origin": origin})
                    equal(reply.status, status, f"status of {what} with origin {origin!r}")
                    check_unnamed(reply, f"{what} with origin {origin!r}")


@test("CORS on the FastCGI routes: a preflight of a listed origin gets 204 with what may be sent, without a token; another's is refused")
def _(s):
    with doors(s, TIDINGS_ALLOWED_ORIGINS=ALLOWED) as servers:
        for server in servers:
            for methods, path in ROUTES:
                what = f"{server.name}: {path}"
                reply = server.api.request("OPTIONS", path, headers={**PREFLIGHT, "Origin": OURS})
                equal((reply.status, reply.body), (204, b""), f"status and body of {what}")
                check_named(reply, OURS, what)
                equal(reply.headers["Access-Control-Allow-Methods"], methods, f"methods of {what}")
                equal(words(reply.headers["Access-Control-Allow-Headers"]), {"authorization", "cache-control", "content-type", "idempotency-key", "last-event-id", "traceparent", "x-request-id"},
                      what)
                assert int(reply.headers["Access-Control-Max-Age"]) > 0, reply
                reply = server.api.request("OPTIONS", path, headers={**PREFLIGHT, "Origin": THEIRS})
                reply.want(403)
                check_unnamed(reply, what)
                server.api.request("OPTIONS", path, headers=PREFLIGHT).want(403)
                # Not a preflight: only a method that is not taken here.
                reply = server.api.request("OPTIONS", path, headers={"Origin": OURS})
                reply.want(405)
                equal(reply.headers["Allow"], methods, f"Allow of {what}")
        refused = [line for line in servers[0].log.read_text(errors="replace").splitlines() if "status=204" in line]
        equal(refused, [], "answered preflights in the log")


@test("CORS on the FastCGI routes: * is any origin; nothing configured is none")
def _(s):
    with s.web(TIDINGS_ALLOWED_ORIGINS="*") as web:
        for origin in (OURS, THEIRS, "null"):
            check_named(web.api.request("GET", "/health", headers={"Origin": origin}), origin, origin)
            equal(web.api.request("OPTIONS", UPDATE, headers={**PREFLIGHT, "Origin": origin}).status, 204, "status of a preflight")
    check_unnamed(s.api.request("GET", "/health", headers={"Origin": OURS}), "by default")
    for _methods, path in ROUTES:
        s.api.request("OPTIONS", path, headers={**PREFLIGHT, "Origin": OURS}).want(403)


@test("CORS on the FastCGI routes: 429 and 503 too, those for the sidecar that is away among them; a page can read Retry-After", allow="database|connection")
def _(s):
    d = s.diagnosis()
    body = {"diagnosis_id": d, "old_data": {}, "new_data": {}, "reason": "r"}
    node = s.start_node()
    with s.web(node, TIDINGS_ALLOWED_ORIGINS=ALLOWED, TIDINGS_PUBLISH_RATE=1, TIDINGS_PUBLISH_BURST=1) as web:
        def post():
            return web.api.post(UPDATE, body, s.token(), {"Origin": OURS})

        check_named(wait_until(lambda: (reply := post()).status == 429 and reply, "a refusal"), OURS, "429")
        s.forget(node)
        equal(node.stop(), 0, "exit status")
        for path in (f"/poll/{d}", f"/sse/{d}"):
            reply = web.api.get(path, s.token(), {"Origin": OURS})
            reply.want(503)
            check_named(reply, OURS, path)
            check_unnamed(web.api.get(path, s.token(), {"Origin": THEIRS}), path)
        s.stop_postgres()
        try:
            reply = web.api.get(f"/ws/history/{d}", s.token(), {"Origin": OURS})
            reply.want(503)
            check_named(reply, OURS, "503")
            check_named(web.api.get("/health", headers={"Origin": OURS}), OURS, "/health")
        finally:
            s.start_postgres()
        s.wait_ready()
