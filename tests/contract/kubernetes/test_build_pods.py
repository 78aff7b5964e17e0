"""Test what builders of Pods need of a cluster against a real API; its Pods find no node."""

import json
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import pytest
from tests.support.kubernetes.cluster import KitCluster

from upwell.app.builds.cluster import ClusterBuildPods
from upwell.builder.interface import BuildError, BuilderStrategy, BuildPlan
from upwell.builder.kubernetes.manifests import PodSettings, build_labels, pod_manifest
from upwell.builder.kubernetes.pods import HandoverError, PodExistsError
from upwell.builder.kubernetes.states import PodEnded, PodWaiting, state_of

NAMESPACE = "build-pods"
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


async def test_a_pod_without_a_container_takes_no_input(pods: ClusterBuildPods) -> None:
    pod = await pods.create(NAMESPACE, manifest("app-3-build"))
    assert [piece async for piece in pods.log(pod, "build", "")] == []
    with pytest.raises(HandoverError):
        async with pods.command(pod, "build", ("true",)):
            pass
