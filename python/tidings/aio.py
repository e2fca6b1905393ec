"""
aio - AsyncTidings: Tidings to be awaited, on httpx and websockets.

	async with AsyncTidings("http://localhost:8000", token=key.source("reports", role="service")) as client:
	    await client.publish("diagnosis/123", "note", {"text": "Hello"})

One belongs to the event loop that it is used in. The calls are those of Tidings, whose docstrings say more.
"""
from __future__ import annotations

import asyncio
import datetime
import inspect
import json
import ssl
import time
from typing import Any, AsyncGenerator, Awaitable, Callable, Dict, Iterable, List, Mapping, Optional, Sequence, TypeVar, Union

from . import gathering, messages, testing
from .client import Server
from .errors import InvalidError, TidingsError
from .exchange import Exchange
from .listening import EMPTY_REPLY_S
from .messages import Event, History, Published, Receipt, Request, UserId
from .subscription import SILENCE_S, TRANSPORTS, EventStream, Problem, Subscription, refusal
from .tokens import TokenKeeper

try:
    import httpx
    import websockets
    from websockets.exceptions import ConnectionClosed, InvalidHandshake, WebSocketException
except ImportError as e:
    raise ImportError("tidings.aio takes httpx and websockets: apt-get install python3-httpx python3-websockets, or "
                      "pip install tidings[async].") from e

T = TypeVar("T")
CONNECT: Any = getattr(websockets, "connect")  # which websockets imports when it is asked for
# As tidings.tokens.TokenSource, or to be awaited.
TokenSource = Union[str, Callable[[str], Union[str, Awaitable[str]]]]


