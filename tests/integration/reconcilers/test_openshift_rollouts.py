"""OpenShift's DeploymentConfigs in real containers: versions, going back, the Custom strategy."""

from functools import partial

import pytest
from tests.support.builds.openshift_corpus import DEPLOYMENTS, deployment_config
from tests.support.rollouts.permissions import permit_all
from tests.support.rollouts.real_machine import RealRollouts, podman_home, real_rollouts
from tests.support.workload.waiting import eventually

from upwell.api.apps import DeploymentConfig, RevisionRecord
from upwell.api.conditions import find
from upwell.api.pod_template import EnvVar
from upwell.policy.rollouts.triggers import HOLD_ANNOTATION
from upwell.workload.interface import Instance, Runtime, State

__all__ = ["podman_home", "real_rollouts"]  # fixtures


async def stored(real_rollouts: RealRollouts, name: str) -> DeploymentConfig:
    return await real_rollouts.store.get(DeploymentConfig, "shop", name)


async def until_complete(real_rollouts: RealRollouts, name: str, version: int) -> RevisionRecord:
    def complete(one: DeploymentConfig) -> bool:
        records = one.status.revisions
        return bool(records) and (records[0].revision, records[0].phase) == (version, "Complete")

    return (await eventually(partial(stored, real_rollouts, name), complete)).status.revisions[0]


async def serving(runtime: Runtime) -> list[Instance]:
    found = await runtime.instances()
    return [one for one in found if not one.role and one.state is State.RUNNING]


async def only(runtime: Runtime, count: int) -> set[str]:
    """Return the names of what runs, once that many run and nothing else is left."""
    found = await eventually(
        runtime.instances, lambda all_: len(all_) == count and all(one.ready for one in all_)
    )
    return {one.name for one in found}


@pytest.mark.parametrize("name", ["generation-test", "deployment-simple"])
async def test_latest_makes_a_version_and_undo_goes_back_in_a_third(
    real_rollouts: RealRollouts, name: str
) -> None:
    """OpenShift's case 39."""
    config = deployment_config(f"{DEPLOYMENTS}/{name}.yaml", str(real_rollouts.image))
    assert config.spec.template is not None
    grace = {"termination_grace_period_seconds": 0}
    pod = config.spec.template.spec.model_copy(update=grace)
    template = config.spec.template.model_copy(update={"spec": pod})
    spec = config.spec.model_copy(update={"template": template})
    async with real_rollouts.serve() as runtime:
        await real_rollouts.store.create(config.model_copy(update={"spec": spec}))
        await until_complete(real_rollouts, name, 1)
        first = await only(runtime, 1)

        await real_rollouts.actions.latest(DeploymentConfig, "shop", name, again=False)
        await until_complete(real_rollouts, name, 2)
        second = await only(runtime, 1)
        assert second.isdisjoint(first)
        latest = await stored(real_rollouts, name)
        assert latest.status.latest_version == 2
        assert latest.status.observed_generation == latest.generation

        await real_rollouts.actions.roll_back(DeploymentConfig, "shop", name, 1, permit_all)
        await until_complete(real_rollouts, name, 3)
        assert (await only(runtime, 1)).isdisjoint(first | second)
        undone = await stored(real_rollouts, name)
        assert undone.status.latest_version == 3
        assert "rolled back to revision 1 by hand" in undone.annotations[HOLD_ANNOTATION]
        assert undone.status.observed_generation == undone.generation


async def test_a_custom_command_rolls_out_half_and_another_process_the_rest(
    real_rollouts: RealRollouts,
) -> None:
    """OpenShift's case 40; the command waits for us where OpenShift's sleeps for its tests."""
    config = deployment_config(f"{DEPLOYMENTS}/custom-deployment.yaml", str(real_rollouts.image))
    strategy = config.spec.strategy
    assert strategy is not None
    assert strategy.custom_params is not None
    *shell, script = strategy.custom_params.command
    wait = "while ! [ -e /go ]; do /bin/busybox sleep 0.1; done"
    script = script.replace("echo Halfway", f"echo Halfway; {wait}")
    script = script.replace("sleep 15", "sleep 0")
    changes = {
        "command": (*shell, script),
        # As an image may have it that knows no /usr/local/bin.
        "environment": (EnvVar(name="PATH", value="/bin"),),
    }
    custom = strategy.custom_params.model_copy(update=changes)
    strategy = strategy.model_copy(update={"custom_params": custom})
    spec = config.spec.model_copy(update={"strategy": strategy})
    async with real_rollouts.serve() as runtime:
        await real_rollouts.store.create(config.model_copy(update={"spec": spec}))
        command = await eventually(partial(halfway, runtime), lambda name: name is not None)
        assert command is not None
        assert len(await serving(runtime)) == 1

        async def told() -> str:  # a moment after the command has seen it
            status = (await stored(real_rollouts, config.name)).status
            progress = find(status.conditions, "Progressing")
            return progress.message if progress is not None else ""

        await eventually(told, lambda text: "1 of 2 updated replicas are available" in text)

    async with real_rollouts.serve() as runtime:
        await runtime.execute(command, ("/bin/busybox", "touch", "/go"))
        record = await until_complete(real_rollouts, config.name, 1)
        assert {name: one.phase for name, one in record.hooks.items()} == {
            "pre": "Complete",
            "custom": "Complete",
        }
        assert "Finished" in record.hooks["custom"].message
        await only(runtime, 2)


async def halfway(runtime: Runtime) -> str | None:
    """Return the name of the Custom strategy's command once it has got halfway."""
    for instance in await runtime.instances():
        if instance.role == "custom" and instance.state is State.RUNNING:
            log = b"".join([piece async for piece in runtime.logs(instance.name)])
            if b"Halfway" in log:
                return instance.name
    return None
