"""
tokens - the tokens that a backend makes, with the key that tidings checks them with; and where a client gets its own from.

	key = Key.load("/etc/tidings/jwt/default.HS256")
	key.token(user.id)					for a user of yours, to hand to their page
	Tidings(url, token=key.source("reports", role="service"))	for this backend itself

Never in an app or a page: the key would be in it.
"""
from __future__ import annotations

import base64
import binascii
import hmac
import json
import pathlib
import time
from typing import Any, Callable, Dict, Optional, Sequence, Union

from .errors import InvalidError
from .messages import UserId

# What gives a token. Told why: "first", "expiring" (within a minute), "refused" (by the server).
TokenSource = Union[str, Callable[[str], str]]

RENEW_S = 60  # before its end a token is exchanged; one that lives shorter in its second half
ALGORITHMS = (*(f"{kind}{bits}" for kind in ("HS", "RS", "PS", "ES") for bits in (256, 384, 512)), "EdDSA")
ROLES = ("user", "clinician", "service", "admin")


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class Key:
    """A key to sign with: a secret (HS256, HS384, HS512), or a private key in PEM (of the others: takes PyJWT and cryptography)."""

    def __init__(self, secret: bytes, algorithm: str = "HS256", kid: Optional[str] = None):
        if algorithm not in ALGORITHMS:
            raise InvalidError(f"{algorithm!r} is no algorithm: {', '.join(ALGORITHMS)}.")
        if algorithm.startswith("HS"):
            # An editor's or openssl's newline is no part of it.
            secret = secret[:-1] if secret.endswith(b"\n") else secret
            if len(secret) < 32:
                raise InvalidError(f"The secret has {len(secret)} bytes, and tidings takes none under 32: openssl rand -hex 32.")
        elif b"PRIVATE KEY" not in secret:
            raise InvalidError("This is no private key. tidings has the public half; sign with the private one, in a file of the same name elsewhere.")
        self.algorithm, self.kid, self._secret = algorithm, kid, secret

    @classmethod
    def load(cls, path: Union[str, "pathlib.Path"]) -> "Key":
        """From a file that is named as tidings has it: <kid>.<algorithm>; `default` is for tokens without a kid."""
        path = pathlib.Path(path)
        kid, _, algorithm = path.name.rpartition(".")
        if not kid:
            raise InvalidError(f"{path.name} does not say its algorithm: name it as in /etc/tidings/jwt, default.HS256 or 2026-11.RS256.")
        try:
            secret = path.read_bytes()
        except OSError as e:
            raise InvalidError(f"The key {path} cannot be read: {e.strerror}. Keys are for the group tidings: let this service's user be "
                               "in it, or give it a copy.") from e
        return cls(secret, algorithm, None if kid == "default" else kid)

    def token(self, user: UserId, *, role: Union[str, Sequence[str]] = "user", ttl: float = 3600, **claims: Any) -> str:
        """A token for that user (`sub`), which ends in `ttl` seconds. `claims`: iss, aud … where tidings is configured to want them."""
        for r in [role] if isinstance(role, str) else role:
            if r not in ROLES:
                raise InvalidError(f"{r!r} is no role: {', '.join(ROLES)}.")
        now = int(time.time())
        body: Dict[str, Any] = {"sub": str(user), "iat": now, "exp": now + int(ttl), **claims}
        if role != "user":
            body["role" if isinstance(role, str) else "roles"] = role if isinstance(role, str) else list(role)
        header = {"alg": self.algorithm, "typ": "JWT", **({"kid": self.kid} if self.kid else {})}
        if not self.algorithm.startswith("HS"):
            return self._by_pyjwt(body)
        signed = ".".join(_base64(json.dumps(part, separators=(",", ":")).encode()) for part in (header, body))
        return f"{signed}.{_base64(hmac.new(self._secret, signed.encode(), 'sha' + self.algorithm[2:]).digest())}"

    def _by_pyjwt(self, body: Dict[str, Any]) -> str:
        try:
            import jwt.algorithms

            if not jwt.algorithms.has_crypto:
                raise ImportError
        except ImportError:
            raise InvalidError(f"{self.algorithm} takes PyJWT and cryptography: apt-get install python3-jwt python3-cryptography, or "
                               "pip install tidings[keys].") from None
        try:
            return jwt.encode(body, self._secret.decode(), algorithm=self.algorithm, headers={"kid": self.kid} if self.kid else None)
        except (jwt.PyJWTError, ValueError, TypeError, AttributeError) as e:  # the last: of a key of another kind
            raise InvalidError(f"This key cannot sign {self.algorithm}: {e}.") from e

    def source(self, user: UserId, *, role: Union[str, Sequence[str]] = "service", ttl: float = 3600, **claims: Any) -> Callable[[str], str]:
        """What a client takes as `token`: it makes a fresh one whenever one is wanted."""
        return lambda reason: self.token(user, role=role, ttl=ttl, **claims)


def end_of(token: str) -> Optional[float]:
    """When it ends, in seconds since 1970; None: it does not say."""
    try:
        part = token.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
        return float(claims["exp"])
    except (IndexError, KeyError, TypeError, ValueError, binascii.Error):
        return None


class TokenKeeper:
    """The token in use, and whether it is to be exchanged: when there is none, a minute before its end, when the server has refused it.

    `can_refresh`: there is a source to ask.
    """

    def __init__(self, token: Optional[str], can_refresh: bool):
        self.token, self.can_refresh = token, can_refresh
        self._renew_at: Optional[float] = None  # in seconds since 1970; None: it does not say when it ends
        self._reason = "first"

    def wanted(self) -> Optional[str]:
        """Why the source is to be asked; None: `token` will do."""
        if not self.can_refresh:
            return None
        if self.token is None:
            return self._reason
        return "expiring" if self._renew_at is not None and time.time() > self._renew_at else None

    def keep(self, token: str) -> str:
        end = end_of(token)
        self.token, self._renew_at = token, None if end is None else end - min(RENEW_S, (end - time.time()) / 2)
        return token

    def refuse(self, token: Optional[str]) -> None:
        """The server no longer takes that one; it may have been exchanged already."""
        if self.can_refresh and token == self.token:
            self.token, self._reason = None, "refused"
