"""Port to what runs, and has ended, for the checks of stages; and this machine's side of it."""

from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from typing import Protocol

from upwell.workload.interface import (
    ContainerFile,
    FileLimits,
    Instance,
    Owner,
    ReadableRuntime,
)


class StageInstances(Protocol):
    """Instances that checks ask, and those of their tests. Every method raises a WorkloadError."""

    async def of_owner(self, owner: Owner) -> Sequence[Instance]:
        """Return the instances of an object, running or ended."""
        ...

    async def of_namespace(self, namespace: str) -> Sequence[Instance]:
        """Return the instances of a namespace."""
        ...

    def logs(self, name: str, container: str) -> AsyncIterator[bytes]:
        """Yield the log of an instance's container."""
        ...

    async def read_files(
        self, name: str, path: str, limits: FileLimits, container: str
    ) -> Sequence[ContainerFile]:
        """Return a file, or all below a folder, of a container; raises UnreadableFilesError."""
        ...

    def well_since(self) -> datetime:
        """Return the time (UTC) since which what runs has been watched, and has answered."""
        ...


class MachineInstances:
    """Implements StageInstances by a runtime that has all of them."""

    def __init__(self, runtime: ReadableRuntime) -> None:
        self._runtime = runtime

    async def of_owner(self, owner: Owner) -> Sequence[Instance]:
        """Return those that the runtime has of it."""
        return [one for one in await self._runtime.instances() if one.owner == owner]

    async def of_namespace(self, namespace: str) -> Sequence[Instance]:
        """Return those whose owner is there."""
        found = await self._runtime.instances()
        return [one for one in found if one.owner.namespace == namespace]

    def logs(self, name: str, container: str) -> AsyncIterator[bytes]:
        """Yield the whole log."""
        return self._runtime.logs(name, container)

    async def read_files(
        self, name: str, path: str, limits: FileLimits, container: str
    ) -> Sequence[ContainerFile]:
        """Return what the runtime reads."""
        return await self._runtime.read_files(name, path, limits, container)

    def well_since(self) -> datetime:
        """Return what the runtime says of itself."""
        return self._runtime.well_since()
