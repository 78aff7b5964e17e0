"""The dialers of everything that connects on behalf of objects, composed of the settings."""

from collections.abc import Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from ipaddress import ip_network
from urllib.parse import urlsplit

from upwell.app.registries.bucket import bucket_location
from upwell.oci import Reference
from upwell.outbound.addresses import parse_address
from upwell.outbound.destinations import AllowedDestination
from upwell.outbound.dialing import Dialer
from upwell.outbound.image_registries import ImageRegistries
from upwell.outbound.policy import OutboundPolicy, OwnAddress
from upwell.registry.errors import BlockedError
from upwell.registry.hosts import RegistryHosts
from upwell.settings import ServerSettings
from upwell.settings.bucket import BucketSettings

_WILDCARDS = {"0.0.0.0", "::"}  # noqa: S104 - names them, binds nothing
_EVERYWHERE = (ip_network("0.0.0.0/0"), ip_network("::/0"))


@dataclass(frozen=True, slots=True)
class Dialers:
    """A dialer for each use, so that none keeps another waiting for names."""

    registries: Dialer
    sources: Dialer
    """For git and for scripts of builds."""
    commits: Dialer
    """For the repositories of stages."""
    checks: Dialer
    clusters: Dialer
    """For the API servers of Clusters."""
    events: Dialer
    storage: Dialer
    """For the bucket of the embedded registry."""
    images: Dialer
    """For what Podman and Buildah pull and push."""

    @classmethod
    def open(cls, settings: ServerSettings, stack: AsyncExitStack) -> "Dialers":
        """Make them; the stack closes them."""
        policy = outbound_policy(settings)
        registries = policy.also(_registry_places(settings)).reaching(_own_address(settings))

        def opened(judged_by: OutboundPolicy) -> Dialer:
            dialer = Dialer(judged_by)
            stack.callback(dialer.close)
            return dialer

        return cls(
            registries=opened(registries),
            sources=opened(policy),
            commits=opened(policy),
            checks=opened(policy),
            clusters=opened(policy),
            events=opened(policy),
            storage=opened(policy.also(storage_places(settings.embedded_registry.bucket))),
            images=opened(registries),
        )


def image_registries(settings: ServerSettings, dialer: Dialer) -> ImageRegistries:
    """Return the judge of registries that Podman and Buildah reach, as the settings place them."""
    hosts = RegistryHosts(settings.registries)

    def authorities(image: Reference) -> list[str]:
        try:
            return [one.authority for one in hosts.endpoints(image)]
        except BlockedError:
            return []

    return ImageRegistries(dialer, authorities)


def outbound_policy(settings: ServerSettings) -> OutboundPolicy:
    """Return the policy: what the settings allow, and the router, which serves everybody."""
    routers = (settings.router_address, settings.router_https_address)
    policy = OutboundPolicy.of(settings.allowed_destinations)
    return OutboundPolicy((*policy.allowed, *map(_listener, filter(None, routers))))


def _own_address(settings: ServerSettings) -> OwnAddress:
    own = settings.served_names
    hosts = (urlsplit(f"//{one}").hostname for one in (own.name, *own.aliases))
    bound = "127.0.0.1" if settings.host == "localhost" else settings.host.strip("[]")
    try:
        address = parse_address(bound)
    except ValueError:  # a name, which leads to where it leads
        address = None
    return OwnAddress(
        settings.port,
        frozenset(filter(None, hosts)),
        own.name,
        None if address is None or address.is_unspecified else address,
    )


def _listener(address: str) -> AllowedDestination:
    """Return the place at which others reach what listens at `host:port`."""
    host, _, port = address.rpartition(":")
    if host.strip("[]") in _WILDCARDS:
        return AllowedDestination(address, _EVERYWHERE, port=int(port))
    return AllowedDestination.parse(address)


def _registry_places(settings: ServerSettings) -> Iterator[str]:
    """Yield what the settings name as registries, and this server, whose registry has names."""
    yield from RegistryHosts(settings.registries).places()
    if settings.external_registry.prefix:
        yield settings.external_registry.prefix.partition("/")[0]
    if settings.embedded_registry.address:
        yield place_of(f"https://{settings.embedded_registry.address}")
    for name in (*settings.local_names, *settings.certificate_names):
        bare = name.strip("[]")
        yield f"[{bare}]:{settings.port}" if ":" in bare else f"{bare}:{settings.port}"


def place_of(url: str) -> str:
    """Return the HOST:PORT of a URL, as the outbound policy writes places."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    port = parts.port or (443 if parts.scheme == "https" else 80)
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def storage_places(bucket: BucketSettings) -> Iterator[str]:
    """Yield the endpoint of the bucket, which the administrator has named."""
    if bucket.endpoint:
        yield place_of(str(bucket_location(bucket).url))
