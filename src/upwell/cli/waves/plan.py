"""`upwell plan`: what a change of an image would reach."""

import click

from upwell.api.waves.plan import ImpactPlanSpec
from upwell.cli.core.connection import Session, connection_options
from upwell.cli.core.errors import CommandError, Exit
from upwell.cli.core.examples import examples
from upwell.cli.core.output import Format, output_option, write_report
from upwell.cli.core.terminal import echo
from upwell.cli.presentation.states import echo_states
from upwell.cli.waves.asked_plan import asked_plan
from upwell.cli.waves.plan_view import (
    dot_lines,
    hidden_lines,
    mermaid_lines,
    plan_data,
    plan_lines,
    summary_lines,
)
from upwell.oci import Digest, InvalidDigestError
from upwell.store.interface import ApiClient


@click.command(
    epilog=examples(
        "upwell plan --image debian:11",
        "upwell plan --image docker.io/library/debian:11 --to sha256:…",
        "upwell plan --image builders/python:3.11 -o mermaid",
    )
)
@click.option(
    "--image",
    required=True,
    metavar="IMAGE",
    help="Image that changes: as an image of a registry, or as [NAMESPACE/]STREAM:TAG.",
)
@click.option(
    "--to",
    "digest",
    metavar="DIGEST",
    default="",
    help="Digest of the new image: what has it already is told.  [default: (a new one)]",
)
@click.option(
    "--builds-at-once",
    "at_once",
    type=click.IntRange(1, 1_000),
    help="Builds that run at a time, for the estimate.  [default: (as many as ever did)]",
)
@output_option(Format.TABLE, Format.JSON, Format.YAML, Format.DOT, Format.MERMAID)
@connection_options
@click.pass_obj
def plan(session: Session, image: str, digest: str, at_once: int | None, output: str) -> None:
    """Show what a change of an image would reach, before anything is done.

    Lists every image that would be built again and every workload that would be rolled out, in
    which order, what is held back by what (pauses, holds, windows, freezes, approvals,
    quarantines), what nobody follows, and how long it will take by what earlier builds, rollouts
    and promotions took. The server makes the plan, by its settings; what your token cannot read is
    counted, not named. Nothing is changed, and no registry is asked. With -o dot or mermaid, the
    plan is a graph; dashed is what does not come by itself.
    """
    if digest:
        try:
            Digest.parse(digest)
        except InvalidDigestError as error:
            raise CommandError(f"--to: {error}", Exit.USAGE) from error

    async def work(client: ApiClient) -> None:
        spec = ImpactPlanSpec(image=image, digest=digest, builds_at_once=at_once)
        found = await asked_plan(client, session.namespace, spec)
        if not found.images:
            raise CommandError(
                f"nothing follows, builds on or runs {image}, as far as your token can read;"
                " `upwell status -A` shows what does on which images",
                Exit.NOT_FOUND,
            )
        match output:
            case Format.DOT:
                lines = list(dot_lines(found))
            case Format.MERMAID:
                lines = list(mermaid_lines(found))
            case Format.TABLE:
                lines = [*plan_lines(found), "", *summary_lines(found)]
            case _:
                write_report("ImpactPlan", plan_data(found), output)
                return
        for line in lines:
            echo_states(line)
        for line in hidden_lines(found):
            echo(line, err=True)

    session.run(work)
