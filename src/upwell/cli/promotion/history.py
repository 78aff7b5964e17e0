"""`upwell history`: list the promotions of a Pipeline."""

from collections.abc import Iterator, Sequence
from datetime import datetime

import click

from upwell.api.pipeline import Pipeline
from upwell.api.promotion import Promotion, PromotionPhase, Purpose
from upwell.cli.core.connection import Session, connection_options
from upwell.cli.core.examples import examples
from upwell.cli.core.output import (
    MISSING,
    Format,
    aligned,
    format_age,
    output_option,
    write_objects,
)
from upwell.cli.core.terminal import echo
from upwell.cli.promotion.requests import (
    named_pipeline,
    of_pipeline,
    order_of,
    require_stage,
    since_of,
)
from upwell.formats.human_duration import human_duration
from upwell.machine import clock
from upwell.store.interface import ApiClient

_WORDS = {
    Purpose.PROMOTE: "promoted",
    Purpose.ROLL_BACK: "rolled back",
    Purpose.VERIFY: "verified again",
}


@click.command(
    epilog=examples(
        "upwell history shop",
        "upwell history shop --stage production --limit 5",
        "upwell history shop --stage production -o json",
    )
)
@click.argument("pipeline", metavar="PIPELINE")
@click.option("--stage", default="", show_default="all", help="Stage to list.")
@click.option(
    "--limit",
    type=click.IntRange(min=0),
    default=20,
    show_default=True,
    help="Maximum number of promotions; 0 for all.",
)
@output_option(Format.TABLE, Format.WIDE, Format.NAME, Format.JSON, Format.YAML)
@connection_options
@click.pass_obj
def history(session: Session, pipeline: str, stage: str, limit: int, output: str) -> None:
    """List the promotions into the stages of a Pipeline, newest first.

    Shows time, requester, reason and result; `-o wide` adds checks, votes and the promotion's name.
    The list reaches back as far as Releases are kept (`historyLimit` of the Pipeline); the audit
    log has all actions of people.
    """
    name = named_pipeline(pipeline)

    async def work(client: ApiClient) -> None:
        found = await client.get(Pipeline, session.namespace, name)
        if stage:
            require_stage(found, stage)
        promotions = await of_pipeline(client, Promotion, session.namespace, name)
        wanted = [one for one in promotions if stage in {"", one.spec.stage}]
        newest = sorted(wanted, key=order_of, reverse=True)[: limit or None]
        if output not in {Format.TABLE, Format.WIDE}:
            write_objects(newest, output, single=False)
            return
        for line in aligned([*_rows(newest, clock.now(), wide=output == Format.WIDE)]):
            echo(line)
        if not newest:
            echo(f"no promotions in pipeline/{name} yet", err=True)

    session.run(work)


def _rows(
    promotions: Sequence[Promotion], now: datetime, *, wide: bool
) -> Iterator[tuple[str, ...]]:
    more = ("PROMOTION", "CHECKS", "VOTES") if wide else ()
    if promotions:
        yield "AGE", "STAGE", "RELEASE", "WHAT", "RESULT", "TOOK", "BY", *more, "WHY"
    for one in promotions:
        spec, status = one.spec, one.status
        yield (
            format_age(since_of(one), now),
            spec.stage,
            spec.release,
            "emergency" if spec.bypass else _WORDS[spec.purpose],
            status.phase,
            _took(one),
            spec.requested_by or "upwell",
            *(_details(one) if wide else ()),
            _why(one),
        )


def _took(one: Promotion) -> str:
    if one.status.started is None or one.status.ended is None:
        return MISSING
    return human_duration(one.status.ended - one.status.started)


def _details(one: Promotion) -> tuple[str, str, str]:
    checks = (f"{check.name}={check.phase}" for check in one.status.checks)
    votes = (f"{vote.by}={'yes' if vote.approved else 'no'}" for vote in one.status.votes)
    return one.name, ",".join(checks) or MISSING, ",".join(votes) or MISSING


def _why(one: Promotion) -> str:
    """Return the reason of the request, and the message of a bad end."""
    said = one.spec.bypass or one.spec.reason
    ended = one.status.message if one.status.phase is not PromotionPhase.SUCCEEDED else ""
    return "; ".join(text for text in (said, ended) if text) or MISSING
