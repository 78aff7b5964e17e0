"""Promotions of a stage in git: a store in memory, a real repository, a turned clock."""

from dataclasses import dataclass, field
from typing import Any

from tests.support.gitops.git_host import GitHost
from tests.support.gitops.repositories import CountedRepositories
from tests.support.promotion.release_images import NoLookups
from tests.support.rollouts.memory_machine import MemoryClock
from tests.support.verification.probes import ScriptedProbes

from upwell.api.codec import decode_as
from upwell.api.meta import ObjectKey
from upwell.api.pipeline import Pipeline
from upwell.api.promotion import (
    BaseImage,
    Component,
    Promotion,
    PromotionPhase,
    PromotionSpec,
    PromotionStatus,
    Purpose,
    Release,
)
from upwell.gitops.interface import GitOpsRepositories
from upwell.oci import Digest
from upwell.policy.promotion.releases import new_promotion
from upwell.policy.promotion.verification.checks import VerificationOutcome, VerificationProgress
from upwell.reconcilers.promotion.pipelines import StoredWorkloads
from upwell.reconcilers.promotion.placing.committed_releases import CommittedReleases
from upwell.reconcilers.promotion.placing.git import GitPlacement
from upwell.reconcilers.promotion.placing.machine import MachineRollouts
from upwell.reconcilers.promotion.placing.workloads import ByStage, Workloads
from upwell.reconcilers.promotion.promotions import PromotionReconciler
from upwell.store.memory import MemoryStore

MANIFEST = """\
# What runs in production.
kind: Deployment
metadata: {name: shop}
spec:
  template:
    spec:
      containers:
        - name: shop
          image: registry.example/team/shop:1.0   # by hand
"""
_MOST_STEPS = 60


class Killed(BaseException):
    """The process ends here, without a chance to clean up."""


@dataclass
class Tests:
    """Verdicts of verification."""

    __test__ = False
    outcome: VerificationOutcome = VerificationOutcome.PASSED
    message: str = ""

    async def advance(
        self, pipeline: Pipeline, release: Release, promotion: Promotion
    ) -> VerificationProgress:
        del pipeline, release
        return VerificationProgress(promotion.status.checks, self.outcome, self.message, again=1.0)

    async def stop(self, promotion: ObjectKey) -> None:
        del promotion


@dataclass
class GitPromotion:
    """A Pipeline with one stage, `production`, that is kept in a repository."""

    host: GitHost
    repositories: GitOpsRepositories
    git: dict[str, Any] = field(default_factory=dict)
    stage: dict[str, Any] = field(default_factory=dict)
    clock: MemoryClock = field(default_factory=MemoryClock)
    tests: Tests = field(default_factory=Tests)
    probes: ScriptedProbes = field(default_factory=ScriptedProbes)

    def __post_init__(self) -> None:
        self.store = MemoryStore(self.clock)
        self.counted = CountedRepositories(self.repositories)
        self.restart()

    def restart(self) -> None:
        """Forget everything that is not in the store or in the repository."""
        workloads = Workloads(StoredWorkloads(self.store), MachineRollouts(self.store))
        committed = CommittedReleases(
            self.store,
            self.counted,
            lambda one: f"https://upwell.example/{one.namespace}/{one.name}",
            self.clock,
        )
        placement = ByStage(workloads, GitPlacement(committed, workloads, self.probes))
        self.reconciler = PromotionReconciler(
            self.store, NoLookups(), placement, self.tests, self.clock
        )

    async def create_pipeline(self) -> Pipeline:
        source = {"kind": "ImageStreamTag", "name": "shop:latest"}
        git = {"repository": self.host.uri, **self.git}
        document = {
            "metadata": {"name": "shop", "namespace": "team"},
            "spec": {
                "components": [{"name": "shop", "from": source}],
                "stages": [{"name": "production", "git": git, **self.stage}],
            },
        }
        return await self.store.create(decode_as(Pipeline, document))

    async def pipeline(self) -> Pipeline:
        return await self.store.get(Pipeline, "team", "shop")

    async def release(self, number: int, cause: str = "debian:12 has changed") -> Release:
        image = f"registry.example/team/shop@{digest(number)}"
        bases = (BaseImage(image="debian:12", digest=base_digest(number)),)
        component = Component(
            name="shop",
            image=image,
            build=f"team/shop-{number}",
            revision="c0ffee" * 7,
            bases=bases,
        )
        release = decode_as(
            Release,
            {
                "metadata": {"name": f"shop-{number}", "namespace": "team"},
                "spec": {"pipeline": "shop", "number": number, "cause": cause},
            },
        )
        spec = release.spec.model_copy(update={"components": (component,)})
        return await self.store.create(release.model_copy(update={"spec": spec}))

    async def begin(self, release: Release, previous: str = "", **spec: Any) -> Promotion:
        """Create a promotion that has begun, as a Pipeline does."""
        known = (await self.store.list(Promotion)).items
        wanted = PromotionSpec(pipeline="shop", release=release.name, stage="production", **spec)
        verifies = wanted.purpose is Purpose.VERIFY
        status = PromotionStatus(
            phase=PromotionPhase.VERIFYING if verifies else PromotionPhase.ROLLING_OUT,
            previous=previous,
            last_good=previous,
            started=self.clock(),
            serving_since=self.clock() if verifies else None,
        )
        made = new_promotion(await self.pipeline(), release, wanted, known)
        created = await self.store.create(made)
        return await self.store.update_status(created.with_status(status))

    async def run(
        self, promotion: Promotion, *until: PromotionPhase, message: str = ""
    ) -> Promotion:
        """Reconcile until the promotion is in a phase, or waits for what `message` names."""
        seen: tuple[str, ...] = ()
        for _ in range(_MOST_STEPS):
            found = await self.step(promotion)
            status = found.status
            texts = [status.message, *(step.message for step in status.steps[-1:])]
            if (status.phase in until and not message) or (
                message and any(message in text for text in texts)
            ):
                return found
            seen = (*seen, f"{status.phase}: {texts}")
        raise AssertionError(f"never {until} {message!r}: {seen[-5:]}")

    async def step(self, promotion: Promotion) -> Promotion:
        """Reconcile once, and let the time pass until it is due again."""
        result = await self.reconciler.reconcile(promotion.key)
        self.clock.advance(result.requeue_after or 0)
        return await self.store.get(Promotion, promotion.namespace, promotion.name)

    async def promoted(self, number: int, previous: str = "", **spec: Any) -> Promotion:
        """Promote a new Release to its end."""
        promotion = await self.begin(await self.release(number), previous, **spec)
        return await self.run(promotion, *_FINAL)


_FINAL = tuple(phase for phase in PromotionPhase if phase.is_final)


def digest(number: int) -> str:
    return str(Digest.of(f"shop {number}".encode()))


def base_digest(number: int) -> str:
    return str(Digest.of(f"base {number}".encode()))


def image(number: int) -> str:
    return f"registry.example/team/shop@{digest(number)}"


def with_image(number: int, text: str = MANIFEST) -> str:
    return text.replace("registry.example/team/shop:1.0", image(number))
