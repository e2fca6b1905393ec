"""
walker - clients that wander, a diary of what each was told, and a judge.

	Wanderer	a client: connects by WebSocket, event stream or poll, reads a while, leaves in one way or another, comes back
			elsewhere with the cursor that it has. Whatever it is told goes into its diary.
	Witness		a trigger in the database that writes down every message as it is committed, and when each was trimmed: the truth,
			by the same transactions and by no code of ours.
	judge()		compares a diary with the truth: no hole, no repeat, no disorder, nothing invented; a gap that was reported covers
			exactly what is lacking.

Links (WebSocketLink, StreamLink, PollLink) turn each transport into the same events; a position is a dictionary {topic: cursor}.
Reading never waits for ever and leaves nothing half taken: so a link can be left at any byte.
"""
import collections
import contextlib
import http.client
import json
import random
import select
import socket
import struct
import threading
import time
import urllib.parse

from harness import frame, upgrade_request, wait_until

USERS = ("456", "457")

Event = collections.namedtuple("Event", "kind link topic data at")
Row = collections.namedtuple("Row", "body to_user exclude expires gone_at inherited")


class Ended(Exception):
    """The connection is over; `code` when the server said one."""

    def __init__(self, code=None, reason=""):
        super().__init__(f"ended {code} {reason}")
        self.code, self.reason = code, reason


class Refused(Exception):
    def __init__(self, status, body=b""):
        super().__init__(f"refused with {status}: {body[:200]!r}")
        self.status = status


def split(cursor):
    epoch, seq = cursor.rsplit("-", 1)
    return epoch, int(seq)


# ------------------------------------------------------------------------------------------------------------------ links


class Wire:
    """A socket and what has come but is not taken yet. take(parse) gives what parse(buffer) finds: (value, bytes used), or None: more is needed."""

    def __init__(self, port, rcvbuf=None):
        self.sock = socket.socket()
        if rcvbuf:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, rcvbuf)
        self.sock.settimeout(20)
        self.buffer = b""
        self.over = False
        try:
            self.sock.connect(("127.0.0.1", port))
        except OSError as e:
            self.sock.close()
            raise Ended(reason=str(e)) from None

    def send(self, data):
        try:
            self.sock.sendall(data)
        except OSError as e:
            raise Ended(reason=str(e)) from None

    def take(self, parse, seconds):
        """None when it has not come in time."""
        end = time.monotonic() + seconds
        while True:
            found = parse(self.buffer, self.over)
            if found:
                value, used = found
                self.buffer = self.buffer[used:]
                return value
            if self.over:
                raise Ended()
            left = end - time.monotonic()
            if not select.select([self.sock], [], [], max(0, left))[0]:
                if left <= 0:
                    return None
                continue
            try:
                data = self.sock.recv(65536)
            except OSError:
                data = b""
            self.over = not data
            self.buffer += data

    def close(self, reset=False):
        if reset:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()


def parse_head(buffer, _over):
    """((status, headers), bytes)"""
    end = buffer.find(b"\r\n\r\n")
    if end < 0:
        return None
    lines = buffer[:end].decode("latin-1").split("\r\n")
    headers = {}
    for line in lines[1:]:
        name, value = line.split(":", 1)
        headers[name.strip().lower()] = value.strip()
    return (int(lines[0].split()[1]), headers), end + 4


def parse_one(buffer, begin):
    """(first byte, payload, end) of a server's frame."""
    if len(buffer) < begin + 2:
        return None
    assert not buffer[begin + 1] & 0x80, "a server's frame is masked"
    n, at = buffer[begin + 1] & 0x7F, begin + 2
    if n >= 126:
        at = begin + (4 if n == 126 else 10)
        if len(buffer) < at:
            return None
        n = struct.unpack("!H" if at == begin + 4 else "!Q", buffer[begin + 2:at])[0]
    if len(buffer) < at + n:
        return None
    return buffer[begin], buffer[at:at + n], at + n


def parse_frame(buffer, _over):
    """((opcode, payload), bytes) of a server's frame, or of all fragments of a message; of a message that a close ends, the close."""
    payloads, opcode, end = [], 0, 0
    while found := parse_one(buffer, end):
        first, payload, end = found
        if first & 0x0F >= 8:
            return (first & 0x0F, payload), end
        assert (first & 0x0F == 0) == bool(payloads), f"first byte {first:02x} behind {len(payloads)} fragments"
        payloads.append(payload)
        opcode = opcode or first & 0x0F
        if first & 0x80:
            return (opcode, b"".join(payloads)), end
    return None


def parse_chunk(buffer, _over):
    end = buffer.find(b"\r\n")
    if end < 0:
        return None
    size = int(buffer[:end], 16)
    if len(buffer) < end + 2 + size + 2:
        return None
    return buffer[end + 2:end + 2 + size], end + 2 + size + 2


def parse_all(buffer, over):
    return (buffer, len(buffer)) if buffer or over else None


