"""
tidings - the client of a tidings server for Python backends: publish, notify, listen.

	from tidings import Key, Tidings

	client = Tidings("http://localhost:8000", token=Key.load("/etc/tidings/jwt/default.HS256").source("reports", role="service"))
	client.publish("diagnosis/123", "note", {"text": "Hello"})

	Tidings			on the standard library, from any thread
	tidings.aio		AsyncTidings, the same to be awaited (takes httpx and websockets)
	tidings.sql		publish() inside one's own transaction
	tidings.broadcast	broadcast_recommendation_update() and its kind as functions, by one client of the application
	tidings.testing		what would have been published, in a test
	Key			makes tokens
"""
from .client import Tidings
from .errors import (BusyError, ConflictError, ForbiddenError, InvalidError, NotFoundError, ServerError, TidingsError, UnauthorizedError,
                     UnknownOutcomeError)
from .listening import Listener
from .messages import Event, Gap, History, Message, Published, Receipt, Refused, notification_id, publication
from .tokens import Key

__all__ = ["BusyError", "ConflictError", "Event", "ForbiddenError", "Gap", "History", "InvalidError", "Key", "Listener", "Message",
           "NotFoundError", "Published", "Receipt", "Refused", "ServerError", "Tidings", "TidingsError", "UnauthorizedError",
           "UnknownOutcomeError", "notification_id", "publication"]
