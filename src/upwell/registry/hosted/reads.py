"""Reads of a registry that this process serves, as the port of any registry has them."""

import contextlib
import hashlib
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager

from upwell.oci import Descriptor, Digest, Index, Manifest, Reference, parse_manifest
from upwell.registry.errors import (
    DigestMismatchError,
    InvalidAnswerError,
    ManifestUnknownError,
    RepositoryUnknownError,
)
from upwell.registry.hosting import ManifestEntry
from upwell.registry.interface import DEFAULT_ACCESS, Credential, RequestAccess


class HostedReads(ABC):
    """Implements Registry by what HostedRegistry has of the same content."""

    @property
    @abstractmethod
    def host(self) -> str:
        """The `host:port` that references to its images carry."""

    @abstractmethod
    async def find_manifest(self, repository: str, target: str | Digest) -> ManifestEntry:
        """Return what a tag or a digest names."""

    @abstractmethod
    async def read_manifest(self, repository: str, digest: Digest) -> bytes:
        """Return the bytes of a manifest."""

    @abstractmethod
    async def tag_names(self, repository: str) -> Sequence[str]:
        """List every tag, sorted."""

    @abstractmethod
    async def referrers(self, repository: str, subject: Digest) -> Sequence[ManifestEntry]:
        """List the manifests whose subject is `subject`."""

    @abstractmethod
    async def blob_size(self, repository: str, digest: Digest, *, verified: bool = False) -> int:
        """Return the bytes that a blob has."""

    @abstractmethod
    def read_blob(
        self, repository: str, digest: Digest, span: range
    ) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """Stream the bytes of `span`."""

    @property
    def prefix(self) -> str:
        """The host: all of the registry is ours."""
        return self.host

    async def resolve(
        self, reference: Reference, access: RequestAccess = DEFAULT_ACCESS
    ) -> Descriptor:
        """Return media type, digest and size of what `reference` names now."""
        del access  # in process, nobody has to log in
        entry = await self._entry(reference)
        return Descriptor(entry.media_type, entry.digest, entry.size)

    async def manifest(
        self, reference: Reference, access: RequestAccess = DEFAULT_ACCESS
    ) -> Manifest | Index:
        """Return a manifest or index."""
        del access
        entry = await self._entry(reference)
        return parse_manifest(await self.read_manifest(reference.repository, entry.digest))

    async def blob(
        self,
        reference: Reference,
        digest: Digest,
        limit: int,
        access: RequestAccess = DEFAULT_ACCESS,
    ) -> bytes:
        """Return a blob of at most `limit` bytes."""
        size = await self.blob_size(reference.repository, digest)
        if size > limit:
            why = f"{digest} has {size} bytes, more than the {limit} allowed"
            raise InvalidAnswerError(reference.name, why)
        async with self.open_blob(reference, digest, access) as chunks:
            return b"".join([chunk async for chunk in chunks])

    @contextlib.asynccontextmanager
    async def open_blob(
        self, reference: Reference, digest: Digest, access: RequestAccess = DEFAULT_ACCESS
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """Stream a blob; the iterator raises DigestMismatchError when storage has changed it."""
        del access
        size = await self.blob_size(reference.repository, digest, verified=True)
        async with self.read_blob(reference.repository, digest, range(size)) as chunks:
            yield _verifying(chunks, reference.name, digest)

    async def logins(
        self, reference: Reference, access: RequestAccess = DEFAULT_ACCESS
    ) -> tuple[Credential, ...]:
        """Return no login: who may read what is decided before it is asked."""
        del reference, access
        return ()

    async def tags(
        self, reference: Reference, access: RequestAccess = DEFAULT_ACCESS
    ) -> Sequence[str]:
        """List every tag of a repository; raises RepositoryUnknownError."""
        del access
        if reference.registry != self.host:
            raise RepositoryUnknownError(reference.name)
        return await self.tag_names(reference.repository)

    async def referrers_of(
        self, reference: Reference, access: RequestAccess = DEFAULT_ACCESS
    ) -> Sequence[Descriptor]:
        """List the manifests whose subject is the digest of `reference`."""
        del access
        if reference.registry != self.host or reference.digest is None:
            return ()
        entries = await self.referrers(reference.repository, reference.digest)
        return [
            Descriptor(
                one.media_type,
                one.digest,
                one.size,
                annotations=one.annotations,
                artifact_type=one.artifact_type,
            )
            for one in entries
        ]

    def _reference(self, repository: str, target: str | Digest) -> Reference:
        if isinstance(target, Digest):
            return Reference(self.host, repository, digest=target)
        return Reference(self.host, repository, tag=target)

    async def _entry(self, reference: Reference) -> ManifestEntry:
        if reference.registry != self.host:
            raise ManifestUnknownError(reference)
        return await self.find_manifest(reference.repository, reference.digest or reference.target)


async def _verifying(
    chunks: AsyncIterator[bytes], name: str, digest: Digest
) -> AsyncIterator[bytes]:
    hasher = hashlib.new(digest.algorithm)
    async for chunk in chunks:
        hasher.update(chunk)
        yield chunk
    actual = Digest(digest.algorithm, hasher.hexdigest())
    if actual != digest:
        raise DigestMismatchError(name, digest, actual)
