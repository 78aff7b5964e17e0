"""Documents of an index: a small one is one document; a large one is divided into partitions.

    {"version": 1, "write": NAME, "manifests": {…}, "tags": {…}, "blobs": {…}}
    {"version": 2, "write": NAME, "manifests": {PREFIX: [ID, BYTES], …}, "tags": …, "blobs": …}

The second one names the documents of the partitions, each of which has what the first one has in
one of the three.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from upwell.oci import Digest, InvalidDigestError
from upwell.registry.bucket.index import ContentLink, IndexedManifest, RepositoryIndex
from upwell.registry.bucket.partitions import Partition, PartitionedMap, is_complete
from upwell.registry.hosting import ManifestEntry
from upwell.registry.s3.errors import BucketAnswerError

_WHOLE, _DIVIDED = 1, 2
MAX_PARTITION_BYTES = 64 * 1024
"""Of one document, unless it has but one item."""


@dataclass(frozen=True, slots=True)
class IndexField:
    """One of the three maps of an index."""

    name: str
    map_of: Callable[[RepositoryIndex], PartitionedMap[Any, Any]]
    encode: Callable[[Any], object]
    parse_key: Callable[[str], Any]
    parse: Callable[[Any, Any], Any]
    """Returns the value of a key that was parsed."""

    def document(self, partition: Partition[Any, Any]) -> dict[str, object]:
        """Return the document of a partition."""
        return {str(key): self.encode(value) for key, value in partition.items.items()}

    def items(self, document: Any) -> dict[Any, Any]:
        """Return the items of a partition; raises what json's values may be wrong by."""
        found = ((self.parse_key(text), one) for text, one in document.items())
        return {key: self.parse(key, one) for key, one in found}


def encode_whole(index: RepositoryIndex, write: str) -> bytes:
    """Return an index as one document; `write` names this write among all others."""
    document = {"version": _WHOLE, "write": write}
    for one in FIELDS:
        partitions = one.map_of(index).partitions.values()
        found = [one.document(partition) for partition in partitions]
        document[one.name] = {key: value for part in found for key, value in part.items()}
    return _encoded(document)


def encode_root(index: RepositoryIndex, write: str) -> bytes:
    """Return the document that names those of the partitions, which are stored."""
    document: dict[str, object] = {"version": _DIVIDED, "write": write}
    for one in FIELDS:
        partitions = one.map_of(index).partitions.items()
        document[one.name] = {
            prefix: [partition.content, partition.size] for prefix, partition in partitions
        }
    return _encoded(document)


def encode_partition(field: IndexField, partition: Partition[Any, Any]) -> bytes:
    """Return the document of one partition."""
    return _encoded(field.document(partition))


def decode(raw: bytes, where: str, known: RepositoryIndex) -> tuple[RepositoryIndex, str]:
    """Return the index that a document has, and the name of its write.

    Partitions that `known` has are taken from there; others are empty, and have size and ID.
    Raises BucketAnswerError: whatever is wrong with it, nothing of it is used.
    """
    try:
        document = json.loads(raw)
        if document["version"] not in {_WHOLE, _DIVIDED}:
            raise BucketAnswerError(where, "it is of another version of Upwell")
        index, is_whole = RepositoryIndex(), document["version"] == _WHOLE
        stored = {one.content: one for one in known.partitions() if one.content}
        for one in FIELDS:
            described = document[one.name]
            if is_whole:
                partitions = {"": Partition(one.items(described))}
            else:
                partitions = {at: _named(stored, *named) for at, named in described.items()}
                _require(is_complete(list(partitions)))
            one.map_of(index).replace(partitions)
        return index, str(document["write"])
    except _FAULTS as error:
        raise BucketAnswerError(where, "it is no index of a repository") from error


def decode_partition(raw: bytes, where: str, field: IndexField) -> dict[Any, Any]:
    """Return the items of a partition; raises BucketAnswerError."""
    try:
        return field.items(json.loads(raw))
    except _FAULTS as error:
        raise BucketAnswerError(where, "it is no part of an index") from error


def _named(stored: dict[str, Partition[Any, Any]], content: Any, size: Any) -> Partition[Any, Any]:
    _require(isinstance(content, str) and isinstance(size, int) and bool(content) == (size > 0))
    return stored.get(content) or Partition({}, content, size)


def _require(is_right: bool) -> None:  # noqa: FBT001 - a verdict
    if not is_right:
        raise ValueError


def _encoded(document: object) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode()


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


def _read_manifest(digest: Digest, one: Any) -> IndexedManifest:
    entry = ManifestEntry(
        digest,
        str(one["mediaType"]),
        int(one["size"]),
        Digest.parse(one["subject"]) if one["subject"] else None,
        str(one["artifactType"]),
        {str(name): str(value) for name, value in one["annotations"].items()},
    )
    needs = {Digest.parse(text): int(size) for text, size in one["needs"].items()}
    return IndexedManifest(entry, _read_link(digest, one["link"]), needs, bool(one["isIndex"]))


def _tag(one: tuple[Digest, float]) -> list[object]:
    digest, at = one
    return [str(digest), at]


def _read_tag(_: str, one: Any) -> tuple[Digest, float]:
    text, at = one
    return Digest.parse(text), float(at)


def _link(one: ContentLink) -> list[object]:
    return [one.content, one.size, one.used]


def _read_link(_: Digest, one: Any) -> ContentLink:
    content, size, used = one
    return ContentLink(str(content), int(size), float(used))


FIELDS = (
    IndexField("manifests", lambda one: one.manifests, _manifest, Digest.parse, _read_manifest),
    IndexField("tags", lambda one: one.tags, _tag, str, _read_tag),
    IndexField("blobs", lambda one: one.blobs, _link, Digest.parse, _read_link),
)
_FAULTS = (ValueError, KeyError, TypeError, AttributeError, InvalidDigestError)
