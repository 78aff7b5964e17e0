"""Build context of `upwell s2i build --as-dockerfile`: Dockerfile and upload."""

import os
import shutil
from collections.abc import Collection, Iterator
from pathlib import Path, PurePosixPath

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
    SCRIPTS,
    SOURCE_SCRIPT_FOLDERS,
    generated_labels,
    image_path,
    parse_environment,
)
from upwell.formats.s2i.ignore import left_out

_GIT = ".git"


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
    options: S2iOptions, labels: dict[str, str], upload: Path, target: Path
) -> None:
    """Write the Dockerfile for what lies in the upload; raises click.UsageError."""
    urls = (options["scripts_url"], options["image_scripts_url"])
    declared = _text(upload / "src/.s2i/environment")
    request = DockerfileRequest(
        builder=options.builder,
        tag=options.tag,
        assemble_user=options["assemble_user"] or DEFAULT_USER,
        scripts_path=next(filter(None, map(image_path, urls)), DEFAULT_SCRIPTS),
        own_scripts=frozenset(path.name for path in (upload / "scripts").iterdir()),
        environment={**dict(parse_environment(declared)), **options.environment()},
        labels=generated_labels(labels, options.builder, ""),
        injections=tuple(_write_injections(options, upload)),
        incremental=options["incremental"],
    )
    target.write_text(dockerfile(request))


def _write_injections(options: S2iOptions, upload: Path) -> Iterator[str]:
    """Write the files of -i into the upload, and yield where each belongs."""
    for index, given in enumerate(options.injections()):
        for name, content in given.files.items():
            path = upload / "injections" / str(index) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        if not PurePosixPath(given.destination_dir).is_absolute():
            message = "--as-dockerfile needs -i SRC:/DST with an absolute DST"
            raise click.UsageError(message)
        yield given.destination_dir


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
