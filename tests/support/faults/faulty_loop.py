"""A loop that goes on while faults are inflicted: an image build, and a Pipeline with a test."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from functools import partial

from tests.support.installation.applications import (
    base_stream,
    deployment,
    docker_build,
    published,
    stream,
)
from tests.support.installation.installation import Installation, installation, until
from tests.support.installation.promoted_installation import stage_deployment
from tests.support.installation.surfaces import Surfaces
from tests.support.installation.traffic import HostAnswers, answer, traffic
from tests.support.installation.vendor_images import publish
from tests.support.registry.registry_proxy import RegistryProxy, registry_proxy

from upwell.api.apps import Deployment, Job
from upwell.api.builds.build import Build, BuildPhase
from upwell.api.cluster_operator import ClusterOperator
from upwell.api.core import Event
from upwell.api.image import ImageStream
from upwell.api.promotion import Promotion, PromotionPhase, Release
from upwell.store.interface import ApiClient

OBJECTS = (
    ("ImageStream", "base"),
    ("BuildConfig", "app"),
    ("Deployment", "app"),
    ("Deployment", "shop-dev"),
    ("Deployment", "shop-production"),
    ("Pipeline", "shop"),
)
"""(kind, name) of each that can be at fault."""
HOSTS = ("app.test", "shop-dev.test", "shop-production.test")
SETTLED_SECONDS = 120.0
"""Patience, not a promise: the machine may be busy with other tests."""

_BUILD = """\
FROM base:1
RUN sleep 2; mkdir -p /www; cp /etc/base-version /www/index.html
CMD ["serve"]
"""
_TEST = (
    'sleep 2; seen=$(wget -q -O - "$UPWELL_ADDRESS"); echo "answered $seen";'
    ' case "$seen" in bad*) exit 1;; esac; test "$seen" = "$(cat /etc/base-version)"'
)
_PIPELINE = f"""
apiVersion: upwell.dev/v1alpha1
kind: Pipeline
metadata: {{name: shop}}
spec:
  components:
    - name: web
      from: {{kind: ImageStreamTag, name: "base:1"}}
  stages:
    - name: dev
      workloads: [{{name: shop-dev}}]
      verification:
        checks:
          - name: e2e
            timeoutSeconds: 60
            job: {{component: web, command: [sh, -c], args: ['{_TEST}']}}
    - name: production
      workloads: [{{name: shop-production}}]
      promotion: Automatic