def target(kind, topics, position, timeout=None, more=()):
    """The path for these topics; {topic: cursor} is where to go on from, None: without a cursor."""
    one = len(topics) == 1 and topics[0].startswith("diagnosis/") and kind[-1:] != "?"
    kind = kind.rstrip("?")
    query = [] if one else ["topics=" + ",".join(urllib.parse.quote(t, safe="/:") for t in topics)]
    if position is not None:
        query.append("cursor=" + ".".join(position.get(t) or "" for t in topics))
    if timeout is not None:
        query.append(f"timeout={timeout}")
    query += more
    path = f"/{kind}/{topics[0].split('/')[1]}" if one else f"/{kind}"
    return path + ("?" + "&".join(query) if query else "")


class Link:
    """A connection. events(seconds) -> a list of (kind, topic, data), None when nothing came in time; raises Ended."""

    kind = None

    def __init__(self, port, topics, position, token, rcvbuf=None, several=False):
        self.topics, self.sent = topics, position
        self.began = time.time()
        self.wire = Wire(port, rcvbuf)
        self.id = None
        self.named = several or len(topics) > 1 # by ?topics=
        self.token = token

    def path(self, **more):
        return target(self.kind + ("?" if self.named else ""), self.topics, self.sent, **more)

    def request(self, path, headers=()):
        lines = [f"GET {path} HTTP/1.1", "Host: localhost", f"Authorization: Bearer {self.token}", *headers]
        self.wire.send(("\r\n".join(lines) + "\r\n\r\n").encode())

    def topic_of(self, message):
        topic = message.get("topic") or (f"diagnosis/{message['diagnosis_id']}" if "diagnosis_id" in message else None)
        assert topic or not self.named, f"no topic in {message}"
        return topic or self.topics[0]

    def connected(self, data):
        """`data` of a connect message, or a poll's reply, as one event a topic: (cursor, epoch, recovered, missed)."""
        if not self.named:
            return [("connect", self.topics[0], (data["cursor"], split(data["cursor"])[0], data["recovered"], data.get("missed")))]
        told = data["topics"]
        assert set(told) == set(self.topics), f"topics {list(told)}, wanted {self.topics}"
        assert data["recovered"] == all(t["recovered"] for t in told.values()), f"recovered of all is not the conjunction: {data}"
        cursors = data["cursor"].split(".")
        assert len(cursors) == len(self.topics), f"{data['cursor']} for {self.topics}"
        events = []
        for topic, cursor in zip(self.topics, cursors):
            t = told[topic]
            assert t["cursor"] == cursor, f"cursor of {topic}: {t['cursor']}, and in the combined one {cursor}"
            events.append(("connect", topic, (cursor, split(cursor)[0], t["recovered"], t.get("missed"))))
        return events

    def close(self, how="clean"):
        self.wire.close(reset=how != "clean")


class WebSocketLink(Link):
    kind = "ws"

    def __init__(self, port, *args, **kw):
        super().__init__(port, *args, **kw)
        self.wire.send(upgrade_request(self.path(), [f"Authorization: Bearer {self.token}"]))
        head = self.wire.take(parse_head, 20)
        if not head:
            raise Ended(reason="no answer to the upgrade")
        if head[0] != 101:
            raise Refused(head[0], self.wire.buffer)

    def events(self, seconds):
        got = self.wire.take(parse_frame, seconds)
        if not got:
            return None
        opcode, payload = got
        if opcode == 9:
            self.wire.send(frame(10, payload))
            return []
        if opcode == 8:
            raise Ended(struct.unpack("!H", payload[:2])[0] if payload else 1005, payload[2:].decode())
        if opcode != 1:
            return []
        message = json.loads(payload)
        if message["type"] == "connect":
            self.id = message["data"]["connection_id"]
            return self.connected(message["data"])
        if message["type"] == "reconnect_messages":
            topic = self.topic_of(message)
            return [("message", topic, m) for m in message["data"]["messages"]]
        assert message["type"] not in ("error", "pong"), f"unasked: {message}"
        return [("message", self.topic_of(message), message)]

    def close(self, how="clean"):
        if how == "clean":
            try:
                self.wire.send(frame(8, struct.pack("!H", 1000)))
            except Ended:
                pass
        super().close(how)


class StreamLink(Link):
    kind = "sse"

    def __init__(self, port, topics, position, token, rcvbuf=None, several=False, by_header=False):
        super().__init__(port, topics, position, token, rcvbuf, several)
        headers = []
        if by_header and position is not None:
            headers = ["Last-Event-ID: " + ".".join(position.get(t) or "" for t in topics)]
            self.sent = None
        path = self.path()
        self.sent = position
        self.request(path, headers)
        head = self.wire.take(parse_head, 20)
        if not head:
            raise Ended(reason="no answer")
        if head[0] != 200:
            raise Refused(head[0], self.wire.buffer)
        self.parse = parse_chunk if head[1].get("transfer-encoding") == "chunked" else parse_all
        self.text = b""

    def events(self, seconds):
        end = time.monotonic() + seconds
        while b"\n\n" not in self.text:
            piece = self.wire.take(self.parse, max(0, end - time.monotonic()))
            if piece is None:
                return None
            if not piece:
                raise Ended()
            self.text += piece
        block, self.text = self.text.split(b"\n\n", 1)
        return self.event(block.decode())

    def event(self, block):
        fields = {}
        for line in block.split("\n"):
            if not line.startswith(":"):
                name, value = line.split(": ", 1)
                fields[name] = value
        if "data" not in fields:
            return []
        data = json.loads(fields["data"])
        if fields.get("event") == "close":
            raise Ended(data["data"]["code"], data["data"]["reason"])
        if fields.get("event") == "connect":
            self.id = data["data"]["connection_id"]
            assert fields["id"] == data["data"]["cursor"], f"id {fields['id']} of {data}"
            return self.connected(data["data"])
        events = [("message", self.topic_of(data), data)]
        assert ("id" in fields) == ("seq" in data), f"id and seq: {fields}"
        if "id" in fields:
            cursors = fields["id"].split(".") if self.named else [fields["id"]]
            assert len(cursors) == len(self.topics), f"{fields['id']} for {self.topics}"
            events += [("cursor", topic, cursor) for topic, cursor in zip(self.topics, cursors)]
        return events


