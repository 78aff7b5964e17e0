"""How the story ends, and the claims that have to be true then. Pure: no clock, no I/O."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from upwell.api.build import BuildPhase
from upwell.api.promotion import CheckPhase, PromotionPhase
from upwell.cli.demo.facts import Story
from upwell.cli.demo.observed import APPLICATIONS, CONFIGS, DEV, GATE, PRODUCTION, SHOP, STAGES
from upwell.policy.explain.freshness import short
from upwell.policy.rollouts.summary import RolloutState, rollout_of


@dataclass(frozen=True, slots=True)
class DemoClaim:
    """Something that has to be true at the end."""

    text: str
    holds: bool
    found: str
    """What was found instead, if it does not hold."""


class DemoEnding(Protocol):
    """What the story comes to."""

    def is_over(self, story: Story) -> bool:
        """Whether nothing is left to wait for."""
        ...

    def broken(self, story: Story) -> str:
        """Return what has failed for good, so that waiting is in vain; else nothing."""
        ...

    def claims(self, story: Story) -> Sequence[DemoClaim]:
        """Return all that has to be true."""
        ...


class FixInProduction:
    """Both applications are tested in every stage, and run on the fix in production."""

    def is_over(self, story: Story) -> bool:
        """Whether both applications answer with the fix alone."""
        return all(story.arrived(name) for name in APPLICATIONS)

    def broken(self, story: Story) -> str:
        """Return what has failed for good."""
        return story.failed_build() or next(_failures(story, APPLICATIONS), "")

    def claims(self, story: Story) -> Sequence[DemoClaim]:
        """Return all that has to be true."""
        return [
            *_building(story),
            *(claim for name in APPLICATIONS for claim in _promoted(story, name)),
            _no_request_failed(story),
        ]


class FixRefused:
    """`gate` fails its tests on the new base and stays as it was; `shop` goes on."""

    def is_over(self, story: Story) -> bool:
        """Whether both have got as far as they will."""
        release = story.release(GATE)
        rejected = release is not None and release.status.rejection is not None
        return rejected and self._is_back(story) and story.arrived(SHOP)

    def broken(self, story: Story) -> str:
        """Return what has failed for good."""
        first = story.promotion(GATE, DEV)
        if first is not None and first.status.phase is PromotionPhase.SUCCEEDED:
            return f"{first.spec.release} passed its tests in {DEV}, and was to fail them"
        return story.failed_build() or next(_failures(story, (SHOP,)), "")

    def claims(self, story: Story) -> Sequence[DemoClaim]:
        """Return all that has to be true."""
        return [
            *_building(story),
            self._refused(story),
            DemoClaim(
                f"{GATE} is back on the Release before in {DEV}",
                self._is_back(story),
                _runs(story, GATE, DEV),
            ),
            *(self._untouched(story, stage) for stage in STAGES[1:]),
            self._kept_its_version(story),
            *_promoted(story, SHOP),
            _no_request_failed(story),
        ]

    def _is_back(self, story: Story) -> bool:
        return story.runs(GATE, DEV, story.release_before(GATE))

    def _refused(self, story: Story) -> DemoClaim:
        release, promotion = story.release(GATE), story.promotion(GATE, DEV)
        failed = promotion is not None and any(
            check.phase is CheckPhase.FAILED for check in promotion.status.checks
        )
        rejection = release.status.rejection if release is not None else None
        holds = failed and rejection is not None and bool(rejection.reason)
        found = f"promotion: {promotion.status.phase if promotion else 'none'}"
        return DemoClaim(
            f"{GATE} failed its tests in {DEV}, and its Release is rejected", holds, found
        )

    def _untouched(self, story: Story, stage: str) -> DemoClaim:
        promotion = story.promotion(GATE, stage)
        holds = promotion is None and story.runs(GATE, stage, story.release_before(GATE))
        found = promotion.name if promotion is not None else _runs(story, GATE, stage)
        return DemoClaim(f"{stage} has seen nothing of it", holds, found)

    def _kept_its_version(self, story: Story) -> DemoClaim:
        old, tally = story.publication.old_glibc, story.tallies[GATE]
        found = f"it answered with {', '.join(tally.answers) or 'nothing'}"
        return DemoClaim(
            f"{GATE} answered with glibc {old} throughout", set(tally.answers) == {old}, found
        )


def _failures(story: Story, applications: Iterable[str]) -> Iterator[str]:
    for name in applications:
        for stage in STAGES:
            promotion = story.promotion(name, stage)
            if promotion is None:
                continue
            status = promotion.status
            if status.phase.is_final and status.phase is not PromotionPhase.SUCCEEDED:
                yield f"{promotion.name} {status.phase}: {status.message}"


def _building(story: Story) -> Iterator[DemoClaim]:
    new = str(story.publication.new)
    base = story.observed.base()
    found = base.image if base else "nothing"
    yield DemoClaim(f"debian:11 is {short(new)}", found == new, f"it is {found}")
    for config in CONFIGS:
        builds = story.builds(config)
        complete = [build for build in builds if build.status.phase is BuildPhase.COMPLETE]
        found = ", ".join(f"{build.name} {build.status.phase}" for build in builds) or "no build"
        holds = len(builds) == len(complete) == 1
        yield DemoClaim(f"{config} was built exactly once more", holds, found)


def _promoted(story: Story, application: str) -> Iterator[DemoClaim]:
    fix, tally = story.publication, story.tallies[application]
    text = f"{application} went from glibc {fix.old_glibc} to {fix.new_glibc}"
    expected = set(tally.answers) == {fix.old_glibc, fix.new_glibc}
    found = f"it answered with {', '.join(tally.answers) or 'nothing'}; last {tally.version}"
    yield DemoClaim(text, expected and tally.version == fix.new_glibc, found)
    yield _tested(story, application)
    for stage in STAGES:
        text = f"{application} runs that image alone in {stage}"
        holds = story.runs(application, stage, story.release(application))
        yield DemoClaim(text, holds, _runs(story, application, stage))


def _tested(story: Story, application: str) -> DemoClaim:
    """Claim that each stage was entered after the one before had passed."""
    text = f"{application} passed its tests in {', then '.join(STAGES)}"
    free = story.publication.at
    for stage in STAGES:
        promotion = story.promotion(application, stage)
        if promotion is None:
            return DemoClaim(text, holds=False, found=f"it did not reach {stage}")
        status = promotion.status
        passed = [check.phase is CheckPhase.PASSED for check in status.checks]
        if status.phase is not PromotionPhase.SUCCEEDED or not passed or not all(passed):
            return DemoClaim(text, holds=False, found=f"{promotion.name} is {status.phase}")
        if status.started is None or status.ended is None or status.started < free:
            return DemoClaim(text, holds=False, found=f"{promotion.name} began too early")
        free = status.ended
    return DemoClaim(text, holds=True, found="")


def _runs(story: Story, application: str, stage: str) -> str:
    workload = story.observed.workload(application, stage)
    if workload is None:
        return "there is no workload"
    rollout = rollout_of(workload)
    images = workload.status.revisions[0].images if workload.status.revisions else {}
    shown = ", ".join(short(image) for image in images.values())
    state = rollout.text if rollout.state is not RolloutState.COMPLETE else "rolled out"
    return f"{stage} runs {shown or 'nothing'}: {state}"


def _no_request_failed(story: Story) -> DemoClaim:
    found = f"{story.failed} of {story.requests}"
    return DemoClaim(f"no request failed in {PRODUCTION}", story.failed == 0, found)
