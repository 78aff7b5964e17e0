"""Verification over a store and a machine in memory; the clock is turned by hand."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, override

from tests.support.rollouts.memory_machine import FakeRuntime, MemoryClock
from tests.support.verification.probes import ScriptedProbes

from upwell.api.apps import Deployment, Job
from upwell.api.codec import decode_as
from upwell.api.core import Service
from upwell.api.meta import Resource
from upwell.api.pipeline import Pipeline
from upwell.api.promotion import CheckResult, Promotion, PromotionPhase, Purpose, Release
from upwell.machine.components import Components
from upwell.oci import Digest
from upwell.policy.promotion.rollouts import RolledOut, StageRollout
from upwell.policy.promotion.verification.checks import VerificationProgress
from upwell.policy.promotion.verification.jobs import container_of_test
from upwell.policy.rollouts.instance import owner_of
from upwell.reconcilers.promotion.instances import CheckRuntime, MachineInstances
from upwell.reconcilers.promotion.machine_watch import MachineRecord
from upwell.reconcilers.promotion.soaks import SoakWatch
from upwell.reconcilers.promotion.verification import StageVerification
from upwell.store.interface import AlreadyExistsError, StoreError
from upwell.store.memory import MemoryStore
from upwell.uploads.files import FileInputs
from upwell.workload.instance_spec import Owner
from upwell.workload.interface import ContainerFile, Instance, ObservedContainer, State

if TYPE_CHECKING:
    from upwell.workload.errors import WorkloadError

IMAGE = f"registry.test/shop@{Digest.of(b'shop')}"
PORT = {"containerPort": 8080}
REPORT = b'<testsuite><testcase name="pays"/></testsuite>'
BAD_REPORT = b'<testsuite><testcase name="pays"><failure/></testcase></testsuite>'


class FileRuntime(FakeRuntime):
    """A runtime whose instances have logs and files."""

    __test__ = False

    def __init__(self, clock: MemoryClock) -> None:
        super().__init__(clock)
        self.clock = clock
        self.ran_tests: dict[str, Instance] = {}
        self.log: list[bytes] = [b"ok\n"]
        self.trouble: WorkloadError | None = None

    @override
    async def instances(self) -> Sequence[Instance]:
        if self.trouble is not None:
            raise self.trouble
        return await super().instances()

    @override
    def observed(self) -> list[Instance]:
        return [*super().observed(), *self.ran_tests.values()]

    @override
    def log_of(self, name: str, container: str) -> bytes:
        return self.log_texts.get((name, container), b"".join(self.log))

    def run(self, job: Job) -> None:
        """Let a Job's test run."""
        name = container_of_test(job)
        now = self.clock()
        container = ObservedContainer(name, "c1", IMAGE, None, now, running=True)
        self.ran_tests[job.name] = Instance(
            name=f"{job.name}-0",
            owner=owner_of(job.key),
            revision="r1",
            state=State.RUNNING,
            ready=False,
            ready_since=None,
            started_at=now,
            address="10.88.0.2",
            images={},
            containers=(container,),
        )

    def serve(self, namespace: str, name: str, losses: int) -> str:
        """Let an instance run beside the tests, which is not ready; return its name."""
        self.ran_tests[name] = Instance(
            name=name,
            owner=Owner("Deployment", namespace, "shop"),
            revision="r1",
            state=State.RUNNING,
            ready=False,
            ready_since=None,
            started_at=self.clock(),
            address="10.88.0.3",
            images={},
            losses=losses,
        )
        return name

    def ready(self, name: str) -> None:
        """Let an instance be ready now."""
        found = self.ran_tests[name]
        self.ran_tests[name] = replace(found, ready=True, ready_since=self.clock())

    def exit(self, job: Job, code: int, *, out_of_memory: bool = False) -> None:
        """Let a Job's test end now."""
        running = self.ran_tests[job.name]
        [container] = running.containers
        ended = replace(
            container,
            running=False,
            exit_code=code,
            ended_at=self.clock(),
            out_of_memory=out_of_memory,
        )
        self.ran_tests[job.name] = replace(
            running,
            state=State.EXITED,
            exit_codes={container.name: code},
            containers=(ended,),
        )

    def lose_test(self, job: Job) -> None:
        """Let the machine lose a Job's test."""
        running = self.ran_tests[job.name]
        [container] = running.containers
        self.ran_tests[job.name] = replace(
            running,
            state=State.LOST,
            message="how it ended is unknown",
            containers=(replace(container, running=False, lost=True),),
        )

    def wrote(self, path: str, content: bytes, modified: datetime | None = None) -> None:
        at = (modified or self.clock()).timestamp()
        self.files[path] = [ContainerFile(path.rpartition("/")[2], content, at)]


class JobRefusingStore(MemoryStore):
    """Store that refuses new Jobs while it has a fault."""

    fault: StoreError | None = None

    @override
    async def create[R: Resource](self, resource: R) -> R:
        if self.fault is not None and isinstance(resource, Job):
            raise self.fault
        return await super().create(resource)