class PollLink(Link):
    kind = "poll"

    def __init__(self, *args, timeout=2, **kw):
        super().__init__(*args, **kw)
        self.timeout, self.asked, self.head = timeout, False, None

    def events(self, seconds):
        if not self.asked:
            self.began = time.time()
            self.request(self.path(timeout=self.timeout))
            self.asked = True
        # A poll that is given up has given nothing: what it would have said comes again.
        self.head = self.head or self.wire.take(parse_head, seconds)
        if not self.head:
            return None
        status, headers = self.head

        def parse_body(buffer, over):
            if headers.get("transfer-encoding") == "chunked":
                body = b""
                while True:
                    piece = parse_chunk(buffer, over)
                    if not piece:
                        return None
                    buffer = buffer[piece[1]:]
                    if not piece[0]:
                        return body, size - len(buffer)
                    body += piece[0]
            if "content-length" in headers:
                n = int(headers["content-length"])
                return (buffer[:n], n) if len(buffer) >= n else None
            return (buffer, len(buffer)) if over else None

        def parse(buffer, over):
            nonlocal size
            size = len(buffer)
            return parse_body(buffer, over)

        size = 0
        body = self.wire.take(parse, seconds)
        if body is None:
            return None
        self.asked, self.head = False, None
        if status != 200:
            raise Refused(status, body)
        reply = json.loads(body)
        told = self.connected(reply)
        # Where it began from is not told.
        events = [(kind, topic, (None, *rest)) for kind, topic, (_cursor, *rest) in told]
        events += [("message", self.topic_of(m), m) for m in reply["messages"]]
        events += [("cursor", topic, cursor) for _kind, topic, (cursor, *_rest) in told]
        self.sent = {topic: cursor for _kind, topic, (cursor, *_rest) in told}
        if headers.get("connection", "").lower() == "close":
            self.wire.over = True
        return events


# ------------------------------------------------------------------------------------------------------------------ truth


WITNESS = """
create table public.witness (topic_id int8, topic text, epoch text, seq int8, to_user text, exclude text, expires bool, body text, gone_at float8,
	inherited bool not null default false);
create index on public.witness (topic_id, seq);
create function public.witness_in() returns trigger language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
	insert into public.witness
		select t.id, t.name, t.epoch || tidings.cluster_tag(), n.seq, n.to_user, n.exclude::text, n.expires_at is not null, n.body
		from new_rows n join tidings.topic t on t.id = n.topic_id;
	return null;
end $$;
create function public.witness_out() returns trigger language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
	update public.witness w set gone_at = extract(epoch from clock_timestamp()) from old_rows o
		where w.topic_id = o.topic_id and w.seq = o.seq and w.gone_at is null;
	return null;
end $$;
-- After a restore from a backup that lacked the newest, what was not lost is there under the new epoch.
create function public.witness_inherit(p_topic_id int8, p_old text, p_new text, p_last int8) returns void language sql as $$
	insert into public.witness
		select topic_id, topic, p_new || tidings.cluster_tag(), seq, to_user, exclude, expires, body, gone_at, true
		from public.witness where topic_id = p_topic_id and seq <= p_last and epoch = p_old || tidings.cluster_tag();
$$;
create trigger witness_in after insert on tidings.message referencing new table as new_rows for each statement execute function public.witness_in();
create trigger witness_out after delete on tidings.message referencing old table as old_rows for each statement execute function public.witness_out();
"""
UNWITNESS = """
drop trigger witness_in on tidings.message; drop trigger witness_out on tidings.message;
drop function public.witness_in; drop function public.witness_out; drop function public.witness_inherit; drop table public.witness;
"""


class Truth:
    """
    rows[topic][epoch][seq] is every message that was ever committed; retired[topic][epoch] = (began, ended): when that epoch was ended.
    """

    def __init__(self):
        self.rows, self.retired = {}, {}

    def read(self, s, topics):
        names = ",".join(f"'{t}'" for t in topics)
        for line in s.sql("select json_build_array(topic, epoch, seq, to_user, exclude, expires, body, gone_at, inherited) from public.witness "
                          f"where topic in ({names})"):
            topic, epoch, seq, to_user, exclude, expires, body, gone_at, inherited = json.loads(line[0])
            rows = self.rows.setdefault(topic, {}).setdefault(epoch, {})
            assert seq not in rows, f"{topic} {epoch}-{seq} was committed twice"
            rows[seq] = Row(json.loads(body), to_user, exclude, expires, gone_at, inherited)


