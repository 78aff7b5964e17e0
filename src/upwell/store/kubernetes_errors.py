"""Refusals of an API server, as StoreErrors: a Status (meta/v1) or a bare HTTP status."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Self

from upwell.api.meta import Kind, ObjectKey
from upwell.api.schemas.native import NATIVE_GROUPS
from upwell.store.interface import (
    AlreadyExistsError,
    ConflictError,
    ExpiredError,
    NotFoundError,
    RejectedError,
    StoreError,
    UnavailableError,
)


class StoreForbiddenError(StoreError):
    """The server does not let us: the credentials are missing, wrong or too weak."""

    reason = "Forbidden"


class StoreUnauthenticatedError(StoreForbiddenError):
    """The server does not know us: the token is missing, wrong, or has expired.

    It is never about the object that was asked for; `refusal` is the server's message alone.
    """

    reason = "Unauthorized"

    def __init__(self, key: ObjectKey, refusal: str) -> None:
        super().__init__(f"{key}: {refusal}")
        self.refusal = refusal


class NamespaceTerminatingError(StoreError):
    """The namespace is being deleted, and takes nothing new; what is in it goes, too."""

    reason = "NamespaceTerminating"
    retryable = True


class KindNotServedError(StoreError):
    """The server does not know the kind."""

    reason = "NotFound"

    def __init__(self, kind: Kind) -> None:
        super().__init__(
            f"the server does not serve {kind.resource} ({kind.api_version}):"
            " is this an Upwell server, or are the custom resource definitions installed?"
        )
        self.kind = kind


class ServerFaultError(UnavailableError):
    """The server was reached, and answered that it cannot do this now: its disk is full, say."""


class BusyError(UnavailableError):
    """The server asks us to come back later; `retry_after` is in seconds."""

    reason = "TooManyRequests"

    def __init__(self, message: str, retry_after: float) -> None:
        super().__init__(message)
        self.retry_after = retry_after


@dataclass(frozen=True, slots=True)
class ApiStatus:
    """An API server's verdict."""

    code: int
    reason: str
    message: str
    about: Mapping[str, Any]
    """`details`: what the verdict is about, and its causes."""

    @classmethod
    def of(cls, document: Mapping[str, Any], code: int) -> Self:
        """Return the verdict in a Status object, or as much of it as there is."""
        about = document.get("details")
        stated = document.get("code")
        return cls(
            stated if isinstance(stated, int) else code,
            str(document.get("reason") or ""),
            str(document.get("message") or HTTPStatus(code).phrase),
            about if isinstance(about, Mapping) else {},
        )

    @classmethod
    def parse(cls, body: bytes, code: int) -> Self:
        """Return the verdict of an answer that may not be a Status at all."""
        try:
            document = json.loads(body)
        except ValueError:
            document = None
        if isinstance(document, dict) and document.get("kind") == "Status":
            return cls.of(document, code)
        return cls(code, "", body[:_MAX_TEXT].decode("utf-8", "replace").strip(), {})

    def error(self, kind: Kind, key: ObjectKey, retry_after: float = 0) -> StoreError:
        """Return the error to raise for a request about `key`."""
        error = self._error(kind, key, retry_after)
        error.by_admission = self.is_of_admission
        error.of_native_write = self.is_of_native_write
        return error

    @property
    def is_of_admission(self) -> bool:
        """True if admission stands against a write, by whatever code: it is neither busy nor away.

        What the server's own plugins (a quota, a limit range, Pod security) refuse is Forbidden and
        names the object, as a missing right is, but for whose message there is a form. A webhook's
        answer has the code, reason and details of its own choice: by its words alone is it known.
        """
        if self.message.startswith(_DENIED):
            return True
        if self.code == HTTPStatus.INTERNAL_SERVER_ERROR:
            told = (self.message, *(str(cause.get("message") or "") for cause in self._causes()))
            return any(_UNREACHED in text for text in told)
        is_about_object = self.reason == StoreForbiddenError.reason and bool(self.about.get("kind"))
        return (
            is_about_object
            and self.code == HTTPStatus.FORBIDDEN
            and NamespaceTerminatingError.reason not in self._reasons()
            and _DENIED_RIGHT.search(self.message) is None
        )

    @property
    def is_of_native_write(self) -> bool:
        """True if a right lacks to write a kind that a cluster has without us."""
        found = _MISSING_RIGHT.search(self.message)
        return found is not None and found["verb"] in _WRITES and found["group"] in NATIVE_GROUPS

    def _error(self, kind: Kind, key: ObjectKey, retry_after: float) -> StoreError:
        # A server of ours has written both, as it had them from its cluster.
        message = self.message if self.message.startswith(f"{key}: ") else f"{key}: {self.message}"
        if self.code >= HTTPStatus.INTERNAL_SERVER_ERROR:
            # What stands between, a proxy, does not answer with a Status and its reason.
            kind_of = ServerFaultError if self.reason else UnavailableError
            return kind_of(f"{message} (the server answered {self.code})")
        error: StoreError
        match self.code:
            case HTTPStatus.NOT_FOUND:
                error = self._not_found(kind, key)
            case HTTPStatus.CONFLICT if self.reason == AlreadyExistsError.reason:
                error = AlreadyExistsError(key)
            case HTTPStatus.CONFLICT:
                error = ConflictError(key, self.message.removeprefix(f"{key} was not written: "))
            case HTTPStatus.GONE:
                error = ExpiredError(self.message)
            case HTTPStatus.UNAUTHORIZED:
                error = StoreUnauthenticatedError(key, self.message)
            case HTTPStatus.FORBIDDEN if NamespaceTerminatingError.reason in self._reasons():
                error = NamespaceTerminatingError(message)
            case HTTPStatus.FORBIDDEN:
                hint = _what_to_grant(self.message)
                error = StoreForbiddenError(f"{message}{hint}")
            case HTTPStatus.TOO_MANY_REQUESTS:
                error = BusyError(message, retry_after)
            case _:
                error = RejectedError(self._with_causes())
        return error

    def _not_found(self, kind: Kind, key: ObjectKey) -> StoreError:
        if self.message.startswith(_DENIED):
            return RejectedError(f"{key}: {self.message}")
        subject, name = self.about.get("kind"), self.about.get("name")
        if subject == "namespaces" and isinstance(name, str) and kind.plural != subject:
            return NotFoundError(ObjectKey("Namespace", "", name))
        # An API server names the object that is missing; for a path that it does not know, none.
        return NotFoundError(key, self._cause(key)) if name else KindNotServedError(kind)

    def _cause(self, key: ObjectKey) -> str:
        """Return the message, unless it says no more than that the object is missing."""
        plain = {"", str(NotFoundError(key)), HTTPStatus.NOT_FOUND.phrase}
        is_plain = self.message in plain or self.message.endswith(f'"{key.name}" not found')
        return "" if is_plain else self.message

    def _causes(self) -> list[Mapping[str, Any]]:
        causes = self.about.get("causes")
        found = causes if isinstance(causes, list) else []
        return [cause for cause in found if isinstance(cause, Mapping)]

    def _reasons(self) -> list[object]:
        return [cause.get("reason") for cause in self._causes()]

    def _with_causes(self) -> str:
        texts = [
            f"{cause.get('field', '')}: {cause.get('message', '')}".removeprefix(": ")
            for cause in self._causes()
        ]
        new = [text for text in texts if text not in self.message]
        return "; ".join([self.message, *new])


