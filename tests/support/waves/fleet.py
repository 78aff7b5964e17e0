"""Workloads of several namespaces that follow one imported image, and the Waves of its changes.

Waves and triggers are the server's own; rollouts end as a test says.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime

from tests.support.builds.build_namespace import NAMESPACE, BuildNamespace, pull_spec

from upwell.api.apps import Deployment, RevisionRecord
from upwell.api.codec import decode_as
from upwell.api.image import (
    ImageStream,
    ImageStreamStatus,
    ImportedChange,
    ImportState,
    TagEvent,
)
from upwell.api.meta import Condition, ObjectKey
from upwell.api.waves.wave import CanaryState, Wave
from upwell.oci import Digest
from upwell.policy.images.streams import record_image
from upwell.policy.rollouts.settings import template_of
from upwell.policy.waves.budget import NO_BUDGET, RolloutBudget
from upwell.policy.waves.progress import NO_RULES, WaveRules
from upwell.reconcilers.builds.index import BuildIndex
from upwell.reconcilers.rollouts.index import WorkloadIndex
from upwell.reconcilers.rollouts.triggers import (
    WorkloadTriggerReconciler,
    workload_trigger_controller,
)
from upwell.reconcilers.rollouts.turns import RolloutTurns
from upwell.reconcilers.waves.gate import WaveGate
from upwell.reconcilers.waves.index import WaveIndex
from upwell.reconcilers.waves.waves import Waves, wave_controller
from upwell.store.retry import update_with_retry

IMAGE = "vendor.test/debian:11"


class Fleet(BuildNamespace):
    """A base that a vendor changes, and workloads that follow it."""

    def __init__(self, rules: WaveRules = NO_RULES) -> None:
        super().__init__()
        self.index = BuildIndex(self.cache, approvals=rules.approvals)
        self.time = 0.0
        self.rules = rules
        self.workload_index = WorkloadIndex(self.cache)
        self.start()

    def ask_for_approval(self) -> None:
        """Start the server anew, with the approvals of `rules`."""
        self.index = BuildIndex(self.cache, approvals=self.rules.approvals)
        self.start()

    def start(self) -> None:
        """Start the server, or start it again: what is not in the store is forgotten."""
        canaries = bool(self.rules.canary.share)
        self.gate = WaveGate(self.index, self.clock, canaries=canaries)
        self.triggers = WorkloadTriggerReconciler(self.workload_index, self.clock, self.gate)
        self.waves = Waves(WaveIndex(self.index), self.clock, lambda: self.time, self.rules)

    @asynccontextmanager
    async def served(self, budget: RolloutBudget = NO_BUDGET) -> AsyncIterator[None]:
        """Run what a server runs for Waves and triggers."""
        elapsed = asyncio.get_running_loop().time
        controllers = (
            wave_controller(WaveIndex(self.index), self.clock, elapsed, self.rules),
            workload_trigger_controller(
                self.workload_index,
                self.clock,
                self.gate,
                turns=RolloutTurns(self.cache, self.clock, budget),
                watches=self.gate.watches(),
            ),
        )
        tasks = [asyncio.create_task(one.run()) for one in (self.cache, *controllers)]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def waves_now(self) -> list[Wave]:
        return list((await self.store.list(Wave)).items)

    async def set_now(self) -> list[str]:
        """Return the workloads that have the newest image set."""
        stream = await self.store.get(ImageStream, NAMESPACE, "debian")
        latest = stream.status.tags[0].items[0].docker_image_reference
        return [
            f"{one.namespace}/{one.name}"
            for one in (await self.store.list(Deployment)).items
            if template_of(one).spec.containers[0].image == latest
        ]

    async def imports(
        self, mark: str, *, look: bool = True, image: str = IMAGE, stream: str = "debian"
    ) -> None:
        """Let the vendor's image change, and a stream import it."""
        tag = {"name": "latest", "from": {"kind": "DockerImage", "name": image}}
        found = (await self.store.list(ImageStream)).items
        if not any(one.name == stream for one in found):
            metadata = {"name": stream, "namespace": NAMESPACE}
            spec = {"tags": [{**tag, "importPolicy": {"scheduled": True}}]}
            await self.store.create(decode_as(ImageStream, {"metadata": metadata, "spec": spec}))
        before = await self.store.get(ImageStream, NAMESPACE, stream)
        status = with_import(before, mark, self.clock())
        after = await self.store.update_status(before.with_status(status))
        await self.cache.ready(ImageStream)
        for key in {*self.waves.moved(before, after)} if look else ():
            await self.look(key)

    async def look(self, *keys: ObjectKey) -> None:
        """Reconcile Waves; without keys, all."""
        for key in keys or [one.key for one in (await self.store.list(Wave)).items]:
            self.time += 3600
            await self.waves.reconcile(key)

    async def wave(self) -> Wave:
        """Return the newest Wave, after a look at all."""
        await self.look()
        found = (await self.store.list(Wave)).items
        return max(found, key=lambda one: (str(one.spec.changed), one.name))

    async def deployment(self, namespace: str, name: str, *tags: str, serves: str = "") -> None:
        """Create a Deployment that follows tags; `serves` is the pull spec that it runs."""
        followed = dict(zip(("app", "side"), tags or ("debian:latest",), strict=False))
        entries = [
            {
                "from": {"kind": "ImageStreamTag", "name": tag, "namespace": NAMESPACE},
                "fieldPath": f'spec.template.spec.containers[?(@.name=="{container}")].image',
            }
            for container, tag in followed.items()
        ]
        metadata = {
            "namespace": namespace,
            "name": name,
            "annotations": {"image.openshift.io/triggers": json.dumps(entries)},
        }
        containers = [{"name": name, "image": serves or " "} for name in followed]
        spec = {"replicas": 1, "template": {"spec": {"containers": containers}}}
        await self.store.create(decode_as(Deployment, {"metadata": metadata, "spec": spec}))
        if serves:
            await self.rolls_out(namespace, name)

    async def get_workload(self, namespace: str, name: str) -> Deployment:
        return await self.store.get(Deployment, namespace, name)

    async def rolls_out(self, namespace: str, name: str, phase: str = "Complete") -> None:
        """End the rollout of what the template has; one that fails leaves the last one serving."""

        async def write(found: Deployment) -> Deployment:
            containers = template_of(found).spec.containers
            number = len(found.status.revisions) + 1
            record = RevisionRecord(
                revision=number,
                hash=f"hash-{number}",
                template=template_of(found),
                created=self.clock(),
                phase=phase,
                message="" if phase == "Complete" else f"{name} does not start",
                images={one.name: one.image for one in containers},
                completed_at=self.clock() if phase == "Complete" else None,
            )
            status = found.status.model_copy(
                update={
                    "observed_generation": found.generation,
                    "updated_replicas": 1,
                    "ready_replicas": 1,
                    "replicas": 1,
                    "revisions": (record, *found.status.revisions),
                }
            )
            return await self.store.update_status(found.with_status(status))

        # What is served writes conditions meanwhile.
        await update_with_retry(lambda: self.get_workload(namespace, name), write)

    async def follow(self) -> list[str]:
        """Let all triggers act; return the workloads that have the newest image set."""
        for one in (await self.store.list(Deployment)).items:
            await self.triggers.reconcile(one.key)
        return sorted(await self.set_now())

    async def condition(self, namespace: str, name: str) -> Condition:
        found = await self.get_workload(namespace, name)
        return next(one for one in found.status.conditions if one.type == "ImageTriggered")

    async def canary(self) -> CanaryState | None:
        canary = (await self.wave()).status.canary
        return canary.state if canary is not None else None


def with_import(stream: ImageStream, mark: str, now: datetime) -> ImageStreamStatus:
    """Return the status of a stream whose tag `latest` has just imported an image."""
    digest = str(Digest.of(mark.encode()))
    pulled = pull_spec(stream.name, mark)
    source = next((one.imports for one in stream.spec.tags if one.imports), None) or ""
    change = ImportedChange(image=source, digest=digest)
    event = TagEvent(created=now, docker_image_reference=pulled, image=digest, imported=change)
    status = record_image(stream.status, "latest", event, changes={})
    state = ImportState(source=source, imported_digest=digest, upstream_digest=digest)
    told = status.tags[0].model_copy(update={"import_state": state})
    return status.model_copy(update={"tags": (told,)})


def debian(mark: str) -> str:
    """Return the pull spec of the vendor's image."""
    return pull_spec("debian", mark)
