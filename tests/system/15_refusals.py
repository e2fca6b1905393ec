"""Every status of section 3's table, in the form of RFC 9457, also those that the web server makes itself."""
import json
import time

from harness import Reply, equal, test, wait_until

RECOMMENDATION = "/ws/broadcast-recommendation-update"
EFFECTIVENESS = "/ws/broadcast-effectiveness-update"
FEEDBACK = "/ws/broadcast-feedback-update"
PUBLISH = "/ws/publish"
POSTS = (RECOMMENDATION, EFFECTIVENESS, FEEDBACK, PUBLISH)


def good(d):
    return {RECOMMENDATION: {"diagnosis_id": d, "old_data": {}, "new_data": {}, "reason": "r"},
            EFFECTIVENESS: {"diagnosis_id": d, "recommendation_id": 1, "new_effectiveness": 0.5, "confidence": 0.5, "sample_size": 1},
            FEEDBACK: {"diagnosis_id": d, "feedback_id": 1, "rating": 3, "effectiveness": 0.5},
            PUBLISH: {"topic": "t", "type": "x", "data": {}}}


@test("400 for what is no JSON text: broken, empty, cut off, followed by more, not UTF-8")
def _(s):
    for path in POSTS:
        for body in ("", " ", "{", '{"a":1', "{'a':1}", "{} {}", '{"a":1}x', "nope", '{"a":01}', '{"a":1,}', '[1,]', "// c\n{}",
                     '{"a":NaN}', '{"a":Infinity}', '{"a":"\t"}', '{"a":"\\x"}', "\ufeff{}", b'{"a":"\xff\xfe"}', b'{"a":"\xed\xa0\x80"}',
                     b'{"a":"\xc0\xaf"}', b"\x00", b'{"a":1}\x00', '{a:1}', '{"a":tru}', '{"a":+1}', '{"a":.5}', '{"a":1.}'):
            reply = s.api.post(path, body, s.service())
            assert reply.status == 400, f"{path} {body!r}: {reply}"
            reply.check_problem()


@test("400 for duplicate keys, also deep inside")
def _(s):
    d = s.diagnosis()
    for inner in ('{"a":1,"a":1}', '{"x":[{"b":{"c":1,"c":2}}]}', '{"a":1,"\\u0061":2}'):
        s.api.post(RECOMMENDATION, '{"diagnosis_id":%d,"old_data":{},"new_data":%s,"reason":"r"}' % (d, inner), s.token()).want(400)
    s.api.post(RECOMMENDATION, '{"diagnosis_id":%d,"diagnosis_id":%d,"old_data":{},"new_data":{},"reason":"r"}' % (d, d),
               s.token()).want(400)


@test("400 for nesting over 32, and 32 is fine")
def _(s):
    d = s.diagnosis()

    def nested(levels):  # objects and arrays open at the deepest place, the body itself included
        return '{"diagnosis_id":%d,"old_data":{},"new_data":{"x":%s},"reason":"r"}' % (d, "[" * (levels - 2) + "]" * (levels - 2))

    s.api.post(RECOMMENDATION, nested(32), s.token()).want(200)
    s.api.post(RECOMMENDATION, nested(33), s.token()).want(400)
    s.api.post(RECOMMENDATION, nested(60000), s.token()).want(400)


@test("401 with WWW-Authenticate: Bearer without a token, with a bad one and with an expired one")
def _(s):
    d = s.diagnosis()
    bad = {"none": {}, "empty": {"Authorization": ""}, "no token": {"Authorization": "Bearer "},
           "basic": {"Authorization": "Basic dXNlcjpwYXNz"}, "not a JWT": {"Authorization": "Bearer abc"},
           "expired": {"Authorization": f"Bearer {s.token(ttl=-10)}"},
           "not yet": {"Authorization": f"Bearer {s.token(nbf=int(time.time()) + 1000)}"},
           "broken": {"Authorization": f"Bearer {s.token()[:-2]}"}}
    for path, body in good(d).items():
        for name, headers in bad.items():
            reply = s.api.post(path, body, headers=headers)
            assert reply.status == 401, f"{path} {name}: {reply}"
            reply.check_problem()
            equal(reply.headers["WWW-Authenticate"], f'Bearer error="invalid_token", error_description="{reply.json["detail"]}"', f"{path} {name}")
    equal(s.api.get(f"/ws/history/{d}").want(401)["status"], 401, "history")


