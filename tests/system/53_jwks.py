"""Sets of keys of identity providers (RFC 7517): what is accepted by them and refused, `tidings keys fetch`, and the shapes of doc/identity-providers.md."""
import contextlib
import http.server
import json
import os
import re
import signal
import ssl
import subprocess
import threading
import time

from harness import TOP, b64, command_line, descendants, equal, free_port, hs_sign, make_jwt, openssl_sign, test, wait_until
from live import Live

ISSUER, AUDIENCE = "https://id.example", "tidings"


def run_openssl(*args, given=None):
    return subprocess.run(["openssl", *map(str, args)], input=given, check=True, capture_output=True).stdout


class Provider:
    """Keys of an identity provider, its set of them in a file, and tokens by them."""

    KINDS = {"rsa": ["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"], "ec": ["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"],
             "ed": ["-algorithm", "ED25519"], "small": ["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:1024"]}

    def __init__(self, s):
        self.s = s
        self.folder = s.folder / "provider"
        self.file = self.folder / "jwks.json"
        if not self.folder.exists():
            self.folder.mkdir(mode=0o700)
            for kind, how in self.KINDS.items():
                run_openssl("genpkey", *how, "-out", self.folder / f"{kind}.pem")

    def jwk(self, kind, kid=None, **more):
        der = run_openssl("pkey", "-in", self.folder / f"{kind}.pem", "-pubout", "-outform", "DER")
        if kind == "ec":
            jwk = {"kty": "EC", "crv": "P-256", "x": b64(der[-64:-32]), "y": b64(der[-32:])}
        elif kind == "ed":
            jwk = {"kty": "OKP", "crv": "Ed25519", "x": b64(der[-32:])}
        else:
            modulus = run_openssl("rsa", "-in", self.folder / f"{kind}.pem", "-modulus", "-noout").decode().strip().partition("=")[2]
            jwk = {"kty": "RSA", "n": b64(bytes.fromhex(modulus)), "e": "AQAB"}
        return {**jwk, "kid": kid or f"{kind}-1", **more}

    def usual(self):
        return [self.jwk("rsa", alg="RS256", use="sig"), self.jwk("rsa", "pss", alg="PS256"), self.jwk("ec"), self.jwk("ed", alg="EdDSA"),
                self.jwk("rsa", "for-encryption", alg="RSA-OAEP", use="enc")]

    def put(self, keys):
        """At once, as who writes it should."""
        new = self.folder / "new"
        new.write_text(json.dumps({"keys": keys}))
        new.chmod(0o644)
        new.rename(self.file)

    def sign(self, kind, alg):
        pem = self.folder / f"{kind}.pem"
        if alg != "EdDSA":
            return openssl_sign(pem, ec_half=32 if kind == "ec" else 0, pss=alg == "PS256")

        def sign(data):
            text = self.folder / "text"
            text.write_bytes(data)
            return run_openssl("pkeyutl", "-sign", "-rawin", "-inkey", pem, "-in", text)

        return sign

    def token(self, kind, alg, kid=None, header=None, **claims):
        now = int(time.time())
        body = {"iss": ISSUER, "aud": AUDIENCE, "sub": "456", "iat": now, "exp": now + 600, **claims}
        return make_jwt({k: v for k, v in body.items() if v is not None}, self.sign(kind, alg), alg, kid or f"{kind}-1", **(header or {}))

    def settings(self, **more):
        return {"TIDINGS_JWT_JWKS": self.file, "TIDINGS_JWT_ISSUER": ISSUER, "TIDINGS_JWT_AUDIENCE": AUDIENCE,
                "TIDINGS_JWT_ALGORITHMS": "HS256,HS512,RS256,ES256,PS256,EdDSA", **more}


@contextlib.contextmanager
def both(s, **settings):
    """A sidecar and a web server with these settings, and what they agree on: verdict(diagnosis, token)."""
    with s.node(**settings) as node, s.web(node, **settings) as web:

        def verdict(d, token):
            by_http = web.api.get(f"/ws/history/{d}", token).status
            assert by_http in (200, 401), by_http
            equal(s.lets_in(d, node, token=token), by_http == 200, f"WebSocket and HTTP ({by_http}) disagree: WebSocket")
            return by_http == 200

        yield node, web, verdict


