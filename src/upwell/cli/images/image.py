"""`upwell image mirror`: copy images between registries."""

import asyncio
import re
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, override

import click

from upwell.app.registries.client import RegistryClientSettings
from upwell.app.registries.copying import open_copier
from upwell.cli.core.connection import Session
from upwell.cli.core.errors import CommandError, Exit
from upwell.cli.core.examples import examples
from upwell.cli.core.terminal import echo
from upwell.cli.images.mirror_mappings import MirrorMapping, read_mappings
from upwell.cli.images.registry_settings import client_settings, error_text, registry_options
from upwell.cli.presentation.progress import ProgressLine
from upwell.oci import Platform, Reference
from upwell.registry.copying import CopyProgress, CopyStep, ImageCopier, WantsPlatform
from upwell.registry.errors import ManifestUnknownError, RegistryError


class _ImageGroup(click.Group):
    """A group whose `verify` is imported when it is called: `mirror` starts in half the time."""

    @override
    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted([*super().list_commands(ctx), "verify"])

    @override
    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name != "verify":
            return super().get_command(ctx, cmd_name)
        from upwell.cli.images.verify import verify  # noqa: PLC0415 - as the docstring says

        return verify


@click.group(
    cls=_ImageGroup,
    no_args_is_help=True,
    epilog=examples("upwell image mirror quay.io/team/app:1 backup.example/app"),
)
def image() -> None:
    """Copy images between registries, without a server; verify them by image policies."""


@dataclass(frozen=True, slots=True)
class _MirrorOptions:
    """Options of a mirror: dry run, and the handling of failures."""

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
    help="File of SRC=DST lines; repeatable.",
)
@click.option(
    "--filter-by-os",
    default="",
    show_default="all, with the same digest",
    metavar="REGEX",
    help="Platforms to copy, such as linux/(amd64|arm64); this changes the digest.",
)
@click.option("--dry-run", is_flag=True, help="Print what would be copied, and copy nothing.")
@click.option("--skip-missing", is_flag=True, help="Skip images that do not exist in the source.")
@click.option(
    "--continue-on-error", is_flag=True, help="Continue with the next image after an error; exit 1."
)
@registry_options
@click.pass_obj
def mirror(
    session: Session, /, images: tuple[str, ...], files: tuple[Path, ...], **options: Any
) -> None:
    """Copy images to other registries, with every platform and the same digests.

    An interrupted copy resumes: blobs that the destination has are not sent again. The logins are
    those of `podman login`; the server's own registry takes that of `upwell login`.
    """
    mappings = read_mappings(images, files)
    platforms = _platforms(options["filter_by_os"])
    behaviour = _MirrorOptions(
        options["dry_run"], options["skip_missing"], options["continue_on_error"]
    )
    settings = client_settings(session, options)
    try:
        failed = asyncio.run(_mirror(mappings, settings, platforms, behaviour))
    except KeyboardInterrupt:
        raise CommandError("interrupted", Exit.INTERRUPTED) from None
    except RegistryError as error:
        raise CommandError(error_text(error)) from error
    if failed:
        raise CommandError(f"cannot copy {failed} images; see the errors above")


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
    mappings: Sequence[MirrorMapping],
    settings: RegistryClientSettings,
    platforms: WantsPlatform | None,
    behaviour: _MirrorOptions,
) -> int:
    """Copy all images; return the number of failures. Raises RegistryError to stop."""
    failed = 0
    line = ProgressLine()
    pieces = CopyReport(line)
    async with open_copier(settings, pieces.report, platforms) as copier:
        async for source, target in _pairs(mappings, copier):
            try:
                await _one(copier, source, target, behaviour, line)
            except ManifestUnknownError as error:
                if not behaviour.skip_missing:
                    failed += _handled(error, behaviour)
                    continue
                echo(f"{source}: skipped, the image does not exist", err=True)
            except RegistryError as error:
                failed += _handled(error, behaviour)
    return failed


async def _pairs(
    mappings: Sequence[MirrorMapping], copier: ImageCopier
) -> AsyncIterator[tuple[Reference, Reference]]:
    for mapping in mappings:
        tags: Sequence[str] = ()
        if mapping.has_wildcard:
            tags = await copier.source.tags(mapping.repository, copier.access.source)
        for pair in mapping.pairs(tags):
            yield pair


async def _one(
    copier: ImageCopier,
    source: Reference,
    target: Reference,
    behaviour: _MirrorOptions,
    line: ProgressLine,
) -> None:
    if behaviour.dry_run:
        missing = await copier.plan(source, target)
        size = sum(piece.size for piece in missing)
        echo(f"{source} -> {target}: {len(missing)} blobs and manifests to copy, {size} bytes")
        return
    with line:
        line.show(f"{source} -> {target}")
        copied = await copier.copy(source, target)
    counts = Counter({step: count for step, count in copied.counts.items() if count})
    summary = ", ".join(
        f"{count} {step}" for step, count in counts.items() if step is not CopyStep.TAGGED
    )
    echo(f"{source} -> {target}: {copied.target.digest}")
    echo(f"  {summary or 'nothing to copy'}; {copied.sent_bytes} bytes sent", err=True)


def _handled(error: RegistryError, behaviour: _MirrorOptions) -> int:
    """Report a failure and count it, or raise it, as the options say."""
    if not behaviour.continue_on_error:
        raise error
    echo(f"error: {error_text(error)}", err=True)
    return 1


class CopyReport:
    """Progress of copies: one line on a terminal, and elsewhere a line for each piece."""

    def __init__(self, line: ProgressLine) -> None:
        self._line = line
        self._pieces = self._bytes = 0

    def report(self, progress: CopyProgress) -> None:
        """Show one more step."""
        if progress.step not in {CopyStep.COPIED, CopyStep.MOUNTED}:
            return
        piece = progress.piece
        self._pieces += 1
        self._bytes += piece.size
        if self._line.is_shown:
            what = f"{progress.target.repository}: {self._pieces} blobs and manifests"
            self._line.show_bytes(what, self._bytes)
        else:
            echo(f"  {progress.step} {piece.digest.short} ({piece.size} bytes)", err=True)
