"""Issuers of JSON Web Tokens whom the administrator trusts: discovery, their keys, verification.

A token is believed when it has a signature by a key that its issuer publishes (OpenID Connect
Discovery 1.0, RFC 8414), and was made by that issuer, for this audience, for this time (RFC 7519,
RFC 8725). What is asked of an issuer is bounded, whatever tokens are sent: keys are fetched once
for all who wait, and for unknown keys no more than every half minute.
"""

import asyncio
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol
from urllib.parse import urlsplit

import jwt

from upwell.server.auth.key_sets import ALGORITHMS, KeySet

MAX_TOKEN_LETTERS = 64 * 1024
"""Of a token with the groups of a person who has many."""
MAX_DOCUMENT_BYTES = 256 * 1024
"""Of the metadata, and of the keys."""
_FRESH = 3600.0
"""Seconds for which keys are used without another look."""
_USABLE = 6 * 3600.0
"""Seconds for which they are used while their issuer cannot be reached."""
_BETWEEN_LOOKS = 30.0
"""Seconds until an unknown key has the issuer asked once more."""
_AFTER_FAULT = 5.0
"""Seconds until an issuer that could not be asked is asked again."""
_LEEWAY = 60.0
"""Seconds by which the issuer's clock may differ."""
_MAX_TEXT = 2048
_DISCOVERY = "/.well-known/openid-configuration"
_LOOPBACK = {"localhost", "127.0.0.1", "::1"}


class IssuerError(Exception):
    """Base of the errors about issuers and their tokens; messages hold no token."""

    retryable = False


class IssuerUnavailableError(IssuerError):
    """The issuer does not answer, or not as OpenID Connect says: nobody can be believed now."""

    retryable = True

    def __init__(self, issuer: str, why: str) -> None:
        super().__init__(f"issuer {issuer} cannot be asked: {why}")
        self.issuer = issuer
        self.why = why


class InvalidTokenError(IssuerError):
    """A token that is not believed; `why` follows "the token"."""

    def __init__(self, why: str) -> None:
        super().__init__(f"the token {why}")
        self.why = why


class DocumentReader(Protocol):
    """Reads what issuers publish."""

    async def read(self, url: str, limit: int) -> bytes:
        """Return at most `limit` bytes; raises IssuerUnavailableError within some seconds."""
        ...


@dataclass(frozen=True, slots=True)
class IssuerMetadata:
    """Endpoints of an issuer (OpenID Connect Discovery 1.0, 3); empty: it has none."""

    issuer: str
    jwks_uri: str
    authorization_endpoint: str = ""
    token_endpoint: str = ""
    device_authorization_endpoint: str = ""
    userinfo_endpoint: str = ""
    revocation_endpoint: str = ""


@dataclass(frozen=True, slots=True)
class _Published:
    metadata: IssuerMetadata
    keys: KeySet
    at: float


