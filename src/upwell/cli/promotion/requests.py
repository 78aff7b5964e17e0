"""Requests for promotions, waiting for them, and their output, for several commands."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self

import click

from upwell.api.codec import decode_as
from upwell.api.meta import Resource
from upwell.api.pipeline import Pipeline
from upwell.api.promotion import PIPELINE_LABEL, Promotion, PromotionPhase, Release
from upwell.cli.core.durations import TIMEOUT, within
from upwell.cli.core.errors import CommandError, Exit
from upwell.cli.core.names import parse_named
from upwell.cli.core.output import Format, full_name, output_option, write_objects
from upwell.cli.core.terminal import echo
from upwell.cli.core.waiting import until
from upwell.policy.promotion.requests import RefusedError, stage_named
from upwell.store.interface import ApiClient, NotFoundError, Selector


@dataclass(frozen=True, slots=True)
class WaitOptions:
    """Options of a command to wait for a promotion's end, with a limit, and of its output."""

    wait: bool
    limit: float
    """Limit of the wait in seconds; 0 for none."""
    output: str

    @classmethod
    def take_from(cls, options: dict[str, Any]) -> Self:
        """Remove the options of `wait_options` from a command's options, and return them."""
        return cls(options.pop("wait"), options.pop("timeout"), options.pop("output"))


def wait_options[F: Callable[..., Any]](function: F) -> F:
    """Add --wait, --timeout and -o to a command; `WaitOptions.take_from` reads them."""
    for option in (
        output_option(Format.TABLE, Format.NAME, Format.JSON, Format.YAML),
        click.option(
            "--timeout",
            type=TIMEOUT,
            default="0",
            show_default="none",
            help="Time limit of the wait; exit 5 when it has passed.",
        ),
        click.option(
            "--wait",
            is_flag=True,
            help="Wait for the end of the promotion; exit 1 unless it succeeds.",
        ),
    ):
        function = option(function)
    return function


def run_option[F: Callable[..., Any]](function: F) -> F:
    """Add --run to a command."""
    return click.option(
        "--run",
        default="",
        show_default="none",
        metavar="ID",
        help="Id of the CI run: a repeated request of the same run has no further effect.",
    )(function)


def named_release(text: str) -> str:
    """Return the name in `NAME` or `release/NAME`; raises click.UsageError."""
    return parse_named([text], default=Release)[0].name


def named_pipeline(text: str) -> str:
    """Return the name in `NAME` or `pipeline/NAME`; raises click.UsageError."""
    return parse_named([text], default=Pipeline)[0].name


def require_stage(pipeline: Pipeline, stage: str) -> None:
    """Raise CommandError unless the Pipeline has the stage."""
    try:
        stage_named(pipeline, stage)
    except RefusedError as error:
        raise CommandError(str(error), Exit.USAGE) from error


async def ask(
    client: ApiClient,
    kind: type[Resource],
    place: tuple[str, str],
    verb: str,
    body: Mapping[str, Any],
) -> Promotion:
    """Request a promotion at an object's subresource `verb`; `place`: namespace and name."""
    given = {key: value for key, value in body.items() if value not in {"", None}}
    return decode_as(Promotion, await client.call("POST", kind, *place, verb, given))


async def finish(client: ApiClient, promotion: Promotion, waiting: WaitOptions) -> None:
    """Print a promotion, at its end with --wait; raises CommandError for a bad end."""
    if waiting.wait:
        promotion = await ended(client, promotion, waiting)
    if waiting.output == Format.TABLE:
        echo(line_of(promotion))
    else:
        write_objects([promotion], waiting.output, single=True)
    phase = promotion.status.phase
    if waiting.wait and phase is not PromotionPhase.SUCCEEDED:
        raise CommandError(line_of(promotion))


