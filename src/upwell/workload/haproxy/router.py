"""The Router port on one machine: HAProxy, detached, so that it serves while we are away.

Every `apply` compares the table with what the running process says of itself, so it does not
matter who started it, or what was interrupted. New endpoints take traffic before old ones lose it.
"""

import asyncio
import contextlib
import logging
import os
import signal
import socket
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from upwell.machine.process import NOT_FOUND, run_command
from upwell.workload.haproxy.certificate_files import CertificateFiles
from upwell.workload.haproxy.cli import HaproxyCli, HaproxyServer
from upwell.workload.haproxy.config import (
    HTTP_FRONTEND,
    TLS_FRONTENDS,
    RouterLimits,
    ServablePlan,
    TlsPlan,
    endpoint_name,
    is_proxy_of,
    listener_proxy,
    plan,
    socket_address,
)
from upwell.workload.interface import (
    BackendServer,
    Plain,
    RouterDownError,
    RouterUnavailableError,
    RoutingTable,
)

__all__ = ["HaproxyRouter", "HaproxySettings", "RouterLimits"]

_log = logging.getLogger(__name__)

_CHECK_SECONDS = 30.0
_TURN_SECONDS = 10.0
_POLL_SECONDS = 0.02
_MAX_ERROR_CHARACTERS = 2000


type MakeCertificate = Callable[[Sequence[str]], Awaitable[str]]
"""Returns a certificate for these hosts and its key, in PEM."""


@dataclass(frozen=True, slots=True)
class HaproxySettings:
    """Paths of HAProxy's files, and the addresses at which it listens for Routes."""

    data_dir: Path
    """Holds the configuration and the control socket."""
    http_address: str = "127.0.0.1:8080"
    https_address: str = ""
    """Address of Routes with TLS; empty: they are not served."""
    make_certificate: MakeCertificate | None = None
    """Makes what Routes without a certificate of their own are served with."""
    limits: RouterLimits = field(default_factory=RouterLimits)
    haproxy: str = "haproxy"


