"""Waves: their names, which of them has ended, and how far the others are."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import islice

from upwell.api.builds.build import BuildPhase
from upwell.api.meta import ObjectKey, ObjectMeta
from upwell.api.waves.wave import (
    ENDED_WAVES,
    CanaryState,
    HeldObject,
    Wave,
    WaveApproval,
    WaveCanary,
    WaveCount,
    WavePhase,
    WaveSpec,
    WaveStatus,
    WaveStop,
)
from upwell.policy.builds.failures import was_not_rebased
from upwell.policy.explain.freshness import Snapshot
from upwell.policy.explain.graph import EdgeRole, Node
from upwell.policy.health.builds import outcome_of
from upwell.policy.images.imported import change_behind
from upwell.policy.images.streams import StreamTag
from upwell.policy.rollouts.summary import RolloutState, rollout_of
from upwell.policy.waves.approval import NO_APPROVALS, ApprovalRules, asks_for_approval
from upwell.policy.waves.canary import CanaryRules, canary_of
from upwell.policy.waves.changes import ImageMove, began_at, names_upstream, why_passed_over
from upwell.policy.waves.estimate import Estimate
from upwell.policy.waves.gate import closed_gate, keeps_cancelled, needs_approval
from upwell.policy.waves.impact import Impact, PlannedStep, StepAction
from upwell.policy.waves.stop import stop_in_force, stop_of

_MOST_HELD = 50
_MOST_NAMED = 3
_MOST_TEXT = 300
"""Characters of a reason in a message."""
_KEPT = 20
"""Waves of one image that have ended and are kept."""
_BUILDS = (StepAction.REBUILD,)
_WORKLOADS = (StepAction.ROLL_OUT, StepAction.PROMOTE)
_STEADY = timedelta(minutes=1)
"""Change of an estimate below which it stays as it is: it is no news."""
_STEADY_PART = 5
"""Part of what is left below which it is none either, where that is less: one in so many."""


@dataclass(frozen=True, slots=True)
class WaveRules:
    """Rules of the server for the rollouts of every Wave."""

    canary: CanaryRules = field(default_factory=CanaryRules)
    approvals: ApprovalRules = NO_APPROVALS
    stop_share: float = 0.0
    """Share of failures that stops a Wave; 0: none does."""


NO_RULES = WaveRules()
"""Rules by which all goes at once."""


def new_wave(move: ImageMove, name: str, approval: WaveApproval) -> Wave:
    """Return the Wave of a change that nothing of has been done for."""
    spec = WaveSpec(
        image=move.image,
        digest=move.digest,
        previous=move.previous,
        changed=move.changed,
        approval=approval,
        requested_by=move.requested_by,
    )
    return Wave(metadata=ObjectMeta(name=name), spec=spec)


def has_moved_on(wave: Wave, impact: Impact, snapshot: Snapshot) -> bool:
    """Return True if upstream has moved on: no tag has the digest, and one has got another since.

    That nobody imports it any more is no change of the image. A tag that does not, and has the
    digest, counts where somebody may have to approve it.
    """
    imports = [one for one in impact.steps.values() if one.action is StepAction.IMPORT]
    latest = [snapshot.latest(one.node) for one in imports if isinstance(one.node, StreamTag)]
    began = wave.spec.changed
    newer = [one for one in latest if one is not None and began is not None and one.created > began]
    return bool(newer) and not any(
        one.done and (_is_declared(one) or needs_approval(wave) or _is_asked(one, snapshot))
        for one in imports
    )


def _is_declared(step: PlannedStep) -> bool:
    return any(edge.role is EdgeRole.IMPORT for edge in step.edges)


def _is_asked(step: PlannedStep, snapshot: Snapshot) -> bool:
    """Return True if the stream of a tag asks for approval of its changes."""
    name = step.node.stream_name if isinstance(step.node, StreamTag) else None
    stream = snapshot.streams.get(name) if name is not None else None
    return stream is not None and asks_for_approval(stream)


def beyond_kept(waves: Iterable[Wave], image: str) -> list[Wave]:
    """Return the oldest Waves of an image that have ended, beyond those that are kept."""
    ended = [
        one
        for one in waves
        if one.spec.image == image and one.status.phase in ENDED_WAVES and not keeps_cancelled(one)
    ]
    return sorted(ended, key=began_at, reverse=True)[_KEPT:]


def wave_status(
    wave: Wave,
    impact: Impact,
    snapshot: Snapshot,
    estimate: Estimate,
    now: datetime,
    rules: WaveRules = NO_RULES,
) -> WaveStatus:
    """Return how far a Wave is that nothing has superseded."""
    steps = list(impact.steps.values())
    failed = failures(wave, impact, snapshot)
    digests = _digests(wave, steps, snapshot)
    stuck = blocked(steps, failed)
    canary = canary_of(wave, impact, snapshot, stuck, rules.canary, now)
    stop = wave.status.stop
    if wave.status.cancelled is None:
        stop = stop_of(wave, impact, snapshot, digests, rules.stop_share, now)
    builds = _count(steps, _BUILDS, failed.keys())
    builds = builds.model_copy(update={"rebased": _rebased(steps, snapshot)})
    workloads = _count(steps, _WORKLOADS, failed.keys())
    left = [one for one in steps if not one.done and one.action in {*_BUILDS, *_WORKLOADS}]
    goes_on = any(
        one.arrives
        and one.node not in failed
        and one.node not in stuck
        and not (_is_kept_back(one) and _holds_on(canary, one))
        for one in left
    )
    phase = _phase(wave, stop, is_left=bool(left), goes_on=goes_on)
    now_known = WaveStatus(
        observed_generation=wave.generation,
        phase=phase,
        message=_message(
            wave,
            builds,
            workloads,
            canary if left else None,
            stop,
            kept_back=_kept_back(wave, steps, failed) if left else "",
        ),
        builds=builds,
        workloads=workloads,
        levels=max((one.level for one in steps), default=0),
        held=tuple(islice(_held(steps, failed), _MOST_HELD)),
        estimated_end=_end(wave, estimate, now) if phase is WavePhase.RUNNING else None,
        ended=wave.status.ended or now if phase in ENDED_WAVES else None,
        digests=digests,
        canary=_ended(canary) if phase is WavePhase.COMPLETE else canary,
        stop=stop,
    )
    found = {name: getattr(now_known, name) for name in now_known.model_fields_set}
    return wave.status.model_copy(update=found)  # decisions of people stay


def _phase(wave: Wave, stop: WaveStop | None, *, is_left: bool, goes_on: bool) -> WavePhase:
    """Return the phase: is there something left to do, and does it go on by itself?"""
    if wave.status.cancelled is not None:
        return WavePhase.CANCELLED
    if is_left and stop_in_force(wave, stop):
        return WavePhase.STOPPED
    if wave.spec.paused:  # whoever may delete the last that waits does not end a pause by that
        return WavePhase.PAUSED
    if needs_approval(wave):  # nor does that end what has to be approved
        return WavePhase.WAITING
    if not is_left:
        return WavePhase.COMPLETE
    return WavePhase.RUNNING if goes_on else WavePhase.WAITING


def nothing_to_do(wave: Wave, impact: Impact, snapshot: Snapshot) -> str:
    """Say why nothing follows a change: no tag takes the image, as nothing of it matters here."""
    imports = [one.node for one in impact.steps.values() if one.action is StepAction.IMPORT]
    histories = [snapshot.history(node) for node in imports if isinstance(node, StreamTag)]
    found = [why_passed_over(one, wave) for one in histories if names_upstream(one, wave)]
    return found[0] if found and all(found) else ""


def idle_status(wave: Wave, why: str, now: datetime) -> WaveStatus:
    """Return the status of a Wave of a change that changes nothing here."""
    ended = {
        "phase": WavePhase.COMPLETE,
        "message": f"nothing to do: {why}",
        "estimated_end": None,
        "held": (),
        "ended": now,
    }
    return wave.status.model_copy(update={**ended, "observed_generation": wave.generation})


def superseded_status(wave: Wave, now: datetime) -> WaveStatus:
    """Return the status of a Wave whose image has changed again."""
    cancelled = wave.status.cancelled
    if cancelled is not None:
        message = f"cancelled by {cancelled.by}; {wave.spec.image} has changed again since"
        return wave.status.model_copy(update={"lifted": now, "message": message, "held": ()})
    return wave.status.model_copy(
        update={
            "phase": WavePhase.SUPERSEDED,
            "message": f"{wave.spec.image} has changed again",
            "estimated_end": None,
            "held": (),
            "ended": now,
        }
    )


def failures(wave: Wave, impact: Impact, snapshot: Snapshot) -> dict[Node, str]:
    """Return the steps whose last try has failed, and how.

    A build that began before the change has failed on what there was before.
    """
    changed = wave.spec.changed
    since = changed.replace(microsecond=0) if changed is not None else None
    steps = impact.steps.values()
    return {one.node: why for one in steps if (why := _failure(one, snapshot, since))}


def blocked(steps: Iterable[PlannedStep], failed: Collection[Node]) -> set[Node]:
    """Return what a failed build keeps the image from, itself too; the steps are in order."""
    found: set[Node] = set()
    for step in steps:
        is_failed_build = step.action is StepAction.REBUILD and step.node in failed
        if is_failed_build or any(edge.source in found for edge in step.edges):
            found.add(step.node)
    return found


def _failure(step: PlannedStep, snapshot: Snapshot, since: datetime | None) -> str:
    """Say how the last try of a step failed; empty: it did not."""
    if step.done or not isinstance(step.node, ObjectKey):
        return ""
    if step.action is StepAction.REBUILD:
        newest = next(iter(snapshot.builds(step.node)), None)
        if newest is None or not newest.status.phase.is_terminal:
            return ""
        created = newest.metadata.creation_timestamp
        if since is not None and created is not None and created < since:
            return ""
        if was_not_rebased(newest) and not step.arrives:
            return ""  # nothing is broken, and an obstacle says what to do
        return "" if newest.status.phase is BuildPhase.COMPLETE else outcome_of(newest)
    workload = snapshot.workloads.get(step.node)
    rollout = rollout_of(workload) if workload is not None else None
    return rollout.text if rollout is not None and rollout.state is RolloutState.FAILED else ""


def _digests(wave: Wave, steps: Iterable[PlannedStep], snapshot: Snapshot) -> tuple[str, ...]:
    """Return the digests that tags have taken of the image, those that were known before too."""
    found = dict.fromkeys(wave.digests)
    for step in steps:
        history = snapshot.history(step.node) if isinstance(step.node, StreamTag) else None
        state = history.import_state if history is not None else None
        change = change_behind(history) if history is not None else None
        latest = history.latest if history is not None else None
        is_import = step.action is StepAction.IMPORT
        if is_import and latest and change and change.digest == wave.spec.digest:
            found[latest.image] = None
        if (
            is_import
            and state is not None
            and state.upstream_digest == wave.spec.digest
            and state.imported_digest
        ):
            found[state.imported_digest] = None
    return tuple(found)


def _is_kept_back(step: PlannedStep) -> bool:
    return any(one.passes for one in step.obstacles)


def _holds_on(canary: WaveCanary | None, step: PlannedStep) -> bool:
    """Return True if workloads that go first hold a step until somebody mends them."""
    if canary is None or not isinstance(step.node, ObjectKey):
        return False
    return canary.state is CanaryState.FAILING or step.node.namespace in canary.apart


def _ended(canary: WaveCanary | None) -> WaveCanary | None:
    """Return the canaries of a Wave that is complete: nobody waits for them any more."""
    if canary is None or (canary.state is CanaryState.PASSED and not canary.apart):
        return canary
    update = {"apart": (), "state": CanaryState.PASSED, "message": "all have it", "until": None}
    return canary.model_copy(update=update)


def _count(
    steps: Iterable[PlannedStep], actions: Iterable[StepAction], failed: Iterable[Node]
) -> WaveCount:
    found = [one for one in steps if one.action in actions]
    bad = set(failed)
    return WaveCount(
        total=len(found),
        done=sum(one.done for one in found),
        failed=sum(one.node in bad for one in found),
        held=sum(not one.arrives for one in found),
    )


def _rebased(steps: Iterable[PlannedStep], snapshot: Snapshot) -> int:
    """Return how many of the builds that have the change were rebased to it."""
    done = (one.node for one in steps if one.done and one.action in _BUILDS)
    newest = (
        next(iter(snapshot.builds(node)), None) for node in done if isinstance(node, ObjectKey)
    )
    found = (build.status.rebase for build in newest if build is not None)
    return sum(one.rebased for one in found if one is not None)


def _held(steps: Iterable[PlannedStep], failed: dict[Node, str]) -> Iterator[HeldObject]:
    for step in steps:
        reasons = [(one.reason, one.until) for one in step.obstacles]
        if step.node in failed:
            reasons.append((failed[step.node], None))
        for reason, until in reasons:
            yield _held_object(step.node, reason, until)


def _held_object(node: Node, reason: str, until: datetime | None) -> HeldObject:
    key = node if isinstance(node, ObjectKey) else None
    if key is not None:
        return HeldObject(
            kind=key.kind, namespace=key.namespace, name=key.name, reason=reason, until=until
        )
    namespace, _, name = str(node).partition("/")
    return HeldObject(
        kind="ImageStreamTag", namespace=namespace, name=name, reason=reason, until=until
    )


def _message(
    wave: Wave,
    builds: WaveCount,
    workloads: WaveCount,
    canary: WaveCanary | None,
    stop: WaveStop | None,
    *,
    kept_back: str,
) -> str:
    rebased = f" ({builds.rebased} rebased)" if builds.rebased else ""
    text = (
        f"{builds.done} of {builds.total} builds{rebased} and {workloads.done} of {workloads.total}"
        " workloads have it"
    )
    cancelled = wave.status.cancelled
    if cancelled is not None:
        why = f": {cancelled.reason}" if cancelled.reason else ""
        return f"{text}; cancelled by {cancelled.by}{why}"
    if canary is not None and canary.workloads and canary.state is not CanaryState.PASSED:
        text += f"; {canary.healthy} of {len(canary.workloads)} that go first are healthy"
    if (held := stop_in_force(wave, stop)) is not None:
        names = ", ".join(f"{one.namespace}/{one.name}" for one in held.failures[:_MOST_NAMED])
        goes_on = f"`upwell wave resume {wave.name} --reason WHY` goes on"
        text += f"; stopped: {held.message}, {names} first; {goes_on}"
    else:
        text += kept_back
    if wave.spec.paused:
        why = f": {wave.spec.reason}" if wave.spec.reason else ""
        text += f"; paused{why}, `upwell wave resume {wave.name}` goes on"
    elif needs_approval(wave):
        text += f"; waits for approval: `upwell wave approve {wave.name}`"
    return text


def _kept_back(wave: Wave, steps: Iterable[PlannedStep], failed: Mapping[Node, str]) -> str:
    """Say how many have failed and how many are held back, each with the first reason.

    What the Wave itself waits for is left out: its message has that anyway.
    """
    gate = closed_gate(wave)
    own = gate.text if gate is not None else ""
    held: dict[Node, str] = {}
    for step in steps:
        reasons = [one.reason for one in step.obstacles if not one.passes and one.reason != own]
        if reasons and step.node not in failed:
            held[step.node] = reasons[0]
    return "".join(
        f"; {len(found)} {what}, {_first(found)}"
        for what, found in (("failed", failed), ("held back", held))
        if found
    )


def _first(found: Mapping[Node, str]) -> str:
    node, reason = next(iter(found.items()))
    name = str(node) if isinstance(node, ObjectKey) else f"ImageStreamTag {node}"
    line = reason.strip().partition("\n")[0]
    return f"{name}{' first' if len(found) > 1 else ''}: {line[:_MOST_TEXT]}"


def _end(wave: Wave, estimate: Estimate, now: datetime) -> datetime | None:
    if estimate.unknown and not estimate.whole:
        return None
    end = (now + estimate.whole).replace(microsecond=0)
    before = wave.status.estimated_end
    steady = min(_STEADY, estimate.whole / _STEADY_PART)
    if before is not None and before > now and abs(before - end) < steady:
        return before
    return end
