"""The configuration file's tables, key by key; docs/configuration.md is made of them."""

import re
from collections import Counter
from datetime import timedelta
from enum import StrEnum
from typing import Annotated, Any, cast

from pydantic import BeforeValidator, Field, model_validator

from upwell.api.values.quantities import InvalidQuantityError, parse_quantity
from upwell.audit.export import receiver_of
from upwell.gitops.interface import Author
from upwell.policy.pruning.rules import (
    DEFAULT_GRACE,
    DEFAULT_PULLED_GRACE,
    DEFAULT_TAG_REVISIONS,
    MINIMUM_GRACE,
    Rules,
)
from upwell.policy.quotas.usage import Usage, unknown_names
from upwell.registry.hosts import RegistryHost
from upwell.settings.base import SettingsTable
from upwell.settings.builds import BuildIsolation
from upwell.settings.keyless import KeylessSettings
from upwell.settings.keys import EncryptionSettings, SigningSettings
from upwell.settings.kubernetes import KubernetesSettings, ServerPlatform
from upwell.settings.network import NetworkSettings, OutboundSettings, RouterSettings
from upwell.settings.oidc import OidcSettings
from upwell.settings.registries import (
    EmbeddedRegistrySettings,
    ExternalRegistrySettings,
    RegistrySettings,
)
from upwell.settings.token_exchange import TokenExchangeSettings, exchange_faults
from upwell.settings.values import (
    AllowedValues,
    Count,
    FilePath,
    Flag,
    HttpAddress,
    ImageNames,
    Interval,
    Size,
    duration,
    show_duration,
)
from upwell.settings.waves import WaveSettings
from upwell.uploads.interface import DEFAULT_LIMIT_BYTES

DEFAULT_AUTHOR = Author("Upwell", "upwell@localhost")

_AUTHOR = re.compile(r"([^<>\x00-\x1f]*[^<>\x00-\x20]) <([^<>\s\x00-\x1f]+)>")
_OFF = "off"
_TRACES_PATH = "/v1/traces"
"""Of an OTLP/HTTP endpoint for all signals."""


class PullVerification(StrEnum):
    """Times at which a registry has to have given an image that lies here to a namespace."""

    WHEN_REACHABLE = "when-reachable"
    ALWAYS = "always"


class WorkloadLimits(SettingsTable):
    """Limits and isolation of the containers of workloads."""

    memory_bytes: Size | None = Field(default=None, validation_alias="memory")
    """The limit of a container that states none; without it, nine tenths of the machine's."""
    processes: Count = 4096
    """The most processes and threads that a container may have at once."""
    user_namespaces: Flag = True
    """Maps root in an instance to an unprivileged id outside, where the machine allows that, and
    its Pod template does not ask for the host's."""
    image_pull_verification: Annotated[
        PullVerification,
        Field(strict=False),
        AllowedValues(f"one of {', '.join(PullVerification)}"),
    ] = PullVerification.WHEN_REACHABLE
    """Verification of images that lie in Podman's storage, and that no registry is known to have
    given to the namespace: while the registry cannot be reached, when-reachable starts those that
    it has neither refused nor given to another namespace alone, always waits for it."""
    preloaded_images: Annotated[
        tuple[ImageNames, ...],
        Field(strict=False),
        AllowedValues("a list of names of images, without tag, or of such with `/*` for all below"),
    ] = ()
    """Images that every namespace may have where they lie in Podman's storage, private ones too:
    their registry is not asked."""


def _interval(value: Any) -> timedelta | None:
    return None if value == _OFF else cast("timedelta", duration(value))


def _grace(value: Any) -> timedelta:
    found = cast("timedelta", duration(value))
    if found < MINIMUM_GRACE:
        raise ValueError("too short")
    return found


def _grace_or_off(value: Any) -> timedelta | None:
    return None if value == _OFF else _grace(value)


class RetentionSettings(SettingsTable):
    """Retention of what nothing needs: how long it is kept, and how often it is removed."""

    interval: Annotated[
        timedelta | None,
        BeforeValidator(_interval),
        AllowedValues('a duration such as 24h, or "off"'),
    ] = timedelta(days=1)
    """The time between two removals; off: only when a person asks."""
    keep_tag_revisions: Count = DEFAULT_TAG_REVISIONS
    """Digests of each tag that are kept, the newest first: what the tag is now is one of them."""
    keep_younger_than: Annotated[
        timedelta,
        BeforeValidator(_grace),
        AllowedValues(
            f"a duration of {show_duration(MINIMUM_GRACE)} or more, for pushes that run",
        ),
    ] = DEFAULT_GRACE
    """The age below which nothing is removed."""
    keep_pulled_images: Annotated[
        timedelta | None,
        BeforeValidator(_grace_or_off),
        AllowedValues(f'a duration of {show_duration(MINIMUM_GRACE)} or more, or "off"'),
    ] = DEFAULT_PULLED_GRACE
    """The time for which an image that was pulled for workloads, and that nothing names, stays in
    Podman's storage after its last use; off: for ever."""

    @property
    def rules(self) -> Rules:
        """The rules of pruning."""
        return Rules(self.keep_tag_revisions, self.keep_younger_than, self.keep_pulled_images)


