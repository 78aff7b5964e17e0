"""Pins: what containers are given of a volume, opened beneath its root at the moment of use.

Podman takes a path when a container is made, and binds it when the container starts. In between,
or at any time, what writes into the volume can put a link in the place of a folder
(CVE-2017-1002101, CVE-2021-25741). So Upwell opens a subPath or a host's path beneath its root,
where no link leads out, and binds what it has opened to a place that only it can write to: Podman
gets that place, and whatever happens to the path afterwards, it shows the same folder.

Pins live in a file system in memory, whose mounts nobody else sees, beside no data: not below the
data folder, as its removal would go through them. They end with the containers that have them, or
with the machine.
"""

import os
import stat
import threading
from collections.abc import Iterable, Mapping
from contextlib import nullcontext
from pathlib import Path, PurePosixPath

from upwell.machine.beneath import LeavesFolderError, open_beneath
from upwell.workload.errors import ForbiddenError, RuntimeUnavailableError
from upwell.workload.instance_spec import Files, HostPath, InstanceMount, InstanceSpec
from upwell.workload.podman.users.ids import OwnIds
from upwell.workload.podman.users.namespaces import user_namespace
from upwell.workload.podman.volumes.instance_volumes import SHARED_FOLDER, InvalidVolumeError
from upwell.workload.podman.volumes.mounts import (
    UnmappableError,
    bind,
    mount_private,
    mounts_below,
    unmount,
)

type VolumePath = tuple[str, str]
"""(volume, subPath) of a mount."""

_FOLDER = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_TYPES = {
    "Directory": stat.S_ISDIR,
    "DirectoryOrCreate": stat.S_ISDIR,
    "File": stat.S_ISREG,
    "FileOrCreate": stat.S_ISREG,
    "Socket": stat.S_ISSOCK,
    "CharDevice": stat.S_ISCHR,
    "BlockDevice": stat.S_ISBLK,
}
"""core/v1 HostPathType."""
_MADE = frozenset({"DirectoryOrCreate", "FileOrCreate"})
_HOST_FOLDER, _HOST_FILE = 0o755, 0o644
_PERMISSIONS = stat.S_ISVTX | 0o777
_OWN = 0o700
_FOLDER_TO_CHANGE = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Pins:
    """The pins of all instances, in folders of their names below `root`."""

    def __init__(self, root: Path, allowed: tuple[str, ...]) -> None:
        self.root = root.resolve()
        self._allowed = allowed
        self._changing = threading.Lock()
        """Guards the root: it comes with the first pin and goes with the last."""

    def sources(
        self, spec: InstanceSpec, places: Mapping[str, Path], ids: OwnIds | None = None
    ) -> Mapping[VolumePath, Path]:
        """Return what each mount of an instance shows, pinned where its path is not ours alone.

        `places` is where the volumes are. A subPath that is absent is made. With `ids` all is
        pinned, and files have the ids inside that they have on the disk. Raises
        InvalidVolumeError, ForbiddenError, UnmappableError, OSError, or RuntimeUnavailableError
        when the machine does not let us mount.
        """
        self.release(spec.name)
        wanted = {
            (mount.volume, mount.sub_path): mount
            for container in (*spec.init, *spec.containers)
            for mount in container.mounts
        }
        with user_namespace(ids) if wanted and ids else nullcontext() as namespace:
            return self._sources(spec, places, wanted, namespace)

    def _sources(
        self,
        spec: InstanceSpec,
        places: Mapping[str, Path],
        wanted: Mapping[VolumePath, InstanceMount],
        namespace: int | None,
    ) -> Mapping[VolumePath, Path]:
        found: dict[VolumePath, Path] = {}
        for number, (key, mount) in enumerate(sorted(wanted.items(), key=lambda one: one[0])):
            if mount.volume not in places:
                raise InvalidVolumeError(f"mount {mount.path}: there is no volume {mount.volume}")
            place, volume = places[mount.volume], spec.volumes[mount.volume]
            has_own_ids = isinstance(volume, Files) and volume.tokens
            mapping = None if has_own_ids else namespace
            if mapping is None and not mount.sub_path and not isinstance(volume, HostPath):
                found[key] = place
                continue
            is_hosts = isinstance(volume, HostPath)
            if isinstance(volume, HostPath):
                handle = self._opened(place, volume.type)
            else:
                handle = os.open(place, _FOLDER)
            if mount.sub_path:
                handle = _sub_path(handle, mount, _mode_of(handle) if is_hosts else SHARED_FOLDER)
            try:
                pin = self.root / spec.name / str(number)
                recursive = is_hosts and not mount.sub_path
                found[key] = self._pin(pin, handle, mapping, recursive=recursive)
            finally:
                os.close(handle)
        return found

    def names(self, instance: str) -> tuple[str, ...]:
        """Return the names of the pins of an instance."""
        folder = self.root / instance
        return tuple(sorted(one.name for one in folder.iterdir())) if folder.is_dir() else ()

    def are_whole(self, instance: str, names: Iterable[str]) -> bool:
        """Return True if these pins of an instance are still mounted."""
        wanted = {self.root / instance / name for name in names}
        return not wanted or wanted <= set(mounts_below(self.root / instance))

    def release(self, instance: str) -> None:
        """Unmount the pins of an instance, if it has any; no container has them any more."""
        folder = self.root / instance
        with self._changing:
            if not folder.is_dir():
                return
            for pin in folder.iterdir():
                unmount(pin)
                # What was shown is elsewhere: this is the empty place where it was.
                if pin.is_dir():
                    pin.rmdir()
                else:
                    pin.unlink()
            folder.rmdir()
            if not any(self.root.iterdir()):
                self._remove_root()

    def clear(self) -> None:
        """Unmount all pins."""
        with self._changing:
            if self.root.is_dir():
                self._remove_root()

    def _remove_root(self) -> None:
        unmount(self.root)
        self.root.rmdir()

    def _opened(self, place: Path, kind: str) -> int:
        """Open a path of the host, where no link that came after the look at it is followed.

        What is absent is made where its type says so.
        """
        real = place.resolve()
        if not any(real.is_relative_to(Path(one).resolve()) for one in self._allowed):
            raise ForbiddenError(f"host path {place} leads to {real}, which is not allowed")
        try:
            _make_on_host(real, kind)
            handle = open_beneath(Path("/"), str(real).lstrip("/"), os.O_PATH, links=False)
        except LeavesFolderError as error:
            raise ForbiddenError(f"host path {place} became a link while it was opened") from error
        except FileNotFoundError as error:
            raise RuntimeUnavailableError(f"host path {place} does not exist: make it") from error
        is_right = _TYPES.get(kind)
        if is_right is not None and not is_right(os.fstat(handle).st_mode):
            os.close(handle)
            raise InvalidVolumeError(f"host path {place} is not of type {kind}")
        return handle

    def _pin(self, pin: Path, handle: int, namespace: int | None, *, recursive: bool) -> Path:
        if os.geteuid() != 0:
            # Nothing can be mounted for Podman, and root in its containers is this user.
            return Path(f"/proc/self/fd/{handle}").readlink()
        try:
            with self._changing:
                if not self.root.is_mount():
                    self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
                    mount_private(self.root)
                pin.parent.mkdir(mode=0o700, exist_ok=True)
                bind(handle, pin, recursive=recursive, namespace=namespace)
        except UnmappableError:
            raise
        except PermissionError as error:
            message = f"cannot mount {pin}: {error.strerror}; subPath and hostPath need that right"
            raise RuntimeUnavailableError(message) from error
        return pin


