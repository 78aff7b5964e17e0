"""`upwell image mirror`: copy images between registries."""

import asyncio
import os
import re
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from upwell.app.copying import CopySettings, open_copier
from upwell.cli.core.errors import CommandError, Exit
from upwell.cli.core.examples import examples
from upwell.cli.images.mirror_mappings import Mapping, read_mappings
from upwell.oci import Platform, Reference
from upwell.registry.copying import CopyProgress, CopyStep, ImageCopier, WantsPlatform
from upwell.registry.credentials import default_auth_files
from upwell.registry.errors import ManifestUnknownError, RegistryError
from upwell.settings import SettingsError, read_file


@click.group(
    no_args_is_help=True,
    epilog=examples("upwell image mirror quay.io/team/app:1 backup.example/app"),
)
def image() -> None:
    """Work with images of any registry, without a server."""


@dataclass(frozen=True, slots=True)
class _Conduct:
    """What is done about what goes wrong, and whether anything is done at all."""

    dry_run: bool
    skip_missing: bool
    continue_on_error: bool


@image.command(
    "mirror",
    epilog=examples(
        "upwell image mirror quay.io/team/app:1 backup.example/app:1 other.example/app:1",
        "upwell image mirror 'quay.io/team/app:1.*=backup.example/app' --dry-run",
        "upwell image mirror -f images.txt --skip-missing --continue-on-error",
    ),
)
@click.argument("images", nargs=-1, metavar="SRC DST... | SRC=DST...")
@click.option(
    "-f",
    "--filename",
    "files",
    multiple=True,
    type=click.Path(path_type=Path),
    help="File with a line SRC=DST for each image; repeatable.",
)
@click.option(
    "--filter-by-os",
    default="",
    show_default="all, and the digest stays",
    metavar="REGEX",
    help="Keep the platforms that match, as in linux/(amd64|arm64); this changes the digest.",
)
@click.option("--dry-run", is_flag=True, help="Say what would be sent, and send nothing.")
@click.option("--skip-missing", is_flag=True, help="Pass over images that the source has not.")
@click.option("--continue-on-error", is_flag=True, help="Go on with the next image; exit 1.")
@click.option("--insecure", is_flag=True, help="Allow plain HTTP and TLS that cannot be verified.")
@click.option(
    "--config",
    type=click.Path(path_type=Path),
    default=None,
    show_default="none",
    help="Configuration file of `serve` whose registries hold here too.",
)
def mirror(images: tuple[str, ...], files: tuple[Path, ...], **options: Any) -> None:
    """Copy images to other registries, with every platform and the same digests.

    A copy that was cut short goes on where it stopped: what has arrived is not sent again.
    Logins are those of `podman login`.
    """
    mappings = read_mappings(images, files)
    platforms = _platforms(options["filter_by_os"])
    conduct = _Conduct(options["dry_run"], options["skip_missing"], options["continue_on_error"])
    try:
        registries = read_file(options["config"]).registries if options["config"] else ()
    except SettingsError as error:
        raise CommandError(str(error), Exit.USAGE) from error
    auth_files = default_auth_files(os.environ, Path.home())
    settings = CopySettings(auth_files, registries, insecure=options["insecure"])
    try:
        failed = asyncio.run(_mirror(mappings, settings, platforms, conduct))
    except KeyboardInterrupt:
        raise CommandError("interrupted", Exit.INTERRUPTED) from None
    except RegistryError as error:
        raise CommandError(str(error)) from error
    if failed:
        raise CommandError(f"{failed} images were not copied")


def _platforms(pattern: str) -> WantsPlatform | None:
    if pattern in {"", ".*"}:
        return None
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise click.UsageError(f"--filter-by-os: {error}") from error

    def wants(platform: Platform) -> bool:
        return compiled.fullmatch(str(platform)) is not None

    return wants


async def _mirror(
    mappings: Sequence[Mapping],
    settings: CopySettings,
    platforms: WantsPlatform | None,
    conduct: _Conduct,
) -> int:
    """Copy everything; return how many images failed. Raises RegistryError to stop."""
    failed = 0
    async with open_copier(settings, _report, platforms) as copier:
        async for source, goal in _pairs(mappings, copier):
            try:
                await _one(copier, source, goal, conduct)
            except ManifestUnknownError as error:
                if not conduct.skip_missing:
                    failed += _tolerated(error, conduct)
                    continue
                click.echo(f"{source}: passed over, the registry has no such image", err=True)
            except RegistryError as error:
                failed += _tolerated(error, conduct)
    return failed


async def _pairs(
    mappings: Sequence[Mapping], copier: ImageCopier
) -> AsyncIterator[tuple[Reference, Reference]]:
    for mapping in mappings:
        tags: Sequence[str] = ()
        if mapping.has_wildcard:
            tags = await copier.source.tags(mapping.repository, copier.access.source)
        for pair in mapping.pairs(tags):
            yield pair


async def _one(copier: ImageCopier, source: Reference, goal: Reference, conduct: _Conduct) -> None:
    if conduct.dry_run:
        missing = await copier.plan(source, goal)
        size = sum(piece.size for piece in missing)
        click.echo(f"{source} -> {goal}: {len(missing)} pieces to copy, {size} bytes")
        return
    copied = await copier.copy(source, goal)
    counts = Counter({step: count for step, count in copied.counts.items() if count})
    told = ", ".join(
        f"{count} {step}" for step, count in counts.items() if step is not CopyStep.TAGGED
    )
    click.echo(f"{source} -> {goal}: {copied.target.digest}")
    click.echo(f"  {told or 'nothing to copy'}; {copied.sent_bytes} bytes sent", err=True)


def _tolerated(error: RegistryError, conduct: _Conduct) -> int:
    """Report a failure and count it, or raise it, as the user wishes."""
    if not conduct.continue_on_error:
        raise error
    click.echo(f"error: {error}", err=True)
    return 1


def _report(progress: CopyProgress) -> None:
    if progress.step in {CopyStep.COPIED, CopyStep.MOUNTED}:
        piece = progress.piece
        click.echo(f"  {progress.step} {piece.digest.short} ({piece.size} bytes)", err=True)
