"""Imports and rollouts that an image policy judges, beside those of a server without one."""

import statistics
import time
from contextlib import AsyncExitStack
from functools import partial

import pytest
from tests.support.benchmarks.ratios import Ratios
from tests.support.installation.applications import base_stream
from tests.support.installation.installation import Installation, installation, until
from tests.support.installation.vendor_images import publish_script
from tests.support.registry.signed_images import CosignKey, cluster_policy, sign_at

from upwell.api.apps import Deployment
from upwell.api.codec import encode
from upwell.api.image import ImageStream
from upwell.api.image_policies.policy import ClusterImagePolicy
from upwell.store.interface import ApiClient

pytestmark = pytest.mark.benchmark

ROUNDS = 10
"""Even, and who begins takes turns."""
KEY = CosignKey()
_DEPLOYMENT = """
apiVersion: apps/v1
kind: Deployment
metadata: {{name: {name}}}
spec:
  selector: {{matchLabels: {{app: {name}}}}}
  template:
    metadata: {{labels: {{app: {name}}}}}
    spec:
      containers: [{{name: web, image: "{image}"}}]
"""


class JudgedSide:
    """An installation with a policy, or without, and the seconds that it took."""

    def __init__(self, made: Installation, client: ApiClient) -> None:
        self.made = made
        self.client = client
        self.imports: list[float] = []
        self.rollouts: list[float] = []

    async def measure(self, number: int) -> None:
        """Import an image that is new, and signed, and roll it out."""
        name = f"app-{number}"
        script = f"echo {number}; exec sleep 3600"
        digest = await publish_script(self.made.vendor, f"vendor/{name}:1", script)
        await sign_at(self.made.vendor, f"vendor/{name}", digest, KEY)
        begun = time.perf_counter()
        await self.made.apply(self.client, base_stream(self.made.vendor, name, scheduled=False))
        await until(partial(self._imported, name), str(digest).__eq__)
        self.imports.append(time.perf_counter() - begun)
        image = f"{self.made.vendor}/vendor/{name}@{digest}"
        begun = time.perf_counter()
        await self.made.apply(self.client, _DEPLOYMENT.format(name=name, image=image))
        await until(partial(self._ready, name), (1).__eq__)
        self.rollouts.append(time.perf_counter() - begun)
        await self.client.delete(Deployment, "default", name)

    async def passed_at(self) -> set[str]:
        """Return the points at which images have passed the policy."""
        policy = await self.client.get(ClusterImagePolicy, "", "signed")
        return {one.at for one in policy.status.passed}

    async def _imported(self, name: str) -> str:
        tag = (await self.client.get(ImageStream, "default", name)).status.tag("1")
        return tag.latest.image if tag is not None and tag.latest is not None else ""

    async def _ready(self, name: str) -> int:
        return (await self.client.get(Deployment, "default", name)).status.ready_replicas


async def test_a_policy_costs_little_of_an_import_and_a_rollout(ratios: Ratios) -> None:
    sides = []
    async with AsyncExitStack() as stack:
        for _ in range(2):
            made = await stack.enter_async_context(installation())
            client = await stack.enter_async_context(made.client())
            sides.append(JudgedSide(made, client))
        judged, free = sides
        document = encode(cluster_policy("signed", KEY.spec(judged.made.vendor)))
        await judged.client.call("POST", ClusterImagePolicy, "", "", "", document)
        for at in range(ROUNDS):
            for side in sides if at % 2 else reversed(sides):
                await side.measure(at)
        await until(judged.passed_at, {"import", "rollout"}.__eq__)
        policy = await judged.client.get(ClusterImagePolicy, "", "signed")
        assert policy.status.findings == ()
    for what in ("imports", "rollouts"):
        with_policy, without = (statistics.median(getattr(side, what)) for side in (judged, free))
        ratio = with_policy / without
        print(f"{what}: {with_policy:.3f} s, without {without:.3f} s: {ratio:.3f}")  # noqa: T201
        ratios.note_cost(f"{what} that a policy judges, time of those without", ratio)
