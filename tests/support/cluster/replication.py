"""Plays the cluster's controller of ReplicationControllers in a store, with Pods as a test says."""

import sys
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from tests.support.cluster.memory_cluster import MemoryInstances

from upwell.api.codec import decode_as
from upwell.api.meta import ObjectMeta
from upwell.api.pod import Pod
from upwell.api.revisions import ReplicationController
from upwell.cluster.interface import OwnedPod
from upwell.store.interface import Selector, Store
from upwell.workload.instance_spec import Owner

BAD = "bad"
"""Part of the name of an image whose Pods crash."""
SLOW = "slow"
"""Part of the name of an image whose Pods never become ready."""


@dataclass
class PlayedReplication:
    """Keeps Pods at the size of their ReplicationControllers; those of a good image are ready."""

    store: Store
    instances: MemoryInstances
    namespace: str
    count: int = 0
    lowest: int = sys.maxsize
    """Fewest ready Pods that there were since `watch`."""
    most: int = 0
    """Most Pods that there were since then."""
    broken: frozenset[str] = frozenset()
    """Further images whose Pods crash, whatever their names."""

    def watch(self) -> None:
        """Count anew."""
        self.lowest, self.most = sys.maxsize, 0

    async def step(self, now: datetime) -> bool:
        """Do what the controller and the nodes do next; return True if there was anything."""
        changed = False
        for controller in (
            await self.store.list(ReplicationController, Selector(self.namespace))
        ).items:
            own = self._own(controller)
            for _ in range(controller.spec.replicas - len(own)):
                self._add(controller, now)
                changed = True
            for pod in own[controller.spec.replicas :]:
                self.instances.shown = [one for one in self.instances.shown if one.pod != pod]
                changed = True
        ready = [one for one in self.instances.shown if _is_ready(one.pod)]
        self.lowest = min(self.lowest, len(ready))
        self.most = max(self.most, len(self.instances.shown))
        return changed

    def _own(self, controller: ReplicationController) -> list[Pod]:
        own = [
            one.pod
            for one in self.instances.shown
            if any(owner.uid == controller.uid for owner in one.pod.metadata.owner_references)
        ]
        return sorted(own, key=lambda one: (not _is_ready(one), one.name))

    def _add(self, controller: ReplicationController, now: datetime) -> None:
        self.count += 1
        template = controller.spec.template
        image = template.spec.containers[0].image
        metadata = ObjectMeta(
            name=f"{controller.name}-{self.count:04d}",
            namespace=controller.namespace,
            uid=f"pod-{self.count}",
            creation_timestamp=now,
            labels=template.metadata.labels,
            owner_references=(controller.owner_reference(),),
        )
        seen = BAD if image in self.broken else image
        pod = Pod(metadata=metadata, spec=template.spec, status=status_of(seen, now))
        owner = Owner(
            "DeploymentConfig", controller.namespace, template.metadata.labels["deploymentconfig"]
        )
        self.instances.shown.append(OwnedPod(pod, owner))


def status_of(image: str, now: datetime) -> Any:
    """Return the status of a Pod whose one container has an image."""
    time = now.isoformat().replace("+00:00", "Z")
    state: dict[str, Any] = {"running": {"startedAt": time}}
    is_ready = BAD not in image and SLOW not in image
    container: dict[str, Any] = {"name": "app", "ready": is_ready, "state": state}
    if BAD in image:
        container |= {
            "restartCount": 3,
            "state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off"}},
            "lastState": {"terminated": {"exitCode": 1, "reason": "Error"}},
        }
    ready = {"type": "Ready", "status": "True" if is_ready else "False", "lastTransitionTime": time}
    status = {"phase": "Running", "conditions": [ready], "containerStatuses": [container]}
    return decode_as(Pod, {"metadata": {"name": "x"}, "status": status}).status


def _is_ready(pod: Pod) -> bool:
    return any(one.type == "Ready" and one.is_true for one in pod.status.conditions)
