"""The three patches of the Kubernetes API: JSON (RFC 6902), merge (RFC 7386), strategic merge.

Documents go in and come out as JSON data; nothing that was given is changed.
"""

import copy
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from upwell.api.patches.merge_keys import Names, identity, in_order, is_set, list_keys

MAX_OPERATIONS = 10_000
MAX_COPIED = 3 * 1024 * 1024
"""Characters of JSON that the `copy` operations of one patch may add: each can double the whole."""
MAX_DEPTH = 64
"""Of what a JSON pointer names: operations could nest without end what no body may."""
_MAX_SHOWN = 200

type Document = dict[str, Any]


class PatchError(ValueError):
    """The patch is malformed or does not fit the document; `path` is where."""

    def __init__(self, path: str, why: str) -> None:
        super().__init__(f"the patch does not fit: {path or '(root)'}: {why}")
        self.path = path


class PatchTestFailedError(PatchError):
    """A `test` operation found another value."""


def json_patch(document: Document, operations: object) -> Document:
    """Return `document` after the operations (RFC 6902); raises PatchError, and then all failed."""
    if not isinstance(operations, list):
        raise PatchError("", "expected a list of operations")
    if len(operations) > MAX_OPERATIONS:
        raise PatchError("", f"more than {MAX_OPERATIONS} operations")
    try:
        result = _after(copy.deepcopy(document), operations)
    except RecursionError as error:
        raise PatchError("", "its copies nest too deeply") from error
    if not isinstance(result, dict):
        raise PatchError("", "the result is no object")
    return result


def _after(document: Document, operations: list[Any]) -> Any:
    root: dict[str, Any] = {"": document}
    copied = 0
    for operation in operations:
        if not isinstance(operation, Mapping):
            raise PatchError("", "expected an operation object")
        name = str(operation.get("op"))
        perform = _OPERATIONS.get(name)
        if perform is None:
            raise PatchError("", f"unknown operation {name[:_MAX_SHOWN]!r}")
        copied += perform(root, operation)
        if copied > MAX_COPIED:
            raise PatchError("", "its copies are too large")
    return root.get("")


def merge_patch(document: Document, patch: object) -> Document:
    """Return `document` merged with `patch` (RFC 7386): null removes; raises PatchError."""
    if not isinstance(patch, Mapping):
        raise PatchError("", "expected an object")
    merged: Document = _merged(document, patch)
    return merged


def _merged(value: Any, patch: Any) -> Any:
    if not isinstance(patch, Mapping):
        return patch
    result = dict(value) if isinstance(value, Mapping) else {}
    for key, item in patch.items():
        if item is None:
            result.pop(key, None)
        else:
            result[key] = _merged(result.get(key), item)
    return result


def strategic_merge_patch(document: Document, patch: object) -> Document:
    """Return `document` merged with `patch`, lists with merge keys item by item.

    Knows `$patch` (replace, delete, merge), `$deleteFromPrimitiveList/…`, `$setElementOrder/…` and
    `$retainKeys`. Raises PatchError.
    """
    if not isinstance(patch, Mapping):
        raise PatchError("", "expected an object")
    return _strategic(document, patch, ())


def _strategic(value: Any, patch: Mapping[str, Any], names: Names) -> Document:
    match patch.get("$patch"):
        case "replace":
            return {key: item for key, item in patch.items() if not key.startswith("$")}
        case "delete":
            return {}
        case None | "merge":
            pass
        case other:
            raise PatchError(_dotted(names), f"unknown $patch {other!r}")
    result = dict(value) if isinstance(value, Mapping) else {}
    if isinstance(kept := patch.get("$retainKeys"), list):
        names_kept = {key for key in kept if isinstance(key, str)}
        result = {key: item for key, item in result.items() if key in names_kept}
    for key, item in patch.items():
        if key.startswith("$"):
            continue
        where = (*names, key)
        if item is None:
            result.pop(key, None)
        elif isinstance(item, Mapping):
            result[key] = _strategic(result.get(key), item, where)
        elif isinstance(item, list):
            result[key] = _merged_list(result.get(key), item, where)
        else:
            result[key] = item
    _apply_list_directives(result, patch, names)
    return result


def _merged_list(value: Any, patch: list[Any], names: Names) -> list[Any]:
    existing = value if isinstance(value, list) else []
    if is_set(names):
        return _in_order(existing, [*existing, *patch])
    keys = list_keys(names)
    if keys is None or (patch and not any(isinstance(item, Mapping) for item in patch)):
        return patch
    if any(isinstance(item, Mapping) and item.get("$patch") == "replace" for item in patch):
        return [item for item in patch if "$patch" not in item]
    # Kubernetes' patches name one key, even where two identify (ports of the same number).
    key = keys[:1]
    if len({identity(item, key) for item in patch}) < len(patch):
        key = keys
    items: dict[tuple[Any, ...], Any] = {}
    for at, item in enumerate(existing):
        # An item without the key, or with one used before, is left alone under a name of its own.
        name = identity(item, key)
        items[("", at) if name is None or name in items else name] = item
    for item in patch:
        name = identity(item, key)
        if name is None:
            raise PatchError(_dotted(names), f"an item has no {key[0]}")
        if item.get("$patch") == "delete":
            items.pop(name, None)
        else:
            items[name] = _strategic(items.get(name), item, names)
    return list(items.values())


def _apply_list_directives(result: Document, patch: Mapping[str, Any], names: Names) -> None:
    for directive, listed in patch.items():
        prefix, _, field = directive.partition("/")
        if not field or not isinstance(listed, list):
            continue
        values = result.get(field)
        if not isinstance(values, list):
            continue
        if prefix == "$deleteFromPrimitiveList":
            gone = set(map(_hashable, listed))
            result[field] = [value for value in values if _hashable(value) not in gone]
        elif prefix == "$setElementOrder":
            result[field] = _ordered(values, listed, (*names, field))


