"""
messages - what goes over the wire, in types: what listen() yields, what a publish gives back, what the requests are.

A request is made and checked here, whoever sends it: Tidings, AsyncTidings, tidings.sql, or the double of tidings.testing.
"""
from __future__ import annotations

import dataclasses
import datetime
import json
import re
import urllib.parse
from typing import Any, Callable, Dict, Generic, List, Mapping, Optional, Sequence, TypeVar, Union

from .errors import InvalidError

T = TypeVar("T")
UserId = Union[int, str]

TOPIC = re.compile(r"[A-Za-z0-9_.:/-]{1,128}\Z")
BATCH_MAX = 500
BODY_MAX = 256 * 1024  # bytes
EPHEMERAL_MAX = 7500
TYPES_MAX = 20
REWIND_MAX = 100
DEVICE = re.compile(r"[A-Za-z0-9_.-]{1,64}\Z")


# ---- what comes


@dataclasses.dataclass(frozen=True)
class Message:
    """A message. `cursor`: its topic has been received up to here; kept, and given to listen() another time, it goes on from there."""

    topic: str
    type: str
    data: Any
    seq: Optional[int]  # 1, 2, 3 … within the topic, not every number: some are for others. None: ephemeral
    timestamp: Optional[str]
    cursor: Optional[str]
    raw: Mapping[str, Any]  # all of it, as the server sent it


@dataclasses.dataclass(frozen=True)
class Gap:
    """Messages of the topic are no longer kept, `first` to `last` where it is known which: time to load its state anew."""

    topic: str
    first: Optional[int]
    last: Optional[int]
    type: str = "gap"
    data: None = None
    seq: None = None


@dataclasses.dataclass(frozen=True)
class Refused:
    """The topic is not allowed (any more): it has been dropped, the others go on."""

    topic: str
    reason: str
    type: str = "refused"
    data: None = None
    seq: None = None


Event = Union[Message, Gap, Refused]


# ---- what a publish gives back


@dataclasses.dataclass(frozen=True)
class Published:
    """`seq` is None for what is ephemeral or for later. `clients_notified`: how many were connected; 0: it waits in the queue."""

    topic: str
    seq: Optional[int]
    clients_notified: int
    raw: Mapping[str, Any] = dataclasses.field(repr=False, compare=False)


@dataclasses.dataclass(frozen=True)
class Receipt:
    """Of a notification. What has not happened yet is None."""

    id: str
    created_at: str
    attempts: int
    sent_at: Optional[str] = None
    acked_at: Optional[str] = None
    read_at: Optional[str] = None


@dataclasses.dataclass(frozen=True)
class History:
    """`gap`: some of what came after `since` is no longer kept."""

    cursor: str
    messages: List[Message]
    gap: Optional[Gap]


# ---- requests


@dataclasses.dataclass(frozen=True)
class Request(Generic[T]):
    method: str
    path: str
    parse: Callable[[Any], T]
    body: Any = None
    again: bool = True  # may be tried again. A POST brings an Idempotency-Key then
    statuses: Sequence[int] = (200,)  # that are answers

    @property
    def publishes(self) -> bool:
        return self.body is not None


def invalid(field: str, message: str) -> InvalidError:
    return InvalidError(f"{field} {message}.", 0, [{"field": field, "message": message}])


