"""Instances as Podman containers.

Podman is driven through its API socket, served by a child process of ours. Measured on two cores
with Podman 5.4: a list of ten containers takes 2 to 8 ms through the socket; a `podman ps` takes
23 ms, and as much CPU, before it lists anything. More important, environment and registry logins
travel over a socket that only this user can open, never over a command line or through a file.

Exec probes through the API keep their conmon until `exit_command_delay` (containers.conf) is over:
the file that `machine.containers_conf` writes makes that short.

Truth is in Podman (labels say what a container belongs to) and in one record for each instance
(probes and how they stand); nothing is kept in memory that a restart of this process would lose.
"""

import asyncio
import contextlib
import logging
import math
import shutil
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from datetime import datetime
from ipaddress import IPv4Network
from itertools import chain
from typing import Self
from uuid import uuid4
from weakref import WeakValueDictionary

from upwell.machine.clock import Clock, SystemClock
from upwell.machine.components import Components, WatchedComponent
from upwell.machine.tasks import side_by_side
from upwell.oci import Digest, Reference
from upwell.workload.errors import RuntimeUnavailableError
from upwell.workload.instance_spec import InstanceSpec, Owner
from upwell.workload.interface import (
    WHOLE_LOG,
    ContainerFile,
    ExecSession,
    FileLimits,
    Instance,
    InstanceCommand,
    InstanceImage,
    Leftover,
    LeftoverKind,
    LogQuery,
    ServiceName,
    State,
)
from upwell.workload.podman.access import InstanceAccess
from upwell.workload.podman.api.client import PodmanApi
from upwell.workload.podman.api.commands import ContainerCommands
from upwell.workload.podman.api.connection import must_find
from upwell.workload.podman.api.faults import RuntimeFaults
from upwell.workload.podman.api.service import PodmanService, PodmanSettings
from upwell.workload.podman.api.stored_images import LOCAL
from upwell.workload.podman.api.supervision import ServiceSupervisor
from upwell.workload.podman.bridge import BridgeNetwork, InstancesNetwork, make_local
from upwell.workload.podman.changes import OwnerChanges
from upwell.workload.podman.confinement import with_users
from upwell.workload.podman.containers.body import LABEL_UPWELL
from upwell.workload.podman.containers.creation import ContainerCreation
from upwell.workload.podman.containers.cut_starts import start as start_container
from upwell.workload.podman.containers.devices import refuse_devices
from upwell.workload.podman.containers.ending import ContainerEnding
from upwell.workload.podman.containers.facts import ContainerFacts
from upwell.workload.podman.health import Health
from upwell.workload.podman.hosts_files import HostsFiles
from upwell.workload.podman.images.given_images import GivenImages
from upwell.workload.podman.images.judged_pulls import JudgedPulls
from upwell.workload.podman.images.pulled_images import PulledImages
from upwell.workload.podman.images.pulls import Pulls
from upwell.workload.podman.instance_watch import InstanceActions, InstanceWatch
from upwell.workload.podman.leftovers import Leftovers
from upwell.workload.podman.listing import BrokenContainer, ContainerListing
from upwell.workload.podman.losses import forget_earlier_boot, losses_of
from upwell.workload.podman.observation import ends_of, next_to_start, observe, restarts_of
from upwell.workload.podman.placement import InstancePlacement
from upwell.workload.podman.previous_logs import PreviousLogs
from upwell.workload.podman.records import InstanceRecord, RecordStore, writing
from upwell.workload.podman.shared_calls import SharedCall
from upwell.workload.podman.tokens.renewal import InstanceTokens
from upwell.workload.podman.udp_flows import forget_flows
from upwell.workload.podman.users.assignment import UserAssignment
from upwell.workload.podman.volumes import instance_volumes as volumes
from upwell.workload.podman.volumes.kept_volumes import KeptVolumes
from upwell.workload.podman.volumes.pins import Pins

__all__ = ["PodmanRuntime", "PodmanSettings"]

_log = logging.getLogger(__name__)

