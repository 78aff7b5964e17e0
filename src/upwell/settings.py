"""The server's configuration, read once at start."""

import math
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import InitVar, dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, NoReturn

from upwell.api.values.quantities import InvalidQuantityError, parse_quantity
from upwell.gitops.interface import Author
from upwell.policy.access.roles import Role
from upwell.policy.images.schedule import InvalidDurationError, parse_duration
from upwell.policy.pruning.retention import MINIMUM_GRACE, Rules
from upwell.registry.hosts import (
    DEFAULT_CONCURRENCY,
    PullFrom,
    RegistryHost,
    RegistryLimits,
    RegistryMirror,
    is_loopback,
)
from upwell.uploads.interface import DEFAULT_LIMIT_BYTES

MAX_FILE_BYTES = 1024 * 1024
DEFAULT_PORT = 7080
DEFAULT_ROUTER_HTTPS_PORT = 7443
DEFAULT_ROUTER_PORT = 7088
DEFAULT_AUTHOR = Author("Upwell", "upwell@localhost")


class SettingsError(ValueError):
    """The configuration is wrong; the message names the file and the key."""


_WILDCARDS = {"0.0.0.0", "::", "[::]"}  # noqa: S104 - names them, binds nothing


@dataclass(frozen=True, slots=True)
class AccessSettings:
    """How the API is protected; without TLS it is served on loopback alone."""

    tls: bool = False
    """Serve TLS with a generated certificate; own files, where named, come first."""
    tls_cert: Path | None = None
    tls_key: Path | None = None
    tls_names: tuple[str, ...] = ()
    """Further host names and addresses of the generated certificate."""
    insecure_listen: bool = False
    """Serve without TLS although others can listen in."""
    anonymous: Role | None = None
    """What everyone may do everywhere without a token."""

    @property
    def is_encrypted(self) -> bool:
        """Whether the API speaks TLS."""
        return self.tls or self.tls_cert is not None


@dataclass(frozen=True, slots=True)
class RetentionSettings:
    """How long what nothing needs is kept, and how often it is removed."""

    interval: timedelta | None = timedelta(days=1)
    """None: only when a person asks."""
    rules: Rules = field(default_factory=Rules)


@dataclass(frozen=True, slots=True)
class TracingSettings:
    """Where traces are sent; OpenTelemetry's SDK reads its other variables itself."""

    endpoint: str = ""
    """The address that takes traces, OTLP over HTTP; empty: none are made."""
    service: str = "upwell"


