"""Tests of a stage as Jobs in real containers: good ones, bad ones, and harmful ones."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from tests.support.outbound.dialers import loopback_dialer
from tests.support.rollouts.real_machine import (
    SERVE,
    RealRollouts,
    now,
    podman_home,
    real_rollouts,
)
from tests.support.workload.waiting import eventually

from upwell.api.apps import Deployment, Job
from upwell.api.codec import decode_as
from upwell.api.core import Service
from upwell.api.pipeline import Pipeline
from upwell.api.promotion import CheckPhase, CheckResult, Promotion, PromotionPhase, Release
from upwell.oci import Digest
from upwell.policy.promotion.verification.checks import VerificationOutcome, VerificationProgress
from upwell.policy.rollouts.settings import with_pod_template
from upwell.reconcilers.promotion.evidence import FILES_BYTES, LOG_BYTES
from upwell.reconcilers.promotion.instances import CheckRuntime, MachineInstances
from upwell.reconcilers.promotion.verification import StageVerification
from upwell.uploads.files import FileInputs
from upwell.verification.network import NetworkProbes
from upwell.workload.podman.runtime import PodmanRuntime

__all__ = ["podman_home", "real_rollouts"]  # fixtures

GOOD = '<testsuite><testcase name="pays"/></testsuite>'
BAD = '<testsuite><testcase name="pays"><failure/></testcase></testsuite>'
GIGABYTE = 1024**3


@dataclass
class VerifiedStage:
    """A stage `dev` in the namespace `shop`, whose checks are run until they have ended."""

    real_rollouts: RealRollouts
    runtime: PodmanRuntime
    verification: StageVerification
    kept: FileInputs

    async def begin(self, *checks: dict[str, Any]) -> None:
        place = {"namespace": "shop", "name": "shop"}
        stage = {
            "name": "dev",
            "workloads": [{"name": "web"}],
            "verification": {"checks": list(checks)},
        }
        source = {"kind": "ImageStreamTag", "name": "web:latest"}
        spec = {"components": [{"name": "web", "from": source}], "stages": [stage]}
        components = [{"name": "web", "image": str(self.real_rollouts.image)}]
        store = self.real_rollouts.store
        self.pipeline = await store.create(decode_as(Pipeline, {"metadata": place, "spec": spec}))
        release = {"pipeline": "shop", "number": 1, "components": components}
        place = {"namespace": "shop", "name": "shop-1"}
        self.release = await store.create(decode_as(Release, {"metadata": place, "spec": release}))
        promotion = {"pipeline": "shop", "release": "shop-1", "stage": "dev"}
        place = {"namespace": "shop", "name": "shop-1.dev"}
        made = await store.create(decode_as(Promotion, {"metadata": place, "spec": promotion}))
        changes = {"phase": PromotionPhase.VERIFYING, "serving_since": now()}
        await store.update_status(made.with_status(made.status.model_copy(update=changes)))

    async def look(self) -> VerificationProgress:
        """Take the checks one step further, and store what came of it."""
        promotion = await self.real_rollouts.store.get(Promotion, "shop", "shop-1.dev")
        progress = await self.verification.advance(self.pipeline, self.release, promotion)
        status = promotion.status.model_copy(update={"checks": progress.checks})
        await self.real_rollouts.store.update_status(promotion.with_status(status))
        return progress

    async def ended(self) -> tuple[VerificationOutcome, CheckResult]:
        """Return how it ends, and the first check; whatever was started is gone by then."""
        progress = await eventually(
            self.look, lambda one: one.outcome is not VerificationOutcome.RUNNING
        )
        await self.look()
        await eventually(self.jobs, [].__eq__)
        await eventually(self.runtime.instances, lambda found: len(found) == 0)
        return progress.outcome, progress.checks[0]

    async def jobs(self) -> list[Job]:
        return list((await self.real_rollouts.store.list(Job)).items)

    async def evidence(self, result: CheckResult) -> dict[str, Path]:
        return {one.name: await self.kept.path(Digest.parse(one.digest)) for one in result.evidence}


@pytest.fixture
async def stage(real_rollouts: RealRollouts, tmp_path: Path) -> AsyncIterator[VerifiedStage]:
    async with (
        real_rollouts.serve() as runtime,
        NetworkProbes.open("1.2.3", loopback_dialer()) as probes,
    ):
        kept = FileInputs(tmp_path)
        jobs = CheckRuntime.of_server(real_rollouts.store, MachineInstances(runtime))
        verification = StageVerification(
            real_rollouts.store, jobs, probes, kept, lambda *_: "", now
        )
        yield VerifiedStage(real_rollouts, runtime, verification, kept)


def check(script: str, *beside: dict[str, Any], **job: Any) -> dict[str, Any]:
    """Return a check that runs a script; containers `beside` it run in the same image."""
    command = ["/bin/busybox", "sh", "-ec", script]
    mounts = [{"name": "out", "mountPath": "/volume"}]
    pod = {
        "containers": [{"name": "test", "volumeMounts": mounts}, *beside],
        "volumes": [{"name": "out", "emptyDir": {}}],
        "terminationGracePeriodSeconds": 0,
    }
    timeout = job.pop("timeout", 60)
    test = {"component": "web", "command": command, "template": {"spec": pod}, **job}
    return {"name": "e2e", "timeoutSeconds": timeout, "job": test}


async def test_a_test_against_the_running_thing_passes_with_its_evidence(
    stage: VerifiedStage,
) -> None:
    script = f"""
        mkdir /out; echo "testing $UPWELL_RELEASE in $UPWELL_STAGE: $UPWELL_IMAGE_WEB"
        echo '{GOOD}' > /out/r.xml; echo trace > /out/trace.txt
    """
    await stage.begin(check(script, junit="/out/r.xml", artifacts=["/out"]))
    outcome, result = await stage.ended()
    assert (outcome, result.message) == (
        VerificationOutcome.PASSED,
        "1 tests, 0 failed; exit code 0",
    )
    kept = await stage.evidence(result)
    assert list(kept) == ["log.txt", "junit.xml", "artifacts/out.tar"]
    assert kept["log.txt"].read_text() == f"testing shop-1 in dev: {stage.real_rollouts.image}\n"


@pytest.mark.parametrize(
    ("script", "phase", "message"),
    [
        ("exit 3", CheckPhase.FAILED, "exit code 3"),
        # It lies about its exit code.
        (f"echo '{BAD}' > /r.xml", CheckPhase.FAILED, "1 tests, 1 failed (pays); exit code 0"),
        ("true", CheckPhase.INCONCLUSIVE, "there is no /r.xml in test"),
        ("echo '<testsuite>' > /r.xml", CheckPhase.INCONCLUSIVE, "not a JUnit report"),
        (
            f"echo '{GOOD}' > /r.xml; /bin/busybox touch -d '2020-01-01 00:00' /r.xml",
            CheckPhase.INCONCLUSIVE,
            "is older than the test",
        ),
        (
            "/bin/busybox ln -s /etc/passwd /r.xml",
            CheckPhase.INCONCLUSIVE,
            "there is no /r.xml in test",
        ),
    ],
)
async def test_what_does_not_pass_says_why(
    stage: VerifiedStage, script: str, phase: CheckPhase, message: str
) -> None:
    await stage.begin(check(script, junit="/r.xml"))
    _, result = await stage.ended()
    assert result.phase is phase, result.message
    assert message in result.message


async def test_a_test_that_never_answers_is_ended_and_shows_how_far_it_got(
    stage: VerifiedStage,
) -> None:
    await stage.begin(
        check("echo begun; echo half > /state; exec sleep 600", timeout=3, artifacts=["/state"])
    )
    outcome, result = await stage.ended()
    assert outcome is VerificationOutcome.INCONCLUSIVE
    assert result.message == "no answer within 3 s: running"
    kept = await stage.evidence(result)
    assert {name: path.read_text() for name, path in kept.items()} == {
        "log.txt": "begun\n",
        "artifacts/state": "half\n",
    }


async def test_a_gigabyte_of_artifacts_and_a_log_without_end_are_left_where_they_are(
    stage: VerifiedStage,
) -> None:
    script = f"""
        mkdir /out; dd if=/dev/zero of=/out/core bs=1 count=0 seek={GIGABYTE}
        exec /bin/busybox yes 'all is well, all is well, all is well, all is well, all is well'
    """
    await stage.begin(check(script, artifacts=["/out"], timeout=3))
    outcome, result = await stage.ended()
    assert outcome is VerificationOutcome.INCONCLUSIVE
    assert result.message.startswith("no answer within 3 s: running")
    assert f"/out: larger than {FILES_BYTES} bytes" in result.message
    kept = await stage.evidence(result)
    assert list(kept) == ["log.txt"]
    assert kept["log.txt"].stat().st_size <= LOG_BYTES


async def test_a_long_log_is_kept_by_its_end(stage: VerifiedStage) -> None:
    written = "".join(f"{number}\n" for number in range(1, 250_001)) + "the last line\n"
    await stage.begin(check("/bin/busybox seq 1 250000; echo the last line"))
    outcome, result = await stage.ended()
    assert outcome is VerificationOutcome.PASSED
    assert f"log: the last {LOG_BYTES} of {len(written)} bytes are kept" in result.message
    kept = await stage.evidence(result)
    assert kept["log.txt"].read_text() == written[-LOG_BYTES:]


async def test_a_report_in_a_volume_is_read(stage: VerifiedStage) -> None:
    await stage.begin(check(f"echo '{BAD}' > /volume/r.xml", junit="/volume"))
    outcome, result = await stage.ended()
    assert (outcome, result.message) == (
        VerificationOutcome.FAILED,
        "1 tests, 1 failed (pays); exit code 0",
    )


async def test_what_stands_beside_the_test_does_not_hold_it_up(stage: VerifiedStage) -> None:
    endless = ["/bin/busybox", "sleep", "600"]
    database = {"name": "db", "image": str(stage.real_rollouts.image), "command": endless}
    await stage.begin(check("sleep 1; exit 4", database))
    outcome, result = await stage.ended()
    assert (outcome, result.message) == (VerificationOutcome.FAILED, "exit code 4")


@pytest.mark.parametrize(
    ("script", "outcome", "message"),
    [
        (SERVE, VerificationOutcome.PASSED, "the connection was accepted"),
        ("exec sleep 600", VerificationOutcome.FAILED, "no answer within 2 s: "),
    ],
    ids=["listens", "never listens"],
)
async def test_a_stage_that_runs_but_does_not_listen_is_not_verified(
    stage: VerifiedStage, script: str, outcome: VerificationOutcome, message: str
) -> None:
    def without_probe(deployment: Deployment) -> Deployment:
        template = deployment.spec.template
        assert template is not None
        [container] = template.spec.containers
        container = container.model_copy(update={"readiness_probe": None, "args": (script,)})
        pod = template.spec.model_copy(update={"containers": (container,)})
        return with_pod_template(deployment, template.model_copy(update={"spec": pod}))

    rollouts = stage.real_rollouts
    await rollouts.begin("1")
    await rollouts.change(Deployment, "web", without_probe)
    await eventually(
        rollouts.deployment,
        lambda one: (
            [each.phase for each in one.status.revisions][:1] == ["Complete"]
            and one.status.updated_replicas == 1
            and one.status.observed_generation == one.metadata.generation
        ),
    )
    [service] = (await rollouts.store.list(Service)).items
    await eventually(partial(accepts, service), bool)  # the router's own port, in both cases

    await stage.begin({"name": "answers", "timeoutSeconds": 2, "tcp": {}})
    progress = await eventually(
        stage.look, lambda one: one.outcome is not VerificationOutcome.RUNNING
    )

    assert progress.outcome is outcome
    assert message in progress.message + progress.checks[0].message


async def accepts(service: Service) -> bool:
    current = service.spec.cluster_ip
    try:
        _, writer = await asyncio.open_connection(current, service.spec.ports[0].port)
    except OSError:
        return False
    writer.close()
    return True
