"""The API with its door and the controllers of promotion, in a thread; commands come over HTTP.

Images are not looked up, and each stage has a CronJob: what is rolled out is there at once.
"""

import asyncio
import threading
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result
from tests.support.outbound.dialers import loopback_dialer
from tests.support.promotion.promotion_api import PromotionApiServer, open_promotion_api
from tests.support.promotion.release_images import NoLookups
from tests.support.server.api_server import StubRuntime

from upwell.api.apps import CronJob
from upwell.api.codec import decode_as
from upwell.api.image import ImageStream
from upwell.api.pipeline import Pipeline, StageWorkloads
from upwell.cli import main
from upwell.cli.core.connection import Session
from upwell.controller import ObjectCache
from upwell.reconcilers.builds.index import BuildIndex
from upwell.reconcilers.promotion.instances import CheckRuntime, MachineInstances
from upwell.reconcilers.promotion.pipelines import StoredWorkloads
from upwell.reconcilers.promotion.placing.machine import MachineRollouts
from upwell.reconcilers.promotion.placing.workloads import Workloads
from upwell.reconcilers.promotion.promotions import PromotionReconciler
from upwell.reconcilers.promotion.verification import StageVerification
from upwell.reconcilers.promotion.wiring import pipeline_controller, promotion_controller
from upwell.reconcilers.rollouts.index import WorkloadIndex
from upwell.store.interface import NotFoundError, Store
from upwell.uploads.files import FileInputs
from upwell.verification.network import NetworkProbes

NAMESPACE = "shop"
_SECONDS = 60


@dataclass
class PromotionServer:
    """The API of `open_promotion_api`, as the command line reaches it."""

    served: PromotionApiServer
    loop: asyncio.AbstractEventLoop

    def upwell(self, who: str, *arguments: str) -> Result:
        """Run a command with somebody's token; each comes a second after the one before."""
        self.served.api.clock.advance(seconds=1)
        session = Session(server=self.served.api.url, token=self.served.tokens[who])
        return CliRunner().invoke(
            main, [*arguments, "-n", NAMESPACE], obj=session, catch_exceptions=False
        )

    def done(self, who: str, *arguments: str) -> str:
        """Run a command that must succeed; return what it prints."""
        result = self.upwell(who, *arguments)
        assert result.exit_code == 0, result.stderr
        return result.stdout

    def wait(self, promotion: str, phase: str) -> None:
        """Wait as a CI does."""
        wait, limit = ("wait", f"promotion/{promotion}"), f"--timeout={_SECONDS}s"
        self.done("jenkins", *wait, "--for=create", limit)
        self.done("jenkins", *wait, f"--for=phase={phase}", limit)

    def push(self, digit: int) -> None:
        """Let the tag `shop:latest` name another image, which makes the Release of that number."""
        self.run(_push(self.served, f"sha256:{str(digit) * 64}"))

    def run[T](self, work: Coroutine[Any, Any, T]) -> T:
        """Do something where the server runs."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(_SECONDS)


async def _push(served: PromotionApiServer, digest: str) -> None:
    item = {
        "created": served.api.clock.now.isoformat(),
        "dockerImageReference": f"registry.test/shop/shop@{digest}",
        "image": digest,
    }
    document = {
        "metadata": {"name": "shop", "namespace": NAMESPACE},
        "status": {"tags": [{"tag": "latest", "items": [item]}]},
    }
    wanted = decode_as(ImageStream, document)
    try:
        found = await served.api.store.get(ImageStream, NAMESPACE, "shop")
    except NotFoundError:
        found = await served.api.store.create(wanted)
    await served.api.store.update_status(found.with_status(wanted.status))


async def _give_workloads(store: Store) -> None:
    pipeline = await store.get(Pipeline, NAMESPACE, "shop")
    stages = []
    for stage in pipeline.spec.stages:
        containers = [{"name": "web", "image": "registry.test/shop/shop:none"}]
        template = {"spec": {"template": {"spec": {"containers": containers}}}}
        metadata = {"name": f"shop-{stage.name}", "namespace": NAMESPACE}
        spec = {"schedule": "0 4 * * *", "jobTemplate": template}
        await store.create(decode_as(CronJob, {"metadata": metadata, "spec": spec}))
        workload = StageWorkloads(kind="CronJob", name=f"shop-{stage.name}")
        stages.append(stage.model_copy(update={"workloads": (workload,)}))
    moved = pipeline.spec.model_copy(update={"stages": tuple(stages)})
    await store.update(pipeline.model_copy(update={"spec": moved}))


@asynccontextmanager
async def _promoting(folder: Path) -> AsyncIterator[PromotionApiServer]:
    async with (
        open_promotion_api(folder) as served,
        NetworkProbes.open("1.2.3", loopback_dialer()) as probes,
    ):
        store, clock = served.api.store, served.api.clock
        cache = ObjectCache(store)
        builds, index = BuildIndex(cache), WorkloadIndex(cache)
        evidence = FileInputs(folder / "evidence", limit_bytes=1000)
        verification = StageVerification(
            store,
            CheckRuntime.of_server(store, MachineInstances(StubRuntime())),
            probes,
            evidence,
            lambda promotion, check, attempt: f"http://ci/{promotion.name}/{check}/{attempt}",
            clock,
        )
        await _give_workloads(store)
        workloads = Workloads(StoredWorkloads(store), MachineRollouts(store))
        reconciler = PromotionReconciler(store, NoLookups(), workloads, verification, clock)
        controllers = (
            pipeline_controller(index, builds, clock),
            promotion_controller(index, reconciler),
        )
        async with asyncio.TaskGroup() as tasks:
            running = [tasks.create_task(one.run()) for one in (cache, *controllers)]
            yield served
            for task in running:
                task.cancel()


@contextmanager
def open_promotion_server(folder: Path) -> Iterator[PromotionServer]:
    """Serve in a thread of its own: each command runs an event loop in this one."""
    opened: list[PromotionServer] = []
    ready, over = threading.Event(), threading.Event()

    async def serve() -> None:
        async with _promoting(folder) as served:
            opened.append(PromotionServer(served, asyncio.get_running_loop()))
            ready.set()
            await asyncio.to_thread(over.wait)

    def run() -> None:
        try:
            asyncio.run(serve())
        finally:
            ready.set()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        assert ready.wait(_SECONDS)
        yield opened[0]
    finally:
        over.set()
        thread.join(_SECONDS)
    assert not thread.is_alive()
