"""Bearer tokens: how they look, how they are kept (as hashes, in Secrets), and whose they are.

A token is `upwell_NAME_RANDOM`: the name finds its Secret, so that a request costs one read and a
deleted token is refused at once; the prefix lets scanners find tokens that were published. Those of
ServiceAccounts are signed, and kept nowhere.
"""

import hashlib
import hmac
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from secrets import token_bytes, token_hex, token_urlsafe
from typing import Self

from upwell.api.core import Secret
from upwell.api.meta import ObjectMeta
from upwell.api.pipeline import GROUP_APPROVER
from upwell.machine.clock import seconds
from upwell.policy.access.roles import (
    EVERYWHERE,
    SYSTEM_NAMESPACE,
    Grant,
    InvalidGrantError,
    Role,
    grant_text,
    parse_grants,
)
from upwell.policy.access.service_accounts import parse_account
from upwell.server.auth.own_jwt import OwnJwts, is_jwt
from upwell.server.auth.principals import Principal
from upwell.server.auth.service_accounts import AccountObjects, AccountTokens
from upwell.server.auth.signatures import Claim, Signatures
from upwell.server.auth.token_uses import TokenUses
from upwell.store.interface import NotFoundError

TOKEN_TYPE = "upwell.dev/token"  # noqa: S105 - a type, not a token
MAX_TOKEN_LETTERS = 512
_PREFIX = "upwell"
_RANDOM_BYTES = 32
SYSTEM = "system:"
"""Begins the names of what is no Secret: no object's name has a colon."""
_BUILD, _PUSH, _PULL = f"{SYSTEM}build:", f"{SYSTEM}push:", f"{SYSTEM}pull"
_OF_REGISTRY = tuple(f"{_PREFIX}_{name}" for name in (_BUILD, _PUSH, f"{_PULL}_"))
"""Beginnings of tokens of the embedded registry."""
_REGISTRY = "registry"
"""Purpose that they are signed for."""
_MAX_REGISTRY_LETTERS = 32 * 1024
"""Of one that names all repositories of a build."""
_HALF_DAY = 12 * 3600
_ATTEMPT_BYTES = 8
ADMIN = f"{SYSTEM}admin"
"""Name of the person who started the server."""
_SECRET_PREFIX = "token-"  # noqa: S105 - a name, not a token
_HASH, _GRANTS, _EXPIRES, _PERSON = "sha256", "grants", "expires", "person"
_GROUPS = "groups"
USED_ANNOTATION = "upwell.dev/last-used"
"""Of the Secret that keeps a token: its last use, to the hour."""
_MAX_PERSON = 256
_WARNED = timedelta(days=14)
_WARNED_PART = 6
"""The end of a token is told of 14 days before it, and in the last sixth of a shorter life."""


@dataclass(frozen=True, slots=True)
class TokenRecord:
    """Record of a token; the token itself is known to its owner alone."""

    name: str
    sha256: str = field(repr=False)
    grants: tuple[Grant, ...]
    expires: datetime | None = None
    made: datetime | None = None
    used: datetime | None = None
    """Its last use, to the hour; None: unknown."""
    person: str = ""
    """Name of whoever it belongs to; empty: the token's own."""
    groups: tuple[str, ...] = ()
    """Groups of theirs, as approvers are named by; they give no grants."""

    def ends_soon(self, now: datetime) -> bool:
        """Return True once its owner should make another."""
        if self.expires is None:
            return False
        life = self.expires - (self.made or self.expires - _WARNED * _WARNED_PART)
        return self.expires - now <= min(_WARNED, life / _WARNED_PART)

    @classmethod
    def of(cls, secret: Secret) -> Self:
        """Read a Secret of type upwell.dev/token; raises ValueError."""
        values = {key: value.decode() for key, value in secret.decoded().items()}
        return cls(
            secret.name.removeprefix(_SECRET_PREFIX),
            values.get(_HASH, ""),
            parse_grants(values.get(_GRANTS, "")),
            _time(values.get(_EXPIRES, "")),
            secret.metadata.creation_timestamp,
            _used(secret),
            valid_person(values.get(_PERSON, "")),
            tuple(map(valid_group, values.get(_GROUPS, "").splitlines())),
        )

    def as_secret(self) -> Secret:
        """Return the Secret that keeps it."""
        values = {_HASH: self.sha256, _GRANTS: "\n".join(map(grant_text, self.grants))}
        if self.expires is not None:
            values[_EXPIRES] = self.expires.isoformat()
        if self.person:
            values[_PERSON] = self.person
        if self.groups:
            values[_GROUPS] = "\n".join(self.groups)
        return Secret(
            metadata=ObjectMeta(name=secret_name(self.name), namespace=SYSTEM_NAMESPACE),
            type=TOKEN_TYPE,
            string_data=values,
        )


