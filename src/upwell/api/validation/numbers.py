"""Bounds of every whole number that a client declares.

Kubernetes' numbers are int32 but for sizes and generations; Python's have no end, and what is
counted by one (instances, indices of a Job) is work and memory. Metadata and status are the
server's own.
"""

from collections.abc import Iterator

from pydantic import BaseModel

from upwell.api.meta import Resource
from upwell.api.values.faults import Fault

MAX_REPLICAS = 10_000
"""Instances of one workload: far above what one machine runs, far below what hurts to count."""
MAX_COMPLETIONS = 100_000
MAX_PARALLELISM = 10_000
_INT32, _INT64 = 2**31 - 1, 2**63 - 1
_LARGEST = {
    "replicas": MAX_REPLICAS,
    "completions": MAX_COMPLETIONS,
    "parallelism": MAX_PARALLELISM,
    **dict.fromkeys(("generation", "generation_", "size", "manifest_size", "bytes"), _INT64),
}
"""By the names of fields; int32 for others."""
_OURS = {"metadata", "status"}


def number_faults(resource: Resource) -> Iterator[Fault]:
    """Yield every number of the object that is out of bounds, with its path."""
    for name, alias, value in _fields(resource):
        if name not in _OURS:
            yield from _faults(value, alias, _LARGEST.get(name, _INT32))


def _faults(value: object, path: str, largest: int) -> Iterator[Fault]:
    if isinstance(value, BaseModel):
        for name, alias, inner in _fields(value):
            yield from _faults(inner, f"{path}.{alias}", _LARGEST.get(name, _INT32))
    elif isinstance(value, tuple):
        for at, item in enumerate(value):
            yield from _faults(item, f"{path}[{at}]", largest)
    elif isinstance(value, dict):
        for key, item in value.items():
            if isinstance(item, BaseModel):
                yield from _faults(item, f"{path}[{key}]", largest)
    elif isinstance(value, int) and not -largest - 1 <= value <= largest:
        bound = f"more than {largest}" if value > 0 else f"less than {-largest - 1}"
        yield Fault(path, f"{_shown(value)} is {bound}")


def _fields(model: BaseModel) -> Iterator[tuple[str, str, object]]:
    """Yield each field's name, its name on the wire, and its value."""
    for name, field in type(model).model_fields.items():
        yield name, field.serialization_alias or field.alias or name, getattr(model, name)


def _shown(number: int) -> str:
    """Return a number as text; Python prints none of thousands of digits."""
    return str(number) if number.bit_length() <= _INT64.bit_length() else "a number of many digits"
