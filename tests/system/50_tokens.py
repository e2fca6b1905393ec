"""JWT (spec 2): algorithms with real keys, rotation by kid, and what must be refused. Asked over HTTP and over WebSocket."""
import base64
import contextlib
import fcntl
import json
import os
import re
import signal
import subprocess
import termios
import time

from harness import TOP, Client, b64, equal, hs_sign, make_jwt, openssl_sign, test, wait_until
from live import Live


def claims(**more):
    now = int(time.time())
    return {"sub": "456", "iat": now, "exp": now + 600, **more}


def verdict(s, d, token):
    """Both ways agree on a token."""
    reply = s.api.get(f"/ws/history/{d}", token)
    with s.connect(d, token=token, hello=False) as client:
        try:
            ws = client.next()["type"] == "connect"
        except AssertionError as e:
            equal(getattr(e, "code", None), 1008, f"close code ({e})")
            ws = False
    equal(ws, reply.status == 200, f"WebSocket and HTTP ({reply}) disagree: WebSocket")
    if not ws:
        equal(reply.status, 401, "status")
    return ws


def rsa(s, pss=False):
    return openssl_sign(s.private / "rsa.pem", pss=pss)


def ec(s):
    return openssl_sign(s.private / "ec.pem", ec_half=32)


@test("HS256, HS512, RS256 and ES256 with real keys, chosen by kid, are accepted")
def _(s):
    d = s.diagnosis()
    for name, token in (("default", make_jwt(claims(), hs_sign(s.secrets["default"]))),
                        ("default by name", make_jwt(claims(), hs_sign(s.secrets["default"]), kid="default")),
                        ("previous", make_jwt(claims(), hs_sign(s.secrets["previous"]), kid="previous")),
                        ("HS512", make_jwt(claims(), hs_sign(s.secrets["large"], 512), "HS512", "large")),
                        ("RS256", make_jwt(claims(), rsa(s), "RS256", "rsa")),
                        ("ES256", make_jwt(claims(), ec(s), "ES256", "ec")),
                        ("integer sub", make_jwt(claims(sub=456), hs_sign(s.secrets["default"])))):
        assert verdict(s, d, token), f"{name} was refused"


@test("none, in every spelling, is refused")
def _(s):
    d = s.diagnosis()
    for alg in ("none", "None", "NONE", "nOnE", "", None):
        for signature in ("", "x", b64(hs_sign(b"")(b""))):
            token = ".".join(make_jwt(claims(), lambda _d: b"", alg).split(".")[:2]) + "." + signature
            assert not verdict(s, d, token), f"alg {alg!r}"
    token = make_jwt(claims(), hs_sign(s.secrets["default"]), "none", "default")
    assert not verdict(s, d, token), "none, signed"


@test("the token's alg never chooses: a public key is no HMAC secret, a key serves its own algorithm only")
def _(s):
    d = s.diagnosis()
    for kid, alg in (("rsa", "RS256"), ("ec", "ES256")):
        public = (s.keys / f"{kid}.{alg}").read_bytes()
        for secret in (public, public.strip(), public.rstrip(b"\n")):
            for claimed in ("HS256", alg, "HS512"):
                bits = 512 if claimed == "HS512" else 256
                assert not verdict(s, d, make_jwt(claims(), hs_sign(secret, bits), claimed, kid)), f"{claimed} with the key of {kid}"
    key = s.secrets["default"]
    assert not verdict(s, d, make_jwt(claims(), hs_sign(key, 384), "HS384")), "HS384 with the HS256 key"
    assert not verdict(s, d, make_jwt(claims(), hs_sign(key, 512), "HS512")), "HS512 with the HS256 key"
    assert not verdict(s, d, make_jwt(claims(), hs_sign(key), "RS256")), "HMAC that calls itself RS256"
    assert not verdict(s, d, make_jwt(claims(), rsa(s, True), "PS256", "rsa")), "PS256 with the RS256 key"
    assert not verdict(s, d, make_jwt(claims(), ec(s), "ES256", "rsa")), "ES256 with the RSA key's kid"


