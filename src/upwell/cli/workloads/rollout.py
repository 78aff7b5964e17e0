"""`upwell rollout`: watch, undo, pause, resume and restart rollouts."""

from collections.abc import Callable
from typing import Any

import click

from upwell.api.apps import Deployment, DeploymentConfig
from upwell.cli.changes.writing import DRY_RUN_SUFFIXES
from upwell.cli.core.connection import Session, connection_options
from upwell.cli.core.durations import TIMEOUT, within
from upwell.cli.core.errors import CommandError, Exit
from upwell.cli.core.examples import examples
from upwell.cli.core.names import Named, parse_one
from upwell.cli.core.output import (
    Format,
    aligned,
    format_age,
    full_name,
    output_option,
    shortened,
    write_report,
)
from upwell.cli.core.terminal import echo
from upwell.cli.core.waiting import until
from upwell.cli.presentation.progress import ProgressLine
from upwell.machine import clock
from upwell.policy.cluster_rollouts.native_revisions import as_rolled_out
from upwell.policy.rollouts.commands import is_native, resumes, rollout_command
from upwell.policy.rollouts.settings import WORKLOADS, Workload, is_paused
from upwell.policy.rollouts.summary import RolloutProgress, RolloutState, rollout_of
from upwell.policy.rollouts.triggers import (
    HOLD_ANNOTATION,
    HOLD_UNTIL_ANNOTATION,
    hold_text,
    lifts_hold,
)
from upwell.store.interface import ApiClient

_PAUSABLE = (Deployment, DeploymentConfig)
_RESTARTED = "kubectl.kubernetes.io/restartedAt"


@click.group(
    no_args_is_help=True,
    epilog=examples(
        "upwell rollout status deployment/shop --timeout=5m",
        "upwell rollout undo dc/gate",
        "upwell rollout history deployment/shop",
    ),
)
def rollout() -> None:
    """Watch, undo, pause and resume rollouts of workloads."""


def _workload_command(function: Callable[..., None]) -> Callable[..., None]:
    """Add the workload argument and the connection options to a command."""
    argument = click.argument("what", nargs=-1, required=True, metavar="KIND/NAME")
    return argument(connection_options(click.pass_obj(function)))


def _progress_of(workload: Workload) -> RolloutProgress:
    """Return where the newest rollout stands, be it the server's or its cluster's."""
    return rollout_of(as_rolled_out(workload))


@rollout.command(
    epilog=examples(
        "upwell rollout status deployment/shop",
        "upwell rollout status dc/gate --timeout=5m",
        "upwell rollout status deployment/shop --no-watch",
    )
)
@click.option(
    "--timeout",
    type=TIMEOUT,
    default="0",
    show_default="none",
    help="Time limit of the wait; exit 5 when it has passed.",
)
@click.option(
    "--watch/--no-watch", default=True, show_default=True, help="Wait for the end of the rollout."
)
@_workload_command
def status(
    session: Session,
    what: tuple[str, ...],
    timeout: float,
    watch: bool,  # noqa: FBT001 - click passes options by name
) -> None:
    """Wait until a rollout has ended; exit 1 if it failed, 5 after the time limit."""
    named = _parse_workload(what)
    line, last = ProgressLine(), [""]

    def report(workload: Workload) -> None:
        found = _progress_of(workload)
        if found.state is RolloutState.PROGRESSING and found.text != last[0]:
            last[0] = found.text
            text = f"{full_name(workload)}: {shortened(found.text)}"
            if line.is_shown:
                line.show(text)
            else:
                echo(text, err=True)

    async def work(client: ApiClient) -> None:
        workload = await _get(client, named, session)
        if watch:
            with line:
                async with within(timeout, f"{named}: the rollout has not ended"):
                    workload = await until(
                        client,
                        workload,
                        lambda state: _progress_of(state).state is not RolloutState.PROGRESSING,
                        changed=report,
                    )
        found = _progress_of(workload)
        if found.state is RolloutState.FAILED:
            raise CommandError(f"{full_name(workload)}: {shortened(found.text)}")
        echo(f"{full_name(workload)}: {shortened(found.text)}")
        if hold := workload.status.hold or hold_text(workload):
            lifts = lifts_hold(workload, f"`upwell rollout resume {named}`")
            echo(f"on hold: {hold}; {lifts} lifts the hold", err=True)

    session.run(work)


