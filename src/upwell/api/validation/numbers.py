"""Bounds of every whole number that a client declares.

Kubernetes' numbers are int32 but for sizes and generations; Python's have no end, and what is
counted by one (instances, indices of a Job) is work and memory. Metadata and status are the
server's own.
"""

from collections.abc import Iterator
from functools import cache

from annotated_types import Ge
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from upwell.api.meta import Resource
from upwell.api.validation.shapes import INT32, INT64
from upwell.api.values.faults import Fault

MAX_REPLICAS = 10_000
"""Instances of one workload: far above what one machine runs, far below what hurts to count."""
MAX_COMPLETIONS = 100_000
MAX_PARALLELISM = 10_000
_LARGEST = {
    "replicas": MAX_REPLICAS,
    "completions": MAX_COMPLETIONS,
    "parallelism": MAX_PARALLELISM,
    **dict.fromkeys(("generation", "generation_", "size", "manifest_size", "bytes"), INT64),
}
"""By the names of fields; int32 for others."""
_OURS = {"metadata", "status"}


def number_faults(resource: Resource) -> Iterator[Fault]:
    """Yield every number of the object that is out of bounds, with its path."""
    for name, alias, bounds in _fields(type(resource)):
        if name not in _OURS:
            yield from _faults(getattr(resource, name), alias, bounds)


def _faults(value: object, path: str, bounds: tuple[int, int]) -> Iterator[Fault]:
    least, largest = bounds
    if isinstance(value, BaseModel):
        for name, alias, its in _fields(type(value)):
            inner = getattr(value, name)
            if inner is not None and not isinstance(inner, str):  # most are
                yield from _faults(inner, f"{path}.{alias}", its)
    elif isinstance(value, tuple):
        for at, item in enumerate(value):
            yield from _faults(item, f"{path}[{at}]", bounds)
    elif isinstance(value, dict):
        for key, item in value.items():
            if isinstance(item, BaseModel):
                yield from _faults(item, f"{path}[{key}]", bounds)
    elif isinstance(value, int) and not least <= value <= largest:
        bound = f"more than {largest}" if value > largest else f"less than {least}"
        yield Fault(path, f"{_shown(value)} is {bound}")


@cache
def _fields(model: type[BaseModel]) -> tuple[tuple[str, str, tuple[int, int]], ...]:
    """Return each field's name, its name on the wire, and the bounds of a number."""
    found = []
    for name, field in model.model_fields.items():
        largest = _LARGEST.get(name, INT32)
        alias = field.serialization_alias or field.alias or name
        found.append((name, alias, (_least(field, largest), largest)))
    return tuple(found)


def _least(field: FieldInfo, largest: int) -> int:
    """Return the least value that a field declares: of several bounds, pydantic asks for the last.

    A type that asked for more would not read what earlier versions have stored.
    """
    stated = (one.ge for one in field.metadata if isinstance(one, Ge))
    return max((one for one in stated if isinstance(one, int)), default=-largest - 1)


def _shown(number: int) -> str:
    """Return a number as text; Python prints none of thousands of digits."""
    return str(number) if number.bit_length() <= INT64.bit_length() else "a number of many digits"
