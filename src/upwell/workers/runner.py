"""Runs a task in a worker and returns its result."""

import asyncio
import json
import signal
import sys
from asyncio.subprocess import DEVNULL, Process
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from upwell.machine.process import end_group, start_group
from upwell.workers.interface import (
    MIB,
    RefusedInputError,
    WorkerExcessError,
    WorkerFailedError,
    WorkerLimits,
)

_ROOT = Path(__file__).parents[1]
_BOOTSTRAP = (
    # The package's own __init__ reads its version out of the metadata of all that is installed,
    # which takes as long as the rest of the start.
    "import sys, types\n"
    "package = sys.modules['upwell'] = types.ModuleType('upwell')\n"
    "package.__path__ = [sys.argv[1]]\n"
    "from upwell.workers.child import main\n"
    "main(*sys.argv[2:])\n"
)
_OPTIONS = ("-I", "-S", "-X", "utf8")
_CHUNK = 64 * 1024
_DEFAULT_LIMITS = WorkerLimits()


async def run_worker(
    task: str,
    source: IO[bytes],
    argument: Mapping[str, Any],
    limits: WorkerLimits = _DEFAULT_LIMITS,
    folder: Path | None = None,
) -> Any:
    """Run the module `task` on the open file `source` and return its result, JSON data.

    A worker writes nothing but its result, or below `folder` alone, where it runs as we do.
    Cancelled, it is killed. Raises WorkerError, or OSError where the worker ran into one.
    """
    described = {
        "memory": limits.memory_bytes,
        "cpu": limits.cpu_seconds,
        "folder": str(folder or ""),
        "argument": argument,
    }
    command = (sys.executable, *_OPTIONS, "-c", _BOOTSTRAP, str(_ROOT), task, json.dumps(described))
    try:
        process = await start_group(
            *command, stdin=source.fileno(), errors=DEVNULL, folder=Path("/"), env={}
        )
    except OSError as error:
        raise WorkerFailedError(f"no worker could be started: {error}") from error
    try:
        async with asyncio.timeout(limits.wall_seconds):
            raw = await _read(process, limits.result_bytes)
            code = await process.wait()
    except TimeoutError:
        why = f"it was not parsed within {limits.wall_seconds:g} s"
        raise WorkerFailedError(why) from None
    finally:
        await end_group(process)
    return _result(code, raw, limits)


async def _read(process: Process, limit: int) -> bytes:
    content = bytearray()
    while process.stdout is not None and (piece := await process.stdout.read(_CHUNK)):
        content += piece
        if len(content) > limit:
            raise WorkerExcessError(f"its content is more than {limit} bytes")
    return bytes(content)


def _result(code: int, raw: bytes, limits: WorkerLimits) -> Any:
    """Return the result that a worker wrote before it ended; raises WorkerError or OSError."""
    if code == -signal.SIGXCPU:
        raise WorkerExcessError(f"it takes more than {limits.cpu_seconds} s to parse")
    if code < 0:
        raise WorkerFailedError(f"its worker was killed with signal {-code}")
    try:
        answer = json.loads(raw)
    except (ValueError, RecursionError):
        answer = None
    match answer:
        case {"result": result}:
            return result
        case {"excess": "memory"}:
            why = f"it takes more than {limits.memory_bytes // MIB} MiB of memory to parse"
            raise WorkerExcessError(why)
        case {"errno": int(number), "refused": str(why)}:
            raise OSError(number, why)
        case {"refused": str(why)}:
            raise RefusedInputError(why)
        case _:
            raise WorkerFailedError(f"its worker ended with status {code} and without a result")
