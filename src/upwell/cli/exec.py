"""`upwell exec`: run a command in a container of a workload, and end as it ends."""

import sys
from typing import Any

import click

from upwell.api.apps import Job
from upwell.cli.connection import Session, connection_options
from upwell.cli.examples import examples
from upwell.cli.names import parse_one
from upwell.policy.rollout_settings import WORKLOADS
from upwell.store.interface import ApiClient


@click.command(
    "exec",
    context_settings={"ignore_unknown_options": True},
    epilog=examples(
        "upwell exec deployment/shop -- env", "upwell exec dc/gate -c proxy -- cat /etc/hosts"
    ),
)
@click.argument("what", metavar="KIND/NAME")
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
@click.option("-c", "--container", help="A container of the instance.  [default: the first]")
@click.option("--instance", help="An instance of the workload.  [default: one that is ready]")
@connection_options
@click.pass_obj
def exec_command(
    session: Session,
    what: str,
    command: tuple[str, ...],
    container: str | None,
    instance: str | None,
) -> None:
    """Run COMMAND in a container of a workload, print what it wrote, and exit with its code.

    It gets no input and may take five minutes; of its output the first 64 KiB are shown.
    """
    named = parse_one((what,))
    if not issubclass(named.resource, (*WORKLOADS, Job)):
        raise click.UsageError(f"{named} has no containers: workloads have")
    body: dict[str, Any] = {"command": list(command)}
    body |= {"container": container} if container else {}
    body |= {"instance": instance} if instance else {}
    codes: list[int] = []

    async def work(client: ApiClient) -> None:
        place = (named.resource, named.namespace(session.namespace), named.name)
        answer = await client.call("POST", *place, "exec", body)
        click.echo(answer["output"], nl=False)
        codes.append(int(answer["exitCode"]))

    session.run(work)
    sys.exit(codes[0])
