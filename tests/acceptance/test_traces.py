"""A change's whole way, as a collector of traces gets to see it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest
from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from tests.support.installation.applications import (
    SOURCES,
    base_stream,
    deployment_config,
    docker_build,
    published,
    stream,
)
from tests.support.installation.installation import installation, until
from tests.support.installation.traffic import answer
from tests.support.installation.vendor_images import publish

from upwell.api.apps import DeploymentConfig
from upwell.api.build import Build


@dataclass
class Collector:
    """Takes spans as OTLP over HTTP."""

    endpoint: str = ""
    services: set[str] = field(default_factory=set)
    spans: list[Span] = field(default_factory=list)

    async def take(self, request: web.Request) -> web.Response:
        message = ExportTraceServiceRequest.FromString(await request.read())
        for group in message.resource_spans:
            attributes = {one.key: one.value.string_value for one in group.resource.attributes}
            self.services.add(attributes["service.name"])
            for scope in group.scope_spans:
                self.spans += scope.spans
        body = ExportTraceServiceResponse().SerializeToString()
        return web.Response(body=body, content_type="application/x-protobuf")

    def trace(self, trace_id: bytes) -> dict[str, Span]:
        """The spans of a trace by their names, each of which it has once."""
        mine = [span for span in self.spans if span.trace_id == trace_id]
        assert len({span.name for span in mine}) == len(mine)
        return {span.name: span for span in mine}

    async def rollouts(self) -> list[Span]:
        return [span for span in self.spans if span.name == "rollout"]


@asynccontextmanager
async def collecting() -> AsyncIterator[Collector]:
    collector = Collector()
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


async def test_a_change_is_one_trace_from_its_import_to_its_rollout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "100")
    config = tmp_path / "upwell.toml"
    async with collecting() as collector:
        config.write_text(f'[tracing]\nendpoint = "{collector.endpoint}"\nservice = "corner"\n')
        async with installation("--config", str(config)) as made, made.client() as client:
            await publish(made.vendor, "vendor/base:1", "1.0")
            made.commit("applications", SOURCES)
            manifests = (
                base_stream(made.vendor)
                + stream("gate")
                + docker_build("gate", f"{made.git}/applications")
                + deployment_config("gate")
                + published("gate")
            )
            await made.apply(client, manifests)
            asked = partial(answer, made.router_port, "gate.test")
            await until(asked, "gate 1.0".__eq__)
            await until(collector.rollouts, lambda seen: len(seen) == 1)

            await publish(made.vendor, "vendor/base:1", "2.0")
            await until(asked, "gate 2.0".__eq__)
            first, second = await until(collector.rollouts, lambda seen: len(seen) == 2)
            build = await client.get(Build, "default", "gate-2")
            workload = await client.get(DeploymentConfig, "default", "gate")

    assert collector.services == {"corner"}
    assert first.trace_id != second.trace_id
    spans = collector.trace(second.trace_id)
    assert set(spans) == {
        "import",
        *("build", "build FetchInputs", "build MirrorImages"),
        *("build PullImages", "build Build", "build PushImage"),
        *("rollout", "rollout start", "rollout replace"),
    }
    assert spans["import"].parent_span_id == b""
    assert spans["build"].parent_span_id == spans["import"].span_id
    assert spans["build PushImage"].parent_span_id == spans["build"].span_id
    assert spans["rollout"].parent_span_id == spans["build"].span_id
    assert spans["rollout start"].parent_span_id == spans["rollout"].span_id
    starts = [spans[name].start_time_unix_nano for name in ("import", "build", "rollout")]
    assert starts == sorted(starts)
    assert all(span.end_time_unix_nano - span.start_time_unix_nano >= 0 for span in spans.values())

    carried = [one.annotations["upwell.dev/traceparent"] for one in (build, workload)]
    assert carried == [
        f"00-{span.trace_id.hex()}-{span.span_id.hex()}-01"
        for span in (spans["build"], spans["rollout"])
    ]
