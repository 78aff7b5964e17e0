"""Power cuts in the loop: no test that did not end has passed, and no application is to blame."""

from collections.abc import AsyncIterator, Sequence

import pytest
from tests.support.faults.machine_faults import ALL_STEPS
from tests.support.installation.installation import installation, until
from tests.support.installation.promoted_installation import PromotedInstallation, manifests

from upwell.api.pod import Pod
from upwell.api.promotion import CheckPhase, Promotion, PromotionPhase

BOTH = {"wiped": True, "kept": False}
"""The folders of what runs were in memory, as the system's own are, or on the disk."""
TEST_SECONDS = 4


def cut(way: str) -> pytest.MarkDecorator:
    """Cut power in one way, or in both with UPWELL_FAULT_STEPS=all."""
    ways = BOTH if ALL_STEPS else {way: BOTH[way]}
    return pytest.mark.parametrize("wipe", ways.values(), ids=ways)


@pytest.fixture
async def promoted() -> AsyncIterator[PromotedInstallation]:
    async with installation() as made, made.client() as client:
        promoted = PromotedInstallation(made, client)
        await promoted.publish()
        slow = manifests(made.vendor, approval=False).replace(
            "args: ['seen=", f"args: ['sleep {TEST_SECONDS}; seen="
        )
        assert "sleep" in slow
        await made.apply(client, slow)
        await promoted.until_phase("shop-1.production", PromotionPhase.SUCCEEDED)
        await promoted.until_served("production", promoted.versions[0])
        yield promoted


async def running_pods(promoted: PromotedInstallation) -> list[str]:
    """Return the names of the Pods that run; a list of Podman's own is too slow for moments."""
    pods = (await promoted.client.list(Pod)).items
    return [one.name for one in pods if one.status.phase == "Running"]


async def until_tested(promoted: PromotedInstallation) -> None:
    """Wait until the newest Release's test runs."""

    async def running() -> bool:
        return any("-job-" in name for name in await running_pods(promoted))

    await until(running, bool, closely=True)


async def until_new_instance(promoted: PromotedInstallation, before: Sequence[str]) -> None:
    """Wait until an instance runs that was not there before, most often beside the old one.

    That both run passes sooner than a busy machine answers what runs.
    """

    async def running() -> list[str]:
        names = await running_pods(promoted)
        instances = [name for name in names if "shop-dev" in name and "-job-" not in name]
        return [name for name in instances if name not in before]

    await until(running, bool, closely=True)


async def cut_power(promoted: PromotedInstallation, *, wipe: bool) -> None:
    promoted.made.power_off(wipe_runtime=wipe)
    await promoted.made.start()


def e2e(promotion: Promotion) -> tuple[CheckPhase, int]:
    [found] = [one for one in promotion.status.checks if one.name == "e2e"]
    return found.phase, found.attempt


@cut("kept")
async def test_a_release_whose_test_was_cut_short_is_tested_again_and_rejected(
    promoted: PromotedInstallation, *, wipe: bool
) -> None:
    good = promoted.versions[-1]
    await promoted.publish("bad-2")
    await until_tested(promoted)
    await cut_power(promoted, wipe=wipe)
    await promoted.until_served("production", good)
    failed = await promoted.until_phase("shop-2.dev", *_ENDS)

    assert failed.status.phase is PromotionPhase.FAILED
    assert e2e(failed) == (CheckPhase.FAILED, 1)
    [check] = [one for one in failed.status.checks if one.name == "e2e"]
    assert "exit code 1" in check.message
    assert "shop-2.production" not in await promoted.promotions()
    await promoted.until_served("dev", good)
    assert await promoted.served("production") == good
    await promoted.still()


@cut("wiped")
async def test_a_healthy_release_goes_on_after_power_cuts(
    promoted: PromotedInstallation, *, wipe: bool
) -> None:
    before = await running_pods(promoted)
    await promoted.publish("good-2")
    await until_new_instance(promoted, before)
    await cut_power(promoted, wipe=wipe)
    await until_tested(promoted)
    await cut_power(promoted, wipe=wipe)
    await promoted.until_phase("shop-2.production", *_ENDS)
    await promoted.until_served("production", "good-2")

    phases = await promoted.phases()
    assert phases["shop-2.dev"] is phases["shop-2.production"] is PromotionPhase.SUCCEEDED
    assert e2e((await promoted.promotions())["shop-2.dev"]) == (CheckPhase.PASSED, 1)
    assert [name for name, one in (await promoted.releases()).items() if one.status.rejection] == []
    await promoted.still()


_ENDS = tuple(phase for phase in PromotionPhase if phase.is_final)
