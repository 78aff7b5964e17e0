"""Clones of repositories, of the user or for a look: address, branch and Dockerfile."""

import shutil
import subprocess
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from upwell.cli.core.errors import CommandError, Exit
from upwell.formats.dockerfile.parse import MAX_DOCKERFILE_BYTES
from upwell.policy.new_app.components import SourceRepository

GIT_TIMEOUT_SECONDS = 10
_NO_GIT = "git is not installed: install it, or name the repository as BUILDER~URL"
_DOCKERFILES = ("Dockerfile", "Containerfile")
_LANGUAGES: Mapping[str, tuple[str, ...]] = {
    "python": ("requirements.txt", "setup.py", "pyproject.toml"),
    "php": ("composer.json", "index.php"),
    "ruby": ("Gemfile", "config.ru"),
    "java": ("pom.xml", "gradlew", "build.gradle", "build.gradle.kts"),
    "golang": ("go.mod", "main.go"),
    "nodejs": ("package.json",),
    "perl": ("cpanfile", "index.pl"),
    "static": ("index.html", "public/index.html", "site/index.html"),
}
"""Builders, as OpenShift calls their streams, and the files that ask for each.

Node comes after those whose applications may have a package.json for their assets.
"""


@dataclass(frozen=True, slots=True)
class LocalClone:
    """Folder with a repository's files."""

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
                if not path.resolve().is_relative_to(self._root()):
                    raise CommandError(f"{context_dir}/{name} leads out of {self.uri}", Exit.USAGE)
                return _read(path)
        return None

    def language(self, context_dir: str) -> str:
        """Return the builder that a folder's files ask for, as `oc new-app` names it; or empty."""
        folder = self.folder / context_dir
        return next(
            (
                builder
                for builder, names in _LANGUAGES.items()
                if any((folder / name).is_file() for name in names)
            ),
            "",
        )

    def _root(self) -> Path:
        """Return the folder of the whole repository."""
        root = self.folder.resolve()
        return root.parents[self.context_dir.count("/")] if self.context_dir else root


def is_folder(text: str) -> bool:
    """Return whether `text` names a folder: a bare word is an image's name."""
    return text.startswith((".", "/")) and Path(text).is_dir()


def is_file(text: str) -> bool:
    """Return whether `text` names a file."""
    return Path(text).is_file()


def read_clone(text: str) -> LocalClone:
    """Return the clone that a folder belongs to; raises CommandError."""
    folder = Path(text)
    uri = _git(folder, "remote", "get-url", "origin")
    prefix = _git(folder, "rev-parse", "--show-prefix")
    if not uri or prefix is None:
        raise CommandError(
            f"{text}: not a clone with a remote `origin`, from which builds fetch the repository."
            " Push it to a remote; or make a build with `upwell new-build IMAGE --binary`, send"
            " the folder with `upwell start-build NAME --from-dir`",
            Exit.USAGE,
        )
    upstream = _git(folder, "rev-parse", "--abbrev-ref", "--symbolic-full-name", "@{upstream}")
    ref = (upstream or "").partition("/")[2]
    return LocalClone(folder, uri, ref, prefix.rstrip("/"))


@asynccontextmanager
async def remote_clone(repository: SourceRepository) -> AsyncIterator[LocalClone]:
    """Yield a repository as it is at its address now; raises GitError when it cannot be had."""
    if shutil.which("git") is None:
        raise CommandError(_NO_GIT, Exit.USAGE)
    from upwell.app.local_builds import open_source_tree  # noqa: PLC0415 - of few calls

    async with open_source_tree(repository.uri, repository.ref) as folder:
        yield LocalClone(folder, repository.uri, repository.ref, "")


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
        raise CommandError(_NO_GIT, Exit.USAGE) from error
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
