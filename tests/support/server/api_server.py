"""The API on a free loopback port over a MemoryStore, with stand-ins for what lies beyond."""

import asyncio
import contextlib
import io
import json
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, override

import aiohttp
import uvicorn
from starlette.routing import BaseRoute
from tests.support.rollouts.memory_machine import FakeRuntime
from tests.support.server.memory_actions import MemoryActions, memory_actions
from uvicorn.server import ServerState

from upwell.actions.images import ImageExaminer
from upwell.actions.notifications import SubscriptionActions
from upwell.actions.pruning import PruningActions
from upwell.actions.running import RunningActions
from upwell.audit.keeping import ReadableAudit
from upwell.builder.logs.files import FileBuildLogs
from upwell.machine.components import Components
from upwell.registry.embedded import EmbeddedRegistry
from upwell.registry.interface import Registry
from upwell.server.admission.quota import LimitedStore
from upwell.server.asgi.app import create_app
from upwell.server.asgi.connections import (
    DEFAULT_CONNECTION_LIMITS,
    ConnectionLimits,
    ConnectionTable,
)
from upwell.server.asgi.dependencies import ServerDependencies
from upwell.server.asgi.guarded_http import GuardedHttpProtocol
from upwell.server.auth.access_control import AccessControl
from upwell.server.auth.signatures import Signatures, new_signatures
from upwell.server.builds.leader_logs import LeaderReplica
from upwell.server.exchange.exchange import TokenExchange
from upwell.server.http.limits import ServerLimits
from upwell.server.signin.services import SignIn
from upwell.server.signing.image_signing_keys import ImageSigningKeys
from upwell.store.memory import MemoryStore
from upwell.uploads.interface import BinaryInputs
from upwell.workload.errors import UnreachableError
from upwell.workload.interface import (
    ExecSession,
    Instance,
    InstanceCommand,
    InteractiveRuntime,
    Output,
    State,
)

type Document = dict[str, Any]

START = datetime(2024, 5, 1, 12, 0, 0, tzinfo=UTC)
DEADLINE = 30.0


@dataclass
class ApiClock:
    now: datetime = START

    def __call__(self) -> datetime:
        return self.now

    def advance(self, **span: float) -> None:
        self.now += timedelta(**span)


class StubExecution:
    """A command that writes its input back, its words to standard error, and exits with 3."""

    def __init__(self, name: str, command: InstanceCommand) -> None:
        self.name = name
        self.command = command
        self.sizes: list[tuple[int, int]] = []
        self.over = asyncio.Event()
        self._input: asyncio.Queue[bytes] = asyncio.Queue()

    async def write(self, piece: bytes | memoryview) -> None:
        await self._input.put(bytes(piece))

    async def close_input(self) -> None:
        await self._input.put(b"")

    async def resize(self, columns: int, rows: int) -> None:
        self.sizes.append((columns, rows))

    async def output(self) -> AsyncIterator[tuple[Output, bytes]]:
        yield Output.STDERR, " ".join(self.command.words).encode()
        while self.command.stdin and (piece := await self._input.get()):
            yield Output.STDOUT, piece

    async def exit_code(self) -> int:
        return 3


