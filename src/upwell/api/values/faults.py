"""Faults of objects in Kubernetes' words.

Source: k8s.io/apimachinery `util/validation/field` (Error); meta/v1 StatusCause.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from enum import StrEnum

_TYPES: dict[type, str] = {
    str: "a string",
    bool: "true or false",
    int: "a number",
    float: "a number",
    list: "a list",
    dict: "an object",
}
MAX_FAULTS = 256
"""Faults that one answer tells: nobody reads more, and thousands take a second and megabytes."""
_MAX_SHOWN = 256
"""Characters of a value in a message."""
_PRINTABLE_BITS = 128
"""Of a number: Python prints none of thousands of digits."""


class CauseType(StrEnum):
    """Type of a fault, as clients read it (meta/v1 CauseType)."""

    REQUIRED = "FieldValueRequired"
    INVALID = "FieldValueInvalid"
    NOT_SUPPORTED = "FieldValueNotSupported"
    DUPLICATE = "FieldValueDuplicate"
    FORBIDDEN = "FieldValueForbidden"
    TOO_LONG = "FieldValueTooLong"
    TOO_MANY = "FieldValueTooMany"
    NOT_FOUND = "FieldValueNotFound"
    TYPE = "FieldValueTypeInvalid"


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong with an object: where, and what."""

    path: str
    message: str
    cause: CauseType = CauseType.INVALID
    sources: tuple[str, ...] = field(default=(), compare=False)
    """Paths of other fields that it follows from."""

    def following(self, *paths: str) -> "Fault":
        """Return it as one that follows from what is at `paths`, too."""
        return replace(self, sources=(*self.sources, *paths))

    def __str__(self) -> str:
        return f"{self.path}: {self.message}" if self.path else self.message

    @classmethod
    def required(cls, path: str, detail: str = "") -> "Fault":
        """Return the fault of a field that is missing or empty."""
        return cls(path, _joined("Required value", detail), CauseType.REQUIRED)

    @classmethod
    def wrong_type(cls, path: str, expected: str, found: object) -> "Fault":
        """Return the fault of a value of another type, which is not shown: it may be a secret."""
        return cls(
            path, f"expected {expected}, found {_TYPES.get(type(found), 'null')}", CauseType.TYPE
        )

    @classmethod
    def not_found(cls, path: str, value: object) -> "Fault":
        """Return the fault of a name that nothing has."""
        return cls(path, f"Not found: {_shown(value)}", CauseType.NOT_FOUND)

    @classmethod
    def invalid(cls, path: str, value: object, detail: str) -> "Fault":
        """Return the fault of a value that may be shown."""
        return cls(path, f"Invalid value: {_shown(value)}: {detail}")

    @classmethod
    def not_supported(cls, path: str, value: object, supported: Iterable[str]) -> "Fault":
        """Return the fault of a value that is none of those there are."""
        known = ", ".join(f'"{one}"' for one in supported)
        message = f"Unsupported value: {_shown(value)}: supported values: {known}"
        return cls(path, message, CauseType.NOT_SUPPORTED)

    @classmethod
    def duplicate(cls, path: str, value: object) -> "Fault":
        """Return the fault of a value that another entry has too."""
        return cls(path, f"Duplicate value: {_shown(value)}", CauseType.DUPLICATE)

    @classmethod
    def forbidden(cls, path: str, detail: str) -> "Fault":
        """Return the fault of a field that may not be set, or not be changed."""
        return cls(path, _joined("Forbidden", detail), CauseType.FORBIDDEN)

    @classmethod
    def too_long(cls, path: str, most: int) -> "Fault":
        """Return the fault of a text; `most` is what it may have, in bytes."""
        return cls(path, f"Too long: may not be more than {most} bytes", CauseType.TOO_LONG)

    @classmethod
    def too_many(cls, path: str, found: int, most: int) -> "Fault":
        """Return the fault of a list with more than `most` entries."""
        message = f"Too many: {found}: must have at most {most} items"
        return cls(path, message, CauseType.TOO_MANY)


def limited_faults(faults: tuple[Fault, ...]) -> tuple[Fault, ...]:
    """Return the faults that are told; the last one says if there are more."""
    if len(faults) <= MAX_FAULTS:
        return faults
    more = Fault("", f"there is more, once the first {MAX_FAULTS} faults are mended")
    return (*faults[:MAX_FAULTS], more)


def _joined(what: str, detail: str) -> str:
    return f"{what}: {detail}" if detail else what


def _shown(value: object) -> str:
    if isinstance(value, int) and value.bit_length() > _PRINTABLE_BITS:
        return "a number of many digits"
    try:
        text = json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError):
        text = repr(value)
    return text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}…"
