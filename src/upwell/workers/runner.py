"""Runs a task in a worker and returns its result."""

import asyncio
import importlib.util
import json
import logging
import signal
import tempfile
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import IO, Any

from upwell.oci.json_values import has_more_values
from upwell.workers.child import NOBODY
from upwell.workers.fork_server import ForkServer, Worker
from upwell.workers.interface import (
    MIB,
    RefusedInputError,
    WorkerExcessError,
    WorkerFailedError,
    WorkerLimits,
)

log = logging.getLogger(__name__)

_PROBE = "upwell.workers.probe"
_CHUNK = 64 * 1024
_TOO_LARGE = "its content is more than {} bytes"
_DEFAULT_LIMITS = WorkerLimits()


_GAPS = {
    "network": "the network of this machine: this container or kernel gives them none of their own",
    "root": f"root: user {NOBODY} does not exist in this container",
}
"""Rights that workers can be left with, by the name that a worker gives them."""
_told: set[str] = set()
_fork_server = ForkServer()
"""Of this process: a worker is wanted in many places, and is the same in all."""


async def run_worker(
    task: str,
    source: IO[bytes],
    argument: Mapping[str, Any],
    limits: WorkerLimits = _DEFAULT_LIMITS,
    folder: Path | None = None,
    library: str = "",
) -> Any:
    """Run the module `task` on the open file `source` and return its result, JSON data.

    A worker writes nothing but its result, or below `folder` alone, where it runs as we do. It has
    the standard library, and what is installed beside the package `library`, if it names one.
    Cancelled, it is killed. Raises WorkerError, or OSError where the worker ran into one.
    """
    described = _described(argument, limits, folder)
    code, raw = await _run(task, source, described, limits, _read, library)
    answer = await _decoded(raw, limits)
    _tell(answer)
    match _checked(code, answer, limits):
        case {"result": result}:
            return result
        case _:
            raise _ended_without_result(code)


async def run_worker_into(
    target: IO[bytes],
    task: str,
    source: IO[bytes],
    argument: Mapping[str, Any],
    limits: WorkerLimits = _DEFAULT_LIMITS,
    library: str = "",
) -> None:
    """Run the module `task`, as `run_worker` does, and write the content it returns into a file.

    No more of it than a piece is in memory at a time. Raises what `run_worker` does, and OSError
    where the file takes no more.
    """

    async def copy(worker: Worker, limit: int) -> bytes:
        head, _, piece = (await _line(worker)).partition(b"\n")
        copied = 0
        while piece or (piece := await worker.read(_CHUNK)):
            copied += len(piece)
            if copied > limit:
                raise WorkerExcessError(_TOO_LARGE.format(limit))
            await asyncio.to_thread(target.write, piece)
            piece = b""
        sizes.append(copied)
        return head

    sizes: list[int] = []
    described = _described(argument, limits)
    code, head = await _run(task, source, described, limits, copy, library)
    answer = _parsed(head)
    _tell(answer)
    match _checked(code, answer, limits):
        case {"content": int(size)} if sizes == [size]:
            return
        case _:
            raise _ended_without_result(code)


async def kept_rights() -> Sequence[str]:
    """Run a worker that does nothing, and say what it keeps; raises WorkerError."""
    with tempfile.TemporaryFile() as nothing:
        described = _described({}, _DEFAULT_LIMITS)
        code, raw = await _run(_PROBE, nothing, described, _DEFAULT_LIMITS, _read)
    answer = _parsed(raw)
    _checked(code, answer, _DEFAULT_LIMITS)
    return [_GAPS[gap] for gap in sorted(_gaps(answer))]


def _described(
    argument: Mapping[str, Any], limits: WorkerLimits, folder: Path | None = None
) -> Mapping[str, Any]:
    """Return what a worker reads of itself."""
    return {
        "memory": limits.memory_bytes,
        "cpu": limits.cpu_seconds,
        "folder": str(folder or ""),
        "argument": argument,
    }


