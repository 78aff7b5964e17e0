"""What a registry has stored, as the decision about its retention sees it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType

from upwell.oci import Digest


@dataclass(frozen=True, slots=True)
class StoredManifest:
    """A manifest or index in one repository."""

    digest: Digest
    created: datetime
    """UTC; when it was last pushed."""
    size: int = 0
    """Bytes of the document itself."""
    children: frozenset[Digest] = frozenset()
    """The manifests that an index names."""
    subject: Digest | None = None
    """What it refers to, when it is a referrer (a signature, an SBOM)."""
    blobs: Mapping[Digest, int] = field(default_factory=lambda: MappingProxyType({}))
    """Configuration and layers, in bytes."""


@dataclass(frozen=True, slots=True)
class StoredTag:
    """What a tag names, and since when (UTC)."""

    digest: Digest
    created: datetime


@dataclass(frozen=True, slots=True)
class StoredRepository:
    """One repository at one moment."""

    name: str
    tags: Mapping[str, StoredTag]
    manifests: Sequence[StoredManifest]
