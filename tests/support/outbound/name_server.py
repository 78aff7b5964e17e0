"""A DNS server on loopback, and Python in a mount namespace where the system asks it."""

import asyncio
import contextlib
import os
import struct
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from pathlib import Path
from typing import override

_A = 1
_HEAD = struct.Struct("!HHHHHH")
_ANSWERED = 0x8180


@dataclass
class NameServer(asyncio.DatagramProtocol):
    """Answers every question for an A record with the next address, and at last with the last."""

    addresses: list[str]
    asked: list[str] = field(default_factory=list)
    _transport: asyncio.DatagramTransport | None = None

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.DatagramTransport)
        self._transport = transport

    @override
    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        assert self._transport is not None
        name, at = [], _HEAD.size
        while size := data[at]:
            name.append(data[at + 1 : at + 1 + size].decode())
            at += size + 1
        (kind,) = struct.unpack_from("!H", data, at + 1)
        question = data[_HEAD.size : at + 5]
        answer = b""
        if kind == _A:
            self.asked.append(".".join(name))
            address = self.addresses.pop(0) if len(self.addresses) > 1 else self.addresses[0]
            # A pointer to the name of the question; a time to live of nothing.
            answer = struct.pack("!HHHIH", 0xC00C, _A, 1, 0, 4) + IPv4Address(address).packed
        head = _HEAD.pack(int.from_bytes(data[:2]), _ANSWERED, 1, bool(answer), 0, 0)
        self._transport.sendto(head + question + answer, addr)


@contextlib.asynccontextmanager
async def name_server(address: str, *answers: str) -> AsyncIterator[NameServer]:
    """Serve at port 53 of a loopback address, where the system's resolver can be pointed to."""
    server = NameServer(list(answers))
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(lambda: server, local_addr=(address, 53))
    try:
        yield server
    finally:
        transport.close()


async def run_resolving(address: str, program: str, folder: Path) -> str:
    """Run a Python program whose system resolver asks `address`; return what it prints."""
    configuration = folder / "resolv.conf"
    configuration.write_text(f"nameserver {address}\noptions timeout:2 attempts:1\n")
    script = folder / "program.py"
    script.write_text(program)
    steps = f"mount --bind {configuration} /etc/resolv.conf && exec {sys.executable} {script}"
    process = await asyncio.create_subprocess_exec(
        *("unshare", "--mount", "--propagation", "private", "sh", "-c", steps),
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    async with asyncio.timeout(60):
        output, _ = await process.communicate()
    return output.decode()
