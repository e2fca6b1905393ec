"""
database - a PostgreSQL of its own with the schema in it, and sessions to try it with.

	Database	the server; sql() asks one thing in a session of its own
	Session		one psql that stays connected: what it is told runs while others run too
	Item, Request	what publish_batch() is given
"""
import contextlib
import dataclasses
import json
import os
import pathlib
import re
import selectors
import shutil
import subprocess
import tempfile
import time
import uuid

import harness
from harness import WAIT_S

END = "-- end of answer --"


def quote(value, kind="text"):
    if value is None:
        return "null"
    if isinstance(value, (list, tuple)):
        return "array[" + ",".join(quote(v) for v in value) + f"]::{kind}[]"
    return str(value) if isinstance(value, (int, float)) else "'" + str(value).replace("'", "''") + "'"


@dataclasses.dataclass
class Item:
    topic: str
    body: str = '{"type":"t","data":{}}'
    ephemeral: bool = False
    to_user: str = None
    exclude: str = None
    deliver_at: str = None
    expires_at: str = None
    effect: tuple = (None, None, None)  # recommendation, value, old value


@dataclasses.dataclass
class Request:
    items: list
    caller: str = "svc"
    role: str = "service"
    key: str = None
    hash: str = None


@dataclasses.dataclass
class Result:
    outcome: str
    seq: int
    clients: int


@dataclasses.dataclass
class Answer:
    outcome: str
    detail: str
    reply: dict
    topic: str
    seq: int
    clients: int

    @property
    def data(self):
        return self.reply["data"]


def act_sql(user, role, type, data, correlation=None, connection=None, queue_max=100, min_age_s=60, require_user=False, daily_max=0, predictions="propose"):
    correlation = None if correlation is None else json.dumps(correlation)
    return (f"select outcome, detail, reply, topic, seq, clients from tidings.act({quote(user)}, {quote(role)}, {quote(connection)}, "
            f"{quote(type)}, {quote(json.dumps(data))}, {quote(correlation)}, {queue_max}, {min_age_s}, {require_user}, {daily_max}, {quote(predictions)})")


def answer(rows):
    (outcome, detail, reply, topic, seq, clients), = [r for r in rows if len(r) == 6]
    return Answer(outcome, detail, json.loads(reply) if reply else None, topic, int(seq) if seq else None, int(clients) if clients else None)


def batch_sql(requests, queue_max=100, min_age_s=60, skip_locked=True, until=None, daily_max=0):
    rows = [(n, i) for n, r in enumerate(requests, 1) for i in r.items]
    texts = lambda get: quote([get(i) for _, i in rows])
    numbers = lambda values: quote(list(values), "int8")
    return ("select item, outcome, seq, clients from tidings.publish_batch(" + ", ".join([
        *(quote([getattr(r, field) for r in requests]) for field in ("caller", "role", "key", "hash")),
        numbers(n for n, _ in rows), texts(lambda i: i.topic), texts(lambda i: i.body), numbers(int(i.ephemeral) for _, i in rows),
        texts(lambda i: i.to_user), texts(lambda i: i.exclude), texts(lambda i: i.deliver_at), texts(lambda i: i.expires_at),
        numbers(i.effect[0] for _, i in rows), texts(lambda i: i.effect[1]), texts(lambda i: i.effect[2]),
        str(queue_max), str(min_age_s), "604800", "false", str(daily_max), str(skip_locked), quote(until)]) + ") order by item")


