"""Watch of all instances: tells listeners what changed, has probed what runs, goes on with starts.

Whatever goes wrong with one instance concerns that one alone, and whatever is missed is found at
the next look.
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from upwell.machine.backoff import Backoff
from upwell.machine.processes import ProcessWatch
from upwell.workload.errors import RuntimeUnavailableError
from upwell.workload.interface import Instance, State
from upwell.workload.podman.api.client import PodmanApi
from upwell.workload.podman.api.faults import FaultPlace, InstanceFaults, RuntimeFaults
from upwell.workload.podman.changes import OwnerChanges
from upwell.workload.podman.containers.facts import ContainerFacts
from upwell.workload.podman.health import Health, ProbeTarget
from upwell.workload.podman.listing import BrokenContainer, ContainerListing
from upwell.workload.podman.observation import is_moved, next_to_start, observe
from upwell.workload.podman.records import RecordStore

_log = logging.getLogger(__name__)

_RESYNC_SECONDS = 15.0
"""Time for which a change goes unnoticed when the stream of events loses one."""
_RECONNECT_SECONDS = 1.0
_PAUSES = Backoff(first=1, longest=8)
"""Between looks while Podman gives no list."""
_MEND_SECONDS = 10.0
_UNREADABLE = "instance cannot be read"
_NOT_STARTED = "instance not started"


@dataclass(frozen=True, slots=True)
class InstanceActions:
    """Work on one instance that the watch finds to do; each takes the instance's lock."""

    go_on: Callable[[str], Awaitable[None]]
    """Start what comes next in an instance, by its name."""
    mend: Callable[[BrokenContainer], Awaitable[None]]
    """Remove a container that is broken."""


class InstanceWatch:
    """Looks at all instances whenever one of them changed, and every few seconds."""

    def __init__(
        self,
        listing: ContainerListing,
        records: RecordStore,
        health: Health,
        changes: OwnerChanges,
        faults: RuntimeFaults,
        actions: InstanceActions,
    ) -> None:
        self._listing = listing
        self._records = records
        self._health = health
        self._changes = changes
        self._faults = faults
        self._actions = actions
        self._instance_faults = InstanceFaults()
        self._known: Mapping[str, Instance] = {}
        self._mended_at: dict[str, float] = {}
        """ID of a broken container -> time of the event loop at which it was last tried."""

    def instances(
        self,
        found: Mapping[str, Sequence[ContainerFacts]],
        complaints: Mapping[str, str],
    ) -> Mapping[str, Instance]:
        """Return the instances that the containers make up, without those that are unreadable."""
        seen = {}
        for name, containers in found.items():
            record = self._records.load(name)
            try:
                record = record and record.with_times(self._listing.times.past)
                instance = observe(containers, record, complaints)
                if is_moved(containers, self._records.root):
                    instance = replace(instance, moved=True)
                seen[name] = instance
            except Exception as error:  # noqa: BLE001 - told of this instance; the others go on
                self._instance_faults.tell(name, error, _UNREADABLE)
            else:
                self._instance_faults.forget(name, _UNREADABLE)
        return seen

    def has_ended(self, name: str) -> bool:
        """Return True if an instance had ended at the last look."""
        found = self._known.get(name)
        return found is not None and found.state is State.EXITED

    def tell_all(self) -> None:
        """Tell listeners of every instance that is known, as if each had changed."""
        for owner in {instance.owner for instance in self._known.values()}:
            self._changes.publish(owner)

    async def run(self, group: asyncio.TaskGroup, wake: asyncio.Event) -> None:
        """Look until cancelled; probes are tasks of `group`."""
        processes = ProcessWatch(wake.set)
        try:
            await self._look_for_ever(group, wake, processes)
        finally:
            processes.close()

    async def _look_for_ever(
        self, group: asyncio.TaskGroup, wake: asyncio.Event, processes: ProcessWatch
    ) -> None:
        failures = 0
        while True:
            wake.clear()
            try:
                await self._look(group)
                # Podman tells of no end that nobody has written down, such as its monitor's own.
                processes.follow(self._listing.processes)
            except RuntimeUnavailableError as error:
                self._faults.report(FaultPlace.LIST, "ContainersNotListed", str(error))
                failures += 1
            except Exception:  # noqa: BLE001 - a fault of ours, which must not end the server
                _log.exception("instances not looked at")
                failures += 1
            else:
                self._faults.clear(FaultPlace.LIST)
                failures = 0
            wait = _PAUSES.delay(failures) if failures else _RESYNC_SECONDS
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await wake.wait()

    async def follow_events(self, api: PodmanApi, label: str, wake: asyncio.Event) -> None:
        """Wake the watch at every event; a stream that ends is opened again."""
        told = False
        while True:
            try:
                # Its first sign is that it is open: what happened before that is looked for then.
                async for _ in api.events(label):
                    told = False
                    wake.set()
            except RuntimeUnavailableError as error:
                if not told:
                    _log.warning("event stream lost", extra={"why": str(error)})
                told = True
            except Exception:  # noqa: BLE001 - a fault of ours, which must not end the server
                _log.exception("event stream lost")
            await asyncio.sleep(_RECONNECT_SECONDS)

    async def _look(self, group: asyncio.TaskGroup) -> None:
        self._listing.doubt()
        found = await self._listing.observe()
        self._records.write_rest()
        self._health.follow(_targets(found), group)
        now = self.instances(found, {})
        for name, instance in {**self._known, **now}.items():
            if self._known.get(name) != now.get(name):
                self._changes.publish(instance.owner)
        self._known = now
        await self._mend(self._listing.broken())
        for name, containers in found.items():
            await self._advance(name, containers)

    async def _mend(self, broken: Sequence[BrokenContainer]) -> None:
        """Remove what is broken; what cannot be removed is tried again after a while."""
        now = asyncio.get_running_loop().time()
        tried, self._mended_at = self._mended_at, {}
        for one in broken:
            self._mended_at[one.id] = tried.get(one.id, now)
            if one.id in tried and now - tried[one.id] < _MEND_SECONDS:
                continue
            self._mended_at[one.id] = now
            try:
                await self._actions.mend(one)
            except Exception as error:  # noqa: BLE001 - told, and tried again
                self._instance_faults.tell(one.instance, error, "broken container not removed")
                message = f"{one} is broken and cannot be removed: {error}"
                self._faults.report(FaultPlace.CONTAINER, "ContainerBroken", message)
            self._changes.publish(one.owner)
        if not broken:
            self._faults.clear(FaultPlace.CONTAINER)

    async def _advance(self, name: str, containers: Sequence[ContainerFacts]) -> None:
        """Go on with an instance whose next container's turn has come."""
        try:
            if next_to_start(containers, self._records.load(name)):
                await self._actions.go_on(name)
        except Exception as error:  # noqa: BLE001 - told; tried again at the next look
            self._instance_faults.tell(name, error, _NOT_STARTED)
        else:
            self._instance_faults.forget(name, _NOT_STARTED)


def _targets(found: Mapping[str, Sequence[ContainerFacts]]) -> list[ProbeTarget]:
    return [
        ProbeTarget(container, next((entry.address for entry in containers if entry.address), ""))
        for containers in found.values()
        for container in containers
        if container.running
    ]
