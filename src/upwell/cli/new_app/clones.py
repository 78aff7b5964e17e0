"""Local clones of repositories: address, branch and Dockerfile."""

import subprocess
from dataclasses import dataclass
from pathlib import Path

from upwell.cli.core.errors import CommandError, Exit
from upwell.formats.dockerfile.parse import MAX_DOCKERFILE_BYTES

GIT_TIMEOUT_SECONDS = 10
_DOCKERFILES = ("Dockerfile", "Containerfile")


@dataclass(frozen=True, slots=True)
class LocalClone:
    """Folder of a local clone."""

    folder: Path
    uri: str
    ref: str
    """Branch of the remote that the clone follows; empty if it follows none."""
    context_dir: str
    """Path of the folder in the repository; empty for the root."""

    def dockerfile(self, context_dir: str) -> str | None:
        """Return the text of the Dockerfile in a folder below; None when there is none.

        Raises CommandError.
        """
        for name in _DOCKERFILES:
            path = self.folder / context_dir / name
            if path.is_file():
                return _read(path)
        return None


def is_folder(text: str) -> bool:
    """Return whether `text` names a folder: a bare word is an image's name."""
    return text.startswith((".", "/")) and Path(text).is_dir()


def read_clone(text: str) -> LocalClone:
    """Return the clone that a folder belongs to; raises CommandError."""
    folder = Path(text)
    uri = _git(folder, "remote", "get-url", "origin")
    prefix = _git(folder, "rev-parse", "--show-prefix")
    if not uri or prefix is None:
        raise CommandError(
            f"{text}: not a clone with a remote `origin`, from which builds fetch the repository."
            " Push it to a remote, or use `upwell start-build --from-dir` with a binary source",
            Exit.USAGE,
        )
    upstream = _git(folder, "rev-parse", "--abbrev-ref", "--symbolic-full-name", "@{upstream}")
    ref = (upstream or "").partition("/")[2]
    return LocalClone(folder, uri, ref, prefix.rstrip("/"))


def _git(folder: Path, *arguments: str) -> str | None:
    """Return git's output, None if it fails; raises CommandError without git."""
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments],
            capture_output=True,
            text=True,
            timeout=GIT_TIMEOUT_SECONDS,
            check=False,
        )
    except FileNotFoundError as error:
        raise CommandError(
            "git is not installed: install it, or name the repository's URL", Exit.USAGE
        ) from (error)
    except subprocess.TimeoutExpired as error:
        raise CommandError(f"{folder}: git did not answer in {GIT_TIMEOUT_SECONDS} s") from error
    return done.stdout.strip() if done.returncode == 0 else None


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_DOCKERFILE_BYTES + 1)
        if len(content) > MAX_DOCKERFILE_BYTES:
            raise CommandError(f"{path}: larger than {MAX_DOCKERFILE_BYTES} bytes", Exit.USAGE)
        return content.decode()
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "not UTF-8 text"
        raise CommandError(f"{path}: {why}", Exit.USAGE) from error
