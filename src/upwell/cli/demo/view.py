"""Views of the running demo: a live display, or plain lines."""

import time
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from upwell.api.builds.build import Build
from upwell.api.meta import ObjectKey
from upwell.api.promotion import Promotion
from upwell.cli.core.terminal import echo
from upwell.cli.demo.load import LoadStats
from upwell.cli.demo.observed import BUILDER, GATE, NAMESPACE, SHOP, STAGES, Observed
from upwell.cli.demo.progress import FixProgress, TimelinePoint
from upwell.policy.builds.run_policy import number_of
from upwell.policy.explain.freshness import output_digest, short

_SIDE_BY_SIDE_COLUMNS = 116
_SHOWN_POINTS = 10
"""Number of newest points: the display fits a terminal of 24 lines."""


class DemoView(Protocol):
    """View of the running demo."""

    def open(self) -> AbstractContextManager[object]:
        """Return a context in which the view is shown."""
        ...

    def say(self, line: str) -> None:
        """Print a line about the present step."""
        ...

    def refresh(
        self, observed: Observed, load_stats: Mapping[str, LoadStats], progress: FixProgress | None
    ) -> None:
        """Show the present state; the progress is None before the fix is published."""
        ...


class PlainView:
    """View as lines, in the order of events."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._printed: set[str] = set()

    def open(self) -> AbstractContextManager[object]:
        """Return an empty context."""
        return nullcontext()

    def say(self, line: str) -> None:
        """Print a line with the seconds since the start."""
        echo(f"[{time.monotonic() - self._began:6.1f} s] {line}")

    def refresh(
        self, observed: Observed, load_stats: Mapping[str, LoadStats], progress: FixProgress | None
    ) -> None:
        """Print the new points of the timeline."""
        del observed, load_stats
        for point in progress.timeline() if progress else ():
            # `verified` may be taken back and come again, at another time.
            if point.what not in self._printed:
                self._printed.add(point.what)
                self.say(_line(progress, point) if progress else point.what)


class LiveView:
    """Live view: the tree from base image to applications, the timeline, the load."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._began = time.monotonic()
        self._live = Live(console=console, auto_refresh=False, transient=True)

    def open(self) -> AbstractContextManager[object]:
        """Return the live display, which disappears at its end."""
        return self._live

    def say(self, line: str) -> None:
        """Print a line above the display."""
        elapsed = f"{time.monotonic() - self._began:6.1f} s "
        self._console.print(Text.assemble((elapsed, "dim"), line))

    def refresh(
        self, observed: Observed, load_stats: Mapping[str, LoadStats], progress: FixProgress | None
    ) -> None:
        """Draw the display again."""
        chain, timeline = _chain(observed), _timeline(progress)
        picture: Group | Table = Group(chain, "", timeline)
        if self._console.width >= _SIDE_BY_SIDE_COLUMNS:
            picture = Table.grid(padding=(0, 3))
            picture.add_row(chain, timeline)
        self._live.update(Group("", picture, "", _load(load_stats)), refresh=True)


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


def _timeline(progress: FixProgress | None) -> Text:
    if progress is None:
        return Text("the fix is not published yet", style="dim", no_wrap=True)
    newest = progress.timeline()[-_SHOWN_POINTS:]
    return Text("\n".join(_line(progress, point) for point in newest), no_wrap=True)


def _line(progress: FixProgress, point: TimelinePoint) -> str:
    return f"{progress.offset(point):+7.2f} s  {point.what}"


def _load(load_stats: Mapping[str, LoadStats]) -> Text:
    requests = sum(stats.requests for stats in load_stats.values())
    failed = sum(stats.failed for stats in load_stats.values())
    line = Text(f"{requests} requests, ")
    line.append(f"{failed} failed", "bold red" if failed else "green")
    for name, stats in load_stats.items():
        line.append(f"   {name}: glibc {stats.version or 'not known yet'}")
    return line
