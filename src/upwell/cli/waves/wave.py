"""`upwell wave`: what follows changes of base images."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import override

import click

from upwell.api.waves.plan import ImpactPlanSpec, ImpactPlanStatus
from upwell.api.waves.wave import ENDED_WAVES, Wave, WavePhase, WaveStatus
from upwell.cli.core.connection import Session, connection_options
from upwell.cli.core.errors import CommandError
from upwell.cli.core.examples import examples
from upwell.cli.core.output import (
    MISSING,
    Format,
    aligned,
    format_age,
    full_name,
    output_option,
    write_objects,
    write_report,
)
from upwell.cli.core.terminal import echo
from upwell.cli.images.packages import compared_packages, package_lines
from upwell.cli.presentation.following import PrintedReport, print_on_changes
from upwell.cli.presentation.states import echo_states
from upwell.cli.waves.asked_plan import asked_plan
from upwell.cli.waves.decisions import approve, cancel, retry
from upwell.cli.waves.plan_view import hidden_lines, plan_data, plan_lines
from upwell.cli.waves.readable import named_wave
from upwell.cli.waves.rollouts_view import held_lines, rollout_lines
from upwell.formats.human_duration import human_duration
from upwell.machine import clock
from upwell.policy.explain.freshness import short
from upwell.store.interface import ApiClient

_FEW = 8
"""Package changes that are listed."""


@click.group(
    no_args_is_help=True,
    epilog=examples("upwell wave list", "upwell wave describe debian-11-2f1e4d5c6b7a"),
)
def wave() -> None:
    """Follow Waves, and decide about them: changes of base images, and all that comes of them.

    The server makes one when an image that it imports has changed and something stands on it.
    """


@wave.command("list", epilog=examples("upwell wave list", "upwell wave list -w"))
@click.option(
    "-w",
    "--watch",
    is_flag=True,
    help="Print all again after each change of a status, until interrupted.",
)
@output_option(Format.TABLE, Format.NAME, Format.JSON, Format.YAML)
@connection_options
@click.pass_obj
def list_waves(
    session: Session,
    watch: bool,  # noqa: FBT001 - click passes options by name
    output: str,
) -> None:
    """List the Waves, the newest first, with their progress."""

    async def work(client: ApiClient) -> None:
        async def read() -> PrintedReport:
            return _Listed((await client.list(Wave)).items, output)

        if watch:
            await print_on_changes(client, (Wave,), "", read, output)
        else:
            (await read()).write()

    session.run(work)


@dataclass(frozen=True, slots=True)
class _Listed(PrintedReport):
    """The Waves at one time."""

    waves: Sequence[Wave]
    output: str

    @override
    def said(self) -> Mapping[str, WaveStatus]:
        """Return the status of each."""
        return {one.name: one.status for one in self.waves}

    @override
    def write(self) -> None:
        """Write them to stdout, the newest first."""
        found = sorted(
            self.waves, key=lambda one: str(one.metadata.creation_timestamp), reverse=True
        )
        if self.output != Format.TABLE:
            write_objects(found, self.output, single=False)
            return
        head = ("NAME", "PHASE", "AGE", "ENDS", "MESSAGE")
        for line in aligned([head, *_rows(found, clock.now())]):
            echo_states(line)
        if not found:
            echo("no Waves found: no imported image has changed under anything yet", err=True)


def _rows(found: list[Wave], now: datetime) -> Iterator[tuple[str, ...]]:
    for one in found:
        status = one.status
        age = format_age(one.metadata.creation_timestamp, now)
        phase = status.phase.value if status.phase is not None else MISSING
        yield one.name, phase, age, _ends(one, now), status.message or MISSING


def _ends(one: Wave, now: datetime) -> str:
    end = one.status.estimated_end
    if end is None:
        return MISSING
    return f"in about {human_duration(end - now)}" if end > now else "any time now"


@wave.command(
    epilog=examples(
        "upwell wave describe debian-11-2f1e4d5c6b7a",
        "upwell wave describe debian-11-2f1e4d5c6b7a -w",
    )
)
@click.argument("name", metavar="NAME")
@click.option(
    "--packages",
    type=click.Choice(["some", "all", "none"]),
    default="some",
    show_default=True,
    help="Number of package changes to list.",
)
@click.option(
    "-w",
    "--watch",
    is_flag=True,
    help="Print it again after each change of its status, until it ends.",
)
@output_option(Format.TABLE, Format.JSON, Format.YAML)
@connection_options
@click.pass_obj
def describe(
    session: Session,
    name: str,
    packages: str,
    watch: bool,  # noqa: FBT001 - click passes options by name
    output: str,
) -> None:
    """Show a Wave: the packages that changed, what has the image, and what stops the others."""

    async def work(client: ApiClient) -> None:
        read = DescriptionReader(client, session.namespace, name, packages, output)
        if watch:
            await print_on_changes(client, (Wave,), "", read, output)
        else:
            (await read()).write()

    session.run(work)


@dataclass(frozen=True, slots=True)
class _Described(PrintedReport):
    """A Wave at one time, with the plan of what is left of it."""

    wave: Wave
    plan: ImpactPlanStatus
    packages: Sequence[str]
    output: str

    @property
    @override
    def is_last(self) -> bool:
        """True once the Wave has ended."""
        return self.wave.status.phase in ENDED_WAVES

    @override
    def said(self) -> WaveStatus:
        """Return the status, which the server changes with whatever happens to the Wave."""
        return self.wave.status

    @override
    def write(self) -> None:
        """Write it to stdout."""
        if self.output != Format.TABLE:
            description = {"wave": self.wave.name, **plan_data(self.plan)}
            write_report("WaveDescription", description, self.output)
            return
        for line in _head(self.wave, clock.now()):
            echo_states(line)
        for line in self.packages:
            echo_states(f"  {line}")
        echo("")
        if not self.plan.images:
            echo("nothing here stands on the image any more")
        for line in plan_lines(self.plan):
            echo_states(line)
        for line in hidden_lines(self.plan):
            echo(line, err=True)


class DescriptionReader:
    """Reads a Wave as it is described; its packages once, and its plan when its status changes."""

    def __init__(
        self, client: ApiClient, namespace: str, name: str, packages: str, output: str
    ) -> None:
        self._client = client
        self._namespace = namespace
        self._name = name
        self._packages = packages
        self._output = output
        self._last: _Described | None = None

    async def __call__(self) -> PrintedReport:
        """Return the Wave as it is now; raises CommandError when there is none."""
        found = await named_wave(self._client, self._name)
        if self._last is not None and self._last.wave.status == found.status:
            return self._last
        plan = await asked_plan(self._client, self._namespace, ImpactPlanSpec(wave=found.name))
        packages = () if self._last is not None else await self._package_lines(found)
        self._last = _Described(found, plan, packages, self._output)
        return self._last

    async def _package_lines(self, found: Wave) -> Sequence[str]:
        if self._packages == "none" or self._output != Format.TABLE:
            return ()
        spec = found.spec
        changes = await compared_packages(self._client, spec.previous, spec.digest)
        return tuple(package_lines(changes, None if self._packages == "all" else _FEW))


def _head(found: Wave, now: datetime) -> Iterator[str]:
    spec, status = found.spec, found.status
    yield full_name(found)
    yield f"  {spec.image} changed from {short(spec.previous)} to {short(spec.digest)}"
    age = format_age(found.metadata.creation_timestamp, now)
    phase = status.phase.value if status.phase is not None else "not looked at yet"
    yield f"  {phase}, began {age} ago: {status.message}"
    if status.estimated_end is not None:
        yield f"  ends {_ends(found, now)}, by what earlier builds and rollouts took"
    yield from rollout_lines(found, now)
    yield from held_lines(found)


@wave.command(
    epilog=examples('upwell wave pause debian-11-2f1e4d5c6b7a --reason "waits for the weekend"')
)
@click.argument("name", metavar="NAME")
@click.option("--reason", default="paused by a person", show_default=True, help="Reason to show.")
@connection_options
@click.pass_obj
def pause(session: Session, name: str, reason: str) -> None:
    """Pause a Wave: no further build begins on its image; what runs goes on.

    What has been built is still rolled out and promoted: `upwell hold` and `upwell freeze` keep
    that back.
    """
    _set(session, name, lambda _: {"paused": True, "reason": reason}, "paused")


@wave.command(
    epilog=examples(
        "upwell wave resume debian-11-2f1e4d5c6b7a",
        'upwell wave resume debian-11-2f1e4d5c6b7a --reason "the failures are known"',
    )
)
@click.argument("name", metavar="NAME")
@click.option(
    "--reason",
    default="",
    show_default="none",
    help="Reason to show; needed where failures stopped it.",
)
@connection_options
@click.pass_obj
def resume(session: Session, name: str, reason: str) -> None:
    """Resume a Wave that is paused or stopped: builds on its image begin again.

    One that failures had stopped leaves its quarantine, and is not stopped again.
    """

    def goes_on(found: Wave) -> dict[str, object]:
        spec: dict[str, object] = {"paused": False, "reason": reason}
        if found.status.phase is WavePhase.STOPPED:
            if not reason:
                raise CommandError(f"{full_name(found)} was stopped: --reason says why it goes on")
            spec["resumed"] = True
        return spec

    _set(session, name, goes_on, "resumed")


def _set(
    session: Session,
    name: str,
    spec: Callable[[Wave], dict[str, object]],
    done: str,
) -> None:
    async def work(client: ApiClient) -> None:
        found = await named_wave(client, name)
        if found.status.phase in ENDED_WAVES:
            raise CommandError(f"{full_name(found)} has ended: {found.status.message}")
        await client.patch(Wave, "", found.name, {"spec": spec(found)})
        echo(f"{full_name(found)} {done}")

    session.run(work)


for _decision in (approve, cancel, retry):
    wave.add_command(_decision)
