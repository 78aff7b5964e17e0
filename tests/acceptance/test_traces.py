"""A change's whole way, as a collector of traces gets to see it."""

from functools import partial
from pathlib import Path

import pytest
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
from tests.support.tracing.collector import collecting

from upwell.api.apps import DeploymentConfig
from upwell.api.builds.build import Build


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
    assert len({one.trace_id for one in collector.spans}) == 2, "one for each change"
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
