"""`upwell cp`: copy files and folders to and from containers."""

import posixpath

import click

from upwell.cli.core.connection import Session, connection_options
from upwell.cli.core.errors import CommandError, Exit
from upwell.cli.core.examples import examples
from upwell.cli.core.terminal import echo
from upwell.cli.workloads.copies import copy_options, is_folder, local, packed, receive, send
from upwell.cli.workloads.packing import Packing
from upwell.cli.workloads.remote_paths import FilePath, parse_pair
from upwell.cli.workloads.unpacking import Unpacking
from upwell.store.interface import ApiClient, UnavailableError


@click.command(
    epilog=examples(
        "upwell cp /tmp/foo_dir shop-1:/tmp/bar_dir",
        "upwell cp deployment/shop:/var/log/shop.log shop.log",
        "upwell cp ./settings.ini web/shop-1:/etc/settings.ini -c log",
        "upwell cp --no-preserve site dc/gate:/var/www",
    )
)
@click.argument("paths", nargs=-1, metavar="SOURCE DESTINATION")
@copy_options
@click.option(
    "--no-preserve", is_flag=True, help="Keep neither owners nor permissions in the container."
)
@click.option(
    "--retries",
    type=int,
    default=0,
    show_default=True,
    help="Times to copy again from a container when the connection breaks; below 0 for ever.",
)
@connection_options
@click.pass_obj
def cp(
    session: Session,
    paths: tuple[str, ...],
    container: str,
    max_bytes: int,
    no_preserve: bool,  # noqa: FBT001 - click passes options by name
    retries: int,
) -> None:
    """Copy files and folders to and from containers.

    A path in a container is [NAMESPACE/]POD:PATH or KIND/NAME:PATH, of a workload's instance that
    is ready. The container needs tar. What comes from a container is checked: links and special
    files are left out, and a name that leads out of DESTINATION ends the copy.
    """
    source, destination, _ = parse_pair(session, paths, container)

    async def work(client: ApiClient) -> None:
        if source.place is None:
            await _send(client, source, destination, preserve=not no_preserve)
            return
        tries = 0
        while True:
            try:
                await _receive(client, source, destination, max_bytes)
            except (CommandError, UnavailableError) as error:
                is_lost = getattr(error, "exit_code", Exit.UNREACHABLE) == Exit.UNREACHABLE
                if not is_lost or 0 <= retries <= tries:
                    raise
                tries += 1
                echo(f"copying again, retry {tries}/{retries}: {error}", err=True)
            else:
                return

    session.run(work)


async def _send(
    client: ApiClient, source: FilePath, destination: FilePath, *, preserve: bool
) -> None:
    path = local(source.path)
    if not path.exists():
        raise CommandError(f"{path} doesn't exist in local filesystem", Exit.USAGE)
    into = posixpath.normpath(destination.path)
    if await is_folder(client, destination):
        into = posixpath.join(into, path.resolve().name)
    flags = ("-xmf", "-") if preserve else ("--no-same-permissions", "--no-same-owner", "-xmf", "-")
    packing = Packing(path, posixpath.basename(into))
    await send(client, packing, destination, posixpath.dirname(into) or ".", flags)


async def _receive(
    client: ApiClient, source: FilePath, destination: FilePath, max_bytes: int
) -> None:
    command, prefix = packed(source.path)
    unpacking = Unpacking(prefix, local(destination.path), max_bytes)
    await receive(client, source, command, unpacking)