@test("tokens that an identity provider has signed with RS256, PS256, ES256 or EdDSA are accepted by the keys of its set, beside those of the folder's keys")
def _(s):
    d, p = s.diagnosis(), Provider(s)
    p.put(p.usual())
    with both(s, **p.settings()) as (_node, web, verdict):
        for kind, alg, kid in (("rsa", "RS256", "rsa-1"), ("rsa", "PS256", "pss"), ("ec", "ES256", "ec-1"), ("ed", "EdDSA", "ed-1")):
            assert verdict(d, p.token(kind, alg, kid)), f"{alg} was refused"
            assert verdict(d, p.token(kind, alg, kid, {"typ": "at+jwt"})), f"an access token, {alg}, was refused"
            assert not verdict(d, p.token(kind, alg, "unknown")), f"{alg} of a kid that is not there"
            assert not verdict(d, p.token(kind, alg, kid, iss="https://other")), f"{alg} of another issuer"
            assert not verdict(d, p.token(kind, alg, kid, aud="other")), f"{alg} for another application"
            assert not verdict(d, p.token(kind, alg, kid, iss=None)), f"{alg} without iss"
            assert not verdict(d, p.token(kind, alg, kid, aud=None)), f"{alg} without aud"
        own = {"iss": ISSUER, "aud": AUDIENCE}
        assert verdict(d, s.token(**own)), "a token of our own"
        assert not verdict(d, s.token()), "one of our own for nobody"
        made = s.command("tidings", "token", "--user", "456", **p.settings()).strip()
        assert verdict(d, made), "what tidings token makes"
        made = s.command("tidings", "token", "--user", "456", "--alg", "EdDSA", "--kid", "ed-1", "--key", p.folder / "ed.pem", **p.settings()).strip()
        assert verdict(d, made), "what tidings token makes with a key"


@test("a public key is no secret, no key is for another's algorithm, and what a token brings along is no key")
def _(s):
    d, p = s.diagnosis(), Provider(s)
    p.put(p.usual() + [p.jwk("rsa", "confused", alg="HS256"), p.jwk("small", alg="RS256")])
    public = run_openssl("pkey", "-in", p.folder / "rsa.pem", "-pubout")
    now = int(time.time())
    claims = {"iss": ISSUER, "aud": AUDIENCE, "sub": "456", "exp": now + 600, "role": "admin"}
    secrets = (public, public.strip(), json.dumps(p.jwk("rsa")).encode(), p.file.read_bytes(), p.jwk("rsa")["n"].encode(), p.jwk("ed")["x"].encode())
    with both(s, **p.settings()) as (_node, _web, verdict):
        for secret in secrets:
            for kid in ("rsa-1", "confused", "ed-1", None):
                assert not verdict(d, make_jwt(claims, hs_sign(secret), "HS256", kid)), f"HS256 with what is public, kid {kid}"
        assert not verdict(d, make_jwt(claims, hs_sign(public), "RS256", "rsa-1")), "an HMAC that calls itself RS256"
        for kid in ("rsa-1", "default", None):
            assert not verdict(d, make_jwt(claims, lambda _d: b"", "none", kid)), "none"
            assert not verdict(d, make_jwt(claims, lambda _d: b"x", "none", kid)), "none with a signature"
        assert not verdict(d, p.token("rsa", "PS256", "rsa-1")), "PS256 with the key for RS256"
        assert not verdict(d, p.token("rsa", "RS256", "pss")), "RS256 with the key for PS256"
        assert not verdict(d, p.token("rsa", "RS256", "for-encryption")), "a key for encryption"
        assert not verdict(d, p.token("small", "RS256")), "a key of 1024 bits"
        assert not verdict(d, p.token("rsa", "RS256", "ec-1")), "another's kid"
        assert not verdict(d, p.token("rsa", "RS256", "own", {"jwk": p.jwk("rsa"), "jku": "https://id.example/keys", "x5u": "https://id.example/x"})), "its own"
        for kid in ("../provider/rsa.pem", "rsa-1\0", "rsa-1' or '1'='1", ["rsa-1"], {"rsa-1": 1}, "rsa-1" * 30):
            assert not verdict(d, p.token("rsa", "RS256", kid)), f"kid {kid}"
    beginning = make_jwt(claims, hs_sign(b""), "HS256", "rsa-1").split(".")[1][:40]
    for path in s.log_files():
        assert beginning not in path.read_text(errors="replace"), f"a token in {path}"


