"""A machine in memory for rollouts: a runtime, a router and a clock that tests turn.

The fakes keep to their ports: an instance serves only while it runs and is ready, and a request
that the router sends to an instance which does not serve is a failed request.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from upwell.api.meta import ObjectKey, Resource
from upwell.controller import ObjectCache, Result
from upwell.oci import Descriptor, Digest, Reference
from upwell.reconcilers.images.pull_secrets import PullSecrets
from upwell.reconcilers.rollouts import RolloutPorts, RolloutReconciler, TemplateImages, Traffic
from upwell.reconcilers.rollouts.index import WorkloadIndex
from upwell.reconcilers.rollouts.traffic import ROUTER_KEY
from upwell.reconcilers.rollouts.triggers import WorkloadTriggerReconciler
from upwell.reconcilers.routing.reconciler import RoutingReconciler
from upwell.registry.errors import ManifestUnknownError
from upwell.registry.interface import DEFAULT_ACCESS, RequestAccess
from upwell.store.interface import ConflictError
from upwell.store.memory import MemoryStore
from upwell.workload.interface import (
    WHOLE_LOG,
    Instance,
    InstanceSpec,
    LogQuery,
    Owner,
    RouterUnavailableError,
    RoutingTable,
    RuntimeUnavailableError,
    ServiceName,
    State,
    WorkloadError,
)

if TYPE_CHECKING:
    from ipaddress import IPv4Network

GOOD = f"registry.test/app@{Digest.of(b'good')}"
BETTER = f"registry.test/app@{Digest.of(b'better')}"
CRASHING = f"registry.test/app@{Digest.of(b'crashing')}"
HANGING = f"registry.test/app@{Digest.of(b'hanging')}"


class KilledError(BaseException):
    """The process dies here; nothing of ours may catch it."""


class Clock:
    """Turned by hand."""

    def __init__(self) -> None:
        self.time = datetime(2026, 1, 1, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.time

    def advance(self, seconds: float) -> None:
        self.time += timedelta(seconds=seconds)


class FakeRuntime:
    """Starts what it is told; what an image does, its digest says."""

    def __init__(self, clock: Clock, before: Callable[[str], None]) -> None:
        self._clock = clock
        self._before = before
        self.running: dict[str, tuple[InstanceSpec, Instance]] = {}
        self.failures: dict[str, WorkloadError] = {}
        """Container image -> what its start raises."""
        self.slow: set[str] = set()
        """Container images whose pull does not end before it is taken out of here."""
        self.executed: Callable[[str, tuple[str, ...]], tuple[int, bytes]] = lambda *_: (0, b"")
        self.lasting: set[str] = set()
        """Roles of what runs once but does not end by itself."""
        self.published: list[ServiceName] = []
        self.ran: list[str] = []
        """The role of everything that was really started, in order."""
        self.exits: dict[str, list[int]] = {}
        """Role of what runs once -> the exit codes of its runs, the last for ever; else 0."""

    async def instances(self) -> Sequence[Instance]:
        return [instance for _, instance in self.running.values()]

    async def start(self, spec: InstanceSpec) -> None:
        self._before(f"start {spec.name}")
        image = spec.containers[0].image
        if str(image) in self.failures:
            raise self.failures[str(image)]
        known = self.running.get(spec.name)
        if known is not None and known[1].state is State.RUNNING:
            return
        if str(image) in self.slow:
            pulled = replace(_started(spec, 0, self._clock(), image), state=State.PULLING)
            self.running[spec.name] = (spec, replace(pulled, message=f"pulling image {image}"))
            return
        ended = known is not None and known[1].state is State.EXITED
        restarts = (known[1].restarts if known else 0) + ended
        started = _started(spec, restarts, self._clock(), image)
        self.running[spec.name] = (spec, replace(started, state=State.CREATED))
        self._before(f"run {spec.name}")
        self.ran.append(spec.role)
        self.running[spec.name] = (spec, started)

    async def stop(self, name: str, grace_seconds: float) -> None:
        assert grace_seconds >= 0
        self._before(f"stop {name}")
        self.running.pop(name, None)

    async def execute(
        self, name: str, command: tuple[str, ...], container: str = ""
    ) -> tuple[int, bytes]:
        assert container == ""
        assert self.running[name][1].state is State.RUNNING
        return self.executed(name, command)

    async def publish_names(self, names: Sequence[ServiceName]) -> None:
        self.published = list(names)

    async def changes(self) -> AsyncIterator[Owner]:
        for spec, _ in list(self.running.values()):
            yield spec.owner
        raise RuntimeUnavailableError("the fake has no more changes")

    async def logs(
        self, name: str, container: str = "", wanted: LogQuery = WHOLE_LOG
    ) -> AsyncIterator[bytes]:
        assert (container, wanted.follow) == ("", False)
        assert wanted.tail
        yield f"last line of {name}\n".encode()

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
                self.end(name, "exit code 3: no database")
            elif image != HANGING:
                ready = replace(instance, ready=True, ready_since=self._clock(), message="")
                self.running[name] = (spec, ready)

    def finish(self, name: str) -> None:
        spec, instance = self.running[name]
        codes = self.exits.get(spec.role, [0])
        code = codes.pop(0) if len(codes) > 1 else codes[0]
        ended = replace(
            instance,
            state=State.EXITED,
            exit_codes={spec.containers[0].name: code},
            message=f"exited {code}",
        )
        self.running[name] = (spec, ended)

    def end(self, name: str, message: str = "exit code 1") -> None:
        spec, instance = self.running[name]
        ended = replace(
            instance, state=State.EXITED, ready=False, ready_since=None, message=message
        )
        self.running[name] = (spec, ended)

    def images(self) -> list[str]:
        return sorted(
            str(spec.containers[0].image) for spec, _ in self.running.values() if not spec.role
        )

    def names(self) -> list[str]:
        return sorted(self.running)


def _started(spec: InstanceSpec, restarts: int, now: datetime, image: Reference) -> Instance:
    return Instance(
        name=spec.name,
        owner=spec.owner,
        revision=spec.revision,
        state=State.RUNNING,
        ready=False,
        ready_since=None,
        started_at=now,
        address=f"10.88.0.{len(spec.name) % 250 + 1}",
        images={spec.containers[0].name: image.digest},
        restarts=restarts,
        role=spec.role,
        message="the readiness probe has not answered yet",
    )


class FakeRouter:
    """Keeps its table when the process is killed, as a router does."""

    def __init__(self, before: Callable[[str], None]) -> None:
        self._before = before
        self.table = RoutingTable()
        self.open_sessions: dict[str, int] = {}
        """Endpoint -> requests that it has not finished."""
        self.failures: dict[str, str] = {}
        self.refusal: RouterUnavailableError | None = None
        """What it says instead of taking a table."""

    async def apply(self, table: RoutingTable) -> Mapping[str, str]:
        if self.refusal is not None:
            raise self.refusal
        if table != self.table:
            self._before("apply")
        self.table = table
        return self.failures

    async def sessions(self, backend: str) -> Mapping[str, int]:
        found = next((one for one in self.table.backends if one.name == backend), None)
        names = [endpoint.name for endpoint in found.endpoints] if found else []
        return {name: self.open_sessions.get(name, 0) for name in names}

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


class FakeRegistry:
    """Knows what a few tags name."""

    def __init__(self) -> None:
        self.tags: dict[str, Digest] = {}

    async def resolve(
        self, reference: Reference, access: RequestAccess = DEFAULT_ACCESS
    ) -> Descriptor:
        assert access is not None
        digest = self.tags.get(str(reference))
        if digest is None:
            raise ManifestUnknownError(reference)
        return Descriptor("application/vnd.oci.image.manifest.v1+json", digest, 100)


class World:
    """The reconcilers over one store, one runtime and one router; a kill leaves only these."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.store = MemoryStore(self.clock)
        self.calls: list[str] = []
        self.kill_at = 0
        """The number of the call before which the process dies; 0 for none."""
        self.kills = 0
        self.runtime = FakeRuntime(self.clock, self._before)
        self.router = FakeRouter(self._before)
        self.registry = FakeRegistry()
        self.failed_requests: list[str] = []
        self.services: IPv4Network | None = None
        self.restart()

    def restart(self) -> None:
        """Begin a new process: nothing that was only in memory is left."""
        self.traffic = Traffic(self.clock)
        machine = RolloutPorts(self.runtime, self.router, self.traffic, self.services)
        images = TemplateImages(
            self.registry,  # type: ignore[arg-type]  # rollouts only resolve
            PullSecrets(self.store),
            frozenset({"registry.test"}),
        )
        self.rollouts = RolloutReconciler(self.store, machine, images, self.clock)
        self.routing = RoutingReconciler(self.store, machine, self.clock)
        index = WorkloadIndex(ObjectCache(self.store))
        self.triggers = WorkloadTriggerReconciler(index, self.clock)

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
