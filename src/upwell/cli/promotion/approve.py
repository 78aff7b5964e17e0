"""`upwell approve` and `upwell reject`: agree to a promotion, refuse it, or reject a Release."""

from datetime import timedelta
from typing import Any

import click

from upwell.api.codec import decode_as
from upwell.api.pipeline import Pipeline
from upwell.api.promotion import Promotion, Release
from upwell.cli.core import clock
from upwell.cli.core.connection import Session, connection_options
from upwell.cli.core.durations import SPAN
from upwell.cli.core.examples import examples
from upwell.cli.core.output import Format, full_name, output_option, write_objects
from upwell.cli.promotion.requests import release_or_promotion, waiting_promotion
from upwell.policy.promotion.approval import approval_of
from upwell.store.interface import ApiClient


@click.command(
    epilog=examples(
        "upwell approve shop-7 --stage production --comment 'seen in staging'",
        "upwell approve promotion/shop-7.production",
        "upwell approve shop-7.production --link --as ada --expires 4h",
    )
)
@click.argument("what", metavar="PROMOTION|RELEASE")
@click.option(
    "--stage", default="", show_default="the one that waits", help="The stage, of a Release."
)
@click.option("--comment", default="", show_default="none", help="Kept with your vote.")
@click.option("--link", is_flag=True, help="Do not vote: print a link by which --as NAME may.")
@click.option(
    "--as",
    "person",
    metavar="NAME",
    show_default="none",
    help="Who votes by --link; to make one needs the role admin.",
)
@click.option(
    "--expires",
    default="24h",
    show_default=True,
    type=SPAN,
    metavar="DURATION",
    help="How long the link works.",
)
@output_option(Format.TABLE, Format.NAME, Format.JSON, Format.YAML)
@connection_options
@click.pass_obj
def approve(
    session: Session,
    /,
    what: str,
    stage: str,
    link: bool,  # noqa: FBT001 - click passes options by name
    person: str | None,
    **options: Any,
) -> None:
    """Agree to a promotion that waits for approval.

    One person has one vote; a later one replaces it. With --link somebody without a token gets a
    page that shows what is promoted, and votes there.
    """
    if link != bool(person):
        raise click.UsageError("--link and --as NAME belong together")

    async def work(client: ApiClient) -> None:
        found = await release_or_promotion(client, session.namespace, what)
        promotion = await waiting_promotion(client, found, stage)
        if link:
            await _print_link(session, client, promotion, str(person), options["expires"])
        else:
            await _vote(client, promotion, "approve", options["comment"], options["output"])

    session.run(work)


@click.command(
    epilog=examples(
        "upwell reject shop-7 --reason 'checkout is broken'",
        "upwell reject promotion/shop-7.production --reason 'not before Monday'",
    )
)
@click.argument("what", metavar="RELEASE|PROMOTION")
@click.option("--reason", required=True, help="Shown wherever it would have gone.")
@click.option("--stage", default="", show_default="none", help="Where it was found, of a Release.")
@output_option(Format.TABLE, Format.NAME, Format.JSON, Format.YAML)
@connection_options
@click.pass_obj
def reject(session: Session, what: str, reason: str, stage: str, output: str) -> None:
    """Keep a Release out of every later stage, or refuse one promotion.

    What of the Release is under way is put back. `upwell release restore` lifts a rejection.
    """

    async def work(client: ApiClient) -> None:
        found = await release_or_promotion(client, session.namespace, what)
        if isinstance(found, Promotion):
            await _vote(client, found, "reject", reason, output)
            return
        body = {"reason": reason, **({"stage": stage} if stage else {})}
        answer = await client.call("POST", Release, found.namespace, found.name, "reject", body)
        rejected = decode_as(Release, answer)
        if output != Format.TABLE:
            write_objects([rejected], output, single=True)
            return
        found_reason = rejected.status.rejection.reason if rejected.status.rejection else reason
        click.echo(f"{full_name(rejected)} rejected: {found_reason}")

    session.run(work)


async def _vote(
    client: ApiClient, promotion: Promotion, verb: str, comment: str, output: str
) -> None:
    body = {"comment": comment} if comment else {}
    answer = await client.call("POST", Promotion, promotion.namespace, promotion.name, verb, body)
    voted = decode_as(Promotion, answer)
    if output != Format.TABLE:
        write_objects([voted], output, single=True)
        return
    pipeline = await client.get(Pipeline, voted.namespace, voted.spec.pipeline)
    stage = pipeline.stage(voted.spec.stage)
    comes_to = approval_of(stage.approval if stage is not None else None, voted, clock.now())
    message = f": {comes_to.message}" if comes_to.message else ""
    click.echo(f"{full_name(voted)} {'approved' if verb == 'approve' else 'rejected'}{message}")


async def _print_link(
    session: Session, client: ApiClient, promotion: Promotion, person: str, lifetime: timedelta
) -> None:
    body = {"as": person, "expiresSeconds": int(lifetime.total_seconds())}
    answer = await client.call(
        "POST", Promotion, promotion.namespace, promotion.name, "links", body
    )
    click.echo(f"{session.server.rstrip('/')}{answer['path']}")
    click.echo(
        f"whoever has it votes as {answer['as']} on promotion/{promotion.name},"
        f" until {answer['expires']}",
        err=True,
    )
