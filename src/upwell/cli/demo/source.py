"""Git repository of the applications' source, served by git daemon."""

import os
import shutil
from pathlib import Path

from upwell.cli.core.errors import CommandError
from upwell.cli.demo.children import ChildProcesses, run
from upwell.cli.demo.ports import HOST

_SECONDS = 30.0
_ENVIRONMENT = {
    # No user settings: git would use their hooks or signing keys.
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_SYSTEM": os.devnull,
    **{
        f"GIT_{who}_{what}": text
        for who in ("AUTHOR", "COMMITTER")
        for what, text in (("NAME", "Upwell demo"), ("EMAIL", "demo@upwell.invalid"))
    },
}


def find_example() -> Path:
    """Return the folder `examples/glibc`, here or in the clone; raises CommandError."""
    clone = Path(__file__).parents[4]
    for place in (Path.cwd(), clone):
        if (place / "examples/glibc/manifests").is_dir():
            return place / "examples/glibc"
    raise CommandError("examples/glibc does not exist: run `upwell demo` in a clone of Upwell")


async def make_repository(source: Path, folder: Path) -> None:
    """Commit `source` to a repository `applications.git` below `folder`."""
    work = folder / "work"
    await _git("init", "--quiet", "--initial-branch=main", work)
    shutil.copytree(source, work, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
    await _git("-C", work, "add", "--all")
    await _git("-C", work, "commit", "--quiet", "--message=The applications")
    await _git("clone", "--quiet", "--bare", work, folder / "applications.git")


async def serve_repositories(children: ChildProcesses, folder: Path, port: int) -> None:
    """Serve the repositories below `folder` with git daemon."""
    # `git daemon` would be its parent, and not hand signals on.
    daemon = Path((await _git("--exec-path")).strip()) / "git-daemon"
    children.start(
        "git",
        daemon,
        *("--reuseaddr", f"--listen={HOST}", f"--port={port}"),
        *(f"--base-path={folder}", "--export-all", folder),
        environment=_ENVIRONMENT,
    )
    await children.until_listening("git", port)


async def _git(*arguments: str | Path) -> str:
    return await run("git", *arguments, environment=_ENVIRONMENT, seconds=_SECONDS)
