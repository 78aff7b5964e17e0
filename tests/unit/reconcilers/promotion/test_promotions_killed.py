"""Promotions whose process dies before any of its writes, or whose clock goes back."""

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import override

import pytest
from tests.support.rollouts.memory_machine import (
    BETTER,
    GOOD,
    FakeRuntime,
    RolloutSetup,
    _as_the_queue_does,
)
from tests.support.store.mortal_store import MortalStore
from tests.support.verification.probes import ScriptedProbes

from upwell.api.apps import Deployment, Job
from upwell.api.codec import decode_as
from upwell.api.image import ImageStream
from upwell.api.meta import ObjectKey, Resource
from upwell.api.pipeline import Pipeline
from upwell.api.promotion import Promotion, Release
from upwell.oci import Digest
from upwell.reconcilers.images.insecure import InsecureRegistries
from upwell.reconcilers.images.pull_secrets import PullSecrets
from upwell.reconcilers.jobs.jobs import JobReconciler
from upwell.reconcilers.promotion.instances import CheckRuntime, MachineInstances
from upwell.reconcilers.promotion.pipelines import PipelineReconciler, StoredWorkloads
from upwell.reconcilers.promotion.placing.machine import MachineRollouts
from upwell.reconcilers.promotion.placing.workloads import Workloads
from upwell.reconcilers.promotion.promotions import PromotionReconciler
from upwell.reconcilers.promotion.verification import StageVerification
from upwell.reconcilers.rollouts import TemplateImages
from upwell.reconcilers.rollouts.traffic import ROUTER_KEY
from upwell.store.memory import MemoryStore
from upwell.uploads.files import FileInputs

STAGES = ("dev", "production")
TURNS = 120


def of_promotions(resource: Resource) -> bool:
    """Leave out Jobs and rollouts: their own tests are about what they record."""
    return not isinstance(resource, Deployment | Job)


class NoBuilds:
    """Index without builds: images come from outside."""

    def maker(self, _: str) -> None:
        return None

    async def bar_of_change(self, *_: object) -> None:
        return

    async def coming(self, _: object) -> list[str]:
        return []


class PullableImages:
    """Release images that can all be pulled."""

    async def provide(self, *_: object) -> None:
        return


class PromotionSetup(RolloutSetup):
    """A Pipeline over two stages, with every reconciler that it needs."""

    def __init__(self, folder: Path) -> None:
        self.kept = FileInputs(folder)
        self.probes = ScriptedProbes()
        super().__init__()
        self.mortal = MortalStore(self.clock, counted=of_promotions)
        self.store = self.mortal
        self.runtime = FakeRuntime(self.clock)
        self.restart()

    @override
    def restart(self) -> None:
        super().restart()
        store, runtime, clock = self.store, self.runtime, self.clock
        images = TemplateImages(self.registry, PullSecrets(store), InsecureRegistries(store))
        verification = StageVerification(
            store,
            CheckRuntime.of_server(store, MachineInstances(runtime)),
            self.probes,
            self.kept,
            lambda *_: "",
            clock,
        )
        self.jobs = JobReconciler(store, self.machine, images, clock)
        self.pipelines = PipelineReconciler(store, NoBuilds(), clock)  # type: ignore[arg-type]  # a stub
        self.promotions = PromotionReconciler(
            store,
            PullableImages(),  # type: ignore[arg-type]  # a stub
            Workloads(StoredWorkloads(store), MachineRollouts(store)),
            verification,
            clock,
        )

    async def begin(self) -> None:
        """Bring the first image everywhere."""
        await self.store.create(stream(GOOD))
        await self.tag(GOOD)
        for stage in STAGES:
            await self.store.create(deployment(f"web-{stage}"))
        await self.store.create(pipeline())
        await self.until_still()
        self.mortal.writes = 0
        self.runtime.ran.clear()

    async def tag(self, image: str) -> None:
        """Let the component's tag name an image."""
        found = await self.store.get(ImageStream, "shop", "web")
        await MemoryStore.update_status(self.store, found.with_status(stream(image).status))

    async def until_still(self) -> None:
        """Go on until nothing has changed for longer than anything is waited for."""
        quiet = 0
        for _ in range(TURNS):
            before = await self.everything()
            await self.turn()
            quiet = 0 if before != await self.everything() else quiet + 1
            if quiet > 4:
                return
        raise AssertionError(await self.everything())

    async def turn(self) -> None:
        """Call every reconciler for every object, then let a second pass."""
        calls = [
            *((self.pipelines.reconcile, key) for key in await self.keys(Pipeline)),
            *((self.promotions.reconcile, key) for key in await self.keys(Promotion)),
            *((self.rollouts.reconcile, key) for key in await self.keys(Deployment)),
            *((self.jobs.reconcile, key) for key in await self.keys(Job)),
            (self.routing.reconcile, ROUTER_KEY),
        ]
        for call, key in calls:
            await _as_the_queue_does(call, key)
        self.runtime.turn()
        self.clock.advance(1)

    async def keys(self, kind: type[Resource]) -> Sequence[ObjectKey]:
        return [one.key for one in (await self.store.list(kind)).items]

    async def everything(self) -> object:
        kinds = (Pipeline, Release, Promotion, Deployment, Job)
        return [list((await self.store.list(kind)).items) for kind in kinds], self.runtime.running

    async def outcome(self) -> dict[str, object]:
        """Return the state that must not depend on when a process died."""
        promotions = (await self.store.list(Promotion)).items
        return {
            "promotions": {one.name: str(one.status.phase) for one in promotions},
            "checks": {
                one.name: [(check.name, str(check.phase), check.attempt) for check in checks]
                for one in promotions
                if (checks := one.status.checks)
            },
            "releases": {
                one.name: str(one.status.phase) for one in (await self.store.list(Release)).items
            },
            "revisions": {
                one.name: one.status.revisions[0].revision
                for one in (await self.store.list(Deployment)).items
            },
            "serving": self.runtime.images(),
            "jobs": await self.keys(Job),
            "tests that ran": self.runtime.ran.count("job"),
        }


