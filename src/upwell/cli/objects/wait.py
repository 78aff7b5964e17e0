"""`upwell wait`: wait for a condition of an object."""

import re
from collections.abc import Callable
from dataclasses import dataclass

import click

from upwell.api.builds.build import Build
from upwell.api.codec import encode
from upwell.api.meta import Resource
from upwell.api.promotion import Promotion, Release
from upwell.cli.core.connection import Session, connection_options
from upwell.cli.core.durations import TIMEOUT, within
from upwell.cli.core.errors import CommandError
from upwell.cli.core.examples import examples
from upwell.cli.core.names import parse_one
from upwell.cli.core.output import Format, full_name, output_option, write_objects
from upwell.cli.core.terminal import echo
from upwell.cli.core.waiting import until, until_created, until_deleted
from upwell.cli.presentation.progress import ProgressLine
from upwell.formats.printing.errors import PrintingError
from upwell.formats.printing.json_path import parse_relaxed, text_of, values_at
from upwell.store.interface import ApiClient, NotFoundError

_CREATED = "create"
_JSON_PATH = re.compile(
    r"jsonpath=(?:'?\{\.(?P<braced>[^}]+)\}'?|\.?(?P<plain>[^=]+))=(?P<value>.+)"
)


@dataclass(frozen=True, slots=True)
class _State:
    """State to wait for: a test of an object, or its absence."""

    text: str
    holds: Callable[[Resource], bool] | None


@click.command(
    epilog=examples(
        "upwell wait deployment/shop --for=condition=Available --timeout=5m",
        "upwell wait build/shop-3 --for=phase=Complete",
        "upwell wait dc/gate --for='jsonpath={.status.readyReplicas}=3'",
        "upwell wait promotion/shop-7.staging --for=create",
        "upwell wait promotion/shop-7.staging --for=phase=Succeeded --timeout=30m",
        "upwell wait release/shop-7 --for='jsonpath={.status.verified[*].name}=dev'",
        "upwell wait build/shop-1 --for=delete",
    )
)
@click.argument("what", nargs=-1, required=True, metavar="KIND/NAME")
@click.option(
    "--for",
    "state",
    required=True,
    metavar="STATE",
    help="State to wait for: condition=TYPE[=VALUE], create, delete, phase=VALUE or"
    " jsonpath={.PATH}=VALUE.",
)
@click.option(
    "--timeout", type=TIMEOUT, default="30s", show_default=True, help="Time limit; 0 for none."
)
@output_option(Format.TABLE, Format.NAME, Format.JSON, Format.YAML)
@connection_options
@click.pass_obj
def wait(session: Session, what: tuple[str, ...], state: str, timeout: float, output: str) -> None:
    """Wait for a condition of an object.

    The exit code is 5 when the time limit has passed, 3 when the object does not exist, and 1 when
    a build, promotion or release has ended in another state.
    """
    named = parse_one(what)
    wanted = _parse_state(state)

    async def work(client: ApiClient) -> None:
        namespace = named.namespace(session.namespace)
        if state == _CREATED:
            async with within(timeout, f"{named} does not exist"):
                found = await until_created(client, named.resource, namespace, named.name)
            _tell(found, "exists", output)
            return
        try:
            found = await client.get(named.resource, namespace, named.name)
        except NotFoundError:
            if wanted.holds is None:
                echo(f"{named} does not exist", err=True)
                return
            raise
        async with within(timeout, f"{named} does not match {wanted.text}"):
            if wanted.holds is None:
                await until_deleted(client, found)
                _tell(found, "deleted", output)
            else:
                holds = wanted.holds
                with ProgressLine() as line:
                    last = await until(
                        client,
                        found,
                        lambda state: holds(state) or _has_ended(state),
                        changed=lambda state: line.show(f"{named}: {_state_of(state)}"),
                    )
                if not holds(last):
                    raise CommandError(f"{full_name(last)} has ended: {_end_of(last)}")
                _tell(last, f"matches {wanted.text}", output)

    session.run(work)


def _tell(found: Resource, outcome: str, output: str) -> None:
    if output == Format.TABLE:
        echo(f"{full_name(found)} {outcome}")
    else:
        write_objects([found], output, single=True)


def _has_ended(resource: Resource) -> bool:
    """Return whether an object has ended, so that its state is final."""
    match resource:
        case Build():
            return resource.status.phase.is_terminal
        case Promotion() | Release():
            return resource.status.phase.is_final
        case _:
            return False


def _state_of(resource: Resource) -> str:
    """Return what an object says of itself: its phase, else its condition that does not hold."""
    if phase := _end_of(resource):
        return phase
    conditions = values_at(encode(resource), "status.conditions[*]")
    waits = (one.get("message", "") for one in conditions if one.get("status") != "True")
    return next(filter(None, waits), "waits")


def _end_of(resource: Resource) -> str:
    document = encode(resource)
    return ": ".join(
        text_of(value)
        for path in ("status.phase", "status.message")
        for value in values_at(document, path)
    )


def _parse_state(text: str) -> _State:
    if text == _CREATED:
        return _State(text, lambda _: True)
    if text == "delete":
        return _State(text, None)
    form, _, rest = text.partition("=")
    if form == "condition" and rest:
        kind, _, value = rest.partition("=")
        return _State(text, _condition(kind, value or "True"))
    if form == "phase" and rest:
        return _State(text, _value("status.phase", rest))
    match = _JSON_PATH.fullmatch(text)
    if match is not None:
        path = match["braced"] or match["plain"]
        try:
            parse_relaxed(path)
        except PrintingError as error:
            raise click.UsageError(f"--for={text}: {error}") from error
        return _State(text, _value(path, match["value"].strip("'\"")))
    raise click.UsageError(
        f"--for={text}: write condition=TYPE, create, delete, phase=VALUE or"
        " jsonpath={.PATH}=VALUE"
    )


def _condition(kind: str, value: str) -> Callable[[Resource], bool]:
    def holds(resource: Resource) -> bool:
        """Return whether a condition matches; only those of the present generation count."""
        return any(
            condition.get("type", "").lower() == kind.lower()
            and condition.get("status", "").lower() == value.lower()
            and condition.get("observedGeneration", resource.generation) >= resource.generation
            for condition in values_at(encode(resource), "status.conditions[*]")
        )

    return holds


def _value(path: str, wanted: str) -> Callable[[Resource], bool]:
    def holds(resource: Resource) -> bool:
        return any(text_of(value) == wanted for value in values_at(encode(resource), path))

    return holds
