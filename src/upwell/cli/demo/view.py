"""What a person sees while the demo runs: a live picture, or plain lines."""

import time
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol

import click
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from upwell.api.build import Build
from upwell.api.meta import ObjectKey
from upwell.api.promotion import Promotion
from upwell.cli.demo.facts import Story, TimelinePoint
from upwell.cli.demo.load import LoadStats
from upwell.cli.demo.observed import BUILDER, GATE, NAMESPACE, SHOP, STAGES, Observed
from upwell.policy.builds.run_policy import number_of
from upwell.policy.explain.freshness import output_digest, short

_SIDE_BY_SIDE_COLUMNS = 116
_SHOWN_MOMENTS = 10
"""The newest, so that the picture fits a terminal of 24 lines."""


class DemoView(Protocol):
    """Shows how the demo goes."""

    def open(self) -> AbstractContextManager[object]:
        """Return a context in which the view is shown."""
        ...

    def say(self, line: str) -> None:
        """Tell what is being done."""
        ...

    def refresh(
        self, observed: Observed, tallies: Mapping[str, LoadStats], story: Story | None
    ) -> None:
        """Show how things stand now; the story is None before the fix is published."""
        ...


class PlainView:
    """Lines in the order in which things happen."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._told: set[str] = set()

    def open(self) -> AbstractContextManager[object]:
        """Nothing has to be opened."""
        return nullcontext()

    def say(self, line: str) -> None:
        """Print with the seconds since the start."""
        click.echo(f"[{time.monotonic() - self._began:6.1f} s] {line}")

    def refresh(
        self, observed: Observed, tallies: Mapping[str, LoadStats], story: Story | None
    ) -> None:
        """Print the moments that are new."""
        del observed, tallies
        for moment in story.timeline() if story else ():
            # `verified` may be taken back and come again, at another time.
            if moment.what not in self._told:
                self._told.add(moment.what)
                self.say(_line(story, moment) if story else moment.what)


class LiveView:
    """The chain from base image to applications, the timeline beside it, the load below."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._began = time.monotonic()
        self._live = Live(console=console, auto_refresh=False, transient=True)

    def open(self) -> AbstractContextManager[object]:
        """Return the live display, which vanishes at its end."""
        return self._live

    def say(self, line: str) -> None:
        """Print above the picture."""
        elapsed = f"{time.monotonic() - self._began:6.1f} s "
        self._console.print(Text.assemble((elapsed, "dim"), line))

    def refresh(
        self, observed: Observed, tallies: Mapping[str, LoadStats], story: Story | None
    ) -> None:
        """Draw the picture anew."""
        chain, timeline = _chain(observed), _timeline(story)
        picture: Group | Table = Group(chain, "", timeline)
        if self._console.width >= _SIDE_BY_SIDE_COLUMNS:
            picture = Table.grid(padding=(0, 3))
            picture.add_row(chain, timeline)
        self._live.update(Group("", picture, "", _load(tallies)), refresh=True)


def _chain(observed: Observed) -> Tree:
    base = observed.base()
    tree = Tree(_node("debian:11", short(base.image) if base else "not imported yet"))
    builder = tree.add(_built(observed, BUILDER))
    for name, branch in ((SHOP, builder), (GATE, tree)):
        application = branch.add(_built(observed, name))
        for stage in STAGES:
            application.add(_stage(observed, name, stage))
    return tree


def _built(observed: Observed, config: str) -> Text:
    builds = observed.builds(config)
    if not builds:
        return _node(config, "no build yet")
    newest = builds[-1]
    note = f"build {number_of(newest)} {newest.status.phase}"
    return _node(config, short(output_digest(newest)) or "…", note, moves=_is_under_way(newest))


def _is_under_way(build: Build) -> bool:
    return not build.status.phase.is_terminal


def _stage(observed: Observed, application: str, stage: str) -> Text:
    workload, pipeline = observed.workload(application, stage), observed.pipeline(application)
    if workload is None or pipeline is None:
        return Text(f"{stage:<10}  not applied yet", style="dim")
    now = pipeline.status.stage(stage)
    under_way = observed.objects.get(ObjectKey(Promotion.KIND.kind, NAMESPACE, now.promotion))
    if isinstance(under_way, Promotion):
        state, style = f"{under_way.spec.release} {under_way.status.phase}", "yellow"
    elif now.verified:
        state, style = "verified", "green"
    else:
        state, style = "not verified" if now.release else "waits", "dim"
    counts = f"{workload.status.ready_replicas} ready of {workload.status.replicas}"
    return Text.assemble(
        (f"{stage:<10}", "bold"), f"  {now.release:<7} {counts}  ", (state, style), no_wrap=True
    )


def _node(name: str, digest: str, note: str = "", *, moves: bool = False) -> Text:
    style = "yellow" if moves else "dim"
    return Text.assemble((name, "bold"), "  ", (digest, "cyan"), "  ", (note, style), no_wrap=True)


def _timeline(story: Story | None) -> Text:
    if story is None:
        return Text("the fix is not published yet", style="dim", no_wrap=True)
    newest = story.timeline()[-_SHOWN_MOMENTS:]
    return Text("\n".join(_line(story, moment) for moment in newest), no_wrap=True)


def _line(story: Story, moment: TimelinePoint) -> str:
    return f"{story.offset(moment):+7.2f} s  {moment.what}"


def _load(tallies: Mapping[str, LoadStats]) -> Text:
    requests = sum(tally.requests for tally in tallies.values())
    failed = sum(tally.failed for tally in tallies.values())
    line = Text(f"{requests} requests, ")
    line.append(f"{failed} failed", "bold red" if failed else "green")
    for name, tally in tallies.items():
        line.append(f"   {name}: glibc {tally.version or 'not known yet'}")
    return line
