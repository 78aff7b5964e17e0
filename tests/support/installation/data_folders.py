"""Starts of the server that must be refused."""

from pathlib import Path

from tests.support.cli.command_process import run_upwell
from tests.support.installation.installation import PROGRAM, Installation
from tests.support.ports import free_port

SECONDS = 60


def refused(made: Installation, *options: str) -> str:
    """Start the server, which must not come up; return the one line that it ends with."""
    return _refused([*made.command()[len(PROGRAM) :], *options], made.folder)


def refused_in(folder: Path) -> str:
    """Start a server on a data folder, which must not come up; return its error."""
    command = [
        *("serve", "--data-dir", str(folder)),
        *("--container-storage", str(folder / "containers")),
        *("--listen", f"127.0.0.1:{free_port()}", "--router", f"127.0.0.1:{free_port()}"),
    ]
    return _refused(command, folder)


def _refused(command: list[str], folder: Path) -> str:
    done = run_upwell(*command, seconds=SECONDS, folder=folder)
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr, done.stderr
    *_, told = (one for one in done.stderr.splitlines() if not one.startswith("help: "))
    assert told.startswith("error: "), done.stderr
    return told