_MAX_TEXT = 500
_DENIED = 'admission webhook "'
"""Beginning of a denial, whose code is whatever the webhook says (admission/v1 `status.code`)."""
_UNREACHED = "failed calling webhook"
"""In the message of a server (k8s.io/apiserver, `ErrCallingWebhook`), and of its causes."""
_DENIED_RIGHT = re.compile(r'User "[^"]*" cannot \w+ (resource|path) ')
_MISSING_RIGHT = re.compile(
    r'User "(?P<user>[^"]+)" cannot (?P<verb>\w+) resource "(?P<resource>[^"]+)"'
    r' in API group "(?P<group>[^"]*)"(?: in the namespace "(?P<namespace>[^"]+)")?'
)
"""Message of a denial (k8s.io/apiserver, handlers/responsewriters, `forbiddenMessage`)."""
_WRITES = frozenset({"create", "update", "patch", "delete"})
_GRANT = "; grant "
_ACCOUNT = "system:serviceaccount:"


def _what_to_grant(message: str) -> str:
    """Return which right a denial asks for, and who gives it; empty: it is no denial by rights."""
    found = _MISSING_RIGHT.search(message)
    if found is None or _GRANT in message:
        return ""
    resource, slash, subresource = found["resource"].partition("/")
    group = f".{found['group']}" if found["group"] else ""
    namespace = found["namespace"]
    place = f"in namespace {namespace}" if namespace else "in the whole cluster"
    user = found["user"]
    account = user.removeprefix(_ACCOUNT).replace(":", "/")
    who = f"ServiceAccount {account}" if user.startswith(_ACCOUNT) else f"user {user}"
    return (
        f"{_GRANT}{found['verb']} {resource}{group}{slash}{subresource} {place} to {who}:"
        " by RBAC, or for the account of an Upwell by `upwell install kubernetes` again"
    )