_RESTART_GRACE_SECONDS = 10
"""For containers that run when another of their instance has ended, and that have served."""


class PodmanRuntime:
    """The Runtime port on one machine; made by `PodmanRuntime.open`."""

    def __init__(
        self, settings: PodmanSettings, api: PodmanApi, clock: Clock, component: WatchedComponent
    ) -> None:
        self._settings = settings
        self._api = api
        self._clock = clock
        self._label = f"{LABEL_UPWELL}={settings.instance_id}"
        self._records = RecordStore(settings.data_dir / "instances")
        self._hosts = HostsFiles(self._records.root)
        self._leftovers = Leftovers(settings, api, self._records)
        self._changes = OwnerChanges()
        self._images = JudgedPulls(settings, api)
        self._given = GivenImages(settings.data_dir / "given-images", settings.preloaded_images)
        self._pulled = PulledImages(settings, api, clock)
        self._pulls = Pulls(
            self._images,
            clock,
            self._changes.publish,
            self._given,
            self._pulled,
            self._has_run,
            always_verified=settings.always_verify_images,
        )
        labels = {LABEL_UPWELL: settings.instance_id}
        self._kept = KeptVolumes(api, settings.data_dir / "kept", labels)
        self._pins = Pins(settings.pins_root, settings.allowed_host_paths)
        tokens_root, issue = settings.tokens_root, settings.issue_token
        self._tokens = InstanceTokens(tokens_root, self._records, issue, clock)
        self._users = UserAssignment(settings, api, self._records)
        self._places = InstancePlacement(
            settings,
            self._records,
            self._hosts,
            self._kept,
            self._pins,
            self._tokens,
            self._users,
        )
        self._creation = ContainerCreation(settings, api, self._hosts, self._given)
        previous = PreviousLogs(self._records.root)
        self._ending = ContainerEnding(settings, api, previous, self._kept)
        self._wake = asyncio.Event()
        self._commands = ContainerCommands(api, settings.data_dir / "commands")
        self._health = Health(api, self._commands, self._records, clock, self._wake.set)
        self._listing = ContainerListing(api, self._label, clock.now)
        self._access = InstanceAccess(api, self._listing, self._records, self._commands, previous)
        self._faults = RuntimeFaults(component, self._recovered)
        self._watch = InstanceWatch(
            self._listing,
            self._records,
            self._health,
            self._changes,
            self._faults,
            InstanceActions(self._go_on, self._mend),
        )
        self._all_instances = SharedCall(self._observe_instances)
        self._renewed: dict[str, Instance] = {}
        """Instances whose containers have gone to be replaced, as they were seen last."""
        self._is_torn_down = False
        self._network = InstancesNetwork(api, settings.network_name, settings.instance_id)
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        settings: PodmanSettings,
        clock: Clock | None = None,
        component: WatchedComponent | None = None,
    ) -> AsyncIterator[Self]:
        """Run the API service, the watch and the probes while the block lasts: one at a time.

        Faults of Podman are reported as those of `component`: while it does not answer, all calls
        raise RuntimeUnavailableError, and go on by themselves afterwards. Leaving the block stops
        these, and no container. Raises RuntimeUnavailableError when Podman is not installed.
        """
        if shutil.which(settings.podman) is None:
            raise RuntimeUnavailableError(
                f"{settings.podman} is not installed: apt install podman, and see `upwell doctor`"
            )
        settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        await asyncio.to_thread(forget_earlier_boot, settings)
        service = PodmanService(settings)
        api = PodmanApi(service)
        component = component or Components().add("podman")
        runtime = cls(settings, api, clock or SystemClock(), component)
        await asyncio.to_thread(runtime._records.purge)
        await asyncio.to_thread(runtime._images.recover)
        await asyncio.to_thread(runtime._given.load)
        await asyncio.to_thread(runtime._pulled.load)
        try:
            with contextlib.suppress(RuntimeUnavailableError):  # the supervisor tells of it
                await runtime._network.ensure()
            async with side_by_side() as group:
                supervisor = ServiceSupervisor(service, runtime._faults)
                watch, wake = runtime._watch, runtime._wake
                tasks = [
                    group.create_task(supervisor.run()),
                    group.create_task(watch.run(group, wake)),
                    group.create_task(watch.follow_events(api, runtime._label, wake)),
                    group.create_task(runtime._pulls.run()),
                    group.create_task(runtime._tokens.run()),
                    group.create_task(runtime._kept.run(runtime._clock.now)),
                    group.create_task(runtime._commands.run()),
                ]
                yield runtime
                runtime._health.follow([], group)
                for task in tasks:
                    task.cancel()
        finally:
            await runtime._health.close()
            await runtime._commands.close()
            await api.close()
            await service.close()
            if runtime._is_torn_down:
                await asyncio.to_thread(service.remove_temporary)

    async def instances(self) -> Sequence[Instance]:
        """Return all instances of this Upwell, running or ended, or waiting for an image.

        Those who ask at the same time get one answer, which is no older than their questions.
        """
        return await self._all_instances()

    async def _observe_instances(self) -> Sequence[Instance]:
        containers = await self._listing.observe()
        found = self._watch.instances(containers, self._health.complaints)
        timeline = self._settings.timeline()
        waiting = {
            name: replace(one, timeline=timeline) for name, one in self._pulls.instances().items()
        }
        # What waits may have ended before: then its old containers are still there.
        return [one for _, one in sorted({**self._renewed, **found, **waiting}.items())]

    async def start(self, spec: InstanceSpec) -> None:
        """Start; while images are missing, have them pulled. A running one is left alone.

        Raises ForbiddenError, ImagePullError, InvalidVolumeError, InvalidNameError, or
        RuntimeUnavailableError (with Podman's own words) when a container cannot be started.
        """
        volumes.refuse_forbidden(spec, self._settings.allowed_host_paths)
        refuse_devices(spec, self._settings.allowed_devices)
        async with self._lock(spec.name):
            try:
                await self._start(spec)
            finally:
                self._renewed.pop(spec.name, None)
        self._wake.set()

    async def local_image(self, image: Reference) -> Digest | None:
        """Return the digest of an image that was made or loaded here (`localhost/…`), if it is."""
        return await must_find(self._api.image_digest(image)) if image.registry == LOCAL else None

    async def _start(self, spec: InstanceSpec) -> None:
        record = self._records.load(spec.name)
        old = (await self._listing.observe(spec.name)).get(spec.name, [])
        state = observe(old, record, {}).state if old else State.CREATED
        if state in {State.RUNNING, State.INITIALIZING}:
            return
        restarts, ends = restarts_of(old, record), ends_of(old, record)
        if await self._pulls.are_needed(spec, restarts):
            return
        begun = (record.begun_at if record else None) or self._clock.now()
        spec = await must_find(with_users(spec, self._api.image_user))
        uid = (record.uid if record else "") or str(uuid4())
        tokens = await must_find(self._tokens.ask(spec, uid, self._api.image_user))
        ids = await must_find(self._users.choose(spec, record))
        record = InstanceRecord.of(spec, restarts, begun, losses_of(state, record))
        timeline = self._settings.timeline()
        record = replace(record, timeline=timeline, users=ids, uid=uid, ends=ends)
        with writing(spec.name):
            self._records.save(record)
        ended = any(container.ended for container in old)
        await self._remove_broken(spec.name)
        self._renewed.update(self._watch.instances({spec.name: old} if old else {}, {}))
        if old:
            await self._ending.stop(old, _RESTART_GRACE_SECONDS if ended else 0)
            record, old = await self._with_ends(record, old)
            await self._ending.end(old, 0, keep_logs=True)
        wanted = await self._places.place(spec, record, tokens)
        await self._network.ensure()
        made = await must_find(self._creation.create(wanted))
        with writing(spec.name):
            self._records.save(replace(wanted.record, made=made.all))
        for container_id in made.first:
            await must_find(start_container(self._api, container_id))
        await asyncio.to_thread(forget_flows, {port.host_port for port in spec.published})
        self._tokens.follow(spec.name)

    async def _with_ends(
        self, record: InstanceRecord, old: Sequence[ContainerFacts]
    ) -> tuple[InstanceRecord, list[ContainerFacts]]:
        """Note how those ended that were stopped along with another; return all as they are now."""
        found = (await self._listing.observe(record.name)).get(record.name, [])
        now = {one.id: one for one in found}
        stopped = [now.get(one.id, one) for one in old]
        record = replace(record, ends=ends_of(stopped, record))
        with writing(record.name):
            self._records.save(record)
        return record, stopped

    def is_there(self, name: str, uid: str) -> bool:
        """Return True while an instance is there that has not ended for good."""
        record = self._records.load(name)
        if record is None or record.uid != uid:
            return False
        return not (record.once and self._watch.has_ended(name))

    async def provide(self, spec: InstanceSpec) -> str:
        """Have the images of an instance pulled; return which is waited for, empty: all are there.

        Raises ImagePullError when the last pull has failed.
        """
        needed = await self._pulls.are_needed(spec, 0, shown=False)
        return self._pulls.message(spec.name) if needed else ""

    async def release_volumes(self, owner: Owner) -> None:
        """Have the volumes that are kept with an owner removed in time: it was deleted."""
        await self._kept.release(owner, self._clock.now())

    def well_since(self) -> datetime:
        """Return since when Podman answers: this moment, while it does not."""
        return self._faults.component.state.since if self._faults.answers else self._clock.now()

    async def _go_on(self, name: str) -> None:
        """Start what comes next in an instance with init containers."""
        async with self._lock(name):
            found = (await self._listing.observe(name)).get(name, [])
            record = self._records.load(name)
            following = next_to_start(found, record)
            pins = record.pins if record else ()
            if following and not await asyncio.to_thread(self._pins.are_whole, name, pins):
                # Unmounted by hand, say: the rest would see other folders. Its owner begins anew.
                await self._ending.end(found, 0)
                following = []
            for container in following:
                await must_find(start_container(self._api, container.id))
        self._wake.set()

    async def stop(self, name: str, grace_seconds: float) -> None:
        """SIGTERM, SIGKILL after the grace time, remove with its volumes; idempotent."""
        async with self._lock(name):
            self._pulls.cancel(name)
            found = (await self._listing.observe(name)).get(name, [])
            left = await self._health.before_stop(found, grace_seconds)
            await self._remove_broken(name)
            await self._ending.end(found, math.ceil(left))
            with writing(name):
                await self._places.release(name)
                await asyncio.to_thread(self._records.remove, name)
        self._wake.set()

    async def execute(
        self, name: str, command: tuple[str, ...], container: str = ""
    ) -> tuple[int, bytes]:
        """Run a command in a container; returns its exit code and the start of its output.

        Raises RuntimeUnavailableError when there is no such container, or it does not run.
        """
        return await self._access.execute(name, command, container)

    async def publish_names(self, names: Sequence[ServiceName]) -> None:
        """Let instances, present and future, find exactly these Services by name."""
        await asyncio.to_thread(self._hosts.publish, names)

    async def service_network(self) -> IPv4Network | None:
        """Return the addresses for Services that instances reach, made local to this machine.

        None when the machine does not let us: then Services have loopback addresses alone.
        """
        upper = (await self.network()).services
        return upper if await make_local(upper) else None

    async def network(self) -> BridgeNetwork:
        """Return the network of all instances, made unless it is there."""
        await self._network.ensure()
        return await self._network.find()

    async def leftovers(self) -> Sequence[Leftover]:
        """Return what interrupted work left beside the instances."""
        found = await self._listing.observe()
        return await self._leftovers.find(lambda name: name in found or self._is_busy(name))

    async def remove_leftover(self, leftover: Leftover) -> None:
        """Remove a leftover, unless it is needed again; idempotent."""
        name = leftover.name
        # No start may make use of a folder while it goes.
        async with self._lock(name):
            is_folder = leftover.kind is LeftoverKind.FOLDER
            if is_folder and (name in self._pulls.instances() or await self._listing.observe(name)):
                return
            if is_folder:
                with writing(name):
                    await self._places.release(name)
            await self._leftovers.remove(leftover)

    async def pulled_images(self) -> Sequence[InstanceImage]:
        """Return the images that were pulled for instances, and that nobody else has named."""
        return await self._pulled.find()

    async def remove_pulled_image(self, image: InstanceImage) -> bool:
        """Remove an image, unless it is in use, or was used since; return True if it is gone."""
        return await self._pulled.remove(image)

    def _is_busy(self, name: str) -> bool:
        """Return True if an instance is being started or stopped, or waits for an image."""
        lock = self._locks.get(name)
        return name in self._pulls.instances() or (lock is not None and lock.locked())

    def changes(self) -> AsyncIterator[Owner]:
        """Yield an owner whenever one of its instances started, turned (un)ready or ended."""
        return self._changes.listen()

    def logs(
        self, name: str, container: str = "", wanted: LogQuery = WHOLE_LOG
    ) -> AsyncIterator[bytes]:
        """Yield the log of an instance's container (the first when no name is given)."""
        return self._access.logs(name, container, wanted)

    async def read_files(
        self, name: str, path: str, limits: FileLimits, container: str = ""
    ) -> Sequence[ContainerFile]:
        """Return a file, or all below a folder, of a container; raises UnreadableFilesError."""
        return await self._access.read_files(name, path, limits, container)

    def run(self, name: str, command: InstanceCommand) -> AbstractAsyncContextManager[ExecSession]:
        """Run a command in an instance while the block lasts; leaving the block ends it."""
        return self._access.run(name, command)

    def attach(
        self, name: str, container: str = "", *, stdin: bool = False
    ) -> AbstractAsyncContextManager[ExecSession]:
        """Attach to a container's own process while the block lasts; it runs on after it."""
        return self._access.attach(name, container, stdin=stdin)

    async def connect(
        self, name: str, port: int
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Connect to a TCP port of an instance, as a process inside it would; the caller closes.

        Raises UnreachableError.
        """
        return await self._access.connect(name, port)

    async def teardown(self) -> None:
        """Remove every instance of this Upwell, at once, and its network."""
        names = {*await self._listing.observe(), *self._records.names()}
        async with side_by_side() as group:
            for name in names:
                group.create_task(self.stop(name, 0))
        with writing("all"):
            await self._places.release_all()
        await self._kept.remove_cut_short()
        for volume in await self._api.volumes(self._label):
            await self._api.remove_volume(volume)
        await self._network.remove()
        self._is_torn_down = True

    def _recovered(self) -> None:
        """Let everybody look again, as what they did meanwhile has failed."""
        self._watch.tell_all()
        self._wake.set()

    def _lock(self, instance: str) -> asyncio.Lock:
        """One start or stop of an instance at a time."""
        return self._locks.setdefault(instance, asyncio.Lock())

    async def _has_run(self, namespace: str, image: Reference) -> bool:
        """Return True if a container of the namespace has the image, which it was given."""
        found = chain.from_iterable((await self._listing.observe()).values())
        return any(one.proves(namespace, image) for one in found)

    async def _remove_broken(self, name: str) -> None:
        """Remove the containers of an instance that are set apart; its lock is held."""
        for one in self._listing.broken(name):
            _log.warning(
                "broken container is removed",
                extra={"instance": one.instance, "container": one.name, "why": one.message},
            )
            await self._listing.remove_broken(one)

    async def _mend(self, broken: BrokenContainer) -> None:
        """Remove a container that is set apart; who owns its instance starts that anew."""
        async with self._lock(broken.instance):
            await self._listing.observe(broken.instance)
            await self._remove_broken(broken.instance)
        self._wake.set()
