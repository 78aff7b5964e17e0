"""A Deployment in a namespace of its own on a machine in memory, with a Service before it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from tests.support.rollouts.memory_machine import RolloutSetup

from upwell.api.apps import Deployment
from upwell.api.codec import decode_as
from upwell.api.core import Service
from upwell.api.meta import ObjectKey
from upwell.store.interface import NotFoundError

_KEY = ObjectKey("Deployment", "shop", "web")


@dataclass
class DeploymentUnderTest:
    """Deployment `web` in namespace `shop`."""

    setup: RolloutSetup = field(default_factory=RolloutSetup)
    key: ObjectKey = _KEY

    @classmethod
    async def served(cls) -> Self:
        """Return one that a Service selects."""
        found = cls()
        spec = {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": "http"}]}
        metadata = {"namespace": "shop", "name": "web"}
        await found.setup.apply(decode_as(Service, {"metadata": metadata, "spec": spec}))
        return found

    async def stored(self) -> Deployment:
        return await self.setup.store.get(Deployment, "shop", "web")

    async def apply(
        self, image: str, replicas: int = 1, container: Mapping[str, Any] | None = None
    ) -> None:
        """Apply it as a person does; metadata and status stay."""
        wanted = _deployment(image, replicas, container or {})
        try:
            current = await self.stored()
        except NotFoundError:
            await self.setup.apply(wanted)
        else:
            await self.setup.store.update(current.model_copy(update={"spec": wanted.spec}))

    async def roll_out(self, image: str, replicas: int = 1) -> None:
        await self.apply(image, replicas)
        await self.setup.settle(_KEY)
        assert self.setup.runtime.images() == [image] * replicas

    async def pass_time(self, seconds: int) -> None:
        """Let time pass in small pieces: what ends meanwhile is seen as a runtime tells of it."""
        for _ in range(seconds):
            self.setup.clock.advance(1)
            for _ in range(3):
                await self.setup.reconcile(_KEY)
                self.setup.runtime.turn()


def _deployment(image: str, replicas: int, container: Mapping[str, Any]) -> Deployment:
    ports = [{"name": "http", "containerPort": 8080}]
    containers = [{"name": "app", "image": image, "ports": ports, **container}]
    template = {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": containers}}
    selector = {"matchLabels": {"app": "web"}}
    return decode_as(
        Deployment,
        {
            "metadata": {"namespace": "shop", "name": "web"},
            "spec": {"replicas": replicas, "selector": selector, "template": template},
        },
    )
