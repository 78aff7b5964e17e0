"""`upwell debug`: a shell, or a command, in a copy of a workload's Pod."""

import sys
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

import click

from upwell.api.apps import CronJob, Job
from upwell.api.codec import decode, encode
from upwell.api.image import ImageStreamTag
from upwell.api.pod import Pod
from upwell.cli.changes.pod_templates import Document
from upwell.cli.changes.writing import WritingOptions, warn, write_options
from upwell.cli.core.after_dashes import CommandAfterDashes, words_after_dashes
from upwell.cli.core.connection import Session, connection_options
from upwell.cli.core.documents import load_manifests
from upwell.cli.core.errors import CommandError, Exit
from upwell.cli.core.examples import examples
from upwell.cli.core.kept_options import keep_option, kept
from upwell.cli.core.names import parse_named
from upwell.cli.core.targets import split_words
from upwell.cli.core.terminal import echo
from upwell.cli.workloads.debug_pods import SOURCE_CONTAINER, DebugOptions, debug_pod, image_pod
from upwell.cli.workloads.pod_sessions import attach, follow, removed_at_the_end, started
from upwell.policy.rollouts.settings import WORKLOADS
from upwell.store.interface import ApiClient

_START_SECONDS = 15 * 60
_SHELL = ("/bin/sh",)


@dataclass(slots=True)
class _CallOptions:
    file: str = ""
    no_stdin: bool = False
    tty: bool = False
    no_tty: bool = False
    preserve: bool = False
    quiet: bool = False
    to_namespace: str = ""


def _option(target: str, *names: str, **facts: Any) -> Callable[[Any], Any]:
    return keep_option(DebugOptions, target, *names, **facts)


def _flag(target: str, name: str, text: str) -> Callable[[Any], Any]:
    return _option(target, name, is_flag=True, help=text)


def _call(target: str, *names: str, **facts: Any) -> Callable[[Any], Any]:
    return keep_option(_CallOptions, target, *names, **facts)


@click.command(
    cls=CommandAfterDashes,
    epilog=examples(
        "upwell debug deployment/shop",
        "upwell debug dc/gate --as-root",
        "upwell debug daemonset/collect -c second -- /bin/env",
        "upwell debug istag/shop:latest -T -- ls -l /srv",
        "upwell debug --image=registry.test/tools:1",
        "upwell debug pod/upwell-default-deploy-shop-1b2c3d4e-0 -o yaml",
    ),
)
@click.argument("words", nargs=-1, metavar="[KIND/NAME] [ENV=VALUE]... [-- COMMAND...]")
@_option("container", "-c", "--container", show_default="the first", help="Container to debug.")
@_option("image", "--image", show_default="the container's", help="Image to run instead.")
@_flag("as_root", "--as-root", "Run the container as root.")
@_option(
    "as_user", "--as-user", type=click.IntRange(min=0), show_default="as it is", help="User id."
)
@_flag("keep_labels", "--keep-labels", "Keep the labels: Services send it requests, too.")
@_flag("keep_annotations", "--keep-annotations", "Keep the annotations.")
@_flag("keep_liveness", "--keep-liveness", "Keep the liveness probe.")
@_flag("keep_readiness", "--keep-readiness", "Keep the readiness probe.")
@_flag("keep_startup", "--keep-startup", "Keep the startup probe.")
@_option(
    "keep_init_containers",
    "--keep-init-containers",
    type=bool,
    metavar="BOOLEAN",
    default=True,
    show_default=True,
    help="Run the init containers.",
)
@_flag("one_container", "--one-container", "Leave out all other containers.")
@_option("node_name", "--node-name", show_default="any", help="Machine to run on.")
@_call(
    "file",
    "-f",
    "--filename",
    metavar="SOURCE",
    show_default="none",
    help="Object of a file, URL or - for stdin.",
)
@_call("no_stdin", "-I", "--no-stdin", is_flag=True, help="Do not pass stdin.")
@_call("tty", "-t", "--tty", is_flag=True, help="Allocate a terminal for a command too.")
@_call("no_tty", "-T", "--no-tty", is_flag=True, help="Allocate no terminal.")
@_call("preserve", "--preserve-pod", is_flag=True, help="Do not delete the pod at the end.")
@_call("quiet", "-q", is_flag=True, help="Print no messages.")
@_call(
    "to_namespace",
    "--to-namespace",
    show_default="the object's",
    help="Namespace to create the pod in.",
)
@write_options()
@connection_options
@click.pass_context
def debug(ctx: click.Context, words: tuple[str, ...]) -> None:
    """Run a shell, or COMMAND, in a copy of a workload's pod.

    The copy has no labels and no probes, and is removed when the shell or command ends, or by
    Ctrl-C. A COMMAND gets neither stdin nor a terminal; the exit code is its own.
    """
    session: Session = ctx.ensure_object(Session)
    options, call, writing = (
        kept(ctx, DebugOptions),
        kept(ctx, _CallOptions),
        kept(ctx, WritingOptions),
    )
    command = words_after_dashes(ctx)
    objects, options.environment = split_words(words)
    options.command = command or _SHELL
    _choose_streams(options, call, is_shell=not command)
    if options.as_root and options.as_user is not None:
        raise click.UsageError("--as-root and --as-user exclude each other")
    codes: list[int] = []

    async def work(client: ApiClient) -> None:
        source = await _source(client, session, objects, options, call.file)
        namespace = call.to_namespace or str(source["metadata"].get("namespace") or "")
        document = debug_pod(source, namespace or session.namespace, options)
        if writing.output or writing.dry_run == "client":
            writing.tell(decode(document), document, "created")
            return
        codes.append(await _run(client, document, options, call, writing))

    session.run(work)
    sys.exit(codes[0] if codes else 0)


