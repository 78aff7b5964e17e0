"""Names of spans within traces (W3C Trace Context).

Identifiers follow from what a span is about, so that a killed process that comes again, and every
object that a change passes through, give it the same ones.
"""

import re
from dataclasses import dataclass
from hashlib import sha256
from typing import Self

_TRACEPARENT = re.compile(r"00-(?P<trace>[0-9a-f]{32})-(?P<span>[0-9a-f]{16})-[0-9a-f]{2}")
_TRACE_DIGITS = 32
_SPAN_DIGITS = 16


@dataclass(frozen=True, slots=True)
class TraceContext:
    """A span within a trace; both identifiers in hexadecimal digits."""

    trace_id: str
    span_id: str

    @classmethod
    def root(cls, seed: str) -> Self:
        """Return the first span of a trace of its own."""
        digits = sha256(seed.encode()).hexdigest()
        return cls(digits[:_TRACE_DIGITS], digits[_TRACE_DIGITS : _TRACE_DIGITS + _SPAN_DIGITS])

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """Return what a `traceparent` names; None if it is none."""
        match = _TRACEPARENT.fullmatch(text)
        return cls(match["trace"], match["span"]) if match else None

    def child(self, seed: str) -> "TraceContext":
        """Return another span of the same trace."""
        return TraceContext(self.trace_id, sha256(seed.encode()).hexdigest()[:_SPAN_DIGITS])

    def __str__(self) -> str:
        return f"00-{self.trace_id}-{self.span_id}-01"
