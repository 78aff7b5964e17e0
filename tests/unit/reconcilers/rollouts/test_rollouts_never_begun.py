"""Rollouts that cannot begin: they fail at their deadline, and are tried all the same."""

from collections.abc import Sequence

import pytest
from tests.support.rollouts.memory_machine import GOOD, RolloutSetup
from tests.unit.reconcilers.rollouts.test_rollouts_deployment import (
    KEY,
    change,
    condition,
    deployment,
    rolled_out,
    stored,
)

from upwell.api.conditions import find
from upwell.policy.health.fault import FaultEvent
from upwell.policy.health.workloads import workload_faults
from upwell.policy.rollouts.summary import RolloutState, rollout_of
from upwell.registry.errors import ManifestUnknownError

TYPO = "registry.test/app:gooood"


@pytest.fixture
async def setup() -> RolloutSetup:
    return RolloutSetup()


async def pass_minute(setup: RolloutSetup, seconds: int) -> Sequence[float]:
    """Let so much time pass; return what the reconciler asked to wait each time."""
    waits = []
    for _ in range(seconds):
        setup.clock.advance(1)
        waits.append((await setup.reconcile(KEY)) or 0)
    return waits


@pytest.mark.parametrize("before", [True, False])
async def test_a_tag_that_does_not_exist_fails_at_the_deadline_and_says_so(
    setup: RolloutSetup,
    before: bool,  # noqa: FBT001 - a case
) -> None:
    if before:
        await rolled_out(setup)
        await change(setup, deployment(TYPO, progressDeadlineSeconds=30))
    else:
        await setup.apply(deployment(TYPO, progressDeadlineSeconds=30))

    waits = await pass_minute(setup, 25)
    assert (await condition(setup, "Progressing")).reason == ManifestUnknownError.reason
    assert rollout_of(await stored(setup)).state is RolloutState.PROGRESSING
    assert max(waits) <= 30, "the deadline would be missed"

    await pass_minute(setup, 10)
    progressing = await condition(setup, "Progressing")
    assert (progressing.status, progressing.reason) == ("False", "ProgressDeadlineExceeded")
    assert "could not begin for 30 s" in progressing.message
    assert TYPO in progressing.message
    images = await condition(setup, "ImagesAvailable")  # what the Pod that waits is shown by
    assert (images.status, images.reason) == ("False", ManifestUnknownError.reason)
    assert TYPO in images.message
    found = rollout_of(await stored(setup))
    assert (found.state, found.text) == (RolloutState.FAILED, progressing.message)
    faults = list(workload_faults(await stored(setup)))
    assert FaultEvent.ROLLOUT_FAILED in {one.event for one in faults}
    assert setup.runtime.images() == ([GOOD] if before else [])


async def test_a_change_has_a_deadline_of_its_own(setup: RolloutSetup) -> None:
    await rolled_out(setup)
    await change(setup, deployment(TYPO, progressDeadlineSeconds=30))
    await pass_minute(setup, 40)

    await change(setup, deployment(f"{TYPO}d", progressDeadlineSeconds=30))
    await pass_minute(setup, 20)
    assert rollout_of(await stored(setup)).state is RolloutState.PROGRESSING
    await pass_minute(setup, 20)
    assert rollout_of(await stored(setup)).state is RolloutState.FAILED

    await change(setup, deployment(GOOD, progressDeadlineSeconds=30))
    await setup.settle(KEY)
    assert rollout_of(await stored(setup)).state is RolloutState.COMPLETE
    assert find((await stored(setup)).status.conditions, "ImagesAvailable") is None


async def test_what_has_no_replicas_waits_for_no_image(setup: RolloutSetup) -> None:
    await setup.apply(deployment(TYPO, replicas=0))
    await pass_minute(setup, 2)
    assert (await condition(setup, "Progressing")).reason == ManifestUnknownError.reason
    assert find((await stored(setup)).status.conditions, "ImagesAvailable") is None
