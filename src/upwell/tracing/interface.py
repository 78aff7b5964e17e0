"""The tracing port: spans in, nothing back."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from upwell.formats.trace_context import TraceContext


@dataclass(frozen=True, slots=True)
class Span:
    """Span of work that has ended."""

    name: str
    context: TraceContext
    start: datetime
    end: datetime
    parent: TraceContext | None = None
    links: tuple[TraceContext, ...] = ()
    """Contexts that caused it besides its parent."""
    attributes: Mapping[str, str] = field(default_factory=dict)
    failure: str = ""
    """Reason of its failure; empty: it did not fail."""


class SpanExporter(Protocol):
    """Sends spans away."""

    def export(self, spans: Iterable[Span]) -> None:
        """Take spans; never blocks, never raises. What cannot be sent is dropped and logged."""
        ...
