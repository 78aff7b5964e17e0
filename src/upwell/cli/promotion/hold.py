"""`upwell hold` and `upwell resume`: keep new images away from a workload or a stage."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import click

from upwell.api.apps import CronJob, Deployment, DeploymentConfig
from upwell.api.pipeline import Pipeline
from upwell.cli.core import clock
from upwell.cli.core.connection import Session, connection_options
from upwell.cli.core.durations import MOMENT
from upwell.cli.core.examples import examples
from upwell.cli.core.names import Named, parse_named, parse_one
from upwell.cli.core.output import full_name
from upwell.cli.promotion.requests import require_stage
from upwell.policy.promotion.stages import STAGE_HOLD, STAGE_HOLD_UNTIL, hold_of
from upwell.policy.rollouts.settings import WORKLOADS
from upwell.policy.rollouts.triggers import HOLD_ANNOTATION, HOLD_UNTIL_ANNOTATION
from upwell.store.interface import ApiClient

_HELD = (*WORKLOADS, CronJob, Pipeline)
_PAUSABLE = (Deployment, DeploymentConfig)


@dataclass(frozen=True, slots=True)
class _Held:
    """What is held: an object, or one stage of a Pipeline."""

    named: Named
    stage: str = ""

    def annotations(self, reason: str | None, end: str | None) -> dict[str, str | None]:
        """Return the change that holds it until `end`; None lifts the hold."""
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
    "--stage", default="", show_default="all of a Pipeline", help="One stage of a Pipeline."
)
@click.option("--reason", default="held by a person", show_default=True, help="Shown everywhere.")
@click.option("--until", type=MOMENT, help="When it ends by itself.  [default: never]")
@connection_options
@click.pass_obj
def hold(
    session: Session, what: tuple[str, ...], stage: str, reason: str, until: datetime | None
) -> None:
    """Keep new images away from a workload, or from the stages of a Pipeline.

    What runs goes on running, and is restarted when it ends; `rollback` works, `promote` does not.
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
        click.echo(f"held until `{command}`{ends}: {reason}", err=True)

    session.run(work)


@click.command(
    epilog=examples(
        "upwell resume deployment/shop", "upwell resume pipeline/shop --stage production"
    )
)
@click.argument("what", nargs=-1, required=True, metavar="KIND/NAME|PIPELINE")
@click.option("--stage", default="", show_default="none", help="One stage of a Pipeline.")
@connection_options
@click.pass_obj
def resume(session: Session, what: tuple[str, ...], stage: str) -> None:
    """Lift a hold, and a workload's pause: triggers and promotions act again."""
    held = _parse(what, stage)
    change: dict[str, Any] = {"metadata": {"annotations": held.annotations(None, None)}}
    if issubclass(held.named.resource, _PAUSABLE):
        change["spec"] = {"paused": None}

    async def work(client: ApiClient) -> None:
        await _change(client, session, held, change, "resumed")

    session.run(work)


def _parse(what: tuple[str, ...], stage: str) -> _Held:
    if stage:
        named = parse_named(what, default=Pipeline)
        if len(named) != 1:
            raise click.UsageError("--stage belongs to one pipeline: PIPELINE or pipeline/NAME")
        return _Held(named[0], stage)
    one = parse_one(what)
    if not issubclass(one.resource, _HELD):
        known = ", ".join(kind.KIND.singular for kind in _HELD)
        raise click.UsageError(f"{one} cannot be held; these kinds can: {known}")
    return _Held(one)


async def _change(
    client: ApiClient, session: Session, held: _Held, change: Mapping[str, Any], done: str
) -> None:
    named = held.named
    changed = await client.patch(named.resource, session.namespace, named.name, change)
    where = f"stage {held.stage} of " if held.stage else ""
    click.echo(f"{where}{full_name(changed)} {done}")
    if done == "resumed" and isinstance(changed, Pipeline):
        for line in _still_held(changed):
            click.echo(line, err=True)


def _still_held(pipeline: Pipeline) -> Iterator[str]:
    """Tell what another hold keeps."""
    for stage in pipeline.spec.stages:
        if reason := hold_of(pipeline, stage, (), clock.now()):
            own = f"{STAGE_HOLD}{stage.name}" in pipeline.annotations
            option = f" --stage {stage.name}" if own else ""
            command = f"`upwell resume pipeline/{pipeline.name}{option}`"
            yield f"stage {stage.name} is still held: {reason} ({command})"
