"""Clients that push blobs, and as many that pull them, in a process of their own.

python -m tests.support.benchmarks.registry_load HOST:PORT TOKEN SECONDS CLIENTS_OF_EACH_SORT MIB

prints the MiB that were pushed and pulled in a second.
"""

import asyncio
import os
import sys
import time
from collections.abc import Awaitable, Callable
from itertools import count

import aiohttp
from yarl import URL

from upwell.oci import Digest

_MIB = 1024 * 1024
_CONTENTS_MIB = 64


async def load(
    host: str, token: str, seconds: float, clients: int, mib: int
) -> tuple[float, float]:
    """Push and pull blobs of `mib` MiB as so many clients each; return the MiB of both in a second.

    What is pushed cannot be compressed.
    """
    contents = [os.urandom(mib * _MIB) for _ in range(max(_CONTENTS_MIB // mib, 1))]
    named = [(content, str(Digest.of(content))) for content in contents]
    run, numbers = os.urandom(4).hex(), count()
    there: list[str] = []
    moved = {"pushed": 0, "pulled": 0}

    async def push() -> None:
        number = next(numbers)
        content, digest = named[number % len(named)]
        blobs = f"http://{host}/v2/bench/load{run}{number}/blobs"
        async with session.post(f"{blobs}/uploads/") as answer:
            place = str(answer.url.join(URL(answer.headers["Location"])))
        url = f"{place}{'&' if '?' in place else '?'}digest={digest}"
        async with session.put(url, data=content) as answer:
            assert answer.status == 201, answer.status
        there.append(f"{blobs}/{digest}")
        moved["pushed"] += mib

    async def pull() -> None:
        async with session.get(there[next(numbers) % len(there)]) as answer:
            assert len(await answer.read()) == mib * _MIB
        moved["pulled"] += mib

    async def client(work: Callable[[], Awaitable[None]]) -> None:
        while time.perf_counter() < began + seconds:
            await work()

    headers = {"Authorization": f"Bearer {token}"}
    connector = aiohttp.TCPConnector(limit=2 * clients)
    async with aiohttp.ClientSession(headers=headers, connector=connector) as session:
        await push()
        moved["pushed"], began = 0, time.perf_counter()
        works = (push, pull) * clients
        await asyncio.gather(*(client(work) for work in works))
    took = time.perf_counter() - began
    return moved["pushed"] / took, moved["pulled"] / took


if __name__ == "__main__":
    place, login, during, *counts = sys.argv[1:]
    pushed, pulled = asyncio.run(load(place, login, float(during), *map(int, counts)))
    sys.stdout.write(f"{pushed:.1f} {pulled:.1f}\n")
