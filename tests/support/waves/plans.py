"""Answers to ImpactPlans over the objects of a store, as the server gives them."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from upwell.actions.plans import PlanActions
from upwell.api.codec import decode_as, encode
from upwell.api.waves.plan import ImpactPlan
from upwell.controller import ObjectCache
from upwell.policy.waves.approval import NO_APPROVALS, ApprovalRules
from upwell.policy.waves.canary import CanaryRules
from upwell.reconcilers.builds.index import BuildIndex
from upwell.reconcilers.waves.index import WaveIndex
from upwell.store.interface import Store


async def answered_plan(
    store: Store,
    clock: Callable[[], datetime],
    document: Mapping[str, Any],
    approvals: ApprovalRules = NO_APPROVALS,
    canary: CanaryRules | None = None,
) -> dict[str, Any]:
    """Return the answer to the ImpactPlan of a client that may read everything."""
    asked = decode_as(ImpactPlan, document)
    index = WaveIndex(BuildIndex(ObjectCache(store), approvals=approvals))
    actions = PlanActions(index, clock, canary or CanaryRules())
    status = await actions.plan(asked.namespace, asked.spec, lambda _kind, _namespace: True)
    return encode(asked.with_status(status))
