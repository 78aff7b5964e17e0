"""Looks at an installation: its data folder, and the server that runs from it."""

import asyncio
import errno
import json
import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path

from upwell.api.apps import CronJob, DaemonSet, Deployment, DeploymentConfig, Job, StatefulSet
from upwell.api.cluster_operator import ClusterOperator
from upwell.api.core import Namespace, ResourceQuota, Secret, ServiceAccount
from upwell.api.image_policies.policy import ClusterImagePolicy
from upwell.api.meta import Resource
from upwell.api.pipeline import Pipeline
from upwell.api.pod import Pod
from upwell.api.requests.encryption import Encryption
from upwell.app.access import LOCAL_SOCKET
from upwell.app.hardening.instance_ids import host_instances, instance_ids_fault
from upwell.app.hardening.served import read_served
from upwell.encryption.keys import KeySource
from upwell.machine.checks import HostCheckStatus, check_build_isolation
from upwell.machine.host import read_host
from upwell.machine.private_file import PRIVATE_FILES, PRIVATE_FOLDERS
from upwell.policy.access.roles import SYSTEM_NAMESPACE
from upwell.policy.hardening.installation import (
    AdminUse,
    FileMode,
    FolderState,
    KeyFile,
    ServedSettings,
    ServerState,
    TokenState,
)
from upwell.server.auth.tokens import ADMIN, TOKEN_TYPE, TokenRecord
from upwell.store.interface import ApiClient, Selector
from upwell.store.kubernetes import KubernetesStore

_SECONDS = 60.0
_AUDIT_BYTES = 8 * 1024 * 1024
_LOCAL_SOURCE = "uid "
_WORKLOADS: tuple[type[Resource], ...] = (
    Deployment, DeploymentConfig, StatefulSet, DaemonSet, CronJob, Job, Pod,
)  # fmt: skip


class NoServerError(Exception):
    """No server of the folder answers; the message says what was tried, and what to do."""


def look_at_folder(data_dir: Path, now: datetime) -> FolderState:
    """Return who may open what of a data folder; raises OSError."""
    _require_access(data_dir)
    token = data_dir / "admin.token"
    # What is private deeper down is so by the folder that it is in, and not looked through.
    named = (*PRIVATE_FILES, *PRIVATE_FOLDERS)
    secrets = {path for pattern in named for path in data_dir.glob(pattern)}
    age = None
    if token.exists():
        age = now - datetime.fromtimestamp(token.stat().st_mtime, now.tzinfo)
    return FolderState(
        _mode(data_dir),
        tuple(_modes(sorted(secrets))),
        age,
        _admin_uses(data_dir / "audit.log", age, now),
    )


async def look_at_server(data_dir: Path, now: datetime) -> ServerState:
    """Return the settings of the server that runs from a folder, and what its API answers.

    Raises NoServerError; StoreError when it stops answering; OSError.
    """
    data_dir = await asyncio.to_thread(data_dir.resolve)
    settings = read_served(data_dir)
    if settings is None:
        raise NoServerError(
            f"no server runs from {data_dir}: start it, or name its folder with --data-dir"
        )
    try:
        async with asyncio.timeout(_SECONDS), server_client(data_dir, settings) as client:
            return await _ask(client, data_dir, settings, now)
    except TimeoutError as error:
        message = f"process {settings.process} did not answer within {_SECONDS:.0f} s: try again"
        raise NoServerError(message) from error


def server_client(data_dir: Path, settings: ServedSettings) -> ApiClient:
    """Return a client of the server that runs from a folder, as its own user; raises OSError."""
    socket = data_dir / LOCAL_SOCKET
    if socket.is_socket():
        # No TLS there, and no token.
        return KubernetesStore(settings.url.replace("https://", "http://", 1), socket=socket)
    token = (data_dir / "admin.token").read_text().strip()
    authority = data_dir / "tls" / "ca.pem"
    return KubernetesStore(
        settings.url, token=token, ca=str(authority) if authority.exists() else None
    )


