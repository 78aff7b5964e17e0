"""Repair of wire data of wrong types, so that the rest of it can be looked at.

Kubernetes' API servers stop at the first value of a wrong type. Here it is put right as far as it
says what was meant (`"80"` for a port), or left out; what has to be there is empty, as a field that
is left out is for Kubernetes' validation.
"""

import copy
import json
from collections.abc import Iterable, Sequence
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from upwell.api.meta import Model
from upwell.api.values.faults import CauseType, Fault

_ROUNDS = 6
"""One for what is wrong, one for what is missing then, and for its type, bounds and fields."""
_MAX_FAULTS = 200
"""Faults beyond which nothing more is looked for."""
_MAX_DIGITS = 18
_EMPTY: dict[str, object] = {
    "string_type": "",
    "int_type": 0,
    "float_type": 0,
    "bool_type": False,
    "tuple_type": [],
    "list_type": [],
    "dict_type": {},
    "model_type": {},
    "datetime_type": "1970-01-01T00:00:00Z",
    "missing": "",
}
"""Values of each type, by what pydantic calls its absence."""
_BOUNDS = {"greater_than_equal": "ge", "less_than_equal": "le"}
_TRUTH = {"true": True, "false": False}

type Step = str | int


def repaired_as[M: Model](model: type[M], text: bytes | str) -> M | None:
    """Return what the text says but for its faults; None: they are too many, or about all of it."""
    document = json.loads(text)
    made: set[tuple[Step, ...]] = set()
    for _ in range(_ROUNDS):
        try:
            return model.model_validate_json(json.dumps(document))
        except ValidationError as error:
            if error.error_count() > _MAX_FAULTS:
                return None
            details = error.errors(include_url=False)
        for detail in details:
            _repair(document, detail, made)
    return None


def beside(found: Iterable[Fault], told: Sequence[Fault]) -> tuple[Fault, ...]:
    """Return the faults of repaired data that do not follow from those that it had.

    One about the same value, about what it holds or what holds it may come from its repair; so
    may a name that nothing has, and one that follows from what another field says.
    """
    known = {_steps(fault.path) for fault in told}
    above = {steps[:length] for steps in known for length in range(len(steps))}

    def is_related(path: str) -> bool:
        steps = _steps(path)
        return steps in above or any(steps[:length] in known for length in range(len(steps) + 1))

    return tuple(
        fault
        for fault in found
        if fault.cause is not CauseType.NOT_FOUND
        and not any(is_related(path) for path in (fault.path, *fault.sources))
    )


def _steps(path: str) -> tuple[str, ...]:
    return tuple(path.replace("[", ".").replace("]", "").split(".")) if path else ()


def _repair(document: Any, detail: ErrorDetails, made: set[tuple[Step, ...]]) -> None:
    """Change what is at the place of the fault; `made` are places that were filled before."""
    kind = detail["type"]
    place, parent = _place(document, detail["loc"])
    if not place:
        return
    step = place[-1]
    if kind == "missing" and isinstance(parent, dict):
        parent[step] = _EMPTY[kind]
        made.add(place)
    elif kind in _BOUNDS:
        parent[step] = detail["ctx"][_BOUNDS[kind]]
    elif (meant := _meant(kind, _value(parent, step))) is not None:
        parent[step] = meant
    elif kind == "enum" and place in made:
        parent[step] = detail["ctx"]["expected"].split("'")[1]
    elif isinstance(parent, dict) and place not in made:
        parent.pop(step, None)
    else:
        parent[step] = copy.copy(_EMPTY.get(kind, ""))


def _place(document: Any, steps: Sequence[Step]) -> tuple[tuple[Step, ...], Any]:
    """Return the deepest place of the steps that there is, or can be, and what holds it.

    pydantic's steps name types of unions too, of which the document knows nothing.
    """
    at = 0
    parent: Any = None
    value = document
    for step in steps:
        if isinstance(value, dict) and isinstance(step, str):
            parent, value = value, value.get(step)
        elif isinstance(value, list) and isinstance(step, int) and step < len(value):
            parent, value = value, value[step]
        else:
            break
        at += 1
    return tuple(steps[:at]), parent


def _value(parent: Any, step: Step) -> object:
    return parent.get(step) if isinstance(parent, dict) else parent[step]


def _meant(kind: str, value: object) -> object:
    """Return the value of the right type that one of a wrong type spells; None: it spells none."""
    if kind == "string_type" and isinstance(value, bool | int | float):
        return json.dumps(value)
    if kind == "int_type" and isinstance(value, str):
        digits = value.removeprefix("-")
        if digits.isascii() and digits.isdecimal() and len(digits) <= _MAX_DIGITS:
            return int(value)
    if kind == "bool_type" and isinstance(value, str):
        return _TRUTH.get(value.lower())
    return None
