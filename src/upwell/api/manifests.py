"""Manifest text, YAML or JSON with several documents and Lists, to documents."""

import json
import math
from collections.abc import Iterator
from typing import Any

import yaml

from upwell.api.decoding.limits import MAX_MANIFEST_BYTES

MAX_DEPTH = 100
"""Nesting; the C parser of YAML ends the process when its stack does."""
MAX_VALUES = 1_000_000
"""YAML aliases can make a small text enormous (the billion laughs)."""


class InvalidManifestTextError(ValueError):
    """The text is not YAML or JSON, or not a set of objects."""

    def __init__(self, source: str, why: str) -> None:
        super().__init__(f"{source}: {why}")


_MERGE = "tag:yaml.org,2002:merge"


class _JsonLoader(yaml.CSafeLoader):
    """YAML's types narrowed to JSON's: no times, no duplicate keys."""

    def __init__(self, text: str, most: int) -> None:
        super().__init__(text)
        self.values_left = most
        """Values that may still be merged."""

    yaml_implicit_resolvers = {  # noqa: RUF012 - PyYAML's own class attribute
        first: [(tag, regexp) for tag, regexp in resolvers if tag != "tag:yaml.org,2002:timestamp"]
        for first, resolvers in yaml.CSafeLoader.yaml_implicit_resolvers.items()
    }


def _mapping(loader: _JsonLoader, node: yaml.MappingNode) -> dict[str, Any]:
    merged: dict[str, Any] = {}
    own: dict[str, Any] = {}
    for key_node, value_node in node.value:
        value = loader.construct_object(value_node, deep=True)
        if key_node.tag == _MERGE:
            # Merged as values: PyYAML's way, as nodes, grows without bound when merges nest.
            for base in value if isinstance(value, list) else [value]:
                if not isinstance(base, dict):
                    raise _refusal("only objects can be merged", value_node)
                # Each merge copies: a large object merged in many places is their product.
                loader.values_left -= len(base)
                if loader.values_left < 0:
                    raise _refusal("too large once it is merged", value_node)
                merged = {**base, **merged}
            continue
        if not isinstance(key_node, yaml.ScalarNode):
            raise _refusal("a key must be text", key_node)
        if key_node.value in own:
            raise _refusal(f"duplicate key {key_node.value!r}", key_node)
        own[key_node.value] = value
    return merged | own


def _refusal(problem: str, node: yaml.Node) -> yaml.constructor.ConstructorError:
    return yaml.constructor.ConstructorError(None, None, problem, node.start_mark)


_JsonLoader.add_constructor("tag:yaml.org,2002:map", _mapping)


def parse_manifests(text: str, source: str, most: int = MAX_VALUES) -> list[dict[str, Any]]:
    """Return every object in `text`, Lists flattened; `source` names it in errors.

    In JSON the last of equal keys counts, as for Kubernetes; in YAML they are refused. More than
    `most` values are refused before they are made, aliases expanded.
    Raises InvalidManifestTextError.
    """
    if len(text) > MAX_MANIFEST_BYTES:
        raise InvalidManifestTextError(source, f"larger than {MAX_MANIFEST_BYTES} bytes")
    documents = _of_json(text, source) if text.lstrip().startswith(("{", "[")) else None
    try:
        if documents is None:
            require_shallow(text, source, most)
            documents = list(_loaded(text, most))
    except yaml.YAMLError as error:
        raise InvalidManifestTextError(source, _why_neither(text, source, error)) from error
    _require_json(documents, source, most)
    return [item for document in documents for item in _flatten(document, source)]


def _of_json(text: str, source: str) -> list[Any] | None:
    """Return the one document of a JSON text; None: it is something else.

    Raises InvalidManifestTextError for one that is nested too deep.
    """
    try:
        document = json.loads(text, parse_constant=_no_number)
    except (ValueError, RecursionError):
        return None
    if _is_deeper(document, MAX_DEPTH):
        raise InvalidManifestTextError(source, f"nested more than {MAX_DEPTH} deep")
    return [document]


def _no_number(name: str) -> Any:
    raise ValueError(name)


