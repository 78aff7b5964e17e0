"""OpenShift's own deployment cases (corpus, section C) on a cluster, whose node plays containers.

The manifests are created as they are. What takes a hook or a probe in a container is in
`tests/integration/reconcilers`, on one machine.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from functools import partial

import pytest
from tests.support.cluster.workloads import image
from tests.support.faults.on_demand import on_demand
from tests.support.kubernetes.cluster import KitCluster
from tests.support.kubernetes.opened import now, opened_cluster
from tests.support.openshift import TESTDATA, needs_corpus
from tests.support.workload.waiting import eventually

from upwell.api.apps import Deployment, DeploymentConfig
from upwell.app.kubernetes.wiring import cluster_controllers, cluster_records
from upwell.controller import ObjectCache
from upwell.policy.waves.budget import NO_BUDGET
from upwell.reconcilers.authority import UNASKED
from upwell.reconcilers.builds.index import BuildIndex
from upwell.reconcilers.rollouts.index import WorkloadIndex
from upwell.reconcilers.signatures.policies import UNRESTRICTED
from upwell.reconcilers.waves.gate import WaveGate
from upwell.store.kubernetes import KubernetesStore

pytestmark = needs_corpus

SMALLEST = (
    "tests/contract/kubernetes/test_cluster_openshift_cases.py"
    "::test_case_33_what_is_paused_begins_once_it_is_not"
)


@dataclass(frozen=True)
class CaseNamespace:
    """A namespace whose workloads follow tags."""

    cluster: KitCluster
    store: KubernetesStore
    name: str

    def kubectl(self, *words: str, given: str | None = None) -> str:
        return self.cluster.kubectl("-n", self.name, *words, given=given)

    def create(self, file: str) -> None:
        self.kubectl("create", "-f", str(TESTDATA / file))

    def tag(self, **versions: str) -> None:
        """Let tags of ImageStream `test` have images."""
        tags = [
            {
                "tag": tag,
                "items": [
                    {
                        "created": "2026-01-01T00:00:00Z",
                        "dockerImageReference": image(version),
                        "image": image(version).partition("@")[2],
                    }
                ],
            }
            for tag, version in versions.items()
        ]
        stream = {"apiVersion": "image.openshift.io/v1", "kind": "ImageStream"}
        self.kubectl("apply", "-f", "-", given=json.dumps(stream | {"metadata": {"name": "test"}}))
        patch = json.dumps({"status": {"tags": tags}})
        status = ("patch", "imagestream.image.openshift.io/test", "--subresource=status")
        self.kubectl(*status, "--type=merge", "-p", patch)

    async def config(self, name: str) -> DeploymentConfig:
        return await self.store.get(DeploymentConfig, self.name, name)

    async def image_of_deployment(self) -> str:
        found = await self.store.get(Deployment, self.name, "test")
        return found.spec.template.spec.containers[0].image

    async def phases(self, name: str) -> Sequence[tuple[int, str]]:
        return [(one.revision, one.phase) for one in (await self.config(name)).status.revisions]

    async def until_phases(self, name: str, *wanted: tuple[int, str]) -> None:
        await eventually(partial(self.phases, name), lambda found: found == [*wanted])


@pytest.fixture
async def cases(
    hollow_cluster: KitCluster, request: pytest.FixtureRequest
) -> AsyncIterator[CaseNamespace]:
    cluster, name = hollow_cluster, "-".join(request.function.__name__.split("_")[1:3])
    cluster.until_gone(name)
    cluster.kubectl("create", "namespace", name)
    async with cluster.client() as store:
        opened = opened_cluster(store, (name,))
        cache = ObjectCache(opened.store)
        records = cluster_records(opened, UNASKED, UNRESTRICTED)
        index, gate = WorkloadIndex(cache), WaveGate(BuildIndex(cache), now)
        controllers = cluster_controllers(opened, records, index, gate, NO_BUDGET)
        followed = [pods.run for pods in records.cluster.pods.values()]
        loops = [cache.run, *followed, *(one.run for one in controllers)]
        running = [asyncio.create_task(run()) for run in loops]
        try:
            yield CaseNamespace(cluster, store, name)
            assert not any(task.done() for task in running)
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)
            cluster.kubectl("delete", "namespace", name, "--wait=false")


@on_demand(SMALLEST)
async def test_case_30_a_version_is_begun_by_the_tag_that_the_trigger_names(
    cases: CaseNamespace,
) -> None:
    cases.create("deployments/deployment-trigger.yaml")
    cases.tag(v2="two")
    await eventually(
        partial(cases.config, "example"), lambda one: bool(one.status.observed_generation)
    )
    assert await cases.phases("example") == []

    cases.tag(v1="one", v2="two")
    await cases.until_phases("example", (1, "Complete"))
    patch = (
        '[{"op":"replace","path":"/spec/triggers/0/imageChangeParams/from/name","value":"test:v2"}]'
    )
    cases.kubectl("patch", "deploymentconfig/example", "--type=json", "-p", patch)
    await cases.until_phases("example", (2, "Complete"), (1, "Complete"))
    template = (await cases.config("example")).spec.template
    assert template is not None
    assert template.spec.containers[0].image == image("two")


@on_demand(SMALLEST)
async def test_case_29_an_image_that_is_none_is_replaced_each_time(cases: CaseNamespace) -> None:
    cases.create("image/deployment-with-annotation-trigger.yaml")
    assert await cases.image_of_deployment() == " "
    cases.tag(v1="one")
    await eventually(cases.image_of_deployment, lambda found: found == image("one"))
    path = "/spec/template/spec/containers/0/image"
    patch = json.dumps([{"op": "replace", "path": path, "value": " "}])
    for _ in range(50):
        await asyncio.to_thread(
            cases.kubectl, "patch", "deployment/test", "--type=json", "-p", patch
        )
    await eventually(cases.image_of_deployment, lambda found: found == image("one"))


async def test_case_33_what_is_paused_begins_once_it_is_not(cases: CaseNamespace) -> None:
    cases.create("deployments/paused-deployment.yaml")
    seen = await eventually(
        partial(cases.config, "paused"), lambda one: bool(one.status.observed_generation)
    )
    assert seen.status.observed_generation == seen.generation
    assert cases.kubectl("get", "replicationcontrollers", "-o", "name") == ""

    patch = '{"spec":{"paused":false}}'
    cases.kubectl("patch", "deploymentconfig/paused", "--type=merge", "-p", patch)
    await cases.until_phases("paused", (1, "Complete"))


@on_demand(SMALLEST)
async def test_case_38_a_version_is_complete_after_its_min_ready_seconds(
    cases: CaseNamespace,
) -> None:
    cases.create("deployments/deployment-min-ready-seconds.yaml")
    ready = await eventually(
        partial(cases.config, "minreadytest"), lambda one: one.status.ready_replicas == 2
    )
    assert await cases.phases("minreadytest") == [(1, "Progressing")]
    assert ready.status.available_replicas == 0
    patch = '{"spec":{"minReadySeconds":1}}'
    cases.kubectl("patch", "deploymentconfig/minreadytest", "--type=merge", "-p", patch)
    await eventually(partial(cases.phases, "minreadytest"), lambda one: one[-1] == (1, "Complete"))