---
"""


class LoopStep(StrEnum):
    """A step of the loop at which a fault can be inflicted."""

    IDLE = "idle"
    """Step before a version is published: that comes while the fault lasts."""
    IMPORTED = "imported"
    """The new digest is known, and nothing else has been done."""
    WORKING = "working"
    """The image is being built, and a stage is being tested."""
    ROLLING_OUT = "rolling out"


@dataclass
class FaultyLoop:
    """A running loop, and what was published."""

    made: Installation
    client: ApiClient
    vendor: RegistryProxy
    seen: Mapping[str, HostAnswers] = field(default_factory=dict)
    versions: list[str] = field(default_factory=list)
    digest: str = ""

    async def begin(self) -> None:
        """Publish the first version and apply both applications."""
        await self.publish("good")
        stages = [stage_deployment(f"shop-{stage}") for stage in ("dev", "production")]
        local = "referencePolicy: {type: Local}\n      importPolicy:"
        await self.made.apply(
            self.client,
            "".join(
                (
                    base_stream(self.vendor.address).replace("importPolicy:", local),
                    stream("app"),
                    docker_build("app", dockerfile=_BUILD),
                    deployment("app"),
                    published("app"),
                    *stages,
                    published("shop-dev"),
                    published("shop-production"),
                    _PIPELINE,
                )
            ),
        )
        await self.settled()

    async def publish(self, quality: str) -> str:
        """Let the vendor publish a version that is `good`, or `bad`: it fails the stage's test."""
        self.versions.append(f"{quality}-{len(self.versions) + 1}")
        version = self.versions[-1]
        self.digest = str(await publish(self.vendor.registry, "vendor/base:1", version))
        return version

    async def reach(self, step: LoopStep) -> None:
        """Return at, or just after, the step of the newest version."""
        match step:
            case LoopStep.IDLE:
                return
            case LoopStep.IMPORTED:
                await until(self._imported, bool, closely=True)
            case LoopStep.WORKING:
                await until(self._working, bool, closely=True)
            case LoopStep.ROLLING_OUT:
                await until(self._rolling_out, bool, closely=True)

    async def rejected(self) -> Promotion:
        """Wait until the newest version has failed in the first stage, by its own test."""

        async def promotion() -> Promotion | None:
            return await self.newest_promotion("dev")

        found = await until(
            promotion, lambda one: one is not None and one.status.phase.is_final, SETTLED_SECONDS
        )
        assert found is not None
        assert found.status.phase is PromotionPhase.FAILED, (
            found.status.phase,
            found.status.message,
        )
        assert f"answered {self.versions[-1]}" in str(found.status.model_dump()), found.status
        return found

    async def settled(self) -> None:
        """Wait until the newest version, a good one, serves everywhere and nothing goes on."""
        try:
            for host in HOSTS:
                serves = partial(answer, self.made.router_port, host)
                await until(serves, self.versions[-1].__eq__, SETTLED_SECONDS)
            await until(self.unfinished, {}.__eq__, SETTLED_SECONDS)
        except AssertionError as error:
            error.add_note(self.made.upwell("status").stdout)
            error.add_note(str(await self.unfinished()))
            raise
        assert not any(said.startswith("bad") for said in self.seen_in_production())

    async def surfaces_agree(self, surfaces: Surfaces) -> None:
        """Wait until each object's faults are told alike by all five surfaces."""
        await surfaces.all_agree(OBJECTS, lambda kind, seen: seen.disagreements(kind))

    async def surfaces_are_well(self, surfaces: Surfaces) -> None:
        """Wait until all five surfaces say of each object that nothing is wrong."""
        await surfaces.all_agree(
            OBJECTS, lambda kind, seen: [*seen.status, *seen.disagreements_at_rest(kind)]
        )

    async def told(self, component: str, since: datetime) -> None:
        """Wait until an Event says that the component was faulty after `since`, and it is well."""

        async def events() -> list[str]:
            return [
                one.reason
                for one in (await self.client.list(Event)).items
                if one.involved_object.kind == ClusterOperator.KIND.kind
                and one.involved_object.name == component
                and one.last_timestamp is not None
                and one.last_timestamp >= since
            ]

        await until(events, {"ComponentDegraded", "ComponentRecovered"}.issubset)
        operator = await self.client.get(ClusterOperator, "", component)
        assert operator.fault is None, operator.fault

    def failures(self) -> list[str]:
        """Return how requests have failed so far, in the order of the hosts."""
        return [failure for one in self.seen.values() for failure in one.failures]

    def seen_in_production(self) -> list[str]:
        """Return all that production has answered."""
        found = self.seen.get("shop-production.test")
        return list(found.answers) if found is not None else []

    async def newest_promotion(self, stage: str) -> Promotion | None:
        """Return the promotion of the newest version's Release into a stage, if there is one."""
        releases = {
            one.name
            for one in (await self.client.list(Release)).items
            if any(self.digest in component.image for component in one.spec.components)
        }
        for one in (await self.client.list(Promotion)).items:
            if one.spec.stage == stage and one.spec.release in releases:
                return one
        return None

    async def unfinished(self) -> Mapping[str, object]:
        """Return what goes on, or is left over; empty when the loop stands still."""
        names = sorted(name.rpartition("-default-")[2] for name in self.made.podman_names())
        builds = (await self.client.list(Build)).items
        workloads = (await self.client.list(Deployment)).items
        promotions = (await self.client.list(Promotion)).items
        found = {
            "containers": [] if len(names) == len(HOSTS) else names,
            "jobs": [one.name for one in (await self.client.list(Job)).items],
            "builds": [one.name for one in builds if not one.status.phase.is_terminal],
            "rollouts": [
                one.name
                for one in workloads
                if not one.status.revisions or one.status.revisions[0].phase != "Complete"
            ],
            "promotions": [one.name for one in promotions if not one.status.phase.is_final],
            "working containers": sorted(self.made.working_containers()),
            "folders": self.made.build_folders(),
            "processes": self.made.build_processes(),
        }
        return {what: items for what, items in found.items() if items}

    async def _imported(self) -> bool:
        history = (await self.client.get(ImageStream, "default", "base")).status.tag("1")
        return history is not None and history.items[0].image == self.digest

    async def _working(self) -> bool:
        building = any(
            one.status.phase is BuildPhase.RUNNING for one in (await self.client.list(Build)).items
        )
        return building and bool((await self.client.list(Job)).items)

    async def _rolling_out(self) -> bool:
        revisions = (await self.client.get(Deployment, "default", "app")).status.revisions
        return bool(revisions) and revisions[0].phase == "Progressing"


@asynccontextmanager
async def faulty_loop(disk_megabytes: int) -> AsyncIterator[FaultyLoop]:
    """Run a loop under requests; its data folder is a file system of its own, of this size."""

    def prepare(made: Installation) -> None:
        made.mount_small_disk(made.data_dir, megabytes=disk_megabytes)

    async with (
        installation(prepare=prepare) as made,
        registry_proxy(made.vendor, made.spare_port()) as vendor,
        made.client() as client,
    ):
        loop = FaultyLoop(made, client, vendor)
        await loop.begin()
        async with traffic(made.router_port, HOSTS) as seen:
            loop.seen = seen
            yield loop
