"""`upwell rollback`: roll a stage back to an earlier Release."""

import contextlib
from collections.abc import Mapping
from typing import Any, override

import click

from upwell.api.decoding.kinds import find_names
from upwell.api.pipeline import Pipeline
from upwell.cli.core.connection import Session, connection_options
from upwell.cli.core.errors import CommandError, Exit
from upwell.cli.core.examples import examples
from upwell.cli.core.terminal import echo
from upwell.cli.hints.similar import workload_named
from upwell.cli.promotion.requests import (
    WaitOptions,
    ask,
    finish,
    named_pipeline,
    named_release,
    run_option,
    wait_options,
)
from upwell.policy.rollouts.settings import WORKLOADS
from upwell.store.interface import ApiClient, Selector


class _RequiredOfPipeline(click.Option):
    """A required option, missed by the command itself: first it looks at what is to roll back."""

    @override
    def value_is_missing(self, value: Any) -> bool:
        return False


@click.command(
    epilog=examples(
        "upwell rollback pipeline/shop --stage production --reason 'orders are lost' --wait",
        "upwell rollback shop --stage production --to shop-5 --reason 'shop-6 leaks memory'",
    )
)
@click.argument("pipeline", metavar="PIPELINE")
@click.option(
    "--stage", cls=_RequiredOfPipeline, required=True, default="", help="Stage to roll back."
)
@click.option(
    "--to",
    "release",
    default="",
    show_default="the one that served before",
    metavar="RELEASE",
    help="Release to return to, which passed this stage before.",
)
@click.option(
    "--reason",
    cls=_RequiredOfPipeline,
    required=True,
    default="",
    help="Reason to show with the stage.",
)
@run_option
@wait_options
@connection_options
@click.pass_obj
def rollback(session: Session, /, pipeline: str, **options: Any) -> None:
    """Roll a stage back to an earlier Release, and hold the stage there.

    A rollback waits for nothing, and is not verified again. The stage gets no newer Release until
    `upwell resume pipeline/NAME --stage STAGE`.
    """
    waiting = WaitOptions.take_from(options)
    _require(session, pipeline, options)
    name = named_pipeline(pipeline)
    body = {**options, "release": named_release(options["release"]) if options["release"] else ""}

    async def work(client: ApiClient) -> None:
        promotion = await ask(client, Pipeline, (session.namespace, name), "rollback", body)
        echo(
            f"stage {promotion.spec.stage} is held until"
            f" `upwell resume pipeline/{name} --stage {promotion.spec.stage}`",
            err=True,
        )
        await finish(client, promotion, waiting)

    session.run(work)


def _require(session: Session, pipeline: str, options: Mapping[str, Any]) -> None:
    """Raise UsageError unless stage and reason are given, and CommandError for a workload.

    Whoever names neither stage nor reason may mean the workload of that name.
    """
    missing = [f"--{name}" for name in ("stage", "reason") if not options[name]]
    kind, _, name = pipeline.rpartition("/")
    names = find_names(kind) if kind else None
    if names is not None and names.resource() in WORKLOADS:
        raise _not_a_pipeline(f"{names.singular}/{name}")
    if missing and not kind and (workload := _workload_alone(session, name)):
        raise _not_a_pipeline(workload)
    if missing:
        raise click.UsageError(f"Missing option {' and '.join(map(repr, missing))}.")


def _workload_alone(session: Session, name: str) -> str:
    """Return the workload of a name that no Pipeline has; empty where the server does not tell."""
    found: list[str] = []

    async def work(client: ApiClient) -> None:
        selector = Selector(session.namespace, name=name)
        if not (await client.list(Pipeline, selector)).items:
            found.append(await workload_named(client, session.namespace, name))

    with contextlib.suppress(CommandError):
        session.run(work)
    return found[0] if found else ""


def _not_a_pipeline(workload: str) -> CommandError:
    return CommandError(
        f"{workload} is not a pipeline: `upwell rollout undo {workload}` returns it to its"
        " last good revision",
        Exit.USAGE,
    )