def _libraries(name: str) -> list[str]:
    """Return the folder in which a package is installed, if one is named."""
    found = importlib.util.find_spec(name) if name else None
    origin = found.origin if found is not None else None
    return [str(Path(origin).parents[1])] if origin else []


async def _run(
    task: str,
    source: IO[bytes],
    described: Mapping[str, Any],
    limits: WorkerLimits,
    read: Callable[[Worker, int], Awaitable[bytes]],
    library: str = "",
) -> tuple[int, bytes]:
    """Return the status with which a worker ended, and what `read` returns of its output."""
    async with AsyncExitStack() as stack:
        try:
            starting = _fork_server.worker(task, _libraries(library), source, described)
            worker = await stack.enter_async_context(starting)
        except OSError as error:
            raise WorkerFailedError(f"no worker could be started: {error}") from error
        try:
            async with asyncio.timeout(limits.wall_seconds):
                raw = await read(worker, limits.result_bytes)
                return await worker.wait(), raw
        except TimeoutError:
            why = f"it was not parsed within {limits.wall_seconds:g} s"
            raise WorkerFailedError(why) from None


async def _read(worker: Worker, limit: int) -> bytes:
    content = bytearray()
    while piece := await worker.read(_CHUNK):
        content += piece
        if len(content) > limit:
            raise WorkerExcessError(_TOO_LARGE.format(limit))
    return bytes(content)


async def _line(worker: Worker) -> bytes:
    """Return a first line of output, with some of what follows it; raises WorkerFailedError."""
    content = b""
    while b"\n" not in content and (piece := await worker.read(_CHUNK)):
        content += piece
        if b"\n" not in content and len(content) > _CHUNK:  # longer than any of ours
            raise WorkerFailedError("its worker answered at length, and without a result")
    return content


async def _decoded(raw: bytes, limits: WorkerLimits) -> object:
    """Return the data of an answer, beside the event loop if it is long; raises WorkerError."""

    def decoded() -> object:
        if has_more_values(raw, limits.result_values):
            why = f"its content has more than {limits.result_values} values"
            raise WorkerExcessError(why)
        return _parsed(raw)

    return decoded() if len(raw) <= _CHUNK else await asyncio.to_thread(decoded)


def _parsed(raw: bytes) -> object:
    try:
        return json.loads(raw)
    except (ValueError, RecursionError):
        return None


def _gaps(answer: object) -> set[str]:
    """Return the rights that a worker says it kept; what it parsed may speak for it."""
    match answer:
        case {"gaps": [*names]}:
            return {name for name in names if isinstance(name, str) and name in _GAPS}
        case _:
            return set()


def _tell(answer: object) -> None:
    """Log what workers keep, each once."""
    for gap in _gaps(answer) - _told:
        _told.add(gap)
        log.warning("workers keep a right: `upwell doctor` says more", extra={"right": _GAPS[gap]})


def _checked(code: int, answer: object, limits: WorkerLimits) -> object:
    """Return the answer of a worker that has done its task; raises WorkerError or OSError."""
    if code == -signal.SIGXCPU:
        raise WorkerExcessError(f"it takes more than {limits.cpu_seconds} s to parse")
    if code < 0:
        raise WorkerFailedError(f"its worker was killed with signal {-code}")
    match answer:
        case {"result": _} | {"content": _}:
            return answer
        case {"excess": "memory"}:
            why = f"it takes more than {limits.memory_bytes // MIB} MiB of memory to parse"
            raise WorkerExcessError(why)
        case {"errno": int(number), "refused": str(why)}:
            raise OSError(number, why)
        case {"unconfined": str(why)}:
            raise WorkerFailedError(f"its worker would keep rights: {why}; see `upwell doctor`")
        case {"refused": str(why)}:
            raise RefusedInputError(why)
        case _:
            raise _ended_without_result(code)


def _ended_without_result(code: int) -> WorkerFailedError:
    return WorkerFailedError(f"its worker ended with status {code} and without a result")
