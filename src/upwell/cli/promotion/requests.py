"""What the commands about promotions share: how one is asked for, followed, and shown."""

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
from upwell.cli.core.waiting import until
from upwell.policy.promotion.requests import RefusedError, stage_named
from upwell.store.interface import ApiClient, NotFoundError, Selector


@dataclass(frozen=True, slots=True)
class Following:
    """Whether a command waits for a promotion's end, how long, and how it shows the outcome."""

    wait: bool
    limit: float
    """Of the wait, in seconds; 0: no limit."""
    output: str

    @classmethod
    def taken(cls, options: dict[str, Any]) -> Self:
        """Take the options of `following_options` out of a command's."""
        return cls(options.pop("wait"), options.pop("timeout"), options.pop("output"))


def following_options[F: Callable[..., Any]](function: F) -> F:
    """Give a command --wait, --timeout and -o; `Following.taken` takes them."""
    for option in (
        output_option(Format.TABLE, Format.NAME, Format.JSON, Format.YAML),
        click.option(
            "--timeout",
            type=TIMEOUT,
            default="0",
            show_default="none",
            help="Limit of a wait; exit 5 when it is over.",
        ),
        click.option("--wait", is_flag=True, help="Wait for the end; exit 1 unless it succeeds."),
    ):
        function = option(function)
    return function


def run_option[F: Callable[..., Any]](function: F) -> F:
    """Give a command --run."""
    return click.option(
        "--run",
        default="",
        show_default="none",
        metavar="ID",
        help="Your CI's name of this run: the same run, asking again, gets the same answer.",
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
    """Ask for a promotion at an object's subresource `verb`; `place` is its namespace and name."""
    given = {key: value for key, value in body.items() if value not in {"", None}}
    return decode_as(Promotion, await client.call("POST", kind, *place, verb, given))


async def finish(client: ApiClient, promotion: Promotion, following: Following) -> None:
    """Show a promotion, at its end if that is waited for; raises CommandError when it is bad."""
    if following.wait:
        promotion = await ended(client, promotion, following)
    if following.output == Format.TABLE:
        click.echo(line_of(promotion))
    else:
        write_objects([promotion], following.output, single=True)
    phase = promotion.status.phase
    if following.wait and phase is not PromotionPhase.SUCCEEDED:
        raise CommandError(line_of(promotion))


async def serving(client: ApiClient, promotion: Promotion, limit: float) -> Promotion:
    """Return the promotion once its stage serves the Release, so that it can be tested.

    Raises CommandError when it comes to another end. `limit` in seconds; 0: none.
    """
    good = {PromotionPhase.VERIFYING, PromotionPhase.SUCCEEDED}
    async with within(limit, f"promotion/{promotion.name} does not serve"):
        found = await until(
            client,
            promotion,
            lambda one: one.status.phase in good or one.status.phase.is_final,
            changed=teller(good),
        )
    if found.status.phase not in good:
        raise CommandError(line_of(found))
    return found


async def ended(client: ApiClient, promotion: Promotion, following: Following) -> Promotion:
    """Return the promotion when it has ended, telling on stderr how it gets there."""
    async with within(following.limit, f"promotion/{promotion.name} has not ended"):
        return await until(
            client, promotion, lambda state: state.status.phase.is_final, changed=teller()
        )


def teller(shown: Collection[PromotionPhase] = ()) -> Callable[[Promotion], None]:
    """Return what tells on stderr where a promotion is, each state once.

    Its end is shown otherwise, and so are the phases in `shown`.
    """
    told = ""

    def tell(state: Promotion) -> None:
        nonlocal told
        phase, line = state.status.phase, line_of(state)
        if not phase.is_final and phase not in shown and line != told:
            told = line
            click.echo(line, err=True)

    return tell


def line_of(promotion: Promotion) -> str:
    """Return one line that says where a promotion stands."""
    status = promotion.status
    message = f": {status.message}" if status.message else ""
    return f"{full_name(promotion)} {status.phase}{message}"


def since_of(promotion: Promotion) -> datetime | None:
    """Return when a promotion began, or was asked for if it has not."""
    return promotion.status.started or promotion.metadata.creation_timestamp


def order_of(promotion: Promotion) -> tuple[float, str]:
    """Return what promotions are sorted by, the oldest first."""
    since = since_of(promotion)
    return (since.timestamp() if since is not None else 0.0, promotion.name)


async def of_pipeline[R: Release | Promotion](
    client: ApiClient, kind: type[R], namespace: str, pipeline: str = ""
) -> Sequence[R]:
    """Return the Releases or Promotions of a Pipeline, or of all in the namespace."""
    labels = {PIPELINE_LABEL: pipeline} if pipeline else {}
    return (await client.list(kind, Selector(namespace, labels))).items


async def release_or_promotion(client: ApiClient, namespace: str, text: str) -> Release | Promotion:
    """Return what `release/NAME`, `promotion/NAME` or a bare name of one of them means."""
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
                f"there is no release and no promotion {text} in namespace {namespace};"
                " `upwell release list` and `upwell get promotions` list them",
                Exit.NOT_FOUND,
            ) from None


async def waiting_promotion(client: ApiClient, found: Release | Promotion, stage: str) -> Promotion:
    """Return the promotion that `found` means: itself, or the one of a Release that waits."""
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
            f"no promotion of release/{found.name}{where} waits for anybody;"
            f" `upwell pipeline status {found.spec.pipeline}` shows where it is",
            Exit.NOT_FOUND,
        )
    stages = ", ".join(one.spec.stage for one in waiting)
    raise click.UsageError(f"release/{found.name} waits before {stages}: choose one with --stage")
