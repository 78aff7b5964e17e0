"""Clusters that were away, or came later, and get what serves in their stage; pure."""

from collections.abc import Iterable

from upwell.api.promotion import Promotion, PromotionPhase, Purpose


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
