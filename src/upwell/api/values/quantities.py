"""Quantities of Kubernetes: amounts of memory and CPU with a suffix."""

import re
from decimal import Decimal

_SUFFIXES = {
    "n": Decimal("1e-9"),
    "u": Decimal("1e-6"),
    "m": Decimal("1e-3"),
    "": Decimal(1),
    "k": Decimal(10**3),
    "M": Decimal(10**6),
    "G": Decimal(10**9),
    "T": Decimal(10**12),
    "P": Decimal(10**15),
    "E": Decimal(10**18),
    "Ki": Decimal(2**10),
    "Mi": Decimal(2**20),
    "Gi": Decimal(2**30),
    "Ti": Decimal(2**40),
    "Pi": Decimal(2**50),
    "Ei": Decimal(2**60),
}


_QUANTITY = re.compile(
    r"(?P<number>\+?[0-9]{1,20}(?:\.[0-9]{0,20})?(?:[eE][+-]?[0-9]{1,2})?)"
    r"(?P<suffix>[numkMGTPE]|[KMGTPE]i)?"
)


_BINARY = ("", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei")


class InvalidQuantityError(ValueError):
    """A text is no quantity; the message says how one looks."""


def parse_quantity(value: str | float) -> Decimal:
    """Return the number that `500m` or `256Mi` stands for; raises InvalidQuantityError."""
    text = str(value).strip()
    match = _QUANTITY.fullmatch(text)
    if match is None:
        raise InvalidQuantityError(f"{text!r} is not a quantity (expected 500m, 2, 256Mi or 1G)")
    return Decimal(match["number"]) * _SUFFIXES[match["suffix"] or ""]


def format_bytes(size: int) -> str:
    """Return a number of bytes as the shortest exact quantity."""
    power = 0
    while size and size % 1024 == 0 and power < len(_BINARY) - 1:
        size, power = size // 1024, power + 1
    return f"{size}{_BINARY[power]}"
