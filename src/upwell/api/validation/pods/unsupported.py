"""Fields of a Pod that Kubernetes honours and one machine does not: refused as they are written.

Objects that were stored before keep them; a condition says that they cannot be honoured.
"""

import re
from collections.abc import Iterator, Mapping

from upwell.api.meta import Model
from upwell.api.pod_template import (
    Container,
    EnvVar,
    Lifecycle,
    PodSpec,
    Probe,
    ProjectedFields,
    TokenProjection,
    Volume,
)
from upwell.api.validation.pods.volume_sources import UNSUPPORTED
from upwell.api.values.faults import Fault

_MAX_AUDIENCE = 256
_MAX_TOKENS = 32
"""Of a template: each is signed, written and noted anew again and again, for every instance."""
_PROBES = "use httpGet, tcpSocket or exec"
_FIELDS = ("metadata.name", "metadata.namespace", "spec.serviceAccountName", "status.hostIP")
"""Fields of an instance that are known before it starts, beside its labels and annotations."""
_ENTRY = re.compile(r"metadata\.(labels|annotations)\['.*'\]")
_PROJECTIONS = {"clusterTrustBundle", "podCertificate"}
_REFERENCES = {"resourceFieldRef", "fileKeyRef"}
_VALUES = f"use configMapKeyRef, secretKeyRef, or fieldRef of {', '.join(_FIELDS)}"
_VOLUMES = (
    "use emptyDir, configMap, secret, projected, downwardAPI, persistentVolumeClaim or hostPath"
)


def unsupported_faults(spec: PodSpec, path: str) -> Iterator[Fault]:
    """Yield what a Pod's spec asks for in vain; it stands at `path`."""
    if spec.host_network:
        why = "instances have a network of their own: name the ports in a Service"
        yield Fault.forbidden(f"{path}.hostNetwork", why)
    if _unknown(spec).get("ephemeralContainers"):
        why = "ephemeral containers not allowed here: use `exec` in what runs"
        yield Fault.forbidden(f"{path}.ephemeralContainers", why)
    automount = spec.automount_service_account_token
    if automount is not None and not isinstance(automount, bool):
        yield Fault.wrong_type(f"{path}.automountServiceAccountToken", "true or false", automount)
    for name, several in (
        ("initContainers", spec.init_containers),
        ("containers", spec.containers),
    ):
        for at, container in enumerate(several):
            yield from _container(container, f"{path}.{name}[{at}]")
    yield from _volumes(spec, f"{path}.volumes")


def _unknown(model: Model) -> Mapping[str, object]:
    """Return the fields of a part that no model of ours has."""
    return model.model_extra or {}


def _container(container: Container, path: str) -> Iterator[Fault]:
    if _unknown(container).get("volumeDevices"):
        why = "each claim is a folder, not a device: use volumeMounts"
        yield Fault.forbidden(f"{path}.volumeDevices", why)
    for at, mount in enumerate(container.volume_mounts):
        if _unknown(mount).get("subPathExpr"):
            why = "variables are not expanded in it: write the path into subPath"
            yield Fault.forbidden(f"{path}.volumeMounts[{at}].subPathExpr", why)
    for at, variable in enumerate(container.env):
        yield from _variable(variable, f"{path}.env[{at}].valueFrom")
    for name, probe in (
        ("livenessProbe", container.liveness_probe),
        ("readinessProbe", container.readiness_probe),
        ("startupProbe", container.startup_probe),
    ):
        yield from _probe(probe, f"{path}.{name}")
    yield from _moments(container.lifecycle or Lifecycle(), f"{path}.lifecycle")


def _variable(variable: EnvVar, path: str) -> Iterator[Fault]:
    source = variable.value_from
    if source is None:
        return
    if source.field_ref is not None:
        field = source.field_ref.field_path
        if field not in _FIELDS and _ENTRY.fullmatch(field) is None:
            why = f"{field} is not known when an instance starts: {_VALUES}"
            yield Fault.forbidden(f"{path}.fieldRef.fieldPath", why)
    elif source.config_map_key_ref is None and source.secret_key_ref is None:
        for name in sorted(_unknown(source).keys() & _REFERENCES):
            yield Fault.forbidden(f"{path}.{name}", f"not supported on one machine: {_VALUES}")


def _probe(probe: Probe | None, path: str) -> Iterator[Fault]:
    if probe is not None and _unknown(probe).get("grpc") is not None:
        yield Fault.forbidden(f"{path}.grpc", f"not supported: {_PROBES}")


def _moments(lifecycle: Lifecycle, path: str) -> Iterator[Fault]:
    for name, handler in (("postStart", lifecycle.post_start), ("preStop", lifecycle.pre_stop)):
        if handler is not None and _unknown(handler).get("tcpSocket") is not None:
            why = "not supported, and without effect in Kubernetes too: use exec or httpGet"
            yield Fault.forbidden(f"{path}.{name}.tcpSocket", why)


def _volumes(spec: PodSpec, path: str) -> Iterator[Fault]:
    if _number_of_tokens(spec) > _MAX_TOKENS:
        yield Fault(path, f"more than {_MAX_TOKENS} serviceAccountTokens")
    for at, volume in enumerate(spec.volumes):
        where = f"{path}[{at}]"
        yield from _source(volume, where)
        yield from _downward(volume.downward_api, f"{where}.downwardAPI")
        for number, one in enumerate(volume.projected.sources if volume.projected else ()):
            place = f"{where}.projected.sources[{number}]"
            yield from _downward(one.downward_api, f"{place}.downwardAPI")
            yield from _token(one.service_account_token, f"{place}.serviceAccountToken")
            for name in sorted(_unknown(one).keys() & _PROJECTIONS):
                yield Fault.forbidden(f"{place}.{name}", "not supported on one machine")


def _source(volume: Volume, path: str) -> Iterator[Fault]:
    for name in sorted(_unknown(volume).keys() & set(UNSUPPORTED)):
        yield Fault.forbidden(f"{path}.{name}", f"not supported on one machine: {_VOLUMES}")


def _number_of_tokens(spec: PodSpec) -> int:
    return sum(
        source.service_account_token is not None
        for volume in spec.volumes
        for source in (volume.projected.sources if volume.projected else ())
    )


def _token(token: TokenProjection | None, path: str) -> Iterator[Fault]:
    if token is not None and len(token.audience) > _MAX_AUDIENCE:
        yield Fault(f"{path}.audience", f"at most {_MAX_AUDIENCE} characters")


def _downward(volume: ProjectedFields | None, path: str) -> Iterator[Fault]:
    for at, item in enumerate(volume.items if volume is not None else ()):
        if item.field_ref is None:
            why = "fieldRef is needed; resourceFieldRef is not supported"
            yield Fault(f"{path}.items[{at}].fieldRef", why)
