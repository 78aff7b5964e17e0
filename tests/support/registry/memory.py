"""A registry in memory: tags that tests set, and the content that they give it."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager

from tests.support.registry.logins import logins_at

from upwell.oci import Descriptor, Digest, Index, Manifest, MediaType, Reference
from upwell.registry.errors import (
    BlobUnknownError,
    InvalidAnswerError,
    ManifestUnknownError,
    RegistryError,
    RepositoryUnknownError,
)
from upwell.registry.interface import DEFAULT_ACCESS, Credential, RequestAccess

_UNKNOWN_SIZE = 100


class RegistryInMemory:
    """Implements Registry. A tag may name an image of which no more than the digest is known."""

    def __init__(
        self, *manifests: Manifest | Index, tags: Mapping[str, Digest] | None = None
    ) -> None:
        self.tagged: dict[str, Digest] = dict(tags or {})
        """Reference with its tag -> what the tag names."""
        self.manifests = {manifest.digest: manifest for manifest in manifests}
        self.blobs: dict[Digest, bytes] = {}
        self.fetched: list[Digest] = []
        """Digest of each manifest that was fetched, in order."""
        self.asked = 0
        """Questions what a tag names."""
        self.failure: RegistryError | None = None
        """Answer to all such questions."""

    async def resolve(
        self, reference: Reference, access: RequestAccess = DEFAULT_ACCESS
    ) -> Descriptor:
        del access
        self.asked += 1
        if self.failure is not None:
            raise self.failure
        digest = self._digest(reference)
        if digest in self.manifests:
            found = self.manifests[digest]
            return Descriptor(found.media_type, digest, len(found.raw))
        if digest not in self.tagged.values():
            raise ManifestUnknownError(reference)
        return Descriptor(MediaType.OCI_MANIFEST, digest, _UNKNOWN_SIZE)

    async def manifest(
        self, reference: Reference, access: RequestAccess = DEFAULT_ACCESS
    ) -> Manifest | Index:
        del access
        digest = self._digest(reference)
        if digest not in self.manifests:
            raise ManifestUnknownError(reference)
        self.fetched.append(digest)
        return self.manifests[digest]

    async def blob(
        self,
        reference: Reference,
        digest: Digest,
        limit: int,
        access: RequestAccess = DEFAULT_ACCESS,
    ) -> bytes:
        del access
        content = self._content(reference, digest)
        if len(content) > limit:
            raise InvalidAnswerError(str(reference), f"more than {limit} bytes")
        return content

    @asynccontextmanager
    async def open_blob(
        self, reference: Reference, digest: Digest, access: RequestAccess = DEFAULT_ACCESS
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        del access
        yield _pieces(self._content(reference, digest))

    async def logins(
        self, reference: Reference, access: RequestAccess = DEFAULT_ACCESS
    ) -> tuple[Credential, ...]:
        return await logins_at(reference, access)

    async def tags(
        self, reference: Reference, access: RequestAccess = DEFAULT_ACCESS
    ) -> Sequence[str]:
        del access
        named = map(Reference.parse, self.tagged)
        found = [one.tag for one in named if one.name == reference.name and one.tag]
        if not found:
            raise RepositoryUnknownError(reference.repository)
        return found

    async def referrers_of(
        self, reference: Reference, access: RequestAccess = DEFAULT_ACCESS
    ) -> Sequence[Descriptor]:
        del access
        return [
            Descriptor(one.media_type, one.digest, len(one.raw), artifact_type=one.artifact_type)
            for one in self.manifests.values()
            if one.subject is not None and one.subject.digest == reference.digest
        ]

    def _digest(self, reference: Reference) -> Digest:
        digest = reference.digest or self.tagged.get(str(reference))
        if digest is None:
            raise ManifestUnknownError(reference)
        return digest

    def _content(self, reference: Reference, digest: Digest) -> bytes:
        if digest not in self.blobs:
            raise BlobUnknownError(reference.name, digest)
        return self.blobs[digest]


async def _pieces(content: bytes) -> AsyncIterator[bytes]:
    yield content
