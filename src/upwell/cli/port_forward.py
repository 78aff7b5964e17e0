"""`upwell port-forward`: a local port that leads to a port of a workload's instance."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import click

from upwell.api.apps import Job
from upwell.cli.connection import Session, connection_options
from upwell.cli.errors import CommandError, Exit
from upwell.cli.examples import examples
from upwell.cli.names import parse_one
from upwell.policy.rollout_settings import WORKLOADS
from upwell.store.interface import ApiClient

_CHUNK = 64 * 1024
_CONNECT_SECONDS = 5.0
_HIGHEST_PORT = 65535

type Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Coroutine[Any, Any, None]]


@click.command(
    epilog=examples(
        "upwell port-forward deployment/shop 8080", "upwell port-forward dc/gate 9000:8080"
    )
)
@click.argument("what", metavar="KIND/NAME")
@click.argument("ports", metavar="[LOCAL:]REMOTE")
@click.option("--instance", help="An instance of the workload.  [default: one that is ready]")
@connection_options
@click.pass_obj
def port_forward(session: Session, what: str, ports: str, instance: str | None) -> None:
    """Listen on a local port until interrupted, and lead connections to an instance's port.

    Each connection goes to an instance that is ready then. The instances' network is that of the
    server's machine: call this there.
    """
    named = parse_one((what,))
    if not issubclass(named.resource, (*WORKLOADS, Job)):
        raise click.UsageError(f"{named} has no instances: workloads have")
    local, remote = _ports(ports)

    async def work(client: ApiClient) -> None:
        place = (named.resource, named.namespace(session.namespace), named.name)

        async def address() -> str:
            found = (await client.call("GET", *place, "instances"))["items"]
            for one in found:
                if one["ready"] and one["address"] and instance in {None, one["name"]}:
                    return str(one["address"])
            raise CommandError(f"{named} has no instance that is ready", Exit.NOT_FOUND)

        await _check(await address(), remote)
        server = await asyncio.start_server(_forwarding(address, remote), "127.0.0.1", local)
        async with server:
            number = server.sockets[0].getsockname()[1]
            click.echo(f"forwarding from 127.0.0.1:{number} to port {remote} of {named}")
            await server.serve_forever()

    session.run(work)


def _ports(text: str) -> tuple[int, int]:
    local, _, remote = text.rpartition(":")
    numbers = []
    for part in (local or remote, remote):
        if not (part.isascii() and part.isdigit() and int(part) <= _HIGHEST_PORT):
            raise click.BadParameter(f"{text!r} is not [LOCAL:]REMOTE", param_hint="PORTS")
        numbers.append(int(part))
    return numbers[0], numbers[1]


async def _check(address: str, port: int) -> None:
    try:
        async with asyncio.timeout(_CONNECT_SECONDS):
            _, writer = await asyncio.open_connection(address, port)
            async with _closing(writer):
                pass
    except (OSError, TimeoutError) as error:
        raise CommandError(
            f"{address}:{port} cannot be reached from here: {str(error) or 'no answer'}; does it"
            " listen there, and is this the server's machine?"
        ) from error


def _forwarding(address: Callable[[], Coroutine[Any, Any, str]], port: int) -> Serve:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there, back = await asyncio.open_connection(await address(), port)
            async with _closing(back), asyncio.TaskGroup() as group:
                group.create_task(_copy(reader, back))
                group.create_task(_copy(there, writer))
        except (OSError, CommandError) as error:
            click.echo(f"connection lost: {error}", err=True)
        finally:
            async with _closing(writer):
                pass

    return serve


@asynccontextmanager
async def _closing(writer: asyncio.StreamWriter) -> AsyncIterator[None]:
    try:
        yield
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def _copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while chunk := await source.read(_CHUNK):
            target.write(chunk)
            await target.drain()
        target.write_eof()
