"""The volumes of an instance that hold tokens: each a file system in memory of its own.

They are on no disk, nor below the data folder, as a copy of it would have them. On the host nobody
but root comes near; inside, tokens belong to whom the containers run as. Their mounts map no ids:
they are this instance's alone, so that files simply have the ids that it has on the host.
"""

import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from upwell.workload.errors import ForbiddenError
from upwell.workload.instance_spec import Files, InstanceSpec
from upwell.workload.podman.users.ids import OwnIds, outside
from upwell.workload.podman.volumes.instance_volumes import InvalidVolumeError
from upwell.workload.podman.volumes.mounts import mount_memory, unmount

_OWN, _SHOWN = 0o700, 0o755
_ONE_USER, _ALL_INSIDE = 0o600, 0o644
_GROUP_READS = 0o040
_PERMISSIONS = 0o777
_NEW = ".new"
_ROOM = 2 * 1024 * 1024
"""Bytes of a volume beyond what it holds at first: for tokens that are made anew."""


@dataclass(frozen=True, slots=True)
class Ownership:
    """User and group of a file on the host, and its mode."""

    user: int
    group: int
    mode: int


@dataclass(frozen=True, slots=True)
class TokenOwners:
    """Owners of the files of an instance's volumes; `user` is the one that all containers have.

    None: they have several, or one whose number is not known. `group` is that of fsGroup.
    """

    user: int | None
    group: int | None

    def of_token(self, ids: OwnIds | None) -> Ownership:
        """Return the owner of a token: the one user, the group, or all who are inside."""
        group = outside(self.group or 0, ids)
        mode = _ONE_USER if self.group is None else _ONE_USER | _GROUP_READS
        if self.user is None:
            return Ownership(outside(0, ids), group, _ALL_INSIDE if self.group is None else mode)
        return Ownership(outside(self.user, ids), group, mode)

    def of_file(self, mode: int, ids: OwnIds | None) -> Ownership:
        """Return the owner of any other file."""
        reads = 0 if self.group is None else _GROUP_READS
        wanted = (mode & _PERMISSIONS) | reads
        return Ownership(outside(0, ids), outside(self.group or 0, ids), wanted)


class TokenVolumes:
    """Volumes with tokens, in folders of their instances' names below `root`."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._changing = threading.Lock()
        """Guards folders: nothing is written into one whose mount is on its way out."""

    def mount(self, spec: InstanceSpec) -> Mapping[str, Path]:
        """Return where the empty volumes of an instance are, made anew.

        Raises OSError, or ForbiddenError where the server may mount nothing.
        """
        self.release(spec.name)
        wanted = dict(volumes_with_tokens(spec))
        if wanted and os.geteuid() != 0:
            raise ForbiddenError(
                f"{spec.name} gets a token of a ServiceAccount, which lies in memory alone: that"
                " takes a server that runs as root"
            )
        return {name: self._mount(spec.name, name, files) for name, files in wanted.items()}

    def _mount(self, instance: str, name: str, files: Files) -> Path:
        if name in {"", ".", ".."} or "/" in name:
            raise InvalidVolumeError(f"{name!r} cannot name a volume")
        place = self._root / instance / name
        with self._changing:
            place.parent.parent.mkdir(mode=_OWN, parents=True, exist_ok=True)
            place.parent.mkdir(mode=_OWN, exist_ok=True)
            place.mkdir(mode=_OWN)
            mount_memory(place, sum(map(len, files.content.values())) + _ROOM)
        return place

    def fill(self, place: Path, files: Files, owners: TokenOwners, ids: OwnIds | None) -> None:
        """Write all that a volume holds but its tokens; raises OSError, InvalidVolumeError."""
        folder = owners.of_file(_SHOWN, ids)
        _give(place, folder)
        for path, content in files.content.items():
            mode = files.modes.get(path, files.mode)
            target = _placed(place, path, folder)
            _write(target, content, owners.of_file(mode, ids))
        for token in files.tokens:
            _placed(place, token.path, folder)

    def write_token(
        self, instance: str, volume: str, path: str, token: str, owner: Ownership
    ) -> bool:
        """Put a token in the place of the one before; False: its volume is gone. Raises OSError."""
        place = self._root / instance / volume
        with self._changing:
            if not place.is_mount():
                return False
            _write(place / path, token.encode(), owner)
        return True

    def release(self, instance: str) -> None:
        """Remove the volumes of an instance, if it has any; raises OSError."""
        folder = self._root / instance
        with self._changing:
            if not folder.is_dir():
                return
            for place in folder.iterdir():
                unmount(place)
                place.rmdir()
            folder.rmdir()
            with suppress(OSError):  # others are there
                self._root.rmdir()

    def names(self) -> list[str]:
        """Return the instances that have such volumes."""
        return sorted(one.name for one in self._root.iterdir()) if self._root.is_dir() else []


def volumes_with_tokens(spec: InstanceSpec) -> Iterator[tuple[str, Files]]:
    """Yield the volumes of an instance that hold tokens, with their names."""
    for name, volume in sorted(spec.volumes.items()):
        if isinstance(volume, Files) and volume.tokens:
            yield name, volume


def _placed(place: Path, relative: str, folder: Ownership) -> Path:
    """Return the path of a file, whose folders are made."""
    path = PurePosixPath(relative)
    if path.is_absolute() or ".." in path.parts or not path.parts:
        raise InvalidVolumeError(f"{relative!r} leaves its volume")
    target = place
    for part in path.parts[:-1]:
        target /= part
        if not target.is_dir():
            target.mkdir(mode=_OWN)
            _give(target, folder)
    return target / path.name


def _give(folder: Path, owner: Ownership) -> None:
    os.chown(folder, owner.user, owner.group)
    folder.chmod(owner.mode)


def _write(target: Path, content: bytes, owner: Ownership) -> None:
    """Write a file as a whole: who reads it meanwhile has the one before."""
    draft = target.with_name(f".{target.name}{_NEW}")
    draft.unlink(missing_ok=True)
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(content)
        os.fchown(file.fileno(), owner.user, owner.group)
        os.fchmod(file.fileno(), owner.mode)
    draft.rename(target)
