"""One spelling for each registry, and one name for the one that this process calls its own.

Rights, image policies, quotas and pruning go by the name of a registry. So whatever spelling text
has (case, leading zeros, a default port, another name of the own registry), a Reference has one.
"""

import re
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import AddressValueError, IPv4Address, IPv6Address

DOCKER_HUB = "docker.io"
OPENSHIFT_NAME = "image-registry.openshift-image-registry.svc:5000"
"""OpenShift's name of the internal registry: it stands for ours, whatever its address."""
_HUB_ALIASES = frozenset({"index.docker.io", "registry-1.docker.io", "registry.hub.docker.com"})
_PLACE = re.compile(
    r"(?P<host>[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?\.?|\[[0-9a-f:.]+\])(?::(?P<port>[0-9]{1,5}))?",
    re.ASCII,
)
_NUMERIC = re.compile(r"(?:0x[0-9a-f]*|[0-9]+)", re.ASCII)
"""A last label that makes a system take the whole for an IPv4 address (WHATWG URL, 4.3)."""
_HTTPS_PORT = ":443"


@dataclass(frozen=True, slots=True)
class OwnRegistry:
    """Names of the registry that images of this process's streams lie in."""

    name: str = ""
    """The `host[:port]` that references have; empty: there is none."""
    aliases: frozenset[str] = frozenset()
    """Other names of it, in the one spelling that each has."""
    loopback_port: int | None = None
    """Port at which every address of loopback leads to it; None: none but the aliases do."""
    has_imports: bool = True
    """Gives what streams import from elsewhere, too, by their own names."""
    path: str = ""
    """Path below which images that an alias names lie there; empty: all of it is our own."""

    @classmethod
    def of(
        cls,
        name: str,
        aliases: Iterable[str] = (),
        loopback_port: int | None = None,
        path: str = "",
        *,
        has_imports: bool = True,
    ) -> "OwnRegistry":
        """Return these names; an alias that is no host and port is the name of no image."""
        known = set()
        for one in (name, *aliases):
            with suppress(ValueError):
                known.add(_spelling(one))
        return cls(name, frozenset(known), loopback_port, has_imports, path)

    @classmethod
    def seen_as(cls, prefix: str, aliases: Iterable[str] = ()) -> "OwnRegistry":
        """Return the names of a server's internal registry, whose images begin with `prefix`."""
        name, _, path = prefix.partition("/")
        host, _, port = name.rpartition(":")
        near = port.isdecimal() and _is_loopback(host)
        return cls.of(name, (OPENSHIFT_NAME, *aliases), int(port) if near else None, path)

    def is_named(self, text: str) -> bool:
        """Return True if a `host[:port]`, however it is spelt, means this registry."""
        try:
            return self.knows(_spelling(text))
        except ValueError:
            return False

    def knows(self, spelling: str) -> bool:
        """Return True if the one spelling of a registry's name means this registry."""
        if spelling in self.aliases:
            return True
        host, _, port = spelling.rpartition(":")
        return bool(host) and port == str(self.loopback_port) and _is_loopback(host)


@dataclass(slots=True)
class _Process:
    """The registry of this process: of it, as of the process, there is one."""

    own: OwnRegistry


_process = _Process(OwnRegistry())


def serve_as(own: OwnRegistry) -> OwnRegistry:
    """Let all references that name the registry by another name have its own; return the last.

    The composition root says it, once, before anything is parsed.
    """
    before, _process.own = _process.own, own
    return before


def has_imports() -> bool:
    """Return True if the own registry gives what streams import, by the streams' names."""
    return _process.own.has_imports


def canonical_registry(text: str) -> str:
    """Return the one spelling of a registry's `host[:port]`; raises ValueError when it is none.

    Hosts have no case, ports no leading zeros, the port of https goes without saying but of a host
    without a dot, and an address is written in one way (RFC 5952 for IPv6). The own registry has
    its own name.
    """
    spelling = _spelling(text)
    own = _process.own
    return own.name if own.knows(spelling) else spelling


def canonical_place(host: str, repository: str) -> tuple[str, str]:
    """Return a registry in its one spelling, and a repository there; raises ValueError.

    By another name of the own registry, the repository is one of our own.
    """
    spelling = _spelling(host)
    own = _process.own
    if not own.knows(spelling):
        return spelling, repository
    path = own.path if spelling != own.name else ""
    return own.name, "/".join(filter(None, (path, repository)))


def canonical_name(text: str) -> str:
    """Return `host[:port][/path]` with the one spelling of its host; what has none stays."""
    host, slash, path = text.partition("/")
    with suppress(ValueError):
        host, path = canonical_place(host, path)
        slash = slash or "/" * bool(path)
    return f"{host}{slash}{path}"


@lru_cache(maxsize=1024)
def _spelling(text: str) -> str:
    found = _PLACE.fullmatch(text.lower())
    if found is None:
        raise ValueError(f"the registry {text!r} is not a host[:port]")
    host, port = _host(found["host"]), found["port"]
    place = host if port is None else f"{host}:{int(port)}"
    if "." in host or ":" in host or host == "localhost":
        place = place.removesuffix(_HTTPS_PORT)
    elif port is None:  # by itself it would read as a path of Docker Hub's
        place += _HTTPS_PORT
    return DOCKER_HUB if place in _HUB_ALIASES else place


def _host(host: str) -> str:
    try:
        if host.startswith("["):
            address = IPv6Address(host[1:-1])
            return str(address.ipv4_mapped or f"[{address.compressed}]")
        host = host.rstrip(".")
        if _NUMERIC.fullmatch(host.rpartition(".")[2]):
            return str(IPv4Address(host))
    except AddressValueError as error:
        raise ValueError(f"the registry {host!r} is not an address as it is written") from error
    return host


def _is_loopback(host: str) -> bool:
    """Return True if a host is this machine by its name alone: nothing is looked up."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        address = IPv6Address(host[1:-1]) if host.startswith("[") else IPv4Address(host)
    except AddressValueError:
        return False
    return address.is_loopback or address.is_unspecified
