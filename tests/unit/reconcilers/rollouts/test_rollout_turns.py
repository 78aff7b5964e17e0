"""Rollouts of image change triggers that wait for their turn."""

import pytest
from tests.support.builds.memory_builds import until
from tests.support.waves.fleet import Fleet, debian

from upwell.api.apps import Deployment
from upwell.policy.rollouts.history import RolloutCause
from upwell.policy.rollouts.settings import template_of
from upwell.policy.waves.budget import RolloutBudget
from upwell.reconcilers.rollouts.triggers import WorkloadTriggerReconciler
from upwell.reconcilers.rollouts.turns import RolloutTurns
from upwell.store.retry import update_with_retry


class TurnsFleet(Fleet):
    """Workloads whose image changes have a budget."""

    def __init__(self, budget: RolloutBudget) -> None:
        self.budget = budget
        super().__init__()

    def start(self) -> None:
        super().start()
        self.turns = RolloutTurns(self.cache, self.clock, self.budget)
        self.triggers = WorkloadTriggerReconciler(
            self.workload_index, self.clock, self.gate, self.turns
        )

    async def begins(self, namespace: str, name: str) -> None:
        """Begin the rollout of what a trigger has set."""
        await self.rolls_out(namespace, name, phase="Progressing")
        await self._change_newest(namespace, name, cause=RolloutCause.IMAGE_CHANGE.value)

    async def ends(self, namespace: str, name: str, phase: str = "Complete") -> None:
        await self._change_newest(namespace, name, phase=phase)

    async def _change_newest(self, namespace: str, name: str, **changes: str) -> None:
        async def write(found: Deployment) -> Deployment:
            newest, *before = found.status.revisions
            revisions = (newest.model_copy(update=changes), *before)
            status = found.status.model_copy(update={"revisions": revisions})
            return await self.store.update_status(found.with_status(status))

        # The server writes conditions meanwhile.
        await update_with_retry(lambda: self.get_workload(namespace, name), write)
        await self.cache.ready(Deployment)

    async def follow_new(self, known: list[str]) -> list[str]:
        """Let triggers act until nothing changes; begin what they set; return who is new."""
        new = [one for one in await self.follow() if one not in known]
        for one in new:
            namespace, _, name = one.partition("/")
            await self.begins(namespace, name)
        return new


async def fleet_of(budget: RolloutBudget, **workloads: int) -> TurnsFleet:
    """Return so many workloads in each namespace, and an image that has changed."""
    fleet = TurnsFleet(budget)
    await fleet.imports("old")
    for namespace, number in workloads.items():
        for count in range(number):
            await fleet.deployment(namespace, f"web-{count}", serves=debian("old"))
    await fleet.follow()
    fleet.clock.advance(60)
    await fleet.imports("new")
    return fleet


async def test_so_many_are_under_way_at_once_and_the_others_say_their_place() -> None:
    fleet = await fleet_of(RolloutBudget(at_once=2), many=5)
    first = await fleet.follow_new([])
    assert len(first) == 2
    assert await fleet.follow_new(first) == []
    waiting = [f"web-{n}" for n in range(5) if f"many/web-{n}" not in first]
    conditions = [await fleet.condition("many", name) for name in waiting]
    assert {one.reason for one in conditions} == {"WaitsForTurn"}
    assert any(
        "waits for its turn, 1 of 3: 2 of 2 rollouts are under way" in one.message
        for one in conditions
    )
    assert all("upwell rollout latest deployment/web-" in one.message for one in conditions)

    await fleet.ends("many", first[0].partition("/")[2])
    assert len(await fleet.follow_new(first)) == 1


@pytest.mark.parametrize("phase", ["Complete", "Failed"])
async def test_all_get_their_turn_in_the_end(phase: str) -> None:
    fleet = await fleet_of(RolloutBudget(at_once=1), many=4)
    known: list[str] = []
    while new := await fleet.follow_new(known):
        assert len(new) == 1
        known += new
        await fleet.ends("many", new[0].partition("/")[2], phase)
    assert len(known) == 4


