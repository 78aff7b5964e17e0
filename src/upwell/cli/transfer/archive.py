"""Exported objects in a file: a line of JSON each, compressed by gzip.

The first line says what it is, the last one how much there was: a file that was cut is not taken
for a whole one. Files, as of the audit log, are lines too, a piece of at most 1 MiB each.
"""

import base64
import gzip
import json
import os
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from upwell.api.codec import InvalidObjectError, UnknownKindError, decode, encode
from upwell.api.meta import Resource
from upwell.cli.core.errors import CommandError
from upwell.machine.private_file import is_draft, write_private

_FORMAT = "upwell.dev/export/v1"
_PIECE = 1024 * 1024
_LINE_BYTES = 64 * 1024 * 1024
_NAME = "audit"
"""Files of the audit log begin with it."""


@dataclass(frozen=True, slots=True)
class ExportedObjects:
    """Contents of a file."""

    resources: Sequence[Resource]
    files: Mapping[str, bytes]


def audit_files(data: Path) -> list[Path]:
    """Return the files of a data folder's audit log, its key and public key."""
    found = (path for path in data.glob(f"{_NAME}*") if path.is_file())
    return sorted(path for path in found if not is_draft(path))


def write_archive(path: Path, resources: Iterable[Resource], files: Iterable[Path]) -> None:
    """Write a new file, for its owner alone: it has Secrets. Raises CommandError if it exists."""
    draft = path.with_name(f".{path.name}.part")
    if path.exists():
        raise CommandError(f"{path} exists already: name another file")
    try:
        draft.unlink(missing_ok=True)  # of an earlier call, or somebody else's who would read it
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as raw, gzip.GzipFile(fileobj=raw, mode="wb") as out:
            for line in _lines(resources, files):
                out.write(json.dumps(line).encode() + b"\n")
        with draft.open("rb") as written:
            os.fsync(written.fileno())  # what it was made of may be deleted now
        draft.replace(path)
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise CommandError(f"{path} was not written: {error}") from error


def _lines(resources: Iterable[Resource], files: Iterable[Path]) -> Iterator[dict[str, Any]]:
    yield {"format": _FORMAT}
    count = 0
    for resource in resources:
        yield {"object": encode(resource)}
        count += 1
    for path in files:
        with path.open("rb") as opened:
            while piece := opened.read(_PIECE):
                yield {"file": path.name, "content": base64.b64encode(piece).decode()}
    yield {"objects": count}


def read_archive(path: Path) -> ExportedObjects:
    """Read a file; raises CommandError if it is damaged, cut, or something else."""
    resources: list[Resource] = []
    files: dict[str, bytearray] = {}
    expected: object = None
    try:
        with gzip.open(path, "rb") as opened:
            if _parsed(opened.readline(_LINE_BYTES)) != {"format": _FORMAT}:
                raise CommandError(f"{path} was not written by `upwell export` of this version")
            while raw := opened.readline(_LINE_BYTES):
                line = _parsed(raw)
                if "object" in line:
                    resources.append(decode(line["object"]))
                elif "file" in line:
                    name = _file_name(line["file"])
                    files.setdefault(name, bytearray()).extend(
                        base64.b64decode(line["content"], validate=True)
                    )
                else:
                    expected = line.get("objects")
    except (OSError, EOFError, zlib.error, ValueError, KeyError, TypeError) as error:
        if isinstance(error, InvalidObjectError | UnknownKindError):
            raise CommandError(f"{path} has an object that cannot be read: {error}") from error
        raise CommandError(f"{path} is damaged, or no export: {error}") from error
    if expected != len(resources):
        raise CommandError(f"{path} is cut: {len(resources)} objects of {expected or 'more'}")
    return ExportedObjects(resources, {name: bytes(content) for name, content in files.items()})


def _parsed(raw: bytes) -> dict[str, Any]:
    line = json.loads(raw)
    if not isinstance(line, dict):
        raise ValueError("a line is no object")  # noqa: TRY004 - as what JSON's parser raises
    return line


def _file_name(name: object) -> str:
    """Return the name of a file of the audit log; raises ValueError for any other place."""
    if not isinstance(name, str) or Path(name).name != name or not name.startswith(_NAME):
        raise ValueError(f"a file is named {name!r}")
    return name


def write_files(files: Mapping[str, bytes], folder: Path) -> None:
    """Put files into a folder, each as a whole: killed, the next call goes on.

    Raises CommandError, before any is written, if one differs there; OSError.
    """
    for name, content in files.items():
        there = folder / name
        if there.exists() and there.read_bytes() != content:
            raise CommandError(f"{there} is another audit log: it is not overwritten")
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        if not (folder / name).exists():
            write_private(folder / name, content)
