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

from upwell.api.build import Build, BuildPhase
from upwell.cli.demo.facts import Moment, Story
from upwell.cli.demo.load import Tally
from upwell.cli.demo.observed import APPLICATIONS, BUILDER, GATE, SHOP, Observed
from upwell.policy.standing import RolloutState, output_digest, rollout_of, short


class View(Protocol):
    """Shows how the demo goes."""

    def open(self) -> AbstractContextManager[object]:
        """Return a context in which the view is shown."""
        ...

    def say(self, line: str) -> None:
        """Tell what is being done."""
        ...

    def refresh(
        self, observed: Observed, tallies: Mapping[str, Tally], story: Story | None
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
        self, observed: Observed, tallies: Mapping[str, Tally], story: Story | None
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
        self, observed: Observed, tallies: Mapping[str, Tally], story: Story | None
    ) -> None:
        """Draw the picture anew."""
        table = Table.grid(padding=(0, 3))
        table.add_row(_chain(observed, tallies), _timeline(story))
        self._live.update(Group("", table, "", _load(tallies)), refresh=True)


def _chain(observed: Observed, tallies: Mapping[str, Tally]) -> Tree:
    base = observed.base()
    tree = Tree(_node("debian:11", short(base.image) if base else "not imported yet", "vendor"))
    builder = tree.add(_built(observed, BUILDER))
    for name, branch in ((SHOP, builder), (GATE, tree)):
        application = branch.add(_built(observed, name))
        application.add(_running(observed, name, tallies.get(name)))
    return tree


def _built(observed: Observed, config: str) -> Text:
    builds = observed.builds(config)
    if not builds:
        return _node(config, "no build yet")
    return _node(config, output_digest_of(builds[-1]), _phase(builds[-1]))


def output_digest_of(build: Build) -> str:
    """Return a build's result for people, or how it stands."""
    return short(output_digest(build)) if output_digest(build) else "…"


def _phase(build: Build) -> str:
    return f"{build.name} {build.status.phase}"


def _running(observed: Observed, application: str, tally: Tally | None) -> Text:
    kind = APPLICATIONS[application].KIND.singular
    workload = observed.workload(application)
    state = rollout_of(workload).state if workload else RolloutState.PROGRESSING
    version = f"answers with glibc {tally.version}" if tally and tally.version else ""
    style = {RolloutState.COMPLETE: "green", RolloutState.FAILED: "red"}.get(state, "yellow")
    return Text.assemble((kind, "bold"), "  ", (str(state), style), "  ", version)


def _node(name: str, digest: str, note: str = "") -> Text:
    style = "yellow" if note.endswith((BuildPhase.RUNNING, BuildPhase.NEW)) else "dim"
    return Text.assemble((name, "bold"), "  ", (digest, "cyan"), "  ", (note, style))


def _timeline(story: Story | None) -> Text:
    if story is None:
        return Text("the fix is not published yet", style="dim")
    return Text("\n").join(Text(_line(story, moment)) for moment in story.timeline())


def _line(story: Story, moment: Moment) -> str:
    return f"{story.offset(moment):+7.2f} s  {moment.what}"


def _load(tallies: Mapping[str, Tally]) -> Text:
    requests = sum(tally.requests for tally in tallies.values())
    failed = sum(tally.failed for tally in tallies.values())
    style = "bold red" if failed else "green"
    return Text.assemble(f"{requests} requests, ", (f"{failed} failed", style))
