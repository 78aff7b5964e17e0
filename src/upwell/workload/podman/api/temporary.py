"""Folder of large files of Podman's service: pieces of images that it pulls.

Podman has it in /var/tmp by itself, where nobody can tell what a killed service has left. Below the
data folder it cannot be: containers with ids of their own are reached by mounts in it.
"""

import fcntl
import os
from contextlib import suppress
from pathlib import Path

from upwell.machine.folder import make_passage, remove_deep

_MOUNTPOINTS = "intermediate-mountpoint-"
"""Empty folders of containers that run: runc enters them for each command (5.4: `podman exec`)."""


class ServiceTemporary:
    """The folder, which is locked while a service uses it.

    systemd-tmpfiles(8) leaves a locked folder alone; others in /var/tmp it removes after a month.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock: int | None = None

    def renew(self) -> None:
        """Make the folder, and remove what services that have ended left in it.

        Raises OSError, PermissionError among them for one that is somebody else's.
        """
        self.close()
        make_passage(self.path)
        self._lock = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        fcntl.flock(self._lock, fcntl.LOCK_SH)
        for entry in self.path.iterdir():
            if not entry.name.startswith(_MOUNTPOINTS):
                remove_deep(entry)

    def size(self) -> int:
        """Return the bytes of what lies in it now, of all pulls; blocks."""
        found = 0
        for entry in self.path.glob("container_images_storage*/*"):
            with suppress(OSError):  # it has gone into the storage meanwhile
                found += entry.stat().st_size
        return found

    def remove(self) -> None:
        """Remove the folder as a whole: for when no container runs; idempotent."""
        remove_deep(self.path)

    def close(self) -> None:
        """Let go of the folder; what containers need stays; idempotent."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None
