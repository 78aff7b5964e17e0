"""`upwell promote`: bring a Release into a stage now."""

from typing import Any

import click

from upwell.api.pipeline import Pipeline
from upwell.api.promotion import Release
from upwell.cli.core.connection import Session, connection_options
from upwell.cli.core.errors import CommandError
from upwell.cli.core.examples import examples
from upwell.cli.core.names import parse_named
from upwell.cli.promotion.requests import (
    Following,
    ask,
    finish,
    following_options,
    require_stage,
    run_option,
    serving,
)
from upwell.store.interface import ApiClient


@click.command(
    epilog=examples(
        "upwell promote shop-7 --stage staging --wait --timeout 30m",
        "upwell promote shop-7 --stage staging --wait-serving",
        "upwell promote pipeline/shop --stage production",
        "upwell promote shop-5 --stage production --reason 'shop-6 is too slow'",
        "upwell promote shop-8 --stage production --bypass 'CVE-2026-1234 is being exploited'",
    )
)
@click.argument("what", metavar="RELEASE|pipeline/NAME")
@click.option("--stage", required=True, help="The stage to bring it into.")
@click.option("--reason", default="", show_default="none", help="Shown in the history.")
@click.option(
    "--bypass",
    default="",
    show_default="no",
    metavar="REASON",
    help="An emergency: wait for no order, approval, window or freeze. It is written down. Holds,"
    " rejections and quarantines stay in force.",
)
@click.option(
    "--wait-serving",
    is_flag=True,
    help="Wait until the stage serves it, so that a CI can test it; exit 1 unless it does.",
)
@run_option
@following_options
@connection_options
@click.pass_obj
def promote(session: Session, /, what: str, **options: Any) -> None:
    """Bring a Release into a stage, as it was tested: nothing is built again.

    Of a Pipeline, it is the newest Release that may enter the stage; in an emergency, the newest
    of all. It still waits for the approval, the windows and the freezes of the stage. A Release
    that is older than what the stage would get by itself holds the stage: `upwell resume` lifts
    that. Asking twice comes to one promotion.
    """
    following = Following.taken(options)
    wait_serving = options.pop("wait_serving")
    [named] = parse_named([what if "/" in what else f"release/{what}"])
    if named.resource not in {Release, Pipeline}:
        raise click.UsageError(f"{named} is neither a release nor a pipeline")

    async def work(client: ApiClient) -> None:
        name = named.name
        if named.resource is Pipeline:
            pipeline = await client.get(Pipeline, session.namespace, name)
            name = _newest(pipeline, options["stage"], emergency=bool(options["bypass"]))
        promotion = await ask(client, Release, (session.namespace, name), "promote", options)
        if wait_serving:
            promotion = await serving(client, promotion, following.limit)
        await finish(client, promotion, following)

    session.run(work)


def _newest(pipeline: Pipeline, stage: str, *, emergency: bool) -> str:
    """Return the newest Release that may enter a stage, or that it has; raises CommandError."""
    require_stage(pipeline, stage)
    latest, status = pipeline.status.latest_release, pipeline.status.stage(stage)
    if emergency and latest:
        return latest
    if status.candidate:
        return status.candidate
    if latest and status.release == latest:
        return latest
    why = f" waits for {status.waits_for}" if status.waits_for else " has no release that may enter"
    raise CommandError(f"stage {stage} of pipeline/{pipeline.name}{why}")
