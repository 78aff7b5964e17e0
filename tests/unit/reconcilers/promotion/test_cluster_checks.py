"""Checks of stages on other clusters: their Jobs run there, and are gone afterwards."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.support.clocks import ManualTime
from tests.support.cluster.memory_remote import MemoryRemoteCluster, MemoryRemoteClusters
from tests.support.verification.probes import ScriptedProbes

from upwell.api.apps import Job
from upwell.api.clusters.cluster import REACHABLE, Cluster
from upwell.api.codec import decode_as
from upwell.api.meta import format_time
from upwell.api.pipeline import Pipeline
from upwell.api.pod import Pod
from upwell.api.promotion import CheckPhase, CheckResult, Promotion, Release
from upwell.cluster.interface import OwnedPod
from upwell.oci import Digest
from upwell.policy.promotion.clusters.targets import cluster_obstacle
from upwell.policy.promotion.verification.checks import VerificationOutcome
from upwell.reconcilers.promotion.checks.clusters import ClusterChecks, VerificationByStage
from upwell.reconcilers.promotion.instances import CheckRuntime
from upwell.reconcilers.promotion.promotions import Verifier
from upwell.reconcilers.promotion.verification import StageVerification
from upwell.store.memory import MemoryStore
from upwell.uploads.files import FileInputs
from upwell.workload.instance_spec import Owner

START = datetime(2026, 5, 1, tzinfo=UTC)
DIGEST = Digest.of(b"app")
META = {"namespace": "shop", "uid": "u1"}
MANY = {"selector": {"matchLabels": {"env": "p"}}, "canary": {"matchLabels": {"canary": "yes"}}}


class RemoteCheck:
    """A stage on clusters `east`, the canary, and `back`, whose check is a Job."""

    def __init__(self, folder: Path) -> None:
        self.clock = ManualTime(START)
        self.store = MemoryStore(self.clock)
        names = ("back", "east")
        self.remotes = {one: MemoryRemoteCluster(self.clock) for one in names}
        self.evidence = FileInputs(folder, limit_bytes=1000)
        elsewhere = ClusterChecks(
            self.store, MemoryRemoteClusters(self.remotes), self._verifying, self.clock
        )
        self.verifier = VerificationByStage(_Nobody(), elsewhere)
        self.checks: tuple[CheckResult, ...] = ()
        self._outcome = VerificationOutcome.RUNNING
        self.each_cluster = False
        self.junit = ""
        self.log = b"all is well\n"
        self.ended: datetime | None = None

    def _verifying(self, runtime: CheckRuntime) -> Verifier:
        return StageVerification(
            self.store, runtime, ScriptedProbes(), self.evidence, lambda *_: "", self.clock
        )

    async def stored(self) -> None:
        """Store what the server knows of it."""
        for name, labels in (("back", {}), ("east", {"canary": "yes"})):
            access = {"secretRef": {"namespace": "ops", "name": name}}
            spec = {"kubeConfig": access, "mirror": f"registry.{name}.example/apps"}
            metadata = {"name": name, "labels": {"env": "p", **labels}}
            await self.store.create(decode_as(Cluster, {"metadata": metadata, "spec": spec}))
        await self.store.create(self.pipeline)
        await self.store.create(self.promotion)

    @property
    def pipeline(self) -> Pipeline:
        job = {"component": "app", "eachCluster": self.each_cluster, "junit": self.junit}
        check = {"name": "smoke", "timeoutSeconds": 60, "job": job}
        stage = {"name": "p", "clusters": MANY, "verification": {"checks": [check]}}
        return decode_as(
            Pipeline, {"metadata": {**META, "name": "shop"}, "spec": {"stages": [stage]}}
        )

    @property
    def promotion(self) -> Promotion:
        spec = {"pipeline": "shop", "stage": "p", "release": "shop-1"}
        clusters = [{"name": one, "phase": "Complete"} for one in self.remotes]
        found = decode_as(
            Promotion,
            {
                "metadata": {**META, "name": "shop-1.p"},
                "spec": spec,
                "status": {"clusters": clusters},
            },
        )
        changes: dict[str, Any] = {"checks": self.checks, "started": START, "ended": self.ended}
        return found.with_status(found.status.model_copy(update=changes))

    async def advance(self) -> CheckResult:
        """Take the check further until it waits."""
        components = [{"name": "app", "image": f"registry.test/app@{DIGEST}"}]
        spec = {"components": components, "number": 1, "pipeline": "shop"}
        release = decode_as(Release, {"metadata": {**META, "name": "shop-1"}, "spec": spec})
        for _ in range(5):
            found = await self.verifier.advance(self.pipeline, release, self.promotion)
            self._outcome = found.outcome
            if found.checks == self.checks:
                break
            self.checks = found.checks
        return self.checks[0]

    async def jobs(self, cluster: str) -> list[Job]:
        return list((await self.remotes[cluster].store.list(Job)).items)

    def outcome(self) -> VerificationOutcome:
        """Return what the checks come to, as far as they are taken."""
        return self._outcome

    def phases(self) -> dict[str, CheckPhase]:
        return {one.name: one.phase for one in self.checks}

    async def ends(self, code: int, cluster: str = "east") -> None:
        """Let a cluster run the Job's Pod to its end."""
        [job] = await self.jobs(cluster)
        times = {"startedAt": format_time(START), "finishedAt": format_time(START)}
        state = {"terminated": {"exitCode": code, "reason": "Ended", **times}}
        container = job.spec.template.spec.containers[0]
        statuses = [{"name": container.name, "image": container.image, "state": state}]
        document = {
            "metadata": {
                "namespace": "shop",
                "name": "smoke-x",
                "creationTimestamp": format_time(START),
                "labels": {"job-name": job.name},
            },
            "spec": {"containers": [{"name": container.name, "image": container.image}]},
            "status": {"phase": "Failed" if code else "Succeeded", "containerStatuses": statuses},
        }
        shown = self.remotes[cluster].shown
        shown.shown = [OwnedPod(decode_as(Pod, document), Owner("Job", "shop", job.name))]
        shown.written["smoke-x", container.name] = self.log


