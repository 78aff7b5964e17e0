"""From a RoutingTable to HAProxy's configuration: pure text, HAProxy 3.0.

The text is *structure* (frontends, rules, backends) and *servers* (endpoints). Only a change of
structure needs a reload; servers come and go through the runtime API, and stand in the text so
that a HAProxy that starts from it knows them all. The structure's hash is the running process's
`description`: that is how a new Upwell learns what the process that it finds has loaded.
"""

import hashlib
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from urllib.parse import quote

from upwell.router.interface import Backend, BackendServer, HttpRule, Listener, Plain, RoutingTable

_HOST = re.compile(r"(\*\.)?[a-z0-9]([a-z0-9.-]*[a-z0-9])?")
_PATH = re.compile(r"/[A-Za-z0-9._~!$&'()*+,;=:@%/-]*")
TLS_FRONTENDS = frozenset({"upwell_tls", "upwell_https"})
HTTP_FRONTEND = "upwell_http"
_NO_ROUTE = "upwell_no_route"
_EDGE = "upwell_edge"
_HELLO_SECONDS = 5
_HTTPS_PORT = "443"
_EVERY_ADDRESS = ("0.0.0.0", "::")  # noqa: S104 - compares, binds nothing
_HTTP_VARIABLES = (
    "  http-request set-var(txn.host) req.hdr(host),host_only,lower",
    "  http-request set-var(txn.dice) rand(1000000)",
)


@dataclass(frozen=True, slots=True)
class RouterLimits:
    """Limits of HAProxy. Seconds.

    Generous on purpose: an application's own patience decides, the router's only bounds leaks.
    """

    connect_seconds: int = 2
    idle_seconds: int = 3600
    tunnel_seconds: int = 86400
    request_head_seconds: int = 30
    keep_alive_seconds: int = 60
    drain_seconds: int = 3600
    """Time for which a replaced HAProxy process may go on serving its sessions."""
    max_connections: int = 4000
    steady_seconds: float = 10
    """Time after which a process that was started several times within a minute counts as up."""
    max_reloads: int = 100
    """Reloads that a replaced process may survive: a client that stays on must not pile them up."""


@dataclass(frozen=True, slots=True)
class Confinement:
    """Rights of the processes that serve: those of a user of its own, in an empty folder.

    The master reads files and opens sockets before, at each reload anew; it takes no requests.
    """

    uid: int
    gid: int
    folder: str
    """Root of the file system that they see; it holds nothing but sockets of the router."""


@dataclass(frozen=True, slots=True)
class TlsPlan:
    """TLS of the router: its address and its certificates."""

    address: str
    certificates: Sequence[str]
    """Paths of PEM files; their names change with their content."""
    socket: str
    """Path of the socket between the frontend that reads the SNI and the one that terminates."""
    authorities: Mapping[str, str] = field(default_factory=dict)
    """PEM -> path of the file, of those that endpoints have certificates of."""


