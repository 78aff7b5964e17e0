"""`upwell delete`: delete objects."""

import asyncio
from typing import TYPE_CHECKING

import click

from upwell.cli.core.connection import Session, connection_options
from upwell.cli.core.documents import load_manifests
from upwell.cli.core.durations import TIMEOUT, within
from upwell.cli.core.examples import examples
from upwell.cli.core.names import parse_named
from upwell.cli.core.output import full_name
from upwell.cli.core.terminal import echo
from upwell.cli.core.waiting import until_deleted
from upwell.store.interface import ApiClient, NotFoundError

if TYPE_CHECKING:
    from upwell.api.meta import Resource


@click.command(
    epilog=examples(
        "upwell delete build/shop-1 build/shop-2",
        "upwell delete dc gate --wait",
        "upwell delete -f examples/glibc --ignore-not-found",
    )
)
@click.argument("what", nargs=-1, metavar="[KIND/NAME]...")
@click.option(
    "-f",
    "--filename",
    "sources",
    multiple=True,
    metavar="SOURCE",
    help="Delete the objects of a file, folder, URL or - for stdin; repeatable.",
)
@click.option("-R", "--recursive", is_flag=True, help="Read the subfolders of a folder as well.")
@click.option("--wait", is_flag=True, help="Wait until the objects are gone.")
@click.option(
    "--timeout",
    type=TIMEOUT,
    default="5m",
    show_default=True,
    help="Time limit of --wait; 0 for none.",
)
@click.option("--ignore-not-found", is_flag=True, help="Succeed for an object that does not exist.")
@connection_options
@click.pass_obj
def delete(
    session: Session,
    what: tuple[str, ...],
    sources: tuple[str, ...],
    recursive: bool,  # noqa: FBT001 - click passes options by name
    wait: bool,  # noqa: FBT001 - the same
    timeout: float,
    ignore_not_found: bool,  # noqa: FBT001 - the same
) -> None:
    """Delete objects by name or from manifests."""
    if bool(what) == bool(sources):
        raise click.UsageError("name objects as KIND/NAME, or manifests with -f, not both")
    if sources:
        manifests = load_manifests(sources, session, recursive=recursive)
        # Objects that depend on others go first.
        targets = [
            (type(m.resource), m.resource.namespace, m.resource.name) for m in reversed(manifests)
        ]
    else:
        targets = [
            (one.resource, one.namespace(session.namespace), one.name) for one in parse_named(what)
        ]

    async def work(client: ApiClient) -> None:
        deleted: list[Resource] = []
        for kind, namespace, name in targets:
            try:
                found = await client.get(kind, namespace, name)
                await client.delete(kind, namespace, name)
            except NotFoundError:
                if not ignore_not_found:
                    raise
                continue
            deleted.append(found)
            echo(f"{full_name(found)} deleted")
        if wait:
            async with within(timeout, "the objects still exist"), asyncio.TaskGroup() as tasks:
                for found in deleted:
                    tasks.create_task(until_deleted(client, found))

    session.run(work)