@dataclass
class VerifiedPromotion:
    """One promotion that is verified. `look` is one call, whose results are stored."""

    folder: Path
    clock: MemoryClock = field(default_factory=MemoryClock)
    probes: ScriptedProbes = field(default_factory=ScriptedProbes)

    def __post_init__(self) -> None:
        self.store = JobRefusingStore(self.clock)
        self.machine = FileRuntime(self.clock)
        self.kept = FileInputs(self.folder)
        self.components = Components(self.clock)
        self.podman = self.components.add("podman")
        self.router = self.components.add("router")
        self.rollout = StageRollout(RolledOut.COMPLETE)
        self.record = MachineRecord(
            self._well_since,
            self.components.fault_since,
            lambda: self.clock().timestamp(),
        )
        self.soaks = SoakWatch(self.clock, self.record)

    def _well_since(self) -> datetime:
        return max(self.machine.well_since(), self.components.well_since())

    async def begin(self, *checks: dict[str, Any], **stage: Any) -> None:
        verification = {"checks": [{"timeoutSeconds": 60, **check} for check in checks]}
        dev = {"name": "dev", "namespace": "dev", "verification": verification, **stage}
        workloads = {"address": "http://shop:8080", "workloads": [{"name": "shop"}]}
        source = {"kind": "ImageStreamTag", "name": "shop:latest"}
        spec = {"components": [{"name": "shop", "from": source}], "stages": [workloads | dev]}
        metadata = {"namespace": "shop", "name": "shop"}
        await self.store.create(decode_as(Pipeline, {"metadata": metadata, "spec": spec}))
        components = [{"name": "shop", "image": IMAGE}]
        release = {"pipeline": "shop", "number": 1, "components": components}
        metadata = {"namespace": "shop", "name": "shop-1"}
        await self.store.create(decode_as(Release, {"metadata": metadata, "spec": release}))
        await self.promote("shop-1.dev")

    async def serve_by_a_service(self, *ready: str, replicas: int = 2) -> None:
        """Have a Service and a Deployment in the stage, with ready instances at these addresses."""
        place = {"namespace": "dev", "name": "shop"}
        container = {"name": "shop", "image": IMAGE, "ports": [{"name": "web", **PORT}]}
        pod = {"metadata": {"labels": {"app": "shop"}}, "spec": {"containers": [container]}}
        workload = {"replicas": replicas, "template": pod}
        service = {
            "selector": {"app": "shop"},
            "clusterIP": "10.99.0.1",
            "ports": [{"name": "http", "port": 80, "targetPort": "web"}],
        }
        deployment = decode_as(Deployment, {"metadata": place, "spec": workload})
        with suppress(AlreadyExistsError):
            await self.store.create(deployment)
            await self.store.create(decode_as(Service, {"metadata": place, "spec": service}))
        now = self.clock()
        for number, address in enumerate(ready):
            self.machine.ran_tests[address] = Instance(
                name=f"shop-{number}",
                owner=owner_of(deployment.key),
                revision="r1",
                state=State.RUNNING,
                ready=True,
                ready_since=now,
                started_at=now,
                address=address,
                images={},
            )

    async def promote(self, name: str, purpose: Purpose = Purpose.PROMOTE) -> None:
        self.name = name
        spec = {"pipeline": "shop", "release": "shop-1", "stage": "dev", "purpose": purpose.value}
        metadata = {"namespace": "shop", "name": name}
        made = await self.store.create(decode_as(Promotion, {"metadata": metadata, "spec": spec}))
        changes = {"phase": PromotionPhase.VERIFYING, "serving_since": self.clock()}
        await self.store.update_status(made.with_status(made.status.model_copy(update=changes)))

    async def promotion(self) -> Promotion:
        return await self.store.get(Promotion, "shop", self.name)

    def verification(self) -> StageVerification:
        """Return that of a new process."""
        return StageVerification(
            self.store,
            CheckRuntime.of_server(self.store, MachineInstances(self.machine)),
            self.probes,
            self.kept,
            lambda promotion, check, attempt: f"http://up/v/{promotion.name}/{check}/{attempt}",
            self.clock,
            self.record,
        )

    async def advance(self) -> VerificationProgress:
        """Call once, as a process does that is killed before it stores what came of it."""
        pipeline = await self.store.get(Pipeline, "shop", "shop")
        release = await self.store.get(Release, "shop", "shop-1")
        promotion = await self.promotion()
        served, self.doubt = self.soaks.look(promotion, self.rollout)
        seen = promotion.status.model_copy(update={"soaked_seconds": served})
        return await self.verification().advance(pipeline, release, promotion.with_status(seen))

    async def store_soak(self, seconds: float) -> None:
        """Store what the soak has come to, as the promotion's reconciler does."""
        found = await self.promotion()
        status = found.status.model_copy(update={"soaked_seconds": seconds})
        await self.store.update_status(found.with_status(status))

    async def look(self, times: int = 1) -> VerificationProgress:
        for _ in range(times):
            progress = await self.advance()
            promotion = await self.promotion()
            status = promotion.status.model_copy(update={"checks": progress.checks})
            await self.store.update_status(promotion.with_status(status))
        return progress

    async def look_after(self, seconds: float, times: int = 1) -> VerificationProgress:
        self.clock.time += timedelta(seconds=seconds)
        return await self.look(times)

    async def jobs(self) -> list[Job]:
        return list((await self.store.list(Job)).items)

    async def job(self) -> Job:
        [job] = await self.jobs()
        return job

    async def evidence(self, result: CheckResult) -> dict[str, bytes]:
        paths = {
            piece.name: await self.kept.path(Digest.parse(piece.digest), "shop")
            for piece in result.evidence
            if piece.digest
        }
        return {name: path.read_bytes() for name, path in paths.items()}
