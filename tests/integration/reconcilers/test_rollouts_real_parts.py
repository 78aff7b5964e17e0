"""Rollouts in real containers behind a real HAProxy, under a steady load of requests."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
from tests.support.rollouts.real_machine import (
    CRASH,
    HOST,
    NEVER_READY,
    RealRollouts,
    podman_home,
    real_rollouts,
)
from tests.support.workload.http_servers import fetch
from tests.support.workload.waiting import eventually

from upwell.api.apps import Deployment

__all__ = ["podman_home", "real_rollouts"]  # fixtures


@asynccontextmanager
async def steady_load(address: str) -> AsyncIterator[Counter[str]]:
    """Ask all the time, each request on a connection of its own; count the answers."""
    answers: Counter[str] = Counter()

    async def ask() -> None:
        while True:
            try:
                status, text = await fetch(address, HOST)
            except aiohttp.ClientError as error:
                answers[f"failed: {error!r}"] += 1
            else:
                answers[text if status == 200 else f"failed: {status} {text}"] += 1
            await asyncio.sleep(0.01)

    async with asyncio.TaskGroup() as group:
        clients = [group.create_task(ask()) for _ in range(2)]
        yield answers
        for client in clients:
            client.cancel()


async def test_a_change_goes_live_without_a_failed_request_and_a_broken_one_never_does(
    real_rollouts: RealRollouts,
) -> None:
    async with real_rollouts.serve() as runtime:
        await real_rollouts.begin("one")
        await real_rollouts.until_live(1)
        async with steady_load(real_rollouts.router.http_address) as answers:
            await real_rollouts.apply("two")
            await real_rollouts.until_live(2)

            await real_rollouts.apply("three", NEVER_READY)
            condition = await eventually(
                real_rollouts.progressing, lambda one: one.status == "False"
            )
            assert condition.reason == "ProgressDeadlineExceeded"
            assert "no database" in condition.message
            await eventually(runtime.instances, lambda found: len(found) == 1)
            answers["two"] = 0

            async def served() -> int:
                return answers["two"]

            await eventually(served, lambda count: count > 20)
        assert set(answers) == {"one", "two"}


async def test_another_process_finishes_what_one_began(real_rollouts: RealRollouts) -> None:
    async with real_rollouts.serve():
        await real_rollouts.begin("one", replicas=2)
        await real_rollouts.until_live(1)
    async with steady_load(real_rollouts.router.http_address) as answers:
        async with real_rollouts.serve() as runtime:
            await real_rollouts.apply("two", replicas=2)
            # Killed in the middle: some of the new ones run already.
            await eventually(runtime.instances, lambda found: len(found) > 2)
        async with real_rollouts.serve() as runtime:
            await real_rollouts.until_live(2)
            await eventually(runtime.instances, lambda found: len(found) == 2)
    assert set(answers) == {"one", "two"}


async def test_deletion_leaves_nothing_behind(real_rollouts: RealRollouts) -> None:
    async with real_rollouts.serve() as runtime:
        await real_rollouts.begin("one")
        await real_rollouts.until_live(1)
        await real_rollouts.store.delete(Deployment, "shop", "web")
        await eventually(runtime.instances, lambda found: not found)

        async def deployments() -> int:
            return len((await real_rollouts.store.list(Deployment)).items)

        await eventually(deployments, lambda count: count == 0)


async def test_a_crashing_revision_says_its_last_words(real_rollouts: RealRollouts) -> None:
    async with real_rollouts.serve():
        await real_rollouts.begin("one")
        await real_rollouts.until_live(1)
        await real_rollouts.apply("two", CRASH)
        condition = await eventually(real_rollouts.progressing, lambda one: one.status == "False")
        assert "bad configuration" in condition.message
        assert "revision 1" in condition.message
        assert await fetch(real_rollouts.router.http_address, HOST) == (200, "one")