class TracingSettings(SettingsTable):
    """The receiver of traces; OpenTelemetry's own variables come first."""

    endpoint: HttpAddress = ""
    """The address that takes OTLP over HTTP; without one, no traces are made."""
    service: Annotated[str, AllowedValues("a text", blank=True)] = "upwell"
    """The name under which traces are shown."""

    @property
    def address(self) -> str:
        """The address to which traces are sent; empty: none are."""
        return traces_address(self.endpoint) if self.endpoint else ""


def traces_address(endpoint: str) -> str:
    """Return the address at which an endpoint for all signals takes traces."""
    return endpoint.rstrip("/") + _TRACES_PATH


def _author(value: Any) -> Author:
    if isinstance(value, Author):
        return value
    found = _AUTHOR.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        raise ValueError("not an author")
    return Author(found[1], found[2])


class GitSettings(SettingsTable):
    """Commits to git repositories."""

    author: Annotated[
        Author,
        BeforeValidator(_author),
        AllowedValues("NAME <MAIL>", blank=True),
    ] = DEFAULT_AUTHOR
    """The author of the commits of promotions."""


class LocalAdmin(StrEnum):
    """Ways of the server's own user to the API."""

    TOKEN = "token"  # noqa: S105 - a way, not a token
    SOCKET = "socket"


class ListenSettings(SettingsTable):
    """The API's own address: names that it has, and connections that it takes."""

    url: HttpAddress = ""
    """The address by which browsers and programs reach it, for links, and as the source of events.
    Without one, that of `[oidc]`; without that, the address at which it listens."""
    names: Annotated[
        tuple[Annotated[str, Field(min_length=1), AllowedValues("a host name")], ...],
        Field(strict=False),
        AllowedValues("a list of host names"),
    ] = ()
    """Names by which clients may ask for the API, besides its addresses and localhost; `*.HOST`
    stands for all below. Where it listens on loopback, no others are answered; elsewhere every name
    is, until there is one here. Behind a proxy that passes names on, they have to stand here."""
    connections: Count = 4096
    """The most connections at once; half of the process's descriptors, where that is less."""
    connections_per_address: Count = 2048
    """The most of one address that is not this machine's."""
    local_admin: Annotated[
        LocalAdmin,
        Field(strict=False),
        AllowedValues(f"one of {', '.join(LocalAdmin)}"),
    ] = LocalAdmin.TOKEN
    """Way of the server's own user: socket opens the API to them by the local socket alone, and
    refuses `admin.token` over the network."""


class QuotaSettings(SettingsTable):
    """Limits of what clients may have; a namespace's ResourceQuotas come beside them."""

    objects: Count = 200_000
    """The most objects in all."""
    objects_per_namespace: Count = 20_000
    """The most objects of one namespace."""
    watches: Count = 1000
    """The most watches and followed logs that are open at once."""
    watches_per_client: Count = 500
    """The most of one client."""
    watches_per_namespace: Count = 750
    """The most in one namespace, however many clients have them; those of all namespaces apart."""
    namespace: Annotated[
        tuple[Annotated[str, AllowedValues("NAME=QUANTITY")], ...],
        Field(strict=False),
        AllowedValues("a list of NAME=QUANTITY"),
    ] = ()
    """Limits of each namespace whose ResourceQuotas do not limit the same, by the names that these
    have: `pods=100`, `count/builds.build.openshift.io=500`."""

    @model_validator(mode="after")
    def _is_counted(self) -> "QuotaSettings":
        if unknown := unknown_names(self.of_namespaces):
            raise ValueError(f"namespace: nothing counts as {', '.join(unknown)}")
        return self

    @property
    def of_namespaces(self) -> Usage:
        """The limits of a namespace; raises ValueError."""
        pairs = (text.partition("=") for text in self.namespace)
        try:
            return {name.strip(): parse_quantity(amount) for name, _, amount in pairs}
        except InvalidQuantityError as error:
            raise ValueError(f"namespace: {error}") from error