def _choose_streams(options: DebugOptions, call: _CallOptions, *, is_shell: bool) -> None:
    if call.tty and (call.no_stdin or call.no_tty):
        raise click.UsageError("-t excludes -I and -T")
    options.stdin = (is_shell or call.tty) and not call.no_stdin
    options.tty = options.stdin and not call.no_tty and sys.stdin.isatty()


async def _source(
    client: ApiClient, session: Session, objects: Sequence[str], options: DebugOptions, file: str
) -> Document:
    """Return what is copied; raises CommandError or click.UsageError."""
    if file:
        manifests = load_manifests([file], session, recursive=False, to_store=False)
        if objects or len(manifests) != 1:
            raise click.UsageError("name a single object to debug")
        return manifests[0].document
    if not objects:
        if not options.image:
            raise click.UsageError("name an object as KIND/NAME, or an --image")
        return image_pod("image", options.image)
    plain = len(objects) == 1 and "/" not in objects[0]
    named = parse_named(objects, default=Pod if plain else None)
    if len(named) != 1:
        raise click.UsageError("name a single object to debug")
    [one] = named
    found = await client.get(one.resource, one.namespace(session.namespace), one.name)
    if isinstance(found, ImageStreamTag):
        reference = found.image.get("dockerImageReference")
        if not reference:
            raise CommandError(f"{one} has no image yet", Exit.NOT_FOUND)
        return image_pod(one.name, str(reference))
    if not isinstance(found, (*WORKLOADS, CronJob, Job, Pod)):
        raise click.UsageError(f"cannot debug {one}: name a workload, a pod or an istag")
    if isinstance(found, WORKLOADS):
        newest = max(found.status.revisions, key=lambda one: one.revision, default=None)
        options.images = dict(newest.images) if newest is not None else {}
    return encode(found)


async def _run(
    client: ApiClient,
    document: Document,
    options: DebugOptions,
    call: _CallOptions,
    writing: WritingOptions,
) -> int:
    wanted = decode(document)
    created, warnings = await client.write(
        "POST", wanted, document, writing.request("application/json")
    )
    warn(wanted, warnings)
    if writing.dry_run == "server":
        writing.tell(wanted, created, "created")
        return 0
    pod = decode(created)
    if not isinstance(pod, Pod):
        raise TypeError(f"the server answers with a {pod.KIND.kind}")
    async with AsyncExitStack() as stack:
        if not call.preserve:
            await stack.enter_async_context(removed_at_the_end(client, pod, quiet=call.quiet))
        if not call.quiet:
            echo(f"Starting pod/{pod.name} ...", err=True)
        container = pod.metadata.annotations[SOURCE_CONTAINER]
        pod = await started(client, pod, container, _START_SECONDS, quiet=call.quiet)
        if not options.stdin:
            return await follow(client, pod, container)
        streams = {"stdin": True, "tty": options.tty}
        return await attach(client, pod, container, **streams, quiet=call.quiet)
