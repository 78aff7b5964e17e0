"""`upwell setup`: this machine as a server that is started at boot; and its undoing."""

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path

import click

from upwell.app.setup.setup import SetupFailedError, SetupPlaces, carry_out, look_at_machine
from upwell.cli.core.errors import CommandError, Exit
from upwell.cli.core.examples import examples
from upwell.cli.core.terminal import echo
from upwell.cli.doctor.doctor import examine
from upwell.cli.serve.options import data_dir_option
from upwell.machine.checks import HostCheckStatus
from upwell.machine.setup.packages import SYSTEM_PACKAGES
from upwell.policy.setup.steps import (
    MachineFacts,
    SetupRefusedError,
    SetupStep,
    setup_steps,
    undo_steps,
)


@click.command(
    epilog=examples(
        "upwell setup",
        "upwell setup --dry-run",
        "upwell setup --yes --data-dir /srv/upwell",
        "upwell setup --undo",
    )
)
@data_dir_option("Data folder of the server.")
@click.option(
    "--container-storage",
    type=click.Path(path_type=Path, file_okay=False),
    default=None,
    envvar="UPWELL_CONTAINER_STORAGE",
    show_envvar=True,
    help="With --undo: Podman's storage, as for `upwell serve`.  [default: the system's]",
)
@click.option("--yes", is_flag=True, help="Do not ask before the changes.")
@click.option("--dry-run", is_flag=True, help="Show the changes, and make none.")
@click.option("--undo", is_flag=True, help="Remove what was set up, and what runs; keep the data.")
@click.option("--data", is_flag=True, help="With --undo: remove the data folder, too.")
@click.option(
    "--print",
    "printed",
    type=click.Choice(["unit", "configuration", "packages"]),
    default=None,
    help="Print one of these as a server takes it, and change nothing.  [default: none]",
)
def setup(
    data_dir: Path,
    container_storage: Path | None,
    *,
    yes: bool,
    dry_run: bool,
    undo: bool,
    data: bool,
    printed: str | None,
) -> None:
    """Make this machine a server: packages, folders, a systemd unit that starts at boot.

    Shows the changes and asks first. Whatever is there already stays as it is, so that it may be
    called again at any time. With --undo, packages and the data folder stay.
    """
    storage = container_storage.absolute() if container_storage else None
    places = SetupPlaces(data_dir.absolute(), storage)
    if printed:
        _print(printed, places)
        return
    if data and not undo:
        raise CommandError("--data removes the data folder: give it with --undo", Exit.USAGE)
    asyncio.run(_run(places, yes=yes, dry_run=dry_run, undo=undo, data=data))


def _print(what: str, places: SetupPlaces) -> None:
    files = places.files()
    packages = "".join(f"{package.name}\n" for package in SYSTEM_PACKAGES)
    texts = {"unit": files.unit, "configuration": files.configuration, "packages": packages}
    echo(texts[what], nl=False)


async def _run(places: SetupPlaces, *, yes: bool, dry_run: bool, undo: bool, data: bool) -> None:
    facts = await look_at_machine(places)
    try:
        if undo:
            steps = undo_steps(facts, places.files(), data=data)
        else:
            steps = setup_steps(facts, places.files())
    except SetupRefusedError as error:
        raise CommandError(str(error)) from error
    for number, step in enumerate(steps, 1):
        echo(f"{number}. {step}")
    if dry_run:
        echo("nothing was changed", err=True)
        return
    if steps:
        _require_root()
        _ask(yes=yes)
        await _carry_out(steps, places)
    if undo:
        _tell_undone(places, steps, data=data)
    else:
        await _tell_next(facts, places)


def _require_root() -> None:
    if os.geteuid() != 0:
        raise CommandError("the changes take root's rights: call it with sudo")


def _ask(*, yes: bool) -> None:
    if yes:
        return
    if not click.confirm("Make these changes?", default=False, err=True):
        raise CommandError("nothing was changed")


async def _carry_out(steps: Sequence[SetupStep], places: SetupPlaces) -> None:
    for step in steps:
        try:
            await carry_out(step, places)
        except SetupFailedError as error:
            raise CommandError(str(error)) from error
        echo(f"done: {step}")


def _tell_undone(places: SetupPlaces, steps: Sequence[SetupStep], *, data: bool) -> None:
    if not steps:
        echo("nothing of it is here")
    if not data and places.data_dir.is_dir():
        echo(f"kept: {places.data_dir} (remove it with --undo --data), and all packages", err=True)


async def _tell_next(facts: MachineFacts, places: SetupPlaces) -> None:
    """Say what is wrong with the machine, and then what its user does next."""
    found = await examine(places.data_dir)
    for check in found.checks:
        if check.status is not HostCheckStatus.OK:
            remedy = f"; remedy: {check.remedy}" if check.remedy else ""
            echo(f"{check.status}: {check.name}: {check.detail}{remedy}", err=True)
    if found.status is HostCheckStatus.FAIL:
        raise CommandError("a server does not work here yet: mend the above, and call it again")
    if not facts.has_systemd:
        echo("systemd does not run here: start `upwell serve` as this machine starts services:")
        echo(f"  upwell serve --data-dir {places.data_dir} --config {places.configuration}")
    echo("next:")
    for line in (
        "upwell status                 # this user needs no token",
        "upwell token create NAME      # access for others; docs/access.md",
        "upwell new-app IMAGE --name NAME --expose   # the first application",
        "upwell backup FILE            # all of it in one file, while it runs",
    ):
        echo(f"  {line}")
