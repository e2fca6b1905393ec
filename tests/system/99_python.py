"""
The Python client (python/tidings) against the whole of tidings: each test goes through all that it does by one way of using it.
"""
import asyncio
import contextlib
import datetime
import re
import socket
import ssl
import subprocess
import sys
import threading

from harness import TOP, equal, free_port, test, wait_until

sys.path.insert(0, str(TOP / "python"))

import tidings  # noqa: E402
from tidings import Key, Tidings  # noqa: E402


def client(s, port=None, user="svc", role="service", url=None, **options):
    """One that makes its own tokens, with the server's key."""
    key = Key.load(s.keys / "default.HS256")
    return Tidings(url or f"http://127.0.0.1:{port or s.web1.port}", token=key.source(user, role=role), **{"backoff_min": 0.05, **options})


def fails(kind, *words):
    """A block that fails with that error, which says those words."""

    @contextlib.contextmanager
    def block():
        try:
            yield
        except kind as e:
            for word in words:
                assert word in str(e), f"{word!r} is not in {e}"
        else:
            raise AssertionError(f"no {kind.__name__}")

    return block()


def whole(end):
    """A request or an answer that comes there, head and body."""
    data = b""
    while True:
        head, found, body = data.partition(b"\r\n\r\n")
        if found and len(body) >= int((re.search(rb"(?i)\ncontent-length: *(\d+)", head) or [0, 0])[1]):
            return data
        more = end.recv(65536)
        if not more:
            raise OSError("it ended")
        data += more


class Network:
    """A way to a port. `cut`: of so many requests that come next the answers are lost, after they have been done."""

    def __init__(self, port):
        self.to, self.cut, self.requests, self.near = port, 0, 0, []
        self.port = free_port()
        self.listener = socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                self.near.append(self.listener.accept()[0])
                threading.Thread(target=self._serve, args=self.near[-1:], daemon=True).start()

    def forget(self):
        """What was idle for too long is closed, as a server does it."""
        for near in self.near:
            with contextlib.suppress(OSError):
                near.shutdown(socket.SHUT_RDWR)

    def _serve(self, near):
        with near, socket.create_connection(("127.0.0.1", self.to)) as far, contextlib.suppress(OSError):
            while True:
                far.sendall(whole(near))
                self.requests += 1
                answer = whole(far)
                if self.cut:
                    self.cut -= 1
                    return
                near.sendall(answer)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.listener.close()


