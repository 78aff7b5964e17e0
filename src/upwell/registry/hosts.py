"""Settings per registry: where it is reached, how far it is trusted, how hard it may be pressed.

The model is containers-registries.conf(5): the longest matching prefix decides, `*.host` matches
every subdomain. `render_registries_conf` hands the same settings to Buildah and Podman.
"""

import ipaddress
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import lru_cache
from pathlib import Path

from upwell.oci import Reference
from upwell.oci.registry_names import DOCKER_HUB, canonical_name
from upwell.registry.errors import BlockedError

DEFAULT_CONCURRENCY = 8
_MAX_ENDPOINTS = 10_000
_HUB_SERVER = "registry-1.docker.io"


@dataclass(frozen=True, slots=True)
class RegistryLimits:
    """Number of requests that may be open at once, and that may start per second (None: any)."""

    concurrency: int = DEFAULT_CONCURRENCY
    per_second: float | None = None

    def __post_init__(self) -> None:
        if self.concurrency < 1 or (self.per_second is not None and self.per_second <= 0):
            raise ValueError(f"limits must be positive: {self}")


DEFAULT_LIMITS = RegistryLimits()


class PullFrom(StrEnum):
    """Pulls that a mirror serves (containers-registries.conf, pull-from-mirror)."""

    ALL = "all"
    DIGEST_ONLY = "digest-only"
    TAG_ONLY = "tag-only"


@dataclass(frozen=True, slots=True)
class RegistryMirror:
    """Mirror that is asked for images before their own registry; nothing is pushed there.

    `location` takes the place of the prefix, as the host's own does.
    """

    location: str
    insecure: bool = False
    ca_file: Path | None = None
    pulls: PullFrom = PullFrom.ALL

    def __post_init__(self) -> None:
        if not self.location.strip("/"):
            raise ValueError("a mirror's location must not be empty")

    def serves(self, reference: Reference) -> bool:
        """Return True if the mirror is asked for this image: tags may be behind, digests cannot."""
        if reference.digest is not None:
            return self.pulls is not PullFrom.TAG_ONLY
        return self.pulls is not PullFrom.DIGEST_ONLY


@dataclass(frozen=True, slots=True)
class RegistryHost:
    """The settings of every image whose name starts with `prefix`.

    `prefix` is `host[:port][/namespace]` or `*.host`. `location` takes its place on the wire;
    credentials are looked up for the location, as they are sent to it. `insecure` allows
    unverified TLS and plain http. `ca_file` is trusted besides the system's authorities.
    `limits` hold for the whole registry that is reached, so they count where `prefix` is a host.
    `mirrors` are asked in turn, and the location after them.
    """

    prefix: str
    location: str = ""
    insecure: bool = False
    ca_file: Path | None = None
    blocked: bool = False
    limits: RegistryLimits = DEFAULT_LIMITS
    mirrors: tuple[RegistryMirror, ...] = ()

    def __post_init__(self) -> None:
        if not self.prefix.strip("/"):
            raise ValueError("a registry's prefix must not be empty")
        if self.location and self.prefix.startswith("*."):
            raise ValueError(f"{self.prefix}: a wildcard cannot have a location")

    def matches(self, name: str) -> bool:
        """Return True if `name` (`host[:port]/repository`) is under this prefix."""
        if self.prefix.startswith("*."):
            host = name.partition("/")[0].partition(":")[0]
            return host.endswith(self.prefix[1:])
        return name == self.prefix or name.startswith(f"{self.prefix}/")

    def rest_of(self, name: str) -> str:
        """Return what follows the prefix in `name`, which matches; a wildcard takes the host."""
        if self.prefix.startswith("*."):
            return name[len(name.partition("/")[0]) :]
        return name.removeprefix(self.prefix)


@dataclass(frozen=True, slots=True)
class RegistryEndpoint:
    """Endpoint at which one repository is really reached."""

    registry: str
    """Name of the registry for people, `docker.io` included; key of budget and credentials."""
    repository: str
    schemes: tuple[str, ...]
    """Schemes that may be tried, in this order."""
    insecure: bool = False
    ca_file: Path | None = None

    @property
    def name(self) -> str:
        """`registry/repository`, for messages."""
        return f"{self.registry}/{self.repository}"

    @property
    def authority(self) -> str:
        """The `host[:port]` to connect to."""
        return _HUB_SERVER if self.registry == DOCKER_HUB else self.registry


