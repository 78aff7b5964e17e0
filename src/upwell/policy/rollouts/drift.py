"""Drift: what differs from the rollout because somebody changed it by hand, and what follows.

An instance that ended is restarted whatever ended it. One that we have not made, although it
carries our labels, is replaced, or with annotation `upwell.dev/drift: report` left alone.
"""

from collections.abc import Sequence

from upwell.api.apps import RevisionRecord
from upwell.policy.rollouts.history import find
from upwell.policy.rollouts.instance import index_of
from upwell.policy.rollouts.rollout import Replica
from upwell.policy.rollouts.settings import Workload
from upwell.policy.rollouts.steps import Drain, StartReplica, Step, Stop
from upwell.workload.interface import Instance, State

DRIFT_ANNOTATION = "upwell.dev/drift"
"""`mend` (the default) or `report`."""
_REPORT = "report"
_KILLED = frozenset({137, 143})
"""Exit codes of SIGKILL and SIGTERM: what we stop ourselves is removed with it."""


def mends(workload: Workload) -> bool:
    """Return True if what was changed by hand is put right."""
    return workload.annotations.get(DRIFT_ANNOTATION, "").lower() != _REPORT


def faults(instances: Sequence[Instance], records: Sequence[RevisionRecord]) -> list[str]:
    """Return what was changed by hand, for people."""
    found = []
    for one in sorted(instances, key=lambda instance: instance.name):
        if one.foreign:
            found.append(f"instance {one.name} was made by hand")
        elif one.state is State.EXITED and _KILLED & set(one.exit_codes.values()):
            found.append(f"instance {one.name} was stopped by hand: {one.message}")
        elif images := _other_images(one, records):
            found.append(f"instance {one.name} runs {images}")
    return found


def under_control(workload: Workload, instances: Sequence[Instance]) -> Sequence[Instance]:
    """Return the instances that rollouts decide about."""
    if mends(workload):
        return instances
    return [one for one in instances if not one.foreign]


def foreign_names(instances: Sequence[Instance]) -> frozenset[str]:
    """Return the names of the instances that have to make room: made by hand, or moved."""
    return frozenset(one.name for one in instances if one.foreign or one.moved)


def with_mending(
    steps: Sequence[Step], replicas: Sequence[Replica], foreign: frozenset[str]
) -> tuple[Step, ...]:
    """Return the steps so that instances made by hand make room, one after the other.

    Those that are no replicas (they are reported only) keep their places.
    Ours cannot be started beside one that has its name: for a moment there is one less.
    """
    held = {index_of(name) for name in foreign}
    found = [step for step in steps if not (isinstance(step, StartReplica) and step.index in held)]
    leaving = {step.name for step in found if isinstance(step, Drain | Stop)}
    first = next((one for one in replicas if one.name in foreign), None)
    if first is not None and not leaving & foreign:
        drain = first.ready and not first.drained
        found.append(Drain(first.name) if drain else Stop(first.name))
    return tuple(found)


def _other_images(instance: Instance, records: Sequence[RevisionRecord]) -> str:
    """Return the images that are not those of the instance's revision."""
    record = find(tuple(records), instance.revision)
    if record is None or instance.state is not State.RUNNING:
        return ""
    return ", ".join(
        f"{name} = {digest}"
        for name, digest in sorted(instance.images.items())
        if digest is not None
        and name in record.images
        and str(digest) != record.images[name].partition("@")[2]
    )
