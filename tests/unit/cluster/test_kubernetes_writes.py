"""Writes to workloads that must not be sent any more: another replica leads."""

import pytest
from tests.support.cluster.workloads import image, workload

from upwell.api.apps import Deployment
from upwell.cluster.errors import ClusterUnavailableError
from upwell.cluster.interface import ImageWrite, WorkloadEvent
from upwell.cluster.kubernetes import KubernetesWorkloads
from upwell.controller.leader import NotLeaderError
from upwell.machine.clock import now
from upwell.store.kubernetes_connections import ServerAccess
from upwell.store.kubernetes_http import ApiConnection, ApiRequest, ApiResponse


class SilentConnection(ApiConnection):
    """Fails the test that asks anything."""

    async def ask(self, request: ApiRequest) -> ApiResponse:
        pytest.fail(f"{request.method} was sent")


def deposed() -> None:
    raise NotLeaderError("another replica leads")


async def test_a_deposed_leader_sends_neither_images_nor_events() -> None:
    api = SilentConnection(ServerAccess("http://127.0.0.1:1"))
    workloads = KubernetesWorkloads(api, now, may_write=deposed)
    web = workload(Deployment)

    with pytest.raises(ClusterUnavailableError, match="another replica leads"):
        await workloads.set_images(ImageWrite(web, {("app", False): image("new")}, {}))
    with pytest.raises(ClusterUnavailableError):
        await workloads.tell(WorkloadEvent(web, "ImageUpdated", "set app"))
