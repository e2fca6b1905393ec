"""
testing - what an application would have published, kept instead, as django.core.mail.outbox keeps mail. No server is needed.

	with tidings.testing.capture() as outbox:
	    place_order(user)
	assert [(m.topic, m.type) for m in outbox] == [("orders/456", "placed")]

It takes the place of the server for all of Tidings, AsyncTidings, tidings.broadcast and tidings.sql, in every thread. What is wrong with a
call is told as ever; what only a server can know (rights, whether a diagnosis is there) is not. A publish by tidings.sql is kept when it is
called, whatever becomes of the transaction.
"""
from __future__ import annotations

import contextlib
import dataclasses
import threading
import uuid
from typing import Any, Dict, Iterator, List, Mapping, Optional, TypeVar

from .errors import InvalidError, TidingsError
from .messages import Request, encode

T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class Sent:
    """`type`, `data`: as clients get them; `options`: deliver_at, to_user_id … `path`: of the route, or "sql"."""

    topic: str
    type: str
    data: Any
    options: Mapping[str, Any]
    path: str
    idempotency_key: Optional[str]


class Double:
    """A list of Sent, and what answers. `fail_with`: an error that calls raise from then on; None: none."""

    def __init__(self) -> None:
        self.outbox: List[Sent] = []
        self.fail_with: Optional[TidingsError] = None
        self._seqs: Dict[str, int] = {}
        self._replies: Dict[str, Any] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self.outbox)

    def __iter__(self) -> Iterator[Sent]:
        return iter(list(self.outbox))

    def __getitem__(self, index: int) -> Sent:
        return self.outbox[index]

    def clear(self) -> None:
        self.outbox.clear()

    def take(self, request: Request[T], key: Optional[str]) -> T:
        if self.fail_with:
            raise self.fail_with
        if request.body is None:
            raise InvalidError(f"tidings.testing.capture() has no answer to {request.method} {request.path}: it keeps what is published.")
        encode(request.body)
        with self._lock:
            if key is None or key not in self._replies:
                items = request.body if isinstance(request.body, list) else [broadcast(request.path, request.body)]
                results = [self._keep(item, request.path, key) for item in items]
                reply: Dict[str, Any] = {"results": results} if isinstance(request.body, list) else {**results[0], "id": str(uuid.uuid4())}
                if key is None:
                    return request.parse(reply)
                self._replies[key] = reply
            return request.parse(self._replies[key])

    def take_sql(self, item: Mapping[str, Any]) -> None:
        if self.fail_with:
            raise self.fail_with
        with self._lock:
            self._keep(item, "sql", None)

    def _keep(self, item: Mapping[str, Any], path: str, key: Optional[str]) -> Dict[str, Any]:
        options = {name: value for name, value in item.items() if name not in ("topic", "type", "data")}
        topic = item["topic"]
        self.outbox.append(Sent(topic, item["type"], item["data"], options, path, key))
        seq = None
        if not options.get("ephemeral") and not options.get("deliver_at"):
            seq = self._seqs[topic] = self._seqs.get(topic, 0) + 1
        return {"topic": topic, "seq": seq, "clients_notified": 0}


def broadcast(path: str, body: Mapping[str, Any]) -> Dict[str, Any]:
    """What becomes of a broadcast: its topic, type and data."""
    data = dict(body)
    options = {name: data.pop(name) for name in ("to_user_id", "exclude_connection_id", "deliver_at") if name in data}
    name = path.rpartition("/broadcast-")[2]
    if name == "notification":
        return {"topic": f"notifications/{data.pop('user_id')}", "type": "notification", "data": data, **options}
    if name == "health-update":
        return {"topic": f"health/{data['user_id']}", "type": "health_update", "data": data, **options}
    if name == "chat-message":
        return {"topic": f"chat/{data['conversation_id']}", "type": "chat_message", "data": data, **options}
    topic = f"diagnosis/{data.pop('diagnosis_id')}"
    if name == "recommendation-update":
        old, new = data.pop("old_data"), data.pop("new_data")
        changed = [k for k in new if k not in old or old[k] != new[k]] + [k for k in old if k not in new]
        data = {"old_recommendation": old, "new_recommendation": new, "changed_fields": changed, **data}
    return {"topic": topic, "type": name.replace("-", "_"), "data": data, **options}


_doubles: List[Double] = []


def active() -> Optional[Double]:
    return _doubles[-1] if _doubles else None


@contextlib.contextmanager
def capture() -> Iterator[Double]:
    double = Double()
    _doubles.append(double)
    try:
        yield double
    finally:
        _doubles.remove(double)

