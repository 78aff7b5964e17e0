"""Test what builders of Pods need of a cluster against a real API; its Pods find no node."""

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from tests.support.kubernetes.cluster import KitCluster
from tests.support.kubernetes.quotas import no_more_of
from tests.support.kubernetes.webhooks import REFUSES, denied, unreachable_webhook, webhook
from tests.support.workload.waiting import eventually

from upwell.app.builds.cluster import ClusterBuildPods
from upwell.builder.interface import BuildError, BuilderStrategy, BuildPlan
from upwell.builder.kubernetes.manifests import PodSettings, build_labels, pod_manifest
from upwell.builder.kubernetes.pods import HandoverError, LogInterruptedError, PodExistsError
from upwell.builder.kubernetes.states import PodEnded, PodWaiting, state_of
from upwell.store.interface import MissingPathError, StoreError
from upwell.store.kubernetes import KubernetesStore
from upwell.store.kubernetes_errors import StoreForbiddenError

NAMESPACE = "build-pods"
_MADE = (
    *(f"/api/v1/namespaces/{NAMESPACE}/serviceaccounts/{name}" for name in ("maker", "nobody")),
    *(
        f"/apis/rbac.authorization.k8s.io/v1/namespaces/{NAMESPACE}/{kind}/reader"
        for kind in ("roles", "rolebindings")
    ),
)
"""Paths of what tests may have made beside Pods."""
PLAN = BuildPlan("uid-1", NAMESPACE, "app-1", BuilderStrategy.DOCKER, None, {}, None)


@pytest.fixture
async def pods(cluster: KitCluster) -> AsyncIterator[ClusterBuildPods]:
    async with cluster.store(NAMESPACE) as store:
        found = ClusterBuildPods(store, (NAMESPACE,))
        account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "maker"}}
        cluster.kubectl("-n", NAMESPACE, "apply", "-f", "-", given=json.dumps(account))
        yield found
        for pod in await found.find({}):
            await found.delete(pod)
        for path in _MADE:
            with suppress(MissingPathError):
                await store.send_raw("DELETE", path)


def manifest(name: str) -> dict[str, Any]:
    settings = PodSettings("upwell.test/upwell:1", service_account="maker")
    made = pod_manifest(PLAN, settings, name=name, plan_hash="hash")
    made["metadata"]["ownerReferences"] = []  # of no Build here: the cluster would collect it
    return made


async def test_a_pod_is_made_once_found_and_watched_to_its_end(pods: ClusterBuildPods) -> None:
    pod = await pods.create(NAMESPACE, manifest("app-1-build"))
    with pytest.raises(PodExistsError):
        await pods.create(NAMESPACE, manifest("app-1-build"))
    assert [one.uid for one in await pods.find(build_labels(PLAN.id))] == [pod.uid]
    assert await pods.find(build_labels("uid-2")) == []

    deleted = False
    async with aclosing(pods.watch(pod)) as changes:
        async for now in changes:
            if now is None:
                break
            if not now.is_deleting:
                assert isinstance(state_of(now), PodWaiting)
            if not deleted:
                await pods.delete(pod)
                deleted = True
    assert isinstance(state_of(None), PodEnded)
    await pods.delete(pod)

    another = await pods.create(NAMESPACE, manifest("app-1-build"))
    await pods.delete(pod)  # of the same name, and not meant
    assert [one.uid for one in await pods.find({})] == [another.uid]


async def test_what_the_cluster_says_against_a_pod_is_told(pods: ClusterBuildPods) -> None:
    wrong = manifest("app-2-build")
    wrong["spec"]["containers"][0]["resources"] = {"limits": {"memory": "much"}}
    with pytest.raises(BuildError, match="quantities") as caught:
        await pods.create(NAMESPACE, wrong)
    assert caught.value.reason == "CannotCreateBuildPod"


PODS = {"operations": ["CREATE"], "apiGroups": [""], "resources": ["pods"]}


