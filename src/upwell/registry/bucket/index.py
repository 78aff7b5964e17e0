"""Index of one repository: what it holds. `index_documents` says how it is written."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any, Self

from upwell.oci import Digest
from upwell.registry.bucket.partitions import (
    Partition,
    PartitionedMap,
    place_of_digest,
    place_of_name,
)
from upwell.registry.hosting import ManifestEntry
from upwell.registry.interface import StoredManifest, StoredRepository, StoredTag


@dataclass(frozen=True, slots=True)
class ContentLink:
    """Content of a repository: its ID in the bucket, bytes, and when it was last used (epoch)."""

    content: str
    size: int
    used: float


@dataclass(frozen=True, slots=True)
class IndexedManifest:
    """Manifest of a repository; `used` of the link is when it was last pushed, or relied on."""

    entry: ManifestEntry
    link: ContentLink
    needs: Mapping[Digest, int] = field(default_factory=lambda: MappingProxyType({}))
    """Content that must be stored beside it, with bytes."""
    is_index: bool = False


@dataclass(slots=True)
class RepositoryIndex:
    """Content of a repository. One that was read is not changed: changes are made to a copy."""

    manifests: PartitionedMap[Digest, IndexedManifest] = field(
        default_factory=lambda: PartitionedMap(place_of_digest)
    )
    tags: PartitionedMap[str, tuple[Digest, float]] = field(
        default_factory=lambda: PartitionedMap(place_of_name)
    )
    """Tag -> what it names, and since when (epoch)."""
    blobs: PartitionedMap[Digest, ContentLink] = field(
        default_factory=lambda: PartitionedMap(place_of_digest)
    )

    def copy(self) -> Self:
        """Return an index that can be changed."""
        return type(self)(self.manifests.copy(), self.tags.copy(), self.blobs.copy())

    def __len__(self) -> int:
        return len(self.manifests) + len(self.tags) + len(self.blobs)

    @property
    def is_empty(self) -> bool:
        """True if nothing was pushed, or nothing is left."""
        return not len(self)

    def links(self) -> Iterator[ContentLink]:
        """Yield the links to all content."""
        yield from (one.link for one in self.manifests.values())
        yield from self.blobs.values()

    def partitions(self) -> Iterator[Partition[Any, Any]]:
        """Yield what its documents are."""
        for one in (self.manifests, self.tags, self.blobs):
            yield from one.partitions.values()

    def stored(self) -> set[str]:
        """Return the IDs of the documents of its partitions."""
        return {one.content for one in self.partitions() if one.content}

    def link_changes(self, before: Self) -> Iterator[tuple[ContentLink | None, ContentLink | None]]:
        """Yield the links that differ: before, and now."""
        for _, old, new in self.manifests.changes(before.manifests):
            yield (old.link if old else None), (new.link if new else None)
        for _, gone, made in self.blobs.changes(before.blobs):
            yield gone, made

    def named(self) -> dict[str, Digest]:
        """Return what each tag names."""
        return {tag: digest for tag, (digest, _) in self.tags.items()}

    def digest_of(self, tag: str) -> Digest | None:
        """Return what a tag names; None: there is no such tag."""
        return self.tags.get(tag, (None,))[0]

    def link(self, digest: Digest) -> ContentLink | None:
        """Return where the content of a manifest or blob is."""
        known = self.manifests.get(digest)
        return known.link if known else self.blobs.get(digest)

    def link_blob(self, digest: Digest, link: ContentLink | None) -> ContentLink | None:
        """Say where a blob is; return where it was. None: it is not here."""
        before = self.blobs.pop(digest)
        if link is not None:
            self.blobs[digest] = link
        return before

    def is_named(self, digest: Digest) -> bool:
        """Return True if a tag or an index names a manifest."""
        return any(target == digest for target, _ in self.tags.values()) or any(
            digest in one.needs for one in self.manifests.values() if one.is_index
        )

    def set_tag(self, tag: str, digest: Digest, at: float) -> None:
        """Point a tag at a manifest; one that names it already keeps its time."""
        if self.digest_of(tag) != digest:
            self.tags[tag] = (digest, at)

    def remove_manifest(self, digest: Digest) -> bool:
        """Remove a manifest with its tags; False when there is none."""
        for tag in [tag for tag, (target, _) in self.tags.items() if target == digest]:
            self.tags.pop(tag)
        return self.manifests.pop(digest) is not None

    def use(self, digest: Digest, at: float) -> bool:
        """Note that content is used; False when there is none."""
        if (manifest := self.manifests.get(digest)) is not None:
            self.manifests[digest] = replace(manifest, link=replace(manifest.link, used=at))
        elif (link := self.blobs.get(digest)) is not None:
            self.blobs[digest] = replace(link, used=at)
        else:
            return False
        return True

    def unused_blobs(self, before: float) -> Sequence[Digest]:
        """Return the blobs that no manifest names and that nobody has used since `before`."""
        named = {digest for one in self.manifests.values() for digest in one.needs}
        return [
            digest
            for digest, link in self.blobs.items()
            if digest not in named and link.used < before
        ]

    def remove_unused_blobs(self, unused: Sequence[Digest], seen: Self, before: float) -> int:
        """Take out blobs that were unused in an index that was seen, unless they are used since."""
        changes = self.manifests.changes(seen.manifests)
        named = {digest for _, _, now in changes if now is not None for digest in now.needs}
        gone = [
            digest
            for digest in unused
            if digest not in named
            and (link := self.blobs.get(digest)) is not None
            and link.used < before
        ]
        for digest in gone:
            self.blobs.pop(digest)
        return len(gone)

    def survey(self, name: str) -> StoredRepository:
        """Return what is stored, as pruning looks at it."""
        tags = {tag: StoredTag(digest, _time(at)) for tag, (digest, at) in self.tags.items()}
        return StoredRepository(name, tags, [_stored(one) for one in self.manifests.values()])


def _stored(one: IndexedManifest) -> StoredManifest:
    return StoredManifest(
        digest=one.entry.digest,
        created=_time(one.link.used),
        size=one.entry.size,
        children=frozenset(one.needs) if one.is_index else frozenset(),
        subject=one.entry.subject,
        blobs={} if one.is_index else one.needs,
    )


def _time(at: float) -> datetime:
    return datetime.fromtimestamp(at, UTC)
