"""Pipelines whose last stage runs on clusters in memory, which roll out as a test says."""

from typing import Any, override

from tests.support.cluster.memory_cluster import owned_by
from tests.support.cluster.memory_remote import MemoryRemoteCluster, MemoryRemoteClusters
from tests.support.cluster.workloads import APPLIED, OWN_NOTE, complete, stuck, with_status_of
from tests.support.promotion.reconciled_pipeline import NAMESPACE, ReconciledPipeline, image

from upwell.actions.promotion import PromotionActions, RequestedPromotion
from upwell.api.apps import Deployment
from upwell.api.clusters.cluster import Cluster
from upwell.api.codec import decode_as
from upwell.api.conditions import find
from upwell.api.meta import ObjectKey
from upwell.api.pipeline import ClusterProgress, Pipeline
from upwell.api.promotion import Promotion
from upwell.gitops.interface import GitOpsRepositories
from upwell.policy.cluster_rollouts.field_owners import container_path, image_path
from upwell.policy.promotion.requests import Asked
from upwell.policy.rollouts.triggers import with_images
from upwell.reconcilers.cluster_rollouts.image_policies import RolloutPolicies
from upwell.reconcilers.clusters.reconciler import ClusterReconciler
from upwell.reconcilers.images.insecure import InsecureRegistries
from upwell.reconcilers.images.pull_secrets import PullSecrets
from upwell.reconcilers.promotion.catching_up import CatchUpReconciler
from upwell.reconcilers.promotion.images import ReleaseImages
from upwell.reconcilers.promotion.pipelines import StoredWorkloads
from upwell.reconcilers.promotion.placing.clusters import ClusterPlacement
from upwell.reconcilers.promotion.placing.committed_releases import CommittedReleases
from upwell.reconcilers.promotion.placing.workloads import ByStage, Workloads
from upwell.reconcilers.promotion.promotions import PromotionReconciler

SLOT = ("web", False)
WORKLOAD = "web"
LABELS = {"env": "production"}
CANARY = {**LABELS, "canary": "yes"}
PRODUCTION = "shop-1.production"
MANY = {"selector": {"matchLabels": LABELS}, "canary": {"matchLabels": {"canary": "yes"}}}


