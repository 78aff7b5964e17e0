"""Ports and stores that pruning works on."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from upwell.api.meta import Resource
from upwell.oci import Digest
from upwell.policy.pruning.image_uses import Use
from upwell.registry.interface import PrunableRegistry, StoredRepository
from upwell.store.interface import Store
from upwell.uploads.interface import BinaryInputs
from upwell.workload.interface import Runtime


class StoredBuildLog(Protocol):
    """The log of a build; `size` in bytes, `written` in UTC."""

    @property
    def build_id(self) -> str:
        """The build's uid."""
        ...

    @property
    def size(self) -> int:
        """Bytes."""
        ...

    @property
    def written(self) -> datetime:
        """Time at which the last line was written."""
        ...


class LogShelf(Protocol):
    """The logs of builds."""

    def stored(self) -> Sequence[StoredBuildLog]:
        """List the logs that nobody writes."""
        ...

    def remove(self, build_id: str) -> bool:
        """Delete a log; idempotent. False: there was none."""
        ...


class PackageLists(Protocol):
    """The inventory, by image."""

    async def digests(self) -> Sequence[Digest]:
        """List the images that are indexed."""
        ...

    async def forget(self, digest: Digest) -> bool:
        """Remove what is known of an image; idempotent. False: nothing was."""
        ...


class BuilderStorage(Protocol):
    """The builder's own images."""

    async def prune(
        self, keep: frozenset[Digest], *, unused_for: timedelta, dry_run: bool = False
    ) -> tuple[str, ...]:
        """Remove images that are old and not kept; return their names. Raises BuildError."""
        ...


@dataclass(frozen=True, slots=True)
class FoundRoots:
    """Needs of images, at one moment."""

    objects: Sequence[Resource]
    running: Mapping[Digest, str]
    """Images that run -> who runs them, for people."""
    uses: Sequence[Use] = ()
    """Of what is none of the objects."""


class RetentionRoots(Protocol):
    """Reader of everything that may need an image."""

    async def read(self) -> FoundRoots:
        """Read it all as it is now, in an order that misses no reference.

        Raises PruningRefusedError where a part cannot be seen, StoreError or WorkloadError.
        """
        ...


class NothingToPrune:
    """Implements PrunableRegistry where images lie in a registry elsewhere: it prunes its own."""

    async def survey(self) -> Sequence[StoredRepository]:
        """Return nothing."""
        return ()

    async def expire_tag(self, repository: str, tag: str, digest: Digest) -> bool:
        """Return that there is no such tag."""
        del repository, tag, digest
        return False

    async def expire_manifest(self, repository: str, digest: Digest, before: datetime) -> bool:
        """Return that there is no such manifest."""
        del repository, digest, before
        return False

    async def collect(self, before: datetime) -> None:
        """Do nothing."""


@dataclass(frozen=True, slots=True)
class Stores:
    """Stores that grow, and the clock (UTC)."""

    objects: Store
    registry: PrunableRegistry
    host: str
    """The `host:port` in references to the embedded registry; empty: there is none."""
    logs: LogShelf
    inputs: BinaryInputs
    evidence: BinaryInputs
    inventory: PackageLists
    builder: BuilderStorage
    roots: RetentionRoots
    runtime: Runtime | None
    """Keeps images that it has pulled; None: a cluster's nodes do, and remove them themselves."""
    clock: Callable[[], datetime]
