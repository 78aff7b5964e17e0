"""Prunes what lies beside the registry: uploads, evidence, images of the builder and of workloads.

Their stores decide what is in use. Each of them fails by itself: what one cannot remove in this
run is said, and left to the next.
"""

import asyncio
import logging
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Self

from upwell.api.requests.prune import PrunedItem
from upwell.builder.interface import BuildError
from upwell.policy.pruning.pulled_images import unneeded_images
from upwell.policy.pruning.rules import Rules
from upwell.reconcilers.builds.objects import referenced_inputs
from upwell.reconcilers.pruning.evidence import referenced_evidence
from upwell.reconcilers.pruning.plan import PruningPlan, PruningPlanner
from upwell.reconcilers.pruning.ports import Stores
from upwell.uploads.interface import InputError
from upwell.workload.errors import WorkloadError
from upwell.workload.interface import InstanceImage

log = logging.getLogger(__name__)

_STORAGE_SECONDS = 15.0
"""For the images of one storage, which go one by one; the next run goes on."""


@dataclass(frozen=True, slots=True)
class PrunedStorage:
    """Items that went, or would go, and why others did not (a sentence for each storage)."""

    items: tuple[PrunedItem, ...] = ()
    left_out: tuple[str, ...] = ()

    @classmethod
    def of(cls, parts: Iterable[Self]) -> Self:
        """Return all of these as one."""
        together = tuple(parts)
        return cls(
            tuple(item for part in together for item in part.items),
            tuple(why for part in together for why in part.left_out),
        )


class StoragePruning:
    """Prunes each storage of `stores` but the registry; `planner` tells again what is needed."""

    def __init__(self, stores: Stores, planner: PruningPlanner) -> None:
        self._stores = stores
        self._planner = planner

    async def prune(self, plan: PruningPlan, rules: Rules, *, confirm: bool) -> PrunedStorage:
        """Remove what no object names and nothing uses, or only say what would go.

        Raises StoreError.
        """
        return PrunedStorage.of(
            [
                await self._uploads(rules.keep_younger_than, confirm=confirm),
                await self._builder_images(plan, rules.keep_younger_than, confirm=confirm),
                await self._pulled_images(plan, rules, confirm=confirm),
            ]
        )

    async def _uploads(self, grace: timedelta, *, confirm: bool) -> PrunedStorage:
        """Prune what clients have uploaded, for builds and of checks, and no object names."""
        stores = self._stores
        inputs, evidence = (
            await referenced_inputs(stores.objects),
            await referenced_evidence(stores.objects),
        )
        items, left_out = list[PrunedItem](), list[str]()
        for what, kept_in, needed, reason in (
            ("uploads", stores.inputs, inputs, "no build and no BuildConfig names them"),
            ("evidence", stores.evidence, evidence, "no Promotion names it"),
        ):
            try:
                freed = await kept_in.remove_unused(needed, unused_for=grace, dry_run=not confirm)
            except InputError as error:
                log.warning("uploads were not pruned", extra={"what": what, "error": str(error)})
                left_out.append(f"{what}, not all of them: {error}")
                freed = error.freed_bytes
            if freed:
                items.append(PrunedItem(what=what, name="all", reason=reason, bytes=freed))
        return PrunedStorage(tuple(items), tuple(left_out))

    async def _builder_images(
        self, plan: PruningPlan, grace: timedelta, *, confirm: bool
    ) -> PrunedStorage:
        try:
            async with asyncio.timeout(_STORAGE_SECONDS):
                images = await self._stores.builder.prune(
                    frozenset(plan.decision.kept), unused_for=grace, dry_run=not confirm
                )
        except (BuildError, TimeoutError) as error:
            # The builder's store is a cache: what it cannot remove today, it can tomorrow.
            why = _why(error)
            log.warning("the builder's storage was not pruned", extra={"error": why})
            return PrunedStorage(left_out=(f"images of the builder: {why}",))
        reason = "no build has used it for a while"
        return PrunedStorage(
            tuple(PrunedItem(what="builder image", name=name, reason=reason) for name in images)
        )

    async def _pulled_images(
        self, plan: PruningPlan, rules: Rules, *, confirm: bool
    ) -> PrunedStorage:
        """Prune what was pulled for workloads, by the references that there are now."""
        runtime = self._stores.runtime
        if runtime is None or rules.keep_pulled_images is None:
            return PrunedStorage()
        oldest = plan.now - rules.keep_pulled_images
        items, left_out = list[PrunedItem](), list[str]()
        try:
            images = unneeded_images(await runtime.pulled_images(), plan.decision.kept, oldest)
            if images and confirm:
                kept = (await self._planner.again(plan, rules)).kept
                images = unneeded_images(images, kept, oldest)
            async with asyncio.timeout(_STORAGE_SECONDS):
                for image in images:
                    if confirm and not await runtime.remove_pulled_image(image):
                        continue  # it is in use again
                    item = _pulled_item(image)
                    items.append(item)
                    if confirm:
                        extra = {"image": item.name, "why": item.reason}
                        log.info("pulled image removed", extra=extra)
        except (WorkloadError, TimeoutError) as error:
            # The storage is a cache: what cannot go today, can tomorrow.
            why = _why(error)
            log.warning("not all pulled images were pruned", extra={"error": why})
            left_out.append(f"pulled images, not all of them: {why}")
        return PrunedStorage(tuple(items), tuple(left_out))


def _why(error: Exception) -> str:
    return str(error) or f"it takes over {_STORAGE_SECONDS:g} s"


def _pulled_item(image: InstanceImage) -> PrunedItem:
    return PrunedItem(
        what="pulled image",
        name=str(image.reference),
        reason=f"nothing names it; used until {image.used_at:%Y-%m-%d}",
    )
