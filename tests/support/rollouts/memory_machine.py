"""A machine in memory for rollouts: a runtime, a router and a clock that tests turn.

The fakes keep to their ports: an instance serves only while it runs and is ready, and a request
that the router sends to an instance which does not serve is a failed request.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Network
from typing import TYPE_CHECKING

from tests.support.registry.memory import RegistryInMemory
from tests.support.store.mortal_store import KilledError
from tests.support.store.overtaken_store import OvertakenStore

from upwell.actions.rollouts import RolloutActions
from upwell.api.meta import ObjectKey, Resource
from upwell.controller import ObjectCache, Result
from upwell.machine.clock import PastTimes
from upwell.oci import Digest, Reference
from upwell.reconcilers.authority import Authority, AuthorRights
from upwell.reconcilers.images.insecure import InsecureRegistries
from upwell.reconcilers.images.pull_secrets import PullSecrets
from upwell.reconcilers.rollouts import RolloutPorts, RolloutReconciler, TemplateImages, Traffic
from upwell.reconcilers.rollouts.index import WorkloadIndex
from upwell.reconcilers.rollouts.traffic import ROUTER_KEY
from upwell.reconcilers.rollouts.triggers import WorkloadTriggerReconciler
from upwell.reconcilers.routing.reconciler import RoutingReconciler
from upwell.reconcilers.signatures.policies import UNRESTRICTED
from upwell.router.haproxy.config import RouterLimits, plan
from upwell.router.interface import RouterUnavailableError, RoutingTable
from upwell.store.interface import ConflictError
from upwell.workload.errors import (
    ImagePullError,
    NoPreviousLogError,
    RuntimeUnavailableError,
    UnreadableFilesError,
    WorkloadError,
)
from upwell.workload.instance_spec import InstanceSpec, Owner
from upwell.workload.interface import (
    WHOLE_LOG,
    ContainerFile,
    FileLimits,
    Instance,
    InstanceImage,
    Leftover,
    LogQuery,
    ObservedContainer,
    ServiceName,
    State,
)
from upwell.workload.podman.changes import OwnerChanges
from upwell.workload.podman.volumes.instance_volumes import refuse_forbidden

if TYPE_CHECKING:
    from upwell.store.memory import MemoryStore

GOOD = f"registry.test/app@{Digest.of(b'good')}"
BETTER = f"registry.test/app@{Digest.of(b'better')}"
CRASHING = f"registry.test/app@{Digest.of(b'crashing')}"
HANGING = f"registry.test/app@{Digest.of(b'hanging')}"


class MemoryClock:
    """Turned by hand."""

    def __init__(self) -> None:
        self.time = datetime(2026, 1, 1, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.time

    def advance(self, seconds: float) -> None:
        self.time += timedelta(seconds=seconds)


TIMELINE = "memory"
"""Timeline of the store beside the runtime."""


class FakeRuntime:
    """Starts what it is told; what an image does, its digest says. Implements ReadableRuntime."""

    def __init__(
        self, clock: Callable[[], datetime], before: Callable[[str], None] = lambda _: None
    ) -> None:
        self._clock = clock
        self._past = PastTimes(clock)
        self._before = before
        self._changes = OwnerChanges()
        self.running: dict[str, tuple[InstanceSpec, Instance]] = {}
        self.failures: dict[str, WorkloadError] = {}
        """Container image -> what its start raises."""
        self.lifetimes: dict[str, float] = {}
        """Container image -> seconds after which it ends with exit code 3, each time."""
        self.slow: set[str] = set()
        """Container images whose pull does not end before it is taken out of here."""
        self.stubborn: dict[str, asyncio.Event] = {}
        """Instance -> what its stop waits for."""
        self.executed: Callable[[str, tuple[str, ...]], tuple[int, bytes]] = lambda *_: (0, b"")
        self.lasting: set[str] = set()
        """Roles of what runs once but does not end by itself."""
        self.published: list[ServiceName] = []
        self.left: list[Leftover] = []
        """Leftovers, of which those count whose name no instance has."""
        self.ran: list[str] = []
        """The role of everything that was really started, in order."""
        self.exits: dict[str, list[int]] = {}
        """Role of what runs once -> the exit codes of its runs, the last for ever; else 0."""
        self.log_texts: dict[tuple[str, str], bytes] = {}
        """(Instance, container as it is asked for) -> its log, when it is another than always."""
        self.volumes: dict[str, tuple[str, ...]] = {}
        """Container image -> the paths at which it declares volumes."""
        self.released: list[Owner] = []
        """Owners whose volumes may go."""
        self.files: dict[str, list[ContainerFile]] = {}
        """Path -> the files there, in every container."""
        self.cut_short: Exception | None = None
        """Error of every start, once its containers are created."""
        self.start_error = ""
        """Reason why they were refused; empty: nobody has refused them."""
        self.watched_since = clock()
        self.local_images: dict[str, Digest] = {}
        self.pulled: dict[Reference, datetime] = {}
        """Images that were pulled for instances -> when they were used last."""
        self.foreign_images: set[Reference] = set()
        """Images that were there before, or that somebody has given another name."""
        self.unavailable = ""
        """Fault for which it cannot list anything; empty: it can."""

    async def instances(self) -> Sequence[Instance]:
        if self.unavailable:
            raise RuntimeUnavailableError(self.unavailable)
        found = [self._not_ahead(instance) for instance in self.observed()]
        return sorted(found, key=lambda instance: instance.name)

    def _not_ahead(self, instance: Instance) -> Instance:
        return replace(
            instance,
            started_at=self._past(instance.started_at),
            ready_since=instance.ready_since and self._past(instance.ready_since),
            begun_at=instance.begun_at and self._past(instance.begun_at),
        )

    def observed(self) -> list[Instance]:
        """Return all instances as they are now."""
        for name, (spec, instance) in list(self.running.items()):
            lifetime = self.lifetimes.get(str(spec.containers[0].image))
            age = (self._clock() - instance.started_at).total_seconds()
            if lifetime is not None and instance.state is State.RUNNING and age >= lifetime:
                self.end(name, "container app exited 3: no database", 3)
        return [instance for _, instance in self.running.values()]

    async def local_image(self, image: Reference) -> Digest | None:
        return self.local_images.get(str(image))

    async def start(self, spec: InstanceSpec) -> None:
        self._before(f"start {spec.name}")
        refuse_forbidden(spec, ())
        image = spec.containers[0].image
        if str(image) in self.failures:
            raise self.failures[str(image)]
        _, known = self.running.get(spec.name, (spec, None))
        if known is not None and known.state is State.RUNNING:
            return
        started = replace(
            _started(spec, known, self._clock()), volumes=self._kept(spec, str(image))
        )
        if str(image) in self.slow:
            self._show(spec, _pulling(started, image))
            return
        created = replace(
            started,
            state=State.CREATED,
            start_error=self.start_error,
            message=self.start_error or "not started yet",
        )
        self.running[spec.name] = (spec, created)
        self._use(spec)
        if self.cut_short is not None:
            raise self.cut_short
        self._before(f"run {spec.name}")
        self.ran.append(spec.role)
        self._show(spec, started)

    async def provide(self, spec: InstanceSpec) -> str:
        image = str(spec.containers[0].image)
        if isinstance(failure := self.failures.get(image), ImagePullError):
            raise failure
        if image in self.slow:
            return _pulling_message(spec.containers[0].image)
        self._use(spec)
        return ""

    def _use(self, spec: InstanceSpec) -> None:
        for container in (*spec.init, *spec.containers):
            self.pulled[container.image.exact] = self._clock()

    async def release_volumes(self, owner: Owner) -> None:
        self.released.append(owner)

    async def stop(self, name: str, grace_seconds: float) -> None:
        assert grace_seconds >= 0
        self._before(f"stop {name}")
        if name in self.stubborn:
            await self.stubborn[name].wait()
        spec, _ = self.running.pop(name, (None, None))
        if spec is not None:
            self.tell(spec.owner)

    async def execute(
        self, name: str, command: tuple[str, ...], container: str = ""
    ) -> tuple[int, bytes]:
        self.entered(name, container)
        return self.executed(name, command)

    async def publish_names(self, names: Sequence[ServiceName]) -> None:
        self.published = list(names)

    async def leftovers(self) -> Sequence[Leftover]:
        return [one for one in self.left if one.name not in self.running]

    async def remove_leftover(self, leftover: Leftover) -> None:
        if leftover.name not in self.running:
            gone = (leftover.kind, leftover.name)
            self.left = [one for one in self.left if (one.kind, one.name) != gone]

    async def pulled_images(self) -> Sequence[InstanceImage]:
        if self.unavailable:
            raise RuntimeUnavailableError(self.unavailable)
        for spec, _ in self.running.values():
            self._use(spec)
        return [
            InstanceImage(one, frozenset({one.digest}), used_at)
            for one, used_at in self.pulled.items()
            if one.digest is not None and one not in self.foreign_images
        ]

    async def remove_pulled_image(self, image: InstanceImage) -> bool:
        self._before(f"remove {image.reference}")
        is_unused = self.pulled.get(image.reference) == image.used_at
        has = {one.image.exact for spec, _ in self.running.values() for one in spec.containers}
        if not is_unused or image.reference in has:
            return False
        del self.pulled[image.reference]
        return True

    def changes(self) -> AsyncIterator[Owner]:
        return self._changes.listen()

    def tell(self, owner: Owner) -> None:
        """Let those who listen know of a change."""
        self._changes.publish(owner)

    def well_since(self) -> datetime:
        return self.watched_since

    async def logs(
        self, name: str, container: str = "", wanted: LogQuery = WHOLE_LOG
    ) -> AsyncIterator[bytes]:
        found = self.found(name, container)
        if wanted.previous and not found.restarts:
            raise NoPreviousLogError(f"{name} has one log")
        lines = self.log_of(name, container).splitlines(keepends=True)
        for line in lines if wanted.tail is None else lines[-wanted.tail :]:
            yield line
        if wanted.follow and found.state is State.RUNNING:
            await self._end_of(name)

    def _kept(self, spec: InstanceSpec, image: str) -> tuple[str, ...]:
        mounted = {mount.path for mount in spec.containers[0].mounts}
        paths = set(self.volumes.get(image, ())) - mounted
        return () if spec.volume_index is None else tuple(sorted(paths))

    def log_of(self, name: str, container: str) -> bytes:
        """Return the whole log of a container."""
        return self.log_texts.get((name, container), f"last line of {name}\n".encode())

    async def _end_of(self, name: str) -> None:
        async for _ in self.changes():
            if name not in {one.name for one in self.observed() if one.state is State.RUNNING}:
                return

    async def read_files(
        self, name: str, path: str, limits: FileLimits, container: str = ""
    ) -> Sequence[ContainerFile]:
        self.found(name, container)
        files = self.files.get(path)
        if files is None:
            raise UnreadableFilesError(f"there is no {path} in {container or name}")
        if sum(len(file.content) for file in files) > limits.content_bytes:
            raise UnreadableFilesError(f"larger than {limits.content_bytes} bytes")
        if len(files) > limits.entries:
            raise UnreadableFilesError(f"more than {limits.entries} files")
        return files

    def found(self, name: str, container: str = "") -> Instance:
        """Return an instance that has this container; raises RuntimeUnavailableError."""
        found = next((one for one in self.observed() if one.name == name), None)
        names = () if found is None else (*found.images, *(one.name for one in found.containers))
        if found is None or container not in {"", *names}:
            raise RuntimeUnavailableError(f"{name} has no container {container or 'at all'}")
        return found

    def entered(self, name: str, container: str = "") -> Instance:
        """Return an instance that runs, with this container; raises RuntimeUnavailableError."""
        found = self.found(name, container)
        if found.state is not State.RUNNING:
            raise RuntimeUnavailableError(f"{name} does not run")
        return found

    def turn(self) -> None:
        """Let what was started become what its image makes of it."""
        for name, (spec, instance) in list(self.running.items()):
            image = str(spec.containers[0].image)
            if instance.state is State.PULLING and image not in self.slow:
                del self.running[name]  # whoever wants it asks again
            if instance.state is not State.RUNNING or instance.ready:
                continue
            if spec.once:
                if spec.role not in self.lasting:
                    self.finish(name)
                continue
            if image == CRASHING:
                self.end(name, "exit code 3: no database", 3)
            elif image != HANGING:
                self._show(spec, _ready(instance, self._clock()))

    def finish(self, name: str) -> None:
        spec, _ = self.running[name]
        codes = self.exits.get(spec.role, [0])
        code = codes.pop(0) if len(codes) > 1 else codes[0]
        self.end(name, f"exited {code}", code)

    def end(self, name: str, message: str = "exit code 1", code: int = 1) -> None:
        spec, instance = self.running[name]
        self._show(spec, _ended(instance, message, code, self._clock()))

    def lose(self, name: str) -> None:
        """Do as a power cut does: nobody knows how it ended."""
        spec, instance = self.running[name]
        self._show(spec, _lost(instance))

    def _show(self, spec: InstanceSpec, instance: Instance) -> None:
        self.running[spec.name] = (spec, instance)
        self.tell(spec.owner)

    def images(self) -> list[str]:
        return sorted(
            str(spec.containers[0].image) for spec, _ in self.running.values() if not spec.role
        )

    def names(self) -> list[str]:
        return sorted(self.running)


def _started(spec: InstanceSpec, known: Instance | None, now: datetime) -> Instance:
    ended = known is not None and known.state is State.EXITED
    lost = known is not None and known.state in {State.LOST, State.CREATED}
    return Instance(
        name=spec.name,
        owner=spec.owner,
        revision=spec.revision,
        state=State.RUNNING,
        ready=False,
        ready_since=None,
        started_at=now,
        address=f"10.88.0.{len(spec.name) % 250 + 1}",
        images={one.name: one.image.digest for one in spec.containers},
        restarts=(known.restarts if known else 0) + ended,
        losses=known.losses if known is not None and lost else 0,
        role=spec.role,
        message="the readiness probe has not answered yet",
        begun_at=(known.begun_at if known else None) or now,
        probed=all(one.readiness or one.startup for one in spec.containers),
        labels=spec.labels,
        timeline=TIMELINE,
        owner_version=spec.owner_version,
        containers=tuple(
            ObservedContainer(
                one.name,
                f"id of {one.name}",
                str(one.image),
                one.image.digest,
                now,
                running=True,
            )
            for one in spec.containers
        ),
    )


def _pulling(started: Instance, image: Reference) -> Instance:
    return replace(
        started,
        state=State.PULLING,
        address="",
        containers=(),
        message=_pulling_message(image),
    )


def _pulling_message(image: Reference) -> str:
    return f"pulling image {image}"


def _ready(instance: Instance, now: datetime) -> Instance:
    containers = tuple(replace(one, ready=True) for one in instance.containers)
    return replace(instance, ready=True, ready_since=now, message="", containers=containers)


def _ended(instance: Instance, message: str, code: int, now: datetime) -> Instance:
    containers = tuple(
        replace(one, running=False, ready=False, exit_code=code, ended_at=now)
        for one in instance.containers
    )
    return replace(
        instance,
        state=State.EXITED,
        ready=False,
        ready_since=None,
        message=message,
        exit_codes=dict.fromkeys(instance.images, code),
        containers=containers,
    )


def _lost(instance: Instance) -> Instance:
    containers = tuple(
        replace(one, running=False, ready=False, lost=True) for one in instance.containers
    )
    return replace(
        instance,
        state=State.LOST,
        ready=False,
        ready_since=None,
        message="how it ended is unknown",
        losses=instance.losses + 1,
        containers=containers,
    )


class FakeRouter:
    """Keeps its table when the process is killed, as a router does."""

    def __init__(self, before: Callable[[str], None] = lambda _: None) -> None:
        self._before = before
        self.table = RoutingTable()
        self.open_sessions: dict[str, int] = {}
        """Endpoint -> requests that it has not finished."""
        self.failures: dict[str, str] = {}
        """Listener or rule -> why it cannot be served, besides what is wrong with it."""
        self.refusal: RouterUnavailableError | None = None
        """Error that it raises instead of taking a table."""
        self.silence: RouterUnavailableError | None = None
        """Error that it raises instead of saying its sessions."""
        self._servers: dict[str, set[str]] = {}
        """Backend -> endpoints that it has or had."""
        self.steady = True
        """It stays up after it was restored."""
        self._last: RoutingTable | None = None
        self._disruptions: asyncio.Queue[str] = asyncio.Queue()

    def disrupt(self, why: str) -> None:
        """Lose the table, as a router does that ends."""
        self.table = RoutingTable()
        self._disruptions.put_nowait(why)

    async def disruptions(self) -> AsyncIterator[str]:
        while True:
            yield await self._disruptions.get()

    async def restore(self) -> bool:
        if self._last is not None:
            await self.apply(self._last)
        return self.steady

    async def apply(self, table: RoutingTable) -> Mapping[str, str]:
        self._last = table
        if self.refusal is not None:
            raise self.refusal
        if table != self.table:
            self._before("apply")
        self.table = table
        for backend in table.backends:
            known = self._servers.setdefault(backend.name, set())
            known |= {endpoint.name for endpoint in backend.endpoints}
        names = {rule.name for rule in table.rules} | {one.name for one in table.listeners}
        faults = plan(table, self.http_address, RouterLimits()).faults
        return {**faults, **{name: why for name, why in self.failures.items() if name in names}}

    async def sessions(self, backend: str) -> Mapping[str, int]:
        if self.silence is not None:
            raise self.silence
        present = {
            endpoint.name
            for one in self.table.backends
            if one.name == backend
            for endpoint in one.endpoints
        }
        found = {name: self.open_sessions.get(name, 0) for name in self._servers.get(backend, ())}
        return {name: count for name, count in found.items() if count or name in present}

    @property
    def http_address(self) -> str:
        return "127.0.0.1:8080"

    def targets(self) -> set[str]:
        """Return the endpoints that requests go to."""
        return {
            endpoint.name
            for backend in self.table.backends
            for endpoint in backend.endpoints
            if not endpoint.draining
        }


class RolloutSetup:
    """The reconcilers over one store, one runtime and one router; a kill leaves only these."""

    def __init__(self) -> None:
        self.clock = MemoryClock()
        self.overtaken = OvertakenStore(self.clock)
        self.store: MemoryStore = self.overtaken
        self.actions = RolloutActions(self.store, self.clock)
        self.calls: list[str] = []
        self.kill_at = 0
        """The number of the call before which the process dies; 0 for none."""
        self.kills = 0
        self.runtime = FakeRuntime(self.clock, self._before)
        self.router = FakeRouter(self._before)
        self.registry = RegistryInMemory()
        self.failed_requests: list[str] = []
        self.services: IPv4Network | None = None
        self.reserved: Sequence[tuple[str, int]] = ()
        """Places of the server itself."""
        self.timeline = TIMELINE
        self.pressure = ""
        """Fault of the disk."""
        self.authors: AuthorRights | None = None
        """Rights of authors, from the next restart on; None: nobody is asked."""
        self.policies = UNRESTRICTED
        """Judge of images, from the next restart on."""
        self.restart()

    def restart(self) -> None:
        """Begin a new process: nothing that was only in memory is left."""
        self.traffic = Traffic(self.clock)
        self.machine = machine = RolloutPorts(
            self.runtime,
            self.router,
            self.traffic,
            self._service_network,
            self.timeline,
            lambda: self.pressure,
            Authority(self.authors),
        )
        images = TemplateImages(
            self.registry,
            PullSecrets(self.store),
            InsecureRegistries(self.store, lambda image: image.registry == "registry.test"),
            policies=self.policies,
        )
        self.rollouts = RolloutReconciler(self.store, machine, images, self.clock)
        self.routing = RoutingReconciler(self.store, machine, self.clock, self.reserved)
        self.cache = ObjectCache(self.store)
        self.triggers = WorkloadTriggerReconciler(WorkloadIndex(self.cache), self.clock)

    async def _service_network(self) -> IPv4Network | None:
        return self.services

    def _before(self, call: str) -> None:
        self.request(call)
        self.calls.append(call)
        if len(self.calls) == self.kill_at:
            self.kills += 1
            raise KilledError(call)

    def request(self, moment: str) -> None:
        """Send one request to every endpoint of the table; note those that fail."""
        for name in self.router.targets():
            found = self.runtime.running.get(name)
            if found is None or not found[1].ready:
                self.failed_requests.append(f"{name} at {moment}")

    async def reconcile(self, key: ObjectKey) -> float | None:
        """Call every reconciler once, as the work queue would; return the earliest next wish."""
        wishes = [
            await _as_the_queue_does(call, wanted)
            for call, wanted in (
                (self.triggers.reconcile, key),
                (self.rollouts.reconcile, key),
                (self.routing.reconcile, ROUTER_KEY),
            )
        ]
        return min((wish for wish in wishes if wish is not None), default=None)

    async def settle(self, key: ObjectKey, turns: int = 300, limit: float = 3600) -> None:
        """Go on until nothing changes any more, or for `limit` seconds of the clock."""
        end = self.clock() + timedelta(seconds=limit)
        for _ in range(turns):
            before = await self._state(key)
            wish = await self.reconcile(key)
            self.runtime.turn()
            changed = before != await self._state(key)
            if not changed and wish is None:
                return
            if self.clock() >= end:
                return
            if not changed:
                self.clock.advance(wish or 0)
        raise AssertionError(f"{key} does not settle: {await self._state(key)}")

    async def _state(self, key: ObjectKey) -> object:
        workload = await self.rollouts._find(key)
        return workload, dict(self.runtime.running), self.router.table, self.traffic.draining()

    async def apply[R: Resource](self, resource: R) -> R:
        return await self.store.create(resource)


async def _as_the_queue_does(
    call: Callable[[ObjectKey], Awaitable[Result]], key: ObjectKey
) -> float | None:
    try:
        return (await call(key)).requeue_after
    except ConflictError:
        return 0
    except Exception as error:
        if getattr(error, "retryable", False):
            return 5
        raise
