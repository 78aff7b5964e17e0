"""Variables of containers, and the fields that they and files of volumes may show."""

from collections.abc import Iterator, Mapping
from typing import Any

from upwell.api.validation.formats import data_key_problem, subdomain_problem, variable_problem
from upwell.api.validation.labels import is_label_key
from upwell.api.validation.shapes import (
    Check,
    Rule,
    flag,
    listed,
    quantity,
    record,
    text,
)
from upwell.api.values.faults import Fault
from upwell.api.values.quantities import parse_quantity

_METADATA = ("metadata.name", "metadata.namespace", "metadata.uid")
_OF_VARIABLES = (
    *_METADATA,
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
)
_OF_FILES = (*_METADATA, "metadata.labels", "metadata.annotations")
_RESOURCES = tuple(
    f"{kind}.{name}"
    for kind in ("limits", "requests")
    for name in ("cpu", "memory", "ephemeral-storage")
)
_HUGE_PAGES = ("limits.hugepages-", "requests.hugepages-")
_BINARY = ("1Ki", "1Mi", "1Gi", "1Ti", "1Pi", "1Ei")
_CPU = ("1m", "1")
_BYTES = ("1", "1k", "1M", "1G", "1T", "1P", "1E", *_BINARY)
_SOURCES = ("fieldRef", "resourceFieldRef", "configMapKeyRef", "secretKeyRef")


def _field_path(supported: tuple[str, ...]) -> Rule:
    def rule(value: Mapping[str, Any], path: str) -> Iterator[Fault]:
        field = value.get("fieldPath") or ""
        version = value.get("apiVersion") or "v1"
        if version != "v1":
            yield Fault.invalid(f"{path}.apiVersion", version, "the version of Pods is v1")
        container, bracket, key = field.partition("['")
        if bracket and field.endswith("']"):
            wanted = key.removesuffix("']")
            if container not in {"metadata.annotations", "metadata.labels"}:
                yield Fault.invalid(f"{path}.fieldPath", field, "does not support subscript")
            elif not is_label_key(wanted):
                yield Fault.invalid(f"{path}.fieldPath", field, f"{wanted!r} is no key of these")
        elif field and field not in supported:
            yield Fault.not_supported(f"{path}.fieldPath", field, sorted(supported))

    return rule


def _resource(value: Mapping[str, Any], path: str) -> Iterator[Fault]:
    name = value.get("resource") or ""
    if name and name not in _RESOURCES and not name.startswith(_HUGE_PAGES):
        yield Fault.not_supported(f"{path}.resource", name, sorted(_RESOURCES))


def _divisor(value: Mapping[str, Any], path: str) -> Iterator[Fault]:
    name, divisor = value.get("resource") or "", value.get("divisor")
    amount = parse_quantity(divisor or 0)
    if amount == 0 or not name:
        return
    allowed = _CPU if name.endswith(".cpu") else _BYTES
    if amount not in map(parse_quantity, allowed):
        why = f"only divisor's values {', '.join(allowed)} are supported with this resource"
        yield Fault.invalid(f"{path}.divisor", divisor, why)


def field_reference(supported: tuple[str, ...]) -> Check:
    """Return the check of a reference to a field of the Pod itself."""
    fields = {"apiVersion": text(), "fieldPath": text()}
    return record(fields, _field_path(supported), required=("fieldPath",))


def resource_reference(*required: str) -> Check:
    """Return the check of a reference to a limit or request of a container."""
    fields = {"containerName": text(), "resource": text(), "divisor": quantity}
    return record(fields, _resource, _divisor, required=("resource", *required))


file_field = field_reference(_OF_FILES)
"""A field that a file of a volume shows."""

_KEY = record(
    {"name": text(subdomain_problem), "key": text(data_key_problem), "optional": flag},
    required=("name", "key"),
)
_ALL_OF = record({"name": text(subdomain_problem), "optional": flag}, required=("name",))


def _one_source(value: Mapping[str, Any], path: str) -> Iterator[Fault]:
    found = [name for name in _SOURCES if value.get(name) is not None]
    if not found and "fileKeyRef" not in value:
        yield Fault.invalid(path, "", f"must specify one of: {', '.join(_SOURCES)}")
    elif len(found) > 1:
        yield Fault.invalid(path, "", "may not have more than one field specified at a time")


def _value_or_source(value: Mapping[str, Any], path: str) -> Iterator[Fault]:
    if value.get("value") and value.get("valueFrom") is not None:
        yield Fault.invalid(
            f"{path}.valueFrom", "", "may not be specified when `value` is not empty"
        )


variables = listed(
    record(
        {
            "name": text(variable_problem),
            "value": text(),
            "valueFrom": record(
                {
                    "fieldRef": field_reference(_OF_VARIABLES),
                    "resourceFieldRef": resource_reference(),
                    "configMapKeyRef": _KEY,
                    "secretKeyRef": _KEY,
                },
                _one_source,
            ),
        },
        _value_or_source,
        required=("name",),
    )
)
"""`env` of a container, a hook or a build."""


def _one_set(value: Mapping[str, Any], path: str) -> Iterator[Fault]:
    found = [name for name in ("configMapRef", "secretRef") if value.get(name) is not None]
    if not found:
        yield Fault.invalid(path, "", "must specify one of: `configMapRef` or `secretRef`")
    elif len(found) > 1:
        yield Fault.invalid(path, "", "may not have more than one field specified at a time")


variable_sets = listed(
    record(
        {"prefix": text(variable_problem), "configMapRef": _ALL_OF, "secretRef": _ALL_OF},
        _one_set,
    )
)
"""`envFrom` of a container."""