class HaproxyRouter:
    """Starts HAProxy at the first `apply`, or takes over the one that runs."""

    def __init__(self, settings: HaproxySettings) -> None:
        self._settings = settings
        folder = settings.data_dir.absolute()  # -D changes the working directory
        self._config = folder / "haproxy.cfg"
        self._socket = folder / "haproxy.sock"
        self._cli = HaproxyCli(self._socket)
        self._lock = asyncio.Lock()
        """One table at a time: the last to come is the one in force."""

    @property
    def http_address(self) -> str:
        """host:port where Routes answer."""
        return self._settings.http_address

    async def apply(self, table: RoutingTable) -> Mapping[str, str]:
        """Make `table` the truth without losing a request.

        Returns the listeners and rules that could not be served, by name, with the reason. Raises
        RouterUnavailableError (the former table is in force then) or RouterDownError.
        """
        async with self._lock:
            self._config.parent.mkdir(parents=True, exist_ok=True)
            running = await self._is_running()
            wanted = plan(table, self.http_address, self._settings.limits)
            frontends = await self._cli.frontends() if running else set()
            wanted = _without_taken_ports(wanted, frontends)
            if HTTP_FRONTEND not in frontends:
                wanted = self._without_taken_address(wanted)
            wanted = await self._with_tls(wanted, served=bool(frontends & TLS_FRONTENDS))
            try:
                await self._bring_about(wanted, running=running)
            except RouterUnavailableError as error:
                if await self._is_running():
                    raise
                raise RouterDownError(str(error)) from error
            return wanted.faults

    async def _bring_about(self, wanted: ServablePlan, *, running: bool) -> None:
        if not running:
            await self._write(wanted, check=True)
            await self._start()
        elif await self._cli.fingerprint() != wanted.fingerprint():
            await self._write(wanted, check=True)
            await self._reload()
        await self._settle_servers(wanted)
        await self._write(wanted, check=False)  # servers alone: it was checked before

    async def sessions(self, backend: str) -> Mapping[str, int]:
        """Return the number of open sessions by endpoint name, replaced processes included."""
        found = await self._cli.sessions(lambda proxy: is_proxy_of(proxy, backend))
        return {endpoint_name(server): count for server, count in found.items()}

    async def stop(self) -> None:
        """End HAProxy and every session with it; idempotent."""
        async with self._lock:
            if not await self._is_running():
                return
            master = await self._cli.master()
            with contextlib.suppress(ProcessLookupError):
                os.kill(master, signal.SIGTERM)
            await self._wait_until(running=False)
            self._socket.unlink(missing_ok=True)

    async def _is_running(self) -> bool:
        try:
            await self._cli.master()
        except RouterUnavailableError:
            return False
        return True

    async def _wait_until(self, *, running: bool) -> None:
        try:
            async with asyncio.timeout(_TURN_SECONDS):
                while True:
                    if await self._is_running() == running:
                        return
                    await asyncio.sleep(_POLL_SECONDS)
        except TimeoutError as error:
            what = "answer" if running else "end"
            raise RouterUnavailableError(
                f"haproxy did not {what} within {_TURN_SECONDS:.0f} s"
            ) from error

    async def _start(self) -> None:
        # In the background by its own means (-D): a child of ours would end with our event loop.
        control = f"{self._socket},mode,600"
        await self._run("-W", "-D", "-S", control, "-f", str(self._config))
        await self._wait_until(running=True)
        _log.info("router started", extra={"address": self.http_address})

    async def _reload(self) -> None:
        if why := await self._cli.reload():
            raise RouterUnavailableError(f"haproxy kept its former configuration: {why}")
        _log.info("router reloaded", extra={"address": self.http_address})

    async def _settle_servers(self, wanted: ServablePlan) -> None:
        """Bring the running servers to what is wanted; those that serve come first."""
        servers, options = wanted.servers(), wanted.server_options()
        present = {key: one for key, one in (await self._cli.servers()).items() if _is_ours(key)}
        said = await self._cli.command(
            [
                *_additions(servers, present, options),
                *_withdrawals(servers, present),
            ]
        )
        for key, server in (await self._cli.servers()).items():
            if _is_ours(key) and server.serving != (key in servers and not servers[key].draining):
                raise RouterUnavailableError(f"haproxy did not switch {'/'.join(key)}: {said}")

    def _without_taken_address(self, wanted: ServablePlan) -> ServablePlan:
        """Return the plan without an address of Routes that somebody else has."""
        fault = _bind_fault(*_split(self.http_address))
        if not fault:
            return wanted
        why = _taken(self.http_address, fault, "--router")
        plain = [
            rule for rule in wanted.rules if rule.tls is None or rule.tls.plain != Plain.REFUSE
        ]
        faults = {**wanted.faults, **{rule.name: why for rule in plain}}
        socket_path = str(self._config.parent / "waiting.sock")
        return replace(wanted, faults=faults, waiting_socket=socket_path)

    async def _with_tls(self, wanted: ServablePlan, *, served: bool) -> ServablePlan:
        """Return the plan with its certificates written, or without the rules that need them."""
        rules = [(rule, rule.tls) for rule in wanted.rules if rule.tls is not None]
        if not rules:
            return wanted
        address = self._settings.https_address
        fault = "" if served or not address else _bind_fault(*_split(address))
        if not address or fault:
            why = "this router serves no TLS: give `upwell serve` an address with --router-https"
            why = _taken(address, fault, "--router-https") if fault else why
            return _without(wanted, {rule.name: why for rule, _ in rules})
        store = CertificateFiles(self._config.parent / "certificates")
        edge = [(rule, tls) for rule, tls in rules if not tls.passthrough]
        texts = [tls.certificate for _, tls in edge if tls.certificate]
        hosts = [rule.host for rule, tls in edge if not tls.certificate]
        if hosts and self._settings.make_certificate is not None:
            texts.append(await self._settings.make_certificate(sorted(set(hosts))))
        trusted = [tls.destination_authority for _, tls in edge if tls.destination_authority]
        written = await asyncio.to_thread(store.write, texts, trusted)
        faults = {
            rule.name: f"{what} cannot be used: {written.faults[text]}; correct it"
            for rule, tls in edge
            for what, text in (
                ("tls.certificate with tls.key", tls.certificate),
                ("tls.destinationCACertificate", tls.destination_authority),
            )
            if text in written.faults
        }
        paths = [written.paths[text] for text in dict.fromkeys(texts) if text in written.paths]
        authorities = {text: written.paths[text] for text in trusted if text in written.paths}
        socket_path = str(self._config.parent / "edge.sock")
        plan_of_tls = TlsPlan(address, paths, socket_path, authorities)
        return replace(_without(wanted, faults), tls=plan_of_tls)

    async def _write(self, wanted: ServablePlan, *, check: bool) -> None:
        """Replace the file that HAProxy starts from and reloads, checked by HAProxy itself."""
        draft = self._config.with_name("haproxy.cfg.new")
        await asyncio.to_thread(draft.write_text, wanted.render())
        if check:
            await self._run("-c", "-f", str(draft))
        draft.replace(self._config)

    async def _run(self, *arguments: str) -> None:
        """Run haproxy to its end; raises RouterUnavailableError with what it said."""
        program = self._settings.haproxy
        result = await run_command(program, *arguments, seconds=_CHECK_SECONDS)
        text = result.tail.strip()[-_MAX_ERROR_CHARACTERS:]
        if result.code == NOT_FOUND:
            raise RouterUnavailableError(f"{text}; apt install haproxy")
        if result.code != 0:
            raise RouterUnavailableError(f"haproxy {arguments[0]}: {text}")


