"""Reads everything there is, in an order that misses no reference, and decides what may go."""

import asyncio
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from upwell.api.builds.build import Build
from upwell.api.codec import RESOURCES
from upwell.api.core import Event, Secret
from upwell.api.meta import Resource
from upwell.oci import Digest
from upwell.policy.pruning.retention import RetentionDecision, RetentionFacts, decide
from upwell.policy.pruning.rules import Rules
from upwell.reconcilers.pruning.ports import StoredBuildLog, Stores
from upwell.registry.interface import StoredRepository
from upwell.registry.mirror import mirror_repository

_READ = [kind for kind in RESOURCES if kind.KIND.is_stored and kind not in {Event, Secret}]
"""These two hold no references."""


@dataclass(frozen=True, slots=True)
class PruningPlan:
    """Content and objects that may go."""

    decision: RetentionDecision
    repositories: Sequence[StoredRepository]
    logs: tuple[StoredBuildLog, ...]
    package_lists: tuple[Digest, ...]
    now: datetime


class PruningPlanner:
    """Makes plans; changes nothing."""

    def __init__(self, stores: Stores) -> None:
        self._stores = stores

    async def plan(self, rules: Rules) -> PruningPlan:
        """Say what may go. Raises StoreError, RegistryError or WorkloadError."""
        now = self._stores.clock()
        # Before the objects: whatever is pushed later is in no plan, and whatever is here already
        # is judged by references that are newer.
        repositories = await self._stores.registry.survey()
        logs = self._stores.logs.stored()
        indexed = await self._stores.inventory.digests()
        objects = await self._objects()
        decision = await self._decide(repositories, objects, rules, now)
        builds = {item.uid for item in objects if isinstance(item, Build)}
        oldest = now - rules.keep_younger_than
        return PruningPlan(
            decision,
            repositories,
            tuple(log for log in logs if log.build_id not in builds and log.written < oldest),
            tuple(digest for digest in indexed if digest not in decision.kept),
            now,
        )

    async def again(self, plan: PruningPlan, rules: Rules) -> RetentionDecision:
        """Decide on what `plan` has seen by the references that there are now.

        A revision that is in a stream's history still, for whatever reason, is one of them.
        """
        rules = replace(rules, keep_tag_revisions=sys.maxsize)
        return await self._decide(plan.repositories, await self._objects(), rules, plan.now)

    async def _decide(
        self,
        repositories: Sequence[StoredRepository],
        objects: Sequence[Resource],
        rules: Rules,
        now: datetime,
    ) -> RetentionDecision:
        running = {
            digest: instance.name
            for instance in await self._stores.runtime.instances()
            for digest in instance.images.values()
            if digest is not None
        }
        facts = RetentionFacts(
            objects, repositories, self._stores.host, mirror_repository, now, running=running
        )
        return await asyncio.to_thread(decide, facts, rules)

    async def _objects(self) -> list[Resource]:
        found: list[Resource] = []
        for kind in _READ:
            found += (await self._stores.objects.list(kind)).items
        return found
