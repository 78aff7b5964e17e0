"""Checks of stages on a cluster: Jobs by their Pods, and what runs beside them."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.support.clocks import ManualTime
from tests.support.cluster.memory_cluster import MemoryInstances
from tests.support.verification.probes import ScriptedProbes

from upwell.api.apps import Job
from upwell.api.codec import decode_as
from upwell.api.meta import format_time
from upwell.api.pipeline import Pipeline
from upwell.api.pod import Pod
from upwell.api.promotion import CheckPhase, CheckResult, Promotion, Release
from upwell.cluster.interface import OwnedPod
from upwell.oci import Digest
from upwell.policy.cluster_rollouts.instances import instance_of
from upwell.reconcilers.promotion.cluster_instances import ClusterStageInstances
from upwell.reconcilers.promotion.instances import CheckRuntime
from upwell.reconcilers.promotion.verification import StageVerification
from upwell.store.memory import MemoryStore
from upwell.uploads.files import FileInputs
from upwell.workload.errors import UnreadableFilesError
from upwell.workload.instance_spec import Owner
from upwell.workload.interface import FileLimits, State

START = datetime(2026, 5, 1, tzinfo=UTC)
IMAGE = f"registry.test/app@{Digest.of(b'app')}"
JOB = Owner("Job", "shop", "test")


def pod(name: str = "test-x", **parts: Any) -> Pod:
    document = {
        "metadata": {
            "namespace": "shop",
            "name": name,
            "creationTimestamp": format_time(START),
            "labels": parts.pop("labels", {}),
        },
        "spec": {"containers": [{"name": "test", "image": IMAGE}]},
        "status": parts,
    }
    return decode_as(Pod, document)


def container(name: str = "test", **state: Any) -> dict[str, Any]:
    return {"name": name, "image": IMAGE, "state": state}


def ended(code: int, reason: str = "Error") -> dict[str, Any]:
    times = {"startedAt": format_time(START), "finishedAt": format_time(START)}
    return container(terminated={"exitCode": code, "reason": reason, **times})


def test_a_pod_that_runs_is_ready_since_its_condition_says() -> None:
    turned = {"type": "Ready", "status": "True", "lastTransitionTime": format_time(START)}
    found = instance_of(pod(phase="Running", conditions=[turned], podIP="10.0.0.7"), JOB)
    assert (found.name, found.state, found.ready) == ("shop/test-x", State.RUNNING, True)
    assert (found.ready_since, found.address) == (START, "10.0.0.7")


@pytest.mark.parametrize(
    ("statuses", "phase", "codes"),
    [
        ([ended(0, "Completed")], "Succeeded", {"test": 0}),
        ([], "Succeeded", {"test": 0}),
        ([ended(3)], "Failed", {"test": 3}),
        ([], "Failed", {}),
    ],
)
def test_an_end_is_told_by_exit_codes(
    statuses: list[dict[str, Any]], phase: str, codes: dict[str, int]
) -> None:
    found = instance_of(pod(phase=phase, containerStatuses=statuses), JOB)
    assert (found.state, found.exit_codes) == (State.EXITED, codes)


def test_a_pod_says_why_it_does_not_start() -> None:
    waiting = container(waiting={"reason": "ImagePullBackOff", "message": "no such image"})
    taint = {
        "type": "PodScheduled",
        "status": "False",
        "reason": "Unschedulable",
        "message": "no node fits",
    }
    found = instance_of(pod(phase="Pending", containerStatuses=[waiting], conditions=[taint]), JOB)
    assert found.state is State.INITIALIZING
    assert found.message == "Unschedulable: no node fits; container test: no such image"


def test_a_pod_whose_node_is_gone_says_so_and_no_other_that_is_not_ready() -> None:
    def said(*conditions: dict[str, str]) -> str:
        running = container(running={"startedAt": format_time(START)})
        found = pod(phase="Running", containerStatuses=[running], conditions=list(conditions))
        return instance_of(found, JOB).message

    # As the node's lifecycle controller leaves them: it turns `Ready` alone.
    gone = {"type": "Ready", "status": "False"}
    assert "its node does not answer" in said(gone, {"type": "ContainersReady", "status": "True"})
    gated = {**gone, "reason": "ReadinessGatesNotReady"}
    assert said(gated, {"type": "ContainersReady", "status": "True"}) == ""
    failing = {**gone, "reason": "ContainersNotReady"}
    for kubelet in (failing, gone):
        assert said(kubelet, {"type": "ContainersReady", "status": "False"}) == ""


def test_memory_that_ran_out_is_told() -> None:
    found = instance_of(pod(phase="Failed", containerStatuses=[ended(137, "OOMKilled")]), JOB)
    assert [one.out_of_memory for one in found.containers] == [True]


class ClusterCheck:
    """A stage whose check is a Job that a cluster runs."""

    def __init__(self, folder: Path) -> None:
        self.clock = ManualTime(START)
        self.store = MemoryStore(self.clock)
        self.pods = MemoryInstances()
        self.instances = ClusterStageInstances(self.pods, START)
        self.verification = StageVerification(
            self.store,
            CheckRuntime.of_server(self.store, self.instances),
            ScriptedProbes(),
            FileInputs(folder, limit_bytes=1000),
            lambda *_: "",
            self.clock,
        )
        self.checks: tuple[CheckResult, ...] = ()

    async def advance(self) -> CheckResult:
        """Take the check further until it waits."""
        release = {"components": [{"name": "app", "image": IMAGE}], "number": 1, "pipeline": "shop"}
        meta = {"namespace": "shop", "uid": "u1"}
        check = {"name": "smoke", "job": {"component": "app"}}
        stage = {"name": "dev", "verification": {"checks": [check]}}
        pipeline = decode_as(
            Pipeline, {"metadata": {**meta, "name": "shop"}, "spec": {"stages": [stage]}}
        )
        made = decode_as(Release, {"metadata": {**meta, "name": "shop-1"}, "spec": release})
        spec = {"pipeline": "shop", "stage": "dev", "release": "shop-1"}
        promotion = decode_as(Promotion, {"metadata": {**meta, "name": "shop-1.dev"}, "spec": spec})
        for _ in range(5):
            status = promotion.status.model_copy(update={"checks": self.checks})
            found = await self.verification.advance(pipeline, made, promotion.with_status(status))
            if found.checks == self.checks:
                break
            self.checks = found.checks
        return self.checks[0]

    async def job(self) -> Job | None:
        items = (await self.store.list(Job)).items
        return items[0] if items else None

    async def ends(self, code: int, image: str = IMAGE) -> None:
        """Let the cluster run the Job's Pod, of an image, to its end."""
        job = await self.job()
        assert job is not None
        labels = {"job-name": job.name}
        phase = "Failed" if code else "Succeeded"
        found = pod(labels=labels, phase=phase, containerStatuses=[ended(code)])
        containers = tuple(one.model_copy(update={"image": image}) for one in found.spec.containers)
        spec = found.spec.model_copy(update={"containers": containers})
        found = found.model_copy(update={"spec": spec})
        self.pods.shown = [OwnedPod(found, Owner("Job", "shop", job.name))]
        self.pods.written["test-x", "test"] = b"all is well\n"


