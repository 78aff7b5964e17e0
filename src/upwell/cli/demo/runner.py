"""Runner of the demo: signals, output, removal and exit code."""

import asyncio
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from upwell.cli.core.errors import CommandError, Exit
from upwell.cli.core.terminal import echo
from upwell.cli.demo.cluster import DemoCluster, require_kubectl
from upwell.cli.demo.cluster_replay import ClusterReplay
from upwell.cli.demo.outcomes import DemoClaim
from upwell.cli.demo.preflight import preflight
from upwell.cli.demo.replay import DemoResult, DemoSetup, Replay
from upwell.cli.demo.report import addresses, claim_lines, report
from upwell.cli.demo.rootfs import default_cache
from upwell.cli.demo.teardown import (
    PLACE,
    claim_folder,
    in_use,
    is_demo,
    leftover_folders,
    tear_down,
)
from upwell.cli.demo.view import DemoView, LiveView, PlainView
from upwell.store.interface import StoreError

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass(frozen=True, slots=True)
class DemoOptions:
    """Options of `upwell demo`."""

    data_dir: Path | None
    keep: bool
    webhook: bool
    plain: bool
    fresh: bool
    broken: bool
    kubeconfig: Path | None = None
    """Access to the cluster that it runs on; None: it runs on this machine."""


async def run_demo(options: DemoOptions) -> None:
    """Run the demo, report and clean up; raises CommandError unless all claims hold."""
    if options.kubeconfig is not None:
        await run_cluster_demo(options, DemoCluster(options.kubeconfig.absolute()))
        return
    folder = claim_folder(options.data_dir)
    view: DemoView = (
        PlainView() if options.plain or not sys.stdout.isatty() else LiveView(Console())
    )
    setup = DemoSetup(folder, default_cache(), options.fresh, options.webhook, options.broken)
    play = asyncio.create_task(_replay(setup, view))
    for number in _SIGNALS:
        asyncio.get_running_loop().add_signal_handler(number, _interrupt, play)
    kept = False
    try:
        result = await play
        kept = options.keep
    except CommandError:
        kept = options.keep
        if kept:
            view.say(f"left running: `upwell demo --stop --data-dir {folder}` removes it")
        raise
    except asyncio.CancelledError:
        raise CommandError("interrupted", Exit.INTERRUPTED) from None
    finally:
        if not kept:
            view.say("stopping and removing everything")
            await tear_down(folder)
    claims = setup.outcome.claims(result.progress)
    false = [claim.text for claim in claims if not claim.holds]
    if not false:
        echo("All claims hold.")
    if kept:
        echo()
        for line in addresses(folder, result.ports):
            echo(line)
    if false:
        raise CommandError(f"claims do not hold: {'; '.join(false)} (run with --keep to inspect)")


async def run_cluster_demo(options: DemoOptions, cluster: DemoCluster) -> None:
    """Run the demo on a cluster, and leave nothing there; raises CommandError as `run_demo`."""
    require_kubectl()
    folder = claim_folder(options.data_dir)
    view = PlainView()
    play = asyncio.create_task(_replay_on(cluster, folder, view))
    for number in _SIGNALS:
        asyncio.get_running_loop().add_signal_handler(number, _interrupt, play)
    try:
        claims = await play
    except asyncio.CancelledError:
        raise CommandError("interrupted", Exit.INTERRUPTED) from None
    finally:
        if not options.keep:
            view.say("stopping and removing everything, in the cluster too")
            await tear_down(folder)
    false = [claim.text for claim in claims if not claim.holds]
    if false:
        raise CommandError(f"claims do not hold: {'; '.join(false)} (run with --keep to inspect)")
    echo("All claims hold.")
    if options.keep:
        echo(f"left running: `upwell demo --stop --data-dir {folder}` removes it")


async def _replay_on(cluster: DemoCluster, folder: Path, view: DemoView) -> Sequence[DemoClaim]:
    """Replay the fix on a cluster and print the claims; raises CommandError for every fault."""
    view.say("checking this machine and the cluster")
    replay = ClusterReplay(folder, default_cache(), cluster, await preflight(folder), view)
    try:
        claims = await replay.run()
    except BaseExceptionGroup as group:
        raise _explain(group) from group
    except StoreError as error:
        raise CommandError(f"request to the demo's server failed: {error}") from error
    for line in claim_lines(claims):
        echo(line)
    echo()
    return claims


def _interrupt(play: asyncio.Task[Any]) -> None:
    """Cancel once: a second signal must interrupt neither the cleanup nor `tear_down`."""
    if not play.cancelling():
        play.cancel()


async def stop_leftovers(data_dir: Path | None) -> None:
    """Remove the demo in `data_dir`, or all that were kept or have crashed."""
    if data_dir is not None:
        if not is_demo(data_dir):
            raise CommandError(f"no demo in {data_dir}", Exit.NOT_FOUND)
        if in_use(data_dir):
            raise CommandError(f"the demo in {data_dir} is running: press Ctrl-C in its terminal")
    folders = leftover_folders() if data_dir is None else [data_dir]
    for folder in folders:
        await tear_down(folder)
        echo(f"{folder}: stopped and removed")
    if not folders:
        echo(f"no demos to stop in {PLACE}; name another folder with --data-dir", err=True)


async def _replay(setup: DemoSetup, view: DemoView) -> DemoResult:
    """Replay the fix and print the report; raises CommandError for every fault."""
    with view.open():
        view.say("checking this machine")
        replay = Replay(setup, await preflight(setup.folder), view)
        try:
            result = await replay.run()
        except BaseExceptionGroup as group:
            raise _explain(group) from group
        except StoreError as error:
            raise CommandError(f"request to the demo's server failed: {error}") from error
    echo()
    claims = setup.outcome.claims(result.progress)
    for line in report(result.progress, result.packages, result.refusal, claims):
        echo(line)
    echo()
    return result


def _explain(group: BaseExceptionGroup) -> BaseException:
    """Return the fault to report: a CommandError rather than one that followed from it."""
    faults = list(_leaves(group))
    ours = next((fault for fault in faults if isinstance(fault, CommandError)), None)
    if ours is not None:
        return ours
    if isinstance(faults[0], StoreError):
        return CommandError(f"request to the demo's server failed: {faults[0]}")
    return faults[0]


def _leaves(group: BaseExceptionGroup) -> list[BaseException]:
    found: list[BaseException] = []
    for fault in group.exceptions:
        found += _leaves(fault) if isinstance(fault, BaseExceptionGroup) else [fault]
    return found
