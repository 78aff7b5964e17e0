"""BuildConfigs, streams and builds in memory, with builds that end when a test says so."""

from collections.abc import Mapping, Sequence

from tests.support.rollouts.memory_machine import MemoryClock

from upwell.actions.builds import BuildActions
from upwell.api.builds.build import (
    BUILD_CONFIG_LABEL,
    BUILD_NUMBER_ANNOTATION,
    Build,
    BuildPhase,
    ResolvedImage,
)
from upwell.api.builds.config import BuildConfig
from upwell.api.conditions import find
from upwell.api.image import ImageStream, TagEvent
from upwell.api.meta import Condition, ObjectKey, ObjectMeta
from upwell.api.values.base_changes import OnBaseChange
from upwell.controller import Controller, ObjectCache
from upwell.oci import Digest
from upwell.policy.images.streams import record_image
from upwell.policy.waves.approval import NO_APPROVALS, ApprovalRules
from upwell.reconcilers.builds.build_configs import BuildConfigs, build_config_controller
from upwell.reconcilers.builds.index import BuildIndex
from upwell.store.interface import NotFoundError
from upwell.store.memory import MemoryStore

NAMESPACE = "shop"


CONFIG_TRIGGER = {"type": "ConfigChange"}


IMAGE_TRIGGER = {"type": "ImageChange", "imageChange": {}}


def pull_spec(stream: str, mark: str) -> str:
    return f"registry.internal/{NAMESPACE}/{stream}@{Digest.of(mark.encode())}"


class BuildNamespace:
    """A namespace of streams, BuildConfigs and builds that end when a test says so."""

    store_type: type[MemoryStore] = MemoryStore

    def __init__(self, approvals: ApprovalRules = NO_APPROVALS) -> None:
        self.clock = MemoryClock()
        self.store = self.store_type(self.clock)
        self.cache = ObjectCache(self.store)
        self.index = BuildIndex(self.cache, approvals=approvals)
        self.configs = BuildConfigs(self.index, clock=self.clock)
        self.actions = BuildActions(self.index)

    def answer_bases(self, default: OnBaseChange) -> None:
        """Let BuildConfigs without an answer of their own answer changes of their bases so."""
        self.index = BuildIndex(self.cache, default)
        self.configs = BuildConfigs(self.index, clock=self.clock)
        self.actions = BuildActions(self.index)

    def running(self) -> tuple[ObjectCache, Controller]:
        """Return what runs in a server."""
        return self.cache, build_config_controller(self.index, self.clock)

    async def stream(self, name: str, mark: str = "", namespace: str = NAMESPACE) -> None:
        """Create a stream if there is none, and set its tag `latest`."""
        try:
            stream = await self.store.get(ImageStream, namespace, name)
        except NotFoundError:
            metadata = ObjectMeta(name=name, namespace=namespace)
            stream = await self.store.create(ImageStream(metadata=metadata))
        if mark:
            event = TagEvent(
                created=self.clock(),
                docker_image_reference=pull_spec(name, mark),
                image=str(Digest.of(mark.encode())),
            )
            status = record_image(stream.status, "latest", event, changes={})
            await self.store.update_status(stream.with_status(status))

    async def config(
        self,
        name: str,
        base: str,
        triggers: Sequence[Mapping[str, object]] = (CONFIG_TRIGGER, IMAGE_TRIGGER),
        **spec: object,
    ) -> BuildConfig:
        """Create a BuildConfig that makes stream `name` from stream tag `base`."""
        document = {
            "metadata": {"name": name, "namespace": NAMESPACE},
            "spec": {
                "source": {"type": "Dockerfile", "dockerfile": "FROM base\n"},
                "strategy": {
                    "type": "Docker",
                    "dockerStrategy": {"from": {"kind": "ImageStreamTag", "name": base}},
                },
                "output": {"to": {"kind": "ImageStreamTag", "name": f"{name}:latest"}},
                "triggers": tuple(triggers),
                **spec,
            },
        }
        return await self.store.create(BuildConfig.model_validate(document))

    async def reconcile(self, *names: str) -> None:
        for name in names:
            await self.configs.reconcile(ObjectKey("BuildConfig", NAMESPACE, name))

    async def builds(self, config: str) -> list[Build]:
        found = (await self.store.list(Build)).items
        mine = [b for b in found if b.labels.get(BUILD_CONFIG_LABEL) == config]
        return sorted(mine, key=lambda b: int(b.annotations[BUILD_NUMBER_ANNOTATION]))

    async def names(self, config: str) -> list[str]:
        return [build.name for build in await self.builds(config)]

    async def end(
        self, name: str, phase: BuildPhase = BuildPhase.COMPLETE, *images: ResolvedImage
    ) -> None:
        build = await self.store.get(Build, NAMESPACE, name)
        status = build.status.model_copy(update={"phase": phase, "images": images})
        await self.store.update_status(build.with_status(status))

    async def get(self, name: str) -> BuildConfig:
        return await self.store.get(BuildConfig, NAMESPACE, name)

    async def current(self, name: str) -> Condition:
        condition = find((await self.get(name)).status.conditions, "Current")
        assert condition is not None
        return condition
