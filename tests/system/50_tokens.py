"""JWT (spec 2): algorithms with real keys, rotation by kid, and what must be refused. Asked over HTTP and over WebSocket."""
import json
import signal
import time

from harness import b64, equal, hs_sign, make_jwt, openssl_sign, test, wait_until


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


@test("a key that is added or taken away counts after SIGHUP, without a connection lost")
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
            node.signal(signal.SIGHUP)
            wait_until(lambda: not s.lets_in(d, node, token=token), "the key to be gone")
        finally:
            (s.keys / "fresh.HS256").unlink(missing_ok=True)
        client.answers()