class RegistryHosts:
    """Settings of all registries; one without any gets the defaults."""

    def __init__(
        self, hosts: Iterable[RegistryHost] = (), authorities: Mapping[str, Path] | None = None
    ) -> None:
        """Keep the settings; `authorities` are PEM files by host name, where none names one."""
        self._authorities = authorities or {}
        # Longest first, so the first match is the most specific; a wildcard is less so than
        # any exact prefix of the same length.
        self._hosts = sorted(
            (replace(host, prefix=canonical_name(host.prefix)) for host in hosts),
            key=lambda host: (len(host.prefix), host.prefix[0] != "*"),
            reverse=True,
        )
        self._endpoints: dict[tuple[str, bool, bool], tuple[RegistryEndpoint, ...]] = {}
        """Answers of `endpoints`, which is asked for each request."""

    def find(self, name: str) -> RegistryHost | None:
        """Return the settings of `name` (`host[:port]/repository`), by longest prefix."""
        return next((host for host in self._hosts if host.matches(name)), None)

    def endpoint(self, reference: Reference, *, insecure: bool = False) -> RegistryEndpoint:
        """Say where `reference` is reached; `insecure` adds to the settings.

        Raises BlockedError.
        """
        host = self._host(reference)
        name = reference.name
        if host.location:
            name = host.location + host.rest_of(name)
        ca_file = host.ca_file or self._authorities.get(_host_name(name))
        return _endpoint(name, insecure=insecure or host.insecure, ca_file=ca_file)

    def endpoints(
        self, reference: Reference, *, insecure: bool = False
    ) -> tuple[RegistryEndpoint, ...]:
        """Say where `reference` may be read, best first: its mirrors, and at last itself.

        Raises BlockedError.
        """
        key = (reference.name, reference.digest is None, insecure)
        if (known := self._endpoints.get(key)) is not None:
            return known
        if len(self._endpoints) >= _MAX_ENDPOINTS:
            self._endpoints.clear()
        self._endpoints[key] = found = self._found(reference, insecure=insecure)
        return found

    def _found(self, reference: Reference, *, insecure: bool) -> tuple[RegistryEndpoint, ...]:
        host = self._host(reference)
        mirrors = [
            _endpoint(
                mirror.location.rstrip("/") + host.rest_of(reference.name),
                insecure=mirror.insecure,
                ca_file=mirror.ca_file,
            )
            for mirror in host.mirrors
            if mirror.serves(reference)
        ]
        return (*mirrors, self.endpoint(reference, insecure=insecure))

    def _host(self, reference: Reference) -> RegistryHost:
        host = self.find(reference.name) or RegistryHost(reference.registry)
        if host.blocked:
            raise BlockedError(reference.name, host.prefix)
        return host

    def is_insecure(self, reference: Reference) -> bool:
        """Return True if `reference` may be read over plain HTTP or without valid TLS.

        As its settings say, or because it is on loopback.
        """
        host = self.find(reference.name) or RegistryHost(reference.registry)
        location = host.location or reference.registry
        return host.insecure or is_loopback(location.partition("/")[0])

    def places(self) -> Iterator[str]:
        """Yield the `host[:port]` that each setting names: the administrator trusts these."""
        for host in self._hosts:
            for place in (host.location or host.prefix, *(one.location for one in host.mirrors)):
                yield place.partition("/")[0]

    def limits(self, registry: str) -> RegistryLimits:
        """Return the limits of requests to the registry that is reached as `registry`."""
        host = self.find(registry)
        return host.limits if host else DEFAULT_LIMITS

    def render_registries_conf(self) -> str:
        """Write these settings as containers-registries.conf(5) version 2, for Buildah and Podman.

        Loopback registries need an entry there to be reached over plain http.
        """
        blocks = [_render(host) for host in self._hosts]
        return "\n".join(["unqualified-search-registries = []", *blocks]) + "\n"


@lru_cache(maxsize=1024)
def is_loopback(authority: str) -> bool:
    """Return True if `host[:port]` is this machine by its name alone; nothing is looked up."""
    host = _host_name(authority)
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _host_name(name: str) -> str:
    """Return the host of `host[:port][/repository]`, without the brackets of an IPv6 address."""
    authority = name.partition("/")[0]
    if authority.startswith("["):
        return authority[1:].partition("]")[0]
    return authority.partition(":")[0] if authority.count(":") == 1 else authority


def _endpoint(name: str, *, insecure: bool, ca_file: Path | None) -> RegistryEndpoint:
    registry, _, repository = name.partition("/")
    plain = insecure or is_loopback(registry)
    return RegistryEndpoint(
        registry, repository, ("https", "http") if plain else ("https",), insecure, ca_file
    )


def _render(host: RegistryHost) -> str:
    location = host.location or host.prefix
    lines = ["", "[[registry]]", f"prefix = {_toml_string(host.prefix)}"]
    if not host.prefix.startswith("*."):
        lines.append(f"location = {_toml_string(location)}")
    if host.insecure or is_loopback(location.partition("/")[0]):
        lines.append("insecure = true")
    if host.blocked:
        lines.append("blocked = true")
    for mirror in host.mirrors:
        lines += ["", "[[registry.mirror]]", f"location = {_toml_string(mirror.location)}"]
        if mirror.insecure or is_loopback(mirror.location.partition("/")[0]):
            lines.append("insecure = true")
        if mirror.pulls is not PullFrom.ALL:
            lines.append(f"pull-from-mirror = {_toml_string(mirror.pulls)}")
    return "\n".join(lines)


def _toml_string(text: str) -> str:
    # A JSON string in ASCII is a TOML basic string: both escape alike.
    return json.dumps(text)