@test("a set of keys that was changed counts after SIGHUP, in the sidecar and the FastCGI programs, and one that is not usable changes nothing and is told",
      allow="jwks.json has a private key")
def _(s):
    d, p = s.diagnosis(), Provider(s)
    p.put([p.jwk("rsa", alg="RS256")])
    old, new = p.token("rsa", "RS256"), p.token("ed", "EdDSA")
    with both(s, **p.settings()) as (node, web, verdict):
        programs = web.programs("history.fcgi")

        def reload():
            node.signal(signal.SIGHUP)
            for pid in programs:
                os.kill(pid, signal.SIGHUP)

        def told():
            return sum(path.read_text(errors="replace").count("has a private key or a secret in it") for path in s.log_files())

        equal((verdict(d, old), verdict(d, new)), (True, False), "before")
        p.put([p.jwk("rsa", alg="RS256"), p.jwk("ed")])
        reload()
        wait_until(lambda: s.lets_in(d, node, token=new) and web.api.get(f"/ws/history/{d}", new).status == 200, "the new key to count")
        before = told()
        p.put([p.jwk("rsa", alg="RS256", d="AQAB")])
        reload()
        wait_until(lambda: told() >= before + 1 + len(programs), "an unusable set to be told")
        equal((verdict(d, old), verdict(d, new)), (True, True), "with the set that was usable")
        p.put([p.jwk("ed")])
        reload()
        wait_until(lambda: not s.lets_in(d, node, token=old) and web.api.get(f"/ws/history/{d}", old).status == 401, "the old key to be gone")
        assert verdict(d, new), "the new one"


@test("no program starts with a set of keys without issuer or audience, or with one that is not usable; each says what is wrong, and so does tidings doctor")
def _(s):
    p = Provider(s)
    p.put(p.usual())
    file = p.file

    def answers(**settings):
        """What each says, with its status."""
        environment = s.environment(**{**p.settings(TIDINGS_WS_PORT=free_port()), **settings})
        found = {}
        for program in ("tidings-ws", "api.fcgi", "broadcast.fcgi", "live.fcgi", "status.fcgi", "history.fcgi"):
            done = subprocess.run([s.program(program)], capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL, env=environment)
            found[program] = (done.returncode, done.stderr)
        done = subprocess.run([s.program("tidings"), "doctor"], capture_output=True, text=True, timeout=60, env=environment)
        found["tidings doctor"] = (2 if done.returncode == 1 else done.returncode, done.stdout)
        return found

    def refused(words, **settings):
        for program, (status, said) in answers(**settings).items():
            equal(status, 2, f"exit status of {program}: {said}")
            assert words in said, f"{program}: {said}"

    refused("TIDINGS_JWT_JWKS needs TIDINGS_JWT_ISSUER and TIDINGS_JWT_AUDIENCE", TIDINGS_JWT_ISSUER="")
    refused("TIDINGS_JWT_JWKS needs TIDINGS_JWT_ISSUER and TIDINGS_JWT_AUDIENCE", TIDINGS_JWT_AUDIENCE="")
    refused("TIDINGS_JWT_ROLE_CLAIM must be a JSON pointer", TIDINGS_JWT_ROLE_CLAIM="realm_access.roles")
    refused("TIDINGS_JWT_ROLES must be NAME=ROLE", TIDINGS_JWT_ROLES="nurse=clinical")
    refused("absent.json, named by TIDINGS_JWT_JWKS, is not there: tidings keys fetch gets it", TIDINGS_JWT_JWKS=file.with_name("absent.json"))
    file.chmod(0o666)
    refused("can be written by every user", TIDINGS_JWT_JWKS=file)
    p.put([p.jwk("small", alg="RS256"), p.jwk("rsa", alg="RS256", use="enc")])
    refused("small-1: not used: it is not of the kind or size that its algorithm takes; rsa-1: not used: it is not for signatures")
    p.put([p.jwk("rsa", "rsa", alg="RS256")])
    refused("has a key of the kid rsa for RS256, and so has TIDINGS_JWT_KEYS")
    p.put(p.usual())
    done = subprocess.run([s.program("tidings"), "doctor"], capture_output=True, text=True, timeout=60, env=s.environment(**p.settings()))
    assert "\nkeys: ok\n" in done.stdout, f"a good one: {done.stdout}"


