"""Attacks by clients of a Pod: commands, logs, attached and forwarded connections, idle TLS.

The attacker is admin of a namespace, and may run what they like there: `TALKER` writes as much as
is asked for, and reads nothing.
"""

import asyncio
import asyncio.sslproto
import itertools
import ssl
from collections.abc import Mapping

from tests.support.attacks.attacks import NAMESPACE, Attack, Target, many
from tests.support.installation.installation import Installation, until
from tests.support.installation.vendor_images import publish_script

from upwell.api.pod import Pod
from upwell.server.asgi.mixed_tls import TLS_NAME
from upwell.server.websocket.spdy import Encoder, data_frame

TALKER = "talker"
_SPEAKS, _LISTENS = 8080, 8081
_SCRIPT = f"""
nc -ll -p {_SPEAKS} -e yes &
nc -ll -p {_LISTENS} -e sleep 30 &
yes 'a line of the log, of some length' | head -c 20000000
while yes 'and another one of those that come' | head -c 20000; do sleep 0.1; done
"""
_POD = f"/api/v1/namespaces/{NAMESPACE}/pods/{TALKER}"
_MIB = 1024 * 1024
_BINARY = 0x82
"""First byte of a whole message (RFC 6455, 5.2)."""
_FORWARDED = 100
"""Connections that each session forwards."""


async def begin_talker(made: Installation) -> None:
    """Run the Pod that the attacks are about, in the attacker's namespace."""
    digest = await publish_script(made.vendor, f"vendor/{TALKER}:1", _SCRIPT)
    image = f"{made.vendor}/vendor/{TALKER}@{digest}"
    pod = f"""
apiVersion: v1
kind: Pod
metadata: {{name: {TALKER}, namespace: {NAMESPACE}}}
spec: {{containers: [{{name: talker, image: "{image}"}}]}}
"""
    applied = made.upwell("apply", "-f", "-", text=pod)
    assert applied.returncode == 0, applied.stderr
    async with made.client() as client:

        async def phase() -> str:
            return (await client.get(Pod, NAMESPACE, TALKER)).status.phase

        await until(phase, "Running".__eq__)


def message(payload: bytes) -> bytes:
    """Return a message of a client, masked with zeros."""
    return bytes([_BINARY, 0xFF]) + len(payload).to_bytes(8) + bytes(4) + payload


async def idle_tls_connections(target: Target) -> None:
    """Open ten thousand connections with TLS, each of which asks once."""
    asyncio.sslproto.SSLProtocol.max_size = 16 * 1024  # so that the attacker has the memory
    trust = ssl.create_default_context()
    trust.check_hostname, trust.verify_mode = False, ssl.CERT_NONE

    async def ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await writer.start_tls(trust, server_hostname=TLS_NAME)
        writer.write(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
        while await reader.read(1000):
            pass

    await many(target, 10_000, ask)


async def unread_commands(target: Target) -> None:
    """Run commands that write without end, and read nothing of it."""
    await _held(target, 60, "exec?stdout=true&command=yes")


async def unread_attachments(target: Target) -> None:
    """Attach to a container, and read nothing of it."""
    await _held(target, 200, "attach?stdout=true")


async def endless_input(target: Target) -> None:
    """Send input to commands that read none, in messages as large as they may be."""
    piece = message(b"\0" + b"x" * (4 * _MIB - 1))
    commands = "exec?stdin=true&stdout=true&command=sleep&command=3600"
    await _held(target, 60, commands, itertools.repeat(piece))


async def unread_logs(target: Target) -> None:
    """Follow a log on many connections, and read nothing of it."""
    head = f"GET {_POD}/log?follow=true HTTP/1.1\r\nHost: localhost\r\n{target.field}\r\n"

    async def ask(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(head.encode())
        await writer.drain()
        while not writer.is_closing():  # noqa: ASYNC110 - tells no event to who does not read
            await asyncio.sleep(1)

    await many(target, 300, ask)


async def unread_forwards(target: Target) -> None:
    """Forward connections to a port that sends without end, and read nothing of it."""
    await _held(target, 20, "portforward", _session(_SPEAKS, b""), "SPDY/3.1+portforward.k8s.io")


async def endless_forwards(target: Target) -> None:
    """Send without end to a port that reads nothing, on many connections of a session."""
    session = _session(_LISTENS, b"x" * (256 * 1024))
    await _held(target, 20, "portforward", session, "SPDY/3.1+portforward.k8s.io")


async def endless_ports(target: Target) -> None:
    """Send without end to ports that read nothing, in messages as large as they may be."""
    ports = ",".join([str(_LISTENS)] * 64)
    pieces = [message(bytes([2 * at]) + b"x" * (4 * _MIB - 1)) for at in range(64)]
    await _held(target, 4, f"portforward?ports={ports}", itertools.cycle(pieces))


STREAM_ATTACKS: Mapping[str, Attack] = {
    attack.__name__.replace("_", "-"): attack
    for attack in (
        idle_tls_connections,
        unread_commands,
        unread_attachments,
        endless_input,
        unread_logs,
        unread_forwards,
        endless_forwards,
        endless_ports,
    )
}


def _session(port: int, sent: bytes) -> list[bytes]:
    """Return a session of SPDY that forwards many connections, and sends on each of them."""
    encoder = Encoder()
    pieces = []
    for at in range(_FORWARDED):
        for stream, kind in ((4 * at + 1, "error"), (4 * at + 3, "data")):
            fields = {"streamtype": kind, "port": str(port), "requestid": str(at)}
            pieces.append(message(encoder.syn_stream(stream, fields)))
    for _ in range(8 if sent else 0):
        pieces += [message(data_frame(4 * at + 3, sent)) for at in range(_FORWARDED)]
    return pieces


async def _held(
    target: Target,
    count: int,
    request: str,
    sent: "itertools.repeat[bytes] | itertools.cycle[bytes] | list[bytes] | tuple[()]" = (),
    protocol: str = "v5.channel.k8s.io",
) -> None:
    """Open WebSockets, send on them, and read nothing of them until the server ends them."""
    head = (
        f"GET {_POD}/{request} HTTP/1.1\r\nHost: localhost\r\n{target.field}"
        "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
        f"Sec-WebSocket-Protocol: {protocol}\r\n\r\n"
    )

    async def hold(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(head.encode())
        await reader.readuntil(b"\r\n\r\n")
        for piece in sent:
            writer.write(piece)
            await writer.drain()
        while not writer.is_closing():  # noqa: ASYNC110 - tells no event to who does not read
            await asyncio.sleep(1)

    await many(target, count, hold)