class StubRuntime(FakeRuntime):
    """Shows the instances of a test's choice, whose ports are ports of loopback.

    Implements InteractiveRuntime.
    """

    def __init__(self, clock: Callable[[], datetime] = lambda: START) -> None:
        super().__init__(clock)
        self.executed = lambda name, command: (3, f"{name}: {' '.join(command)}\n".encode())
        self.shown: list[Instance] = []
        self.executions: list[StubExecution] = []
        self.ports: dict[int, int] = {}
        """Port inside -> where it is served on loopback."""
        self.stopped: list[tuple[str, float]] = []
        self.may_start = asyncio.Event()
        """Lets commands start that wait for it; set unless a test clears it."""
        self.may_start.set()
        self.starting = 0

    @override
    def observed(self) -> list[Instance]:
        return [*super().observed(), *self.shown]

    @override
    async def stop(self, name: str, grace_seconds: float) -> None:
        await super().stop(name, grace_seconds)
        self.stopped.append((name, grace_seconds))
        gone = [one for one in self.shown if one.name == name]
        self.shown = [one for one in self.shown if one.name != name]
        for one in gone:
            self.tell(one.owner)

    @contextlib.asynccontextmanager
    async def attach(
        self, name: str, container: str = "", *, stdin: bool = False
    ) -> AsyncIterator[ExecSession]:
        self.entered(name, container)
        attached = InstanceCommand(("attached",), container, stdin=stdin)
        self.executions.append(StubExecution(name, attached))
        yield self.executions[-1]

    @contextlib.asynccontextmanager
    async def run(self, name: str, command: InstanceCommand) -> AsyncIterator[ExecSession]:
        self.entered(name, command.container)
        self.starting += 1
        await self.may_start.wait()
        self.starting -= 1
        execution = StubExecution(name, command)
        self.executions.append(execution)
        try:
            yield execution
        finally:
            execution.over.set()

    async def connect(
        self, name: str, port: int
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        running = {one.name for one in self.observed() if one.state is State.RUNNING}
        if name not in running or port not in self.ports:
            raise UnreachableError(f"port {port}: nothing listens in {name}")
        return await asyncio.open_connection("127.0.0.1", self.ports[port])


@dataclass(frozen=True)
class ApiAnswer:
    """An answer that has been read to its end."""

    status: int
    text: str
    said: tuple[str, ...]
    """Every warning."""
    headers: Mapping[str, str]

    @property
    def warnings(self) -> tuple[str, ...]:
        """The warnings about the object itself, not about its namespace, which came with it."""
        return tuple(one for one in self.said if "did not exist and was created" not in one)

    @property
    def json(self) -> Any:
        return json.loads(self.text)


@dataclass
class Api:
    """A running server and a client of it."""

    url: str
    session: aiohttp.ClientSession
    store: MemoryStore
    clock: ApiClock
    logs: FileBuildLogs
    runtime: StubRuntime
    shutdown: asyncio.Event
    components: Components
    behind: MemoryActions
    """The parts behind the actions; no controller runs unless a test lets it."""

    async def send(
        self,
        method: str,
        path: str,
        body: Any = None,
        content_type: str = "application/json",
        **headers: str,
    ) -> ApiAnswer:
        raw = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        data = None if raw is None else io.BytesIO(raw)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        if data is not None:
            named["Content-Type"] = content_type
        async with (
            asyncio.timeout(DEADLINE),
            self.session.request(method, self.url + path, data=data, headers=named) as response,
        ):
            return ApiAnswer(
                response.status,
                await response.text(),
                tuple(response.headers.getall("Warning", ())),
                dict(response.headers),
            )

    async def get(self, path: str, **headers: str) -> ApiAnswer:
        return await self.send("GET", path, **headers)

    @contextlib.asynccontextmanager
    async def stream(self, path: str) -> AsyncIterator[aiohttp.StreamReader]:
        async with self.session.get(self.url + path) as response:
            assert response.status == 200, await response.text()
            yield response.content


async def next_event(stream: aiohttp.StreamReader) -> Any:
    """Return the next event of a watch."""
    async with asyncio.timeout(DEADLINE):
        return json.loads(await stream.readline())


@contextlib.asynccontextmanager
async def serving(
    limits: ServerLimits,
    *,
    with_runtime: bool = True,
    inputs: BinaryInputs | None = None,
    evidence: BinaryInputs | None = None,
    signatures: Signatures | None = None,
    guard: Callable[[MemoryStore, ApiClock], AccessControl] | None = None,
    registry_routes: Sequence[BaseRoute] = (),
    examiner: Callable[[ApiClock], ImageExaminer] | None = None,
    internal: EmbeddedRegistry | None = None,
    upstream: Registry | None = None,
    subscriptions: Callable[[MemoryStore, ApiClock], SubscriptionActions] | None = None,
    pruning: PruningActions | None = None,
    connections: ConnectionLimits = DEFAULT_CONNECTION_LIMITS,
    exchange: Callable[[AccessControl, ApiClock], TokenExchange] | None = None,
    sign_in: Callable[[MemoryStore, ApiClock], SignIn] | None = None,
    signing_keys: ImageSigningKeys | None = None,
    running: Callable[[MemoryActions], RunningActions] | None = None,
    store: MemoryStore | None = None,
    leader: LeaderReplica | None = None,
    audit: ReadableAudit | None = None,
) -> AsyncIterator[Api]:
    clock, shutdown = ApiClock(), asyncio.Event()
    components = Components(clock)
    store, runtime = store or MemoryStore(clock), StubRuntime()
    folder = tempfile.TemporaryDirectory(prefix="upwell-api-")
    logs = FileBuildLogs(Path(folder.name) / "builds")
    stub: InteractiveRuntime = runtime
    clients = LimitedStore(store, limits)
    registry = Path(folder.name) / "registry"
    made = memory_actions(store, clients, clock, registry, internal, upstream)
    actions = replace(
        made.actions,
        subscriptions=subscriptions(store, clock) if subscriptions else None,
        pruning=pruning,
        running=running(made) if running else None,
    )
    people = sign_in(store, clock) if sign_in else None
    access = guard(store, clock) if guard else None
    if access is not None and people is not None:
        access = replace(access, people=people.sessions)
    if examiner is not None:
        actions = replace(actions, examiner=examiner(clock))

    app = create_app(
        ServerDependencies(
            store=clients,
            build_logs=logs,
            actions=actions,
            clock=clock,
            shutdown=shutdown,
            signing_keys=signing_keys,
            version="1.2.3",
            runtime=stub if with_runtime else None,
            inputs=inputs,
            evidence=evidence,
            signatures=signatures or new_signatures(),
            limits=limits,
            components=components,
            access=access,
            token_exchange=exchange(access, clock) if access and exchange else None,
            sign_in=people,
            registry_routes=registry_routes,
            leader=leader,
            audit=audit,
        )
    )
    # uvicorn's protocol without its Server, which takes 0.1 s to notice that a test is over.
    state = ServerState()
    config = uvicorn.Config(app, log_config=None, access_log=False, ws="wsproto", lifespan="off")
    config.load()
    table = ConnectionTable(connections)
    server = await asyncio.get_running_loop().create_server(
        lambda: GuardedHttpProtocol(config, state, {}, table, table.open("127.0.0.1")),
        "127.0.0.1",
        0,
    )
    following = asyncio.create_task(made.cache.run())
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        async with app.router.lifespan_context(app), aiohttp.ClientSession() as session:
            yield Api(url, session, store, clock, logs, runtime, shutdown, components, made)
    finally:
        following.cancel()
        shutdown.set()
        server.close()
        for connection in list(state.connections):
            connection.shutdown()
        await server.wait_closed()
        while going := [task for task in state.tasks if not task.done()]:
            await asyncio.gather(*going, return_exceptions=True)
        await asyncio.wait({following})
        logs.close_all()
        folder.cleanup()


def config_map(name: str, **data: str) -> Document:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name},
        "data": data,
    }


def deployment(name: str, image: str = "app:1", **spec: Any) -> Document:
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {
            "replicas": 2,
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {"containers": [{"name": "web", "image": image}]},
            },
            **spec,
        },
    }


def names(answer: ApiAnswer) -> Iterator[str]:
    assert answer.status == 200, answer.text
    for item in answer.json["items"]:
        yield item["metadata"]["name"]
