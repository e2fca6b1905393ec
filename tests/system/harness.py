"""
harness - the whole of tidings, running for real, and clients of it.

	Stack		PostgreSQL, lighttpd with the FastCGI programs, and a sidecar, in one private folder
	Stack.node()	one more sidecar with settings of its own; Stack.web(): one more web server
	Client		a WebSocket client (python3-websockets); RawClient: a socket, for what no library would send
	Api		HTTP requests; a reply is kept whole

A test waits for events (a port that opens, a row that is there, a message that comes), never for time to pass; every wait ends
in a failure after WAIT_S. What must NOT come is shown by something sent after it that comes first.
"""
import asyncio
import base64
import contextlib
import functools
import hmac
import http.client
import inspect
import io
import json
import os
import pathlib
import pwd
import re
import resource
import secrets
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import threading
import time

import websockets

import contract

# A login may open 1,024 files at first, and a test's clients are more.
resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)

WAIT_S = 20
TOP = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("TIDINGS_BUILD", TOP / "build")).resolve()
# The newest PostgreSQL that is installed.
PG_BIN = max(pathlib.Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda p: int(p.parts[4])).parent
# In pg_stat_activity: of a connection that listens, which asks now and then whether its server can still write.
LISTENS = "state = 'idle' and (query like '%tidings.listen()' or query like 'SELECT pg_is_in_recovery()%')"
ROLES = ("postgres", "tidings_publisher", "tidings_reader", "tidings_status", "tidings_sidecar")


class Skip(Exception):
    """This machine lacks what the test needs."""


def find_program(name):
    """The path of a server's program: Debian has them where only root's PATH leads. None when it is not installed."""
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/local/sbin:/usr/sbin:/usr/bin")


TESTS = []


def test(sentence, allow=None):
    """Marks a test. `allow`: a regular expression; log lines of level error that match are expected."""

    def mark(function):
        TESTS.append((function.__module__, sentence, function, allow))
        return function

    return mark


def equal(got, wanted, what="value"):
    assert got == wanted, f"{what}: got {got!r}, wanted {wanted!r}"


def wait_until(condition, what, seconds=WAIT_S):
    """The first true value of condition(), asked again and again, a third of the time; it may raise OSError while not ready."""
    end = time.monotonic() + seconds
    last = None
    while True:
        asked = time.monotonic()
        try:
            last = condition()
        except OSError as e:
            last = e
        else:
            if last:
                return last
        took = time.monotonic() - asked
        if asked + took > end:
            raise AssertionError(f"waited in vain for {what}; last: {last!r}")
        time.sleep(min(max(0.02, 2 * took), 0.3))


# ---------------------------------------------------------------------------------------------------------------- tokens