@test("403 says the same, byte for byte, of a diagnosis that is someone else's and of one that does not exist")
def _(s):
    foreign, missing = s.diagnosis(owner="ada"), 987654321
    for path in (RECOMMENDATION, EFFECTIVENESS, FEEDBACK):
        texts = []
        for d in (foreign, missing):
            reply = s.api.post(path, good(d)[path], s.token())
            reply.want(403)
            headers = sorted((k, v) for k, v in reply.headers.items() if k.lower() not in ("date", "x-request-id"))
            texts.append((reply.body.replace(str(d).encode(), b"ID"), [h for h in headers if h[0].lower() != "content-length"]))
        equal(texts[0], texts[1], f"{path}: foreign and missing")
    texts = [s.api.get(f"/ws/history/{d}", s.token()).want(403) for d in (foreign, missing)]
    equal(json.dumps(texts[0]).replace(str(foreign), "ID"), json.dumps(texts[1]).replace(str(missing), "ID"), "history")


@test("403 for publishing to any topic as an ordinary user, and for reading as a service")
def _(s):
    d = s.diagnosis()
    for role in (None, "user", "clinician", "nonsense"):
        s.api.post(PUBLISH, {"topic": "news", "type": "x", "data": {}}, s.token(role=role)).want(403)
    s.api.get(f"/ws/history/{d}", s.service()).want(403)


@test("404 for a route that does not exist, also from the web server itself")
def _(s):
    for path in ("/nope", "/wsx", "/ws/", "/ws/abc", "/ws/-1", "/ws/0", "/ws/01", "/ws/1x", "/ws/1/2", "/ws/history/",
                 "/ws/history/abc", "/ws/history/0", "/ws/publish/", "/ws/broadcast-nothing", "/healthx", "/../etc/passwd",
                 "/ws/%2e%2e/health/..%00", "/ws/99999999999999999999999", "/favicon.ico/x"):
        reply = s.api.get(path, s.token())
        assert reply.status in ((400, 404) if "%00" in path or ".." in path else (404,)), f"{path}: {reply}"
        reply.check_problem()
    s.api.post("/ws/broadcast-nothing", {}, s.service()).want(404)


@test("404 to service and admin for a diagnosis that does not exist")
def _(s):
    for path in (RECOMMENDATION, EFFECTIVENESS, FEEDBACK):
        for role in ("service", "admin"):
            s.api.post(path, good(987654321)[path], s.token("svc", role=role)).want(404)
    s.api.get("/ws/history/987654321", s.token("root", role="admin")).want(404)


@test("405 with Allow for another method")
def _(s):
    d = s.diagnosis()
    for path in POSTS:
        for method in ("GET", "PUT", "DELETE", "PATCH"):
            reply = s.api.request(method, path, "{}" if method in ("PUT", "PATCH") else None, s.service())
            reply.want(405)
            assert "POST" in reply.headers.get("Allow", ""), reply
    for path in ("/health", "/ws/status", f"/ws/history/{d}"):
        for method in ("POST", "PUT", "DELETE"):
            reply = s.api.request(method, path, "{}" if method != "DELETE" else None, s.token())
            reply.want(405)
            assert "GET" in reply.headers.get("Allow", ""), reply


@test("HEAD is answered like GET, without a body")
def _(s):
    for path in ("/health", "/ws/status"):
        reply = s.api.request("HEAD", path)
        equal((reply.status, reply.body), (200, b""), path)


@test("411 for a body without a length")
def _(s):
    reply = s.api.raw(f"POST {RECOMMENDATION} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nConnection: close\r\n"
                      f"Authorization: Bearer {s.token()}\r\n\r\n".encode())
    reply.want(411)