@test("a key that is not known, and one's signature under another's name, are refused")
def _(s):
    d = s.diagnosis()
    key = hs_sign(s.secrets["default"])
    for kid in ("unknown", "previous", "../jwt/default", "default.HS256", "", "x" * 3000, 1, None, ["default"], "default\0"):
        token = make_jwt(claims(), key, kid=kid) if kid is not None else make_jwt(claims(), hs_sign(s.secrets["previous"]))
        assert not verdict(s, d, token), f"kid {str(kid)[:20]!r}"


@test("a signature or a claim that was changed is refused")
def _(s):
    d = s.diagnosis()
    for sign, alg, kid in ((hs_sign(s.secrets["default"]), "HS256", None), (rsa(s), "RS256", "rsa"), (ec(s), "ES256", "ec")):
        head, body, signature = make_jwt(claims(), sign, alg, kid).split(".")
        forged = b64(json.dumps(claims(sub="456", role="admin")).encode())
        flipped = signature[:10] + ("A" if signature[10] != "A" else "B") + signature[11:]
        for parts in ((head, forged, signature), (head, body, flipped), (head, body, ""), (head, body), (head, body, signature, "x"),
                      (head, body, b64(b"\0" * 64)), (head, body, signature[:-4])):
            assert not verdict(s, d, ".".join(parts)), f"{alg} {[p[:12] for p in parts]}"


@test("exp is required, nbf and exp are honoured, and a sub is needed")
def _(s):
    d = s.diagnosis()
    key = hs_sign(s.secrets["default"])
    now = int(time.time())
    for bad in ({"exp": None}, {"exp": now - 1}, {"exp": "soon"}, {"exp": -1}, {"nbf": now + 600}, {"sub": None}, {"sub": ""}, {"sub": {}},
                {"sub": "x" * 129}, {"sub": "a\nb"}):
        body = {k: v for k, v in claims(**bad).items() if v is not None}
        assert not verdict(s, d, make_jwt(body, key)), f"{bad}"
    assert verdict(s, d, make_jwt(claims(nbf=now - 5), key)), "nbf that has passed"
    for payload in (b"[]", b"1", b"{", b"", b'"x"', b"\xff"):
        signed = b64(b'{"alg":"HS256"}') + "." + b64(payload)
        assert not verdict(s, d, signed + "." + b64(key(signed.encode()))), f"payload {payload!r}"


@test("iss and aud are checked when configured")
def _(s):
    d = s.diagnosis()
    key = hs_sign(s.secrets["default"])
    with s.web(TIDINGS_JWT_ISSUER="https://id", TIDINGS_JWT_AUDIENCE="tidings") as web:
        def status(**more):
            return web.api.get(f"/ws/history/{d}", make_jwt(claims(**more), key)).status

        equal(status(iss="https://id", aud="tidings"), 200, "right")
        equal(status(iss="https://id", aud=["other", "tidings"]), 200, "one of several")
        for bad in ({}, {"iss": "https://id"}, {"aud": "tidings"}, {"iss": "https://ix", "aud": "tidings"},
                    {"iss": "https://id", "aud": "tidings2"}, {"iss": "https://id", "aud": ["x"]}):
            equal(status(**bad), 401, f"{bad}")


@test("`tidings token` makes one that is accepted, with role and ttl")
def _(s):
    d = s.diagnosis()
    token = s.command("tidings", "token", "--user", "456").strip()
    assert verdict(s, d, token), token
    token = s.command("tidings", "token", "--user", "svc", "--role", "service", "--ttl", "60").strip()
    s.recommend(d, token=token)