def judge(diary, user, truth):
    """What is wrong with what this client was told: a list of sentences, each with its topic; [] when all is well."""
    faults = []
    for topic in {e.topic for e in diary if e.topic}:
        view = View(topic, user, truth)
        for e in (e for e in diary if e.topic == topic):
            view.take(e)
            if view.faults:
                faults.append(f"{topic}: {view.faults[0]}; told last: " + " | ".join(view.recent[-8:]))
                break
    return faults


def same(message, body):
    """A message as it came, and as it was stored: seq and cursor aside, and the topic, which is in every message where there are several."""
    if "cursor" in message and message["cursor"].rpartition("-")[2] != str(message.get("seq")):
        return False
    return {k: v for k, v in message.items() if k not in ("seq", "cursor") and (k != "topic" or k in body)} == body


class View:
    """One topic as one client was told of it."""

    def __init__(self, topic, user, truth):
        self.topic, self.user, self.faults = topic, user, []
        self.rows = truth.rows.get(topic, {})
        self.retired = truth.retired.get(topic, {})
        self.epoch = self.seq = None # where it is; seq None: not said yet
        self.fresh = False # without a cursor: messages for this user alone may come from further back
        self.back = None # the cursor that came with such a one
        self.foreign = 0 # messages under the old epoch that were of the new
        self.recent = []
        self.ephemeral = set()

    def fault(self, text):
        self.faults.append(text)

    def ended(self, when):
        return self.epoch in self.retired and self.retired[self.epoch][1] < when

    def ending(self, e):
        """A node that has not noticed yet may still be telling of this epoch."""
        return self.epoch in self.retired and self.retired[self.epoch][0] < e.at

    def take(self, e):
        text = f"{e.data.get('seq', 'ephemeral')} {e.data['data']}"[:60] if e.kind == "message" else e.data
        self.recent.append(f"{e.kind} {text} link={str(e.link)[:8]} at={e.at % 10000:.3f}")
        getattr(self, "take_" + e.kind)(e)

    def take_connect(self, e):
        sent, got, at, recovered, missed, began = e.data
        if sent is not None and self.back == sent:
            self.seq = split(sent)[1]
        self.fresh, self.back, self.ephemeral = False, None, set()
        if sent is None or sent == "damaged":
            if missed or recovered != (sent is None):
                self.fault(f"connected with {sent}: recovered {recovered}, missed {missed}")
            self.fresh = sent is None
            self.epoch, self.seq = split(got) if got else (at, None)
            return
        epoch, seq = split(sent)
        if (epoch, seq) != (self.epoch, self.seq):
            self.fault(f"the client itself lost its place: it sent {sent} and was at {self.epoch}-{self.seq}")
        elif recovered:
            if at != epoch:
                self.fault(f"recovered after {sent}, in the epoch {at}")
            if got is not None and got != sent:
                self.fault(f"resumed at {got}, not at {sent}")
            if missed:
                self.fault(f"recovered, and missed {missed}")
            # A poller that comes back at once is not looked up anew: its node learns that when it learns it for all.
            if self.ended(began) and e.link:
                self.fault(f"recovered from {sent}, whose epoch had ended")
        elif missed:
            if missed["from"] != seq + 1 or missed["to"] < missed["from"]:
                self.fault(f"missed {missed} after {sent}")
            if got is not None and got != f"{epoch}-{missed['to']}":
                self.fault(f"missed {missed}, and goes on at {got}")
            for n in range(missed["from"], missed["to"] + 1):
                row = self.rows.get(epoch, {}).get(n)
                if not row:
                    self.fault(f"{epoch}-{n} was reported as missed, and never was")
                elif row.gone_at is None or row.gone_at > e.at:
                    self.fault(f"{epoch}-{n} was reported as missed, and was still there")
            self.seq = missed["to"]
        else:
            # Nobody can say what is missing only when the numbers mean something else now.
            if epoch not in self.retired:
                self.fault(f"not recovered after {sent}, without a word what is missing, and its epoch has not ended")
            self.epoch, self.seq = split(got) if got else (at, None)

    def is_for(self, row, link):
        return row.to_user in (None, self.user) and (link is None or row.exclude != link)

    def pass_over(self, first, last, e):
        """What it goes past without being given it must be for others."""
        for n in range(first, last + 1):
            row = self.rows.get(self.epoch, {}).get(n)
            if self.ending(e):
                self.foreign += 1
            elif not row:
                self.fault(f"went past {self.epoch}-{n}, which never was")
            elif self.is_for(row, e.link) and not row.expires:
                self.fault(f"a silent hole: {self.epoch}-{n} never came (to_user {row.to_user}, exclude {row.exclude}, link {e.link}): {row.body}")

    def is_known(self, message, row, e):
        if row and same(message, row.body):
            if not self.is_for(row, e.link):
                self.fault(f"was given {self.epoch}-{message['seq']}, which is for {row.to_user}, not for {row.exclude}")
            return True
        # The numbering has changed, and this node has not noticed: it will, and this client is told when it comes back.
        if self.ending(e) and any(same(message, rows[message["seq"]].body) for epoch, rows in self.rows.items()
                                              if epoch != self.epoch and message["seq"] in rows):
            self.foreign += 1
            return True
        return False

    def take_message(self, e):
        message = e.data
        if "seq" not in message:
            if json.dumps(message) in self.ephemeral:
                self.fault(f"an ephemeral one came twice: {message}")
            self.ephemeral.add(json.dumps(message))
            return
        n = message["seq"]
        row = self.rows.get(self.epoch, {}).get(n)
        if not self.is_known(message, row, e):
            self.fault(f"{self.epoch}-{n} is not what was committed: {message}, wanted {row}")
            return
        if self.fresh:
            early = row and row.to_user == self.user
            if early and (self.seq is None or n <= self.seq):
                return
            self.fresh = False
        if self.seq is not None and n <= self.seq:
            self.fault(f"{self.epoch}-{n} came after {self.epoch}-{self.seq}")
            return
        if self.seq is not None:
            self.pass_over(self.seq + 1, n - 1, e)
        self.seq = n

    def take_cursor(self, e):
        epoch, n = split(e.data)
        if self.fresh and self.epoch == epoch and self.seq is not None and n <= self.seq:
            self.back = e.data if n < self.seq else self.back
            return
        if self.epoch not in (None, epoch):
            self.fault(f"the cursor {e.data}, while at {self.epoch}-{self.seq}")
        elif self.seq is not None and n < self.seq:
            self.fault(f"the cursor {e.data} goes back: was at {self.seq}")
        elif self.seq is not None:
            self.pass_over(self.seq + 1, n, e)
        self.epoch, self.seq, self.fresh, self.back = epoch, n, False, None