def _is_deeper(document: object, most: int) -> bool:
    level: list[Any] = [document]
    for _ in range(most + 1):
        level = [
            inner
            for value in level
            for inner in (value.values() if isinstance(value, dict) else value)
            if isinstance(inner, dict | list)
        ]
        if not level:
            return False
    return True


def _why_neither(text: str, source: str, error: yaml.YAMLError) -> str:
    """Return why a text cannot be read, as the format that its writer meant."""
    if source.endswith(".json"):
        try:
            json.loads(text, parse_constant=_no_number)
        except (ValueError, RecursionError) as why:
            return f"not JSON: {why}"
    return f"not YAML: {why_no_yaml(text, error)}"


def why_no_yaml(text: str, error: yaml.YAMLError) -> str:
    """Return in a line where and why a text is not YAML."""
    """Return the place of a fault, the fault and what was read there, on one line."""
    mark = getattr(error, "problem_mark", None)
    if mark is None:
        return str(error)
    problem, context = getattr(error, "problem", ""), getattr(error, "context", "")
    lines = text.splitlines()
    line = lines[mark.line] if mark.line < len(lines) else ""
    if line[: mark.column + 1].endswith("\t") and not line[: mark.column + 1].strip():
        problem, context = "a tab, where blanks have to indent", ""
    where = f"line {mark.line + 1}, column {mark.column + 1}"
    return f"{where}: {problem}" + (f" ({context})" if context else "")


def _loaded(text: str, most: int) -> Iterator[Any]:
    loader = _JsonLoader(text, most)
    try:
        while loader.check_data():  # type: ignore[no-untyped-call]
            yield loader.get_data()  # type: ignore[no-untyped-call,unused-ignore]
    finally:
        loader.dispose()  # type: ignore[no-untyped-call,unused-ignore]


_OPENING = (
    yaml.BlockMappingStartToken,
    yaml.BlockSequenceStartToken,
    yaml.FlowMappingStartToken,
    yaml.FlowSequenceStartToken,
)
_CLOSING = (yaml.BlockEndToken, yaml.FlowMappingEndToken, yaml.FlowSequenceEndToken)


def require_shallow(text: str, source: str, most: int = MAX_VALUES) -> None:
    """Refuse YAML that is nested too deep, or has more than about `most` values.

    Raises InvalidManifestTextError or YAMLError.
    """
    depth = scalars = 0
    for token in yaml.scan(text, yaml.CSafeLoader):
        depth += isinstance(token, _OPENING) - isinstance(token, _CLOSING)
        if depth > MAX_DEPTH:
            raise InvalidManifestTextError(source, f"nested more than {MAX_DEPTH} deep")
        scalars += isinstance(token, yaml.ScalarToken)
        if scalars > 2 * most:  # a key, and its value
            raise InvalidManifestTextError(source, f"more than {most} values")


def _require_json(documents: list[Any], source: str, most: int) -> None:
    """Refuse what JSON cannot hold: other types, and more values than memory does."""
    waiting: list[Any] = [documents]
    count = 0
    while waiting:
        value = waiting.pop()
        count += 1
        if count > most + 2:  # besides the lists of documents
            raise InvalidManifestTextError(
                source, f"too large once its aliases are expanded: more than {most} values"
            )
        if isinstance(value, dict):
            waiting.extend(value.values())
        elif isinstance(value, list):
            waiting.extend(value)
        elif not (value is None or isinstance(value, str | int | float)) or (
            isinstance(value, float) and not math.isfinite(value)
        ):
            raise InvalidManifestTextError(source, f"{value!r} is nothing that JSON can hold")


def _flatten(document: object, source: str) -> Iterator[dict[str, Any]]:
    if document is None:
        return
    if not isinstance(document, dict):
        raise InvalidManifestTextError(source, "expected an object with apiVersion and kind")
    kind = document.get("kind")
    items = document.get("items")
    if isinstance(kind, str) and kind.endswith("List") and isinstance(items, list):
        for item in items:
            yield from _flatten(item, source)
    else:
        yield document