@test("a key that is added or taken away counts after SIGHUP, without a connection lost; keys that are not usable change nothing", allow="junk.RS256 is not")
def _(s):
    d = s.diagnosis()
    with s.node() as node, s.connect(d, server=node) as client:
        secret = b"k" * 32
        token = make_jwt(claims(), hs_sign(secret), kid="fresh")
        equal(s.refused(d, token=token, server=node)[0], 1008, "before")
        (s.keys / "fresh.HS256").write_bytes(secret)
        (s.keys / "fresh.HS256").chmod(0o600)
        try:
            node.signal(signal.SIGHUP)
            wait_until(lambda: s.lets_in(d, node, token=token), "the new key to count")
            (s.keys / "fresh.HS256").unlink()
            write(s.keys / "junk.RS256", b"junk")
            node.signal(signal.SIGHUP)
            wait_until(lambda: "junk.RS256 is not a public key" in node.log.read_text(), "unusable keys to be told")
            assert s.lets_in(d, node, token=token), "with the keys that were usable"
            (s.keys / "junk.RS256").unlink()
            node.signal(signal.SIGHUP)
            wait_until(lambda: not s.lets_in(d, node, token=token), "the key to be gone")
        finally:
            (s.keys / "fresh.HS256").unlink(missing_ok=True)
            (s.keys / "junk.RS256").unlink(missing_ok=True)
        client.answers()


@test("SIGHUP changes the keys of the FastCGI programs too; keys that are not usable change nothing, and are told", allow="JWT keys are not usable")
def _(s):
    d = s.diagnosis()
    fresh, junk = s.keys / "fresh.HS256", s.keys / "junk.RS256"
    with s.web() as web:
        programs = {name: web.programs(name) for name in ("history.fcgi", "broadcast.fcgi", "live.fcgi")}
        asks = {"history.fcgi": ("GET", f"/ws/history/{d}", None), "live.fcgi": ("POST", "/ws/send", {"type": "get_thresholds"}),
                "broadcast.fcgi": ("POST", "/ws/broadcast-recommendation-update",
                                   {"diagnosis_id": d, "old_data": {}, "new_data": {}, "reason": "r"})}
        token = make_jwt(claims(), hs_sign(b"k" * 32), kid="fresh")

        def reload():
            for pids in programs.values():
                for pid in pids:
                    os.kill(pid, signal.SIGHUP)

        def statuses():
            return {name: web.api.request(*how, token=token).status for name, how in asks.items()}

        def told(words):
            return sum(p.read_text(errors="replace").count(words) for p in s.log_files())

        try:
            equal(set(statuses().values()), {401}, "before")
            write(fresh, b"k" * 32)
            reload()
            # The second time it is remembered.
            for _ in range(2):
                wait_until(lambda: set(statuses().values()) == {200}, "the new key to count")
            before = told("JWT keys are not usable")
            write(junk, b"junk")
            fresh.unlink()
            reload()
            wait_until(lambda: told("JWT keys are not usable") >= before + len(programs), "unusable keys to be told")
            equal(set(statuses().values()), {200}, "with those that were usable")
            junk.unlink()
            reload()
            wait_until(lambda: set(statuses().values()) == {401}, "the key to be gone")
        finally:
            fresh.unlink(missing_ok=True)
            junk.unlink(missing_ok=True)


def write(path, data):
    path.write_bytes(data)
    path.chmod(0o600)


NO_TOKEN = "A token is required: Authorization: Bearer <token>."


def told_by_http(s, d, token):
    """What each route says of a token, however it comes: one and the same; the reply's detail."""
    told = set()
    for server in (s.web1, s.node1):
        for path in (f"/poll/{d}?timeout=0", f"/sse/{d}", f"/poll?topics=diagnosis/{d}&timeout=0") + (() if server is s.node1 else (f"/ws/history/{d}",)):
            for reply in (server.api.get(path, token), server.api.get(path + ("&" if "?" in path else "?") + "token=" + token)):
                problem = reply.want(401)
                equal(reply.headers["WWW-Authenticate"], f'Bearer error="invalid_token", error_description="{problem["detail"]}"', f"{path}: challenge")
                told.add(problem["detail"])
    for method, path, body in (("POST", "/ws/broadcast-recommendation-update", {}), ("POST", "/ws/publish", {}), ("POST", "/ws/send", {}),
                               ("DELETE", "/ws/connection/7", None)):
        told.add(s.api.request(method, path, body, token).want(401)["detail"])
    equal(len(told), 1, f"what is told differs: {told}")
    return told.pop()


