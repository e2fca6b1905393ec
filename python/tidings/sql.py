"""
sql - publish inside one's own transaction: the message exists if and only if that transaction commits.

	from tidings import sql

	with connection.transaction():
	    connection.execute("UPDATE …")
	    sql.publish(connection, "orders/456", "placed", {"order": 1})

`connection`: of psycopg 3 or 2, django.db.connection, or SQLAlchemy's Connection or Session; publish_async() takes psycopg's
AsyncConnection, and SQLAlchemy's AsyncConnection or AsyncSession. It takes no lock and no network of its own; clients get it as soon as the
transaction has committed. Its role needs, once:

	GRANT USAGE ON SCHEMA tidings TO you;
	GRANT EXECUTE ON FUNCTION tidings.publish TO you;
"""
from __future__ import annotations

import datetime
from typing import Any, Dict, Mapping, NoReturn, Optional, Tuple

from . import messages, testing
from .errors import ForbiddenError, InvalidError, TidingsError

# Types of tidings.publish()'s arguments, in their order.
TYPES = {"topic": "text", "type": "text", "data": "json", "deliver_at": "timestamptz", "expires_at": "timestamptz", "to_user": "text",
         "exclude": "uuid", "ephemeral": "boolean"}
DB_API = "SELECT tidings.publish({})".format(", ".join(f"{name} => CAST(%({name})s AS {type})" for name, type in TYPES.items()))
ALCHEMY = "SELECT tidings.publish({})".format(", ".join(f"{name} => CAST(:{name} AS {type})" for name, type in TYPES.items()))


def publish(connection: Any, topic: str, type: str, data: Any, *, ephemeral: bool = False, deliver_at: Optional[datetime.datetime] = None,
            expires_at: Optional[datetime.datetime] = None, to_user_id: Optional[messages.UserId] = None,
            exclude_connection_id: Optional[str] = None) -> None:
    """See messages.publication(). After an error the transaction is PostgreSQL's to be rolled back."""
    item, parameters = _prepare(topic, type, data, ephemeral, deliver_at, expires_at, to_user_id, exclude_connection_id)
    double = testing.active()
    if double is not None:
        return double.take_sql(item)
    try:
        if hasattr(connection, "cursor"):
            cursor = connection.cursor()
            if not hasattr(cursor, "__enter__"):
                raise _asynchronous()
            with cursor:
                cursor.execute(DB_API, parameters)
        elif hasattr(connection, "execute"):
            result = connection.execute(_text(), parameters)
            if hasattr(result, "__await__"):
                result.close()
                raise _asynchronous()
        else:
            raise _no_connection(connection)
    except TidingsError:
        raise
    except Exception as e:
        _explain(e)


async def publish_async(connection: Any, topic: str, type: str, data: Any, *, ephemeral: bool = False,
                        deliver_at: Optional[datetime.datetime] = None, expires_at: Optional[datetime.datetime] = None,
                        to_user_id: Optional[messages.UserId] = None, exclude_connection_id: Optional[str] = None) -> None:
    item, parameters = _prepare(topic, type, data, ephemeral, deliver_at, expires_at, to_user_id, exclude_connection_id)
    double = testing.active()
    if double is not None:
        return double.take_sql(item)
    try:
        if hasattr(connection, "cursor"):
            async with connection.cursor() as cursor:
                await cursor.execute(DB_API, parameters)
        elif hasattr(connection, "execute"):
            await connection.execute(_text(), parameters)
        else:
            raise _no_connection(connection)
    except TidingsError:
        raise
    except Exception as e:
        _explain(e)


def _prepare(topic: str, type: str, data: Any, ephemeral: bool, deliver_at: Optional[datetime.datetime],
             expires_at: Optional[datetime.datetime], to_user_id: Optional[messages.UserId],
             exclude_connection_id: Optional[str]) -> Tuple[Mapping[str, Any], Dict[str, Any]]:
    item = messages.publication(topic, type, data, ephemeral=ephemeral, deliver_at=deliver_at, expires_at=expires_at, to_user_id=to_user_id,
                                exclude_connection_id=exclude_connection_id)
    to_user = None if to_user_id is None else str(to_user_id)
    exclude = None if exclude_connection_id is None else str(exclude_connection_id)
    return item, {"topic": topic, "type": type, "data": messages.encode(data).decode(), "deliver_at": deliver_at, "expires_at": expires_at,
                  "to_user": to_user, "exclude": exclude, "ephemeral": bool(ephemeral)}


def _text() -> Any:
    import sqlalchemy

    return sqlalchemy.text(ALCHEMY)


def _asynchronous() -> InvalidError:
    return InvalidError("This connection is an asynchronous one: await sql.publish_async(connection, …).")


def _no_connection(connection: Any) -> InvalidError:
    return InvalidError(f"{connection!r} is no connection: give psycopg's, django.db.connection, or SQLAlchemy's Connection or Session.")


def _explain(error: Exception) -> NoReturn:
    """Raises what PostgreSQL said, with what to do; what has nothing to do with tidings as it is."""
    state, said = None, ""
    cause: Optional[BaseException] = error
    while cause is not None and state is None:  # Django and SQLAlchemy wrap the driver's
        state = getattr(cause, "sqlstate", None) or getattr(cause, "pgcode", None)
        said = str(cause).partition("\n")[0]
        cause = getattr(cause, "orig", None) or cause.__cause__
    _, ours, why = said.partition("tidings: ")
    if state in ("22023", "54000") and ours:
        raise InvalidError(f"{why}.") from error
    if state == "42501" and ("tidings" in said or "publish" in said):
        raise ForbiddenError("This role may not publish: GRANT USAGE ON SCHEMA tidings TO it; GRANT EXECUTE ON FUNCTION tidings.publish TO "
                             "it;") from error
    if state in ("3F000", "42883") and "tidings" in said:
        raise InvalidError(f"tidings is not in this database ({said}): run `tidings migrate` on it, or connect to the one that has it.") from error
    raise error