@dataclass(frozen=True, slots=True)
class ServablePlan:
    """A table that was checked: what can be served as it stands, and why the rest cannot."""

    http_address: str
    limits: RouterLimits
    backends: Mapping[str, Backend]
    rules: Sequence[HttpRule]
    listeners: Sequence[Listener]
    faults: Mapping[str, str] = field(default_factory=dict)
    """Name of a rule or listener -> why it is not served."""
    tls: TlsPlan | None = None
    """Plan of TLS for rules with certificates, once these are there."""
    waiting_socket: str = ""
    """Socket that nobody uses, for Routes while another process has their address."""
    address_fault: str = ""
    """Reason why an address of Routes is not served."""
    lacking: Collection[tuple[str, int]] = ()
    """Addresses that others have: what they are for is not served."""
    confinement: Confinement | None = None
    """None: the processes that serve have the rights of the server."""
    trusted_proxies: Sequence[str] = ()
    """Networks of proxies before this one, whose word counts on who asks and how."""

    def servers(self) -> Mapping[tuple[str, str], BackendServer]:
        """Return the endpoints by (proxy, server) as HAProxy names them."""
        return {
            (proxy, _quoted(endpoint.name)): endpoint
            for proxy, backend in self._proxies()
            for endpoint in backend.endpoints
        }

    def server_options(self) -> Mapping[str, str]:
        """Return how the servers of a proxy are spoken to, where that is not plainly."""
        if self.tls is None:
            return {}
        return {
            secure_proxy(name, rule.tls.destination_authority): (
                f"ssl verify required ca-file {path}"
            )
            for rule in self.rules
            if rule.tls is not None
            and (path := self.tls.authorities.get(rule.tls.destination_authority))
            for name, _ in rule.backends
        }

    def structure(self) -> str:
        """Return what only a reload can change."""
        return "\n".join(self._lines(with_servers=False))

    def fingerprint(self) -> str:
        """Return a short name of the structure."""
        return hashlib.sha256(self.structure().encode()).hexdigest()[:16]

    def render(self) -> str:
        """Return the whole file, as it describes the present state."""
        lines = ["# Written by upwell; changes are lost.", "global"]
        lines += [f"  description {self.fingerprint()}"]
        return "\n".join([*lines, *self._lines(with_servers=True)]) + "\n"

    def _proxies(self) -> Iterator[tuple[str, Backend]]:
        """Yield each backend under the name of each mode that it is used in."""
        used: dict[str, str] = {}
        for rule in self.rules:
            used.update({_rule_proxy(rule, name): name for name, _ in rule.backends})
        for listener in self.listeners:
            named = http_proxy if listener.http else tcp_proxy
            used[named(listener.backend)] = listener.backend
        for proxy in sorted(used):
            yield proxy, self.backends[used[proxy]]

    def _lines(self, *, with_servers: bool) -> Iterator[str]:
        if self.confinement is not None:
            yield f"  uid {self.confinement.uid}"
            yield f"  gid {self.confinement.gid}"
            yield f"  chroot {_literal(self.confinement.folder)}"
        yield from _preamble(self.limits)
        rules = sorted(self.rules, key=_precedence)
        waiting = self.waiting_socket
        yield f"frontend {HTTP_FRONTEND}_waiting" if waiting else f"frontend {HTTP_FRONTEND}"
        yield f"  bind {f'unix@{waiting}' if waiting else self.http_address}"
        yield from _HTTP_VARIABLES
        yield from self._origin_lines("http")
        for rule in rules:
            if rule.tls is not None and rule.tls.plain is Plain.REDIRECT:
                yield f"  http-request redirect {_redirect(self.tls)} if {_conditions(rule)}"
            elif rule.tls is None or rule.tls.plain is Plain.ALLOW:
                yield from _rule_lines(rule)
        yield f"  default_backend {_NO_ROUTE}"
        if self.tls is not None:
            yield from self._tls_lines(self.tls, [rule for rule in rules if rule.tls is not None])
        yield f"backend {_NO_ROUTE}"
        text = "no Route for host %[var(txn.host)] and path %[path]\\n"
        yield f'  http-request return status 503 content-type text/plain lf-string "{text}"'
        for listener in sorted(self.listeners, key=lambda each: each.name):
            yield f"frontend {listener_proxy(listener)}"
            yield f"  mode {'http' if listener.http else 'tcp'}"
            yield f"  bind {socket_address(listener.address, listener.port)}"
            if listener.http and listener.address in _EVERY_ADDRESS:
                yield from self._origin_lines("http")
            named = http_proxy if listener.http else tcp_proxy
            yield f"  default_backend {named(listener.backend)}"
        options = self.server_options()
        for proxy, backend in self._proxies():
            yield from _backend_lines(proxy, backend, options.get(proxy, ""))
            if with_servers:
                for endpoint in backend.endpoints:
                    yield f"  {_server_line(endpoint)}"

    def _tls_lines(self, tls: TlsPlan, rules: Sequence[HttpRule]) -> Iterator[str]:
        """Yield the frontends for TLS: one that only looks at the name, where a rule needs that."""
        passed = [rule for rule in rules if rule.tls is not None and rule.tls.passthrough]
        crt = " ".join(f"crt {path}" for path in tls.certificates)
        secure = f"ssl {crt} alpn h2,http/1.1 ssl-min-ver TLSv1.2"
        confined = self.confinement
        if passed:
            yield from _name_lines(tls, passed)
            if crt:
                yield f"  default_backend {_EDGE}"
                yield f"backend {_EDGE}"
                yield "  mode tcp"
                # Who connects sees the folder that it is confined to as the root of all.
                path = f"/{Path(tls.socket).name}" if confined else tls.socket
                yield f"  server edge unix@{path} send-proxy-v2"
        if not crt:
            return
        yield "frontend upwell_https"
        owner = f"uid {confined.uid} gid {confined.gid} mode 600 " if confined else ""
        yield (
            f"  bind unix@{tls.socket} {owner}accept-proxy {secure}"
            if passed
            else (f"  bind {tls.address} {secure}")
        )
        yield from _HTTP_VARIABLES
        yield from self._origin_lines("https")
        for rule in rules:
            if rule.tls is not None and not rule.tls.passthrough:
                yield from _rule_lines(rule)
        yield f"  default_backend {_NO_ROUTE}"

    def _origin_lines(self, scheme: str) -> Iterator[str]:
        """Yield what says who asks, and how: clients' own words on that are removed.

        Header names are in lower case here; a `_` is what many servers take for a `-`.
        """
        unless = ""
        if self.trusted_proxies:
            yield f"  acl trusted_proxy src {' '.join(self.trusted_proxies)}"
            unless = " unless trusted_proxy"
        yield f"  http-request del-header '^(x[-_])?forwarded([-_]|$)' -m reg{unless}"
        origin = f"for=%[src];proto={scheme}"
        origin6 = f'for=\\"[%[src]]\\";proto={scheme}'
        for name, value in (
            ("X-Forwarded-Proto", scheme),
            ("X-Forwarded-Host", "%[req.hdr(host)]"),
            ("X-Forwarded-Port", "%[dst_port]"),
        ):
            kept = f" unless trusted_proxy {{ req.hdr({name}) -m found }}" if unless else ""
            yield f"  http-request set-header {name} {value}{kept}"
        known = "!trusted_proxy " if unless else ""
        yield f'  http-request set-header Forwarded "{origin}" if {known}{{ src 0.0.0.0/0 }}'
        yield f'  http-request set-header Forwarded "{origin6}" if {known}!{{ src 0.0.0.0/0 }}'


