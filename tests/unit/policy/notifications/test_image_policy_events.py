"""Events and notices of what image policies keep out, or would: without storms, and to whom."""

from datetime import UTC, datetime, timedelta

import pytest
from tests.support.registry.signed_images import CosignKey, cluster_policy
from tests.support.rollouts.memory_machine import MemoryClock

from upwell.api.core import Event
from upwell.api.image_policies.policy import (
    ClusterImagePolicy,
    ImagePolicyStatus,
    PolicyFinding,
    PolicyPoint,
)
from upwell.controller import ObjectCache
from upwell.policy.notifications.cloud_events import addressed_events
from upwell.reconcilers.notifications.events import EventReconciler
from upwell.store.memory import MemoryStore

KEY = CosignKey()
START = datetime(2026, 3, 1, 12, tzinfo=UTC)
DIGESTS = [f"sha256:{digit * 64}" for digit in "ab"]


def finding(
    digest: str, at: str = "rollout", namespace: str = "shop", minutes: int = 0, **more: str
) -> PolicyFinding:
    said = {"reason": "NotSigned", "message": "it has no signature", **more}
    return PolicyFinding(
        image=f"x.test/app@{digest}",
        at=at,
        namespace=namespace,
        since=START + timedelta(minutes=minutes),
        **said,
    )


def judged(*findings: PolicyFinding, generation: int = 1) -> ImagePolicyStatus:
    return ImagePolicyStatus(observed_generation=generation, findings=findings)


def policy(
    *findings: PolicyFinding, mode: str = "enforce", generation: int = 1
) -> ClusterImagePolicy:
    made = cluster_policy("signed", KEY.spec("*", mode=mode))
    made = made.with_metadata(uid="one", generation=generation)
    return made.with_status(judged(*findings))


@pytest.mark.parametrize(
    ("mode", "kind", "verb"),
    [("enforce", "image.refused", "does"), ("warn", "image.policywarning", "would")],
)
def test_an_image_is_told_of_once_at_however_many_points(mode: str, kind: str, verb: str) -> None:
    points = [finding(DIGESTS[0], at, minutes=number) for number, at in enumerate(PolicyPoint)]
    [(event, audience)] = addressed_events(policy(*points, mode=mode))
    assert event.type == f"dev.upwell.{kind}"
    assert event.severity.value == "warning"
    assert event.message == (
        f"image x.test/app@{DIGESTS[0]} {verb} not satisfy ClusterImagePolicy signed:"
        " it has no signature"
    )
    assert audience.namespaces == frozenset({"shop"})
    # The same event, when the first point is found no more, or for another reason.
    later = finding(DIGESTS[0], "build", minutes=9, reason="NotTrusted", message="by a stranger")
    [(again, _)] = addressed_events(policy(later, mode=mode))
    assert again.id == event.id


def test_each_namespace_and_each_digest_has_its_own() -> None:
    found = policy(finding(DIGESTS[0]), finding(DIGESTS[1]), finding(DIGESTS[0], namespace="bank"))
    events = list(addressed_events(found))
    assert len({event.id for event, _ in events}) == 3
    concerned = [sorted(audience.namespaces or ()) for _, audience in events]
    assert sorted(concerned) == [["bank"], ["shop"], ["shop"]]


def test_nothing_is_told_of_what_could_not_be_asked_or_was_found_before_a_change() -> None:
    away = finding(DIGESTS[0], reason="NotChecked", message="it is away")
    assert list(addressed_events(policy(away))) == []
    assert list(addressed_events(policy(finding(DIGESTS[0]), generation=2))) == []


async def test_the_events_lie_in_the_namespaces_that_they_concern_and_are_few() -> None:
    clock = MemoryClock()
    store = MemoryStore(clock)
    events = EventReconciler(ObjectCache(store), clock)
    made = await store.create(cluster_policy("signed", KEY.spec("*")))
    now = clock()
    for number in range(30):
        clock.advance(1)
        found = [
            finding(digest, at, namespace).model_copy(update={"since": now})
            for digest in DIGESTS
            for at in list(PolicyPoint)[number % 4 :]
            for namespace in ("shop", "bank")
        ]
        current = await store.get(ClusterImagePolicy, "", "signed")
        await store.update_status(current.with_status(judged(*found, generation=made.generation)))
        await events.reconcile(made.key)
    told = (await store.list(Event)).items
    assert sorted(one.namespace for one in told) == ["bank", "bank", "shop", "shop"]
    assert {(one.reason, one.type, one.count) for one in told} == {("ImageRefused", "Warning", 1)}
    assert {one.involved_object.name for one in told} == {"signed"}
    # As a cluster's API server takes them (test_cluster_events).
    assert all(one.involved_object.namespace == one.namespace for one in told)