@test("413 a bit over 256 KiB, and several MiB, and just below it is fine")
def _(s):
    d = s.diagnosis()
    start = '{"diagnosis_id":%d,"old_data":{},"new_data":{"x":"' % d

    def body(size):
        end = '"},"reason":"r"}'
        return start + "x" * (size - len(start) - len(end)) + end

    with s.connect(d) as client:
        s.api.post(RECOMMENDATION, body(256 * 1024), s.token()).want(200)
        assert len(client.next()["data"]["new_recommendation"]["x"]) > 262000
        s.api.post(RECOMMENDATION, body(256 * 1024 + 1), s.token()).want(413)
        head = (f"POST {RECOMMENDATION} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nAuthorization: Bearer {s.token()}\r\n"
                f"Content-Length: {8 << 20}\r\n\r\n")
        s.api.raw(head.encode()).want(413)
        try:
            s.api.post(RECOMMENDATION, body(8 << 20), s.token()).want(413)
        except (ConnectionError, OSError):
            pass  # the server may refuse to read on: the head alone, above, got the reply
        equal(s.recommend(d)["seq"], 2, "seq of the next message")


@test("415 for a body that is not application/json, and its parameters and case do not matter")
def _(s):
    d = s.diagnosis()
    body = good(d)[RECOMMENDATION]
    for kind in ("text/plain", "application/x-www-form-urlencoded", "application/jsonp", "application/json-seq", "json", "",
                 "multipart/form-data; boundary=application/json"):
        s.api.post(RECOMMENDATION, body, s.token(), {"Content-Type": kind}).want(415)
    s.api.post(RECOMMENDATION, body, s.token(), {"Content-Type": None}).want(415)
    for kind in ("application/json", "Application/JSON; charset=utf-8", "application/json;charset=UTF-8"):
        s.api.post(RECOMMENDATION, body, s.token(), {"Content-Type": kind}).want(200)


WRONG = (
    (RECOMMENDATION, "diagnosis_id", ("1", 0, -1, 1.5, None, True, [], 10**19, ...)),
    (RECOMMENDATION, "old_data", ("x", 1, None, [], ...)),
    (RECOMMENDATION, "new_data", ("x", 1, None, [], ...)),
    (RECOMMENDATION, "reason", (1, None, {}, ...)),
    (RECOMMENDATION, "exclude_connection_id", ("x", 1, "123e4567-e89b-12d3-a456-42661417400", {})),
    (RECOMMENDATION, "to_user_id", (1.5, {}, [], "", "x" * 129)),
    (EFFECTIVENESS, "diagnosis_id", ("1", ...)),
    (EFFECTIVENESS, "recommendation_id", ("x", 1.5, None, ...)),
    (EFFECTIVENESS, "new_effectiveness", (-0.01, 1.01, "0.5", None, True, 1e300, ...)),
    (EFFECTIVENESS, "confidence", (-0.01, 1.01, "0.5", None, ...)),
    (EFFECTIVENESS, "sample_size", (-1, 1.5, "1", None, ...)),
    (EFFECTIVENESS, "old_effectiveness", (-0.01, 1.01, "0.5")),
    (EFFECTIVENESS, "herb", (1, {})),
    (FEEDBACK, "diagnosis_id", ("1", ...)),
    (FEEDBACK, "feedback_id", ("x", None, 1.5, ...)),
    (FEEDBACK, "rating", (0, 6, 4.5, "5", None, True, -1, 10**20, ...)),
    (FEEDBACK, "effectiveness", (-0.1, 1.1, "1", None, ...)),
    (FEEDBACK, "recommendation_id", ("x", 1.5)),
    (FEEDBACK, "comment", (1, {}, "x" * 4001)),
    (PUBLISH, "topic", ("", "x" * 129, "a b", "é", "a\n", 1, None, ...)),
    (PUBLISH, "type", ("", 1, None, ...)),
    (PUBLISH, "data", (...,)),
    (PUBLISH, "ephemeral", ("yes", 1)),
    (PUBLISH, "deliver_at", ("tomorrow", 1, "2026-13-01T00:00:00Z", "2026-01-01", "2099-01-01T00:00:00Z")),
    (PUBLISH, "expires_at", ("tomorrow", 1)),
    (PUBLISH, "priority", ("urgent", 1)),
    (PUBLISH, "correlation_id", (1, {})),
)


