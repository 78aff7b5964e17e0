"""Checks of stages on other clusters: their Jobs run in a cluster of the stage.

All else of a check is asked from here, as for a stage of the server's own.
"""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing
from datetime import datetime, timedelta

from upwell.api.apps import Job
from upwell.api.clusters.cluster import Cluster
from upwell.api.meta import ObjectKey
from upwell.api.pipeline import Pipeline, Stage
from upwell.api.promotion import Promotion, Release
from upwell.cluster.errors import ClusterUnavailableError
from upwell.cluster.interface import RemoteCluster, RemoteClusters
from upwell.machine.tasks import together
from upwell.policy.cluster_rollouts.instances import pod_of
from upwell.policy.promotion.clusters.each_cluster import (
    ClusterPart,
    joined,
    parts_of,
    runs_in_each,
)
from upwell.policy.promotion.clusters.targets import checked_clusters
from upwell.policy.promotion.stages import namespace_of
from upwell.policy.promotion.verification.checks import VerificationProgress
from upwell.reconcilers.promotion.cluster_instances import ClusterStageInstances
from upwell.reconcilers.promotion.instances import CheckRuntime, StageInstances
from upwell.reconcilers.promotion.promotions import Verifier
from upwell.store.interface import NotFoundError, Store
from upwell.workload.instance_spec import Owner
from upwell.workload.interface import ContainerFile, FileLimits, Instance

_LOOK_AGAIN = 5.0
"""Seconds between two looks at a Job: nobody watches another cluster."""
_STOPPED_WITHIN = timedelta(hours=1)
"""Time after its end in which a promotion's Jobs are looked for: clusters are not asked for all
promotions that ever were. Jobs have a deadline besides, and go some time after their end."""


class VerificationByStage:
    """Implements Verifier by where the stage runs."""

    def __init__(self, here: Verifier, elsewhere: Verifier) -> None:
        self._here = here
        self._elsewhere = elsewhere

    async def advance(
        self, pipeline: Pipeline, release: Release, promotion: Promotion
    ) -> VerificationProgress:
        """Take the checks further."""
        stage = pipeline.stage(promotion.spec.stage)
        verifier = self._here if stage is None or stage.runs_here else self._elsewhere
        return await verifier.advance(pipeline, release, promotion)

    async def stop(self, promotion: ObjectKey) -> None:
        """End what runs: the stage may have moved meanwhile."""
        await self._here.stop(promotion)
        await self._elsewhere.stop(promotion)


class ClusterChecks:
    """Implements Verifier for stages on clusters, by the verification of a stage in one of them."""

    def __init__(
        self,
        store: Store,
        clusters: RemoteClusters,
        verifying: Callable[[CheckRuntime], Verifier],
        clock: Callable[[], datetime],
    ) -> None:
        self._store = store
        self._clusters = clusters
        self._verifying = verifying
        self._clock = clock

    async def advance(
        self, pipeline: Pipeline, release: Release, promotion: Promotion
    ) -> VerificationProgress:
        """Take the checks further; a Job runs in the first cluster with the Release, or in each.

        In each it is as if the stage were there alone; their results are joined.
        """
        stage = pipeline.stage(promotion.spec.stage)
        if stage is None:
            runtime = self._runtime(pipeline, promotion, None)
            return await self._verifying(runtime).advance(pipeline, release, promotion)
        clusters = await self._checked(pipeline, stage, promotion)
        parts = parts_of(stage, promotion.status.checks, clusters)
        found = await together(
            self._advance(pipeline, stage, release, promotion, part) for part in parts
        )
        ended = tuple(zip(parts, found, strict=True))
        return joined(stage, promotion, ended, self._clock())

    async def _advance(
        self,
        pipeline: Pipeline,
        stage: Stage,
        release: Release,
        promotion: Promotion,
        part: ClusterPart,
    ) -> VerificationProgress:
        there = _in_cluster(pipeline, stage, part)
        runtime = self._runtime(there, promotion, part.cluster)
        stored = promotion.status.model_copy(update={"checks": part.results})
        verifying = self._verifying(runtime)
        return await verifying.advance(there, release, promotion.with_status(stored))

    async def stop(self, promotion: ObjectKey) -> None:
        """End the Jobs of a promotion that has just ended."""
        try:
            found = await self._store.get(Promotion, promotion.namespace, promotion.name)
            pipeline = await self._store.get(Pipeline, found.namespace, found.spec.pipeline)
        except NotFoundError:
            return
        stage, ended = pipeline.stage(found.spec.stage), found.status.ended
        if stage is None or stage.runs_here or ended is None or not found.status.checks:
            return
        has_jobs = any(one.job is not None for one in stage.verification.checks)
        if not has_jobs or self._clock() > ended + _STOPPED_WITHIN:
            return
        in_each = any(runs_in_each(stage, one) for one in stage.verification.checks)
        clusters = await self._checked(pipeline, stage, found)
        for cluster in clusters if in_each else clusters[:1]:
            await self._verifying(self._runtime(pipeline, found, cluster)).stop(promotion)

    async def _checked(
        self, pipeline: Pipeline, stage: Stage, promotion: Promotion
    ) -> Sequence[Cluster]:
        clusters = (await self._store.list(Cluster)).items
        return checked_clusters(pipeline, stage, clusters, promotion.status.clusters)

    def _runtime(
        self, pipeline: Pipeline, promotion: Promotion, cluster: Cluster | None
    ) -> CheckRuntime:
        stage = pipeline.stage(promotion.spec.stage)
        namespace = pipeline.namespace if stage is None else namespace_of(pipeline, stage)
        there = _Connection(self._clusters, cluster)
        began = promotion.status.started or self._clock()
        instances = _CheckInstances(there, began)
        name = "" if cluster is None else cluster.name
        return CheckRuntime(_CheckJobs(there, namespace), instances, _LOOK_AGAIN, name)


