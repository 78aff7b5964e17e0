"""Issuers of JSON Web Tokens whom the administrator trusts: discovery, and their keys.

Keys are those that the issuer publishes (OpenID Connect Discovery 1.0, RFC 8414). What is asked of
an issuer is bounded, whatever tokens are sent: keys are fetched once for all who wait, and for
unknown keys no more than every half minute.
"""

import asyncio
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol
from urllib.parse import urlsplit

from upwell.server.auth.foreign_tokens import (
    InvalidTokenError,
    IssuerError,
    named_key,
    require_claims,
    signed_claims,
)
from upwell.server.auth.key_sets import KeySet

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
_MAX_TEXT = 2048
_DISCOVERY = "/.well-known/openid-configuration"
_LOOPBACK = {"localhost", "127.0.0.1", "::1"}


class IssuerUnavailableError(IssuerError):
    """The issuer does not answer, or not as OpenID Connect says: nobody can be believed now."""

    retryable = True

    def __init__(self, issuer: str, why: str) -> None:
        super().__init__(f"issuer {issuer} cannot be asked: {why}")
        self.issuer = issuer
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
        algorithm, key_id = named_key(token)
        key = (await self._current()).keys.find(algorithm, key_id)
        if key is None:
            key = (await self._renewed()).keys.find(algorithm, key_id)
        if key is None:
            raise InvalidTokenError(f"is signed by a key that {self.url} does not publish")
        claims = signed_claims(token, key, algorithm, self.url)
        require_claims(claims, self.url, audience, self._clock())
        return claims

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
