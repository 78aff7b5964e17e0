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

            async def connect(count: int) -> None:
                for _ in range(count):  # the kernel takes them, also when the server cannot
                    _, writer = await asyncio.open_connection("127.0.0.1", made.port)
                    stack.callback(writer.close)

            await connect(_LIMIT * 19 // 20 - open_files(made.pid))
            assert f"of {_LIMIT} file descriptors" in await until(message, bool)
            await connect(_LIMIT // 10)

            async def exhausted() -> bool:
                return open_files(made.pid) >= _LIMIT

            await until(exhausted, bool)
            assert made.is_alive

        resource.prlimit(made.pid, resource.RLIMIT_NOFILE, before)
        await until(message, "".__eq__)
        await made.apply(client, stream("after"))
