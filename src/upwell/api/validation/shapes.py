"""Shapes of JSON data: types, required fields, allowed values, and rules among fields.

A check takes a value and its path and yields faults. Absent fields, and texts and numbers that are
empty, are what Kubernetes' defaults fill in, so no fault unless they are required. Fields that a
shape does not know are passed over.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from upwell.api.validation.formats import (
    label_value_problem,
    port_name_problem,
    port_problem,
    qualified_name_problem,
)
from upwell.api.values.faults import CauseType, Fault
from upwell.api.values.quantities import InvalidQuantityError, parse_quantity

type Check = Callable[[Any, str], Iterator[Fault]]
type Rule = Callable[[Mapping[str, Any], str], Iterator[Fault]]
"""About several fields of one object, whose types are right."""
type Problem = Callable[[str], str]

INT32, INT64 = 2**31 - 1, 2**63 - 1


def anything(value: object, path: str) -> Iterator[Fault]:
    """Yield nothing: every value passes."""
    del value, path
    yield from ()


def flag(value: object, path: str) -> Iterator[Fault]:
    """Check true or false."""
    if not isinstance(value, bool):
        yield Fault.wrong_type(path, "true or false", value)


def text(problem: Problem | None = None, *, empty: bool = True) -> Check:
    """Return a check of texts, by a function that says what is wrong with one.

    `empty` says whether one without a letter passes.
    """

    def check(value: object, path: str) -> Iterator[Fault]:
        if not isinstance(value, str):
            yield Fault.wrong_type(path, "a string", value)
        elif not value and not empty:
            yield Fault.invalid(path, value, "must not be empty")
        elif value and problem is not None and (why := problem(value)):
            yield Fault.invalid(path, value, why)

    return check


def one_of(*supported: str, empty: bool = True) -> Check:
    """Return a check of texts that are among a few; `empty` says whether none may be named."""

    def check(value: object, path: str) -> Iterator[Fault]:
        if not isinstance(value, str):
            yield Fault.wrong_type(path, "a string", value)
        elif value not in supported and (value or not empty):
            yield Fault.not_supported(path, value, sorted(supported))

    return check


def integer(low: int = 0, high: int = INT32) -> Check:
    """Return a check of whole numbers within bounds."""

    def check(value: object, path: str) -> Iterator[Fault]:
        if isinstance(value, bool) or not isinstance(value, int):
            yield Fault.wrong_type(path, "an integer", value)
        elif value < low:
            yield Fault.invalid(path, value, f"must be greater than or equal to {low}")
        elif value > high:
            yield Fault.invalid(path, value, f"must be less than or equal to {high}")

    return check


def port(value: object, path: str) -> Iterator[Fault]:
    """Check the number of a port; 0 is none."""
    if isinstance(value, bool) or not isinstance(value, int):
        yield Fault.wrong_type(path, "an integer", value)
    elif value and (why := port_problem(value)):
        yield Fault.invalid(path, value, why)


def port_or_name(value: object, path: str) -> Iterator[Fault]:
    """Check the number of a port, or the name of a container's."""
    if isinstance(value, bool) or not isinstance(value, int | str):
        yield Fault.wrong_type(path, "an integer or a string", value)
        return
    why = port_name_problem(value) if isinstance(value, str) else port_problem(value)
    if why:
        yield Fault.invalid(path, value, why)


def quantity(value: object, path: str) -> Iterator[Fault]:
    """Check an amount that is not negative."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        yield Fault.wrong_type(path, "a quantity", value)
        return
    if isinstance(value, str) and value.startswith("-"):
        try:
            parse_quantity(value[1:])
        except InvalidQuantityError:
            pass
        else:
            yield Fault.invalid(path, value, "must be greater than or equal to 0")
            return
    try:
        parse_quantity(value)
    except InvalidQuantityError as error:
        yield Fault.invalid(path, value, str(error))


def share(value: object, path: str) -> Iterator[Fault]:
    """Check a number of instances, or a percentage of them."""
    if isinstance(value, bool) or not isinstance(value, int | str):
        yield Fault.wrong_type(path, "an integer or a string", value)
    elif isinstance(value, int):
        yield from integer()(value, path)
    elif not (value.endswith("%") and value[:-1].isascii() and value[:-1].isdecimal()):
        yield Fault.invalid(path, value, "must be an integer or percentage (e.g '5%')")


def listed(item: Check, *, unique: str = "", most: int = 0) -> Check:
    """Return a check of lists; no two entries have the same value in the field `unique`."""

    def check(value: object, path: str) -> Iterator[Fault]:
        if not isinstance(value, list):
            yield Fault.wrong_type(path, "a list", value)
            return
        if most and len(value) > most:
            yield Fault.too_many(path, len(value), most)
        seen = set()
        for at, entry in enumerate(value):
            yield from item(entry, f"{path}[{at}]")
            name = entry.get(unique) if unique and isinstance(entry, dict) else None
            if isinstance(name, str) and name:
                if name in seen:
                    yield Fault.duplicate(f"{path}[{at}].{unique}", name)
                seen.add(name)

    return check


def mapped(item: Check, key: Problem | None = None) -> Check:
    """Return a check of objects whose fields have names of the user's."""

    def check(value: object, path: str) -> Iterator[Fault]:
        if not isinstance(value, dict):
            yield Fault.wrong_type(path, "an object", value)
            return
        for name, entry in value.items():
            if key is not None and (why := key(name)):
                yield Fault.invalid(path, name, why)
            yield from item(entry, f"{path}[{name}]")

    return check


