"""Writes to workloads over the Kubernetes API, by server-side apply."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from upwell.api.apps import CronJob
from upwell.api.codec import InvalidObjectError, decode_as
from upwell.api.core import Event
from upwell.api.meta import Kind, ObjectKey, Resource, format_time
from upwell.api.patches.content_types import APPLY, MERGE_PATCH
from upwell.api.pod import Pod
from upwell.cluster.errors import (
    AccessDeniedError,
    ClusterError,
    ClusterUnavailableError,
    FieldOwnedError,
    ListExpiredError,
    WorkloadChangedError,
    WriteRefusedError,
    is_of_admission,
)
from upwell.cluster.interface import FIELD_MANAGER, ImageWrite, WorkloadEvent
from upwell.machine.backoff import asked_delay
from upwell.store.interface import (
    AlreadyExistsError,
    ConflictError,
    ExpiredError,
    NotFoundError,
    StoreError,
    UnavailableError,
)
from upwell.store.kubernetes_errors import (
    NamespaceTerminatingError,
    StoreForbiddenError,
    StoreUnauthenticatedError,
)
from upwell.store.kubernetes_http import ApiConnection, ApiRequest

_FIELD_CONFLICT = "Apply failed with"
_MAX_MESSAGE = 1000
"""Characters of an Event's message (core/v1 validation has 1024)."""


class KubernetesWorkloads:
    """Implements ClusterWorkloads at the API server behind `api`."""

    def __init__(self, api: ApiConnection, clock: Callable[[], datetime]) -> None:
        self._api = api
        self._clock = clock

    async def set_images(self, write: ImageWrite) -> Resource:
        """Apply images and annotations."""
        workload = write.workload
        kind = workload.KIND
        params = {"fieldManager": FIELD_MANAGER, "force": str(write.take_over).lower()}
        request = ApiRequest("PATCH", kind, workload.key, params=params, content_type=APPLY)
        answer = await self._send(replace(request, body=_applied(write, kind)))
        try:
            return decode_as(type(workload), answer)
        except InvalidObjectError as error:
            raise ClusterError(f"the cluster answered no {kind}: {error}") from error

    async def delete_pod(self, pod: ObjectKey, image: str) -> None:
        """Delete the Pod that has been looked at, and none that has come in its place."""
        about = ApiRequest("GET", Pod.KIND, pod)
        try:
            found = await self._send(about)
            if image not in _images_of_pod(found):
                return
            options = {"preconditions": {"uid": found["metadata"]["uid"]}}
            await self._send(replace(about, method="DELETE", body=options))
        except WorkloadChangedError:
            return

    async def tell(self, event: WorkloadEvent) -> None:
        """Create the Event, or note on it that it was seen again, where that can be."""
        document = self._event(event)
        name, namespace = document["metadata"]["name"], document["metadata"]["namespace"]
        key = ObjectKey(Event.KIND.kind, namespace, name)
        request = ApiRequest("POST", Event.KIND, key, body=document, collection=True)
        try:
            await self._send(request)
        except AlreadyExistsError:
            if event.at is not None:
                return
            seen = {"lastTimestamp": document["lastTimestamp"]}
            again = ApiRequest("PATCH", Event.KIND, key, body=seen, content_type=MERGE_PATCH)
            await self._send(again)

    def _event(self, event: WorkloadEvent) -> dict[str, Any]:
        workload, at = event.workload, event.at or self._clock()
        time = format_time(at.replace(microsecond=0))
        kind = workload.KIND
        about = f"{workload.uid}\n{event.reason}\n{event.message}"
        if event.at is not None:
            about += f"\n{format_time(event.at)}"
        digest = hashlib.sha256(about.encode()).hexdigest()
        return {
            "apiVersion": "v1",
            "kind": "Event",
            # The name follows from what is told, so that a restart does not tell it anew.
            "metadata": {
                "name": f"{workload.name[:200]}.{digest[:16]}",
                "namespace": workload.namespace,
            },
            "involvedObject": {
                "apiVersion": kind.api_version,
                "kind": kind.kind,
                "namespace": workload.namespace,
                "name": workload.name,
                "uid": workload.uid,
                "resourceVersion": workload.resource_version,
            },
            "reason": event.reason,
            "message": event.message[:_MAX_MESSAGE],
            "type": "Warning" if event.is_warning else "Normal",
            "source": {"component": FIELD_MANAGER},
            "firstTimestamp": time,
            "lastTimestamp": time,
            "count": 1,
        }

    async def _send(self, request: ApiRequest) -> Mapping[str, Any]:
        try:
            return (await self._api.ask(request)).document
        except AlreadyExistsError:
            raise
        except StoreError as error:
            raise cluster_error(error) from error


def _images_of_pod(pod: Mapping[str, Any]) -> set[str]:
    spec = pod.get("spec") or {}
    parts = (spec.get("initContainers"), spec.get("containers"))
    return {str(one.get("image")) for part in parts for one in part or ()}


def _applied(write: ImageWrite, kind: Kind) -> dict[str, Any]:
    """Return the fields that Upwell owns after the write, and no other."""
    pod: dict[str, Any] = {}
    for (name, init), image in write.images.items():
        place = pod.setdefault("initContainers" if init else "containers", [])
        place.append({"name": name, "image": image})
    spec: dict[str, Any] = {"template": {"spec": pod}}
    workload = write.workload
    return {
        "apiVersion": kind.api_version,
        "kind": kind.kind,
        "metadata": {
            "name": workload.name,
            "namespace": workload.namespace,
            "uid": workload.uid,
            "resourceVersion": workload.resource_version,
            "annotations": dict(write.annotations),
        },
        "spec": {"jobTemplate": {"spec": spec}} if isinstance(workload, CronJob) else spec,
    }


def cluster_error(error: StoreError) -> ClusterError:
    """Return the error of this port for one of the API's client."""
    if not is_of_admission(error):
        return _of_server(error)
    refused = WriteRefusedError(str(error))
    refused.by_admission = True
    return refused


def _of_server(error: StoreError) -> ClusterError:
    text, found = str(error), type(error)
    # A token that has expired is issued anew.
    if isinstance(error, UnavailableError | StoreUnauthenticatedError):
        return ClusterUnavailableError(text, asked_delay(error))
    if isinstance(error, ExpiredError):
        return ListExpiredError(text)
    if isinstance(error, ConflictError) and _FIELD_CONFLICT in text:
        return FieldOwnedError(text)
    if isinstance(error, ConflictError | NotFoundError | NamespaceTerminatingError):
        return WorkloadChangedError(text)
    if found is StoreForbiddenError:
        return AccessDeniedError(text)
    return WriteRefusedError(text)
