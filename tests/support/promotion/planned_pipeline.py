"""A Pipeline under its policy, without a store: what is planned is done, people and tests act."""

from datetime import UTC, datetime, timedelta
from typing import Any

from upwell.api.meta import ObjectMeta, ObjectReference
from upwell.api.pipeline import (
    ComponentSource,
    Freeze,
    Pipeline,
    PipelineSpec,
    PipelineStatus,
    Quarantine,
    Stage,
    StageStatus,
)
from upwell.api.promotion import (
    BaseImage,
    Component,
    Promotion,
    PromotionPhase,
    PromotionSpec,
    PromotionStatus,
    Purpose,
    Release,
    Vote,
)
from upwell.policy.promotion import transitions
from upwell.policy.promotion.approval import with_vote
from upwell.policy.promotion.plan import PipelinePlan, plan
from upwell.policy.promotion.releases import new_promotion, next_release
from upwell.policy.promotion.situation import Situation

START = datetime(2016, 2, 18, 12, tzinfo=UTC)
STAGES = (Stage(name="dev"), Stage(name="staging"), Stage(name="production"))


def web(number: int, base: int = 1) -> Component:
    """Return a component's image, on a base of which there are several."""
    return Component(
        name="web",
        image=f"r.example/shop/web@sha256:{number:064x}",
        bases=(BaseImage(image="debian:11", digest=f"sha256:{base:064x}"),),
    )


def pipeline(*stages: Stage, name: str = "shop", **spec: Any) -> Pipeline:
    """Return a Pipeline of one component."""
    source = ComponentSource(name="web", from_=ObjectReference(kind="ImageStreamTag", name="web:x"))
    made = PipelineSpec(components=(source,), stages=stages)
    return Pipeline(
        metadata=ObjectMeta(name=name, namespace="shop", uid=name),
        spec=made.model_copy(update=spec),
    )


class PlannedPipeline:
    """A Pipeline, all that moves through it, and a clock that only tests move."""

    def __init__(self, *stages: Stage, **spec: Any) -> None:
        self.pipeline = pipeline(*(stages or STAGES), **spec)
        self.releases: dict[str, Release] = {}
        self.promotions: dict[str, Promotion] = {}
        self.freezes: dict[str, Freeze] = {}
        self.quarantines: dict[str, Quarantine] = {}
        self.now = START
        self.plan: PipelinePlan | None = None

    def publish(self, number: int, base: int = 1) -> Release:
        """Have the component's tag name a new image, and go on from there."""
        due = next_release(
            self.pipeline, {"web": web(number, base)}, (), list(self.releases.values()), self.now
        ).release
        assert due is not None
        self.releases[due.name] = due.with_metadata(creation_timestamp=self.now)
        self.settle()
        return due

    def settle(self) -> None:
        """Do all that is planned until nothing is left to do."""
        for _ in range(50):
            found = self.plan = plan(self._situation())
            if not (found.releases or found.promotions or found.create or found.surplus):
                self.pipeline = self.pipeline.with_status(PipelineStatus(stages=found.stages))
                return
            for name, status in found.releases.items():
                self.releases[name] = self.releases[name].with_status(status)
            for name, promoted in found.promotions.items():
                self._store(name, promoted)
            for promotion in found.create:
                self.promotions[promotion.name] = promotion.with_metadata(
                    creation_timestamp=self.now, uid=promotion.name
                )
            for name in found.surplus:
                del self.releases[name]
        raise AssertionError("it never comes to rest")

    def pass_time(self, **time: float) -> None:
        self.now += timedelta(**time)
        self.settle()

    def serve(self, name: str) -> None:
        """Have the rollout of a promotion end well."""
        status = self.status(name)
        assert status.phase is PromotionPhase.ROLLING_OUT, status
        self.now += timedelta(seconds=1)
        purpose = self.promotions[name].spec.purpose
        self._store(name, transitions.serves(status, purpose, self.now))
        self.settle()

    def succeed(self, *names: str) -> None:
        """Have promotions roll out and pass their checks."""
        for name in names:
            if self.status(name).phase is PromotionPhase.ROLLING_OUT:
                self.serve(name)
            status = self.status(name)
            assert status.phase is PromotionPhase.VERIFYING, (name, status)
            self.now += timedelta(seconds=1)
            self._store(name, transitions.passed(status, self.now))
            self.settle()

    def fail(self, name: str, why: str = "check smoke: exit code 1", *, back: bool = True) -> None:
        """Have a promotion fail its checks, and the stage go back, if it can."""
        spec = self.promotions[name].spec
        self.now += timedelta(seconds=1)
        status = transitions.failed(self.status(name), spec.purpose, spec.release, why, self.now)
        self._store(name, status)
        if status.phase is PromotionPhase.ROLLING_BACK:
            self.now += timedelta(seconds=1)
            after = (
                transitions.put_back(status, self.now)
                if back
                else transitions.not_put_back(status, "it does not start", self.now)
            )
            self._store(name, after)
        self.settle()

    def ask(self, release: str, stage: str, **spec: object) -> str:
        """Have a person ask for a promotion; return its name."""
        wish = PromotionSpec(
            pipeline=self.pipeline.name, release=release, stage=stage, requested_by="ann"
        ).model_copy(update=spec)
        made = new_promotion(self.pipeline, self.releases[release], wish, self.promotions.values())
        self.now += timedelta(seconds=1)
        self.promotions[made.name] = made.with_metadata(creation_timestamp=self.now, uid=made.name)
        self.settle()
        return made.name

    def roll_back(self, release: str, stage: str) -> str:
        return self.ask(release, stage, purpose=Purpose.ROLL_BACK, reason="it is slow")

    def vote(self, name: str, by: str, *, approved: bool = True, comment: str = "") -> None:
        new = Vote(by=by, approved=approved, at=self.now, comment=comment)
        status = self.status(name)
        votes = with_vote(status.votes, new)
        self._store(name, status.model_copy(update={"votes": votes}))
        self.settle()

    def annotate(self, **annotations: str) -> None:
        """Set the Pipeline's annotations."""
        self.pipeline = self.pipeline.with_metadata(annotations=annotations)
        self.settle()

    def status(self, name: str) -> PromotionStatus:
        return self.promotions[name].status

    def phase(self, name: str) -> str:
        return self.status(name).phase

    def stage(self, name: str) -> StageStatus:
        """Return where a stage stands, as the Pipeline says."""
        return self.pipeline.status.stage(name)

    def serves(self) -> list[str]:
        """Return what serves in each stage."""
        return [stage.release for stage in self.pipeline.status.stages]

    def phases(self) -> dict[str, str]:
        """Return what has become of each promotion."""
        return {name: one.status.phase.value for name, one in self.promotions.items()}

    def _situation(self) -> Situation:
        return Situation(
            pipeline=self.pipeline,
            releases=dict(self.releases),
            promotions=list(self.promotions.values()),
            now=self.now,
            freezes=list(self.freezes.values()),
            quarantines={one.spec.digest: one for one in self.quarantines.values()},
        )

    def _store(self, name: str, status: PromotionStatus) -> None:
        self.promotions[name] = self.promotions[name].with_status(status)
