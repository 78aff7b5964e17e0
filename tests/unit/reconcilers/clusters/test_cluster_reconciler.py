"""Looks at Clusters: conditions, rights, access that is none, and how soon it is looked again."""

from datetime import UTC, datetime

import pytest
from tests.support.clocks import ManualTime
from tests.support.cluster.memory_remote import MemoryRemoteCluster, MemoryRemoteClusters

from upwell.api.clusters.cluster import AUTHORIZED, CHECKS_AUTHORIZED, REACHABLE, Cluster
from upwell.api.codec import decode_as
from upwell.api.conditions import find
from upwell.api.meta import ObjectKey
from upwell.api.pipeline import Pipeline
from upwell.api.promotion import Promotion
from upwell.cluster.errors import AccessDeniedError
from upwell.policy.health.judgement import faults_of
from upwell.reconcilers.clusters.reconciler import ClusterReconciler, found_away
from upwell.store.memory import MemoryStore

EAST = ObjectKey("Cluster", "", "east")


class Looked:
    """A Cluster that is looked at."""

    def __init__(self) -> None:
        self.clock = ManualTime(datetime(2026, 3, 1, tzinfo=UTC))
        self.store = MemoryStore(self.clock)
        self.remote = MemoryRemoteCluster(self.clock)
        clusters = MemoryRemoteClusters({"east": self.remote})
        self.reconciler = ClusterReconciler(self.store, clusters, self.clock)

    async def add(self, name: str = "east", **spec: object) -> None:
        secret = {"kubeConfig": {"secretRef": {"namespace": "ops", "name": name}}}
        document = {"metadata": {"name": name}, "spec": spec or secret}
        await self.store.create(decode_as(Cluster, document))

    async def look(self, key: ObjectKey = EAST) -> float | None:
        return (await self.reconciler.reconcile(key)).requeue_after

    async def condition(self, kind: str, name: str = "east") -> tuple[str, str, str]:
        cluster = await self.store.get(Cluster, "", name)
        found = find(cluster.status.conditions, kind)
        assert found is not None
        return found.status, found.reason, found.message


@pytest.fixture
def looked() -> Looked:
    return Looked()


async def test_one_that_answers_is_looked_at_twice_a_minute(looked: Looked) -> None:
    await looked.add()

    assert await looked.look() == 30
    assert await looked.condition(REACHABLE) == ("True", "Answered", "")
    assert await looked.condition(AUTHORIZED) == ("True", "Allowed", "")


async def test_one_that_is_away_is_looked_at_sooner_and_is_found_again(looked: Looked) -> None:
    await looked.add()
    looked.remote.is_away = True

    assert await looked.look() == 10
    status, reason, message = await looked.condition(REACHABLE)
    assert (status, reason) == ("False", "ClusterUnavailable")
    assert "No route to host" in message

    looked.remote.is_away = False
    assert await looked.look() == 30
    assert (await looked.condition(REACHABLE))[0] == "True"


async def test_rights_that_are_missing_are_named(looked: Looked) -> None:
    await looked.add()
    looked.remote.denied = {("patch", "deployments")}

    await looked.look()

    message = "the access lacks: patch deployments.apps in all namespaces"
    assert await looked.condition(AUTHORIZED) == ("False", "MissingRights", message)


async def test_rights_are_asked_for_at_once_after_a_denial_and_until_they_are_back(
    looked: Looked,
) -> None:
    await looked.add()
    await looked.look()
    looked.remote.denied = {("patch", "deployments")}
    await looked.look()
    assert (await looked.condition(AUTHORIZED))[0] == "True", "nothing was denied yet"

    with pytest.raises(AccessDeniedError):
        looked.remote.require("patch", "deployments")
    await looked.look()
    assert (await looked.condition(AUTHORIZED))[0] == "False"

    looked.remote.denied.clear()
    await looked.look()
    assert (await looked.condition(AUTHORIZED))[0] == "True"


async def test_a_cluster_that_a_promotion_finds_away_is_looked_at() -> None:
    before = promoted(east="RollingOut", west="Away")
    after = promoted(east="Away", west="Away")

    assert list(found_away(before, after)) == [EAST]
    assert list(found_away(after, after)) == []
    assert list(found_away(after, before)) == []
    assert list(found_away(after, None)) == []


def promoted(**phases: str) -> Promotion:
    clusters = [{"name": name, "release": "shop-1", "phase": one} for name, one in phases.items()]
    spec = {"pipeline": "shop", "release": "shop-1", "stage": "production", "purpose": "Promote"}
    metadata = {"name": "shop-1.production", "namespace": "shop"}
    document = {"metadata": metadata, "spec": spec, "status": {"clusters": clusters}}
    return decode_as(Promotion, document)


async def test_what_checks_take_is_a_condition_of_its_own(looked: Looked) -> None:
    await looked.add()
    looked.remote.denied = {("create", "jobs")}

    await looked.look()

    assert await looked.condition(AUTHORIZED) == ("True", "Allowed", "")
    message = "the access lacks: create jobs.batch in all namespaces"
    assert await looked.condition(CHECKS_AUTHORIZED) == ("False", "MissingRights", message)
    assert faults_of(await looked.store.get(Cluster, "", "east")) == ()


@pytest.mark.parametrize(("check", "again"), [("job", "True"), ("tcp", "False")])
async def test_what_checks_take_is_asked_for_at_each_look_where_a_stage_has_such_checks(
    looked: Looked, check: str, again: str
) -> None:
    asked = {"job": {"command": ["/smoke"]}} if check == "job" else {"tcp": {"address": "web:80"}}
    verification = {"checks": [{"name": "smoke", **asked}]}
    stage = {"name": "production", "cluster": "east", "verification": verification}
    metadata = {"name": "shop", "namespace": "shop"}
    pipeline = {"metadata": metadata, "spec": {"stages": [stage]}}
    await looked.store.create(decode_as(Pipeline, pipeline))
    await looked.add()
    looked.remote.denied = {("create", "jobs")}
    await looked.look()

    looked.remote.denied.clear()
    await looked.look()

    assert (await looked.condition(CHECKS_AUTHORIZED))[0] == again


async def test_a_look_that_sees_nothing_new_writes_nothing(looked: Looked) -> None:
    await looked.add()
    await looked.look()
    before = await looked.store.get(Cluster, "", "east")

    await looked.look()

    assert await looked.store.get(Cluster, "", "east") == before


async def test_an_access_that_is_none_is_said(looked: Looked) -> None:
    await looked.add("west")

    await looked.look(ObjectKey("Cluster", "", "west"))

    assert (await looked.condition(REACHABLE, "west"))[:2] == ("False", "NoClusterAccess")


async def test_the_own_place_is_always_reached(looked: Looked) -> None:
    await looked.add("here", local=True)

    assert await looked.look(ObjectKey("Cluster", "", "here")) is None
    assert (await looked.condition(REACHABLE, "here"))[:2] == ("True", "Local")
