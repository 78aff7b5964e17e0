"""`NAME=VALUE` on the command line and in files, one a line."""

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

import click

from upwell.cli.core.documents import STDIN

MAX_FILE_BYTES = 1024 * 1024


def parse_assignments(option: str, texts: Iterable[str]) -> dict[str, str]:
    """Return the values by name, a later one over an earlier; raises click.UsageError.

    No message repeats a value: it may be a password.
    """
    values: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise click.UsageError(
                f"{option} takes NAME=VALUE; one has no {'=' if name else 'name'}"
            )
        values[name] = value
    return values


def read_assignments(option: str, files: Sequence[str]) -> dict[str, str]:
    """Return the values of files, or of stdin for `-`; raises click.UsageError.

    Empty lines and those that start with `#` are left out; a value ends with its line, and its
    quotes belong to it.
    """
    values: dict[str, str] = {}
    for file in files:
        try:
            lines = _read(file).splitlines()
        except (OSError, UnicodeDecodeError) as error:
            why = getattr(error, "strerror", None) or "not UTF-8 text"
            raise click.UsageError(f"{option} {file}: {why}") from error
        wanted = (line.strip() for line in lines)
        values |= parse_assignments(
            f"{option} {file}", (line for line in wanted if line and not line.startswith("#"))
        )
    return values


def _read(file: str) -> str:
    if file == STDIN:
        content = sys.stdin.buffer.read(MAX_FILE_BYTES + 1)
    else:
        with Path(file).open("rb") as opened:
            content = opened.read(MAX_FILE_BYTES + 1)
    if len(content) > MAX_FILE_BYTES:
        raise click.UsageError(f"{file}: larger than {MAX_FILE_BYTES} bytes")
    return content.decode()