class _Nobody:
    """Verifier of stages that run here, of which there are none."""

    async def advance(self, *_: object) -> Any:
        raise AssertionError

    async def stop(self, _: object) -> None:
        return


@pytest.fixture
async def check(tmp_path: Path) -> RemoteCheck:
    made = RemoteCheck(tmp_path)
    await made.stored()
    return made


@pytest.mark.parametrize(("code", "phase"), [(0, CheckPhase.PASSED), (1, CheckPhase.FAILED)])
async def test_a_job_runs_in_the_canary_and_its_end_decides(
    check: RemoteCheck, code: int, phase: CheckPhase
) -> None:
    assert (await check.advance()).phase is CheckPhase.RUNNING
    [job] = await check.jobs("east")
    image = job.spec.template.spec.containers[0].image
    assert image == f"registry.east.example/apps/app@{DIGEST}"
    assert await check.jobs("back") == []

    await check.ends(code)
    found = await check.advance()

    assert found.phase is phase, found.message
    assert found.message.endswith("in cluster east")
    assert [one.name for one in found.evidence] == ["log.txt"]
    assert await check.jobs("east") == []
    assert (await check.store.list(Job)).items == []


async def test_a_canary_that_goes_away_leaves_the_job_to_another_in_time(
    check: RemoteCheck,
) -> None:
    await check.advance()
    check.remotes["east"].is_away = True

    waits = await check.advance()

    assert waits.phase is CheckPhase.RUNNING
    assert "cannot be read now: connect to 192.0.2.1:6443" in waits.message
    check.clock.now += timedelta(seconds=61)
    late = await check.advance()
    assert late.phase is CheckPhase.INCONCLUSIVE