@rollout.command(
    epilog=examples(
        "upwell rollout history deployment/shop", "upwell rollout history dc/gate -o json"
    )
)
@output_option(Format.TABLE, Format.JSON, Format.YAML)
@_workload_command
def history(session: Session, what: tuple[str, ...], output: str) -> None:
    """List the revisions to which `undo` can return, newest first."""
    named = _parse_workload(what)

    async def work(client: ApiClient) -> None:
        workload = await _get(client, named, session)
        if is_native(workload):
            shown = rollout_command(workload, "history")
            raise CommandError(f"the revisions of {named} are its cluster's: {shown} lists them")
        revisions = workload.status.revisions
        if output != Format.TABLE:
            fields = {"template"}
            data = [
                r.model_dump(mode="json", by_alias=True, exclude=fields, exclude_none=True)
                for r in revisions
            ]
            write_report("RolloutHistory", data, output)
            return
        now = clock.now()
        rows = [("REVISION", "PHASE", "AGE", "CAUSE", "IMAGES")]
        rows += [
            (
                str(revision.revision),
                revision.phase or "-",
                format_age(revision.created, now),
                revision.cause or "-",
                ",".join(f"{name}={shortened(image)}" for name, image in revision.images.items())
                or "-",
            )
            for revision in revisions
        ]
        for line in aligned(rows):
            echo(line)

    session.run(work)


@rollout.command(
    epilog=examples(
        "upwell rollout undo deployment/shop",
        "upwell rollout undo dc/gate --to-revision=3",
        "upwell rollout undo dc/gate --dry-run=server",
    )
)
@click.option(
    "--to-revision",
    type=click.IntRange(min=1),
    help="Revision to return to.  [default: the last complete one]",
)
@click.option(
    "--dry-run",
    type=click.Choice(["none", "client", "server"]),
    default="none",
    show_default=True,
    help="Have the server check the return, and change nothing.",
)
@_workload_command
def undo(session: Session, what: tuple[str, ...], to_revision: int | None, dry_run: str) -> None:
    """Return to an earlier revision, and hold the workload there.

    A workload on hold gets no new images until `rollout resume`.
    """
    named = _parse_workload(what)
    body = {} if to_revision is None else {"toRevision": to_revision}

    async def work(client: ApiClient) -> None:
        workload = await _get(client, named, session)
        place = (type(workload), workload.namespace, workload.name, "rollback")
        if dry_run != "none":
            await client.call("POST", *place, body, {"dryRun": "All"})
            echo(f"{full_name(workload)} rolled back{DRY_RUN_SUFFIXES[dry_run]}")
            return
        await client.call("POST", *place, body)
        echo(f"{full_name(workload)} rolled back")
        echo(f"on hold: `upwell rollout resume {named}` lets new images roll out", err=True)

    session.run(work)


@rollout.command(epilog=examples("upwell rollout pause deployment/shop"))
@_workload_command
def pause(session: Session, what: tuple[str, ...]) -> None:
    """Stop rolling out changes until `resume`; running instances stay."""
    named = _parse_workload(what)
    if issubclass(named.resource, _PAUSABLE):
        change: dict[str, Any] = {"spec": {"paused": True}}
    else:
        change = {"metadata": {"annotations": {HOLD_ANNOTATION: "paused by a person"}}}
    _patch(session, named, change, "paused")


