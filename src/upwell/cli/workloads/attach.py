"""`upwell attach`: reach the process of a container."""

import sys

import click

from upwell.api.pod import Pod
from upwell.cli.core.connection import Session, connection_options
from upwell.cli.core.errors import CommandError
from upwell.cli.core.examples import examples
from upwell.cli.core.names import parse_entered
from upwell.cli.core.terminal import echo
from upwell.cli.workloads.conversations import ENTERED, Place, interact
from upwell.cli.workloads.pod_sessions import attach
from upwell.store.interface import ApiClient


@click.command(
    "attach",
    epilog=examples(
        "upwell attach shell -it", "upwell attach pod/web -c log", "upwell attach deployment/shop"
    ),
)
@click.argument("what", metavar="[KIND/]NAME")
@click.option("-c", "--container", default="", show_default="the first", help="Container to reach.")
@click.option("-i", "--stdin", is_flag=True, help="Pass stdin to the container.")
@click.option("-t", "--tty", is_flag=True, help="Stdin is a terminal.")
@click.option("-q", "quiet", is_flag=True, help="Print no messages.")
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
    """Print what a container of a Pod or workload writes from now on, and pass stdin to it.

    A NAME alone is a Pod's; of a workload it is an instance that is ready. The container outlives
    the command, which ends with its exit code.
    """
    named = parse_entered((what,))
    if not issubclass(named.resource, ENTERED):
        raise click.UsageError(f"cannot attach to {named}: name a workload or a pod")
    if tty and not (stdin and sys.stdin.isatty()):
        echo("ignoring -t: stdin is not a terminal, or not passed", err=True)
        tty = False
    codes: list[int] = []

    async def work(client: ApiClient) -> None:
        if named.resource is not Pod:
            place = Place(named.resource, named.namespace(session.namespace), named.name, container)
            async with place.attach(client, stdin=stdin, tty=tty) as conversation:
                codes.append(await interact(conversation, stdin=stdin, tty=tty))
            return
        pod = await client.get(Pod, named.namespace(session.namespace), named.name)
        names = [one.name for one in pod.spec.containers]
        if container not in {"", *names}:
            raise CommandError(f"{named} has no container {container!r}: there are {names}")
        chosen = container or names[0]
        codes.append(await attach(client, pod, chosen, stdin=stdin, tty=tty, quiet=quiet))

    session.run(work)
    sys.exit(codes[0])
