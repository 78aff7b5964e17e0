"""`upwell explain`: why something was, or was not, built or rolled out."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import click

from upwell.api.build import Build, BuildConfig
from upwell.api.image import Image, ImageStream
from upwell.api.meta import Resource, format_time
from upwell.cli import clock
from upwell.cli.connection import Session, connection_options
from upwell.cli.errors import CommandError, Exit
from upwell.cli.examples import examples
from upwell.cli.names import parse_one
from upwell.cli.output import Format, format_duration, full_name, output_option, write_data
from upwell.cli.snapshot import read_snapshot
from upwell.policy.build_triggers import digest_of
from upwell.policy.explain import PackageChange, Statement, Topic, explain, package_changes
from upwell.policy.rollout_settings import WORKLOADS
from upwell.store.interface import ApiClient, StoreError

_FEW = 8
"""Package changes that are listed unless all are asked for."""
_KINDS = (Build, BuildConfig, ImageStream, *WORKLOADS)

type _Changes = Mapping[tuple[str, str], Sequence[PackageChange]]
"""Package changes by the digests of the old and the new image."""


@click.command(
    "explain",
    epilog=examples(
        "upwell explain deployment/shop",
        "upwell explain build/shop-2 --packages=all",
        "upwell explain bc/gate -o json",
    ),
)
@click.argument("what", nargs=-1, required=True, metavar="KIND/NAME")
@click.option(
    "--packages",
    type=click.Choice(["some", "all", "none"]),
    default="some",
    show_default=True,
    help="How many of the packages that an image change brought are listed.",
)
@output_option(Format.TABLE, Format.JSON, Format.YAML)
@connection_options
@click.pass_obj
def explain_command(session: Session, what: tuple[str, ...], packages: str, output: str) -> None:
    """Say why something was, or was not, built or rolled out.

    From what runs, back through tags and builds to the change upstream that set it off, with
    the packages that differ; then what is held back, by what, and until when.
    """
    named = parse_one(what)
    if not issubclass(named.resource, _KINDS):
        known = ", ".join(kind.KIND.singular for kind in _KINDS)
        raise CommandError(f"{named} cannot be explained; these kinds can: {known}", Exit.USAGE)

    async def work(client: ApiClient) -> None:
        asked = await client.get(named.resource, session.namespace, named.name)
        statements = explain(await read_snapshot(client), asked)
        changes = {} if packages == "none" else await _compare(client, statements)
        if output != Format.TABLE:
            write_data(_data(asked, statements, changes), output)
            return
        click.echo(full_name(asked))
        for line in _lines(statements, changes, limit=None if packages == "all" else _FEW):
            click.echo(line)

    session.run(work)


async def _compare(client: ApiClient, statements: Sequence[Statement]) -> _Changes:
    """Return the package changes of each image change whose images are both still known."""
    found: dict[tuple[str, str], Sequence[PackageChange]] = {}
    for statement in statements:
        pair = _pair(statement)
        if statement.topic is not Topic.CAUSE or not all(pair) or pair in found:
            continue
        old, new = [await _packages(client, digest) for digest in pair]
        if old and new:
            found[pair] = package_changes(old, new)
    return found


async def _packages(client: ApiClient, digest: str) -> Sequence[Mapping[str, Any]]:
    """Return an image's packages; none when the server does not know them any more, or yet."""
    try:
        answer = await client.call("GET", Image, "", digest, "packages")
    except StoreError as error:
        click.echo(f"packages of {digest} are not known: {error}", err=True)
        return []
    packages = answer.get("packages")
    return packages if isinstance(packages, list) else []


def _pair(statement: Statement) -> tuple[str, str]:
    return digest_of(statement.old), digest_of(statement.new)


def _lines(
    statements: Sequence[Statement], changes: _Changes, *, limit: int | None
) -> Iterator[str]:
    for statement in statements:
        indent = "  " * (statement.depth + 1)
        yield f"{indent}{statement.text}{_when(statement)}"
        changed = changes.get(_pair(statement)) if statement.topic is Topic.CAUSE else None
        if changed is None:
            continue
        if not changed:
            yield f"{indent}  no package differs"
        for change in changed[:limit]:
            yield f"{indent}  {change}"
        if limit is not None and len(changed) > limit:
            yield f"{indent}  and {len(changed) - limit} more packages (--packages=all)"


def _when(statement: Statement) -> str:
    if statement.at is None:
        return ""
    now = clock.now()
    age = now - statement.at
    relative = (
        f"in {format_duration(-age)}" if statement.at > now else f"{format_duration(age)} ago"
    )
    return f" ({statement.at:%Y-%m-%d %H:%M:%S}Z, {relative})"


def _data(asked: Resource, statements: Sequence[Statement], changes: _Changes) -> dict[str, Any]:
    return {
        "object": full_name(asked),
        "namespace": asked.namespace,
        "statements": [
            {
                "topic": str(statement.topic),
                "text": statement.text,
                "depth": statement.depth,
                "at": format_time(statement.at) if statement.at else None,
                "old": statement.old or None,
                "new": statement.new or None,
                "packages": [
                    {"name": change.name, "old": change.old, "new": change.new}
                    for change in changes.get(_pair(statement), ())
                ]
                if statement.topic is Topic.CAUSE
                else [],
            }
            for statement in statements
        ],
    }