class AsyncTidings:
    """As Tidings. `gather_ms` is what makes a service fast whose requests publish one message each."""

    def __init__(self, url: str, token: Optional[TokenSource] = None, *, timeout: float = 30, gather_ms: float = 0, backoff_min: float = 0.5,
                 backoff_max: float = 30, ssl_context: Optional[ssl.SSLContext] = None):
        self._timeout, self._gather_s, self._backoff = timeout, gather_ms / 1000, (backoff_min, backoff_max)
        self._server = Server(url, ssl_context)
        self._http = httpx.AsyncClient(verify=self._server.ssl_context or True, trust_env=False)
        self._base = url.rstrip("/")
        self._source = token
        self._tokens = TokenKeeper(token if isinstance(token, str) else None, callable(token))
        self._fetching: Optional[asyncio.Task[str]] = None
        self._gathered: List[_Waiting] = []

    # ---- publish

    async def publish(self, topic: str, type: str, data: Any, *, ephemeral: bool = False, deliver_at: Optional[datetime.datetime] = None,
                      expires_at: Optional[datetime.datetime] = None, priority: Optional[str] = None, correlation_id: Optional[str] = None,
                      to_user_id: Optional[UserId] = None, exclude_connection_id: Optional[str] = None,
                      idempotency_key: Optional[str] = None) -> Published:
        item = messages.publication(topic, type, data, ephemeral=ephemeral, deliver_at=deliver_at, expires_at=expires_at, priority=priority,
                                    correlation_id=correlation_id, to_user_id=to_user_id, exclude_connection_id=exclude_connection_id)
        if self._gather_s and idempotency_key is None:
            return await self._gather(item)
        return (await self._send(messages.publish([item]), idempotency_key))[0]

    async def publish_all(self, items: Sequence[Mapping[str, Any]], *, idempotency_key: Optional[str] = None) -> List[Published]:
        return await self._send(messages.publish(items), idempotency_key)

    async def broadcast_recommendation_update(self, diagnosis_id: int, old_data: Mapping[str, Any], new_data: Mapping[str, Any], reason: str,
                                              *, to_user_id: Optional[UserId] = None, exclude_connection_id: Optional[str] = None,
                                              idempotency_key: Optional[str] = None) -> Published:
        return await self._send(messages.broadcast(
            "recommendation-update", diagnosis_id=diagnosis_id, old_data=old_data, new_data=new_data, reason=reason, to_user_id=to_user_id,
            exclude_connection_id=exclude_connection_id), idempotency_key)

    async def broadcast_effectiveness_update(self, diagnosis_id: int, recommendation_id: int, effectiveness: float, confidence: float,
                                             sample_size: int, *, herb: Optional[str] = None, old_effectiveness: Optional[float] = None,
                                             to_user_id: Optional[UserId] = None, exclude_connection_id: Optional[str] = None,
                                             idempotency_key: Optional[str] = None) -> Published:
        return await self._send(messages.broadcast(
            "effectiveness-update", diagnosis_id=diagnosis_id, recommendation_id=recommendation_id, new_effectiveness=effectiveness,
            confidence=confidence, sample_size=sample_size, herb=herb, old_effectiveness=old_effectiveness, to_user_id=to_user_id,
            exclude_connection_id=exclude_connection_id), idempotency_key)

    async def broadcast_feedback_update(self, diagnosis_id: int, feedback_id: int, rating: int, effectiveness: float, *,
                                        recommendation_id: Optional[int] = None, comment: Optional[str] = None,
                                        to_user_id: Optional[UserId] = None, exclude_connection_id: Optional[str] = None,
                                        idempotency_key: Optional[str] = None) -> Published:
        return await self._send(messages.broadcast(
            "feedback-update", diagnosis_id=diagnosis_id, feedback_id=feedback_id, rating=rating, effectiveness=effectiveness,
            recommendation_id=recommendation_id, comment=comment, to_user_id=to_user_id, exclude_connection_id=exclude_connection_id),
            idempotency_key)

    # ---- live health

    async def notify(self, user_id: UserId, type: str, title: str, message: str, *, priority: str = "normal",
                     deliver_at: Optional[datetime.datetime] = None, idempotency_key: Optional[str] = None) -> Published:
        return await self._send(messages.broadcast("notification", user_id=user_id, type=type, title=title, message=message, priority=priority,
                                                   deliver_at=messages.check_time("deliver_at", deliver_at)), idempotency_key)

    async def receipt(self, notification_id: str) -> Receipt:
        return await self._send(messages.receipt(notification_id))

    async def health_update(self, user_id: UserId, metric: str, value: float, unit: Optional[str] = None, *,
                            timestamp: Optional[datetime.datetime] = None, idempotency_key: Optional[str] = None) -> Published:
        return await self._send(messages.broadcast("health-update", user_id=user_id, metric=metric, value=value, unit=unit,
                                                   timestamp=messages.check_time("timestamp", timestamp)), idempotency_key)

    async def chat_message(self, conversation_id: str, message: str, *, sender: Optional[str] = None,
                           idempotency_key: Optional[str] = None) -> Published:
        return await self._send(messages.broadcast("chat-message", conversation_id=conversation_id, message=message, sender=sender),
                                idempotency_key)

    # ---- look, and manage

    async def health(self) -> Dict[str, Any]:
        return await self._send(messages.plain("GET", "/health", (200, 503)))

    async def status(self) -> Dict[str, Any]:
        return await self._send(messages.plain("GET", "/ws/status"))

    async def history(self, topic: Union[int, str], *, since: Optional[str] = None, before: Optional[int] = None, limit: Optional[int] = None,
                      types: Optional[Sequence[str]] = None) -> History:
        return await self._send(messages.history(topic, since, before, limit, types))

    async def presence(self, topic: str) -> Dict[str, Any]:
        return await self._send(messages.presence(topic))

    async def connections(self, *, user_id: Optional[UserId] = None, topic: Optional[str] = None, slow: bool = False, after: Optional[str] = None,
                          limit: Optional[int] = None) -> Dict[str, Any]:
        return await self._send(messages.connections(user_id, topic, slow, after, limit))

    async def connection(self, connection_id: str) -> Dict[str, Any]:
        return await self._send(messages.plain("GET", f"/ws/connection/{messages.quoted(connection_id)}/health"))

    async def disconnect(self, connection_id: str) -> Dict[str, Any]:
        return await self._send(messages.plain("DELETE", f"/ws/connection/{messages.quoted(connection_id)}"))

    async def reconnect(self, user_id: UserId) -> int:
        return int((await self._send(messages.plain("POST", f"/ws/user/{messages.quoted(user_id)}/reconnect")))["connections"])

    # ---- listen

    def listen(self, *topics: str, cursors: Optional[Mapping[str, str]] = None, rewind: Optional[int] = None,
               types: Optional[Sequence[str]] = None, device: Optional[str] = None, presence: bool = False, transports: Iterable[str] = TRANSPORTS,
               connect_timeout: float = 5, ping_interval: float = 25, ping_timeout: float = 10, poll_timeout: int = 25) -> "AsyncListener":
        """`async for event in client.listen("diagnosis/123")`: as Tidings.listen()."""
        if testing.active() is not None:
            raise InvalidError("tidings.testing.capture() has no server to listen to.")
        subscription = Subscription(topics, cursors or {}, transports, self._tokens, *self._backoff, rewind, types, device, presence)
        return AsyncListener(subscription, self._base, self._http, self._server.ssl_context, self._token, connect_timeout, ping_interval,
                             ping_timeout, poll_timeout)

    # ---- what a call is made of

    async def aclose(self) -> None:
        await self._http.aclose()

    async def __aenter__(self) -> "AsyncTidings":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def _token(self) -> Optional[str]:
        """Who wants one while it is fetched gets the same."""
        reason = self._tokens.wanted()
        if reason is None:
            return self._tokens.token
        if self._fetching is None:
            self._fetching = asyncio.ensure_future(self._fetch(reason))
        return await asyncio.shield(self._fetching)

    async def _fetch(self, reason: str) -> str:
        try:
            assert callable(self._source)
            token = self._source(reason)
            return self._tokens.keep(await token if inspect.isawaitable(token) else token)
        finally:
            self._fetching = None

    async def _send(self, request: Request[T], key: Optional[str] = None) -> T:
        double = testing.active()
        if double is not None:
            return double.take(request, key)
        exchange = Exchange(request, key, self._timeout, *self._backoff, self._tokens.can_refresh)
        wait: Optional[float] = 0.0
        while wait is not None:
            await asyncio.sleep(wait)
            token = await self._token()
            try:
                reply = await asyncio.wait_for(self._http.request(
                    request.method, self._base + request.path, content=exchange.body, headers=exchange.headers(token),
                    timeout=exchange.attempt_timeout), exchange.attempt_timeout)
            except (httpx.TransportError, asyncio.TimeoutError) as e:
                wait = exchange.broke(e)
                continue
            if reply.status_code == 401:
                self._tokens.refuse(token)
            wait = exchange.answered(reply.status_code, reply.headers, reply.content)
        return exchange.result

    async def _gather(self, item: Mapping[str, Any]) -> Published:
        mine = _Waiting(item, gathering.weight(item))
        self._gathered.append(mine)
        if len(self._gathered) == 1:
            # A task of its own: one who is cancelled takes nobody along.
            mine.task = asyncio.ensure_future(self._send_gathered())
        return await mine.published

    async def _send_gathered(self) -> None:
        await asyncio.sleep(self._gather_s)
        waiting, self._gathered = self._gathered, []
        while waiting:
            count, size = 0, 0
            while count < len(waiting) and (not count or gathering.may_join(count + 1, size + waiting[count].size)):
                size += waiting[count].size
                count += 1
            part, waiting = waiting[:count], waiting[count:]
            waiting = await self._send_part(part) + waiting

    async def _send_part(self, part: List["_Waiting"]) -> List["_Waiting"]:
        """Those that are to go again."""
        try:
            results = await self._send(messages.publish([w.item for w in part]))
            for w, published in zip(part, results):
                w.end(published)
        except TidingsError as e:
            errors, again = gathering.blame(e, len(part))
            for i, error in errors.items():
                part[i].end(error=error)
            if len(again) < len(part):
                return [part[i] for i in again]
            for w in part:  # nobody is named: each goes alone
                await self._send_part([w])
        except BaseException as e:
            for w in part:
                w.end(error=e)
        return []


