"""Stages that are kept in a real repository, and rolled out in a cluster by what applies it."""

import re
from typing import Any

import pytest
from tests.support.gitops.git_host import GitHost
from tests.support.promotion.clustered_pipeline import ClusteredPipeline
from tests.support.promotion.reconciled_pipeline import image

from upwell.gitops.git import GitRepositories
from upwell.policy.promotion.requests import RefusedError

MANIFEST = """\
kind: Deployment
metadata: {name: web}
spec:
  template:
    spec:
      containers:
        - name: web
          image: registry.test/shop/web:declared
"""
FIRST, SECOND = "shop-1.production", "shop-2.production"


@pytest.fixture
def pipelines(host: GitHost, repositories: GitRepositories) -> ClusteredPipeline:
    host.push("by hand", {"web.yaml": MANIFEST})
    return ClusteredPipeline(repositories)


async def begin(pipelines: ClusteredPipeline, host: GitHost, **stage: Any) -> None:
    """Create a Pipeline whose last stage is in cluster `east`, which nobody else sets images in."""
    git = {"repository": host.uri, **stage.pop("git", {})}
    there = {"name": "production", "workloads": [{"name": "web"}], "cluster": "east", "git": git}
    await pipelines.pipeline({"name": "dev"}, {**there, **stage})


async def apply(pipelines: ClusteredPipeline, host: GitHost) -> None:
    """Have the cluster run what the branch says, as Argo CD does."""
    found = re.search(r"image: (\S+)", host.show("web.yaml"))
    assert found is not None
    await pipelines.sets_by_hand("east", found[1])


async def later(pipelines: ClusteredPipeline, seconds: float = 60) -> None:
    pipelines.clock.advance(seconds)
    await pipelines.settle()


async def first_serves(pipelines: ClusteredPipeline, host: GitHost) -> None:
    """Bring a first Release into the cluster."""
    await begin(pipelines, host)
    await pipelines.cluster("east")
    await pipelines.push("one")
    await pipelines.settle()
    await apply(pipelines, host)
    await later(pipelines)
    assert (await pipelines.promotion(FIRST)).status.phase == "Succeeded"


async def status_of(pipelines: ClusteredPipeline, name: str) -> tuple[str, str]:
    found = (await pipelines.promotion(name)).status
    return found.phase.value, found.message


async def test_a_release_is_committed_and_waited_for_in_the_cluster(
    pipelines: ClusteredPipeline, host: GitHost
) -> None:
    await begin(pipelines, host)
    await pipelines.cluster("east", mirror="registry.east.example/apps")
    before = await pipelines.image_in("east")
    await pipelines.push("one")
    await pipelines.settle()

    assert host.log()[0] == "Promote shop-1 to production"
    assert "registry.east.example/apps/" in host.show("web.yaml")
    assert await pipelines.image_in("east") == before, "it is for others to set"
    assert (await pipelines.promotion(FIRST)).status.phase == "RollingOut"

    await apply(pipelines, host)
    await later(pipelines)
    done = (await pipelines.promotion(FIRST)).status
    assert done.phase == "Succeeded"
    assert done.commit == host.git("rev-parse", "main")
    assert await pipelines.progress(FIRST) == {"east": "Complete"}
    copied = {goal for _, goal in pipelines.registry.copied}
    assert await pipelines.image_in("east") in copied


async def test_what_fails_there_is_taken_back_by_another_commit(
    pipelines: ClusteredPipeline, host: GitHost
) -> None:
    await first_serves(pipelines, host)

    pipelines.stuck_in.add("east")
    await pipelines.push("two")
    await pipelines.settle()
    assert image("two") in host.show("web.yaml")
    await apply(pipelines, host)
    await later(pipelines, 4000)
    assert image("one") in host.show("web.yaml")
    assert (await pipelines.promotion(SECOND)).status.phase == "RollingBack"

    await apply(pipelines, host)
    await later(pipelines)
    phase, message = await status_of(pipelines, SECOND)
    assert phase == "Failed"
    assert "shop-1 was restored" in message


async def test_a_review_and_a_cluster_that_is_away_take_no_time_of_the_rollout(
    pipelines: ClusteredPipeline, host: GitHost
) -> None:
    await begin(pipelines, host, git={"pushBranch": "upwell/{promotion}"}, rolloutSeconds=60)
    await pipelines.cluster("east")
    await pipelines.push("one")
    await pipelines.settle()
    await later(pipelines, 7200)
    phase, message = await status_of(pipelines, FIRST)
    assert phase == "RollingOut"
    assert "to be merged" in message

    await pipelines.goes_away("east")
    host.git("branch", "--force", "main", f"upwell/{FIRST}")
    await later(pipelines, 7200)
    assert "cluster east" in (await status_of(pipelines, FIRST))[1]
    await pipelines.comes_back("east")
    await apply(pipelines, host)
    await later(pipelines)
    assert (await status_of(pipelines, FIRST))[0] == "Succeeded"


async def test_an_image_that_cannot_be_copied_is_not_committed(
    pipelines: ClusteredPipeline, host: GitHost
) -> None:
    await begin(pipelines, host)
    await pipelines.cluster("east", mirror="broken.example/apps")
    pipelines.registry.refusing.add("broken.example")
    await pipelines.push("one")
    await pipelines.settle()

    assert host.log() == ["by hand"]
    phase, message = await status_of(pipelines, FIRST)
    assert phase == "Failed"
    assert "cannot be copied" in message


async def test_a_cluster_that_drifts_from_the_branch_is_told(
    pipelines: ClusteredPipeline, host: GitHost
) -> None:
    await first_serves(pipelines, host)

    await pipelines.sets_by_hand("east", image("other"))
    await pipelines.catch_up()
    assert await pipelines.progress(FIRST) == {"east": "Drifted"}
    assert await pipelines.image_in("east") == image("other")
    assert len(host.log()) == 2

    with pytest.raises(RefusedError) as refused:
        await pipelines.asks("shop-1")
    assert "shop-1 serves in stage production, but cluster east has drifted: " in str(refused.value)
    assert "what applies the repository there puts it back" in str(refused.value)