async def _ask(
    client: ApiClient, data_dir: Path, settings: ServedSettings, now: datetime
) -> ServerState:
    encryption = (await client.create(Encryption())).status
    tokens = await client.list(Secret, Selector(namespace=SYSTEM_NAMESPACE))
    workloads = [one for kind in _WORKLOADS for one in (await client.list(kind)).items]
    return ServerState(
        str(data_dir),
        now,
        settings,
        await asyncio.to_thread(_socket, data_dir),
        tuple(_keys(settings, data_dir)),
        tuple(_modes(map(Path, settings.secret_files))),
        await _build_ids_fault(data_dir),
        await instance_ids_fault(data_dir, settings.container_storage),
        await asyncio.to_thread(host_instances, data_dir),
        encryption,
        (await client.list(ClusterOperator)).items,
        tuple(_tokens(tokens.items)),
        (await client.list(ServiceAccount)).items,
        (await client.list(Namespace)).items,
        (await client.list(ResourceQuota)).items,
        (await client.list(Pipeline)).items,
        workloads,
        (await client.list(ClusterImagePolicy)).items,
    )


async def _build_ids_fault(data_dir: Path) -> str:
    found = await check_build_isolation(await read_host(data_dir))
    return "" if found.status is HostCheckStatus.OK else found.detail


def _socket(data_dir: Path) -> FileMode | None:
    socket = data_dir / LOCAL_SOCKET
    return _mode(socket) if socket.is_socket() else None


def _tokens(secrets: Iterable[Secret]) -> Iterator[TokenState]:
    """Yield the tokens; a damaged one opens nothing."""
    for secret in secrets:
        if secret.type == TOKEN_TYPE:
            with suppress(ValueError):
                record = TokenRecord.of(secret)
                made = secret.metadata.creation_timestamp
                used = record.used
                yield TokenState(record.name, record.grants, made, record.expires, used)


def _keys(settings: ServedSettings, data_dir: Path) -> Iterator[KeyFile]:
    for text in settings.encryption_keys:
        source = KeySource.parse(text)
        for path in map(Path.resolve, source.files):
            for file in _modes([path]):
                inside = path.is_relative_to(data_dir)
                yield KeyFile(file, inside, data_dir.is_relative_to(path.parent))


def _mode(path: Path) -> FileMode:
    found = path.stat()
    return FileMode(str(path), stat.S_IMODE(found.st_mode), found.st_uid)


def _modes(paths: Iterable[Path]) -> Iterator[FileMode]:
    """Yield those that are there; raises OSError for one that cannot be looked at."""
    for path in paths:
        with suppress(FileNotFoundError, NotADirectoryError):
            yield _mode(path)


def _require_access(folder: Path) -> None:
    """Raise OSError for a folder that hides what is in it: nothing found there would be a proof."""
    folder.stat()
    if not os.access(folder, os.R_OK | os.X_OK, effective_ids=True):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(folder))


def _admin_uses(path: Path, age: timedelta | None, now: datetime) -> tuple[AdminUse, ...]:
    """Return the last use of the present own token from each address, as the log's end tells."""
    if age is None:
        return ()
    found: dict[str, AdminUse] = {}
    for line in _end(path):
        with suppress(ValueError, KeyError, TypeError, AttributeError):
            event = json.loads(line)
            source, time = str(event["source"]), str(event["time"])
            if event["user"] != ADMIN or source.startswith(_LOCAL_SOURCE):
                continue
            if datetime.fromisoformat(time) >= now - age:  # not of one that was replaced
                found[source] = AdminUse(source, time)
    return tuple(sorted(found.values(), key=lambda use: use.source))


def _end(path: Path) -> Iterator[bytes]:
    """Yield the last lines of a log, whole ones."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - _AUDIT_BYTES))
            lines = file.read(_AUDIT_BYTES).splitlines()
    except FileNotFoundError:
        return
    yield from lines if size <= _AUDIT_BYTES else lines[1:]
