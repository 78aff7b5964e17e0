"""Jobs of checks that a real cluster's admission refuses: named, tried again, ended in time."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tests.support.clocks import ManualTime
from tests.support.faults.on_demand import on_demand
from tests.support.kubernetes.cluster import KitCluster
from tests.support.kubernetes.namespaces import given_namespace
from tests.support.kubernetes.webhooks import REFUSES, denied, unreachable_webhook, webhook
from tests.support.outbound.dialers import loopback_dialer
from tests.support.verification.probes import ScriptedProbes
from tests.support.workload.waiting import eventually

from upwell.api.apps import Job
from upwell.api.clusters.cluster import Cluster
from upwell.api.codec import decode_as
from upwell.api.core import Secret
from upwell.api.meta import ObjectMeta
from upwell.api.pipeline import Pipeline
from upwell.api.promotion import CheckPhase, CheckResult, Promotion, Release
from upwell.cluster.kubernetes_remote import KubernetesRemoteClusters
from upwell.oci import Digest
from upwell.reconcilers.promotion.checks.clusters import ClusterChecks
from upwell.reconcilers.promotion.instances import CheckRuntime
from upwell.reconcilers.promotion.promotions import Verifier
from upwell.reconcilers.promotion.verification import StageVerification
from upwell.store.interface import Selector
from upwell.store.memory import MemoryStore
from upwell.uploads.files import FileInputs

START = datetime(2026, 5, 1, tzinfo=UTC)
SHOP = "checked-shop"
META = {"namespace": SHOP, "uid": "u1"}
JOBS = {"operations": ["CREATE"], "apiGroups": ["batch"], "resources": ["jobs"]}
DENIAL = 'admission webhook "images.policy.example" denied the request: unsigned'
UNREACHED = 'failed calling webhook "images.policy.example"'


class CheckedCluster:
    """A stage whose check is a Job on a real API server."""

    def __init__(self, cluster: KitCluster, folder: Path) -> None:
        self.cluster = cluster
        self.clock = ManualTime(START)
        self.store = MemoryStore(self.clock)
        self.clusters = KubernetesRemoteClusters(
            self.store, loopback_dialer().connect, lambda: datetime.now(UTC)
        )
        self._kept = FileInputs(folder, limit_bytes=1000)
        self._verifier = ClusterChecks(self.store, self.clusters, self._verifying, self.clock)
        self.result = CheckResult(name="smoke")

    def _verifying(self, runtime: CheckRuntime) -> Verifier:
        return StageVerification(
            self.store, runtime, ScriptedProbes(), self._kept, lambda *_: "", self.clock
        )

    async def open(self) -> None:
        config = self.cluster.kubectl("config", "view", "--flatten", "--minify")
        data = Secret.encode_values({"value": config.encode()})
        await self.store.create(
            Secret(metadata=ObjectMeta(namespace="ops", name="east"), data=data)
        )
        access = {"kubeConfig": {"secretRef": {"namespace": "ops", "name": "east"}}}
        await self.store.create(decode_as(Cluster, {"metadata": {"name": "east"}, "spec": access}))
        async with self.cluster.client() as client:
            await given_namespace(client, SHOP)

    async def look(self) -> CheckResult:
        """Take the check one step further."""
        image = f"registry.test/app@{Digest.of(b'app')}"
        job = {"component": "app"}
        check = {"name": "smoke", "timeoutSeconds": 60, "job": job}
        stage = {"name": "p", "cluster": "east", "verification": {"checks": [check]}}
        release = {"components": [{"name": "app", "image": image}], "number": 1, "pipeline": "shop"}
        asked = {"pipeline": "shop", "stage": "p", "release": "shop-1"}
        status = {"clusters": [{"name": "east", "phase": "Complete"}]}
        promotion = decode_as(
            Promotion, {"metadata": {**META, "name": "shop-1.p"}, "spec": asked, "status": status}
        )
        changes = {"checks": (self.result,), "started": START}
        found = await self._verifier.advance(
            decode_as(
                Pipeline, {"metadata": {**META, "name": "shop"}, "spec": {"stages": [stage]}}
            ),
            decode_as(Release, {"metadata": {**META, "name": "shop-1"}, "spec": release}),
            promotion.with_status(promotion.status.model_copy(update=changes)),
        )
        [self.result] = found.checks
        return self.result

    async def jobs(self) -> list[Job]:
        async with self.cluster.client() as client:
            return list((await client.list(Job, Selector(SHOP))).items)

    async def forget_jobs(self) -> None:
        self.cluster.kubectl("-n", SHOP, "delete", "jobs", "--all")


@pytest.fixture
async def checked(cluster: KitCluster, tmp_path: Path) -> AsyncIterator[CheckedCluster]:
    checked = CheckedCluster(cluster, tmp_path / "kept")
    await checked.open()
    try:
        yield checked
    finally:
        await checked.forget_jobs()
        await checked.clusters.close()


@pytest.mark.parametrize("words", [DENIAL, UNREACHED])
async def test_a_job_that_a_webhook_refuses_is_told_and_tried_again_to_its_time(
    checked: CheckedCluster, cluster: KitCluster, tmp_path: Path, words: str
) -> None:
    asked = (
        webhook(cluster, tmp_path, REFUSES, JOBS, lambda _: denied("unsigned", 409))
        if words == DENIAL
        else unreachable_webhook(cluster, JOBS)
    )

    async def refused() -> str:
        found = await checked.look()
        if "is started" in found.message:  # the cluster did not know of the webhook yet
            await checked.forget_jobs()
        return found.message

    with asked:
        message = await eventually(refused, lambda told: words in told)
        assert "Job shop-1" in message
        assert checked.result.phase is CheckPhase.RUNNING
        assert await checked.jobs() == []
        checked.clock.now += timedelta(seconds=61)
        ended = await checked.look()
        assert ended.phase is CheckPhase.INCONCLUSIVE
        assert "no answer within 60 s" in ended.message
        assert words in ended.message


@on_demand(
    "tests/unit/reconcilers/promotion/test_verification.py"
    "::test_one_that_is_refused_is_tried_again_and_says_why"
)
async def test_a_job_that_is_no_longer_refused_is_started(
    checked: CheckedCluster, cluster: KitCluster
) -> None:
    with unreachable_webhook(cluster, JOBS):

        async def refused() -> str:
            found = await checked.look()
            if "is started" in found.message:
                await checked.forget_jobs()
            return found.message

        await eventually(refused, lambda told: UNREACHED in told)

    async def started() -> int:
        await checked.look()
        return len(await checked.jobs())

    await eventually(started, lambda count: count == 1)
