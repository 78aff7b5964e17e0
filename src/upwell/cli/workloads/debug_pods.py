"""The Pod that `debug` starts: a copy of a workload's, whose container does what is asked; pure."""

import copy
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from upwell.cli.changes.pod_templates import Document, all_containers, pod_spec
from upwell.cli.core.errors import CommandError

SOURCE_RESOURCE = "debug.openshift.io/source-resource"
SOURCE_CONTAINER = "debug.openshift.io/source-container"
_INSTANCE = "upwell-"
"""Begin of the names that only the instances of workloads have."""
_MAX_NAME = 63


@dataclass(slots=True)
class DebugOptions:
    """Ways in which the copy differs from its original."""

    container: str = ""
    image: str = ""
    as_root: bool = False
    as_user: int | None = None
    keep_labels: bool = False
    keep_annotations: bool = False
    keep_liveness: bool = False
    keep_readiness: bool = False
    keep_startup: bool = False
    keep_init_containers: bool = True
    one_container: bool = False
    node_name: str = ""
    command: Sequence[str] = ("/bin/sh",)
    environment: Sequence[str] = ()
    """`NAME=VALUE` to set, `NAME-` to remove."""
    stdin: bool = True
    tty: bool = True
    images: Mapping[str, str] = field(default_factory=dict)
    """Images that run now, by container."""


def debug_pod(document: Document, namespace: str, options: DebugOptions) -> Document:
    """Return the Pod's manifest; raises CommandError."""
    original = copy.deepcopy(document)
    spec = pod_spec(original)
    metadata = _template_metadata(original)
    container = _container(spec, options.container)
    _change_containers(spec, container, options)
    spec.pop("nodeName", None)
    if options.node_name:
        spec["nodeName"] = options.node_name
    spec["restartPolicy"] = "Never"
    spec["terminationGracePeriodSeconds"] = 1
    name, kind = str(document["metadata"]["name"]), str(document["kind"]).lower()
    annotations = dict(metadata.get("annotations") or {}) if options.keep_annotations else {}
    annotations[SOURCE_RESOURCE] = f"{kind}/{name}"
    annotations[SOURCE_CONTAINER] = str(container["name"])
    made: Document = {
        "name": _name(name),
        "namespace": namespace,
        "annotations": annotations,
    }
    if options.keep_labels and metadata.get("labels"):
        made["labels"] = metadata["labels"]
    return {"apiVersion": "v1", "kind": "Pod", "metadata": made, "spec": spec}


def image_pod(name: str, image: str) -> Document:
    """Return what is copied for an image alone."""
    spec = {"containers": [{"name": "debug", "image": image}]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}


def _name(name: str) -> str:
    simple = name.removeprefix(_INSTANCE).replace(":", "-").replace(".", "-").lower()
    end = f"-debug-{secrets.token_hex(3)}"
    return simple[: _MAX_NAME - len(end)].rstrip("-") + end


def _template_metadata(document: Document) -> Document:
    if document["kind"] == "Pod":
        return dict(document.get("metadata") or {})
    spec = document.get("spec") or {}
    if document["kind"] == "CronJob":
        spec = (spec.get("jobTemplate") or {}).get("spec") or {}
    return dict((spec.get("template") or {}).get("metadata") or {})


def _container(spec: Document, name: str) -> Document:
    if not spec.get("containers"):
        raise CommandError("it has no container to debug")
    if not name:
        first: Document = spec["containers"][0]
        return first
    for one in all_containers(spec):
        if one.get("name") == name:
            return one
    names = ", ".join(str(one.get("name")) for one in all_containers(spec))
    raise CommandError(
        f"the container {name!r} is not a valid container name; must be one of {names}"
    )


def _change_containers(spec: Document, container: Document, options: DebugOptions) -> None:
    for one in all_containers(spec):
        one["image"] = options.images.get(str(one.get("name")), one.get("image", ""))
        for port in one.get("ports") or ():
            port.pop("hostPort", None)
    container["image"] = options.image or container["image"]
    container["command"] = list(options.command)
    container.pop("args", None)
    for key, holds in (("stdin", options.stdin), ("tty", options.tty)):
        container.pop(key, None)
        if holds:
            container[key] = True
    probes = {
        "readinessProbe": options.keep_readiness,
        "livenessProbe": options.keep_liveness,
        "startupProbe": options.keep_startup,
    }
    for probe, kept in probes.items():
        if not kept:
            container.pop(probe, None)
    _change_environment(container, options.environment)
    _change_user(spec, container, options)
    if options.one_container:
        spec.pop("initContainers", None)
        spec["containers"] = [container]
    elif not options.keep_init_containers:
        init = [one for one in spec.get("initContainers") or () if one is container]
        spec.pop("initContainers", None)
        if init:
            spec["initContainers"] = init


def _change_environment(container: Document, changes: Sequence[str]) -> None:
    wanted = dict(one.split("=", 1) for one in changes if "=" in one)
    gone = {one[:-1] for one in changes if "=" not in one} | set(wanted)
    kept = [one for one in container.get("env") or () if one.get("name") not in gone]
    kept += [{"name": name, "value": value} for name, value in wanted.items()]
    container.pop("env", None)
    if kept:
        container["env"] = kept


def _change_user(spec: Document, container: Document, options: DebugOptions) -> None:
    user = 0 if options.as_root else options.as_user
    if user is None:
        return
    for owner in (container, spec):
        context = dict(owner.get("securityContext") or {})
        context.pop("runAsNonRoot", None)
        if owner is container:
            context["runAsUser"] = user
        owner.pop("securityContext", None)
        if context:
            owner["securityContext"] = context