@dataclass(frozen=True, slots=True)
class BuildIsolation:
    """What separates builds from this machine."""

    user_namespaces: bool = True
    """Whether root inside a build is nobody outside, where the machine allows that."""
    host_network: bool = False
    """Whether a BuildConfig may ask for the machine's own network."""
    memory: int | None = None
    """Bytes for a build that states no limit; None: three quarters of the machine's."""
    processes: int = 4096
    """How many a build may have at once."""


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """All that `upwell serve` is told. Durations are timedeltas, sizes bytes."""

    data_dir: Path
    host: str = "127.0.0.1"
    port: int = DEFAULT_PORT
    registry_host: str = ""
    """`host:port` in references to the embedded registry; `host:port` of this server if empty."""
    router_address: str = f"127.0.0.1:{DEFAULT_ROUTER_PORT}"
    router_https_address: str = f"127.0.0.1:{DEFAULT_ROUTER_HTTPS_PORT}"
    """Where Routes with TLS answer, once there is one; empty: they are not served."""
    import_interval: timedelta = timedelta(minutes=15)
    build_slots: int = 0
    """Builds at once; 0: what the machine can take."""
    build_deadline: timedelta = timedelta(hours=2)
    upload_limit: int = DEFAULT_LIMIT_BYTES
    """Bytes of one upload for a build."""
    allowed_host_paths: tuple[str, ...] = ()
    allow_local_sources: bool = False
    build_isolation: BuildIsolation = field(default_factory=BuildIsolation)
    container_storage: Path | None = None
    """Podman's storage; None: the system's, where `podman ps` shows the workloads."""
    registries: tuple[RegistryHost, ...] = ()
    auth_files: tuple[Path, ...] = field(default=())
    access: AccessSettings = field(default_factory=AccessSettings)
    retention: RetentionSettings = field(default_factory=RetentionSettings)
    tracing: TracingSettings = field(default_factory=TracingSettings)
    git_author: Author = DEFAULT_AUTHOR
    """Whose commits those of promotions are."""

    def __post_init__(self) -> None:
        if (self.access.tls_cert is None) != (self.access.tls_key is None):
            raise SettingsError("--tls-cert and --tls-key: name both or neither")
        if not (self.access.is_encrypted or self.access.insecure_listen or is_loopback(self.host)):
            raise SettingsError(
                f"{self.host} is not on loopback, and tokens would be sent in the clear: add --tls"
                " (a certificate is generated), or --tls-cert and --tls-key, or --insecure-listen"
            )

    @property
    def internal_host(self) -> str:
        """What references to images of the embedded registry start with."""
        host = "127.0.0.1" if self.host in _WILDCARDS else self.host
        return self.registry_host or f"{host}:{self.port}"

    @property
    def url(self) -> str:
        """Where the API is found, as others on its network write it."""
        scheme = "https" if self.access.is_encrypted else "http"
        return f"{scheme}://{self.internal_host}"

    @property
    def local_names(self) -> tuple[str, ...]:
        """The hosts that the API has on this machine, the surest first."""
        loopback = ("127.0.0.1", "localhost")
        if self.host in _WILDCARDS:
            return (*loopback, "[::1]")
        names = (self.host, *(loopback if is_loopback(self.host) else ()))
        return tuple(dict.fromkeys(names))


@dataclass(frozen=True, slots=True)
class FileSettings:
    """What stands in the configuration file."""

    registries: tuple[RegistryHost, ...] = ()
    import_interval: timedelta | None = None
    upload_limit: int | None = None
    allowed_host_paths: tuple[str, ...] = ()
    retention: RetentionSettings = field(default_factory=RetentionSettings)
    build_isolation: BuildIsolation = field(default_factory=BuildIsolation)
    tracing: TracingSettings = field(default_factory=TracingSettings)
    git_author: Author = DEFAULT_AUTHOR


