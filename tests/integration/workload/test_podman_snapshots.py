"""Snapshots of claims with real containers: an instance sees the files that were put back."""

from dataclasses import replace
from typing import Any

from tests.support.workload.podman_home import Workload
from tests.support.workload.waiting import eventually

from upwell.workload.instance_spec import InstanceMount, InstanceSpec, VolumeClaim
from upwell.workload.interface import State
from upwell.workload.podman.runtime import PodmanRuntime, PodmanSettings

NAME = "web-1-a"


def instance(workload: Workload, script: str, **snapshots: Any) -> InstanceSpec:
    """Return an instance that runs a script with a claim at /rows, and stays."""
    main = replace(
        workload.container("sh", "-c", f"{script}; trap 'exit 0' TERM; sleep 600 & wait"),
        mounts=(InstanceMount("rows", "/rows"),),
    )
    claim = VolumeClaim("shop", "rows", **snapshots)
    return replace(workload.spec(main, name=NAME), volumes={"rows": claim})


async def test_an_earlier_revision_finds_its_files_as_they_were(
    settings: PodmanSettings, workload: Workload
) -> None:
    async def rows() -> str:
        return (await runtime.execute(NAME, ("/bin/busybox", "cat", "/rows/format")))[1].decode()

    async with PodmanRuntime.open(settings) as runtime:
        await runtime.start(instance(workload, "echo one > /rows/format"))
        await eventually(rows, lambda text: text == "one\n")
        await runtime.stop(NAME, 10)

        await runtime.start(instance(workload, "echo two > /rows/format", keep_as="two"))
        await eventually(rows, lambda text: text == "two\n")
        await runtime.stop(NAME, 10)

        await runtime.start(instance(workload, "true", back_to=("two",)))
        [back] = await runtime.instances()
        assert back.state is State.RUNNING
        assert await rows() == "one\n"