@pytest.mark.parametrize(("code", "phase"), [(0, CheckPhase.PASSED), (1, CheckPhase.FAILED)])
async def test_a_job_is_started_its_end_is_read_and_it_is_deleted(
    tmp_path: Path, code: int, phase: CheckPhase
) -> None:
    check = ClusterCheck(tmp_path)
    assert (await check.advance()).phase is CheckPhase.RUNNING
    job = await check.job()
    assert job is not None
    assert job.spec.template.spec.restart_policy == "Never"

    await check.ends(code)
    found = await check.advance()

    assert found.phase is phase, found.message
    assert [one.name for one in found.evidence] == ["log.txt"]
    assert await check.job() is None


async def test_a_job_whose_pods_the_cluster_refuses_says_by_whose_words(tmp_path: Path) -> None:
    check = ClusterCheck(tmp_path)
    await check.advance()
    job = await check.job()
    assert job is not None
    words = 'Error creating: pods "x" is forbidden: exceeded quota: few'
    check.pods.warned[job.uid] = ["older", words]

    waits = await check.advance()

    assert (waits.phase, waits.message) == (
        CheckPhase.RUNNING,
        f"Job {job.name}: not started yet: {words}",
    )
    check.clock.now += timedelta(seconds=700)
    late = await check.advance()
    assert late.phase is CheckPhase.INCONCLUSIVE
    assert words in late.message


@pytest.mark.parametrize("code", [0, 1])
async def test_a_test_by_another_image_than_the_releases_says_nothing_about_it(
    tmp_path: Path, code: int
) -> None:
    check = ClusterCheck(tmp_path)
    await check.advance()
    other = f"registry.test/approved@{Digest.of(b'approved')}"
    await check.ends(code, other)
    found = await check.advance()
    assert found.phase is CheckPhase.INCONCLUSIVE
    assert found.message == f"the cluster ran container test by {other}, not by {IMAGE}"


async def test_a_test_by_a_mirror_of_the_image_counts(tmp_path: Path) -> None:
    check = ClusterCheck(tmp_path)
    await check.advance()
    await check.ends(0, f"mirror.test/app@{Digest.of(b'app')}")
    assert (await check.advance()).phase is CheckPhase.PASSED


async def test_pods_on_their_way_out_are_beside_nothing(tmp_path: Path) -> None:
    check = ClusterCheck(tmp_path)
    leaving = pod().with_metadata(deletion_timestamp=START)
    owner = Owner("Deployment", "shop", "web")
    check.pods.shown = [OwnedPod(leaving, owner), OwnedPod(pod("web-1"), owner)]
    names = [one.name for one in await check.instances.of_namespace("shop")]
    assert names == ["shop/web-1"]
    assert len(await check.instances.of_owner(owner)) == 2


async def test_files_of_a_test_are_not_read(tmp_path: Path) -> None:
    check = ClusterCheck(tmp_path)
    with pytest.raises(UnreadableFilesError, match="print"):
        await check.instances.read_files("shop/a", "/x", FileLimits(1), "test")