def _time(text: str) -> datetime | None:
    """Return a time of a record; raises ValueError."""
    return datetime.fromisoformat(text).astimezone(UTC) if text else None


def _used(secret: Secret) -> datetime | None:
    """Return when it was used; an annotation that says no time says nothing, and closes nothing."""
    with suppress(ValueError):
        return _time(secret.annotations.get(USED_ANNOTATION, ""))
    return None


def valid_person(name: str) -> str:
    """Return the name of a person, or nothing for none; raises ValueError."""
    if len(name) > _MAX_PERSON or not name.isprintable() or " " in name:
        raise ValueError(f"{name[:_MAX_PERSON]!r} is no name of a person: it has spaces, or others")
    if name.startswith(SYSTEM):
        raise ValueError(f"{name!r} is no name of a person: {SYSTEM}… are the server's own")
    if name.startswith(GROUP_APPROVER):
        raise ValueError(f"{name!r} is no name of a person: {GROUP_APPROVER}… are groups")
    return name


def named_person(name: str) -> str:
    """Return a name that is a person's; empty for a program's and the administrator's."""
    return "" if name.startswith(SYSTEM) else name


def valid_group(name: str) -> str:
    """Return the name of a group; raises ValueError."""
    if not 0 < len(name) <= _MAX_PERSON or not name.isprintable():
        raise ValueError(f"{name[:_MAX_PERSON]!r} is no name of a group")
    return name


async def person_behind(secrets: AccountObjects, name: str) -> str:
    """Return the person whom the token of this name belongs to; else the name itself."""
    try:
        secret = await secrets.get(Secret, SYSTEM_NAMESPACE, secret_name(name))
        return (secret.type == TOKEN_TYPE and TokenRecord.of(secret).person) or name
    except (NotFoundError, InvalidGrantError, ValueError):
        return name


def secret_name(token_name: str) -> str:
    """Return the name of the Secret that keeps a token."""
    return f"{_SECRET_PREFIX}{token_name}"


def new_token(name: str) -> str:
    """Return a fresh token; `name` is a DNS label, so it has no underscore."""
    return f"{_PREFIX}_{name}_{token_urlsafe(_RANDOM_BYTES)}"


