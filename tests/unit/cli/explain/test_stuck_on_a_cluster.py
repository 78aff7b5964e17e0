"""status and explain of a Deployment of a cluster that is stuck: why, and what ends it."""

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest
from tests.support.cluster.workloads import PLACEHOLDER, stuck, with_status_of, workload

from upwell.api.apps import Deployment

if TYPE_CHECKING:
    from click.testing import Result
    from tests.unit.cli.conftest import FakeClient

type Upwell = Callable[..., "Result"]
PULL = 'container app: ImagePullBackOff: Back-off pulling image "nope"'


@pytest.mark.parametrize("verb", ["status", "explain deployment/native"])
@pytest.mark.parametrize("why", [PULL, ""])
async def test_what_its_pods_wait_for_is_told_where_it_is_known(
    upwell: Upwell, client: "FakeClient", verb: str, why: str
) -> None:
    made = workload(Deployment)
    seen = {**made.annotations, "deployment.kubernetes.io/revision": "3"}
    made = made.with_metadata(namespace="default", name="native", annotations=seen)
    made = await client.create(made)
    await client.update_status(with_status_of(made, **stuck(made)))
    if why:
        newest = {"images": {"app": PLACEHOLDER, "sidecar": "injected"}}
        rows = [
            {**newest, "name": "a", "ready": True, "message": "well"},
            {"name": "b", "ready": False, "message": "older", "images": {"app": "older"}},
            {**newest, "name": "c", "ready": False, "message": why},
        ]
        client.answers["deployments/native/instances"] = {"items": rows}

    told = (await asyncio.to_thread(upwell, *verb.split())).stdout

    assert f"revision 3: no progress for 600 s{f': {why}' if why else ''}" in told
    assert ("600 s:" in told) is bool(why)
    assert "`kubectl rollout undo deployment/native -n default`" in told
