"""Types and conditions that several of OpenShift's kinds share."""

import posixpath
import re
from collections.abc import Iterator, Mapping
from typing import Any

from tests.support.mutations.rules import (
    DNS_SUBDOMAIN,
    LIST,
    OBJECT,
    TEXT,
    FieldRule,
    matches,
    needed,
)

REPOSITORY = r"[a-z0-9]+([._-][a-z0-9]+)*"
HOST = (
    r"[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?)*(:[0-9]+)?"
)
COMPONENT = r"[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*"
PULL_SPEC = (
    rf"(?=[^@]{{1,255}}([:@].*)?$)({HOST}/)?{COMPONENT}(/{COMPONENT})*"
    r"(:[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?(@[A-Za-z][A-Za-z0-9.+_-]*:[0-9a-fA-F]{32,})?"
)
QUANTITY = r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([KMGTPE]i|[numkMGTPE]|[eE][+-]?[0-9]+)?"
TAG = r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}"
SECONDS = FieldRule((int,), (lambda value: -(2**31) <= value < 2**31,))
"""int64 in the API; stricter: 68 years are enough."""

type Table = dict[str, FieldRule]


def below(prefix: str, table: Mapping[str, FieldRule]) -> Table:
    return {
        f"{prefix}{'.' if path[:1].isalpha() else ''}{path}": rule for path, rule in table.items()
    }


def reference_types(prefix: str) -> Table:
    """Types of an ObjectReference; its meaning is across fields."""
    names = ("kind", "name", "namespace", "apiVersion", "uid", "resourceVersion", "fieldPath")
    return {prefix: OBJECT, **{f"{prefix}.{name}": TEXT for name in names}}


def secret_reference(prefix: str) -> Table:
    return {prefix: OBJECT, f"{prefix}.name": needed(TEXT)}


def environment(prefix: str, name: str) -> Table:
    return {
        prefix: LIST,
        f"{prefix}[]": OBJECT,
        f"{prefix}[].name": needed(TEXT & matches(name)),
        f"{prefix}[].value": TEXT,
        f"{prefix}[].valueFrom": OBJECT,
        f"{prefix}[].valueFrom.secretKeyRef": OBJECT,
        f"{prefix}[].valueFrom.secretKeyRef.name": TEXT,
        # Stricter: without a key it never resolves.
        f"{prefix}[].valueFrom.secretKeyRef.key": needed(TEXT),
    }


def resources(prefix: str) -> Table:
    return {
        prefix: OBJECT,
        **{f"{prefix}.{part}": OBJECT for part in ("limits", "requests")},
        **{
            f"{prefix}.{part}{{}}": FieldRule((str, int, float), (_is_quantity,))
            for part in ("limits", "requests")
        },
    }


def _is_quantity(value: Any) -> bool:
    return not isinstance(value, str) or re.fullmatch(QUANTITY, value.strip()) is not None


def inside(path: str) -> bool:
    """Condition: a path that stays in the folder that it is relative to."""
    return not posixpath.normpath(path).startswith("..") if path else True


def relative(path: str) -> bool:
    return not path.startswith("/") and inside(path)


def part_of(value: Any, *steps: str) -> dict[str, Any]:
    for step in steps:
        value = (value or {}).get(step)
    return value or {}


def image_faults(reference: Mapping[str, Any], path: str, default: str = "") -> Iterator[str]:
    kind, name = reference.get("kind") or default, reference.get("name") or ""
    namespace = reference.get("namespace") or ""
    if kind not in {"ImageStreamTag", "ImageStreamImage", "DockerImage"}:
        yield f"{path}.kind"
        return
    stream, colon, _ = name.partition(":")
    if kind == "ImageStreamTag" and not (colon and re.fullmatch(REPOSITORY, stream)):
        yield f"{path}.name"
    if kind == "DockerImage" and re.fullmatch(PULL_SPEC, name) is None:
        yield f"{path}.name"
    # Stricter: an image of a stream is named by its digest.
    if kind == "ImageStreamImage" and "@" not in name:
        yield f"{path}.name"
    if namespace and (kind == "DockerImage" or not re.fullmatch(DNS_SUBDOMAIN, namespace)):
        yield f"{path}.namespace"
