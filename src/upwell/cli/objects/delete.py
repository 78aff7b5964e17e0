"""`upwell delete`: delete objects."""

import asyncio
from collections.abc import Sequence

import click

from upwell.api.meta import Resource
from upwell.cli.core.compose.projects import refuse_other_projects
from upwell.cli.core.connection import Session, connection_options
from upwell.cli.core.durations import TIMEOUT, within
from upwell.cli.core.errors import CommandError
from upwell.cli.core.examples import examples
from upwell.cli.core.kept_options import kept
from upwell.cli.core.output import full_name
from upwell.cli.core.targets import TargetOptions, parse_targets, target_options
from upwell.cli.core.terminal import echo
from upwell.cli.core.waiting import until_deleted
from upwell.store.interface import ApiClient, NotFoundError


@click.command(
    epilog=examples(
        "upwell delete build/shop-1 build/shop-2",
        "upwell delete dc gate --wait",
        "upwell delete -f examples/glibc --ignore-not-found",
        "upwell delete build -l openshift.io/build-config.name=shop",
    )
)
@click.argument("what", nargs=-1, metavar="[KIND/NAME]...")
@target_options
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
@click.pass_context
def delete(
    ctx: click.Context,
    what: tuple[str, ...],
    wait: bool,  # noqa: FBT001 - click passes options by name
    timeout: float,
    ignore_not_found: bool,  # noqa: FBT001 - the same
) -> None:
    """Delete objects by name, by kind with -l or --all, or from manifests."""
    session: Session = ctx.ensure_object(Session)
    chosen = parse_targets(session, kept(ctx, TargetOptions), what)
    # Of manifests, objects that depend on others go first.
    named = list(reversed(chosen.named)) if chosen.manifests else list(chosen.named)

    async def work(client: ApiClient) -> None:
        await refuse_other_projects(client, chosen.manifests)
        targets = named
        if chosen.kinds:
            try:
                found = await chosen.read(client)
            except CommandError as error:
                echo(error.message, err=True)  # nothing is left of them, as was asked for
                return
            targets = [(type(one), one.namespace, one.name) for one in found]
        deleted = await _delete(client, targets, ignore_not_found=ignore_not_found)
        if wait:
            async with within(timeout, "the objects still exist"), asyncio.TaskGroup() as tasks:
                for one in deleted:
                    tasks.create_task(until_deleted(client, one))

    session.run(work)


async def _delete(
    client: ApiClient, targets: Sequence[tuple[type[Resource], str, str]], *, ignore_not_found: bool
) -> list[Resource]:
    """Delete objects, print each, and return them as they were.

    One that is not there keeps none of the others. Raises StoreError.
    """
    deleted: list[Resource] = []
    missing: list[NotFoundError] = []
    for kind, namespace, name in targets:
        try:
            found = await client.get(kind, namespace, name)
            await client.delete(kind, namespace, name)
        except NotFoundError as error:
            missing.append(error)
            continue
        deleted.append(found)
        echo(f"{full_name(found)} deleted")
    if missing and not ignore_not_found:
        for one in missing[:-1]:
            echo(f"error: {one}", err=True)
        raise missing[-1]
    return deleted
