"""The stages of a Pipeline: their order, what serves in each, and whose workloads they are."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from upwell.api.apps import CronJob
from upwell.api.clusters.cluster import Cluster
from upwell.api.meta import Resource, parse_time
from upwell.api.pipeline import Pipeline, Stage, StageWorkloads
from upwell.api.promotion import Promotion, PromotionPhase, Purpose, Release
from upwell.policy.rollouts.image_ownership import pod_template
from upwell.policy.rollouts.settings import WORKLOADS
from upwell.policy.rollouts.triggers import (
    HOLD_ANNOTATION,
    HOLD_UNTIL_ANNOTATION,
    Slot,
    hold_text,
    lifts_hold,
)

STAGE_HOLD = "stage-hold.upwell.dev/"
"""Prefix of the Pipeline's annotation that holds a stage; its value says why."""
STAGE_HOLD_UNTIL = "stage-hold-until.upwell.dev/"
"""Prefix of the annotation that says when that hold ends (RFC 3339)."""

STAGED = (*WORKLOADS, CronJob)
"""The kinds that a stage may have."""


def upstream(pipeline: Pipeline, stage: Stage) -> tuple[str, ...]:
    """Return the stages in which a Release is verified before it enters `stage`."""
    if stage.after is not None:
        return stage.after
    names = [one.name for one in pipeline.spec.stages]
    at = names.index(stage.name)
    return (names[at - 1],) if at else ()


def last_stages(pipeline: Pipeline) -> list[str]:
    """Return the stages that none comes after."""
    before = {name for stage in pipeline.spec.stages for name in upstream(pipeline, stage)}
    return [stage.name for stage in pipeline.spec.stages if stage.name not in before]


def may_enter(pipeline: Pipeline, stage: Stage, release: Release) -> bool:
    """Return True if `release` is verified where it has to be before `stage`."""
    before = upstream(pipeline, stage)
    verified = {one.name for one in release.status.verified}
    if not before:
        return True
    return (
        any(name in verified for name in before)
        if stage.requires == "Any"
        else (verified.issuperset(before))
    )


@dataclass(frozen=True, slots=True)
class Serving:
    """Release that serves in a stage: its name, since when, by which Promotion."""

    release: str = ""
    since: datetime | None = None
    promotion: str = ""


def serving(promotions: Sequence[Promotion]) -> Serving:
    """Return what serves in the stage that all of `promotions` belong to."""
    began = [
        one
        for one in promotions
        if one.status.started is not None and one.spec.purpose is not Purpose.VERIFY
    ]
    if not began:
        return Serving()
    newest = max(began, key=_started)
    status = newest.status
    if status.phase is PromotionPhase.FAILED and status.last_good:
        return Serving(status.last_good, status.ended, newest.name)
    if status.serving_since is None:
        return Serving(status.previous)
    return Serving(newest.spec.release, status.serving_since, newest.name)


def last_good(
    promotions: Iterable[Promotion], releases: Mapping[str, Release], *, besides: str
) -> str:
    """Return the Release that a failure of `besides` goes back to; empty when there is none.

    It was verified in this stage, served there, and is not rejected since.
    """
    good = [
        one
        for one in promotions
        if one.status.phase is PromotionPhase.SUCCEEDED
        and one.spec.release != besides
        and (found := releases.get(one.spec.release)) is not None
        and found.status.rejection is None
    ]
    newest = max(good, key=_started, default=None)
    return newest.spec.release if newest is not None else ""


def _started(promotion: Promotion) -> tuple[float, str]:
    started = promotion.status.started
    return (started.timestamp() if started is not None else 0.0, promotion.name)


def stage_in(stage: Stage, cluster: Cluster) -> Stage:
    """Return the stage as one of a cluster sees it: its workloads are here."""
    mirror = cluster.spec.mirror or stage.mirror
    return stage.model_copy(update={"cluster": "", "clusters": None, "mirror": mirror})


def logins_namespace(pipeline: Pipeline, stage: Stage) -> str:
    """Return whose Secrets log in at the registries of a stage; those of clusters are not read."""
    return namespace_of(pipeline, stage) if stage.runs_here else pipeline.namespace


def namespace_of(pipeline: Pipeline, stage: Stage) -> str:
    """Return where the workloads of a stage are."""
    return stage.namespace or pipeline.namespace


def names_workload(pipeline: Pipeline, stage: Stage, workload: Resource) -> StageWorkloads | None:
    """Return the entry of `stage` that `workload` belongs to; none of one on other clusters."""
    if not stage.runs_here or workload.namespace != namespace_of(pipeline, stage):
        return None
    return next((one for one in stage.workloads if selects_workload(one, workload)), None)


type PipelineStage = tuple[Pipeline, Stage]


def stages_with(workload: Resource, pipelines: Iterable[Pipeline]) -> Iterator[PipelineStage]:
    """Yield the stages that a workload belongs to."""
    for pipeline in pipelines:
        for stage in pipeline.spec.stages:
            if names_workload(pipeline, stage, workload) is not None:
                yield pipeline, stage