def plan(table: RoutingTable, http_address: str, limits: RouterLimits) -> ServablePlan:
    """Check `table` and leave out, with the reason, what HAProxy could not serve."""
    backends = {backend.name: backend for backend in table.backends}
    rules, listeners, faults = [], [], {}
    taken: dict[tuple[str, object], str] = {}
    address, _, port = http_address.rpartition(":")
    taken[address, int(port)] = "the router itself"
    for rule in table.rules:
        place: tuple[str, object] = (rule.host.lower(), rule.path.rstrip("/"))
        if fault := _rule_fault(rule, backends) or _conflict(taken, place):
            faults[rule.name] = fault
        else:
            taken[place] = rule.name
            rules.append(rule)
    for listener in table.listeners:
        place = (listener.address, listener.port)
        if listener.backend not in backends:
            faults[listener.name] = f"there is no backend {listener.backend}"
        elif fault := _conflict(taken, place):
            faults[listener.name] = fault
        else:
            taken[place] = listener.name
            listeners.append(listener)
    return ServablePlan(http_address, limits, backends, rules, listeners, faults)


def http_proxy(backend: str) -> str:
    """Return the name of the proxy that serves a backend's HTTP requests."""
    return f"http:{_quoted(backend)}"


def tcp_proxy(backend: str) -> str:
    """Return the name of the proxy that serves a backend's TCP connections."""
    return f"tcp:{_quoted(backend)}"


def secure_proxy(backend: str, authority: str) -> str:
    """Return the name of the proxy that serves a backend's HTTP requests by TLS."""
    trusted = hashlib.sha256(authority.encode()).hexdigest()[:12]
    return f"https-{trusted}:{_quoted(backend)}"


def is_proxy_of(proxy: str, backend: str) -> bool:
    """Return True if a proxy leads to the endpoints of a backend, in whatever way."""
    return proxy.partition(":")[2] == _quoted(backend)


def _rule_proxy(rule: HttpRule, backend: str) -> str:
    if rule.tls is not None and rule.tls.passthrough:
        return tcp_proxy(backend)
    if rule.tls is not None and rule.tls.destination_authority:
        return secure_proxy(backend, rule.tls.destination_authority)
    return http_proxy(backend)


def listener_proxy(listener: Listener) -> str:
    """Return the name of a listener's frontend: what it is bound to, whoever wants it."""
    return f"listen:{_quoted(f'{listener.address}:{listener.port}')}"


def endpoint_name(server: str) -> str:
    """Return the endpoint's name from the server's."""
    return re.sub(r":([0-9A-F]{2})", lambda match: chr(int(match[1], 16)), server)


def socket_address(address: str, port: int) -> str:
    """Return `address:port`, with brackets around an IPv6 address."""
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def _preamble(limits: RouterLimits) -> Iterator[str]:
    yield from (
        f"  maxconn {limits.max_connections}",
        f"  hard-stop-after {limits.drain_seconds}s",
        f"  mworker-max-reloads {limits.max_reloads}",
        "defaults",
        "  mode http",
        f"  timeout connect {limits.connect_seconds}s",
        f"  timeout client {limits.idle_seconds}s",
        f"  timeout server {limits.idle_seconds}s",
        f"  timeout tunnel {limits.tunnel_seconds}s",
        f"  timeout http-request {limits.request_head_seconds}s",
        f"  timeout http-keep-alive {limits.keep_alive_seconds}s",
        # Only what never reached a server is sent again, and then to another one.
        "  retries 3",
        "  retry-on conn-failure",
        "  option redispatch 1",
        # A server that closes an idle connection while a request is on its way would cost that
        # request: ask each on a connection of its own. It also makes sessions() say when the last
        # request has ended.
        "  option http-server-close",
        # A reload must not close a client's idle connection under its next request.
        "  option idle-close-on-response",
        "  option forwardfor",
        "  balance leastconn",
    )


