"""Text of a Compose file as values with the lines they stand on; bounded as manifests are."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

from upwell.api.manifests import InvalidManifestTextError, parse_manifests
from upwell.formats.compose.errors import ComposeError
from upwell.formats.compose.interpolation import InterpolationError, interpolate

MAX_VALUES = 50_000

type Path = tuple[str | int, ...]


@dataclass(slots=True)
class Document:
    """Values of a file, with what is found wrong with them."""

    source: str
    lines: Mapping[Path, int]
    root: Mapping[str, Any] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    faulty: list[Path] = field(default_factory=list)
    """Places of the faults."""
    interpolated: set[Path] = field(default_factory=set)
    """Places of texts that variables are a part of."""

    def fault(self, path: Path, why: str) -> None:
        """Note what keeps the file from being applied."""
        self.faulty.append(path)
        self.faults.append(self._about(path, why))

    def warn(self, path: Path, why: str) -> None:
        """Note what has no effect."""
        self.warnings.append(self._about(path, why))

    def _about(self, path: Path, why: str) -> str:
        """Say where: a value that a merge or an alias brought in has the line of what holds it."""
        place = path
        while place not in self.lines and place:
            place = place[:-1]
        name = ".".join(str(part) for part in path)
        where = f"{self.source}:{self.lines.get(place, 1)}"
        return f"{where}: {name}: {why}" if name else f"{where}: {why}"


_NAME = re.compile(r"(docker-)?compose(\.[^/]+)?\.ya?ml")


def is_compose(documents: Iterable[Mapping[str, Any]], source: str) -> bool:
    """Return True if these are the documents of a Compose file, by `services` or by its name."""
    found, named = list(documents), _NAME.fullmatch(source.rpartition("/")[2])
    return bool(found) and all(
        ("services" in one or named) and "kind" not in one and "apiVersion" not in one
        for one in found
    )


def load_document(text: str, source: str, environment: Mapping[str, str]) -> Document:
    """Return a file's values, interpolated; raises ComposeError for what is no mapping in YAML."""
    try:
        found = parse_manifests(text, source, MAX_VALUES)
    except InvalidManifestTextError as error:
        raise ComposeError([str(error)]) from error
    if len(found) != 1:
        raise ComposeError([f"{source}: one document is a Compose file, and it has {len(found)}"])
    document = Document(source, _lines(text))
    unset: set[str] = set()
    document.root = _interpolated(document, found[0], environment, unset)
    for name in sorted(unset):
        document.warn((), f"the variable {name} is not set; it is taken as a blank string")
    return document


def _lines(text: str) -> dict[Path, int]:
    """Return the line of each value by its path."""
    root = yaml.compose(text, yaml.CSafeLoader)
    lines: dict[Path, int] = {}
    waiting: list[tuple[Path, yaml.Node]] = [((), root)] if root is not None else []
    while waiting and len(lines) < MAX_VALUES:
        path, node = waiting.pop()
        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                if isinstance(key, yaml.ScalarNode):
                    lines[(*path, key.value)] = key.start_mark.line + 1
                    waiting.append(((*path, key.value), value))
        elif isinstance(node, yaml.SequenceNode):
            for at, value in enumerate(node.value):
                lines[(*path, at)] = value.start_mark.line + 1
                waiting.append(((*path, at), value))
    return lines


def _interpolated(
    document: Document, value: Any, environment: Mapping[str, str], unset: set[str], path: Path = ()
) -> Any:
    if isinstance(value, dict):
        return {
            key: _interpolated(document, inner, environment, unset, (*path, key))
            for key, inner in value.items()
        }
    if isinstance(value, list):
        return [
            _interpolated(document, inner, environment, unset, (*path, at))
            for at, inner in enumerate(value)
        ]
    if not isinstance(value, str):
        return value
    try:
        found = interpolate(value, environment, unset)
    except InterpolationError as error:
        document.fault(path, str(error))
        return ""
    if found != value:
        document.interpolated.add(path)
    return found
