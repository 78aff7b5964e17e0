"""`upwell pipeline`: show the stages of Pipelines."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, override

import click

from upwell.api.meta import Resource
from upwell.api.pipeline import Freeze, Pipeline
from upwell.api.promotion import Promotion, Release
from upwell.cli.core.connection import Session, connection_options
from upwell.cli.core.errors import CommandError, Exit
from upwell.cli.core.examples import examples
from upwell.cli.core.output import Format, output_option, write_report
from upwell.cli.core.terminal import echo
from upwell.cli.presentation.following import PrintedReport, print_on_changes
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
        if watch:
            read = partial(_read, client, wanted, output)
            await print_on_changes(client, _WATCHED, namespace, read, output)
        else:
            (await _read(client, wanted, output)).write()

    session.run(work)


_WATCHED: Sequence[type[Resource]] = (Pipeline, Release, Promotion)
"""Kinds of whose changes Pipelines are shown again."""


@dataclass(frozen=True, slots=True)
class _Shown(PrintedReport):
    """Pipelines at one time."""

    wanted: Selector
    views: Sequence[PipelineView]
    output: str

    @override
    def said(self) -> Sequence[Mapping[str, Any]]:
        """Return them as JSON data, with what waits, and for what."""
        return [view.data() for view in self.views]

    @override
    def write(self) -> None:
        """Write them to stdout."""
        if self.output not in {Format.TABLE, Format.WIDE}:
            write_report("PipelineStatusList", self.said(), self.output)
            return
        for at, view in enumerate(self.views):
            if at:
                echo()
            for line in view.lines(wide=self.output == Format.WIDE):
                echo_states(line)
        if not self.views:
            namespace = self.wanted.namespace
            where = f"namespace {namespace}" if namespace else "any namespace"
            echo(f"no pipelines in {where}; `upwell new-app --stages` creates one", err=True)


async def _read(client: ApiClient, wanted: Selector, output: str) -> _Shown:
    here = Selector(wanted.namespace)
    async with asyncio.TaskGroup() as tasks:
        pipelines = tasks.create_task(client.list(Pipeline, wanted))
        releases = tasks.create_task(client.list(Release, here))
        promotions = tasks.create_task(client.list(Promotion, here))
        freezes = tasks.create_task(_freezes(client))
    views = [
        PipelineView(
            one,
            [r for r in releases.result().items if _is_of(r, one)],
            [p for p in promotions.result().items if _is_of(p, one)],
            freezes.result(),
            clock.now(),
        )
        for one in pipelines.result().items
    ]
    if wanted.name and not views:
        raise CommandError(
            f"pipeline/{wanted.name} does not exist; `upwell pipeline status -A` lists all",
            Exit.NOT_FOUND,
        )
    return _Shown(wanted, views, output)


async def _freezes(client: ApiClient) -> Sequence[Freeze]:
    """Return all freezes, which are cluster-wide; none without the right to read them."""
    try:
        return (await client.list(Freeze)).items
    except StoreForbiddenError:
        return []


def _is_of(one: Release | Promotion, pipeline: Pipeline) -> bool:
    return (one.namespace, one.spec.pipeline) == (pipeline.namespace, pipeline.name)
