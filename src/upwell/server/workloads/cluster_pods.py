"""Pods of a workload on a cluster, in the shape in which instances are answered."""

from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from upwell.actions.running import PodsNotListedError, RunningActions
from upwell.cluster.interface import PodRecord
from upwell.policy.cluster_rollouts.observation import pod_trouble
from upwell.server.http.errors import ApiError
from upwell.server.http.target import RequestTarget
from upwell.store.interface import Reader

_RUNS, _WAITS = "Running", "Waiting"


class ClusterPodHandlers:
    """Answers what the nodes of a cluster say of a workload's Pods, as this replica has seen it."""

    def __init__(self, objects: Reader, running: RunningActions) -> None:
        self._objects = objects
        self._running = running

    async def instances(self, request: Request, target: RequestTarget) -> Response:
        """Answer `{"items": [{"name", "state", "ready", "images", "restarts", "message"}, …]}`."""
        del request
        found = await self._objects.get(target.resource, target.namespace, target.name)
        try:
            pods = self._running.pods(found.key)
        except PodsNotListedError as error:
            raise ApiError(503, str(error)) from None
        return JSONResponse({"items": [_row(one) for one in pods]})


def _row(pod: PodRecord) -> dict[str, Any]:
    trouble = pod_trouble(pod)
    return {
        "name": pod.name,
        "state": _WAITS if trouble else _RUNS,
        "ready": pod.ready,
        "images": {one.name: one.image for one in pod.containers},
        "restarts": sum(one.restarts for one in pod.containers),
        "message": trouble,
    }
