"""`upwell quarantine`: list and lift quarantines of base images."""

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime

import click

from upwell.api.pipeline import Quarantine
from upwell.cli.core.connection import Session, connection_options
from upwell.cli.core.errors import CommandError, Exit
from upwell.cli.core.examples import examples
from upwell.cli.core.output import (
    MISSING,
    Format,
    aligned,
    format_age,
    full_name,
    output_option,
    write_objects,
)
from upwell.cli.core.terminal import echo
from upwell.machine import clock
from upwell.policy.explain.freshness import short
from upwell.store.interface import ApiClient

_ALGORITHM = "sha256:"
_MIN_DIGITS = 6


@click.group(
    no_args_is_help=True,
    epilog=examples("upwell quarantine list", "upwell quarantine lift base-2f1e4d5c6b7a"),
)
def quarantine() -> None:
    """List and lift quarantines: base images that builds and stages do not use.

    Upwell puts a new base image into quarantine when several pipelines fail on it
    (`quarantineAfter` of a Pipeline).
    """


@quarantine.command(
    "list", epilog=examples("upwell quarantine list", "upwell quarantine list -o json")
)
@output_option(Format.TABLE, Format.WIDE, Format.NAME, Format.JSON, Format.YAML)
@connection_options
@click.pass_obj
def list_quarantines(session: Session, output: str) -> None:
    """List the base images in quarantine, with the reasons."""

    async def work(client: ApiClient) -> None:
        found = (await client.list(Quarantine)).items
        if output not in {Format.TABLE, Format.WIDE}:
            write_objects(found, output, single=False)
            return
        for line in aligned([*_rows(found, clock.now(), wide=output == Format.WIDE)]):
            echo(line)
        if not found:
            echo("no quarantines found", err=True)

    session.run(work)


def _rows(found: Sequence[Quarantine], now: datetime, *, wide: bool) -> Iterator[tuple[str, ...]]:
    if found:
        yield "NAME", "IMAGE", "DIGEST", "AGE", "REASON", *(("RELEASES",) if wide else ())
    for one in found:
        spec = one.spec
        yield (
            one.name,
            spec.image or MISSING,
            spec.digest if wide else short(spec.digest),
            format_age(one.metadata.creation_timestamp, now),
            spec.reason or MISSING,
            *((",".join(spec.releases) or MISSING,) if wide else ()),
        )


@quarantine.command(
    epilog=examples(
        "upwell quarantine lift base-2f1e4d5c6b7a",
        "upwell quarantine lift sha256:2f1e4d5c6b7a",
    )
)
@click.argument("names", nargs=-1, required=True, metavar="NAME|DIGEST...")
@connection_options
@click.pass_obj
def lift(session: Session, names: tuple[str, ...]) -> None:
    """Lift quarantines: builds and stages use the base images again.

    Releases that were rejected because of them stay rejected until `upwell release restore`.
    """

    async def work(client: ApiClient) -> None:
        known = (await client.list(Quarantine)).items
        for one in [_named(name, known) for name in names]:
            await client.delete(Quarantine, "", one.name)
            echo(f"{full_name(one)} lifted")
            if one.spec.releases:
                releases = ", ".join(one.spec.releases)
                command = "`upwell release restore` lifts a rejection"
                echo(f"still rejected: {releases}; {command}", err=True)

    session.run(work)


def _named(name: str, known: Iterable[Quarantine]) -> Quarantine:
    """Return the Quarantine of a name or the first digits of a digest; raises CommandError."""
    bare = name.removeprefix("quarantine/")
    digits = bare.removeprefix(_ALGORITHM)
    prefix = f"{_ALGORITHM}{digits}" if len(digits) >= _MIN_DIGITS else ""
    for one in known:
        if one.name == bare or (prefix and one.spec.digest.startswith(prefix)):
            return one
    raise CommandError(
        f"quarantine/{bare} does not exist; `upwell quarantine list` lists the quarantines",
        Exit.NOT_FOUND,
    )
