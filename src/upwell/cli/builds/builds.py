"""`upwell start-build` and `upwell cancel-build`."""

from collections.abc import Sequence

import click

from upwell.api.builds.build import Build, BuildPhase
from upwell.api.builds.config import BuildConfig
from upwell.api.builds.inputs import GitSourceRevision, SourceRevision
from upwell.api.codec import decode_as
from upwell.cli.builds.logs import builds_of, ended_build, follow_build, write_log
from upwell.cli.builds.requests import RequestChoice, request_choice, request_options
from upwell.cli.builds.uploads import UploadChoice, opened, upload_choice, upload_options
from upwell.cli.builds.webhook_calls import call_webhook, webhook_choice, webhook_options
from upwell.cli.core.connection import Session, connection_options
from upwell.cli.core.errors import CommandError
from upwell.cli.core.examples import examples
from upwell.cli.core.names import Named, parse_named
from upwell.cli.core.output import Format, full_name, output_option, write_objects
from upwell.cli.core.terminal import echo
from upwell.cli.presentation.progress import counted
from upwell.policy.builds.git_webhooks import Hook
from upwell.store.interface import ApiClient


@click.command(
    "start-build",
    epilog=examples(
        "upwell start-build shop",
        "upwell start-build bc/shop --follow",
        "upwell start-build shop --wait --env LOG_LEVEL=debug",
        "upwell start-build shop --commit 2f1c8d0",
        "upwell start-build shop --from-dir . --follow",
        "upwell start-build shop --from-file app.jar --unless-built --wait -o name",
        "upwell start-build --from-build shop-3",
        "upwell start-build shop --list-webhooks all",
        "upwell start-build --from-webhook URL --git-post-receive -",
    ),
)
@click.argument("name", metavar="BUILDCONFIG", required=False)
@click.option(
    "--from-build",
    metavar="BUILD",
    show_default="none",
    help="Build to repeat with the same inputs.",
)
@click.option(
    "-F", "--follow", is_flag=True, help="Print the log until the end; exit 1 if the build fails."
)
@click.option("-w", "--wait", is_flag=True, help="Wait for the end; exit 1 if the build fails.")
@output_option(Format.TABLE, Format.NAME, Format.JSON, Format.YAML)
@request_options
@upload_options
@click.option(
    "--list-webhooks",
    type=click.Choice(["all", *(str(hook) for hook in Hook)]),
    show_default="none",
    help="Print the URLs of these webhooks, and start nothing.",
)
@webhook_options
@connection_options
@click.pass_context
def start_build(
    ctx: click.Context,
    name: str | None,
    from_build: str | None,
    follow: bool,  # noqa: FBT001 - click passes options by name
    wait: bool,  # noqa: FBT001 - the same
    list_webhooks: str | None,
    output: str,
) -> None:
    """Start a build of a BuildConfig and print the Build's name.

    An upload is kept: later builds of the same BuildConfig use it again.
    """
    session: Session = ctx.obj
    upload, request, webhook = upload_choice(ctx), request_choice(ctx), webhook_choice(ctx)
    if webhook.url:
        call_webhook(webhook)
        return
    target = _target(name, from_build, upload, request)

    async def work(client: ApiClient) -> None:
        if list_webhooks is not None:
            config = await client.get(BuildConfig, session.namespace, target.name)
            _print_webhooks(session.server, config, list_webhooks)
            return
        build = await _start(client, session.namespace, target, upload, request)
        if output == Format.TABLE:
            echo(f"{full_name(build)} started")
        elif output == Format.NAME or not wait:
            write_objects([build], output, single=True)
        if follow:
            require_success(await follow_build(client, build))
        elif wait:
            ended = await ended_build(client, build)
            if output not in {Format.TABLE, Format.NAME}:
                write_objects([ended], output, single=True)
            require_success(ended)

    session.run(work)


def _target(
    name: str | None, from_build: str | None, upload: UploadChoice, request: RequestChoice
) -> Named:
    """Return the BuildConfig or Build to start; raises click.UsageError."""
    if (name is None) == (from_build is None):
        raise click.UsageError("name a BuildConfig, or a Build with --from-build; not both")
    if from_build is not None and request.unless_built:
        raise click.UsageError("--from-build and --unless-built are mutually exclusive")
    if from_build is not None:
        if upload.given or upload.commit:
            raise click.UsageError(
                "--from-build uses the inputs of that build: remove --from-* uploads and --commit"
            )
        return parse_named([from_build], default=Build)[0]
    if upload.given and request.given:
        echo(f"{', '.join(request.given)}: no effect on an upload", err=True)
    return parse_named([name or ""], default=BuildConfig)[0]


async def _start(
    client: ApiClient,
    namespace: str,
    target: Named,
    upload: UploadChoice,
    request: RequestChoice,
) -> Build:
    if upload.given:
        asked = {"unlessBuilt": "true"} if request.unless_built else {}
        with opened(upload) as content:
            answer = await client.upload(
                BuildConfig,
                namespace,
                target.name,
                "instantiatebinary",
                counted(content.pieces(), "uploaded"),
                content.params | asked,
            )
        return decode_as(Build, answer)
    return await request_build(client, namespace, target, request, upload.commit)


