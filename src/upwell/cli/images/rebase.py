"""`upwell rebase`: swap the base layers of an image in its registry, where that is safe."""

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from upwell.app.rebasing.opening import Rebaser, RebaseSettings, open_rebaser
from upwell.app.rebasing.planning import RebasePlan, RebaseRequest
from upwell.cli.core.errors import CommandError, Exit
from upwell.cli.core.examples import examples
from upwell.cli.core.output import Format, output_option, write_data
from upwell.cli.core.terminal import echo
from upwell.cli.images.mirror_mappings import parse
from upwell.cli.images.rebase_text import plan_data, plan_lines, verdict_lines
from upwell.cli.images.registry_settings import configured_registries
from upwell.oci import InvalidManifestError, Platform, Reference
from upwell.oci.rebase.documents import NotRebasableError
from upwell.oci.reference import is_tag
from upwell.registry.credentials import default_auth_files
from upwell.registry.errors import RegistryError


@click.command(
    epilog=examples(
        "upwell rebase registry.example/team/shop:1 --dry-run --explain",
        "upwell rebase registry.example/team/shop:1 --tag 1-patched",
        "upwell rebase registry.example/team/shop:1 --old-base debian@sha256:…"
        " --new-base debian:11",
    )
)
@click.argument("image", required=False, metavar="IMAGE")
@click.option("--original", default="", hidden=True, help="IMAGE, as crane takes it.")
@click.option(
    "--old-base",
    "--old_base",
    default="",
    metavar="IMAGE",
    show_default="the one that IMAGE records",
    help="Base that IMAGE was built from.",
)
@click.option(
    "--new-base",
    "--new_base",
    default="",
    metavar="IMAGE",
    show_default="what the tag of the recorded base names now",
    help="Base to put in its place.",
)
@click.option(
    "--candidate",
    "candidates",
    multiple=True,
    metavar="IMAGE",
    help="Base that IMAGE may stand on, if it records none; repeatable. Layers decide.",
)
@click.option(
    "-t",
    "--tag",
    "--rebased",
    "target",
    default="",
    metavar="TAG|IMAGE",
    show_default="the tag of IMAGE",
    help="Tag for the rebased image: in the repository of IMAGE, or with one of its own.",
)
@click.option(
    "--platform",
    default="",
    metavar="OS/ARCH[/VARIANT]",
    show_default="all",
    help="Platform of an index to rebase alone; the outcome is then no index.",
)
@click.option("--dry-run", is_flag=True, help="Check the rebase, and write nothing.")
@click.option("--explain", is_flag=True, help="Print what changes, and why it is safe or not.")
@click.option("--force", is_flag=True, help="Rebase although it is not safe, or was not checked.")
@click.option(
    "--check/--no-check",
    default=True,
    show_default=True,
    help="Look into the layers; without that, only --force rebases.",
)
@click.option("--insecure", is_flag=True, help="Allow plain HTTP and unverified TLS.")
@click.option(
    "--config",
    type=click.Path(path_type=Path),
    default=None,
    show_default="none",
    help="Configuration file of `upwell serve` with registries to apply here.",
)
@output_option(Format.TABLE, Format.JSON, Format.YAML)
def rebase(image: str | None, candidates: tuple[str, ...], **options: Any) -> None:
    """Swap the base layers of IMAGE for those of its updated base, in the registry.

    Nothing is built, and layers that the registry can mount are not sent. It is done only if
    nothing of the image depends on what the base update changes; otherwise this says why, and a
    rebuild is right. The tag is moved last. The logins are those of `podman login`.
    """
    request = _request(image or options["original"], candidates, options)
    registries = configured_registries(options["config"]) if options["config"] else ()
    auth_files = default_auth_files(os.environ, Path.home())
    settings = RebaseSettings(auth_files, registries, options["insecure"], _cache())
    try:
        plan, written = asyncio.run(_rebase(request, settings, options))
    except KeyboardInterrupt:
        raise CommandError("interrupted", Exit.INTERRUPTED) from None
    except NotRebasableError as error:
        raise CommandError(f"cannot rebase {request.image}: {error}") from error
    except (RegistryError, InvalidManifestError) as error:
        raise CommandError(str(error)) from error
    _finish(plan, written, options)


async def _rebase(
    request: RebaseRequest, settings: RebaseSettings, options: dict[str, Any]
) -> tuple[RebasePlan, bool]:
    """Plan, and write if that is allowed; return whether it was."""
    async with open_rebaser(settings) as rebaser:
        plan = await rebaser.planner.plan(request)
        may_write = options["force"] or (plan.is_safe and request.check)
        if plan.is_current or options["dry_run"] or not may_write:
            return plan, False
        await _write(rebaser, plan)
        return plan, True


async def _write(rebaser: Rebaser, plan: RebasePlan) -> None:
    await rebaser.writer.write(plan.images, plan.kept, plan.index, plan.target)
    blobs = rebaser.writer.blobs
    echo(f"{blobs.mounted} mounted, {blobs.sent} sent; {blobs.sent_bytes} bytes", err=True)


def _finish(plan: RebasePlan, written: bool, options: dict[str, Any]) -> None:  # noqa: FBT001
    """Print the outcome; raises CommandError where a rebase was asked for and would be wrong."""
    as_text = options["output"] == Format.TABLE
    if not as_text:
        write_data(plan_data(plan, written=written, checked=options["check"]), options["output"])
    elif options["explain"]:
        for line in plan_lines(plan, checked=options["check"]):
            echo(line)
    if plan.is_current:
        if as_text:
            echo(f"{plan.image} is on its new base already: {plan.digest}")
        return
    if not plan.is_safe and not (as_text and options["explain"]):
        for line in verdict_lines(plan):
            echo(line, err=True)
    if not options["force"]:
        if not plan.is_safe:
            raise CommandError(f"a rebase of {plan.image} is not safe: rebuild it, or use --force")
        if not options["check"]:
            raise CommandError(
                f"it is unknown whether a rebase of {plan.image} is safe: leave --no-check out,"
                " or use --force"
            )
    if as_text:
        would = "" if written else " (dry run)"
        echo(f"{plan.target.name.with_digest(plan.digest)}{would}")


def _request(image: str, candidates: Sequence[str], options: dict[str, Any]) -> RebaseRequest:
    if not image:
        raise click.UsageError("name the image to rebase: upwell rebase IMAGE")
    name = parse(image)
    return RebaseRequest(
        name,
        parse(options["old_base"]) if options["old_base"] else None,
        parse(options["new_base"]) if options["new_base"] else None,
        tuple(map(parse, candidates)),
        _platform(options["platform"]),
        _target(name, options["target"]),
        options["check"],
    )


def _target(image: Reference, text: str) -> Reference | None:
    if not text:
        return None
    if is_tag(text):
        return image.with_tag(text)
    target = parse(text)
    if target.digest is not None:
        raise click.UsageError(f"--tag {text}: a digest is the outcome; name a tag")
    return target


def _platform(text: str) -> Platform | None:
    parts = text.split("/")
    if not text:
        return None
    if len(parts) not in {2, 3} or not all(parts):
        raise click.UsageError(f"--platform {text}: expected OS/ARCH[/VARIANT], like linux/arm64")
    return Platform(*parts)


def _cache() -> Path:
    """Return the folder that keeps what was found in layers."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "upwell" / "layers"
