"""`kill -9` at any moment of a running loop: nothing is lost, repeated, or left behind.

A change of the base is killed at many of its moments; with UPWELL_FAULT_STEPS=all, each moment has
a change of its own, and there are kills at random times.
"""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial

import pytest
from tests.support.faults.machine_faults import ALL_STEPS
from tests.support.installation.applications import (
    SOURCES,
    base_stream,
    docker_build,
    stream,
    two_applications,
)
from tests.support.installation.installation import Installation, installation, until
from tests.support.installation.traffic import HostAnswers, answer, traffic
from tests.support.installation.vendor_images import publish

from upwell.api.apps import Deployment, DeploymentConfig
from upwell.api.builds.build import Build, BuildPhase
from upwell.api.image import ImageStream
from upwell.store.interface import ApiClient, NotFoundError

CONFIGS = ("builder", "gate", "shop")
TIMED_ROUNDS = 3
CHANGES = 11 if ALL_STEPS else 2
KILLS_A_ROUND = 2
SEED = 20240917

PUSHED = "\nPushed 127"
REUSED = "These inputs were built before"

type Moment = Callable[["RunningLoop"], Awaitable[bool]]


@dataclass
class RunningLoop:
    """A running loop, and how often the base has changed so far."""

    made: Installation
    client: ApiClient
    changes: int = 1
    kills: int = 0
    digests: list[str] = field(default_factory=list)

    async def publish(self) -> None:
        self.changes += 1
        digest = await publish(self.made.vendor, "vendor/base:1", str(self.changes))
        self.digests.append(str(digest))

    async def finished(self) -> None:
        """Wait until the newest base is served and the rollouts are over."""
        for name in ("shop", "gate"):
            await until(
                partial(answer, self.made.router_port, f"{name}.test"),
                f"{name} {self.changes}".__eq__,
            )
        await until(self.rollouts, {"Complete"}.__eq__)
        await until(self.builds, lambda builds: not unfinished(builds))
        await until(self.leftovers, {}.__eq__)

    async def rollouts(self) -> set[str]:
        workloads: list[Deployment | DeploymentConfig] = [
            await self.client.get(Deployment, "default", "shop"),
            await self.client.get(DeploymentConfig, "default", "gate"),
        ]
        return {workload.status.revisions[0].phase for workload in workloads}

    async def builds(self) -> Mapping[str, Build]:
        return {build.name: build for build in (await self.client.list(Build)).items}

    async def build(self, config: str) -> Build | None:
        """The build that the newest change of the base starts."""
        try:
            return await self.client.get(Build, "default", f"{config}-{self.changes}")
        except NotFoundError:
            return None

    async def log(self, config: str) -> str:
        build = await self.build(config)
        return self.made.build_log(build.uid) if build else ""

    async def leftovers(self) -> Mapping[str, object]:
        """Return the leftovers of a loop that stands still; empty when all is well."""
        names = sorted(name.rpartition("-default-")[2] for name in self.made.podman_names())
        found = {
            "containers": [] if len(names) == 2 else names,
            "working containers": sorted(self.made.working_containers()),
            "folders": self.made.build_folders(),
            "temporary folders": self.made.temporary_folders(),
            "processes": self.made.build_processes(),
        }
        return {what: items for what, items in found.items() if items}

    async def check(self) -> None:
        """Every change was built by exactly one Build for each application, and released once."""
        builds = await self.builds()
        assert {name: build.status.phase for name, build in builds.items()} == {
            f"{config}-{number}": BuildPhase.COMPLETE
            for config in CONFIGS
            for number in range(1, self.changes + 1)
        }
        for build in builds.values():
            log = self.made.build_log(build.uid)
            assert log.count(PUSHED) + log.count(REUSED) >= 1, log
            assert log.count(PUSHED) <= 1, log
        for config in CONFIGS:
            repository = f"default/{config}"
            results = {
                build.status.output.to.image_digest
                for build in builds.values()
                if build.name.startswith(f"{config}-")
                and build.status.output is not None
                and build.status.output.to is not None
            }
            assert len(results) == self.changes
            assert self.made.tagged(repository) == results
            assert len(self.made.inputs_tags(repository)) == self.changes
            # A kill between a manifest and its tag leaves one that nobody was ever given.
            surplus = self.made.images(repository) - results
            assert len(surplus) <= self.kills
        history = (await self.client.get(ImageStream, "default", "base")).status.tag("1")
        assert history is not None
        assert [event.image for event in reversed(history.items)] == self.digests


def unfinished(builds: Mapping[str, Build]) -> list[str]:
    return [name for name, build in builds.items() if not build.status.phase.is_terminal]


async def detected(loop: RunningLoop) -> bool:
    history = (await loop.client.get(ImageStream, "default", "base")).status.tag("1")
    return history is not None and history.items[0].image == loop.digests[-1]


