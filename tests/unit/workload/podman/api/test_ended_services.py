"""A service that ends: to a followed log a fault of the runtime; its life may be a short one."""

import asyncio
import resource
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

import pytest

from upwell.oci import Reference
from upwell.workload.errors import ImagePullError, RuntimeUnavailableError
from upwell.workload.interface import LogQuery
from upwell.workload.podman.api import service as podman_service
from upwell.workload.podman.api import supervision
from upwell.workload.podman.api.client import PodmanApi
from upwell.workload.podman.api.service import PodmanSettings

if TYPE_CHECKING:
    from upwell.workload.podman.api.service import PodmanService

HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
LINE = b"one\n"
FRAME = bytes((1, 0, 0, 0, 0, 0, 0, len(LINE))) + LINE
LIST = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]"


@dataclass
class RestartedService:
    socket: Path
    starts: int = 1

    async def ensure(self) -> None:
        """Claim that it runs."""


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Begin a log that does not end, or list no container."""
    head = await reader.readuntil(b"\r\n\r\n")
    if b"/logs" in head:
        writer.write(HEAD + b"%x\r\n%b\r\n" % (len(FRAME), FRAME))
    else:
        writer.write(LIST)
    await reader.read()
    writer.close()


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[RestartedService]:
    async with await asyncio.start_unix_server(answer, tmp_path / "podman.sock"):
        yield RestartedService(tmp_path / "podman.sock")


async def test_a_pull_that_its_service_cuts_short_is_no_fault_of_the_registry(
    tmp_path: Path,
) -> None:
    async def begin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(HEAD)
        writer.close()

    async with await asyncio.start_unix_server(begin, tmp_path / "podman.sock"):
        api = PodmanApi(cast("PodmanService", RestartedService(tmp_path / "podman.sock")))
        with pytest.raises(ImagePullError, match="service is gone") as told:
            await api.pull(Reference.parse("registry.test/web:1"), None, insecure=False)
        await api.close()
    assert told.value.interrupted


async def test_a_process_without_descriptors_does_not_say_that_the_service_is_gone(
    service: RestartedService,
) -> None:
    api = PodmanApi(cast("PodmanService", service))
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (1, before[1]))
    try:
        with pytest.raises(RuntimeUnavailableError, match="Too many open files") as told:
            await api.containers("id")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    await api.close()
    assert "gone" not in str(told.value)


async def test_a_followed_log_ends_with_the_service_that_gave_it(service: RestartedService) -> None:
    api = PodmanApi(cast("PodmanService", service))
    log = api.logs("id", LogQuery(follow=True))
    async with asyncio.timeout(20):
        assert await anext(log) == LINE
        service.starts += 1
        await api.containers("id")  # by the new one
        with pytest.raises(RuntimeUnavailableError, match="closed"):
            await anext(log)
    await api.close()


def test_a_service_that_hangs_after_its_first_answer_counts_as_one_that_does_not_last() -> None:
    asked = supervision._PING_PERIOD * 1.01 + supervision._MISSES * supervision._PING_SECONDS
    killed = asked + (supervision._MISSES - 1) * supervision._MISS_PAUSE
    assert killed < podman_service._SHORT_LIFE_SECONDS


@pytest.mark.parametrize(
    ("answer", "fault"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\n", ""),
        (b"HTTP/1.1 503 Busy\r\n\r\n", "it answers 'HTTP/1.1 503 Busy'"),
        (None, "no answer in 0.05 s"),
    ],
)
async def test_it_is_said_how_a_service_fails_to_answer(
    tmp_path: Path, answer: bytes | None, fault: str
) -> None:
    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        if answer is None:
            await reader.read()
        else:
            writer.write(answer)
        writer.close()

    service = podman_service.PodmanService(PodmanSettings(tmp_path, "id"))
    assert await service.fault_of_answer(30) == "No such file or directory"
    async with await asyncio.start_unix_server(listen, service.socket):
        assert await service.fault_of_answer(0.05 if answer is None else 30) == fault
        assert await service.answers(0.05 if answer is None else 30) is not bool(fault)