class Session:
    def __init__(self, db, user):
        self.db = db
        self.child = subprocess.Popen(["psql", "-qXAt", "-F", "\t"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                      stderr=subprocess.STDOUT, env=db.psql_env(user, "tidings"), cwd="/")
        self.selector = selectors.DefaultSelector()
        self.selector.register(self.child.stdout, selectors.EVENT_READ)
        self.buffer = b""

    def send(self, sql):
        self.child.stdin.write(f"{sql};\n\\echo '{END}'\n".encode())
        self.child.stdin.flush()

    def answered(self, seconds=0):
        """Is the answer to what was sent here?"""
        until = time.monotonic() + seconds
        while f"{END}\n".encode() not in self.buffer:
            if not self.selector.select(max(0, until - time.monotonic())):
                return False
            part = os.read(self.child.stdout.fileno(), 65536)
            if not part:
                raise AssertionError(f"psql ended: {self.buffer.decode()}")
            self.buffer += part
        return True

    def receive(self, seconds=WAIT_S):
        if not self.answered(seconds):
            raise AssertionError(f"no answer in {seconds} s: {self.buffer.decode()}")
        text, self.buffer = self.buffer.split(f"{END}\n".encode(), 1)
        return [line.split("\t") for line in text.decode().splitlines()]

    def sql(self, sql):
        rows = self.receive_after(sql)
        trouble = [r[0] for r in rows if r and r[0].startswith(("ERROR", "FATAL"))]
        assert not trouble, f"{sql[:300]}: {trouble}"
        return rows

    def receive_after(self, sql):
        self.send(sql)
        return self.receive()

    def listen(self, *purposes):
        self.sql("; ".join(f"listen {self.db.channel(p)}" for p in purposes))

    def notifications(self, purpose):
        """Payloads that have come, whatever process sent them."""
        channel = self.db.channel(purpose)
        found = [re.match(r'Asynchronous notification "(\w+)"(?: with payload "(.*)")? received', r[0]) for r in self.receive_after("select")]
        return [m[2] or "" for m in found if m and m[1] == channel]

    def close(self):
        with contextlib.suppress(OSError):
            self.child.stdin.close()
        try:
            self.child.wait(5)
        except subprocess.TimeoutExpired:
            self.child.kill()
            self.child.wait()
        self.selector.close()
        self.child.stdout.close()


class Database(harness.Stack):
    """The database of the system tests' stack, and nothing else of it."""

    def __init__(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="tidings-sql-"))
        self.folder.chmod(0o755)
        self.pg_user = "postgres" if os.geteuid() == 0 else None
        self.postgres_alive = False
        self.keys = self.folder
        self.sessions = []
        self.ids = 1000
        try:
            self._postgres()
        except BaseException:
            self.stop()
            raise

    def stop(self):
        self.end_sessions()
        if self.postgres_alive:
            self.stop_postgres("immediate")
        shutil.rmtree(self.folder, ignore_errors=True)

    def session(self, user="tidings_publisher"):
        self.sessions.append(Session(self, user))
        return self.sessions[-1]

    def end_sessions(self):
        while self.sessions:
            self.sessions.pop().close()

    def one(self, sql, **how):
        return self.sql(sql, **how)[0][0]

    def topic(self, owner="456"):
        return f"diagnosis/{self.diagnosis(owner)}"

    def topic_id(self, topic):
        return int(self.one(f"select id from tidings.topic where name = '{topic}'"))

    def batch(self, requests, session=None, **limits):
        rows = (session or self).sql(batch_sql(requests, **limits), **({} if session else {"user": "tidings_publisher"}))
        return [Result(outcome, int(seq) if seq else None, int(clients)) for _, outcome, seq, clients in
                (r for r in rows if len(r) == 4)]

    def publish(self, topic, body='{"type":"t","data":{}}', count=1, **more):
        limits = {k: more.pop(k) for k in ("queue_max", "min_age_s") if k in more}
        return self.batch([Request([Item(topic, body, **more)]) for _ in range(count)], **limits)

    def act(self, user, type, data=None, role="user", **more):
        """What a client says, through the role that FastCGI has."""
        return answer(self.sql(act_sql(user, role, type, data or {}, **more), user="tidings_publisher"))

    def user(self):
        """A user that nobody has heard of."""
        self.ids += 1
        return f"user-{self.ids}"

    def conversation(self, *users):
        """The id of a new conversation of these, created by the first."""
        return self.act(users[0], "create_conversation", {"participants": list(users[1:])}).data["conversation_id"]

    def kept(self, topic):
        return [int(r[0]) for r in self.sql(
            f"select m.seq from tidings.message m join tidings.topic t on t.id = m.topic_id where t.name = '{topic}' order by m.seq")]

    def bodies(self, topic):
        return [json.loads(r[0]) for r in self.sql(
            f"select m.body from tidings.message m join tidings.topic t on t.id = m.topic_id where t.name = '{topic}' order by m.seq")]

    def counter(self, topic):
        """(first_seq, last_seq)"""
        return int(self.one(f"select first_seq from tidings.topic where name = '{topic}'")), self.last_seq(topic)

    def sidecar(self, sql):
        return self.sql(sql, user="tidings_sidecar")

    # what a sidecar does

    def node(self):
        node = str(uuid.uuid4())
        self.sidecar(f"select tidings.heartbeat('{node}', now()::text, 0, 0, '{{}}', '{{}}', '{{}}')")
        return node

    def attach(self, *wanted):
        """[outcome, topic_id, epoch, last_seq, first_seq, delivered_seq, unsent] for each (user, role, topic)"""
        users, roles, topics = (quote(list(v)) for v in zip(*wanted))
        columns = "outcome, topic_id, epoch, last_seq, first_seq, delivered_seq, unsent"
        return self.sidecar(f"select {columns} from tidings.attach({users}, {roles}, {topics}) order by item")

    def epochs(self, topics):
        """By topic's id, as text."""
        return dict(self.sql(f"set jit = off; set enable_seqscan = off; select id, epoch || tidings.cluster_tag() from tidings.topic where id = any ({topics})"))

    def flush(self, node, presence=(), opened=(), closed=(), delivered=(), sent=(), opened_ever=0, confirmed=None, devices=(), run=None):
        """presence: (topic_id, clients); opened: (connection, topic_id, user); closed: (connection, topic_id); delivered, sent: (topic_id, seq),
        and an epoch, if it is to be another than the topic's; confirmed: seqs for those delivered, else the same; devices: (user, name, topic, epoch, seq)"""
        topics = quote([r[0] for r in (*delivered, *sent)], "int8")
        own = self.epochs(topics)
        epochs = lambda rows: quote([r[2] if len(r) > 2 else own.get(str(r[0]), "") for r in rows])
        pairs = lambda rows: ", ".join(quote([r[n] for r in rows], "int8") for n in (0, 1))
        return (run or self.sidecar)(
            f"select tidings.flush('{node}', {pairs(presence)}, {quote([o[0] for o in opened])}, "
            f"{quote([o[1] for o in opened], 'int8')}, {quote([o[2] for o in opened])}, {quote(['websocket'] * len(opened))}, "
            f"{quote(['2026-01-01T00:00:00Z'] * len(opened))}, {quote([c[0] for c in closed])}, {quote([c[1] for c in closed], 'int8')}, {pairs(delivered)}, {epochs(delivered)}, {pairs(sent)}, {epochs(sent)}, {opened_ever}, "
            f"{quote([r[1] for r in delivered] if confirmed is None else confirmed, 'int8')}, "
            f"{', '.join(quote([r[n] for r in devices]) for n in range(4))}, {quote([r[4] for r in devices], 'int8')})")

    def fetch(self, places, rows=1000, size=1 << 20, columns="body"):
        """places: (topic_id, after), and an epoch, if it is to be another than the topic's"""
        ids, after = (quote([p[n] for p in places], "int8") for n in (0, 1))
        own = self.epochs(ids)
        epochs = quote([p[2] if len(p) > 2 else own.get(str(p[0]), "") for p in places])
        return self.sidecar(f"select topic_id, seq, {columns} from tidings.fetch({ids}, {after}, {epochs}, {rows}, {size})")

    def history(self, topic, user="456", role="user", epoch=None, after=None, limit=100):
        return self.sql(f"select outcome, epoch, recovered, missed_from, missed_to, next_seq, seq, body from tidings.history({quote(user)}, "
                        f"{quote(role)}, {quote(topic)}, {quote(epoch)}, {quote(after)}, {limit})", user="tidings_reader")

    def age(self, topic, seconds):
        self.sql(f"update tidings.message set created_at = created_at - interval '{seconds} s' "
                 f"where topic_id = (select id from tidings.topic where name = '{topic}')")

    def sweep(self, queue_max=100, min_age_s=60, ttl_s=604800, rows=100000, keep_s=0):
        """How many calls it took."""
        after, calls = "0", 0
        while after:
            after = self.sidecar(f"select tidings.sweep({after}, 1000, {rows}, {queue_max}, {min_age_s}, {ttl_s}, {keep_s})")[0][0]
            calls += 1
        return calls

    def relay(self):
        return self.sidecar("select tidings.relay(100, 60)")[0][0]
