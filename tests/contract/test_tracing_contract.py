"""Contract of exporters of spans: they take spans at once, and their own faults harm nobody."""

import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest
from tests.support.ports import free_port
from tests.support.tracing.collector import SpanCollector, collecting
from tests.support.tracing.recorder import SpanRecorder

from upwell.formats.trace_context import TraceContext
from upwell.tracing.interface import Span, SpanExporter
from upwell.tracing.otlp import OtlpExporter

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
ROOT = TraceContext.root("base 2")
AT_ONCE_SECONDS = 3
"""Less than it takes to try to send several batches, one after the other."""

type Arrived = tuple[str, str, str]
"""Name, trace and failure of a span."""


@dataclass
class ExporterUnderTest:
    """An exporter; `arrived` sends what waits, and returns all that has arrived."""

    exporter: SpanExporter
    arrived: Callable[[], Awaitable[list[Arrived]]]


def of_recorder() -> ExporterUnderTest:
    recorder = SpanRecorder()

    async def arrived() -> list[Arrived]:
        return [(one.name, one.context.trace_id, one.failure) for one in recorder.spans]

    return ExporterUnderTest(recorder, arrived)


def of_collector(collector: SpanCollector) -> ExporterUnderTest:
    exporter = OtlpExporter(f"{collector.endpoint}/v1/traces", service="shop", version="1")

    async def arrived() -> list[Arrived]:
        await exporter.close()
        spans = collector.spans
        return [(one.name, one.trace_id.hex(), one.status.message) for one in spans]

    return ExporterUnderTest(exporter, arrived)


@pytest.fixture(params=["otlp", "recorder"])
async def exporting(request: pytest.FixtureRequest) -> AsyncIterator[ExporterUnderTest]:
    if request.param == "recorder":
        yield of_recorder()
        return
    async with collecting() as collector:
        opened = of_collector(collector)
        yield opened
        await opened.arrived()


@pytest.fixture(params=["otlp refused", "otlp alone", "recorder"])
async def lost(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[ExporterUnderTest]:
    """An exporter whose spans nobody takes, if it sends them anywhere."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")
    async with collecting() as collector:
        collector.failing = True
        if request.param == "otlp alone":
            collector.endpoint = f"http://127.0.0.1:{free_port()}"
        opened = of_recorder() if request.param == "recorder" else of_collector(collector)
        yield opened
        await opened.arrived()


def span(name: str, **fields: str) -> Span:
    context = ROOT.child(name)
    return Span(name, context, NOW, NOW + timedelta(seconds=1), parent=ROOT, **fields)  # type: ignore[arg-type]  # `failure` alone


async def test_spans_arrive_in_their_order(exporting: ExporterUnderTest) -> None:
    exporting.exporter.export([span("import"), span("build", failure="exit code 1")])
    exporting.exporter.export([span("rollout")])

    assert await exporting.arrived() == [
        ("import", ROOT.trace_id, ""),
        ("build", ROOT.trace_id, "exit code 1"),
        ("rollout", ROOT.trace_id, ""),
    ]


async def test_any_iterable_will_do_and_none_is_nothing(exporting: ExporterUnderTest) -> None:
    exporting.exporter.export(())
    exporting.exporter.export(span(name) for name in ("one", "two"))

    assert [name for name, *_ in await exporting.arrived()] == ["one", "two"]


async def test_an_end_before_its_start_is_taken(exporting: ExporterUnderTest) -> None:
    """Clocks of two machines may differ."""
    exporting.exporter.export([Span("odd", ROOT, NOW, NOW - timedelta(seconds=5))])

    assert [name for name, *_ in await exporting.arrived()] == ["odd"]


async def test_many_spans_are_taken_at_once(lost: ExporterUnderTest) -> None:
    began = time.monotonic()
    lost.exporter.export(span(str(number)) for number in range(3000))

    assert time.monotonic() - began < AT_ONCE_SECONDS


async def test_what_nobody_takes_is_dropped_and_raises_nothing(
    lost: ExporterUnderTest, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        lost.exporter.export([span("one")])
        arrived = await lost.arrived()

    assert arrived or caplog.messages, "dropped without a word"


async def test_spans_after_the_end_raise_nothing(exporting: ExporterUnderTest) -> None:
    await exporting.arrived()

    exporting.exporter.export([span("late")])