# --------------------------------------------------------------------------------------------------------------- wanderers


class Progress:
    """How far the publishers are: {topic: messages acknowledged}. Those who wait for more are woken."""

    def __init__(self):
        self.condition = threading.Condition()
        self.count = collections.Counter()
        self.done = False

    def add(self, topic):
        with self.condition:
            self.count[topic] += 1
            self.condition.notify_all()

    def finish(self):
        with self.condition:
            self.done = True
            self.condition.notify_all()

    def wait(self, topic, more, seconds=20):
        """Until so many more have come, or the publishers are done."""
        with self.condition:
            goal = self.count[topic] + more
            self.condition.wait_for(lambda: self.done or self.count[topic] >= goal, seconds)


class Wanderer(threading.Thread):
    """
    ports	a function that returns where one can connect just now
    end		{topic: (epoch, seq)}: it comes home when it has got that far in all its topics; set after the publishers are done
    """

    kinds = (WebSocketLink, StreamLink, PollLink)

    def __init__(self, name, seed, ports, topics, user, token, progress, several=False, whims=True):
        super().__init__(name=name, daemon=True)
        self.random = random.Random(f"{seed}/{name}")
        self.ports, self.user, self.token, self.progress = ports, user, token, progress
        self.all_topics, self.topics, self.several, self.whims = topics, list(topics), several, whims
        self.position = {} # topic: cursor
        self.diary, self.steps, self.link_id = [], [], None
        self.end, self.error, self.home = None, None, False
        self.links = 0
        self.counts = collections.Counter()

    def step(self, text):
        self.steps.append(text)

    def run(self):
        try:
            while not self.progress.done:
                self.wander()
        except Exception as e:
            self.error = e

    def enter(self, kind, topic, data):
        self.diary.append(Event(kind, self.link_id, topic, data, time.time()))

    def take(self, link, events):
        """Writes down what came, and moves on."""
        for kind, topic, data in events:
            if kind == "connect":
                self.link_id = link.id
                got, _epoch, recovered, missed = data
                sent = link.asked_for(topic)
                self.counts["gaps told" if missed else "not recovered" if not recovered else "connects"] += 1
                self.enter("connect", topic, (sent, *data, link.began))
                if got:
                    self.position[topic] = got
            elif kind == "cursor":
                self.enter(kind, topic, data)
                self.position[topic] = data
            else:
                self.enter(kind, topic, data)
                self.counts["messages"] += 1
                if "seq" in data and self.position.get(topic):
                    epoch, seq = split(self.position[topic])
                    # What waited for this user alone comes from before the cursor.
                    self.position[topic] = f"{epoch}-{max(seq, data['seq'])}"

    def choose(self):
        """Topics for the next link; a position that is kept for those that are left out for now."""
        if self.several and self.random.random() < 0.4:
            self.topics = self.random.sample(self.all_topics, self.random.randint(1, len(self.all_topics)))
        elif self.several and self.random.random() < 0.2:
            self.random.shuffle(self.topics)

    def door(self):
        return self.random.choice(self.ports())

    def connect(self, final=False):
        """A link, or None where there is none to be had just now."""
        kind = self.random.choice(self.kinds)
        port, rcvbuf = self.door(), self.random.choice((None, None, 4096))
        whim = self.random.random() if self.whims and not final else 1
        how = {}
        if kind is StreamLink:
            how["by_header"] = self.random.random() < 0.5
        if kind is PollLink:
            how["timeout"] = self.random.choice((0, 1, 2))
        if not any(self.position.get(t) for t in self.topics) or whim < 0.04:
            sent, asked = None, {t: None for t in self.topics}
        elif whim < 0.06 and not self.several:
            sent, asked = {t: "rubbish" for t in self.topics}, {t: "damaged" for t in self.topics}
        else:
            sent = {t: self.position.get(t) for t in self.topics}
            asked = dict(sent)
        self.step(f"{kind.kind} :{port} {self.topics if self.several else ''} cursor={sent} {how} receive buffer: {rcvbuf}")
        try:
            link = kind(port, list(self.topics), sent, self.token, rcvbuf, self.several, **how)
        except Refused as e:
            self.step(str(e))
            if e.status not in (500, 502, 503, 504):
                raise
            return None
        except Ended as e:
            self.step(str(e))
            return None
        self.links += 1
        if sent is None or "rubbish" in sent.values():
            for topic in self.topics:
                self.position.pop(topic, None)
        first = dict(asked)
        # A chain of polls goes on from what the one before it gave.
        link.asked_for = lambda topic: first.pop(topic) if topic in first else self.position[topic]
        return link

    def read(self, link, seconds):
        """True when something came. Raises Ended."""
        try:
            events = link.events(seconds)
        except Refused as e:
            self.step(str(e))
            if e.status not in (500, 502, 503, 504):
                raise
            raise Ended() from None
        if events:
            self.take(link, events)
        return events is not None

    def wander(self):
        link = None
        if self.several:
            self.choose()
        try:
            link = self.connect()
            if not link:
                self.progress.wait(self.topics[0], 1, 0.2)
                return
            self.stay(link)
        except Ended as e:
            self.step(str(e))
            self.ended(e)
        finally:
            if link:
                link.close(self.random.choice(("clean", "reset")))
            self.link_id = None
        if self.random.random() < 0.3:
            more = self.random.choice((3, 10, 60, 150))
            self.step(f"away for {more} messages")
            self.progress.wait(self.random.choice(self.topics), more)

    def ended(self, e):
        assert e.code in (None, 1000, 1001, 1012, 1013), f"closed with {e.code} {e.reason}"

    def stay(self, link):
        for _n in range(self.random.randint(1, 4)):
            what = self.random.random()
            if what < 0.25:
                more = self.random.choice((5, 20, 100))
                self.step(f"does not read for {more} messages")
                self.progress.wait(self.random.choice(self.topics), more, 5)
            else:
                count = self.random.randint(1, 25)
                self.step(f"reads {count}")
                while count > 0 and self.read(link, 0.3 if self.progress.done else 1):
                    count -= 1
            if self.progress.done:
                return

    def arrived(self):
        def there(topic):
            cursor = self.position.get(topic)
            return cursor and split(cursor)[0] == self.end[topic][0] and split(cursor)[1] >= self.end[topic][1]

        return all(there(t) for t in self.topics)

    def go_home(self, seconds=60):
        """After the last message has been published: it connects once more, and again, until it has it."""
        until = time.monotonic() + seconds
        self.topics = list(self.all_topics)
        while time.monotonic() < until and not self.arrived():
            link = self.connect(final=True)
            if not link:
                time.sleep(0.1) # refused: a moment before the next door
                continue
            try:
                while time.monotonic() < until and not self.arrived() and self.read(link, 5):
                    pass
            except Ended as e:
                self.step(str(e))
                self.ended(e)
            finally:
                link.close()
        self.home = self.arrived()