@test("Python: what is published is there once, though answers are lost; arrays, gathered ones too, are done, and one's mistake fails nobody else")
def published(s):
    a, b = s.diagnosis(), s.diagnosis()
    with Network(s.web1.port) as network, client(s, network.port) as c, s.connect(a) as watcher:
        network.cut = 2
        equal([c.publish(f"diagnosis/{a}", "note", {"n": n}).seq for n in (1, 2)], [1, 2], "seqs")
        equal([watcher.next()["data"]["n"] for _ in range(2)], [1, 2], "what came")
        assert network.cut == 0 and network.requests == 4, (network.cut, network.requests)
    with Network(s.web1.port) as network, client(s, network.port, backoff_min=60, backoff_max=60, timeout=20) as c:
        c.publish(f"diagnosis/{b}", "note", "first")
        network.forget()
        equal((c.publish(f"diagnosis/{b}", "note", "second").seq, network.requests), (2, 2), "seq and requests, on a connection that was closed")
        b = s.diagnosis()
    with client(s) as c:
        results = c.publish_all([tidings.publication(f"diagnosis/{d}", "note", "ü") for d in (a, b, a)])
        equal([(r.topic, r.seq) for r in results], [(f"diagnosis/{a}", 3), (f"diagnosis/{b}", 1), (f"diagnosis/{a}", 4)], "results")
        first = c.publish(f"diagnosis/{a}", "note", 1, idempotency_key=f"once-{a}")
        equal(c.publish(f"diagnosis/{a}", "note", 1, idempotency_key=f"once-{a}"), first, "the second of that key")
        soon = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(hours=1)
        equal([c.publish(f"diagnosis/{a}", "note", 1, deliver_at=soon).seq, c.publish(f"diagnosis/{a}", "note", 1, ephemeral=True).seq],
              [None, None], "what is for later, and what is not kept")
        equal(c.broadcast_recommendation_update(b, {"herb": "Ginger"}, {"herb": "Turmeric"}, "better").seq, 2, "seq of a recommendation")
        equal(c.broadcast_effectiveness_update(diagnosis_id=b, recommendation_id=789, effectiveness=0.85, confidence=0.92,
                                               sample_size=150).seq, 3, "seq of an effectiveness")
        equal(c.broadcast_feedback_update(diagnosis_id=b, feedback_id=999, rating=5, effectiveness=0.95).seq, 4, "seq of a feedback")
    with client(s, gather_ms=20) as c:
        results = {}

        def publish(n):
            try:
                results[n] = c.publish(f"diagnosis/{0 if n == 7 else b}", "note", n).seq
            except tidings.TidingsError as e:
                results[n] = type(e)

        threads = [threading.Thread(target=publish, args=(n,)) for n in range(20)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        assert isinstance(results.pop(7), type), results
        equal(sorted(results.values()), list(range(5, 24)), "seqs of those that were gathered")


@test("Python: an error says what to do")
def errors(s):
    d = s.diagnosis()
    with client(s) as c:
        for wrong, kind, *words in (
                (lambda: c.publish("no topic", "note", 1), tidings.InvalidError, "no topic", "letters"),
                (lambda: c.publish("a", "note", float("nan")), tidings.InvalidError, "NaN"),
                (lambda: c.publish("a", "note", datetime.date.today()), tidings.InvalidError, "JSON"),
                (lambda: c.publish("a", "note", 1, deliver_at=datetime.datetime.now()), tidings.InvalidError, "time zone"),
                (lambda: c.publish("a", "connect", 1), tidings.InvalidError, "type"),
                (lambda: c.publish_all([]), tidings.InvalidError, "500"),
                (lambda: c.publish("a", "note", "x" * 300000), tidings.InvalidError, "262144 bytes"),
                (lambda: c.publish(f"diagnosis/{10**12}", "note", 1), tidings.NotFoundError, "no such diagnosis"),
                (lambda: c.broadcast_feedback_update(d, 1, 6, 0.5), tidings.InvalidError, "rating", "5"),
                (lambda: c.receipt("9f5b7c3e-0000-4000-8000-000000000000"), tidings.NotFoundError, "no such"),
                (lambda: Tidings("localhost:8000"), tidings.InvalidError, "http://localhost:8000"),
                (lambda: Key(b"short"), tidings.InvalidError, "openssl rand"),
                (lambda: Key.load("/nowhere/default.HS256"), tidings.InvalidError, "cannot be read"),
                (lambda: Key.load("/etc/passwd"), tidings.InvalidError, "default.HS256"),
                (lambda: Tidings(f"http://127.0.0.1:{s.web1.port}").publish("a", "b", 1), tidings.UnauthorizedError, "Key.load"),
                (lambda: client(s, role="user").publish("a", "b", 1), tidings.ForbiddenError, "role 'service'"),
                (lambda: next(c.listen(f"diagnosis/{d}")), tidings.TidingsError, "not allowed"),
                (lambda: Tidings(f"http://127.0.0.1:{free_port()}", timeout=0.2).publish("a", "b", 1), tidings.UnknownOutcomeError,
                 "idempotency_key")):
            with fails(kind, *words):
                wrong()


@test("Python: an error has the id by which the log has its request; where no answer came there is none")
def errors_in_the_log(s):
    log = s.folder / "errors-of-python.log"
    with s.web(s.node1, TIDINGS_AUDIT_LOG=log) as web, client(s, port=web.port) as c:
        try:
            Tidings(f"http://127.0.0.1:{web.port}", "nonsense").publish("a", "note", 1)
        except tidings.UnauthorizedError as e:
            assert e.request_id and f"[request_id={e.request_id}]" in str(e), str(e)
            id = e.request_id
            wait_until(lambda: f"request={id}" in log.read_text(), "the request in the audit trail")
        else:
            raise AssertionError("no error")
        try:
            c.broadcast_feedback_update(10**12, 1, 5, 0.5)
        except tidings.NotFoundError as e:
            assert e.request_id, str(e)
        else:
            raise AssertionError("no error")
    try:
        client(s, port=free_port(), timeout=0.1).publish("a", "note", 1)
    except tidings.UnknownOutcomeError as e:
        equal(e.request_id, None, "the id of a request that was not answered")
    else:
        raise AssertionError("no error")


@test("Python: notifications and their receipts, readings, connections")
def managed(s):
    user = str(s.diagnosis())
    with client(s) as c, client(s, user="root", role="admin") as admin, client(s, user=user, role="user") as own:
        sent = c.notify(user, "system", "Hello", "It works", priority="high")
        receipt = c.receipt(tidings.notification_id(sent))
        equal((receipt.id, receipt.acked_at), (sent.raw["id"], None), "receipt")
        equal(c.health_update(user, "pulse", 70, "bpm").topic, f"health/{user}", "topic of a reading")
        d = s.diagnosis(owner=user)
        c.publish_all([tidings.publication(f"diagnosis/{d}", "note", n) for n in range(3)])
        kept = own.history(d, limit=2)
        equal(([m.seq for m in kept.messages], kept.gap), ([2, 3], None), "history")
        c.publish(f"diagnosis/{d}", "note", 3)
        equal([m.data for m in own.history(d, since=kept.cursor).messages], [3], "what is after it")
        c.publish(f"diagnosis/{d}", "other", 4)
        equal([[m.seq for m in own.history(f"diagnosis/{d}", **how).messages] for how in ({"before": 3}, {"types": ["other", "none"]}, {"types": ["note"], "limit": 1})],
              [[1, 2], [5], [4]], "by the topic's name: before a seq, of types")
        equal(c.health()["status"], "healthy", "health")
        assert c.status()["total_connections"] >= 0
        with s.connect(d, user=user) as watcher:
            equal(admin.connection(watcher.id)["health"]["user_id"], int(user), "whose connection it is")
            wait_until(lambda: [x["connection_id"] for x in admin.connections(user_id=user)["connections"]] == [watcher.id], "the connection in the list")
            equal(admin.connections(topic=f"diagnosis/{d}", slow=True, limit=1), {"connections": [], "next": None}, "those that are slow")
            equal(admin.reconnect(user), 1, "how many were told")
            equal(watcher.closed()[0], 1012, "close code")
        with s.connect(d, user=user) as watcher:
            equal(admin.disconnect(watcher.id)["status"], "disconnected", "answer")
            equal(watcher.closed()[0], 1000, "close code")




# ---- inside one's own transaction


def psycopg3(s):
    import psycopg

    with psycopg.connect(f"{s.conninfo} user=postgres") as connection:
        yield connection, connection.commit, connection.rollback


def psycopg2(s):
    import psycopg2 as driver

    connection = driver.connect(f"{s.conninfo} user=postgres")
    yield connection, connection.commit, connection.rollback
    connection.close()


def sqlalchemy(s):
    import psycopg2 as driver
    import sqlalchemy as alchemy
    from sqlalchemy.orm import Session

    engine = alchemy.create_engine("postgresql+psycopg2://", creator=lambda: driver.connect(f"{s.conninfo} user=postgres"), future=True)
    with engine.connect() as connection, Session(engine) as session:
        yield connection, connection.commit, connection.rollback
        yield session, session.commit, session.rollback
    engine.dispose()


def django(s):
    from django.conf import settings
    from django.db import connection, transaction

    if not settings.configured:
        settings.configure(USE_TZ=True, DATABASES={"default": {
            "ENGINE": "django.db.backends.postgresql", "HOST": str(s.pg_folder), "NAME": "tidings", "USER": "postgres"}})
    transaction.set_autocommit(False)
    yield connection, transaction.commit, transaction.rollback
    connection.close()


@test("Python: what is published in one's own transaction, by psycopg 3 and 2, SQLAlchemy and Django, comes when it commits, and else never")
def in_transactions(s):
    from tidings import sql

    for kind in (psycopg3, psycopg2, sqlalchemy, django):
        for connection, commit, rollback in kind(s):
            d = s.diagnosis()
            topic = f"diagnosis/{d}"
            with s.connect(d) as watcher:
                sql.publish(connection, topic, "note", "never")
                rollback()
                sql.publish(connection, topic, "note", {"text": "100 % 'sure' :yes"}, to_user_id=456,
                            expires_at=datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(hours=1))
                commit()
                message = watcher.next()
                equal((message["type"], message["data"], message["seq"]), ("note", {"text": "100 % 'sure' :yes"}, 1), f"by {kind.__name__}")
            with fails(tidings.InvalidError, "there is no diagnosis"):
                sql.publish(connection, f"diagnosis/{10**12}", "note", 1)
            rollback()
    s.sql("drop role if exists python_app; create role python_app")
    s.sql("create database other")
    for connection, _, rollback in psycopg3(s):
        connection.execute("set role python_app")
        with fails(tidings.ForbiddenError, "GRANT EXECUTE ON FUNCTION tidings.publish"):
            sql.publish(connection, "a", "note", 1)
        rollback()
    import psycopg

    with psycopg.connect(f"{s.conninfo} user=postgres".replace("dbname=tidings", "dbname=other")) as connection:
        with fails(tidings.InvalidError, "tidings migrate"):
            sql.publish(connection, "a", "note", 1)
    s.sql("drop database other")
    s.sql("drop role python_app")
    with fails(tidings.InvalidError, "psycopg"):
        sql.publish(object(), "a", "note", 1)
    asyncio.run(in_transactions_async(s))


async def in_transactions_async(s):
    import psycopg
    import sqlalchemy.ext.asyncio as alchemy_async

    from tidings import sql

    d = s.diagnosis()
    async with await psycopg.AsyncConnection.connect(f"{s.conninfo} user=postgres") as connection:
        with fails(tidings.InvalidError, "publish_async"):
            sql.publish(connection, f"diagnosis/{d}", "note", 1)
        await sql.publish_async(connection, f"diagnosis/{d}", "note", "never")
        await connection.rollback()
        await sql.publish_async(connection, f"diagnosis/{d}", "note", 1)
    wait_until(lambda: s.last_seq(f"diagnosis/{d}") == 1, "the message")
    engine = alchemy_async.create_async_engine(f"postgresql+asyncpg://postgres@/tidings?host={s.pg_folder}")
    async with engine.connect() as connection, alchemy_async.AsyncSession(engine) as session:
        for count, one in enumerate((connection, session), 2):
            with fails(tidings.InvalidError, "there is no diagnosis"):
                await sql.publish_async(one, f"diagnosis/{10**12}", "note", 1)
            await one.rollback()
            await sql.publish_async(one, f"diagnosis/{d}", "note", 1, exclude_connection_id="9f5b7c3e-0000-4000-8000-000000000000",
                                    expires_at=datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(hours=1))
            await one.commit()
            wait_until(lambda: s.last_seq(f"diagnosis/{d}") == count, "the message")
        with fails(tidings.InvalidError, "publish_async"):
            sql.publish(session, f"diagnosis/{d}", "note", 1)
    await engine.dispose()


# ---- listening


class Heard:
    """A listener in a thread of its own, and what came to it. `kind`: that of Tidings, or of AsyncTidings."""

    def __init__(self, kind, port, token, topics, context=None, **options):
        """`context`: of TLS."""
        self.events, self.error, self.listener = [], None, None
        run = self._run if kind == "sync" else lambda *of: asyncio.run(self._run_async(*of))
        self.thread = threading.Thread(target=run, args=(f"https://localhost:{port}" if context else f"http://127.0.0.1:{port}", token, topics, context, options), daemon=True)
        self.thread.start()

    def _run(self, url, token, topics, context, options):
        try:
            with Tidings(url, token, backoff_min=0.05, backoff_max=0.2, ssl_context=context) as c, c.listen(*topics, **options) as self.listener:
                self.events.extend(self.listener)
        except tidings.TidingsError as e:
            self.error = e

    async def _run_async(self, url, token, topics, context, options):
        from tidings.aio import AsyncTidings

        try:
            async with AsyncTidings(url, token, backoff_min=0.05, backoff_max=0.2, ssl_context=context) as c, c.listen(*topics, **options) as self.listener:
                self.loop, self.task = asyncio.get_running_loop(), asyncio.current_task()
                async for event in self.listener:
                    self.events.append(event)
        except tidings.TidingsError as e:
            self.error = e
        except asyncio.CancelledError:
            pass

    def of(self, topic):
        """Seqs, and the types of what has none."""
        return [e.seq or e.type for e in list(self.events) if e.topic == topic]

    def wait(self, topic, *wanted):
        wait_until(lambda: len(self.of(topic)) >= len(wanted), f"{wanted} of {topic}; there is {self.of(topic)}, {self.error}", 60)
        equal(self.of(topic), list(wanted), topic)

    def wait_up(self):
        wait_until(lambda: self.listener and self.listener.transport, "the listener to be connected", 60)

    def close(self):
        if hasattr(self, "loop"):
            self.loop.call_soon_threadsafe(self.task.cancel)
        else:
            self.listener.close()
        self.ended()

    def ended(self):
        self.thread.join(60)
        assert not self.thread.is_alive(), "it does not end"
        return self.error


def listened_to(s, kind, way, node, web, user, a, b, c, failures):
    """`c` is somebody else's."""
    try:
        def publish(*topics):
            items = [tidings.publication(topic, "note", {"way": way}) for topic in topics]
            return client(s).publish_all(items)

        reasons = []

        def token(reason):
            reasons.append(reason)
            return s.token(user) if reason == "refused" else s.token(user, kid="previous")[:-4] + "AAAA"

        publish(a, b)
        heard = Heard(kind, web.port, token, [a, b], transports=[way])
        heard.wait(a, 1)
        heard.wait(b, 1)
        heard.wait_up()
        equal((reasons, heard.listener.transport), (["first", "refused"], way), "why tokens were fetched, and the transport")
        publish(a, a)
        heard.wait(a, 1, 2, 3)
        node.stop()
        publish(a, b)
        node.begin()
        node.wait_listening()
        heard.wait(a, 1, 2, 3, 4)
        heard.wait(b, 1, 2)
        kept = {m.topic: m.cursor for m in heard.events}
        equal(kept, heard.listener.cursors, "the cursors of the last messages")
        heard.close()
        publish(a, b)
        again = Heard(kind, web.port, s.token(user), [a, c, b], cursors={a: kept[a], b: "0-1"}, transports=[way])
        again.wait(a, 5)
        again.wait(b, "gap", 1, 2, 3)
        again.wait(c, "refused")
        again.close()
        refused = Heard(kind, web.port, "nonsense", [a], transports=[way])
        assert isinstance(refused.ended(), tidings.UnauthorizedError), refused.error
    except BaseException as e:
        failures.append((kind, way, e))
        raise


@test("Python: each message comes once, in order, by each transport, to be awaited or not, over a restart and a refused token; a gap is told")
def listening(s):
    failures, stories = [], []
    with contextlib.ExitStack() as places:
        for kind in ("sync", "async"):
            for way in ("websocket", "sse", "long_poll"):
                node = places.enter_context(s.node())
                web = places.enter_context(s.web(node))
                user = str(s.diagnosis())
                topics = [f"diagnosis/{s.diagnosis(owner=owner)}" for owner in (user, user, "nobody")]
                stories.append(threading.Thread(target=listened_to, args=(s, kind, way, node, web, user, *topics, failures)))
                stories[-1].start()
        for t in stories:
            t.join()
    equal(failures, [], "failures")


@test("Python: who listens may go back over the newest, and take some types alone; its cursors go past the others")
def selected(s):
    for kind in ("sync", "async"):
        for way in ("websocket", "sse", "long_poll"):
            topic = f"diagnosis/{s.diagnosis()}"
            with client(s) as c:
                c.publish_all([tidings.publication(topic, t, 1) for t in "aabab"])
                with s.connect(int(topic.split("/")[1])) as first:
                    first.seqs_up_to(5)
                heard = Heard(kind, s.web1.port, s.token(), [topic], transports=[way], rewind=2, types=["a"], ping_interval=0.2, poll_timeout=1)
                heard.wait(topic, 2, 4)
                c.publish_all([tidings.publication(topic, t, 1) for t in "babb"])
                heard.wait(topic, 2, 4, 7)
                if way != "sse":  # whose place comes with a heartbeat, every 30 s
                    wait_until(lambda: heard.listener.cursors[topic].endswith("-9"), f"the cursor to go past what is not wanted, by {way}")
                heard.close()
    with client(s) as c:
        for wrong, word in (({"rewind": 0}, "rewind"), ({"types": "ab"}, "list"), ({"types": []}, "types"), ({"device": "my phone"}, "device")):
            with fails(tidings.InvalidError, word):
                c.listen("a", **wrong)


@test("Python: the same to be awaited: keys and retries, arrays, tokens that have to be awaited, the broadcasts as functions")
def awaited(s):
    asyncio.run(awaited_steps(s))


async def awaited_steps(s):
    from tidings import broadcast
    from tidings.aio import AsyncTidings

    a, b = s.diagnosis(), s.diagnosis()
    source = Key.load(s.keys / "default.HS256").source("svc", role="service")
    reasons = []

    async def token(reason):
        reasons.append(reason)
        return source(reason) if reason == "refused" else "nonsense"

    with Network(s.web1.port) as network:
        async with AsyncTidings(f"http://127.0.0.1:{network.port}", token, backoff_min=0.05) as c:
            network.cut = 2
            equal([(await c.publish(f"diagnosis/{a}", "note", n)).seq for n in (1, 2)], [1, 2], "seqs")
            equal((network.cut, reasons), (0, ["first", "refused"]), "answers still to be cut, and why tokens were asked for")
            equal([r.seq for r in await c.publish_all([tidings.publication(f"diagnosis/{a}", "note", 1)] * 2)], [3, 4], "seqs")
    async with AsyncTidings(f"http://127.0.0.1:{s.web1.port}", source, gather_ms=5) as c:
        results = await asyncio.gather(*(c.publish(f"diagnosis/{0 if n == 3 else b}", "note", n) for n in range(600)), return_exceptions=True)
        assert isinstance(results.pop(3), tidings.TidingsError)
        equal(sorted(r.seq for r in results), list(range(1, 600)), "seqs of those that were gathered")
        with fails(tidings.InvalidError, "NaN"):
            await c.publish("a", "note", float("nan"))
        sent = await c.notify(456, "system", "Hello", "It works")
        equal((await c.receipt(tidings.notification_id(sent))).acked_at, None, "acked")
        equal((await c.health())["status"], "healthy", "health")
    broadcast.configure(f"http://127.0.0.1:{s.web1.port}", source)
    results = [await broadcast.broadcast_recommendation_update(diagnosis_id=a, old_data={"herb": "Ginger"}, new_data={}, reason="r"),
               await broadcast.broadcast_effectiveness_update(diagnosis_id=a, recommendation_id=1, effectiveness=0.5, confidence=1, sample_size=0),
               await broadcast.broadcast_feedback_update(diagnosis_id=a, feedback_id=1, rating=1, effectiveness=0)]
    equal([r.seq for r in results], [5, 6, 7], "seqs")
    await broadcast.client().aclose()


class Tls(Network):
    """A way by TLS, as a proxy in front has it; `context` is what trusts it."""

    def __init__(self, s):
        super().__init__(s.web1.port)
        key, certificate = s.private / "tls.key", s.private / "tls.pem"
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", key, "-out",
                        certificate, "-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"], check=True,
                       capture_output=True)
        self.server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.server.load_cert_chain(certificate, key)
        self.context = ssl.create_default_context(cafile=str(certificate))

    def _serve(self, near):
        with contextlib.suppress(OSError):
            with self.server.wrap_socket(near, server_side=True) as near, socket.create_connection(("127.0.0.1", self.to)) as far:
                threading.Thread(target=copy, args=(near, far), daemon=True).start()
                copy(far, near)


