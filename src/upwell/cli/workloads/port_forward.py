"""`upwell port-forward`: forward local ports to an instance, through the server."""

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import click

from upwell.cli.core.addresses import PORT_RANGE, parse_port
from upwell.cli.core.connection import Session, connection_options
from upwell.cli.core.errors import CommandError
from upwell.cli.core.examples import examples
from upwell.cli.core.terminal import echo
from upwell.cli.core.waiting import until
from upwell.cli.workloads.forward_targets import ForwardTarget, target_of
from upwell.store.interface import ApiClient, Conversation, StoreError
from upwell.store.kubernetes_errors import StoreForbiddenError

_DATA, _ERROR, _CLOSE = 0, 1, 255
_CHUNK = 64 * 1024
_RESET = struct.pack("ii", 1, 0)
"""Linger for no time: what is closed then is reset (socket(7))."""

type Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Coroutine[Any, Any, None]]


@click.command(
    epilog=examples(
        "upwell port-forward deployment/shop 8080",
        "upwell port-forward dc/gate 9000:8080 9443:8443",
        "upwell port-forward service/shop 8080:80",
        "upwell port-forward pod/upwell-default-deploy-shop-1b2c3d4e-0 :5432",
    )
)
@click.argument("what", metavar="[KIND/]NAME")
@click.argument("ports", nargs=-1, required=True, metavar="[[LOCAL]:]REMOTE...")
@click.option("--instance", help="Instance of the workload.  [default: one that is ready]")
@connection_options
@click.pass_obj
def port_forward(session: Session, what: str, ports: tuple[str, ...], instance: str | None) -> None:
    """Listen on local ports, and forward connections to an instance, until interrupted.

    Each connection goes to an instance that is ready at that time; REMOTE of a Service is a port
    of the Service. A NAME alone is a Pod's. An empty LOCAL port is chosen and printed.

    A server that stops ends the connections, which is printed; new ones are forwarded once it runs
    again. The exit code is 3 when what is forwarded to is deleted.
    """
    target = target_of(what, session.namespace, instance or "")
    pairs = [_ports(text) for text in ports]

    async def work(client: ApiClient) -> None:
        async with await target.converse(client, pairs[0][1]):
            pass  # report a wrong target now
        await _listen(client, target, pairs)

    session.run(work)


def _ports(text: str) -> tuple[int, int]:
    """Return local and remote port; local 0 stands for any free port."""
    local, colon, remote = text.rpartition(":")
    local = local or ("0" if colon else remote)
    ports = [0 if local == "0" else parse_port(local), parse_port(remote)]
    if None in ports:
        why = f": {PORT_RANGE}" if local.isdigit() and remote.isdigit() else ""
        raise click.BadParameter(f"{text!r} is not [[LOCAL]:]REMOTE{why}", param_hint="PORTS")
    return ports[0] or 0, ports[1] or 0


async def _listen(
    client: ApiClient, target: ForwardTarget, pairs: Sequence[tuple[int, int]]
) -> None:
    async with AsyncExitStack() as stack:
        for local, remote in pairs:
            try:
                server = await asyncio.start_server(
                    _forwarding(client, target, remote), "127.0.0.1", local
                )
            except OSError as error:
                raise CommandError(
                    f"cannot listen on 127.0.0.1:{local}: {error.strerror}"
                ) from error
            await stack.enter_async_context(server)
            number = server.sockets[0].getsockname()[1]
            echo(f"forwarding from 127.0.0.1:{number} to port {remote} of {target.named}")
        await _until_deleted(client, target)


async def _until_deleted(client: ApiClient, target: ForwardTarget) -> None:
    """Raise CommandError when the target is deleted; print when the server goes and comes."""
    try:
        found = await client.get(target.named.resource, target.namespace, target.named.name)
        await until(client, found, lambda _: False)
    except StoreForbiddenError:  # may connect, and not look
        await asyncio.get_running_loop().create_future()


def _forwarding(client: ApiClient, target: ForwardTarget, port: int) -> Serve:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with (
                _closing(writer),
                await target.converse(client, port) as conversation,
            ):
                sending = asyncio.create_task(_send(reader, conversation))
                try:
                    await _receive(conversation, writer)
                finally:
                    sending.cancel()
                    await asyncio.wait({sending})
        except (OSError, StoreError, CommandError) as error:
            echo(f"lost a forwarded connection to port {port}: {error}", err=True)

    return serve


async def _send(reader: asyncio.StreamReader, conversation: Conversation) -> None:
    with contextlib.suppress(OSError, StoreError):  # the receiving side reports the error
        while piece := await reader.read(_CHUNK):
            await conversation.send(bytes((_DATA,)) + piece)
        await conversation.send(bytes((_CLOSE, _DATA)))


async def _receive(conversation: Conversation, writer: asyncio.StreamWriter) -> None:
    """Copy until the end; raises CommandError with the error of the instance's side."""
    begun = set()
    async for message in conversation.messages():
        channel, piece = message[0], message[1:]
        if channel == _CLOSE:
            writer.write_eof()
        elif channel not in begun:
            begun.add(channel)  # the first message repeats the port's number
        elif channel == _ERROR:
            raise CommandError(piece.decode(errors="replace"))
        else:
            writer.write(piece)
            await writer.drain()


@asynccontextmanager
async def _closing(writer: asyncio.StreamWriter) -> AsyncIterator[None]:
    """Close a connection at the end; after an error reset it, so that its end is no good one."""
    try:
        yield
    except (OSError, StoreError, CommandError):
        connection: socket.socket = writer.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        writer.transport.abort()
        raise
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
