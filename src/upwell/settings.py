"""The server's configuration, read once at start."""

import tomllib
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

from upwell.policy.schedule import InvalidDurationError, parse_duration
from upwell.registry.hosts import Limits, RegistryHost

MAX_FILE_BYTES = 1024 * 1024
DEFAULT_PORT = 7080
DEFAULT_ROUTER_PORT = 7088


class SettingsError(ValueError):
    """The configuration is wrong; the message names the file and the key."""


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """All that `upwell serve` is told. Durations are timedeltas, sizes bytes."""

    data_dir: Path
    host: str = "127.0.0.1"
    port: int = DEFAULT_PORT
    registry_host: str = ""
    """`host:port` in references to the embedded registry; `host:port` of this server if empty."""
    router_address: str = f"127.0.0.1:{DEFAULT_ROUTER_PORT}"
    import_interval: timedelta = timedelta(minutes=15)
    build_slots: int = 0
    """Builds at once; 0: one for each two processors, at least two."""
    build_deadline: timedelta = timedelta(hours=2)
    allowed_host_paths: tuple[str, ...] = ()
    allow_local_sources: bool = False
    container_storage: Path | None = None
    """Podman's storage; None: the system's, where `podman ps` shows the workloads."""
    registries: tuple[RegistryHost, ...] = ()
    auth_files: tuple[Path, ...] = field(default=())

    @property
    def internal_host(self) -> str:
        """What references to images of the embedded registry start with."""
        return self.registry_host or f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class FileSettings:
    """What stands in the configuration file."""

    registries: tuple[RegistryHost, ...] = ()
    import_interval: timedelta | None = None
    allowed_host_paths: tuple[str, ...] = ()


def read_file(path: Path) -> FileSettings:
    """Read the configuration file, TOML; raises SettingsError.

    Example::

        import-interval = "5m"
        allowed-host-paths = ["/srv/shared"]

        [[registry]]
        prefix = "vendor.example"
        location = "10.0.0.5:5000"
        insecure = true
        concurrency = 4
        per-second = 10
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


_KEYS = {"registry", "import-interval", "allowed-host-paths"}
_REGISTRY_KEYS = {
    "prefix",
    "location",
    "insecure",
    "ca-file",
    "blocked",
    "concurrency",
    "per-second",
}


def _file_settings(document: dict[str, Any], path: Path) -> FileSettings:
    _refuse_unknown(document, _KEYS, str(path))
    interval = None
    if "import-interval" in document:
        try:
            interval = parse_duration(str(document["import-interval"]))
        except InvalidDurationError as error:
            raise SettingsError(f"{path}: import-interval: {error}") from error
    entries = document.get("registry", [])
    if not isinstance(entries, list):
        raise SettingsError(f"{path}: registry: expected [[registry]] tables")
    return FileSettings(
        tuple(_registry(entry, f"{path}: registry[{at}]") for at, entry in enumerate(entries)),
        interval,
        tuple(str(item) for item in document.get("allowed-host-paths", [])),
    )


def _registry(entry: dict[str, Any], where: str) -> RegistryHost:
    _refuse_unknown(entry, _REGISTRY_KEYS, where)
    ca_file = entry.get("ca-file")
    limits = {
        name: entry[key]
        for name, key in (("concurrency", "concurrency"), ("per_second", "per-second"))
        if key in entry
    }
    try:
        return RegistryHost(
            prefix=str(entry.get("prefix", "")),
            location=str(entry.get("location", "")),
            insecure=entry.get("insecure") is True,
            ca_file=Path(ca_file) if ca_file else None,
            blocked=entry.get("blocked") is True,
            limits=Limits(**limits),
        )
    except (ValueError, TypeError) as error:
        raise SettingsError(f"{where}: {error}") from error


def _refuse_unknown(document: dict[str, Any], known: set[str], where: str) -> None:
    unknown = sorted(set(document) - known)
    if unknown:
        raise SettingsError(
            f"{where}: unknown key {unknown[0]!r}; known: {', '.join(sorted(known))}"
        )
