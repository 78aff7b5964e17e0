"""The containers of this Upwell as Podman shows them, without those that it cannot show.

A container whose storage is lost (its removal was cut short, say) is listed, but every question
about it alone is refused. Such a one is set apart: the others are as well as before.
"""

import asyncio
import contextlib
import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import Any
from weakref import WeakValueDictionary

from upwell.workload.errors import RuntimeUnavailableError
from upwell.workload.instance_spec import Owner
from upwell.workload.interface import LogQuery
from upwell.workload.podman.api.client import PodmanApi
from upwell.workload.podman.api.connection import PodmanNotFoundError, PodmanRefusedError
from upwell.workload.podman.containers.body import (
    LABEL_CONTAINER,
    LABEL_KIND,
    LABEL_NAME,
    LABEL_NAMESPACE,
    LABEL_OWNER,
)
from upwell.workload.podman.containers.facts import ContainerFacts
from upwell.workload.podman.containers.times import ContainerTimes
from upwell.workload.podman.losses import living_process
from upwell.workload.podman.shared_calls import SharedCall

type _Version = tuple[str, str, int]
"""(container ID, status, start in Unix seconds) as the list of containers has them."""

_LAST_LINES = 10
_LAST_LINES_BYTES = 2048
_LOST = re.compile(r"(layer|container|image) not known|no such file or directory")
"""Of the storage library: what it says of a container of which a part is gone."""
_REMOVING = "removing"
_SAMPLES = 5


@dataclass(frozen=True, slots=True)
class BrokenContainer:
    """A container that Podman lists, but refuses to inspect."""

    id: str
    name: str
    """The container's name within its instance."""
    instance: str
    owner: Owner
    status: str
    message: str
    """Podman's own."""

    def __str__(self) -> str:
        return f"container {self.name} of {self.instance} ({self.id[:12]})"


