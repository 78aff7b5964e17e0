"""What `image mirror` is to copy where: from arguments and mapping files."""

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
class Mapping:
    """One source, as it was written, and where it goes."""

    source: str
    goals: tuple[str, ...]

    @property
    def has_wildcard(self) -> bool:
        """Whether the source names several tags."""
        return _WILDCARD.search(self.source) is not None

    @property
    def repository(self) -> Reference:
        """The source's repository, for its list of tags."""
        return parse(self.source.rpartition(":")[0] if self.has_wildcard else self.source)

    def pairs(self, tags: Iterable[str] = ()) -> Iterator[tuple[Reference, Reference]]:
        """Yield what is copied where; `tags` are those of a source with a wildcard.

        A goal without a tag takes the source's, or its digest where it has none.
        Raises click.UsageError.
        """
        pattern = self.source.rpartition(":")[2]
        sources = (
            [self.repository.with_tag(tag) for tag in sorted(tags) if fnmatchcase(tag, pattern)]
            if self.has_wildcard
            else [parse(self.source)]
        )
        for source in sources:
            for goal in self.goals:
                yield source, _goal(goal, source)


def read_mappings(arguments: Sequence[str], files: Sequence[Path]) -> list[Mapping]:
    """Return the mappings of `SRC DST…`, `SRC=DST…` and files; raises click.UsageError."""
    found: list[Mapping] = []
    if any("=" in argument for argument in arguments):
        found += [_pair(argument) for argument in arguments]
    elif len(arguments) > 1:
        found.append(Mapping(arguments[0], tuple(arguments[1:])))
    elif arguments:
        raise click.UsageError(f"say where {arguments[0]} is to be copied: SRC DST...")
    for path in files:
        found += _of_file(path)
    if not found:
        raise click.UsageError("name what is to be copied: SRC DST..., or -f FILE")
    return found


def parse(text: str) -> Reference:
    """Return the image that `text` names; raises click.UsageError."""
    try:
        return Reference.parse(text)
    except InvalidReferenceError as error:
        raise click.UsageError(str(error)) from None


def _pair(text: str) -> Mapping:
    source, equals, goal = text.partition("=")
    if not equals or not source or not goal:
        raise click.UsageError(f"{text!r}: expected SRC=DST")
    return Mapping(source, (goal,))


def _of_file(path: Path) -> Iterator[Mapping]:
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
            yield Mapping(words[0], tuple(words[1:]))


def _goal(text: str, source: Reference) -> Reference:
    goal = parse(text)
    if "@" in text or ":" in text.rpartition("/")[2]:
        return goal
    if source.tag is not None:
        return goal.with_tag(source.tag)
    return goal.with_digest(source.digest) if source.digest is not None else goal
