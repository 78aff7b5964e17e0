"""The condition of a metric check: an operator and a number."""

import math
import operator
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

_OPERATORS: dict[str, Callable[[float, float], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
}
_NUMBER = r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?"
_CONDITION = re.compile(rf"(?P<op><=|>=|==|!=|<|>) ?(?P<number>{_NUMBER})")


class InvalidThresholdError(ValueError):
    """The text is no condition."""

    def __init__(self, text: str) -> None:
        known = " ".join(_OPERATORS)
        super().__init__(f"{text!r} is not a condition: write OP NUMBER, with one of {known}")


@dataclass(frozen=True, slots=True)
class Threshold:
    """Comparison of a number with a limit."""

    op: str
    number: float

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `OP NUMBER`, such as `< 0.01`; raises InvalidThresholdError."""
        found = _CONDITION.fullmatch(text.strip(" "))
        if found is None or not math.isfinite(number := float(found["number"])):
            raise InvalidThresholdError(text)
        return cls(found["op"], number)

    def holds(self, value: float) -> bool:
        """Return True if `value` is as it should be; what is no number never is."""
        return not math.isnan(value) and _OPERATORS[self.op](value, self.number)

    def __str__(self) -> str:
        return f"{self.op} {self.number:g}"
