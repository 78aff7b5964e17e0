"""`upwell notify`: test a Subscription, see what it could not deliver, and send that again."""

from datetime import datetime
from typing import Any

import click

from upwell.api.subscription import Subscription
from upwell.cli.core import clock
from upwell.cli.core.connection import Session, connection_options
from upwell.cli.core.errors import CommandError
from upwell.cli.core.examples import examples
from upwell.cli.core.output import Format, aligned, format_age, output_option, write_data
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
    """Test Subscriptions, and see to what they could not deliver.

    `upwell get subscriptions` shows how they do; `upwell apply` makes them.
    """


@notify.command(epilog=examples("upwell notify test ci -n shop"))
@click.argument("subscription")
@output_option(Format.TABLE, Format.JSON, Format.YAML)
@connection_options
@click.pass_obj
def test(session: Session, subscription: str, output: str) -> None:
    """Send a test to the receivers of SUBSCRIPTION now; exit 1 if they do not take it."""

    async def work(client: ApiClient) -> None:
        answer = await _call(client, session, "POST", subscription, "test")
        if output != Format.TABLE:
            write_data(answer, output)
        elif answer["delivered"]:
            click.echo(f"delivered: {answer['message']}")
        if not answer["delivered"]:
            raise CommandError(f"subscription/{subscription} did not deliver: {answer['message']}")

    session.run(work)


@notify.command(
    "list-dead", epilog=examples("upwell notify list-dead ci", "upwell notify list-dead ci -o json")
)
@click.argument("subscription")
@output_option(Format.TABLE, Format.JSON, Format.YAML)
@connection_options
@click.pass_obj
def list_dead(session: Session, subscription: str, output: str) -> None:
    """List the events that SUBSCRIPTION gave up to deliver, the oldest first."""

    async def work(client: ApiClient) -> None:
        letters = (await _call(client, session, "GET", subscription, "deadletters"))["items"]
        if output != Format.TABLE:
            write_data(letters, output)
            return
        now = clock.now()
        rows: list[tuple[str, ...]] = [("ID", "TYPE", "SUBJECT", "TRIES", "AGE", "ERROR")]
        rows += [_row(letter, now) for letter in letters]
        for line in aligned(rows):
            click.echo(line)

    session.run(work)


@notify.command(
    epilog=examples(
        "upwell notify replay ci --all",
        "upwell notify replay ci 7d0c1f7b9f0a4b6e8f1d2c3b4a596877",
    )
)
@click.argument("subscription")
@click.argument("ids", nargs=-1, metavar="[ID...]")
@click.option("--all", "everything", is_flag=True, help="All dead letters.")
@output_option(Format.TABLE, Format.JSON, Format.YAML)
@connection_options
@click.pass_obj
def replay(
    session: Session, subscription: str, ids: tuple[str, ...], *, everything: bool, output: str
) -> None:
    """Send dead letters of SUBSCRIPTION again, in their old order.

    They keep their ids: a receiver that has one already can tell.
    """
    if bool(ids) == everything:
        raise click.UsageError("name the ids of dead letters, or give --all")
    body: dict[str, Any] = {"all": True} if everything else {"ids": list(ids)}

    async def work(client: ApiClient) -> None:
        answer = await _call(client, session, "POST", subscription, "replay", body)
        if output == Format.TABLE:
            click.echo(f"{answer['replayed']} dead letters are sent again")
        else:
            write_data(answer, output)

    session.run(work)


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
