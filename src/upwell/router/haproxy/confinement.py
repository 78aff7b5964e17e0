"""The user that HAProxy serves as, and the part of the file system that it sees."""

import os
import pwd
from pathlib import Path

from upwell.router.haproxy.config import Confinement

_NOBODY = 65534
"""User and group that own nothing (`nobody` and `nogroup` of Debian)."""


def confine(folder: Path, user: str) -> Confinement | None:
    """Make the folder that HAProxy is confined to, and return how; None unless we are root.

    Only root can change its user, or the root of the file system. Raises OSError.
    """
    if os.geteuid() != 0:
        return None
    folder.mkdir(mode=0o755, parents=True, exist_ok=True)
    try:
        found = pwd.getpwnam(user)
    except KeyError:
        return Confinement(_NOBODY, _NOBODY, str(folder))
    return Confinement(found.pw_uid, found.pw_gid, str(folder))
