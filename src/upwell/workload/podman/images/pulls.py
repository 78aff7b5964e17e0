"""Image pulls that go on beside the calls that asked for them.

An instance whose images are being pulled is shown as such; what comes next is up to whoever asked,
who hears of the end as of any other change. A pull that failed is not begun anew at once: whoever
asks too early gets the same fault again, and when it is worth to ask.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Protocol
from weakref import WeakValueDictionary

from upwell.api.meta import format_time
from upwell.machine.clock import Clock
from upwell.oci import Reference
from upwell.workload.errors import ImagePullError, WorkloadError
from upwell.workload.instance_spec import InstanceSpec, Owner
from upwell.workload.interface import Instance, State
from upwell.workload.podman.api.stored_images import LOCAL
from upwell.workload.podman.images.given_images import EVERYBODY, GivenImages
from upwell.workload.podman.images.pulled_images import PulledImages

_log = logging.getLogger(__name__)

_FIRST_PAUSE = timedelta(seconds=2)
_LONGEST_PAUSE = timedelta(seconds=300)
_LONGEST_INTERRUPTED_PAUSE = timedelta(seconds=15)
"""The same where Podman was killed: the registry had no fault, but the image may be what kills."""
_AT_A_TIME = 8
"""Images that one namespace has pulled at a time: each takes a process, and a registry may hang."""
_LOCAL_PAUSE_SECONDS = 15.0
"""Until it is worth to look again for an image that is made on this machine."""
_MOST_DOUBLINGS = 8
"""The longest pause is reached by then."""

type _Login = tuple[str, str] | None
type _Source = tuple[Reference, _Login, bool, str]
"""Image, login, insecure, namespace: what a fault belongs to. With another login it is tried at
once; what another namespace is told is no answer to this one."""


class ImageApi(Protocol):
    """API of the runtime, as far as pulls need it."""

    async def image_exists(self, reference: Reference) -> bool:
        """Return True if the image is in the local storage."""
        ...

    async def image_names(self, reference: Reference) -> Sequence[Reference]:
        """Return all names by digest of an image in the local storage; none: it is not there."""
        ...

    async def pull(
        self, reference: Reference, login: tuple[str, str] | None, *, insecure: bool
    ) -> None:
        """Pull an image; `login` is (username, password). Raises ImagePullError."""
        ...


@dataclass(frozen=True, slots=True)
class _Fault:
    message: str
    times: int
    until: datetime
    """Before that, nobody asks the registry again."""
    longest: timedelta
    """The longest pause between such faults."""
    since: datetime
    """Time of the first of all that have followed one another."""


@dataclass(slots=True)
class _Pull:
    """Pull that one instance waits for."""

    spec: InstanceSpec
    instance: Instance
    shown: bool
    """False while its images are only to be there when it starts later."""
    task: asyncio.Task[None] | None = field(default=None, repr=False)


class Pulls:
    """The pulls that are under way, one for each instance; `publish` hears of their ends.

    An image that is not known to be `given` to a namespace is pulled for it although it lies here;
    where its registry cannot be asked it is used, unless images are `always_verified`, or one has
    refused it to the namespace or given it to another alone. No registry is asked for images of
    this machine's own. `pulled` hears of uses, and of what was not there before. `runs` says
    whether containers of a namespace have an image that was given to it at some time.
    """

    def __init__(
        self,
        api: ImageApi,
        clock: Clock,
        publish: Callable[[Owner], None],
        given: GivenImages,
        pulled: PulledImages,
        runs: Callable[[str, Reference], Awaitable[bool]],
        *,
        always_verified: bool = False,
    ) -> None:
        self._api = api
        self._clock = clock
        self._publish = publish
        self._given = given
        self._pulled = pulled
        self._runs = runs
        self._always_verified = always_verified
        self._asked: asyncio.Queue[_Pull] = asyncio.Queue()
        self._under_way: dict[str, _Pull] = {}
        self._faults: dict[_Source, _Fault] = {}
        self._locks: WeakValueDictionary[Reference, asyncio.Lock] = WeakValueDictionary()
        """Instances that need the same image pull it once."""
        self._places: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()
        """Places of namespaces."""

    async def run(self) -> None:
        """Pull what is asked for, until cancelled."""
        async with asyncio.TaskGroup() as group:
            while True:
                pull = await self._asked.get()
                pull.task = group.create_task(self._work(pull))

    def instances(self) -> Mapping[str, Instance]:
        """Return the instances that wait for an image, by name."""
        return {name: pull.instance for name, pull in self._under_way.items() if pull.shown}

    def message(self, name: str) -> str:
        """Return what the instance waits for; empty: for no image."""
        pull = self._under_way.get(name)
        return pull.instance.message if pull is not None else ""

    async def are_needed(self, spec: InstanceSpec, restarts: int, *, shown: bool = True) -> bool:
        """Return True if images are missing; they are being pulled from now on.

        Raises ImagePullError when one of them could not be pulled just now.
        """
        if (pull := self._under_way.get(spec.name)) is not None:
            pull.shown = pull.shown or shown
            return True
        namespace = spec.owner.namespace
        missing = [one for one in images_of(spec) if not await self._is_there(namespace, one)]
        for image in missing:
            self._refuse_early(_source(spec, image))
        if not missing:
            return False
        waiting = Instance(
            name=spec.name,
            owner=spec.owner,
            revision=spec.revision,
            state=State.PULLING,
            ready=False,
            ready_since=None,
            started_at=self._clock.now(),
            address="",
            images={},
            restarts=restarts,
            message=self._message_of(_source(spec, missing[0])),
            role=spec.role,
        )
        pull = _Pull(spec, waiting, shown)
        self._under_way[spec.name] = pull
        self._asked.put_nowait(pull)
        return True

    def cancel(self, name: str) -> None:
        """Give up what the instance waits for; nothing happens when it waits for nothing."""
        pull = self._under_way.pop(name, None)
        if pull is not None and pull.task is not None:
            pull.task.cancel()

    async def _work(self, pull: _Pull) -> None:
        name = pull.spec.name
        if self._under_way.get(name) is not pull:
            return  # cancelled before it began
        try:
            for image in images_of(pull.spec):
                source = _source(pull.spec, image)
                pull.instance = replace(pull.instance, message=self._message_of(source))
                namespace = pull.spec.owner.namespace
                async with self._places.setdefault(namespace, asyncio.Semaphore(_AT_A_TIME)):
                    await self._fetch(source)
        except WorkloadError as error:
            _log.warning("image not pulled", extra={"instance": name, "why": str(error)})
        except Exception:  # noqa: BLE001 - a fault of ours, which must not end the pulls of others
            _log.exception("image not pulled", extra={"instance": name})
        if self._under_way.get(name) is pull:
            del self._under_way[name]
            self._publish(pull.spec.owner)

    async def _is_there(self, namespace: str, image: Reference) -> bool:
        """Return True if the image is here, and the namespace may have it."""
        await self._pulled.use(image)
        if not await self._api.image_exists(image):
            return False
        if self._given.has(namespace, image):
            return True
        if self._given.is_doubtful(namespace, image):
            return False
        if await self._runs(namespace, image):
            self._given.add(namespace, image)
            return True
        return False

    async def _fetch(self, source: _Source) -> None:
        image, login, insecure, namespace = source
        async with self._locks.setdefault(image, asyncio.Lock()):
            if await self._is_there(namespace, image):
                return
            self._refuse_early(source)
            was_there = await self._api.image_exists(image)
            try:
                await self._api.pull(image, login, insecure=insecure)
            except ImagePullError as error:
                asked = error.refused or error.unanswered
                names = await self._api.image_names(image) if asked else ()
                if error.refused and names:
                    self._given.refuse(namespace, image)
                if error.unanswered and names and self._may_use(namespace, (image, *names)):
                    # Nobody says whose it is; it may be what an administrator has loaded.
                    _log.warning("image used unasked", extra={"image": str(image)})
                    self._given.use_unverified(namespace, image)
                    return
                # In the same words whether it lies here or not: that is nothing to ask for.
                told = f"{error}; {_waits(namespace, image)}" if error.unanswered else str(error)
                longest = _LONGEST_INTERRUPTED_PAUSE if error.interrupted else _LONGEST_PAUSE
                self._remember(source, told, longest)
                raise ImagePullError(told) from error
            self._given.add(EVERYBODY if login is None else namespace, image)
            self._faults.pop(source, None)
            if not was_there:
                await self._pulled.add(image)

    def _may_use(self, namespace: str, names: Sequence[Reference]) -> bool:
        return not self._always_verified and not self._given.is_withheld(namespace, names)

    def _refuse_early(self, source: _Source) -> None:
        image = source[0]
        if image.registry == LOCAL:
            raise ImagePullError(_is_gone(image), retry_after=_LOCAL_PAUSE_SECONDS)
        fault = self._faults.get(source)
        left = (fault.until - self._clock.now()).total_seconds() if fault else 0
        if fault is not None and left > 0:
            raise ImagePullError(fault.message, retry_after=left)

    def _remember(self, source: _Source, message: str, longest: timedelta) -> None:
        now = self._clock.now()
        before = self._faults.get(source)
        # Faults of the one kind are no reason to wait longer for the other.
        times = before.times if before and before.longest == longest else 0
        pause = min(_FIRST_PAUSE * 2 ** min(times, _MOST_DOUBLINGS), longest)
        specs = [pull.spec for pull in self._under_way.values()]
        asked = {_source(spec, image) for spec in specs for image in images_of(spec)}
        # What nobody has asked for again is forgotten.
        self._faults = {
            known: fault
            for known, fault in self._faults.items()
            if known in asked or fault.until + _LONGEST_PAUSE > now
        }
        since = before.since if before else now
        self._faults[source] = _Fault(message, times + 1, now + pause, longest, since)

    def _message_of(self, source: _Source) -> str:
        """Say what an instance waits for, the same throughout one try.

        A text that counts seconds would be written into a status at each of them.
        """
        image, fault = source[0], self._faults.get(source)
        if fault is None:
            return f"pulling image {image}"
        why = fault.message.removeprefix(f"cannot pull {image}: ")
        since = format_time(fault.since.replace(microsecond=0))
        return f"pulling image {image} again, which has failed since {since}, the last time: {why}"


def images_of(spec: InstanceSpec) -> Sequence[Reference]:
    """Return the images of an instance, each once, by digest alone where they have one."""
    containers = (*spec.init, *spec.containers)
    return tuple(dict.fromkeys(container.image.exact for container in containers))


def _source(spec: InstanceSpec, image: Reference) -> _Source:
    logins = {registry: (user, password) for registry, user, password in spec.logins}
    insecure = image.registry in spec.insecure_registries
    return image, logins.get(image.registry), insecure, spec.owner.namespace


def _waits(namespace: str, image: Reference) -> str:
    return (
        f"{image.registry} alone can say whether namespace {namespace} may have the image: make it"
        f" reachable, or let an administrator load the image and name {image.name} in"
        " preloaded-images below [workloads] in the configuration file, which gives it to every"
        " namespace"
    )


def _is_gone(image: Reference) -> str:
    return (
        f"no image {image} in this machine's storage, and no registry has names of {LOCAL}:"
        " `podman load` it as the server's user, or start a rollout, which takes what the tag in"
        " the Pod template stands for now"
    )