def told_by_websocket(s, d, token):
    """The same for WebSockets; the close's reason and the live error's message."""
    reasons, messages = set(), set()
    for server in (s.web1, s.node1):
        url = f"ws://127.0.0.1:{server.port}/ws/{d}"
        for way in ("query", "protocol", "message"):
            with Client(url + (f"?token={token}" if way == "query" else ""), hello=False,
                        subprotocols=["tidings", f"bearer.{token}"] if way == "protocol" else None) as client:
                if way == "message":
                    client.send({"type": "authenticate", "token": token})
                reasons.add(client.closed())
            with Live(s, server, token=token, authenticate=False, how=way) as live:
                if way == "message":
                    live.send("authenticate", token=token)
                error = live.next()
                equal((error["type"], error["data"]["code"]), ("error", "authentication_failed"), "the error")
                messages.add(error["data"]["message"])
                reasons.add(live.client.closed())
    equal((len(reasons), len(messages)), (1, 1), f"what is told differs: {reasons}, {messages}")
    code, reason = reasons.pop()
    equal(code, 1008, "close code")
    return reason, messages.pop()


@test("what is wrong with a token is told where its signature is good, by every way in which it comes; of any other nothing is")
def _(s):
    d = s.diagnosis()
    now = int(time.time())
    key, other = hs_sign(s.secrets["default"]), hs_sign(b"o" * 32)
    cases = (("token expired", "The token has expired.", {"exp": now - 1}),
             ("token not valid yet", "The token is not valid yet.", {"nbf": now + 600}),
             ("token's exp is beyond the year 9999", "The token's exp is beyond the year 9999: it must be in seconds, not in milliseconds.",
              {"exp": (now + 600) * 1000}),
             ("token has no sub", "The token has no sub.", {"sub": None}))
    for reason, detail, wrong in cases:
        body = {k: v for k, v in claims(**wrong).items() if v is not None}
        token = make_jwt(body, key)
        equal(told_by_http(s, d, token), detail, f"{reason}: by HTTP")
        equal(told_by_websocket(s, d, token), (reason, detail), f"{reason}: by WebSocket")
        token = make_jwt(body, other)
        equal(told_by_http(s, d, token), "The token is not valid.", f"{reason}, another key: by HTTP")
        equal(told_by_websocket(s, d, token), ("authentication failed", "The token is not valid."), f"{reason}, another key: by WebSocket")
    with Live(s, s.node1) as live:
        for token, detail in ((make_jwt(claims(exp=now - 1), key), "The token has expired."), (make_jwt(claims(), other), "The token is not valid."),
                              (s.token("457"), "This token is not one of this user in this role.")):
            error = live.ask("refresh_token", want="error", token=token)
            equal((error["code"], error["message"]), ("authentication_failed", detail), "a refresh")
    for path in (f"/poll/{d}", f"/sse/{d}", f"/ws/history/{d}"):
        reply = s.api.get(path)
        equal(reply.want(401)["detail"], NO_TOKEN, "none at all")
        equal(reply.headers["WWW-Authenticate"], f'Bearer error="invalid_token", error_description="{NO_TOKEN}"', "none at all")


