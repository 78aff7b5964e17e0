"""Pipelines and promotions as they are reconciled, over a store in memory.

Rollouts, registries and checks do as a test says; the clock is turned by hand.
"""

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

from tests.support.rollouts.memory_machine import MemoryClock
from tests.support.store.mortal_store import KilledError, MortalStore

from upwell.api.apps import Deployment, RevisionRecord
from upwell.api.builds.build import Build
from upwell.api.codec import decode_as
from upwell.api.conditions import set_condition
from upwell.api.image import ImageStream, TagEvent
from upwell.api.meta import Condition, ObjectKey, ObjectMeta, Resource
from upwell.api.pipeline import Pipeline
from upwell.api.promotion import CheckPhase, CheckResult, Promotion, Release
from upwell.controller import ObjectCache
from upwell.oci import Digest, Reference
from upwell.policy.images.streams import record_image
from upwell.policy.promotion.stages import PipelineStage, stages_with
from upwell.policy.promotion.verification.checks import VerificationOutcome, VerificationProgress
from upwell.policy.promotion.verification.soak import soak_of
from upwell.policy.rollouts.history import Phase
from upwell.reconcilers.authority import Authority, AuthorRights
from upwell.reconcilers.builds.index import BuildIndex
from upwell.reconcilers.images.insecure import InsecureRegistries
from upwell.reconcilers.images.pull_secrets import PullSecrets
from upwell.reconcilers.promotion.images import ReleaseImages
from upwell.reconcilers.promotion.pipelines import PipelineReconciler, StoredWorkloads
from upwell.reconcilers.promotion.placing.machine import MachineRollouts
from upwell.reconcilers.promotion.placing.workloads import Workloads
from upwell.reconcilers.promotion.promotions import PromotionReconciler
from upwell.reconcilers.signatures.policies import UNRESTRICTED
from upwell.registry.errors import (
    ManifestUnknownError,
    RegistryError,
    RegistryUnavailableError,
    UnauthorizedError,
)
from upwell.registry.interface import CredentialSource, Registry
from upwell.store.interface import ConflictError, NotFoundError

if TYPE_CHECKING:
    from upwell.reconcilers.promotion.placing.ports import WorkloadRollouts
    from upwell.reconcilers.promotion.turns import PromotionTurns

NAMESPACE = "shop"


def image(mark: str) -> str:
    return f"registry.test/shop/web@{Digest.of(mark.encode())}"


@dataclass
class PipelineImages:
    """Registries that hold everything but what a test takes away."""

    fault: RegistryError | None = None
    gone: set[str] = field(default_factory=set)
    copied: list[tuple[str, str]] = field(default_factory=list)
    refusing: set[str] = field(default_factory=set)
    """Registries that take no push."""
    away: set[str] = field(default_factory=set)
    """Registries that do not answer."""

    async def resolve(self, reference: Reference, _access: object) -> None:
        if self.fault is not None:
            raise self.fault
        if str(reference) in self.gone:
            raise ManifestUnknownError(reference)

    async def copy(
        self,
        origin: Reference,
        goal: Reference,
        logins: CredentialSource,
        insecure: frozenset[str],
    ) -> None:
        del logins, insecure
        await self.resolve(origin, None)
        if goal.registry in self.away:
            raise RegistryUnavailableError(goal.registry, "it is away")
        if goal.registry in self.refusing:
            raise UnauthorizedError(str(goal), "push denied")
        self.copied.append((str(origin), str(goal)))


