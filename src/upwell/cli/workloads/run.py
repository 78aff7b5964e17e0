"""`upwell run`: a Pod of an image."""

import json
import sys
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

import click

from upwell.api.codec import decode
from upwell.api.patches.content_types import MERGE_PATCH, PATCHES
from upwell.api.pod import Pod
from upwell.cli.changes.writing import Document, WritingOptions, warn, write_options
from upwell.cli.core.after_dashes import CommandAfterDashes, words_after_dashes
from upwell.cli.core.assignments import parse_assignments
from upwell.cli.core.connection import Session, connection_options
from upwell.cli.core.documents import check_documents
from upwell.cli.core.durations import TIMEOUT
from upwell.cli.core.examples import examples
from upwell.cli.core.kept_options import keep_option, kept
from upwell.cli.core.terminal import echo
from upwell.cli.workloads.pod_sessions import attach, follow, removed_at_the_end, started
from upwell.store.interface import ApiClient

_MAX_PORT = 65535


@dataclass(slots=True)
class _RunOptions:
    image: str = ""
    env: tuple[str, ...] = ()
    labels: str = ""
    annotations: tuple[str, ...] = ()
    port: int | None = None
    restart: str = "Always"
    command: bool = False
    stdin: bool = False
    tty: bool = False
    attach: bool = False
    remove: bool = False
    quiet: bool = False
    overrides: str = ""
    timeout: float = 60.0

    def document(self, name: str, words: tuple[str, ...]) -> Document:
        """Return the Pod; raises click.UsageError."""
        container: Document = {"name": name, "image": self.image}
        if words:
            container["command" if self.command else "args"] = list(words)
        if self.env:
            values = parse_assignments("--env", self.env)
            container["env"] = [{"name": key, "value": text} for key, text in values.items()]
        if self.port:
            container["ports"] = [{"containerPort": self.port}]
        for key, holds in (("stdin", self.stdin), ("tty", self.tty)):
            if holds:
                container[key] = True
        labels = parse_assignments("--labels", self.labels.split(",")) if self.labels else {}
        metadata: Document = {"name": name, "labels": labels or {"run": name}}
        if self.annotations:
            metadata["annotations"] = parse_assignments("--annotations", self.annotations)
        spec = {"containers": [container], "restartPolicy": self.restart}
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}
        return self._overridden(pod) if self.overrides else pod

    def _overridden(self, pod: Document) -> Document:
        try:
            patch = json.loads(self.overrides)
        except (ValueError, RecursionError) as error:
            raise click.UsageError(f"--overrides is not JSON: {error}") from error
        if not isinstance(patch, dict):
            raise click.UsageError("--overrides is an object of JSON")
        return PATCHES[MERGE_PATCH](pod, patch)


def _option(target: str, *names: str, **facts: Any) -> Callable[[Any], Any]:
    return keep_option(_RunOptions, target, *names, **facts)


@click.command(
    cls=CommandAfterDashes,
    epilog=examples(
        "upwell run web --image=registry.test/web:1 --port=8080",
        "upwell run -it --rm shell --image=registry.test/tools:1 --restart=Never -- sh",
        "upwell run job --image=shop:latest --restart=Never --attach --command -- bin/migrate",
        "upwell run web --image=web:1 --env=LEVEL=debug --dry-run=client -o yaml",
    ),
)
@click.argument("name", metavar="NAME")
@_option("image", "--image", required=True, help="Image of the container.")
@_option("env", "--env", multiple=True, metavar="K=V", help="Variable to set; repeatable.")
@_option("labels", "-l", "--labels", metavar="K=V,...", show_default="run=NAME", help="Labels.")
@_option(
    "annotations", "--annotations", multiple=True, metavar="K=V", help="Annotation; repeatable."
)
@_option(
    "port",
    "--port",
    type=click.IntRange(1, _MAX_PORT),
    show_default="none",
    help="Port that the container listens on.",
)
@_option(
    "restart",
    "--restart",
    type=click.Choice(["Always", "OnFailure", "Never"]),
    default="Always",
    show_default=True,
    help="Restart policy of the pod.",
)
@_option("command", "--command", is_flag=True, help="Run the words after --, not as arguments.")
@_option("stdin", "-i", "--stdin", is_flag=True, help="Pass stdin to the container.")
@_option("tty", "-t", "--tty", is_flag=True, help="Allocate a terminal for the container.")
@_option("attach", "--attach", is_flag=True, help="Wait until the pod runs, and attach to it.")
@_option("remove", "--rm", is_flag=True, help="Delete the pod at the end; with -i or --attach.")
@_option("quiet", "-q", is_flag=True, help="Print no messages.")
@_option("overrides", "--overrides", metavar="JSON", show_default="none", help="Patch of the pod.")
@_option(
    "timeout",
    "--pod-running-timeout",
    type=TIMEOUT,
    default="1m",
    show_default=True,
    help="Time limit of the pod's start with -i or --attach; 0 for none.",
)
@write_options()
@connection_options
@click.pass_context
def run(ctx: click.Context, name: str) -> None:
    """Create a pod of an image.

    The words after `--` are the arguments of the image's own command. With -i or --attach, the
    exit code is that of the container.
    """
    session: Session = ctx.ensure_object(Session)
    options, writing = kept(ctx, _RunOptions), kept(ctx, WritingOptions)
    attaches = options.attach or options.stdin
    if options.remove and not attaches:
        raise click.UsageError("--rm should only be used for attached containers")
    if options.tty and not options.stdin:
        raise click.UsageError("-i/--stdin is required for containers with -t/--tty=true")
    [manifest] = check_documents([options.document(name, words_after_dashes(ctx))], session)
    if not writing.is_written:
        writing.tell(manifest.resource, manifest.document, "created")
        return
    codes: list[int] = []

    async def work(client: ApiClient) -> None:
        created, warnings = await client.write(
            "POST", manifest.resource, manifest.document, writing.request("application/json")
        )
        warn(manifest.resource, warnings)
        pod = decode(created)
        if writing.dry_run == "server" or not attaches or not isinstance(pod, Pod):
            writing.tell(manifest.resource, created, "created")
            return
        codes.append(await _lead(client, pod, options))

    session.run(work)
    sys.exit(codes[0] if codes else 0)


async def _lead(client: ApiClient, pod: Pod, options: _RunOptions) -> int:
    async with AsyncExitStack() as stack:
        if options.remove:
            done = f'pod "{pod.name}" deleted'
            removal = removed_at_the_end(client, pod, quiet=options.quiet, done=done)
            await stack.enter_async_context(removal)
        container = pod.spec.containers[0].name
        pod = await started(client, pod, container, options.timeout, quiet=options.quiet)
        tty = options.tty and sys.stdin.isatty()
        if options.tty and not tty:
            echo("Unable to use a TTY - input is not a terminal", err=True)
        if not options.stdin and options.restart == "Never":
            return await follow(client, pod, container)
        streams = {"stdin": options.stdin, "tty": tty}
        return await attach(client, pod, container, **streams, quiet=options.quiet)
