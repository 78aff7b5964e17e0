"""Resources that containers take: their names and quantities."""

from collections.abc import Iterator, Mapping
from typing import Any

from upwell.api.validation.formats import qualified_name_problem
from upwell.api.validation.shapes import listed, mapped, quantity, record, text
from upwell.api.values.devices import device_of
from upwell.api.values.faults import Fault
from upwell.api.values.quantities import InvalidQuantityError, parse_quantity

_STANDARD = {"cpu", "memory", "ephemeral-storage"}
_HUGE_PAGES = "hugepages-"


def _name_problem(name: str) -> str:
    if device_of(name):
        return ""
    if why := qualified_name_problem(name):
        return why
    if "/" not in name and name not in _STANDARD and not name.startswith(_HUGE_PAGES):
        return "must be a standard resource for containers"
    return ""


def _in_bounds(value: Mapping[str, Any], path: str) -> Iterator[Fault]:
    limits, requests = value.get("limits") or {}, value.get("requests") or {}
    for name, amount in limits.items():
        if device_of(name) and str(amount) != "1":
            yield Fault.invalid(f"{path}.limits[{name}]", amount, "must be 1: it is one device")
    for name, text_of_request in requests.items():
        is_rigid = name.startswith(_HUGE_PAGES) or ("/" in name and "kubernetes.io/" not in name)
        if name not in limits:
            if is_rigid:
                why = "Limit must be set for non overcommitable resources"
                yield Fault.required(f"{path}.limits", why)
            continue
        try:
            request, limit = parse_quantity(text_of_request), parse_quantity(limits[name])
        except InvalidQuantityError:
            continue  # told where it stands
        if is_rigid and request != limit:
            why = f"must be equal to {name} limit of {limits[name]}"
            yield Fault.invalid(f"{path}.requests", text_of_request, why)
        elif request > limit:
            why = f"must be less than or equal to {name} limit of {limits[name]}"
            yield Fault.invalid(f"{path}.requests", text_of_request, why)


_AMOUNTS = mapped(quantity, _name_problem)

requirements = record(
    {
        "limits": _AMOUNTS,
        "requests": _AMOUNTS,
        "claims": listed(record({"name": text(), "request": text()}, required=("name",))),
    },
    _in_bounds,
)
"""`resources` of a container."""
