"""`upwell hold` and `upwell resume`: hold a workload or stage at its present images."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import click

from upwell.api.apps import CronJob, Deployment, DeploymentConfig
from upwell.api.decoding.kinds import find_names
from upwell.api.pipeline import Pipeline
from upwell.cli.core.connection import Session, connection_options
from upwell.cli.core.durations import TIME
from upwell.cli.core.examples import examples
from upwell.cli.core.names import Named, parse_named, parse_one
from upwell.cli.core.output import full_name
from upwell.cli.core.terminal import echo
from upwell.cli.promotion.requests import require_stage
from upwell.machine import clock
from upwell.policy.promotion.stages import STAGE_HOLD, STAGE_HOLD_UNTIL, has_hold, hold_of
from upwell.policy.rollouts.settings import WORKLOADS
from upwell.policy.rollouts.triggers import HOLD_ANNOTATION, HOLD_UNTIL_ANNOTATION
from upwell.store.interface import ApiClient

_HOLDABLE = (*WORKLOADS, CronJob, Pipeline)
_PAUSABLE = (Deployment, DeploymentConfig)


@dataclass(frozen=True, slots=True)
class _HoldTarget:
    """Target of a hold: an object, or one stage of a Pipeline."""

    named: Named
    stage: str = ""

    def annotations(self, reason: str | None, end: str | None) -> dict[str, str | None]:
        """Return the annotations of a hold until `end`; a reason of None lifts it."""
        if self.stage:
            return {
                f"{STAGE_HOLD}{self.stage}": reason,
                f"{STAGE_HOLD_UNTIL}{self.stage}": end,
            }
        return {HOLD_ANNOTATION: reason, HOLD_UNTIL_ANNOTATION: end}


@click.command(
    epilog=examples(
        'upwell hold deployment/shop --reason "Black Friday" --until 2026-11-30T08:00Z',
        "upwell hold dc/gate --until 8h",
        "upwell hold pipeline/shop --stage production --reason 'waits for the audit'",
        "upwell hold pipeline/shop --until 2d",
    )
)
@click.argument("what", nargs=-1, required=True, metavar="KIND/NAME|PIPELINE")
@click.option(
    "--stage", default="", show_default="all of a Pipeline", help="Stage of the Pipeline to hold."
)
@click.option(
    "--reason",
    default="held by a person",
    show_default=True,
    help="Reason to show wherever images wait.",
)
@click.option(
    "--until", type=TIME, help="End of the hold, a time or a duration from now.  [default: never]"
)
@connection_options
@click.pass_obj
def hold(
    session: Session, what: tuple[str, ...], stage: str, reason: str, until: datetime | None
) -> None:
    """Hold a workload, or the stages of a Pipeline, at their present images.

    Running instances stay, and are restarted if they end; `rollback` works, `promote` does not.
    `upwell resume` lifts the hold.
    """
    end = None if until is None else until.isoformat(timespec="seconds")
    held = _parse(what, stage)

    async def work(client: ApiClient) -> None:
        if stage:
            found = await client.get(Pipeline, session.namespace, held.named.name)
            require_stage(found, stage)
        change = {"metadata": {"annotations": held.annotations(reason, end)}}
        await _change(client, session, held, change, "held")
        ends = f", or {end}" if end else ""
        command = f"upwell resume {held.named}" + (f" --stage {stage}" if stage else "")
        echo(f"held until `{command}`{ends}: {reason}", err=True)

    session.run(work)


@click.command(
    epilog=examples(
        "upwell resume deployment/shop", "upwell resume pipeline/shop --stage production"
    )
)
@click.argument("what", nargs=-1, required=True, metavar="KIND/NAME|PIPELINE")
@click.option("--stage", default="", show_default="none", help="Stage of the Pipeline to resume.")
@connection_options
@click.pass_obj
def resume(session: Session, what: tuple[str, ...], stage: str) -> None:
    """Resume a held or paused workload or stage: triggers and promotions act again."""
    held = _parse(what, stage)
    change: dict[str, Any] = {"metadata": {"annotations": held.annotations(None, None)}}
    if issubclass(held.named.resource, _PAUSABLE):
        change["spec"] = {"paused": None}

    async def work(client: ApiClient) -> None:
        await _change(client, session, held, change, "resumed")

    session.run(work)


def _parse(what: tuple[str, ...], stage: str) -> _HoldTarget:
    if stage:
        named = parse_named(what, default=Pipeline)
        if len(named) != 1:
            raise click.UsageError("--stage needs one pipeline: PIPELINE or pipeline/NAME")
        return _HoldTarget(named[0], stage)
    is_pipeline = len(what) == 1 and "/" not in what[0] and find_names(what[0]) is None
    one = parse_named(what, default=Pipeline)[0] if is_pipeline else parse_one(what)
    if not issubclass(one.resource, _HOLDABLE):
        known = ", ".join(kind.KIND.singular for kind in _HOLDABLE)
        raise click.UsageError(f"cannot hold {one}: supported kinds are {known}")
    return _HoldTarget(one)


async def _change(
    client: ApiClient, session: Session, held: _HoldTarget, change: Mapping[str, Any], done: str
) -> None:
    named = held.named
    changed = await client.patch(named.resource, session.namespace, named.name, change)
    where = f"stage {held.stage} of " if held.stage else ""
    echo(f"{where}{full_name(changed)} {done}")
    if done == "resumed" and isinstance(changed, Pipeline):
        for line in _still_held(changed):
            echo(line, err=True)


def _still_held(pipeline: Pipeline) -> Iterator[str]:
    """Yield a line for each stage that another hold keeps."""
    for stage in pipeline.spec.stages:
        if reason := hold_of(pipeline, stage, (), clock.now()):
            option = f" --stage {stage.name}" if has_hold(pipeline, stage) else ""
            command = f"`upwell resume pipeline/{pipeline.name}{option}`"
            yield f"stage {stage.name} is still held: {reason} ({command})"