@test("a service that listens is told that it publishes, and reads nothing, on every route")
def _(s):
    d = s.diagnosis()
    words = "A service publishes, and reads nothing."
    topics = f"diagnosis/{d},news"
    for server in (s.web1, s.node1):
        for path in (f"/poll/{d}", f"/sse/{d}", f"/poll?topics={topics}", f"/sse?topics={topics}"):
            equal(server.api.get(path, s.service()).want(403)["detail"], words, path)
        equal(s.refused(d, token=s.service(), server=server), (1008, words), "the close")
        with Client(f"ws://127.0.0.1:{server.port}/ws?topics={topics}&token={s.service()}", hello=False) as client:
            equal(client.next()["data"]["message"], words, "the error")
            equal(client.closed(), (1008, words), "the close, of several topics")
        with Live(s, server, "combined", user="svc", role="service") as live:
            for topic in ("health_updates", f"diagnosis/{d}"):
                error = live.ask("subscribe", want="error", subscription=topic)
                equal((error["code"], error["message"]), ("forbidden", words), topic)
    equal(s.api.get(f"/ws/history/{d}", s.service()).want(403)["detail"], words, "history")
    equal(s.api.get(f"/ws/history/{s.diagnosis(owner='ada')}", s.token()).want(403)["detail"], "You may not read this.", "a user")


def why_refused(s, d, token):
    """What the log says of a token that is refused by the first sidecar: a topic of its own finds the line."""
    equal(s.refused(d, token=token), (1008, "authentication failed"), "the close")
    line = wait_until(lambda: re.findall(rf'refused a token topic=diagnosis/{d} why="(.*)"', s.node1.log.read_text()), "the log's line")
    return line[-1]


@test("what libjwt refuses by itself is no bad signature in the log: another typ, numbers out of its range, a NUL")
def _(s):
    key = hs_sign(s.secrets["default"])
    token = make_jwt(claims(), key, typ="at+jwt")
    if not s.lets_in(s.diagnosis(), s.node1, token=token):
        equal(why_refused(s, s.diagnosis(), token), "typ at+jwt, which libjwt takes from version 1.12 on", "an access token")
    equal(why_refused(s, s.diagnosis(), make_jwt(claims(), key, typ="dpop+jwt")), "typ that is neither JWT nor at+jwt", "another typ")
    for claim in (b"1e400", b"99999999999999999999", b'"a\\u0000b"'):
        payload = json.dumps(claims()).encode()[:-1] + b', "extra": ' + claim + b"}"
        signed = b64(b'{"alg":"HS256"}') + "." + b64(payload)
        why = why_refused(s, s.diagnosis(), signed + "." + b64(key(signed.encode())))
        assert why.startswith("payload that libjwt cannot read") or why == "malformed payload", why


def readme_block(language):
    """The one example of README's section about tokens in this language."""
    section = re.search(r"### Make tokens in your own backend\n(.*?)\n### ", (TOP / "README.md").read_text(), re.S).group(1)
    (block,) = re.findall(rf"```{language}\n(.*?)```", section, re.S)
    return block


@test("README's tokens of one's own backend are accepted, in Python and in Node, whether or not the key's file ends with a newline")
def _(s):
    d = s.diagnosis()
    key = s.keys / "default.HS256"
    for newline in (b"", b"\n"):
        for language, program, end in (("python", ["/usr/bin/python3", "-c"], "\nprint(token)"), ("javascript", ["node", "-e"], "\nconsole.log(token)")):
            file = s.folder / "backend-key"
            write(file, s.secrets["default"] + newline)
            code = readme_block(language).replace("/etc/tidings/jwt/default.HS256", str(file))
            assert str(file) in code, "the example names its key"
            done = subprocess.run([*program, code + end], capture_output=True, text=True, timeout=60)
            equal(done.returncode, 0, f"{language}: {done.stderr}")
            write(key, s.secrets["default"] + newline)
            with s.node() as node:
                assert s.lets_in(d, node, token=done.stdout.strip()), f"{language} was refused"
            write(key, s.secrets["default"])


def tidings_token(s, *args):
    return subprocess.run([s.program("tidings"), "token", *map(str, args)], capture_output=True, text=True, env=s.environment(), stdin=subprocess.DEVNULL)


