"""`upwell evidence`: list or print the evidence of a promotion's checks."""

import sys
from contextlib import aclosing

import click

from upwell.api.promotion import Evidence, Promotion
from upwell.cli.core.connection import Session, connection_options
from upwell.cli.core.errors import CommandError, Exit
from upwell.cli.core.examples import examples
from upwell.cli.core.names import parse_named
from upwell.cli.core.output import MISSING, aligned
from upwell.cli.core.terminal import LogFilter, echo
from upwell.cli.pruning.prune import format_bytes
from upwell.store.interface import ApiClient


@click.command(
    epilog=examples(
        "upwell evidence shop-7.dev",
        "upwell evidence shop-7.dev e2e/log.txt",
        "upwell evidence shop-7.dev e2e/artifacts/out.tar | tar -x",
    )
)
@click.argument("promotion", metavar="PROMOTION")
@click.argument("name", metavar="[CHECK/NAME]", default="")
@connection_options
@click.pass_obj
def evidence(session: Session, promotion: str, name: str) -> None:
    """List the evidence of a promotion's checks: logs, reports, artifacts, links.

    With CHECK/NAME, as in the list, print the content of a file or the URL of a link. The list has
    the evidence of all attempts of a check.
    """
    [named] = parse_named([promotion], default=Promotion)

    async def work(client: ApiClient) -> None:
        found = await client.get(Promotion, session.namespace, named.name)
        pieces = _pieces(found)
        if not name:
            _write(found, pieces)
        elif name not in pieces:
            known = ", ".join(pieces) or "none"
            raise CommandError(
                f"{found.key} has no evidence {name!r}; it has: {known}", Exit.NOT_FOUND
            )
        elif pieces[name].digest:
            await _print(client, found, pieces[name])
        else:
            echo(pieces[name].url)

    session.run(work)


def _pieces(promotion: Promotion) -> dict[str, Evidence]:
    """Return all evidence by CHECK/NAME."""
    return {
        f"{check.name}/{piece.name}": piece
        for check in promotion.status.checks
        for piece in check.evidence
    }


def _write(promotion: Promotion, pieces: dict[str, Evidence]) -> None:
    rows = [("EVIDENCE", "SIZE", "LINK")]
    for name, piece in pieces.items():
        size = format_bytes(piece.size) if piece.digest else MISSING
        rows.append((name, size, piece.url or MISSING))
    for line in aligned(rows):
        echo(line)
    if not pieces:
        echo(f"no evidence of {promotion.key} yet", err=True)


async def _print(client: ApiClient, promotion: Promotion, piece: Evidence) -> None:
    place = (promotion.namespace, promotion.name, "evidence")
    chunks = client.stream(Promotion, *place, {"digest": piece.digest})
    filtered = LogFilter()
    async with aclosing(chunks) as content:
        async for chunk in content:
            sys.stdout.buffer.write(filtered.feed(chunk))
    sys.stdout.buffer.write(filtered.end())
    sys.stdout.buffer.flush()
