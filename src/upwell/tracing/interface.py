"""The tracing port: spans in, nothing back."""

from collections.abc import Iterable
from typing import Protocol

from upwell.policy.tracing.context import Span


class SpanExporter(Protocol):
    """Sends spans away."""

    def export(self, spans: Iterable[Span]) -> None:
        """Take spans; never blocks, never raises. What cannot be sent is dropped and logged."""
        ...
