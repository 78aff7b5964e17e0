"""`upwell exec`: run a command in a container, and exit with its code."""

import json
import sys
from contextlib import ExitStack
from dataclasses import dataclass

import click

from upwell.api.apps import Job
from upwell.api.pod import Pod
from upwell.cli.core.connection import Session, connection_options
from upwell.cli.core.errors import CommandError, Exit
from upwell.cli.core.examples import examples
from upwell.cli.core.names import Named, parse_one
from upwell.cli.core.terminal import echo
from upwell.cli.workloads.terminal import raw_terminal, send_input, sizes
from upwell.policy.rollouts.settings import WORKLOADS
from upwell.store.interface import ApiClient, Conversation

_PROTOCOL = "v5.channel.k8s.io"
_STDIN, _STDOUT, _STDERR, _ERROR, _RESIZE, _CLOSE = 0, 1, 2, 3, 4, 255


@dataclass(frozen=True, slots=True)
class _ExecRequest:
    """Command to run, its container and its streams."""

    command: tuple[str, ...]
    container: str
    instance: str
    stdin: bool
    tty: bool

    def params(self) -> list[tuple[str, str]]:
        flags = {"stdin": self.stdin, "stdout": True, "stderr": not self.tty, "tty": self.tty}
        texts = {"container": self.container, "instance": self.instance}
        return [
            *(("command", word) for word in self.command),
            *((name, "true") for name, holds in flags.items() if holds),
            *((name, text) for name, text in texts.items() if text),
        ]


@click.command(
    "exec",
    context_settings={"ignore_unknown_options": True},
    epilog=examples(
        "upwell exec deployment/shop -- env",
        "upwell exec -it dc/gate -- sh",
        "upwell exec -i -c db deployment/shop -- psql <dump.sql",
        "upwell exec pod/upwell-default-deploy-shop-1b2c3d4e-0 -- ps",
    ),
)
@click.argument("what", metavar="KIND/NAME")
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

    The output is streamed. The command is ended when this one is.
    """
    named = parse_one((what,))
    if not issubclass(named.resource, (*WORKLOADS, Job, Pod)):
        raise click.UsageError(f"cannot run a command in {named}: name a workload or a pod")
    if tty and not sys.stdin.isatty():
        echo("ignoring -t: stdin is not a terminal", err=True)
        tty = False
    request = _ExecRequest(command, container or "", instance or "", stdin, tty)
    codes: list[int] = []

    async def work(client: ApiClient) -> None:
        codes.append(await _run(client, named, named.namespace(session.namespace), request))

    session.run(work)
    sys.exit(codes[0])


async def _run(client: ApiClient, named: Named, namespace: str, request: _ExecRequest) -> int:
    """Return the command's exit code; raises CommandError when it has none."""
    place = (named.resource, namespace, named.name, "exec", request.params(), _PROTOCOL)
    async with client.converse(*place) as conversation:
        with ExitStack() as stack:
            if request.tty:
                stack.enter_context(raw_terminal())
                stack.enter_context(sizes(_Channel(conversation, _RESIZE)))
            if request.stdin:
                send_input(_Channel(conversation, _STDIN))
            return await _answer(conversation)


class _Channel:
    """Sender on one channel; an empty piece closes it."""

    def __init__(self, conversation: Conversation, number: int) -> None:
        self._conversation = conversation
        self._number = number

    async def __call__(self, piece: bytes) -> None:
        head = (self._number,) if piece else (_CLOSE, self._number)
        await self._conversation.send(bytes(head) + piece)


async def _answer(conversation: Conversation) -> int:
    outputs = {_STDOUT: sys.stdout.buffer, _STDERR: sys.stderr.buffer}
    async for message in conversation.messages():
        channel, piece = message[0], message[1:]
        if channel == _ERROR:
            return _exit_code(piece)
        if channel in outputs:
            outputs[channel].write(piece)
            outputs[channel].flush()
    raise CommandError(
        "the server closed the connection before the command ended", Exit.UNREACHABLE
    )


def _exit_code(raw: bytes) -> int:
    """Read the Status that ends a command (meta/v1)."""
    status = json.loads(raw)
    if status["status"] == "Success":
        return 0
    for cause in status.get("details", {}).get("causes", ()):
        if cause["reason"] == "ExitCode":
            return int(cause["message"])
    raise CommandError(status.get("message", "cannot run the command"))
