"""`upwell build-pod`: what runs in the Pod of a build on a cluster; people call nothing of it."""

import asyncio
import sys

import click

from upwell.app.builds.pod import BuildPodFolders, exit_now, receive_input, run_pod_build
from upwell.app.builds.probe import run_probe
from upwell.cli.core.errors import CommandError


@click.group("build-pod", hidden=True)
def build_pod() -> None:
    """Run a build in a Pod of a cluster."""


@build_pod.command()
@click.option("--cache", is_flag=True, help="Use what earlier builds have kept on a volume.")
def run(*, cache: bool) -> None:
    """Carry out the build that is handed over; its result is the container's last message."""
    exit_now(asyncio.run(run_pod_build(BuildPodFolders(), cached=cache)))


@build_pod.command()
def probe() -> None:
    """Find out whether Pods with the privilege of this one can build (`upwell doctor`)."""
    exit_now(asyncio.run(run_probe(BuildPodFolders())))


@build_pod.command()
def receive() -> None:
    """Hand the plan and the source on standard input over to the build of this Pod."""
    try:
        asyncio.run(receive_input(BuildPodFolders(), sys.stdin.buffer))
    except OSError as error:
        raise CommandError(f"the build of this Pod takes no input: {error}") from error
