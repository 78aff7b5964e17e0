"""Release that a workload runs, and what let it in: promotions, tests, approvals; pure."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from upwell.api.apps import CronJob
from upwell.api.conditions import find
from upwell.api.meta import Resource
from upwell.api.pipeline import Pipeline, Stage, StageStatus
from upwell.api.promotion import (
    CheckResult,
    Component,
    Promotion,
    PromotionPhase,
    Purpose,
    Release,
    Vote,
)
from upwell.api.values.commits import short_commit
from upwell.policy.builds.triggers import digest_of
from upwell.policy.explain.statement import Statement, Topic
from upwell.policy.promotion.claims import foreign_claim
from upwell.policy.promotion.releases import rejection_of
from upwell.policy.promotion.stages import names_workload, namespace_of, serving, upstream
from upwell.policy.rollouts.image_ownership import promotion_note
from upwell.policy.rollouts.settings import Workload
from upwell.policy.rollouts.triggers import IMAGE_TRIGGERED, Reason

_LONG_AGO = datetime.min.replace(tzinfo=UTC)

type _Owner = tuple[str, str]
"""Namespace and name of a Pipeline."""


@dataclass(frozen=True, slots=True)
class StagePlacement:
    """The stage whose promotions set the images of a workload."""

    pipeline: Pipeline
    stage: Stage

    @property
    def status(self) -> StageStatus:
        """Status of the stage."""
        return self.pipeline.status.stage(self.stage.name)

    def __str__(self) -> str:
        return f"stage {self.stage.name} of pipeline {self.pipeline.namespace}/{self.pipeline.name}"


class PromotionLineage:
    """The Pipelines, Releases and Promotions among `objects`."""

    def __init__(self, objects: Iterable[Resource]) -> None:
        self._stages: dict[str, list[StagePlacement]] = defaultdict(list)
        """By the namespace of their workloads."""
        self._releases: dict[_Owner, list[Release]] = defaultdict(list)
        self._promotions: dict[_Owner, list[Promotion]] = defaultdict(list)
        for one in objects:
            match one:
                case Pipeline():
                    for stage in one.spec.stages:
                        self._stages[namespace_of(one, stage)].append(StagePlacement(one, stage))
                case Release():
                    self._releases[one.namespace, one.spec.pipeline].append(one)
                case Promotion():
                    self._promotions[one.namespace, one.spec.pipeline].append(one)
                case _:
                    pass

    def placement(self, workload: Resource) -> StagePlacement | None:
        """Return the stage that a workload belongs to: not one that waits for another Pipeline."""
        naming = self._naming(workload)
        return next((one for one in naming if not _claim(one, workload, naming)), None)

    def placed_elsewhere(self) -> Iterator[StagePlacement]:
        """Yield the stages whose workloads are on other clusters."""
        known = (one for places in self._stages.values() for one in places)
        yield from (one for one in known if not one.stage.runs_here)

    def promotions_into(self, place: StagePlacement) -> Iterator[Promotion]:
        """Yield the Promotions into a stage, in no order."""
        known = self._of(place, self._promotions)
        yield from (one for one in known if one.spec.stage == place.stage.name)

    def claims_on(self, pipeline: Pipeline, workloads: Iterable[Resource]) -> Iterator[str]:
        """Yield which workloads of a Pipeline's stages another Pipeline has, each once."""
        told: dict[str, None] = {}
        for workload in workloads:
            naming = self._naming(workload)
            mine = [one for one in naming if one.pipeline.key == pipeline.key]
            told |= {why: None for one in mine if (why := _claim(one, workload, naming))}
        yield from told

    def _naming(self, workload: Resource) -> list[StagePlacement]:
        """Return the stages that name a workload."""
        return [
            one
            for one in self._stages.get(workload.namespace, ())
            if names_workload(one.pipeline, one.stage, workload) is not None
        ]

    def lengths(self, place: StagePlacement) -> Iterator[timedelta]:
        """Yield how long the promotions took that a stage verified, with checks and soak."""
        for one in self._of(place, self._promotions):
            status = one.status
            if (
                one.spec.stage == place.stage.name
                and status.phase is PromotionPhase.SUCCEEDED
                and status.started is not None
                and status.ended is not None
            ):
                yield max(status.ended - status.started, timedelta())

    def release_with(self, place: StagePlacement, image: str) -> tuple[Release, Component] | None:
        """Return the Release that has an image, and as which component; what serves goes first."""
        digest = digest_of(image)
        having = [
            (release.name == place.status.release, release.spec.number, release, component)
            for release in self._of(place, self._releases)
            for component in release.spec.components
            if digest and digest_of(component.image) == digest
        ]
        if not having:
            return None
        _, _, release, component = max(having, key=lambda entry: entry[:2])
        return release, component

    def release_of(self, promotion: Promotion) -> Release | None:
        """Return the Release that a Promotion is of; None: it is gone, or cannot be read."""
        owner = (promotion.namespace, promotion.spec.pipeline)
        named = (one for one in self._releases.get(owner, ()) if one.name == promotion.spec.release)
        return next(named, None)

    def promotions_of(self, release: Release) -> Iterator[Promotion]:
        """Yield the Promotions of a Release, in no order."""
        known = self._promotions.get((release.namespace, release.spec.pipeline), ())
        yield from (one for one in known if one.spec.release == release.name)

    def rejected(self, place: StagePlacement, image: str) -> str:
        """Say which Release with an image is rejected, and why; empty when none is."""
        found = self.release_with(place, image)
        rejection = rejection_of(found[0], self._of(place, self._releases)) if found else None
        if found is None or rejection is None:
            return ""
        name = found[0].name
        return (
            f"Release {name} is rejected: {rejection.reason};"
            f" `upwell release restore {name} -n {place.pipeline.namespace}` lifts that"
        )

    def newer(self, place: StagePlacement) -> int:
        """Count the Releases that are newer than what serves in the stage, and may go on."""
        releases = self._of(place, self._releases)
        known = {one.name: one.spec.number for one in releases}
        number = known.get(place.status.release, 0)
        return sum(
            one.spec.number > number and rejection_of(one, releases) is None for one in releases
        )

    def newest_images(self, place: StagePlacement) -> Iterator[str]:
        """Yield the images of the newest Release that may come into a stage."""
        releases = self._of(place, self._releases)
        may_come = [one for one in releases if rejection_of(one, releases) is None]
        newest = max(may_come, key=lambda one: one.spec.number, default=None)
        if newest is not None:
            yield from (one.image for one in newest.spec.components)

    def history_of(
        self, place: StagePlacement, release: Release, depth: int
    ) -> Iterator[Statement]:
        """Yield how a Release came into a stage, and what had to pass before."""
        made = release.metadata.creation_timestamp
        cause = f": {release.spec.cause}" if release.spec.cause else ""
        yield Statement(Topic.RELEASE, f"release {release.name} was made{cause}", depth, made)
        if release.status.rejection is not None:
            rejection = release.status.rejection
            by = f" by {rejection.by}" if rejection.by else ""
            text = f"it is rejected{by}: {rejection.reason}"
            yield Statement(Topic.HELD, text, depth + 1, rejection.at)
        here = [
            one
            for one in self._of(place, self._promotions)
            if one.spec.stage == place.stage.name and one.status.started is not None
        ]
        yield from _put_back(here, release, depth)
        brought = [
            one
            for one in here
            if one.spec.release == release.name and one.spec.purpose is not Purpose.VERIFY
        ]
        newest = max(brought, key=lambda one: (one.status.started, one.name), default=None)
        if newest is None:
            text = f"no promotion brought it into {place}: that record is gone"
            yield Statement(Topic.PROMOTION, text, depth)
        else:
            yield from _promotion(newest, depth)
        yield from self._verified(place, release, newest, depth)

    def _verified(
        self, place: StagePlacement, release: Release, shown: Promotion | None, depth: int
    ) -> Iterator[Statement]:
        """Say where the Release was verified on its way to the stage, the latest first."""
        known = {one.name: one for one in self._of(place, self._promotions)}
        before = _stages_before(place)
        for entry in reversed(release.status.verified):
            is_shown = shown is not None and entry.promotion == shown.name
            if is_shown or entry.name not in {*before, place.stage.name}:
                continue
            by = f" by promotion {entry.promotion}" if entry.promotion else ""
            yield Statement(Topic.TEST, f"verified in {entry.name}{by}", depth, entry.at)
            promotion = known.get(entry.promotion)
            if promotion is not None:
                yield from _votes(promotion.status.votes, depth + 1)
                yield from _checks(promotion.status.checks, depth + 1)

    @staticmethod
    def _of[R: Resource](place: StagePlacement, kept: Mapping[_Owner, list[R]]) -> Sequence[R]:
        return kept.get((place.pipeline.namespace, place.pipeline.name), ())


