"""Copies between this machine and a container, by tar in the container."""

import posixpath
from collections.abc import AsyncIterator, Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import click

from upwell.api.values.quantities import InvalidQuantityError, parse_quantity
from upwell.cli.core.errors import CommandError
from upwell.cli.workloads.conversations import Place, Ran, run_quietly
from upwell.cli.workloads.packing import Packing
from upwell.cli.workloads.remote_paths import FilePath
from upwell.cli.workloads.unpacking import Unpacking
from upwell.store.interface import ApiClient

_NOT_RUN = (126, 127)


def copy_options[F: Callable[..., Any]](function: F) -> F:
    """Add -c and --max-size to a command."""
    for option in (
        click.option(
            "--max-size",
            "max_bytes",
            metavar="SIZE",
            default="16Gi",
            show_default=True,
            callback=_size,
            help="Bytes that a copy from a container may have.",
        ),
        click.option(
            "-c",
            "--container",
            default="",
            show_default="the first",
            help="Container of the pod.",
        ),
    ):
        function = option(function)
    return function


def _size(ctx: click.Context, parameter: click.Parameter, value: str) -> int:
    try:
        size = parse_quantity(value)
    except InvalidQuantityError as error:
        raise click.BadParameter(str(error), ctx, parameter) from error
    if not Decimal(0) < size < Decimal(2**63):
        raise click.BadParameter(f"{value} is no size", ctx, parameter)
    return int(size)


async def send(
    client: ApiClient, packing: Packing, destination: FilePath, folder: str, flags: tuple[str, ...]
) -> None:
    """Unpack local files in a folder of a container; raises CommandError."""
    place = _place(destination)
    command = ("tar", *flags, "-C", folder)
    ran, _ = await run_quietly(client, place, command, packing.pieces())
    _expect(ran, f"cannot copy to {destination}")


async def receive(
    client: ApiClient, source: FilePath, command: tuple[str, ...], unpacking: Unpacking
) -> None:
    """Unpack here what a command in a container writes; raises CommandError."""
    async with _place(source).execute(client, command) as conversation:
        ran = Ran(conversation)
        try:
            await unpacking.take(ran.stdout())
        except CommandError:
            _expect(ran, f"cannot copy from {source}")
            raise
    _expect(ran, f"cannot copy from {source}")


async def is_folder(client: ApiClient, path: FilePath) -> bool:
    """Return whether a path in a container is a folder."""
    ran, _ = await run_quietly(client, _place(path), ("test", "-d", path.path))
    return ran.code == 0


def packed(path: str) -> tuple[tuple[str, ...], str]:
    """Return the command that packs a path, and the prefix of its entries."""
    clean = posixpath.normpath(path)
    name = posixpath.basename(clean)
    if name in {"", ".", ".."}:
        return ("tar", "-cf", "-", "-C", clean, "."), ""
    return ("tar", "-cf", "-", "-C", posixpath.dirname(clean) or ".", f"./{name}"), name


def local(path: str) -> Path:
    """Return a path here; `~` is the user's folder."""
    return Path(path).expanduser()


async def texts(pieces: list[bytes]) -> AsyncIterator[bytes]:
    """Yield these pieces."""
    for piece in pieces:
        yield piece


def _place(path: FilePath) -> Place:
    if path.place is None:
        raise TypeError(f"{path} is here")
    return path.place


def _expect(ran: Ran, what: str) -> None:
    if ran.code in _NOT_RUN:
        raise CommandError(f"{what}: the container has no tar: {ran.message}")
    ran.expect_success(what)
