"""Composes `upwell serve`: picks the adapters, owns the task group and the shutdown."""

import asyncio
import errno
import logging
import signal
import socket
import ssl
from collections.abc import Awaitable, Callable, Collection, Coroutine, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from ipaddress import IPv4Network
from pathlib import Path
from secrets import token_hex
from typing import Any

from upwell import __version__
from upwell.api.build import BinaryInput, Build
from upwell.api.meta import Resource
from upwell.api.promotion import Promotion
from upwell.app.access import Protection, protect
from upwell.app.measurements import MachineGauges
from upwell.app.subscriptions import subscriptions
from upwell.app.tracing import tracing
from upwell.app.upkeep import Upkeep
from upwell.builder.buildah import BuildahBuilder, BuildahSettings
from upwell.builder.logs import FileBuildLogs
from upwell.controller import Controller
from upwell.delivery.interface import OutboxError
from upwell.inputs.files import FileInputs
from upwell.inventory.sqlite import SqliteInventory
from upwell.machine.containers_conf import write_containers_conf
from upwell.machine.platform import machine_platform
from upwell.oci import Digest
from upwell.policy.promotion.verdicts import evidence_of
from upwell.policy.schedule import ImportSchedule
from upwell.policy.webhooks import PushNotice
from upwell.reconcilers import cron_jobs, events, jobs, rollouts, routing, workload_triggers
from upwell.reconcilers.build_configs import BuildConfigs
from upwell.reconcilers.build_inputs import referenced_inputs
from upwell.reconcilers.build_plan import Planner
from upwell.reconcilers.build_requests import BuildRequests
from upwell.reconcilers.build_run import BuildDefaults, BuildRun
from upwell.reconcilers.build_view import BuildView
from upwell.reconcilers.builds import Builds
from upwell.reconcilers.contents import ImageContents
from upwell.reconcilers.image_examination import ImageExaminer
from upwell.reconcilers.imports import ImageStreams
from upwell.reconcilers.local_images import LocalImages
from upwell.reconcilers.pruning import Stores
from upwell.reconcilers.pull_secrets import PullSecrets
from upwell.reconcilers.stream_origins import StreamOrigins
from upwell.reconcilers.subscriptions import Subscriptions
from upwell.registry.client import RegistryClient
from upwell.registry.credential_helpers import CredentialHelpers
from upwell.registry.credentials import AuthFile, ChainedCredentials
from upwell.registry.embedded import EmbeddedRegistry
from upwell.registry.hosts import RegistryHosts
from upwell.registry.mirror import Mirror
from upwell.registry.pull_through import PullThroughRegistry
from upwell.registry.remembering import RememberingRegistry
from upwell.registry.routed import RoutedRegistry
from upwell.server.app import ServerDependencies, create_app
from upwell.server.counted_registry import CountedRegistry
from upwell.server.metrics import Gauges, Metrics
from upwell.server.registry import create_routes
from upwell.server.serving import serve
from upwell.server.tls import CertificateError, generated
from upwell.settings import ServerSettings
from upwell.store.interface import RejectedError, Store, StoreError
from upwell.store.sqlite import SqliteStore
from upwell.workload.haproxy import HaproxyRouter, HaproxySettings
from upwell.workload.interface import WorkloadError
from upwell.workload.podman import PodmanRuntime
from upwell.workload.podman_service import PodmanSettings

log = logging.getLogger(__name__)

_SWEEP_SECONDS = 3600.0
_INPUT_GRACE = timedelta(hours=24)
_EVIDENCE_BYTES = 128 * 1024 * 1024
"""Of one piece."""


type _Named = Callable[[Store], Awaitable[Collection[Digest]]]
"""Returns the digests of all content that objects name."""


class ServeError(Exception):
    """The server cannot start; the message says why and what to do."""


def now() -> datetime:
    """Return the time in UTC: the clock of everything that the server runs."""
    return datetime.now(UTC)


async def run_server(settings: ServerSettings) -> None:
    """Serve until SIGINT or SIGTERM; raises ServeError when it cannot start.

    Workloads and the router outlive the server, and are found again at the next start.
    """
    shutdown = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, shutdown.set)
    try:
        settings.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        async with AsyncExitStack() as stack:
            listener = stack.enter_context(_listen(settings))
            server = await _assemble(settings, stack)
            await server.run(listener, shutdown)
    except OSError as error:
        raise ServeError(f"{error.strerror or error}: {error.filename or ''}") from error
    except (StoreError, OutboxError, WorkloadError, CertificateError) as error:
        raise ServeError(str(error)) from error


