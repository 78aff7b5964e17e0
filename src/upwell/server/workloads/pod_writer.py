"""Writes of Pods that are stored: which may be made, and what of them may change."""

from typing import Any, override

from upwell.api.defaults import apply_defaults
from upwell.api.meta import Resource
from upwell.api.pod import Pod
from upwell.policy.jobs.pods import FINALIZER, RESTART_POLICIES, deadline_seconds, restart_policy
from upwell.server.admission.admission import Admitted
from upwell.server.http.errors import ApiError
from upwell.server.http.target import RequestTarget
from upwell.server.objects.writes import Writer

type Document = dict[str, Any]

_INSTANCES = "upwell-"
"""Beginning of the names of instances of workloads."""
_LONGEST = 2**31 - 1
"""Seconds, as in Kubernetes."""
_MAY_CHANGE = ("activeDeadlineSeconds", "tolerations")
"""Fields of the spec that may be changed, as in Kubernetes."""


class PodWriter(Writer):
    """Stores Pods: each is run once it is there, and its instance is removed before it goes."""

    @override
    def _admit(
        self, target: RequestTarget, document: Document, old: Resource | None, user: str
    ) -> Admitted:
        # The version that clients see is none of the store's.
        found = document.get("metadata")
        metadata = {**found} if isinstance(found, dict) else {}
        metadata.pop("resourceVersion", None)
        if old is None or not old.is_deleting:
            held = metadata.get("finalizers") or ()
            metadata["finalizers"] = list(dict.fromkeys((*held, FINALIZER)))
        admitted = super()._admit(target, {**document, "metadata": metadata}, old, user)
        pod = admitted.resource
        if isinstance(pod, Pod):
            faults = (
                _faults(pod)
                if not isinstance(old, Pod)
                else _changed_faults(pod, apply_defaults(old))
            )
            if faults:
                message = f"Pod {pod.name!r} is invalid: {'; '.join(faults)}"
                raise ApiError(422, message, key=pod.key)
        return admitted


def _faults(pod: Pod) -> list[str]:
    """Return what keeps a new Pod from ever being run."""
    faults: list[str] = []
    if (pod.name or pod.metadata.generate_name or "").startswith(_INSTANCES):
        faults.append(
            f"metadata.name: what begins with {_INSTANCES!r} is an instance of a workload"
        )
    if not pod.spec.containers:
        faults.append("spec.containers: required")
    if restart_policy(pod) not in RESTART_POLICIES:
        known = ", ".join(RESTART_POLICIES)
        faults.append(f"spec.restartPolicy: expected one of {known}")
    return [*faults, *_deadline_faults(pod)]


def _deadline_faults(pod: Pod) -> list[str]:
    extra = pod.spec.model_extra or {}
    seconds = deadline_seconds(extra)
    fits = seconds is not None and 1 <= seconds <= _LONGEST
    if fits or "activeDeadlineSeconds" not in extra:
        return []
    return [f"spec.activeDeadlineSeconds: expected a number from 1 to {_LONGEST}"]


def _changed_faults(pod: Pod, old: Resource) -> list[str]:
    if isinstance(old, Pod) and _fixed(pod) == _fixed(old):
        return _deadline_faults(pod)
    changeable = " and ".join(_MAY_CHANGE)
    forbidden = f"spec: Forbidden: a Pod's spec cannot be changed, but for {changeable}"
    return [f"{forbidden}: delete it and create it anew"]


def _fixed(pod: Pod) -> Document:
    spec: Document = pod.spec.model_dump(mode="json", exclude_defaults=True, exclude_none=True)
    return {key: value for key, value in spec.items() if key not in _MAY_CHANGE}
