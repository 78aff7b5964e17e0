"""The least of something on this machine, now: what benchmarks without a peer are compared with.

Times differ from machine to machine and from hour to hour; their ratio to such work of the same run
differs much less.
"""

import asyncio
import json
import resource
import statistics
import subprocess
import sys
import time

from tests.support.attacks.bare_server import bare_server

_TIMES = 5
_DOCUMENT = {
    "metadata": {"name": "app", "labels": {str(number): "x" * 10 for number in range(10)}},
    "spec": {"containers": [{"name": str(number), "ports": [number]} for number in range(10)]},
}


def loop_seconds() -> float:
    """Return the processor seconds of 1,000 turns of a loop of Python, median of some.

    Each turn writes a small document as JSON and reads it.
    """
    found = []
    for _ in range(_TIMES):
        began = time.process_time()
        for _turn in range(1000):
            json.loads(json.dumps(_DOCUMENT))
        found.append(time.process_time() - began)
    return statistics.median(found)


def empty_program_seconds() -> float:
    """Return the processor seconds of a program of Python that does nothing, median of some."""
    found = []
    for _ in range(_TIMES):
        began = _children()
        subprocess.run((sys.executable, "-c", "pass"), check=True, timeout=60)
        found.append(_children() - began)
    return statistics.median(found)


def _children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


async def bare_answers(count: int, pause: float = 0.0) -> list[float]:
    """Return the milliseconds of each answer of an asyncio server that answers all alike.

    It is a process of its own; each answer comes by a connection of its own.
    """
    found = []
    async with bare_server() as (port, _):
        for _ in range(count):
            began = time.perf_counter()
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            await reader.read()
            found.append((time.perf_counter() - began) * 1e3)
            writer.close()
            await asyncio.sleep(pause)
    return found


def percentile_99(values: list[float]) -> float:
    """Return the 99th percentile."""
    return statistics.quantiles(values, n=100)[98]
