"""Stages whose workloads a cluster rolls out: refused with a reason, not waited for."""

from tests.support.promotion.reconciled_pipeline import ReconciledPipeline

from upwell.api.pipeline import Pipeline
from upwell.policy.promotion.stages import refused_on_cluster

WEB = "production-shop"


async def waits_for(stage: dict[str, object]) -> str:
    """Return what the stage waits for on a cluster, after its first image."""
    made = ReconciledPipeline()
    made.refuses = refused_on_cluster
    made.restart()
    await made.pipeline({"name": "production", **stage})
    await made.push("new", "shop")
    await made.settle()
    found = await made.store.get(Pipeline, "shop", "shop")
    assert await made.running(WEB) == " "
    assert set((await made.phases()).values()) <= {"Waiting"}
    return found.status.stage("production").waits_for


async def test_a_stage_of_workloads_says_that_they_cannot_be_followed() -> None:
    told = await waits_for({"workloads": [{"name": WEB}]})
    assert "on a cluster" in told
    assert "keep the stage in git" in told


async def test_a_stage_in_git_may_not_wait_for_workloads_either() -> None:
    git = {"repository": "https://git.test/config.git", "branch": "main", "path": "production"}
    told = await waits_for({"workloads": [{"name": WEB}], "git": git})
    assert "runningUrl" in told