class Follower(Wanderer):
    """
    A client as it should be: one transport, one connection, and when that ends the next door, with its cursor.

    ends	(door, code, where it was) of each connection that the server ended
    """

    def __init__(self, *args, kind, start=0, **kw):
        super().__init__(*args, whims=False, **kw)
        self.kinds, self.place, self.at, self.ends = (kind,), start, None, []

    def door(self):
        doors = self.ports()
        self.place += 1
        self.at = doors[self.place % len(doors)]
        return self.at

    def stay(self, link):
        while not self.progress.done:
            self.read(link, 1)

    def wander(self):
        link = self.connect()
        if not link:
            self.progress.wait(self.topics[0], 1, 0.1)
            return
        try:
            self.stay(link)
        except Ended as e:
            self.step(str(e))
            self.ended(e)
            self.ends.append((self.at, e.code, dict(self.position)))
        finally:
            link.close()
            self.link_id = None


# -------------------------------------------------------------------------------------------------------------- publishers


class Publisher(threading.Thread):
    """
    Publishes in every way there is, each message with a key of its own; remembers what was acknowledged.

    acknowledged	{key: (topic, seq)}; seq None where the queue was to give it later
    unsure		keys of what got no proper answer: committed once, or not at all
    excludable		a function that gives connection ids of clients that are there
    """

    def __init__(self, name, seed, s, apis, diagnoses, steps, progress, users, excludable=lambda: [], tolerated=()):
        super().__init__(name=name, daemon=True)
        self.random = random.Random(f"{seed}/{name}")
        self.tolerated = tolerated # statuses, besides 503, of an answer that leaves open what has become of it
        self.s, self.apis, self.diagnoses, self.count = s, apis, diagnoses, steps
        self.progress, self.users, self.excludable = progress, users, excludable
        self.token, self.service = s.token(), s.service()
        self.acknowledged, self.unsure, self.ephemeral, self.odd = {}, set(), set(), []
        self.number, self.error = 0, None
        self.prefix = f"{diagnoses[0]}/{name}/"
        self.stop = threading.Event()

    def key(self):
        self.number += 1
        return f"{self.prefix}{self.number}"

    def run(self):
        try:
            for _n in range(self.count):
                if self.stop.is_set():
                    return
                self.random.choices((self.single, self.batch, self.burst, self.from_sql), (6, 4, 1, 1))[0]()
        except Exception as e:
            self.error = e

    def limits(self):
        """Whom it is for."""
        more = {}
        if self.random.random() < 0.15:
            more["to_user_id"] = self.random.choice(self.users)
        if self.random.random() < 0.1 and (ids := self.excludable()):
            more["exclude_connection_id"] = self.random.choice(ids)
        return more

    def post(self, path, body, token, keys):
        """Keeps trying with an Idempotency-Key, or tries once. The reply's JSON, or None."""
        once = self.random.random() < 0.5
        headers = {} if once else {"Idempotency-Key": keys[0]}
        until = time.monotonic() + 60
        while time.monotonic() < until:
            try:
                reply = self.random.choice(self.apis()).post(path, body, token, headers)
            except (OSError, http.client.HTTPException):
                reply = None
            if reply is not None and reply.status == 200:
                return reply.json
            if reply is not None and reply.status not in (503, *self.tolerated):
                self.odd.append(repr(reply))
                self.unsure.update(keys)
                return None
            if once:
                self.unsure.update(keys)
                return None
            self.progress.wait(None, 1, 0.05)
        self.odd.append(f"{path} was not taken for 60 s: {reply!r}")
        self.unsure.update(keys)
        return None

    def taken(self, key, topic, seq):
        self.acknowledged[key] = (topic, seq)
        self.progress.add(topic)

    def pad(self):
        return {"pad": "x" * self.random.choice((3000, 30000))} if self.random.random() < 0.1 else {}

    def single(self, diagnosis=None):
        d, key = diagnosis or self.random.choice(self.diagnoses), self.key()
        body = {"diagnosis_id": d, "old_data": {}, "new_data": self.pad(), "reason": key, **self.limits()}
        if reply := self.post("/ws/broadcast-recommendation-update", body, self.token, [key]):
            self.taken(key, f"diagnosis/{d}", reply["seq"])

    def batch(self):
        items, keys = [], []
        for _n in range(self.random.randint(1, 20)):
            key = self.key()
            item = {"topic": f"diagnosis/{self.random.choice(self.diagnoses)}", "type": "n", "data": {"key": key, **self.pad()}, **self.limits()}
            if self.random.random() < 0.05 and "pad" not in item["data"]:
                item["ephemeral"] = True
                self.ephemeral.add(key)
            else:
                keys.append(key)
            items.append(item)
        if reply := self.post("/ws/publish", items, self.service, keys or [self.key()]):
            for item, result in zip(items, reply["results"]):
                if not item.get("ephemeral"):
                    self.taken(item["data"]["key"], item["topic"], result["seq"])

    def burst(self):
        d = self.random.choice(self.diagnoses)
        for _n in range(self.random.choice((20, 50))):
            self.single(d)

    def from_sql(self):
        d, keys = self.random.choice(self.diagnoses), [self.key() for _n in range(self.random.randint(1, 5))]
        rows = ";".join(f"""select tidings.publish('diagnosis/{d}', 'n', '{{"key":"{key}"}}')""" for key in keys)
        # psql commits it all, or none of it. Where its connection broke nobody can say which.
        if self.s.psql(rows).returncode == 0:
            for key in keys:
                self.taken(key, f"diagnosis/{d}", None)
        else:
            self.unsure.update(keys)


