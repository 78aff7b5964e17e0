"""Sessions of people: begun by a sign-in, asked again at their provider, ended at once.

A session's rights are those of its person's groups, by the settings of this moment. While it is
used, the provider is asked every few minutes whether the person is still there, and in which
groups; where it cannot be asked, what it said last counts for a bounded time.
"""

import asyncio
import hmac
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from secrets import token_hex, token_urlsafe

from upwell.policy.access.groups import GroupGrant, grants_of_groups
from upwell.policy.access.roles import SYSTEM_NAMESPACE, Grant
from upwell.server.auth.foreign_tokens import InvalidTokenError
from upwell.server.auth.issuers import IssuerUnavailableError
from upwell.server.auth.people import SESSION_PREFIX
from upwell.server.auth.principals import Principal
from upwell.server.auth.tokens import MAX_TOKEN_LETTERS, hash_of
from upwell.server.http.errors import ApiError
from upwell.server.signin.directory import Directory
from upwell.server.signin.provider import ProvenIdentity, Provider, SignInRefusedError
from upwell.server.signin.records import PersonRecord, SessionRecord, person_secret
from upwell.server.signin.seals import Seals

_REFRESH = "refresh token"
_ID_BYTES, _RANDOM_BYTES = 6, 32
_AFTER_FAULT = 30.0
"""Seconds until a provider that could not be asked is asked again for sessions."""
_CONFIRMED_ANEW = timedelta(hours=1)
"""The age at which it is written that a person's groups are still the same."""
_MAX_SHOWN_GROUPS = 10


@dataclass(frozen=True, slots=True)
class SessionPolicy:
    """Rights of people by their groups, and times and numbers of their sessions."""

    grants: tuple[GroupGrant, ...]
    prefix: str = "oidc:"
    """Begins the names of people, and of no other principal."""
    lifetime: timedelta = timedelta(days=1)
    """From the sign-in to the end, however much it is used."""
    idle: timedelta = timedelta(hours=12)
    """Without a request until the end."""
    recheck: timedelta = timedelta(minutes=5)
    """Between two questions to the provider, while it is used."""
    believed: timedelta = timedelta(hours=1)
    """For which the provider's last word counts where it cannot be asked again."""
    authored: timedelta = timedelta(days=90)
    """After the provider's last word for which objects act in their author's name."""
    per_person: int = 20

    def grants_of(self, groups: Iterable[str]) -> tuple[Grant, ...]:
        """Return what somebody in these groups may do."""
        return grants_of_groups(self.grants, groups)


@dataclass(frozen=True, slots=True)
class StartedSession:
    """A session, and the token that opens it, which is kept nowhere."""

    record: SessionRecord
    token: str = field(repr=False)


