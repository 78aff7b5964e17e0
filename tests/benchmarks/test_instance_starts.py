"""Start and stop of an instance with ids of its own, and with the host's, side by side.

Run with `pytest -m benchmark -s tests/benchmarks/test_instance_starts.py`.
"""

import statistics
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from tests.support.benchmarks.ratios import Ratios
from tests.support.workload.podman_home import PodmanHome, Workload, podman_home_in

from upwell.workload.instance_spec import EmptyDir, InstanceMount, InstanceUsers, VolumeClaim
from upwell.workload.podman.runtime import PodmanRuntime, PodmanSettings

pytestmark = pytest.mark.benchmark

ROUNDS = 20
STEPS = ("start", "stop")


@pytest.fixture(scope="module")
def home() -> Iterator[PodmanHome]:
    with podman_home_in(Path(tempfile.mkdtemp(prefix="upwell-benchmark-"))) as made:
        yield made


def stored(home: PodmanHome) -> int:
    """Return the bytes of Podman's storage."""
    return sum(one.lstat().st_blocks * 512 for one in (home.root / "storage").rglob("*"))


async def test_own_ids_cost_little(home: PodmanHome, ratios: Ratios) -> None:
    settings = PodmanSettings(
        data_dir=home.root / "instances",
        instance_id="benchmark",
        storage_root=home.root / "storage",
        run_root=home.root / "run",
        containers_conf=home.conf,
    )
    workload = Workload(home.image)
    mounts = (InstanceMount("scratch", "/scratch"), InstanceMount("data", "/data"))
    web = replace(workload.container("sleep", "600"), mounts=mounts)
    volumes: dict[str, EmptyDir | VolumeClaim] = {
        "scratch": EmptyDir(),
        "data": VolumeClaim("shop", "orders"),
    }
    spec = replace(workload.spec(web), volumes=volumes)
    both = (InstanceUsers.OWN, InstanceUsers.HOST)
    times: dict[tuple[InstanceUsers, str], list[float]] = {
        (users, step): [] for users in both for step in STEPS
    }
    async with PodmanRuntime.open(settings) as runtime:
        try:
            before = stored(home)
            for number in range(ROUNDS + 1):
                for users in both if number % 2 else reversed(both):
                    begun = time.perf_counter()
                    await runtime.start(replace(spec, users=users))
                    started = time.perf_counter()
                    await runtime.stop(spec.name, 0)
                    if number:  # the first looks at the machine, once
                        times[users, "start"].append(started - begun)
                        times[users, "stop"].append(time.perf_counter() - started)
            grown = stored(home) - before
        finally:
            await runtime.teardown()
    medians = {key: statistics.median(found) * 1000 for key, found in times.items()}
    for (users, step), median in medians.items():
        worst = max(times[users, step]) * 1000
        print(f"{users:>8} {step:>5}: median {median:6.1f} ms, worst {worst:6.1f} ms")  # noqa: T201
    print(f"storage grew by {grown / 1024:.0f} KiB")  # noqa: T201
    for step in STEPS:
        ratio = medians[InstanceUsers.OWN, step] / medians[InstanceUsers.HOST, step]
        ratios.note_cost(f"{step} of an instance with its own ids, time of the machine's", ratio)
        assert medians[InstanceUsers.OWN, step] < 1.5 * medians[InstanceUsers.HOST, step]
