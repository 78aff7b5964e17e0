"""Scheduling of a Pod: one machine has no choice, and what is asked for has to make sense."""

from collections.abc import Iterator, Mapping
from typing import Any

from upwell.api.validation.formats import label_value_problem, qualified_name_problem
from upwell.api.validation.shapes import (
    INT64,
    Check,
    integer,
    label_selector,
    listed,
    one_of,
    record,
    text,
)
from upwell.api.values.faults import Fault

_EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")


def _toleration(value: Mapping[str, Any], path: str) -> Iterator[Fault]:
    operator = value.get("operator") or ""
    if not value.get("key") and operator != "Exists":
        why = "operator must be Exists when `key` is empty, which means all values and all keys"
        yield Fault.invalid(f"{path}.operator", operator, why)
    if operator == "Exists" and value.get("value"):
        why = "value must be empty when `operator` is 'Exists'"
        yield Fault.invalid(f"{path}.operator", value["value"], why)
    if value.get("tolerationSeconds") is not None and value.get("effect") != "NoExecute":
        why = "effect must be 'NoExecute' when `tolerationSeconds` is set"
        yield Fault.invalid(f"{path}.effect", value.get("effect") or "", why)


tolerations = listed(
    record(
        {
            "key": text(qualified_name_problem),
            "operator": one_of("Equal", "Exists"),
            "value": text(label_value_problem),
            "effect": one_of(*_EFFECTS),
            "tolerationSeconds": integer(-INT64, INT64),
        },
        _toleration,
    )
)


def _node_expression(value: Mapping[str, Any], path: str) -> Iterator[Fault]:
    operator, values = value.get("operator"), value.get("values") or ()
    if operator in {"In", "NotIn"} and not values:
        yield Fault.required(
            f"{path}.values", "must be specified when `operator` is 'In' or 'NotIn'"
        )
    if operator in {"Exists", "DoesNotExist"} and values:
        why = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"
        yield Fault.forbidden(f"{path}.values", why)
    if operator in {"Gt", "Lt"} and len(values) != 1:
        why = "must be specified single value when `operator` is 'Lt' or 'Gt'"
        yield Fault.required(f"{path}.values", why)


_NODE_EXPRESSIONS = listed(
    record(
        {
            "key": text(qualified_name_problem),
            "operator": one_of("In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt", empty=False),
            "values": listed(text()),
        },
        _node_expression,
        required=("key", "operator"),
    )
)
_NODE_TERM = record({"matchExpressions": _NODE_EXPRESSIONS, "matchFields": _NODE_EXPRESSIONS})
_WEIGHT = integer(1, 100)
_POD_TERM = record(
    {
        "labelSelector": label_selector,
        "namespaceSelector": label_selector,
        "namespaces": listed(text()),
        "topologyKey": text(qualified_name_problem),
    },
    required=("topologyKey",),
)
_REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
_PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"
_PODS = record(
    {
        _REQUIRED: listed(_POD_TERM),
        _PREFERRED: listed(
            record(
                {"weight": _WEIGHT, "podAffinityTerm": _POD_TERM},
                required=("weight", "podAffinityTerm"),
            )
        ),
    }
)
affinity = record(
    {
        "nodeAffinity": record(
            {
                _REQUIRED: record(
                    {"nodeSelectorTerms": listed(_NODE_TERM)}, required=("nodeSelectorTerms",)
                ),
                _PREFERRED: listed(
                    record({"weight": _WEIGHT, "preference": _NODE_TERM}, required=("weight",))
                ),
            }
        ),
        "podAffinity": _PODS,
        "podAntiAffinity": _PODS,
    }
)

_POLICY: Check = one_of("Honor", "Ignore", empty=False)


def _domains(value: Mapping[str, Any], path: str) -> Iterator[Fault]:
    if value.get("minDomains") is not None and value.get("whenUnsatisfiable") != "DoNotSchedule":
        why = "can only use minDomains if whenUnsatisfiable=DoNotSchedule"
        yield Fault.invalid(f"{path}.minDomains", value["minDomains"], why)


def _spreads(value: object, path: str) -> Iterator[Fault]:
    yield from _SPREADS(value, path)
    seen = set()
    for at, one in enumerate(value if isinstance(value, list) else ()):
        if isinstance(one, dict):
            key = str((one.get("topologyKey"), one.get("whenUnsatisfiable")))
            if key in seen:
                yield Fault.duplicate(f"{path}[{at}]", key)
            seen.add(key)


_SPREADS = listed(
    record(
        {
            "maxSkew": integer(1),
            "minDomains": integer(1),
            "topologyKey": text(),
            "whenUnsatisfiable": one_of("DoNotSchedule", "ScheduleAnyway", empty=False),
            "labelSelector": label_selector,
            "matchLabelKeys": listed(text(qualified_name_problem)),
            "nodeAffinityPolicy": _POLICY,
            "nodeTaintsPolicy": _POLICY,
        },
        _domains,
        required=("maxSkew", "topologyKey", "whenUnsatisfiable"),
    )
)
scheduling: dict[str, Check] = {
    "affinity": affinity,
    "tolerations": tolerations,
    "topologySpreadConstraints": _spreads,
}
"""Fields of a Pod's spec about its place."""
