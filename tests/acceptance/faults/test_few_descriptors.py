"""A server without a file descriptor to spare: it lives, says so, and goes on."""

import asyncio
import resource
from contextlib import AsyncExitStack
from pathlib import Path

from tests.support.installation.applications import stream
from tests.support.installation.installation import installation, until

from upwell.api.cluster_operator import ClusterOperator
from upwell.api.conditions import find
from upwell.store.interface import NotFoundError

_LIMIT = 400


def open_files(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


async def test_a_server_without_descriptors_lives_says_so_and_goes_on() -> None:
    async with installation() as made, made.client() as client:
        await made.apply(client, stream("before"))
        before = resource.prlimit(made.pid, resource.RLIMIT_NOFILE)

        async def message() -> str:
            try:
                found = await client.get(ClusterOperator, "", "file-descriptors")
            except NotFoundError:
                return ""
            condition = find(found.status.conditions, "Degraded")
            return condition.message if condition and condition.status == "True" else ""

        resource.prlimit(made.pid, resource.RLIMIT_NOFILE, (_LIMIT, before[1]))
        async with AsyncExitStack() as stack:

            async def connect(least: int) -> None:
                """Open connections until the server has so many files; idle ones go in time."""
                for _ in range(least - open_files(made.pid)):
                    # The kernel takes them, also when the server cannot.
                    _, writer = await asyncio.open_connection("127.0.0.1", made.port)
                    stack.callback(writer.close)

            async def told() -> str:
                await connect(_LIMIT * 19 // 20)
                return await message()

            async def exhausted() -> bool:
                await connect(_LIMIT + 1)
                return open_files(made.pid) >= _LIMIT

            assert f"of {_LIMIT} file descriptors" in await until(told, bool)
            await until(exhausted, bool)
            assert made.is_alive

        resource.prlimit(made.pid, resource.RLIMIT_NOFILE, before)
        await until(message, "".__eq__)
        await made.apply(client, stream("after"))