def _make_on_host(path: Path, kind: str) -> None:
    """Make an absent folder or file of the host, where its type says so."""
    if kind not in _MADE or path.exists():
        return
    root = os.open("/", _FOLDER)
    try:
        if kind == "DirectoryOrCreate":
            os.close(_made_beneath(root, PurePosixPath(*path.parts[1:]), _HOST_FOLDER, links=False))
            return
        flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY
        os.close(open_beneath(root, str(path).lstrip("/"), flags, links=False, mode=_HOST_FILE))
    finally:
        os.close(root)


def _mode_of(folder: int) -> int:
    """Return the permissions of a folder of the host: what is made in it is as open, and no more.

    So it is in Kubernetes.
    """
    return os.fstat(folder).st_mode & _PERMISSIONS


def _sub_path(volume: int, mount: InstanceMount, mode: int) -> int:
    """Open the subPath of a mount below its volume, which is closed; what is absent is made."""
    try:
        return _made_beneath(volume, PurePosixPath(mount.sub_path), mode)
    except LeavesFolderError as error:
        message = f"mount {mount.path}: subPath {mount.sub_path} leaves its volume"
        raise InvalidVolumeError(message) from error
    except (FileExistsError, NotADirectoryError) as error:
        message = f"mount {mount.path}: subPath {mount.sub_path}: {error.strerror}"
        raise InvalidVolumeError(message) from error
    finally:
        os.close(volume)


def _made_beneath(root: int, path: PurePosixPath, mode: int, *, links: bool = True) -> int:
    try:
        return open_beneath(root, str(path), os.O_PATH, links=links)
    except FileNotFoundError:
        parent = _made_beneath(root, path.parent, mode, links=links)
    try:
        os.mkdir(path.name, _OWN, dir_fd=parent)  # never wider open than asked for
        made = os.open(path.name, _FOLDER_TO_CHANGE, dir_fd=parent)
    finally:
        os.close(parent)
    inherited = os.fstat(made).st_mode & stat.S_ISGID  # that of a volume's group
    os.fchmod(made, inherited | mode)
    return made
