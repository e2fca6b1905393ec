"""
exchange - one request's way through its attempts, without the network: what to send, and what to do about what came of it.

	while True:
	    headers = exchange.headers(token)
	    … send; then one of
	    wait = exchange.answered(status, headers, body)	None: exchange.result is there
	    wait = exchange.broke(error)
	    … sleep(wait)

Whatever changes something carries the same Idempotency-Key each time, so that it is done once, however often it arrives.
"""
from __future__ import annotations

import json
import random
import secrets
import time
from typing import Dict, Generic, Mapping, Optional, TypeVar

from .errors import TidingsError, UnauthorizedError, UnknownOutcomeError, of_reply
from .messages import Request, encode

T = TypeVar("T")

AGAIN = (429, 502, 503, 504)  # it has not been done, or nobody knows whether it has
ATTEMPT_PART = 3  # attempts that there is time for, though none of them be answered


def backoff(attempts: int, least: float, most: float) -> float:
    """Seconds to wait after so many attempts in vain: half of it to all of it, at random."""
    return min(most, least * 2.0 ** min(attempts, 60)) * (0.5 + random.random() / 2)


class Exchange(Generic[T]):
    """`may_refresh`: there is a fresh token to be had for one that is refused."""

    result: T

    def __init__(self, request: Request[T], key: Optional[str], timeout: float, backoff_min: float, backoff_max: float, may_refresh: bool):
        self.request, self.timeout, self.may_refresh = request, timeout, may_refresh
        self.key = (key or secrets.token_urlsafe(18)) if request.publishes else None
        self.body = encode(request.body) if request.body is not None else (b"" if request.method == "POST" else None)
        self.until = time.monotonic() + timeout
        self.attempts, self.refused = 0, False
        self._backoff = (backoff_min, backoff_max)

    @property
    def attempt_timeout(self) -> float:
        """Seconds that the next attempt may take."""
        return max(0.05, min(self.timeout / ATTEMPT_PART, self.until - time.monotonic()))

    def headers(self, token: Optional[str]) -> Dict[str, str]:
        headers = {"Accept": "application/json"}
        if token:
            headers["Authorization"] = f"Bearer {token}"
        if self.request.body is not None:
            headers["Content-Type"] = "application/json"
        if self.key:
            headers["Idempotency-Key"] = self.key
        return headers

    def answered(self, status: int, headers: Mapping[str, str], body: bytes) -> Optional[float]:
        """None: `result` is there. Else the seconds to wait before the next attempt. Raises what ends it."""
        request_id = headers.get("x-request-id")
        try:
            reply = json.loads(body)
        except ValueError:
            reply = None
        if status in self.request.statuses and isinstance(reply, dict):
            try:
                self.result = self.request.parse(reply)
            except (KeyError, TypeError) as e:
                raise UnknownOutcomeError(f"This is no reply of a tidings server: {e!r} is missing.", status, (), self.key, request_id) from e
            return None
        if 200 <= status < 400:
            raise UnknownOutcomeError(f"{self.request.path} answered {status} with what is no JSON: the URL leads to another server, or to a "
                                      "proxy's page.", status, (), self.key, request_id)
        error = of_reply(status, reply, self.key, request_id)
        if isinstance(error, UnauthorizedError) and self.may_refresh and not self.refused:
            self.refused = True
            return 0.0
        if status not in AGAIN:
            raise error
        return self._later(error, seconds(headers.get("retry-after")))

    def broke(self, why: Exception, at_once: bool = False) -> float:
        """No answer came. `at_once`: by a connection that had been idle, which its server may just have closed."""
        error = UnknownOutcomeError(f"No answer from the server: {why or type(why).__name__}.", 0, (), self.key)
        error.__cause__ = why
        return 0.0 if at_once else self._later(error, 0.0)

    def _later(self, error: TidingsError, wait: float) -> float:
        wait += backoff(self.attempts, *self._backoff)
        self.attempts += 1
        if not self.request.again or time.monotonic() + wait > self.until:
            raise error
        return wait


def seconds(retry_after: Optional[str]) -> float:
    try:
        return max(0.0, float(retry_after or 0))
    except ValueError:
        return 0.0  # a date, of a proxy

