"""Authentication at registries: challenges, token requests, and the handshake between them.

Nothing here does I/O: `handshake` yields what to send and receives what came back (distribution's
auth/token.md, auth/oauth.md and auth/scope.md; RFC 7235 for the challenge).
"""

import base64
import json
import re
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from http import HTTPStatus
from types import MappingProxyType
from typing import Self

from upwell.registry.interface import Credential

DEFAULT_TOKEN_LIFE = 60.0
"""Seconds, where the token server states none (token.md)."""
_CLIENT_ID = "upwell"

_ITEM = re.compile(
    r"\s*(?:(?P<scheme>[A-Za-z][\w.~+-]*)(?:\s+|$))?"
    r'(?:(?P<name>[A-Za-z_][\w-]*)\s*=\s*(?:"(?P<quoted>(?:[^"\\]|\\.)*)"|(?P<plain>[^\s,"]*)))?'
    r"\s*(?:,|$)"
)
_TOKEN = re.compile(r"[\x21-\x7e]{1,65536}")


class Scheme(StrEnum):
    """The ways to authenticate that registries use."""

    BEARER = "bearer"
    BASIC = "basic"


@dataclass(frozen=True, slots=True)
class Challenge:
    """Challenge in a 401."""

    scheme: Scheme
    realm: str = ""
    service: str = ""
    scopes: tuple[str, ...] = ()

    @classmethod
    def parse(cls, headers: Iterable[str]) -> Self | None:
        """Pick the best challenge of the WWW-Authenticate `headers`; None if we know none."""
        challenges = [cls._of(scheme, params) for scheme, params in _challenges(headers)]
        usable = [challenge for challenge in challenges if challenge is not None]
        bearer = (challenge for challenge in usable if challenge.scheme is Scheme.BEARER)
        return next(bearer, None) or next(iter(usable), None)

    @classmethod
    def _of(cls, scheme: str, params: Mapping[str, str]) -> Self | None:
        if scheme == Scheme.BASIC:
            return cls(Scheme.BASIC)
        if scheme == Scheme.BEARER and params.get("realm"):
            scopes = tuple(params.get("scope", "").split())
            return cls(Scheme.BEARER, params["realm"], params.get("service", ""), scopes)
        return None


@dataclass(frozen=True, slots=True)
class AuthAttempt:
    """Send the registry request with this Authorization header; `login` is whose it is."""

    authorization: str | None = field(default=None, repr=False)
    login: Credential | None = None


@dataclass(frozen=True, slots=True)
class TokenQuery:
    """Key of a token: two equal queries may share one."""

    realm: str
    service: str
    scopes: tuple[str, ...]
    login: Credential | None = None

    @property
    def method(self) -> str:
        """An identity token goes into the body of a POST (oauth.md), all else is a GET."""
        return "POST" if self.login and self.login.identity_token else "GET"

    @property
    def authorization(self) -> str | None:
        """The Authorization header of the token request."""
        return basic(self.login)

    @property
    def parameters(self) -> Sequence[tuple[str, str]]:
        """The query of a GET, or the form of a POST; the latter holds a secret."""
        if self.login and self.login.identity_token:
            return [
                ("grant_type", "refresh_token"),
                ("refresh_token", self.login.identity_token),
                ("client_id", _CLIENT_ID),
                ("service", self.service),
                ("scope", " ".join(self.scopes)),
            ]
        service = [("service", self.service)] if self.service else []
        account = [("account", self.login.username)] if self.login and self.login.username else []
        return [*service, *(("scope", scope) for scope in self.scopes), *account]


@dataclass(frozen=True, slots=True)
class TokenRequest:
    """Get a token, from a cache if it holds another one than `refused`."""

    query: TokenQuery
    refused: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class Reply:
    """Response: to an Attempt a status and perhaps a challenge, to a TokenRequest a token."""

    status: int
    challenge: Challenge | None = None
    token: str = field(default="", repr=False)

    @property
    def refused(self) -> bool:
        """True if the credentials were not enough."""
        return self.status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}


@dataclass(frozen=True, slots=True)
class Token:
    """A bearer token and how many seconds it lives from its issue."""

    value: str = field(repr=False)
    life: float = DEFAULT_TOKEN_LIFE


def handshake(
    scopes: Sequence[str], logins: Sequence[Credential | None], known: Challenge | None
) -> Generator[AuthAttempt | TokenRequest, Reply, None]:
    """Yield what to send until an Attempt is not refused; ends when all `logins` were refused.

    `scopes` are the rights that a token must give. `logins` are tried in turn; None is anonymous.
    `known` is the challenge that this registry gave before: with it the first request already
    carries what the registry wants.
    """
    challenge = known
    for login in logins:
        reply, used = yield from _attempt(scopes, login, challenge)
        if reply.refused and reply.challenge is not None:
            challenge = reply.challenge
            if challenge.scheme is Scheme.BASIC and basic(login) in {None, used}:
                continue  # there is nothing else to show
            reply, used = yield from _attempt(scopes, login, challenge, used)
        if not reply.refused:
            return


def _attempt(
    wanted: Sequence[str], login: Credential | None, challenge: Challenge | None, refused: str = ""
) -> Generator[AuthAttempt | TokenRequest, Reply, tuple[Reply, str]]:
    """Make one attempt; returns its reply and the secret that it carried."""
    if challenge is None:
        return (yield AuthAttempt(None, login)), ""
    if challenge.scheme is Scheme.BASIC:
        authorization = basic(login)
        return (yield AuthAttempt(authorization, login)), authorization or ""
    scopes = tuple(dict.fromkeys((*wanted, *challenge.scopes)))
    query = TokenQuery(challenge.realm, challenge.service, scopes, login)
    answer = yield TokenRequest(query, refused)
    if answer.refused:
        return answer, ""
    return (yield AuthAttempt(f"Bearer {answer.token}", login)), answer.token


def basic(login: Credential | None) -> str | None:
    """Return the Basic Authorization header of `login`; None where it has no password."""
    if login is None or not login.username or login.identity_token:
        return None
    pair = f"{login.username}:{login.password}".encode()
    return f"Basic {base64.b64encode(pair).decode()}"


def parse_token(raw: bytes) -> Token:
    """Parse a token server's answer; raises ValueError, which never quotes it."""
    try:
        answer = json.loads(raw)
    except (ValueError, RecursionError):
        raise ValueError("the token server's answer is not JSON") from None
    if not isinstance(answer, dict):
        raise ValueError("the token server's answer is not an object")  # noqa: TRY004 - one error
    value = answer.get("token") or answer.get("access_token")
    if not isinstance(value, str) or _TOKEN.fullmatch(value) is None:
        raise ValueError("the token server's answer holds no usable token")
    life = answer.get("expires_in")
    if isinstance(life, bool) or not isinstance(life, int | float) or not life > 0:
        return Token(value)
    return Token(value, float(life))


def _challenges(headers: Iterable[str]) -> Iterator[tuple[str, Mapping[str, str]]]:
    """Split header values into challenges: each a lower-case scheme and its parameters."""
    for header in headers:
        scheme, params = "", dict[str, str]()
        at = 0
        while at < len(header) and (match := _ITEM.match(header, at)) and match.end() > at:
            at = match.end()
            if match["scheme"]:
                if scheme:
                    yield scheme, MappingProxyType(params)
                scheme, params = match["scheme"].lower(), {}
            if match["name"]:
                quoted = match["quoted"]
                value = match["plain"] if quoted is None else re.sub(r"\\(.)", r"\1", quoted)
                params[match["name"].lower()] = value
        if scheme:
            yield scheme, MappingProxyType(params)