class Certificates:
    """An authority, and certificates by it."""

    def __init__(self, folder):
        self.folder = folder
        self.authority = folder / "ca.pem"
        folder.mkdir(mode=0o700, exist_ok=True)
        self._request("ca", "/CN=test authority", "-x509", "-days", "2", "-out", self.authority)
        self._sign("right", "IP:127.0.0.1")
        self._sign("wrong", "DNS:other.example")

    def _request(self, name, subject, *more):
        run_openssl("req", "-newkey", "rsa:2048", "-nodes", "-keyout", self.folder / f"{name}.key", "-subj", subject, *more)

    def _sign(self, name, alternative):
        self._request(name, f"/CN={name}", "-out", self.folder / f"{name}.csr")
        (self.folder / "extensions").write_text(f"subjectAltName={alternative}\n")
        run_openssl("x509", "-req", "-in", self.folder / f"{name}.csr", "-CA", self.authority, "-CAkey", self.folder / "ca.key", "-CAcreateserial", "-days", "2",
                    "-extfile", self.folder / "extensions", "-out", self.folder / f"{name}.pem")


class Site:
    """An https server: `answers` has status, headers and body for each path; a path that is not in it is held until release()."""

    def __init__(self, certificates, name):
        site = self
        self.answers, self.asked, self.released = {}, [], threading.Event()

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                site.asked.append(self.path)
                if self.path not in site.answers:
                    site.released.wait()
                    return
                status, headers, body = site.answers[self.path]
                with contextlib.suppress(OSError):
                    self.send_response(status)
                    for header in headers.items():
                        self.send_header(*header)
                    # Without a length its end would be the connection's, which TLS of today wants to be told of.
                    if isinstance(body, bytes) and "Content-Length" not in headers:
                        self.send_header("Content-Length", str(len(body)))
                    self.end_headers()
                    for chunk in body if isinstance(body, list) else [body]:
                        self.wfile.write(chunk)

            def log_message(self, *_):
                pass

        class Server(http.server.ThreadingHTTPServer):
            def handle_error(self, *_):
                pass  # a client that does not trust us

        self.port = free_port()
        self.server = Server(("127.0.0.1", self.port), Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificates.folder / f"{name}.pem", certificates.folder / f"{name}.key")
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True, do_handshake_on_connect=False)
        self.thread = threading.Thread(target=self.server.serve_forever)

    def url(self, path):
        return f"https://127.0.0.1:{self.port}{path}"

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.released.set()
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


