"""fsGroup: the group of an instance's volumes, as core/v1 PodSecurityContext says.

Files may be a container's that is hostile, and runs: each is opened beneath its folder and never
followed, so that no link leads to a file of the host.
"""

import os
import stat
from pathlib import Path

from upwell.api.values.security_context import VolumeGroup

DEEPEST = 512
"""Folders below each other: each takes a descriptor, and who fills a volume nests any number."""
_FOLDER = stat.S_ISGID | 0o770
_FILE = 0o660


class TooDeepError(Exception):
    """More than DEEPEST folders lie below each other."""


def give_to_group(root: Path, wanted: VolumeGroup) -> None:
    """Let a group read and write all below `root`, and own what is made there.

    With `on_root_mismatch` nothing is done when the root is that group's already. Raises OSError,
    or TooDeepError.
    """
    top = root.stat()
    if wanted.on_root_mismatch and top.st_gid == wanted.group and top.st_mode & stat.S_ISGID:
        return
    start = str(root).count(os.sep)
    for path, _, files, folder in os.fwalk(root, follow_symlinks=False):
        if path.count(os.sep) - start > DEEPEST:
            raise TooDeepError
        for name in files:
            _give_file(folder, name, wanted.group)
        _change(folder, wanted.group, _FOLDER)


def _give_file(folder: int, name: str, group: int) -> None:
    try:
        handle = os.open(
            name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder
        )
    except OSError:
        return  # a link, a socket, or gone meanwhile: it has no content that a group could share
    try:
        if stat.S_ISREG(os.fstat(handle).st_mode):
            _change(handle, group, _FILE)
    finally:
        os.close(handle)


def _change(handle: int, group: int, mode: int) -> None:
    found = os.fstat(handle)
    if found.st_gid != group:
        os.fchown(handle, -1, group)
    # A change of the group takes setuid and setgid bits away: they are not put back.
    wanted = stat.S_IMODE(os.fstat(handle).st_mode) | mode
    if wanted != stat.S_IMODE(found.st_mode):
        os.fchmod(handle, wanted)
