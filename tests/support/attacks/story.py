"""The demo's story, told while others attack: a base is updated, all that stands on it follows."""

import time
from dataclasses import dataclass, field
from functools import partial

from tests.support.installation.applications import docker_build, stream
from tests.support.installation.installation import until
from tests.support.installation.promoted_installation import (
    STAGES,
    PromotedInstallation,
    manifests,
)

HOSTS = tuple(f"shop-{stage}.test" for stage in STAGES)
_DOCKERFILE = "FROM base:1\nRUN cp /etc/base-version /etc/built-upon\n"
_ROUND_SECONDS = 150
"""For one update to get to a stage, on a machine that attackers load."""
_DEADLINE = "progressDeadlineSeconds: 60"


@dataclass
class Story:
    """An application that is built, tested in a stage, and promoted to the next by itself."""

    promoted: PromotedInstallation
    seconds: list[float] = field(default_factory=list)
    """From each update of the base until production served it."""

    async def prepare(self) -> None:
        """Bring the first version to production."""
        made = self.promoted.made
        components = 'from: {kind: ImageStreamTag, name: "base:1"}'
        pipeline = manifests(made.vendor, approval=False)
        assert components in pipeline
        built = stream("web") + docker_build("web", dockerfile=_DOCKERFILE)
        pipeline = pipeline.replace(components, components.replace("base:1", "web:latest"))
        assert _DEADLINE in pipeline
        pipeline = pipeline.replace(_DEADLINE, f"progressDeadlineSeconds: {_ROUND_SECONDS}")
        await self.promoted.publish()
        await made.apply(self.promoted.client, built + pipeline)
        await self._until_served()

    async def tell(self, seconds: float) -> None:
        """Update the base again and again for so long, once at least; each gets to production."""
        end = time.monotonic() + seconds
        while not self.seconds or time.monotonic() < end:
            began = time.monotonic()
            await self.promoted.publish()
            await self._until_served()
            self.seconds.append(time.monotonic() - began)

    async def _until_served(self) -> None:
        version = self.promoted.versions[-1]
        for stage in STAGES:
            served = partial(self.promoted.served, stage)
            try:
                await until(served, version.__eq__, _ROUND_SECONDS)
            except AssertionError as error:
                error.add_note(f"{stage} does not serve {version}")
                for name, one in (await self.promoted.promotions()).items():
                    error.add_note(f"{name}: {one.status.phase}: {one.status.message}")
                raise

    def __str__(self) -> str:
        slowest = max(self.seconds, default=0.0)
        return f"{len(self.seconds)} updates got to production, the slowest in {slowest:.0f} s"
