"""A node that a test plays: Pods of a namespace turn ready, or end, by what their images are."""

from collections.abc import Mapping
from contextlib import aclosing
from datetime import UTC, datetime
from typing import Any

from upwell.api.meta import format_time
from upwell.api.patches.content_types import MERGE_PATCH
from upwell.api.pod import Pod
from upwell.store.interface import NotFoundError, Selector, Store
from upwell.store.kubernetes_http import ApiConnection, ApiRequest


class PlayedNode:
    """Reports the statuses that a kubelet would; the cluster's controllers do the rest.

    For a cluster without a node, where nobody else reports any.
    """

    def __init__(self, api: ApiConnection, store: Store, namespace: str) -> None:
        self._api = api
        self._store = store
        self._namespace = namespace
        self.unready: set[str] = set()
        """Images that never get ready."""
        self.failing: set[str] = set()
        """Images whose tests end with exit code 1."""
        self.ended: list[str] = []
        """Images of the tests that have ended."""
        self._seen: set[str] = set()

    async def run(self) -> None:
        """Report on each Pod as it comes; never ends."""
        async with aclosing(self._store.watch(Pod, Selector(self._namespace))) as events:
            async for event in events:
                pod = event.resource
                if pod.uid not in self._seen:
                    self._seen.add(pod.uid)
                    await self._report(pod)

    async def _report(self, pod: Pod) -> None:
        image = pod.spec.containers[0].image
        kinds = {one.kind for one in pod.metadata.owner_references}
        if "Job" in kinds:
            status = _ended(pod, 1 if image in self.failing else 0)
            self.ended.append(image)
        elif image in self.unready:
            return
        else:
            status = _running(pod)
        request = ApiRequest(
            "PATCH",
            Pod.KIND,
            pod.key,
            "status",
            body={"status": status},
            content_type=MERGE_PATCH,
        )
        try:
            await self._api.ask(request)
        except NotFoundError:
            return  # its owner has removed it meanwhile


def _now() -> str:
    return format_time(datetime.now(UTC).replace(microsecond=0))


def _running(pod: Pod) -> Mapping[str, Any]:
    ready = {"type": "Ready", "status": "True", "lastTransitionTime": _now()}
    state = {"running": {"startedAt": _now()}}
    return {
        "phase": "Running",
        "conditions": [ready],
        "containerStatuses": [_container(pod, state, ready=True)],
    }


def _ended(pod: Pod, code: int) -> Mapping[str, Any]:
    reason = "Error" if code else "Completed"
    times = {"startedAt": _now(), "finishedAt": _now()}
    state = {"terminated": {"exitCode": code, "reason": reason, **times}}
    phase = "Failed" if code else "Succeeded"
    return {"phase": phase, "containerStatuses": [_container(pod, state, ready=False)]}


def _container(pod: Pod, state: Mapping[str, Any], *, ready: bool) -> Mapping[str, Any]:
    [one] = pod.spec.containers
    return {
        "name": one.name,
        "image": one.image,
        "imageID": one.image,
        "ready": ready,
        "restartCount": 0,
        "state": state,
    }
