"""Defaults of Pod templates (core/v1 SetDefaults_PodSpec, _Container, _Probe, _Volume)."""

from collections.abc import Mapping
from typing import Any

from upwell.api.meta import Model
from upwell.api.pod_template import (
    ConfigMapVolume,
    Container,
    ContainerPort,
    DownwardVolume,
    FieldSelector,
    HostPathVolume,
    HttpGetAction,
    PodSpec,
    Probe,
    ProjectedVolume,
    ResourceRequirements,
    SecretVolume,
    TokenProjection,
    Volume,
)

ALWAYS, IF_NOT_PRESENT = "Always", "IfNotPresent"
_PROBE_NUMBERS = ("period_seconds", "timeout_seconds", "success_threshold", "failure_threshold")
_SOURCES = tuple(name for name in Volume.model_fields if name != "name")

STORED: Mapping[type[Model], tuple[str, ...]] = {
    PodSpec: ("restart_policy", "termination_grace_period_seconds", "dns_policy", "scheduler_name"),
    Container: ("termination_message_path", "termination_message_policy"),
    ContainerPort: ("protocol",),
    Probe: _PROBE_NUMBERS,
    HttpGetAction: ("path", "scheme"),
    FieldSelector: ("api_version",),
    HostPathVolume: ("type",),
    SecretVolume: ("default_mode",),
    ConfigMapVolume: ("default_mode",),
    DownwardVolume: ("default_mode",),
    ProjectedVolume: ("default_mode",),
    TokenProjection: ("expiration_seconds",),
}


def pod_spec(pod: PodSpec) -> dict[str, object]:
    """Return the defaults of a Pod that depend on what else it has."""
    return {} if pod.security_context is not None else {"security_context": {}}


def container(one: Container) -> dict[str, object]:
    """Return the defaults of a container that depend on what else it has."""
    changes: dict[str, object] = {}
    if not one.image_pull_policy:
        changes["image_pull_policy"] = pull_policy(one.image)
    if one.resources is None:
        changes["resources"] = ResourceRequirements()
    return changes


def probe(one: Probe) -> dict[str, object]:
    """Return the numbers of a probe that are 0, which Kubernetes takes for not given."""
    return {
        name: Probe.model_fields[name].default for name in _PROBE_NUMBERS if getattr(one, name) == 0
    }


def volume(one: Volume) -> dict[str, object]:
    """Return the source of a volume that names none: an empty folder."""
    named = one.model_extra or any(getattr(one, source) is not None for source in _SOURCES)
    return {} if named else {"empty_dir": {}}


def pull_policy(image: str) -> str:
    """Return when an image is pulled by default: always, if it has the tag `latest` or none."""
    name, at, _ = image.strip().partition("@")
    if at or not name:
        return IF_NOT_PRESENT
    tag = name.rsplit("/", 1)[-1].partition(":")[2]
    return ALWAYS if tag in {"", "latest"} else IF_NOT_PRESENT


def without_defaults(template: dict[str, Any]) -> dict[str, Any]:
    """Return a template's document without those defaults that depend on other fields.

    `template` has none of the others, as `exclude_defaults` leaves them out.
    """
    pod = template.get("spec")
    if not pod:
        return template
    bare = {name: value for name, value in pod.items() if name != "securityContext" or value}
    for listed in ("containers", "initContainers"):
        if listed in bare:
            bare[listed] = [_bare_container(one) for one in bare[listed]]
    if "volumes" in bare:
        bare["volumes"] = [_bare_volume(one) for one in bare["volumes"]]
    return {**template, "spec": bare}


def _bare_container(one: dict[str, Any]) -> dict[str, Any]:
    bare = dict(one)
    if not bare.get("resources", True):
        del bare["resources"]
    image, policy = bare.get("image", ""), bare.get("imagePullPolicy")
    # Of an image by digest, each pull brings the same.
    if policy == pull_policy(image) or (policy == ALWAYS and "@" in image):
        del bare["imagePullPolicy"]
    for name in ("readinessProbe", "livenessProbe", "startupProbe"):
        if name in bare:
            bare[name] = {key: value for key, value in bare[name].items() if value != 0}
    return bare


def _bare_volume(one: dict[str, Any]) -> dict[str, Any]:
    return {"name": one.get("name", "")} if one.get("emptyDir") == {} else one