class ContainerListing:
    """Lists containers by instance, each inspected once for each of its versions."""

    def __init__(self, api: PodmanApi, label: str, clock: Callable[[], datetime]) -> None:
        self._api = api
        self._clock = clock
        self.times = ContainerTimes(clock)
        """Times of containers as they count now."""
        self._label = label
        self._calls: WeakValueDictionary[str, SharedCall[Mapping[str, list[ContainerFacts]]]]
        self._calls = WeakValueDictionary()
        """By instance, or of all: while somebody waits for an answer."""
        self._facts: dict[_Version, ContainerFacts] = {}
        """Facts that were inspected once: they do not change within a version."""
        self._living: dict[_Version, int] = {}
        """Process that was found for each container that claims one, since `doubt`."""
        self._broken: dict[str, BrokenContainer] = {}

    @property
    def processes(self) -> frozenset[int]:
        """Processes, one for each container that runs, whose ends tell of the containers'."""
        return frozenset(self._living.values())

    def doubt(self) -> None:
        """Have the next listings look for the processes of all containers again.

        To be called when one has ended, and from time to time.
        """
        self._living.clear()

    async def observe(self, name: str = "") -> Mapping[str, list[ContainerFacts]]:
        """Return the containers by instance, each instance's in the order of their creation.

        Raises RuntimeUnavailableError, also when Podman refuses to inspect any of several.
        """
        call = self._calls.get(name)
        if call is None:
            call = self._calls[name] = SharedCall(partial(self._list, name))
        return await call()

    def broken(self, name: str = "") -> Sequence[BrokenContainer]:
        """Return what was set apart when it was listed last, of one instance or of all."""
        return [one for one in self._broken.values() if name in {"", one.instance}]

    async def remove_broken(self, one: BrokenContainer) -> None:
        """Remove a container that was set apart, with those that depend on it.

        Raises RuntimeUnavailableError when it cannot be removed, or when more than this one seems
        to be wrong: then nothing is removed.
        """
        try:
            await self._api.inspect(one.id)
        except PodmanNotFoundError:
            pass
        except PodmanRefusedError as error:
            if not await self._is_alone(replace(one, message=str(error))):
                raise RuntimeUnavailableError(
                    f"{one} cannot be inspected, nor can any other: check Podman's storage with"
                    f" `podman system check`: {error}"
                ) from error
            # One that runs is ended first: its removal would be refused once, in the middle.
            with contextlib.suppress(PodmanNotFoundError, PodmanRefusedError):
                await self._api.stop(one.id, 0)
            with contextlib.suppress(PodmanNotFoundError):
                # Nobody can tell whether its anonymous volumes are an earlier version's, with data.
                await self._api.remove(one.id, volumes=False, depend=True)
        self._broken.pop(one.id, None)

    async def _is_alone(self, one: BrokenContainer) -> bool:
        """Return True if it is this container that is broken, and not the storage of all."""
        if one.status == _REMOVING:
            return True
        others = [
            str(entry["Id"])
            for entry in await self._api.containers(self._label)
            if entry["Id"] != one.id
        ]
        for other in others[:_SAMPLES]:
            with contextlib.suppress(PodmanRefusedError, PodmanNotFoundError):
                await self._api.inspect(other)
                return True
        return not others and _LOST.search(one.message) is not None

    async def _list(self, name: str) -> Mapping[str, list[ContainerFacts]]:
        label, began = f"{LABEL_NAME}={name}" if name else "", self._clock()
        listing = await self._api.containers(*filter(None, [self._label, label]))
        grouped: defaultdict[str, list[ContainerFacts]] = defaultdict(list)
        current: dict[_Version, ContainerFacts] = {}
        refused: dict[str, BrokenContainer] = {}
        for entry in listing:
            key = (str(entry["Id"]), str(entry["State"]), int(entry["StartedAt"]))
            try:
                facts = self._facts.get(key) or await self._inspect(key[0])
            except PodmanRefusedError as error:
                refused[key[0]] = _broken(entry, str(error))
                continue
            if facts is not None:
                current[key] = facts
        for key in await self._without_process(current):
            try:
                facts = await self._look_again(key)
            except PodmanRefusedError as error:
                entry = next(one for one in listing if one["Id"] == key[0])
                refused[key[0]] = _broken(entry, str(error))
                facts = None
            if facts is None:
                del current[key]
            else:
                current[key] = facts
        for facts in current.values():
            grouped[facts.instance].append(self.times.correct(facts))
        self._keep(name, current, refused)
        if not name:
            self.times.listed(began, (str(entry["Id"]) for entry in listing))
        for containers in grouped.values():
            containers.sort(key=lambda facts: facts.created)
        return grouped

    async def _without_process(self, current: Mapping[_Version, ContainerFacts]) -> list[_Version]:
        """Return those that claim a process while none of theirs is there."""
        unknown = {
            key: facts
            for key, facts in current.items()
            if key not in self._living and facts.claims_process and not facts.gone
        }
        if not unknown:
            return []
        self._living |= await asyncio.to_thread(_living_processes, unknown)
        return [key for key in unknown if key not in self._living]

    def _keep(
        self,
        name: str,
        current: Mapping[_Version, ContainerFacts],
        refused: Mapping[str, BrokenContainer],
    ) -> None:
        if name:
            self._facts.update(current)
            others = {key: one for key, one in self._broken.items() if one.instance != name}
            self._broken = {**others, **refused}
            return
        doubtful = [one for one in refused.values() if one.status != _REMOVING]
        if not current and len(doubtful) > 1:
            raise RuntimeUnavailableError(
                "podman refuses to inspect every container: check its storage with"
                f" `podman system check`: {doubtful[0].message}"
            )
        self._facts, self._broken = dict(current), dict(refused)
        self._living = {key: pid for key, pid in self._living.items() if key in current}

    async def _inspect(self, container_id: str) -> ContainerFacts | None:
        with contextlib.suppress(PodmanNotFoundError):  # removed since it was listed
            facts = ContainerFacts.parse(await self._api.inspect(container_id))
            if facts.ended:
                facts = replace(facts, last_lines=await self._last_lines(container_id))
            return facts
        return None

    async def _look_again(self, key: _Version) -> ContainerFacts | None:
        """Return what has become of a container whose processes were not there.

        What ends well has its exit on record before its monitor goes, so that a second look finds
        it; when that still finds a process claimed that is not there, nobody will ever know.
        """
        again = await self._inspect(key[0])
        if again is None or not again.claims_process:
            return again
        if pid := living_process(again):
            self._living[key] = pid
            return again
        return replace(again, gone=True, last_lines=await self._last_lines(again.id))

    async def _last_lines(self, container_id: str) -> str:
        last = b""
        with contextlib.suppress(RuntimeUnavailableError):  # a lost log is no lost instance
            async for piece in self._api.logs(container_id, LogQuery(tail=_LAST_LINES)):
                last = (last + piece)[-_LAST_LINES_BYTES:]
        return last.decode(errors="replace").strip()


def _living_processes(containers: Mapping[_Version, ContainerFacts]) -> dict[_Version, int]:
    return {key: pid for key, facts in containers.items() if (pid := living_process(facts))}


def _broken(entry: Mapping[str, Any], message: str) -> BrokenContainer:
    labels = entry.get("Labels") or {}
    return BrokenContainer(
        id=str(entry["Id"]),
        name=str(labels.get(LABEL_CONTAINER, "")),
        instance=str(labels.get(LABEL_NAME, "")),
        owner=Owner(
            str(labels.get(LABEL_KIND, "")),
            str(labels.get(LABEL_NAMESPACE, "")),
            str(labels.get(LABEL_OWNER, "")),
        ),
        status=str(entry["State"]),
        message=message,
    )