def b64(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def hs_sign(secret, bits=256):
    return lambda data: hmac.new(secret, data, f"sha{bits}").digest()


def openssl_sign(key_file, bits=256, ec_half=0, pss=False):
    def sign(data):
        args = ["openssl", "dgst", f"-sha{bits}", "-sign", str(key_file)]
        if pss:
            args += ["-sigopt", "rsa_padding_mode:pss", "-sigopt", "rsa_pss_saltlen:-1"]
        der = subprocess.run(args, input=data, capture_output=True, check=True).stdout
        return raw_ecdsa(der, ec_half) if ec_half else der

    return sign


def raw_ecdsa(der, half):
    """r and s of an ASN.1 signature, side by side, as JWTs have them."""
    at = 2 if der[1] < 0x80 else 3
    out = b""
    for _ in range(2):
        length = der[at + 1]
        out += int.from_bytes(der[at + 2 : at + 2 + length], "big").to_bytes(half, "big")
        at += 2 + length
    return out


def make_jwt(claims, sign, alg="HS256", kid=None, **header):
    head = {"alg": alg, "typ": "JWT", **header}
    if kid is not None:
        head["kid"] = kid
    signed = b64(json.dumps(head).encode()) + "." + b64(json.dumps(claims).encode())
    return signed + "." + b64(sign(signed.encode()))


# ------------------------------------------------------------------------------------------------------------------ HTTP


class Reply:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    @property
    def json(self):
        return json.loads(self.body)

    def __repr__(self):
        return f"{self.status} {dict(self.headers)} {self.body[:300]!r}"

    def want(self, status):
        """The reply's JSON; an error's must be a problem in form (RFC 9457)."""
        assert self.status == status, f"got {self!r}, wanted {status}"
        if status >= 400:
            self.check_problem()
        else:
            equal(self.headers.get_content_type(), "application/json", f"content type of {self!r}")
        return self.json

    def check_problem(self):
        equal(self.headers.get_content_type(), "application/problem+json", f"content type of {self!r}")
        problem = self.json
        for name in ("type", "title", "detail"):
            assert isinstance(problem.get(name), str) and problem[name], f"{name} is missing in {self!r}"
        equal(problem.get("status"), self.status, "status in the problem")
        leak = re.search(r"(?i)\bselect\b|sqlstate|postgres|libpq|/usr/|\.c:\d|tidings\.\w+\(|function ", problem["detail"])
        assert not leak, f"something internal in {problem}"


class Api:
    """Requests to one port: a web server's, or a sidecar's own; or another program's, which web/openapi.json does not describe."""

    def __init__(self, port, sidecar=False, described=True, host="127.0.0.1"):
        self.port, self.sidecar, self.described, self.host = port, sidecar, described, host

    def request(self, method, path, body=None, token=None, headers=None, timeout=60):
        connection = http.client.HTTPConnection(self.host, self.port, timeout=timeout)
        try:
            return self.request_on(connection, method, path, body, token, headers)
        finally:
            connection.close()

    def request_on(self, connection, method, path, body=None, token=None, headers=None):
        all_headers = dict(headers or {})
        if token:
            all_headers.setdefault("Authorization", f"Bearer {token}")
        if body is not None and not isinstance(body, (bytes, str)):
            body = json.dumps(body)
        if isinstance(body, str):
            body = body.encode()
        if body is not None:
            all_headers.setdefault("Content-Type", "application/json")
        all_headers = {k: v for k, v in all_headers.items() if v is not None}
        connection.request(method, path, body, all_headers)
        answer = connection.getresponse()
        # An event stream has no end.
        endless = answer.headers.get_content_type() == "text/event-stream"
        reply = Reply(answer.status, answer.headers, b"" if endless else answer.read())
        if self.described:
            contract.exchange(method, path, all_headers, body, reply, self.sidecar)
        return reply

    def get(self, path, token=None, headers=None):
        return self.request("GET", path, None, token, headers)

    def post(self, path, body, token=None, headers=None):
        return self.request("POST", path, body, token, headers)

    def raw(self, data, half_close=False):
        """Sends bytes as they are; returns everything that comes until the server closes, or the first reply's head and body."""
        with socket.create_connection((self.host, self.port), timeout=WAIT_S) as s:
            s.sendall(data)
            if half_close:
                s.shutdown(socket.SHUT_WR)
            reply = read_reply(s)
        asked = re.match(rb"([A-Z]+) (/\S*) HTTP/1\.1\r\n", data)
        if asked:
            contract.exchange(asked[1].decode(), asked[2].decode(errors="replace"), None, None, reply, self.sidecar)
        return reply


def read_reply(s):
    reply = http.client.HTTPResponse(s)
    reply.begin()
    return Reply(reply.status, reply.headers, reply.read())


# ------------------------------------------------------------------------------------------------------------- WebSocket


class Loop:
    """One event loop in a thread, so that tests read as a list of steps."""

    def __init__(self):
        self.loop = asyncio.new_event_loop()
        threading.Thread(target=self.loop.run_forever, daemon=True).start()

    def run(self, coroutine, seconds=WAIT_S):
        future = asyncio.run_coroutine_threadsafe(asyncio.wait_for(coroutine, seconds), self.loop)
        # What it has received would be lost if it were given up before the loop has come to its end.
        return future.result(seconds + 60)


@functools.lru_cache(None)
def loop():
    return Loop()


# websockets 14 has renamed it.
HEADERS = "additional_headers" if "additional_headers" in inspect.signature(websockets.connect).parameters else "extra_headers"


class Closed(AssertionError):
    def __init__(self, code, reason):
        super().__init__(f"closed with {code} {reason!r}")
        self.code, self.reason = code, reason


class Client:
    """A connected WebSocket client. `first` is the connect message once it has been read."""

    def __init__(self, url, headers=None, subprotocols=None, hello=True):
        async def dial():
            return await websockets.connect(url, **{HEADERS: headers or {}}, subprotocols=subprotocols, ping_interval=None, max_size=None,
                                            max_queue=None, compression=None, open_timeout=WAIT_S, close_timeout=4)

        self.ws = loop().run(dial())
        self.dialog = contract.Dialog(url)
        self.first = None
        if hello:
            self.first = self.next()
            equal(self.first.get("type"), "connect", f"type of the first message {self.first}")

    @property
    def id(self):
        return self.first["data"]["connection_id"]

    @property
    def cursor(self):
        return self.first["data"]["cursor"]

    @property
    def is_closed(self):
        return self.ws.close_code is not None

    def text(self, seconds=WAIT_S):
        try:
            text = loop().run(self.ws.recv(), seconds)
        except websockets.ConnectionClosed:
            self.dialog.ended(self.ws.close_code)
            raise Closed(self.ws.close_code, self.ws.close_reason) from None
        except asyncio.TimeoutError:
            raise AssertionError("no message came") from None
        self.dialog.heard(json.loads(text))
        return text

    def next(self, seconds=WAIT_S):
        return json.loads(self.text(seconds))

    def take(self, count):
        return [self.next() for _ in range(count)]

    def seqs_up_to(self, last):
        """The seqs of what comes, missed and live, until that one or a later one."""
        seqs = []
        while not seqs or seqs[-1] < last:
            m = self.next()
            seqs += [x["seq"] for x in m["data"]["messages"]] if m["type"] == "reconnect_messages" else [m["seq"]]
        return seqs

    def send(self, message):
        text = message if isinstance(message, (str, bytes)) else json.dumps(message)
        self.dialog.say(text)
        try:
            loop().run(self.ws.send(text))
        except websockets.ConnectionClosed:
            raise Closed(self.ws.close_code, self.ws.close_reason) from None

    def answers(self, message="ping"):
        """The next message is the answer to a ping: nothing else was on its way."""
        self.send(message)
        reply = self.next()
        equal(reply.get("type"), "pong", f"type of the answer to a ping {reply}")
        return reply

    def closed(self, seconds=WAIT_S):
        """(code, reason) of the close that the server sends; messages before it are skipped."""
        while True:
            try:
                self.text(seconds)
            except Closed as c:
                return c.code, c.reason

    def close(self, code=1000):
        loop().run(self.ws.close(code))
        return self.ws.close_code

    def __enter__(self):
        return self

    def __exit__(self, *_):
        with contextlib.suppress(Exception):
            self.close()


def frame(opcode, payload=b"", fin=True, mask=True, length=None):
    """A WebSocket frame (RFC 6455, 5.2); `length`: announce that many bytes instead."""
    n = len(payload) if length is None else length
    head = bytes([opcode | (0x80 if fin else 0)])
    bit = 0x80 if mask else 0
    if n < 126:
        head += bytes([n | bit])
    elif n < 65536:
        head += bytes([126 | bit]) + struct.pack("!H", n)
    else:
        head += bytes([127 | bit]) + struct.pack("!Q", n)
    if not mask:
        return head + payload
    key = os.urandom(4)
    long_key = (key * (len(payload) // 4 + 1))[: len(payload)]
    masked = (int.from_bytes(payload, "big") ^ int.from_bytes(long_key, "big")).to_bytes(len(payload), "big")
    return head + key + masked


def address_of(port):
    """Family and address of a port of this machine, or of a socket's path."""
    return (socket.AF_INET, ("127.0.0.1", port)) if isinstance(port, int) else (socket.AF_UNIX, str(port))


class RawClient:
    """A WebSocket client that does only what it is told: answers no ping, reads only when asked."""

    def __init__(self, port, path, headers=(), rcvbuf=None, handshake=True):
        """`port`: or the path of a socket, on which the kernel keeps little of what nobody reads."""
        family, address = address_of(port)
        self.s = socket.socket(family)
        if rcvbuf:
            self.s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, rcvbuf)
        self.s.settimeout(WAIT_S)
        self.s.connect(address)
        if family == socket.AF_INET:
            self.s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer, self.fragments = b"", []
        self.dialog = contract.Dialog(path)
        if handshake:
            self.s.sendall(upgrade_request(path, headers))
            head = self._head()
            assert head.startswith(b"HTTP/1.1 101"), f"no upgrade: {head!r}"
            answer = http.client.parse_headers(io.BytesIO(head.partition(b"\r\n")[2] + b"\r\n\r\n"))
            contract.exchange("GET", path, None, None, Reply(101, answer, b""))

    def _more(self):
        data = self.s.recv(65536)
        if not data:
            raise EOFError("the server closed")
        self.buffer += data

    def _head(self):
        while b"\r\n\r\n" not in self.buffer:
            self._more()
        head, self.buffer = self.buffer.split(b"\r\n\r\n", 1)
        return head

    def _bytes(self, n):
        while len(self.buffer) < n:
            self._more()
        data, self.buffer = self.buffer[:n], self.buffer[n:]
        return data

    def frame(self):
        """(opcode, payload) of the next frame, or of all fragments of a message."""
        while True:
            first, second = self._bytes(2)
            assert not second & 0x80, "a server's frame is masked"
            n = second & 0x7F
            if n == 126:
                n = struct.unpack("!H", self._bytes(2))[0]
            elif n == 127:
                n = struct.unpack("!Q", self._bytes(8))[0]
            opcode, payload = first & 0x0F, self._bytes(n)
            if opcode >= 8:
                return opcode, payload
            equal(opcode == 0, bool(self.fragments), "is it the continuation of a message")
            self.fragments.append((opcode, payload))
            if first & 0x80:
                opcode, payload = self.fragments[0][0], b"".join(payload for _, payload in self.fragments)
                self.fragments = []
                return opcode, payload

    def next(self):
        while True:
            opcode, payload = self.frame()
            if opcode == 1:
                message = json.loads(payload)
                self.dialog.heard(message)
                return message
            if opcode == 8:
                raise Closed(struct.unpack("!H", payload[:2])[0] if len(payload) >= 2 else 1005, payload[2:].decode(errors="replace"))

    def send(self, *args, **kw):
        self.s.sendall(frame(*args, **kw))

    def end(self):
        """How the server ends this: a close code, or None when it just closes the socket."""
        try:
            while True:
                self.next()
        except Closed as c:
            return c.code
        except (EOFError, ConnectionError):
            return None

    def close(self):
        self.s.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def upgrade_request(path, headers=(), version=13):
    lines = [f"GET {path} HTTP/1.1", "Host: localhost", "Upgrade: websocket", "Connection: Upgrade",
             "Sec-WebSocket-Key: " + base64.b64encode(os.urandom(16)).decode(), f"Sec-WebSocket-Version: {version}", *headers]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


# ----------------------------------------------------------------------------------------------------------------- stack


def free_port(start=[int(os.environ.get("TIDINGS_TEST_PORT", 18200))]):
    while True:
        port = start[0]
        start[0] += 1
        with socket.socket() as s:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                s.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue


def port_open(port):
    """`port`: or the path of a socket."""
    family, address = address_of(port)
    with socket.socket(family) as s:
        s.settimeout(1)
        s.connect(address)
        return True


class Process:
    """One child, its log in a file; ended by its pid."""

    def __init__(self, name, args, env, folder, cwd=None):
        self.name = name
        self.log = folder / f"{name}.log"
        self.how = {"args": [str(a) for a in args], "env": env, "cwd": cwd}
        self.begin()

    def begin(self):
        """Starts it, or, where it has ended, starts it again."""
        with open(self.log, "ab") as log:
            self.child = subprocess.Popen(**self.how, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    @property
    def pid(self):
        return self.child.pid

    @contextlib.contextmanager
    def ended_unless_begun(self):
        """It is nobody else's to end before it is there."""
        try:
            yield
        except BaseException:
            with contextlib.suppress(AssertionError):
                self.stop()
            raise

    def alive(self):
        if self.child.poll() is not None:
            raise AssertionError(f"{self.name} ended with {self.child.returncode}:\n{self.log.read_text(errors='replace')[-2000:]}")
        return True

    def wait_port(self, port):
        wait_until(lambda: self.alive() and port_open(port), f"{self.name} to listen on {port}")

    def signal(self, number):
        if self.child.poll() is None:
            self.child.send_signal(number)

    def wait(self, seconds=WAIT_S):
        return self.child.wait(seconds)

    def stop(self, seconds=WAIT_S):
        self.signal(signal.SIGCONT)
        self.signal(signal.SIGTERM)
        try:
            return self.child.wait(seconds)
        except subprocess.TimeoutExpired:
            self.child.kill()
            self.child.wait()
            raise AssertionError(f"{self.name} did not end on SIGTERM") from None


class Node(Process):
    """A sidecar on a port of its own."""

    def __init__(self, stack, name, settings, port=None):
        self.port = port or free_port()
        self.api = Api(self.port, sidecar=True)
        self.socket = stack.folder / f"ws-{self.port}.sock"
        env = stack.environment(**{"TIDINGS_WS_PORT": self.port, "TIDINGS_WS_SOCKET": self.socket, "TIDINGS_DRAIN_TIME": 0, **settings})
        super().__init__(name, [stack.program("tidings-ws")], env, stack.logs)
        with self.ended_unless_begun():
            self.wait_listening()

    def wait_listening(self):
        # On its path after its port.
        for place in (self.port, self.socket):
            self.wait_port(place)

    def id(self):
        """As the database knows it."""
        return wait_until(lambda: re.search(r"listening address=.* node=(\S+)", self.log.read_text()), f"{self.name} to tell its id")[1]

    def has_read(self):
        """What was sent to it before this has been read: so has a request that came behind it."""
        self.api.get("/nothing")


class Web(Process):
    """A lighttpd with FastCGI programs of its own, in front of a sidecar; `folder`: that of another one, which has ended."""

    def __init__(self, stack, name, node, settings, folder=None):
        self.port = free_port()
        self.api = Api(self.port)
        self.folder = folder or stack.folder / name
        self.folder.mkdir(exist_ok=bool(folder))
        env = stack.environment(TIDINGS_PORT=self.port, TIDINGS_WS_SOCKET=node.socket, TIDINGS_STATE=self.folder,
                                TIDINGS_LIBEXEC=stack.program("broadcast.fcgi").parent, TIDINGS_SHARE=stack.share, **settings)
        super().__init__(name, [find_program("lighttpd"), "-D", "-f", stack.share / "etc" / "lighttpd.conf"], env, stack.logs, cwd=self.folder)
        with self.ended_unless_begun():
            self.wait_port(self.port)
            wait_until(lambda: self.api.get("/health").status in (200, 503), f"{name} to answer")

    def programs(self, name):
        """Pids of its FastCGI programs of that name."""
        return [p for p in descendants(self.pid) if name in command_line(p)]


def command_line(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        return ""


def descendants(pid):
    found = []
    for task in pathlib.Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            for child in task.read_text().split():
                found += [int(child), *descendants(child)]
    return found


def is_running(pid):
    """One that has ended and that nobody has collected yet is not."""
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] != "Z"
    except OSError:
        return False


class Transaction:
    """Does something in the database that the programs have to wait for: until the end of the block."""

    def __init__(self, s, statement):
        self.psql = subprocess.Popen(["psql", "-qXAt"], env=s.psql_env("postgres", "tidings"), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                     text=True)
        self.psql.stdin.write(f"begin; {statement}; select 'locked';\n")
        self.psql.stdin.flush()
        equal(self.psql.stdout.readline(), "locked\n", "answer of psql")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.psql.communicate("commit;\n")


class Lock(Transaction):
    """Keeps a table of ours locked: on a slow machine for longer than a statement of the nodes may take."""

    def __init__(self, s, table):
        super().__init__(s, f"lock table {table} in access exclusive mode")
        s.expected = r"statement=(flush|heartbeat|relay|sweep) sqlstate=57014"


@contextlib.contextmanager
def stopped(pid):
    """That process stands still meanwhile."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


@contextlib.contextmanager
def edited(s, function, old, new):
    """A function of ours, with one piece of it replaced."""
    definition = s.sql(f"select pg_get_functiondef('tidings.{function}'::regproc)", database="tidings")
    text = "\n".join("\t".join(row) for row in definition)
    assert old in text, text
    s.sql(text.replace(old, new, 1))
    try:
        yield
    finally:
        s.sql(text)


@contextlib.contextmanager
def clock_ahead(s, seconds):
    """A clock that is wrong, for a program that is started with these settings."""
    name = s._name("clock")
    source, library = s.folder / f"{name}.c", s.folder / f"{name}.so"
    source.write_text("""#define _GNU_SOURCE
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
int clock_gettime(clockid_t clock, struct timespec *t)
{
	int failed = (int)syscall(SYS_clock_gettime, clock, t);
	if (clock == CLOCK_REALTIME)
		t->tv_sec += AHEAD;
	return failed;
}
""")
    subprocess.run(["gcc", "-shared", "-fPIC", f"-DAHEAD={seconds}", "-o", library, source], check=True)
    yield {"LD_PRELOAD": library, "ASAN_OPTIONS": "verify_asan_link_order=0:detect_leaks=0"}


def pages_apart(s):
    """What clients missed does not come with the answer that lets them in meanwhile, but has to be asked for."""
    return edited(s, "attach", "p_rows > 0", "false")


class Silence:
    """Nothing of tidings rings: its function calls, instead of pg_notify(), one that does nothing. Put back at the end."""

    def __init__(self, s):
        self.s = s
        self.functions = [row[0] for row in s.sql(
            "select p.oid from pg_proc p where p.pronamespace = 'tidings'::regnamespace and p.prosrc like '%pg_notify(%'")]
        assert len(self.functions) == 1, self.functions

    def _replace(self, old, new):
        for oid in self.functions:
            self.s.sql(f"do $do$ begin execute replace(pg_get_functiondef({oid}), '{old}', '{new}'); end $do$")

    def __enter__(self):
        self.s.sql("create function tidings.unheard(text, text) returns void language sql as ''; "
                   "grant execute on function tidings.unheard(text, text) to public")
        self._replace("pg_notify(", "tidings.unheard(")
        return self

    def __exit__(self, *_):
        self._replace("tidings.unheard(", "pg_notify(")
        self.s.sql("drop function tidings.unheard(text, text)")


class Stack:
    def __init__(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="tidings-test-"))
        self.folder.chmod(0o755)
        self.logs = self.folder / "logs"
        self.logs.mkdir()
        self.processes = []
        self.ids = 100000
        self.names = {}
        self.postgres_alive = False
        self.expected = None  # in the logs, of the test that runs
        self.pg_user = "postgres" if os.geteuid() == 0 else None
        try:
            self._begin()
        except BaseException:
            self.stop()
            raise

    # what it is made of

    def _begin(self):
        """Whatever of it is there when this fails is ended."""
        self._share()
        self._keys()
        self._postgres()
        self.node1 = self.start_node()
        self.web1 = self.start_web(self.node1)
        self.api = self.web1.api
        self.wait_ready()

    def program(self, name):
        for place in (BUILD / name, BUILD / "src" / name, BUILD / "ws" / name, BUILD / "fcgi" / name):
            if place.is_file():
                return place
        raise SystemExit(f"{BUILD}/{name} is not there: build first, or set TIDINGS_BUILD")

    def environment(self, **settings):
        env = {k: v for k, v in os.environ.items() if not k.startswith(("TIDINGS_", "PG"))}
        env.update(TIDINGS_DATABASE=self.conninfo, TIDINGS_JWT_KEYS=str(self.keys),
                   TIDINGS_JWT_ALGORITHMS="HS256,HS512,RS256,ES256", TIDINGS_LOG_LEVEL="info", TIDINGS_PUBLISH_RATE="0", TIDINGS_STATUS="public",
                   TIDINGS_USER_CONNECTIONS_MAX="0", TIDINGS_CONNECT_BURST="10000",
                   TIDINGS_DATABASE_TIMEOUT="3000")
        env.setdefault("ASAN_OPTIONS", "detect_leaks=1:abort_on_error=0")
        env.setdefault("UBSAN_OPTIONS", "print_stacktrace=1")
        env.update({k: str(v) for k, v in settings.items()})
        return env

    def _share(self):
        """web/, etc/ and sql/, where those who have dropped root's rights can read them: here, or a copy when this is in /root."""
        self.share = TOP
        as_www_data = ["setpriv", "--reuid=www-data", "--regid=www-data", "--clear-groups", "test", "-r", TOP / "web" / "docs.html"]
        if self.pg_user and subprocess.run(as_www_data, cwd="/").returncode != 0:
            self.share = self.folder / "served"
            for name in ("web", "etc", "sql"):
                shutil.copytree(TOP / name, self.share / name, ignore=shutil.ignore_patterns("node_modules", "dist"))
            subprocess.run(["chmod", "-R", "go=rX", self.share], check=True)

    def _keys(self):
        self.keys = self.folder / "jwt"
        self.keys.mkdir(mode=0o700)
        self.private = self.folder / "private"
        self.private.mkdir(mode=0o700)
        self.secrets = {"default": secrets.token_hex(32).encode(), "previous": secrets.token_hex(32).encode(),
                        "large": secrets.token_hex(64).encode()}
        self._write_key("default.HS256", self.secrets["default"])
        self._write_key("previous.HS256", self.secrets["previous"])
        self._write_key("large.HS512", self.secrets["large"])
        for kid, alg, how in (("rsa", "RS256", ["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"]),
                              ("ec", "ES256", ["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"])):
            private = self.private / f"{kid}.pem"
            subprocess.run(["openssl", "genpkey", *how, "-out", private], check=True, capture_output=True)
            public = subprocess.run(["openssl", "pkey", "-in", private, "-pubout"], check=True, capture_output=True).stdout
            self._write_key(f"{kid}.{alg}", public)

    def _write_key(self, name, data):
        path = self.keys / name
        path.write_bytes(data)
        path.chmod(0o600)

    def _postgres_folder(self):
        self.pg_folder = self.folder / "postgres"
        self.pg_folder.mkdir()

    def _postgres(self):
        self._postgres_folder()
        if self.pg_user:
            shutil.chown(self.pg_folder, self.pg_user)
        self.pg_data = self.pg_folder / "data"
        self._as_postgres(PG_BIN / "initdb", "-D", self.pg_data, "-U", "postgres", "-A", "peer", "-E", "UTF8", "--locale=C.UTF-8",
                          "--no-instructions")
        systems = {pwd.getpwuid(os.geteuid()).pw_name, "postgres", "www-data"}
        (self.pg_data / "pg_hba.conf").write_text("local all all peer map=tidings\n")
        (self.pg_data / "pg_ident.conf").write_text("".join(f"tidings {s} {r}\n" for s in systems for r in ROLES))
        with open(self.pg_data / "postgresql.conf", "a") as conf:
            conf.write(f"listen_addresses = ''\nunix_socket_directories = '{self.pg_folder}'\nmax_connections = 200\n"
                       "shared_buffers = 64MB\nlog_statement = 'none'\n")
        self.conninfo = f"host={self.pg_folder} dbname=tidings"
        self.start_postgres()
        self._schema()

    def _schema(self):
        self.sql("create database tidings", database="postgres")
        self.command("tidings", "migrate", "--dir", TOP / "sql", TIDINGS_DATABASE=self.conninfo + " user=postgres")
        subprocess.run(["psql", "-qX", "-v", "ON_ERROR_STOP=1", "-f", TOP / "sql" / "demo.sql"], check=True, capture_output=True,
                       env=self.psql_env("postgres", "tidings"))

    def _as_postgres(self, *args):
        before = ["runuser", "-u", self.pg_user, "--"] if self.pg_user else []
        done = subprocess.run([*before, *map(str, args)], capture_output=True, text=True, cwd="/")
        assert done.returncode == 0, f"{args}: {done.stdout}{done.stderr}"

    def start_postgres(self):
        before = ["runuser", "-u", self.pg_user, "--"] if self.pg_user else []
        self.postgres_alive = True  # it may be, whatever becomes of pg_ctl
        subprocess.run([*before, PG_BIN / "pg_ctl", "-D", self.pg_data, "-l", self.pg_folder / "log", "-w", "start"], check=True,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/")

    def stop_postgres(self, mode="fast"):
        self._as_postgres(PG_BIN / "pg_ctl", "-D", self.pg_data, "-m", mode, "-w", "stop")
        self.postgres_alive = False

    def channel(self, purpose):
        """The secret name of a channel of NOTIFY."""
        return self.sql(f"select name from tidings.channel where purpose = '{purpose}'")[0][0]

    def psql_env(self, user, database):
        # Debian's psql in PATH is a Perl script that looks for this one, which takes longer than most queries.
        path = f"{PG_BIN}:{os.environ['PATH']}"
        return {**os.environ, "PATH": path, "PGHOST": str(self.pg_folder), "PGUSER": user, "PGDATABASE": database}

    def psql(self, query, user="postgres", database="tidings"):
        return subprocess.run(["psql", "-qXAt", "-F", "\t", "-v", "ON_ERROR_STOP=1", "-c", query], capture_output=True, text=True,
                              env=self.psql_env(user, database))

    def sql(self, query, user="postgres", database="tidings"):
        """Its rows, each a list of texts."""
        done = self.psql(query, user, database)
        assert done.returncode == 0, f"{query}: {done.stderr}"
        return [line.split("\t") for line in done.stdout.splitlines()]

    def last_seq(self, topic):
        """Of its newest message; 0: there is no such topic."""
        return int(self.sql(f"""select coalesce((select coalesce((select max(m.seq) from tidings.message m where m.topic_id = t.id), t.first_seq - 1)
            from tidings.topic t where t.name = '{topic}'), 0)""")[0][0])

    def command(self, program, *args, **settings):
        done = subprocess.run([self.program(program), *map(str, args)], capture_output=True, text=True,
                              env=self.environment(**settings))
        assert done.returncode == 0, f"{program} {args}: {done.stdout}{done.stderr}"
        return done.stdout

    def _name(self, stem):
        self.names[stem] = self.names.get(stem, 0) + 1
        return f"{stem}{self.names[stem]}"

    def start_node(self, port=None, **settings):
        node = Node(self, self._name("tidings-ws"), settings, port)
        self.processes.append(node)
        return node

    def replace_node1(self):
        """A new first sidecar, where the old one, which the caller has ended, was."""
        self.forget(self.node1)
        self.node1 = self.start_node(self.node1.port)

    def start_web(self, node=None, folder=None, **settings):
        web = Web(self, self._name("lighttpd"), node or self.node1, settings, folder)
        self.processes.append(web)
        return web

    def end_others(self, processes):
        """Ends what is not among these: a test that failed may have left its sidecars running, which later tests would meet."""
        for process in [p for p in self.processes if p not in processes and p not in (self.node1, self.web1)]:
            self.forget(process)
            with contextlib.suppress(AssertionError):
                process.stop()

    def forget(self, process):
        if process in self.processes:
            self.processes.remove(process)

    @contextlib.contextmanager
    def node(self, **settings):
        node = self.start_node(**settings)
        try:
            yield node
        except BaseException:
            self.forget(node)
            if node.stop() < 0:
                print(f"# {node.name} died of signal {-node.child.returncode}")
            raise
        self.forget(node)
        equal(node.stop(), 0, f"exit status of {node.name}")

    @contextlib.contextmanager
    def web(self, node=None, **settings):
        web = self.start_web(node, **settings)
        try:
            yield web
        finally:
            self.forget(web)
            web.stop()

    # what tests use

    def diagnosis(self, owner="456", granted=()):
        """A new diagnosis: nobody has ever watched it or written to it."""
        self.ids += 1
        self.sql(f"insert into tidings.diagnosis (id, owner) values ({self.ids}, '{owner}')")
        for user in granted:
            self.sql(f"insert into tidings.diagnosis_grant (diagnosis_id, user_id) values ({self.ids}, '{user}')")
        return self.ids

    def token(self, user="456", role=None, ttl=3600, kid=None, **claims):
        now = int(time.time())
        body = {"sub": str(user), "iat": now, "exp": now + ttl, **claims}
        if role:
            body["role"] = role
        return make_jwt({k: v for k, v in body.items() if v is not None}, hs_sign(self.secrets[kid or "default"]), kid=kid)

    def service(self):
        return self.token("svc", role="service")

    def recommend(self, diagnosis, reason="r", token=None, api=None, headers=None, want=200, **more):
        body = {"diagnosis_id": diagnosis, "old_data": {"herb": "Ginger"}, "new_data": {"herb": "Turmeric"}, "reason": reason, **more}
        reply = (api or self.api).post("/ws/broadcast-recommendation-update", body, token or self.token(), headers)
        return reply.want(want)

    def ws_path(self, diagnosis, token=None, cursor=None):
        query = [f"token={token}"] if token else []
        query += [f"cursor={cursor}"] if cursor else []
        return f"/ws/{diagnosis}" + ("?" + "&".join(query) if query else "")

    def connect(self, diagnosis, user="456", token=None, cursor=None, server=None, hello=True, **more):
        """Connects straight to the first sidecar, or to `server` (a Node or a Web)."""
        path = self.ws_path(diagnosis, token or self.token(user), cursor)
        return Client(f"ws://127.0.0.1:{(server or self.node1).port}{path}", hello=hello, **more)

    def refused(self, diagnosis, **how):
        """(code, reason) with which a connection is closed before any message."""
        with self.connect(diagnosis, hello=False, **how) as client:
            try:
                message = client.text()
            except Closed as c:
                return c.code, c.reason
            raise AssertionError(f"connected: {message}")

    def lets_in(self, diagnosis, server, **how):
        with self.connect(diagnosis, server=server, hello=False, **how) as client:
            try:
                return client.next()["type"] == "connect"
            except Closed:
                return False

    def raw_connect(self, diagnosis, server=None, user="456", hello=True, **how):
        client = RawClient((server or self.node1).port, self.ws_path(diagnosis, self.token(user)), **how)
        if hello:
            equal(client.next()["type"], "connect", "first message")
        return client

    def status(self):
        """What /ws/status will say a second from now at the latest."""
        return json.loads(self.sql("select tidings.status()")[0][0])

    def watchers(self, diagnosis):
        return self.status()["connections_by_diagnosis"].get(str(diagnosis), 0)

    def wait_watchers(self, diagnosis, count, seconds=WAIT_S):
        wait_until(lambda: self.watchers(diagnosis) == count, f"{count} connections of {diagnosis}", seconds)

    def wait_ready(self):
        """Database, sidecars and web server are all well again."""
        wait_until(lambda: self.api.get("/health/ready").status == 200, "/health/ready to be 200, which takes its notifications too", 60)
        wait_until(lambda: self.lets_in(4, self.node1), "the first sidecar to let clients in", 60)

    def typing(self, topic, **data):
        """An ephemeral message: nothing is stored, and it comes by NOTIFY alone."""
        self.api.post("/ws/publish", {"topic": topic, "type": "typing", "data": data, "ephemeral": True}, self.service()).want(200)

    def _newest(self, link, where):
        return self.sql(f"""select pid from (select * from pg_stat_activity where application_name = 'tidings-ws {link}'
            order by backend_start desc limit 1) newest where {where}""")

    def backend(self, link):
        """The pid of the server process that answers the newest sidecar on that connection: fetches, queries, acts or listener."""
        # Its port takes clients before all of its connections are there: until then the newest is another sidecar's.
        [p for p in self.processes if isinstance(p, Node)][-1].id()
        return int(wait_until(lambda: self._newest(link, "true"), f"a sidecar's connection for {link}")[0][0])

    def wait_blocked(self, function):
        """Until the newest sidecar's call of that function waits for somebody's lock. The pid of its server process."""
        waiting = f"wait_event_type = 'Lock' and query like '%tidings.{function}(%'"
        return int(wait_until(lambda: self._newest("queries", waiting), f"{function}() to wait")[0][0])

    def browser_environment(self):
        """What a browser that is killed would leave behind goes with this folder."""
        own = self.folder / "browser"
        own.mkdir(exist_ok=True)
        return {**os.environ, **dict.fromkeys(("TMPDIR", "XDG_CONFIG_HOME", "XDG_CACHE_HOME"), str(own))}

    def log_files(self):
        """Of our programs and the web servers. What a test's client prints, in logs/*.txt, is none; nor are a browser's databases."""
        return sorted(p for p in self.folder.rglob("*.log") if p.is_file() and not {self.pg_folder, self.folder / "browser"} & {*p.parents})

    def log_trouble(self, offsets, allow):
        """Lines of the logs since `offsets` that no test may cause; moves the offsets on."""
        found = []
        allow = "|".join(filter(None, (allow, self.expected)))
        self.expected = None
        for path in self.log_files():
            with open(path, "rb") as f:
                f.seek(offsets.get(path, 0))
                # What of a line is still to be written is looked at when it is there.
                new = b"".join(line for line in f.readlines() if line.endswith(b"\n"))
            offsets[path] = offsets.get(path, 0) + len(new)
            for line in new.decode(errors="replace").splitlines():
                if re.search(r"Sanitizer|runtime error:|Assertion", line) or (
                        re.search(r"\] error: |\(error\)| crit", line) and not (allow and re.search(allow, line))):
                    found.append(f"{path.name}: {line}")
        return found

    def stop(self):
        problems = []
        for process in reversed(self.processes):
            try:
                code = process.stop()
                if isinstance(process, Node) and code != 0:
                    problems.append(f"{process.name} ended with {code}")
            except AssertionError as e:
                problems.append(str(e))
        if self.postgres_alive:
            try:
                self.stop_postgres("immediate")
            except AssertionError as e:
                problems.append(str(e))
        return problems
