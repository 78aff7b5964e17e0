"""The Router port on one machine: HAProxy, detached, so that it serves while we are away.

Every `apply` compares the table with what the running process says of itself, so it does not
matter who started it, or what was interrupted. New endpoints take traffic before old ones lose it.
A process of ours that takes no commands any more is replaced by one that takes its sockets over.
"""

import asyncio
import contextlib
import logging
import re
from collections import deque
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Collection,
    Iterator,
    Mapping,
    Sequence,
)
from dataclasses import dataclass, field, replace
from pathlib import Path

from upwell.machine.components import Components, WatchedComponent
from upwell.machine.process import NOT_FOUND, run_command
from upwell.router.haproxy.addresses import bind_fault, is_free, split_address
from upwell.router.haproxy.certificate_files import CertificateFiles
from upwell.router.haproxy.cli import HaproxyCli, HaproxyServer
from upwell.router.haproxy.config import (
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
from upwell.router.haproxy.confinement import confine
from upwell.router.haproxy.processes import HaproxyProcess, HaproxyProcesses
from upwell.router.haproxy.watch import HaproxyWatch, RouterExpectations
from upwell.router.interface import (
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
_ALERT = re.compile(r"^\[ALERT\] *\(\d+\) : (.*)$", re.MULTILINE)
_MANY_RESTARTS = 4
_RECENT_SECONDS = 60.0
_UNSTEADY = "RouterUnsteady"
_TOLERATED_REFUSALS = 1
"""In a row, while the former table is in force: another try may do."""


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
    trusted_proxies: Sequence[str] = ()
    """Networks of proxies before this one: what they say of who asks, and how, is passed on."""
    user: str = "haproxy"
    """User that serves, if this process is root and there is one; else `nobody`'s id."""
    installation: str = ""
    """Identifier by which a HAProxy of this data folder is known after the folder was moved."""


class HaproxyRouter:
    """Starts HAProxy at the first `apply`, or takes over the one that runs."""

    def __init__(
        self, settings: HaproxySettings, component: WatchedComponent | None = None
    ) -> None:
        self._settings = settings
        self._component = component or Components().add("router")
        folder = settings.data_dir.absolute()  # -D changes the working directory
        self._config = folder / "haproxy.cfg"
        self._socket = folder / "haproxy.sock"
        self._root = folder / "root"
        self._cli = HaproxyCli(self._socket)
        self._processes = HaproxyProcesses(self._config, settings.installation)
        self._lock = asyncio.Lock()
        """One table at a time: the last to come is the one in force."""
        self._table: RoutingTable | None = None
        """The last to come."""
        self._refusals = 0
        """In a row."""
        self._restarts: deque[float] = deque(maxlen=_MANY_RESTARTS)
        """Times of the last ones, by the loop's clock."""
        self._lacking: Collection[tuple[str, int]] = ()
        """Addresses that somebody else has."""
        self._expected = RouterExpectations(
            loading=self._lock.locked,
            is_settled=self._is_settled,
        )

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
            self._table = table
            return await self._apply(table)

    async def restore(self) -> bool:
        """Bring the last table into force again, if it is no more; False unless it stays up."""
        async with self._lock:
            if self._table is not None:
                await self._apply(self._table)
            return self._is_steady()

    def disruptions(self) -> AsyncIterator[str]:
        """Yield why the last table has to be applied anew; what hangs has been ended then."""
        watch = HaproxyWatch(self._cli, self._processes, self._expected, self._component)
        return watch.disruptions()

    async def _apply(self, table: RoutingTable) -> Mapping[str, str]:
        """Serve the table, and report on the router as a component."""
        try:
            wanted = await self._serve(table)
        except RouterDownError as error:
            self._component.fail("RouterDown", f"haproxy is down: {error}")
            raise
        except RouterUnavailableError as error:
            self._refusals += 1
            if self._refusals > _TOLERATED_REFUSALS:
                message = f"haproxy keeps its former configuration: {error}"
                self._component.fail("ConfigurationRefused", message)
            raise
        self._refusals = 0
        if wanted.address_fault:
            self._component.fail("AddressInUse", wanted.address_fault)
        elif not self._is_steady():
            message = (
                "haproxy has ended several times within a minute; it is seen whether it stays up"
            )
            self._component.fail(_UNSTEADY, message)
        else:
            self._component.recover()
        return wanted.faults

    def _is_steady(self) -> bool:
        """Return False if it was started several times within a minute, and now just again."""
        now = asyncio.get_running_loop().time()
        recent = [at for at in self._restarts if now - at < _RECENT_SECONDS]
        if len(recent) < _MANY_RESTARTS:
            return True
        return now - recent[-1] >= self._settings.limits.steady_seconds

    def _is_settled(self) -> bool:
        """Return False once a fault that the last table met may have passed."""
        if self._component.state.reason == _UNSTEADY and self._is_steady():
            return False
        return not any(is_free(*address) for address in self._lacking)

    async def _serve(self, table: RoutingTable) -> ServablePlan:
        """Return what is in force; raises RouterUnavailableError or RouterDownError."""
        running = await self._is_running()
        leftovers = () if running else await self._processes.find()
        if any(one.at_work for one in leftovers):
            # Held up by a busy machine: whoever takes over from it would lose who waits for it.
            with contextlib.suppress(RouterUnavailableError):
                await self._wait_for_answer()
                running, leftovers = True, ()
        wanted = plan(table, self.http_address, self._settings.limits)
        try:
            self._config.parent.mkdir(parents=True, exist_ok=True)
            wanted = replace(
                wanted,
                confinement=await asyncio.to_thread(confine, self._root, self._settings.user),
                trusted_proxies=self._settings.trusted_proxies,
            )
            frontends = await self._cli.frontends() if running else set()
            is_new = any(listener_proxy(one) not in frontends for one in wanted.listeners)
            ours = await self._processes.find() if running and is_new else leftovers
            own = [one.pid for one in ours]  # a host port, say, of a Service that is served
            wanted = await self._with_free_addresses(wanted, frontends, own)
            wanted = await self._with_tls(wanted, frontends, own)
            self._expected.running |= running
            await self._bring_about(wanted, leftovers, running=running)
        except (RouterUnavailableError, OSError) as error:
            why = f"{self._config}: {error.strerror}" if isinstance(error, OSError) else str(error)
            is_up = bool(await self._processes.find())
            raise (RouterUnavailableError if is_up else RouterDownError)(why) from error
        self._lacking = wanted.lacking
        self._expected.applied += 1
        return wanted

    async def _bring_about(
        self, wanted: ServablePlan, leftovers: Sequence[HaproxyProcess], *, running: bool
    ) -> None:
        if not running:
            await self._write(wanted, check=True)
            await self._start(leftovers)
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
            self._expected.running = False
            await self._processes.end(await self._processes.find(), _TURN_SECONDS)
            self._socket.unlink(missing_ok=True)

    async def _start(self, leftovers: Sequence[HaproxyProcess]) -> None:
        """Start a HAProxy, which takes over from what is left of others of ours."""
        if self._expected.running:
            if not self._component.state.faulty:  # its end came just before this table
                self._component.fail("RouterDown", "haproxy has ended; it is started again")
            self._component.count_restart()
            self._restarts.append(asyncio.get_running_loop().time())
        # What is stopped would go on to get its share of the connections.
        await self._processes.end([one for one in leftovers if one.stopped])
        successors = [str(one.pid) for one in leftovers if not one.stopped]
        # In the background by its own means (-D): a child of ours would end with our event loop.
        control = f"{self._socket},mode,600"
        takeover = ("-sf", *successors) if successors else ()
        await self._run("-W", "-D", "-S", control, "-f", str(self._config), *takeover)
        await self._wait_for_answer()
        self._expected.running = True
        _log.info("router started", extra={"address": self.http_address})

    async def _is_running(self) -> bool:
        master = await self._cli.master()
        return master is not None and self._processes.is_of_this_place(master)

    async def _wait_for_answer(self) -> None:
        try:
            async with asyncio.timeout(_TURN_SECONDS):
                while True:
                    if await self._is_running():
                        return
                    await asyncio.sleep(_POLL_SECONDS)
        except TimeoutError as error:
            message = f"haproxy did not answer within {_TURN_SECONDS:.0f} s"
            raise RouterUnavailableError(message) from error

    async def _reload(self) -> None:
        if why := _alerts(await self._cli.reload()):
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

    async def _with_free_addresses(
        self, wanted: ServablePlan, frontends: Collection[str], own: Collection[int]
    ) -> ServablePlan:
        """Return the plan without what somebody else's processes listen at."""
        wanted = await asyncio.to_thread(_without_taken_ports, wanted, frontends, own)
        if HTTP_FRONTEND in frontends:
            return wanted
        address = split_address(self.http_address)
        fault = await asyncio.to_thread(bind_fault, *address, own)
        if not fault:
            return wanted
        why = _taken(self.http_address, fault, "--router")
        plain = [
            rule for rule in wanted.rules if rule.tls is None or rule.tls.plain != Plain.REFUSE
        ]
        return replace(
            wanted,
            faults={**wanted.faults, **{rule.name: why for rule in plain}},
            waiting_socket=str(self._config.parent / "waiting.sock"),
            address_fault=why,
            lacking=(*wanted.lacking, address),
        )

    async def _with_tls(
        self, wanted: ServablePlan, frontends: Collection[str], own: Collection[int]
    ) -> ServablePlan:
        """Return the plan with its certificates written, or without the rules that need them."""
        rules = [(rule, rule.tls) for rule in wanted.rules if rule.tls is not None]
        if not rules:
            return wanted
        address = self._settings.https_address
        if not address:
            why = "this router serves no TLS: give `upwell serve` an address with --router-https"
            return _without(wanted, {rule.name: why for rule, _ in rules})
        place = split_address(address)
        ours = TLS_FRONTENDS & set(frontends)
        fault = "" if ours else await asyncio.to_thread(bind_fault, *place, own)
        if fault:
            why = _taken(address, fault, "--router-https")
            wanted = replace(wanted, address_fault=why, lacking=(*wanted.lacking, place))
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
        socket_path = str((self._root if wanted.confinement else self._config.parent) / "edge.sock")
        plan_of_tls = TlsPlan(address, paths, socket_path, authorities)
        return replace(_without(wanted, faults), tls=plan_of_tls)

    async def _write(self, wanted: ServablePlan, *, check: bool) -> None:
        """Replace the file that HAProxy starts from and reloads, checked by HAProxy itself.

        Where there is no room for it, one with other servers will do: they are settled afterwards.
        """
        text, known = wanted.render(), await asyncio.to_thread(_text_of, self._config)
        if text == known:
            return
        draft = self._config.with_name("haproxy.cfg.new")
        try:
            await asyncio.to_thread(draft.write_text, text)
            if check:
                await self._run("-c", "-f", str(draft))
            draft.replace(self._config)
        except OSError as error:
            if f"  description {wanted.fingerprint()}\n" not in known:
                raise
            _log.warning("router configuration not written", extra={"why": str(error)})

    async def _run(self, *arguments: str) -> None:
        """Run haproxy to its end; raises RouterUnavailableError with what it said."""
        program = self._settings.haproxy
        variables = self._processes.variables
        result = await run_command(program, *arguments, seconds=_CHECK_SECONDS, variables=variables)
        text = _alerts(result.tail)[-_MAX_ERROR_CHARACTERS:]
        if result.code == NOT_FOUND:
            raise RouterUnavailableError(f"{text}; apt install haproxy")
        if result.code != 0:
            raise RouterUnavailableError(f"haproxy {arguments[0]}: {text}")


def _text_of(path: Path) -> str:
    """Return the text of a file; nothing if there is none, or it is damaged."""
    with contextlib.suppress(OSError, UnicodeDecodeError):
        return path.read_text()
    return ""


def _alerts(text: str) -> str:
    """Return the faults that HAProxy printed, without its process ID; all, if it printed none."""
    found = _ALERT.findall(text)
    return "; ".join(one.strip() for one in found) if found else text.strip()


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


def _without_taken_ports(
    wanted: ServablePlan, frontends: Collection[str], own: Collection[int]
) -> ServablePlan:
    """Leave out the listeners whose port somebody else has; ours are among `frontends`."""
    faults: dict[str, str] = {}
    lacking: list[tuple[str, int]] = []
    for listener in wanted.listeners:
        if listener_proxy(listener) not in frontends:
            fault = bind_fault(listener.address, listener.port, own)
            if fault:
                faults[listener.name] = f"{listener.address}:{listener.port}: {fault}"
                lacking.append((listener.address, listener.port))
    listeners = [listener for listener in wanted.listeners if listener.name not in faults]
    return replace(
        wanted, listeners=listeners, faults={**wanted.faults, **faults}, lacking=tuple(lacking)
    )
