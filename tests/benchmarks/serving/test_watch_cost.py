"""Processor time of a running server for events of watches, and for doing nothing.

UPWELL_BESIDE names the Python of another version's environment, whose server takes turns with this
one. Run with `pytest -m benchmark -s tests/benchmarks/serving/test_watch_cost.py`.
"""

import asyncio
import json
import os
import sys
from contextlib import AsyncExitStack
from dataclasses import dataclass
from statistics import median

import aiohttp
import pytest
from tests.benchmarks.test_api import PATH, WATCHES, item
from tests.support.benchmarks.bare_work import empty_program_seconds, loop_seconds
from tests.support.benchmarks.measured_server import MeasuredServer
from tests.support.benchmarks.ratios import Ratios
from tests.support.installation.installation import Installation, installation, until

pytestmark = pytest.mark.benchmark

WRITES = 100
TURNS = 3
IDLE_SECONDS = 40.0
PROGRAMS = [sys.executable, *filter(None, [os.environ.get("UPWELL_BESIDE", "")])]


@dataclass
class WatchedServer:
    """A server, its client, and the events that all its watches were sent."""

    program: str
    measured: MeasuredServer
    api: aiohttp.ClientSession
    seen: int = 0
    is_watched: bool = False

    async def write(self) -> float:
        """Change an object so often that each watch is sent `WRITES` events; return the seconds."""
        used, watched = self.measured.processor, self.seen
        for number in range(WRITES):
            body = json.dumps({"data": {"text": f"{watched} {number}"}})
            kind = {"Content-Type": "application/merge-patch+json"}
            async with self.api.patch(f"{PATH}/item-00007", data=body, headers=kind):
                pass
        if self.is_watched:
            await until(self._events, lambda seen: seen >= watched + WRITES * WATCHES)
        return self.measured.processor - used

    async def watch(
        self, stack: AsyncExitStack, group: asyncio.TaskGroup
    ) -> list[asyncio.Task[None]]:
        """Open all watches."""
        self.is_watched = True
        async with self.api.get(f"{PATH}?limit=1") as answer:
            version = (await answer.json())["metadata"]["resourceVersion"]
        query = f"{PATH}?watch=true&allowWatchBookmarks=true&resourceVersion={version}"
        streams = [await stack.enter_async_context(self.api.get(query)) for _ in range(WATCHES)]
        return [group.create_task(self._count(stream)) for stream in streams]

    async def _events(self) -> int:
        return self.seen

    async def _count(self, stream: aiohttp.ClientResponse) -> None:
        while piece := await stream.content.readany():
            self.seen += piece.count(b"\n")


async def started(stack: AsyncExitStack, program: str) -> WatchedServer:
    def run_by(server: Installation) -> None:
        server.program = (program, "-m", "upwell")

    made = await stack.enter_async_context(installation("--log-level", "info", prepare=run_by))
    headers = {"Authorization": f"Bearer {made.token}", "Content-Type": "application/json"}
    connector = aiohttp.TCPConnector(limit=0)
    api = await stack.enter_async_context(
        aiohttp.ClientSession(made.url, connector=connector, headers=headers, raise_for_status=True)
    )
    async with api.post(PATH, data=item(7)):
        return WatchedServer(program, MeasuredServer(made), api)


async def test_events_and_idle_servers_take_little_of_the_processor(ratios: Ratios) -> None:
    async with AsyncExitStack() as stack:
        servers = [await started(stack, program) for program in PROGRAMS]
        group = await stack.enter_async_context(asyncio.TaskGroup())
        plain = [median([await one.write() for _ in range(TURNS)]) for one in servers]
        used = [one.measured.processor for one in servers]
        await asyncio.sleep(IDLE_SECONDS)
        idle = [one.measured.processor - before for one, before in zip(servers, used, strict=True)]
        watches = [task for one in servers for task in await one.watch(stack, group)]
        turns = [[await one.write() for one in servers] for _ in range(TURNS)]
        for task in watches:
            task.cancel()
    turn_seconds, empty = loop_seconds() / 1e3, empty_program_seconds()
    for at, one in enumerate(servers):
        event = (median(turn[at] for turn in turns) - plain[at]) / (WRITES * WATCHES)
        print(  # noqa: T201
            f"\n{one.program}: {event * 1e6:.0f} us for each event to a watch,"
            f" {idle[at] * 60 / IDLE_SECONDS:.2f} s in a minute without work"
        )
        if not at:
            ratios.note_cost("an event to a watch, turns of a bare loop", event / turn_seconds)
            minute = idle[at] * 60 / IDLE_SECONDS
            ratios.note_cost("an idle minute, processor of an empty program", minute / empty)
        assert 0 < event < 0.01
