"""`upwell freeze`: stop the line, see what stops it, and let it go on."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

import click

from upwell.api.meta import ObjectMeta
from upwell.api.pipeline import Freeze, FreezeSpec
from upwell.cli.core import clock
from upwell.cli.core.connection import Session, connection_options
from upwell.cli.core.durations import MOMENT
from upwell.cli.core.errors import CommandError, Exit
from upwell.cli.core.examples import examples
from upwell.cli.core.names import parse_named
from upwell.cli.core.output import (
    MISSING,
    Format,
    aligned,
    format_duration,
    full_name,
    output_option,
    write_objects,
)
from upwell.cli.promotion.requests import named_pipeline
from upwell.policy.jobs.cron import CronError
from upwell.policy.promotion.windows import span_of
from upwell.store.interface import AlreadyExistsError, ApiClient, NotFoundError

_NAME = "stop-the-line"


@click.group(
    no_args_is_help=True,
    epilog=examples(
        "upwell freeze create --reason 'payments are down'",
        "upwell freeze list",
        "upwell freeze lift stop-the-line",
    ),
)
def freeze() -> None:
    """Stop the line: let no promotion begin, everywhere or in some pipelines.

    What has begun is finished, a rollback works, and `promote --bypass` is there for emergencies.
    Freezes that come back (cron) are written as manifests.
    """


@freeze.command(
    epilog=examples(
        "upwell freeze create --reason 'payments are down'",
        "upwell freeze create black-friday --from 2026-11-26T18:00+01:00 --until 2026-11-30T08:00Z"
        " --reason 'Black Friday'",
        "upwell freeze create audit --in bank --pipeline ledger --until 2d --reason 'audit'",
    )
)
@click.argument("name", default=_NAME, metavar="[NAME]")
@click.option("--reason", required=True, help="Shown wherever something waits for the end.")
@click.option("--from", "start", type=MOMENT, help="When it begins.  [default: now]")
@click.option("--until", "end", type=MOMENT, help="When it ends.  [default: when it is lifted]")
@click.option(
    "--in",
    "namespaces",
    multiple=True,
    metavar="NAMESPACE",
    help="Stop the pipelines of this namespace only; repeatable.",
)
@click.option(
    "--pipeline",
    "pipelines",
    multiple=True,
    metavar="PIPELINE",
    help="Stop pipelines of this name only; repeatable.",
)
@output_option(Format.TABLE, Format.NAME, Format.JSON, Format.YAML)
@connection_options
@click.pass_obj
def create(session: Session, /, name: str, output: str, **options: Any) -> None:
    """Stop every pipeline, or those of some namespaces or names.

    NAME is `stop-the-line` unless you give one. The same once more, with other times, gives it
    these.
    """
    wanted = _wanted(name, options)

    async def work(client: ApiClient) -> None:
        try:
            made, done = await client.create(wanted), "created"
        except AlreadyExistsError:
            made, done = await _changed(client, wanted)
        if output == Format.TABLE:
            click.echo(f"{full_name(made)} {done}")
        else:
            write_objects([made], output, single=True)

    session.run(work)


def _wanted(name: str, options: dict[str, Any]) -> Freeze:
    start: datetime | None = options["start"]
    end: datetime | None = options["end"]
    if end is not None and end <= (start or clock.now()):
        raise click.UsageError("--until is over before it begins")
    spec = FreezeSpec(
        start=start,
        end=end,
        reason=options["reason"],
        namespaces=options["namespaces"],
        pipelines=tuple(map(named_pipeline, options["pipelines"])),
    )
    return Freeze(metadata=ObjectMeta(name=name), spec=spec)


async def _changed(client: ApiClient, wanted: Freeze) -> tuple[Freeze, str]:
    """Give a Freeze that stops the same for the same reason its new times; say what was done.

    Raises CommandError for another Freeze of this name.
    """
    found = await client.get(Freeze, "", wanted.name)
    times = {"start": wanted.spec.start, "end": wanted.spec.end}
    spec = found.spec.model_copy(update=times)
    if spec.model_copy(update={"by": ""}) != wanted.spec:
        by = f" by {found.spec.by}" if found.spec.by else ""
        raise CommandError(
            f"freeze/{found.name} exists{by}, and is about something else ({found.spec.reason}):"
            f" give another name, or `upwell freeze lift {found.name}` first"
        )
    if spec == found.spec:
        return found, "unchanged"
    return await client.update(found.model_copy(update={"spec": spec})), "changed"


@freeze.command("list", epilog=examples("upwell freeze list", "upwell freeze list -o json"))
@output_option(Format.TABLE, Format.NAME, Format.JSON, Format.YAML)
@connection_options
@click.pass_obj
def list_freezes(session: Session, output: str) -> None:
    """List what stops the line now, did, or is going to."""

    async def work(client: ApiClient) -> None:
        found = (await client.list(Freeze)).items
        if output != Format.TABLE:
            write_objects(found, output, single=False)
            return
        for line in aligned([*_rows(found, clock.now())]):
            click.echo(line)
        if not found:
            click.echo("no freeze; stages may have windows and freezes of their own", err=True)

    session.run(work)


def _rows(found: Sequence[Freeze], now: datetime) -> Iterator[tuple[str, ...]]:
    if found:
        yield "NAME", "STOPS", "STATE", "BY", "REASON"
    for one in found:
        spec = one.spec
        yield (
            one.name,
            _stopped(spec),
            _state(spec, now),
            spec.by or MISSING,
            spec.reason or MISSING,
        )


def _stopped(spec: FreezeSpec) -> str:
    pipelines = f"pipeline {', '.join(spec.pipelines)}" if spec.pipelines else "everything"
    return f"{pipelines} in {', '.join(spec.namespaces)}" if spec.namespaces else pipelines


def _state(spec: FreezeSpec, now: datetime) -> str:
    """Say whether a Freeze is in force, and how long that lasts."""
    try:
        span = span_of(spec, now)
    except CronError as error:
        return f"in force: {error}"
    left = format_duration(span.changes - now) if span.changes is not None else ""
    if span.now:
        return f"in force for {left} more" if left else "in force until it is lifted"
    return f"begins in {left}" if left else "over"


@freeze.command(epilog=examples("upwell freeze lift stop-the-line"))
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@connection_options
@click.pass_obj
def lift(session: Session, names: tuple[str, ...]) -> None:
    """End freezes: what waited for them goes on at once."""
    named = parse_named(names, default=Freeze)

    async def work(client: ApiClient) -> None:
        for one in named:
            try:
                await client.delete(Freeze, "", one.name)
            except NotFoundError:
                message = f"there is no freeze {one.name}; `upwell freeze list` lists them"
                raise CommandError(message, Exit.NOT_FOUND) from None
            click.echo(f"freeze.upwell.dev/{one.name} lifted")

    session.run(work)
