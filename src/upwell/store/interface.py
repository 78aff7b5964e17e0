"""The store port: objects with optimistic concurrency and a watch that can be resumed."""

from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Awaitable,
    Callable,
    Mapping,
    Sequence,
)
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, ClassVar, Protocol, Self

from upwell.api.meta import ObjectKey, Resource


class StoreError(Exception):
    """Base of every error that this package raises; `reason` is a Kubernetes StatusReason."""

    reason: ClassVar[str] = "InternalError"
    retryable: ClassVar[bool] = False
    by_admission: bool = False
    """True if the admission of an API server refuses a write: a webhook, a quota, a policy."""
    of_native_write: bool = False
    """True if a right lacks to write what a cluster has itself: people write that by kubectl."""


class NotFoundError(StoreError):
    """There is no such object; with a `cause`, something of it or that it needs is missing."""

    reason = "NotFound"

    def __init__(self, key: ObjectKey, cause: str = "") -> None:
        super().__init__(cause or f"{key} does not exist")
        self.key = key
        self.cause = cause


class AlreadyExistsError(StoreError):
    """An object of that name exists."""

    reason = "AlreadyExists"

    def __init__(self, key: ObjectKey) -> None:
        super().__init__(f"{key} exists already")
        self.key = key


class ConflictError(StoreError):
    """The object has changed since it was read: read it again and decide anew."""

    reason = "Conflict"
    retryable = True

    def __init__(self, key: ObjectKey, why: str = "it has changed since it was read") -> None:
        super().__init__(f"{key} was not written: {why}")
        self.key = key


class ExpiredError(StoreError):
    """The resourceVersion is older than the history that is kept: list again, then watch."""

    reason = "Expired"

    def __init__(self, resource_version: str) -> None:
        super().__init__(f"resourceVersion {resource_version} is too old: list again")


class UnavailableError(StoreError):
    """The store cannot be reached or written to now."""

    reason = "ServiceUnavailable"
    retryable = True


class KindWithdrawnError(UnavailableError):
    """The store had objects of a kind, and does not know the kind now; it may come back."""

    reason = "KindWithdrawn"


class RejectedError(StoreError):
    """The store's owner refused the object (an API server's validation); the message says why."""

    reason = "Invalid"


class MissingPathError(RejectedError):
    """The server serves no such path, or nothing of that name there."""

    reason = "NotFound"


class UnreadableError(StoreError):
    """The object is there, and is none of its kind; somebody has to mend or delete it."""

    reason = "Unreadable"

    def __init__(self, key: ObjectKey, fault: str) -> None:
        super().__init__(f"{key} is there, and cannot be read: {fault}")
        self.key = key
        self.fault = fault


@dataclass(frozen=True, slots=True)
class Selector:
    """Selector of a list's or a watch's objects; an empty part matches all."""

    namespace: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    name: str = ""


EVERYTHING = Selector()


@dataclass(frozen=True, slots=True)
class QuerySelector(Selector):
    """A selector in the API's own words (labelSelector, fieldSelector), which its server tests."""

    label_query: str = ""
    field_query: str = ""


@dataclass(frozen=True, slots=True)
class Listing[R: Resource]:
    """Objects at one moment, ordered by namespace and name; a watch can go on from there."""

    items: Sequence[R]
    resource_version: str
    unreadable: Sequence[ObjectKey] = ()
    """Objects that are there besides, and are none of their kind."""


class Change(StrEnum):
    """Change of an object."""

    ADDED = "ADDED"
    MODIFIED = "MODIFIED"
    DELETED = "DELETED"


@dataclass(frozen=True, slots=True)
class WatchEvent[R: Resource]:
    """A change; `resource` is the state after it (before it, for DELETED)."""

    change: Change
    resource: R
    previous_labels: Mapping[str, str] | None = None
    """Labels before the change; None: there was no object, or the store cannot know."""


class WatchProgress:
    """Position of a watch: it has yielded every change of its own up to `version`.

    Changes of others move it too, so who begins anew from there need not fall behind them. It is
    for whoever reads the watch, while they wait for the next change.
    """

    def __init__(self) -> None:
        self._read: Callable[[], str] = str

    @property
    def version(self) -> str:
        """The position; empty until the watch knows one."""
        return self._read()

    def begin(self, read: Callable[[], str]) -> None:
        """Let the store that watches tell its position by `read`."""
        self._read = read


class Reader(Protocol):
    """Gives objects. Every method raises a StoreError."""

    async def get[R: Resource](self, kind: type[R], namespace: str, name: str) -> R:
        """Return one object; raises NotFoundError."""
        ...

    async def list[R: Resource](self, kind: type[R], selector: Selector = EVERYTHING) -> Listing[R]:
        """Return the objects that match."""
        ...

    def watch[R: Resource](
        self,
        kind: type[R],
        selector: Selector = EVERYTHING,
        *,
        since: str = "",
        progress: WatchProgress | None = None,
    ) -> AsyncGenerator[WatchEvent[R]]:
        """Yield changes after `since` in order, for ever; raises ExpiredError.

        Without `since`, first yields every existing object as ADDED. Close the iterator to stop.
        `progress` is told how far it is.
        """
        ...