class DiskSettings(SettingsTable):
    """Room that stays free on each file system that the server writes to."""

    floor: Size | None = None
    """Below it, only what frees space goes on. Without it, 5 % of the file system: 64Mi to 1Gi,
    but no more than a quarter."""


class AuditSettings(SettingsTable):
    """The audit log: how long it is kept, and where else it goes."""

    keep: Interval = timedelta(days=365)
    """The age at which a file of it is removed."""
    size: Size = 1024 * 1024 * 1024
    """Room for what was answered, compressed; beyond it the oldest file goes, however young."""
    denied_size: Size = 256 * 1024 * 1024
    """Room for what was denied, which has files of its own."""
    export: Annotated[
        str,
        AllowedValues(
            "https://…, http://…, syslog://…, syslog+tls://…, syslog+udp://…, unix:///…", blank=True
        ),
    ] = ""
    """The receiver that gets each line: newline-delimited JSON by POST, or syslog (RFC 5424)."""
    export_token_file: FilePath | None = None
    """A file with the bearer token that an HTTP receiver wants."""

    @model_validator(mode="after")
    def _has_a_receiver(self) -> "AuditSettings":
        if self.export:
            receiver_of(self.export)
        return self


class FileSettings(SettingsTable):
    """The whole file."""

    on: Annotated[
        ServerPlatform, Field(strict=False), AllowedValues(f"one of {', '.join(ServerPlatform)}")
    ] = ServerPlatform.MACHINE
    """The place of objects, which says what runs workloads: this machine alone, or a cluster;
    `--on` comes first."""
    import_interval: Interval = timedelta(minutes=15)
    """The time between two looks of a scheduled import; `--import-interval` comes first."""
    upload_limit_bytes: Size = Field(default=DEFAULT_LIMIT_BYTES, validation_alias="upload-limit")
    """The largest upload for a build; `--upload-limit` comes first."""
    allowed_host_paths: Annotated[
        tuple[Annotated[str, AllowedValues("the path of a folder")], ...],
        Field(strict=False),
        AllowedValues("a list of paths"),
    ] = ()
    """Folders that workloads may mount with all below; `--allow-host-path` adds to them."""
    allowed_devices: Annotated[
        tuple[Annotated[str, AllowedValues("`/dev/dri`, `nvidia.com/gpu`")], ...],
        Field(strict=False),
        AllowedValues("a list of devices"),
    ] = ()
    """Devices that workloads may have: paths with all below, names or kinds of CDI devices."""
    builds: BuildIsolation = BuildIsolation()
    workloads: WorkloadLimits = WorkloadLimits()
    retention: RetentionSettings = RetentionSettings()
    waves: WaveSettings = WaveSettings()
    kubernetes: KubernetesSettings = KubernetesSettings()
    server: ListenSettings = ListenSettings()
    quota: QuotaSettings = QuotaSettings()
    disk: DiskSettings = DiskSettings()
    embedded_registry: EmbeddedRegistrySettings = EmbeddedRegistrySettings()
    external_registry: ExternalRegistrySettings = ExternalRegistrySettings()
    audit: AuditSettings = AuditSettings()
    outbound: OutboundSettings = OutboundSettings()
    encryption: EncryptionSettings = EncryptionSettings()
    signing: SigningSettings = SigningSettings()
    keyless: KeylessSettings = KeylessSettings()
    oidc: OidcSettings = OidcSettings()
    tracing: TracingSettings = TracingSettings()
    git: GitSettings = GitSettings()
    network: NetworkSettings = NetworkSettings()
    router: RouterSettings = RouterSettings()
    registry: Annotated[
        tuple[RegistrySettings, ...], Field(strict=False), AllowedValues("[[registry]] tables")
    ] = ()

    token_exchange: Annotated[
        tuple[TokenExchangeSettings, ...],
        Field(strict=False),
        AllowedValues("[[token-exchange]] tables"),
    ] = ()

    @model_validator(mode="after")
    def _exchanges_go_together(self) -> "FileSettings":
        if faults := list(exchange_faults(self.token_exchange)):
            raise ValueError("; ".join(faults))
        return self

    @model_validator(mode="after")
    def _prefixes_differ(self) -> "FileSettings":
        counts = Counter(entry.prefix for entry in self.registry)
        if twice := sorted(prefix for prefix, count in counts.items() if count > 1):
            raise ValueError(
                f"several [[registry]] tables have the prefix {', '.join(twice)}: put what they"
                " say into one"
            )
        return self

    @property
    def registries(self) -> tuple[RegistryHost, ...]:
        """The registries as their client knows them."""
        return tuple(entry.host for entry in self.registry)
