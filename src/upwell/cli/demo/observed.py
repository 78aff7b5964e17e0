"""State of the demo's objects, kept up to date by watches of the API."""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field

from upwell.api.apps import Deployment, DeploymentConfig
from upwell.api.builds.build import BUILD_CONFIG_LABEL, Build
from upwell.api.builds.config import BuildConfig
from upwell.api.image import ImageStream, TagEvent
from upwell.api.meta import ObjectKey, Resource
from upwell.api.pipeline import Pipeline
from upwell.api.promotion import Promotion, Release
from upwell.cli.core.errors import CommandError, Exit
from upwell.policy.builds.run_policy import number_of
from upwell.policy.builds.triggers import digest_of
from upwell.policy.rollouts.settings import Workload
from upwell.store.interface import ApiClient, Change, ExpiredError, Selector

NAMESPACE = "default"
"""Namespace of all objects but the workloads, whose namespaces are named after the stages."""
DEV, STAGING, PRODUCTION = STAGES = ("dev", "staging", "production")
BASE = ("debian", "11")
BUILDER = "python-builder"
SHOP = "shop"
GATE = "gate"
CONFIGS = (BUILDER, SHOP, GATE)
APPLICATIONS: Mapping[str, type[Deployment | DeploymentConfig]] = {
    SHOP: Deployment,
    GATE: DeploymentConfig,
}
_KINDS: tuple[type[Resource], ...] = (
    ImageStream,
    BuildConfig,
    Build,
    Deployment,
    DeploymentConfig,
    Pipeline,
    Release,
    Promotion,
)


@dataclass(slots=True)
class Observed:
    """Newest state of all objects of the demo."""

    objects: dict[ObjectKey, Resource] = field(default_factory=dict)
    _changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    @asynccontextmanager
    async def following(self, client: ApiClient) -> AsyncIterator[None]:
        """Watch the objects during the block."""
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._follow(client, kind)) for kind in _KINDS]
            try:
                yield
            finally:
                for task in tasks:
                    task.cancel()

    async def until(self, reached: Callable[[], bool], seconds: float, what: str) -> None:
        """Wait until `reached` holds, checked at each change; raises CommandError."""
        try:
            async with asyncio.timeout(seconds), self._changed:
                await self._changed.wait_for(reached)
        except TimeoutError as error:
            raise CommandError(f"{what} after {seconds:g} s", Exit.TIMEOUT) from error

    async def touch(self) -> None:
        """Make waiters check again, after a change outside the API."""
        async with self._changed:
            self._changed.notify_all()

    def add(self, resource: Resource) -> None:
        """Store the present state of an object."""
        self.objects[resource.key] = resource

    def base(self) -> TagEvent | None:
        """Return the base image's tag as it was last imported."""
        stream, tag = BASE
        return self.latest(stream, tag)

    def latest(self, stream: str, tag: str = "latest") -> TagEvent | None:
        """Return the present image of a tag."""
        found = self.objects.get(ObjectKey("ImageStream", NAMESPACE, stream))
        history = found.status.tag(tag) if isinstance(found, ImageStream) else None
        return history.latest if history else None

    def builds(self, config: str) -> Sequence[Build]:
        """Return the builds of a BuildConfig, oldest first."""
        found = [
            item
            for item in self.objects.values()
            if isinstance(item, Build) and item.labels.get(BUILD_CONFIG_LABEL) == config
        ]
        return sorted(found, key=number_of)

    def workload(self, application: str, stage: str = PRODUCTION) -> Workload | None:
        """Return the application's Deployment or DeploymentConfig in a stage."""
        kind = APPLICATIONS[application]
        found = self.objects.get(ObjectKey(kind.KIND.kind, stage, application))
        return found if isinstance(found, kind) else None

    def pipeline(self, application: str) -> Pipeline | None:
        """Return the Pipeline of an application."""
        found = self.objects.get(ObjectKey(Pipeline.KIND.kind, NAMESPACE, application))
        return found if isinstance(found, Pipeline) else None

    def release(self, digests: Collection[str]) -> Release | None:
        """Return the Release of an image with one of these digests."""
        for item in self.objects.values():
            if isinstance(item, Release) and any(
                digest_of(component.image) in digests for component in item.spec.components
            ):
                return item
        return None

    def promotion(self, release: str, stage: str) -> Promotion | None:
        """Return the newest promotion of a Release into a stage."""
        found = [
            item
            for item in self.objects.values()
            if isinstance(item, Promotion)
            and (item.spec.release, item.spec.stage) == (release, stage)
        ]
        return max(found, key=lambda item: (len(item.name), item.name), default=None)

    async def _follow(self, client: ApiClient, kind: type[Resource]) -> None:
        while True:
            try:
                events = client.watch(kind, Selector())
                async with aclosing(events):
                    async for event in events:
                        if event.change is Change.DELETED:
                            self.objects.pop(event.resource.key, None)
                        else:
                            self.add(event.resource)
                        await self.touch()
            except ExpiredError:
                continue  # too far behind: the next watch begins with the present state
