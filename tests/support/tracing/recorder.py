"""An exporter of spans that keeps them."""

from collections.abc import Iterable

from upwell.tracing.interface import Span


class SpanRecorder:
    """Implements SpanExporter by keeping the spans."""

    def __init__(self) -> None:
        self.spans: list[Span] = []

    def export(self, spans: Iterable[Span]) -> None:
        self.spans += spans

    def named(self, name: str) -> Span:
        (span,) = (one for one in self.spans if one.name == name)
        return span
