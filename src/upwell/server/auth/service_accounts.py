"""Tokens of ServiceAccounts: signed, short-lived, and dead with the account that they are of.

None is kept. Each names the account's uid, so that one of the same name that is made later has
nothing of it; and a token may be bound to a Secret, or to an instance of a workload, with whose end
it ends by itself. What it may do is read from the account at each request.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from secrets import token_hex
from typing import Any, Protocol

from upwell.api.core import Secret, ServiceAccount
from upwell.api.meta import Resource
from upwell.api.values.author import author_of
from upwell.policy.access.roles import Grant
from upwell.policy.access.service_accounts import account_name, grants_in_force, parse_account
from upwell.server.auth.own_jwt import OwnJwts
from upwell.server.auth.principals import Principal
from upwell.store.interface import NotFoundError

API_AUDIENCE = "upwell"
"""Issuer of the tokens, and their audience where they are for the API."""
DEFAULT_LIFETIME = timedelta(hours=1)
SHORTEST_LIFETIME = timedelta(minutes=1)
LONGEST_LIFETIME = timedelta(hours=24)
_JTI_BYTES = 16
_KUBERNETES = "kubernetes.io"
_PERSON = "upwell.dev/person"
_MAX_CHAIN = 8
"""Accounts of which each was given its grants by the next; whoever is behind more has none."""

type Authors = Callable[[str], Awaitable[tuple[Grant, ...]]]
"""Returns what somebody may do now."""


type IsThere = Callable[[str, str], bool]
"""Returns True while an instance of a name and uid is there."""


@dataclass(frozen=True, slots=True)
class InstanceName:
    """An instance of a workload, by name and uid."""

    name: str
    uid: str


class AccountObjects(Protocol):
    """Store of ServiceAccounts and Secrets, as far as their tokens need it."""

    async def get[R: Resource](self, kind: type[R], namespace: str, name: str) -> R:
        """Return one object; raises NotFoundError."""
        ...


@dataclass(frozen=True, slots=True)
class WantedAccountToken:
    """A token that somebody wants."""

    account: ServiceAccount
    audiences: tuple[str, ...] = ()
    lifetime: timedelta = DEFAULT_LIFETIME
    bound: Secret | None = None
    """Secret with whose deletion it ends."""
    latest_end: datetime | None = None
    """End of the credentials by which it is asked for, which it does not outlive."""
    person: str = ""
    """Person who asks for it: what is done by it is done by their hand; empty: a program."""
    instance: InstanceName | None = None
    """Instance with whose end it ends."""


@dataclass(frozen=True, slots=True)
class AccountToken:
    """A token, its id in the audit log, and its end."""

    token: str = field(repr=False)
    id: str
    ends: datetime


class AccountTokens:
    """Makes and reads tokens of ServiceAccounts. `authors` says what their authors may do."""

    def __init__(
        self,
        objects: AccountObjects,
        jwts: OwnJwts,
        clock: Callable[[], datetime],
        authors: Authors,
        *,
        gives: bool = True,
    ) -> None:
        """Without `gives`, no account has a grant: who may write one is not known to have given it.

        That is so on a cluster, which writes ServiceAccounts for whoever its own RBAC lets.
        """
        self._gives = gives
        self._objects = objects
        self._jwts = jwts
        self._clock = clock
        self._authors = authors
        self._is_there: IsThere = lambda _name, _uid: False

    def end_with(self, is_there: IsThere) -> None:
        """Let tokens of instances be valid as long as `is_there` says that these are."""
        self._is_there = is_there

    def ask(self, authors: Authors) -> None:
        """Ask somebody else what authors of accounts may do: one who knows people too."""
        self._authors = authors

    def issue(self, wanted: WantedAccountToken) -> AccountToken:
        """Make a token; it ends after LONGEST_LIFETIME at most."""
        now = self._clock()
        ends = now + min(wanted.lifetime, LONGEST_LIFETIME)
        if wanted.latest_end is not None:
            ends = min(ends, wanted.latest_end)
        account, made = wanted.account, token_hex(_JTI_BYTES)
        end = int(ends.timestamp())
        about: dict[str, Any] = {
            "namespace": account.namespace,
            "serviceaccount": {"name": account.name, "uid": account.uid},
        }
        if wanted.bound is not None:
            about["secret"] = {"name": wanted.bound.name, "uid": wanted.bound.uid}
        if wanted.instance is not None:
            about["pod"] = {"name": wanted.instance.name, "uid": wanted.instance.uid}
        claims: dict[str, Any] = {
            "aud": list(wanted.audiences or (API_AUDIENCE,)),
            "exp": end,
            "iat": int(now.timestamp()),
            "iss": API_AUDIENCE,
            "jti": made,
            _KUBERNETES: about,
            "sub": account_name(account.namespace, account.name),
        }
        if wanted.person:
            claims[_PERSON] = wanted.person
        return AccountToken(self._jwts.sign(claims), made, _time(end))

    async def principal(self, token: str, audience: str = API_AUDIENCE) -> Principal | None:
        """Return whose token it is; None when it is unknown, for others, over or revoked."""
        claims = self._jwts.open(token)
        if claims is None or audience not in claims["aud"] or _time(claims["exp"]) <= self._clock():
            return None
        about = claims[_KUBERNETES]
        named = about["serviceaccount"]
        account = await self._found(ServiceAccount, about["namespace"], named)
        if account is None or not await self._is_bound_to_something(about):
            return None
        grants = await self.grants_of(account)
        ends, person = _time(claims["exp"]), claims.get(_PERSON, "")
        return Principal(claims["sub"], grants, ends=ends, person=person, uid=account.uid)

    async def grants(self, namespace: str, name: str) -> tuple[Grant, ...]:
        """Return what an account may do now; none when there is no such one."""
        return await self._grants(namespace, name, frozenset())

    async def grants_of(self, account: ServiceAccount) -> tuple[Grant, ...]:
        """Return what an account may do now: what it declares, as far as its author may give it."""
        return await self._of(account, frozenset({(account.namespace, account.name)}))

    async def _grants(
        self, namespace: str, name: str, chain: frozenset[tuple[str, str]]
    ) -> tuple[Grant, ...]:
        # Accounts that gave each other their grants have them from nobody.
        if (namespace, name) in chain or len(chain) >= _MAX_CHAIN:
            return ()
        try:
            account = await self._objects.get(ServiceAccount, namespace, name)
        except NotFoundError:
            return ()
        return await self._of(account, chain | {(namespace, name)})

    async def _of(
        self, account: ServiceAccount, chain: frozenset[tuple[str, str]]
    ) -> tuple[Grant, ...]:
        if not self._gives:
            return ()
        author = author_of(account)
        if not author:
            return grants_in_force(account, None)
        named = parse_account(author)
        rights = await (self._grants(*named, chain) if named else self._authors(author))
        return grants_in_force(account, rights)

    async def _is_bound_to_something(self, about: Mapping[str, Any]) -> bool:
        """Return True unless the instance or Secret that a token is bound to is gone."""
        instance = about.get("pod")
        if instance is not None and not self._is_there(instance["name"], instance["uid"]):
            return False
        named = about.get("secret")
        return named is None or await self._found(Secret, about["namespace"], named) is not None

    async def _found[R: Resource](
        self, kind: type[R], namespace: str, named: Mapping[str, str]
    ) -> R | None:
        """Return the object of this name and uid, unless it is being deleted."""
        try:
            found = await self._objects.get(kind, namespace, named["name"])
        except NotFoundError:
            return None
        return found if found.uid == named["uid"] and not found.is_deleting else None


def _time(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
