"""Decisions about Waves: `upwell wave approve`, `cancel` and `retry`."""

from collections.abc import Mapping
from typing import Any

import click

from upwell.api.image import ImageStream
from upwell.api.meta import ObjectMeta
from upwell.api.waves.wave import Wave
from upwell.cli.core.connection import Session, connection_options
from upwell.cli.core.errors import CommandError
from upwell.cli.core.examples import examples
from upwell.cli.core.names import parse_named
from upwell.cli.core.output import full_name
from upwell.cli.core.terminal import echo
from upwell.cli.waves.readable import missing_wave, named_wave, wave_name
from upwell.store.interface import ApiClient, NotFoundError

_REASON = click.option("--reason", default="", show_default="none", help="Reason to keep with it.")


@click.command(
    epilog=examples(
        "upwell wave approve debian-11-2f1e4d5c6b7a --reason 'seen in staging'",
        "upwell wave approve debian-11-2f1e4d5c6b7a --stream debian -n shop",
    )
)
@click.argument("name", metavar="NAME")
@_REASON
@click.option(
    "--stream",
    default="",
    show_default="none",
    help="ImageStream of the namespace that asks for approval: what follows it is built.",
)
@click.option(
    "--override",
    metavar="REASON",
    default="",
    show_default="none",
    help="Reason to approve what you had imported yourself; needs the role overrider.",
)
@connection_options
@click.pass_obj
def approve(session: Session, name: str, reason: str, stream: str, override: str) -> None:
    """Approve a Wave that waits for it: builds on its image begin.

    Whoever had the image imported by hand does not approve it. With --stream, the change is
    approved for what follows one ImageStream, whose annotation upwell.dev/wave-approval asks for
    it; then whoever had it imported into that stream does not approve it.
    """

    async def work(client: ApiClient) -> None:
        # The Wave is not read first: who approves for a stream need not be able to read Waves.
        wave = wave_name(name)
        named = Wave(metadata=ObjectMeta(name=wave))
        if stream:
            bare = parse_named([stream], default=ImageStream)[0].name
            body = _given({"wave": wave, "reason": reason, "override": override})
            await client.call("POST", ImageStream, session.namespace, bare, "approve", body)
            echo(f"{full_name(named)} approved for imagestream/{bare}")
            return
        body = _given({"reason": reason, "override": override})
        try:
            await client.call("POST", Wave, "", wave, "approve", body)
        except NotFoundError:
            raise missing_wave(wave) from None
        echo(f"{full_name(named)} approved")

    session.run(work)


@click.command(
    epilog=examples(
        "upwell wave cancel debian-11-2f1e4d5c6b7a --reason 'breaks locales'",
        "upwell wave cancel debian-11-2f1e4d5c6b7a --reason 'breaks locales' --running",
    )
)
@click.argument("name", metavar="NAME")
@click.option("--reason", required=True, help="Reason to show at what is not built.")
@click.option("--running", is_flag=True, help="Cancel its builds that have begun, too.")
@connection_options
@click.pass_obj
def cancel(session: Session, name: str, reason: str, running: bool) -> None:  # noqa: FBT001 - click passes options by name
    """Cancel a Wave: what has not begun is not built on its image.

    Builds that run go on to their ends, and what is built is rolled out. Builds go on with the next
    image; `upwell start-build` builds on this one, unless it still waits for approval.
    """

    async def work(client: ApiClient) -> None:
        found = await named_wave(client, name)
        body = {"reason": reason, "running": running}
        await client.call("POST", Wave, "", found.name, "cancel", body)
        echo(f"{full_name(found)} cancelled")

    session.run(work)


@click.command(epilog=examples("upwell wave retry debian-11-2f1e4d5c6b7a"))
@click.argument("name", metavar="NAME")
@_REASON
@connection_options
@click.pass_obj
def retry(session: Session, name: str, reason: str) -> None:
    """Begin the builds and rollouts of a Wave that have failed again, each once.

    Prints what has begun; exit 1 where something cannot begin.
    """

    async def work(client: ApiClient) -> None:
        found = await named_wave(client, name)
        answer = await client.call(
            "POST", Wave, "", found.name, "retry", _given({"reason": reason})
        )
        for one in answer["begun"]:
            echo(f"{one} begun again")
        for one in answer["left"]:
            echo(f"left: {one}", err=True)
        if answer["left"]:
            raise CommandError(f"{len(answer['left'])} of {full_name(found)} were left")
        if not answer["begun"]:
            echo(f"nothing of {full_name(found)} has failed", err=True)

    session.run(work)


def _given(body: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in body.items() if value}
