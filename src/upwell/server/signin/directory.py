"""People and sessions in the store."""

from collections.abc import Sequence
from dataclasses import replace

from upwell.api.core import Secret
from upwell.policy.access.roles import SYSTEM_NAMESPACE
from upwell.server.signin.records import (
    PERSON_TYPE,
    SESSION_TYPE,
    InvalidRecordError,
    PersonRecord,
    SessionRecord,
    person_secret,
    session_secret,
)
from upwell.store.interface import NotFoundError, Selector, Store
from upwell.store.retry import update_with_retry


class Directory:
    """Reads and writes records; one that is damaged counts as none. Raises StoreError."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def session(self, session: str) -> SessionRecord | None:
        """Return a session by its id."""
        try:
            name = session_secret(session)
            return SessionRecord.of(await self._store.get(Secret, SYSTEM_NAMESPACE, name))
        except (NotFoundError, InvalidRecordError):
            return None

    async def person(self, name: str) -> PersonRecord | None:
        """Return a person by the name of their principal."""
        try:
            secret = await self._store.get(Secret, SYSTEM_NAMESPACE, person_secret(name))
            found = PersonRecord.of(secret)
        except (NotFoundError, InvalidRecordError):
            return None
        return found if found.name == name else None

    async def sessions(self) -> Sequence[SessionRecord]:
        """Return all sessions, whether they stand or not."""
        return [
            record
            for secret in await self._secrets(SESSION_TYPE)
            if (record := _read(SessionRecord, secret)) is not None
        ]

    async def people(self) -> Sequence[PersonRecord]:
        """Return all people who have signed in."""
        return [
            record
            for secret in await self._secrets(PERSON_TYPE)
            if (record := _read(PersonRecord, secret)) is not None
        ]

    async def create(self, record: SessionRecord | PersonRecord) -> None:
        """Keep a new record."""
        await self._store.create(record.as_secret())

    async def write_session(self, changed: SessionRecord) -> SessionRecord | None:
        """Write a session; None: it was ended meanwhile, and stays so."""

        async def decide() -> Secret | None:
            now = await self.session(changed.id)
            return None if now is None else replace(changed, secret=now.secret).as_secret()

        written = await update_with_retry(decide, self._update)
        return None if written is None else SessionRecord.of(written)

    async def write_person(self, changed: PersonRecord) -> None:
        """Write a person, unless they were removed meanwhile."""

        async def decide() -> Secret | None:
            now = await self.person(changed.name)
            return None if now is None else replace(changed, secret=now.secret).as_secret()

        await update_with_retry(decide, self._update)

    async def delete(self, record: SessionRecord | PersonRecord) -> None:
        """Remove a record, if it is there."""
        try:
            await self._store.delete(Secret, SYSTEM_NAMESPACE, record.as_secret().name)
        except NotFoundError:
            return

    async def _update(self, secret: Secret | None) -> Secret | None:
        try:
            return None if secret is None else await self._store.update(secret)
        except NotFoundError:
            return None

    async def _secrets(self, kind: str) -> Sequence[Secret]:
        found = await self._store.list(Secret, Selector(namespace=SYSTEM_NAMESPACE))
        return [one for one in found.items if one.type == kind]


def _read[R: (SessionRecord, PersonRecord)](kind: type[R], secret: Secret) -> R | None:
    try:
        return kind.of(secret)
    except InvalidRecordError:
        return None
