"""Traces, where they are wanted."""

from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from datetime import datetime

from upwell import __version__
from upwell.controller import ObjectCache
from upwell.reconcilers.tracing.reconciler import TraceReconciler
from upwell.settings import TraceExport


def tracing(
    settings: TraceExport,
    cache: ObjectCache,
    clock: Callable[[], datetime],
    stack: AsyncExitStack,
) -> Sequence[TraceReconciler]:
    """Return what makes traces: nothing without an endpoint; the stack closes its exporter."""
    if not settings.address:
        return ()
    from upwell.tracing.otlp import OtlpExporter  # noqa: PLC0415 - loads OpenTelemetry's SDK

    exporter = OtlpExporter(settings.address, service=settings.service, version=__version__)
    stack.push_async_callback(exporter.close)
    return (TraceReconciler(cache, exporter, clock),)
