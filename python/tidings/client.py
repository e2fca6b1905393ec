"""
client - Tidings: publish, notify, look and listen, from any thread, with nothing but the standard library.

	client = Tidings("http://localhost:8000", token=Key.load("/etc/tidings/jwt/default.HS256").source("reports", role="service"))
	client.publish("diagnosis/123", "note", {"text": "Hello"})

Every call returns once it is committed, or raises a TidingsError that says what to do. Until `timeout` it tries again by itself, always
with the same idempotency key: what is published is published once.
"""
from __future__ import annotations

import contextlib
import datetime
import http.client
import os
import ssl
import threading
import time
import urllib.parse
from typing import Any, Dict, Iterable, Iterator, List, Mapping, Optional, Sequence, Tuple, TypeVar, Union

from . import gathering, messages, testing
from .errors import InvalidError, TidingsError
from .exchange import Exchange
from .listening import Listener
from .messages import History, Published, Receipt, Request, UserId
from .subscription import TRANSPORTS, Subscription
from .tokens import TokenKeeper, TokenSource

T = TypeVar("T")

IDLE_MAX = 16  # connections that are kept for the next request


class Tidings:
    """
    url		the web server's, with a path where tidings lives under one
    token	a token, or what gives one: Key.source()
    timeout	seconds that a call may take, attempts and waits included
    gather_ms	publish() waits so long for others' of the same moment, and goes with them in one array; 0: it goes at once
    backoff_min, backoff_max	seconds between attempts, at first and at most
    ssl_context	of https; None: the system's
    """

    def __init__(self, url: str, token: Optional[TokenSource] = None, *, timeout: float = 30, gather_ms: float = 0, backoff_min: float = 0.5,
                 backoff_max: float = 30, ssl_context: Optional[ssl.SSLContext] = None):
        self._timeout, self._gather_s, self._backoff = timeout, gather_ms / 1000, (backoff_min, backoff_max)
        self._server = Server(url, ssl_context)
        self._source = token
        self._tokens = TokenKeeper(token if isinstance(token, str) else None, callable(token))
        self._token_lock = threading.Lock()
        self._gathered: List[_Waiting] = []
        self._gather_lock = threading.Lock()

    # ---- publish

    def publish(self, topic: str, type: str, data: Any, *, ephemeral: bool = False, deliver_at: Optional[datetime.datetime] = None,
                expires_at: Optional[datetime.datetime] = None, priority: Optional[str] = None, correlation_id: Optional[str] = None,
                to_user_id: Optional[UserId] = None, exclude_connection_id: Optional[str] = None,
                idempotency_key: Optional[str] = None) -> Published:
        """See messages.publication(). Takes a token of role service or admin."""
        item = messages.publication(topic, type, data, ephemeral=ephemeral, deliver_at=deliver_at, expires_at=expires_at, priority=priority,
                                    correlation_id=correlation_id, to_user_id=to_user_id, exclude_connection_id=exclude_connection_id)
        if self._gather_s and idempotency_key is None:
            return self._gather(item)
        return self._send(messages.publish([item]), idempotency_key)[0]

    def publish_all(self, items: Sequence[Mapping[str, Any]], *, idempotency_key: Optional[str] = None) -> List[Published]:
        """Up to 500 of messages.publication(), all or none."""
        return self._send(messages.publish(items), idempotency_key)

    def broadcast_recommendation_update(self, diagnosis_id: int, old_data: Mapping[str, Any], new_data: Mapping[str, Any], reason: str, *,
                                        to_user_id: Optional[UserId] = None, exclude_connection_id: Optional[str] = None,
                                        idempotency_key: Optional[str] = None) -> Published:
        """Takes the diagnosis's owner, who was granted it, or a service."""
        return self._send(messages.broadcast("recommendation-update", diagnosis_id=diagnosis_id, old_data=old_data, new_data=new_data,
                                             reason=reason, to_user_id=to_user_id, exclude_connection_id=exclude_connection_id),
                          idempotency_key)

    def broadcast_effectiveness_update(self, diagnosis_id: int, recommendation_id: int, effectiveness: float, confidence: float,
                                       sample_size: int, *, herb: Optional[str] = None, old_effectiveness: Optional[float] = None,
                                       to_user_id: Optional[UserId] = None, exclude_connection_id: Optional[str] = None,
                                       idempotency_key: Optional[str] = None) -> Published:
        """`effectiveness`, `confidence`, `old_effectiveness`: 0 to 1."""
        return self._send(messages.broadcast("effectiveness-update", diagnosis_id=diagnosis_id, recommendation_id=recommendation_id,
                                             new_effectiveness=effectiveness, confidence=confidence, sample_size=sample_size, herb=herb,
                                             old_effectiveness=old_effectiveness, to_user_id=to_user_id,
                                             exclude_connection_id=exclude_connection_id), idempotency_key)

    def broadcast_feedback_update(self, diagnosis_id: int, feedback_id: int, rating: int, effectiveness: float, *,
                                  recommendation_id: Optional[int] = None, comment: Optional[str] = None,
                                  to_user_id: Optional[UserId] = None, exclude_connection_id: Optional[str] = None,
                                  idempotency_key: Optional[str] = None) -> Published:
        """`rating`: 1 to 5; `effectiveness`: 0 to 1."""
        return self._send(messages.broadcast("feedback-update", diagnosis_id=diagnosis_id, feedback_id=feedback_id, rating=rating,
                                             effectiveness=effectiveness, recommendation_id=recommendation_id, comment=comment,
                                             to_user_id=to_user_id, exclude_connection_id=exclude_connection_id), idempotency_key)

    # ---- live health

    def notify(self, user_id: UserId, type: str, title: str, message: str, *, priority: str = "normal",
               deliver_at: Optional[datetime.datetime] = None, idempotency_key: Optional[str] = None) -> Published:
        """`type`: health_alert, medication_reminder, appointment_reminder or system. `raw["id"]` of what it returns is for receipt()."""
        return self._send(messages.broadcast("notification", user_id=user_id, type=type, title=title, message=message, priority=priority,
                                             deliver_at=messages.check_time("deliver_at", deliver_at)), idempotency_key)

    def receipt(self, notification_id: str) -> Receipt:
        """Whether a notification was sent, acked, read."""
        return self._send(messages.receipt(notification_id))

    def health_update(self, user_id: UserId, metric: str, value: float, unit: Optional[str] = None, *,
                      timestamp: Optional[datetime.datetime] = None, idempotency_key: Optional[str] = None) -> Published:
        """A reading of a user's health; `timestamp`: when it was measured."""
        return self._send(messages.broadcast("health-update", user_id=user_id, metric=metric, value=value, unit=unit,
                                             timestamp=messages.check_time("timestamp", timestamp)), idempotency_key)

    def chat_message(self, conversation_id: str, message: str, *, sender: Optional[str] = None,
                     idempotency_key: Optional[str] = None) -> Published:
        return self._send(messages.broadcast("chat-message", conversation_id=conversation_id, message=message, sender=sender), idempotency_key)

    # ---- look, and manage

    def health(self) -> Dict[str, Any]:
        """`status` is "healthy", or "unhealthy", and `checks` says of what."""
        return self._send(messages.plain("GET", "/health", (200, 503)))

    def status(self) -> Dict[str, Any]:
        return self._send(messages.plain("GET", "/ws/status"))

    def history(self, topic: Union[int, str], *, since: Optional[str] = None, before: Optional[int] = None, limit: Optional[int] = None,
                types: Optional[Sequence[str]] = None) -> History:
        """What is kept, for who may read it: the newest, what came after the cursor `since`, or the newest before a seq; of some types.
        A number is a diagnosis's."""
        return self._send(messages.history(topic, since, before, limit, types))

    def presence(self, topic: str) -> Dict[str, Any]:
        """Who is connected to a topic, for who may read it and a service: `clients`, `anonymous`, and `users`, one entry each."""
        return self._send(messages.presence(topic))

    def connections(self, *, user_id: Optional[UserId] = None, topic: Optional[str] = None, slow: bool = False, after: Optional[str] = None,
                    limit: Optional[int] = None) -> Dict[str, Any]:
        """`connections`, for an admin, and `next`: the `after` of the page that follows. `slow`: only those that something waits for."""
        return self._send(messages.connections(user_id, topic, slow, after, limit))

    def connection(self, connection_id: str) -> Dict[str, Any]:
        """How a connection is: for its user, or an admin. So are disconnect() and reconnect()."""
        return self._send(messages.plain("GET", f"/ws/connection/{messages.quoted(connection_id)}/health"))

    def disconnect(self, connection_id: str) -> Dict[str, Any]:
        return self._send(messages.plain("DELETE", f"/ws/connection/{messages.quoted(connection_id)}"))

    def reconnect(self, user_id: UserId) -> int:
        """Has all connections of a user come again; how many they were."""
        return int(self._send(messages.plain("POST", f"/ws/user/{messages.quoted(user_id)}/reconnect"))["connections"])

    # ---- listen

    def listen(self, *topics: str, cursors: Optional[Mapping[str, str]] = None, rewind: Optional[int] = None,
               types: Optional[Sequence[str]] = None, device: Optional[str] = None, presence: bool = False, transports: Iterable[str] = TRANSPORTS,
               connect_timeout: float = 5, ping_interval: float = 25, ping_timeout: float = 10, poll_timeout: int = 25) -> Listener:
        """
        What comes on up to 100 topics, for ever: each message once and, within its topic, in order, over breaks and restarts.

        	for event in client.listen("diagnosis/123", cursors=kept):
        	    if isinstance(event, Gap): load the whole state anew
        	    else: handle it; then keep event.cursor, if nothing may be missed by the next start

        cursors		where to go on, by topic. A topic without one gets what waits for it: what no client has been sent
        rewind		1..100: a topic without a cursor, or with one that cannot be resumed, begins with its newest so many messages instead
        types		only messages of these types
        device		its name, 1..64 letters, digits and _.-: the server keeps how far it has confirmed each topic, for who keeps no cursors
        presence	messages of type presence, join and leave too: who else is connected
        transports	which, best first: websocket, sse, long_poll; the next is tried where a network lets the first not through
        connect_timeout, ping_interval, ping_timeout	seconds: to connect, of silence until it is asked, until it must have answered
        poll_timeout	seconds that a poll is held, 1..55
        """
        if testing.active() is not None:
            raise InvalidError("tidings.testing.capture() has no server to listen to.")
        subscription = Subscription(topics, cursors or {}, transports, self._tokens, *self._backoff, rewind, types, device, presence)
        return Listener(subscription, self._server, self._token, connect_timeout, ping_interval, ping_timeout, poll_timeout)

    # ---- what a call is made of

    def close(self) -> None:
        """Ends the connections that are kept. The client can be used again."""
        self._server.close()

    def __enter__(self) -> "Tidings":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _token(self) -> Optional[str]:
        with self._token_lock:
            reason = self._tokens.wanted()
            if reason and callable(self._source):
                self._tokens.keep(self._source(reason))
            return self._tokens.token

    def _send(self, request: Request[T], key: Optional[str] = None) -> T:
        double = testing.active()
        if double is not None:
            return double.take(request, key)
        exchange = Exchange(request, key, self._timeout, *self._backoff, self._tokens.can_refresh)
        wait: Optional[float] = 0.0
        while wait is not None:
            time.sleep(wait)
            token = self._token()
            reused = False
            try:
                with self._server.connection(exchange.attempt_timeout) as (connection, reused):
                    connection.request(request.method, self._server.path + request.path, exchange.body, exchange.headers(token))
                    reply = connection.getresponse()
                    status, headers, body = reply.status, {k.lower(): v for k, v in reply.getheaders()}, reply.read()
            except (OSError, http.client.HTTPException) as e:
                wait = exchange.broke(e, at_once=reused and isinstance(e, (http.client.RemoteDisconnected, ConnectionError)))
                continue
            if status == 401:
                self._tokens.refuse(token)
            wait = exchange.answered(status, headers, body)
        return exchange.result

    def _gather(self, item: Mapping[str, Any]) -> Published:
        """The first one waits, and takes along whoever came meanwhile."""
        mine = _Waiting(item, gathering.weight(item))
        with self._gather_lock:
            first = not self._gathered
            self._gathered.append(mine)
        if first:
            try:
                time.sleep(self._gather_s)
            finally:  # others wait for it, whatever interrupts this thread
                with self._gather_lock:
                    taken, self._gathered = self._gathered, []
                self._send_gathered(taken)
        else:
            mine.done.wait()
        if mine.error:
            raise mine.error
        assert mine.published is not None
        return mine.published

    def _send_gathered(self, waiting: List["_Waiting"]) -> None:
        try:
            while waiting:
                count, size = 0, 0
                while count < len(waiting) and (not count or gathering.may_join(count + 1, size + waiting[count].size)):
                    size += waiting[count].size
                    count += 1
                part, waiting = waiting[:count], waiting[count:]
                waiting = self._send_part(part) + waiting
        except BaseException as e:
            for w in waiting:
                w.end(error=e)
            raise

    def _send_part(self, part: List["_Waiting"]) -> List["_Waiting"]:
        """Those that are to go again."""
        try:
            results = self._send(messages.publish([w.item for w in part]))
            for w, published in zip(part, results):
                w.end(published)
        except TidingsError as e:
            errors, again = gathering.blame(e, len(part))
            for i, error in errors.items():
                part[i].end(error=error)
            if len(again) < len(part):
                return [part[i] for i in again]
            for w in part:  # nobody is named: each goes alone
                self._send_part([w])
        except BaseException as e:
            for w in part:
                w.end(error=e)
            raise
        return []


