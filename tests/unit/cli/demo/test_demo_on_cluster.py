"""The demo on a cluster: whose cluster it takes, what it leaves, and what it claims."""

import json
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import pytest
from click.testing import CliRunner

from upwell.api.codec import decode_as
from upwell.api.promotion import Promotion
from upwell.cli.core.errors import CommandError
from upwell.cli.demo import demo
from upwell.cli.demo.cluster import NAMESPACE, DemoCluster
from upwell.cli.demo.cluster_replay import STAGES, SeenPromotions
from upwell.cli.demo.outcomes import stages_claim


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DemoCluster:
    """A cluster whose kubectl notes what it is asked, and prints the file `answer`."""
    program = tmp_path / "bin" / "kubectl"
    program.parent.mkdir()
    program.write_text(
        f'#!/bin/sh\necho "$@" >>"{tmp_path}/asked"\n[ ! -e "{tmp_path}/answer" ] || '
        f'cat "{tmp_path}/answer"\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")
    return DemoCluster(tmp_path / "kubeconfig")


def asked(folder: Path) -> str:
    return (folder / "asked").read_text()


async def test_a_cluster_with_an_upwell_is_left_alone(cluster: DemoCluster, tmp_path: Path) -> None:
    (tmp_path / "answer").write_text("default\npipelines.upwell.dev\n")
    with pytest.raises(CommandError, match=r"has pipelines\.upwell\.dev already"):
        await cluster.claim(tmp_path)
    assert "create" not in asked(tmp_path)
    assert DemoCluster.recorded(tmp_path) is None


async def test_what_is_made_is_recorded_before_and_removed_after(
    cluster: DemoCluster, tmp_path: Path
) -> None:
    await cluster.claim(tmp_path)
    assert f"create namespace {NAMESPACE}" in asked(tmp_path)
    recorded = DemoCluster.recorded(tmp_path)
    assert recorded == cluster
    await cluster.release_namespace()
    await cluster.release_kinds(tmp_path)
    assert f"delete namespace {NAMESPACE} --ignore-not-found" in asked(tmp_path)
    assert "delete crd" in asked(tmp_path)
    assert "pipelines.upwell.dev" in asked(tmp_path)
    assert DemoCluster.recorded(tmp_path) is None


async def test_what_runs_is_what_nodes_report_of_pods_that_stay(
    cluster: DemoCluster, tmp_path: Path
) -> None:
    def pod(digest: str, *, ready: bool, leaves: bool = False) -> dict[str, object]:
        status = {"imageID": f"registry.test/app@{digest}", "ready": ready}
        metadata = {"deletionTimestamp": "2026-01-01T00:00:00Z"} if leaves else {}
        return {"metadata": metadata, "status": {"containerStatuses": [status]}}

    pods = [pod("sha256:new", ready=True), pod("sha256:old", ready=True, leaves=True)]
    (tmp_path / "answer").write_text(json.dumps({"items": pods}))
    assert await cluster.running_images("gate") == [("sha256:new", True)]


def promotion(stage: str, minute: int, check: str = "Passed") -> Promotion:
    times = [datetime(2026, 1, 1, 0, minute + one, tzinfo=UTC).isoformat() for one in (0, 1)]
    document = {
        "metadata": {"namespace": NAMESPACE, "name": f"gate-2.{stage}"},
        "spec": {"pipeline": "gate", "release": "gate-2", "stage": stage},
        "status": {
            "phase": "Succeeded",
            "started": times[0],
            "ended": times[1],
            "checks": [{"name": "zones", "phase": check}],
        },
    }
    return decode_as(Promotion, document)


@pytest.mark.parametrize(
    ("promotions", "holds", "found"),
    [
        ([promotion("dev", 0), promotion("production", 2)], True, ""),
        ([promotion("dev", 0)], False, "did not reach production"),
        ([promotion("dev", 2), promotion("production", 0)], False, "began too early"),
        ([promotion("dev", 0, "Failed"), promotion("production", 2)], False, "gate-2.dev is"),
    ],
)
def test_each_stage_is_tested_before_the_next(
    promotions: list[Promotion], *, holds: bool, found: str
) -> None:
    seen = SeenPromotions((), (), promotions)
    claim = stages_claim("gate", STAGES, partial(seen.promotion, "gate-2"))
    assert claim.holds is holds
    assert found in claim.found
    assert ", then ".join(STAGES) in claim.text


@pytest.mark.parametrize(
    "options",
    [
        ["--on", "kubernetes"],
        ["--kubeconfig", __file__],
        ["--on", "kubernetes", "--kubeconfig", __file__, "--break"],
    ],
)
def test_options_that_do_not_go_together_are_refused(options: list[str]) -> None:
    done = CliRunner().invoke(demo, options)
    assert done.exit_code == 2, done.output
