"""A collector of spans on a free loopback port: OTLP over HTTP."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.trace.v1.trace_pb2 import Span


@dataclass
class SpanCollector:
    """Takes spans as OTLP over HTTP; `failing`: answers that it cannot."""

    endpoint: str = ""
    services: set[str] = field(default_factory=set)
    spans: list[Span] = field(default_factory=list)
    failing: bool = False

    async def take(self, request: web.Request) -> web.Response:
        if self.failing:
            return web.Response(status=400)
        message = ExportTraceServiceRequest.FromString(await request.read())
        for group in message.resource_spans:
            attributes = {one.key: one.value.string_value for one in group.resource.attributes}
            self.services.add(attributes["service.name"])
            for scope in group.scope_spans:
                self.spans += scope.spans
        body = ExportTraceServiceResponse().SerializeToString()
        return web.Response(body=body, content_type="application/x-protobuf")

    def trace(self, trace_id: bytes) -> dict[str, Span]:
        """Return the spans of a trace by their names, each of which it has once."""
        mine = [span for span in self.spans if span.trace_id == trace_id]
        assert len({span.name for span in mine}) == len(mine)
        return {span.name: span for span in mine}

    async def rollouts(self) -> list[Span]:
        return [span for span in self.spans if span.name == "rollout"]


@asynccontextmanager
async def collecting() -> AsyncIterator[SpanCollector]:
    """Serve a collector while the block lasts; `endpoint` is without a path."""
    collector = SpanCollector()
    app = web.Application()
    app.router.add_post("/v1/traces", collector.take)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0][:2]
    collector.endpoint = f"http://{host}:{port}"
    try:
        yield collector
    finally:
        await runner.cleanup()
