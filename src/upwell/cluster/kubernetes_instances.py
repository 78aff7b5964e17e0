"""Pods of a namespace, whole, and their logs, over the Kubernetes API."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from typing import Any

from upwell.api.codec import InvalidObjectError, decode_as
from upwell.api.core import Event
from upwell.api.meta import ObjectKey
from upwell.api.pod import Pod
from upwell.cluster.errors import ClusterError
from upwell.cluster.interface import OwnedPod
from upwell.cluster.kubernetes import cluster_error
from upwell.cluster.kubernetes_documents import list_pages
from upwell.cluster.kubernetes_pods import PAGE, owner_of_pod
from upwell.store.interface import StoreError
from upwell.store.kubernetes_http import ApiConnection, ApiRequest
from upwell.workload.instance_spec import Owner

_MOST_EVENTS = 50
"""About one object: the same message again is the same Event."""


class KubernetesInstances:
    """Implements ClusterInstances at the API server behind `api`."""

    def __init__(self, api: ApiConnection) -> None:
        self._api = api

    async def pods(self, namespace: str, labels: Mapping[str, str]) -> Sequence[OwnedPod]:
        """Return them page by page."""
        params = {}
        if labels:
            params["labelSelector"] = ",".join(f"{name}={text}" for name, text in labels.items())
        request = ApiRequest(
            "GET", Pod.KIND, ObjectKey(Pod.KIND.kind, namespace, ""), params=params
        )
        found: list[OwnedPod] = []
        try:
            async with aclosing(list_pages(self._api, request, PAGE)) as pages:
                async for page in pages:
                    for item in page.items:
                        kind, name = owner_of_pod(item.get("metadata") or {})
                        found.append(OwnedPod(decode_as(Pod, item), Owner(kind, namespace, name)))
        except InvalidObjectError as error:
            raise ClusterError(f"the cluster answered no Pod: {error}") from error
        return found

    async def warnings(self, namespace: str, uid: str) -> Sequence[str]:
        """Return the messages of Events, by a selector of fields."""
        chosen = f"involvedObject.uid={uid},type=Warning"
        request = ApiRequest(
            "GET",
            Event.KIND,
            ObjectKey(Event.KIND.kind, namespace, ""),
            params={"fieldSelector": chosen, "limit": str(_MOST_EVENTS)},
        )
        try:
            items = (await self._api.ask(request)).document.get("items") or ()
        except StoreError as error:
            raise cluster_error(error) from error
        told = [(_time_of(item), str(item.get("message") or "")) for item in items]
        return [message for _, message in sorted(told)]

    async def log(self, pod: ObjectKey, container: str) -> AsyncGenerator[bytes]:
        """Yield the log up to now."""
        params = {"container": container}
        request = ApiRequest("GET", Pod.KIND, pod, "log", params=params, accept="*/*")
        try:
            async with aclosing(self._api.chunks(request)) as chunks:
                async for chunk in chunks:
                    yield chunk
        except StoreError as error:
            raise cluster_error(error) from error


def _time_of(event: Mapping[str, Any]) -> str:
    """Return when an Event was seen last; times of RFC 3339 in UTC are in order as texts."""
    made = (event.get("metadata") or {}).get("creationTimestamp")
    return str(event.get("lastTimestamp") or event.get("eventTime") or made or "")
