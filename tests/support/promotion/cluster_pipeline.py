"""Pipelines whose workloads a cluster in memory rolls out, as its controllers would."""

import json
from typing import Any, override

from tests.support.cluster.memory_cluster import MemoryClusterPods, MemoryWorkloads, owned_by
from tests.support.cluster.workloads import (
    APPLIED,
    OWN_NOTE,
    complete,
    pod,
    stuck,
    with_status_of,
)
from tests.support.promotion.reconciled_pipeline import NAMESPACE, ReconciledPipeline

from upwell.api.apps import Deployment
from upwell.api.codec import decode_as
from upwell.api.image import ImageStream
from upwell.api.meta import Resource
from upwell.api.pipeline import Pipeline
from upwell.api.promotion import (
    PIPELINE_LABEL,
    Promotion,
    PromotionPhase,
    PromotionStatus,
)
from upwell.cluster.errors import WorkloadChangedError
from upwell.controller import ObjectCache
from upwell.policy.cluster_rollouts.field_owners import container_path, image_path
from upwell.policy.cluster_rollouts.note import NOTE_ANNOTATION
from upwell.policy.cluster_rollouts.observation import NATIVE_WORKLOADS
from upwell.policy.rollouts.triggers import with_images
from upwell.reconcilers.cluster_rollouts.parts import ClusterParts
from upwell.reconcilers.cluster_rollouts.pods import PodIndex
from upwell.reconcilers.cluster_rollouts.reconciler import ClusterRolloutReconciler
from upwell.reconcilers.cluster_rollouts.records import RolloutRecords
from upwell.reconcilers.promotion.placing.cluster import ClusterRollouts
from upwell.reconcilers.promotion.placing.machine import MachineRollouts
from upwell.reconcilers.rollouts.index import WorkloadIndex

SLOT = ("web", False)
DECLARED = "registry.test/shop/web:declared"


class ClusterPipeline(ReconciledPipeline):
    """A Pipeline on a cluster: what is set is rolled out in full, or gets stuck."""

    def __init__(self, followed: str = "") -> None:
        """`followed` is the namespace that is kept current; empty: all are."""
        super().__init__()
        self.cluster = MemoryWorkloads(self.store)
        self.pods = MemoryClusterPods()
        self.seen = PodIndex(self.pods)
        self._followed = followed
        self._cache = ObjectCache(self.store)
        for kind in NATIVE_WORKLOADS:
            self._cache.on_change(kind, lambda _before, _after: None)
        self._index = WorkloadIndex(self._cache)
        self.fail_over()

    def fail_over(self) -> None:
        """Let another replica lead, which remembers nothing of what the last one did."""
        self.parts = ClusterParts(self.cluster, {self._followed: self.seen})
        self.rollouts = ClusterRollouts(self.parts, self.clock, MachineRollouts(self.store))
        records = RolloutRecords(self.parts, self.clock)
        self._putting_back = ClusterRolloutReconciler(self._index, records, self.clock)
        self.restart()

    @override
    async def deployment(self, name: str) -> None:
        container = {"name": "web", "image": DECLARED}
        document = {
            "metadata": {"name": name, "namespace": NAMESPACE},
            "spec": {
                "replicas": 1,
                "progressDeadlineSeconds": 60,
                "template": {"spec": {"containers": [container]}},
            },
        }
        made = decode_as(Deployment, document)
        paths = (container_path(made, SLOT), image_path(made, SLOT))
        entries = (owned_by(APPLIED, *paths),)
        await self.store.create(made.with_metadata(managed_fields=entries, generation=1))

    @override
    async def roll_out(self, one: Deployment) -> None:
        """Report as the cluster's controllers do, then let Upwell judge."""
        wanted = one.spec.template.spec.containers[0].image
        if not self.slow and one.status.observed_generation != one.generation:
            is_bad = wanted in self.broken
            report: dict[str, Any] = stuck(one) if is_bad else complete(one)
            self.clock.advance(one.spec.progress_deadline_seconds if is_bad else 0)
            await self.store.update_status(with_status_of(one, **report))
        await self._cache.ready(*NATIVE_WORKLOADS, ImageStream, Pipeline, Promotion)
        await self._putting_back.reconcile(one.key)

    @override
    async def _reconcile(self, one: Resource) -> None:
        try:
            await super()._reconcile(one)
        except WorkloadChangedError:
            return  # tried again later

    async def set_by(self, manager: str, name: str, image: str) -> None:
        """Let somebody set the image of a Deployment, and nothing else of it."""
        found = await self.store.get(Deployment, NAMESPACE, name)
        path = image_path(found, SLOT)
        kept = tuple(one for one in found.metadata.managed_fields if not _has(one, path))
        changed = with_images(found, {SLOT: image})
        entries = (*kept, owned_by(manager, path))
        await self.store.update(changed.with_metadata(managed_fields=entries))

    async def apply(self, name: str) -> None:
        """Let a person apply the manifest again."""
        found = await self.store.get(Deployment, NAMESPACE, name)
        paths = (container_path(found, SLOT), image_path(found, SLOT))
        entries = (owned_by(APPLIED, *paths), OWN_NOTE)
        changed = with_images(found, {SLOT: DECLARED})
        await self.store.update(changed.with_metadata(managed_fields=entries))

    async def ask(self, release: str, stage: str, purpose: str) -> None:
        """Let a person ask for a promotion, which is called `asked`."""
        spec = {
            "pipeline": "shop",
            "release": release,
            "stage": stage,
            "purpose": purpose,
            "requestedBy": "anna",
        }
        labels = {PIPELINE_LABEL: "shop"}
        metadata = {"namespace": NAMESPACE, "name": "asked", "labels": labels}
        made = decode_as(Promotion, {"metadata": metadata, "spec": spec})
        status = PromotionStatus(phase=PromotionPhase.WAITING)
        created = await self.store.create(made.with_status(status))
        await self.store.update_status(created.with_status(status))

    async def note(self, name: str) -> dict[str, Any]:
        """Return what Upwell has noted on a Deployment."""
        found = await self.store.get(Deployment, NAMESPACE, name)
        noted: dict[str, Any] = json.loads(found.annotations[NOTE_ANNOTATION])
        return noted

    async def crash(self, name: str) -> None:
        """Let the Pod of a Deployment crash again and again."""
        found = await self.store.get(Deployment, NAMESPACE, name)
        image = found.spec.template.spec.containers[0].image
        record = pod(found, f"{name}-1", image=image, waits="CrashLoopBackOff", restarts=4)
        await self.pods.put(record)
        async for _ in self.seen._list():
            pass


def _has(entry: dict[str, Any], path: tuple[str, ...]) -> bool:
    place: Any = entry["fieldsV1"]
    for step in path:
        place = place.get(step) if isinstance(place, dict) else None
    return place is not None
