"""Random pipelines, people and faults: nothing unverified goes on, no hold is overridden."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from upwell.api.meta import ObjectMeta, ObjectReference
from upwell.api.pipeline import (
    Approval,
    ComponentSource,
    Freeze,
    Pipeline,
    PipelineSpec,
    PipelineStatus,
    Quarantine,
    QuarantineSpec,
    Stage,
)
from upwell.api.promotion import (
    BaseImage,
    Component,
    Promotion,
    PromotionPhase,
    PromotionSpec,
    PromotionStatus,
    Purpose,
    Rejection,
    Release,
    ReleasePhase,
    Vote,
)
from upwell.policy.promotion import transitions
from upwell.policy.promotion.approval import with_vote
from upwell.policy.promotion.plan import PipelinePlan, plan
from upwell.policy.promotion.releases import new_promotion, next_release
from upwell.policy.promotion.situation import Situation
from upwell.policy.promotion.stages import STAGE_HOLD, upstream

NAMES = ("dev", "qa", "staging", "production")
START = datetime(2016, 2, 18, tzinfo=UTC)
BEGUN = {PromotionPhase.ROLLING_OUT, PromotionPhase.VERIFYING, PromotionPhase.ROLLING_BACK}


@st.composite
def pipelines(draw: st.DrawFn) -> Pipeline:
    stages: list[Stage] = []
    for name in NAMES[: draw(st.integers(1, len(NAMES)))]:
        before = tuple(one.name for one in stages)
        after = (
            draw(st.none() | st.lists(st.sampled_from(before), unique=True).map(tuple))
            if (before)
            else None
        )
        stages.append(
            Stage(
                name=name,
                after=after,
                requires=draw(st.sampled_from(["All", "Any"])),
                promotion=draw(st.sampled_from(["Automatic", "Automatic", "Manual"])),
                approval=draw(st.none() | st.builds(Approval, required=st.integers(1, 2))),
            )
        )
    source = ComponentSource(name="web", from_=ObjectReference(kind="ImageStreamTag", name="web:x"))
    return Pipeline(
        metadata=ObjectMeta(name="shop", namespace="shop", uid="p"),
        spec=PipelineSpec(components=(source,), stages=tuple(stages)),
    )


@dataclass
class ObservedHistory:
    """Record of events, kept apart from what the policy remembers."""

    good: set[tuple[str, str]] = field(default_factory=set)
    """(stage, release) whose newest verification was good."""
    rejected: set[str] = field(default_factory=set)


class PromotionStateMachine(RuleBasedStateMachine):
    """A Pipeline under random people, tests, crashes and clocks."""

    @initialize(pipeline=pipelines())
    def begin(self, pipeline: Pipeline) -> None:
        self.pipeline = pipeline
        self.releases: dict[str, Release] = {}
        self.promotions: dict[str, Promotion] = {}
        self.freezes: dict[str, Freeze] = {}
        self.quarantines: dict[str, Quarantine] = {}
        self.now = START
        self.truth = ObservedHistory()

    @property
    def situation(self) -> Situation:
        return Situation(
            pipeline=self.pipeline,
            releases=dict(self.releases),
            promotions=list(self.promotions.values()),
            now=self.now,
            freezes=list(self.freezes.values()),
            quarantines=dict(self.quarantines),
        )

    # Events from outside the policy.

    @rule(same=st.booleans(), base=st.integers(0, 2))
    def publish(self, *, same: bool, base: int) -> None:
        number = len(self.releases) + (0 if same else 1)
        web = Component(
            name="web",
            image=f"r.example/shop/web@sha256:{number:064x}",
            bases=(BaseImage(image="base", digest=f"sha256:{base:064x}"),),
        )
        releases = list(self.releases.values())
        due = next_release(self.pipeline, {"web": web}, (), releases, self.now).release
        if due is not None:
            self.releases[due.name] = due

    @rule(seconds=st.integers(-100, 10_000))
    def pass_time(self, seconds: int) -> None:
        self.now += timedelta(seconds=seconds)

    @rule(writes=st.integers(0, 6))
    def decide(self, writes: int) -> None:
        """Carry a plan out, or only its first writes: the server was killed."""
        self._write(plan(self.situation), writes)

    @precondition(lambda self: self._begun())
    @rule(data=st.data(), good=st.booleans())
    def go_on(self, data: st.DataObject, *, good: bool) -> None:
        self._go_on(data.draw(st.sampled_from(self._begun())), good=good)

    @precondition(lambda self: self._begun())
    @rule(data=st.data())
    def take_over(self, data: st.DataObject) -> None:
        one = data.draw(st.sampled_from(self._begun()))
        self._store(one, transitions.taken_over(one.status, "by hand", self.now))

    # What people do.

    @rule(stage=st.sampled_from(NAMES), held=st.booleans())
    def hold(self, stage: str, *, held: bool) -> None:
        notes = {k: v for k, v in self.pipeline.annotations.items() if k != f"{STAGE_HOLD}{stage}"}
        if held:
            notes[f"{STAGE_HOLD}{stage}"] = "holidays"
        self.pipeline = self.pipeline.with_metadata(annotations=notes)

    @rule(on=st.booleans())
    def freeze(self, *, on: bool) -> None:
        self.freezes = {"all": Freeze(metadata=ObjectMeta(name="all"))} if on else {}

    @rule(base=st.integers(0, 2), on=st.booleans())
    def quarantine(self, base: int, *, on: bool) -> None:
        digest = f"sha256:{base:064x}"
        self.quarantines.pop(digest, None)
        if on:
            self.quarantines[digest] = Quarantine(spec=QuarantineSpec(digest=digest))

    @precondition(lambda self: self.promotions)
    @rule(data=st.data(), by=st.sampled_from(["one", "two"]), approved=st.booleans())
    def vote(self, data: st.DataObject, by: str, *, approved: bool) -> None:
        one = data.draw(st.sampled_from(sorted(self.promotions)))
        promotion = self.promotions[one]
        votes = with_vote(promotion.status.votes, Vote(by=by, approved=approved, at=self.now))
        self._store(promotion, promotion.status.model_copy(update={"votes": votes}))

    @precondition(lambda self: self.releases)
    @rule(
        data=st.data(),
        purpose=st.sampled_from(Purpose),
        bypass=st.booleans(),
        holds=st.booleans(),
    )
    def ask(self, data: st.DataObject, purpose: Purpose, *, bypass: bool, holds: bool) -> None:
        release = self.releases[data.draw(st.sampled_from(sorted(self.releases)))]
        stage = data.draw(st.sampled_from(self.pipeline.spec.stages))
        spec = PromotionSpec(
            pipeline="shop",
            release=release.name,
            stage=stage.name,
            purpose=purpose,
            requested_by="somebody",
            bypass="it burns" if bypass else "",
            hold="it was asked for" if holds else "",
        )
        if holds:
            self.pipeline = self.pipeline.with_metadata(
                annotations={**self.pipeline.annotations, f"{STAGE_HOLD}{stage.name}": spec.hold}
            )
        self._create(new_promotion(self.pipeline, release, spec, self.promotions.values()))

    @precondition(lambda self: self.releases)
    @rule(data=st.data(), lift=st.booleans())
    def reject(self, data: st.DataObject, *, lift: bool) -> None:
        release = self.releases[data.draw(st.sampled_from(sorted(self.releases)))]
        rejection = None if lift else Rejection(reason="no", by="somebody", at=self.now)
        changes: dict[str, object] = {"rejection": rejection}
        if lift:
            changes["restored"] = self.now
            self.truth.rejected.discard(release.name)
        else:
            self.truth.rejected.add(release.name)
        self.releases[release.name] = release.with_status(release.status.model_copy(update=changes))

    # What must hold.

    @invariant()
    def one_at_a_time(self) -> None:
        for stage in NAMES:
            begun = [one for one in self._begun() if one.spec.stage == stage]
            assert len(begun) <= 1

    def teardown(self) -> None:
        """Without more faults, everything comes to an end, or says what it waits for."""
        if not hasattr(self, "releases"):
            return
        for _ in range(200):
            found = plan(self.situation)
            begun = self._begun()
            if not begun and not (found.releases or found.promotions or found.create):
                break
            self._write(found, 1000)
            for one in self._begun():
                self._go_on(one, good=True)
        else:
            raise AssertionError("it never comes to rest")
        for release in self.releases.values():
            status = release.status
            assert status.phase.is_final or status.phase is ReleasePhase.WAITING
            assert status.phase is not ReleasePhase.WAITING or status.message, release
        for one in self.promotions.values():
            waits = one.status.phase is PromotionPhase.WAITING
            assert one.status.phase.is_final or (waits and one.status.message), one

    def _begun(self) -> list[Promotion]:
        found = [one for one in self.promotions.values() if one.status.phase in BEGUN]
        return sorted(found, key=lambda one: one.name)

    def _write(self, found: PipelinePlan, writes: int) -> None:
        left = iter(range(writes))
        for name, status in found.releases.items():
            if next(left, None) is None:
                return
            self.releases[name] = self.releases[name].with_status(status)
        for name, promoted in found.promotions.items():
            if next(left, None) is None:
                return
            if promoted.phase in BEGUN:
                self._check_beginning(self.promotions[name])
            self._store(self.promotions[name], promoted)
        for promotion in found.create:
            if next(left, None) is None:
                return
            self._create(promotion)
        if next(left, None) is not None:
            self.pipeline = self.pipeline.with_status(PipelineStatus(stages=found.stages))

    def _check_beginning(self, promotion: Promotion) -> None:
        spec = promotion.spec
        stage = self.pipeline.stage(spec.stage)
        assert stage is not None
        if spec.purpose is not Purpose.PROMOTE:
            return
        assert spec.release not in self.truth.rejected
        bases = self.releases[spec.release].spec.components[0].bases
        assert not any(base.digest in self.quarantines for base in bases)
        held = self.pipeline.annotations.get(f"{STAGE_HOLD}{spec.stage}")
        assert held is None or held == spec.hold
        if not spec.requested_by:
            assert stage.promotion == "Automatic"
        if spec.bypass:
            return
        assert not self.freezes
        before = [
            (name, spec.release) in self.truth.good for name in upstream(self.pipeline, stage)
        ]
        assert (any if stage.requires == "Any" and before else all)(before)
        agreed = {vote.by for vote in promotion.status.votes if vote.approved}
        assert stage.approval is None or len(agreed) >= stage.approval.required

    def _go_on(self, one: Promotion, *, good: bool) -> None:
        """Take the next step as the reconciler does, with this outcome."""
        status, spec = one.status, one.spec
        self.now += timedelta(seconds=1)
        at = (spec.stage, spec.release)
        rejection = self.releases[spec.release].status.rejection
        if status.phase is PromotionPhase.ROLLING_BACK:
            after = (
                transitions.put_back(status, self.now)
                if good
                else transitions.not_put_back(status, "no", self.now)
            )
        elif not good or (rejection is not None and spec.purpose is Purpose.PROMOTE):
            after = transitions.failed(status, spec.purpose, spec.release, "bad", self.now)
        elif status.phase is PromotionPhase.ROLLING_OUT:
            after = transitions.serves(status, spec.purpose, self.now)
        else:
            after = transitions.passed(status, self.now)
        self._store(one, after)
        if after.phase is PromotionPhase.SUCCEEDED and spec.purpose is not Purpose.ROLL_BACK:
            self.truth.good.add(at)
        if after.phase is PromotionPhase.FAILED and spec.purpose is not Purpose.ROLL_BACK:
            self.truth.good.discard(at)
            if spec.purpose is Purpose.PROMOTE:
                self.truth.rejected.add(spec.release)

    def _create(self, promotion: Promotion) -> None:
        if promotion.name not in self.promotions:
            made = promotion.with_metadata(uid=promotion.name, creation_timestamp=self.now)
            self.promotions[promotion.name] = made

    def _store(self, promotion: Promotion, status: PromotionStatus) -> None:
        self.promotions[promotion.name] = promotion.with_status(status)


TestPromoting = PromotionStateMachine.TestCase
TestPromoting.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