async def serving(client: ApiClient, promotion: Promotion, limit: float) -> Promotion:
    """Return the promotion once its stage serves the Release, so that it can be tested.

    Raises CommandError when it ends otherwise. `limit` in seconds; 0 for none.
    """
    good = {PromotionPhase.VERIFYING, PromotionPhase.SUCCEEDED}
    async with within(limit, f"promotion/{promotion.name} does not serve yet"):
        found = await until(
            client,
            promotion,
            lambda one: one.status.phase in good or one.status.phase.is_final,
            changed=progress_reporter(good),
        )
    if found.status.phase not in good:
        raise CommandError(line_of(found))
    return found


async def ended(client: ApiClient, promotion: Promotion, waiting: WaitOptions) -> Promotion:
    """Return the promotion when it has ended, with its progress on stderr."""
    async with within(waiting.limit, f"promotion/{promotion.name} has not ended"):
        return await until(
            client,
            promotion,
            lambda state: state.status.phase.is_final,
            changed=progress_reporter(),
        )


def progress_reporter(shown: Collection[PromotionPhase] = ()) -> Callable[[Promotion], None]:
    """Return a function that prints each state of a promotion to stderr once.

    It prints neither the end nor the phases in `shown`.
    """
    last = ""

    def report(state: Promotion) -> None:
        nonlocal last
        phase, line = state.status.phase, line_of(state)
        if not phase.is_final and phase not in shown and line != last:
            last = line
            echo(line, err=True)

    return report


def line_of(promotion: Promotion) -> str:
    """Return one line with the phase and message of a promotion."""
    status = promotion.status
    message = f": {status.message}" if status.message else ""
    return f"{full_name(promotion)} {status.phase}{message}"


def since_of(promotion: Promotion) -> datetime | None:
    """Return the start of a promotion, or its creation if it has not started."""
    return promotion.status.started or promotion.metadata.creation_timestamp


def order_of(promotion: Promotion) -> tuple[float, str]:
    """Return the sort key of promotions, the oldest first."""
    since = since_of(promotion)
    return (since.timestamp() if since is not None else 0.0, promotion.name)


async def of_pipeline[R: Release | Promotion](
    client: ApiClient, kind: type[R], namespace: str, pipeline: str = ""
) -> Sequence[R]:
    """Return the Releases or Promotions of a Pipeline, or of all in the namespace."""
    labels = {PIPELINE_LABEL: pipeline} if pipeline else {}
    return (await client.list(kind, Selector(namespace, labels))).items


async def release_or_promotion(client: ApiClient, namespace: str, text: str) -> Release | Promotion:
    """Return the object of `release/NAME`, `promotion/NAME` or the bare name of one."""
    if "/" in text:
        [named] = parse_named([text])
        if not issubclass(named.resource, Release | Promotion):
            raise click.UsageError(f"{named} is neither a release nor a promotion")
        return await client.get(named.resource, namespace, named.name)
    try:
        return await client.get(Promotion, namespace, text)
    except NotFoundError:
        try:
            return await client.get(Release, namespace, text)
        except NotFoundError:
            raise CommandError(
                f"no release or promotion {text} in namespace {namespace};"
                " `upwell release list` and `upwell get promotions` list them",
                Exit.NOT_FOUND,
            ) from None


async def waiting_promotion(client: ApiClient, found: Release | Promotion, stage: str) -> Promotion:
    """Return `found` if it is a promotion, or the promotion of a Release that waits."""
    if isinstance(found, Promotion):
        return found
    waiting = [
        one
        for one in await of_pipeline(client, Promotion, found.namespace, found.spec.pipeline)
        if one.spec.release == found.name
        and one.status.phase is PromotionPhase.WAITING
        and stage in {"", one.spec.stage}
    ]
    if len(waiting) == 1:
        return waiting[0]
    if not waiting:
        where = f" into {stage}" if stage else ""
        raise CommandError(
            f"no promotion of release/{found.name}{where} waits for approval;"
            f" `upwell pipeline status {found.spec.pipeline}` shows its stages",
            Exit.NOT_FOUND,
        )
    stages = ", ".join(one.spec.stage for one in waiting)
    raise click.UsageError(
        f"release/{found.name} waits before stages {stages}: choose one with --stage"
    )
