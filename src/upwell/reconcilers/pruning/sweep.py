"""Sweep of what interrupted work left behind: at start, every hour, and when a person asks.

Every minute while there is something unexplained: it is over when its owners are applied again.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from datetime import datetime

from upwell.api.apps import Job
from upwell.api.meta import Resource
from upwell.api.pod import Pod
from upwell.machine.components import WatchedComponent
from upwell.policy.pruning.leftovers import (
    LeftoverFacts,
    UnneededItem,
    judge_leftovers,
    without_container,
    without_owner,
)
from upwell.policy.rollouts.instance import owner_of
from upwell.policy.rollouts.settings import WORKLOADS
from upwell.store.interface import Store, StoreError
from upwell.workload.errors import WorkloadError
from upwell.workload.instance_spec import Owner
from upwell.workload.interface import Instance, Runtime

log = logging.getLogger(__name__)

_SECONDS = 3600.0
_UNEXPLAINED_SECONDS = 60.0
_RETRY_SECONDS = 60.0
_AT_ONCE = 16
"""Removals beside each other: each instance may take the whole grace time to stop."""
_GRACE_SECONDS = 10.0
_SHOWN = 5
_OWNERS: Sequence[type[Resource]] = (*WORKLOADS, Job, Pod)


async def instance_owners(store: Store) -> set[Owner]:
    """Return the owners of instances that the store has; raises StoreError."""
    return {owner_of(one.key) for kind in _OWNERS for one in (await store.list(kind)).items}


class LeftoverSweep:
    """Finds leftovers, removes what is provably unneeded, and reports the rest."""

    def __init__(
        self,
        store: Store,
        runtime: Runtime,
        timeline: str,
        clock: Callable[[], datetime],
        component: WatchedComponent | None = None,
    ) -> None:
        self._store = store
        self._runtime = runtime
        self._timeline = timeline
        self._clock = clock
        self._component = component

    async def run(self) -> None:
        """Sweep now and every hour, until cancelled."""
        while True:
            try:
                pause = _UNEXPLAINED_SECONDS if await self.look_after() else _SECONDS
            except (StoreError, WorkloadError, OSError) as error:
                log.warning("leftovers not removed", extra={"why": str(error)})
                pause = _RETRY_SECONDS
            await asyncio.sleep(pause)

    async def look_after(self) -> bool:
        """Remove what is provably unneeded, and report what is not; raises as `find` does.

        Returns whether something is left that a person has to decide about.
        """
        await self.remove(await self.find())
        return self._component is not None and self._component.state.faulty

    async def find(self) -> list[UnneededItem]:
        """Return all leftovers; raises StoreError or WorkloadError."""
        instances = await self._runtime.instances()
        leftovers = await self._runtime.leftovers()
        # After the others: what is started later has its owner here.
        owners = await instance_owners(self._store)
        return judge_leftovers(
            LeftoverFacts(instances, leftovers, owners, self._timeline, self._clock())
        )

    async def remove(
        self, items: Sequence[UnneededItem], *, unexplained: bool = False
    ) -> list[UnneededItem]:
        """Remove them, with `unexplained` also what a person has to decide about; report the rest.

        Returns what was removed; what the runtime does not let go is there the next time. Raises
        as `find` does.
        """
        limit = asyncio.Semaphore(_AT_ONCE)
        meant = [item for item in items if unexplained or not item.unexplained]
        gone = await asyncio.gather(*(self._is_removed(item, limit) for item in meant))
        self._report(await self.find())
        return [item for item, removed in zip(meant, gone, strict=True) if removed]

    async def _is_removed(self, item: UnneededItem, limit: asyncio.Semaphore) -> bool:
        try:
            async with limit:
                await self._remove(item)
        except WorkloadError as error:
            log.warning(
                "leftover not removed", extra={"leftover": item.found.name, "why": str(error)}
            )
            return False
        log.info(
            "leftover removed",
            extra={"what": item.what, "leftover": item.found.name, "why": item.reason},
        )
        return True

    async def _remove(self, item: UnneededItem) -> None:
        if isinstance(item.found, Instance):
            await self._runtime.stop(item.found.name, _GRACE_SECONDS)
        else:
            await self._runtime.remove_leftover(item.found)

    def _report(self, items: Sequence[UnneededItem]) -> None:
        if self._component is None:
            return
        owners, volumes = without_owner(items), without_container(items)
        if owners:
            self._component.fail(
                "InstancesWithoutOwner",
                f"{_some(owners)}: their owners are not in the database. Apply the objects again,"
                " or see `upwell prune --leftovers`, and with --confirm remove them",
            )
        elif volumes:
            self._component.fail(
                "VolumesWithoutContainer",
                f"{_some(volumes)}: anonymous volumes without a container, which may hold data of"
                " an earlier version. Copy what you need (`podman volume inspect` shows where it"
                " is), and remove them with `upwell prune --leftovers --confirm`",
            )
        else:
            self._component.recover()


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"{', '.join(names[:_SHOWN])}{more}"
