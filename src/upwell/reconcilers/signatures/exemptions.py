"""Images that somebody has let past image policies: by an emergency promotion, each by digest."""

from upwell.api.pipeline import Pipeline
from upwell.api.promotion import Promotion, PromotionPhase
from upwell.policy.promotion.stages import namespace_of
from upwell.store.interface import NotFoundError, Store

_ENDED = frozenset({PromotionPhase.FAILED, PromotionPhase.SUPERSEDED, PromotionPhase.REJECTED})


async def exemption(store: Store, namespace: str, digest: str) -> str:
    """Return who let an image past the policies of a namespace, and why; empty: nobody did.

    It holds from the begin of the promotion until it has failed.
    """
    for promotion in (await store.list(Promotion)).items:
        spec, status = promotion.spec, promotion.status
        begun = status.started is not None and status.phase not in _ENDED
        if digest not in spec.past_image_policies or not begun:
            continue
        if await _target(store, promotion) == namespace:
            who = f"by {spec.requested_by} " if spec.requested_by else ""
            return f"it was let past them {who}with {promotion.key}: {spec.bypass}"
    return ""


async def _target(store: Store, promotion: Promotion) -> str | None:
    """Return the namespace that a promotion is for; None: its stage is gone."""
    try:
        pipeline = await store.get(Pipeline, promotion.namespace, promotion.spec.pipeline)
    except NotFoundError:
        return None
    stage = pipeline.stage(promotion.spec.stage)
    return namespace_of(pipeline, stage) if stage is not None else None
