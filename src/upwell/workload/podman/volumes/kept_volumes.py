"""Volumes that images declare and nothing is mounted at: kept with the owner, for each index.

Each is a folder of ours below `kept/`, and a named volume of Podman's that shows it: so Podman
itself copies what the image has at the path into an empty one, with its ownership, as it does for
the nameless volume that would take its place and go with the container. The name of the volume is
made of the folder's path: when the data folder is moved, a new one shows the new place.

An instance with ids of its own gets the folder by a mount of ours instead (`pins`), which maps them
back: on the disk, files have the ids that they have in the image. A container that never runs has
Podman fill an empty one before.

When an owner is deleted its folder is marked, and removed when nothing of it has started for
GRACE. What bears no mark is never removed.

A container that an earlier version made has nameless volumes instead. Their files move into the
folder when it is removed, before the next one starts; where that has files already, they stay.
"""

import asyncio
import contextlib
import errno
import hashlib
import logging
import os
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path, PurePosixPath
from typing import Any, Protocol
from urllib.parse import quote

from upwell.machine.private_file import write_private
from upwell.machine.process import run_command
from upwell.oci import Reference
from upwell.workload.errors import RuntimeUnavailableError
from upwell.workload.instance_spec import (
    ContainerSpec,
    EmptyDir,
    InstanceMount,
    InstanceSpec,
    Owner,
)
from upwell.workload.podman.volumes.instance_volumes import InvalidVolumeError
from upwell.workload.podman.volumes.mounts import remove_tree

_log = logging.getLogger(__name__)

VOLUME_PREFIX = "upwell-kept-"
GRACE = timedelta(days=7)
_KEPT = "kept/"
"""Begins names of volumes that no manifest can give one."""
_PROGRAM, _PLACE = os.path.realpath("/bin/true"), "/.upwell"
_LABEL_FILLS = "upwell.dev/fills-volumes"
_RELEASED = "released"
_NAME_DIGITS = 32
_COPY_SECONDS = 3600.0
_PURGE_SECONDS = 3600.0
_NOT_OURS = frozenset({errno.EPERM, errno.EACCES})


class VolumeApi(Protocol):
    """API of the runtime, as far as volumes need it."""

    async def image_volumes(self, reference: Reference) -> Sequence[str]:
        """Return the paths at which an image declares volumes."""
        ...

    async def create_volume(self, name: str, folder: Path, labels: Mapping[str, str]) -> None:
        """Create a volume that shows a folder; nothing happens when it exists."""
        ...

    async def remove_volume(self, name: str) -> None:
        """Remove a volume, and nothing of what it shows; nothing happens when there is none."""
        ...

    async def prepare_once(self, body: Mapping[str, Any]) -> None:
        """Make a container with its volumes, and remove it; its program never runs."""
        ...

    async def containers(self, *labels: str) -> list[dict[str, Any]]:
        """List all containers that carry all `labels` (`key=value`)."""
        ...

    async def remove(self, container: str, *, volumes: bool = True, depend: bool = False) -> None:
        """Remove a container, whatever it does; with `volumes` its anonymous ones too."""
        ...


@dataclass(frozen=True, slots=True)
class KeptVolume:
    """A named volume of Podman's, and where a container has it."""

    name: str
    path: str
    folder: Path
    """Folder that has its files."""


@dataclass(frozen=True, slots=True)
class NamelessVolume:
    """A volume that Podman made for a path that the image declares; it belongs to no name."""

    name: str
    path: str
    source: Path
    """Folder that has its files."""


