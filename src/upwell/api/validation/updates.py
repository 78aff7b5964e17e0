"""Updates: what they may not change, and which faults they may leave as they are.

Source: the update rules of apps/v1, batch/v1 and core/v1.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from upwell.api.apps import DaemonSet, Deployment, Job, StatefulSet
from upwell.api.codec import encode
from upwell.api.core import ConfigMap, Secret
from upwell.api.meta import Resource
from upwell.api.pod import Pod
from upwell.api.validation.openshift.idling import idling_faults
from upwell.api.validation.openshift.updates import openshift_immutable_faults
from upwell.api.validation.waves import immutable_wave_faults
from upwell.api.values.faults import Fault
from upwell.api.waves.wave import Wave

_IMMUTABLE = "field is immutable"
_SEALED = "field is immutable when `immutable` is set"
_STATEFUL = (
    "replicas",
    "ordinals",
    "template",
    "updateStrategy",
    "revisionHistoryLimit",
    "persistentVolumeClaimRetentionPolicy",
    "minReadySeconds",
)
_OF_JOBS = ("selector", "template", "completionMode", "completions")
_OF_PODS = ("activeDeadlineSeconds", "tolerations")
"""Fields of a Pod's spec that may be changed."""
_INDEX = re.compile(r"\[[0-9]+\]")


def new_faults(found: Iterable[Fault], known: Iterable[Fault]) -> Iterator[Fault]:
    """Yield the faults that an update brings in.

    What was stored before there was a rule keeps what it has, in whatever place of a list.
    """
    old = Counter(_without_place(fault) for fault in known)
    for fault in found:
        if old[_without_place(fault)] > 0:
            old[_without_place(fault)] -= 1
        else:
            yield fault


def _without_place(fault: Fault) -> tuple[str, str]:
    return _INDEX.sub("[]", fault.path), fault.message


def immutable_faults(new: Resource, old: Resource) -> Iterator[Fault]:
    """Yield the fields of a stored object that `new`, defaulted as `old` is, may not change."""
    yield from idling_faults(new, old)
    match new, old:
        case Secret(), Secret():
            if new.type != old.type:
                yield Fault.invalid("type", new.type, _IMMUTABLE)
            if old.immutable:
                yield from _sealed(new, old, ("data",))
        case ConfigMap(), ConfigMap():
            if old.immutable:
                yield from _sealed(new, old, ("data", "binary_data"))
        case (Deployment(), Deployment()) | (DaemonSet(), DaemonSet()):
            yield from _selects_the_same(new, old)
        case StatefulSet(), StatefulSet():
            yield from _stateful_set(_spec(new), _spec(old))
        case Job(), Job():
            yield from _unchanged(_spec(new), _spec(old), _OF_JOBS)
        case Pod(), Pod():
            if _fixed(new) != _fixed(old):
                why = f"a Pod's spec cannot be changed, but for {' and '.join(_OF_PODS)}"
                yield Fault.forbidden("spec", f"{why}: delete it and create it anew")
        case Wave(), Wave():
            yield from immutable_wave_faults(new, old)
        case _:
            yield from openshift_immutable_faults(new, old)


def _selects_the_same(new: Resource, old: Resource) -> Iterator[Fault]:
    kinds = Deployment | DaemonSet
    if isinstance(new, kinds) and isinstance(old, kinds) and new.spec.selector == old.spec.selector:
        return  # and nothing is to be encoded
    yield from _unchanged(_spec(new), _spec(old), ("selector",))


def _spec(resource: Resource) -> dict[str, Any]:
    return encode(resource).get("spec") or {}


def _fixed(pod: Pod) -> dict[str, Any]:
    spec = pod.spec.model_dump(mode="json", exclude_defaults=True, exclude_none=True)
    return {name: value for name, value in spec.items() if name not in _OF_PODS}


def _unchanged(
    new: Mapping[str, Any], old: Mapping[str, Any], fields: Iterable[str]
) -> Iterator[Fault]:
    for name in fields:
        # One that was stored without it, before it had to be there, may get it.
        if old.get(name) and new.get(name) != old.get(name):
            yield Fault.invalid(f"spec.{name}", new.get(name), _IMMUTABLE)


def _stateful_set(new: Mapping[str, Any], old: Mapping[str, Any]) -> Iterator[Fault]:
    for name in sorted(new.keys() | old.keys()):
        if name not in _STATEFUL and old.get(name) and new.get(name) != old.get(name):
            why = f"updates to fields other than {', '.join(map(repr, _STATEFUL))} are forbidden"
            yield Fault.forbidden(f"spec.{name}", why)


def _sealed[R: (Secret, ConfigMap)](new: R, old: R, fields: Iterable[str]) -> Iterator[Fault]:
    if not new.immutable:
        yield Fault.forbidden("immutable", _SEALED)
    for name in fields:
        if getattr(new, name) != getattr(old, name):
            yield Fault.forbidden(name.replace("binary_data", "binaryData"), _SEALED)
