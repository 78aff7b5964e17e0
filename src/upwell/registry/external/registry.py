"""A registry elsewhere as the one that builds push to: others may write to it, and nobody tells.

So its tags follow the streams, and never the other way round: what a stream names is in the
store, of which there is one, however many servers there are.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace

from upwell.oci import Digest
from upwell.oci.registry_prefix import reference_in
from upwell.registry.client.push import RegistryPusher
from upwell.registry.errors import (
    ManifestUnknownError,
    RegistryRejectedError,
    RepositoryUnknownError,
    UnauthorizedError,
)
from upwell.registry.forwarding import ForwardingRegistry
from upwell.registry.interface import (
    DEFAULT_ACCESS,
    PushListener,
    Registry,
    RequestAccess,
    always,
)


class ExternalRegistry(ForwardingRegistry):
    """Implements InternalRegistry by repositories of `registry` below `prefix`.

    `pusher` writes there, as the server itself where nobody's logins are given. `may_write` is
    asked right before a tag is set, and raises where it must not be.
    """

    def __init__(
        self,
        registry: Registry,
        pusher: RegistryPusher,
        prefix: str,
        may_write: Callable[[], None] = always,
    ) -> None:
        super().__init__(registry)
        self._pusher = pusher
        self._prefix = prefix
        self._may_write = may_write

    @property
    def prefix(self) -> str:
        """The `HOST[:PORT][/PATH]` that references to its images begin with."""
        return self._prefix

    def subscribe(self, listener: PushListener) -> None:
        """Do nothing: nobody tells of pushes."""

    async def pushed_tags(self, repository: str) -> Sequence[tuple[str, Digest]]:
        """Return nothing: which of several servers has set a tag last, no tag says."""
        del repository
        return ()

    async def tag(
        self, repository: str, tag: str, digest: Digest, access: RequestAccess = DEFAULT_ACCESS
    ) -> None:
        """Point `tag` at a manifest that is there; raises ManifestUnknownError."""
        image = reference_in(self._prefix, repository, digest=digest)
        if await self.tag_digest(repository, tag, access) == digest:
            return
        manifest = await self._registry.manifest(image, access)
        self._may_write()
        await self._pusher.push_manifest(replace(image, tag=tag, digest=None), manifest, access)

    async def untag(self, repository: str, tag: str) -> None:
        """Remove `tag`, keeping its manifest; raises ManifestUnknownError.

        Registries need not have that (distribution-spec, Deleting Tags), and the server's login
        need not be allowed to: it stays there then, and nothing reads it.
        """
        image = reference_in(self._prefix, repository, tag)
        if await self.tag_digest(repository, tag) is None:
            raise ManifestUnknownError(image)
        self._may_write()
        with suppress(UnauthorizedError, RegistryRejectedError):
            await self._pusher.delete_manifest(image)

    async def tag_digest(
        self, repository: str, tag: str, access: RequestAccess = DEFAULT_ACCESS
    ) -> Digest | None:
        """Return what `tag` points at now, or None."""
        image = reference_in(self._prefix, repository, tag)
        try:
            return (await self._registry.resolve(image, access)).digest
        except (ManifestUnknownError, RepositoryUnknownError):
            return None
