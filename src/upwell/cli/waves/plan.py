"""`upwell plan`: what a change of an image would reach."""

import asyncio

import click

from upwell.api.pipeline import Freeze, Quarantine
from upwell.api.waves.wave import Wave
from upwell.cli.core.connection import Session, connection_options
from upwell.cli.core.errors import CommandError, Exit
from upwell.cli.core.examples import examples
from upwell.cli.core.output import Format, output_option, write_data
from upwell.cli.core.terminal import echo
from upwell.cli.explain.snapshot import read_snapshot
from upwell.cli.waves.plan_view import (
    dot_lines,
    mermaid_lines,
    plan_data,
    plan_lines,
    summary_lines,
)
from upwell.cli.waves.readable import all_of
from upwell.machine import clock
from upwell.oci import Digest, InvalidDigestError
from upwell.policy.images.names import UpstreamImage
from upwell.policy.waves.estimate import impact_and_estimate
from upwell.policy.waves.impact import PlannedChange, roots_of
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
    and promotions took. Nothing is changed, and no registry is asked. With -o dot or mermaid, the
    plan is a graph; dashed is what does not come by itself.
    """
    if digest:
        try:
            Digest.parse(digest)
        except InvalidDigestError as error:
            raise CommandError(f"--to: {error}", Exit.USAGE) from error

    async def work(client: ApiClient) -> None:
        now = clock.now()
        snapshot = await read_snapshot(client, session.namespace)
        roots = roots_of(snapshot, image, session.namespace)
        if not roots:
            raise CommandError(
                f"nothing follows, builds on or runs {image}; `upwell status -A` shows what does"
                " on which images",
                Exit.NOT_FOUND,
            )
        freezes, quarantines, waves = await asyncio.gather(
            all_of(client, Freeze), all_of(client, Quarantine), all_of(client, Wave)
        )
        same = [one for one in waves if UpstreamImage(one.spec.image) in roots]
        change = PlannedChange(roots, digest)
        found, expected = impact_and_estimate(
            snapshot,
            change,
            now,
            freezes=freezes,
            quarantines=quarantines,
            waves=same,
            at_once=at_once,
        )
        match output:
            case Format.DOT:
                lines = list(dot_lines(found))
            case Format.MERMAID:
                lines = list(mermaid_lines(found))
            case Format.TABLE:
                summary = summary_lines(found, expected)
                lines = [*plan_lines(found, expected), "", *summary]
            case _:
                write_data(plan_data(found, expected), output)
                return
        for line in lines:
            echo(line)

    session.run(work)
