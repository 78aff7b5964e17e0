"""`upwell pipeline`: show the stages of Pipelines."""

import asyncio
from collections.abc import Sequence

import click

from upwell.api.pipeline import Freeze, Pipeline
from upwell.api.promotion import Promotion, Release
from upwell.cli.core.connection import Session, connection_options
from upwell.cli.core.errors import CommandError, Exit
from upwell.cli.core.examples import examples
from upwell.cli.core.output import Format, output_option, write_report
from upwell.cli.core.terminal import echo
from upwell.cli.core.waiting import watching
from upwell.cli.presentation.states import echo_states
from upwell.cli.promotion.pipeline_status import PipelineView
from upwell.cli.promotion.requests import named_pipeline
from upwell.machine import clock
from upwell.store.interface import ApiClient, Selector
from upwell.store.kubernetes_errors import StoreForbiddenError


@click.group(
    no_args_is_help=True,
    epilog=examples("upwell pipeline status", "upwell pipeline status shop -w"),
)
def pipeline() -> None:
    """Show the stages of Pipelines and the Releases in them."""


@pipeline.command(
    epilog=examples(
        "upwell pipeline status",
        "upwell pipeline status shop -o wide",
        "upwell pipeline status shop -w",
        "upwell pipeline status -A -o json",
    )
)
@click.argument("name", required=False, metavar="[PIPELINE]")
@click.option("-A", "--all-namespaces", is_flag=True, help="Show the pipelines of all namespaces.")
@click.option(
    "-w",
    "--watch",
    is_flag=True,
    help="Print the status again after each change, until interrupted.",
)
@output_option(Format.TABLE, Format.WIDE, Format.JSON, Format.YAML)
@connection_options
@click.pass_obj
def status(
    session: Session,
    name: str | None,
    all_namespaces: bool,  # noqa: FBT001 - click passes options by name
    watch: bool,  # noqa: FBT001 - the same
    output: str,
) -> None:
    """Show the stages as columns: the serving Release, its age and verdict, the next Release.

    Below them: what waits, for what, and until when. `-o wide` adds images, checks and approvals.
    """
    namespace = "" if all_namespaces else session.namespace
    wanted = Selector(namespace, name=named_pipeline(name) if name else "")

    async def work(client: ApiClient) -> None:
        await _show(client, wanted, output)
        if watch:
            await _follow(client, wanted, output)

    session.run(work)


async def _show(client: ApiClient, wanted: Selector, output: str) -> None:
    views = await _read(client, wanted)
    if wanted.name and not views:
        raise CommandError(
            f"pipeline/{wanted.name} does not exist; `upwell pipeline status -A` lists all",
            Exit.NOT_FOUND,
        )
    if output not in {Format.TABLE, Format.WIDE}:
        write_report("PipelineStatusList", [view.data() for view in views], output)
        return
    for at, view in enumerate(views):
        if at:
            echo()
        for line in view.lines(wide=output == Format.WIDE):
            echo_states(line)
    if not views:
        where = f"namespace {wanted.namespace}" if wanted.namespace else "any namespace"
        echo(f"no pipelines in {where}; `upwell new-app --stages` creates one", err=True)


async def _read(client: ApiClient, wanted: Selector) -> Sequence[PipelineView]:
    here = Selector(wanted.namespace)
    async with asyncio.TaskGroup() as tasks:
        pipelines = tasks.create_task(client.list(Pipeline, wanted))
        releases = tasks.create_task(client.list(Release, here))
        promotions = tasks.create_task(client.list(Promotion, here))
        freezes = tasks.create_task(_freezes(client))
    return [
        PipelineView(
            one,
            [r for r in releases.result().items if _is_of(r, one)],
            [p for p in promotions.result().items if _is_of(p, one)],
            freezes.result(),
            clock.now(),
        )
        for one in pipelines.result().items
    ]


async def _freezes(client: ApiClient) -> Sequence[Freeze]:
    """Return all freezes, which are cluster-wide; none without the right to read them."""
    try:
        return (await client.list(Freeze)).items
    except StoreForbiddenError:
        return []


def _is_of(one: Release | Promotion, pipeline: Pipeline) -> bool:
    return (one.namespace, one.spec.pipeline) == (pipeline.namespace, pipeline.name)


async def _follow(client: ApiClient, wanted: Selector, output: str) -> None:
    """Print all again after each change of a Pipeline's status, until interrupted."""
    listing = await client.list(Pipeline, wanted)
    known = {one.key: one.status for one in listing.items}
    async with watching(client, Pipeline, wanted, since=listing.resource_version) as events:
        async for event in events:
            if known.get(event.resource.key) == event.resource.status:
                continue
            known[event.resource.key] = event.resource.status
            echo("---" if output == Format.YAML else "")
            await _show(client, wanted, output)
