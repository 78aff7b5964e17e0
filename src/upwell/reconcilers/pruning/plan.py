"""Reads everything there is, in an order that misses no reference, and decides what may go."""

import asyncio
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from upwell.api.builds.build import Build
from upwell.oci import Digest
from upwell.policy.pruning.retention import RetentionDecision, RetentionFacts, decide
from upwell.policy.pruning.rules import Rules
from upwell.reconcilers.pruning.ports import FoundRoots, StoredBuildLog, Stores
from upwell.registry.interface import StoredRepository
from upwell.registry.mirror import mirror_repository


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
        """Say what may go.

        Raises PruningRefusedError, StoreError, RegistryError or WorkloadError.
        """
        now = self._stores.clock()
        # Before the objects: whatever is pushed later is in no plan, and whatever is here already
        # is judged by references that are newer.
        repositories = await self._stores.registry.survey()
        logs = self._stores.logs.stored()
        indexed = await self._stores.inventory.digests()
        roots = await self._stores.roots.read()
        decision = await self._decide(repositories, roots, rules, now)
        builds = {item.uid for item in roots.objects if isinstance(item, Build)}
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
        roots = await self._stores.roots.read()
        return await self._decide(plan.repositories, roots, rules, plan.now)

    async def _decide(
        self,
        repositories: Sequence[StoredRepository],
        roots: FoundRoots,
        rules: Rules,
        now: datetime,
    ) -> RetentionDecision:
        facts = RetentionFacts(
            roots.objects,
            repositories,
            self._stores.host,
            mirror_repository,
            now,
            running=roots.running,
            uses=roots.uses,
        )
        return await asyncio.to_thread(decide, facts, rules)