def _ordered(values: list[Any], listed: list[Any], names: Names) -> list[Any]:
    keys = list_keys(names)
    if keys is None:
        known = set(map(_hashable, values))
        return _in_order(values, [value for value in listed if _hashable(value) in known])
    key = keys[:1]
    by_identity = {identity(value, key): value for value in values}
    if None in by_identity or len(by_identity) != len(values):
        return values  # an order by key means nothing here
    wanted = [found for item in listed if (found := identity(item, key)) in by_identity]
    return [by_identity[found] for found in in_order(list(by_identity), wanted)]


def _in_order(existing: list[Any], wanted: list[Any]) -> list[Any]:
    """Return all of both in order, each once; see `in_order`, whose items have to be hashable."""
    by_name = {_hashable(value): value for value in (*wanted, *existing)}
    order = in_order(list(map(_hashable, existing)), map(_hashable, wanted))
    return [by_name[name] for name in order]


def _hashable(value: Any) -> str:
    """Return what is equal for equal JSON values alone."""
    return json.dumps(value, sort_keys=True)


def _dotted(names: Names) -> str:
    return ".".join(names)


def _steps(operation: Mapping[str, Any], field: str = "path") -> list[str]:
    """Return the steps of a JSON pointer (RFC 6901), below a root that holds the document."""
    pointer = operation.get(field)
    if not isinstance(pointer, str) or (pointer and not pointer.startswith("/")):
        raise PatchError(str(pointer)[:_MAX_SHOWN], f"{field} is not a JSON pointer")
    if pointer.count("/") > MAX_DEPTH:
        raise PatchError(pointer[:_MAX_SHOWN], f"{field} leads deeper than {MAX_DEPTH} levels")
    return [step.replace("~1", "/").replace("~0", "~") for step in pointer.split("/")]


def _child(parent: Any, step: str, pointer: str) -> Any:
    if isinstance(parent, dict) and step in parent:
        return parent[step]
    if isinstance(parent, list):
        return parent[_position(step, len(parent) - 1, pointer)]
    raise PatchError(pointer, f"there is no {step!r}")


def _position(step: str, last: int, pointer: str) -> int:
    if not step.isascii() or not step.isdigit() or (step != "0" and step.startswith("0")):
        raise PatchError(pointer, f"{step!r} is not a position in a list")
    if len(step) > len(str(last)) or int(step) > last:
        raise PatchError(pointer, f"the list has no position {step}")
    return int(step)


def _find(root: Any, steps: Sequence[str]) -> Any:
    for step in steps:
        root = _child(root, step, "/".join(steps))
    return root


def _insert(root: Any, steps: Sequence[str], value: Any) -> None:
    pointer = "/".join(steps)
    parent, step = _find(root, steps[:-1]), steps[-1]
    if isinstance(parent, dict):
        parent[step] = value
    elif isinstance(parent, list):
        at = len(parent) if step == "-" else _position(step, len(parent), pointer)
        parent.insert(at, value)
    else:
        raise PatchError(pointer, "its parent is neither an object nor a list")


def _take(root: Any, steps: Sequence[str]) -> Any:
    parent = _find(root, steps[:-1])
    value = _child(parent, steps[-1], "/".join(steps))
    if isinstance(parent, list):
        return parent.pop(int(steps[-1]))
    return parent.pop(steps[-1], value)


def _value(operation: Mapping[str, Any]) -> Any:
    if "value" not in operation:
        raise PatchError(str(operation.get("path"))[:_MAX_SHOWN], "the operation has no value")
    return operation["value"]


def _add(root: Any, operation: Mapping[str, Any]) -> int:
    _insert(root, _steps(operation), copy.deepcopy(_value(operation)))
    return 0


def _remove(root: Any, operation: Mapping[str, Any]) -> int:
    _take(root, _steps(operation))
    return 0


def _replace(root: Any, operation: Mapping[str, Any]) -> int:
    steps, value = _steps(operation), copy.deepcopy(_value(operation))
    parent = _find(root, steps[:-1])
    _child(parent, steps[-1], "/".join(steps))
    parent[int(steps[-1]) if isinstance(parent, list) else steps[-1]] = value
    return 0


def _move(root: Any, operation: Mapping[str, Any]) -> int:
    source, target = _steps(operation, "from"), _steps(operation)
    if len(target) > len(source) and target[: len(source)] == source:
        raise PatchError("/".join(target), "a value cannot move into itself")
    _insert(root, target, _take(root, source))
    return 0


def _copy(root: Any, operation: Mapping[str, Any]) -> int:
    value = copy.deepcopy(_find(root, _steps(operation, "from")))
    _insert(root, _steps(operation), value)
    return len(json.dumps(value))


def _test(root: Any, operation: Mapping[str, Any]) -> int:
    steps = _steps(operation)
    if not _equal(_find(root, steps), _value(operation)):
        raise PatchTestFailedError("/".join(steps), "the tested value is another")
    return 0


def _equal(one: Any, other: Any) -> bool:
    """Return True if two JSON values are equal; Python's True is 1, JSON's not (RFC 6902, 4.6)."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_equal(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_equal, one, other))
    return bool(one == other)


_OPERATIONS: Mapping[str, Callable[[Any, Mapping[str, Any]], int]] = {
    "add": _add,
    "remove": _remove,
    "replace": _replace,
    "move": _move,
    "copy": _copy,
    "test": _test,
}
"""Each changes the document below its root and returns how much it copied."""
