"""`upwell hold` and `upwell resume`: keep triggers away from a workload, and let them act again."""

import contextlib
from datetime import UTC, datetime
from typing import Any, override

import click

from upwell.api.apps import CronJob, Deployment, DeploymentConfig
from upwell.cli import clock
from upwell.cli.connection import Session, connection_options
from upwell.cli.examples import examples
from upwell.cli.names import Named, parse_one
from upwell.cli.output import full_name
from upwell.policy.rollout_settings import WORKLOADS
from upwell.policy.rollout_triggers import HOLD_ANNOTATION, HOLD_UNTIL_ANNOTATION
from upwell.policy.schedule import InvalidDurationError, parse_duration
from upwell.store.interface import ApiClient

_HELD = (*WORKLOADS, CronJob)
_PAUSABLE = (Deployment, DeploymentConfig)


class _Until(click.ParamType[datetime]):
    """A time with a zone, or a duration from now."""

    name = "time"

    @override
    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> datetime:
        if isinstance(value, datetime):
            return value
        with contextlib.suppress(InvalidDurationError):  # then it is a time
            return clock.now() + parse_duration(value)
        try:
            found = datetime.fromisoformat(value)
        except ValueError:
            self.fail(f"{value!r} is no time (2026-12-24T08:00+01:00) and no duration (8h)", param)
        if found.tzinfo is None:
            self.fail(f"{value!r} has no time zone: append Z or +01:00", param)
        return found


@click.command(
    epilog=examples(
        'upwell hold deployment/shop --reason "Black Friday" --until 2026-11-30T08:00Z',
        "upwell hold dc/gate --until 8h",
    )
)
@click.argument("what", nargs=-1, required=True, metavar="KIND/NAME")
@click.option("--reason", default="held by a person", show_default=True, help="Shown everywhere.")
@click.option("--until", type=_Until(), help="When it ends by itself.  [default: never]")
@connection_options
@click.pass_obj
def hold(session: Session, what: tuple[str, ...], reason: str, until: datetime | None) -> None:
    """Keep new images away from a workload, whatever its triggers say.

    What runs goes on running, and is restarted when it ends. `upwell resume` lifts the hold.
    """
    named = _parse(what)
    end = None if until is None else until.astimezone(UTC).isoformat(timespec="seconds")
    _annotate(session, named, {HOLD_ANNOTATION: reason, HOLD_UNTIL_ANNOTATION: end}, {}, "held")


@click.command(epilog=examples("upwell resume deployment/shop"))
@click.argument("what", nargs=-1, required=True, metavar="KIND/NAME")
@connection_options
@click.pass_obj
def resume(session: Session, what: tuple[str, ...]) -> None:
    """Lift a hold, and a pause: triggers act again."""
    named = _parse(what)
    spec: dict[str, object] = {"paused": None} if issubclass(named.resource, _PAUSABLE) else {}
    _annotate(session, named, {HOLD_ANNOTATION: None, HOLD_UNTIL_ANNOTATION: None}, spec, "resumed")


def _parse(what: tuple[str, ...]) -> Named:
    named = parse_one(what)
    if not issubclass(named.resource, _HELD):
        known = ", ".join(kind.KIND.singular for kind in _HELD)
        raise click.UsageError(f"{named} cannot be held; these kinds can: {known}")
    return named


def _annotate(
    session: Session,
    named: Named,
    annotations: dict[str, str | None],
    spec: dict[str, object],
    done: str,
) -> None:
    change: dict[str, Any] = {"metadata": {"annotations": annotations}}
    if spec:
        change["spec"] = spec

    async def work(client: ApiClient) -> None:
        changed = await client.patch(named.resource, session.namespace, named.name, change)
        click.echo(f"{full_name(changed)} {done}")

    session.run(work)
