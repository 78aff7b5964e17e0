"""Events as a real API server takes them: beside their object, or in `default` if that has none."""

import asyncio

from tests.support.kubernetes.cluster import KitCluster
from tests.support.kubernetes.namespaces import given_namespace
from tests.support.kubernetes.opened import now
from tests.support.registry.signed_images import CosignKey, cluster_policy

from upwell.api.core import Event, Namespace
from upwell.api.image_policies.policy import ImagePolicyResource, PolicyFinding
from upwell.controller import ObjectCache
from upwell.policy.signatures.findings import with_verdict
from upwell.reconcilers.notifications.events import EventReconciler
from upwell.store.interface import Selector
from upwell.store.kubernetes import KubernetesStore

NAMESPACE = "told-of-policies"


async def test_whom_a_cluster_s_policy_concerns_is_told_in_each_namespace(
    cluster: KitCluster,
) -> None:
    async with cluster.client() as store:
        await given_namespace(store, NAMESPACE)
        made = await store.create(cluster_policy("told", CosignKey().spec("*", "registry.test")))
        try:
            judged: ImagePolicyResource = made
            for found in (refused(NAMESPACE), refused("default")):
                judged = judged.with_status(with_verdict(judged, found, passed=False))
            judged = await store.update_status(judged)

            await EventReconciler(ObjectCache(store), now).reconcile(judged.key)

            for namespace in (NAMESPACE, "default"):
                assert await told_of(store, namespace, judged.uid) == ["ImageRefused"]
            shown = await asyncio.to_thread(
                cluster.kubectl, "get", "clusterimagepolicies", "told", "--no-headers"
            )
            assert shown.split()[:-1] == ["told", "enforce", '["*","registry.test"]', "2"]
        finally:
            await store.delete(type(made), "", made.name)
            await store.delete(Namespace, "", NAMESPACE)


def refused(namespace: str) -> PolicyFinding:
    image = f"x.test/app@sha256:{'a' * 64}"
    said = {"reason": "NotSigned", "message": "it has no signature"}
    return PolicyFinding(image=image, at="rollout", namespace=namespace, since=now(), **said)


async def told_of(store: KubernetesStore, namespace: str, uid: str | None) -> list[str]:
    events = (await store.list(Event, Selector(namespace))).items
    return [one.reason for one in events if one.involved_object.uid == uid]
