"""Merge keys: lists that are maps by another name, and the fields of their items that are keys.

The keys are those of Kubernetes' own types: `kubectl` computes patches with them.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

type Names = tuple[str, ...]
"""The names of the fields that lead to a value, without list positions."""

_BY_PARENT: Mapping[tuple[str, str], Names] = {
    ("containers", "ports"): ("containerPort", "protocol"),
    ("initContainers", "ports"): ("containerPort", "protocol"),
    ("spec", "ports"): ("port", "protocol"),
    ("status", "tags"): ("tag",),
}
_BY_NAME: Mapping[str, Names] = {
    "containers": ("name",),
    "initContainers": ("name",),
    "env": ("name",),
    "volumes": ("name",),
    "volumeMounts": ("mountPath",),
    "imagePullSecrets": ("name",),
    "tags": ("name",),
    "ownerReferences": ("uid",),
    "conditions": ("type",),
}
_DEFAULTS = {"protocol": "TCP"}
_SETS = {("metadata", "finalizers")}


def list_keys(names: Names) -> Names | None:
    """Return the fields that identify an item of the list at `names`; None: the list is atomic."""
    match names:
        case (*_, parent, name) if (parent, name) in _BY_PARENT:
            return _BY_PARENT[parent, name]
        case (*_, name):
            return _BY_NAME.get(name)
        case _:
            return None


def is_set(names: Names) -> bool:
    """Return True if the list at `names` is a set of texts."""
    return names in _SETS


def identity(item: object, keys: Names) -> tuple[Any, ...] | None:
    """Return the values of an item's keys; None when it lacks one or is no object."""
    if not isinstance(item, Mapping):
        return None
    values = tuple(item.get(key, _DEFAULTS.get(key)) for key in keys)
    usable = all(isinstance(value, str | int) for value in values)
    return values if usable else None


def in_order[K](existing: Sequence[K], wanted: Iterable[K]) -> list[K]:
    """Return all of both: `wanted` in its order, the others after whom they followed before."""
    followers: dict[K, list[K]] = {key: [] for key in wanted}
    first: list[K] = []
    after = first
    for key in dict.fromkeys(existing):
        if key in followers:
            after = followers[key]
        else:
            after.append(key)
    return first + [key for leader, rest in followers.items() for key in (leader, *rest)]
