"""Index of one repository: what it holds, as one document that is written as a whole."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any, Self

from upwell.oci import Digest, InvalidDigestError
from upwell.registry.hosting import ManifestEntry
from upwell.registry.interface import StoredManifest, StoredRepository, StoredTag
from upwell.registry.s3.errors import BucketAnswerError

_VERSION = 1


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

    manifests: dict[Digest, IndexedManifest] = field(default_factory=dict)
    tags: dict[str, tuple[Digest, float]] = field(default_factory=dict)
    """Tag -> what it names, and since when (epoch)."""
    blobs: dict[Digest, ContentLink] = field(default_factory=dict)

    def copy(self) -> Self:
        """Return an index that can be changed."""
        return type(self)(dict(self.manifests), dict(self.tags), dict(self.blobs))

    @property
    def is_empty(self) -> bool:
        """True if nothing was pushed, or nothing is left."""
        return not (self.manifests or self.tags or self.blobs)

    def links(self) -> Iterator[ContentLink]:
        """Yield the links to all content."""
        yield from (one.link for one in self.manifests.values())
        yield from self.blobs.values()

    def named(self) -> dict[str, Digest]:
        """Return what each tag names."""
        return {tag: digest for tag, (digest, _) in self.tags.items()}

    def link(self, digest: Digest) -> ContentLink | None:
        """Return where the content of a manifest or blob is."""
        known = self.manifests.get(digest)
        return known.link if known else self.blobs.get(digest)

    def is_named(self, digest: Digest) -> bool:
        """Return True if a tag or an index names a manifest."""
        return any(target == digest for target, _ in self.tags.values()) or any(
            digest in one.needs for one in self.manifests.values() if one.is_index
        )

    def set_tag(self, tag: str, digest: Digest, at: float) -> None:
        """Point a tag at a manifest; one that names it already keeps its time."""
        if self.tags.get(tag, (None,))[0] != digest:
            self.tags[tag] = (digest, at)

    def remove_manifest(self, digest: Digest) -> bool:
        """Remove a manifest with its tags; False when there is none."""
        for tag in [tag for tag, (target, _) in self.tags.items() if target == digest]:
            del self.tags[tag]
        return self.manifests.pop(digest, None) is not None

    def use(self, digest: Digest, at: float) -> bool:
        """Note that content is used; False when there is none."""
        if (manifest := self.manifests.get(digest)) is not None:
            self.manifests[digest] = replace(manifest, link=replace(manifest.link, used=at))
        elif (link := self.blobs.get(digest)) is not None:
            self.blobs[digest] = replace(link, used=at)
        else:
            return False
        return True

    def remove_unused_blobs(self, before: float) -> int:
        """Take out the blobs that no manifest names and that nobody has used since `before`."""
        named = {digest for one in self.manifests.values() for digest in one.needs}
        unused = [
            digest
            for digest, link in self.blobs.items()
            if digest not in named and link.used < before
        ]
        for digest in unused:
            del self.blobs[digest]
        return len(unused)

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


def encode(index: RepositoryIndex, write: str) -> bytes:
    """Return the document of an index; `write` names this write among all others."""
    document = {
        "version": _VERSION,
        "write": write,
        "manifests": {str(digest): _manifest(one) for digest, one in index.manifests.items()},
        "tags": {tag: [str(digest), at] for tag, (digest, at) in index.tags.items()},
        "blobs": {str(digest): _link(one) for digest, one in index.blobs.items()},
    }
    return json.dumps(document, separators=(",", ":")).encode()


def decode(raw: bytes, name: str) -> tuple[RepositoryIndex, str]:
    """Return the index that a document has, and the name of its write.

    Raises BucketAnswerError: whatever is wrong with it, nothing of it is used.
    """
    try:
        document = json.loads(raw)
        if document["version"] != _VERSION:
            raise BucketAnswerError(name, "it is of another version of Upwell")
        return _decoded(document), str(document["write"])
    except (ValueError, KeyError, TypeError, AttributeError, InvalidDigestError) as error:
        raise BucketAnswerError(name, "it is no index of a repository") from error


def _decoded(document: Any) -> RepositoryIndex:
    parse = Digest.parse
    return RepositoryIndex(
        {parse(text): _read(parse(text), one) for text, one in document["manifests"].items()},
        {tag: (parse(text), float(at)) for tag, (text, at) in document["tags"].items()},
        {parse(text): _read_link(one) for text, one in document["blobs"].items()},
    )


def _manifest(one: IndexedManifest) -> dict[str, object]:
    entry = one.entry
    return {
        "link": _link(one.link),
        "mediaType": entry.media_type,
        "size": entry.size,
        "subject": str(entry.subject) if entry.subject else None,
        "artifactType": entry.artifact_type,
        "annotations": dict(entry.annotations),
        "needs": {str(digest): size for digest, size in one.needs.items()},
        "isIndex": one.is_index,
    }


def _read(digest: Digest, one: Any) -> IndexedManifest:
    entry = ManifestEntry(
        digest,
        str(one["mediaType"]),
        int(one["size"]),
        Digest.parse(one["subject"]) if one["subject"] else None,
        str(one["artifactType"]),
        {str(name): str(value) for name, value in one["annotations"].items()},
    )
    needs = {Digest.parse(text): int(size) for text, size in one["needs"].items()}
    return IndexedManifest(entry, _read_link(one["link"]), needs, bool(one["isIndex"]))


def _link(one: ContentLink) -> list[object]:
    return [one.content, one.size, one.used]


def _read_link(one: Any) -> ContentLink:
    content, size, used = one
    return ContentLink(str(content), int(size), float(used))