class KeptVolumes:
    """The folders below `root`. `labels` mark the volumes in Podman as ours."""

    def __init__(self, api: VolumeApi, root: Path, labels: Mapping[str, str]) -> None:
        self._api = api
        self._root = root
        self._labels = labels
        self._upwell = next(iter(labels.values()))
        self._filling: set[str] = set()
        """Names of containers that fill volumes at this moment."""

    async def provide(self, spec: InstanceSpec) -> Mapping[str, Sequence[KeptVolume]]:
        """Make the volumes of an instance, by container; raises InvalidVolumeError.

        Its images have to be there.
        """
        if spec.volume_index is None:
            return {}
        return {
            container.name: [
                await self._provide(spec, spec.volume_index, container, path)
                for path in declared(container, await self._api.image_volumes(container.image))
            ]
            for container in spec.containers
        }

    async def _provide(
        self, spec: InstanceSpec, index: int, container: ContainerSpec, path: str
    ) -> KeptVolume:
        owned = self._folder(spec.owner)
        (owned / _RELEASED).unlink(missing_ok=True)
        folder = owned / str(index) / container.name / quote(path, safe="")
        folder.mkdir(parents=True, exist_ok=True)
        name = volume_name(folder)
        await self._api.create_volume(name, folder, self._labels)
        return KeptVolume(name, path, folder)

    async def fill(self, spec: InstanceSpec, kept: Mapping[str, Sequence[KeptVolume]]) -> None:
        """Have Podman copy what the images have into the volumes that are empty."""
        for container in spec.containers:
            empty = [one for one in kept.get(container.name, ()) if not any(one.folder.iterdir())]
            if not empty:
                continue
            body = self._filling_body(spec, container, empty)
            self._filling.add(body["name"])
            try:
                await self._api.prepare_once(body)
            finally:
                self._filling.discard(body["name"])

    async def remove_cut_short(self) -> None:
        """Remove the containers of fillings that were cut short: they hold their volumes."""
        for left in await self._api.containers(f"{_LABEL_FILLS}={self._upwell}"):
            if not self._filling.intersection(left["Names"]):
                await self._api.remove(str(left["Id"]), volumes=False)

    def _filling_body(
        self, spec: InstanceSpec, container: ContainerSpec, empty: Sequence[KeptVolume]
    ) -> dict[str, Any]:
        """Return the request for a container that has these volumes and nothing else."""
        user = container.security.user
        # The runtime looks for the program that it would run, and few images have a common one.
        program = {"type": "bind", "source": _PROGRAM, "destination": _PLACE, "options": ["ro"]}
        return {
            "name": f"upwell-{self._upwell}.{spec.name}.{container.name}.volumes",
            "image": str(container.image),
            "labels": {_LABEL_FILLS: self._upwell},
            "user": "" if user is None else str(user),  # whose an absent folder becomes
            "entrypoint": [_PLACE],
            "command": [],
            "work_dir": "/",
            "no_new_privileges": True,
            "healthconfig": {"test": ["NONE"]},
            "netns": {"nsmode": "none"},
            "mounts": [program],
            "image_volume_mode": "ignore",
            "volumes": [{"Name": one.name, "Dest": one.path} for one in empty],
        }

    async def take_over(
        self, owner: Owner, instance: str, container: str, volume: NamelessVolume
    ) -> bool:
        """Move the files of an earlier version's volume to where the next instance has them.

        False: they stay, as that place has files already, or nobody may move them. Raises OSError.
        """
        where = {"instance": instance, "container": container, "volume": volume.name}
        index = instance.rpartition("-")[2]
        if not index.isdecimal():
            why = "its replica index is unknown"
        elif not volume.source.is_dir():
            return True  # moved before a stop that was cut short
        else:
            folder = self._folder(owner) / str(int(index)) / container / quote(volume.path, safe="")
            try:
                if await move_files(volume.source, folder):
                    extra = {**where, "folder": str(folder)}
                    _log.warning("volume of an earlier version moved", extra=extra)
                    return True
                why = f"{folder} has files already"
            except OSError as error:
                if error.errno not in _NOT_OURS:
                    raise
                why = f"it may not be moved to {folder}: {error.strerror}"
        _log.warning("volume of an earlier version left in Podman", extra={**where, "why": why})
        return False

    async def release(self, owner: Owner, now: datetime) -> None:
        """Have the volumes of an owner removed after GRACE, unless an instance of it starts."""
        folder = self._folder(owner)
        if folder.is_dir() and not (folder / _RELEASED).exists():
            await asyncio.to_thread(write_private, folder / _RELEASED, now.isoformat())

    async def run(self, now: Callable[[], datetime]) -> None:
        """Remove the volumes of owners that were deleted long ago, until cancelled."""
        while True:
            try:
                removed = await self.purge(now())
            except (OSError, RuntimeUnavailableError) as error:
                _log.warning("kept volumes not removed", extra={"why": str(error)})
            else:
                for folder in removed:
                    _log.info("kept volumes removed", extra={"folder": folder})
            await asyncio.sleep(_PURGE_SECONDS)

    async def purge(self, now: datetime) -> list[str]:
        """Remove what was released long enough ago; return the folders."""
        removed = []
        await self.remove_cut_short()
        for mark in sorted(self._root.glob(f"*/*/{_RELEASED}")):
            since = await asyncio.to_thread(_time, mark)
            if since is None or now - since < GRACE:
                continue
            folder = mark.parent
            for kept in folder.glob("*/*/*"):
                await self._api.remove_volume(volume_name(kept))
            # The mark goes last: what is cut short is taken up again.
            await asyncio.to_thread(_remove_but, folder, mark)
            removed.append(str(folder))
        return removed

    def _folder(self, owner: Owner) -> Path:
        for part in (owner.namespace, owner.kind, owner.name):
            if not part or "/" in part or part in {".", ".."}:
                raise InvalidVolumeError(f"{part!r} cannot name a folder of volumes")
        return self._root / owner.namespace / f"{owner.kind.lower()}.{owner.name}"


