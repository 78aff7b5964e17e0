"""People and their sessions as they are kept: Secrets of upwell-system, tokens as hashes.

A person is kept apart from their sessions: their groups count for all of these, and for what they
have written, and outlive the last session.
"""

import hashlib
import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Self

from upwell.api.core import Secret
from upwell.api.meta import ObjectMeta
from upwell.policy.access.roles import SYSTEM_NAMESPACE

PERSON_TYPE = "upwell.dev/person"
SESSION_TYPE = "upwell.dev/session"
_NAME_LETTERS = 40


class InvalidRecordError(ValueError):
    """A Secret that is no record of a person or session."""


@dataclass(frozen=True, slots=True)
class PersonRecord:
    """A person who has signed in."""

    name: str
    issuer: str
    subject: str
    groups: tuple[str, ...]
    confirmed: datetime
    """Time of the provider's last word."""
    secret: Secret | None = field(default=None, repr=False, compare=False)
    """The object that it was read from."""

    @classmethod
    def of(cls, secret: Secret) -> Self:
        """Read a Secret; raises InvalidRecordError."""
        values = _values(secret, PERSON_TYPE)
        try:
            groups = tuple(str(one) for one in json.loads(values["groups"]))
            return cls(
                values["name"],
                values["issuer"],
                values["subject"],
                groups,
                _time(values["confirmed"]),
                secret,
            )
        except (KeyError, ValueError, TypeError) as error:
            raise InvalidRecordError(f"{secret.key} is damaged: delete it") from error

    def as_secret(self) -> Secret:
        """Return the Secret that keeps it."""
        values = {
            "name": self.name,
            "issuer": self.issuer,
            "subject": self.subject,
            "groups": json.dumps(self.groups),
            "confirmed": self.confirmed.isoformat(),
        }
        return _secret(person_secret(self.name), PERSON_TYPE, values, self.secret)


@dataclass(frozen=True, slots=True)
class SessionRecord:
    """A session of a person; its token is known to them alone."""

    id: str
    sha256: str = field(repr=False)
    person: str
    """The name of the person."""
    is_page: bool
    """True for a browser's, whose cookie opens pages and no API."""
    created: datetime
    used: datetime
    """Roughly: written with `asked`."""
    ends: datetime
    asked: datetime
    """Time of the last question to the provider whether it stands."""
    refresh: str = field(default="", repr=False)
    """The refresh token, sealed; empty: there is none."""
    secret: Secret | None = field(default=None, repr=False, compare=False)

    @classmethod
    def of(cls, secret: Secret) -> Self:
        """Read a Secret; raises InvalidRecordError."""
        values = _values(secret, SESSION_TYPE)
        try:
            return cls(
                secret.name.removeprefix(session_secret("")),
                values["sha256"],
                values["person"],
                values["page"] == "true",
                _time(values["created"]),
                _time(values["used"]),
                _time(values["ends"]),
                _time(values["asked"]),
                values["refresh"],
                secret,
            )
        except (KeyError, ValueError) as error:
            raise InvalidRecordError(f"{secret.key} is damaged: delete it") from error

    def as_secret(self) -> Secret:
        """Return the Secret that keeps it."""
        values = {
            "sha256": self.sha256,
            "person": self.person,
            "page": "true" if self.is_page else "false",
            "created": self.created.isoformat(),
            "used": self.used.isoformat(),
            "ends": self.ends.isoformat(),
            "asked": self.asked.isoformat(),
            "refresh": self.refresh,
        }
        return _secret(session_secret(self.id), SESSION_TYPE, values, self.secret)


def person_secret(name: str) -> str:
    """Return the name of the Secret that keeps a person: theirs may have any letters."""
    return f"person-{hashlib.sha256(name.encode()).hexdigest()[:_NAME_LETTERS]}"


def session_secret(session: str) -> str:
    """Return the name of the Secret that keeps a session."""
    return f"session-{session}"


def _values(secret: Secret, kind: str) -> dict[str, str]:
    if secret.type != kind:
        raise InvalidRecordError(f"{secret.key} is no {kind}")
    try:
        return {key: value.decode() for key, value in secret.decoded().items()}
    except ValueError as error:
        raise InvalidRecordError(f"{secret.key} is damaged: delete it") from error


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


def _secret(name: str, kind: str, values: dict[str, str], old: Secret | None) -> Secret:
    metadata = ObjectMeta(name=name, namespace=SYSTEM_NAMESPACE)
    data = Secret.encode_values({key: value.encode() for key, value in values.items()})
    made = Secret(metadata=metadata, type=kind, data=data)
    if old is None:
        return made
    return made.model_copy(update={"metadata": old.metadata})