class Store(Reader, Protocol):
    """Keeps objects. Writes carry the resourceVersion that was read; a stale one conflicts.

    Every method raises a StoreError. Semantics are those of the Kubernetes API:
    * `create` sets uid, creationTimestamp, resourceVersion and generation 1, completes
      generateName, and keeps no status for kinds that have one (`update_status` writes it).
    * `update` writes metadata and spec, keeps the stored status, and raises the generation when
      anything outside metadata and status changed. An equal object is not written again.
      An object without resourceVersion is written unconditionally.
    * `update_status` writes the status alone. An equal status is not written again.
    * `delete` with finalizers present sets deletionTimestamp; removing the last finalizer by
      `update` removes the object. Deleting an object deletes those that it owns (ownerReferences).
    """

    async def create[R: Resource](self, resource: R) -> R:
        """Store a new object; raises AlreadyExistsError."""
        ...

    async def update[R: Resource](self, resource: R) -> R:
        """Write metadata and spec; raises NotFoundError or ConflictError."""
        ...

    async def update_status[R: Resource](self, resource: R) -> R:
        """Write the status; raises NotFoundError or ConflictError."""
        ...

    async def delete(
        self, kind: type[Resource], namespace: str, name: str, *, resource_version: str = ""
    ) -> None:
        """Delete an object; with a resourceVersion, only that one. Raises NotFoundError."""
        ...


@dataclass(frozen=True, slots=True)
class StoreEncryption:
    """Encryption of what a store keeps on disk."""

    source: str = ""
    """Key that wraps the data key; empty: nothing is encrypted."""
    data_key: str = ""
    """Id of the key that seals what is written."""
    is_rotating: bool = False
    rows_left: int = 0
    """Texts that are not sealed by it yet."""
    fault: str = ""
    """Reason why the last rotation stopped, or why the next start would be refused."""


@dataclass(frozen=True, slots=True)
class StoreKeys:
    """Keys of a store that keeps something on disk."""

    state: Callable[[], StoreEncryption]
    rotate: Callable[[], Awaitable[None]]
    """Seals everything by a new data key; raises a StoreError."""


@dataclass(frozen=True, slots=True)
class WriteRequest:
    """Way in which a document or patch is written; without a manager the client's own name."""

    content_type: str = "application/json"
    field_manager: str = ""
    dry_run: bool = False
    """The server checks the write and answers what would be, and changes nothing."""
    subresource: str = ""


class Conversation(Protocol):
    """A WebSocket. Both methods raise UnavailableError when it breaks."""

    async def send(self, message: bytes) -> None:
        """Send one message; returns when there is room for more."""
        ...

    def messages(self) -> AsyncGenerator[bytes]:
        """Yield messages until the server has no more."""
        ...


class ApiClient(Store, Protocol):
    """A store behind an API server, with the rest of what that server answers: for people.

    An asynchronous context manager that closes its connections.
    """

    async def __aenter__(self) -> Self: ...

    async def __aexit__(self, *exception: object) -> None: ...

    async def names(self, kind: type[Resource], namespace: str, most: int) -> Sequence[str]:
        """Return the names of objects, the first `most` of them, in one small answer."""
        ...

    async def apply(
        self,
        document: Mapping[str, Any],
        *,
        field_manager: str,
        force: bool = False,
        dry_run: bool = False,
    ) -> tuple[Resource, Sequence[str]]:
        """Apply a manifest on the server's side; return the object and the server's warnings."""
        ...

    async def patch[R: Resource](
        self,
        kind: type[R],
        namespace: str,
        name: str,
        patch: Mapping[str, Any],
        subresource: str = "",
    ) -> R:
        """Merge `patch` (RFC 7386) into an object or its subresource."""
        ...

    async def write(
        self,
        method: str,
        resource: Resource,
        body: Mapping[str, Any] | Sequence[Any],
        request: WriteRequest,
    ) -> tuple[dict[str, Any], Sequence[str]]:
        """Create (POST), replace (PUT) or patch (PATCH) the object that `resource` names.

        Return its JSON, or that of its subresource, and the server's warnings. Raises
        ConflictError when the body has a resourceVersion that is not the stored one's.
        """
        ...

    async def request[R: Resource](self, asked: R, seconds: float) -> R:
        """Create what asks for work (a Prune), and return it as answered within `seconds`."""
        ...

    async def call(
        self,
        method: str,
        kind: type[Resource],
        namespace: str,
        name: str,
        subresource: str,
        body: Mapping[str, Any] | None = None,
        params: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        """Ask a subresource that speaks JSON (instantiate, rollback, instances, …)."""
        ...

    async def upload(
        self,
        kind: type[Resource],
        namespace: str,
        name: str,
        subresource: str,
        content: AsyncIterator[bytes],
        params: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        """Send bytes to a subresource (instantiatebinary) as they come; return its answer."""
        ...

    def stream(
        self,
        kind: type[Resource],
        namespace: str,
        name: str,
        subresource: str,
        params: Mapping[str, str] | None = None,
    ) -> AsyncGenerator[bytes]:
        """Yield what a subresource sends (log) until the server ends it."""
        ...

    def converse(
        self,
        kind: type[Resource],
        namespace: str,
        name: str,
        subresource: str,
        params: Sequence[tuple[str, str]],
        protocol: str,
    ) -> AbstractAsyncContextManager[Conversation]:
        """Speak with a subresource (exec, portforward) over a WebSocket, until the block ends."""
        ...

    async def get_raw(self, path: str) -> bytes:
        """Return what the server answers at a path of its own, such as `/version`."""
        ...

    async def send_raw(
        self, method: str, path: str, body: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """Ask a path of the server's own that speaks JSON; raises MissingPathError for none."""
        ...
