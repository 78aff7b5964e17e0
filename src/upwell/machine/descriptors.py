"""File descriptors of this process: how many it may open, and how many it has open."""

import os
import resource
from dataclasses import dataclass
from pathlib import Path

_MOST = 65_536
"""As many as anything of ours needs; some programs close all that they may have, one by one."""
_SPARE = 10
"""Part of the limit that is left free."""


@dataclass(frozen=True, slots=True)
class DescriptorUse:
    """Open descriptors, and the limit."""

    used: int
    limit: int

    @property
    def fault(self) -> str:
        """Text for people when few are left, with the next step; else empty."""
        if self.limit - self.used >= self.limit // _SPARE:
            return ""
        return (
            f"{self.used} of {self.limit} file descriptors are in use: connections, builds and"
            " probes fail without more; start the server with a higher limit (`ulimit -n`,"
            " LimitNOFILE= of a systemd unit)"
        )


def raise_descriptor_limit() -> None:
    """Let this process open as many files as it may by its hard limit; raises nothing."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _MOST if hard == resource.RLIM_INFINITY else min(hard, _MOST)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def connection_room() -> int:
    """Return how many connections there may be: the other half is for the server's own work."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return _MOST // 2 if soft == resource.RLIM_INFINITY else soft // 2


def descriptor_use(folder: Path = Path("/proc/self/fd")) -> DescriptorUse:
    """Return how many are open now."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        used = len(os.listdir(folder)) - 1  # noqa: PTH208 - of which one is for this look
    except OSError:
        used = limit  # there is none left to look with
    return DescriptorUse(used, limit)
