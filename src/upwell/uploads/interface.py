"""The port: bytes in, a digest out, and the bytes again for every later build."""

from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Protocol

from upwell.api.core import UPLOAD_STORAGE
from upwell.api.values.quantities import format_bytes
from upwell.oci import Digest

DEFAULT_LIMIT_BYTES = 1024**3
"""The largest upload that is taken, unless the administrator says otherwise."""


class InputError(Exception):
    """Base of every error of this package."""

    freed_bytes = 0
    """Bytes that a removal had freed when it failed."""


class InputTooLargeError(InputError):
    """The upload has more bytes than the administrator allows."""

    def __init__(self, limit_bytes: int) -> None:
        super().__init__(
            f"the upload has more than {limit_bytes} bytes: leave files out with --exclude,"
            " or raise the server's limit (serve --upload-limit)"
        )
        self.limit_bytes = limit_bytes


REMOVED = "it was removed"
"""Reason for which content is missing, where nobody else can have taken it."""


class InputMissingError(InputError):
    """Error for a digest whose content is not kept (any more); `why` is the reason, for people."""

    def __init__(self, digest: Digest, why: str = REMOVED) -> None:
        super().__init__(f"the upload {digest} is not kept here: {why}; upload it again")
        self.digest = digest
        self.why = why


class StoreFullError(InputError):
    """The upload could not be written."""


class SharedContentError(InputError):
    """Content that all replicas share could not be read or written; the message says by whom.

    `retryable`: the cause may pass by itself, after `retry_after` seconds where that was told.
    """

    def __init__(
        self, message: str, *, retryable: bool = False, retry_after: float | None = None
    ) -> None:
        super().__init__(message)
        self.retryable = retryable
        self.retry_after = retry_after


@dataclass(frozen=True, slots=True)
class UploadQuota:
    """Quota of a namespace for its uploads: its name, and bytes."""

    name: str
    size: int


type FindUploadQuota = Callable[[str], Awaitable[UploadQuota | None]]
"""Returns the quota of a namespace; None: there is none."""


async def no_upload_quota(namespace: str) -> UploadQuota | None:
    """Return that there is no quota."""
    del namespace
    return None


class UploadQuotaError(InputError):
    """An upload would be more than its namespace may have; nothing of it is kept."""

    def __init__(self, namespace: str, quota: UploadQuota, used: int, more: int) -> None:
        super().__init__(
            f"exceeded quota: {quota.name}, requested: {UPLOAD_STORAGE}={format_bytes(more)}, used:"
            f" {UPLOAD_STORAGE}={format_bytes(used)}, limited:"
            f" {UPLOAD_STORAGE}={format_bytes(quota.size)}; wait for other uploads to namespace"
            f" {namespace}, delete builds and promotions that are not needed, then `upwell prune`,"
            " or have the quota raised"
        )


@dataclass(frozen=True, slots=True)
class StoredInput:
    """An upload that is on disk."""

    digest: Digest
    size: int
    """Bytes."""


class BinaryInputs(Protocol):
    """Keeps uploads. The same content is kept once."""

    async def save(
        self, pieces: AsyncIterator[bytes], namespace: str = "", *, limited: bool = True
    ) -> StoredInput:
        """Keep what `pieces` yields.

        Raises InputTooLargeError, UploadQuotaError, StoreFullError or SharedContentError.

        It counts for `namespace`, while it is under way and as long as it is kept; empty: for none.
        What the server makes by itself is not `limited` by a quota. An upload that ends early, for
        whatever reason, leaves nothing.
        """
        ...

    async def path(self, digest: Digest, namespace: str = "") -> Path:
        """Return the file with this content, which nobody may change.

        `namespace` is one that it was saved for: another one has it not, whoever knows the digest;
        empty: any. Raises InputMissingError, or, where replicas share what they keep,
        SharedContentError and StoreFullError.
        """
        ...

    async def used(self, namespace: str) -> int:
        """Return the bytes that uploads of a namespace take, in blocks of the disk.

        Raises SharedContentError.
        """
        ...

    async def remove_unused(
        self, keep: Collection[Digest], *, unused_for: timedelta, dry_run: bool = False
    ) -> int:
        """Remove what `keep` does not name and was not saved within `unused_for`.

        Returns how many bytes that were, or would be. Raises SharedContentError, which has those
        that were removed all the same.
        """
        ...


@dataclass(frozen=True, slots=True)
class SharedContent:
    """Content that a namespace shares: once for each second in which somebody has saved it."""

    digest: Digest
    size: int
    """Bytes."""
    saved: int
    """Seconds since the epoch."""


class SharedContents(Protocol):
    """Place where all replicas of a server find what any of them saved.

    Every method raises SharedContentError.
    """

    async def put(self, namespace: str, content: SharedContent, file: Path) -> None:
        """Store the content of a file; what is there already is not sent again."""
        ...

    async def contents(self, namespace: str) -> Collection[SharedContent]:
        """List what a namespace shares."""
        ...

    async def cleaned_namespaces(self) -> Collection[str]:
        """List the namespaces that may share something, as far as they are known.

        None at all where another replica removes what nobody needs.
        """
        ...

    async def fetch(self, namespace: str, digest: Digest, file: Path, limit_bytes: int) -> None:
        """Write content to a new file, verified; raises InputMissingError and StoreFullError."""
        ...

    async def remove(self, namespace: str, content: SharedContent) -> None:
        """Remove content, if that can be done there; what was saved in another second stays."""
        ...
