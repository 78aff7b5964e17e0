"""Images that stay in the registry of a server on a cluster, where others run them."""

import asyncio
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.support.cluster.listed import ListedCluster
from tests.support.pruning.cluster_pruning import ClusterPruning
from tests.support.pruning.pruned_stores import HOST

from upwell.api.apps import CronJob, DaemonSet, Deployment, Job, StatefulSet
from upwell.api.core import ConfigMap
from upwell.api.image import ImageStream
from upwell.api.meta import Kind, ObjectKey, Resource
from upwell.api.pod import Pod
from upwell.api.revisions import ReplicaSet, ReplicationController
from upwell.oci import Digest
from upwell.policy.pruning.rules import PruningRefusedError
from upwell.reconcilers.pruning import PruningSchedule
from upwell.reconcilers.pruning.cluster_roots import CONTROLLER_REVISION
from upwell.store.interface import EVERYTHING, Listing, Selector
from upwell.store.memory import MemoryStore

type Adds = Callable[[ListedCluster, Digest], None]


@pytest.fixture
def site(tmp_path: Path) -> Iterator[ClusterPruning]:
    made = ClusterPruning(tmp_path)
    yield made
    made.kept.inventory.close()


def template(image: str) -> dict[str, Any]:
    return {"spec": {"containers": [{"name": "web", "image": image}]}}


def of_template(kind: Kind) -> Adds:
    def add(cluster: ListedCluster, digest: Digest) -> None:
        spec = {"template": template(f"{HOST}/shop/web@{digest}")}
        cluster.add(kind, "web", spec=spec)

    return add


def cron_job(cluster: ListedCluster, digest: Digest) -> None:
    spec = {"template": template(f"{HOST}/shop/web@{digest}")}
    cluster.add(CronJob.KIND, "web", spec={"jobTemplate": {"spec": spec}})


def controller_revision(cluster: ListedCluster, digest: Digest) -> None:
    data = {"spec": {"template": template(f"{HOST}/shop/web@{digest}")}}
    cluster.add(CONTROLLER_REVISION, "web-1", data=data, revision=1)


def config_map(cluster: ListedCluster, digest: Digest) -> None:
    cluster.add(ConfigMap.KIND, "tools", data={"image": f"{HOST}/shop/web@{digest}"})


def annotation(cluster: ListedCluster, digest: Digest) -> None:
    cluster.add(Deployment.KIND, "web", metadata={"annotations": {"last": str(digest)}})


def pod_by_tag(cluster: ListedCluster, digest: Digest) -> None:
    del digest
    cluster.add(Pod.KIND, "web-1", spec=template(f"{HOST}/shop/web:latest")["spec"])


def waiting_pod(part: str) -> Adds:
    def add(cluster: ListedCluster, digest: Digest) -> None:
        container = {"name": "web", "image": f"{HOST}/shop/web@{digest}"}
        cluster.add(Pod.KIND, "web-1", spec={part: [container]})

    return add


def running_pod(part: str, statuses: str) -> Adds:
    def add(cluster: ListedCluster, digest: Digest) -> None:
        status = {"name": "web", "imageID": f"other.example/web@{digest}"}
        spec = {part: [{"name": "web", "image": "other.example/web:1"}]}
        cluster.add(Pod.KIND, "web-1", spec=spec, status={statuses: [status]})

    return add


@pytest.mark.parametrize(
    "add",
    [
        *map(of_template, (Deployment.KIND, StatefulSet.KIND, DaemonSet.KIND, Job.KIND)),
        *map(of_template, (ReplicaSet.KIND, ReplicationController.KIND)),
        *(cron_job, controller_revision, config_map, annotation, pod_by_tag),
        *map(waiting_pod, ("containers", "initContainers", "ephemeralContainers")),
        running_pod("containers", "containerStatuses"),
        running_pod("initContainers", "initContainerStatuses"),
        running_pod("ephemeralContainers", "ephemeralContainerStatuses"),
    ],
)
async def test_what_a_cluster_needs_stays_and_goes_when_it_needs_it_no_more(
    site: ClusterPruning, add: Adds
) -> None:
    digest = await site.pushed()
    add(site.cluster, digest)
    assert await site.left() == {digest}

    site.cluster = ListedCluster()
    assert await site.left() == set()


async def test_what_runs_on_another_cluster_stays_whether_or_not_it_is_there(
    site: ClusterPruning,
) -> None:
    digest = await site.pushed()
    component = {"name": "web", "image": f"{HOST}/shop/web@{digest}"}
    spec = {"pipeline": "shop", "components": [component]}
    await site.kept.put("Release", "upwell.dev/v1alpha1", "shop-1", spec=spec)

    assert await site.left() == {digest}


@pytest.mark.parametrize("plural", ["pods", "replicasets", "controllerrevisions", "jobs"])
async def test_what_may_not_be_seen_keeps_everything_and_says_which_right_is_missing(
    site: ClusterPruning, plural: str
) -> None:
    digest = await site.pushed()
    site.cluster.refused.add(plural)

    with pytest.raises(PruningRefusedError, match=f'cannot list resource "{plural}".*that right'):
        await site.left()

    assert await site.kept.manifests("shop/web") == {digest}
    site.cluster.refused.clear()
    assert await site.left() == set()


class PartlyReadStore(MemoryStore):
    """Has ImageStreams that a test says cannot be read, or are not served."""

    answer: Listing[Any] = Listing((), "1")

    async def list[R: Resource](self, kind: type[R], selector: Selector = EVERYTHING) -> Listing[R]:
        return self.answer if kind is ImageStream else await super().list(kind, selector)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (
            Listing((), "1", [ObjectKey("ImageStream", "shop", "broken")]),
            "mend or delete ImageStream",
        ),
        (Listing((), ""), "does not serve imagestreams"),
    ],
)
async def test_objects_that_are_not_read_keep_everything(
    site: ClusterPruning, answer: Listing[Any], words: str
) -> None:
    digest = await site.pushed()
    objects = PartlyReadStore(site.kept.stores.clock)
    assert (await objects.list(ImageStream)).items == ()
    objects.answer = answer

    with pytest.raises(PruningRefusedError, match=words):
        await site.left(objects)

    assert await site.kept.manifests("shop/web") == {digest}


async def test_where_some_namespaces_alone_are_seen_nothing_goes(tmp_path: Path) -> None:
    site = ClusterPruning(tmp_path, ("shop",))
    digest = await site.pushed()

    with pytest.raises(PruningRefusedError, match="a Pod of another namespace may run"):
        await site.left()

    assert await site.kept.manifests("shop/web") == {digest}
    site.kept.inventory.close()


async def test_the_schedule_goes_on_after_what_it_may_not_see(
    site: ClusterPruning, caplog: pytest.LogCaptureFixture
) -> None:
    digest = await site.pushed()
    site.cluster.refused.add("pods")
    found: list[set[Digest]] = []

    async def sleep(seconds: float) -> None:
        del seconds
        found.append(await site.kept.manifests("shop/web"))
        if len(found) == 2:
            site.cluster.refused.clear()
        if len(found) == 3:
            raise asyncio.CancelledError

    day = timedelta(days=1)
    schedule = PruningSchedule(site.pruning(), site.stores(), site.kept.rules, day, sleep=sleep)
    with pytest.raises(asyncio.CancelledError):
        await schedule.run()

    assert found == [{digest}, {digest}, set()]
    [told] = [one for one in caplog.records if one.message == "not pruned"]
    assert 'cannot list resource "pods"' in str(vars(told)["why"])