@pytest.mark.parametrize(
    ("refusal", "words"),
    [
        ("denial", 'admission webhook "images.policy.example" denied the request: unsigned'),
        ("nobody to ask", 'failed calling webhook "images.policy.example"'),
        ("quota", "exceeded quota: few"),
        ("account", 'serviceaccount "nobody" not found'),
    ],
)
async def test_what_is_refused_for_now_is_told_in_the_clusters_words_and_made_later(
    pods: ClusterBuildPods, cluster: KitCluster, tmp_path: Path, refusal: str, words: str
) -> None:
    account = "nobody" if refusal == "account" else "maker"
    settings = PodSettings("upwell.test/upwell:1", service_account=account)
    wanted = pod_manifest(PLAN, settings, name="app-4-build", plan_hash="hash")
    wanted["metadata"]["ownerReferences"] = []

    async def outcome() -> str:
        try:
            await pods.create(NAMESPACE, wanted)
        except PodExistsError:
            return "is there"
        except BuildError as error:
            return f"{error.reason}, to be tried again: {error.retryable}: {error}"
        return "made"

    async def refused() -> str:
        told = await outcome()
        if told == "made":  # the cluster did not know of it yet
            for pod in await pods.find({}):
                await pods.delete(pod)
        return told

    with refusing(refusal, cluster, tmp_path):
        told = await eventually(refused, lambda told: told not in {"made", "is there"})
    assert told.startswith("CannotCreateBuildPod, to be tried again: True: ")
    assert words in told
    await eventually(outcome, lambda told: told == "made")


@contextmanager
def refusing(refusal: str, cluster: KitCluster, folder: Path) -> Iterator[None]:
    """Have Pods refused within the block; that of a missing account is until it is made."""
    match refusal:
        case "denial":
            with webhook(cluster, folder, REFUSES, PODS, lambda _: denied("unsigned", 409)):
                yield
        case "nobody to ask":
            with unreachable_webhook(cluster, PODS):
                yield
        case "quota":
            with no_more_of(cluster, NAMESPACE, "pods"):
                yield
        case _:
            yield
            cluster.kubectl("-n", NAMESPACE, "create", "serviceaccount", "nobody")


async def test_a_right_that_the_server_lacks_is_named_by_what_needs_it(
    pods: ClusterBuildPods, cluster: KitCluster
) -> None:
    pod = await pods.create(NAMESPACE, manifest("app-5-build"))
    token = cluster.kubectl("-n", NAMESPACE, "create", "token", "maker").strip()
    async with KubernetesStore(cluster.base_url, token=token, ca=cluster.ca) as store:
        without = ClusterBuildPods(store, (NAMESPACE,))
        with pytest.raises(LogInterruptedError, match='cannot get resource "pods/log"'):
            [piece async for piece in without.log(pod, "build", "")]
        with pytest.raises(HandoverError, match=r'cannot (get|create) resource "pods/exec"'):
            async with without.command(pod, "build", ("true",)):
                pass
        why = await without.missing_claim(NAMESPACE, "cache")
        assert 'cannot get resource "persistentvolumeclaims"' in why
        with pytest.raises(BuildError, match='cannot create resource "pods"') as caught:
            await without.create(NAMESPACE, manifest("app-6-build"))
        assert (caught.value.reason, caught.value.retryable) == ("CannotCreateBuildPod", True)
        made = ("-n", NAMESPACE, "create")
        cluster.kubectl(*made, "role", "reader", "--verb=get", "--resource=pods")
        bound = ("--role=reader", f"--serviceaccount={NAMESPACE}:maker")
        cluster.kubectl(*made, "rolebinding", "reader", *bound)
        with pytest.raises(StoreError, match='cannot delete resource "pods"'):
            await without.delete(pod)
        with pytest.raises(StoreForbiddenError, match='cannot list resource "pods"'):
            await without.find({})


async def test_a_pod_without_a_container_takes_no_input(pods: ClusterBuildPods) -> None:
    pod = await pods.create(NAMESPACE, manifest("app-3-build"))
    assert [piece async for piece in pods.log(pod, "build", "")] == []
    with pytest.raises(HandoverError):
        async with pods.command(pod, "build", ("true",)):
            pass
