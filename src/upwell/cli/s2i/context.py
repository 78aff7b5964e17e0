"""Build context of `upwell s2i build --as-dockerfile`: Dockerfile and upload."""

import os
import posixpath
import re
import shutil
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Self

import click

from upwell.cli.s2i.request import S2iOptions
from upwell.formats.regular_expressions import InvalidExpressionError, RegularExpression
from upwell.formats.s2i.as_dockerfile import (
    DEFAULT_SCRIPTS,
    DEFAULT_USER,
    UPLOAD,
    DockerfileRequest,
    dockerfile,
)
from upwell.formats.s2i.contract import (
    DESTINATION_LABEL,
    SCRIPTS,
    SCRIPTS_LABEL,
    SOURCE_SCRIPT_FOLDERS,
    BuilderImage,
    generated_labels,
    image_path,
    parse_environment,
)
from upwell.formats.s2i.ignore import left_out
from upwell.formats.s2i.users import AllowedUids

_GIT = ".git"
_UNKNOWN = BuilderImage("", "/tmp", "", "", "/opt/app-root/src")  # noqa: S108  # in the image
"""A builder image that nobody has looked at, as the reference takes it to be."""
_IN_AN_OPTION = re.compile(r"[^\s\"'\\$,=]+")
"""A path that an option of RUN can name."""


@dataclass(frozen=True, slots=True)
class ContextRequest:
    """Build context that is asked for, checked before anything of it is written."""

    options: S2iOptions
    builder: BuilderImage
    injections: Mapping[str, bytes]
    """Files of -i, by the path of each in the image."""

    @classmethod
    def of(cls, options: S2iOptions, builder: BuilderImage | None) -> Self:
        """Read the files, and check the user; raises click.UsageError or S2iError.

        `builder` is None for an image that nobody has looked at.
        """
        known = (builder or _UNKNOWN).at(options["destination"])
        user = options["assemble_user"] or DEFAULT_USER
        AllowedUids.parse(options["allowed_uids"]).check(user, "assemble")
        return cls(options, known, _injections(options, known.working_dir or "/"))

    @property
    def image_scripts(self) -> str:
        """The URL of the image's scripts: as the option says, then as the image does."""
        return self.options["image_scripts_url"] or self.builder.scripts_url


def new_upload(target: Path) -> Path:
    """Make the folder beside the Dockerfile `target` that is uploaded; raises click.UsageError."""
    upload = target.absolute().parent / UPLOAD
    if upload.exists() and any(path.is_file() for path in upload.rglob("*")):
        raise click.UsageError(
            f"--as-dockerfile: {upload} exists: remove it, or choose another folder"
        )
    for name in ("src", "scripts"):
        (upload / name).mkdir(parents=True, exist_ok=True)
    return upload


def copy_source(options: S2iOptions, tree: Path, target: Path) -> None:
    """Copy what is to be built of the source beside the Dockerfile; raises click.UsageError."""
    folder = target.absolute().parent
    upload = folder / UPLOAD
    own = {path.resolve() for path in ((upload, target) if tree.resolve() == folder else (folder,))}
    paths = [path for path in _paths(tree) if (tree / path).resolve() not in own]
    skipped = left_out(_text(tree / ".s2iignore"), paths) | _excluded(options["exclude"], paths)

    def ignored(place: str, names: list[str]) -> Collection[str]:
        inside = Path(place).relative_to(tree)
        return {
            name
            for name in names
            if (inside / name).as_posix() in skipped or (tree / inside / name).resolve() in own
        }

    shutil.copytree(tree, upload / "src", symlinks=True, ignore=ignored, dirs_exist_ok=True)
    for place in SOURCE_SCRIPT_FOLDERS:
        for name in SCRIPTS:
            (upload / "src" / place / name).unlink(missing_ok=True)


def write_dockerfile(
    wanted: ContextRequest, labels: Mapping[str, str], upload: Path, target: Path
) -> None:
    """Write the injected files, and the Dockerfile for what lies in the upload."""
    options = wanted.options
    _write_injections(wanted.injections, upload)
    given = {SCRIPTS_LABEL: options["scripts_url"], DESTINATION_LABEL: options["destination"]}
    labels = {**labels, **{name: text for name, text in given.items() if text}}
    urls = (options["scripts_url"], wanted.image_scripts)
    declared = _text(upload / "src/.s2i/environment")
    request = DockerfileRequest(
        builder=options.builder,
        tag=options.tag,
        assemble_user=options["assemble_user"] or DEFAULT_USER,
        destination=wanted.builder.destination.rstrip("/"),
        scripts_path=next(filter(None, map(image_path, urls)), DEFAULT_SCRIPTS),
        own_scripts=frozenset(path.name for path in (upload / "scripts").iterdir()),
        environment={**dict(parse_environment(declared)), **options.environment()},
        labels=generated_labels(labels, options.builder, ""),
        injections=tuple(wanted.injections),
        incremental=options["incremental"],
    )
    target.write_text(dockerfile(request))


def _injections(options: S2iOptions, working_dir: str) -> dict[str, bytes]:
    """Read the files of -i, by the path of each in the image; raises click.UsageError."""
    files = {
        posixpath.normpath(posixpath.join("/", working_dir, given.destination_dir, name)): content
        for given in options.injections()
        for name, content in given.files.items()
    }
    if odd := [path for path in files if _IN_AN_OPTION.fullmatch(path) is None]:
        raise click.UsageError(f"--inject: a Dockerfile cannot name the file {odd[0]!r}: rename it")
    return files


def _write_injections(files: Mapping[str, bytes], upload: Path) -> None:
    for name, content in files.items():
        path = upload / "injections" / name.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def _paths(tree: Path) -> Iterator[str]:
    for folder, folders, files in os.walk(tree):
        inside = Path(folder).relative_to(tree)
        yield from ((inside / name).as_posix() for name in (*folders, *files))
        folders[:] = [name for name in folders if name != _GIT]


def _excluded(pattern: str | None, paths: Collection[str]) -> set[str]:
    """Return the paths that --exclude leaves out; by itself, that is `.git`."""
    if pattern is None:
        return {path for path in paths if PurePosixPath(path).name == _GIT}
    if not pattern:
        return set()
    try:
        expression = RegularExpression(pattern)
    except InvalidExpressionError as error:
        raise click.UsageError(f"--exclude: {error}") from error
    return {path for path in paths if expression.search(path)}


def _text(path: Path) -> str:
    return path.read_text(errors="replace") if path.is_file() else ""