@test("tidings keys fetch writes a set of keys that the programs can use, and leaves the file as it is where anything is wrong")
def _(s):
    p = Provider(s)
    certificates = Certificates(s.folder / "certificates")
    usual, other = ({"keys": keys} for keys in (p.usual(), [p.jwk("ed"), p.jwk("ec")]))
    settings = p.settings(https_proxy="", HTTPS_PROXY="", all_proxy="", ALL_PROXY="", no_proxy="*")

    def fetch(url, *more, **change):
        args = ["--ca", certificates.authority] if not more else more
        return subprocess.run([s.program("tidings"), "keys", "fetch", *map(str, args), url], capture_output=True, text=True, timeout=120,
                              env=s.environment(**{**settings, **change}))

    def left():
        return sorted(path.name for path in p.folder.iterdir() if path.name.startswith("jwks"))

    p.file.unlink(missing_ok=True)
    with Site(certificates, "right") as site:
        site.answers = {path: (200, {"Content-Type": "application/json"}, body if isinstance(body, (bytes, list)) else json.dumps(body).encode())
                        for path, body in {"/usual": usual, "/other": other, "/html": b"<!doctype html>", "/empty": b"", "/none": {"keys": []},
                                           "/private": {"keys": [p.jwk("ed"), p.jwk("rsa", d="AQAB")]}, "/secret": {"keys": [{"kty": "oct", "k": "AAAA"}]},
                                           "/twice": {"keys": [p.jwk("ed"), p.jwk("ed")]}, "/small": {"keys": [p.jwk("small")]},
                                           "/huge": [b'{"keys":[' + b" " * 65536] * 1000}.items()}
        site.answers["/moved"] = (302, {"Location": "/usual"}, b"")
        site.answers["/moved-away"] = (302, {"Location": f"http://127.0.0.1:{site.port}/usual"}, b"")
        site.answers["/absent"] = (404, {}, json.dumps(usual).encode())
        site.answers["/cut"] = (200, {"Content-Length": "5000"}, json.dumps(usual).encode()[:100])

        done = fetch(site.url("/usual"))
        equal((done.returncode, done.stderr), (0, ""), "the first time")
        for line in ("rsa-1: RS256", "pss: PS256", "ec-1: ES256", "ed-1: EdDSA", "for-encryption: not used: it is not for signatures (use, key_ops)", f"{p.file}: written"):
            assert line in done.stdout.splitlines(), done.stdout
        equal((json.loads(p.file.read_text()), p.file.stat().st_mode & 0o777), (usual, 0o644), "the file")
        before = p.file.stat().st_ino
        done = fetch(site.url("/usual"), "--json", "--ca", certificates.authority)
        said = json.loads(done.stdout)
        equal((done.returncode, said["file"], said["written"]), (0, str(p.file), False), "in JSON")
        equal({key["kid"]: key.get("alg") for key in said["keys"]}, {"rsa-1": "RS256", "pss": "PS256", "ec-1": "ES256", "ed-1": "EdDSA", "for-encryption": None}, "the keys in JSON")
        done = fetch(site.url("/usual"))
        assert done.returncode == 0 and f"{p.file}: unchanged" in done.stdout, done.stdout
        equal(p.file.stat().st_ino, before, "the file, unchanged")
        equal(fetch(site.url("/other")).returncode, 0, "the second time")
        equal(json.loads(p.file.read_text()), other, "the file, replaced")

        for path, words in (("/html", "is no JSON object"), ("/empty", "is no JSON object"), ("/none", "no array `keys`"), ("/private", "a private key or a secret"),
                            ("/secret", "a private key or a secret"), ("/twice", "has a second key of the kid ed-1 for EdDSA"), ("/small", "no key that tokens could be checked with"),
                            ("/huge", "has more than 131072 bytes"), ("/moved", "status 302"), ("/moved-away", "status 302"), ("/absent", "status 404"),
                            ("/cut", "could not be fetched")):
            done = fetch(site.url(path))
            equal((done.returncode, done.stdout), (1, ""), f"{path}: {done.stderr}")
            assert words in done.stderr, f"{path}: {done.stderr}"
            equal((json.loads(p.file.read_text()), left()), (other, ["jwks.json"]), f"{path}: the file")
        assert "/usual" not in site.asked[site.asked.index("/moved"):], "a redirect was followed"

        asked = len(site.asked)
        done = fetch(site.url("/usual"), "--ca", s.folder / "certificates" / "wrong.pem")
        equal(done.returncode, 1, f"an authority that is not trusted: {done.stderr}")
        assert "certificate" in done.stderr, done.stderr
        done = fetch(site.url("/usual"), "--ca", "/etc/ssl/certs/ca-certificates.crt")
        equal(done.returncode, 1, f"the system's authorities: {done.stderr}")
        for url in (site.url("/usual").replace("https", "http", 1), "file:///etc/passwd", "ftp://127.0.0.1/keys", "-K/etc/passwd", "127.0.0.1/usual"):
            done = fetch(url, "--") if url.startswith("-") else fetch(url)
            equal(done.returncode, 2, f"{url}: {done.stderr}")
        equal(fetch(site.url("/usual").replace("127.0.0.1", "me:secretive@127.0.0.1")).returncode, 1, "a password in the address")
        equal(len(site.asked), asked, "requests that were let through")
        # Programs refuse both, and would not start again.
        folder = s.folder / "same-kid"
        folder.mkdir(mode=0o700)
        (folder / "ed-1.EdDSA").write_bytes(run_openssl("pkey", "-in", p.folder / "ed.pem", "-pubout"))
        for change, status, words in (({"TIDINGS_JWT_JWKS": ""}, 2, "TIDINGS_JWT_JWKS is not set"), ({"TIDINGS_JWT_AUDIENCE": ""}, 2, "TIDINGS_JWT_AUDIENCE"),
                                      ({"PATH": "/nowhere"}, 1, "curl"), ({"TIDINGS_JWT_ALGORITHMS": "HS256"}, 1, "TIDINGS_JWT_ALGORITHMS"),
                                      ({"TIDINGS_JWT_JWKS": "/proc/jwks.json"}, 1, "/proc/jwks.json cannot be written"),
                                      ({"TIDINGS_JWT_KEYS": folder}, 1, "has a key of the kid ed-1 for EdDSA, and so has TIDINGS_JWT_KEYS")):
            done = fetch(site.url("/usual"), **change)
            equal(done.returncode, status, f"{change}: {done.stderr}")
            assert words in done.stderr, f"{change}: {done.stderr}"
        equal((json.loads(p.file.read_text()), left()), (other, ["jwks.json"]), "the file")

        # Time is limited: who is asked says nothing.
        child = subprocess.Popen([s.program("tidings"), "keys", "fetch", "--ca", certificates.authority, site.url("/silent")], env=s.environment(**settings),
                                 stderr=subprocess.PIPE, text=True)
        wait_until(lambda: "/silent" in site.asked, "the request")
        assert re.search(r"curl .*--proto =https .*--max-time 30 ", " ".join(map(command_line, descendants(child.pid)))), descendants(child.pid)
        site.released.set()
        equal((child.wait(60), "could not be fetched" in child.stderr.read()), (1, True), "silence")
        child.stderr.close()
    with Site(certificates, "wrong") as site:
        site.answers["/usual"] = (200, {}, json.dumps(usual).encode())
        done = fetch(site.url("/usual"))
        equal((done.returncode, site.asked), (1, []), f"a certificate for another name: {done.stderr}")
        assert "SSL" in done.stderr, done.stderr
    equal((json.loads(p.file.read_text()), left()), (other, ["jwks.json"]), "the file")


