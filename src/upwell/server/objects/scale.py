"""The scale subresource (autoscaling/v1 Scale): the number of replicas, apart from all else."""

from typing import Any

from upwell.api.codec import encode
from upwell.api.meta import Resource
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
    replicas = (scale.get("spec") or {}).get("replicas", 0)
    if not isinstance(replicas, int) or isinstance(replicas, bool) or replicas < 0:
        raise ApiError(422, "spec.replicas: expected a number of 0 or more")
    version = (scale.get("metadata") or {}).get("resourceVersion")
    metadata = document["metadata"] | ({"resourceVersion": version} if version else {})
    spec = document.get("spec", {}) | {"replicas": replicas}
    return {**document, "metadata": metadata, "spec": spec}