def _is_ours(server: tuple[str, str]) -> bool:
    """Return True if the server is an endpoint, and no part of the router itself."""
    return ":" in server[0]


def _additions(
    wanted: Mapping[tuple[str, str], BackendServer],
    present: Mapping[tuple[str, str], HaproxyServer],
    options: Mapping[str, str],
) -> Iterator[str]:
    for key, endpoint in wanted.items():
        name = "/".join(key)
        server = present.get(key)
        if server is None:
            # A server that is added at run time is out of service until it is enabled, and
            # takes nothing from its proxy's default-server.
            address = socket_address(endpoint.address, endpoint.port)
            yield f"add server {name} {address} {options.get(key[0], '')}".rstrip()
        elif (server.address, server.port) != (endpoint.address, endpoint.port):
            yield f"set server {name} addr {endpoint.address} port {endpoint.port}"
        if not endpoint.draining and (server is None or not server.serving):
            yield f"set server {name} state ready"


def _withdrawals(
    wanted: Mapping[tuple[str, str], BackendServer],
    present: Mapping[tuple[str, str], HaproxyServer],
) -> Iterator[str]:
    for key, server in present.items():
        name = "/".join(key)
        endpoint = wanted.get(key)
        if server.serving and (endpoint is None or endpoint.draining):
            # Maintenance ends no session: those that are open go on.
            yield f"set server {name} state maint"
        if endpoint is None:
            # Refused while it has sessions; the next table tries again.
            yield f"del server {name}"


def _without(wanted: ServablePlan, faults: Mapping[str, str]) -> ServablePlan:
    """Leave out the rules that are at fault."""
    rules = [rule for rule in wanted.rules if rule.name not in faults]
    return replace(wanted, rules=rules, faults={**wanted.faults, **faults})


def _taken(address: str, fault: str, option: str) -> str:
    return f"{address}: {fault}; stop what listens there, or choose another {option}"


def _without_taken_ports(wanted: ServablePlan, frontends: Collection[str]) -> ServablePlan:
    """Leave out the listeners whose port somebody else has; ours are among `frontends`."""
    faults = dict(wanted.faults)
    for listener in wanted.listeners:
        if listener_proxy(listener) not in frontends:
            fault = _bind_fault(listener.address, listener.port)
            if fault:
                faults[listener.name] = f"{listener.address}:{listener.port}: {fault}"
    listeners = [listener for listener in wanted.listeners if listener.name not in faults]
    return replace(wanted, listeners=listeners, faults=faults)


def _bind_fault(address: str, port: int) -> str:
    """Say why nobody could listen there now.

    HAProxy alone would not notice: it shares a port with any process of the same user that also
    allows that (SO_REUSEPORT), and each of the two would get half of the connections.
    """
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except (OSError, OverflowError) as error:
            return getattr(error, "strerror", None) or str(error)
    return ""


def _split(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)
