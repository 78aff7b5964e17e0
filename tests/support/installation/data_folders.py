"""Starts of the server that must be refused."""

import subprocess
import sys
from pathlib import Path

from tests.support.installation.installation import Installation
from tests.support.ports import free_port

SECONDS = 60


def refused(made: Installation, *options: str) -> str:
    """Start the server, which must not come up; return the one line that it ends with."""
    return _refused([*made.command(), *options], made.folder)


def refused_in(folder: Path) -> str:
    """Start a server on a data folder, which must not come up; return the line it ends with."""
    command = [
        *(sys.executable, "-m", "upwell", "serve", "--data-dir", str(folder)),
        *("--container-storage", str(folder / "containers")),
        *("--listen", f"127.0.0.1:{free_port()}", "--router", f"127.0.0.1:{free_port()}"),
    ]
    return _refused(command, folder)


def _refused(command: list[str], folder: Path) -> str:
    done = subprocess.run(
        command, check=False, capture_output=True, text=True, timeout=SECONDS, cwd=folder
    )
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr, done.stderr
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("error: "), done.stderr
    return last
