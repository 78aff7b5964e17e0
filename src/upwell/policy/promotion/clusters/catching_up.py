"""Clusters that were away, or came later, and get what serves in their stage; pure."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from upwell.api.pipeline import ClusterPhase, ClusterProgress, Stage
from upwell.api.promotion import Promotion, PromotionPhase, Purpose
from upwell.policy.promotion.clusters.targets import MAX_MESSAGE
from upwell.policy.promotion.stages import serving

_NAMED = 5
"""Clusters that a message names."""


def release_to_catch_up(promotion: Promotion, others: Iterable[Promotion]) -> str:
    """Return the Release that serves since `promotion` has ended; empty if it is not its to bring.

    `others` are all promotions of the Pipeline. One that has begun since brings its own.
    """
    status, spec = promotion.status, promotion.spec
    if spec.purpose is Purpose.VERIFY or not status.clusters or status.started is None:
        return ""
    for one in others:
        is_rival = one.spec.stage == spec.stage and one.spec.purpose is not Purpose.VERIFY
        started = one.status.started
        if not is_rival or started is None or one.name == promotion.name:
            continue
        if (started, one.name) > (status.started, promotion.name):
            return ""
    if status.phase is PromotionPhase.SUCCEEDED:
        return spec.release
    if status.phase is PromotionPhase.FAILED:
        return status.last_good
    return ""


def with_drift(
    records: Iterable[ClusterProgress],
    seen: Mapping[str, str],
    how: str,
    now: datetime,
) -> tuple[ClusterProgress, ...]:
    """Return how clusters stand after a look at what they have in place of the Release.

    `seen` is that by cluster, empty where it is the Release; of others, what was known stays.
    `how` says how it is put back.
    """
    return tuple(_with_drift(one, seen.get(one.name), how, now) for one in records)


def _with_drift(
    record: ClusterProgress, seen: str | None, how: str, now: datetime
) -> ClusterProgress:
    if seen is None or not record.phase.had_turn:
        return record
    phase = ClusterPhase.DRIFTED if seen else ClusterPhase.COMPLETE
    message = f"{seen[: MAX_MESSAGE - len(how) - 2]}; {how}" if seen else ""
    since = record.since if record.phase is phase else now
    arrived = None if seen else record.arrived or since
    return record.model_copy(
        update={"phase": phase, "message": message, "since": since, "arrived": arrived}
    )


def put_back_hint(stage: Stage, release: str) -> str:
    """Say how what was set by hand in a cluster of a stage is put back."""
    if stage.git is not None:
        return "what applies the repository there puts it back"
    return f"`upwell promote {release} --stage {stage.name}` puts it back"


def left_text(records: Iterable[ClusterProgress]) -> str:
    """Say without which clusters a promotion ends, some by their names; empty: with all."""
    left = [one for one in records if one.phase is not ClusterPhase.COMPLETE]
    named = [f"cluster {one.name}, {one.phase}: {one.message}" for one in left[:_NAMED]]
    more = [f"{len(left) - _NAMED} more"] if len(left) > _NAMED else []
    return f"without {'; '.join([*named, *more])}" if left else ""


def drift_text(into: Sequence[Promotion]) -> str:
    """Say which clusters of a stage have something else than what serves; empty: none is known to.

    `into` are the Promotions into the stage.
    """
    name = serving(into).promotion
    records = next((one.status.clusters for one in into if one.name == name), ())
    drifted = [one for one in records if one.phase is ClusterPhase.DRIFTED]
    return "; ".join(f"cluster {one.name} has drifted: {one.message}" for one in drifted[:_NAMED])
