"""Leftovers of this Upwell on the machine: what belongs to no container any more.

Only what is ours beyond doubt: below our own folder, with our label, or in a storage of our own.
"""

import asyncio
import contextlib
import socket
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from upwell.workload.interface import Leftover, LeftoverKind
from upwell.workload.podman.api.client import PodmanApi
from upwell.workload.podman.api.connection import PodmanNotFoundError
from upwell.workload.podman.api.service import PodmanSettings
from upwell.workload.podman.containers.body import LABEL_UPWELL
from upwell.workload.podman.containers.facts import parse_time
from upwell.workload.podman.records import RecordStore

_SOCKETS = "podman-*.sock"
_CONNECT_SECONDS = 1.0


class Leftovers:
    """Finds leftovers, and removes those that no instance could come back to."""

    def __init__(self, settings: PodmanSettings, api: PodmanApi, records: RecordStore) -> None:
        self._settings = settings
        self._api = api
        self._records = records

    async def find(self, is_used: Callable[[str], bool]) -> Sequence[Leftover]:
        """Return all, where `is_used` tells of a name whether an instance has or gets it."""
        found = [
            *await asyncio.to_thread(self._folders),
            *await asyncio.to_thread(self._sockets),
            *await self._networks(),
            *await self._volumes(),
        ]
        unused = (
            one for one in found if one.kind is not LeftoverKind.FOLDER or not is_used(one.name)
        )
        return sorted(unused, key=lambda one: (one.kind, one.name))

    async def remove(self, leftover: Leftover) -> None:
        """Remove one; nothing happens when it is gone.

        Raises RuntimeUnavailableError, also for what is used again.
        """
        with contextlib.suppress(PodmanNotFoundError):
            match leftover.kind:
                case LeftoverKind.FOLDER:
                    await asyncio.to_thread(self._records.remove, leftover.name)
                case LeftoverKind.SOCKET:
                    path = self._settings.data_dir / Path(leftover.name).name
                    await asyncio.to_thread(path.unlink, missing_ok=True)
                case LeftoverKind.NETWORK:
                    await self._api.remove_network(leftover.name)
                case LeftoverKind.VOLUME:
                    await self._api.remove_volume(leftover.name)

    def _folders(self) -> list[Leftover]:
        found = []
        for name in self._records.names():
            record, folder = self._records.load(name), self._records.folder(name)
            with contextlib.suppress(FileNotFoundError):
                changed = max(_changed(path) for path in (folder, *folder.glob("record.json")))
                owner, timeline = (record.owner, record.timeline) if record else (None, "")
                found.append(Leftover(LeftoverKind.FOLDER, name, changed, owner, timeline))
        return found

    def _sockets(self) -> list[Leftover]:
        found = []
        for path in self._settings.data_dir.glob(_SOCKETS):
            with contextlib.suppress(FileNotFoundError):
                if _is_deserted(path):
                    found.append(Leftover(LeftoverKind.SOCKET, path.name, _changed(path)))
        return found

    async def _networks(self) -> list[Leftover]:
        label = f"{LABEL_UPWELL}={self._settings.instance_id}"
        return [
            Leftover(LeftoverKind.NETWORK, str(one["name"]), _time(one.get("created")))
            for one in await self._api.networks(label)
            if one["name"] != self._settings.network_name
        ]

    async def _volumes(self) -> list[Leftover]:
        """Return anonymous volumes without a container; in a shared storage nobody knows whose."""
        if self._settings.storage_root is None:
            return []
        return [
            Leftover(LeftoverKind.VOLUME, str(one["Name"]), _time(one.get("CreatedAt")))
            for one in await self._api.unused_volumes()
            if one.get("Anonymous")
        ]


def _is_deserted(path: Path) -> bool:
    """Return True if nobody listens on a socket any more."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(_CONNECT_SECONDS)
        try:
            client.connect(str(path))
        except ConnectionRefusedError:
            return True
        except OSError:
            return False
    return False


def _changed(path: Path) -> datetime:
    return datetime.fromtimestamp(path.stat().st_mtime, UTC)


def _time(text: object) -> datetime:
    return parse_time(str(text or "")) or datetime.fromtimestamp(0, UTC)