class WithoutWebSocket(Network):
    """A way that lets everything through but an upgrade."""

    def _serve(self, near):
        with near, socket.create_connection(("127.0.0.1", self.to)) as far, contextlib.suppress(OSError):
            data = near.recv(65536)
            if b"upgrade: websocket" in data.lower():
                near.sendall(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                return
            far.sendall(data)
            threading.Thread(target=copy, args=(near, far), daemon=True).start()
            copy(far, near)


def copy(source, sink):
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)


@test("Python: by TLS too, by each transport; a certificate that nobody vouches for is not taken")
def by_tls(s):
    with Tls(s) as network:
        for kind in ("sync", "async"):
            topic = f"diagnosis/{s.diagnosis()}"
            with client(s, url=f"https://localhost:{network.port}", ssl_context=network.context) as publisher:
                for count, way in enumerate(("websocket", "sse", "long_poll"), 1):
                    heard = Heard(kind, network.port, s.token(), [topic], cursors={topic: "0-0"}, transports=[way], context=network.context)
                    publisher.publish(topic, "note", way)
                    heard.wait(topic, "gap", *range(1, count + 1))
                    heard.close()
        with fails(tidings.UnknownOutcomeError, "CERTIFICATE_VERIFY_FAILED"):
            client(s, url=f"https://localhost:{network.port}", timeout=0.2).publish(topic, "note", 1)


