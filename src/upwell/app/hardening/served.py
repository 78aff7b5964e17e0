"""Settings of the server that runs, in a file beside its data, for `upwell doctor`.

They come from options, variables and a file that may have changed since: so the server itself
writes them down when it starts. The file is believed while that process lives.
"""

import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

from pydantic import ValidationError

from upwell.machine.private_file import write_private
from upwell.machine.processes import is_running
from upwell.policy.hardening.installation import ServedSettings
from upwell.registry.hosts import RegistryHost, is_loopback
from upwell.settings import LocalAdmin, ServerSettings
from upwell.settings.bucket import BucketSettings

log = logging.getLogger(__name__)

SERVED = "served-settings.json"
_MAX_BYTES = 1024 * 1024


@contextmanager
def telling_settings(settings: ServerSettings) -> Iterator[None]:
    """Keep the settings in the data folder for the block; a server goes without on a full disk."""
    path = settings.data_dir / SERVED
    text = served_settings(settings).model_dump_json(indent=2)
    try:
        write_private(path, f"{text}\n", synced=False)
    except OSError as error:
        log.warning("settings not told", extra={"path": str(path), "why": error.strerror})
        _remove(path)  # one of a server before this one
    try:
        yield
    finally:
        _remove(path)


def _remove(path: Path) -> None:
    with suppress(OSError):  # something else has the name
        path.unlink()


def read_served(data_dir: Path) -> ServedSettings | None:
    """Return the settings of the server that runs from a folder; None if none does.

    Raises OSError for a file that cannot be read.
    """
    try:
        with (data_dir / SERVED).open("rb") as file:
            found = ServedSettings.model_validate_json(file.read(_MAX_BYTES))
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError, ValidationError):
        return None
    return found if is_running(found.process) else None


def served_settings(settings: ServerSettings) -> ServedSettings:
    """Return what of the settings is about safety."""
    builds, network, access = settings.build_isolation, settings.network, settings.access
    workloads, bucket = settings.workload_limits, settings.embedded_registry.bucket
    return ServedSettings(
        process=os.getpid(),
        url=settings.url,
        host=settings.host,
        on_loopback=is_loopback(settings.host),
        router=settings.router_address,
        router_https=settings.router_https_address,
        tls=access.is_encrypted,
        anonymous=access.anonymous or "",
        admin_by_socket=settings.listening.local_admin is LocalAdmin.SOCKET,
        answers_any_name=settings.answered_names is None,
        trusted_proxies=settings.trusted_proxies,
        insecure_registries=tuple(_insecure(settings.registries)),
        host_paths=tuple(str(Path(path).resolve()) for path in settings.allowed_host_paths),
        destinations=tuple(place.strip().lower() for place in settings.allowed_destinations),
        build_network=builds.network,
        build_networks=builds.allowed_networks,
        build_host_network=builds.host_network,
        build_user_namespaces=builds.user_namespaces,
        instance_user_namespaces=workloads.user_namespaces,
        image_pull_verification=workloads.image_pull_verification,
        preloaded_images=workloads.preloaded_images,
        container_storage=str(settings.container_storage or ""),
        isolation=network.isolation,
        machine_ports=network.machine_ports,
        metadata=network.metadata,
        audit_export=_without_secrets(settings.audit.export),
        encryption_keys=settings.encryption.keys,
        secret_files=tuple(_secret_files(settings)),
        quota=settings.quota.namespace,
        registry_bucket=bucket.model_dump(mode="json") if settings.has_shared_registry else {},
        insecure_bucket=_insecure_bucket(bucket),
    )


def _insecure(registries: tuple[RegistryHost, ...]) -> Iterator[str]:
    for host in registries:
        place = host.location or host.prefix
        if host.insecure and not is_loopback(_host_of(place)):
            yield host.prefix
        for mirror in host.mirrors:
            if mirror.insecure and not is_loopback(_host_of(mirror.location)):
                yield f"{host.prefix}, mirror {mirror.location}"


def _insecure_bucket(bucket: BucketSettings) -> str:
    parts = urlsplit(bucket.endpoint)
    is_open = parts.scheme == "http" and not is_loopback(parts.hostname or "")
    return bucket.endpoint if is_open else ""


def _credentials_of(bucket: BucketSettings) -> Sequence[Path]:
    """Return the files with the credentials of the bucket: one, or those of a folder."""
    path = bucket.credentials_file
    if path is None:
        return ()
    return sorted(one for one in path.iterdir() if one.is_file()) if path.is_dir() else (path,)


def _host_of(place: str) -> str:
    """Return the host of HOST[:PORT][/NAMESPACE]."""
    return urlsplit(f"//{place}").hostname or ""


def _without_secrets(address: str) -> str:
    """Return an address without user, password and query."""
    parts = urlsplit(address)
    if not parts.hostname:
        return address.partition("?")[0]
    place = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{place}{parts.path}"


def _secret_files(settings: ServerSettings) -> Iterator[str]:
    files = (
        settings.access.tls_key,
        settings.audit.export_token_file,
        settings.oidc.client_secret_file,
        settings.keyless.identity_token_file,
        *_credentials_of(settings.embedded_registry.bucket),
        *settings.auth_files,
    )
    yield from (str(path.absolute()) for path in files if path is not None)