async def test_the_job_of_a_promotion_that_has_ended_is_ended_too(check: RemoteCheck) -> None:
    await check.advance()
    await check.verifier.stop(check.promotion.key)
    assert len(await check.jobs("east")) == 1, "it goes on"

    check.ended = START
    stored = await check.store.get(Promotion, "shop", "shop-1.p")
    await check.store.update_status(stored.with_status(check.promotion.status))
    await check.verifier.stop(check.promotion.key)
    assert await check.jobs("east") == []

    asked = check.remotes["east"].asked
    check.clock.now += timedelta(hours=2)
    await check.verifier.stop(check.promotion.key)
    assert check.remotes["east"].asked == asked, "old promotions are not looked for"


@pytest.fixture
async def in_each(check: RemoteCheck) -> RemoteCheck:
    """Return the check as one whose Job runs in each cluster."""
    check.each_cluster = True
    stored = await check.store.get(Pipeline, "shop", "shop")
    await check.store.update(stored.model_copy(update={"spec": check.pipeline.spec}))
    return check


async def test_a_job_in_each_cluster_has_to_pass_in_all(in_each: RemoteCheck) -> None:
    await in_each.advance()

    images = []
    for cluster in ("east", "back"):
        [job] = await in_each.jobs(cluster)
        images.append(job.spec.template.spec.containers[0].image)
    assert images == [f"registry.{one}.example/apps/app@{DIGEST}" for one in ("east", "back")]
    running = CheckPhase.RUNNING
    assert in_each.phases() == {"smoke.east": running, "smoke.back": running}

    await in_each.ends(0, "east")
    await in_each.advance()
    assert in_each.phases() == {"smoke.east": CheckPhase.PASSED, "smoke.back": running}
    assert in_each.outcome() is VerificationOutcome.RUNNING
    assert await in_each.jobs("east") == []

    await in_each.ends(0, "back")
    await in_each.advance()
    assert set(in_each.phases().values()) == {CheckPhase.PASSED}
    assert in_each.outcome() is VerificationOutcome.PASSED
    assert [len(one.evidence) for one in in_each.checks] == [1, 1]


async def test_a_job_that_fails_in_one_of_the_clusters_fails_the_stage(
    in_each: RemoteCheck,
) -> None:
    await in_each.advance()
    await in_each.ends(1, "back")
    await in_each.advance()

    assert in_each.outcome() is VerificationOutcome.FAILED
    assert in_each.phases()["smoke.back"] is CheckPhase.FAILED
    assert in_each.checks[0].message == "not finished: check smoke.back did not pass"

    in_each.ended = START
    stored = await in_each.store.get(Promotion, "shop", "shop-1.p")
    await in_each.store.update_status(stored.with_status(in_each.promotion.status))
    await in_each.verifier.stop(in_each.promotion.key)
    assert await in_each.jobs("east") == await in_each.jobs("back") == []


async def test_a_cluster_that_is_away_holds_its_own_job_up_alone(in_each: RemoteCheck) -> None:
    await in_each.advance()
    stored = await in_each.store.get(Cluster, "", "back")
    why = {"reason": "ClusterUnavailable", "message": "no route to host"}
    away = {"type": REACHABLE, "status": "False", **why}
    status = decode_as(Cluster, {"metadata": {"name": "x"}, "status": {"conditions": [away]}})
    await in_each.store.update_status(stored.with_status(status.status))

    await in_each.ends(0, "east")
    await in_each.advance()

    assert in_each.phases() == {"smoke.east": CheckPhase.PASSED}
    assert in_each.outcome() is VerificationOutcome.PASSED


async def test_a_report_that_a_job_prints_is_believed_before_its_exit_code(
    check: RemoteCheck,
) -> None:
    check.junit = "/dev/stdout"
    check.log = b"<testsuite><testcase name='pays'><failure/></testcase></testsuite>\n"
    await check.advance()
    await check.ends(0)

    result = await check.advance()

    assert (result.phase, result.message.partition(";")[0]) == (
        CheckPhase.FAILED,
        "1 tests, 1 failed (pays)",
    )
    obstacle = cluster_obstacle(check.pipeline, check.pipeline.spec.stages[0], ())
    assert obstacle is not None
    assert obstacle.reason == "ClusterNotFound"  # and not UnsupportedCheck
