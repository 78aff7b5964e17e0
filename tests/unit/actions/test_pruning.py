"""Pruning that an administrator asks for: what is removed, by whose rules."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import override

import pytest
from tests.support.clocks import SecondsClock
from tests.support.pruning.pruned_stores import PrunedStores

from upwell.actions.pruning import PruningActions
from upwell.api.requests.prune import PruneSpec, PruneStatus
from upwell.builder.interface import BuildError
from upwell.oci import Digest
from upwell.policy.pruning.rules import InvalidRulesError, Rules
from upwell.reconcilers.pruning import Pruning, RetentionRoots
from upwell.reconcilers.pruning.plan import PruningPlan, PruningPlanner
from upwell.reconcilers.pruning.ports import FoundRoots
from upwell.uploads.files import FileInputs
from upwell.uploads.interface import SharedContentError
from upwell.workload.errors import RuntimeUnavailableError
from upwell.workload.interface import InstanceImage

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


class RefusingInputs(FileInputs):
    """Uploads that replicas share, where the registry has failed after the first removals."""

    @override
    async def remove_unused(
        self, keep: Collection[Digest], *, unused_for: timedelta, dry_run: bool = False
    ) -> int:
        error = SharedContentError("cannot list uploads: HTTP 503", retryable=True)
        error.freed_bytes = 7
        raise error


class CountedRoots:
    """Implements RetentionRoots, and counts how often all of it was read, which takes a while."""

    def __init__(self, roots: RetentionRoots, clock: SecondsClock, seconds: float) -> None:
        self._roots = roots
        self._clock = clock
        self._seconds = seconds
        self.reads = 0

    async def read(self) -> FoundRoots:
        self.reads += 1
        self._clock.now += self._seconds
        return await self._roots.read()


async def test_what_could_not_be_pruned_is_told_with_the_rest(
    machine: PrunedStores, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def locked(*_: object, **__: object) -> tuple[str, ...]:
        raise BuildError("GenericBuildFailed", "the store is locked")

    async def away() -> Sequence[InstanceImage]:
        raise RuntimeUnavailableError("podman does not answer")

    old = await lost(machine, "old")
    machine.grow_old()
    monkeypatch.setattr(machine.builder, "prune", locked)
    monkeypatch.setattr(machine.runtime, "pulled_images", away)
    stores = replace(machine.stores, inputs=RefusingInputs(tmp_path / "refusing"))
    actions = PruningActions(Pruning(stores), None, DEFAULTS, "registry.example/ours")
    status = await actions.prune(PruneSpec(confirm=True))
    found = [(item.name, item.bytes) for item in status.items if item.what == "uploads"]
    assert found == [("all", 7)]
    assert [item.name for item in status.items if item.what == "image"] == [f"shop/lost@{old}"]
    assert status.left_out is not None
    assert "that registry's own retention" in status.left_out
    assert "uploads, not all of them: cannot list uploads: HTTP 503" in status.left_out
    assert "images of the builder: the store is locked" in status.left_out
    assert "pulled images, not all of them: podman does not answer" in status.left_out


async def test_two_replicas_that_prune_at_once_count_a_tag_revision_once(
    machine: PrunedStores, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = [await machine.push("shop/web:latest", mark) for mark in ("old", "new")]
    await machine.stream("web", new, old)
    machine.grow_old()
    replicas = [Pruning(machine.stores), Pruning(machine.stores)]
    planned, statuses = PruningPlanner.plan, list[PruneStatus]()

    async def plan(planner: PruningPlanner, rules: Rules) -> PruningPlan:
        found = await planned(planner, rules)
        if replicas:  # another one does it all before this one begins
            statuses.append(await replicas.pop().run(rules, confirm=True))
        return found

    monkeypatch.setattr(PruningPlanner, "plan", plan)
    statuses.append(await replicas.pop().run(machine.rules, confirm=True))
    removed = [item.name for status in statuses for item in status.items]
    assert sorted(removed) == [f"shop/web:latest@{old}", f"shop/web@{old}"]
    assert await machine.history("web") == [str(new)]


@pytest.mark.parametrize(
    ("seconds", "reading", "reads"),
    [(0.01, 0.0, 2), (6.0, 0.0, 1 + 2), (60.0, 0.0, 1 + 4), (6.0, 20.0, 1 + 1)],
)
async def test_roots_are_read_again_once_a_decision_is_old(
    machine: PrunedStores,
    monkeypatch: pytest.MonkeyPatch,
    seconds: float,
    reading: float,
    reads: int,
) -> None:
    for number in range(4):
        await lost(machine, f"old {number}")
    machine.grow_old()
    clock = SecondsClock()
    roots = CountedRoots(machine.stores.roots, clock, reading)
    expire = machine.registry.expire_manifest

    async def take_long(repository: str, digest: Digest, before: datetime) -> bool:
        clock.now += seconds
        return await expire(repository, digest, before)

    monkeypatch.setattr(machine.registry, "expire_manifest", take_long)
    pruning = Pruning(replace(machine.stores, roots=roots), elapsed=clock)
    await PruningActions(pruning, None, DEFAULTS).prune(PruneSpec(confirm=True))
    assert await machine.manifests("shop/lost") == set()
    # For the plan, and then for what is removed within ten seconds, or the time of reading.
    assert roots.reads == reads


async def test_an_image_that_begins_to_run_while_others_go_stays(
    machine: PrunedStores, monkeypatch: pytest.MonkeyPatch
) -> None:
    digests = [await lost(machine, f"old {number}") for number in range(4)]
    machine.grow_old()
    clock, gone = SecondsClock(), list[Digest]()
    expire = machine.registry.expire_manifest

    async def take_long(repository: str, digest: Digest, before: datetime) -> bool:
        if not gone:
            for other in digests:
                if other != digest:
                    await machine.run(f"web-{other.hex[:8]}", other)
        gone.append(digest)
        clock.now += 11
        return await expire(repository, digest, before)

    monkeypatch.setattr(machine.registry, "expire_manifest", take_long)
    pruning = Pruning(machine.stores, elapsed=clock)
    await PruningActions(pruning, None, DEFAULTS).prune(PruneSpec(confirm=True))
    assert len(gone) == 1
    assert await machine.manifests("shop/lost") == {*digests} - {*gone}


async def test_a_grace_time_in_which_a_push_may_run_is_refused(machine: PrunedStores) -> None:
    actions = PruningActions(machine.pruning, machine.sweep, DEFAULTS)
    with pytest.raises(InvalidRulesError, match="at least 10 minutes"):
        await actions.prune(PruneSpec(keep_younger_than_seconds=1))


async def test_images_that_lie_elsewhere_are_said_to_be_left_out(machine: PrunedStores) -> None:
    here = PruningActions(machine.pruning, machine.sweep, DEFAULTS)
    assert (await here.prune(PruneSpec())).left_out is None
    elsewhere = PruningActions(machine.pruning, machine.sweep, DEFAULTS, "registry.example/up")
    assert "registry.example/up" in str((await elsewhere.prune(PruneSpec())).left_out)