async def request_build(
    client: ApiClient, namespace: str, target: Named, request: RequestChoice, commit: str = ""
) -> Build:
    """Start a build of a BuildConfig, or one like a Build, and return it."""
    part = "clone" if target.resource is Build else "instantiate"
    document = request.document(target.name, namespace)
    if commit:
        revision = SourceRevision.of_git(GitSourceRevision(commit=commit))
        document["revision"] = revision.model_dump(exclude_unset=True)
    answer = await client.call("POST", target.resource, namespace, target.name, part, document)
    return decode_as(Build, answer)


def _print_webhooks(server: str, config: BuildConfig, wanted: str) -> None:
    """Print URLs with `<secret>` in place of each secret: a terminal must not show it."""
    kind = BuildConfig.KIND
    place = f"{server.rstrip('/')}/apis/{kind.api_version}/namespaces/{config.namespace}"
    hooks = [h for h in Hook if wanted in {"all", h}]
    for trigger in config.spec.triggers:
        for hook in hooks:
            if trigger.type == hook.trigger_type:
                echo(f"{place}/{kind.plural}/{config.name}/webhooks/<secret>/{hook}")


def _read_states(
    ctx: click.Context, parameter: click.Parameter, values: Sequence[str]
) -> Sequence[str]:
    """Return the states, which may be separated by commas; raises click.BadParameter."""
    known = click.Choice(["new", "pending", "running"], case_sensitive=False)
    states = [state.strip() for value in values for state in value.split(",")]
    return [known.convert(state, parameter, ctx) for state in states]


@click.command(
    "cancel-build",
    epilog=examples(
        "upwell cancel-build shop-3",
        "upwell cancel-build build/shop-3 build/gate-1",
        "upwell cancel-build bc/shop --state new,pending",
        "upwell cancel-build shop-3 --restart",
        "upwell cancel-build shop-3 --dump-logs",
    ),
)
@click.argument("names", nargs=-1, required=True, metavar="BUILD|bc/NAME...")
@click.option(
    "--state",
    "states",
    multiple=True,
    metavar="STATE[,STATE]",
    callback=_read_states,
    help="Phases of builds to cancel: new, pending, running; repeatable.  [default: all]",
)
@click.option("--dump-logs", is_flag=True, help="Print the log of each cancelled build.")
@click.option("--restart", is_flag=True, help="Start each cancelled build again.")
@connection_options
@click.pass_obj
def cancel_build(
    session: Session,
    names: tuple[str, ...],
    states: Sequence[str],
    dump_logs: bool,  # noqa: FBT001 - click passes options by name
    restart: bool,  # noqa: FBT001 - click passes options by name
) -> None:
    """Cancel new, pending or running builds: by name, or all of a BuildConfig."""
    wanted = [parse_named([name], default=None if "/" in name else Build)[0] for name in names]
    for one in wanted:
        if one.resource not in {Build, BuildConfig}:
            raise click.UsageError(f"{one} is neither a build nor a BuildConfig")

    async def work(client: ApiClient) -> None:
        for one in wanted:
            for build in await _builds(client, session.namespace, one):
                quiet = one.resource is BuildConfig
                if await _cancel(client, build, states, quiet=quiet):
                    await after(client, build)

    async def after(client: ApiClient, build: Build) -> None:
        if dump_logs or restart:
            await ended_build(client, build)
        if dump_logs:
            await write_log(client, build, {})
        if restart:
            answer = await client.call("POST", Build, build.namespace, build.name, "clone", {})
            echo(f"{full_name(decode_as(Build, answer))} started")

    session.run(work)


async def _builds(client: ApiClient, namespace: str, named: Named) -> Sequence[Build]:
    if named.resource is Build:
        return [await client.get(Build, namespace, named.name)]
    return await builds_of(client, await client.get(BuildConfig, namespace, named.name))


async def _cancel(client: ApiClient, build: Build, states: Sequence[str], *, quiet: bool) -> bool:
    """Cancel the build unless it has ended or is in another state; return whether it did."""
    phase = build.status.phase
    if phase.is_terminal or (states and phase.lower() not in states):
        if not quiet:
            what = "has ended" if phase.is_terminal else "is not cancelled"
            echo(f"{full_name(build)} {what}: {phase}", err=True)
        return False
    cancel = {"status": {"cancelled": True}}
    await client.patch(Build, build.namespace, build.name, cancel)
    echo(f"{full_name(build)} cancelled")
    return True


def require_success(build: Build) -> None:
    """Raise CommandError unless the build, which has ended, has made an image."""
    status = build.status
    if status.phase is BuildPhase.COMPLETE:
        return
    why = ": ".join(part for part in (status.reason, status.message) if part)
    raise CommandError(
        f"{full_name(build)} ended as {status.phase}{f' ({why})' if why else ''};"
        f" `upwell describe build/{build.name}` shows details"
    )