def _name_lines(tls: TlsPlan, rules: Sequence[HttpRule]) -> Iterator[str]:
    """Yield the frontend that looks at the name alone which a client of TLS asks for."""
    yield "frontend upwell_tls"
    yield "  mode tcp"
    yield f"  bind {tls.address}"
    yield f"  tcp-request inspect-delay {_HELLO_SECONDS}s"
    yield "  tcp-request content set-var(txn.host) req.ssl_sni,lower"
    yield "  tcp-request content set-var(txn.dice) rand(1000000)"
    yield "  tcp-request content accept if { req.ssl_hello_type 1 }"
    for rule in rules:
        yield from _rule_lines(rule)


def _redirect(tls: TlsPlan | None) -> str:
    """Return where plain HTTP is sent on to: the same host and path, by TLS."""
    port = tls.address.rpartition(":")[2] if tls is not None else _HTTPS_PORT
    at = "" if port == _HTTPS_PORT else f":{port}"
    return f"code 302 location https://%[var(txn.host)]{at}%[capture.req.uri]"


def _rule_lines(rule: HttpRule) -> Iterator[str]:
    conditions = _conditions(rule)
    proxy = partial(_rule_proxy, rule)
    total = sum(weight for _, weight in rule.backends)
    reached = 0
    for name, weight in rule.backends:
        reached += weight
        if weight and reached < total:
            share = reached * 1_000_000 // total
            dice = f"{{ var(txn.dice) -m int lt {share} }} {_has_servers(proxy(name))}"
            yield f"  use_backend {proxy(name)} if {conditions} {dice}"
    # Whoever is left gets the rest, and the share of those that have no server now.
    for name, weight in reversed(rule.backends):
        if weight:
            yield f"  use_backend {proxy(name)} if {conditions} {_has_servers(proxy(name))}"
    yield f"  use_backend {proxy(rule.backends[-1][0])} if {conditions}"


def _conditions(rule: HttpRule) -> str:
    host, path = rule.host.lower(), rule.path.rstrip("/")
    parts = []
    if host.startswith("*."):
        parts.append(f"{{ var(txn.host) -m end {_literal(host[1:])} }}")
    elif host:
        parts.append(f"{{ var(txn.host) -m str {_literal(host)} }}")
    # A prefix ends where a segment of the path does: /shop is no prefix of /shopping.
    if path:
        parts.append(f"{{ path -m reg {_literal(f'^{re.escape(path)}(/.*)?$')} }}")
    return " ".join(parts) or "TRUE"


def _has_servers(proxy: str) -> str:
    return f"{{ nbsrv({proxy}) gt 0 }}"


def _backend_lines(proxy: str, backend: Backend, options: str) -> Iterator[str]:
    yield f"backend {proxy}"
    if options:
        yield f"  default-server {options}"
    if proxy.startswith("tcp:"):
        yield "  mode tcp"
        return
    text = _literal(f"{backend.name} has no endpoint that is ready") + r"\n"
    answer = f"return status 503 content-type text/plain string {text}"
    yield f"  http-request {answer} if {{ nbsrv({proxy}) eq 0 }}"


def _server_line(endpoint: BackendServer) -> str:
    address = socket_address(endpoint.address, endpoint.port)
    disabled = " disabled" if endpoint.draining else ""
    return f"server {_quoted(endpoint.name)} {address}{disabled}"


def _precedence(rule: HttpRule) -> tuple[int, int, int, str]:
    """Exact hosts before wildcards, narrow ones first, before any; then the longest path."""
    kind = 2 if not rule.host else 1 if rule.host.startswith("*") else 0
    labels = rule.host.count(".") if kind == 1 else 0
    return kind, -labels, -len(rule.path.rstrip("/")), f"{rule.host} {rule.path}"


def _rule_fault(rule: HttpRule, backends: Mapping[str, Backend]) -> str:
    if rule.host and _HOST.fullmatch(rule.host.lower()) is None:
        return f"{rule.host!r} is not a host name"
    if rule.path and _PATH.fullmatch(rule.path) is None:
        return f"{rule.path!r} is not an absolute path"
    missing = [name for name, _ in rule.backends if name not in backends]
    if missing:
        return f"there is no backend {missing[0]}"
    return "" if rule.backends else "it names no backend"


def _conflict(taken: Mapping[tuple[str, object], str], place: tuple[str, object]) -> str:
    return f"{taken[place]} has it already" if place in taken else ""


def _quoted(name: str) -> str:
    """Return `name` in the characters that HAProxy allows, no two alike: `:2F` for a slash."""
    return quote(name, safe="").replace("~", "%7E").replace("%", ":")


def _literal(text: str) -> str:
    """Quote strongly (configuration manual, 2.2): nothing inside is interpreted."""
    return "'" + text.replace("'", "'\\''") + "'"
