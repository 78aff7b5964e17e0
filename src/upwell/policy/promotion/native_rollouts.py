"""Promotions onto native workloads of a cluster: what is set there, and how it is rolled out.

The cluster's own controllers roll out. What a promotion has set, and what of it has failed, is in
the note on the workload (`policy/cluster_rollouts/note`), by which a failed rollout is put back.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import replace
from datetime import datetime

from upwell.api.apps import CronJob, DeploymentConfig
from upwell.api.meta import Resource
from upwell.api.pipeline import Pipeline, Stage
from upwell.cluster.interface import PodRecord
from upwell.policy.builds.triggers import digest_of
from upwell.policy.cluster_rollouts.decision import TAKEN, RolloutStep, set_images
from upwell.policy.cluster_rollouts.field_owners import owned_text, ownership
from upwell.policy.cluster_rollouts.note import RolloutNote
from upwell.policy.cluster_rollouts.observation import (
    NATIVE_WORKLOADS,
    NativeWorkload,
    RolloutObservation,
    observe,
    stays_up,
)
from upwell.policy.health.promotion import StageObstacle
from upwell.policy.promotion.moves import Move
from upwell.policy.promotion.rollouts import (
    Placed,
    RolledOut,
    StageRollout,
    last_turn,
    promotion_mark,
    without_images,
)
from upwell.policy.promotion.stages import (
    NoContainerError,
    images_for,
    names_workload,
    namespace_of,
)
from upwell.policy.promotion.verification.junit import PRINTED
from upwell.policy.rollouts.image_ownership import declared_images
from upwell.policy.rollouts.summary import RolloutState
from upwell.policy.rollouts.triggers import HOLD_ANNOTATION, Reason, Slot, TriggerVerdict


def native_obstacle(
    pipeline: Pipeline,
    stage: Stage,
    workloads: Sequence[Resource],
    is_followed: Callable[[str], bool],
    *,
    rolls_configs: bool = False,
) -> StageObstacle | None:
    """Return why a stage cannot be promoted to on a cluster; None: it can.

    `is_followed` says of a namespace whether its workloads are kept current, `rolls_configs`
    whether this Upwell rolls out the cluster's DeploymentConfigs.
    """
    config = DeploymentConfig.KIND.kind
    namespace = namespace_of(pipeline, stage)
    if not rolls_configs and any(one.kind == config for one in stage.workloads):
        why = f"no stage rolls a {config} out on a cluster: let it name a Deployment"
        return StageObstacle("UnsupportedWorkload", why)
    if stage.workloads and not is_followed(namespace):
        why = f"workloads of namespace {namespace} are not followed: add it to `namespaces`"
        return StageObstacle("NamespaceNotFollowed", f"{why} of [kubernetes]")
    jobs = ((one.name, one.job) for one in stage.verification.checks if one.job is not None)
    if asked := [name for name, job in jobs if job.junit not in {"", PRINTED}]:
        why = f"check {asked[0]} asks for a report, and no files of a test are read on a cluster"
        hint = f"have it print the report, with `junit: {PRINTED}`"
        return StageObstacle("UnsupportedCheck", f"{why}: {hint}")
    if stage.git is not None:
        return None
    taken = (why for one in workloads for why in _taken(pipeline, stage, one))
    found = next(taken, None)
    return None if found is None else StageObstacle(TAKEN, found)


def _taken(pipeline: Pipeline, stage: Stage, workload: Resource) -> Iterator[str]:
    """Yield which images of a workload somebody else owns, who does not give them up."""
    entry = names_workload(pipeline, stage, workload)
    components = {one.name: one.name for one in pipeline.spec.components}
    if entry is None or HOLD_ANNOTATION in workload.annotations:
        return  # a hold says so itself
    try:
        slots = images_for(entry, workload, components)
    except NoContainerError:
        return  # the promotion says so
    before = bool(RolloutNote.of(workload).images)
    owned = ownership(workload, slots, set_before=before, staged=True)
    for slot, manager in owned.taken_by.items():
        yield f"{workload.key}: {owned_text(slot, manager, staged=True)}"


def native_step(
    placed: Placed, pods: Collection[PodRecord], move: Move, now: datetime
) -> RolloutStep | None:
    """Return how the images are written that a workload lacks, or why not; None: it has them."""
    workload, note = placed.workload, RolloutNote.of(placed.workload)
    missing = _missing(placed, note, move)
    if not isinstance(workload, NATIVE_WORKLOADS) or HOLD_ANNOTATION in workload.annotations:
        return None
    if not missing:
        return None
    observed = observe(workload, pods, note, now)
    if note.promotion != move.promotion.uid:
        note = replace(
            note, failed={}, earlier=()
        )  # another promotion of what failed is another try
    verdict = TriggerVerdict(Reason.PIPELINE, "", missing)
    step = set_images(workload, note, observed, verdict, now, staged=True)
    if step.note is None:
        return step
    after = replace(step.note, promotion=move.promotion.uid)
    if move.puts_back:
        after = replace(after, good=after.images)  # what it takes the place of has failed
    return replace(step, note=after, promoted=promotion_mark(placed, move))


def native_rollout(
    placed: Placed, pods: Collection[PodRecord], move: Move, now: datetime
) -> StageRollout:
    """Say how the rollout of a workload stands that a cluster rolls out."""
    workload, note = placed.workload, RolloutNote.of(placed.workload)
    if not isinstance(workload, NATIVE_WORKLOADS):
        why = f"{workload.key} is not rolled out on a cluster"
        return StageRollout(RolledOut.GOING_ON, why)
    if note.promotion == move.promotion.uid and _has_failed(placed, note):
        return StageRollout(RolledOut.FAILED, f"{workload.key}: {note.why}")
    if _missing(placed, note, move):
        return without_images(placed)
    if any(note.images.get(slot[0]) != image for slot, image in placed.images.items()):
        note = RolloutNote()  # it is about what was there before, or somebody else has set these
    observed = observe(workload, pods, note, now)
    if isinstance(workload, CronJob) and observed.state is not RolloutState.FAILED:
        return StageRollout(RolledOut.COMPLETE)  # its next run has the image
    if observed.state is RolloutState.COMPLETE:
        observed = stays_up(workload, pods)
    return _judged(placed, workload, observed, pods)


def _judged(
    placed: Placed,
    workload: NativeWorkload,
    observed: RolloutObservation,
    pods: Collection[PodRecord],
) -> StageRollout:
    text = f"{workload.key}: {observed.message}"
    match observed.state:
        case RolloutState.FAILED:
            return StageRollout(RolledOut.FAILED, text)
        case RolloutState.PROGRESSING:
            return StageRollout(RolledOut.GOING_ON, text)
        case _:
            images = set(placed.images.values())
            runs = any(pod.ready and images & {one.image for one in pod.containers} for pod in pods)
            digests = placed.digests if runs else frozenset()
            return StageRollout(RolledOut.COMPLETE, well_since=last_turn(workload), digests=digests)


def _missing(placed: Placed, note: RolloutNote, move: Move) -> dict[Slot, str]:
    """Return the images that a workload does not have.

    Of what this promotion has set, admission may have changed the registry, but not the digest.
    """
    declared = declared_images(placed.workload, placed.images)
    lost = {slot: image for slot, image in placed.images.items() if declared[slot] != image}
    if note.promotion != move.promotion.uid:
        return lost
    return {
        slot: image
        for slot, image in lost.items()
        if note.images.get(slot[0]) != image or digest_of(declared[slot]) != digest_of(image)
    }


def _has_failed(placed: Placed, note: RolloutNote) -> bool:
    return any(note.failed.get(slot[0]) == image for slot, image in placed.images.items())
