"""Processes of a cluster of the kit, killed and started again as by whoever watches them."""

import json
import os
import signal
import time
from contextlib import suppress
from pathlib import Path

from tests.support.kubernetes.cluster import KitCluster

_SECONDS = 60.0


def kill_and_restart(cluster: KitCluster, *names: str) -> None:
    """Kill processes (`etcd`, `kube-apiserver`), and start them as they were, in this order."""
    started = {name: command_of(cluster, name) for name in names}
    for name in reversed(names):
        os.kill(_pid(cluster, name), signal.SIGKILL)
    for name in names:
        _until_gone(_pid(cluster, name))
        command, environment = started[name]
        log = str(cluster.folder / "logs" / f"{name}.log")
        # Not of subprocess, which wants to see the end of its children: the kit's `down` ends it.
        pid = os.posix_spawn(
            command[0],
            command,
            environment,
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_OPEN, 1, log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600),
                (os.POSIX_SPAWN_DUP2, 1, 2),
            ],
            setsid=True,
        )
        _note(cluster, name, pid)


def _pid(cluster: KitCluster, name: str) -> int:
    return int((cluster.folder / "pids" / f"{name}.pid").read_text())


def command_of(cluster: KitCluster, name: str) -> tuple[list[str], dict[str, str]]:
    """Return the command line of a process, and its environment."""
    process = Path("/proc", str(_pid(cluster, name)))
    command = _texts(process / "cmdline")
    pairs = (text.partition("=") for text in _texts(process / "environ"))
    return command, {key: value for key, _, value in pairs}


def _texts(path: Path) -> list[str]:
    return path.read_bytes().decode().rstrip("\0").split("\0")


def _until_gone(pid: int) -> None:
    """Wait until no thread of it runs: the last closes its sockets, whoever waits for its end."""
    deadline = time.monotonic() + _SECONDS
    while any(_state(thread) not in {"", "Z", "X"} for thread in _threads(pid)):
        assert time.monotonic() < deadline, f"process {pid} does not end"
        time.sleep(0.02)


def _threads(pid: int) -> list[Path]:
    with suppress(OSError):
        return list(Path("/proc", str(pid), "task").iterdir())
    return []


def _fields(process: Path) -> list[str]:
    with suppress(OSError):
        return (process / "stat").read_text().rpartition(")")[2].split()
    return []


def _state(process: Path) -> str:
    return next(iter(_fields(process)), "")


def _note(cluster: KitCluster, name: str, pid: int) -> None:
    """Let the kit's `down` know of the new process."""
    (cluster.folder / "pids" / f"{name}.pid").write_text(f"{pid}\n")
    path = cluster.folder / "kit.json"
    state = json.loads(path.read_text())
    state["procs"][name] = {"pid": pid, "start": int(_fields(Path("/proc", str(pid)))[19])}
    path.write_text(json.dumps(state))