class ClusteredPipeline(ReconciledPipeline):
    """Stage `dev` here, and what a test adds on clusters."""

    def __init__(self, repositories: GitOpsRepositories | None = None) -> None:
        """`repositories` are those of stages that are kept in git."""
        self.repositories = repositories
        self.remotes = MemoryRemoteClusters()
        self.stuck_in: set[str] = set()
        """Clusters on which the second image never gets ready."""
        self.slow_in: set[str] = set()
        """Clusters whose rollouts go on until a test ends that."""
        super().__init__()

    @override
    def restart(self) -> None:
        super().restart()
        images = ReleaseImages(
            self.registry,  # type: ignore[arg-type]  # what a Release needs of one
            PullSecrets(self.store),
            self.registry,
            InsecureRegistries(self.store),
        )
        here = Workloads(StoredWorkloads(self.store), self.rollouts, self._stages_of)
        committed = (
            here
            if self.repositories is None
            else CommittedReleases(self.store, self.repositories, lambda one: one.name, self.clock)
        )
        judge = RolloutPolicies(self.policies)
        self.placement = ClusterPlacement(
            self.store, self.remotes, images, committed, self.clock, judge
        )
        placer = ByStage(here, here, self.placement)
        self.promotions = PromotionReconciler(self.store, images, placer, self.checks, self.clock)
        self.looks = ClusterReconciler(self.store, self.remotes, self.clock)
        self.catching_up = CatchUpReconciler(self.store, self.placement, self.clock)

    async def cluster(self, name: str, labels: dict[str, str] | None = None, **spec: Any) -> None:
        """Add a cluster with the Deployment of the stage, and look at it."""
        remote = self.remotes.known[name] = MemoryRemoteCluster(self.clock)
        container = {"name": "web", "image": "registry.test/shop/web:declared"}
        document = {
            "metadata": {"name": WORKLOAD, "namespace": NAMESPACE},
            "spec": {
                "replicas": 1,
                "progressDeadlineSeconds": 60,
                "template": {"spec": {"containers": [container]}},
            },
        }
        made = decode_as(Deployment, document)
        entries = (owned_by(APPLIED, container_path(made, SLOT), image_path(made, SLOT)),)
        await remote.store.create(made.with_metadata(managed_fields=entries, generation=1))
        access = {"kubeConfig": {"secretRef": {"namespace": "ops", "name": name}}}
        metadata = {"name": name, "labels": LABELS if labels is None else labels}
        added = decode_as(Cluster, {"metadata": metadata, "spec": {**access, **spec}})
        await self.store.create(added)
        await self.look(name)

    async def look(self, name: str) -> None:
        await self.looks.reconcile(ObjectKey("Cluster", "", name))

    async def goes_away(self, name: str) -> None:
        self.remotes.known[name].is_away = True
        await self.look(name)

    async def comes_back(self, name: str) -> None:
        self.remotes.known[name].is_away = False
        await self.look(name)

    async def catch_up(self) -> None:
        """Do what the changes of clusters ask for."""
        for _ in range(3):
            for one in (await self.store.list(Promotion)).items:
                await self.catching_up.reconcile(one.key)
            await self._roll_out()

    async def sets_by_hand(self, name: str, image: str, manager: str = "") -> None:
        """Set an image in a cluster, as a person does; `manager` owns it from then on."""
        store = self.remotes.known[name].store
        found = await store.get(Deployment, NAMESPACE, WORKLOAD)
        changed = with_images(found, {SLOT: image})
        if manager:
            declared = owned_by(APPLIED, container_path(found, SLOT))
            entries = (declared, owned_by(manager, image_path(found, SLOT)), OWN_NOTE)
            changed = changed.with_metadata(managed_fields=entries)
        await store.update(changed)

    async def asks(self, release: str, stage: str = "production") -> RequestedPromotion:
        """Have a person promote a Release."""
        self.clock.advance(1)
        actions = PromotionActions(self.store, self.clock)
        return await actions.promote(NAMESPACE, "shop", Asked(stage, "ann", release))

    async def image_in(self, name: str) -> str:
        """Return the image that the Deployment of a cluster has."""
        found = await self.remotes.known[name].store.get(Deployment, NAMESPACE, WORKLOAD)
        return found.spec.template.spec.containers[0].image

    async def progress(self, promotion: str) -> dict[str, str]:
        """Return the phase of each cluster, as a promotion records it."""
        found = await self.promotion(promotion)
        return {one.name: one.phase.value for one in found.status.clusters}

    async def behind(self, stage: str) -> dict[str, ClusterProgress]:
        """Return the clusters of a stage that the Pipeline tells to be behind."""
        pipeline = await self.store.get(Pipeline, NAMESPACE, "shop")
        return {one.name: one for one in pipeline.status.stage(stage).behind}

    @override
    async def _roll_out(self) -> None:
        await super()._roll_out()
        for name, remote in self.remotes.known.items():
            one = await remote.store.get(Deployment, NAMESPACE, WORKLOAD)
            wanted = one.spec.template.spec.containers[0].image
            if name in self.slow_in or one.status.observed_generation == one.generation:
                continue
            is_bad = wanted in self.broken or (name in self.stuck_in and wanted == image("two"))
            report = stuck(one) if is_bad else complete(one)
            self.clock.advance(one.spec.progress_deadline_seconds if is_bad else 0)
            await remote.store.update_status(with_status_of(one, **report))

    @override
    async def _version(self) -> str:
        remotes = [
            (await one.store.get(Deployment, NAMESPACE, WORKLOAD)).resource_version
            for one in self.remotes.known.values()
        ]
        return " ".join([await super()._version(), *remotes])


async def begun(**stage: Any) -> ClusteredPipeline:
    """Return a Pipeline from here to clusters, whose workloads are called `web`."""
    pipelines = ClusteredPipeline()
    there = {"name": "production", "workloads": [{"name": "web"}], **stage}
    await pipelines.pipeline({"name": "dev"}, there)
    return pipelines


async def degradation(pipelines: ClusteredPipeline) -> tuple[str, str]:
    """Return reason and message of the Pipeline's condition."""
    pipeline = await pipelines.store.get(Pipeline, NAMESPACE, "shop")
    found = find(pipeline.status.conditions, "Degraded")
    assert found is not None
    return found.reason, found.message


async def many(**clusters: Any) -> ClusteredPipeline:
    """Return a Pipeline to four clusters, of which `a` is the canary, all of which run `one`."""
    pipelines = await begun(clusters=MANY | clusters)
    await pipelines.cluster("a", CANARY)
    for name in ("b", "c", "d"):
        await pipelines.cluster(name)
    await pipelines.cluster("other", {"env": "test"})
    await pipelines.push("one")
    await pipelines.settle()
    assert (await pipelines.phases())[PRODUCTION] == "Succeeded"
    return pipelines