def phase(config: str, wanted: BuildPhase) -> Moment:
    async def reached(loop: RunningLoop) -> bool:
        build = await loop.build(config)
        return build is not None and build.status.phase is wanted

    return reached


def fetching(config: str) -> Moment:
    async def reached(loop: RunningLoop) -> bool:
        build = await loop.build(config)
        return build is not None and build.uid in loop.made.build_folders()

    return reached


def logged(config: str, text: str) -> Moment:
    async def reached(loop: RunningLoop) -> bool:
        return text in await loop.log(config)

    return reached


async def rollout_begun(loop: RunningLoop) -> bool:
    return "Progressing" in await loop.rollouts()


async def live(loop: RunningLoop) -> bool:
    """Tell whether the newest change takes traffic: the old instance drains, or has just ended."""
    shop = await loop.client.get(Deployment, "default", "shop")
    newest = shop.status.revisions[0]
    return newest.revision >= loop.changes and newest.live_at is not None


MOMENTS: Mapping[str, Moment] = {
    "the new digest is known": detected,
    "the first build waits": phase("builder", BuildPhase.PENDING),
    "its source is fetched": fetching("builder"),
    "its base is pulled": logged("builder", "Pulling image"),
    "its result is pushed": logged("builder", "Pushing image"),
    "its result was pushed": logged("builder", PUSHED),
    "it is complete": phase("builder", BuildPhase.COMPLETE),
    "a command of a build runs": logged("shop", "---> building"),
    "the last build is complete": phase("shop", BuildPhase.COMPLETE),
    "a rollout has begun": rollout_begun,
    "the new instance takes traffic": live,
}


async def test_a_kill_at_any_moment_loses_and_repeats_nothing() -> None:
    async with running_loop() as (loop, seen):
        moments = tuple(MOMENTS.items())
        for first in range(CHANGES):
            await loop.publish()
            told = [name for name, _ in moments[first::CHANGES]]
            for _, moment in moments[first::CHANGES]:
                await until(partial(moment, loop), bool, closely=True)
                await kill_and_restart(loop)
            await finish(loop, f"killed when {', '.join(told)}")
    assert failures(seen) == []


@pytest.mark.skipif(not ALL_STEPS, reason="on demand: UPWELL_FAULT_STEPS=all")
async def test_kills_at_random_times_lose_and_repeat_nothing() -> None:
    chance = random.Random(SEED)  # noqa: S311 - repeatable times, no secret
    async with running_loop() as (loop, seen):
        began = time.monotonic()
        await loop.publish()
        await loop.finished()
        length = time.monotonic() - began
        for _ in range(TIMED_ROUNDS):
            await loop.publish()
            delays = [chance.uniform(0, length / KILLS_A_ROUND) for _ in range(KILLS_A_ROUND)]
            for delay in delays:
                await asyncio.sleep(delay)  # the moment of the kill is the input of this test
                await kill_and_restart(loop)
            await finish(loop, f"killed after {delays} of {length:.1f} s")
    assert failures(seen) == []


@asynccontextmanager
async def running_loop() -> AsyncIterator[tuple[RunningLoop, Mapping[str, HostAnswers]]]:
    """Two applications that serve the first base, with requests all the time."""
    async with installation() as made, made.client() as client:
        loop = RunningLoop(made, client)
        digest = await publish(made.vendor, "vendor/base:1", "1")
        loop.digests.append(str(digest))
        made.commit("applications", SOURCES)
        await made.apply(client, two_applications(made.vendor, f"{made.git}/applications"))
        await loop.finished()
        async with traffic(made.router_port, ["shop.test", "gate.test"]) as seen:
            yield loop, seen


async def kill_and_restart(loop: RunningLoop) -> None:
    loop.kills += 1
    loop.made.kill()
    await loop.made.start()


async def finish(loop: RunningLoop, how: str) -> None:
    try:
        await loop.finished()
        await loop.check()
    except AssertionError as error:
        error.add_note(how)
        raise


def failures(seen: Mapping[str, HostAnswers]) -> list[str]:
    return [failure for one in seen.values() for failure in one.failures]


async def test_a_container_that_buildah_was_killed_over_is_removed() -> None:
    async with installation() as made, made.client() as client:
        await publish(made.vendor, "vendor/base:1", "1")
        await made.apply(
            client,
            base_stream(made.vendor)
            + stream("app")
            + docker_build("app", dockerfile="FROM base:1\nRUN true\n"),
        )

        async def phases() -> set[BuildPhase]:
            return {build.status.phase for build in (await client.list(Build)).items}

        await until(phases, {BuildPhase.COMPLETE}.__eq__)
        made.kill()
        made.leave_half_a_working_container()
        assert len(made.working_containers()) == 1
        await made.start()

        async def left() -> set[str]:
            return made.working_containers()

        await until(left, set().__eq__)
