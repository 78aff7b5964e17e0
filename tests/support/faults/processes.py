"""The processes of an installation, by what they do."""

import os
import signal
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from enum import StrEnum
from pathlib import Path

from tests.support.installation.installation import Installation

_SECONDS = 60.0


class Part(StrEnum):
    """A part of an installation that is a process, or several."""

    SERVER = "server"
    ROUTER = "router"
    """HAProxy: its master and its workers."""
    ROUTER_WORKER = "router's worker"
    RUNTIME = "podman service"
    BUILDER = "builder"
    """Buildah, and what it runs."""
    INSTANCE = "instance"
    """The first process of each container."""
    MONITOR = "conmon"


def pids(made: Installation, part: Part) -> list[int]:
    """Return the process IDs of a part, parents first; empty while it does not run."""
    return sorted(_FIND[part](made))


def send(found: Iterable[int], number: signal.Signals) -> None:
    """Send a signal to each that is still there."""
    for pid in found:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


def wait_for_end(found: Iterable[int]) -> None:
    """Return when none of them runs."""
    deadline = time.monotonic() + _SECONDS
    while any(_is_running(pid) for pid in found):
        assert time.monotonic() < deadline, f"still there: {list(found)}"
        time.sleep(0.01)


def _server(made: Installation) -> list[int]:
    return [made.pid] if made.is_alive else []


def _router(made: Installation) -> list[int]:
    config = str(made.data_dir / "router" / "haproxy.cfg")
    return _of(made, lambda line, _: "haproxy" in line.split(" ", 1)[0] and config in line)


def _workers(made: Installation) -> list[int]:
    found = _router(made)
    return [pid for pid in found if _parent(pid) in found]


def _runtime(made: Installation) -> list[int]:
    return _of(made, lambda line, _: " system service " in line and "podman" in line)


def _builder(made: Installation) -> list[int]:
    marker = f"UPWELL_BUILDER={made.data_dir / 'builds'}"
    return _of(made, lambda _, environ: marker in environ)


def _monitors(made: Installation) -> list[int]:
    return _of(made, lambda line, _: "conmon" in line.split(" ", 1)[0])


def _instances(made: Installation) -> list[int]:
    monitors = set(_monitors(made))
    return [pid for pid in _all() if _parent(pid) in monitors]


def _of(made: Installation, holds: Callable[[str, str], bool]) -> list[int]:
    """Return the processes of the installation by command line and environment."""
    found = []
    for pid in _all():
        with suppress(OSError):
            folder = Path(f"/proc/{pid}")
            line = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            environ = (folder / "environ").read_bytes().decode(errors="replace")
            if str(made.folder) in f"{line} {environ}" and holds(line, environ):
                found.append(pid)
    return found


_FIND: Mapping[Part, Callable[[Installation], list[int]]] = {
    Part.SERVER: _server,
    Part.ROUTER: _router,
    Part.ROUTER_WORKER: _workers,
    Part.RUNTIME: _runtime,
    Part.BUILDER: _builder,
    Part.INSTANCE: _instances,
    Part.MONITOR: _monitors,
}


def _all() -> list[int]:
    own = os.getpid()
    return [int(entry.name) for entry in Path("/proc").glob("[0-9]*") if int(entry.name) != own]


def _parent(pid: int) -> int:
    with suppress(OSError):
        return int(_stat(pid)[1])
    return 0


def _is_running(pid: int) -> bool:
    with suppress(OSError):
        return _stat(pid)[0] != "Z"
    return False


def _stat(pid: int) -> list[str]:
    """Return the fields after the command: state, parent, … (proc_pid_stat(5))."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
