"""Bytes that each namespace has in a bucket, counted from the indexes of its repositories.

A namespace has each content once, however many of its repositories link to it, and a block for
each tag. Uploads count as this process has seen them, those of other replicas as the bucket tells.
"""

import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from upwell.registry.bucket.content_tally import ContentTally, HeldContents
from upwell.registry.bucket.index import ContentLink, RepositoryIndex
from upwell.registry.bucket.indexes import IndexChange, RepositoryIndexes
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


@dataclass(slots=True)
class _Namespace:
    repositories: dict[str, dict[str, int]] = field(default_factory=dict)
    """Name -> its content: ID -> bytes."""
    tags: dict[str, int] = field(default_factory=dict)
    """Name -> how many it has."""
    held: HeldContents = field(default_factory=HeldContents)


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
        self._namespaces: dict[str, _Namespace] = {}
        self._held = HeldContents()
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
                    index = await self._indexes.known(name, etag)
                    if name not in self._namespace(name).repositories:
                        self._count(name, index)
            for gone in self._namespace(namespace).repositories.keys() - found:
                self._count(gone, RepositoryIndex())
            self._stored[namespace] = dict(await self.find_uploads(namespace))
            self._asked[namespace] = self._clock()
        known = self._namespace(namespace)
        uploads = sum(
            charge(one.size) for one in self._uploads.values() if one.namespace == namespace
        )
        elsewhere = sum(
            charge(state.offset)
            for key, state in self._stored.get(namespace, {}).items()
            # One that is linked since is counted as content.
            if key not in self._uploads
            and not any(content in known.held for content in state.contents)
        )
        tags = BLOCK * sum(known.tags.values())
        return known.held.charged + tags + uploads + elsewhere

    def total(self) -> int:
        """Return the bytes of all content that is known to be linked, each once."""
        return self._held.size

    async def require(self, repository: str, size: int, quota: StorageQuota | None) -> None:
        """Raise QuotaExceededError if `size` more bytes of content are more than there may be."""
        if quota is not None:
            require_quota(
                quota, repository, await self.used(namespace_of(repository)), charge(size)
            )

    def has(self, repository: str, content: str) -> bool:
        """Return True if the namespace of a repository has content already."""
        return content in self._namespace(repository).held

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

    def _namespace(self, name: str) -> _Namespace:
        """Return what is counted of a namespace, by its name or that of a repository."""
        return self._namespaces.setdefault(namespace_of(name), _Namespace())

    def _changed(self, change: IndexChange) -> None:
        name = change.repository
        if change.before is None or name not in self._namespace(name).repositories:
            self._count(name, change.after, change.tally)
            return
        for before, after in change.after.link_changes(change.before):
            self._relink(name, before, after)
        self._note_tags(name, change.after)

    def _count(self, name: str, index: RepositoryIndex, tally: ContentTally | None = None) -> None:
        """Count all that a repository has, by its tally where it was made already."""
        tally = tally or ContentTally.of(index.links())
        known = self._namespace(name).repositories.get(name)
        if not known:
            self._namespace(name).repositories[name] = dict(tally.contents)
            self._namespace(name).held.add_all(tally)
            self._held.add_all(tally)
        else:
            for content in known.keys() - tally.contents.keys():
                self._relink(name, ContentLink(content, known[content], 0.0), None)
            for content in tally.contents.keys() - known.keys():
                self._relink(name, None, ContentLink(content, tally.contents[content], 0.0))
        self._note_tags(name, index)

    def _relink(self, name: str, before: ContentLink | None, after: ContentLink | None) -> None:
        namespace = self._namespace(name)
        contents = namespace.repositories.setdefault(name, {})
        if before is not None and (size := contents.pop(before.content, None)) is not None:
            namespace.held.remove(before.content, size)
            self._held.remove(before.content, size)
        if after is not None and after.content not in contents:
            contents[after.content] = after.size
            namespace.held.add(after.content, after.size)
            self._held.add(after.content, after.size)

    def _note_tags(self, name: str, index: RepositoryIndex) -> None:
        namespace = self._namespace(name)
        namespace.tags[name] = len(index.tags)
        if index.is_empty:
            namespace.tags.pop(name)
            namespace.repositories.pop(name, None)
        else:
            namespace.repositories.setdefault(name, {})
