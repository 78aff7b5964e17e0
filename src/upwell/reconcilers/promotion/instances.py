"""Ports to the Jobs and instances of stages, for their checks; and this server's side of them."""

import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from upwell.api.apps import Job
from upwell.reconcilers.jobs.jobs import delete_job
from upwell.store.interface import AlreadyExistsError, NotFoundError, Selector, Store
from upwell.workload.instance_spec import Owner
from upwell.workload.interface import ContainerFile, FileLimits, Instance, ReadableRuntime


class StageInstances(Protocol):
    """Instances that checks ask, and those of their tests. Every method raises a WorkloadError."""

    async def of_owner(self, owner: Owner) -> Sequence[Instance]:
        """Return the instances of an object, running or ended."""
        ...

    async def of_namespace(self, namespace: str) -> Sequence[Instance]:
        """Return the instances of a namespace."""
        ...

    async def obstacle(self, job: Job) -> str:
        """Return what keeps instances of a Job away, for people; empty: nothing that is known."""
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

    async def obstacle(self, job: Job) -> str:
        """Return nothing: conditions of the Job tell."""
        del job
        return ""

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


class CheckJobs(Protocol):
    """Jobs of checks, where a stage runs. Every method raises a StoreError or a WorkloadError."""

    async def find(self, namespace: str, name: str) -> Job | None:
        """Return a Job; None: there is none."""
        ...

    async def create(self, job: Job) -> None:
        """Start a Job; one of that name stays as it is."""
        ...

    async def list(self, labels: Mapping[str, str]) -> Sequence[Job]:
        """Return the Jobs that have these labels."""
        ...

    async def delete(self, job: Job) -> None:
        """Delete a Job and its Pods; nothing happens to one that is gone."""
        ...


class StoredJobs:
    """Implements CheckJobs by the server's own store, in all namespaces."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def find(self, namespace: str, name: str) -> Job | None:
        """Return it as it is stored."""
        try:
            return await self._store.get(Job, namespace, name)
        except NotFoundError:
            return None

    async def create(self, job: Job) -> None:
        """Store it."""
        with contextlib.suppress(AlreadyExistsError):
            await self._store.create(job)

    async def list(self, labels: Mapping[str, str]) -> Sequence[Job]:
        """Return those of all namespaces."""
        return (await self._store.list(Job, Selector(labels=dict(labels)))).items

    async def delete(self, job: Job) -> None:
        """Delete it unless that is under way."""
        await delete_job(self._store, job)


@dataclass(frozen=True, slots=True)
class CheckRuntime:
    """Place where the checks of a stage run: their Jobs, and the instances beside them."""

    jobs: CheckJobs
    instances: StageInstances
    look_again: float = 30.0
    """Seconds after which a Job is looked at although no end of it was seen."""
    cluster: str = ""
    """Name of the cluster, for people; empty: the server's own place."""

    @classmethod
    def of_server(cls, store: Store, instances: StageInstances) -> "CheckRuntime":
        """Return that of stages where the server itself runs workloads."""
        return cls(StoredJobs(store), instances)