def setting_stage(stages: Iterable[PipelineStage]) -> PipelineStage | None:
    """Return the stage that sets the images of its workloads: their triggers are set aside then.

    One that is kept in git leaves that to whoever applies what stands there.
    """
    return next(((pipeline, stage) for pipeline, stage in stages if stage.git is None), None)


def selects_workload(entry: StageWorkloads, workload: Resource) -> bool:
    """Return True if an entry means a workload of its namespace."""
    if entry.kind != workload.KIND.kind:
        return False
    if entry.name:
        return entry.name == workload.name
    wanted = entry.selector.match_labels if entry.selector is not None else {}
    return bool(wanted) and wanted.items() <= workload.labels.items()


class NoContainerError(Exception):
    """A workload has no container for any component; the message says what to set."""


def images_for(
    entry: StageWorkloads, workload: Resource, images: Mapping[str, str]
) -> dict[Slot, str]:
    """Return the image that each container of `workload` gets, of component -> pull spec.

    Raises NoContainerError.
    """
    template = pod_template(workload)
    pod = template.spec if template is not None else None
    slots: list[Slot] = []
    if pod is not None:
        slots = [(one.name, False) for one in pod.containers]
        slots += [(one.name, True) for one in pod.init_containers]
    chosen = {slot: entry.images.get(slot[0], "") or _same_name(slot, images) for slot in slots}
    found = {slot: images[name] for slot, name in chosen.items() if name in images}
    containers = [slot for slot in slots if not slot[1]]
    if not found and not entry.images and len(images) == 1 and len(containers) == 1:
        return {containers[0]: next(iter(images.values()))}
    if not found:
        raise NoContainerError(
            f"{workload.key} has no container named like a component"
            f" ({', '.join(sorted(images))}): set `images` of the stage's workload"
        )
    return found


def _same_name(slot: Slot, images: Mapping[str, str]) -> str:
    return slot[0] if slot[0] in images else ""


def stage_hold(pipeline: Pipeline, stage: Stage) -> str:
    """Return the reason of the hold on the stage itself, as it was given."""
    return pipeline.annotations.get(f"{STAGE_HOLD}{stage.name}", "")


def has_hold(pipeline: Pipeline, stage: Stage) -> bool:
    """Return True if the stage itself is held, or was until the hold's end."""
    return f"{STAGE_HOLD}{stage.name}" in pipeline.annotations


def with_hold(pipeline: Pipeline, stage: str, reason: str) -> Pipeline:
    """Return the Pipeline with a hold on a stage that only a person lifts."""
    until = f"{STAGE_HOLD_UNTIL}{stage}"
    kept = {key: text for key, text in pipeline.annotations.items() if key != until}
    return pipeline.with_metadata(annotations=kept | {f"{STAGE_HOLD}{stage}": reason})


def hold_of(pipeline: Pipeline, stage: Stage, workloads: Iterable[Resource], now: datetime) -> str:
    """Say what a person holds of `stage`: it, its Pipeline, or a workload; empty when nothing."""
    reason = _held(
        pipeline, f"{STAGE_HOLD}{stage.name}", f"{STAGE_HOLD_UNTIL}{stage.name}", now
    ) or _held(pipeline, HOLD_ANNOTATION, HOLD_UNTIL_ANNOTATION, now)
    if reason:
        return reason
    return "; ".join(_held_workload(one) for one in workloads if HOLD_ANNOTATION in one.annotations)


def lifted(pipeline: Pipeline, stage: Stage, hold: str, command: str) -> str:
    """Return the hold on a stage with the command that lifts it, and what that lifts.

    A hold on a workload of the stage names its own command.
    """
    own = has_hold(pipeline, stage) or HOLD_ANNOTATION in pipeline.annotations
    return f"{hold}; {command}" if own else hold


def _held_workload(workload: Resource) -> str:
    here = f"`upwell resume {workload.KIND.singular}/{workload.name} -n {workload.namespace}`"
    return f"{workload.key}: {hold_text(workload)}; {lifts_hold(workload, here)} lifts it"


def hold_end(pipeline: Pipeline, stage: Stage) -> datetime | None:
    """Return when the hold on a stage, or on its Pipeline, ends by itself.

    What is no time holds for ever, as it does on a workload.
    """
    for key in (f"{STAGE_HOLD_UNTIL}{stage.name}", HOLD_UNTIL_ANNOTATION):
        if (end := parse_time(pipeline.annotations.get(key))) is not None:
            return end
    return None


def _held(pipeline: Pipeline, hold: str, until: str, now: datetime) -> str:
    reason = pipeline.annotations.get(hold)
    if reason is None:
        return ""
    end = parse_time(pipeline.annotations.get(until))
    if end is not None and now >= end:
        return ""
    end_text = f" (until {end.isoformat()})" if end is not None else ""
    return (reason or "no reason given") + end_text