@test("Python: a process that forks, as those of web servers do, publishes in both")
def forked(s):
    topic = f"diagnosis/{s.diagnosis()}"
    script = f"""
import os, sys
sys.path.insert(0, {str(TOP / "python")!r})
from tidings import Key, Tidings
client = Tidings("http://127.0.0.1:{s.web1.port}", Key.load({str(s.keys / "default.HS256")!r}).source("svc"))
client.publish({topic!r}, "note", 0)
child = os.fork()
for _ in range(20):
    client.publish({topic!r}, "note", child)
sys.exit(os.waitpid(child, 0)[1] if child else 0)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    equal((done.returncode, done.stderr, s.last_seq(topic)), (0, "", 41), "status, what it says, and the last seq")


@test("Python: where a network lets no WebSocket through, messages come by an event stream, from the first on")
def without_websocket(s):
    with WithoutWebSocket(s.web1.port) as network, client(s) as publisher:
        for kind in ("sync", "async"):
            topic = f"diagnosis/{s.diagnosis()}"
            publisher.publish(topic, "note", 1)
            heard = Heard(kind, network.port, s.token(), [topic])
            heard.wait_up()
            equal(heard.listener.transport, "sse", f"transport, {kind}")
            publisher.publish(topic, "note", 2)
            heard.wait(topic, 1, 2)
            heard.close()


@test("Python: a token is taken that was signed with the private key of `tidings keys new`, of each kind; with a public one nothing is signed")
def key_pairs(s):
    d, algorithms = s.diagnosis(), ("RS256", "ES256", "PS384", "EdDSA", "ES512")
    public, private = s.folder / "pairs", s.folder / "pairs-private"
    public.mkdir(0o700)
    private.mkdir(0o700)
    mine = {"TIDINGS_JWT_KEYS": public, "TIDINGS_JWT_ALGORITHMS": ",".join(algorithms)}
    for alg in algorithms:
        s.command("tidings", "keys", "new", f"of-{alg}", "--alg", alg, "--private", private / f"of-{alg}.{alg}", **mine)
    with s.web(**mine) as web:
        for seq, alg in enumerate(algorithms, 1):
            key = Key.load(private / f"of-{alg}.{alg}")
            with Tidings(f"http://127.0.0.1:{web.port}", token=key.source("svc")) as c:
                equal(c.publish(f"diagnosis/{d}", "note", alg).seq, seq, f"seq of what {alg} lets in")
            with fails(tidings.InvalidError, "public half", "private one"):
                Key.load(public / f"of-{alg}.{alg}")
            of = algorithms[seq % len(algorithms)]  # of another kind
            with fails(tidings.InvalidError, alg):
                Key((private / f"of-{of}.{of}").read_bytes(), alg).token("svc")
