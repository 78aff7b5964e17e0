"""Approvals that a change of a Pipeline lowers; pure.

Whoever could lower the approval of a stage alone could approve alone.
"""

from collections.abc import Iterator

from upwell.api.meta import Resource
from upwell.api.pipeline import Pipeline, Stage, StageWorkloads
from upwell.policy.access.needs import Need
from upwell.policy.access.rights import Rights
from upwell.policy.access.roles import Action
from upwell.policy.promotion.four_eyes import needs_four_eyes

type _Target = tuple[str, StageWorkloads]
"""A namespace, and workloads there."""


def lowering_refusal(old: Resource | None, new: Resource | None, rights: Rights) -> str | None:
    """Say which right a change that lowers an approval lacks, as what follows "it"; None: none.

    It is the one to override the gates of the Pipeline. `new` is None for a deletion: what asks for
    approval is not made anew without it.
    """
    return rights.lacking(lowering_needs(old, new))


def lowering_needs(old: Resource | None, new: Resource | None) -> frozenset[Need]:
    """Return the rights that a change takes because it lowers an approval."""
    if not isinstance(old, Pipeline) or not (new is None or isinstance(new, Pipeline)):
        return frozenset()
    action = Action("create", "pipelines", old.namespace, old.name, "override")
    return frozenset(Need(action, why) for why in lowered_approvals(old, new))


def lowered_approvals(old: Pipeline, new: Pipeline | None) -> Iterator[str]:
    """Yield what a change takes from the approval of each stage; `new` is None for a deletion."""
    stages = {stage.name: stage for stage in new.spec.stages} if new is not None else {}
    for before in old.spec.stages:
        if before.approval is None:
            continue
        after = stages.get(before.name)
        taken = ["removes it"]
        if new is not None and after is not None:
            taken = [*_votes(old, before, new, after), *_workloads(old, before, new, after)]
        yield from (f"{what} (stage {before.name} takes approval)" for what in taken)


def _votes(old: Pipeline, before: Stage, new: Pipeline, after: Stage) -> Iterator[str]:
    one, other = before.approval, after.approval
    if one is None or other is None:
        yield "takes away an approval"
        return
    if other.required < one.required:
        yield f"takes {other.required} approvals instead of {one.required}"
    if set(other.approvers) != set(one.approvers):
        yield "changes approvers"
    if needs_four_eyes(old, before) and not needs_four_eyes(new, after):
        yield "takes away four eyes: it says so, or another stage comes after"


def _workloads(old: Pipeline, before: Stage, new: Pipeline, after: Stage) -> Iterator[str]:
    """Yield what takes workloads out of the stage, and what has other stages set them too."""
    guarded, present = _targets(old, before), _targets(new, after)
    if any(target not in present for target in guarded):
        yield "takes away workloads"
    known = [one for stage in old.spec.stages for one in _targets(old, stage)]
    others = [
        one for stage in new.spec.stages if stage is not after for one in _targets(new, stage)
    ]
    added = [one for one in others if one in guarded or one not in known]
    if any(_overlap(one, other) for one in guarded for other in added):
        yield "has another stage set the same workloads"


def _targets(pipeline: Pipeline, stage: Stage) -> list[_Target]:
    namespace = stage.namespace or pipeline.namespace
    return [(namespace, one.model_copy(update={"images": {}})) for one in stage.workloads]


def _overlap(one: _Target, other: _Target) -> bool:
    """Return True if two targets may be the same workload; a selector may mean any of its kind."""
    (namespace, first), (place, second) = one, other
    if namespace != place or first.kind != second.kind:
        return False
    return not (first.name and second.name) or first.name == second.name