def encode(body: Any) -> bytes:
    try:
        return json.dumps(body, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
    except (TypeError, ValueError, RecursionError) as e:
        raise InvalidError(f"This cannot be sent as JSON: {e}. NaN and infinity are none; a datetime or Decimal must be made text or a "
                           "number before.") from e


def check_topic(topic: str) -> str:
    if not isinstance(topic, str) or not TOPIC.match(topic):
        raise invalid("topic", f"is not a topic's name: {topic!r}; 1 to 128 letters, digits and _.:/-")
    return topic


def check_time(field: str, at: Optional[datetime.datetime]) -> Optional[str]:
    """A naive time would be read as another one on a server elsewhere."""
    if at is None:
        return None
    if not isinstance(at, datetime.datetime) or at.tzinfo is None or at.utcoffset() is None:
        raise invalid(field, "needs a time zone: datetime.now(timezone.utc) + timedelta(…)")
    return at.isoformat()


def given(**members: Any) -> Dict[str, Any]:
    return {name: value for name, value in members.items() if value is not None}


def publication(topic: str, type: str, data: Any, *, ephemeral: bool = False, deliver_at: Optional[datetime.datetime] = None,
                expires_at: Optional[datetime.datetime] = None, priority: Optional[str] = None, correlation_id: Optional[str] = None,
                to_user_id: Optional[UserId] = None, exclude_connection_id: Optional[str] = None) -> Dict[str, Any]:
    """One item of publish_all().

    ephemeral	to those who are connected, at most once, not kept; at most 7,500 bytes
    deliver_at	when; up to a year ahead. With a time zone, as expires_at
    to_user_id	only this user's connections get it
    exclude_connection_id	this connection does not
    """
    if not type or not isinstance(type, str) or len(type) > 128:
        raise invalid("type", "has 1 to 128 characters")
    return {"topic": check_topic(topic), "type": type, "data": data, **given(
        ephemeral=ephemeral or None, deliver_at=check_time("deliver_at", deliver_at), expires_at=check_time("expires_at", expires_at),
        priority=priority, correlation_id=correlation_id, to_user_id=to_user_id, exclude_connection_id=exclude_connection_id)}


def publish(items: Sequence[Mapping[str, Any]]) -> Request[List[Published]]:
    if not 1 <= len(items) <= BATCH_MAX:
        raise invalid("items", f"are 1 to {BATCH_MAX}, all or none of which are published")
    return Request("POST", "/ws/publish", lambda reply: [published(r) for r in reply["results"]], list(items))


def published(reply: Mapping[str, Any]) -> Published:
    topic = reply["topic"] if "topic" in reply else f"diagnosis/{reply['diagnosis_id']}"
    return Published(topic, reply["seq"], reply["clients_notified"], reply)


def broadcast(name: str, **members: Any) -> Request[Published]:
    return Request("POST", f"/ws/broadcast-{name}", published, given(**members))


def notification_id(published: Published) -> str:
    """Of what notify() gave back: for receipt()."""
    return str(published.raw["id"])


def receipt(id: str) -> Request[Receipt]:
    names = {f.name for f in dataclasses.fields(Receipt)}
    return Request("GET", f"/ws/notification/{quoted(id)}/receipt", lambda r: Receipt(**{k: v for k, v in r.items() if k in names}))


def history(of: Union[int, str], since: Optional[str], before: Optional[int], limit: Optional[int],
            types: Optional[Sequence[str]]) -> Request[History]:
    topic = f"diagnosis/{of}" if isinstance(of, int) else check_topic(of)

    def parse(reply: Any) -> History:
        missed = reply.get("missed") or {}
        messages = [message({"topic": topic, **m}, None) for m in reply["messages"]]
        return History(reply["cursor"], messages, None if reply["recovered"] else Gap(topic, missed.get("from"), missed.get("to")))

    return Request("GET", "/ws/history" + query(topic=topic, since=since, before=before, limit=limit, types=check_types(types)), parse)


def connections(user_id: Optional[UserId], topic: Optional[str], slow: bool, after: Optional[str], limit: Optional[int]) -> Request[Dict[str, Any]]:
    return plain("GET", "/ws/connections" + query(user=user_id, topic=topic, slow=int(slow) or None, after=after, limit=limit))


def presence(topic: str) -> Request[Dict[str, Any]]:
    return plain("GET", "/ws/presence" + query(topic=check_topic(topic)))


def query(**parameters: Any) -> str:
    """Of those that are given."""
    text = urllib.parse.urlencode(given(**parameters), safe="/")
    return f"?{text}" if text else ""


def check_types(types: Optional[Sequence[str]]) -> Optional[str]:
    """As a query has them. A text would be taken for its letters."""
    if types is None:
        return None
    if isinstance(types, str) or not 1 <= len(types) <= TYPES_MAX or not all(types):
        raise invalid("types", f"are 1 to {TYPES_MAX}, in a list: [\"note\"]")
    return ",".join(types)


def check_rewind(rewind: Optional[int]) -> Optional[int]:
    if rewind is not None and not 1 <= rewind <= REWIND_MAX:
        raise invalid("rewind", f"is 1 to {REWIND_MAX} messages")
    return rewind


def check_device(device: Optional[str]) -> Optional[str]:
    if device is not None and not DEVICE.match(device):
        raise invalid("device", f"is not a device's name: {device!r}; 1 to 64 letters, digits and _.-")
    return device


def message(raw: Mapping[str, Any], cursor: Optional[str]) -> Message:
    # A notification says what it is in a member of its own.
    data = raw.get("data", raw.get("notification"))
    return Message(str(raw["topic"]), str(raw["type"]), data, raw.get("seq"), raw.get("timestamp"), cursor, raw)


def plain(method: str, path: str, statuses: Sequence[int] = (200,)) -> Request[Dict[str, Any]]:
    return Request(method, path, dict, statuses=statuses)


def quoted(part: object) -> str:
    return urllib.parse.quote(str(part), safe="")