@dataclass
class Checks:
    """A Verifier whose outcome a test sets, by stage."""

    outcomes: dict[str, VerificationOutcome] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    stopped: list[str] = field(default_factory=list)

    async def advance(
        self, pipeline: Pipeline, _release: Release, one: Promotion
    ) -> VerificationProgress:
        self.asked.append(one.name)
        stage = pipeline.stage(one.spec.stage)
        if stage is not None and (soak := soak_of(stage, one)).left:
            return VerificationProgress((), VerificationOutcome.RUNNING, soak.text)
        outcome = self.outcomes.get(one.spec.stage, VerificationOutcome.PASSED)
        phases = {
            VerificationOutcome.PASSED: CheckPhase.PASSED,
            VerificationOutcome.FAILED: CheckPhase.FAILED,
        }
        result = CheckResult(name="smoke", phase=phases.get(outcome, CheckPhase.RUNNING))
        return VerificationProgress(
            (result,), outcome, "" if outcome is VerificationOutcome.PASSED else "smoke: exit 1"
        )

    async def stop(self, promotion: ObjectKey) -> None:
        self.stopped.append(promotion.name)


class ReconciledPipeline:
    """One namespace of Pipelines, streams, Deployments."""

    def __init__(self) -> None:
        self.clock = MemoryClock()
        self.store = MortalStore(self.clock)
        self.registry = PipelineImages()
        self.checks = Checks()
        self.broken: set[str] = set()
        """Images that never become ready."""
        self.slow = False
        """True: rollouts go on until a test ends that."""
        self.authors: AuthorRights | None = None
        """Rights of authors, from the next restart on; None: nobody is asked."""
        self.policies = UNRESTRICTED
        """Judge of images, from the next restart on."""
        self.rollouts: WorkloadRollouts = MachineRollouts(self.store)
        """Rollouts of workloads, from the next restart on."""
        self.turns: PromotionTurns | None = None
        """Turns of rollouts, from the next restart on."""
        self.restart()

    def restart(self) -> None:
        """Start the server anew: nothing in memory is kept."""
        self.store.lives = None
        self.builds = BuildIndex(ObjectCache(self.store))
        authority = Authority(self.authors)
        self.pipelines = PipelineReconciler(
            self.store,
            self.builds,
            self.clock,
            authority,
            stages_of=self._stages_of,
            policies=self.policies,
            obstacle=self.rollouts.obstacle,
            turns=self.turns,
        )
        images = ReleaseImages(
            cast("Registry", self.registry),
            PullSecrets(self.store),
            self.registry,
            InsecureRegistries(self.store),
        )
        self.promotions = PromotionReconciler(
            self.store,
            images,
            Workloads(StoredWorkloads(self.store), self.rollouts, self._stages_of),
            self.checks,
            self.clock,
            authority=authority,
        )

    async def _stages_of(self, workload: Resource) -> Iterable[PipelineStage]:
        return tuple(stages_with(workload, (await self.store.list(Pipeline)).items))

    async def pipeline(self, *stages: dict[str, Any], name: str = "shop", **spec: Any) -> None:
        """Create a Pipeline of component `web`; its stages run Deployment STAGE-NAME."""
        for stage in stages:
            stage.setdefault("workloads", [{"name": f"{stage['name']}-{name}"}])
            if stage["workloads"]:
                await self.deployment(f"{stage['name']}-{name}")
        source = {"name": "web", "from": {"kind": "ImageStreamTag", "name": f"{name}:latest"}}
        document = {
            "metadata": {"name": name, "namespace": NAMESPACE},
            "spec": {"components": [source], "stages": list(stages), **spec},
        }
        await self.store.create(decode_as(Pipeline, document))

    async def deployment(self, name: str) -> None:
        template = {"spec": {"containers": [{"name": "web", "image": " "}]}}
        document = {
            "metadata": {"name": name, "namespace": NAMESPACE},
            "spec": {"replicas": 1, "template": template},
        }
        await self.store.create(decode_as(Deployment, document))

    async def push(self, mark: str, stream: str = "shop") -> None:
        """Have the stream's tag name a new image."""
        try:
            found = await self.store.get(ImageStream, NAMESPACE, stream)
        except NotFoundError:
            metadata = ObjectMeta(name=stream, namespace=NAMESPACE)
            found = await self.store.create(ImageStream(metadata=metadata))
        event = TagEvent(
            created=self.clock(),
            docker_image_reference=image(mark),
            image=str(Digest.of(mark.encode())),
        )
        status = record_image(found.status, "latest", event, changes={})
        await self.store.update_status(found.with_status(status))

    async def built(self, name: str, mark: str, *bases: str) -> None:
        """Have a build be known that made an image on bases, which are named by marks."""
        used = [{"name": f"{base}:latest", "reference": image(base)} for base in bases]
        made = {"to": {"imageDigest": str(Digest.of(mark.encode()))}}
        status = {"phase": "Complete", "images": used, "output": made}
        document = {"metadata": {"name": name, "namespace": NAMESPACE}, "status": status}
        made_by = decode_as(Build, document)
        created = await self.store.create(made_by)
        await self.store.update_status(created.with_status(made_by.status))

    async def settle(self, rounds: int = 40) -> None:
        """Reconcile, and roll out, until nothing changes any more."""
        before = ""
        for _ in range(rounds):
            for kind in (Pipeline, Promotion):
                for one in (await self.store.list(kind)).items:
                    await self._reconcile(one)
            await self._roll_out()
            now = await self._version()
            if now == before:
                return
            before = now
        raise AssertionError("it never comes to rest")

    async def settle_killed(self, lives: int) -> bool:
        """Do so, but die before the write after so many; return whether that happened."""
        self.store.lives = lives
        try:
            await self.settle()
        except KilledError:
            return True
        finally:
            self.restart()
        return False

    async def degrade(self, name: str, reason: str, message: str, *, over: bool = False) -> None:
        """Have a Deployment's rollouts say that it is degraded, or is so no more."""
        one = await self.store.get(Deployment, NAMESPACE, name)
        condition = Condition(
            type="Degraded",
            status="False" if over else "True",
            reason=reason,
            message=message,
        )
        conditions = set_condition(one.status.conditions, condition, self.clock())
        changes = {"conditions": conditions, "ready_replicas": int(over)}
        status = one.status.model_copy(update=changes)
        await self.store.update_status(one.with_status(status))

    async def running(self, name: str) -> str:
        """Return the image of a Deployment."""
        found = await self.store.get(Deployment, NAMESPACE, name)
        return found.spec.template.spec.containers[0].image

    async def promotion(self, name: str) -> Promotion:
        return await self.store.get(Promotion, NAMESPACE, name)

    async def release(self, name: str) -> Release:
        return await self.store.get(Release, NAMESPACE, name)

    async def phases(self) -> dict[str, str]:
        found = (await self.store.list(Promotion)).items
        return {one.name: one.status.phase.value for one in found}

    async def _reconcile(self, one: Resource) -> None:
        reconciler = self.pipelines if isinstance(one, Pipeline) else self.promotions
        with suppress(ConflictError, RegistryError):  # tried again later
            await reconciler.reconcile(one.key)

    async def _roll_out(self) -> None:
        for one in (await self.store.list(Deployment)).items:
            await self.roll_out(one)

    async def roll_out(self, one: Deployment) -> None:
        """Do what the rollouts would: a template's image is complete at once, or fails."""
        wanted = one.spec.template.spec.containers[0].image
        if self.slow or not wanted.strip():
            return
        bad = wanted in self.broken
        record = RevisionRecord(
            revision=one.generation,
            hash=f"h{one.generation}",
            template=one.spec.template,
            created=self.clock(),
            phase=Phase.FAILED if bad else Phase.COMPLETE,
            message="it never became ready" if bad else "",
            images={"web": wanted},
        )
        counts = {"replicas": 1, "updated_replicas": 1, "ready_replicas": 1}
        changes = {**counts, "observed_generation": one.generation, "revisions": (record,)}
        known = one.status.revisions
        if known and (known[0].images, known[0].revision) == (record.images, record.revision):
            return
        status = one.status.model_copy(update=changes)
        await self.store.update_status(one.with_status(status))

    async def _version(self) -> str:
        kinds = (Pipeline, Release, Promotion, Deployment)
        lists = [(await self.store.list(kind)).items for kind in kinds]
        return " ".join(one.resource_version for items in lists for one in items)
