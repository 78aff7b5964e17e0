"""A power cut: every process of some folders ends at once, and with them what only memory holds."""

import os
import shutil
import signal
import sqlite3
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from json import loads
from pathlib import Path

_GONE_SECONDS = 60
_POLL_SECONDS = 0.02


def cut_power(
    places: Sequence[Path],
    runtime_folders: Sequence[Path],
    servers: Sequence[int] = (),
    *,
    wipe: bool,
) -> None:
    """End all that runs in `places`; `wipe`: the runtime's folders were in memory, too.

    Podman and Buildah keep what runs in `runtime_folders`, and believe them. `servers`: process
    IDs of what does not name its place.
    """
    # Of a boot that has kept the folders nobody here is told: their names would lead nowhere.
    namespaces = [name for place in places for name in _network_namespaces(place) if wipe]
    doomed = _processes_in(places, servers)
    for pid in doomed:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    _wait_for_end(doomed)
    for place in _mounts_in(places):
        subprocess.run(["umount", "--lazy", place], check=False, timeout=30)
    if wipe:
        for folder in runtime_folders:
            shutil.rmtree(folder, ignore_errors=True)
    for name in namespaces:
        # The kernel holds them, and has forgotten them after a boot.
        subprocess.run(["umount", "--lazy", name], check=False, capture_output=True, timeout=30)
        Path(name).unlink(missing_ok=True)


def _processes_in(places: Sequence[Path], servers: Sequence[int]) -> list[int]:
    """Return the servers and what names one of the places, and then all that come from them.

    Monitors come before what they watch: none is left to write down how that ended.
    """
    children: dict[int, list[int]] = {}
    named = []
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            pid = int(entry.name)
            parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            children.setdefault(parent, []).append(pid)
            said = (entry / "cmdline").read_bytes() + (entry / "environ").read_bytes()
            if pid != os.getpid() and any(f"{place}".encode() in said for place in places):
                named.append(pid)
    found = list(dict.fromkeys([*servers, *named]))
    for pid in found:  # it grows while it is walked through
        found += [one for one in children.get(pid, []) if one not in found]
    return found


def _wait_for_end(pids: Sequence[int]) -> None:
    deadline = time.monotonic() + _GONE_SECONDS
    while left := [pid for pid in pids if _runs(pid)]:
        assert time.monotonic() < deadline, f"not killed: {left}"
        time.sleep(_POLL_SECONDS)


def _runs(pid: int) -> bool:
    with suppress(OSError):
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        return state not in {"Z", "X"}
    return False


def _mounts_in(places: Sequence[Path]) -> list[str]:
    """Return what storages have mounted, the last first; disks that tests have put there stay."""
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    mounted = [line.split()[4] for line in lines]
    inside = [one for one in mounted if any(one.startswith(f"{place}/") for place in places)]
    return [one for one in reversed(inside) if "/overlay" in one]


def _network_namespaces(place: Path) -> Iterator[str]:
    for database in place.rglob("db.sql"):
        with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
            for (state,) in connection.execute("SELECT JSON FROM ContainerState"):
                if path := loads(state).get("netns"):
                    yield str(path)
