"""Contents that replicas of a server share: OCI artifacts of the registry that builds push to.

Each is a manifest with an `artifactType`, the empty configuration and one layer, the content
(image-spec, Guidelines for Artifact Usage), under a tag that says what must be known without it.
"""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import dataclass, field
from functools import partial
from types import MappingProxyType

from upwell.oci import Descriptor, Digest, Manifest, Reference
from upwell.oci.artifacts import EMPTY, EMPTY_CONTENT, artifact_manifest
from upwell.oci.registry_prefix import reference_in
from upwell.oci.replica_contents import ReplicaContent
from upwell.registry.attachments.targets import ArtifactTarget
from upwell.registry.client.push import OpenContent, once
from upwell.registry.errors import (
    BlobUnknownError,
    InvalidAnswerError,
    ManifestUnknownError,
    RegistryRejectedError,
    RepositoryUnknownError,
    UnauthorizedError,
)
from upwell.registry.interface import DEFAULT_ACCESS, InternalRegistry, always


@dataclass(frozen=True, slots=True)
class ReplicaArtifact:
    """An artifact: its tag, its one layer, and the annotations of its manifest."""

    tag: str
    layer: Descriptor
    annotations: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))


class ReplicaArtifacts:
    """Artifacts of one kind; every method raises a RegistryError.

    `target` writes to `internal`, as the server itself. `may_write` is asked right before a
    manifest is stored or removed, and raises where it must not be.
    """

    def __init__(
        self,
        internal: InternalRegistry,
        target: ArtifactTarget,
        kind: ReplicaContent,
        may_write: Callable[[], None] = always,
    ) -> None:
        self._internal = internal
        self._target = target
        self._kind = kind
        self._may_write = may_write

    def place(self, namespace: str) -> str:
        """Return the name of a namespace's repository, for people."""
        return reference_in(self._internal.prefix, self._kind.repository(namespace)).name

    async def put(self, namespace: str, artifact: ReplicaArtifact, content: OpenContent) -> None:
        """Store an artifact, its content first; what is there already is not sent again."""
        manifest = self._manifest(artifact)
        place = self._reference(namespace, tag=artifact.tag)
        target, access = self._target, DEFAULT_ACCESS
        await target.put_blob(place, artifact.layer, content, access)
        await target.put_blob(place, EMPTY, partial(once, EMPTY_CONTENT), access)
        self._may_write()
        await target.put_manifest(place, manifest, access)

    async def tags(self, namespace: str) -> Sequence[str]:
        """List the tags of a namespace's artifacts; none where it has none."""
        try:
            return await self._internal.tags(self._reference(namespace))
        except (RepositoryUnknownError, ManifestUnknownError):
            return ()

    async def layer(self, namespace: str, tag: str) -> Descriptor | None:
        """Return the layer of the artifact under a tag; None: there is none."""
        found = await self.artifact(namespace, tag)
        return None if found is None else found.layer

    async def artifact(self, namespace: str, tag: str) -> ReplicaArtifact | None:
        """Return the artifact under a tag; None: there is none."""
        try:
            found = await self._internal.manifest(self._reference(namespace, tag=tag))
        except (RepositoryUnknownError, ManifestUnknownError):
            return None
        if not isinstance(found, Manifest) or len(found.layers) != 1:
            raise InvalidAnswerError(f"{self.place(namespace)}:{tag}", "it has not one layer")
        return ReplicaArtifact(tag, found.layers[0], found.annotations)

    def open(
        self, namespace: str, digest: Digest
    ) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """Stream a layer; the iterator raises DigestMismatchError at the end when it was wrong."""
        return self._internal.open_blob(self._reference(namespace), digest)

    async def remove(self, namespace: str, artifact: ReplicaArtifact) -> None:
        """Remove an artifact; nothing is done where there is none, or where it cannot be removed.

        Registries need not have removals, and need not allow them to the server's login.
        """
        self._may_write()
        place = self._reference(namespace, digest=self._manifest(artifact).digest)
        with suppress(ManifestUnknownError, UnauthorizedError, RegistryRejectedError):
            await self._target.delete_manifest(place, DEFAULT_ACCESS)

    def _manifest(self, artifact: ReplicaArtifact) -> Manifest:
        return artifact_manifest(
            EMPTY,
            [artifact.layer],
            artifact_type=self._kind.artifact_type,
            annotations=artifact.annotations,
        )

    def _reference(
        self, namespace: str, tag: str | None = None, digest: Digest | None = None
    ) -> Reference:
        return reference_in(self._internal.prefix, self._kind.repository(namespace), tag, digest)


def is_missing(error: Exception) -> bool:
    """Return True if an error says that there is no such content."""
    return isinstance(error, BlobUnknownError | ManifestUnknownError | RepositoryUnknownError)
