"""A server of Waves that is killed after each of its writes, before it hears that it is made."""

from collections.abc import Iterable
from typing import Any

from tests.support.builds.build_namespace import NAMESPACE
from tests.support.store.mortal_store import KilledError, MortalStore
from tests.support.waves.fleet import Fleet

from upwell.actions.builds import BuildActions
from upwell.actions.rollouts import RolloutActions
from upwell.actions.waves import WaveActions
from upwell.api.apps import Deployment
from upwell.api.builds.build import Build
from upwell.api.builds.config import BuildConfig
from upwell.api.image import ImageStream
from upwell.api.meta import ObjectKey
from upwell.api.pipeline import Quarantine
from upwell.api.waves.wave import Wave
from upwell.policy.rollouts.settings import WORKLOADS, template_of
from upwell.policy.waves.budget import NO_BUDGET, RolloutBudget
from upwell.policy.waves.progress import NO_RULES, WaveRules
from upwell.reconcilers.builds.build_configs import BuildConfigs
from upwell.reconcilers.rollouts.triggers import WorkloadTriggerReconciler
from upwell.reconcilers.rollouts.turns import RolloutTurns
from upwell.reconcilers.waves.index import WaveIndex

_LIVES = 25
"""Ends at the most: places in a queue are told anew in each life."""
_ROUNDS = 3
"""Looks at everything until nothing changes any more: as many as there are levels, and one."""


class MortalFleet(Fleet):
    """A fleet whose server may be killed at each write; what people do is not killed."""

    store_type = MortalStore
    store: MortalStore

    def __init__(
        self, rules: WaveRules = NO_RULES, budget: RolloutBudget = NO_BUDGET, *, killed: bool = True
    ) -> None:
        self.killed, self.budget = killed, budget
        super().__init__(rules)

    def start(self) -> None:
        super().start()
        turns = RolloutTurns(self.cache, self.clock, self.budget)
        self.triggers = WorkloadTriggerReconciler(
            self.workload_index, self.clock, self.gate, turns=turns
        )
        self.configs = BuildConfigs(self.index, clock=self.clock)
        self.actions = BuildActions(self.index)

    @property
    def decisions(self) -> WaveActions:
        rollouts = RolloutActions(self.store, self.clock)
        return WaveActions(WaveIndex(self.index), self.actions, rollouts, self.clock)

    async def works(self) -> None:
        """Let the server do all that there is to do, however often it is killed meanwhile."""
        for life in range(_LIVES):
            self.store.unheard = self.killed and life < _LIVES - 1
            try:
                await self._all()
            except KilledError:
                self.start()
                continue
            self.store.unheard = False
            return

    async def _all(self) -> None:
        """Do what a server does that has just started: it sees every object as new."""
        await self.cache.ready(ImageStream, *WORKLOADS)
        for stream in (await self.store.list(ImageStream)).items:
            await self._look(self.waves.moved(None, stream))
        for _ in range(_ROUNDS):
            for config in (await self.store.list(BuildConfig)).items:
                await self._look(self.waves.unrecorded(None, config))
                await self.configs.reconcile(config.key)
            for workload in (await self.store.list(Deployment)).items:
                await self._look(self.waves.unrecorded(None, workload))
                await self.cache.ready(Deployment)
                await self.triggers.reconcile(workload.key)
            await self.look()

    async def _look(self, keys: Iterable[ObjectKey]) -> None:
        for key in {*keys}:
            await self.look(key)

    async def told(self) -> dict[str, Any]:
        """Return all that the server has made and says, but for versions and times."""
        waves = (await self.store.list(Wave)).items
        workloads = (await self.store.list(Deployment)).items
        configs = (await self.store.list(BuildConfig)).items
        conditions = {
            **{str(one.key): one.status.conditions for one in workloads},
            **{str(one.key): one.status.conditions for one in configs},
        }
        return {
            "waves": sorted(
                (
                    one.spec.digest,
                    str(one.status.phase),
                    one.status.message,
                    [f"{each.namespace}/{each.name}: {each.reason}" for each in one.status.held],
                    one.status.canary and (one.status.canary.state, one.status.canary.workloads),
                )
                for one in waves
            ),
            "builds": sorted(
                (one.name, [str(each.image) for each in one.spec.image_inputs])
                for one in (await self.store.list(Build)).items
            ),
            "quarantines": sorted(
                one.spec.digest for one in (await self.store.list(Quarantine)).items
            ),
            "images": {
                str(one.key): template_of(one).spec.containers[0].image for one in workloads
            },
            "conditions": {
                key: [(one.type, one.status, one.reason, one.message) for one in found]
                for key, found in conditions.items()
            },
        }

    async def built(self, name: str, mark: str) -> None:
        """End the newest build of a BuildConfig, whose image its stream gets."""
        newest = (await self.builds(name))[-1]
        await self.end(newest.name)
        await self.stream(name, mark, NAMESPACE)