def examples(heading):
    """(settings, claims) of the examples below a heading of doc/identity-providers.md, in their order."""
    section = re.search(rf"^## {heading}\n(.*?)^## ", (TOP / "doc" / "identity-providers.md").read_text(), re.M | re.S)[1]
    settings = [dict(line.split("=", 1) for line in block.splitlines()) for block in re.findall(r"^```ini\n(.*?)^```", section, re.M | re.S)]
    claims = [json.loads(block) for block in re.findall(r"^```json\n(.*?)^```", section, re.M | re.S)]
    equal(len(settings), len(claims), f"examples below {heading}")
    return list(zip(settings, claims))


def by_the_book(s, settings):
    """The settings of an example, with a file and a folder that are there."""
    p = Provider(s)
    p.put([p.jwk("rsa", "k1", alg="RS256", use="sig"), p.jwk("rsa", "k2", alg="RSA-OAEP", use="enc")])
    folder = s.folder / "own-keys"
    folder.mkdir(mode=0o700, exist_ok=True)
    (folder / "default.HS256").write_bytes(s.secrets["default"])
    (folder / "default.HS256").chmod(0o600)
    return p, {**settings, "TIDINGS_JWT_JWKS": p.file, "TIDINGS_JWT_KEYS": folder}


def shaped(p, claims, **change):
    now = int(time.time())
    body = {**claims, "iat": now, "exp": now + 300, **change}
    return make_jwt({k: v for k, v in body.items() if v is not None}, p.sign("rsa", "RS256"), "RS256", "k1")


def who(s, node, token):
    """(user_id, role), or None when refused."""
    with Live(s, node, "combined", token=token, authenticate=False) as live:
        live.send("authenticate", token=token)
        answer = live.next()
        return (answer["data"]["user_id"], answer["data"]["role"]) if answer["type"] == "authenticated" else None