class _Waiting:
    """A publish that is gathered."""

    def __init__(self, item: Mapping[str, Any], size: int):
        self.item, self.size = item, size
        self.published: asyncio.Future[Published] = asyncio.get_running_loop().create_future()
        self.task: Optional[asyncio.Task[None]] = None  # of the first: a task that nobody holds may vanish

    def end(self, published: Optional[Published] = None, error: Optional[BaseException] = None) -> None:
        if self.published.done():
            return  # whoever waited was cancelled
        if error is not None:
            self.published.set_exception(error)
        elif published is not None:
            self.published.set_result(published)


class AsyncListener:
    """As Listener. The end of `async with`, or aclose(), ends it; another task cancels the one that iterates."""

    def __init__(self, subscription: Subscription, base: str, http: httpx.AsyncClient, ssl_context: Optional[ssl.SSLContext],
                 token: Callable[[], Awaitable[Optional[str]]], connect_timeout: float, ping_interval: float, ping_timeout: float,
                 poll_timeout: int):
        self._subscription, self._base, self._http, self._ssl, self._token = subscription, base, http, ssl_context, token
        self._connect_timeout, self._ping_interval, self._ping_timeout = connect_timeout, ping_interval, ping_timeout
        self._poll_timeout = poll_timeout
        self._events = self._run()

    @property
    def cursors(self) -> Dict[str, str]:
        return self._subscription.cursors

    @property
    def transport(self) -> Optional[str]:
        return self._subscription.transport if self._subscription.is_up else None

    def __aiter__(self) -> "AsyncListener":
        return self

    async def __anext__(self) -> Event:
        return await self._events.__anext__()

    async def aclose(self) -> None:
        await self._events.aclose()

    async def __aenter__(self) -> "AsyncListener":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def _run(self) -> AsyncGenerator[Event, None]:
        via = {"websocket": self._websocket, "sse": self._sse, "long_poll": self._polls}
        while True:
            for event in self._subscription.begin(await self._token()):
                yield event
            stream = via[self._subscription.transport]()
            try:
                async for event in stream:
                    yield event
                problem = Problem("broken", "it ended")
            except Problem as e:
                problem = e
            except (OSError, httpx.HTTPError, WebSocketException, asyncio.TimeoutError, ValueError, KeyError, TypeError,
                    AttributeError) as e:
                # What a proxy, or half a reply, may make of it.
                problem = Problem("broken", f"{type(e).__name__}: {e}")
            finally:
                await stream.aclose()
            await asyncio.sleep(self._subscription.ended(problem))

    async def _websocket(self) -> AsyncGenerator[Event, None]:
        s = self._subscription
        protocols: Any = ["tidings", *([f"bearer.{s.token}"] if s.token else [])]
        try:
            ws = await asyncio.wait_for(CONNECT(
                self._base.replace("http", "ws", 1) + "/ws" + s.query(), subprotocols=protocols, ssl=self._ssl, ping_interval=None, max_size=None,
                compression=None, close_timeout=1), self._connect_timeout)
        except InvalidHandshake as e:
            # websockets 14 has given the reply a member of its own.
            reply: Any = getattr(e, "response", e)
            status = getattr(reply, "status_code", 0)
            raise refusal(status, {k.lower(): v for k, v in getattr(reply, "headers", {}).items()}, None) if status else Problem("broken", str(e))
        asked = False
        try:
            while True:
                patience = self._connect_timeout if not s.is_up else self._ping_timeout if asked else self._ping_interval
                try:
                    text = await asyncio.wait_for(ws.recv(), patience)
                except asyncio.TimeoutError:
                    if asked or not s.is_up:
                        raise Problem("broken", "no answer in time") from None
                    await ws.send("ping")
                    asked = True
                    continue
                except ConnectionClosed:
                    raise s.closed(ws.close_code or 1006, ws.close_reason or "") from None
                asked = False
                for event in s.hear(json.loads(text)):
                    yield event
        finally:
            await ws.close()

    async def _sse(self) -> AsyncGenerator[Event, None]:
        s = self._subscription
        if s.lacks_cursor:
            for event in s.polled(await self._poll(0)):
                yield event
        timeout = httpx.Timeout(self._connect_timeout, read=SILENCE_S)
        async with self._http.stream("GET", self._base + "/sse" + s.query(), headers=self._headers(), timeout=timeout) as reply:
            await self._check(reply)
            if "event-stream" not in reply.headers.get("Content-Type", ""):
                raise Problem("broken", "this is no event stream")
            stream = EventStream()
            pieces = reply.aiter_bytes()
            while True:
                # Until it has begun it has less time.
                try:
                    piece = await (pieces.__anext__() if s.is_up else asyncio.wait_for(pieces.__anext__(), self._connect_timeout))
                except StopAsyncIteration:
                    raise Problem("broken", "the event stream ended") from None
                for kind, text in stream.feed(piece):
                    if not kind:
                        s.go_past(text)
                        continue
                    for event in s.hear(json.loads(text)):
                        yield event

    async def _polls(self) -> AsyncGenerator[Event, None]:
        s = self._subscription
        timeout = 0  # the first is not held: that shows whether there is a way
        while True:
            asked = time.monotonic()
            reply = await self._poll(timeout)
            for event in s.polled(reply):
                yield event
            if timeout and not reply["messages"] and time.monotonic() - asked < EMPTY_REPLY_S:
                await asyncio.sleep(EMPTY_REPLY_S)
            timeout = self._poll_timeout

    async def _poll(self, timeout: int) -> Any:
        s = self._subscription
        patience = timeout + (self._ping_timeout if s.is_up else self._connect_timeout)
        reply = await asyncio.wait_for(self._http.get(self._base + "/poll" + s.query(timeout=timeout), headers=self._headers(),
                                                      timeout=patience), patience)
        await self._check(reply)
        return reply.json()

    async def _check(self, reply: httpx.Response) -> None:
        if reply.status_code != 200:
            body = await reply.aread()
            try:
                problem = json.loads(body)
            except ValueError:
                problem = None
            raise refusal(reply.status_code, reply.headers, problem)

    def _headers(self) -> Dict[str, str]:
        token = self._subscription.token
        return {"Authorization": f"Bearer {token}"} if token else {}
