"""Clusters that were away, or came later, and get what serves in their stage; pure."""

from collections.abc import Iterable, Mapping
from datetime import datetime

from upwell.api.pipeline import ClusterPhase, ClusterProgress
from upwell.api.promotion import Promotion, PromotionPhase, Purpose
from upwell.policy.promotion.clusters.targets import MAX_MESSAGE


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
    before: Mapping[str, ClusterProgress],
    seen: Mapping[str, str],
    now: datetime,
) -> tuple[ClusterProgress, ...]:
    """Return how clusters stand after a look at what they have in place of the Release.

    `seen` is that by cluster, empty where it is the Release; of others, what was known `before`.
    """
    return tuple(_with_drift(one, before.get(one.name), seen.get(one.name), now) for one in records)


def _with_drift(
    record: ClusterProgress, before: ClusterProgress | None, seen: str | None, now: datetime
) -> ClusterProgress:
    had_drifted = before is not None and before.phase is ClusterPhase.DRIFTED
    if record.phase is not ClusterPhase.COMPLETE:
        return record
    if seen is None:
        return before if before is not None and had_drifted else record
    if not seen:
        return record.model_copy(update={"message": ""})
    since = before.since if before is not None and had_drifted else now
    drifted = {"phase": ClusterPhase.DRIFTED, "message": seen[:MAX_MESSAGE], "since": since}
    return record.model_copy(update=drifted)
