"""Test Subscriptions of replicas on one cluster: a leader that is killed takes no event with it."""

import json
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import aiohttp
import pytest
from tests.support.delivery.http_receiver import HttpReceiver, receiving, status
from tests.support.faults.on_demand import on_demand
from tests.support.installation.installation import until
from tests.support.kubernetes.cluster import KitCluster
from tests.support.kubernetes.namespaces import leave_empty
from tests.support.kubernetes.server_replicas import ServerReplica

from upwell.api.codec import decode_as
from upwell.api.core import Secret
from upwell.api.pipeline import Freeze
from upwell.api.subscription import Subscription, SubscriptionStatus
from upwell.delivery.interface import SETTLED_LETTERS
from upwell.policy.notifications.shared_deliveries import unpacked
from upwell.store.interface import Selector
from upwell.store.kubernetes import KubernetesStore

NAMESPACE = "told"
SETTINGS = """\
on = "kubernetes"
[kubernetes]
namespaces = ["told"]
lease-namespace = "told"
[outbound]
allow = ["127.0.0.1:{port}"]
"""
DOWN = status(503, "Service Unavailable")

pytestmark = pytest.mark.timeout(300)


@dataclass
class ToldReplicas:
    """Two servers with data folders of their own, a Subscription and its receiver."""

    store: KubernetesStore
    receiver: HttpReceiver
    one: ServerReplica
    two: ServerReplica
    first: tuple[str, ...] = ()
    """Ids that the receiver took before it was down."""

    async def freeze(self, name: str) -> None:
        """Let an event happen."""
        spec = {"namespaces": [NAMESPACE], "reason": name}
        await self.store.create(decode_as(Freeze, {"metadata": {"name": name}, "spec": spec}))

    async def subscription(self) -> SubscriptionStatus:
        return (await self.store.get(Subscription, NAMESPACE, "ci")).status

    async def shared(self) -> tuple[int, int]:
        """Return how many events a new leader would find waiting, and how many settled."""
        secrets = (await self.store.list(Secret, Selector(NAMESPACE))).items
        shared = [one for one in secrets if one.name.startswith("upwell-events-")]
        parts = {one.name: one.decoded()["part"] for one in shared}
        found = unpacked(parts, time.time())
        waiting = [one for one in found.events if one.envelope.subject.startswith("Freeze/")]
        settled = {*chain(*found.settled.values())}
        return len(waiting), len({one[:SETTLED_LETTERS] for one in self.first} & settled)

    def told(self) -> list[str]:
        """Return what the receiver took, in order: of what it refused, nothing."""
        taken = [json.loads(one.body) for one in self.receiver.arrived]
        return [one["data"]["message"].rpartition(": ")[2] for one in taken]


@pytest.fixture
async def replicas(cluster: KitCluster, tmp_path: Path) -> AsyncIterator[ToldReplicas]:
    async with cluster.store(NAMESPACE) as store, receiving() as receiver:
        (tmp_path / "upwell.toml").write_text(SETTINGS.format(port=receiver.port))
        found = [ServerReplica(tmp_path / name, cluster.kubeconfig) for name in ("one", "two")]
        spec = {
            "webhook": {"url": receiver.url},
            "filter": {"types": ["dev.upwell.freeze.begun"]},
            "retries": {"longestSeconds": 1},
        }
        metadata = {"name": "ci", "namespace": NAMESPACE}
        await store.create(decode_as(Subscription, {"metadata": metadata, "spec": spec}))
        setup = ToldReplicas(store, receiver, found[0], found[1])
        try:
            setup.one.launch()
            await setup.one.until_it_leads()
            setup.two.launch()
            await until(setup.two.role, bool)
            yield setup
        finally:
            for one in found:
                one.kill()
            for freeze in (await store.list(Freeze)).items:
                await store.delete(Freeze, "", freeze.name)
            await store.delete(Subscription, NAMESPACE, "ci")
            await leave_empty(store, NAMESPACE)


@on_demand(
    "tests/unit/reconcilers/notifications/test_shared_outbox.py"
    "::test_a_leader_goes_on_where_one_that_was_killed_wrote_last"
)
async def test_a_killed_leader_takes_no_event_with_it(replicas: ToldReplicas) -> None:
    await replicas.freeze("before")
    await replicas.receiver.until(lambda _: replicas.told() == ["before"])
    replicas.first = tuple(json.loads(one.body)["id"] for one in replicas.receiver.arrived)
    replicas.receiver.otherwise = DOWN
    replicas.receiver.arrived.clear()
    await replicas.freeze("lasting")
    await replicas.freeze("deleted")

    # What the leader has not shared yet is derived anew from its object: and one will be gone.
    await until(replicas.shared, lambda found: found == (2, 1))

    replicas.one.kill()
    await replicas.store.delete(Freeze, "", "deleted")
    await replicas.two.until_it_leads()
    replicas.receiver.arrived.clear()
    replicas.receiver.otherwise = status(204, "No Content")
    await replicas.freeze("after")

    async def delivered() -> tuple[int, int]:
        found = await replicas.subscription()
        return found.delivered, found.pending

    await until(delivered, lambda found: found == (4, 0))
    assert sorted(set(replicas.told())) == ["after", "deleted", "lasting"]


@on_demand(
    "tests/unit/reconcilers/notifications/test_shared_outbox.py"
    "::test_dead_letters_are_listed_and_replayed_by_any_replica"
)
async def test_a_replica_that_follows_lists_and_replays_dead_letters(
    replicas: ToldReplicas,
) -> None:
    replicas.receiver.otherwise = status(404, "Not Found")
    await replicas.freeze("dead")
    path = f"/apis/upwell.dev/v1alpha1/namespaces/{NAMESPACE}/subscriptions/ci"

    async def listed() -> str:
        return await replicas.two.answer_of(f"{path}/deadletters")

    await until(listed, lambda answer: "promotion is frozen: dead" in answer)

    replicas.receiver.otherwise = status(204, "No Content")
    url = f"http://127.0.0.1:{replicas.two.port}{path}/replay"
    async with (
        aiohttp.ClientSession() as session,
        session.post(url, json={"all": True}, headers=replicas.two.login()) as answer,
    ):
        assert (answer.status, await answer.json()) == (200, {"replayed": 1})

    async def delivered() -> tuple[int, int]:
        found = await replicas.subscription()
        return found.delivered, found.dead_letters

    await until(delivered, lambda found: found == (1, 0))