def record(fields: Mapping[str, Check], *rules: Rule, required: tuple[str, ...] = ()) -> Check:
    """Return a check of objects with these fields; the rules are asked when their types are right.

    A required field is neither absent nor empty nor 0.
    """

    def check(value: object, path: str) -> Iterator[Fault]:
        if not isinstance(value, dict):
            yield Fault.wrong_type(path, "an object", value)
            return
        missing = {name for name in required if _is_empty(value.get(name))}
        for name in required:
            if name in missing:
                yield Fault.required(_below(path, name))
        found: list[Fault] = []
        for name, entry in value.items():
            if name in fields and name not in missing and entry is not None:
                found += fields[name](entry, _below(path, name))
        yield from found
        if not any(fault.cause is CauseType.TYPE for fault in found):
            wrong = {fault.path for fault in found}
            for rule in rules:
                yield from rule(_without(value, path, wrong), path)

    return check


def _without(value: Mapping[str, Any], path: str, wrong: set[str]) -> Mapping[str, Any]:
    """Return an object without its own fields that are told to be wrong."""
    if not wrong:
        return value
    return {name: found for name, found in value.items() if _below(path, name) not in wrong}


def forbidden_together(*names: str, because: str) -> Rule:
    """Return a rule that at most one of the fields is there."""

    def rule(value: Mapping[str, Any], path: str) -> Iterator[Fault]:
        for name in [name for name in names if value.get(name) is not None][1:]:
            yield Fault.forbidden(_below(path, name), because)

    return rule


def one_required(*names: str, because: str) -> Rule:
    """Return a rule that one of the fields is there at least."""

    def rule(value: Mapping[str, Any], path: str) -> Iterator[Fault]:
        if all(value.get(name) is None for name in names):
            yield Fault.required(path, because)

    return rule


def _is_empty(value: object) -> bool:
    return not value and value is not False


def _below(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


labels = mapped(text(label_value_problem), qualified_name_problem)
"""Labels, and selectors by equality."""

_NEEDS_VALUES, _NEEDS_NONE = {"In", "NotIn"}, {"Exists", "DoesNotExist"}


def _expression(value: Mapping[str, Any], path: str) -> Iterator[Fault]:
    operator, values = value.get("operator"), value.get("values") or ()
    if operator in _NEEDS_VALUES and not values:
        yield Fault.required(
            f"{path}.values", "must be specified when `operator` is 'In' or 'NotIn'"
        )
    if operator in _NEEDS_NONE and values:
        why = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"
        yield Fault.forbidden(f"{path}.values", why)


label_selector = record(
    {
        "matchLabels": labels,
        "matchExpressions": listed(
            record(
                {
                    "key": text(qualified_name_problem),
                    "operator": one_of(*_NEEDS_VALUES, *_NEEDS_NONE, empty=False),
                    "values": listed(text(label_value_problem)),
                },
                _expression,
                required=("key", "operator"),
            )
        ),
    }
)
"""meta/v1 LabelSelector."""


def selects(selector: Mapping[str, Any], found: Mapping[str, str]) -> bool:
    """Return True if a valid LabelSelector selects what has these labels."""
    if any(found.get(key) != value for key, value in (selector.get("matchLabels") or {}).items()):
        return False
    for expression in selector.get("matchExpressions") or ():
        key, values = expression.get("key"), expression.get("values") or ()
        holds = {
            "In": key in found and found[key] in values,
            "NotIn": key not in found or found[key] not in values,
            "Exists": key in found,
            "DoesNotExist": key not in found,
        }
        if not holds.get(expression.get("operator", ""), True):
            return False
    return True
