"""Fields of an object that a request changed; pure."""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from upwell.audit.events import FieldChange

_SERVERS = frozenset(
    {"managedFields", "resourceVersion", "generation", "uid", "creationTimestamp", "selfLink"}
)
"""Metadata that every write changes, and nobody asked for."""
_LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
"""Annotation with the object once more."""
_SECRET_KINDS = frozenset({"Secret", "ConfigMap"})
"""Kinds of whose values nothing is told, as in Kubernetes' own audit policies."""
_NAMED_VALUE = re.compile(
    r"(?:^|\.)(?:env|buildArgs|parameters|httpHeaders)\[.*\]\.value$", re.DOTALL
)
"""Value of an entry that may hold a secret, whatever its name, which anybody may choose."""
_SECRET_FIELDS = frozenset({"secret", "key", "token", "password", "headers"})
_MAX_FIELDS = 2000
"""Fields that are compared; what a larger object has beyond them is not told."""
_MAX_VALUE = 300
"""Letters that are told of one."""
_ABSENT = object()

type Document = Mapping[str, Any]


def changed_fields(old: Document | None, new: Document | None) -> list[FieldChange]:
    """Return the fields in which two states of an object differ, in the order of their paths.

    `old` is None for an object that is made, `new` for one that is deleted. Values of Secrets and
    ConfigMaps, of variables and their like, and of fields that hold a secret, are left out: that
    they changed is told.
    """
    before = dict(_fields(old)) if old is not None else {}
    after = dict(_fields(new)) if new is not None else {}
    kind = str((new or old or {}).get("kind", ""))
    changes = []
    for path in sorted(before.keys() | after.keys()):
        was, became = before.get(path, _ABSENT), after.get(path, _ABSENT)
        if type(was) is type(became) and was == became:  # 1 is not True
            continue
        if _is_hidden(kind, path):
            changes.append(FieldChange(path))
        else:
            changes.append(FieldChange(path, _shown(was), _shown(became)))
    return changes


def _shown(value: object) -> str | None:
    return None if value is _ABSENT else json.dumps(value)[:_MAX_VALUE]


def _is_hidden(kind: str, path: str) -> bool:
    if kind in _SECRET_KINDS and not path.startswith("metadata."):
        return True
    last = path.rpartition(".")[2].partition("[")[0]
    return last in _SECRET_FIELDS or "headers[" in path or _NAMED_VALUE.search(path) is not None


def _fields(document: Document) -> Iterator[tuple[str, object]]:
    """Yield the path and each value that has no values inside."""
    count = 0
    waiting: list[tuple[str, Any]] = [
        (name, value) for name, value in document.items() if name not in {"kind", "apiVersion"}
    ]
    while waiting and count < _MAX_FIELDS:
        path, value = waiting.pop()
        match value:
            case dict():
                waiting += [
                    (_below(path, name), one)
                    for name, one in value.items()
                    if not (path == "metadata" and name in _SERVERS) and name != _LAST_APPLIED
                ]
            case list():
                waiting += [(f"{path}[{_index(one, at)}]", one) for at, one in enumerate(value)]
            case _:
                count += 1
                yield path, value


def _below(path: str, name: str) -> str:
    return f"{path}.{name}" if name.replace("-", "").isalnum() else f"{path}[{name}]"


def _index(value: Any, at: int) -> str:
    """Return what tells an entry of a list from the others: its name, or its place."""
    name = value.get("name") if isinstance(value, dict) else None
    return name if isinstance(name, str) and name else str(at)
