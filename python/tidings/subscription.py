"""
subscription - listening, without the network: how far each topic has been received, what to ask for, what to do when a connection ends.

	Place		how far one topic has been received: it makes the cursors, and drops what comes twice
	Subscription	several topics, over one connection after another
	Problem		why a connection ended
	EventStream	the parser of server-sent events

A connection gives what it hears to hear(), or, a poll, to polled(); what it got wrong or how it ended to ended(), which says how long to wait
for the next one. tests/vectors holds this, and web/tidings.js, to the same cases.
"""
from __future__ import annotations

import re
import time
import urllib.parse
from typing import Any, Dict, Iterable, Iterator, List, Mapping, Optional, Sequence, Tuple

from .errors import ForbiddenError, InvalidError, UnauthorizedError
from .exchange import backoff, seconds
from .messages import Event, Gap, Refused, check_device, check_rewind, check_topic, check_types, given, message
from .tokens import TokenKeeper

TRANSPORTS = ("websocket", "sse", "long_poll")
TOPICS_MAX = 100
STABLE_S = 10  # a connection that lasted so long was a good one
FLAPS_MAX = 3  # after so many that broke soon, another transport is tried first
BUSY_S = 2.0  # how much longer to stay away from a server that has said so, where it does not say for how long
SILENCE_S = 40  # of an event stream, in which something comes every 15 s


class Place:
    def __init__(self, cursor: Optional[str] = None):
        self.epoch = ""
        self.at = 0  # everything up to here has come, or is not for us
        self.damaged = bool(cursor) and not self.move(cursor)
        self.seen = self.at  # the last that has come. Behind `at` while messages for this user alone, which waited, are still to come

    @property
    def cursor(self) -> Optional[str]:
        return f"{self.epoch}-{self.at}" if self.epoch else None

    def move(self, cursor: Optional[str]) -> bool:
        match = re.fullmatch(r"([0-9a-z]+)-(\d+)", str(cursor))
        if match:
            self.epoch, self.at = match[1], int(match[2])
        return bool(match)

    def begin(self, entry: Mapping[str, Any], before: Optional[int] = None) -> bool:
        """The server tells where it goes on from. `before`: the seq to begin at, where its cursor is the one after the messages that come
        with it. True when something is lost."""
        lost = not entry.get("recovered") or self.damaged
        if lost or not self.epoch:
            self.move(entry.get("cursor"))
            self.at = self.at if before is None else before
            self.seen = 0
        else:
            self.epoch = str(entry.get("cursor")).partition("-")[0]  # of a topic that was not there yet it is another
        self.damaged = False
        return lost

    def go_past(self, cursor: str) -> None:
        """The server tells where it is: what is not for us, or of a type that is not wanted, has gone by."""
        epoch, _, seq = cursor.partition("-")
        if epoch == self.epoch:
            self.at = max(self.at, int(seq))

    def take(self, seq: Optional[int]) -> bool:
        """False: it has come before."""
        if seq:
            if seq <= self.seen:
                return False
            self.seen = seq
            self.at = max(self.at, seq)
        return True


class Problem(Exception):
    """Why a connection ended.

    broken	the network's fault, as far as one can see
    restart	the server said: come back
    busy	the server said: come back later; after `wait` seconds
    refused	the token
    forbidden	`topic`
    invalid	what we ask for
    """

    def __init__(self, kind: str, message: str, topic: Optional[str] = None, wait: float = 0.0):
        super().__init__(message)
        self.kind, self.message, self.topic, self.wait = kind, message, topic, wait


def closed(code: int, reason: str, topic: Optional[str] = None) -> Problem:
    """What a close code means, of a WebSocket or in an event stream's `close`."""
    message = f"closed: {code} {reason}"
    if topic:
        return Problem("forbidden", message, topic)
    # A topic was withdrawn, of which a stream does not say which: the next request is told.
    if code == 1008 and reason == "not allowed":
        return Problem("restart", message)
    # A place may become free: that is no matter of the token.
    if code == 1013 or (code == 1008 and "too many" in reason):
        return Problem("busy", message, wait=BUSY_S)
    return Problem({1008: "refused", 1012: "restart"}.get(code, "broken"), message)


