"""Runs `upwell serve`: owns the task group and the shutdown."""

import asyncio
import errno
import signal
import socket
import ssl
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import replace

from starlette.types import ASGIApp

from upwell.app.adapters import Adapters, open_adapters
from upwell.app.configuration import podman_settings, write_configuration
from upwell.app.data_folder import DataFolderError
from upwell.app.hardening.served import telling_settings
from upwell.app.machine.firewall import firewall_rules, remove_filter
from upwell.app.machine.service_manager import keep_alive, report_status, report_stop
from upwell.app.supervision import keep_running
from upwell.app.wiring import Wired, wire
from upwell.delivery.interface import OutboxError
from upwell.encryption.faults import EncryptionKeyError
from upwell.firewall.nftables import NftFirewall
from upwell.machine.descriptors import connection_room, raise_descriptor_limit
from upwell.machine.private_file import tighten
from upwell.machine.sockets.event_loop import create_event_loop
from upwell.registry.hosting import StorageError
from upwell.router.haproxy.router import HaproxyRouter, HaproxySettings
from upwell.router.interface import RouterUnavailableError
from upwell.server.asgi.app import create_app
from upwell.server.asgi.connections import (
    DEFAULT_CONNECTION_LIMITS,
    ConnectionLimits,
    ConnectionTable,
)
from upwell.server.asgi.garbage import keep_collections_short
from upwell.server.asgi.local_socket import serve_local
from upwell.server.asgi.serving import serve
from upwell.server.asgi.tls import CertificateError
from upwell.settings import ListenSettings, ServerSettings
from upwell.store.interface import StoreError
from upwell.workload.errors import WorkloadError
from upwell.workload.podman.runtime import PodmanRuntime

_ASKING = 256
"""Connections of a cluster that asks about writes."""


class ServeError(Exception):
    """The server cannot start; the message says why and what to do."""


_EXPLAINED = (
    ServeError,
    DataFolderError,
    StoreError,
    EncryptionKeyError,
    OutboxError,
    WorkloadError,
    RouterUnavailableError,
    CertificateError,
    StorageError,
)
"""Errors whose messages say what to do."""


def serve_until_stopped(
    settings: ServerSettings, started: Callable[[], None] = lambda: None
) -> None:
    """Run the server on an event loop of its own; see `run_server`."""
    asyncio.run(run_server(settings, started), loop_factory=create_event_loop)


async def run_server(settings: ServerSettings, started: Callable[[], None] = lambda: None) -> None:
    """Serve until SIGINT or SIGTERM; raises ServeError when it cannot start.

    `started` is called once, when requests are answered from then on.

    Workloads and the router outlive the server, and are found again at the next start.
    """
    raise_descriptor_limit()
    keep_collections_short()
    shutdown = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, shutdown.set)
    try:
        settings.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        tighten(settings.data_dir)
        async with AsyncExitStack() as stack:
            listener = stack.enter_context(_listen(settings))
            admission = settings.kubernetes.admission_port
            asked = stack.enter_context(_listen(settings, admission)) if admission else None
            adapters = await open_adapters(settings, stack)
            stack.enter_context(telling_settings(settings))
            if adapters.machine is not None and firewall_rules(settings) is None:
                await remove_filter(adapters.machine.firewall)
            table = ConnectionTable(_connection_limits(settings.listening))
            wired = wire(adapters)
            async with asyncio.TaskGroup() as group:
                webhook = None if adapters.cluster is None else adapters.cluster.webhook
                if webhook is not None and asked is not None and wired.admission is not None:
                    answering = _answer(wired.admission, asked, shutdown, webhook.tls)
                    group.create_task(answering)
                await _run(wired, adapters, listener, shutdown, table, started)
    except Exception as error:
        if (message := _explained(error)) is None:
            raise
        raise ServeError(message) from error


def _connection_limits(settings: ListenSettings) -> ConnectionLimits:
    """Return the limits of connections; what the server does itself has descriptors left."""
    wanted = replace(
        DEFAULT_CONNECTION_LIMITS.within(settings.connections),
        total=settings.connections,
        per_address=min(settings.connections_per_address, settings.connections),
    )
    return wanted.within(connection_room())


def _explained(error: BaseException) -> str | None:
    """Return the first fault that an administrator can mend; None if there is another one."""
    if isinstance(error, BaseExceptionGroup):
        found = [_explained(one) for one in error.exceptions]
        return None if None in found else found[0]
    if isinstance(error, _EXPLAINED):
        return str(error)
    if isinstance(error, OSError):
        return f"{error.strerror or error}: {error.filename or ''}".removesuffix(": ")
    return None


async def remove_workloads(settings: ServerSettings) -> None:
    """Remove every container, the network and the router of a server that does not run.

    Raises WorkloadError or RouterUnavailableError.
    """
    files = await write_configuration(settings)
    folder = settings.data_dir / "router"
    await HaproxyRouter(HaproxySettings(folder, installation=files.instance_id)).stop()
    async with PodmanRuntime.open(podman_settings(settings, files)) as runtime:
        await runtime.teardown()
    await remove_filter(NftFirewall(settings.data_dir / "firewall", files.instance_id))


async def _answer(
    app: ASGIApp, listener: socket.socket, shutdown: asyncio.Event, tls: ssl.SSLContext
) -> None:
    """Answer the webhook of a cluster until `shutdown` is set.

    Connections are counted apart: nobody takes the room that the cluster's questions need.
    """
    table = ConnectionTable(DEFAULT_CONNECTION_LIMITS.within(_ASKING))
    await serve(app, listener, shutdown, tls=tls, plain=False, table=table)


def _listen(settings: ServerSettings, port: int | None = None) -> socket.socket:
    """Bind the API's port, or another one, before anything else is started."""
    port = settings.port if port is None else port
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    # With its protocol named, the event loop sets TCP_NODELAY on what it accepts; without that,
    # the rest of an answer waits for the client to acknowledge its beginning: 40 ms.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((settings.host.strip("[]"), port))
        listener.listen()
    except OSError as error:
        listener.close()
        where = f"{settings.host}:{port}"
        if error.errno == errno.EADDRINUSE:
            message = f"{where} is in use: stop what listens there, or choose another --listen"
            raise ServeError(message) from error
        raise ServeError(f"cannot listen on {where}: {error.strerror}") from error
    return listener


async def _run(
    wired: Wired,
    adapters: Adapters,
    listener: socket.socket,
    shutdown: asyncio.Event,
    table: ConnectionTable,
    started: Callable[[], None],
) -> None:
    """Serve until `shutdown` is set, then stop reconciling: watches end before the store."""
    settings, protection = adapters.settings, adapters.protection
    manager = settings.service_manager
    async with asyncio.TaskGroup() as group:
        loops = [group.create_task(keep_running(loop)) for loop in wired.loops]
        heard = (
            keep_alive(manager),
            report_status(manager, adapters.components, settings.url),
            report_stop(manager, shutdown),
        )
        loops += [group.create_task(loop) for loop in heard]
        try:
            tls, plain = protection.tls, protection.plain
            deps = replace(wired.deps, shutdown=shutdown, connections=table, plain=plain)
            app = create_app(deps)
            if protection.local is not None:
                group.create_task(serve_local(app, protection.local, shutdown, table))
            started()
            # Whoever connects from now on is answered: the socket listens, and all is open.
            manager.ready(f"listening on {settings.url}")
            await serve(app, listener, shutdown, tls=tls, plain=plain, table=table)
        finally:
            for task in loops:
                task.cancel()
