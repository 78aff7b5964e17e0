"""Stop of a Wave: when too much of what it has reached failed because of the new image."""

from collections import defaultdict
from collections.abc import Collection, Container, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from functools import partial

from upwell.api.apps import RevisionRecord
from upwell.api.builds.build import Build, BuildPhase
from upwell.api.builds.config import BuildConfig
from upwell.api.meta import ObjectKey, ObjectMeta
from upwell.api.pipeline import Quarantine, QuarantineSpec
from upwell.api.waves.wave import HeldObject, Wave, WaveStop
from upwell.policy.builds.failures import GENERIC
from upwell.policy.builds.triggers import digest_of
from upwell.policy.explain.freshness import Snapshot, images_of
from upwell.policy.health.builds import outcome_of
from upwell.policy.promotion.components import bases
from upwell.policy.promotion.rollouts import Placed, RolledOut, workload_rollout
from upwell.policy.rollouts.history import Phase, is_cancelled
from upwell.policy.rollouts.settings import Workload
from upwell.policy.waves.impact import Impact, PlannedStep, StepAction
from upwell.policy.waves.tenants import are_of_several

LEAST_FAILURES = 3
"""Failures below which no Wave is stopped, whatever share they are."""
WAVE_LABEL = "upwell.dev/wave"
"""Label of a Quarantine that keeps images from rollouts too: the Wave that it comes from."""
_MOST_TOLD = 10
_OF_AN_IMAGE = frozenset({"DockerBuildFailed", "OutOfMemoryKilled", GENERIC})
"""Reasons of builds that a new base image may be to blame for: something in them went wrong."""


class _Outcome(StrEnum):
    """Outcome of a step on the new image."""

    GOOD = "good"
    FAILED = "failed"
    OPEN = "open"
    """It has not ended, or what it ended with says nothing of the image."""


@dataclass(frozen=True, slots=True)
class _Judged:
    """Outcome of a step, and how it failed."""

    outcome: _Outcome
    text: str = ""


_OPEN = _Judged(_Outcome.OPEN)
_GOOD = _Judged(_Outcome.GOOD)


def stop_of(
    wave: Wave,
    impact: Impact,
    snapshot: Snapshot,
    digests: Collection[str],
    share: float,
    now: datetime,
) -> WaveStop | None:
    """Return why a Wave is stopped, if it is; `share` is that of failures, 0 stops none.

    A build counts as failed if the one before, of the same commit and on the image before, was
    good; a rollout, if it was rolled back to a good revision, or what it rolled out does not stay
    up. The share is the mean of the namespaces', so that each counts once, however many objects
    it has; and failures of one namespace or tenant stop nothing that reaches others too. `digests`
    are those of the image.
    """
    if wave.status.stop is not None or not share or wave.spec.resumed:
        return wave.status.stop
    judge = _Judge(snapshot, frozenset(digests), wave.spec.changed)
    found = [(one, judge.of(one)) for one in impact.steps.values()]
    reached = [one for one in found if one[1].outcome is not _Outcome.OPEN]
    failed = [one for one in reached if one[1].outcome is _Outcome.FAILED]
    if len(failed) < LEAST_FAILURES or _share_failed(reached) <= share:
        return None
    everywhere = {_namespace(one) for one in impact.steps.values()} - {""}
    objects = ((_namespace(step), _object(snapshot, step)) for step, _ in failed)
    if not are_of_several(objects, everywhere):
        return None
    return WaveStop(
        stopped=now,
        message=f"{len(failed)} of {len(reached)} builds and rollouts on it failed",
        failures=tuple(_failures(failed[:_MOST_TOLD])),
    )


def stop_in_force(wave: Wave, stop: WaveStop | None) -> WaveStop | None:
    """Return the stop of a Wave, unless a person lets it go on."""
    return stop if stop is not None and not stop.lifted and not wave.spec.resumed else None


def stop_quarantines(wave: Wave) -> Iterator[Quarantine]:
    """Yield the quarantines that a Wave which is stopped puts its image into."""
    stop = wave.status.stop
    for number, digest in enumerate(wave.digests):
        name = f"wave-{wave.name}" + (f"-{number + 1}" if number else "")
        yield Quarantine(
            metadata=ObjectMeta(name=name[-253:].lstrip("-."), labels={WAVE_LABEL: _label(wave)}),
            spec=QuarantineSpec(
                digest=digest,
                image=wave.spec.image,
                reason=f"Wave {wave.name} was stopped: {stop.message if stop is not None else ''}",
            ),
        )


