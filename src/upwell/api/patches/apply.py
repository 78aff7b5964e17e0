"""Server-side apply: whoever sets a field owns it, until somebody else sets it (fieldsV1).

`apply` merges what a manager declares into the live object; fields that the manager declared before
and no longer declares are removed unless others own them. `record_update` notes who changed what by
other means. Paths are sequences of fieldsV1 keys: `f:name`, `k:{"name":"x"}`, `v:"x"`.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from upwell.api.meta import format_time
from upwell.api.patches.merge_keys import Names, identity, in_order, is_set, list_keys

type Path = tuple[str, ...]
type Document = dict[str, Any]
type Fields = dict[Path, Any]
"""Every path that can be owned, with its value."""

_APPLY, _UPDATE = "Apply", "Update"
_UNOWNED = {
    ("f:apiVersion",),
    ("f:kind",),
    ("f:status",),
    *(
        ("f:metadata", f"f:{name}")
        for name in (
            "name",
            "generateName",
            "namespace",
            "uid",
            "resourceVersion",
            "generation",
            "creationTimestamp",
            "deletionTimestamp",
            "managedFields",
        )
    ),
}
_MISSING = object()
"""A value that is not there; None is JSON's null."""


class InvalidApplyError(ValueError):
    """The declared object or the stored managedFields are malformed."""


@dataclass(frozen=True, slots=True)
class Conflict:
    """A field that another manager owns with another value."""

    field: str
    manager: str


class ApplyConflictError(Exception):
    """Others own fields that the manager declares differently: give them up, or force."""

    def __init__(self, conflicts: Sequence[Conflict]) -> None:
        what = ", ".join(f"{entry.field} (owned by {entry.manager!r})" for entry in conflicts)
        super().__init__(f"apply conflicts with other field managers: {what}; force to take over")
        self.conflicts = tuple(conflicts)


@dataclass(frozen=True, slots=True)
class Manager:
    """Manager that writes, its apiVersion, and the time."""

    name: str
    api_version: str
    time: datetime


@dataclass(frozen=True, slots=True)
class _Entry:
    """One manager's fields (meta/v1 ManagedFieldsEntry)."""

    manager: str
    operation: str
    api_version: str
    time: str
    paths: frozenset[Path]
    subresource: str = ""

    def is_of(self, manager: Manager, operation: str) -> bool:
        """Return True if this entry is what the manager owns by that operation."""
        return (self.manager, self.operation, self.subresource) == (manager.name, operation, "")


def apply(
    live: Document,
    declared: Document,
    manager: Manager,
    *,
    force: bool,
    settle: Callable[[Document], Document] = lambda merged: merged,
) -> Document:
    """Return the live object with what `manager` declares, managedFields included.

    `live` is empty when the object does not exist yet. `settle` returns what a merged object is
    once it is stored (defaults, say): only what would really change another's field conflicts.
    Raises ApplyConflictError, InvalidApplyError, and what `settle` raises.
    """
    if declared.get("metadata", {}).get("managedFields"):
        raise InvalidApplyError("metadata.managedFields must not be declared")
    entries = _entries(live)
    mine = next((entry for entry in entries if entry.is_of(manager, _APPLY)), None)
    others = [entry for entry in entries if entry is not mine]
    wanted = owned_paths(declared)
    merged: Document = _merge(live, declared, ())
    if mine is not None:
        kept = wanted.union(*(entry.paths for entry in others))
        merged = _without(merged, (), (), mine.paths - kept, _prefixes(kept))
    merged = settle(merged)
    taken = wanted & _overwritten(live, merged)
    conflicts = [
        Conflict(_dotted(path), entry.manager)
        for entry in others
        for path in sorted(entry.paths & taken)
    ]
    if conflicts and not force:
        raise ApplyConflictError(conflicts)
    others = [replace(entry, paths=entry.paths - taken) for entry in others]
    return _with_entries(merged, [*others, _renewed(mine, manager, _APPLY, wanted)])


def record_update(
    old: Document, new: Document, manager: Manager, declared: Document | None = None
) -> Document:
    """Return `new` with managedFields that say what `manager` changed from `old` (empty: created).

    Of what changed, the manager owns what `declared` has, if that is given: the rest are defaults,
    which nobody owns. managedFields that `new` brings count as the base, or else those of `old`.
    """
    entries = _entries(new) or _entries(old)
    before, after = _fields(old), _fields(new)
    changed = _changed(before, after)
    gone = before.keys() - after.keys()
    mine = next((entry for entry in entries if entry.is_of(manager, _UPDATE)), None)
    others = [
        replace(entry, paths=entry.paths - gone - changed)
        for entry in entries
        if not entry.is_of(manager, _UPDATE)
    ]
    meant = changed if declared is None else changed & owned_paths(declared)
    kept = mine.paths - gone - (changed - meant) if mine else frozenset()
    return _with_entries(new, [*others, _renewed(mine, manager, _UPDATE, kept | meant)])


def owned_paths(document: Document) -> frozenset[Path]:
    """Return the path of every field that a manager of `document` owns."""
    return frozenset(_fields(document))


def _fields(document: Document) -> Fields:
    """Return every path that can be owned, with its value; the existence of an item is True."""
    return dict(_walk(document, (), ()))


def to_fields_v1(paths: Iterable[Path]) -> Document:
    """Return paths as nested fieldsV1."""
    root: Document = {}
    for path in sorted(paths):
        node = root
        for step in path:
            node = node.setdefault(step, {})
        if path[-1].startswith("k:"):
            node.setdefault(".", {})
    return root


def from_fields_v1(fields: object) -> frozenset[Path]:
    """Return nested fieldsV1 as paths; raises InvalidApplyError."""
    return frozenset(_unfold(fields, ()))


