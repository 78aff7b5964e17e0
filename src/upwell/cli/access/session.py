"""`upwell session`: the sessions of people who have signed in."""

from datetime import datetime
from typing import Any
from urllib.parse import quote, urlencode

import click

from upwell.cli.access.sign_in import SESSIONS
from upwell.cli.core.connection import Session, connection_options
from upwell.cli.core.errors import CommandError, Exit
from upwell.cli.core.examples import examples
from upwell.cli.core.output import Format, aligned, format_age, output_option, write_report
from upwell.cli.core.terminal import echo
from upwell.formats.human_duration import human_duration
from upwell.machine import clock
from upwell.store.interface import ApiClient, MissingPathError


@click.group(
    no_args_is_help=True,
    epilog=examples(
        "upwell session list",
        "upwell session end 0f3a9c27d1e4",
        "upwell session end --person oidc:ada@example.com",
    ),
)
def session() -> None:
    """List and end sessions of people who signed in.

    Everybody sees and ends their own; an administrator those of everybody.
    """


@session.command("list", epilog=examples("upwell session list", "upwell session list --all"))
@click.option("--all", "everybody", is_flag=True, help="Sessions of everybody, for administrators.")
@output_option(Format.TABLE, Format.JSON, Format.YAML)
@connection_options
@click.pass_obj
def list_sessions(connection: Session, output: str, *, everybody: bool) -> None:
    """List sessions with their last use and their end."""

    async def work(client: ApiClient) -> None:
        items = (await _ask(client, "GET", f"{SESSIONS}?all=1" if everybody else SESSIONS))["items"]
        if output != Format.TABLE:
            write_report("SessionList", items, output)
            return
        rows = [("SESSION", "PERSON", "WHERE", "USED", "ENDS", "AGE"), *map(_row, items)]
        for line in aligned(rows):
            echo(line)

    connection.run(work)


@session.command(
    epilog=examples(
        "upwell session end 0f3a9c27d1e4", "upwell session end --person oidc:ada@example.com"
    )
)
@click.argument("names", nargs=-1, metavar="[SESSION]...")
@click.option(
    "--person",
    default="",
    show_default="none",
    metavar="NAME",
    help="End all sessions of a person.",
)
@connection_options
@click.pass_obj
def end(connection: Session, names: tuple[str, ...], person: str) -> None:
    """End sessions; the server refuses them at once, and their watches end."""
    if bool(names) == bool(person):
        raise click.UsageError("name sessions, or --person")
    paths = [f"{SESSIONS}/{quote(name, safe='')}" for name in names]
    if person:
        paths = [f"{SESSIONS}?{urlencode({'person': person})}"]

    async def work(client: ApiClient) -> None:
        for path in paths:
            for name in (await _ask(client, "DELETE", path))["ended"]:
                echo(f"session/{name} ended")

    connection.run(work)


async def _ask(client: ApiClient, method: str, path: str) -> dict[str, Any]:
    try:
        return await client.send_raw(method, path)
    except MissingPathError as error:
        if "session" in str(error):
            raise CommandError(str(error), Exit.NOT_FOUND) from error
        message = (
            "nobody signs in at this server: [oidc] of its configuration file names a provider"
        )
        raise CommandError(message, Exit.NOT_FOUND) from error


def _row(item: dict[str, Any]) -> tuple[str, ...]:
    now = clock.now()
    where = "browser" if item["page"] else "command line"
    used, ends, created = (datetime.fromisoformat(item[key]) for key in ("used", "ends", "created"))
    return (
        item["id"],
        item["person"],
        f"{where}, this one" if item["current"] else where,
        f"{format_age(used, now)} ago",
        f"in {human_duration(ends - now)}",
        format_age(created, now),
    )