def holds(found: Quarantine | Wave, images: Container[str]) -> bool:
    """Return True if what keeps a digest back does so where these images are followed.

    A Wave is of one image, and so is a quarantine that it makes: somebody else may import the same
    digest by another name, and have it fail. A person's Quarantine is about the digest.
    """
    if isinstance(found, Quarantine) and WAVE_LABEL not in found.labels:
        return True
    return not found.spec.image or found.spec.image in images


def is_of_wave(quarantine: Quarantine, wave: Wave) -> bool:
    """Return True if a Wave has put its image into this quarantine."""
    return quarantine.labels.get(WAVE_LABEL) == _label(wave)


def _label(wave: Wave) -> str:
    return wave.name[-63:].lstrip("-.")


def _share_failed(reached: Iterable[tuple[PlannedStep, _Judged]]) -> float:
    """Return the mean of the shares of failures in each namespace that was reached."""
    of: dict[str, list[bool]] = defaultdict(list)
    for step, judged in reached:
        of[_namespace(step)].append(judged.outcome is _Outcome.FAILED)
    return sum(sum(ones) / len(ones) for ones in of.values()) / len(of) if of else 0.0


def _object(snapshot: Snapshot, step: PlannedStep) -> BuildConfig | Workload | None:
    if not isinstance(step.node, ObjectKey):
        return None
    return snapshot.configs.get(step.node) or snapshot.workloads.get(step.node)


def _namespace(step: PlannedStep) -> str:
    return step.node.namespace if isinstance(step.node, ObjectKey) else ""


def _failures(failed: Iterable[tuple[PlannedStep, _Judged]]) -> Iterator[HeldObject]:
    for step, judged in failed:
        if isinstance(key := step.node, ObjectKey):
            yield HeldObject(
                kind=key.kind, namespace=key.namespace, name=key.name, reason=judged.text
            )


class _Judge:
    """Judge of what ended on an image."""

    def __init__(
        self, snapshot: Snapshot, digests: frozenset[str], changed: datetime | None
    ) -> None:
        self._snapshot = snapshot
        self._digests = digests
        self._changed = changed
        self._known: dict[str, bool] = {}

    def of(self, step: PlannedStep) -> _Judged:
        node = step.node
        if not isinstance(node, ObjectKey):
            return _OPEN
        if step.action is StepAction.REBUILD:
            return self._of_builds(self._snapshot.builds(node))
        workload = self._snapshot.workloads.get(node)
        return self._of_workload(workload) if workload is not None else _OPEN

    def _of_builds(self, newest_first: Iterable[Build]) -> _Judged:
        ended = [one for one in newest_first if one.status.phase.is_terminal]
        newest = next(iter(ended), None)
        if newest is None or not self._is_on(images_of(newest)):
            return _OPEN
        if newest.status.phase is BuildPhase.COMPLETE:
            return _GOOD
        before = next((one for one in ended if not self._is_on(images_of(one))), None)
        if (
            newest.status.phase is BuildPhase.FAILED
            and newest.status.reason in _OF_AN_IMAGE
            and before is not None
            and before.status.phase is BuildPhase.COMPLETE
            and before.revision.commit == newest.revision.commit
        ):
            return _Judged(_Outcome.FAILED, outcome_of(newest))
        return _OPEN

    def _of_workload(self, workload: Workload) -> _Judged:
        revisions = workload.status.revisions
        newest = next(filter(self._is_news, revisions), None)
        if newest is None:
            return _OPEN
        good_before = any(
            one.phase == Phase.COMPLETE and not self._is_on(one.images.values())
            for one in revisions
        )
        if newest.phase == Phase.FAILED:
            if not good_before or is_cancelled(newest):
                return _OPEN
            return _Judged(_Outcome.FAILED, newest.message)
        if newest.phase != Phase.COMPLETE:
            return _OPEN
        is_latest = newest is revisions[0]
        rollout = workload_rollout(Placed(workload, {})) if is_latest else None
        if rollout is not None and rollout.state is RolledOut.FAILED and good_before:
            return _Judged(_Outcome.FAILED, rollout.message)
        return _GOOD

    def _is_news(self, revision: RevisionRecord) -> bool:
        return (self._changed is None or revision.created >= self._changed) and self._is_on(
            revision.images.values()
        )

    def _is_on(self, images: Iterable[str]) -> bool:
        return any(map(self._stands, map(digest_of, images)))

    def _stands(self, digest: str) -> bool:
        if digest not in self._known:
            find = self._snapshot.producer_of
            made_by = find(digest)
            below = partial(bases, find=find)
            self._known[digest] = digest in self._digests or (
                made_by is not None and any(one.digest in self._digests for one in below(made_by))
            )
        return self._known[digest]
