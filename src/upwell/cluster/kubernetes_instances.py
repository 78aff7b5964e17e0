"""Pods of a namespace, whole, and their logs, over the Kubernetes API."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace

from upwell.api.codec import InvalidObjectError, decode_as
from upwell.api.meta import ObjectKey
from upwell.api.pod import Pod
from upwell.cluster.errors import ClusterError
from upwell.cluster.interface import OwnedPod
from upwell.cluster.kubernetes import cluster_error
from upwell.cluster.kubernetes_pods import PAGE, owner_of_pod
from upwell.store.interface import StoreError
from upwell.store.kubernetes_http import ApiConnection, ApiRequest
from upwell.workload.interface import Owner


class KubernetesInstances:
    """Implements ClusterInstances at the API server behind `api`."""

    def __init__(self, api: ApiConnection) -> None:
        self._api = api

    async def pods(self, namespace: str, labels: Mapping[str, str]) -> Sequence[OwnedPod]:
        """Return them page by page."""
        params = {"limit": str(PAGE)}
        if labels:
            params["labelSelector"] = ",".join(f"{name}={text}" for name, text in labels.items())
        request = ApiRequest("GET", Pod.KIND, ObjectKey(Pod.KIND.kind, namespace, ""))
        found: list[OwnedPod] = []
        try:
            while True:
                answer = (await self._api.ask(replace(request, params=params))).document
                for item in answer.get("items") or ():
                    meta = item.get("metadata") or {}
                    kind, name = owner_of_pod(meta)
                    found.append(OwnedPod(decode_as(Pod, item), Owner(kind, namespace, name)))
                position = (answer.get("metadata") or {}).get("continue")
                if not position:
                    return found
                params = {**params, "continue": str(position)}
        except StoreError as error:
            raise cluster_error(error) from error
        except InvalidObjectError as error:
            raise ClusterError(f"the cluster answered no Pod: {error}") from error

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
