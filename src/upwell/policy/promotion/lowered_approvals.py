"""Approvals that a change of a Pipeline lowers; pure.

Whoever could lower the approval of a stage alone could approve alone.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from upwell.api.meta import Resource
from upwell.api.pipeline import Pipeline, Stage, StageWorkloads
from upwell.policy.access.needs import Need
from upwell.policy.access.roles import Action
from upwell.policy.promotion.four_eyes import needs_four_eyes
from upwell.policy.promotion.git_commits import GitPlace


@dataclass(frozen=True, slots=True)
class _Place:
    """Namespaces that a stage sets workloads in."""

    namespace: str
    cluster: str = ""
    """Empty: here, or in those that are selected."""
    selected: str = ""
    """Selector of clusters, as JSON."""
    in_git: bool = False
    """The stage sets nothing there: it is kept in git."""

    def overlaps(self, other: "_Place") -> bool:
        """Return True if both may be the same; a selector may mean any cluster but the own."""
        if self.namespace != other.namespace:
            return False
        if self.selected or other.selected:
            return all(one.selected or one.cluster for one in (self, other))
        return self.cluster == other.cluster


type _Target = tuple[_Place, StageWorkloads]
"""A place, and workloads there."""


def lowering_needs(old: Resource, new: Resource | None) -> Iterator[Need]:
    """Yield the rights that a change takes which lowers an approval.

    They are those to override the gates of the Pipeline. `new` is None for a deletion: what asks
    for approval is not made anew without it.
    """
    if not isinstance(old, Pipeline) or not (new is None or isinstance(new, Pipeline)):
        return
    action = Action("create", "pipelines", old.namespace, old.name, "override")
    yield from (Need(action, why) for why in lowered_approvals(old, new))


def lowered_approvals(old: Pipeline, new: Pipeline | None) -> Iterator[str]:
    """Yield what a change takes from the approval of each stage; `new` is None for a deletion."""
    stages = {stage.name: stage for stage in new.spec.stages} if new is not None else {}
    for before in old.spec.stages:
        if before.approval is None:
            continue
        after = stages.get(before.name)
        taken = ["removes it"]
        if new is not None and after is not None:
            taken = [
                *_votes(old, before, new, after),
                *_workloads(old, before, new, after),
                *_git(old, before, new, after),
            ]
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


def _git(old: Pipeline, before: Stage, new: Pipeline, after: Stage) -> Iterator[str]:
    """Yield what takes the place in git from a stage, and what has others commit to it too."""
    if before.git is None:
        return
    guarded = GitPlace.of(before.git)
    if after.git is None or GitPlace.of(after.git) != guarded:
        yield "takes away its place in git"
    known = {stage.name: GitPlace.of(stage.git) for stage in old.spec.stages if stage.git}
    others = [
        (stage.name, GitPlace.of(stage.git))
        for stage in new.spec.stages
        if stage.git and stage is not after
    ]
    if any(known.get(name) != place and place.overlaps(guarded) for name, place in others):
        yield "has another stage commit to the same place in git"


def _targets(pipeline: Pipeline, stage: Stage) -> list[_Target]:
    place = _Place(
        stage.namespace or pipeline.namespace,
        "" if stage.runs_here else stage.cluster,
        in_git=stage.git is not None,
    )
    if stage.clusters is not None:
        place = replace(place, selected=stage.clusters.selector.model_dump_json())
    return [(place, one.model_copy(update={"images": {}})) for one in stage.workloads]


def _overlap(one: _Target, other: _Target) -> bool:
    """Return True if two targets may be the same workload; a selector may mean any of its kind."""
    (place, first), (there, second) = one, other
    if not place.overlaps(there) or first.kind != second.kind:
        return False
    return not (first.name and second.name) or first.name == second.name