def check_published(truth, publishers):
    """What was acknowledged was committed, once, with that seq; what was not, once at most. A list of sentences."""
    found, faults = collections.defaultdict(list), []
    for topic, epochs in truth.rows.items():
        for epoch, rows in epochs.items():
            if sorted(rows) != list(range(min(rows), max(rows) + 1)):
                faults.append(f"{topic} {epoch}: the numbers are not dense")
            for seq, row in ((n, row) for n, row in rows.items() if not row.inherited):
                found[row.body["data"].get("key") or row.body["data"].get("reason")].append((topic, epoch, seq))
    for p in publishers:
        for key, (topic, seq) in p.acknowledged.items():
            places = found.get(key, [])
            if len(places) != 1 or places[0][0] != topic or seq not in (None, places[0][2]):
                faults.append(f"acknowledged {key} as {topic} {seq}: committed as {places}")
        for key in p.unsure:
            if len(found.get(key, [])) > 1:
                faults.append(f"published once, without an answer: {key}: committed as {found[key]}")
        for key in p.ephemeral:
            if key in found:
                faults.append(f"ephemeral, and stored: {key}")
        faults += [f"an answer that is neither 200 nor 503: {x}" for x in p.odd[:3]]
    return faults


# -------------------------------------------------------------------------------------------------------------- the verdict


