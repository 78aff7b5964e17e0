"""Promotions that are disturbed: an image that is gone, wishes at once, a freeze in the middle."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from tests.support.faults.on_demand import on_demand
from tests.support.installation.installation import installation, until
from tests.support.installation.promoted_installation import PromotedInstallation, manifests

from upwell.api.codec import decode_as
from upwell.api.pipeline import Freeze
from upwell.api.promotion import Promotion, PromotionPhase, ReleasePhase

_SOAK_SECONDS = 30
BEGUN = {PromotionPhase.ROLLING_OUT, PromotionPhase.VERIFYING, PromotionPhase.ROLLING_BACK}


@asynccontextmanager
async def open_promoted(*, approval: bool, soak: int = 0) -> AsyncIterator[PromotedInstallation]:
    """The shop, whose first version is everywhere."""
    async with installation() as made, made.client() as client:
        promoted = PromotedInstallation(made, client)
        await promoted.publish()
        await made.apply(client, manifests(made.vendor, approval=approval, soak=soak))
        if approval:
            await promoted.approve()
        await promoted.until_phase("shop-1.production", PromotionPhase.SUCCEEDED)
        yield promoted


async def test_a_release_whose_digest_was_deleted_changes_nothing_and_is_rejected() -> None:
    async with open_promoted(approval=True) as promoted:
        await promoted.publish()
        await promoted.until_phase("shop-2.production", PromotionPhase.WAITING)
        [component] = (await promoted.releases())["shop-2"].spec.components
        promoted.made.kill()
        delete(
            component.image.rpartition(":")[2],
            promoted.made.folder / "vendor",
            promoted.made.data_dir,
        )
        await promoted.made.start()

        await promoted.approve()
        failed = await promoted.until_phase("shop-2.production", PromotionPhase.FAILED)
        assert failed.status.message.startswith("cannot pull the images of shop-2: ")
        assert component.image.rpartition("@")[2] in failed.status.message
        assert [step.name for step in failed.status.steps] == ["Images", "RollBack"]
        assert await promoted.served("production") == "good-1"

        async def fate() -> ReleasePhase:
            return (await promoted.releases())["shop-2"].status.phase

        await until(fate, ReleasePhase.REJECTED.__eq__)
        await promoted.still()


def delete(digest: str, *folders: Path) -> None:
    """Remove a manifest from registries, whatever they have of it."""
    found = [path for folder in folders for path in folder.rglob(f"*{digest}*")]
    assert found
    for path in found:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


@on_demand(
    "tests/unit/policy/promotion/test_holds_and_bars.py::"
    "test_two_requests_for_one_stage_begin_one_after_the_other"
)
async def test_two_promotions_of_a_stage_at_once_are_one_after_the_other() -> None:
    async with open_promoted(approval=False) as promoted:
        for number in (2, 3):
            await promoted.publish()
            await promoted.until_phase(f"shop-{number}.production", PromotionPhase.SUCCEEDED)
        overlaps: list[Sequence[str]] = []
        async with asyncio.TaskGroup() as group:
            watching = group.create_task(watch(promoted, overlaps))
            asked = await asyncio.gather(
                *(
                    asyncio.to_thread(
                        *(promoted.made.upwell, "promote", release, "--stage", "production"),
                        *("--reason", "both at once"),
                    )
                    for release in ("shop-1", "shop-2", "shop-2", "shop-1")
                )
            )
            assert {done.returncode for done in asked} <= {0, 1}, [one.stderr for one in asked]
            await promoted.still()
            watching.cancel()
        assert overlaps == []

        made = [
            one
            for one in (await promoted.promotions()).values()
            if one.spec.reason == "both at once"
        ]
        assert {one.spec.release for one in made} <= {"shop-1", "shop-2"}
        assert {one.status.phase for one in made} <= {
            PromotionPhase.SUCCEEDED,
            PromotionPhase.SUPERSEDED,
        }
        stage = (await promoted.pipeline()).status.stage("production")
        last = max((one for one in made if one.status.started), key=started)
        assert stage.release == last.spec.release
        assert await promoted.served("production") == f"good-{last.spec.release[-1]}"
        assert stage.hold is not None
        assert "promoted by hand" in stage.hold


def started(promotion: Promotion) -> float:
    return promotion.status.started.timestamp() if promotion.status.started else 0


async def watch(promoted: PromotedInstallation, overlaps: list[Sequence[str]]) -> None:
    """Note whenever more than one promotion of production has begun and not ended."""
    begun: set[str] = set()
    async for event in promoted.client.watch(Promotion):
        one = event.resource
        is_begun = one.spec.stage == "production" and one.status.phase in BEGUN
        begun = begun | {one.name} if is_begun else begun - {one.name}
        if len(begun) > 1:
            overlaps.append(sorted(begun))


async def test_a_freeze_in_the_middle_lets_what_has_begun_end_and_nothing_begin() -> None:
    async with open_promoted(approval=False, soak=5) as promoted:
        await promoted.publish()
        await promoted.until_phase("shop-2.dev", PromotionPhase.VERIFYING)
        # At once, within the soak: a command takes seconds on a busy machine.
        freeze = {"metadata": {"name": "stop-the-line"}, "spec": {"reason": "audit"}}
        await promoted.client.create(decode_as(Freeze, freeze))
        assert (await promoted.phases())["shop-2.dev"] is PromotionPhase.VERIFYING

        await promoted.until_phase("shop-2.dev", PromotionPhase.SUCCEEDED)
        waits = await promoted.until_phase("shop-2.production", PromotionPhase.WAITING)

        async def waits_for() -> str:
            return (await promoted.promotions())[waits.name].status.message

        await until(waits_for, lambda text: "audit" in text)
        promoted.made.kill()
        await promoted.made.start()
        assert (await promoted.phases())[waits.name] is PromotionPhase.WAITING
        assert await promoted.served("production") == "good-1"

        thawed = promoted.made.upwell("freeze", "lift", "stop-the-line")
        assert thawed.returncode == 0, thawed.stderr
        await promoted.until_phase("shop-2.production", PromotionPhase.SUCCEEDED)
        await promoted.until_served("production", "good-2")
        await promoted.still()


async def test_a_soak_counts_no_time_in_which_the_server_was_away() -> None:
    async with installation() as made, made.client() as client:
        promoted = PromotedInstallation(made, client)
        await promoted.publish()
        await made.apply(client, manifests(made.vendor, approval=False, soak=_SOAK_SECONDS))

        async def soaked() -> float:
            found = (await promoted.promotions()).get("shop-1.dev")
            return found.status.soaked_seconds if found is not None else 0

        await until(soaked, lambda seconds: seconds >= _SOAK_SECONDS / 10)
        made.kill()
        await asyncio.sleep(_SOAK_SECONDS)  # the time that must not count
        await made.start()
        again, before = asyncio.get_running_loop().time(), await soaked()
        assert 0 < before < _SOAK_SECONDS

        ended = await promoted.until_phase(
            "shop-1.dev", PromotionPhase.SUCCEEDED, PromotionPhase.FAILED
        )
        assert ended.status.phase is PromotionPhase.SUCCEEDED, ended.status.message
        assert ended.status.soaked_seconds == _SOAK_SECONDS
        assert asyncio.get_running_loop().time() - again > _SOAK_SECONDS - before - 5
