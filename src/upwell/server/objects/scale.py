"""The scale subresource (autoscaling/v1 Scale): the number of replicas, apart from all else."""

from typing import Any

from upwell.api.codec import encode
from upwell.api.meta import Resource
from upwell.api.validation.openshift.idling import NEVER_WOKEN
from upwell.server.auth.requests.refusals import CLIENT_GO
from upwell.server.http.errors import ApiError

type Document = dict[str, Any]


def scale_of(resource: Resource) -> Document:
    """Return a workload's Scale."""
    document = encode(resource)
    spec, status = document.get("spec", {}), document.get("status", {})
    meta = document["metadata"]
    labels = spec.get("selector", {})
    labels = labels.get("matchLabels", labels)
    copied = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")
    return {
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": {name: meta[name] for name in copied if name in meta},
        "spec": {"replicas": spec.get("replicas", 1)},
        "status": {
            "replicas": status.get("replicas", 0),
            "selector": ",".join(f"{key}={value}" for key, value in sorted(labels.items())),
        },
    }


def with_replicas(document: Document, scale: Document) -> Document:
    """Return a workload's JSON with the replicas of a Scale; raises ApiError 422."""
    replicas = _part(scale, "spec").get("replicas", 0)
    if not isinstance(replicas, int) or isinstance(replicas, bool) or replicas < 0:
        raise ApiError(422, "spec.replicas: expected a number of 0 or more")
    version = _part(scale, "metadata").get("resourceVersion")
    metadata = document["metadata"] | ({"resourceVersion": version} if version else {})
    spec = document.get("spec", {}) | {"replicas": replicas}
    return {**document, "metadata": metadata, "spec": spec}


def refuse_idling(resource: Resource, scale: Document, agent: str) -> None:
    """Raise ApiError 403 if a Scale is the one by which `oc idle` stops a workload.

    It has the identity that was read, and no resourceVersion: `oc` takes it out, to write over
    whatever is there by then. `oc scale` patches, and other clients keep it.
    """
    metadata = _part(scale, "metadata")
    is_read = metadata.get("uid") == resource.uid and not metadata.get("resourceVersion")
    if CLIENT_GO.decode() in agent and is_read and not _part(scale, "spec").get("replicas"):
        kind = resource.KIND
        raise ApiError(
            403,
            f'{kind.plural} "{resource.name}" is not idled: {NEVER_WOKEN}:'
            f" `oc scale {kind.singular}/{resource.name} --replicas=0` stops it",
            key=resource.key,
        )


def _part(scale: Document, name: str) -> Document:
    """Return an object in a Scale; raises ApiError 422 if it is none."""
    found = scale.get(name)
    if found is not None and not isinstance(found, dict):
        raise ApiError(422, f"{name}: expected an object")
    return found or {}