async def remove_workloads(settings: ServerSettings) -> None:
    """Remove every container, the network and the router of a server that does not run.

    Raises WorkloadError.
    """
    files = await _write_configuration(settings)
    await HaproxyRouter(HaproxySettings(settings.data_dir / "router")).stop()
    async with PodmanRuntime.open(_podman_settings(settings, files)) as runtime:
        await runtime.teardown()


def _listen(settings: ServerSettings) -> socket.socket:
    """Bind the API's address before anything else is started."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((settings.host.strip("[]"), settings.port))
        listener.listen()
    except OSError as error:
        listener.close()
        where = f"{settings.host}:{settings.port}"
        if error.errno == errno.EADDRINUSE:
            message = f"{where} is in use: stop what listens there, or choose another --listen"
            raise ServeError(message) from error
        raise ServeError(f"cannot listen on {where}: {error.strerror}") from error
    return listener


@dataclass(frozen=True, slots=True)
class _Server:
    """Everything that runs, ready to be started."""

    deps: ServerDependencies
    loops: Sequence[Callable[[], Coroutine[Any, Any, None]]]
    """What reconciles: each runs until it is cancelled."""
    tls: ssl.SSLContext | None = None

    async def run(self, listener: socket.socket, shutdown: asyncio.Event) -> None:
        """Serve until `shutdown` is set, then stop reconciling: watches end before the store."""
        async with asyncio.TaskGroup() as group:
            loops = [group.create_task(loop()) for loop in self.loops]
            try:
                deps = replace(self.deps, shutdown=shutdown)
                await serve(create_app(deps), listener, shutdown, tls=self.tls)
            finally:
                for task in loops:
                    task.cancel()


async def _assemble(settings: ServerSettings, stack: AsyncExitStack) -> _Server:
    """Open the adapters, in the order in which they may fail, and wire what reconciles."""
    data = settings.data_dir
    store = await SqliteStore.open(data / "upwell.db", clock=now)
    stack.push_async_callback(store.close)
    paths = await _write_configuration(settings)
    helpers = CredentialHelpers()
    protection = await protect(settings, store, now, stack)
    files = [AuthFile(path, helpers) for path in settings.auth_files]
    logins = ChainedCredentials([protection.registry, *files])
    client = await stack.enter_async_context(
        RegistryClient(RegistryHosts(settings.registries), logins)
    )
    metrics = Metrics()
    remote = RememberingRegistry(CountedRegistry(client, metrics))
    origins = StreamOrigins(store, PullSecrets(store, logins))
    internal = PullThroughRegistry(data / "registry", settings.internal_host, remote, origins)
    await internal.recover()
    runtime = await stack.enter_async_context(PodmanRuntime.open(_podman_settings(settings, paths)))
    parts = _Parts(
        settings=settings,
        store=store,
        internal=internal,
        registries=RoutedRegistry(internal, remote),
        logins=logins,
        logs=FileBuildLogs(data / "logs" / "builds"),
        builder=BuildahBuilder(_buildah_settings(settings, paths)),
        runtime=runtime,
        services=await runtime.service_network(),
        router=HaproxyRouter(_haproxy_settings(settings)),
        inventory=SqliteInventory(data / "inventory.db"),
        inputs=FileInputs(data / "inputs", limit_bytes=settings.upload_limit),
        evidence=FileInputs(data / "evidence", limit_bytes=_EVIDENCE_BYTES),
        protection=protection,
        metrics=metrics,
        gauges=MachineGauges(data, client),
        traces=tracing(settings.tracing, store, now, stack),
        subscriptions=await subscriptions(settings, store, now, stack),
    )
    stack.callback(parts.inventory.close)
    stack.callback(parts.logs.close_all)
    return _wire(parts)


@dataclass(frozen=True, slots=True)
class _Parts:
    """The adapters, opened."""

    settings: ServerSettings
    store: SqliteStore
    internal: EmbeddedRegistry
    registries: RoutedRegistry
    logins: ChainedCredentials
    logs: FileBuildLogs
    builder: BuildahBuilder
    runtime: PodmanRuntime
    services: IPv4Network | None
    router: HaproxyRouter
    inventory: SqliteInventory
    inputs: FileInputs
    evidence: FileInputs
    protection: Protection
    metrics: Metrics
    gauges: Gauges
    traces: Sequence[Controller]
    subscriptions: Subscriptions

    @property
    def insecure_registries(self) -> frozenset[str]:
        """The embedded registry speaks plain HTTP; others as the administrator says."""
        named = {host.prefix for host in self.settings.registries if host.insecure}
        return frozenset({self.settings.internal_host, *named})


def _wire(parts: _Parts) -> _Server:
    """Hand each reconciler the ports that it needs."""
    store = parts.store
    secrets = PullSecrets(store, parts.logins)
    streams = ImageStreams(
        store,
        parts.registries,
        parts.internal,
        secrets,
        ImportSchedule(interval=parts.settings.import_interval),
        clock=now,
        platforms=(machine_platform(),),
    )
    view = BuildView(store)
    configs = BuildConfigs(view, clock=now)
    upkeep = Upkeep(_stores(parts), parts.settings.retention)
    contents = ImageContents(store, parts.registries, parts.inventory, secrets, machine_platform())
    machine = rollouts.Machine(parts.runtime, parts.router, rollouts.Traffic(now), parts.services)
    images = rollouts.Images(
        parts.registries, secrets, parts.insecure_registries, LocalImages(store)
    )
    rollout = rollouts.controller(store, machine, images, now)
    routes = routing.controller(store, machine, now)
    job = jobs.controller(store, machine, images, now)
    telling = events.EventReconciler(store, now)
    feeds = [
        *(partial(job.feed, keys) for keys in jobs.feeds(machine)),
        *(partial(rollout.feed, keys) for keys in rollouts.feeds(machine)),
        *(partial(routes.feed, keys) for keys in routing.feeds(machine)),
    ]
    return _Server(
        ServerDependencies(
            store=store,
            build_logs=parts.logs,
            actions=_Actions(store, BuildRequests(view)),
            note_pushes=partial(_note_pushes, streams),
            packages=partial(_packages, contents),
            clock=now,
            shutdown=asyncio.Event(),
            version=__version__,
            runtime=parts.runtime,
            inputs=parts.inputs,
            evidence=parts.evidence,
            signatures=parts.protection.signatures,
            examiner=ImageExaminer(store, parts.registries, secrets, now),
            untag=parts.internal.untag,
            subscriptions=parts.subscriptions.requests,
            registry_routes=create_routes(parts.internal),
            prune_routes=upkeep.routes(),
            metrics=parts.metrics,
            gauges=parts.gauges,
            access=parts.protection.control,
        ),
        (
            streams.run,
            view.run,
            configs.run,
            _builds(parts, view).run,
            contents.run,
            workload_triggers.controller(store, now).run,
            job.run,
            cron_jobs.controller(store, now).run,
            events.controller(telling, store).run,
            partial(events.sweep_periodically, telling),
            rollout.run,
            routes.run,
            partial(_sweep, parts.internal),
            partial(_sweep_inputs, store, parts.inputs, referenced_inputs),
            partial(_sweep_inputs, store, parts.evidence, _referenced_evidence),
            upkeep.run,
            parts.protection.keep_fresh,
            *(traces.run for traces in parts.traces),
            *parts.subscriptions.loops,
            *feeds,
        ),
        parts.protection.tls,
    )


def _stores(parts: _Parts) -> Stores:
    """Return everything that grows."""
    return Stores(
        objects=parts.store,
        registry=parts.internal,
        host=parts.settings.internal_host,
        logs=parts.logs,
        inputs=parts.inputs,
        inventory=parts.inventory,
        builder=parts.builder,
        runtime=parts.runtime,
        clock=now,
    )


def _builds(parts: _Parts, view: BuildView) -> Builds:
    settings = parts.settings
    planner = Planner(
        parts.store,
        parts.registries,
        settings.internal_host,
        parts.logins,
        internal_login=parts.protection.registry.of_build,
        uploads=parts.inputs,
        mirror=Mirror(parts.registries, parts.internal, machine_platform()),
    )
    defaults = BuildDefaults(
        deadline_seconds=settings.build_deadline.total_seconds(),
        insecure_registries=parts.insecure_registries,
    )
    run = BuildRun(
        parts.store, parts.builder, parts.logs, parts.internal, planner, defaults, clock=now
    )
    return Builds(view, parts.builder, parts.logs, run, slots=settings.build_slots or 2, clock=now)


@dataclass(frozen=True, slots=True)
class _Actions:
    """What people ask for through the API, handed to the reconcilers."""

    store: Store
    builds: BuildRequests

    async def instantiate(
        self, namespace: str, build_config: str, request: Mapping[str, Any]
    ) -> Build:
        """Start a build now."""
        return await self.builds.instantiate(namespace, build_config, request)

    async def instantiate_binary(
        self, namespace: str, build_config: str, upload: BinaryInput
    ) -> Build:
        """Start a build of an upload now."""
        return await self.builds.instantiate_binary(namespace, build_config, upload)

    async def clone(self, namespace: str, build: str, request: Mapping[str, Any]) -> Build:
        """Make a build again now."""
        return await self.builds.clone(namespace, build, request)

    async def rollback(
        self, kind: type[Resource], namespace: str, name: str, to_revision: int
    ) -> Resource:
        """Roll a workload back; 0 means the revision before."""
        try:
            return await rollouts.rollback(
                self.store, kind, namespace, name, to_revision or None, now
            )
        except rollouts.RollbackError as error:
            raise RejectedError(str(error)) from error

    async def roll_out(
        self, kind: type[Resource], namespace: str, name: str, verb: str, *, again: bool
    ) -> Resource:
        """Start the latest, cancel or retry."""
        place = (self.store, kind, namespace, name)
        try:
            match verb:
                case "latest":
                    return await rollouts.latest(*place, again=again)
                case "cancel":
                    return await rollouts.cancel(*place)
                case "retry":
                    return await rollouts.retry(*place, now)
                case _:
                    raise RejectedError(f"{verb!r} is none of latest, cancel and retry")
        except rollouts.RolloutRefusedError as error:
            raise RejectedError(str(error)) from error


async def _note_pushes(streams: ImageStreams, notices: Sequence[PushNotice]) -> int:
    return await streams.note(notices)


async def _packages(contents: ImageContents, digest: Digest) -> Sequence[Mapping[str, Any]]:
    return [asdict(package) for package in await contents.packages(digest) or ()]


async def _sweep(registry: EmbeddedRegistry) -> None:
    """Remove what interrupted pushes left, every hour."""
    while True:
        swept = await registry.sweep()
        log.debug("registry swept", extra=asdict(swept))
        await asyncio.sleep(_SWEEP_SECONDS)


async def _sweep_inputs(store: Store, inputs: FileInputs, named: _Named) -> None:
    """Remove what no object names any more, every hour."""
    while True:
        await asyncio.sleep(_SWEEP_SECONDS)
        freed = await inputs.sweep(await named(store), unused_for=_INPUT_GRACE)
        log.debug("uploads swept", extra={"bytes": freed})


async def _referenced_evidence(store: Store) -> set[Digest]:
    """Return the digests of what promotions name as evidence."""
    promotions = (await store.list(Promotion)).items
    return {Digest.parse(digest) for digest in evidence_of(promotions)}


@dataclass(frozen=True, slots=True)
class _Configuration:
    """Files that are written for Buildah and Podman at every start."""

    instance_id: str
    containers_conf: Path
    registries_conf: Path
    storage_driver: str


async def _write_configuration(settings: ServerSettings) -> _Configuration:
    data = settings.data_dir
    containers_conf = data / "containers.conf"
    conf = await write_containers_conf(
        containers_conf,
        settings.container_storage or data,
        private_storage=settings.container_storage is not None,
    )
    registries_conf = data / "registries.conf"
    registries_conf.write_text(RegistryHosts(settings.registries).render_registries_conf())
    return _Configuration(
        _instance_id(data / "instance-id"), containers_conf, registries_conf, conf.storage_driver
    )


def _instance_id(path: Path) -> str:
    """Return what marks the containers of this data directory; made once."""
    if not path.exists():
        draft = path.with_name(f"{path.name}.new")
        draft.write_text(f"{token_hex(4)}\n")
        draft.replace(path)
    return path.read_text().strip()


def _buildah_settings(settings: ServerSettings, files: _Configuration) -> BuildahSettings:
    data = settings.data_dir
    return BuildahSettings(
        work_dir=data / "builds",
        storage_root=data / "builder" / "storage",
        run_root=data / "builder" / "run",
        containers_conf=files.containers_conf,
        registries_conf=files.registries_conf,
        allow_local_sources=settings.allow_local_sources,
        user_namespaces=settings.build_user_namespaces,
    )


def _haproxy_settings(settings: ServerSettings) -> HaproxySettings:
    folder = settings.data_dir / "router"

    async def certificate(hosts: Sequence[str]) -> str:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        made = await asyncio.to_thread(generated, folder / "tls", hosts, now())
        return made.chain.read_text() + made.key.read_text()

    return HaproxySettings(
        folder,
        settings.router_address,
        https_address=settings.router_https_address,
        make_certificate=certificate,
    )


def _podman_settings(settings: ServerSettings, files: _Configuration) -> PodmanSettings:
    storage = settings.container_storage
    return PodmanSettings(
        data_dir=settings.data_dir / "workloads",
        instance_id=files.instance_id,
        storage_root=storage / "storage" if storage else None,
        run_root=storage / "run" if storage else None,
        storage_driver=files.storage_driver if storage else None,
        containers_conf=files.containers_conf,
        registries_conf=files.registries_conf,
        allowed_host_paths=settings.allowed_host_paths,
    )
