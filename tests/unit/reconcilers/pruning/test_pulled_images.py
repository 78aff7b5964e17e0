"""Images that were pulled for workloads: what goes from the runtime's storage, and what stays."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tests.support.pruning.pruned_stores import MONTH, PrunedStores

from upwell.api.requests.prune import PruneStatus
from upwell.oci import Digest, Reference
from upwell.policy.pruning.rules import Rules
from upwell.reconcilers.pruning import PruningSchedule
from upwell.workload.errors import RuntimeUnavailableError
from upwell.workload.instance_spec import ContainerSpec, InstanceSpec, Owner
from upwell.workload.interface import InstanceImage

DAY = timedelta(days=1)


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[PrunedStores]:
    machine = PrunedStores(tmp_path)
    yield machine
    machine.inventory.close()


def pulled(machine: PrunedStores, name: str, unused_for: timedelta = MONTH) -> Reference:
    """Note an image that was pulled for a workload, which has gone since."""
    image = Reference("vendor.test", name, digest=Digest.of(name.encode()))
    machine.runtime.pulled[image] = datetime.now(UTC) - unused_for
    return image


def items(status: PruneStatus) -> list[str]:
    return [item.name for item in status.items if item.what == "pulled image"]


async def test_what_nothing_needs_is_listed_and_goes_when_that_is_confirmed(
    machine: PrunedStores,
) -> None:
    old, younger = pulled(machine, "old"), pulled(machine, "younger", 6 * DAY)

    listed = await machine.pruning.run(machine.rules, confirm=False)
    assert items(listed) == [str(old)]
    assert set(machine.runtime.pulled) == {old, younger}

    assert await machine.pruning.run(machine.rules, confirm=True) == listed
    assert set(machine.runtime.pulled) == {younger}
    assert listed.items[0].reason.startswith("nothing names it; used until 20")


async def test_what_runs_or_could_run_again_stays(machine: PrunedStores) -> None:
    running, rollback, released, revision, old = [
        pulled(machine, name) for name in ("running", "rollback", "released", "revision", "old")
    ]
    container = ContainerSpec("web", running)
    owner = Owner("Deployment", "shop", "web")
    await machine.runtime.start(InstanceSpec("web-0", owner, "1", (container,)))
    machine.runtime.pulled[running] = datetime.now(UTC) - MONTH
    await machine.deploy("web", str(rollback))
    components = [{"name": "web", "image": str(released.digest)}]
    spec = {"pipeline": "web", "number": 1, "components": components}
    await machine.put("Release", "upwell.dev/v1alpha1", "web-1", spec=spec)
    record = {
        "revision": 1,
        "hash": "abc",
        "created": "2026-01-01T00:00:00Z",
        "template": {},
        "images": {"web": str(revision)},
    }
    await machine.put("Deployment", "apps/v1", "api", status={"revisions": [record]})

    status = await machine.pruning.run(machine.rules, confirm=True)

    assert items(status) == [str(old)]
    assert set(machine.runtime.pulled) == {running, rollback, released, revision}


async def test_images_of_others_stay(machine: PrunedStores) -> None:
    theirs = pulled(machine, "theirs")
    machine.runtime.foreign_images.add(theirs)
    assert items(await machine.pruning.run(machine.rules, confirm=True)) == []
    assert set(machine.runtime.pulled) == {theirs}


async def test_they_can_be_left_alone(machine: PrunedStores) -> None:
    pulled(machine, "old")
    rules = Rules(keep_pulled_images=None)
    assert items(await machine.pruning.run(rules, confirm=False)) == []


async def test_what_is_used_or_named_meanwhile_stays(
    machine: PrunedStores, monkeypatch: pytest.MonkeyPatch
) -> None:
    used, named, old = [pulled(machine, name) for name in ("used", "named", "old")]
    find = machine.runtime.pulled_images

    async def used_after() -> Sequence[InstanceImage]:
        found = await find()
        machine.runtime.pulled[used] = datetime.now(UTC)
        await machine.deploy("web", str(named))
        return found

    monkeypatch.setattr(machine.runtime, "pulled_images", used_after)
    status = await machine.pruning.run(machine.rules, confirm=True)

    assert items(status) == [str(old)]
    assert set(machine.runtime.pulled) == {used, named}


async def test_a_runtime_that_does_not_answer_holds_nothing_else_up(
    machine: PrunedStores, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = pulled(machine, "first", 2 * MONTH), pulled(machine, "second")
    remove = machine.runtime.remove_pulled_image

    async def remove_one(image: InstanceImage) -> bool:
        if image.reference == second:
            raise RuntimeUnavailableError("podman does not answer")
        return await remove(image)

    monkeypatch.setattr(machine.runtime, "remove_pulled_image", remove_one)
    status = await machine.pruning.run(machine.rules, confirm=True)

    assert items(status) == [str(first)]
    assert set(machine.runtime.pulled) == {second}
    assert "not all pulled images were pruned" in caplog.text


async def test_while_space_is_short_they_go_after_a_day(machine: PrunedStores) -> None:
    old, young = pulled(machine, "old", 2 * DAY), pulled(machine, "young", DAY / 2)
    schedule = PruningSchedule(machine.pruning, machine.stores, Rules(), DAY)

    await schedule.prune_if_due()
    assert set(machine.runtime.pulled) == {old, young}
    await schedule.prune_now()
    assert set(machine.runtime.pulled) == {young}
