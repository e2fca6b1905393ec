"""
listening - Listener, what Tidings.listen() gives: an iterator over what comes, by one transport or another.
"""
from __future__ import annotations

import http.client
import json
import socket
import threading
import time
from typing import TYPE_CHECKING, Any, Callable, Dict, Iterator, Optional

from .messages import Event
from .subscription import SILENCE_S, EventStream, Problem, Subscription, refusal
from .websocket import Closed, WebSocket

if TYPE_CHECKING:
    from .client import Server

EMPTY_REPLY_S = 1.0  # an empty reply that came sooner than this is not asked for again before


class Listener:
    """
    Iterate over it in one thread. It ends by close(), from any thread; by a TidingsError: the token is refused, also a fresh one, or no topic
    is left that is allowed; or by what the token's source raises.
    """

    def __init__(self, subscription: Subscription, server: "Server", token: Callable[[], Optional[str]], connect_timeout: float,
                 ping_interval: float, ping_timeout: float, poll_timeout: int):
        self._subscription, self._server, self._token = subscription, server, token
        self._connect_timeout, self._ping_interval, self._ping_timeout = connect_timeout, ping_interval, ping_timeout
        self._poll_timeout = poll_timeout
        self._closing = threading.Event()
        self._end: Callable[[], None] = lambda: None  # of the connection in use
        self._socket: socket.socket
        self._events = self._run()

    @property
    def cursors(self) -> Dict[str, str]:
        """What has been received, by topic: for the next listen()."""
        return self._subscription.cursors

    @property
    def transport(self) -> Optional[str]:
        """How it is connected; None: it is not."""
        return self._subscription.transport if self._subscription.is_up else None

    def __iter__(self) -> "Listener":
        return self

    def __next__(self) -> Event:
        if self._closing.is_set():
            raise StopIteration
        return next(self._events)

    def close(self) -> None:
        self._closing.set()
        self._end()

    def __enter__(self) -> "Listener":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _run(self) -> Iterator[Event]:
        via = {"websocket": self._websocket, "sse": self._sse, "long_poll": self._polls}
        while not self._closing.is_set():
            yield from self._subscription.begin(self._token())
            try:
                yield from via[self._subscription.transport]()
            except Problem as e:
                problem = e
            except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError, AttributeError) as e:
                # What a proxy, or half a reply, may make of it.
                problem = Problem("broken", f"{type(e).__name__}: {e}")
            finally:
                self._end()
            if not self._closing.is_set():
                self._closing.wait(self._subscription.ended(problem))

    def _opened(self, end: Callable[[], None]) -> None:
        self._end = end
        if self._closing.is_set():
            raise Problem("broken", "closed")

    def _websocket(self) -> Iterator[Event]:
        s = self._subscription
        ws = WebSocket(self._server, "/ws" + s.query(), s.token, self._connect_timeout)
        self._opened(ws.close)
        asked = False
        while True:
            patience = self._connect_timeout if not s.is_up else self._ping_timeout if asked else self._ping_interval
            try:
                text = ws.receive(patience)
            except Closed as e:
                raise s.closed(e.code, e.reason) from None
            if text is not None:
                asked = False
                yield from s.hear(json.loads(text))
            elif asked or not s.is_up:
                raise Problem("broken", "no answer in time")
            else:
                ws.send("ping")
                asked = True

    def _sse(self) -> Iterator[Event]:
        s = self._subscription
        if s.lacks_cursor:
            yield from s.polled(json.loads(self._get("/poll" + s.query(timeout=0), self._connect_timeout).read()))
            self._end()
        reply = self._get("/sse" + s.query(), self._connect_timeout)
        if "event-stream" not in reply.headers.get("Content-Type", ""):
            raise Problem("broken", "this is no event stream")
        stream = EventStream()
        while True:
            data = reply.read1(65536)
            if not data:
                raise Problem("broken", "the event stream ended")
            for kind, text in stream.feed(data):
                if not kind:
                    s.go_past(text)
                    continue
                was_up = s.is_up
                yield from s.hear(json.loads(text))
                if s.is_up and not was_up:
                    self._socket.settimeout(SILENCE_S)

    def _polls(self) -> Iterator[Event]:
        s = self._subscription
        timeout = 0  # the first is not held: that shows whether there is a way
        while True:
            asked = time.monotonic()
            reply: Any = json.loads(self._get("/poll" + s.query(timeout=timeout), timeout + self._ping_timeout).read())
            self._end()
            yield from s.polled(reply)
            if timeout and not reply["messages"] and time.monotonic() - asked < EMPTY_REPLY_S:
                self._closing.wait(EMPTY_REPLY_S)
            if self._closing.is_set():
                return
            timeout = self._poll_timeout

    def _get(self, path: str, timeout: float) -> http.client.HTTPResponse:
        connection = self._server.open(timeout)
        token = self._subscription.token
        connection.connect()
        own: socket.socket = connection.sock  # which a connection that is to be closed behind the reply soon knows no more
        self._socket = own

        def end() -> None:
            try:
                own.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # it has ended already
            connection.close()

        self._opened(end)
        connection.request("GET", self._server.path + path, headers={"Authorization": f"Bearer {token}"} if token else {})
        reply = connection.getresponse()
        if reply.status != 200:
            try:
                problem = json.loads(reply.read())
            except ValueError:
                problem = None
            raise refusal(reply.status, {k.lower(): v for k, v in reply.getheaders()}, problem)
        return reply
