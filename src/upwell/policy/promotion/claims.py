"""Owners of workloads: the Pipeline that had one first sets its images, and no other does; pure.

What one asks approval for, another would set without.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence

from upwell.api.meta import Resource
from upwell.api.pipeline import Pipeline, Stage, StageWorkloads
from upwell.api.values.faults import Fault
from upwell.policy.health.promotion import StageObstacle
from upwell.policy.promotion.git_commits import GitPlace
from upwell.policy.promotion.stages import (
    PipelineStage,
    names_workload,
    namespace_of,
    selects_workload,
)
from upwell.policy.rollouts.image_ownership import promotion_note

type FindObstacle = Callable[[Pipeline, Stage, Sequence[Resource]], StageObstacle | None]
"""Returns what keeps the workloads of a stage from being set; None: nothing does."""


def unobstructed(
    _pipeline: Pipeline, _stage: Stage, _workloads: Sequence[Resource]
) -> StageObstacle | None:
    """Return None: whatever a stage names can be set."""
    return None


def foreign_claim(
    pipeline: Pipeline, stage: Stage, workload: Resource, stages: Iterable[PipelineStage]
) -> str:
    """Say which other Pipeline has a workload that a stage is to set; empty: none has.

    `stages` are all that the workload belongs to. Who has set its images before keeps it; else the
    oldest has it.
    """
    mine = names_workload(pipeline, stage, workload)
    if stage.git is not None or mine is None:
        return ""
    rivals = [
        one
        for one in stages
        if one[0].key != pipeline.key and _is_rival(stage, mine, one[1], workload, one[0])
    ]
    if not rivals:
        return ""
    first = min([(pipeline, stage), *rivals], key=lambda one: _precedence(one[0], workload))
    return "" if first[0].key == pipeline.key else _claimed(str(workload.key), *first)


def new_claims(
    pipeline: Pipeline,
    old: Pipeline | None,
    others: Iterable[Pipeline],
    workloads: Iterable[Resource],
) -> Iterator[Fault]:
    """Yield the workloads, and places in git, that a Pipeline names anew and another one has.

    `workloads` are those that exist: selectors mean the same where they both select one.
    """
    known = set(_targets(old)) if old is not None else set()
    others, workloads = tuple(others), tuple(workloads)
    yield from _git_claims(pipeline, old, others)
    for at, stage in enumerate(pipeline.spec.stages):
        for number, entry in enumerate(stage.workloads):
            is_here = stage.git is None and stage.runs_here
            if not is_here or _target(pipeline, stage, entry) in known:
                continue
            path = f"spec.stages[{at}].workloads[{number}]"
            for other in others:
                for theirs in other.spec.stages:
                    if what := _shared(pipeline, stage, entry, other, theirs, workloads):
                        yield Fault(path, _claimed(what, other, theirs))


def _git_claims(
    pipeline: Pipeline, old: Pipeline | None, others: Iterable[Pipeline]
) -> Iterator[Fault]:
    """Yield the places in git that a stage with approval of the namespace keeps already.

    Those of other namespaces commit with Secrets of theirs, who could commit by themselves.
    """
    known = {GitPlace.of(stage.git) for stage in old.spec.stages if stage.git} if old else set()
    guarded = [
        (other, stage, GitPlace.of(stage.git))
        for other in others
        if other.namespace == pipeline.namespace
        for stage in other.spec.stages
        if stage.git is not None and stage.approval is not None
    ]
    for at, stage in enumerate(pipeline.spec.stages):
        place = GitPlace.of(stage.git) if stage.git is not None else None
        if place is None or place in known:
            continue
        for other, theirs, guard in guarded:
            if place.overlaps(guard):
                what = f"{stage.git.path} of {place.repository}" if stage.git else ""
                yield Fault(f"spec.stages[{at}].git", _claimed(what, other, theirs))


def _shared(
    pipeline: Pipeline,
    stage: Stage,
    entry: StageWorkloads,
    other: Pipeline,
    theirs: Stage,
    workloads: Iterable[Resource],
) -> str:
    """Return a workload that an entry and a stage of another Pipeline both mean; empty: none."""
    place = namespace_of(pipeline, stage)
    if place != namespace_of(other, theirs) or not theirs.runs_here:
        return ""
    for one in theirs.workloads:
        if one.kind != entry.kind or not _excludes(stage, entry, theirs, one):
            continue
        if one.name and one.name == entry.name:
            return f"{entry.kind} {place}/{entry.name}"
        for workload in workloads:
            is_there = workload.namespace == place
            if is_there and selects_workload(entry, workload) and selects_workload(one, workload):
                return str(workload.key)
    return ""


def _is_rival(
    stage: Stage, mine: StageWorkloads, theirs: Stage, workload: Resource, other: Pipeline
) -> bool:
    entry = names_workload(other, theirs, workload)
    return entry is not None and _excludes(stage, mine, theirs, entry)


def _excludes(stage: Stage, mine: StageWorkloads, theirs: Stage, other: StageWorkloads) -> bool:
    """Return True unless both may set the workload: other containers each, without approval.

    A stage that is kept in git sets none, and may ask for approval all the same.
    """
    if theirs.approval is not None:
        return True
    if theirs.git is not None:
        return False
    apart = bool(mine.images and other.images) and not mine.images.keys() & other.images.keys()
    return stage.approval is not None or not apart


def _precedence(pipeline: Pipeline, workload: Resource) -> tuple[bool, str, str]:
    created = pipeline.metadata.creation_timestamp
    name = f"{pipeline.namespace}/{pipeline.name}"
    return _setter(workload) != name, created.isoformat() if created else "", name


def _setter(workload: Resource) -> str:
    """Return the `namespace/name` of the Pipeline that has set the workload's images."""
    return str(promotion_note(workload).get("pipeline", ""))


def _claimed(what: str, holder: Pipeline, stage: Stage) -> str:
    return (
        f"{what} belongs to stage {stage.name} of {holder.key}: take it out of that stage first,"
        " or leave it to that"
    )


def _targets(pipeline: Pipeline) -> Iterator[str]:
    for stage in pipeline.spec.stages:
        if stage.git is None and stage.runs_here:
            yield from (_target(pipeline, stage, entry) for entry in stage.workloads)


def _target(pipeline: Pipeline, stage: Stage, entry: StageWorkloads) -> str:
    named = entry.model_dump_json(exclude={"images"})
    return f"{namespace_of(pipeline, stage)} {named}"
