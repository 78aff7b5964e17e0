"""Contents of Secrets and config maps, from files and arguments."""

import base64
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import click

from upwell.cli.core.assignments import read_assignments

MAX_FILE_BYTES = 1024 * 1024


def data_options[F: Callable[..., Any]](function: F) -> F:
    """Add --from-file, --from-literal and --from-env-file to a command, for `read_data`."""
    for option in (
        click.option(
            "--from-env-file",
            "env_files",
            multiple=True,
            metavar="FILE",
            help="File of KEY=VALUE lines, or - for stdin; repeatable.",
        ),
        click.option(
            "--from-literal",
            "literals",
            multiple=True,
            metavar="KEY=VALUE",
            help="Key and value; repeatable. Visible in the process list.",
        ),
        click.option(
            "--from-file",
            "files",
            multiple=True,
            metavar="[KEY=]PATH",
            help="File, or folder of files, whose name is the key unless given; repeatable.",
        ),
    ):
        function = option(function)
    return function


def read_data(
    files: Sequence[str], literals: Sequence[str], env_files: Sequence[str]
) -> dict[str, bytes]:
    """Return contents by their keys; raises click.UsageError."""
    found: dict[str, bytes] = {}

    def add(key: str, content: bytes) -> None:
        if key in found:
            raise click.UsageError(f"the key {key} is given twice")
        found[key] = content

    for text in files:
        for key, path in _files(text):
            add(key, read_file(path))
    for text in literals:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise click.UsageError("--from-literal takes KEY=VALUE")
        add(key, _unquoted(value).encode())
    for key, value in read_assignments("--from-env-file", env_files).items():
        add(key, value.encode())
    return found


def _unquoted(value: str) -> str:
    """Return a value without quotes around all of it, which kubectl takes for a shell's."""
    quoted = len(value) > 1 and value[0] == value[-1] and value[0] in "\"'"
    return value[1:-1] if quoted else value


def _files(text: str) -> Iterator[tuple[str, Path]]:
    key, equals, path = text.rpartition("=")
    if equals and not key:
        raise click.UsageError(f"--from-file={text}: the key is missing")
    place = Path(path)
    if not place.is_dir():
        yield key or place.name, place
        return
    if key:
        raise click.UsageError(f"--from-file={text}: a folder takes no key: its files' names are")
    yield from ((file.name, file) for file in sorted(place.iterdir()) if file.is_file())


def read_file(path: Path) -> bytes:
    """Return what a file has; raises click.UsageError."""
    try:
        with path.open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise click.UsageError(f"{path}: {error.strerror}") from error
    if len(content) > MAX_FILE_BYTES:
        raise click.UsageError(f"{path}: larger than {MAX_FILE_BYTES} bytes")
    return content


def encoded(data: dict[str, bytes]) -> dict[str, str]:
    """Return contents in base64, as Secrets have them."""
    return {key: base64.b64encode(content).decode() for key, content in data.items()}
