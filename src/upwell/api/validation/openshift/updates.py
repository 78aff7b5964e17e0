"""Fields of OpenShift's kinds that an update may not change."""

from collections.abc import Iterator
from typing import Any

from upwell.api.builds.build import Build
from upwell.api.codec import encode
from upwell.api.meta import Resource
from upwell.api.route import Route
from upwell.api.values.faults import Fault


def openshift_immutable_faults(new: Resource, old: Resource) -> Iterator[Fault]:
    """Yield what `new`, defaulted as `old` is, changes of a stored object and may not."""
    match new, old:
        case Build(), Build():
            # What is pushed to may need another login by the time it is pushed.
            if _without_push_secret(new) != _without_push_secret(old):
                yield Fault("spec", "Invalid value: spec is immutable")
        case Route(), Route():
            before, after = old.spec.wildcard_policy or "None", new.spec.wildcard_policy or "None"
            if before != after:
                yield Fault.invalid("spec.wildcardPolicy", after, "field is immutable")
        case _:
            pass


def _without_push_secret(build: Build) -> dict[str, Any]:
    spec: dict[str, Any] = encode(build).get("spec") or {}
    output = {
        key: value for key, value in (spec.get("output") or {}).items() if key != "pushSecret"
    }
    return {**spec, "output": output}
