"""`upwell exec`: run a command in a container, and exit with its code."""

import sys

import click

from upwell.cli.core.connection import Session, connection_options
from upwell.cli.core.errors import CommandError
from upwell.cli.core.examples import examples
from upwell.cli.core.names import parse_entered
from upwell.cli.core.terminal import echo
from upwell.cli.workloads.conversations import ENTERED, Place, interact
from upwell.store.interface import ApiClient

_NOT_FOUND = 127
"""Exit code of engines and shells for a program that is not there."""
_SHELLS = {"sh", "bash", "/bin/sh", "/bin/bash"}


@click.command(
    "exec",
    context_settings={"ignore_unknown_options": True},
    epilog=examples(
        "upwell exec deployment/shop -- env",
        "upwell exec -it dc/gate -- sh",
        "upwell exec -i -c db deployment/shop -- psql <dump.sql",
        "upwell exec upwell-default-deploy-shop-1b2c3d4e-0 -- ps",
    ),
)
@click.argument("what", metavar="[KIND/]NAME")
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
@click.option("-i", "--stdin", is_flag=True, help="Pass stdin to the command.")
@click.option("-t", "--tty", is_flag=True, help="Allocate a terminal for the command.")
@click.option("-c", "--container", help="Container of the instance.  [default: the first]")
@click.option("--instance", help="Instance of the workload.  [default: one that is ready]")
@connection_options
@click.pass_obj
def exec_command(
    session: Session,
    what: str,
    command: tuple[str, ...],
    stdin: bool,  # noqa: FBT001 - click passes options by name
    tty: bool,  # noqa: FBT001 - the same
    container: str | None,
    instance: str | None,
) -> None:
    """Run COMMAND in a container of a workload or Pod, and exit with its code.

    A NAME alone is a Pod's. The output is streamed. The command is ended when this one is.
    """
    named = parse_entered((what,))
    if not issubclass(named.resource, ENTERED):
        raise click.UsageError(f"cannot run a command in {named}: name a workload or a pod")
    if tty and not sys.stdin.isatty():
        echo("ignoring -t: stdin is not a terminal", err=True)
        tty = False
    place = Place(
        named.resource,
        named.namespace(session.namespace),
        named.name,
        container or "",
        instance or "",
    )
    codes: list[int] = []

    async def work(client: ApiClient) -> None:
        async with place.execute(client, command, stdin=stdin, tty=tty) as conversation:
            codes.append(await interact(conversation, stdin=stdin, tty=tty))

    session.run(work)
    if codes[0] == _NOT_FOUND and (len(command) == 1 or command[0] not in _SHELLS):
        raise NoProgramError(place, command[0])
    sys.exit(codes[0])


class NoProgramError(CommandError):
    """A container has no program of this name; the exit code is that of shells, 127."""

    def __init__(self, place: Place, program: str) -> None:
        other = "" if program in {"sh", "/bin/sh"} else f"try `upwell exec {place} -- sh`; "
        super().__init__(
            f"{place}: exit code {_NOT_FOUND}, so its container probably has no program"
            f" {program!r}: {other}`upwell debug {place} --image=debian` brings a shell where the"
            " image has none"
        )
        self.exit_code = _NOT_FOUND  # type: ignore[misc] # click declares it for the class only
