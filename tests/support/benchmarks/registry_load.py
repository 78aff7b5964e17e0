"""Clients that push and pull blobs of 1 MiB, in a process of their own, for some seconds.

python -m tests.support.benchmarks.registry_load HOST:PORT TOKEN SECONDS
"""

import asyncio
import os
import sys
import time
from itertools import count

import aiohttp

from upwell.oci import Digest

CLIENTS = 16
_MIB = 1024 * 1024
_CONTENTS = 64


async def load(host: str, token: str, seconds: float) -> float:
    """Push and pull as sixteen clients; return the MiB that they moved in a second."""
    contents = [os.urandom(_MIB) for _ in range(_CONTENTS)]
    named = [(content, str(Digest.of(content))) for content in contents]
    numbers, began, moved = count(), time.perf_counter(), 0

    async def client(session: aiohttp.ClientSession) -> None:
        nonlocal moved
        while time.perf_counter() < began + seconds:
            number = next(numbers)
            content, digest = named[number % _CONTENTS]
            blobs = f"http://{host}/v2/bench/load{number}/blobs"
            url = f"{blobs}/uploads/?digest={digest}"
            async with session.post(url, data=content) as answer:
                assert answer.status == 201, answer.status
            async with session.get(f"{blobs}/{digest}") as answer:
                assert len(await answer.read()) == _MIB
            moved += 2

    headers = {"Authorization": f"Bearer {token}"}
    async with aiohttp.ClientSession(headers=headers) as session:
        await asyncio.gather(*(client(session) for _ in range(CLIENTS)))
    return moved / (time.perf_counter() - began)


if __name__ == "__main__":
    rate = asyncio.run(load(sys.argv[1], sys.argv[2], float(sys.argv[3])))
    sys.stdout.write(f"{rate:.0f}\n")
