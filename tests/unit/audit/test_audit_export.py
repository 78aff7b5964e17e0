"""Export of the audit log: every line at least once and in order, over each way."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pytest
from aiohttp import web
from tests.support.notifications.notifier_setup import until

from upwell.audit.export import (
    AuditExport,
    AuditExportError,
    InvalidReceiverError,
    receiver_of,
)
from upwell.audit.files import AuditRetention, ChainFiles
from upwell.audit.heads import HeadSigner
from upwell.audit.log import AuditFiles
from upwell.machine.components import Components

SIGNER = HeadSigner.generate()


def chain(folder: Path, *, file_bytes: int = 1 << 20) -> ChainFiles:
    retention = AuditRetention(file_bytes=file_bytes)
    return ChainFiles(
        AuditFiles(folder).paths[0], retention, SIGNER, lambda: datetime(2024, 5, 1, tzinfo=UTC)
    )


@dataclass
class FakeReceiver:
    lines: list[bytes] = field(default_factory=list)
    refuses: bool = False

    async def send(self, lines: Sequence[bytes]) -> None:
        if self.refuses:
            raise AuditExportError("it answered 500")
        self.lines += lines

    @property
    def numbers(self) -> list[int]:
        return [json.loads(line)["seq"] for line in self.lines]


def export(folder: Path, receiver: FakeReceiver) -> AuditExport:
    component = Components().add("audit-export", required=False)
    return AuditExport(AuditFiles(folder).paths, receiver, component)


async def test_every_line_goes_out_once_and_in_order(tmp_path: Path) -> None:
    files, receiver = chain(tmp_path, file_bytes=500), FakeReceiver()
    sender = export(tmp_path, receiver)
    for number in range(30):
        files.append([{"number": number}])
        if number % 7 == 0:
            files.tidy()
            await sender.send_new()
    await sender.send_new()
    assert receiver.numbers == list(range(1, files.link.seq + 1))


async def test_what_was_not_taken_is_sent_again(tmp_path: Path) -> None:
    files, receiver = chain(tmp_path), FakeReceiver(refuses=True)
    files.append([{"number": 1}, {"number": 2}])
    sender = export(tmp_path, receiver)
    with pytest.raises(AuditExportError):
        await sender.send_new()
    receiver.refuses = False
    assert await sender.send_new() == 2
    assert receiver.numbers == [1, 2]


async def test_another_process_goes_on_where_the_last_one_was(tmp_path: Path) -> None:
    files, receiver = chain(tmp_path), FakeReceiver()
    files.append([{"number": 1}])
    await export(tmp_path, receiver).send_new()
    files.append([{"number": 2}])
    second = asyncio.create_task(export(tmp_path, receiver).run())
    await until(lambda: receiver.numbers == [1, 2])
    second.cancel()


async def test_what_is_left_is_sent_at_the_end(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    files, receiver = chain(tmp_path), FakeReceiver()
    files.append([{"number": 1}])
    await export(tmp_path, receiver).send_new()
    files.append([{"number": 2}])
    await export(tmp_path, receiver).send_last()
    assert receiver.numbers == [1, 2]

    receiver.refuses = True
    files.append([{"number": 3}])
    await export(tmp_path, receiver).send_last()
    assert receiver.numbers == [1, 2]
    assert "last audit lines not exported" in caplog.text


@asynccontextmanager
async def http_server(status: int, taken: list[tuple[str, bytes]]) -> AsyncIterator[str]:
    async def take(request: web.Request) -> web.Response:
        taken.append((request.headers.get("Authorization", ""), await request.read()))
        return web.Response(status=status)

    app = web.Application()
    app.router.add_post("/audit", take)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/audit"
    finally:
        await runner.cleanup()


async def test_lines_are_posted_as_json() -> None:
    taken: list[tuple[str, bytes]] = []
    async with http_server(204, taken) as url:
        await receiver_of(url, "t0ken").send([b'{"seq": 1}', b'{"seq": 2}'])
    assert taken == [("Bearer t0ken", b'{"seq": 1}\n{"seq": 2}\n')]


async def test_an_answer_of_failure_is_told_without_what_it_says() -> None:
    async with http_server(500, []) as url:
        with pytest.raises(AuditExportError, match="it answered 500"):
            await receiver_of(url).send([b"{}"])


async def test_syslog_over_tcp_counts_octets() -> None:
    taken: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        taken.set_result(await reader.read())
        writer.close()

    server = await asyncio.start_server(take, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    line = b'{"seq": 1, "time": "2024-05-01T00:00:00.000+00:00"}'
    await receiver_of(f"syslog://127.0.0.1:{port}").send([line, line])
    message = f"<109>1 2024-05-01T00:00:00.000+00:00 {socket.gethostname()} upwell - audit - "
    framed = message.encode() + line
    assert await taken == (b"%d %b" % (len(framed), framed)) * 2
    server.close()


async def test_syslog_over_a_local_socket(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as local:
        local.bind(str(tmp_path / "log"))
        local.settimeout(10)
        await receiver_of(f"unix://{tmp_path}/log").send([b'{"seq": 1}'])
        assert local.recv(4096).endswith(b'upwell - audit - {"seq": 1}')


async def test_syslog_by_datagrams() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as local:
        local.bind(("127.0.0.1", 0))
        local.settimeout(10)
        port = local.getsockname()[1]
        await receiver_of(f"syslog+udp://127.0.0.1:{port}").send([b'{"seq": 1}'])
        assert local.recv(4096).endswith(b'{"seq": 1}')


async def test_nobody_there_is_a_fault_to_try_again(tmp_path: Path) -> None:
    chain(tmp_path).append([{"number": 1}])
    component = Components().add("audit-export", required=False)
    receiver = receiver_of(f"unix://{tmp_path}/nobody")
    running = asyncio.create_task(
        AuditExport(AuditFiles(tmp_path).paths, receiver, component).run()
    )
    await until(lambda: component.state.faulty)
    assert component.state.reason == "AuditLogNotExported"
    running.cancel()


@pytest.mark.parametrize("url", ["", "ftp://x", "https://", "unix:relative", "syslog://x:y", "x"])
def test_other_addresses_are_refused(url: str) -> None:
    with pytest.raises(InvalidReceiverError):
        receiver_of(url)
