"""The port of a registry that this process serves: what the routes under /v2/ ask of storage.

Names and digests are checked values by the time they get here; bodies are not.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Protocol

from upwell.api.core import IMAGE_STORAGE
from upwell.api.values.quantities import format_bytes
from upwell.oci import Digest
from upwell.registry.errors import RegistryError
from upwell.registry.interface import InternalRegistry, PrunableRegistry


@dataclass(frozen=True, slots=True)
class ManifestEntry:
    """A stored manifest; one with a subject is a referrer of it."""

    digest: Digest
    media_type: str
    size: int
    subject: Digest | None = None
    artifact_type: str = ""
    annotations: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))


@dataclass(frozen=True, slots=True)
class ManifestPush:
    """A manifest as a client sent it: under a tag, or under a digest that it must have."""

    repository: str
    raw: bytes = field(repr=False)
    media_type: str
    tag: str | None = None
    digest: Digest | None = None
    actor: str = ""
    sparse: bool = False
    """True if the content may be missing, since it is fetched when someone asks for it."""


class UploadUnknownError(RegistryError):
    """The upload is finished, cancelled or expired, or never was."""

    reason = "UploadUnknown"

    def __init__(self, repository: str, upload: str) -> None:
        super().__init__(f"no upload {upload[:64]!r} in {repository}: start a new one")


class UploadBusyError(RegistryError):
    """Another request is writing to the upload."""

    reason = "UploadBusy"
    retryable = True

    def __init__(self, repository: str, upload: str) -> None:
        super().__init__(f"another request is writing to upload {upload} in {repository}")


class UploadOffsetError(RegistryError):
    """A chunk does not start where the upload stands; `offset` is where that is."""

    reason = "UploadOffset"

    def __init__(self, repository: str, upload: str, offset: int) -> None:
        super().__init__(f"upload {upload} in {repository} goes on at byte {offset}")
        self.offset = offset


class ContentTooLargeError(RegistryError):
    """More bytes were sent than the limit; none of them was kept."""

    reason = "ContentTooLarge"

    def __init__(self, repository: str, limit: int) -> None:
        super().__init__(f"content for {repository} has more than the {limit} bytes allowed")


class TooManyUploadsError(RegistryError):
    """Error for a client, or a namespace, that has as many uploads open as may be."""

    reason = "TooManyUploads"
    retryable = True

    def __init__(self, who: str, most: int) -> None:
        super().__init__(
            f"{who} has {most} uploads open, the maximum: finish or cancel some of them, or wait"
            " until those that nobody goes on with expire"
        )


@dataclass(frozen=True, slots=True)
class StorageQuota:
    """Quota of a namespace for what its repositories hold: its name, and bytes."""

    name: str
    size: int


type FindQuota = Callable[[str], Awaitable[StorageQuota | None]]
"""Returns the quota that a repository's content counts for; None: there is none."""


async def no_quota(repository: str) -> StorageQuota | None:
    """Return that there is no quota: a FindQuota for a registry of one's own."""
    del repository
    return None


class QuotaExceededError(RegistryError):
    """Content would be more than its namespace may have; what was sent of it is not kept."""

    reason = "QuotaExceeded"

    def __init__(self, repository: str, quota: StorageQuota, used: int, more: int) -> None:
        namespace = repository.partition("/")[0]
        super().__init__(
            f"{repository}: exceeded quota: {quota.name}, requested:"
            f" {IMAGE_STORAGE}={format_bytes(more)}, used: {IMAGE_STORAGE}={format_bytes(used)},"
            f" limited: {IMAGE_STORAGE}={format_bytes(quota.size)}; delete tags of"
            f" namespace {namespace} that are not needed, then `upwell prune`, or have the quota"
            " raised"
        )


class ManifestInvalidError(RegistryError):
    """The bytes are not a manifest of a type that may be stored."""

    reason = "ManifestInvalid"


class ManifestContentUnknownError(RegistryError):
    """A manifest names blobs or manifests that its repository does not hold."""

    reason = "ManifestContentUnknown"

    def __init__(self, repository: str, missing: Sequence[Digest]) -> None:
        super().__init__(
            f"the manifest names content that {repository} does not hold; push first: "
            + ", ".join(str(digest) for digest in missing)
        )
        self.missing = tuple(missing)


class StorageError(RegistryError):
    """The file system failed; what was stored before is untouched."""

    reason = "StorageFailed"
    retryable = True


class StorageUnavailableError(StorageError):
    """Storage that is elsewhere does not answer, or asks for fewer requests."""

    reason = "StorageUnavailable"


class StorageFullError(StorageError):
    """No space is left for content."""

    reason = "StorageFull"

    def __init__(self, repository: str, why: str = "free or add disk space") -> None:
        super().__init__(f"no space is left for content of {repository}: {why}")


