"""Values of a document: how many, and how deep in each other, so that no work on it is long."""

from typing import Any

from upwell.server.http.errors import ApiError

MAX_VALUES = 20_000
"""Of one document, managedFields among them; real objects have hundreds."""
_MAX_STEPS = 200_000
"""Of the paths of all values together, which are kept with the owners of fields."""
_MAX_DEPTH = 64
"""Of lists and objects in each other: far above any real object, far below Python's own limit."""


def require_bounded(document: Any, what: str = "the body") -> None:
    """Raise ApiError for a document of more values, or nested deeper, than an object is.

    `what` names it.
    """
    level, values, steps = [document], 0, 0
    for depth in range(_MAX_DEPTH):
        level = [
            inner
            for item in level
            if isinstance(item, dict | list)
            for inner in (item.values() if isinstance(item, dict) else item)
        ]
        if not level:
            return
        values += len(level)
        steps += depth * len(level)
        if values > MAX_VALUES or steps > _MAX_STEPS:
            raise too_many_values(what)
    raise ApiError(400, f"{what} is nested deeper than {_MAX_DEPTH} levels")


def number_of_values(document: Any) -> int:
    """Return how many values there are in a document."""
    waiting, count = [document], 0
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict | list):
            count += len(value)
            waiting += value.values() if isinstance(value, dict) else value
    return count


def too_many_values(what: str = "the body") -> ApiError:
    """Return the refusal of a document that has too many values."""
    return ApiError(
        413,
        f"{what} has more than {MAX_VALUES} values, or nests too many "
        "(metadata.managedFields counts): divide it into several",
    )
