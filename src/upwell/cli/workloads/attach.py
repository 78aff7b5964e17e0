"""`upwell attach`: reach the process of a Pod's container."""

import sys

import click

from upwell.api.pod import Pod
from upwell.cli.core.connection import Session, connection_options
from upwell.cli.core.errors import CommandError
from upwell.cli.core.examples import examples
from upwell.cli.core.names import parse_named
from upwell.cli.core.terminal import echo
from upwell.cli.workloads.pod_sessions import attach
from upwell.store.interface import ApiClient


@click.command(
    "attach",
    epilog=examples("upwell attach shell -it", "upwell attach pod/web -c log"),
)
@click.argument("what", metavar="POD")
@click.option(
    "-c", "--container", default="", show_default="the first", help="Container of the pod."
)
@click.option("-i", "--stdin", is_flag=True, help="Pass stdin to the container.")
@click.option("-t", "--tty", is_flag=True, help="Stdin is a terminal.")
@click.option("-q", "--quiet", is_flag=True, help="Print no messages.")
@connection_options
@click.pass_obj
def attach_command(
    session: Session,
    what: str,
    container: str,
    stdin: bool,  # noqa: FBT001 - click passes options by name
    tty: bool,  # noqa: FBT001 - the same
    quiet: bool,  # noqa: FBT001 - the same
) -> None:
    """Print what a container of a POD writes from now on, and pass stdin to it.

    The container outlives the command, which ends with its exit code.
    """
    [named] = parse_named((what,), default=Pod)
    if tty and not (stdin and sys.stdin.isatty()):
        echo("ignoring -t: stdin is not a terminal, or not passed", err=True)
        tty = False
    codes: list[int] = []

    async def work(client: ApiClient) -> None:
        pod = await client.get(Pod, named.namespace(session.namespace), named.name)
        names = [one.name for one in pod.spec.containers]
        if container not in {"", *names}:
            raise CommandError(f"{named} has no container {container!r}: there are {names}")
        chosen = container or names[0]
        codes.append(await attach(client, pod, chosen, stdin=stdin, tty=tty, quiet=quiet))

    session.run(work)
    sys.exit(codes[0])
