"""Expected outcomes of the demo, with their claims. Pure: no clock, no I/O."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Protocol

from upwell.api.builds.build import BuildPhase
from upwell.api.promotion import CheckPhase, Promotion, PromotionPhase
from upwell.cli.demo.observed import APPLICATIONS, CONFIGS, DEV, GATE, PRODUCTION, SHOP, STAGES
from upwell.cli.demo.progress import FixProgress
from upwell.policy.explain.freshness import short
from upwell.policy.rollouts.summary import RolloutState, rollout_of


@dataclass(frozen=True, slots=True)
class DemoClaim:
    """Claim that has to hold at the end."""

    text: str
    holds: bool
    found: str
    """Actual state, for a claim that does not hold."""


class ExpectedOutcome(Protocol):
    """Expected outcome of the fix."""

    def is_complete(self, progress: FixProgress) -> bool:
        """Return whether the outcome is reached."""
        ...

    def failure(self, progress: FixProgress) -> str:
        """Return the permanent failure that prevents the outcome; empty if there is none."""
        ...

    def claims(self, progress: FixProgress) -> Sequence[DemoClaim]:
        """Return the claims of this outcome."""
        ...


class FixInProduction:
    """Outcome in which both applications pass all stages, and run on the fix in production."""

    def is_complete(self, progress: FixProgress) -> bool:
        """Return whether both applications answer with the fix alone."""
        return all(progress.reached_production(name) for name in APPLICATIONS)

    def failure(self, progress: FixProgress) -> str:
        """Return the permanent failure."""
        return progress.failed_build() or next(_failures(progress, APPLICATIONS), "")

    def claims(self, progress: FixProgress) -> Sequence[DemoClaim]:
        """Return the claims of this outcome."""
        return [
            *_building(progress),
            _rebased(progress),
            *(claim for name in APPLICATIONS for claim in _promoted(progress, name)),
            _no_request_failed(progress),
        ]


class FixRejected:
    """Outcome in which `gate` fails its tests and stays as it was, and `shop` passes."""

    def is_complete(self, progress: FixProgress) -> bool:
        """Return whether `gate` is rolled back and `shop` is in production."""
        release = progress.release(GATE)
        rejected = release is not None and release.status.rejection is not None
        return rejected and self._is_back(progress) and progress.reached_production(SHOP)

    def failure(self, progress: FixProgress) -> str:
        """Return the permanent failure."""
        first = progress.promotion(GATE, DEV)
        if first is not None and first.status.phase is PromotionPhase.SUCCEEDED:
            return f"{first.spec.release} passed its tests in {DEV}, but was expected to fail"
        return progress.failed_build() or next(_failures(progress, (SHOP,)), "")

    def claims(self, progress: FixProgress) -> Sequence[DemoClaim]:
        """Return the claims of this outcome."""
        return [
            *_building(progress),
            self._rejected(progress),
            DemoClaim(
                f"{GATE} is back on the Release before in {DEV}",
                self._is_back(progress),
                _runs(progress, GATE, DEV),
            ),
            *(self._untouched(progress, stage) for stage in STAGES[1:]),
            self._kept_its_version(progress),
            *_promoted(progress, SHOP),
            _no_request_failed(progress),
        ]

    def _is_back(self, progress: FixProgress) -> bool:
        return progress.runs(GATE, DEV, progress.release_before(GATE))

    def _rejected(self, progress: FixProgress) -> DemoClaim:
        release, promotion = progress.release(GATE), progress.promotion(GATE, DEV)
        failed = promotion is not None and any(
            check.phase is CheckPhase.FAILED for check in promotion.status.checks
        )
        rejection = release.status.rejection if release is not None else None
        holds = failed and rejection is not None and bool(rejection.reason)
        found = f"promotion: {promotion.status.phase if promotion else 'none'}"
        return DemoClaim(
            f"{GATE} failed its tests in {DEV}, and its Release is rejected", holds, found
        )

    def _untouched(self, progress: FixProgress, stage: str) -> DemoClaim:
        promotion = progress.promotion(GATE, stage)
        holds = promotion is None and progress.runs(GATE, stage, progress.release_before(GATE))
        found = promotion.name if promotion is not None else _runs(progress, GATE, stage)
        return DemoClaim(f"{stage} has seen nothing of it", holds, found)

    def _kept_its_version(self, progress: FixProgress) -> DemoClaim:
        old, stats = progress.publication.old_glibc, progress.load_stats[GATE]
        found = f"it answered with {', '.join(stats.answers) or 'nothing'}"
        return DemoClaim(
            f"{GATE} answered with glibc {old} throughout", set(stats.answers) == {old}, found
        )


def _failures(progress: FixProgress, applications: Iterable[str]) -> Iterator[str]:
    for name in applications:
        for stage in STAGES:
            promotion = progress.promotion(name, stage)
            if promotion is None:
                continue
            status = promotion.status
            if status.phase.is_final and status.phase is not PromotionPhase.SUCCEEDED:
                yield f"{promotion.name} {status.phase}: {status.message}"


def _building(progress: FixProgress) -> Iterator[DemoClaim]:
    new = str(progress.publication.new)
    base = progress.observed.base()
    found = base.image if base else "nothing"
    yield DemoClaim(f"debian:11 is {short(new)}", found == new, f"it is {found}")
    for config in CONFIGS:
        builds = progress.builds(config)
        complete = [build for build in builds if build.status.phase is BuildPhase.COMPLETE]
        found = ", ".join(f"{build.name} {build.status.phase}" for build in builds) or "no build"
        holds = len(builds) == len(complete) == 1
        yield DemoClaim(f"{config} was built exactly once more", holds, found)


def _rebased(progress: FixProgress) -> DemoClaim:
    """Return the claim that the application that may be rebased was: it depends on nothing new."""
    found = [build.status.rebase for build in progress.builds(GATE)]
    text = f"{GATE} was rebased: its own layers stand on the fixed base as they are"
    why = "; ".join(one.message or "" for one in found if one is not None)
    holds = bool(found) and all(one is not None and one.rebased for one in found)
    return DemoClaim(text, holds, why or "it was built")


def _promoted(progress: FixProgress, application: str) -> Iterator[DemoClaim]:
    fix, stats = progress.publication, progress.load_stats[application]
    text = f"{application} went from glibc {fix.old_glibc} to {fix.new_glibc}"
    expected = set(stats.answers) == {fix.old_glibc, fix.new_glibc}
    found = f"it answered with {', '.join(stats.answers) or 'nothing'}; last {stats.version}"
    yield DemoClaim(text, expected and stats.version == fix.new_glibc, found)
    published = progress.publication.at
    into = partial(progress.promotion, application)
    yield stages_claim(application, STAGES, into, published)
    for stage in STAGES:
        text = f"{application} runs that image alone in {stage}"
        holds = progress.runs(application, stage, progress.release(application))
        yield DemoClaim(text, holds, _runs(progress, application, stage))


def stages_claim(
    application: str,
    stages: Sequence[str],
    promotion_into: Callable[[str], Promotion | None],
    since: datetime | None = None,
) -> DemoClaim:
    """Return the claim that an application passed its tests in each stage before the next began.

    The first stage began no earlier than `since`.
    """
    text = f"{application} passed its tests in {', then '.join(stages)}"
    free = since
    for stage in stages:
        promotion = promotion_into(stage)
        if promotion is None:
            return DemoClaim(text, holds=False, found=f"it did not reach {stage}")
        status = promotion.status
        passed = [check.phase is CheckPhase.PASSED for check in status.checks]
        if status.phase is not PromotionPhase.SUCCEEDED or not passed or not all(passed):
            return DemoClaim(text, holds=False, found=f"{promotion.name} is {status.phase}")
        if status.started is None or status.ended is None:
            return DemoClaim(text, holds=False, found=f"{promotion.name} has no times")
        if free is not None and status.started < free:
            return DemoClaim(text, holds=False, found=f"{promotion.name} began too early")
        free = status.ended
    return DemoClaim(text, holds=True, found="")


def _runs(progress: FixProgress, application: str, stage: str) -> str:
    workload = progress.observed.workload(application, stage)
    if workload is None:
        return "no workload exists"
    rollout = rollout_of(workload)
    images = workload.status.revisions[0].images if workload.status.revisions else {}
    shown = ", ".join(short(image) for image in images.values())
    state = rollout.text if rollout.state is not RolloutState.COMPLETE else "rolled out"
    return f"{stage} runs {shown or 'nothing'}: {state}"


def _no_request_failed(progress: FixProgress) -> DemoClaim:
    found = f"{progress.failed} of {progress.requests}"
    return DemoClaim(f"no request failed in {PRODUCTION}", progress.failed == 0, found)
