"""Bytes that each namespace has in a bucket, counted from the indexes of its repositories.

A namespace has each content once, however many of its repositories link to it, and a block for
each tag. Uploads count as this process has seen them, those of other replicas as the bucket tells.
"""

import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from upwell.registry.bucket.index import RepositoryIndex
from upwell.registry.bucket.indexes import RepositoryIndexes
from upwell.registry.bucket.upload_state import UploadState
from upwell.registry.hosted.quotas import (
    BLOCK,
    charge,
    namespace_of,
    require_another_upload,
    require_quota,
)
from upwell.registry.hosting import StorageQuota

_FRESH = 10.0
"""Seconds for which what other replicas have pushed may not be counted."""


@dataclass(frozen=True, slots=True)
class _Counted:
    """Content of a repository (ID -> bytes), and the number of its tags."""

    contents: dict[str, int]
    tags: int


@dataclass(frozen=True, slots=True)
class _Held:
    """Content of all repositories of a namespace: IDs, and the bytes that count."""

    contents: frozenset[str]
    size: int


@dataclass(slots=True)
class _Upload:
    namespace: str
    owner: str
    size: int = field(default=0)


type FindUploads = Callable[[str], Awaitable[Mapping[str, UploadState]]]
"""Returns the states of the uploads of a namespace in the bucket, by their keys."""


async def _no_uploads(_: str) -> Mapping[str, UploadState]:
    return {}


class BucketUsage:
    """Counts for one bucket. `clock` gives seconds, from any origin."""

    def __init__(
        self, indexes: RepositoryIndexes, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._indexes = indexes
        self._clock = clock
        self._counted: dict[str, dict[str, _Counted]] = {}
        """Namespace -> repository -> what it has."""
        self._held: dict[str, _Held] = {}
        """By namespace, until one of its repositories changes: each piece of an upload asks."""
        self._asked: dict[str, float] = {}
        self._uploads: dict[str, _Upload] = {}
        self._stored: dict[str, dict[str, UploadState]] = {}
        """Namespace -> key of an upload in the bucket, of whichever replica -> its state."""
        self.find_uploads: FindUploads = _no_uploads
        indexes.watchers.append(self._changed)

    async def used(self, namespace: str) -> int:
        """Return the bytes that a namespace has; raises BucketError."""
        if self._clock() - self._asked.get(namespace, float("-inf")) > _FRESH:
            found = set[str]()
            async for name, etag in self._indexes.names(namespace):
                if namespace_of(name) == namespace:
                    found.add(name)
                    self._count(name, await self._indexes.known(name, etag))
            for gone in self._counted.get(namespace, {}).keys() - found:
                del self._counted[namespace][gone]
                self._held.pop(namespace, None)
            self._stored[namespace] = dict(await self.find_uploads(namespace))
            self._asked[namespace] = self._clock()
        held = self._held_by(namespace)
        uploads = sum(
            charge(one.size) for one in self._uploads.values() if one.namespace == namespace
        )
        elsewhere = sum(
            charge(state.offset)
            for key, state in self._stored.get(namespace, {}).items()
            # One that is linked since is counted as content.
            if key not in self._uploads and not state.contents & held.contents
        )
        return held.size + uploads + elsewhere

    def total(self) -> int:
        """Return the bytes of all content that is known to be linked, each once."""
        every = (one for known in self._counted.values() for one in known.values())
        return sum({key: size for one in every for key, size in one.contents.items()}.values())

    async def require(self, repository: str, size: int, quota: StorageQuota | None) -> None:
        """Raise QuotaExceededError if `size` more bytes of content are more than there may be."""
        if quota is not None:
            require_quota(
                quota, repository, await self.used(namespace_of(repository)), charge(size)
            )

    def has(self, repository: str, content: str) -> bool:
        """Return True if the namespace of a repository has content already."""
        return content in self._held_by(namespace_of(repository)).contents

    def begin(self, repository: str, upload: str, owner: str) -> None:
        """Count an upload of a client, or, without an owner, of the server.

        Raises TooManyUploadsError.
        """
        namespace = namespace_of(repository)
        if owner:
            in_namespace = sum(one.namespace == namespace for one in self._uploads.values())
            of_owner = sum(one.owner == owner for one in self._uploads.values())
            require_another_upload(namespace, owner, in_namespace, of_owner)
        self._uploads[upload] = _Upload(namespace, owner)

    async def grow(
        self, repository: str, upload: str, size: int, quota: StorageQuota | None
    ) -> None:
        """Count what an upload is about to have; raises QuotaExceededError."""
        known = self._uploads.setdefault(upload, _Upload(namespace_of(repository), ""))
        if quota is not None:
            more = charge(size) - (charge(known.size) if known.size else 0)
            require_quota(quota, repository, await self.used(known.namespace), more)
        known.size = size

    def end(self, upload: str) -> None:
        """Forget an upload, which is over, or has become content."""
        self._uploads.pop(upload, None)
        for states in self._stored.values():
            states.pop(upload, None)

    def _held_by(self, namespace: str) -> _Held:
        known = self._held.get(namespace)
        if known is None:
            repositories = self._counted.get(namespace, {}).values()
            contents = {key: size for one in repositories for key, size in one.contents.items()}
            size = sum(map(charge, contents.values())) + BLOCK * sum(
                one.tags for one in repositories
            )
            known = self._held[namespace] = _Held(frozenset(contents), size)
        return known

    def _changed(self, name: str, before: RepositoryIndex, after: RepositoryIndex) -> None:
        del before
        self._count(name, after)

    def _count(self, name: str, index: RepositoryIndex) -> None:
        self._held.pop(namespace_of(name), None)
        known = self._counted.setdefault(namespace_of(name), {})
        if index.is_empty:
            known.pop(name, None)
        else:
            contents = {link.content: link.size for link in index.links()}
            known[name] = _Counted(contents, len(index.tags))
