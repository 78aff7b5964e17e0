"""Native workloads that follow a tag, and how a cluster reports their rollouts."""

import json
from typing import Any

from tests.support.cluster.memory_cluster import owned_by

from upwell.api.apps import TRIGGERS_ANNOTATION, CronJob, DaemonSet, Deployment, StatefulSet
from upwell.api.codec import decode_as
from upwell.api.image import ImageStream, ImageStreamStatus, NamedTagEventList, TagEvent
from upwell.api.meta import Resource
from upwell.cluster.interface import FIELD_MANAGER, PodContainer, PodRecord
from upwell.oci import Digest
from upwell.policy.cluster_rollouts.field_owners import TRIGGERS_PATH, image_path
from upwell.policy.cluster_rollouts.note import NOTE_ANNOTATION, NOTE_PATH, RolloutNote
from upwell.store.interface import NotFoundError, Store

NAMESPACE = "shop"
PLACEHOLDER = "registry.test/app:1"
APPLIED = "kubectl-client-side-apply"
OWN_NOTE = owned_by(FIELD_MANAGER, NOTE_PATH, operation="Apply")
"""Entry of managedFields that a note has which Upwell has written."""
type Native = Deployment | StatefulSet | DaemonSet | CronJob


def image(version: str) -> str:
    """Return the pull spec of a version of the application."""
    return f"registry.test/app@{Digest.of(version.encode())}"


def triggers(init: str = "") -> str:
    """Return the annotation of a workload whose container `app` follows `app:latest`."""
    names = [("containers", "app")] + ([("initContainers", init)] if init else [])
    return json.dumps(
        [
            {
                "from": {"kind": "ImageStreamTag", "name": "app:latest"},
                "fieldPath": f'spec.template.spec.{part}[?(@.name=="{name}")].image',
            }
            for part, name in names
        ]
    )


def manifest[R: Resource](
    kind: type[R], name: str = "web", *, namespace: str = NAMESPACE, init: str = ""
) -> dict[str, Any]:
    """Return a workload as a person writes it."""
    labels = {"app": name}
    pod: dict[str, Any] = {"containers": [{"name": "app", "image": PLACEHOLDER}]}
    if init:
        pod["initContainers"] = [{"name": init, "image": PLACEHOLDER}]
    template = {"metadata": {"labels": labels}, "spec": pod}
    spec: dict[str, Any] = {"selector": {"matchLabels": labels}, "template": template}
    if kind is StatefulSet:
        spec["serviceName"] = name
    if kind is CronJob:
        pod["restartPolicy"] = "Never"
        spec = {"schedule": "0 0 1 1 *", "jobTemplate": {"spec": {"template": template}}}
    return {
        "apiVersion": kind.KIND.api_version,
        "kind": kind.KIND.kind,
        "metadata": {
            "name": name,
            "namespace": namespace,
            "annotations": {TRIGGERS_ANNOTATION: triggers(init)},
        },
        "spec": spec,
    }


def workload[R: Resource](
    kind: type[R], *managers: str, declared_by: str = APPLIED, name: str = "web"
) -> R:
    """Return a workload that `declared_by` has applied, and whose image `managers` set last."""
    made = decode_as(kind, manifest(kind, name))
    path = image_path(made, ("app", False))
    paths = [TRIGGERS_PATH] if managers else [TRIGGERS_PATH, path]
    entries = [owned_by(declared_by, *paths), *(owned_by(one, path) for one in managers)]
    return made.with_metadata(managed_fields=tuple(entries), generation=1)


def noted[R: Resource](made: R, note: RolloutNote) -> R:
    """Return a workload with a note that Upwell has written on it."""
    return made.with_metadata(
        annotations={**made.annotations, NOTE_ANNOTATION: note.format()},
        managed_fields=(*made.metadata.managed_fields, OWN_NOTE),
    )


async def move_tag(store: Store, version: str) -> None:
    """Let `app:latest` stand for a version."""
    reference = image(version)
    digest = reference.partition("@")[2]
    try:
        stream = await store.get(ImageStream, NAMESPACE, "app")
    except NotFoundError:
        document = {"metadata": {"namespace": NAMESPACE, "name": "app"}}
        stream = await store.create(decode_as(ImageStream, document))
    event = TagEvent.model_validate_json(
        json.dumps(
            {
                "created": "2026-01-01T00:00:00Z",
                "dockerImageReference": reference,
                "image": digest,
            }
        )
    )
    tags = (NamedTagEventList(tag="latest", items=(event,)),)
    await store.update_status(stream.with_status(ImageStreamStatus(tags=tags)))


def with_status_of[R: Resource](stored: R, **status: Any) -> R:
    """Return the workload as its controller reports it."""
    document = {"metadata": {"name": "x"}, "status": status}
    return stored.with_status(decode_as(type(stored), document).status)  # type: ignore[attr-defined]


def complete(stored: Native) -> dict[str, Any]:
    """Return the status of a rollout that is complete."""
    seen = {"observedGeneration": stored.generation}
    counts = {"replicas": 1, "updatedReplicas": 1, "readyReplicas": 1, "availableReplicas": 1}
    match stored:
        case Deployment():
            condition = {
                "type": "Progressing",
                "status": "True",
                "reason": "NewReplicaSetAvailable",
            }
            return {**seen, **counts, "conditions": [condition]}
        case StatefulSet():
            return {**seen, **counts, "currentRevision": "b", "updateRevision": "b"}
        case DaemonSet():
            return {
                **seen,
                "desiredNumberScheduled": 1,
                "updatedNumberScheduled": 1,
                "numberAvailable": 1,
            }
        case CronJob():
            return {"lastSuccessfulTime": "2026-06-01T00:00:00Z"}


def stuck(stored: Deployment, why: str = "") -> dict[str, Any]:
    """Return the status of a Deployment whose deadline is over."""
    conditions = [{"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded"}]
    if why:
        conditions.append({"type": "ReplicaFailure", "status": "True", "message": why})
    return {"observedGeneration": stored.generation, "replicas": 2, "conditions": conditions}


def pod(owner: Native, name: str, **container: Any) -> PodRecord:
    """Return a Pod of a workload with a container as given."""
    one = PodContainer("app", **container)
    return PodRecord(NAMESPACE, name, owner.KIND.kind, owner.name, "node-1", False, (one,))  # noqa: FBT003