def stream(image: str) -> ImageStream:
    digest = image.partition("@")[2]
    event = {"dockerImageReference": image, "image": digest, "created": "2026-01-01T00:00:00Z"}
    tag = {"tag": "latest", "items": [{**event, "generation": 1}]}
    place = {"namespace": "shop", "name": "web"}
    return decode_as(ImageStream, {"metadata": place, "status": {"tags": [tag]}})


def deployment(name: str) -> Deployment:
    container = {"name": "web", "image": f"registry.test/none@{Digest.of(b'none')}"}
    template = {"metadata": {"labels": {"app": name}}, "spec": {"containers": [container]}}
    spec = {"selector": {"matchLabels": {"app": name}}, "template": template}
    return decode_as(Deployment, {"metadata": {"namespace": "shop", "name": name}, "spec": spec})


def pipeline() -> Pipeline:
    check = {"name": "e2e", "job": {"component": "web"}}
    dev = {"name": "dev", "soakSeconds": 3, "verification": {"checks": [check]}}
    source = {"kind": "ImageStreamTag", "name": "web:latest"}
    stages = [
        {**stage, "workloads": [{"name": f"web-{stage['name']}"}]}
        for stage in (dev, {"name": "production"})
    ]
    spec = {"components": [{"name": "web", "from": source}], "stages": stages}
    return decode_as(Pipeline, {"metadata": {"namespace": "shop", "name": "shop"}, "spec": spec})


@pytest.fixture
async def begun(tmp_path: Path) -> PromotionSetup:
    """Return a Pipeline whose stages all run the first image."""
    setup = PromotionSetup(tmp_path)
    await setup.begin()
    return setup


async def run(
    begun: PromotionSetup, code: int, left: list[PromotionSetup] | None = None
) -> PromotionSetup:
    """Carry a second image as far as it goes in a copy; its test ends with `code`.

    What a death before each of the writes leaves is added to `left`.
    """
    setup = copy.deepcopy(begun)
    setup.restart()  # reconcilers of the copy
    setup.runtime.exits["job"] = [code]
    if left is not None:
        setup.mortal.before_write = lambda: left.append(copy.deepcopy(setup))
    await setup.tag(BETTER)
    await setup.until_still()
    return setup


@pytest.mark.timeout(300)  # some sixty promotions to their end
@pytest.mark.parametrize("code", [0, 1], ids=["it passes", "it is put back"])
async def test_a_kill_before_any_write_changes_nothing_of_the_end(
    begun: PromotionSetup, code: int
) -> None:
    left: list[PromotionSetup] = []
    whole = await run(begun, code, left)
    wanted = await whole.outcome()
    assert wanted["tests that ran"] == 1
    assert wanted["jobs"] == []
    ends = ["Succeeded", "Succeeded"] if code == 0 else ["Failed"]
    promotions = wanted["promotions"]
    assert isinstance(promotions, dict)
    assert [end for name, end in promotions.items() if name.startswith("shop-2.")] == ends
    assert len(left) == whole.mortal.writes > 20
    for writes, killed in enumerate(left):
        killed.mortal.before_write = None
        killed.restart()
        await killed.until_still()
        assert await killed.outcome() == wanted, f"killed after {writes} writes"


@pytest.mark.parametrize("phase", ["RollingOut", "Verifying", "RollingBack"])
async def test_a_clock_that_goes_back_holds_nothing_up(begun: PromotionSetup, phase: str) -> None:
    code = 1 if phase == "RollingBack" else 0
    wanted = await (await run(begun, code)).outcome()
    begun.runtime.exits["job"] = [code]
    await begun.tag(BETTER)
    for _ in range(TURNS):
        found = {one.name: one for one in (await begun.store.list(Promotion)).items}
        if "shop-2.dev" in found and found["shop-2.dev"].status.phase == phase:
            break
        await begun.turn()
    begun.clock.advance(-86_400)
    await begun.until_still()
    assert await begun.outcome() == wanted