@test("access tokens of Keycloak's shape, with the settings of doc/identity-providers.md: user and role, a backend that publishes, and what is refused")
def _(s):
    ((settings, claims),) = examples("Keycloak")
    p, settings = by_the_book(s, settings)
    user = claims["sub"]
    d = s.diagnosis(owner=user)

    def roles(*names):
        return {"realm_access": {"roles": ["offline_access", *names]}}

    with both(s, **settings) as (node, web, verdict):
        assert verdict(d, shaped(p, claims)), "the example was refused"
        equal(who(s, node, shaped(p, claims)), (user, "clinician"), "the example")
        equal(who(s, node, shaped(p, claims, **roles())), (user, "user"), "without a role")
        equal(who(s, node, shaped(p, claims, **roles("nurse", "tidings-admin"))), (user, "admin"), "with two roles")
        equal(who(s, node, shaped(p, claims, **roles("admin", "service"), role="admin", roles=["admin"])), (user, "user"), "roles of other names and places")
        equal(who(s, node, shaped(p, claims, **roles(), resource_access={"tidings": {"roles": ["tidings-admin"]}})), (user, "user"), "roles of a client")
        for wrong in ({"aud": "account"}, {"iss": "https://sso.example/realms/other"}, {"iss": "https://sso.example/realms/clinic/"}, {"sub": None}, {"exp": 1}):
            equal(who(s, node, shaped(p, claims, **wrong)), None, f"{wrong}")
            assert not verdict(d, shaped(p, claims, **wrong)), wrong
        service = shaped(p, claims, sub="service-account", **roles("tidings-service"))
        s.recommend(d, token=service, api=web.api)
        s.recommend(d, token=shaped(p, claims, sub="somebody", **roles()), api=web.api, want=403)
        for role, name in (("service", "tidings-service"), ("admin", "tidings-admin"), ("clinician", "nurse"), ("user", None)):
            made = s.command("tidings", "token", "--user", "me", "--role", role, **settings).strip()
            equal(who(s, node, made), ("me", role), "what tidings token makes")
    with s.node(**settings, TIDINGS_JWT_USER_CLAIM="/preferred_username") as node:
        equal(who(s, node, shaped(p, claims)), ("ada", "clinician"), "by name")
        equal(who(s, node, shaped(p, claims, preferred_username=None)), None, "without a name")


@test("access tokens of SMART on FHIR's shape, with the settings of doc/identity-providers.md: practitioners, patients and services")
def _(s):
    (person_settings, person), (service_settings, service) = examples("SMART on FHIR")
    p, settings = by_the_book(s, person_settings)
    user = person["fhirUser"]
    d = s.diagnosis(owner=user)
    with both(s, **settings) as (node, web, verdict):
        assert verdict(d, shaped(p, person)), "the example was refused"
        equal(who(s, node, shaped(p, person)), (user, "clinician"), "a practitioner")
        whole = "https://ehr.example/fhir/Practitioner/71482713"
        equal(who(s, node, shaped(p, person, fhirUser=whole)), (whole, "clinician"), "a practitioner's address")
        equal(who(s, node, shaped(p, person, fhirUser="Patient/1")), ("Patient/1", "user"), "a patient")
        equal(who(s, node, shaped(p, person, fhirUser="https://evil.example/Practitioner/1")), ("https://evil.example/Practitioner/1", "user"), "of elsewhere")
        for wrong in ({"fhirUser": None}, {"fhirUser": [user]}, {"fhirUser": ""}, {"aud": "https://ehr.example"}, {"aud": "growth_chart"}):
            equal(who(s, node, shaped(p, person, **wrong)), None, f"{wrong}")
        with Live(s, node, token=shaped(p, person)) as live:
            equal(live.auth["data"]["subscriptions"], ["health_updates"], "the stream of one whose id is of two parts")
        reply = web.api.post("/ws/broadcast-recommendation-update", {"diagnosis_id": d, "old_data": {}, "new_data": {}, "reason": "r"}, shaped(p, person))
        equal(reply.status, 200, f"the owner's: {reply}")
    with s.node(**settings | {"TIDINGS_JWT_USER_CLAIM": "/patient"}) as node:
        equal(who(s, node, shaped(p, person, fhirUser="Patient/1")), (person["patient"], "user"), "by the patient")
    _p, settings = by_the_book(s, service_settings)
    with both(s, **settings) as (_node, web, _verdict):
        s.recommend(d, token=shaped(p, service), api=web.api)
        for scope in ("system/*.rs", "system/Observation.cruds", "system/*.crudsx", "patient/*.cruds user/*.cruds"):
            s.recommend(d, token=shaped(p, service, scope=scope), api=web.api, want=403)
        s.recommend(d, token=shaped(p, service, scope="openid  system/*.cruds launch"), api=web.api)