class Sessions:
    """Keeps people and their sessions in the store. Implements People."""

    def __init__(
        self,
        directory: Directory,
        provider: Provider,
        policy: SessionPolicy,
        seals: Seals,
        clock: Callable[[], datetime],
        elapsed: Callable[[], float],
    ) -> None:
        self._directory = directory
        self._provider = provider
        self._policy = policy
        self._seals = seals
        self._clock = clock
        self._elapsed = elapsed
        self._asking: dict[str, asyncio.Task[SessionRecord | None]] = {}
        self._ask_after = -math.inf
        self._signing_in = asyncio.Lock()
        """Two first sign-ins for one name are decided one after the other."""

    def owns(self, name: str) -> bool:
        """Return True if a principal's name is that of a person."""
        return name.startswith(self._policy.prefix)

    async def begin(self, identity: ProvenIdentity, *, is_page: bool) -> StartedSession:
        """Begin a session; raises SignInRefusedError for people who have no rights here."""
        async with self._signing_in:
            person = await self._remember(identity)
            if person is None:
                raise SignInRefusedError(_no_grant(identity))
            await self._make_room(person.name)
            return await self._create(person, identity, is_page=is_page)

    async def principal(self, token: str) -> Principal | None:
        """Return whose session a token opens; None for one that is unknown or has ended.

        Raises ApiError 503 where the provider has not been heard of for too long.
        """
        found = await self._standing(token)
        return None if found is None or found[0].is_page else found[1]

    async def page(self, cookie: str) -> tuple[SessionRecord, Principal] | None:
        """Return the session of a browser by its cookie; None, or raises, as for `principal`."""
        found = await self._standing(cookie)
        return found if found is not None and found[0].is_page else None

    async def grants(self, name: str) -> tuple[Grant, ...]:
        """Return what a person may do, by their last known groups; none after some time."""
        person = await self._known(name)
        if person is None or self._clock() - person.confirmed >= self._policy.authored:
            return ()
        return self._policy.grants_of(person.groups)

    async def list(self, person: str = "") -> Sequence[SessionRecord]:
        """Return the sessions that stand, of a person or of all."""
        return [
            one
            for one in await self._directory.sessions()
            if person in {"", one.person} and not self._is_over(one)
        ]

    async def end(self, *sessions: str) -> Sequence[SessionRecord]:
        """End sessions, all of them here before the provider is told; return those there were."""
        found = [await self._directory.session(session) for session in sessions]
        ended = [record for record in found if record is not None]
        for record in ended:
            await self._directory.delete(record)
        await asyncio.gather(*map(self._revoke, ended))
        return ended

    async def prune(self) -> None:
        """Remove sessions that are over, and people who count for nothing any more."""
        for record in await self._directory.sessions():
            if self._is_over(record):
                await self._directory.delete(record)
        for person in await self._directory.people():
            if self._clock() - person.confirmed >= self._policy.authored:
                await self._directory.delete(person)

    async def _standing(self, token: str) -> tuple[SessionRecord, Principal] | None:
        record = await self._of_token(token)
        if record is None or self._is_over(record):
            return None
        if self._clock() - record.asked >= self._policy.recheck:
            record = await self._asked_again(record)
        person = await self._known(record.person) if record is not None else None
        if record is None or person is None:
            return None
        grants = self._policy.grants_of(person.groups)
        if not grants:
            return None
        return record, Principal(
            person.name, grants, groups=person.groups, session=record.id, ends=record.ends
        )

    async def _of_token(self, token: str) -> SessionRecord | None:
        name, _, random = token.removeprefix(SESSION_PREFIX).partition("_")
        known = token.startswith(SESSION_PREFIX) and len(token) <= MAX_TOKEN_LETTERS
        if not known or not token.isascii() or not name.isalnum() or not random:
            return None
        record = await self._directory.session(name)
        if record is None or not hmac.compare_digest(record.sha256, hash_of(token)):
            return None
        return record

    def _is_over(self, record: SessionRecord) -> bool:
        now = self._clock()
        return record.ends <= now or now - record.used >= self._policy.idle

    async def _asked_again(self, record: SessionRecord) -> SessionRecord | None:
        """Ask the provider once for all requests that wait; None: the session has ended."""
        task = self._asking.get(record.id)
        if task is None:
            task = asyncio.create_task(self._ask(record.id))
            self._asking[record.id] = task
            task.add_done_callback(lambda _: self._asking.pop(record.id, None))
        return await asyncio.shield(task)

    async def _ask(self, session: str) -> SessionRecord | None:
        record = await self._directory.session(session)
        person = await self._known(record.person) if record is not None else None
        if record is None or person is None:
            return None
        refresh = self._seals.open(_REFRESH, record.refresh) if record.refresh else None
        if refresh is None:
            return await self._believed(record)
        if self._elapsed() < self._ask_after:
            return await self._believed(record, "it could not be asked a moment ago")
        try:
            identity = await self._provider.refreshed(refresh, person.subject)
        except IssuerUnavailableError as error:
            self._ask_after = self._elapsed() + _AFTER_FAULT
            return await self._believed(record, str(error))
        except (SignInRefusedError, InvalidTokenError):
            await self._directory.delete(record)
            return None
        return await self._confirm(record, person, identity)

    async def _believed(self, record: SessionRecord, why: str = "") -> SessionRecord | None:
        """Go on by the provider's last word for its time.

        After it the session ends where nobody can ever be asked; `why` says why not now: then it
        raises ApiError 503.
        """
        now = self._clock()
        if now - record.asked < self._policy.believed:
            if now - record.used < self._policy.recheck:
                return record
            return await self._directory.write_session(replace(record, used=now))
        if not why:
            await self._directory.delete(record)
            return None
        message = f"{self._provider.url} did not confirm this session for too long: {why}"
        raise ApiError(503, f"{message}; try again later")

    async def _confirm(
        self, record: SessionRecord, person: PersonRecord, identity: ProvenIdentity
    ) -> SessionRecord | None:
        now = self._clock()
        sealed = self._seals.seal(_REFRESH, identity.refresh_token)
        written = await self._directory.write_session(
            replace(record, asked=now, used=now, refresh=sealed)
        )
        return written if await self._update(person, identity) else None

    async def _update(self, person: PersonRecord, identity: ProvenIdentity) -> PersonRecord | None:
        """Write what is new of a person; without rights, all their sessions end: None."""
        changed = replace(person, groups=identity.groups, confirmed=self._clock())
        is_recent = changed.confirmed - person.confirmed < _CONFIRMED_ANEW
        if changed.groups != person.groups or not is_recent:
            await self._directory.write_person(changed)
        if self._policy.grants_of(identity.groups):
            return changed
        for session in await self.list(person.name):
            await self._directory.delete(session)
        return None

    async def _known(self, name: str) -> PersonRecord | None:
        """Return a person of this provider."""
        found = await self._directory.person(name)
        is_ours = found is not None and found.issuer == self._provider.url
        return found if is_ours and self.owns(name) else None

    async def _remember(self, identity: ProvenIdentity) -> PersonRecord | None:
        """Keep what is known of a person, and return it; None: they have no rights.

        Their name stays that of their first sign-in. So one person is one name for authors and
        approvals, and nobody inherits another's. Raises SignInRefusedError.
        """
        people = await self._directory.people()
        url = self._provider.url
        for one in people:
            if (one.issuer, one.subject) == (url, identity.subject):
                if self.owns(one.name):
                    return await self._update(one, identity)
                await self._directory.delete(one)  # of another prefix: a name of nobody
        if any(one.name == identity.name for one in people):
            secret = f"secret/{person_secret(identity.name)} in {SYSTEM_NAMESPACE}"
            raise SignInRefusedError(
                f"{identity.name} is the name of somebody else, of whom {secret} tells: an"
                " administrator deletes it when they are gone"
            )
        if not self._policy.grants_of(identity.groups):
            return None
        made = PersonRecord(identity.name, url, identity.subject, identity.groups, self._clock())
        await self._directory.create(made)
        return made

    async def _make_room(self, person: str) -> None:
        """End the sessions of a person that were used longest ago, beyond what they may have."""
        found = sorted(await self.list(person), key=lambda one: one.used, reverse=True)
        for record in found[self._policy.per_person - 1 :]:
            await self._directory.delete(record)

    async def _create(
        self, person: PersonRecord, identity: ProvenIdentity, *, is_page: bool
    ) -> StartedSession:
        now = self._clock()
        session = token_hex(_ID_BYTES)
        token = f"{SESSION_PREFIX}{session}_{token_urlsafe(_RANDOM_BYTES)}"
        refresh = identity.refresh_token
        record = SessionRecord(
            session,
            hash_of(token),
            person.name,
            is_page,
            created=now,
            used=now,
            ends=now + self._policy.lifetime,
            asked=now,
            refresh=self._seals.seal(_REFRESH, refresh) if refresh else "",
        )
        await self._directory.create(record)
        return StartedSession(record, token)

    async def _revoke(self, record: SessionRecord) -> None:
        refresh = self._seals.open(_REFRESH, record.refresh) if record.refresh else None
        if refresh is None:
            return
        try:
            await self._provider.revoke(refresh)
        except IssuerUnavailableError:
            return  # it has ended here, and the token was known here alone


def _no_grant(identity: ProvenIdentity) -> str:
    shown = ", ".join(identity.groups[:_MAX_SHOWN_GROUPS])
    more = "…" if len(identity.groups) > _MAX_SHOWN_GROUPS else ""
    groups = f"none of the groups {shown}{more}" if shown else "no group of theirs"
    return (
        f"{identity.name} may do nothing here: {groups} has a grant; an administrator adds one by"
        " [[oidc.grants]] in the configuration file"
    )
