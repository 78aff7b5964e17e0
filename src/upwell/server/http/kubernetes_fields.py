"""Fields that Kubernetes' kinds have, by the definitions in `kubernetes_messages.json`."""

import functools
import json
from collections.abc import Iterator, Mapping
from importlib.resources import files
from typing import Any

type Document = Mapping[str, Any]

_FREE = frozenset({"raw", "Time", "MicroTime", "Quantity", "IntOrString"})
_SERVERS = frozenset({"apiVersion", "kind", "managedFields", "status"})
"""Fields of objects that are none of their declaration, and left out of the table."""


@functools.cache
def message_table() -> dict[str, Any]:
    """Return kinds with their messages, and messages with their fields, by number."""
    text = files("upwell.server.http").joinpath("kubernetes_messages.json").read_text()
    table: dict[str, Any] = json.loads(text)
    return table


def unknown_kubernetes_fields(document: Document) -> Iterator[str]:
    """Yield the paths of fields that an object of one of Kubernetes' kinds does not have.

    None of an object of any other kind.
    """
    place = f"{document.get('apiVersion')}/{document.get('kind')}"
    message = message_table()["kinds"].get(place)
    if message is not None:
        yield from _unknown(document, message, "")


def _unknown(value: Any, message: str, path: str) -> Iterator[str]:
    if not isinstance(value, Mapping):
        return
    fields = _fields(message)
    for name, inner in value.items():
        where = f"{path}.{name}" if path else name
        holds = fields.get(name)
        if holds is None:
            if name not in _SERVERS:
                yield where
        elif holds.startswith("[]") and isinstance(inner, list):
            for at, item in enumerate(inner):
                yield from _within(item, holds[2:], f"{where}[{at}]")
        elif holds.startswith("{}") and isinstance(inner, Mapping):
            for key, item in inner.items():
                yield from _within(item, holds[2:], f"{where}[{key}]")
        else:
            yield from _within(inner, holds, where)


def _within(value: Any, holds: str, path: str) -> Iterator[str]:
    if "/" in holds and holds not in _FREE:
        yield from _unknown(value, holds, path)


@functools.cache
def _fields(message: str) -> Mapping[str, str]:
    """Return what the fields of a message hold, by their JSON names, inlined ones among them."""
    found: dict[str, str] = {}
    for name, holds in message_table()["messages"][message].values():
        kind = holds.removesuffix("!")
        if name:
            found[name] = kind
        else:
            found.update(_fields(kind))
    return found
