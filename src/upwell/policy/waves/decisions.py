"""Decisions of people about Waves: approved, cancelled; each is recorded with who, when and why."""

from collections.abc import Callable, Container, Iterable, Iterator

from upwell.api.builds.build import Build, BuildPhase, BuildTriggerCause
from upwell.api.values.author import people_in
from upwell.api.waves.wave import (
    ENDED_WAVES,
    StreamApproval,
    Wave,
    WaveApproval,
    WaveCancellation,
    WaveDecision,
    WavePhase,
    WaveRetry,
)
from upwell.policy.access.people.persons import may_be_one, program_of
from upwell.policy.promotion.requests import RefusedError
from upwell.policy.waves.gate import closed_gate

MOST_BEGUN = 50
"""Objects of a retry that are recorded."""
_MOST_OF_NAMESPACE = 100
"""ImageStreams of one namespace that a Wave is approved for: who approves there writes into what
all namespaces have."""
_RETRIES = 10
"""Retries that are kept."""


def approved(wave: Wave, decision: WaveDecision) -> Wave:
    """Return a Wave whose change somebody approves; raises RefusedError."""
    if wave.status.phase in ENDED_WAVES:
        raise RefusedError(f"{wave.key} has ended: {wave.status.message}")
    if wave.spec.approval is not WaveApproval.MANUAL:
        raise RefusedError(
            f"{wave.key} needs no approval; what ImageStreams ask for is approved with --stream"
        )
    given = wave.status.approval
    if given is not None:
        raise RefusedError(f"{wave.key} is approved already, by {given.by}")
    _require_other_eyes(wave, decision, (wave.spec.requested_by,), "all namespaces")
    return _with(wave, approval=decision)


def stream_approved(wave: Wave, approval: StreamApproval, requesters: Iterable[str] = ()) -> Wave:
    """Return a Wave whose change the owner of a stream approves, for what builds on it there.

    `requesters` have had it imported into that stream by hand; each names people, one a line.
    Raises RefusedError.
    """
    if wave.status.phase in {WavePhase.SUPERSEDED, WavePhase.CANCELLED}:
        # Its message may tell of other namespaces.
        raise RefusedError(f"{wave.key} has ended: it is {wave.status.phase}")
    place = (approval.namespace, approval.stream)
    others = wave.status.stream_approvals
    for one in others:
        if (one.namespace, one.stream) == place:
            raise RefusedError(f"{wave.key} is approved for {'/'.join(place)}, by {one.by}")
    namespace = approval.namespace
    _require_other_eyes(wave, approval, requesters, f"namespace {namespace}")
    if sum(one.namespace == namespace for one in others) >= _MOST_OF_NAMESPACE:
        raise RefusedError(
            f"{wave.key} is approved for {_MOST_OF_NAMESPACE} ImageStreams of namespace"
            f" {namespace}, and for no more: have what is built follow those"
        )
    return _with(wave, stream_approvals=(*others, approval))


def _require_other_eyes(
    wave: Wave, decision: WaveDecision, requesters: Iterable[str], where: str
) -> None:
    """Raise RefusedError if somebody approves what they have had imported, without a reason."""
    asked = [one for text in requesters for one in people_in(text)]
    if asked and program_of(decision.by) is not None and not decision.override:
        # Whoever gave it its grants, or has a token of it, would be both pairs of eyes.
        raise RefusedError(
            f"{wave.key}: {decision.by} is a ServiceAccount, and nobody's eyes, and {asked[0]} had"
            " the image imported, so somebody else approves it; --override REASON approves it all"
            f" the same, with role overrider in {where}"
        )
    requester = next((one for one in asked if may_be_one(decision.by, one)), "")
    if requester and not decision.override:
        also = "" if requester == decision.by else f" (or may have, by the name {requester})"
        raise RefusedError(
            f"{wave.key}: {decision.by} had the image imported{also}, so somebody else approves it;"
            f" --override REASON approves it all the same, with role overrider in {where}"
        )


def cancelled(wave: Wave, decision: WaveCancellation) -> Wave:
    """Return a Wave that somebody cancels; raises RefusedError."""
    status = wave.status
    if status.cancelled is not None and decision.running and not status.cancelled.running:
        return _with(wave, cancelled=decision)  # what runs is ended too, now
    if status.phase in ENDED_WAVES:
        raise RefusedError(f"{wave.key} has ended: {status.message}")
    why = f": {decision.reason}" if decision.reason else ""
    return _with(
        wave,
        cancelled=decision,
        phase=WavePhase.CANCELLED,
        ended=decision.at,
        estimated_end=None,
        message=f"cancelled by {decision.by}{why}",
    )


def require_retryable(wave: Wave) -> None:
    """Raise RefusedError if nothing of a Wave may begin."""
    closed = closed_gate(wave)
    if closed is not None:
        raise RefusedError(closed.text)
    if wave.status.phase in ENDED_WAVES:
        raise RefusedError(f"{wave.key} has ended: {wave.status.message}")


def retried(wave: Wave, retry: WaveRetry) -> Wave:
    """Return a Wave of which what failed was begun again."""
    return _with(wave, retries=(*wave.status.retries, retry)[-_RETRIES:])


def builds_to_cancel(
    wave: Wave, builds: Iterable[Build], is_on: Callable[[str], bool]
) -> Iterator[Build]:
    """Yield the builds that end with a cancelled Wave: those that bring its image to a BuildConfig.

    Those that have not begun; with `running`, the others too. What a person or a push of source
    has started goes on. `is_on` tells whether a pull spec is the Wave's image, or stands on it.
    """
    decision = wave.status.cancelled
    if decision is None:
        return
    ends: Container[BuildPhase] = {BuildPhase.NEW}
    if decision.running:
        ends = {BuildPhase.NEW, BuildPhase.PENDING, BuildPhase.RUNNING}
    for build in builds:
        status = build.status
        if status.phase in ends and not status.cancelled and _is_of_change(build, is_on):
            yield build


def _is_of_change(build: Build, is_on: Callable[[str], bool]) -> bool:
    """Return True if changes of images alone have started a build, this one among them."""
    causes = build.spec.triggered_by
    return (
        bool(causes)
        and all(one.image_change_build is not None for one in causes)
        and any(_brings(one, is_on) for one in causes)
    )


def _brings(cause: BuildTriggerCause, is_on: Callable[[str], bool]) -> bool:
    change = cause.image_change_build
    if change is None or not is_on(change.image_id):
        return False
    before = change.previous_image_id
    return not before or not is_on(before)


def _with(wave: Wave, **changes: object) -> Wave:
    return wave.with_status(wave.status.model_copy(update=changes))