def _claim(place: StagePlacement, workload: Resource, naming: Iterable[StagePlacement]) -> str:
    """Say which other Pipeline has a workload that a stage names; empty: none has."""
    stages = [(one.pipeline, one.stage) for one in naming]
    return foreign_claim(place.pipeline, place.stage, workload, stages)


def stage_by_note(workload: Workload | CronJob, read: str) -> str:
    """Return the stage that sets a workload's images by what the workload says; empty: none.

    One of a Pipeline in the namespace `read`, whose Pipelines are known, is none.
    """
    triggered = find(workload.status.conditions, IMAGE_TRIGGERED)
    if triggered is not None and triggered.reason != Reason.PIPELINE:
        return ""
    note = promotion_note(workload)
    pipeline, stage = (str(note.get(name, "")) for name in ("pipeline", "stage"))
    if not pipeline:
        return "a stage of a Pipeline" if triggered is not None else ""
    is_known = pipeline.partition("/")[0] == read
    return "" if is_known else f"stage {stage} of pipeline {pipeline}"


def origin_of(component: Component, depth: int) -> Iterator[Statement]:
    """Say what a Release remembers of an image whose Build is gone."""
    if not component.build:
        text = "it came from outside: no build of this server made it"
        yield Statement(Topic.BUILD, text, depth, new=component.image)
        return
    text = f"build {component.build} made it (its record is gone)"
    yield Statement(Topic.BUILD, text, depth, new=component.image)
    if component.revision:
        yield Statement(Topic.COMMIT, f"commit {short_commit(component.revision)}", depth + 1)
    for base in component.bases:
        text = f"it is based on {base.image}, {base.digest}"
        yield Statement(Topic.IMAGE, text, depth + 1, new=base.digest)