def with_mounts(
    spec: InstanceSpec, kept: Mapping[str, Sequence[KeptVolume]]
) -> tuple[InstanceSpec, Mapping[str, Path]]:
    """Return the instance with its kept volumes as volumes of its own, and where these are."""
    places = {f"{_KEPT}{one.name}": one.folder for several in kept.values() for one in several}
    containers = tuple(
        replace(
            one,
            mounts=(
                *one.mounts,
                *(
                    InstanceMount(f"{_KEPT}{volume.name}", volume.path)
                    for volume in kept.get(one.name, ())
                ),
            ),
        )
        for one in spec.containers
    )
    volumes = {**spec.volumes, **{name: EmptyDir() for name in places}}
    return replace(spec, containers=containers, volumes=volumes), places


def is_kept(volume: str) -> bool:
    """Return True if a volume of an instance, by its name, is one that `with_mounts` gave it."""
    return volume.startswith(_KEPT)


def declared(container: ContainerSpec, paths: Iterable[str]) -> list[str]:
    """Return the paths that a container needs volumes for: nothing is mounted at or above them."""
    mounted = [PurePosixPath(mount.path) for mount in container.mounts]
    wanted = {PurePosixPath("/", path) for path in paths} - {PurePosixPath("/")}
    return sorted(
        str(path) for path in wanted if not any(path.is_relative_to(one) for one in mounted)
    )


async def move_files(source: Path, folder: Path) -> bool:
    """Move a folder with its owners and modes, whole or not at all; False: there are files there.

    On another file system it is copied, and the source stays. Raises OSError.
    """
    moved = await asyncio.to_thread(_rename, source, folder)
    if moved is not None:
        return moved
    draft = folder.with_name(f".{folder.name}.part")
    await asyncio.to_thread(shutil.rmtree, draft, ignore_errors=True)
    copied = await run_command("cp", "-a", "--", str(source), str(draft), seconds=_COPY_SECONDS)
    if copied.code:
        await asyncio.to_thread(shutil.rmtree, draft, ignore_errors=True)
        raise OSError(errno.EIO, f"cannot be copied: {copied.last_line}", str(source))
    draft.rename(folder)
    return True


def _rename(source: Path, folder: Path) -> bool | None:
    """Rename a folder to one that is empty or not there; None: they are on two file systems."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    if folder.is_dir() and any(folder.iterdir()):
        return False
    try:
        source.rename(folder)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        return None
    return True


def volume_name(folder: Path) -> str:
    """Return the name of the volume that shows a folder."""
    return VOLUME_PREFIX + hashlib.sha256(str(folder).encode()).hexdigest()[:_NAME_DIGITS]


def _time(mark: Path) -> datetime | None:
    try:
        return datetime.fromisoformat(mark.read_text().strip())
    except (OSError, ValueError):
        return None  # of a write that was cut short, or removed meanwhile


def _remove_but(folder: Path, mark: Path) -> None:
    for entry in folder.iterdir():
        if entry != mark:
            remove_tree(entry)
    mark.unlink()
    with contextlib.suppress(OSError):  # an instance has started meanwhile
        folder.rmdir()
        folder.parent.rmdir()