def hash_of(token: str) -> str:
    """Return what is kept of a token. Its 256 random bits need no salt and no slow hash."""
    return hashlib.sha256(token.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class OwnToken:
    """A token that the server itself made, and whose it is; it is kept in no Secret."""

    sha256: str = field(repr=False)
    principal: Principal


type BuildRuns = Callable[[str, str], Awaitable[bool]]
"""Tells whether a build (NAMESPACE/NAME) with a uid still runs, whichever replica has begun it."""


class RegistryTokens:
    """Tokens that open the embedded registry to builds and workloads.

    None of them is kept: each says what it is for, signed by a key that replicas share. Those of
    the server itself end within a day. A build may hand its token to code of its author (a custom
    builder), so it reaches the repositories of that build, until it ends; `runs` is asked about
    builds that this process has not begun.
    """

    def __init__(
        self,
        key: bytes = b"",
        runs: BuildRuns | None = None,
        clock: Callable[[], float] = seconds,
    ) -> None:
        """Without a `key`, no other process knows the tokens; `clock` tells seconds.

        Without `runs`, the token of a build ends with its block.
        """
        self._signatures = Signatures(key or token_bytes(_RANDOM_BYTES), _MAX_REGISTRY_LETTERS)
        self._runs = runs
        self._clock = clock
        self._running: set[str] = set()
        """Builds of this process, by the name in the token."""

    @contextmanager
    def of_build(
        self,
        build: str,
        pulls: Iterable[str],
        push: str | None,
        inputs_tag: str = "",
        uid: str = "",
    ) -> Iterator[str]:
        """Make a token for the time of the block; `build` is NAMESPACE/NAME.

        It pulls from the repositories `pulls`, and pushes to `push`; of the tags that stand for
        results of inputs it sets `inputs_tag` alone. At other replicas it ends with the build.
        """
        name = f"{_BUILD}{build}:{token_hex(_ATTEMPT_BYTES)}"
        self._running.add(name)
        try:
            yield self._token(name, uid, push or "", inputs_tag, *sorted(pulls))
        finally:
            self._running.discard(name)

    def to_push(self, namespace: str) -> str:
        """Return a token of the server's own that pulls everything and pushes to `namespace`."""
        return self._token(f"{_PUSH}{namespace}", self._end())

    def to_pull(self) -> str:
        """Return a token that pulls everything."""
        return self._token(_PULL, self._end())

    async def principal(self, token: str) -> Principal | None:
        """Return whose token it is; None when it is not one of these, or its build has ended."""
        name, _, signed = token.removeprefix(f"{_PREFIX}_").partition("_")
        claims = self._signatures.open(_REGISTRY, signed)
        if claims is None or claims[0] != name:
            return None
        if name.startswith(_BUILD):
            return await self._build(name, *map(str, claims[1:]))
        if int(claims[1]) <= self._clock():
            return None
        grants = [Grant(Role.VIEWER, frozenset({EVERYWHERE}))]
        if name.startswith(_PUSH):
            grants.append(Grant(Role.BUILDER, frozenset({name.removeprefix(_PUSH)})))
        return Principal(name, tuple(grants), registry_only=True, unlimited=True)

    async def _build(
        self, name: str, uid: str, push: str, inputs_tag: str, *pulls: str
    ) -> Principal | None:
        build = name.removeprefix(_BUILD).rpartition(":")[0]
        if name not in self._running and (self._runs is None or not await self._runs(build, uid)):
            return None
        pushes = frozenset({push} if push else ())
        return Principal(
            f"{_BUILD}{build}",
            (),
            registry_only=True,
            unlimited=True,
            repositories={"pull": frozenset(pulls) | pushes, "push": pushes},
            inputs_tag=inputs_tag,
        )

    def _end(self) -> int:
        """Return when a token ends that is made now: for half a day, all have one end."""
        return (int(self._clock()) // _HALF_DAY + 2) * _HALF_DAY

    def _token(self, name: str, *claims: Claim) -> str:
        return f"{_PREFIX}_{name}_{self._signatures.sign(_REGISTRY, (name, *claims))}"


LOCAL_ADMIN = Principal(ADMIN, (Grant(Role.ADMIN, frozenset({EVERYWHERE})),), unlimited=True)
"""The server's own user, who may do everything."""


def own_token(token: str) -> OwnToken:
    """Return what is known of the token of the server's own user."""
    return OwnToken(hash_of(token), LOCAL_ADMIN)


class Tokens:
    """Knows the principal of every valid token."""

    def __init__(
        self,
        secrets: AccountObjects,
        clock: Callable[[], datetime],
        own: Iterable[OwnToken] = (),
        registry: RegistryTokens | None = None,
        jwts: OwnJwts | None = None,
        *,
        gives_accounts: bool = True,
    ) -> None:
        """Without `jwts`, tokens of ServiceAccounts end with the process.

        Without `gives_accounts`, these have no grants, whatever they declare.
        """
        self._secrets = secrets
        self._clock = clock
        self._own: Sequence[OwnToken] = tuple(own)
        self._registry = registry or RegistryTokens()
        jwts = jwts or OwnJwts(token_bytes(_RANDOM_BYTES))
        self.uses = TokenUses()
        self.accounts = AccountTokens(secrets, jwts, clock, self.grants, gives=gives_accounts)

    def replace_own(self, token: str) -> None:
        """Take another token of the server's own user; the one before is refused from now on."""
        self._own = (own_token(token),)

    async def principal(self, token: str) -> Principal | None:
        """Return whose token it is; None when it is unknown, damaged or expired."""
        if is_jwt(token):
            return await self.accounts.principal(token)
        if token.startswith(_OF_REGISTRY):
            return await self._registry.principal(token)
        if len(token) > MAX_TOKEN_LETTERS or not token.isascii():
            return None
        given = hash_of(token)
        own = (one for one in self._own if hmac.compare_digest(one.sha256, given))
        if (found := next(own, None)) is not None:
            return found.principal
        prefix, _, rest = token.partition("_")
        name, _, random = rest.partition("_")
        if prefix != _PREFIX or not name or name.startswith(SYSTEM) or not random:
            return None
        return await self._kept(name, given)

    async def _kept(self, name: str, given: str) -> Principal | None:
        """Return whose token it is, of those that Secrets keep."""
        try:
            secret = await self._secrets.get(Secret, SYSTEM_NAMESPACE, secret_name(name))
            record = TokenRecord.of(secret)
        except (NotFoundError, InvalidGrantError, ValueError):
            return None
        known = secret.type == TOKEN_TYPE and hmac.compare_digest(record.sha256, given)
        now = self._clock()
        expired = record.expires is not None and record.expires <= now
        if not known or expired:
            return None
        self.uses.note(name, now)
        return Principal(
            name,
            record.grants,
            ends=record.expires,
            groups=record.groups,
            person=record.person,
            is_ending=record.ends_soon(now),
        )

    async def grants(self, name: str) -> tuple[Grant, ...]:
        """Return what the person of a token may do; none for a token that was deleted.

        A token that has expired opens no door any more; what it has written stands.
        """
        if name == ADMIN:
            return LOCAL_ADMIN.grants
        if (account := parse_account(name)) is not None:
            return await self.accounts.grants(*account)
        try:
            secret = await self._secrets.get(Secret, SYSTEM_NAMESPACE, secret_name(name))
            return TokenRecord.of(secret).grants if secret.type == TOKEN_TYPE else ()
        except (NotFoundError, InvalidGrantError, ValueError):
            return ()