def _stages_before(place: StagePlacement) -> set[str]:
    """Return every stage that a Release goes through before this one."""
    found: set[str] = set()
    waiting = [place.stage]
    while waiting:
        for name in upstream(place.pipeline, waiting.pop()):
            stage = place.pipeline.stage(name)
            if stage is not None and name not in found:
                found.add(name)
                waiting.append(stage)
    return found


def _put_back(here: Sequence[Promotion], release: Release, depth: int) -> Iterator[Statement]:
    """Say that a failure of a later Release put this one back, if so."""
    last = serving(here)
    failed = next((one for one in here if one.name == last.promotion), None)
    if failed is not None and last.release == release.name != failed.spec.release:
        text = f"it was restored when promotion {failed.name} failed: {failed.status.message}"
        yield Statement(Topic.PROMOTION, text, depth, failed.status.ended)


def _promotion(promotion: Promotion, depth: int) -> Iterator[Statement]:
    spec, status = promotion.spec, promotion.status
    text = f"promotion {promotion.name} brought it into stage {spec.stage}, {status.phase}"
    if spec.purpose is Purpose.ROLL_BACK:
        text = f"promotion {promotion.name} rolled stage {spec.stage} back to it, {status.phase}"
    yield Statement(Topic.PROMOTION, f"{text}; {asked_by(promotion)}", depth, status.started)
    yield from evidence_of(promotion, depth + 1)


def begin_of(promotion: Promotion) -> tuple[datetime, str]:
    """Return the sort key of promotions, the oldest first: when they began, or were asked for."""
    begun = promotion.status.started or promotion.metadata.creation_timestamp or _LONG_AGO
    return begun, promotion.name


def asked_by(promotion: Promotion) -> str:
    """Say who asked for a promotion, and why."""
    spec = promotion.spec
    why = f": {spec.reason}" if spec.reason else ""
    return f"{spec.requested_by} asked for it{why}" if spec.requested_by else "by itself"


def evidence_of(promotion: Promotion, depth: int) -> Iterator[Statement]:
    """Yield what a promotion went past, its commit, its votes, and its checks."""
    spec, status = promotion.spec, promotion.status
    if spec.bypass:
        past = "order, approval, windows and image policies"
        if not spec.past_image_policies:
            past = "order, approval and windows"
        emergency = f"emergency, past {past}: {spec.bypass}"
        yield Statement(Topic.APPROVAL, emergency, depth)
    if status.commit:
        commit = f"its digests were committed as {short_commit(status.commit)}"
        yield Statement(Topic.COMMIT, commit, depth)
    yield from _votes(status.votes, depth)
    yield from _checks(status.checks, depth)


def _votes(votes: Sequence[Vote], depth: int) -> Iterator[Statement]:
    for vote in votes:
        comment = f": {vote.comment}" if vote.comment else ""
        text = f"{vote.by} {'approved' if vote.approved else 'refused'} it{comment}"
        yield Statement(Topic.APPROVAL, text, depth, vote.at)


def _checks(checks: Sequence[CheckResult], depth: int) -> Iterator[Statement]:
    for check in checks:
        text = f"check {check.name} {check.phase}"
        text += f", at attempt {check.attempt}" if check.flaky else ""
        text += f", told by {check.by}" if check.by else ""
        text += f" (run {check.run})" if check.run else ""
        text += f": {check.message}" if check.message else ""
        shown = ", ".join(one.url or one.name for one in check.evidence)
        text += f"; evidence: {shown}" if shown else ""
        yield Statement(Topic.TEST, text, depth, check.ended)