@test("422 names each field that is missing, of the wrong type or out of range")
def _(s):
    d = s.diagnosis()
    wrong = []
    for path, field, values in WRONG:
        for value in values:
            body = dict(good(d)[path])
            body.pop(field, None)
            if value is not ...:
                body[field] = value
            reply = s.api.post(path, body, s.service())
            if reply.status != 422:
                wrong.append(f"{path} {field}={value!r}: {reply.status}")
                continue
            reply.check_problem()
            errors = reply.json.get("errors")
            if not (errors and all(set(e) >= {"field", "message"} for e in errors) and any(field in e["field"] for e in errors)):
                wrong.append(f"{path} {field}={value!r}: errors {errors!r}")
    assert not wrong, "; ".join(wrong)


@test("422 lists every wrong field at once, and a body that is no object is 422")
def _(s):
    errors = s.api.post(FEEDBACK, {"diagnosis_id": "x", "rating": 9, "effectiveness": 3}, s.service()).want(422)["errors"]
    equal(sorted(e["field"] for e in errors), ["diagnosis_id", "effectiveness", "feedback_id", "rating"], "fields")
    for path in (RECOMMENDATION, EFFECTIVENESS, FEEDBACK):
        for body in ("[]", "1", '"x"', "null", "true"):
            s.api.post(path, body, s.service()).want(422)
    for body in ("1", "[]", "[1]", '"x"', "null"):
        s.api.post(PUBLISH, body, s.service()).want(422)


@test("422 for a bad cursor or limit of the history")
def _(s):
    d = s.diagnosis()
    for query in ("since=x", "since=-5", "limit=0", "limit=101", "limit=x", "limit=-1", "limit="):
        reply = s.api.get(f"/ws/history/{d}?{query}", s.token())
        assert reply.status in (400, 422), f"{query}: {reply}"
        reply.check_problem()


@test("429 with Retry-After over the caller's rate, for that caller only; services have none")
def _(s):
    d = s.diagnosis(granted=["457"])
    with s.web(TIDINGS_PUBLISH_RATE=1, TIDINGS_PUBLISH_BURST=3) as web:
        token, replies = s.token(), []

        def post():
            replies.append(web.api.post(RECOMMENDATION, good(d)[RECOMMENDATION], token))
            return len(replies) > 3 and replies[-1].status == 429

        wait_until(post, "a refusal")
        for _n in range(3):
            post()
        refused = [r for r in replies if r.status == 429]
        equal([r.status for r in replies[:3]], [200] * 3, "the burst")
        for r in refused:
            r.check_problem()
            assert r.headers.get("Retry-After", "").isdigit() and int(r.headers["Retry-After"]) >= 1, r
        s.recommend(d, api=web.api, token=s.token("457"))
        for _n in range(12):
            s.recommend(d, api=web.api, token=s.service())
        done = [r.json["seq"] for r in replies if r.status == 200]
        equal(s.recommend(d)["seq"], len(done) + 1 + 12 + 1, "a refused request published")


@test("requests that are no HTTP get an answer, too, and it is a problem")
def _(s):
    for data in (b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n", b"GET /\x01 HTTP/1.1\r\nHost: x\r\n\r\n", b"nonsense\r\n\r\n",
                 b"POST /ws/publish HTTP/1.1\r\nHost: x\r\nContent-Length: abc\r\n\r\n",
                 b"POST /ws/publish HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
                 b"GET /health HTTP/1.1\r\n\r\n"):
        reply = s.api.raw(data)
        assert isinstance(reply, Reply) and 400 <= reply.status < 500, f"{data!r}: {reply}"
        reply.check_problem()
    reply = s.api.raw(b"GET /health HTTP/1.1\r\nHost: x\r\nX-Long: " + b"x" * 70000 + b"\r\n\r\n")
    assert reply.status in (400, 431), reply
    reply.check_problem()
