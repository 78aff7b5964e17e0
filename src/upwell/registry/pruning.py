"""The port of a registry whose content is pruned: what is stored, and removal of what may go."""

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from upwell.oci import Digest
from upwell.policy.pruning.stored_content import StoredRepository


class PrunableRegistry(Protocol):
    """Every method raises a RegistryError.

    A removal checks again, together with pushes, that the content is what the caller saw. It is
    safe beside them.
    """

    async def survey(self) -> Sequence[StoredRepository]:
        """Return what every repository holds."""
        ...

    async def expire_tag(self, repository: str, tag: str, digest: Digest) -> bool:
        """Remove `tag` if it still names `digest`, keeping its manifest; say whether it did."""
        ...

    async def expire_manifest(self, repository: str, digest: Digest, before: datetime) -> bool:
        """Remove a manifest that no tag and no index names, last pushed before `before`."""
        ...

    async def collect(self, before: datetime) -> None:
        """Remove the blobs that no manifest names and that nobody has used since `before`."""
        ...
