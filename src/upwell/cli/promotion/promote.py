"""`upwell promote`: promote a Release into a stage now."""

from typing import Any

import click

from upwell.api.meta import format_time
from upwell.api.pipeline import Pipeline
from upwell.api.promotion import Promotion, PromotionPhase, Release
from upwell.cli.core.connection import Session, connection_options
from upwell.cli.core.errors import CommandError
from upwell.cli.core.examples import examples
from upwell.cli.core.names import parse_named
from upwell.cli.core.terminal import echo
from upwell.cli.promotion.requests import (
    WaitOptions,
    ask,
    finish,
    require_stage,
    run_option,
    serving,
    wait_options,
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
@click.option("--stage", required=True, help="Stage to promote into.")
@click.option("--reason", default="", show_default="none", help="Reason to show in the history.")
@click.option(
    "--bypass",
    default="",
    show_default="no",
    metavar="REASON",
    help="Reason of an emergency: skip order, approval, windows and freezes. It is recorded."
    " Holds, rejections, quarantines and image policies stay in force.",
)
@click.option(
    "--past-image-policies",
    is_flag=True,
    help="With --bypass: go past image policies too, with exactly the images of this Release;"
    " needs the role overrider.",
)
@click.option(
    "--wait-serving",
    is_flag=True,
    help="Wait until the stage serves the Release, so that a CI can test it; exit 1 if it fails.",
)
@run_option
@wait_options
@connection_options
@click.pass_obj
def promote(session: Session, /, what: str, **options: Any) -> None:
    """Promote a Release into a stage, with the images that were tested: nothing is built again.

    For a Pipeline, that is the newest Release that may enter the stage; with --bypass, the newest
    of all. The promotion still waits for the approval, the windows and the freezes of the stage. A
    Release older than the next one of the stage holds the stage until `upwell resume`. Repeated
    requests lead to one promotion. Where somebody has set another image in a cluster of the stage,
    the Release that serves is promoted again, which puts it back.
    """
    waiting = WaitOptions.take_from(options)
    wait_serving = options.pop("wait_serving")
    if options.pop("past_image_policies"):
        if not options["bypass"]:
            raise click.UsageError("--past-image-policies is for emergencies: give --bypass REASON")
        options["pastImagePolicies"] = True
    [named] = parse_named([what if "/" in what else f"release/{what}"])
    if named.resource not in {Release, Pipeline}:
        raise click.UsageError(f"{named} is neither a release nor a pipeline")

    async def work(client: ApiClient) -> None:
        name = named.name
        if named.resource is Pipeline:
            pipeline = await client.get(Pipeline, session.namespace, name)
            name = _newest(pipeline, options["stage"], emergency=bool(options["bypass"]))
        promotion = await ask(client, Release, (session.namespace, name), "promote", options)
        if promotion.status.phase is PromotionPhase.SUCCEEDED:
            echo(_nothing_done(promotion), err=True)
        if wait_serving:
            promotion = await serving(client, promotion, waiting.limit)
        await finish(client, promotion, waiting)

    session.run(work)


def _nothing_done(promotion: Promotion) -> str:
    """Say that the answer is a promotion of before."""
    ended = promotion.status.ended
    when = f" at {format_time(ended)}" if ended is not None else ""
    text = f"nothing was done: promotion/{promotion.name} has succeeded{when}"
    if not promotion.status.clusters:
        return text
    return f"{text}; an image that is set by hand in a cluster is found within five minutes"


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
    why = (
        f" waits for {status.waits_for}"
        if status.waits_for
        else " has no release that may enter it"
    )
    raise CommandError(f"stage {stage} of pipeline/{pipeline.name}{why}")