@test("`tidings token` signs with the kid, the algorithm and the private key that it is told, and says what does not fit")
def _(s):
    d = s.diagnosis()

    def header(token):
        part = token.split(".")[0]
        return json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))

    for args, wanted in (((), {"alg": "HS256"}), (("--kid", "previous"), {"alg": "HS256", "kid": "previous"}),
                         (("--kid", "large", "--alg", "HS512"), {"alg": "HS512", "kid": "large"}), (("--kid", "large"), {"alg": "HS512", "kid": "large"}),
                         (("--kid", "rsa", "--key", s.private / "rsa.pem"), {"alg": "RS256", "kid": "rsa"}),
                         (("--kid", "ec", "--alg", "ES256", "--key", s.private / "ec.pem"), {"alg": "ES256", "kid": "ec"})):
        done = tidings_token(s, "--user", "456", *args)
        equal((done.returncode, done.stderr), (0, ""), f"{args}")
        token = done.stdout.strip()
        equal({k: v for k, v in header(token).items() if k != "typ"}, wanted, f"{args}: header")
        assert verdict(s, d, token), f"{args} was refused"
    public = s.folder / "open.pem"
    public.write_bytes((s.private / "rsa.pem").read_bytes())
    public.chmod(0o644)
    for args, words in ((("--kid", "absent"), "no secret absent"), (("--alg", "HS512"), "no secret default"), (("--alg", "none"), "no secret default"),
                        (("--key", s.private / "rsa.pem", "--alg", "ES256"), "not a private key in PEM for ES256"),
                        (("--key", s.private / "rsa.pem", "--alg", "none"), "not a private key in PEM for none"),
                        (("--key", s.keys / "rsa.RS256"), "not a private key in PEM for TIDINGS_JWT_ALGORITHMS"),
                        (("--key", s.folder / "absent.pem"), "cannot be used"), (("--key", public), "every user of this machine can read it")):
        done = tidings_token(s, "--user", "456", *args)
        equal((done.returncode, done.stdout), (1, ""), f"{args}")
        assert words in done.stderr, f"{args}: {done.stderr}"


def on_a_terminal(args, env):
    """(exit status, output) of a command whose terminal is one of its own: what it asks there nobody answers."""
    ours, theirs = os.openpty()

    def take_it():
        os.setsid()
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)

    child = subprocess.Popen([str(a) for a in args], stdin=theirs, stdout=theirs, stderr=theirs, env=env, preexec_fn=take_it)
    os.close(theirs)
    output = b""
    with contextlib.suppress(OSError):  # EIO: the other end is closed
        while b"pass phrase" not in output and (more := os.read(ours, 4096)):
            output += more
    os.close(ours)  # whoever still waits there is hung up on
    return child.wait(60), output.decode()


@test("a key file with a password is refused: nobody is asked for it on the terminal")
def _(s):
    locked = s.private / "locked.pem"
    subprocess.run(["openssl", "pkey", "-in", s.private / "rsa.pem", "-aes256", "-passout", "pass:secretive", "-out", locked], check=True, capture_output=True)
    status, output = on_a_terminal([s.program("tidings"), "token", "--user", "456", "--key", locked], s.environment())
    equal(status, 1, f"exit status: {output}")
    assert "is not a private key in PEM" in output and "pass phrase" not in output, output
    # An old kind of PEM says so in its head, whatever is in it.
    body = (s.keys / "rsa.RS256").read_text().splitlines()
    key = s.keys / "locked.RS256"
    write(key, "\n".join([body[0], "Proc-Type: 4,ENCRYPTED", "DEK-Info: AES-128-CBC," + "0" * 32, "", *body[1:], ""]).encode())
    try:
        status, output = on_a_terminal([s.program("tidings"), "doctor"], s.environment())
    finally:
        key.unlink()
    assert status != 0 and "locked.RS256 is not a public key" in output and "pass phrase" not in output, output
