"""
broadcast - the broadcasts as functions, by one client of the application, which configure() has made once:

	from tidings.broadcast import broadcast_feedback_update, configure

	configure("http://localhost:8000", token=Key.load("/etc/tidings/jwt/default.HS256").source("feedback", role="service"))

	await broadcast_feedback_update(diagnosis_id=123, feedback_id=999, rating=5, effectiveness=0.95)
"""
from __future__ import annotations

import asyncio
import weakref
from typing import Any, Dict, Mapping, Optional, Tuple

from . import testing
from .aio import AsyncTidings, TokenSource
from .errors import InvalidError
from .messages import Published

_settings: Optional[Tuple[str, Optional[TokenSource], Dict[str, Any]]] = None
# A connection belongs to its event loop.
_clients: "weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, AsyncTidings]" = weakref.WeakKeyDictionary()


def configure(url: str, token: Optional[TokenSource] = None, **options: Any) -> None:
    """`options`: those of AsyncTidings."""
    global _settings
    AsyncTidings(url, token, **options)  # what is wrong is told here
    _settings = (url, token, options)
    _clients.clear()


def client() -> AsyncTidings:
    """The application's, of the running event loop."""
    loop = asyncio.get_running_loop()
    if loop not in _clients:
        if _settings is None and testing.active() is None:
            raise InvalidError("Nobody has called tidings.broadcast.configure(url, token=…) yet.")
        url, token, options = _settings or ("http://localhost", None, {})
        made = AsyncTidings(url, token, **options)
        if _settings is None:
            return made
        _clients[loop] = made
    return _clients[loop]


async def broadcast_recommendation_update(diagnosis_id: int, old_data: Mapping[str, Any], new_data: Mapping[str, Any], reason: str,
                                          **options: Any) -> Published:
    """`options`: those of AsyncTidings.broadcast_recommendation_update(), such as idempotency_key."""
    return await client().broadcast_recommendation_update(diagnosis_id, old_data, new_data, reason, **options)


async def broadcast_effectiveness_update(diagnosis_id: int, recommendation_id: int, effectiveness: float, confidence: float,
                                         sample_size: int, **options: Any) -> Published:
    return await client().broadcast_effectiveness_update(diagnosis_id, recommendation_id, effectiveness, confidence, sample_size, **options)


async def broadcast_feedback_update(diagnosis_id: int, feedback_id: int, rating: int, effectiveness: float, **options: Any) -> Published:
    return await client().broadcast_feedback_update(diagnosis_id, feedback_id, rating, effectiveness, **options)
