"""Finds the instances that a request is about: one by its Pod's name, or those of a workload."""

from collections.abc import Sequence

from upwell.api.codec import UnknownKindError, resource_of_kind
from upwell.api.conditions import find
from upwell.api.meta import Resource
from upwell.api.pod import Pod
from upwell.policy.health.judgement import faults_of
from upwell.policy.rollouts.settings import WORKLOADS
from upwell.server.http.errors import ApiError
from upwell.server.http.target import RequestTarget
from upwell.server.workloads.awaited_pods import AwaitingWorkloads
from upwell.store.interface import NotFoundError, Reader
from upwell.workload.instance_spec import Owner
from upwell.workload.interface import Instance, InteractiveRuntime, State


class Instances:
    """Instances, as the runtime reports them."""

    def __init__(
        self, objects: Reader, runtime: InteractiveRuntime | None, awaiting: AwaitingWorkloads
    ) -> None:
        self.objects = objects
        self._awaiting = awaiting
        self._runtime = runtime

    @property
    def runtime(self) -> InteractiveRuntime:
        """The runtime; raises ApiError 503 where there is none."""
        if self._runtime is None:
            raise ApiError(503, "no container runtime is configured")
        return self._runtime

    async def of(self, target: RequestTarget) -> Sequence[Instance]:
        """Return the instances of a workload, or the one of a Pod; raises NotFoundError.

        Raises ApiError for the Pod of a workload that waits for an image.
        """
        stored = await self._stored(target)
        instances = sorted(await self.runtime.instances(), key=lambda instance: instance.name)
        if stored is not None:
            owner = Owner(target.kind.kind, target.namespace, target.name)
            return [one for one in instances if one.owner == owner]
        place = (target.namespace, target.name)
        found = [one for one in instances if (one.owner.namespace, one.name) == place]
        if not found:
            shown = {(one.owner.namespace, one.name) for one in instances}
            for pod in self._awaiting.pods(shown):
                if (pod.namespace, pod.name) == place:
                    name = pod.spec.containers[0].name if pod.spec.containers else ""
                    why = f'container "{name}" in pod "{pod.name}" is waiting to start'
                    raise ApiError(400, f"{why}: {pod.status.message}", key=target.key)
            raise NotFoundError(target.key)
        return found

    async def of_pod(self, namespace: str, name: str) -> Sequence[Instance]:
        """Return the instance of a stored Pod, if there is one."""
        owner = Owner(Pod.KIND.kind, namespace, name)
        return [one for one in await self.runtime.instances() if one.owner == owner]

    async def _stored(self, target: RequestTarget) -> Resource | None:
        """Return the workload, or the Pod that is stored; None: the target is an instance's name.

        Raises NotFoundError for any other.
        """
        try:
            return await self.objects.get(target.resource, target.namespace, target.name)
        except NotFoundError:
            if target.resource is not Pod:
                raise
            return None

    async def why_none(self, target: RequestTarget, found: Sequence[Instance]) -> str:
        """Say why none of the instances of a workload runs, or why there are none."""
        if found:
            told = f": {found[0].message}" if found[0].message else ""
            return f"{found[0].name} is {found[0].state.value.lower()}{told}"
        workload = await self.objects.get(target.resource, target.namespace, target.name)
        if isinstance(workload, Pod) and workload.status.message:
            return workload.status.message
        reasons = [fault.message for fault in faults_of(workload)]
        if isinstance(workload, WORKLOADS):
            if getattr(workload.spec, "replicas", None) == 0:
                return "spec.replicas is 0"
            for kind in ("Progressing", "Available"):
                condition = find(workload.status.conditions, kind)
                if condition is not None and not condition.is_true:
                    reasons.append(condition.message)
        return next(filter(None, reasons), "it has not been started yet")

    async def running(self, target: RequestTarget, name: str = "", container: str = "") -> Instance:
        """Return one to enter: that of `name`, else one that is ready, else one that runs.

        Raises ApiError, also when it has no `container`.
        """
        found = await self.of(target)
        running = [one for one in found if one.state in {State.RUNNING, State.INITIALIZING}]
        chosen = [one for one in running if name in {"", one.name}]
        if not chosen:
            if target.resource is Pod and found:
                state = found[0].state.value.lower()
                raise ApiError(400, f"{target.key} does not run: it is {state}", key=target.key)
            if name:
                raise ApiError(404, f"no instance {name!r} of {target.key} runs", key=target.key)
            why = await self.why_none(target, found)
            raise ApiError(400, f"no instance of {target.key} runs: {why}", key=target.key)
        instance = next((one for one in chosen if one.ready), chosen[0])
        require_container(instance, container)
        return instance

    async def owner(self, instance: Instance) -> Resource | None:
        """Return the object that an instance belongs to; None: it is gone."""
        owner = instance.owner
        try:
            return await self.objects.get(resource_of_kind(owner.kind), owner.namespace, owner.name)
        except (NotFoundError, UnknownKindError):
            return None


def require_container(instance: Instance, container: str) -> None:
    """Raise ApiError 400 when a container is named that the instance does not have."""
    known = dict.fromkeys((*instance.images, *(one.name for one in instance.containers)))
    if container and container not in known:
        names = ", ".join(known)
        raise ApiError(400, f"no container {container!r} in {instance.name}: {names}")
