"""`upwell rollback`: put an earlier Release back into a stage."""

from typing import Any

import click

from upwell.api.pipeline import Pipeline
from upwell.cli.core.connection import Session, connection_options
from upwell.cli.core.examples import examples
from upwell.cli.promotion.requests import (
    Following,
    ask,
    finish,
    following_options,
    named_pipeline,
    named_release,
    run_option,
)
from upwell.store.interface import ApiClient


@click.command(
    epilog=examples(
        "upwell rollback pipeline/shop --stage production --reason 'orders are lost' --wait",
        "upwell rollback shop --stage production --to shop-5 --reason 'shop-6 leaks memory'",
    )
)
@click.argument("pipeline", metavar="PIPELINE")
@click.option("--stage", required=True, help="The stage to put back.")
@click.option(
    "--to",
    "release",
    default="",
    show_default="the one that served before",
    metavar="RELEASE",
    help="A Release that got through this stage before.",
)
@click.option("--reason", required=True, help="Shown everywhere the stage is.")
@run_option
@following_options
@connection_options
@click.pass_obj
def rollback(session: Session, /, pipeline: str, **options: Any) -> None:
    """Put an earlier Release back into a stage, and hold the stage there.

    It waits for nothing, and is not verified again. Nothing newer comes until
    `upwell resume pipeline/NAME --stage STAGE`.
    """
    following = Following.taken(options)
    name = named_pipeline(pipeline)
    body = {**options, "release": named_release(options["release"]) if options["release"] else ""}

    async def work(client: ApiClient) -> None:
        promotion = await ask(client, Pipeline, (session.namespace, name), "rollback", body)
        click.echo(
            f"stage {promotion.spec.stage} is held until"
            f" `upwell resume pipeline/{name} --stage {promotion.spec.stage}`",
            err=True,
        )
        await finish(client, promotion, following)

    session.run(work)
