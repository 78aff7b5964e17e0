"""Workloads that others wait for where nothing of their own runs: after a power cut, say."""

import pytest
from tests.support.rollouts.memory_machine import GOOD, RolloutSetup
from tests.unit.reconcilers.rollouts.test_rollouts_deployment import (
    KEY,
    condition,
    deployment,
    pass_time,
)

from upwell.api.apps import Deployment
from upwell.api.meta import ObjectKey
from upwell.policy.rollouts.starts.dependencies import DEPENDS_ON_ANNOTATION, PATIENCE

DATABASE = ObjectKey("Deployment", "shop", "db")


def named(name: str, depends_on: str = "") -> Deployment:
    made = deployment(GOOD)
    annotations = {DEPENDS_ON_ANNOTATION: depends_on} if depends_on else {}
    metadata = made.metadata.model_copy(update={"name": name, "annotations": annotations})
    return made.model_copy(update={"metadata": metadata})


def running(setup: RolloutSetup) -> list[str]:
    return [one.owner.name for _, one in setup.runtime.running.values() if one.ready]


@pytest.fixture
async def cut() -> RolloutSetup:
    """A machine that comes back after a power cut."""
    setup = RolloutSetup()
    await setup.apply(named("db"))
    await setup.settle(DATABASE)
    await setup.apply(named("web", "db:service_healthy,gone"))
    await setup.settle(KEY)
    assert running(setup) == ["db", "web"]
    setup.clock.advance(3600)
    for name in setup.runtime.names():
        setup.runtime.lose(name)
    setup.runtime.watched_since = setup.clock()
    return setup


async def test_after_a_power_cut_it_waits_until_what_it_needs_is_healthy(cut: RolloutSetup) -> None:
    await pass_time(cut, 10)
    assert running(cut) == []
    progressing = await condition(cut, "Progressing")
    assert (progressing.status, progressing.reason) == ("True", "WaitingForDependencies")
    assert "waits until db is healthy" in progressing.message

    await cut.settle(DATABASE)
    await cut.settle(KEY)
    assert running(cut) == ["db", "web"]
    assert (await condition(cut, "Progressing")).reason == "NewReplicaSetAvailable"


async def test_it_waits_for_five_minutes_and_no_longer(cut: RolloutSetup) -> None:
    await pass_time(cut, int(PATIENCE.total_seconds()) + 2)
    assert running(cut) == ["web"]


async def test_what_is_scaled_to_none_is_not_waited_for(cut: RolloutSetup) -> None:
    database = await cut.store.get(Deployment, "shop", "db")
    none = database.spec.model_copy(update={"replicas": 0})
    await cut.store.update(database.model_copy(update={"spec": none}))
    await cut.settle(KEY)
    assert "web" in running(cut)


async def test_a_crash_later_on_is_mended_without_its_dependencies(cut: RolloutSetup) -> None:
    await cut.settle(DATABASE)
    await cut.settle(KEY)
    cut.clock.advance(3600)
    for name in cut.runtime.names():
        cut.runtime.end(name)
    await pass_time(cut, 30)
    assert running(cut) == ["web"]
