"""Manifest text, YAML or JSON with several documents and Lists, to documents."""

from collections.abc import Iterator
from typing import Any

import yaml

MAX_MANIFEST_BYTES = 8 * 1024 * 1024
MAX_ALIASES = 200
"""YAML aliases can make a small text enormous (the billion laughs)."""


class InvalidManifestTextError(ValueError):
    """The text is not YAML or JSON, or not a set of objects."""

    def __init__(self, source: str, why: str) -> None:
        super().__init__(f"{source}: {why}")


class _JsonLoader(yaml.CSafeLoader):
    """YAML's types narrowed to JSON's: no times, no duplicate keys."""

    yaml_implicit_resolvers = {  # noqa: RUF012 - PyYAML's own class attribute
        first: [(tag, regexp) for tag, regexp in resolvers if tag != "tag:yaml.org,2002:timestamp"]
        for first, resolvers in yaml.CSafeLoader.yaml_implicit_resolvers.items()
    }


def _mapping(loader: _JsonLoader, node: yaml.MappingNode) -> dict[str, Any]:
    loader.flatten_mapping(node)
    seen: dict[str, Any] = {}
    for key_node, value_node in node.value:
        key = str(loader.construct_object(key_node))
        if key in seen:
            raise yaml.constructor.ConstructorError(
                None, None, f"duplicate key {key!r}", key_node.start_mark
            )
        seen[key] = loader.construct_object(value_node, deep=True)
    return seen


_JsonLoader.add_constructor("tag:yaml.org,2002:map", _mapping)


def parse_manifests(text: str, source: str) -> list[dict[str, Any]]:
    """Return every object in `text`, Lists flattened; `source` names it in errors.

    Raises InvalidManifestTextError.
    """
    if len(text) > MAX_MANIFEST_BYTES:
        raise InvalidManifestTextError(source, f"larger than {MAX_MANIFEST_BYTES} bytes")
    try:
        if sum(isinstance(t, yaml.AliasToken) for t in yaml.scan(text, yaml.CSafeLoader)) > (
            MAX_ALIASES
        ):
            raise InvalidManifestTextError(source, f"more than {MAX_ALIASES} YAML aliases")
        documents = list(yaml.load_all(text, _JsonLoader))
    except (yaml.YAMLError, RecursionError) as error:
        raise InvalidManifestTextError(source, f"not YAML: {error}") from error
    return [item for document in documents for item in _flatten(document, source)]


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
