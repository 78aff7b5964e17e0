"""Commits of a local git repository."""

import subprocess
from pathlib import Path
from typing import BinaryIO

from upwell.cli.core.errors import CommandError, Exit

_SECONDS = 300
_FORMAT = "%H%x00%an%x00%ae%x00%cn%x00%ce%x00%s"
_FIELDS = ("commit", "authorName", "authorEmail", "committerName", "committerEmail", "message")


def commit_facts(repository: Path, commit: str) -> dict[str, str]:
    """Return id, author, committer and message of `commit`.

    Raises CommandError.
    """
    named = ("--end-of-options", f"{commit}^{{commit}}")
    shown = run_git(repository, "show", "--no-patch", f"--format={_FORMAT}", *named)
    values = shown.decode(errors="replace").strip().split("\0")
    return dict(zip(_FIELDS, values, strict=False))


def run_git(repository: Path, *arguments: str, output: BinaryIO | None = None) -> bytes:
    """Run git and return what it prints, or write that to `output`; raises CommandError."""
    argv = ["git", "-C", str(repository), *arguments]
    try:
        done = subprocess.run(
            argv,
            stdout=output or subprocess.PIPE,
            stderr=subprocess.PIPE,
            timeout=_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise CommandError(f"{repository}: git did not answer within {_SECONDS} s") from error
    except OSError as error:
        raise CommandError(f"cannot run git: {error.strerror}") from error
    if done.returncode != 0:
        what = done.stderr.decode(errors="replace").strip().partition("\n")[0]
        raise CommandError(f"{repository}: {what}", Exit.USAGE)
    return done.stdout or b""
