"""Pods of StatefulSets that nobody replaces, although their template has other images."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from upwell.api.apps import StatefulSet
from upwell.cluster.interface import PodContainer, PodRecord
from upwell.policy.cluster_rollouts.note import RolloutNote
from upwell.policy.cluster_rollouts.observation import (
    NativeWorkload,
    cannot_run,
    rolling_partition,
    sees_newest,
)
from upwell.policy.rollouts.image_ownership import declared_images
from upwell.policy.rollouts.triggers import HOLD_ANNOTATION

_PARALLEL = "Parallel"


@dataclass(frozen=True, slots=True)
class StuckPod:
    """A Pod, and the container of it that cannot run its image."""

    pod: PodRecord
    container: PodContainer

    def __str__(self) -> str:
        why = self.container.message or self.container.waits
        return (
            f"Pod {self.pod.name} was deleted: its StatefulSet waited for it for ever, as"
            f" container {self.container.name} cannot run {self.container.image}: {why}"
        )


def stuck_pods(
    workload: NativeWorkload, note: RolloutNote, pods: Iterable[PodRecord]
) -> Iterator[StuckPod]:
    """Yield the Pods of a StatefulSet that have to be deleted before it rolls out.

    Its controller waits until a Pod is ready before it goes on, of the older template too, which an
    image that cannot run never is (Kubernetes, "StatefulSets", "Forced rollback"). Those alone are
    given whose image Upwell has taken out of the template; with a hold, none.
    """
    if not isinstance(workload, StatefulSet) or HOLD_ANNOTATION in workload.annotations:
        return
    first = rolling_partition(workload)
    if workload.spec.pod_management_policy == _PARALLEL or first is None:
        return
    if not note.images or not sees_newest(workload):
        return
    slots = [(name, init) for name in note.images for init in (False, True)]
    declared = {slot[0]: one for slot, one in declared_images(workload, slots).items() if one}
    for pod in pods:
        ordinal = pod.name.removeprefix(f"{workload.name}-")
        if pod.ready or not ordinal.isdecimal() or int(ordinal) < first:
            continue
        for one in pod.containers:
            if cannot_run(one) and one.image != declared.get(one.name, one.image):
                yield StuckPod(pod, one)
                break