def refusal(status: int, headers: Mapping[str, str], problem: Any) -> Problem:
    """What an HTTP status means; `headers` by their names in small letters, `problem`: the reply's JSON, or anything."""
    problem = problem if isinstance(problem, dict) else {}
    detail = problem.get("detail")
    message = str(detail or f"HTTP {status}")
    errors = problem.get("errors")
    topic = next((e.get("message") for e in errors if isinstance(e, dict) and e.get("field") == "topics"), None) if isinstance(errors, list) else None
    if status == 401:
        return Problem("refused", message)
    if status in (429, 503):
        return Problem("busy", message, wait=seconds(headers.get("retry-after")) or BUSY_S)
    if status == 422 and detail:
        return Problem("invalid", message)
    if status in (403, 404) and topic:
        return Problem("forbidden", message, topic)
    return Problem("broken", message)


class Subscription:
    def __init__(self, topics: Sequence[str], cursors: Mapping[str, str], transports: Iterable[str], tokens: TokenKeeper, backoff_min: float,
                 backoff_max: float, rewind: Optional[int] = None, types: Optional[Sequence[str]] = None, device: Optional[str] = None,
                 presence: bool = False):
        if not 1 <= len(topics) <= TOPICS_MAX:
            raise InvalidError(f"One listens to 1 to {TOPICS_MAX} topics.")
        self.places: Dict[str, Place] = {check_topic(t): Place(cursors.get(t)) for t in topics}
        self._order = [t for t in transports if t in TRANSPORTS]
        if not self._order:
            raise InvalidError(f"There is no transport to use: {', '.join(TRANSPORTS)}.")
        self._wanted = {name: urllib.parse.quote(str(value), safe=",") for name, value in given(
            rewind=check_rewind(rewind), types=check_types(types), device=check_device(device), presence="yes" if presence else None).items()}
        self._tokens, self._backoff = tokens, (backoff_min, backoff_max)
        self._best = self._order[0]  # the one to try first: the last that worked
        self._round = self._new_round()
        self.transport = self._round.pop(0)  # in use, or to be tried
        self.token: Optional[str] = None  # of this connection
        self.up_since: Optional[float] = None
        self._refused = False  # the last token was, and there was no connection since
        self._attempts = 0
        self._forbidden: Optional[str] = None
        self._dropped: List[Refused] = []

    @property
    def cursors(self) -> Dict[str, str]:
        return {topic: place.cursor for topic, place in self.places.items() if place.cursor}

    @property
    def is_up(self) -> bool:
        return self.up_since is not None

    @property
    def lacks_cursor(self) -> bool:
        """What waits for a topic without a cursor is sent once. Were it sent into a stream that a proxy holds back, it would be lost."""
        return not all(place.cursor for place in self.places.values())

    def query(self, **more: object) -> str:
        topics = ",".join(urllib.parse.quote(t) for t in self.places)
        cursors = [place.cursor or "" for place in self.places.values()]
        return "&".join([f"?topics={topics}", *([f"cursor={'.'.join(cursors)}"] if any(cursors) else []), *(f"{k}={v}" for k, v in (*self._wanted.items(), *more.items()))])

    def begin(self, token: Optional[str]) -> Iterator[Event]:
        """A connection is about to be made, with that token."""
        self.token, self.up_since, self._forbidden = token, None, None
        while self._dropped:
            yield self._dropped.pop(0)

    # ---- what is heard

    def hear(self, heard: Any) -> Iterator[Event]:
        """What came by a WebSocket, or in an event stream. Each event is received when the next one is asked for."""
        kind, data = heard.get("type"), heard.get("data")
        if kind == "reconnect_messages" and "messages" in data:
            yield from self._take(data["messages"])
        elif "topic" in heard:
            yield from self._take([heard])
        elif kind == "connect":
            self._up()
            yield from self._begin(data["topics"])
        elif kind == "pong" and "cursor" in data:
            self.go_past(data["cursor"])
        elif kind == "error" and data.get("code") == "forbidden":
            self._forbidden = data.get("topic")  # and then it closes
        elif kind == "close":
            raise closed(data["code"], data["reason"])

    def go_past(self, cursor: str) -> None:
        """`cursor`: of all topics, as a pong has it, or the id of an event."""
        for place, one in zip(self.places.values(), cursor.split(".")):
            if one:
                place.go_past(one)

    def closed(self, code: int, reason: str) -> Problem:
        return closed(code, reason, self._forbidden)

    def polled(self, reply: Any) -> Iterator[Event]:
        topics, messages = (reply.get("topics"), reply.get("messages")) if isinstance(reply, dict) else (None, None)
        if topics is None or messages is None:
            raise Problem("broken", "this is no reply to a poll")
        # Before a stream it is no connection yet.
        if self.transport == "long_poll":
            self._up()
        # Its cursors are those after its messages.
        first: Dict[str, int] = {}
        for m in messages:
            if m.get("seq"):
                first.setdefault(m["topic"], m["seq"] - 1)
        yield from self._begin(topics, first)
        yield from self._take(messages)
        for topic, entry in topics.items():
            if topic in self.places:
                self.places[topic].move(entry.get("cursor"))

    def _begin(self, topics: Mapping[str, Any], before: Mapping[str, int] = {}) -> Iterator[Event]:
        for topic, entry in topics.items():
            place = self.places.get(topic)
            if place and place.begin(entry, before.get(topic)):
                missed = entry.get("missed") or {}
                yield Gap(topic, missed.get("from"), missed.get("to"))

    def _take(self, messages: Iterable[Mapping[str, Any]]) -> Iterator[Event]:
        for m in messages:
            place = self.places.get(m["topic"])
            if place and place.take(m.get("seq")):
                yield message(m, place.cursor)

    def _up(self) -> None:
        if not self.is_up:
            self.up_since = time.monotonic()
            self._refused = False
            self._best = self.transport

    # ---- how it ends

    def ended(self, problem: Problem) -> float:
        """Seconds to wait before the next connection, by `transport`. Raises what ends all of it."""
        was_up = self.up_since is not None
        stable = self.up_since is not None and time.monotonic() - self.up_since >= STABLE_S
        self.up_since = None
        if stable:
            self._attempts = 0
        kind, message = problem.kind, problem.message
        if kind == "forbidden" and problem.topic in self.places:
            del self.places[problem.topic]
            if not self.places:
                raise ForbiddenError(f"Listening to {problem.topic} is not allowed ({message}).", 403)
            self._dropped.append(Refused(problem.topic, message))
            return self._again(self.transport)
        if kind == "refused":
            if not self._tokens.can_refresh or self._refused:
                raise UnauthorizedError(f"The server does not take the token ({message}).", 401)
            self._refused = True
            self._tokens.refuse(self.token)
            return self._again(self.transport)
        if kind == "invalid":
            raise InvalidError(message, 422)
        if kind == "broken" and not was_up and self._round:
            self.transport = self._round.pop(0)
            return 0.0
        # One that lets us in and breaks again and again is not one that works.
        if kind == "broken" and was_up and self._attempts >= FLAPS_MAX:
            self._best = self._order[(self._order.index(self.transport) + 1) % len(self._order)]
        wait = problem.wait + backoff(self._attempts, *self._backoff)
        self._attempts += 1
        self._again(self._best)
        return wait

    def _again(self, first: str) -> float:
        self._best = first
        self._round = self._new_round()
        self.transport = self._round.pop(0)
        return 0.0

    def _new_round(self) -> List[str]:
        return [self._best, *(t for t in self._order if t != self._best)]


class EventStream:
    """The HTML standard, 9.2.6."""

    def __init__(self) -> None:
        self._rest = b""
        self._event: Dict[str, str] = {}

    def feed(self, data: bytes) -> Iterator[Tuple[str, str]]:
        """(event, data) of each event that is whole now; ("", id) of one that has nothing but that: where its client is."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            text = line.decode(errors="replace").rstrip("\r")
            name, _, content = text.partition(":")
            content = content[1:] if content.startswith(" ") else content
            if not text:
                if "data" in self._event:
                    yield self._event.get("event", "message"), self._event["data"]
                elif self._event.get("id"):
                    yield "", self._event["id"]
                self._event = {}
            elif name == "data" and "data" in self._event:
                self._event["data"] += "\n" + content
            elif name:
                self._event[name] = content

