"""Workloads that a cluster rolls out are told of as those that this server rolls out."""

from dataclasses import replace
from typing import Any

import pytest
from tests.support.clocks import TickingClock
from tests.support.cluster.workloads import (
    NAMESPACE,
    complete,
    image,
    move_tag,
    noted,
    stuck,
    with_status_of,
    workload,
)

from upwell.api.apps import DaemonSet, Deployment, StatefulSet
from upwell.api.image import ImageStream
from upwell.policy.cluster_rollouts.native_revisions import as_rolled_out
from upwell.policy.cluster_rollouts.note import RolloutNote
from upwell.policy.explain.changes import explain
from upwell.policy.explain.freshness import Snapshot
from upwell.policy.rollouts.summary import RolloutState, rollout_of, serving
from upwell.store.memory import MemoryStore

type Native = Deployment | StatefulSet | DaemonSet

ANNOTATIONS = {
    "deployment.kubernetes.io/revision": "7",
    "deprecated.daemonset.template.generation": "7",
}


def running(kind: type[Native], version: str) -> Native:
    """Return a workload of a cluster as it is before anything has been rolled out."""
    made = workload(kind)
    [container] = made.spec.template.spec.containers
    pod = made.spec.template.spec.model_copy(
        update={"containers": (container.model_copy(update={"image": image(version)}),)}
    )
    template = made.spec.template.model_copy(update={"spec": pod})
    spec = made.spec.model_copy(update={"template": template})
    annotations = {**made.annotations, **ANNOTATIONS}
    return made.model_copy(update={"spec": spec}).with_metadata(annotations=annotations)


async def snapshot(*objects: Native) -> Snapshot:
    """Return them beside a tag that stands for version `new`."""
    store = MemoryStore(TickingClock())
    await move_tag(store, "new")
    stream = await store.get(ImageStream, NAMESPACE, "app")
    return Snapshot([stream, *objects])


@pytest.mark.parametrize("kind", [Deployment, StatefulSet, DaemonSet])
async def test_one_that_runs_what_its_tag_has_is_current(kind: type[Native]) -> None:
    one = running(kind, "new")
    ready = {**complete(one), "numberReady": 1}
    found = await snapshot(with_status_of(one, **ready))

    [seen] = found.workloads.values()
    assert rollout_of(seen).state is RolloutState.COMPLETE
    assert found.running(seen) == {"app": image("new")}
    assert str(found.workload_freshness(seen)) == "current"


async def test_one_that_runs_an_older_image_is_behind() -> None:
    one = running(Deployment, "old")
    found = await snapshot(with_status_of(one, **complete(one)))

    [seen] = found.workloads.values()
    assert found.workload_freshness(seen).behind == 1


async def test_one_that_was_put_back_says_so_wherever_it_is_asked() -> None:
    one = running(Deployment, "old")
    note = RolloutNote({"app": image("old")}, failed={"app": image("new")}, why="it crashed")
    ready = noted(with_status_of(one, **complete(one)), note)
    found = await snapshot(ready)

    told = [str(one) for one in explain(found, ready)]
    assert any("revision 7 serves" in line for line in told)
    [held] = [line for line in told if "behind by 1" in line]
    assert f"app = {image('new')} failed here before: it crashed" in held

    another = replace(note, failed={"app": image("older")})
    [seen] = (await snapshot(noted(one, another))).workloads.values()
    assert "failed" not in str(found.workload_freshness(seen))


@pytest.mark.parametrize(
    ("manager", "waits_for"),
    [
        ("kubectl-set", "the image of container app is owned by field manager kubectl-set: apply"),
        ("upwell", "the next rollout"),
    ],
)
async def test_one_whose_image_a_person_has_set_says_who(manager: str, waits_for: str) -> None:
    one = running(Deployment, "old")
    fields: dict[str, Any] = {"f:containers": {'k:{"name":"app"}': {"f:image": {}}}}
    fields = {"f:spec": {"f:template": {"f:spec": fields}}}
    owned = {"manager": manager, "operation": "Update", "fieldsV1": fields}
    taken = noted(one.with_metadata(managed_fields=(owned,)), RolloutNote({"app": image("good")}))
    found = await snapshot(with_status_of(taken, **complete(taken)))

    [seen] = found.workloads.values()
    assert found.workload_freshness(seen).waits_for.startswith(waits_for)


async def test_a_rollout_under_way_and_one_that_failed_are_told() -> None:
    one = running(Deployment, "new")
    begun = with_status_of(one, observedGeneration=1, replicas=1, updatedReplicas=0)
    assert rollout_of(as_rolled_out(begun)).text == "revision 7: 0 of 1 updated, 0 ready"

    replaced = with_status_of(begun, readyReplicas=1, observedGeneration=1, replicas=1)
    told = [str(statement) for statement in explain(await snapshot(replaced), replaced)]
    assert "1 of 1 replicas ready, of revision 7 or one before it" in told[0]

    failed = as_rolled_out(with_status_of(one, **stuck(one)))  # type: ignore[arg-type]
    progress = rollout_of(failed)
    assert progress.state is RolloutState.FAILED
    assert progress.text == "revision 7: no progress for 600 s"
    assert serving(failed) is None


async def test_one_of_this_server_stays_as_it_is() -> None:
    one = workload(Deployment)
    assert as_rolled_out(one) is one
