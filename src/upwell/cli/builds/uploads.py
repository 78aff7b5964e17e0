"""Uploads of `start-build`: a file, a folder, an archive, a commit of a repository."""

import asyncio
import os
import re
import stat
import sys
import tarfile
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import click

from upwell.cli.builds.commits import commit_facts, run_git
from upwell.cli.core.errors import CommandError, Exit

_CHUNK = 1024 * 1024
_KEY = "upwell.cli.builds.uploads"
DEFAULT_EXCLUDE = r"(^|\/)\.git(\/|$)"


@dataclass(slots=True)
class UploadChoice:
    """Upload options of one call."""

    sources: dict[str, str] = field(default_factory=dict)
    """Sources by option: `file`, `dir`, `archive`, `repo`."""
    commit: str = ""
    """Commit of the uploaded repository, or without an upload of the BuildConfig's."""
    exclude: str = DEFAULT_EXCLUDE

    @property
    def given(self) -> bool:
        """True if the call uploads something."""
        return bool(self.sources)


def upload_options[F: Callable[..., Any]](function: F) -> F:
    """Add the upload options to a command; `upload_choice` reads them."""
    for option in (
        click.option(
            "--exclude",
            metavar="REGEX",
            default=DEFAULT_EXCLUDE,
            show_default=True,
            expose_value=False,
            callback=_store_exclude,
            help="Paths of --from-dir to leave out; empty for none.",
        ),
        click.option(
            "--commit",
            metavar="REF",
            expose_value=False,
            callback=_store_commit,
            help="Commit to build, of the BuildConfig's repository or of --from-repo.  [default:"
            " as configured, or HEAD]",
        ),
        _source("repo", "DIR", "Local git repository to upload a commit of."),
        _source("archive", "FILE", "Tar or zip archive to upload, or - for stdin."),
        _source("dir", "DIR", "Folder to upload, packed as an archive."),
        _source("file", "FILE", "File to upload, with its name."),
    ):
        function = option(function)
    return function


def upload_choice(ctx: click.Context) -> UploadChoice:
    """Return the upload options of this call; raises click.UsageError for a conflict."""
    choice: UploadChoice = ctx.meta.setdefault(_KEY, UploadChoice())
    if len(choice.sources) > 1:
        names = ", ".join(f"--from-{name}" for name in sorted(choice.sources))
        raise click.UsageError(f"{names} are mutually exclusive: choose one")
    if choice.commit and choice.given and "repo" not in choice.sources:
        raise click.UsageError("--commit needs a git repository: upload it with --from-repo")
    return choice


def _source[F: Callable[..., Any]](name: str, metavar: str, text: str) -> Callable[[F], F]:
    def store(ctx: click.Context, parameter: click.Parameter, value: str | None) -> None:
        del parameter
        if value is not None:
            ctx.meta.setdefault(_KEY, UploadChoice()).sources[name] = value

    return click.option(
        f"--from-{name}",
        metavar=metavar,
        show_default="none",
        expose_value=False,
        callback=store,
        help=text,
    )


def _store_commit(ctx: click.Context, parameter: click.Parameter, value: str | None) -> None:
    del parameter
    ctx.meta.setdefault(_KEY, UploadChoice()).commit = value or ""


def _store_exclude(ctx: click.Context, parameter: click.Parameter, value: str) -> None:
    del parameter
    ctx.meta.setdefault(_KEY, UploadChoice()).exclude = value


@dataclass(frozen=True, slots=True)
class Upload:
    """Bytes to send, and the query that describes them."""

    file: BinaryIO
    params: dict[str, str]

    async def pieces(self) -> AsyncIterator[bytes]:
        """Yield the bytes."""
        while piece := await asyncio.to_thread(self.file.read, _CHUNK):
            yield piece


@contextmanager
def opened(choice: UploadChoice) -> Iterator[Upload]:
    """Open the chosen source; raises CommandError if it cannot be read."""
    [(kind, text)] = choice.sources.items()
    path = Path(text)
    try:
        if kind == "file":
            with path.open("rb") as file:
                yield Upload(file, {"asFile": path.resolve().name})
        elif kind == "archive" and text == "-":
            yield Upload(sys.stdin.buffer, {})
        elif kind == "archive":
            with path.open("rb") as file:
                yield Upload(file, {})
        elif kind == "dir":
            with tempfile.TemporaryFile() as file:
                pack(path, file, choice.exclude)
                file.seek(0)
                yield Upload(file, {})
        else:
            with tempfile.TemporaryFile() as file:
                revision = _archive_commit(path, choice.commit or "HEAD", file)
                file.seek(0)
                yield Upload(file, revision)
    except OSError as error:
        raise CommandError(f"{text}: {error.strerror or error}", Exit.USAGE) from error


def pack(folder: Path, file: BinaryIO, exclude: str) -> None:
    """Write `folder` as a compressed archive; raises CommandError or OSError."""
    try:
        unwanted = re.compile(exclude) if exclude else None
    except re.error as error:
        raise click.UsageError(f"--exclude: {error}") from error
    if not folder.is_dir():
        raise CommandError(f"{folder} is not a folder", Exit.USAGE)
    with tarfile.open(fileobj=file, mode="w:gz", compresslevel=1) as archive:
        for where, folders, files in os.walk(folder):
            inside = Path(where).relative_to(folder)
            for name in sorted([*folders, *files]):
                path = (inside / name).as_posix()
                if unwanted is not None and unwanted.search(path):
                    if name in folders:
                        folders.remove(name)
                    continue
                if stat.S_ISSOCK((Path(where) / name).lstat().st_mode):
                    continue  # no archive can hold one
                entry = archive.gettarinfo(Path(where) / name, arcname=path)
                # The local owner means nothing on the server.
                entry.uid = entry.gid = 0
                entry.uname = entry.gname = ""
                if entry.isreg():
                    with (Path(where) / name).open("rb") as content:
                        archive.addfile(entry, content)
                elif entry.isdir() or entry.issym():
                    archive.addfile(entry)


def _archive_commit(repository: Path, commit: str, file: BinaryIO) -> dict[str, str]:
    """Write the tree of a commit; return the query that names the commit."""
    facts = commit_facts(repository, commit)
    run_git(repository, "archive", "--format=tar.gz", facts["commit"], output=file)
    return {f"revision.{name}": value for name, value in facts.items() if value}