class _Waiting:
    """A publish that is gathered."""

    def __init__(self, item: Mapping[str, Any], size: int):
        self.item, self.size = item, size
        self.done = threading.Event()
        self.published: Optional[Published] = None
        self.error: Optional[BaseException] = None

    def end(self, published: Optional[Published] = None, error: Optional[BaseException] = None) -> None:
        self.published, self.error = published, error
        self.done.set()


class Server:
    """The web server, and idle connections to it."""

    def __init__(self, url: str, ssl_context: Optional[ssl.SSLContext] = None):
        parts = urllib.parse.urlsplit(url)
        try:
            port = parts.port
        except ValueError:
            port = 0
        if parts.scheme not in ("http", "https") or not parts.hostname or port == 0 or parts.query or parts.fragment:
            raise InvalidError(f"{url!r} is no server's URL, such as http://localhost:8000.")
        self.host, self.is_tls = parts.hostname, parts.scheme == "https"
        self.port = port or (443 if self.is_tls else 80)
        self.path = parts.path.rstrip("/")
        self.ssl_context = (ssl_context or ssl.create_default_context()) if self.is_tls else None
        self._idle: List[http.client.HTTPConnection] = []
        self._process = os.getpid()

    def open(self, timeout: float) -> http.client.HTTPConnection:
        if self.ssl_context:
            return http.client.HTTPSConnection(self.host, self.port, timeout=timeout, context=self.ssl_context)
        return http.client.HTTPConnection(self.host, self.port, timeout=timeout)

    @contextlib.contextmanager
    def connection(self, timeout: float) -> Iterator[Tuple[http.client.HTTPConnection, bool]]:
        """One for a request, and whether it had been used before; kept for the next when all went well."""
        if self._process != os.getpid():  # a fork's: the connections are those of its parent
            self._idle, self._process = [], os.getpid()
        try:
            connection, reused = self._idle.pop(), True
        except IndexError:
            connection, reused = self.open(timeout), False
        try:
            connection.timeout = timeout
            if connection.sock is not None:
                connection.sock.settimeout(timeout)
            else:
                connection.connect()  # which sets TCP_NODELAY
            yield connection, reused
        except BaseException:
            connection.close()
            raise
        if connection.sock is not None and len(self._idle) < IDLE_MAX:
            self._idle.append(connection)
        else:
            connection.close()

    def close(self) -> None:
        while self._idle:
            self._idle.pop().close()
