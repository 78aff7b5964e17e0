"""Admission of objects of promotion that clients write: the requester is set, the rest is kept.

A Promotion that goes past the gate of its stage is made by the server alone, as the answer to a
verb that has its own right, its reason and its line in the audit log.
"""

from typing import Any

from upwell.api.codec import InvalidObjectError
from upwell.api.meta import Resource
from upwell.api.pipeline import Freeze
from upwell.api.promotion import BY_HAND_ANNOTATION, PIPELINE_LABEL, Promotion, Purpose, Release
from upwell.api.values.faults import Fault

_IMMUTABLE = (Release, Promotion)
_VERBS = {
    Purpose.ROLL_BACK: "`upwell rollback pipeline/{} --stage {}`",
    Purpose.VERIFY: "`upwell verify pipeline/{} --stage {}`",
}


def admitted(resource: Resource, old: Resource | None, user: str) -> Resource:
    """Return the object as it may be stored: signed with who asks for it, its spec as it was.

    Raises InvalidObjectError for a Release or Promotion that is to be changed.
    """
    match resource:
        case Freeze():
            by = old.spec.by if isinstance(old, Freeze) else user
            return resource.model_copy(update={"spec": resource.spec.model_copy(update={"by": by})})
        case Promotion() if old is None:
            _require_ordinary(resource)
            spec = resource.spec.model_copy(update={"requested_by": user})
            return _labelled(resource.model_copy(update={"spec": spec}), spec.pipeline)
        case Release() if old is None:
            return _marked(_labelled(resource, resource.spec.pipeline), by_hand=True)
        case Release() | Promotion() if old is not None:
            _require_unchanged(resource, old)
            kept = _labelled(resource, resource.spec.pipeline)
            return _marked(kept, by_hand=BY_HAND_ANNOTATION in old.annotations)
    return resource


def _marked[R: Resource](resource: R, *, by_hand: bool) -> R:
    """Return the object with the mark of what a client has written, or without it."""
    others = {name: v for name, v in resource.annotations.items() if name != BY_HAND_ANNOTATION}
    mark = {BY_HAND_ANNOTATION: "true"} if by_hand else {}
    return resource.with_metadata(annotations={**others, **mark})


def _labelled[R: Resource](resource: R, pipeline: str) -> R:
    """Return the object with the label by which its Pipeline finds it."""
    return resource.with_metadata(labels={**resource.labels, PIPELINE_LABEL: pipeline})


def _require_ordinary(promotion: Promotion) -> None:
    """Raise InvalidObjectError for one that would go past the gate of its stage."""
    spec, faults = promotion.spec, []
    if spec.purpose is not Purpose.PROMOTE:
        verb = _VERBS[spec.purpose].format(spec.pipeline, spec.stage)
        faults.append(Fault("spec.purpose", f"{spec.purpose} is asked for by a verb: {verb}"))
    if spec.bypass:
        verb = f"`upwell promote {spec.release} --stage {spec.stage} --bypass REASON`"
        faults.append(Fault("spec.bypass", f"an emergency is asked for by a verb: {verb}"))
    if spec.past_image_policies:
        verb = f"`upwell promote {spec.release} --bypass REASON --past-image-policies`"
        faults.append(Fault("spec.pastImagePolicies", f"is set by the server alone: {verb}"))
    if spec.hold:
        verb = f"`upwell promote {spec.release} --stage {spec.stage}`"
        faults.append(Fault("spec.hold", f"is set by the server alone: {verb}"))
    if faults:
        raise InvalidObjectError(f"{promotion.KIND} {promotion.name!r}", tuple(faults))


def _require_unchanged(new: Resource, old: Resource) -> None:
    before, after = _spec(old), _spec(new)
    changed = [
        name for name in sorted(before.keys() | after.keys()) if before.get(name) != after.get(name)
    ]
    if changed:
        why = f"is immutable: create another {new.KIND} instead"
        faults = tuple(Fault(f"spec.{name}", why) for name in changed)
        raise InvalidObjectError(f"{new.KIND} {new.name!r}", faults)


def _spec(resource: Resource) -> dict[str, Any]:
    if not isinstance(resource, _IMMUTABLE):
        return {}
    return resource.spec.model_dump(mode="json", by_alias=True)