def _unfold(fields: object, path: Path) -> Iterator[Path]:
    if not isinstance(fields, Mapping):
        raise InvalidApplyError("metadata.managedFields: fieldsV1 is not made of objects")
    if path and (not fields or "." in fields):
        yield path
    for key, inner in fields.items():
        if key != ".":
            yield from _unfold(inner, (*path, key))


def _walk(value: Any, names: Names, path: Path) -> Iterator[tuple[Path, Any]]:
    if path in _UNOWNED:
        return
    if isinstance(value, dict) and (value or not path):
        for name, item in value.items():
            yield from _walk(item, (*names, name), (*path, f"f:{name}"))
        return
    if isinstance(value, list) and (keyed := _keyed(value, names)):
        for step, item in keyed.items():
            yield (*path, step), True
            if isinstance(item, dict):
                yield from _walk(item, names, (*path, step))
        return
    yield path, value


def _keyed(values: list[Any], names: Names) -> dict[str, Any] | None:
    """Return a list's items by their fieldsV1 key; None for an atomic (or malformed) list."""
    if is_set(names):
        return {f"v:{json.dumps(value)}": value for value in values}
    keys = list_keys(names)
    if keys is None:
        return None
    found: dict[str, Any] = {}
    for item in values:
        values_of_keys = identity(item, keys)
        if values_of_keys is None:
            return None
        named = dict(zip(keys, values_of_keys, strict=True))
        found[f"k:{json.dumps(named, separators=(',', ':'))}"] = item
    return found


def _merge(live: Any, declared: Any, names: Names) -> Any:
    if isinstance(live, dict) and isinstance(declared, dict):
        return live | {
            name: _merge(live.get(name), item, (*names, name)) for name, item in declared.items()
        }
    if isinstance(live, list) and isinstance(declared, list):
        old, new = _keyed(live, names), _keyed(declared, names)
        if old is not None and new is not None:
            items = old | {step: _merge(old.get(step), item, names) for step, item in new.items()}
            return [items[step] for step in in_order(list(old), list(new))]
    return declared


def _changed(before: Fields, after: Fields) -> set[Path]:
    """Return the paths that are not there before, or have another value."""
    return {path for path, value in after.items() if before.get(path, _MISSING) != value}


def _overwritten(old: Document, new: Document) -> set[Path]:
    """Return what is changed, without objects and lists that were emptied item by item."""
    before, after = _fields(old), _fields(new)
    return {
        path for path in _changed(before, after) if path in before or after[path] not in ({}, [])
    }


def _prefixes(paths: Iterable[Path]) -> set[Path]:
    return {path[:length] for path in paths for length in range(1, len(path) + 1)}


def _without(value: Any, names: Names, path: Path, gone: frozenset[Path], kept: set[Path]) -> Any:
    """Return `value` without what was given up, and without what that leaves empty."""
    if isinstance(value, dict):
        inner = {name: ((*names, name), (*path, f"f:{name}"), item) for name, item in value.items()}
    elif isinstance(value, list) and (keyed := _keyed(value, names)) is not None:
        inner = {step: (names, (*path, step), item) for step, item in keyed.items()}
    else:
        return value
    left: dict[str, Any] = {}
    for name, (where, at, item) in inner.items():
        if at in gone and at not in kept:
            continue
        cleaned = _without(item, where, at, gone, kept)
        emptied = cleaned in ({}, []) and cleaned != item
        if not emptied or at in kept:
            left[name] = cleaned
    return left if isinstance(value, dict) else list(left.values())


def _entries(document: Document) -> list[_Entry]:
    found = document.get("metadata", {}).get("managedFields") or []
    return [
        _Entry(
            manager=str(entry.get("manager", "")),
            operation=str(entry.get("operation", "")),
            api_version=str(entry.get("apiVersion", "")),
            time=str(entry.get("time", "")),
            paths=from_fields_v1(entry.get("fieldsV1", {})),
            subresource=str(entry.get("subresource", "")),
        )
        for entry in found
        if entry  # `[{}]` is how a client says: forget who owns what
    ]


def _renewed(old: _Entry | None, manager: Manager, operation: str, paths: Iterable[Path]) -> _Entry:
    """Return the manager's entry; its time stays when it owns what it owned before."""
    owned = frozenset(paths)
    if old is not None and old.paths == owned:
        return old
    time = format_time(manager.time.replace(microsecond=0))
    return _Entry(manager.name, operation, manager.api_version, time, owned)


def _with_entries(document: Document, entries: Iterable[_Entry]) -> Document:
    managed = [
        {
            "manager": entry.manager,
            "operation": entry.operation,
            "apiVersion": entry.api_version,
            "time": entry.time,
            "fieldsType": "FieldsV1",
            "fieldsV1": to_fields_v1(entry.paths),
        }
        | ({"subresource": entry.subresource} if entry.subresource else {})
        for entry in sorted(entries, key=lambda e: (e.manager, e.operation, e.subresource))
        if entry.paths
    ]
    metadata = {**document.get("metadata", {}), "managedFields": managed}
    return {**document, "metadata": metadata}


def _dotted(path: Path) -> str:
    """Return a path as Kubernetes prints it: `.spec.containers[name="x"].image`."""
    text = ""
    for step in path:
        if step.startswith("f:"):
            text += f".{step[2:]}"
        elif step.startswith("k:"):
            keys = json.loads(step[2:])
            text += (
                "[" + ",".join(f"{key}={json.dumps(value)}" for key, value in keys.items()) + "]"
            )
        else:
            text += f"[={step[2:]}]"
    return text