class HostedRegistry(InternalRegistry, Protocol):
    """Storage behind the OCI distribution protocol. Every method raises a RegistryError.

    A blob is visible in the repositories that it was pushed or mounted to, and nowhere else.
    """

    @property
    def host(self) -> str:
        """The `host[:port]` that references to its images carry: the whole of its prefix."""
        ...

    async def repositories(self) -> Sequence[str]:
        """List the repositories that hold a manifest, sorted."""
        ...

    async def has_manifest(self, repository: str, digest: Digest) -> bool:
        """Return True if `repository` holds the manifest or index `digest`.

        One that is known to be damaged, or that names what is, counts as none: a push heals it.
        """
        ...

    async def delete_manifest(self, repository: str, digest: Digest) -> None:
        """Remove a manifest and every tag that points at it; raises ManifestUnknownError."""
        ...

    async def find_manifest(self, repository: str, target: str | Digest) -> ManifestEntry:
        """Return what a tag or a digest names; raises ManifestUnknownError."""
        ...

    async def keep_manifest(self, repository: str, digest: Digest) -> None:
        """Note that somebody relies on a manifest, so that it stays for as long as a young one."""
        ...

    async def read_manifest(self, repository: str, digest: Digest) -> bytes:
        """Return the bytes of a manifest; raises ManifestUnknownError."""
        ...

    async def check_manifest(self, push: ManifestPush) -> None:
        """Raise what `put_manifest` would raise of a manifest, and store nothing."""
        ...

    async def put_manifest(self, push: ManifestPush) -> ManifestEntry:
        """Check and store a manifest, and set its tag.

        Raises ManifestInvalidError, DigestMismatchError, ManifestContentUnknownError,
        QuotaExceededError or StorageError.
        """
        ...

    async def tag_names(self, repository: str) -> Sequence[str]:
        """List every tag, sorted; raises RepositoryUnknownError."""
        ...

    async def referrers(self, repository: str, subject: Digest) -> Sequence[ManifestEntry]:
        """List the manifests whose subject is `subject`, which need not exist."""
        ...

    async def blob_size(self, repository: str, digest: Digest, *, verified: bool = False) -> int:
        """Return the bytes that a blob has; raises BlobUnknownError.

        With `verified`, they are known to be what they were when they were pushed.
        """
        ...

    def read_blob(
        self, repository: str, digest: Digest, span: range
    ) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """Stream the bytes of `span`; raises BlobUnknownError on entry."""
        ...

    async def mount_blob(self, repository: str, digest: Digest, source: str) -> bool:
        """Make a blob of `source` visible in `repository`; False when `source` has none.

        Raises QuotaExceededError.
        """
        ...

    async def delete_blob(self, repository: str, digest: Digest) -> None:
        """Take a blob out of a repository; raises BlobUnknownError."""
        ...

    async def start_upload(
        self, repository: str, algorithm: str = "sha256", owner: str = ""
    ) -> str:
        """Begin a resumable upload and return its name; `algorithm` is hashed as bytes arrive.

        `owner` is the client whose it is; empty: the server's own. Raises QuotaExceededError or,
        for a client, TooManyUploadsError.
        """
        ...

    async def upload_offset(self, repository: str, upload: str) -> int:
        """Return how many bytes have arrived; raises UploadUnknownError."""
        ...

    async def append(
        self, repository: str, upload: str, body: AsyncIterator[bytes], start: int | None = None
    ) -> int:
        """Write `body` to the end of an upload, which must be at `start`; return the new end.

        What arrived before `body` failed is kept, so that the client can go on.
        Raises UploadUnknownError, UploadBusyError, UploadOffsetError, and, dropping the upload,
        ContentTooLargeError, QuotaExceededError or StorageError.
        """
        ...

    async def finish_upload(self, repository: str, upload: str, digest: Digest) -> None:
        """Turn an upload into the blob `digest`; raises DigestMismatchError, dropping it."""
        ...

    async def cancel_upload(self, repository: str, upload: str) -> None:
        """Drop an upload; raises UploadUnknownError."""
        ...


@dataclass(frozen=True, slots=True)
class CollectedGarbage:
    """Counts of what one garbage collection removed."""

    uploads: int
    blobs: int
    contents: int


class ServedRegistry(HostedRegistry, PrunableRegistry, Protocol):
    """A hosted registry with its upkeep: what it holds, what is damaged, and what nobody needs."""

    async def recover(self) -> None:
        """Make it ready for its first use; raises StorageError."""
        ...

    async def manifests_in(self, repository: str) -> Sequence[Digest]:
        """List the manifests of a repository; none where there is no such repository."""
        ...

    async def storage_used(self, namespace: str) -> int:
        """Return the bytes that a namespace's repositories and uploads count as."""
        ...

    def damage(self) -> Mapping[str, Sequence[str]]:
        """Return what was found to be damaged, for people, by repository; blocks."""
        ...

    async def scrub(self) -> int:
        """Look for damage that nobody has met yet, where storage does not; return the bytes.

        What was damaged, and is whole, is served again.
        """
        ...

    async def collect_garbage(self) -> CollectedGarbage:
        """Remove expired uploads, and blobs that no manifest has named for a while."""
        ...

    async def drop_idle_uploads(self) -> int:
        """Remove uploads that nobody goes on with, since space is short; return how many."""
        ...
