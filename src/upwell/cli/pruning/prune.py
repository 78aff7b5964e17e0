"""`upwell prune`: list and remove images, tags, logs and records not in use."""

from typing import TYPE_CHECKING

import click

from upwell.cli.core.connection import Session, connection_options
from upwell.cli.core.durations import TIMEOUT
from upwell.cli.core.examples import examples
from upwell.cli.core.output import Format, aligned, output_option, shortened, write_data
from upwell.cli.core.terminal import echo

if TYPE_CHECKING:
    from upwell.api.requests.prune import Prune
    from upwell.store.interface import ApiClient

_UNITS = ("B", "KiB", "MiB", "GiB")
_STEP = 1024
_SECONDS = 1800.0
"""For one run, which removes up to 500 items of each kind, from a bucket one by one."""


@click.command(
    epilog=examples(
        "upwell prune",
        "upwell prune --confirm",
        "upwell prune --keep-tag-revisions 1 --keep-younger-than 2h",
        "upwell prune --kept",
        "upwell prune --leftovers",
    )
)
@click.option("--confirm", is_flag=True, help="Remove the listed items.  [default: list only]")
@click.option("--dry-run", is_flag=True, help="List only, as by default.")
@click.option(
    "--keep-tag-revisions",
    type=click.IntRange(min=1),
    default=None,
    show_default="the server's setting: 3",
    help="Number of digests to keep of each tag.",
)
@click.option(
    "--keep-younger-than",
    type=TIMEOUT,
    default=None,
    show_default="the server's setting: 24h",
    help="Minimum age of what is removed; at least 10m.",
)
@click.option("--kept", is_flag=True, help="List kept images as well, with the reason.")
@click.option(
    "--leftovers",
    is_flag=True,
    help="Only instances without owner and other remains of interrupted work; unexplained as well.",
)
@output_option(Format.TABLE, Format.JSON, Format.YAML)
@connection_options
@click.pass_obj
def prune(  # noqa: PLR0913, PLR0917 - each option is a parameter
    session: Session,
    confirm: bool,  # noqa: FBT001 - click passes options by name
    dry_run: bool,  # noqa: FBT001 - the same
    keep_tag_revisions: int | None,
    keep_younger_than: float | None,
    kept: bool,  # noqa: FBT001 - the same
    leftovers: bool,  # noqa: FBT001 - the same
    output: str,
) -> None:
    """Remove images, tags, logs and records that are not in use.

    Kept are images that run, can be rolled back to, are in a Release, or are an input or output of
    a Build, and everything young. The server prunes by itself once a day.
    """
    if confirm and dry_run:
        raise click.UsageError("--confirm and --dry-run are mutually exclusive")

    async def work(client: "ApiClient") -> None:
        from upwell.api.codec import encode  # noqa: PLC0415 - loads the API's models
        from upwell.api.requests.prune import Prune, PruneSpec  # noqa: PLC0415 - the same

        spec = PruneSpec(
            confirm=confirm,
            leftovers=leftovers,
            keep_tag_revisions=keep_tag_revisions,
            keep_younger_than_seconds=keep_younger_than,
        )
        answer = await client.request(Prune(spec=spec), _SECONDS)
        if output == Format.TABLE:
            _write(answer, with_kept=kept)
        else:
            write_data(encode(answer), output)

    session.run(work)


def _write(answer: "Prune", *, with_kept: bool) -> None:
    status = answer.status
    if with_kept and status.kept:
        rows = [("KEPT", "WHY"), *((_named(i.image), shortened(i.reason)) for i in status.kept)]
        echo("\n".join([*aligned(rows), ""]))
    if status.items:
        rows4 = [("SIZE", "WHAT", "NAME", "WHY")]
        for item in status.items:
            size = format_bytes(item.bytes) if item.bytes else "-"
            rows4.append((size, item.what, _named(item.name), item.reason))
        echo("\n".join([*aligned(rows4), ""]))
    if status.unexplained:
        rows3 = [("UNEXPLAINED", "NAME", "WHY")]
        rows3 += [(one.what, one.name, one.reason) for one in status.unexplained]
        echo("\n".join([*aligned(rows3), ""]))
    count = "1 item" if len(status.items) == 1 else f"{len(status.items)} items"
    verb = "removed" if answer.spec.confirm else "would be removed"
    echo(f"{count} {verb}, {format_bytes(status.bytes)}")
    if status.more:
        echo("the limit of one run is reached: run `upwell prune` again", err=True)
    if status.left_out:
        echo(f"not pruned: {status.left_out}", err=True)
    if status.unexplained:
        echo("`upwell prune --leftovers --confirm` removes what is unexplained", err=True)
    if status.items and not answer.spec.confirm:
        echo("nothing was removed: add --confirm to remove the items", err=True)


def _named(name: str) -> str:
    """Return the name with the first digits of its digest."""
    place, at, digest = name.partition("@")
    return f"{place}@{shortened(digest)}" if at else shortened(name)


def format_bytes(count: int) -> str:
    """Return a number of bytes with its unit: `3.2 MiB`."""
    amount, unit = float(count), 0
    while amount >= _STEP and unit < len(_UNITS) - 1:
        amount /= _STEP
        unit += 1
    return f"{amount:.1f} {_UNITS[unit]}" if unit else f"{count} B"