async def test_many_of_one_namespace_do_not_keep_another_waiting() -> None:
    fleet = await fleet_of(RolloutBudget(at_once=2), many=9, one=1)
    known = await fleet.follow_new([])
    for _ in range(2):
        await fleet.ends(*known[-1].split("/"))
        known += await fleet.follow_new(known)
    assert "one/web-0" in known


async def test_a_namespace_has_its_own_budget() -> None:
    fleet = await fleet_of(RolloutBudget(per_namespace=1), many=3, other=3)
    first = await fleet.follow_new([])
    assert sorted(one.partition("/")[0] for one in first) == ["many", "other"]
    [name] = [n for n in ("web-0", "web-1", "web-2") if f"many/{n}" not in first][:1]
    message = (await fleet.condition("many", name)).message
    assert "1 of 1 rollouts of its namespace are under way" in message


async def test_a_restart_knows_what_is_under_way() -> None:
    fleet = await fleet_of(RolloutBudget(at_once=2), many=5)
    first = await fleet.follow_new([])
    fleet.start()
    assert await fleet.follow_new(first) == []
    await fleet.ends(*first[0].split("/"))
    assert len(await fleet.follow_new(first)) == 1


async def test_what_waits_no_longer_keeps_nobody_waiting() -> None:
    fleet = await fleet_of(RolloutBudget(at_once=1), many=3)
    [first] = await fleet.follow_new([])
    waiting = [f"web-{n}" for n in range(3) if f"many/web-{n}" != first]
    await fleet.store.delete(Deployment, "many", waiting[0])
    await fleet.follow_new([first])
    await fleet.triggers.reconcile((await fleet.get_workload("many", waiting[1])).key)
    gone = (await fleet.get_workload("many", waiting[1])).key.__class__(
        "Deployment", "many", waiting[0]
    )
    await fleet.triggers.reconcile(gone)
    await fleet.ends(*first.split("/"))
    assert await fleet.follow_new([first]) == [f"many/{waiting[1]}"]


async def test_a_rollout_by_hand_waits_for_nobody_and_takes_no_turn() -> None:
    fleet = await fleet_of(RolloutBudget(at_once=1), many=2)
    [first] = await fleet.follow_new([])
    [name] = [n for n in ("web-0", "web-1") if f"many/{n}" != first]
    found = await fleet.get_workload("many", name)
    template = template_of(found)
    container = template.spec.containers[0].model_copy(update={"image": debian("new")})
    pod = template.spec.model_copy(update={"containers": (container,)})
    spec = found.spec.model_copy(update={"template": template.model_copy(update={"spec": pod})})
    await fleet.store.update(found.model_copy(update={"spec": spec}))
    await fleet.follow()
    assert (await fleet.condition("many", name)).reason == "Resolved"


async def test_the_end_of_one_calls_the_next() -> None:
    fleet = await fleet_of(RolloutBudget(at_once=1), many=2)
    [first] = await fleet.follow_new([])
    await fleet.follow()
    watch = next(one for one in fleet.turns.watches() if one.kind is Deployment)
    namespace, _, name = first.partition("/")
    before = await fleet.get_workload(namespace, name)
    await fleet.ends(namespace, name)
    after = await fleet.get_workload(namespace, name)
    [called] = watch.to_keys(before, after)
    assert f"{called.namespace}/{called.name}" != first


async def test_a_rollout_that_takes_for_ever_gives_its_turn_back() -> None:
    fleet = await fleet_of(RolloutBudget(at_once=1), many=2)
    first = await fleet.follow_new([])
    fleet.clock.advance(3601)
    assert len(await fleet.follow_new(first)) == 1


async def test_what_runs_in_a_server_calls_whose_turn_it_is() -> None:
    fleet = await fleet_of(RolloutBudget(at_once=2), many=5)
    async with fleet.served(fleet.budget):
        known: list[str] = []

        async def two_more() -> bool:
            return len(await fleet.set_now()) == min(5, len(known) + 2)

        while len(known) < 5:
            await until(two_more)
            new = [one for one in await fleet.set_now() if one not in known]
            for one in new:
                await fleet.begins(*one.split("/"))
            for one in new:
                await fleet.ends(*one.split("/"))
            known += new
