"""`upwell rollback`: roll a stage back to an earlier Release."""

from typing import Any

import click

from upwell.api.pipeline import Pipeline
from upwell.cli.core.connection import Session, connection_options
from upwell.cli.core.examples import examples
from upwell.cli.core.terminal import echo
from upwell.cli.promotion.requests import (
    WaitOptions,
    ask,
    finish,
    named_pipeline,
    named_release,
    run_option,
    wait_options,
)
from upwell.store.interface import ApiClient


@click.command(
    epilog=examples(
        "upwell rollback pipeline/shop --stage production --reason 'orders are lost' --wait",
        "upwell rollback shop --stage production --to shop-5 --reason 'shop-6 leaks memory'",
    )
)
@click.argument("pipeline", metavar="PIPELINE")
@click.option("--stage", required=True, help="Stage to roll back.")
@click.option(
    "--to",
    "release",
    default="",
    show_default="the one that served before",
    metavar="RELEASE",
    help="Release to return to, which passed this stage before.",
)
@click.option("--reason", required=True, help="Reason to show with the stage.")
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
