"""Builds with and without signatures, in turn, as the Builds themselves say how long they took."""

import statistics
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from tests.support.benchmarks.ratios import Ratios
from tests.support.installation.applications import base_stream, docker_build, stream
from tests.support.installation.installation import Installation, installation, until
from tests.support.installation.vendor_images import publish

from upwell.api.builds.build import Build
from upwell.api.conditions import find
from upwell.store.interface import ApiClient

pytestmark = pytest.mark.benchmark

ROUNDS = 10
"""Even, and who begins takes turns: the second finds what the first left to the disk."""
MOST = 1.05
DOCKERFILE = "FROM base:1\nRUN cp /etc/base-version /here\n"


class SigningSide:
    """An installation that signs, or does not, and how long its builds took."""

    def __init__(self, made: Installation, client: ApiClient) -> None:
        self.made = made
        self.client = client
        self.seconds: list[float] = []

    async def prepare(self) -> None:
        await publish(self.made.vendor, "vendor/base:1", "1.0")
        await self.made.apply(
            self.client,
            base_stream(self.made.vendor)
            + stream("app")
            + docker_build("app", dockerfile=DOCKERFILE),
        )
        await until(self._ended, lambda ended: ended == 1)

    async def build(self, number: int) -> Build:
        done = self.made.upwell("start-build", "app", "--wait")
        assert done.returncode == 0, done.stderr
        built = await self.client.get(Build, "default", f"app-{number}")
        assert built.status.duration is not None
        self.seconds.append(built.status.duration / 1e9)
        return built

    async def _ended(self) -> int:
        builds = (await self.client.list(Build)).items
        return sum(build.status.phase.is_terminal for build in builds)


async def test_a_signature_costs_little_of_a_build(tmp_path: Path, ratios: Ratios) -> None:
    unsigned = tmp_path / "upwell.toml"
    unsigned.write_text("[signing]\nenabled = false\n")
    sides = []
    async with AsyncExitStack() as stack:
        for options in ((), ("--config", str(unsigned))):
            made = await stack.enter_async_context(installation(*options))
            client = await stack.enter_async_context(made.client())
            sides.append(SigningSide(made, client))
            await sides[-1].prepare()
        for at in range(ROUNDS):
            for side in sides if at % 2 else reversed(sides):
                built = await side.build(at + 2)
        assert find(built.status.conditions, "Signed") is None
    signing, plain = (statistics.median(side.seconds) for side in sides)
    print(f"signed {signing:.3f} s, unsigned {plain:.3f} s: {signing / plain:.3f}")  # noqa: T201
    ratios.note_cost("a signed build, time of an unsigned one", signing / plain)
    assert signing / plain < MOST
