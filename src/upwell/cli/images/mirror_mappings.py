"""Mappings of `image mirror`, source to destinations, from arguments and files."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

import click

from upwell.oci import InvalidReferenceError, Reference

_MAX_FILE_BYTES = 4 * 1024 * 1024
_WILDCARD = re.compile(r"[*?]")


@dataclass(frozen=True, slots=True)
class MirrorMapping:
    """Source as the user wrote it, and its destinations."""

    source: str
    targets: tuple[str, ...]

    @property
    def has_wildcard(self) -> bool:
        """True if the source names several tags."""
        return _WILDCARD.search(self.source) is not None

    @property
    def repository(self) -> Reference:
        """Repository of the source, for its list of tags."""
        return parse(self.source.rpartition(":")[0] if self.has_wildcard else self.source)

    def pairs(self, tags: Iterable[str] = ()) -> Iterator[tuple[Reference, Reference]]:
        """Yield source and destination of each copy; `tags` are those of a source with a wildcard.

        A destination without a tag takes the source's tag, or its digest.
        Raises click.UsageError.
        """
        pattern = self.source.rpartition(":")[2]
        sources = (
            [self.repository.with_tag(tag) for tag in sorted(tags) if fnmatchcase(tag, pattern)]
            if self.has_wildcard
            else [parse(self.source)]
        )
        for source in sources:
            for target in self.targets:
                yield source, _target(target, source)


def read_mappings(arguments: Sequence[str], files: Sequence[Path]) -> list[MirrorMapping]:
    """Return the mappings of `SRC DST…`, `SRC=DST…` and files; raises click.UsageError."""
    found: list[MirrorMapping] = []
    if any("=" in argument for argument in arguments):
        found += [_pair(argument) for argument in arguments]
    elif len(arguments) > 1:
        found.append(MirrorMapping(arguments[0], tuple(arguments[1:])))
    elif arguments:
        raise click.UsageError(f"name a destination for {arguments[0]}: SRC DST...")
    for path in files:
        found += _of_file(path)
    if not found:
        raise click.UsageError("name images to copy: SRC DST..., or -f FILE")
    return found


def parse(text: str) -> Reference:
    """Return the image that `text` names; raises click.UsageError."""
    try:
        return Reference.parse(text)
    except InvalidReferenceError as error:
        raise click.UsageError(str(error)) from None


def _pair(text: str) -> MirrorMapping:
    source, equals, target = text.partition("=")
    if not equals or not source or not target:
        raise click.UsageError(f"{text!r}: expected SRC=DST")
    return MirrorMapping(source, (target,))


def _of_file(path: Path) -> Iterator[MirrorMapping]:
    try:
        with path.open("rb") as file:
            raw = file.read(_MAX_FILE_BYTES + 1)
    except OSError as error:
        raise click.UsageError(f"{path}: {error.strerror}") from error
    if len(raw) > _MAX_FILE_BYTES:
        raise click.UsageError(f"{path}: larger than {_MAX_FILE_BYTES} bytes")
    for number, line in enumerate(raw.decode(errors="replace").splitlines(), 1):
        words = line.partition("#")[0].replace("=", " ", 1).split()
        if len(words) == 1:
            raise click.UsageError(f"{path}:{number}: expected SRC=DST or SRC DST...")
        if words:
            yield MirrorMapping(words[0], tuple(words[1:]))


def _target(text: str, source: Reference) -> Reference:
    target = parse(text)
    if "@" in text or ":" in text.rpartition("/")[2]:
        return target
    if source.tag is not None:
        return target.with_tag(source.tag)
    return target.with_digest(source.digest) if source.digest is not None else target
