"""Thirty Deployments on one Podman: begun, one changed, all changed; and lists of containers.

Run with `pytest -m benchmark -s tests/benchmarks/test_many_rollouts.py`.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
from tests.support.benchmarks.ratios import Ratios
from tests.support.rollouts.real_machine import RealRollouts, podman_home, real_rollouts
from tests.support.workload import waiting
from tests.support.workload.waiting import eventually

from upwell.api.apps import Deployment
from upwell.api.codec import decode_as
from upwell.workload.podman.api.client import PodmanApi

__all__ = ["podman_home", "real_rollouts"]  # fixtures

pytestmark = pytest.mark.benchmark

DEPLOYMENTS = 30
WAITS = "trap exit TERM; sleep 600 & wait"


def deployment(real_rollouts: RealRollouts, number: int, version: int) -> Deployment:
    container = {
        "name": "app",
        "image": str(real_rollouts.image),
        "command": ["/bin/busybox", "sh", "-c", WAITS],
        "env": [{"name": "VERSION", "value": str(version)}],
    }
    pod = {"containers": [container], "terminationGracePeriodSeconds": 1}
    template = {"metadata": {"labels": {"app": f"app-{number}"}}, "spec": pod}
    metadata = {"namespace": "shop", "name": f"app-{number}"}
    return decode_as(Deployment, {"metadata": metadata, "spec": {"template": template}})


def second_version(real_rollouts: RealRollouts, number: int) -> Callable[[Deployment], Deployment]:
    spec = {"spec": deployment(real_rollouts, number, 2).spec}
    return lambda now: now.model_copy(update=spec)


class ListCounter:
    """Counts how often Podman is asked for its containers."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, ratios: Ratios) -> None:
        self._ratios = ratios
        self.count = 0
        ask = PodmanApi.containers

        async def counted(api: PodmanApi, *labels: str) -> list[dict[str, Any]]:
            self.count += 1
            return await ask(api, *labels)

        monkeypatch.setattr(PodmanApi, "containers", counted)

    @contextmanager
    def told(self, what: str, deployments: int) -> Iterator[None]:
        began, before = time.monotonic(), self.count
        yield
        seconds, lists = time.monotonic() - began, self.count - before
        print(f"\n{what}: {seconds:.1f} s, {lists} lists of containers")  # noqa: T201 - the result
        title = f"{what}, lists of containers for each"
        self._ratios.note_cost(title, lists / deployments)


async def until_complete(real_rollouts: RealRollouts, wanted: int, revision: int) -> None:
    async def complete() -> int:
        found = (await real_rollouts.store.list(Deployment)).items
        records = [one.status.revisions[0] for one in found if one.status.revisions]
        return sum((one.revision, one.phase) == (revision, "Complete") for one in records)

    await eventually(complete, lambda count: count >= wanted)


async def test_thirty_deployments(
    real_rollouts: RealRollouts, monkeypatch: pytest.MonkeyPatch, ratios: Ratios
) -> None:
    monkeypatch.setattr(waiting, "DEADLINE_SECONDS", 300)
    lists = ListCounter(monkeypatch, ratios)

    async def change(numbers: Sequence[int], done: int) -> None:
        for number in numbers:
            await real_rollouts.change(
                Deployment, f"app-{number}", second_version(real_rollouts, number)
            )
        await until_complete(real_rollouts, done, 2)
        await eventually(runtime.instances, lambda found: len(found) == DEPLOYMENTS)

    async with real_rollouts.serve() as runtime:
        with lists.told(f"{DEPLOYMENTS} Deployments begin", DEPLOYMENTS):
            for number in range(DEPLOYMENTS):
                await real_rollouts.store.create(deployment(real_rollouts, number, 1))
            await until_complete(real_rollouts, DEPLOYMENTS, 1)
        with lists.told("one is changed", 1):
            await change([0], 1)
        with lists.told("all others are changed at once", DEPLOYMENTS - 1):
            await change(range(1, DEPLOYMENTS), DEPLOYMENTS)
