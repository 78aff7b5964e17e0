"""Sends spans to an OpenTelemetry collector: OTLP over HTTP, protobuf, in batches.

Importing this module loads OpenTelemetry's SDK. Headers, certificates, compression, timeouts and
the sizes of batches are the SDK's own settings, from its environment variables (`OTEL_…`).
"""

import asyncio
from collections.abc import Iterable
from datetime import datetime
from functools import partial

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, Status, StatusCode, TraceFlags

from upwell.formats.trace_context import TraceContext
from upwell.tracing.interface import Span


class OtlpExporter:
    """Implements SpanExporter; `endpoint` is the address that takes traces (`…/v1/traces`)."""

    def __init__(self, endpoint: str, *, service: str, version: str) -> None:
        self._scope = InstrumentationScope("upwell", version)
        self._resource = Resource.create({"service.name": service, "service.version": version})
        self._batches = BatchSpanProcessor(OTLPSpanExporter(endpoint))

    def export(self, spans: Iterable[Span]) -> None:
        """Put the spans into the next batch."""
        for span in spans:
            self._batches.on_end(self._readable(span))

    async def close(self) -> None:
        """Send what waits, and end."""
        await asyncio.to_thread(self._batches.shutdown)

    def _readable(self, span: Span) -> ReadableSpan:
        context = partial(_context, is_remote=True)
        return ReadableSpan(
            span.name,
            _context(span.context),
            parent=None if span.parent is None else context(span.parent),
            resource=self._resource,
            attributes=span.attributes,
            links=[Link(context(link)) for link in span.links],
            status=Status(StatusCode.ERROR, span.failure) if span.failure else Status(),
            start_time=_nanoseconds(span.start),
            end_time=max(_nanoseconds(span.end), _nanoseconds(span.start)),
            instrumentation_scope=self._scope,
        )


def _context(context: TraceContext, *, is_remote: bool = False) -> SpanContext:
    sampled = TraceFlags(TraceFlags.SAMPLED)
    return SpanContext(int(context.trace_id, 16), int(context.span_id, 16), is_remote, sampled)


def _nanoseconds(time: datetime) -> int:
    return int(time.timestamp() * 1_000_000) * 1000