def read_file(path: Path) -> FileSettings:
    """Read the configuration file, TOML; raises SettingsError.

    Example::

        import-interval = "5m"
        upload-limit = "2Gi"        # of what start-build uploads
        allowed-host-paths = ["/srv/shared"]

        [builds]
        user-namespaces = true      # root inside a build is nobody outside
        host-network = false        # whether a BuildConfig may ask for it
        memory = "4Gi"              # of builds that state no limit
        processes = 4096

        [retention]
        interval = "24h"            # or "off"
        keep-tag-revisions = 3
        keep-younger-than = "24h"

        [tracing]
        endpoint = "http://127.0.0.1:4318"

        [git]
        author = "Upwell <upwell@corner.example>"     # of promotions' commits

        [[registry]]
        prefix = "vendor.example"
        location = "10.0.0.5:5000"
        insecure = true
        concurrency = 4
        per-second = 10
        mirrors = ["mirror.example/vendor", {location = "10.0.0.6", pulls = "digest-only"}]
    """
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise SettingsError(f"{path}: {error.strerror}") from error
    if len(raw) > MAX_FILE_BYTES:
        raise SettingsError(f"{path}: larger than {MAX_FILE_BYTES} bytes")
    try:
        document = tomllib.loads(raw.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: not TOML: {error}") from error
    return _file_settings(document, path)


_KEYS = {
    "registry",
    "import-interval",
    "upload-limit",
    "allowed-host-paths",
    "builds",
    "retention",
    "tracing",
    "git",
}
_GIT_KEYS = {"author"}
_AUTHOR = re.compile(r"([^<>\x00-\x1f]*[^<>\x00-\x20]) <([^<>\s\x00-\x1f]+)>")
_BUILD_KEYS = {"user-namespaces", "host-network", "memory", "processes"}
_TRACING_KEYS = {"endpoint", "service"}
_TRACES_PATH = "/v1/traces"
"""Of an OTLP/HTTP endpoint for all signals."""
_RETENTION_KEYS = {"interval", "keep-tag-revisions", "keep-younger-than"}
_REGISTRY_KEYS = {
    "prefix",
    "location",
    "insecure",
    "ca-file",
    "blocked",
    "concurrency",
    "per-second",
    "mirrors",
}
_MIRROR_KEYS = {"location", "insecure", "ca-file", "pulls"}


def _file_settings(document: dict[str, Any], path: Path) -> FileSettings:
    table = _Table(document, str(path), _KEYS)
    interval = table.duration("import-interval") if "import-interval" in document else None
    entries = table.list("registry", dict, "[[registry]] tables")
    return FileSettings(
        tuple(_registry(entry, f"{path}: registry[{at}]") for at, entry in enumerate(entries)),
        interval,
        _size(table.text("upload-limit"), f"{path}: upload-limit"),
        tuple(table.list("allowed-host-paths", str, "a list of texts")),
        _retention(table.table("retention"), f"{path}: retention"),
        _build_isolation(table.table("builds"), f"{path}: builds"),
        _tracing(table.table("tracing"), f"{path}: tracing"),
        git_author=_git_author(table.table("git"), f"{path}: git"),
    )


def _build_isolation(values: dict[str, Any], where: str) -> BuildIsolation:
    table, default = _Table(values, where, _BUILD_KEYS), BuildIsolation()
    processes = table.whole_number("processes", default.processes)
    if processes < 1:
        raise SettingsError(f"{where}: processes: expected 1 or more")
    return BuildIsolation(
        table.flag("user-namespaces", default=default.user_namespaces),
        table.flag("host-network"),
        _size(table.text("memory"), f"{where}: memory"),
        processes,
    )


def parse_size(text: str) -> int:
    """Return the bytes that a quantity such as `512Mi` or `2Gi` is; raises SettingsError."""
    try:
        size = int(parse_quantity(text))
    except InvalidQuantityError:
        size = 0
    if size < 1:
        raise SettingsError(f"{text!r} is not a size such as 512Mi or 2Gi")
    return size


def _size(text: str, where: str) -> int | None:
    try:
        return parse_size(text) if text else None
    except SettingsError as error:
        raise SettingsError(f"{where}: {error}") from error


def _retention(entry: dict[str, Any], where: str) -> RetentionSettings:
    table = _Table(entry, where, _RETENTION_KEYS)
    default = RetentionSettings()
    interval, grace = default.interval, default.rules.keep_younger_than
    if entry.get("interval") == "off":
        interval = None
    elif "interval" in entry:
        interval = table.duration("interval")
    if "keep-younger-than" in entry:
        grace = table.duration("keep-younger-than")
    revisions = table.whole_number("keep-tag-revisions", default.rules.keep_tag_revisions)
    if revisions < 1:
        raise SettingsError(f"{where}: keep-tag-revisions: at least 1, what a tag is now")
    if grace < MINIMUM_GRACE:
        raise SettingsError(f"{where}: keep-younger-than: at least 10m, for pushes that run")
    return RetentionSettings(interval, Rules(revisions, grace))


def _git_author(entry: dict[str, Any], where: str) -> Author:
    text = _Table(entry, where, _GIT_KEYS).text("author")
    if not text:
        return DEFAULT_AUTHOR
    found = _AUTHOR.fullmatch(text)
    if found is None:
        raise SettingsError(f"{where}: author: {text!r} is not NAME <MAIL>")
    return Author(found[1], found[2])


def _tracing(entry: dict[str, Any], where: str) -> TracingSettings:
    table = _Table(entry, where, _TRACING_KEYS)
    endpoint = table.text("endpoint")
    if endpoint:
        endpoint = _http_address(endpoint.rstrip("/") + _TRACES_PATH, f"{where}: endpoint")
    return TracingSettings(endpoint, table.text("service") or "upwell")


def tracing_from(environment: Mapping[str, str], file: TracingSettings) -> TracingSettings:
    """Return what OpenTelemetry's own variables say, or else the file; raises SettingsError."""
    service = environment.get("OTEL_SERVICE_NAME") or file.service
    if environment.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return TracingSettings(service=service)
    base, traces = "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"
    if own := environment.get(traces):
        return TracingSettings(_http_address(own, traces), service)
    if common := environment.get(base):
        return TracingSettings(_http_address(common.rstrip("/") + _TRACES_PATH, base), service)
    return TracingSettings(file.endpoint, service)


def _http_address(text: str, where: str) -> str:
    if not re.fullmatch(r"https?://[^/?#\s]+\S*", text):
        raise SettingsError(f"{where}: expected http://HOST:PORT or https://HOST:PORT")
    return text


def _registry(entry: dict[str, Any], where: str) -> RegistryHost:
    table = _Table(entry, where, _REGISTRY_KEYS)
    ca_file = table.text("ca-file")
    try:
        return RegistryHost(
            prefix=table.text("prefix"),
            location=table.text("location"),
            insecure=table.flag("insecure"),
            ca_file=Path(ca_file) if ca_file else None,
            blocked=table.flag("blocked"),
            limits=RegistryLimits(
                table.whole_number("concurrency", DEFAULT_CONCURRENCY), table.number("per-second")
            ),
            mirrors=tuple(
                _mirror(item, f"{where}.mirrors[{at}]")
                for at, item in enumerate(table.list("mirrors", object, "a list"))
            ),
        )
    except SettingsError:
        raise
    except ValueError as error:
        raise SettingsError(f"{where}: {error}") from error


def _mirror(item: object, where: str) -> RegistryMirror:
    if isinstance(item, str):
        return RegistryMirror(item)
    if not isinstance(item, dict):
        raise SettingsError(f"{where}: expected a location or a table")
    table = _Table(item, where, _MIRROR_KEYS)
    ca_file = table.text("ca-file")
    return RegistryMirror(
        location=table.text("location"),
        insecure=table.flag("insecure"),
        ca_file=Path(ca_file) if ca_file else None,
        pulls=PullFrom(table.text("pulls") or PullFrom.ALL),
    )


@dataclass(frozen=True, slots=True)
class _Table:
    """A table of the file; every getter raises SettingsError for a value of another type."""

    values: dict[str, Any]
    where: str
    known: InitVar[set[str]]

    def __post_init__(self, known: set[str]) -> None:
        unknown = sorted(set(self.values) - known)
        if unknown:
            raise SettingsError(
                f"{self.where}: unknown key {unknown[0]!r}; known: {', '.join(sorted(known))}"
            )

    def text(self, key: str) -> str:
        value = self.values.get(key, "")
        return value if isinstance(value, str) else self._refuse(key, "a text")

    def duration(self, key: str) -> timedelta:
        try:
            return parse_duration(self.text(key))
        except InvalidDurationError as error:
            raise SettingsError(f"{self.where}: {key}: {error}") from error

    def table(self, key: str) -> dict[str, Any]:
        value = self.values.get(key, {})
        return value if isinstance(value, dict) else self._refuse(key, "a table")

    def flag(self, key: str, *, default: bool = False) -> bool:
        value = self.values.get(key, default)
        return value if isinstance(value, bool) else self._refuse(key, "true or false")

    def whole_number(self, key: str, default: int) -> int:
        value = self.values.get(key, default)
        return value if type(value) is int else self._refuse(key, "a whole number")

    def number(self, key: str) -> float | None:
        value = self.values.get(key)
        if value is None:
            return None
        if type(value) not in {int, float} or not math.isfinite(value):
            self._refuse(key, "a number")
        return float(value)

    def list[T](self, key: str, of: type[T], expected: str) -> Sequence[T]:
        value = self.values.get(key, [])
        if not isinstance(value, list) or not all(isinstance(item, of) for item in value):
            self._refuse(key, expected)
        return value

    def _refuse(self, key: str, expected: str) -> NoReturn:
        raise SettingsError(f"{self.where}: {key}: expected {expected}")
