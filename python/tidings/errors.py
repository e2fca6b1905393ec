"""
errors - why a request was not done; each says what to do about it.

	TidingsError		all of them
	  InvalidError		the request is wrong: `errors` says which member. Also a ValueError
	  UnauthorizedError	no token, or one that is refused, a fresh one too
	  ForbiddenError	not allowed, or not there
	  NotFoundError		not there
	  ConflictError		decided, acked or withdrawn already
	  BusyError		overloaded, or over the rate, for longer than there was time. Nothing was done
	  UnknownOutcomeError	there was no answer in time: it may have been done. The same call with `idempotency_key` is done once
	  ServerError		the server's fault
"""
from __future__ import annotations

from typing import Any, Mapping, Optional, Sequence


class TidingsError(Exception):
    """`status`: of the HTTP reply; 0: there was none. `errors`: one {"field", "message"} for each wrong member. `request_id`: by which the
    server's log has the request; None: there was no reply, or it was a proxy's."""

    hint = ""

    def __init__(self, message: str, status: int = 0, errors: Sequence[Mapping[str, str]] = (), idempotency_key: Optional[str] = None,
                 request_id: Optional[str] = None):
        self.message, self.status, self.errors, self.idempotency_key, self.request_id = message, status, list(errors), idempotency_key, request_id
        fields = "; ".join(f"{e.get('field')}: {e.get('message')}" for e in self.errors)
        where = f"[request_id={request_id}]" if request_id else ""
        super().__init__(" ".join(part for part in (message, f"({fields})" if fields else "", self.hint, where) if part))


class InvalidError(TidingsError, ValueError):
    pass


class UnauthorizedError(TidingsError):
    hint = ("Make tokens with the server's own key: tidings.Key.load('/etc/tidings/jwt/default.HS256').source('my-service', role='service'). "
            "The server's log says why it refused this one.")


class ForbiddenError(TidingsError):
    hint = "Publishing to any topic takes a token of role 'service'; listening takes a user who may read the topic, never a service."


class NotFoundError(TidingsError):
    pass


class ConflictError(TidingsError):
    pass


class BusyError(TidingsError):
    hint = "Nothing was done: try again later, or give `timeout` more seconds."


class UnknownOutcomeError(TidingsError):
    hint = "It may have been done: call again with idempotency_key=error.idempotency_key, and it is done once."


class ServerError(TidingsError):
    pass


def of_reply(status: int, problem: Any, key: Optional[str] = None, request_id: Optional[str] = None) -> TidingsError:
    """The error of an HTTP reply. `problem`: its JSON, or anything, where a proxy answered."""
    problem = problem if isinstance(problem, dict) else {}
    errors = problem.get("errors")
    errors = [e for e in errors if isinstance(e, dict)] if isinstance(errors, list) else []
    kind: type[TidingsError]
    if status == 503 and problem.get("done") != "no" or status in (502, 504):
        kind = UnknownOutcomeError
    else:
        kind = {401: UnauthorizedError, 403: ForbiddenError, 404: NotFoundError, 409: ConflictError, 429: BusyError, 503: BusyError}.get(
            status, InvalidError if status < 500 else ServerError)
    said = f"The server answered {status}" + (": the URL is another server's." if status == 404 else ".")
    return kind(str(problem.get("detail") or said), status, errors, key, request_id)
