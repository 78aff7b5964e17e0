"""`upwell approve` and `upwell reject`: vote on a promotion, or reject a Release."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import click

from upwell.api.codec import decode_as
from upwell.api.pipeline import Pipeline, Stage
from upwell.api.promotion import PIPELINE_LABEL, Promotion, Release
from upwell.cli.core.connection import Session, connection_options
from upwell.cli.core.durations import SPAN
from upwell.cli.core.examples import examples
from upwell.cli.core.output import Format, full_name, output_option, write_objects
from upwell.cli.core.terminal import echo
from upwell.cli.promotion.requests import release_or_promotion, waiting_promotion
from upwell.machine import clock
from upwell.policy.promotion.approval import Approved, approval_of
from upwell.policy.promotion.four_eyes import involved
from upwell.store.interface import ApiClient, NotFoundError, Selector


@click.command(
    epilog=examples(
        "upwell approve shop-7 --stage production --comment 'seen in staging'",
        "upwell approve promotion/shop-7.production",
        "upwell approve shop-7.production --link --as ada --expires 4h",
    )
)
@click.argument("what", metavar="PROMOTION|RELEASE")
@click.option(
    "--stage",
    default="",
    show_default="the one that waits",
    help="Stage of the Release to approve.",
)
@click.option("--comment", default="", show_default="none", help="Comment to keep with the vote.")
@click.option(
    "--override",
    metavar="REASON",
    default="",
    show_default="none",
    help="Reason to approve what you asked for or wrote yourself; needs the role overrider.",
)
@click.option(
    "--link", is_flag=True, help="Print a link with which --as NAME votes, instead of voting."
)
@click.option(
    "--as",
    "person",
    metavar="NAME",
    show_default="none",
    help="Name of the voter of --link; needs the role admin.",
)
@click.option(
    "--expires",
    default="24h",
    show_default=True,
    type=SPAN,
    metavar="DURATION",
    help="Lifetime of the link.",
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
    """Approve a promotion that waits for approval.

    Each person has one vote; a later one replaces it. Whoever asked for the promotion, or wrote the
    Release or the Pipeline, cannot be the only one to approve it (four eyes) in a stage that no
    other comes after: --override says why they may, and is recorded. --link prints the URL of a
    page with the promotion, where a person without a token can vote.
    """
    if link != bool(person):
        raise click.UsageError("--link needs --as NAME, and --as needs --link")

    async def work(client: ApiClient) -> None:
        found = await release_or_promotion(client, session.namespace, what)
        promotion = await waiting_promotion(client, found, stage)
        if link:
            await _print_link(session, client, promotion, str(person), options["expires"])
        else:
            given = {name: options[name] for name in ("comment", "override")}
            await _vote(client, promotion, "approve", given, options["output"])

    session.run(work)


@click.command(
    epilog=examples(
        "upwell reject shop-7 --reason 'checkout is broken'",
        "upwell reject promotion/shop-7.production --reason 'not before Monday'",
    )
)
@click.argument("what", metavar="RELEASE|PROMOTION")
@click.option("--reason", required=True, help="Reason to show in all stages that it would enter.")
@click.option(
    "--stage",
    default="",
    show_default="none",
    help="Stage where the fault of the Release was found.",
)
@output_option(Format.TABLE, Format.NAME, Format.JSON, Format.YAML)
@connection_options
@click.pass_obj
def reject(session: Session, what: str, reason: str, stage: str, output: str) -> None:
    """Reject a Release for all later stages, or one promotion.

    Promotions of the Release in progress are rolled back. `upwell release restore` lifts a
    rejection.
    """

    async def work(client: ApiClient) -> None:
        found = await release_or_promotion(client, session.namespace, what)
        if isinstance(found, Promotion):
            await _vote(client, found, "reject", {"comment": reason}, output)
            return
        body = {"reason": reason, **({"stage": stage} if stage else {})}
        answer = await client.call("POST", Release, found.namespace, found.name, "reject", body)
        rejected = decode_as(Release, answer)
        if output != Format.TABLE:
            write_objects([rejected], output, single=True)
            return
        found_reason = rejected.status.rejection.reason if rejected.status.rejection else reason
        echo(f"{full_name(rejected)} rejected: {found_reason}")

    session.run(work)


async def _vote(
    client: ApiClient, promotion: Promotion, verb: str, given: Mapping[str, str], output: str
) -> None:
    body = {name: text for name, text in given.items() if text}
    answer = await client.call("POST", Promotion, promotion.namespace, promotion.name, verb, body)
    voted = decode_as(Promotion, answer)
    if output != Format.TABLE:
        write_objects([voted], output, single=True)
        return
    pipeline = await client.get(Pipeline, voted.namespace, voted.spec.pipeline)
    stage = pipeline.stage(voted.spec.stage)
    approval = await _approval(client, pipeline, stage, voted)
    message = f": {approval.message}" if approval.message else ""
    echo(f"{full_name(voted)} {'approved' if verb == 'approve' else 'rejected'}{message}")


async def _approval(
    client: ApiClient, pipeline: Pipeline, stage: Stage | None, voted: Promotion
) -> Approved:
    """Return how the votes stand now."""
    if stage is None:
        return approval_of(pipeline, None, voted, clock.now())
    try:
        release = await client.get(Release, voted.namespace, voted.spec.release)
    except NotFoundError:
        release = None
    mine = Selector(voted.namespace, {PIPELINE_LABEL: pipeline.name})
    promotions = (await client.list(Promotion, mine)).items
    earlier = [one for one in promotions if one.spec.stage == stage.name]
    people = involved(pipeline, stage, release, voted, earlier)
    return approval_of(pipeline, stage, voted, clock.now(), people)


async def _print_link(
    session: Session, client: ApiClient, promotion: Promotion, person: str, lifetime: timedelta
) -> None:
    body = {"as": person, "expiresSeconds": int(lifetime.total_seconds())}
    answer = await client.call(
        "POST", Promotion, promotion.namespace, promotion.name, "links", body
    )
    echo(answer.get("url") or f"{session.server.rstrip('/')}{answer['path']}")
    name, known = f"promotion/{promotion.name}", answer.get("id")  # an earlier server has none
    ends = f"; `upwell approval-link revoke {promotion.name} {known}` ends it" if known else ""
    echo(
        f"anyone with this link votes as {answer['as']} on {name}, until {answer['expires']}{ends}",
        err=True,
    )
