"""Pods of a cluster as the checks of stages see them: asked for when a check needs them."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import aclosing, suppress
from datetime import datetime

from upwell.api.apps import Job
from upwell.cluster.errors import AccessDeniedError
from upwell.cluster.interface import ClusterInstances
from upwell.policy.cluster_rollouts.instances import instance_of, pod_of
from upwell.workload.errors import UnreadableFilesError
from upwell.workload.instance_spec import Owner
from upwell.workload.interface import ContainerFile, FileLimits, Instance

_JOB_LABEL = "job-name"
"""On the Pods of a Job, by its controller (batch/v1); newer clusters have it, too."""


class ClusterStageInstances:
    """Implements StageInstances on a cluster; raises ClusterErrors, which are WorkloadErrors."""

    def __init__(self, instances: ClusterInstances, since: datetime) -> None:
        """`since` is the start of the server."""
        self._instances = instances
        self._since = since

    async def of_owner(self, owner: Owner) -> Sequence[Instance]:
        """Return the Pods of a Job; of anything else, those that name it as their workload."""
        labels: Mapping[str, str] = {}
        if owner.kind == Job.KIND.kind:
            labels = {_JOB_LABEL: owner.name}
        found = await self._instances.pods(owner.namespace, labels)
        if labels:
            return [instance_of(one.pod, owner) for one in found]
        return [instance_of(one.pod, owner) for one in found if one.owner == owner]

    async def of_namespace(self, namespace: str) -> Sequence[Instance]:
        """Return the Pods that are not on their way out."""
        found = await self._instances.pods(namespace, {})
        return [instance_of(one.pod, one.owner) for one in found if not one.pod.is_deleting]

    async def obstacle(self, job: Job) -> str:
        """Return the last warning of the cluster about a Job, as of Pods that it may not make.

        An account that may not list Events, as in another cluster, is told nothing.
        """
        with suppress(AccessDeniedError):
            if found := await self._instances.warnings(job.namespace, job.uid):
                return found[-1]
        return ""

    async def logs(self, name: str, container: str) -> AsyncIterator[bytes]:
        """Yield the log as the node has it."""
        async with aclosing(self._instances.log(pod_of(name), container)) as pieces:
            async for piece in pieces:
                yield piece

    async def read_files(
        self, name: str, path: str, limits: FileLimits, container: str
    ) -> Sequence[ContainerFile]:
        """Raise UnreadableFilesError: nothing is read of a container that has ended."""
        del name, path, limits, container
        raise UnreadableFilesError("on a cluster, no files of a test are read: have it print them")

    def well_since(self) -> datetime:
        """Return the start of the server: faults of nodes are in what Pods say."""
        return self._since
