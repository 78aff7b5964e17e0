"""Frames the story: what a signal does, what is printed, what is removed, and the exit code."""

import asyncio
import signal
import sys
from dataclasses import dataclass
from pathlib import Path

import click
from rich.console import Console

from upwell.cli.core.errors import CommandError, Exit
from upwell.cli.demo.preflight import preflight
from upwell.cli.demo.replay import Played, Replay, Setting
from upwell.cli.demo.report import addresses, report
from upwell.cli.demo.rootfs import default_cache
from upwell.cli.demo.teardown import PLACE, claim_folder, in_use, is_demo, left_behind, tear_down
from upwell.cli.demo.view import DemoView, LiveView, PlainView
from upwell.store.interface import StoreError

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass(frozen=True, slots=True)
class DemoOptions:
    """What the user asked for."""

    data_dir: Path | None
    keep: bool
    webhook: bool
    plain: bool
    fresh: bool
    broken: bool


async def perform(options: DemoOptions) -> None:
    """Play the story, report, and clear up; raises CommandError unless all claims are true."""
    folder = claim_folder(options.data_dir)
    view: DemoView = (
        PlainView() if options.plain or not sys.stdout.isatty() else LiveView(Console())
    )
    setting = Setting(folder, default_cache(), options.fresh, options.webhook, options.broken)
    play = asyncio.create_task(_play(setting, view))
    for number in _SIGNALS:
        asyncio.get_running_loop().add_signal_handler(number, _interrupt, play)
    kept = False
    try:
        played = await play
        kept = options.keep
    except CommandError:
        kept = options.keep
        if kept:
            view.say(f"all is left as it is: `upwell demo --stop --data-dir {folder}` removes it")
        raise
    except asyncio.CancelledError:
        raise CommandError("interrupted", Exit.INTERRUPTED) from None
    finally:
        if not kept:
            view.say("stopping and removing everything that was started")
            await tear_down(folder)
    claims = setting.ending.claims(played.story)
    false = [claim.text for claim in claims if not claim.holds]
    if not false:
        click.echo("All of this is true.")
    if kept:
        click.echo()
        for line in addresses(folder, played.ports):
            click.echo(line)
    if false:
        raise CommandError(f"not true: {'; '.join(false)} (`--keep` leaves all to look at)")


def _interrupt(play: asyncio.Task[Played]) -> None:
    """Cancel once: neither what a cancelled command clears up nor `tear_down` is cut short."""
    if not play.cancelling():
        play.cancel()


async def stop_left_behind(data_dir: Path | None) -> None:
    """Remove the demo in `data_dir`, or all that were kept or have crashed."""
    if data_dir is not None:
        if not is_demo(data_dir):
            raise CommandError(f"there is no demo in {data_dir}", Exit.NOT_FOUND)
        if in_use(data_dir):
            raise CommandError(f"the demo in {data_dir} is running: press Ctrl-C there")
    folders = left_behind() if data_dir is None else [data_dir]
    for folder in folders:
        await tear_down(folder)
        click.echo(f"{folder}: stopped and removed")
    if not folders:
        click.echo(f"no demo is left in {PLACE}; --data-dir names another folder", err=True)


async def _play(setting: Setting, view: DemoView) -> Played:
    """Play the story and print what came of it; raises CommandError for every fault."""
    with view.open():
        view.say("looking at this machine")
        replay = Replay(setting, await preflight(setting.folder), view)
        try:
            played = await replay.run()
        except BaseExceptionGroup as group:
            raise _explain(group) from group
        except StoreError as error:
            raise CommandError(f"the server does not answer as it should: {error}") from error
    click.echo()
    claims = setting.ending.claims(played.story)
    for line in report(played.story, played.packages, played.refusal, claims):
        click.echo(line)
    click.echo()
    return played


def _explain(group: BaseExceptionGroup) -> BaseException:
    """Return the fault that stands for all: ours rather than one that followed from it."""
    faults = list(_leaves(group))
    ours = next((fault for fault in faults if isinstance(fault, CommandError)), None)
    if ours is not None:
        return ours
    if isinstance(faults[0], StoreError):
        return CommandError(f"the server does not answer as it should: {faults[0]}")
    return faults[0]


def _leaves(group: BaseExceptionGroup) -> list[BaseException]:
    found: list[BaseException] = []
    for fault in group.exceptions:
        found += _leaves(fault) if isinstance(fault, BaseExceptionGroup) else [fault]
    return found
