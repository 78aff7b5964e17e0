"""`upwell rebase`: swap the base layers of an image in its registry, where that is safe."""

import asyncio
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from upwell.app.rebasing.opening import Rebaser, open_rebaser
from upwell.app.registries.client import RegistryClientSettings
from upwell.cli.core.connection import Session
from upwell.cli.core.errors import CommandError, Exit
from upwell.cli.core.examples import examples
from upwell.cli.core.output import Format, output_option, write_data
from upwell.cli.core.terminal import echo
from upwell.cli.images.known_bases import ServersBases
from upwell.cli.images.mirror_mappings import parse
from upwell.cli.images.rebase_text import plan_data, plan_lines, verdict_lines
from upwell.cli.images.registry_settings import client_settings, error_text, registry_options
from upwell.oci import InvalidManifestError, Platform, Reference
from upwell.oci.rebase.documents import NotRebasableError
from upwell.oci.reference import is_tag
from upwell.policy.rebase.plan import RebasePlan, RebaseRequest
from upwell.registry.errors import RegistryError

_AT_ONCE = 16
"""Images under way; each takes a few requests at a time."""


@click.command(
    epilog=examples(
        "upwell rebase registry.example/team/shop:1 --dry-run --explain",
        "upwell rebase registry.example/team/shop:1 --tag 1-patched",
        "upwell rebase registry.example/team/shop:1 registry.example/team/stock:1",
        "upwell rebase registry.example/team/shop:1 --old-base debian@sha256:…"
        " --new-base debian:11",
    )
)
@click.argument("images", nargs=-1, metavar="IMAGE...")
@click.option(
    "--original", default="", show_default="IMAGE", hidden=True, help="IMAGE, as crane takes it."
)
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
    help="Base that IMAGE may stand on, if it records none; repeatable. Layers decide. Those that"
    " the server knows are tried too, if there is a server.",
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
@registry_options
@output_option(Format.TABLE, Format.JSON, Format.YAML)
@click.pass_obj
def rebase(
    session: Session, /, images: tuple[str, ...], candidates: tuple[str, ...], **options: Any
) -> None:
    """Swap the base layers of IMAGE for those of its updated base, in the registry.

    Nothing is built, and layers that the registry can mount are not sent. It is done only if
    nothing of the image depends on what the base update changes; otherwise this says why, and a
    rebuild is right. The tag is moved last. The logins are those of `podman login`;
    the server's own registry takes that of `upwell login`.

    Of several images, one that fails does not stop the others.
    """
    requests = _requests([*images, *filter(None, [options["original"]])], candidates, options)
    settings = client_settings(session, options)
    try:
        outcomes = asyncio.run(_rebase_all(session, requests, settings, options))
    except KeyboardInterrupt:
        raise CommandError("interrupted", Exit.INTERRUPTED) from None
    data = [outcome.data for outcome in outcomes if outcome.data is not None]
    if options["output"] != Format.TABLE and data:
        write_data(data if len(requests) > 1 else data[0], options["output"])
    failed = [outcome.error for outcome in outcomes if outcome.error is not None]
    if len(requests) == 1 and failed:
        raise failed[0]
    if failed:
        raise CommandError(f"{len(failed)} of {len(requests)} images: see the errors above")


@dataclass(frozen=True, slots=True)
class _Outcome:
    """Outcome for one image: JSON data, where there is a plan, and the error that ended it."""

    data: dict[str, Any] | None = None
    error: CommandError | None = None


async def _rebase_all(
    session: Session,
    requests: Sequence[RebaseRequest],
    settings: RegistryClientSettings,
    options: dict[str, Any],
) -> list[_Outcome]:
    slots = asyncio.Semaphore(_AT_ONCE)

    async def one(request: RebaseRequest) -> _Outcome:
        async with slots:
            outcome = await _rebase(rebaser, request, options)
        if outcome.error is not None and len(requests) > 1:
            echo(f"error: {outcome.error.message}", err=True)
        return outcome

    async with open_rebaser(settings, _cache(), ServersBases(session)) as rebaser:
        return list(await asyncio.gather(*map(one, requests)))


async def _rebase(rebaser: Rebaser, request: RebaseRequest, options: dict[str, Any]) -> _Outcome:
    """Plan, print, and write if that is allowed."""
    try:
        plan = await rebaser.planner.plan(request)
        if request.new_base is None and not options["explain"]:
            for base in sorted({f"{one.new.name}@{one.new.digest}" for one in plan.platforms}):
                echo(f"new base: {base}", err=True)
        may_write = options["force"] or (plan.is_safe and request.check)
        written = may_write and not plan.is_current and not options["dry_run"]
        if written:
            blobs = await rebaser.writer.write(plan.images, plan.kept, plan.index, plan.target)
            done = f"{blobs.mounted} mounted, {blobs.sent} sent; {blobs.sent_bytes} bytes"
            echo(done, err=True)
        if plan.is_tag_alone and not options["dry_run"]:
            source = plan.image.with_digest(plan.digest)
            await rebaser.copier.copy(source, plan.target.name)
            written = True
    except NotRebasableError as error:
        return _Outcome(error=CommandError(f"cannot rebase {request.image}: {error}"))
    except (RegistryError, InvalidManifestError) as error:
        return _Outcome(error=CommandError(error_text(error)))
    data = None
    if options["output"] == Format.TABLE:
        _print(plan, options, is_done=written)
    else:
        data = plan_data(plan, written=written, checked=request.check)
    return _Outcome(data, _refusal(plan, options))


def _print(plan: RebasePlan, options: dict[str, Any], *, is_done: bool) -> None:
    if options["explain"]:
        for line in plan_lines(plan, checked=options["check"]):
            echo(line)
    elif not plan.is_safe:
        for line in verdict_lines(plan):
            echo(line, err=True)
    if plan.is_current:
        echo(f"{plan.image} is on its new base already: {plan.digest}", err=plan.is_tag_alone)
    if plan.is_current and not plan.is_tag_alone:
        return
    if _refusal(plan, options) is None:
        would = "" if is_done else " (dry run)"
        echo(f"{plan.target.name.with_digest(plan.digest)}{would}")


def _refusal(plan: RebasePlan, options: dict[str, Any]) -> CommandError | None:
    """Return why a rebase is refused, or would be."""
    if plan.is_current or options["force"]:
        return None
    if not plan.is_safe:
        return CommandError(f"a rebase of {plan.image} is not safe: rebuild it, or use --force")
    if not options["check"]:
        return CommandError(
            f"it is unknown whether a rebase of {plan.image} is safe: leave --no-check out, or use"
            " --force"
        )
    return None


def _requests(
    images: Sequence[str], candidates: Sequence[str], options: dict[str, Any]
) -> list[RebaseRequest]:
    if not images:
        raise click.UsageError("name the image to rebase: upwell rebase IMAGE")
    if len(images) > 1 and options["target"] and not is_tag(options["target"]):
        raise click.UsageError("--tag: name a tag alone for several images")
    old, new = (
        parse(text) if text else None for text in (options["old_base"], options["new_base"])
    )
    known = tuple(map(parse, candidates))
    platform = _platform(options["platform"])
    return [
        RebaseRequest(
            name, old, new, known, platform, _target(name, options["target"]), options["check"]
        )
        for name in map(parse, images)
    ]


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
