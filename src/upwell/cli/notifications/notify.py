"""`upwell notify`: test Subscriptions; list and replay failed deliveries."""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

import click

from upwell.api.subscription import Subscription
from upwell.cli.core.connection import Session, connection_options
from upwell.cli.core.errors import CommandError
from upwell.cli.core.examples import examples
from upwell.cli.core.output import Format, aligned, format_age, output_option, write_report
from upwell.cli.core.terminal import echo
from upwell.machine import clock
from upwell.store.interface import ApiClient


@click.group(
    no_args_is_help=True,
    epilog=examples(
        "upwell notify test ci -n shop",
        "upwell notify list-dead ci -n shop",
        "upwell notify replay ci --all -n shop",
    ),
)
def notify() -> None:
    """Test Subscriptions; list and replay failed deliveries.

    `upwell get subscriptions` shows their state; `upwell apply` creates them.
    """


@notify.command(epilog=examples("upwell notify test ci -n shop"))
@click.argument("subscription")
@output_option(Format.TABLE, Format.JSON, Format.YAML)
@connection_options
@click.pass_obj
def test(session: Session, subscription: str, output: str) -> None:
    """Send a test event to the receivers of SUBSCRIPTION; exit 1 if the delivery fails."""

    async def work(client: ApiClient) -> None:
        answer = await _call(client, session, "POST", subscription, "test")
        if output != Format.TABLE:
            write_report("TestDelivery", answer, output)
        elif answer["delivered"]:
            echo(f"delivered: {answer['message']}")
        if not answer["delivered"]:
            raise CommandError(
                f"cannot deliver to subscription/{subscription}: {answer['message']}"
            )

    session.run(work)


@notify.command(
    "list-dead", epilog=examples("upwell notify list-dead ci", "upwell notify list-dead ci -o json")
)
@click.argument("subscription")
@output_option(Format.TABLE, Format.JSON, Format.YAML)
@connection_options
@click.pass_obj
def list_dead(session: Session, subscription: str, output: str) -> None:
    """List the dead letters of SUBSCRIPTION: events that it failed to deliver, oldest first."""

    async def work(client: ApiClient) -> None:
        letters = (await _call(client, session, "GET", subscription, "deadletters"))["items"]
        if output != Format.TABLE:
            write_report("DeadLetterList", letters, output)
            return
        now = clock.now()
        rows: list[tuple[str, ...]] = [("ID", "TYPE", "SUBJECT", "TRIES", "AGE", "ERROR")]
        rows += [_row(letter, now) for letter in letters]
        for line in aligned(rows):
            echo(line)

    session.run(work)


@notify.command(
    epilog=examples(
        "upwell notify replay ci --all",
        "upwell notify replay ci 7d0c1f7b9f0a4b6e8f1d2c3b4a596877",
    )
)
@click.argument("subscription")
@click.argument("ids", nargs=-1, metavar="[ID...]")
@click.option("--all", "every", is_flag=True, help="Replay all dead letters.")
@output_option(Format.TABLE, Format.JSON, Format.YAML)
@connection_options
@click.pass_obj
def replay(
    session: Session, subscription: str, ids: tuple[str, ...], *, every: bool, output: str
) -> None:
    """Send dead letters of SUBSCRIPTION again, in their original order.

    They keep their ids, so that a receiver can recognise duplicates.
    """
    if bool(ids) == every:
        raise click.UsageError("name the ids of dead letters, or give --all; not both")
    body: dict[str, Any] = {"all": True} if every else {"ids": list(ids)}

    async def work(client: ApiClient) -> None:
        if ids:
            letters = (await _call(client, session, "GET", subscription, "deadletters"))["items"]
            _require_known(subscription, ids, {letter["id"] for letter in letters})
        answer = await _call(client, session, "POST", subscription, "replay", body)
        if output == Format.TABLE:
            echo(f"{answer['replayed']} dead letters queued for delivery")
        else:
            write_report("Replay", answer, output)

    session.run(work)


def _require_known(subscription: str, ids: Sequence[str], known: Collection[str]) -> None:
    """Raise CommandError for ids that are none of a dead letter."""
    missing = [one for one in dict.fromkeys(ids) if one not in known]
    if missing:
        raise CommandError(
            f"subscription/{subscription} has no dead letter {', '.join(missing)}; nothing was"
            f" replayed; `upwell notify list-dead {subscription}` lists them"
        )


async def _call(
    client: ApiClient,
    session: Session,
    method: str,
    name: str,
    part: str,
    body: dict[str, Any] | None = None,
) -> dict[str, Any]:
    return await client.call(method, Subscription, session.namespace, name, part, body)


def _row(letter: dict[str, Any], now: datetime) -> tuple[str, ...]:
    age = format_age(datetime.fromisoformat(letter["died"]), now)
    tries = str(letter["attempts"])
    return (letter["id"], letter["type"], letter["subject"], tries, age, letter["error"])
