"""`upwell freeze`: create, list and lift freezes of promotions."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

import click

from upwell.api.meta import ObjectMeta
from upwell.api.pipeline import Freeze, FreezeSpec
from upwell.cli.core.connection import Session, connection_options
from upwell.cli.core.durations import TIME
from upwell.cli.core.errors import CommandError, Exit
from upwell.cli.core.examples import examples
from upwell.cli.core.names import parse_named
from upwell.cli.core.output import (
    MISSING,
    Format,
    aligned,
    full_name,
    output_option,
    write_objects,
)
from upwell.cli.core.terminal import echo
from upwell.cli.promotion.requests import named_pipeline
from upwell.formats.human_duration import human_duration
from upwell.machine import clock
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
    """Create, list and lift freezes: times in which no promotion begins.

    A freeze holds for all pipelines, or for some. Promotions in progress finish, rollbacks work,
    and `promote --bypass` is for emergencies. A recurring freeze (cron) needs a manifest.
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
@click.option("--reason", required=True, help="Reason to show where promotions wait.")
@click.option(
    "--from",
    "start",
    type=TIME,
    help="Begin of the freeze, a time or a duration from now.  [default: now]",
)
@click.option(
    "--until",
    "end",
    type=TIME,
    help="End of the freeze, a time or a duration from now.  [default: when lifted]",
)
@click.option(
    "--in",
    "namespaces",
    multiple=True,
    metavar="NAMESPACE",
    help="Namespace of the pipelines to freeze; repeatable.  [default: all]",
)
@click.option(
    "--pipeline",
    "pipelines",
    multiple=True,
    metavar="PIPELINE",
    help="Name of the pipelines to freeze; repeatable.  [default: all]",
)
@output_option(Format.TABLE, Format.NAME, Format.JSON, Format.YAML)
@connection_options
@click.pass_obj
def create(session: Session, /, name: str, output: str, **options: Any) -> None:
    """Freeze all pipelines, or those of some namespaces or names.

    NAME is `stop-the-line` by default. Repeat the command with other times to change them.
    """
    wanted = _wanted(name, options)

    async def work(client: ApiClient) -> None:
        try:
            made, done = await client.create(wanted), "created"
        except AlreadyExistsError:
            made, done = await _changed(client, wanted)
        if output == Format.TABLE:
            echo(f"{full_name(made)} {done}")
        else:
            write_objects([made], output, single=True)

    session.run(work)


def _wanted(name: str, options: dict[str, Any]) -> Freeze:
    start: datetime | None = options["start"]
    end: datetime | None = options["end"]
    if end is not None and end <= (start or clock.now()):
        raise click.UsageError("--until must be later than --from and than now")
    spec = FreezeSpec(
        start=start,
        end=end,
        reason=options["reason"],
        namespaces=options["namespaces"],
        pipelines=tuple(map(named_pipeline, options["pipelines"])),
    )
    return Freeze(metadata=ObjectMeta(name=name), spec=spec)


async def _changed(client: ApiClient, wanted: Freeze) -> tuple[Freeze, str]:
    """Set new times of a Freeze with the same scope and reason; return it and the outcome.

    Raises CommandError for another Freeze of this name.
    """
    found = await client.get(Freeze, "", wanted.name)
    times = {"start": wanted.spec.start, "end": wanted.spec.end}
    spec = found.spec.model_copy(update=times)
    if spec.model_copy(update={"by": ""}) != wanted.spec:
        by = f" by {found.spec.by}" if found.spec.by else ""
        raise CommandError(
            f"freeze/{found.name} exists{by} with another scope or reason ({found.spec.reason}):"
            f" choose another name, or run `upwell freeze lift {found.name}` first"
        )
    if spec == found.spec:
        return found, "unchanged"
    return await client.update(found.model_copy(update={"spec": spec})), "changed"


@freeze.command("list", epilog=examples("upwell freeze list", "upwell freeze list -o json"))
@output_option(Format.TABLE, Format.NAME, Format.JSON, Format.YAML)
@connection_options
@click.pass_obj
def list_freezes(session: Session, output: str) -> None:
    """List freezes: past, present and planned ones."""

    async def work(client: ApiClient) -> None:
        found = (await client.list(Freeze)).items
        if output != Format.TABLE:
            write_objects(found, output, single=False)
            return
        for line in aligned([*_rows(found, clock.now())]):
            echo(line)
        if not found:
            echo("no freezes found; stages can have windows and freezes of their own", err=True)

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
    """Return the state of a Freeze, and how long that lasts."""
    try:
        span = span_of(spec, now)
    except CronError as error:
        return f"in force: {error}"
    left = human_duration(span.changes - now) if span.changes is not None else ""
    if span.now:
        return f"in force for {left} more" if left else "in force until it is lifted"
    return f"begins in {left}" if left else "over"


@freeze.command(epilog=examples("upwell freeze lift stop-the-line"))
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@connection_options
@click.pass_obj
def lift(session: Session, names: tuple[str, ...]) -> None:
    """Lift freezes: promotions that wait for them begin at once."""
    named = parse_named(names, default=Freeze)

    async def work(client: ApiClient) -> None:
        for one in named:
            try:
                await client.delete(Freeze, "", one.name)
            except NotFoundError:
                message = (
                    f"freeze/{one.name} does not exist; `upwell freeze list` lists the freezes"
                )
                raise CommandError(message, Exit.NOT_FOUND) from None
            echo(f"freeze.upwell.dev/{one.name} lifted")

    session.run(work)