class _Connection:
    """A cluster that is connected to once it is asked; raises a ClusterError."""

    def __init__(self, clusters: RemoteClusters, cluster: Cluster | None) -> None:
        self._clusters = clusters
        self._cluster = cluster

    async def open(self) -> RemoteCluster:
        if self._cluster is None:
            raise ClusterUnavailableError("no cluster of the stage runs the Release now")
        return await self._clusters.connect(self._cluster)


class _CheckJobs:
    """Implements CheckJobs in a namespace of a cluster."""

    def __init__(self, there: _Connection, namespace: str) -> None:
        self._there = there
        self._namespace = namespace

    async def find(self, namespace: str, name: str) -> Job | None:
        return await (await self._there.open()).find(Job, namespace, name)

    async def create(self, job: Job) -> None:
        await (await self._there.open()).create(job)

    async def list(self, labels: Mapping[str, str]) -> Sequence[Job]:
        return await (await self._there.open()).select(Job, self._namespace, labels)

    async def delete(self, job: Job) -> None:
        if not job.is_deleting:
            await (await self._there.open()).delete(Job, job.namespace, job.name)


class _CheckInstances:
    """Implements StageInstances by the Pods of Jobs; workloads are judged by their rollout."""

    def __init__(self, there: _Connection, since: datetime) -> None:
        self._there = there
        self._since = since

    async def of_owner(self, owner: Owner) -> Sequence[Instance]:
        return await (await self._of_cluster()).of_owner(owner)

    async def of_namespace(self, namespace: str) -> Sequence[Instance]:
        del namespace
        return ()

    async def obstacle(self, job: Job) -> str:
        return await (await self._of_cluster()).obstacle(job)

    async def logs(self, name: str, container: str) -> AsyncIterator[bytes]:
        instances = (await self._there.open()).instances
        async with aclosing(instances.log(pod_of(name), container)) as pieces:
            async for piece in pieces:
                yield piece

    async def read_files(
        self, name: str, path: str, limits: FileLimits, container: str
    ) -> Sequence[ContainerFile]:
        return await (await self._of_cluster()).read_files(name, path, limits, container)

    def well_since(self) -> datetime:
        return self._since

    async def _of_cluster(self) -> StageInstances:
        return ClusterStageInstances((await self._there.open()).instances, self._since)


def _in_cluster(pipeline: Pipeline, stage: Stage, part: ClusterPart) -> Pipeline:
    """Return the Pipeline with the checks of a part, whose stage pulls where the cluster does."""
    mirror = stage.mirror if part.cluster is None else part.cluster.spec.mirror or stage.mirror
    verification = stage.verification.model_copy(update={"checks": part.checks})
    changes = {"mirror": mirror, "verification": verification}
    stages = tuple(
        one.model_copy(update=changes) if one.name == stage.name else one
        for one in pipeline.spec.stages
    )
    return pipeline.model_copy(update={"spec": pipeline.spec.model_copy(update={"stages": stages})})