@rollout.command(epilog=examples("upwell rollout resume deployment/shop"))
@_workload_command
def resume(session: Session, what: tuple[str, ...]) -> None:
    """Resume a paused workload, and lift the hold that `undo` sets."""
    named = _parse_workload(what)
    lifted = {HOLD_ANNOTATION: None, HOLD_UNTIL_ANNOTATION: None}
    change: dict[str, Any] = {"metadata": {"annotations": lifted}}
    if issubclass(named.resource, _PAUSABLE):
        change["spec"] = {"paused": None}
    _patch(session, named, change, "resumed")


@rollout.command(epilog=examples("upwell rollout restart deployment/shop"))
@_workload_command
def restart(session: Session, what: tuple[str, ...]) -> None:
    """Replace all instances by new ones with the same images, as a rollout."""
    named = _parse_workload(what)
    annotations = {_RESTARTED: clock.now().isoformat(timespec="seconds")}
    change = {"spec": {"template": {"metadata": {"annotations": annotations}}}}

    async def work(client: ApiClient) -> None:
        workload = await _get(client, named, session)
        if is_paused(workload):
            raise CommandError(
                f"cannot restart {named}: it is paused; run"
                f" {resumes(workload, f'`upwell rollout resume {named}`')} first"
            )
        await client.patch(named.resource, session.namespace, named.name, change)
        echo(f"{full_name(workload)} restarted")

    session.run(work)


@rollout.command(
    epilog=examples(
        "upwell rollout latest dc/gate",
        "upwell rollout latest dc/gate --again",
        "upwell rollout latest deployment/shop",
    )
)
@click.option(
    "--again", is_flag=True, help="Keep the present images.  [default: the newest images]"
)
@_workload_command
def latest(
    session: Session,
    what: tuple[str, ...],
    again: bool,  # noqa: FBT001 - click passes options by name
) -> None:
    """Start a rollout with the newest images of followed tags.

    It waits for nothing that triggers wait for. A DeploymentConfig that has them is rolled out too.
    """
    _call_verb(session, what, "latest", "rolled out", again=again)


@rollout.command(epilog=examples("upwell rollout cancel dc/gate"))
@_workload_command
def cancel(session: Session, what: tuple[str, ...]) -> None:
    """Cancel the rollout in progress: the previous revision serves again."""
    _call_verb(session, what, "cancel", "cancelling")


@rollout.command(epilog=examples("upwell rollout retry dc/gate"))
@_workload_command
def retry(session: Session, what: tuple[str, ...]) -> None:
    """Retry a failed rollout, with its hooks."""
    _call_verb(session, what, "retry", "retried rollout")


def _call_verb(
    session: Session, what: tuple[str, ...], verb: str, done: str, *, again: bool = False
) -> None:
    """Call a rollout verb of the server."""
    named = _parse_workload(what)

    async def work(client: ApiClient) -> None:
        workload = await _get(client, named, session)
        body = {"verb": verb, "again": again}
        place = (type(workload), workload.namespace, workload.name)
        await client.call("POST", *place, "rollout", body)
        echo(f"{full_name(workload)} {done}")

    session.run(work)


def _parse_workload(what: tuple[str, ...]) -> Named:
    named = parse_one(what)
    if not issubclass(named.resource, WORKLOADS):
        known = ", ".join(kind.KIND.singular for kind in WORKLOADS)
        raise click.UsageError(f"{named} has no rollouts: supported kinds are {known}")
    return named


async def _get(client: ApiClient, named: Named, session: Session) -> Workload:
    found = await client.get(named.resource, session.namespace, named.name)
    if not isinstance(found, WORKLOADS):
        raise CommandError(f"{named} is not a workload", Exit.USAGE)
    return found


def _patch(session: Session, named: Named, change: dict[str, Any], done: str) -> None:
    async def work(client: ApiClient) -> None:
        changed = await client.patch(named.resource, session.namespace, named.name, change)
        echo(f"{full_name(changed)} {done}")

    session.run(work)