def bring_home(s, wanderers, diagnoses):
    """One last message on each topic, for all; everyone reads until they have it."""
    end = {}
    for d in diagnoses:
        topic = f"diagnosis/{d}"
        seq = wait_until(lambda d=d: accepted(s, d), "the last message to be taken", 60)
        epoch = s.sql(f"select epoch || tidings.cluster_tag() from tidings.topic where name = '{topic}'")[0][0]
        end[topic] = (epoch, seq)
    homing = []
    for w in wanderers:
        w.end = end
        if not w.error:
            homing.append(threading.Thread(target=go_home, args=(w,)))
            homing[-1].start()
    for t in homing:
        t.join()


def go_home(w):
    try:
        w.go_home()
    except Exception as e:
        w.error = e


def accepted(s, diagnosis):
    reply = s.api.post("/ws/broadcast-recommendation-update", {"diagnosis_id": diagnosis, "old_data": {}, "new_data": {}, "reason": "last"},
                       s.token())
    return reply.status == 200 and reply.json["seq"]


def verdict(s, diagnoses, name, wanderers, publishers, weather, retired):
    """When the publishers are done and the weather is fair: (faults, figures). What a client with a fault did is printed."""
    topics = [f"diagnosis/{d}" for d in diagnoses]
    s.wait_ready()
    wait_until(lambda: s.sql("select count(*) from tidings.outbox") == [["0"]], "the outbox to be empty", 40)
    bring_home(s, wanderers, diagnoses)
    truth = Truth()
    truth.read(s, topics)
    truth.retired = retired
    faults = check_published(truth, publishers) + check_kept(s, truth, topics)
    for w in wanderers:
        found = judge(w.diary, w.user, truth)
        if w.error:
            found.append(f"{type(w.error).__name__}: {w.error}")
        elif not w.home:
            found.append(f"never got to the last message: is at {w.position}, wanted {w.end}")
        if found:
            print(f"# {name}, {w.name} (user {w.user}), weather: {' '.join(weather)}; its steps:")
            for text in w.steps[-60:]:
                print(f"#   {text}")
            faults += [f"{w.name}: {f}" for f in found]
    counts = sum((w.counts for w in wanderers), start=collections.Counter())
    stored = sum(len(rows) for epochs in truth.rows.values() for rows in epochs.values())
    figures = f"{stored} messages stored; {sum(w.links for w in wanderers)} connections of {len(wanderers)} clients: " + ", ".join(
        f"{v} {k}" for k, v in sorted(counts.items())) + f"; weather: {' '.join(weather) or 'fair'}"
    return faults, figures


def kept(s, topic):
    """(epoch, first, last, messages, faults) of what /ws/history gives; None when it was trimmed meanwhile."""
    def state():
        return s.sql(f"""select epoch || tidings.cluster_tag(), first_seq,
            coalesce((select max(m.seq) from tidings.message m where m.topic_id = t.id), first_seq - 1) from tidings.topic t where name = '{topic}'""")[0]

    epoch, first, last = before = state()
    since, got, faults = int(first) - 1, [], []
    while since < int(last):
        page = s.api.get(f"/ws/history/{topic.split('/')[1]}?since={epoch}-{since}&limit=100", s.token(USERS[0])).want(200)
        if not page["recovered"]:
            faults.append(f"/ws/history of {topic} after {since}: not recovered")
        got += page["messages"]
        since = int(page["cursor"].rsplit("-", 1)[1])
    return (epoch, first, last, got, faults) if state() == before else None


def check_kept(s, truth, topics):
    """What the queue of each topic ought to hold, /ws/history gives: word for word."""
    faults = []
    for topic in topics:
        # A node that keeps few may still be trimming.
        found = kept(s, topic)
        while found is None:
            found = kept(s, topic)
        epoch, first, last, got, more = found
        rows = truth.rows[topic][epoch]
        faults += more
        wanted = [n for n in range(int(first), int(last) + 1) if rows[n].to_user in (None, USERS[0])]
        if [m["seq"] for m in got] != wanted:
            faults.append(f"/ws/history of {topic}: {[m['seq'] for m in got]}, wanted {wanted}")
        faults += [f"/ws/history of {topic}: {m} is not what was committed" for m in got if not same(m, rows[m["seq"]].body)][:3]
        # The newest are kept by every setting in use here; after a restore fewer are there.
        if int(first) > max(1, int(last) - 19) and not any(row.inherited for row in rows.values()):
            faults.append(f"{topic} keeps only {first} to {last}")
    return faults


@contextlib.contextmanager
def witness(s):
    s.sql(WITNESS)
    try:
        yield
    finally:
        s.sql(UNWITNESS)
