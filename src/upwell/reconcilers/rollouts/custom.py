"""The Custom strategy: a command of the user's that rolls out by calling `openshift-deploy`.

In OpenShift's deployer image that is a program. Here it is a script beside the command: it leaves
its request (`--until=50%`) in a file of its container, and waits until we have answered beside it.
Both files are in the container, so that another process of ours goes on where one was killed.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from upwell.api.apps import CustomParams, DeploymentConfig, HookResult, RevisionRecord
from upwell.api.meta import Resource
from upwell.api.pod_template import Container, PodSpec, PodTemplate
from upwell.policy.rollouts.hooks import HOOK_CONTAINER, HookPhase
from upwell.policy.rollouts.instance import build_task, instance_name, parse_image
from upwell.policy.rollouts.pod_template import TemplateError
from upwell.policy.rollouts.rollout import restart_after_loss
from upwell.reconcilers.authority import Authority
from upwell.reconcilers.rollouts.hooks import LoadRevision, require_rights
from upwell.workload.instance_spec import Files, InstanceMount, InstanceSpec
from upwell.workload.interface import Instance, Runtime, State

CUSTOM = "custom"
"""The role of the command's instance, and the name of its result."""

_FOLDER = "/tmp/openshift-deploy"  # noqa: S108 - in the container, for its one command
_PROGRAM = "openshift-deploy"
_SCRIPT = f"""#!/bin/sh
until=100
for word; do
  case "$word" in --until=*) until="${{word#--until=}}"; until="${{until%\\%}}" ;; esac
done
mkdir -p {_FOLDER}
echo "$until" > {_FOLDER}/until.new && mv {_FOLDER}/until.new {_FOLDER}/until
echo "--> rolling out to $until%"
while [ "$(cat {_FOLDER}/done 2>/dev/null)" != "$until" ]; do sleep 1; done
echo "--> reached $until%"
"""


@dataclass(frozen=True, slots=True)
class Extent:
    """Extent of the rollout: replicas of the new revision that are available, and all."""

    available: int
    replicas: int


def custom_params(workload: Resource) -> CustomParams | None:
    """Return the command that drives the workload's rollouts, if one does."""
    if not isinstance(workload, DeploymentConfig):
        return None
    return workload.spec.strategy.custom_params


class CustomStrategy:
    """Runs the command of a Custom strategy, and listens to what it wants."""

    def __init__(
        self,
        runtime: Runtime,
        load: LoadRevision,
        clock: Callable[[], datetime],
        authority: Authority,
    ) -> None:
        self._authority = authority
        self._runtime = runtime
        self._load = load
        self._clock = clock

    async def step(
        self,
        workload: Resource,
        record: RevisionRecord,
        instances: Sequence[Instance],
        extent: Extent,
    ) -> HookResult | float:
        """Return the share of the replicas that may be rolled out now, or how the command ended.

        Raises WorkloadError or TemplateError.
        """
        name = custom_instance(workload, record)
        found = next((one for one in instances if one.name == name), None)
        if found is not None and found.state is State.LOST:
            if self._clock() < restart_after_loss(found.started_at, found.losses):
                return 0.0
            found = None  # nobody knows how it ended: it runs again
        if found is None or found.state is State.CREATED:
            await self._runtime.start(await self._spec(workload, record, name))
            return 0.0
        if found.state is State.PULLING:
            return 0.0
        if found.state is State.EXITED:
            phase = HookPhase.COMPLETE if found.succeeded else HookPhase.FAILED
            return HookResult(phase=phase.value, ended=self._clock(), message=found.message)
        until = await self._until(name)
        if until and extent.available >= math.ceil(extent.replicas * until / 100):
            answer = f"echo {until} > {_FOLDER}/done"
            await self._runtime.execute(name, ("/bin/sh", "-c", answer))
        return until / 100

    async def _until(self, name: str) -> int:
        command = ("/bin/sh", "-c", f"cat {_FOLDER}/until 2>/dev/null || true")
        _, output = await self._runtime.execute(name, command)
        text = output.decode(errors="replace").strip()
        return min(int(text), 100) if text.isascii() and text.isdigit() else 0

    async def _spec(self, workload: Resource, record: RevisionRecord, name: str) -> InstanceSpec:
        await require_rights(self._authority, workload)
        params = custom_params(workload) or CustomParams()
        if not params.command:
            raise TemplateError("InvalidStrategy", "customParams.command is missing")
        first = record.template.spec.containers[0].name
        image = record.images[first]
        if params.image:
            image = str(parse_image(params.image, CUSTOM))
        container = Container(
            name=HOOK_CONTAINER, image=image, command=params.command, env=params.environment
        )
        template = PodTemplate(spec=PodSpec(containers=(container,)))
        changes = {"template": template, "images": {HOOK_CONTAINER: image}}
        spec = build_task(
            await self._load(workload, record.model_copy(update=changes)), name, CUSTOM
        )
        # In every image's PATH, whatever the image says it is.
        program = InstanceMount(_PROGRAM, f"/bin/{_PROGRAM}", read_only=True, sub_path=_PROGRAM)
        return replace(
            spec,
            containers=(replace(spec.containers[0], mounts=(program,)),),
            volumes={_PROGRAM: Files({_PROGRAM: _SCRIPT.encode()}, 0o755)},
        )


def custom_instance(workload: Resource, record: RevisionRecord) -> str:
    """Return the name of the command's instance."""
    return f"{instance_name(workload, record.hash, CUSTOM)}-{record.revision}"
