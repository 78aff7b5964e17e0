"""Builds that a watch has seen end: asking again and again would be the server's work."""

import asyncio

from upwell.api.builds.build import Build, BuildPhase
from upwell.store.interface import ApiClient

LIMIT_SECONDS = 300


class EndedBuilds:
    """Ends of builds, each of which is waited for once."""

    def __init__(self) -> None:
        self._ended: asyncio.Queue[Build] = asyncio.Queue()

    async def watch(self, client: ApiClient) -> None:
        """Note the builds that end, until it is cancelled."""
        seen = set()
        async for event in client.watch(Build):
            build = event.resource
            if build.status.phase.is_terminal and build.name not in seen:
                seen.add(build.name)
                self._ended.put_nowait(build)

    async def next_one(self) -> None:
        """Wait for the end of the next build; fails if that is not complete."""
        async with asyncio.timeout(LIMIT_SECONDS):
            build = await self._ended.get()
        assert build.status.phase is BuildPhase.COMPLETE, build.status
