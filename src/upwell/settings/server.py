"""The settings of `upwell serve`, put together from options, the environment and the file."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from socket import gethostname
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, model_validator

from upwell.gitops.interface import Author
from upwell.machine.service_manager import ServiceManager
from upwell.oci.registry_names import OPENSHIFT_NAME, OwnRegistry
from upwell.outbound.destinations import AllowedDestination
from upwell.policy.access.roles import Role
from upwell.registry.hosts import RegistryHost, is_loopback
from upwell.settings.builds import BuildIsolation
from upwell.settings.errors import SettingsError
from upwell.settings.keyless import KeylessSettings
from upwell.settings.keys import EncryptionSettings, SigningSettings
from upwell.settings.kubernetes import KubernetesSettings, ServerPlatform
from upwell.settings.network import NetworkSettings
from upwell.settings.oidc import OidcSettings
from upwell.settings.registries import EmbeddedRegistrySettings, ExternalRegistrySettings
from upwell.settings.tables import (
    DEFAULT_AUTHOR,
    AuditSettings,
    DiskSettings,
    ListenSettings,
    QuotaSettings,
    RetentionSettings,
    WorkloadLimits,
)
from upwell.settings.token_exchange import TokenExchangeSettings
from upwell.settings.tracing import TraceExport
from upwell.settings.waves import WaveSettings
from upwell.uploads.interface import DEFAULT_LIMIT_BYTES

_WILDCARDS = {"0.0.0.0", "::", "[::]"}  # noqa: S104 - names them, binds nothing


class AccessSettings(BaseModel):
    """Protection of the API; without TLS it is served on loopback alone."""

    model_config = ConfigDict(frozen=True)

    tls: bool = False
    """Serve TLS with a generated certificate; own files, where named, come first."""
    tls_cert: Path | None = None
    tls_key: Path | None = None
    tls_names: tuple[str, ...] = ()
    """Further host names and addresses of the generated certificate."""
    insecure_listen: bool = False
    """Serve without TLS although others can listen in."""
    anonymous: Role | None = None
    """The role that everyone has everywhere without a token."""

    @property
    def is_encrypted(self) -> bool:
        """Tells whether the API speaks TLS."""
        return self.tls or self.tls_cert is not None


class ServerSettings(BaseModel):
    """Settings of one server; raises SettingsError for those that do not go together."""

    model_config = ConfigDict(frozen=True)

    data_dir: Path
    on: ServerPlatform = ServerPlatform.MACHINE
    kubernetes: KubernetesSettings = KubernetesSettings()
    host: str = "127.0.0.1"
    port: int = 7080
    router_address: str = "127.0.0.1:7088"
    router_https_address: str = "127.0.0.1:7443"
    """HOST:PORT of Routes with TLS, once there is one; empty: they are not served."""
    network: NetworkSettings = NetworkSettings()
    trusted_proxies: tuple[str, ...] = ()
    """Networks of proxies whose word counts on where requests for Routes come from."""
    import_interval: timedelta = timedelta(minutes=15)
    build_slots: int = 0
    """Builds at once; 0: what the machine can take."""
    upload_limit_bytes: int = DEFAULT_LIMIT_BYTES
    """Of one upload for a build."""
    allowed_host_paths: tuple[str, ...] = ()
    allowed_devices: tuple[str, ...] = ()
    build_isolation: BuildIsolation = BuildIsolation()
    workload_limits: WorkloadLimits = WorkloadLimits()
    container_storage: Path | None = None
    """Podman's storage; None: the system's, where `podman ps` shows the workloads."""
    registries: tuple[RegistryHost, ...] = ()
    auth_files: tuple[Path, ...] = ()
    access: AccessSettings = AccessSettings()
    retention: RetentionSettings = RetentionSettings()
    listening: ListenSettings = ListenSettings()
    quota: QuotaSettings = QuotaSettings()
    disk: DiskSettings = DiskSettings()
    embedded_registry: EmbeddedRegistrySettings = EmbeddedRegistrySettings()
    external_registry: ExternalRegistrySettings = ExternalRegistrySettings()
    audit: AuditSettings = AuditSettings()
    allowed_destinations: tuple[str, ...] = ()
    """Places that objects may name although they are on this machine, or link-local."""
    encryption: EncryptionSettings = EncryptionSettings()
    signing: SigningSettings = SigningSettings()
    keyless: KeylessSettings = KeylessSettings()
    token_exchange: tuple[TokenExchangeSettings, ...] = ()
    """Tokens of foreign issuers that are exchanged."""
    oidc: OidcSettings = OidcSettings()
    waves: WaveSettings = WaveSettings()
    tracing: TraceExport = TraceExport()
    service_manager: ServiceManager = ServiceManager()
    """Manager that has started the process, as systemd."""
    git_author: Author = DEFAULT_AUTHOR
    """The author of the commits of promotions."""
    adopt_empty: bool = False
    """Accept that the database has lost objects of what runs."""

    @model_validator(mode="after")
    def _go_together(self) -> "ServerSettings":
        if faults := list(self._faults()):
            raise SettingsError(*faults)
        return self

    def _faults(self) -> Iterator[str]:
        for place in self.allowed_destinations:
            try:
                AllowedDestination.parse(place)
            except ValueError as error:
                yield f"--allow-outbound: {error}"
        if (self.access.tls_cert is None) != (self.access.tls_key is None):
            yield "--tls-cert and --tls-key: name both or neither"
        if not (self.access.is_encrypted or self.access.insecure_listen or is_loopback(self.host)):
            yield (
                f"{self.host} is not on loopback, and tokens would be sent unencrypted: add --tls"
                " (a certificate is generated), or --tls-cert and --tls-key, or --insecure-listen"
            )
        if self.embedded_registry.address and self.external_registry.prefix:
            yield (
                "[embedded-registry] address and [external-registry] prefix: name one of them, as"
                " images of builds lie in one registry"
            )
        if self.embedded_registry.bucket.bucket and self.external_registry.prefix:
            yield (
                "[embedded-registry.bucket] and [external-registry] prefix: name one of them, as"
                " images of builds lie in one registry"
            )

    @property
    def has_shared_registry(self) -> bool:
        """Return True if every replica of the server serves the images that any of them got."""
        return self.has_embedded_registry and bool(self.embedded_registry.bucket.bucket)

    @property
    def internal_host(self) -> str:
        """The `host[:port]` that references to images of the embedded registry begin with."""
        if self.embedded_registry.address:
            return self.embedded_registry.address
        host = "127.0.0.1" if self.host in _WILDCARDS else self.host
        return f"{host}:{self.port}"

    @property
    def has_embedded_registry(self) -> bool:
        """Return False if images of builds lie in a registry elsewhere."""
        return not self.external_registry.prefix

    @property
    def image_prefix(self) -> str:
        """The `HOST[:PORT][/PATH]` with which the names of images of builds and streams begin."""
        return self.external_registry.prefix or self.internal_host

    @property
    def certificate_names(self) -> tuple[str, ...]:
        """The names of the server besides those on this machine, as its certificate has them."""
        advertised = urlsplit(f"//{self.embedded_registry.address}").hostname
        return tuple(dict.fromkeys((*self.access.tls_names, *filter(None, (advertised,)))))

    @property
    def is_registry_verified(self) -> bool:
        """Return True if TLS with the embedded registry is verified: it has a name of its own."""
        return bool(self.embedded_registry.address) and self.access.is_encrypted

    @property
    def own_registry(self) -> OwnRegistry:
        """The names of the registry of builds and streams, and OpenShift's."""
        if self.has_embedded_registry:
            return self.served_names
        host, _, path = self.image_prefix.partition("/")
        return OwnRegistry.of(host, (OPENSHIFT_NAME,), path=path, has_imports=False)

    @property
    def served_names(self) -> OwnRegistry:
        """The names of the embedded registry: listening addresses, own names, OpenShift's."""
        names = [*self.local_names, *self.listening.names, *self.certificate_names]
        if self.host in _WILDCARDS:
            names.append(gethostname())
        places = [_place(name, self.port) for name in names]
        places += [OPENSHIFT_NAME, urlsplit(self.oidc.url).netloc]
        everywhere = self.port if self.host in _WILDCARDS else None
        own = OwnRegistry.of(self.internal_host, places, everywhere)
        # What the administrator has placed here has the rights and policies of here.
        placed = [one.prefix for one in self.registries if own.is_named(one.location)]
        return OwnRegistry.of(self.internal_host, (*places, *placed), everywhere)

    @property
    def own_places(self) -> tuple[tuple[str, int], ...]:
        """The addresses and ports at which the server listens: API and Routes."""
        routers = (self.router_address, self.router_https_address)
        found = [address.rpartition(":") for address in routers if address]
        own = [(self.host, self.port)]
        if self.kubernetes.admission_port is not None:
            own.append((self.host, self.kubernetes.admission_port))
        return (*own, *((host.strip("[]"), int(port)) for host, _, port in found))

    @property
    def answered_names(self) -> tuple[str, ...] | None:
        """The names that are answered besides addresses and localhost; None: all."""
        urls = (self.oidc.url, self.listening.url)
        pages = [host for url in urls if (host := urlsplit(url).hostname)]
        names = (*self.listening.names, *self.certificate_names, *pages)
        return names if self.listening.names or is_loopback(self.host) else None

    @property
    def url(self) -> str:
        """The address of the API, as others on its network write it."""
        scheme = "https" if self.access.is_encrypted else "http"
        return f"{scheme}://{self.internal_host}"

    @property
    def named_url(self) -> str:
        """The address at which browsers and programs reach the API; empty: none is named."""
        return (self.listening.url or self.oidc.url).rstrip("/")

    @property
    def public_url(self) -> str:
        """The address of the API in events, and in links that it makes by itself."""
        return self.named_url or self.url

    @property
    def replica_url(self) -> str:
        """The URL at which other replicas reach this one; empty: at none that is known."""
        own = "" if self.host in _WILDCARDS else _place(self.host, self.port)
        address = self.kubernetes.replica_address or own
        if not address:
            return ""
        has_port = address.rpartition(":")[2].isdigit() and not address.endswith("]")
        scheme = "https" if self.access.is_encrypted else "http"
        return f"{scheme}://{address}" if has_port else f"{scheme}://{address}:{self.port}"

    @property
    def local_names(self) -> tuple[str, ...]:
        """The hosts that the API has on this machine, the surest first."""
        loopback = ("127.0.0.1", "localhost")
        if self.host in _WILDCARDS:
            return (*loopback, "[::1]")
        names = (self.host, *(loopback if is_loopback(self.host) else ()))
        return tuple(dict.fromkeys(names))


def _place(host: str, port: int) -> str:
    bare = host.strip("[]")
    return f"[{bare}]:{port}" if ":" in bare else f"{bare}:{port}"