class Issuer:
    """One issuer that is trusted. `url` is its `iss`, to the letter.

    `clock` tells the time in UTC; `elapsed` counts seconds that no clock changes.
    """

    def __init__(
        self,
        url: str,
        reader: DocumentReader,
        clock: Callable[[], datetime],
        elapsed: Callable[[], float],
    ) -> None:
        self.url = url
        self._reader = reader
        self._clock = clock
        self._elapsed = elapsed
        self._published: _Published | None = None
        self._next_look = -math.inf
        self._look_under_way: asyncio.Task[None] | None = None
        self._fault = ""

    async def metadata(self) -> IssuerMetadata:
        """Return the endpoints; raises IssuerUnavailableError."""
        return (await self._current()).metadata

    async def verify(self, token: str, audience: str) -> Mapping[str, Any]:
        """Return the claims of a token for `audience`.

        Raises InvalidTokenError, or IssuerUnavailableError where its keys cannot be had.
        """
        header = _header(token)
        algorithm, key_id = _named_key(header)
        key = (await self._current()).keys.find(algorithm, key_id)
        if key is None:
            key = (await self._renewed()).keys.find(algorithm, key_id)
        if key is None:
            raise InvalidTokenError(f"is signed by a key that {self.url} does not publish")
        try:
            raw = jwt.PyJWS().decode(token, key, [algorithm])
        except (jwt.PyJWTError, ValueError, TypeError, RecursionError) as error:
            raise InvalidTokenError(f"is not signed by {self.url}") from error
        claims = _object(raw)
        self._require(claims, audience)
        return claims

    def _require(self, claims: Mapping[str, Any], audience: str) -> None:
        """Check what a token says of itself (RFC 7519, 4.1); raises InvalidTokenError."""
        if claims.get("iss") != self.url:
            raise InvalidTokenError(f"is of another issuer than {self.url}")
        given = claims.get("aud")
        if audience not in (given if isinstance(given, list) else [given]):
            raise InvalidTokenError(f"is for another audience than {audience}")
        subject = claims.get("sub")
        if not isinstance(subject, str) or not subject:
            raise InvalidTokenError("names no subject")
        now = self._clock().timestamp()
        if _seconds(claims, "exp") + _LEEWAY <= now:
            raise InvalidTokenError("has expired")
        if _seconds(claims, "iat") - _LEEWAY > now:
            raise InvalidTokenError("is of the future: compare the clocks of both machines")
        if "nbf" in claims and _seconds(claims, "nbf") - _LEEWAY > now:
            raise InvalidTokenError("is not valid yet")

    async def _current(self) -> _Published:
        found = self._published
        if found is not None and self._elapsed() - found.at < _FRESH:
            return found
        return await self._renewed()

    async def _renewed(self) -> _Published:
        """Look again unless somebody has just done so, and return the newest that is usable."""
        if self._look_under_way is None and self._elapsed() >= self._next_look:
            self._look_under_way = asyncio.create_task(self._look())
        if self._look_under_way is not None:  # a client that leaves does not end it for others
            await asyncio.shield(self._look_under_way)
        found = self._published
        if found is None or self._elapsed() - found.at >= _USABLE:
            raise IssuerUnavailableError(self.url, self._fault)
        return found

    async def _look(self) -> None:
        pause = _AFTER_FAULT
        try:
            metadata = await self._read_metadata()
            keys = KeySet.of(await self._read(metadata.jwks_uri))
            self._published = _Published(metadata, keys, self._elapsed())
            pause = _BETWEEN_LOOKS
        except IssuerUnavailableError as error:
            self._fault = error.why
        finally:
            self._next_look = self._elapsed() + pause
            self._look_under_way = None

    async def _read_metadata(self) -> IssuerMetadata:
        document = await self._read(self.url.rstrip("/") + _DISCOVERY)
        if document.get("issuer") != self.url:
            raise IssuerUnavailableError(
                self.url, "its metadata is of another issuer: `issuer` has to be the same text"
            )
        endpoints = {
            name: self._endpoint(document, name)
            for name in IssuerMetadata.__dataclass_fields__
            if name != "issuer"
        }
        if not endpoints["jwks_uri"]:
            raise IssuerUnavailableError(self.url, "its metadata has no jwks_uri")
        return IssuerMetadata(self.url, **endpoints)

    def _endpoint(self, document: Mapping[str, Any], name: str) -> str:
        value = document.get(name, "")
        if value == "":
            return ""
        if not isinstance(value, str) or len(value) > _MAX_TEXT or not is_issuer_url(value):
            raise IssuerUnavailableError(self.url, f"its {name} is no URL of https")
        return value

    async def _read(self, url: str) -> Mapping[str, Any]:
        raw = await self._reader.read(url, MAX_DOCUMENT_BYTES)
        try:
            found = json.loads(raw)
        except (ValueError, RecursionError) as error:
            raise IssuerUnavailableError(self.url, f"{url} is no JSON") from error
        if not isinstance(found, dict):
            raise IssuerUnavailableError(self.url, f"{url} is no JSON object")
        return found


def is_issuer_url(text: str) -> bool:
    """Return True for a URL by which an issuer may be asked: https, or loopback."""
    try:
        parts = urlsplit(text)
        _ = parts.port
    except ValueError:
        return False
    if not parts.hostname or "@" in parts.netloc or parts.fragment or not text.isprintable():
        return False
    return parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in _LOOPBACK)


def issuer_of(token: str) -> str:
    """Return the issuer that a token names, to find the one to ask: nothing of it is verified.

    Raises InvalidTokenError for what is no JSON Web Token.
    """
    _header(token)
    try:
        payload = jwt.PyJWS().decode_complete(token, options={"verify_signature": False})
    except (jwt.PyJWTError, ValueError, RecursionError) as error:
        raise InvalidTokenError("is no JSON Web Token") from error
    issuer = _object(payload["payload"]).get("iss")
    if not isinstance(issuer, str):
        raise InvalidTokenError("names no issuer")
    return issuer


def _header(token: str) -> Mapping[str, Any]:
    if len(token) > MAX_TOKEN_LETTERS:
        raise InvalidTokenError(f"is longer than {MAX_TOKEN_LETTERS} letters")
    try:
        return jwt.get_unverified_header(token)
    except (jwt.PyJWTError, ValueError, RecursionError) as error:
        raise InvalidTokenError("is no JSON Web Token") from error


def _named_key(header: Mapping[str, Any]) -> tuple[str, str]:
    algorithm, key_id = header.get("alg"), header.get("kid", "")
    if not isinstance(algorithm, str) or algorithm not in ALGORITHMS:
        raise InvalidTokenError(f"has to be signed by one of {', '.join(ALGORITHMS)}")
    if "crit" in header:
        raise InvalidTokenError("has critical headers, of which none is known")
    if not isinstance(key_id, str):
        raise InvalidTokenError("names its key by something else than a text")
    return algorithm, key_id


def _object(raw: bytes) -> Mapping[str, Any]:
    try:
        found = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise InvalidTokenError("holds no JSON") from error
    if not isinstance(found, dict):
        raise InvalidTokenError("holds no JSON object")
    return found


def _seconds(claims: Mapping[str, Any], name: str) -> float:
    value = claims.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidTokenError(f"has no {name}")
    try:
        seconds = float(value)
    except OverflowError:
        seconds = math.inf
    if not math.isfinite(seconds):
        raise InvalidTokenError(f"has an {name} that is no time")
    return seconds
