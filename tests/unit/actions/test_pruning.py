"""Pruning that an administrator asks for: what is removed, by whose rules."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from tests.support.pruning.pruned_stores import PrunedStores

from upwell.actions.pruning import PruningActions
from upwell.api.requests.prune import PruneSpec
from upwell.oci import Digest
from upwell.policy.pruning.rules import InvalidRulesError, Rules

DEFAULTS = Rules(keep_tag_revisions=3, keep_younger_than=timedelta(hours=24))


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[PrunedStores]:
    machine = PrunedStores(tmp_path)
    yield machine
    machine.inventory.close()


async def lost(machine: PrunedStores, mark: str) -> Digest:
    """Push an image that nothing names."""
    digest = await machine.push("shop/lost:latest", mark)
    await machine.registry.untag("shop/lost", "latest")
    return digest


async def test_without_a_word_it_is_a_dry_run_by_the_servers_rules(machine: PrunedStores) -> None:
    old = await lost(machine, "old")
    machine.grow_old()
    young = await lost(machine, "young")

    status = await PruningActions(machine.pruning, machine.sweep, DEFAULTS).prune(PruneSpec())

    assert [item.name for item in status.items] == [f"shop/lost@{old}"]
    assert await machine.manifests("shop/lost") == {old, young}


async def test_a_confirmed_one_removes_by_the_rules_of_the_request(machine: PrunedStores) -> None:
    old = await lost(machine, "old")
    machine.grow_old()
    never = Rules(keep_tag_revisions=3, keep_younger_than=timedelta(days=999))
    actions = PruningActions(machine.pruning, machine.sweep, never)

    kept = await actions.prune(PruneSpec(confirm=True))
    assert (kept.items, await machine.manifests("shop/lost")) == ((), {old})

    removed = await actions.prune(PruneSpec(confirm=True, keep_younger_than_seconds=3600))
    assert [item.name for item in removed.items] == [f"shop/lost@{old}"]
    assert await machine.manifests("shop/lost") == set()


async def test_a_grace_time_in_which_a_push_may_run_is_refused(machine: PrunedStores) -> None:
    actions = PruningActions(machine.pruning, machine.sweep, DEFAULTS)
    with pytest.raises(InvalidRulesError, match="at least 10 minutes"):
        await actions.prune(PruneSpec(keep_younger_than_seconds=1))


async def test_images_that_lie_elsewhere_are_said_to_be_left_out(machine: PrunedStores) -> None:
    here = PruningActions(machine.pruning, machine.sweep, DEFAULTS)
    assert (await here.prune(PruneSpec())).left_out is None
    elsewhere = PruningActions(machine.pruning, machine.sweep, DEFAULTS, "registry.example/up")
    assert "registry.example/up" in str((await elsewhere.prune(PruneSpec())).left_out)
