"""Every fault at a step of the loop: nothing is lost, no verdict is false, and the loop goes on.

Each fault is inflicted at one step, so that all of it takes minutes, but for those that have a
neighbour here or a test of their own; with UPWELL_FAULT_STEPS=all, all are, at every step.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime

import pytest
import pytest_asyncio
from tests.support.faults.faulty_loop import FaultyLoop, LoopStep, faulty_loop
from tests.support.faults.machine_faults import (
    ALL_STEPS,
    FAULTS,
    FaultKind,
    InflictedFault,
)
from tests.support.installation.surfaces import Surfaces, surfaces

pytestmark = pytest.mark.asyncio(loop_scope="module")

DISK_MEGABYTES = 1024


ON_DEMAND = {
    "server killed",
    "server gone",
    "router killed",  # tests/acceptance/faults/test_faults_of_the_router.py
    "router's worker killed",
    "router's worker stopped",
    "instance stopped",
    "podman service killed",  # tests/integration/workload/test_podman_faults.py
    "podman service stopped",
    "vendor's registry (slow) slow",
    "builder killed",  # tests/acceptance/faults/test_faults_of_builds.py
    "builder stopped",
    "conmon killed",  # tests/integration/workload/test_podman_power_cuts.py
    "conmon stopped",
    "vendor's registry gone",  # tests/acceptance/faults/test_faults_of_registries.py
    "vendor's registry (other_bytes) lying",  # tests/integration/registry/test_client_faults.py
    "vendor's registry (truncated) lying",
    "vendor's registry (server_error) lying",
    "disk full",
    "machine's power, runtime folders wiped gone",
    "machine's power, runtime folders kept gone",
}


def cells() -> Iterator[tuple[InflictedFault, LoopStep]]:
    """Yield each fault with its steps: one in turn, or all of them."""
    steps = tuple(LoopStep)
    for number, fault in enumerate(FAULTS):
        if ALL_STEPS:
            yield from ((fault, step) for step in steps)
        elif str(fault) not in ON_DEMAND:
            yield fault, steps[number % len(steps)]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def loop() -> AsyncIterator[FaultyLoop]:
    async with faulty_loop(DISK_MEGABYTES) as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def asked(loop: FaultyLoop) -> AsyncIterator[Surfaces]:
    async with surfaces(loop.made) as answering:
        yield answering


@pytest.mark.parametrize(
    ("fault", "step"), [pytest.param(*cell, id=f"{cell[0]} when {cell[1]}") for cell in cells()]
)
async def test_the_loop_goes_on(
    loop: FaultyLoop, asked: Surfaces, fault: InflictedFault, step: LoopStep
) -> None:
    failures, since = loop.failures(), datetime.now(UTC).replace(microsecond=0)
    try:
        if step is LoopStep.IDLE:
            await fault.inflict(loop)
            await loop.publish("good")
        else:
            await loop.publish("bad" if step is LoopStep.WORKING else "good")
            await loop.reach(step)
            await fault.inflict(loop)
        await asyncio.sleep(fault.seconds)  # how long it lasts is the input of this test
        if loop.made.is_alive and fault.kind is not FaultKind.STOPPED:
            await loop.surfaces_agree(asked)
    finally:
        if fault.heal is not None:
            await fault.heal(loop)
    if step is LoopStep.WORKING:
        await loop.rejected()
        await loop.publish("good")
    await loop.settled()
    await loop.surfaces_are_well(asked)
    if fault.component:
        await loop.told(fault.component, since)
    if not fault.interrupts:
        assert loop.failures() == failures
