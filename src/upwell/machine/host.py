"""Facts about this machine that decide how containers can run on it."""

import asyncio
import os
import resource
import shutil
import tempfile
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from upwell.machine.process import run_command

_CAP_SYS_RESOURCE = 24
"""capabilities(7): may raise a hard limit; include/uapi/linux/capability.h has the number."""

_TRY_OVERLAY = 'cd "$1" && mkdir l u w m && mount -t overlay o -o lowerdir=l,upperdir=u,workdir=w m'


class Cgroups(StrEnum):
    """Control group hierarchies that are mounted (cgroups(7))."""

    UNIFIED = "v2"
    HYBRID = "hybrid (v1 controllers beside v2)"
    LEGACY = "v1"
    ABSENT = "not mounted"


@dataclass(frozen=True, slots=True)
class Limit:
    """A resource limit in force: soft and hard; -1 is no limit."""

    soft: int
    hard: int


@dataclass(frozen=True, slots=True)
class Host:
    """The facts, as found once."""

    cgroups: Cgroups
    systemd: bool
    journald: bool
    root: bool
    raises_limits: bool
    """True if a container may get higher limits than we have (CAP_SYS_RESOURCE)."""
    open_files: Limit
    processes: Limit
    tools: frozenset[str]
    """Programs on PATH, of those that matter here."""
    overlay: bool
    """True if overlayfs can be mounted on the folder that holds images."""


async def read_host(storage: Path, system: Path = Path("/")) -> Host:
    """Look at the machine; `storage` is (or will be) the folder that holds images.

    `system` is where /proc, /sys and /run are read below.
    """
    names = ("runc", "crun", "nft", "iptables")
    return Host(
        cgroups=_cgroups(system / "sys/fs/cgroup"),
        systemd=(system / "run/systemd/system").is_dir(),
        journald=(system / "run/systemd/journal/socket").exists(),
        root=os.geteuid() == 0,
        raises_limits=_has_capability(system / "proc/self/status", _CAP_SYS_RESOURCE),
        open_files=Limit(*resource.getrlimit(resource.RLIMIT_NOFILE)),
        processes=Limit(*resource.getrlimit(resource.RLIMIT_NPROC)),
        tools=frozenset(name for name in names if shutil.which(name)),
        overlay=await overlay_works(storage),
    )


async def overlay_works(storage: Path) -> bool:
    """Mount an overlay in a mount namespace of its own, so that nothing is left behind."""
    await asyncio.to_thread(storage.mkdir, parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=storage, prefix="overlay-check-") as folder:
        flags = ("--mount",) if os.geteuid() == 0 else ("--mount", "--map-root-user")
        answer = await run_command("unshare", *flags, "sh", "-c", _TRY_OVERLAY, "sh", folder)
    return answer.code == 0


def _cgroups(mount: Path) -> Cgroups:
    if (mount / "cgroup.controllers").is_file():
        return Cgroups.UNIFIED
    if (mount / "unified").is_dir():
        return Cgroups.HYBRID
    return Cgroups.LEGACY if (mount / "memory").is_dir() else Cgroups.ABSENT


def _has_capability(status: Path, number: int) -> bool:
    for line in status.read_text().splitlines():
        name, _, value = line.partition(":")
        if name == "CapEff":
            return bool(int(value, 16) >> number & 1)
    return False
