"""Store in which builds find their steps again: it holds what they made there, and nothing else.

Buildah takes a step from any image that it sees whose history and layers fit, and both are in every
pushed image for all to copy. So pulled images stay in a store of their own. A build that may find
steps sees of these only what it names itself; builds that may not are made beside the pulled ones.
"""

import asyncio
import json
import logging
import time
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from upwell.builder.commands import BuildahCommands
from upwell.builder.disk.listings import (
    UnreadableStoreError,
    can_be_mounted,
    chain,
    driver_of,
    entries,
    is_whole,
    layers_of,
    require_readable,
    stored_images,
)
from upwell.builder.interface import BuilderStrategy, BuildPlan
from upwell.builder.steps.marks import bears
from upwell.machine.folder import remove_deep
from upwell.oci import ImageConfig

_LOG = logging.getLogger(__name__)

_ASIDE = ".unreadable-"


@dataclass(frozen=True, slots=True)
class KeptSteps:
    """Steps that one build may find again."""

    commands: BuildahCommands
    """On the store that holds them."""
    bases: Path
    """A store with the images that the build names, and no others."""


class StepStore:
    """The store, beside that of pulled images; it may be deleted while no build runs.

    One that cannot be read fails every build that would find steps: it begins anew.
    """

    def __init__(self, pulled: BuildahCommands, root: Path, run_root: Path) -> None:
        self._pulled = pulled
        self.root = root
        self._run_root = run_root
        self._commands: BuildahCommands | None = None
        self._renewing = asyncio.Lock()

    async def opened(self) -> list[BuildahCommands]:
        """Return the commands on the store, if there is one yet; raises BuildError."""
        await self._renew_unreadable()
        return [await self._open()] if self.root.exists() else []

    async def kept_steps(self, folder: Path, images: Collection[str]) -> KeptSteps | None:
        """Return the steps for a build on pulled images, given by their ids; raises BuildError.

        None: one of them is not in the store, or there are steps that would fail the build.
        """
        bases, pulled = folder / "bases", self._pulled.root
        await self._renew_unreadable()
        commands = await self._open()
        if not await asyncio.to_thread(_show_images, pulled, set(images), bases):
            return None
        if lost := await asyncio.to_thread(_lost, self.root, pulled):
            for image in lost:
                await commands.remove_image(image, folder)
            if await asyncio.to_thread(_lost, self.root, pulled):
                return None
        return KeptSteps(commands, bases)

    async def needed(self) -> frozenset[str]:
        """Return the ids of the pulled images that steps stand on; raises BuildError."""
        await self._renew_unreadable()
        return await asyncio.to_thread(_needed, self.root, self._pulled.root)

    async def _renew_unreadable(self) -> None:
        """Remove the store if its lists cannot be read: the next step begins another."""
        async with self._renewing:  # who looks next sees what has begun meanwhile
            await asyncio.to_thread(_renew_unreadable, self.root)

    async def _open(self) -> BuildahCommands:
        if self._commands is None:  # the folder is there, as the store of pulled images is in it
            self._commands = await self._pulled.above(self.root, self._run_root, self.root.parent)
        return self._commands


def _renew_unreadable(root: Path) -> None:
    try:
        require_readable(root)
    except UnreadableStoreError as error:
        _LOG.warning(
            "store of build steps cannot be read and begins anew",
            extra={"store": str(root), "why": error.why},
        )
        # Away at once, so that nobody writes to what is being removed.
        root.rename(root.with_name(f"{root.name}{_ASIDE}{time.time_ns()}"))
        for old in root.parent.glob(f"{root.name}{_ASIDE}*"):
            remove_deep(old)


def may_find_steps(plan: BuildPlan) -> bool:
    """Say whether the steps of a plan may be those of an earlier build.

    Kept steps know nothing of what is in a volume or secret variable.
    """
    return plan.strategy is BuilderStrategy.DOCKER and not (
        plan.no_cache or plan.squash or plan.volumes or plan.secret_env
    )


def are_plain(bases: Collection[ImageConfig], mark: str) -> bool:
    """Say whether none of a build's images can pass for a step of the build, or make one.

    An ONBUILD instruction runs before the mark is set.
    """
    return not any(base.on_build or bears(base, mark) for base in bases)


def _show_images(root: Path, ids: Collection[str], view: Path) -> bool:
    """Make a store, to be read only, of some images of the store at `root`; False: one is not."""
    driver = driver_of(root)
    images = view / f"{driver}-images"
    images.mkdir(parents=True, exist_ok=True)
    shown = [one for one in entries(root, f"{driver}-images/images.json") if one["id"] in ids]
    (images / "images.json").write_text(json.dumps(shown))
    (images / "images.lock").touch()
    links = [(f"{driver}-images/{one['id']}") for one in shown]
    for name in (*links, f"{driver}-layers", str(driver)):
        if not (view / name).is_symlink():
            (view / name).symlink_to(root / name)
    return len(shown) == len(ids)


def _lost(root: Path, pulled: Path) -> list[str]:
    """Return the images of which a layer is lost, or stands on a base that was pulled anew.

    Buildah finds them, and fails as it mounts them. The youngest first: so a step goes before what
    it stands on. Images are read before layers: of one that is just being made, all are there then.
    """
    images, driver = stored_images(root), driver_of(root)
    own = layers_of(root)
    layers = {**layers_of(pulled), **own}
    used = chain(layers, [one.layer for one in images]) & own.keys()
    roots = (root, pulled)
    torn = {one for one in used if not (driver and can_be_mounted(roots, driver, one))}
    lost = [
        one
        for one in images
        if not is_whole(layers, one.layer) or not torn.isdisjoint(chain(layers, [one.layer]))
    ]
    return [one.id for one in sorted(lost, key=lambda one: one.created, reverse=True)]


def _needed(root: Path, pulled: Path) -> frozenset[str]:
    stood_on = {one.layer for one in stored_images(root)}
    own, below = layers_of(root), layers_of(pulled)
    stood_on |= {one.get("parent") or "" for one in own.values()}
    used = stood_on & below.keys()
    return frozenset(
        one.id for one in stored_images(pulled) if not used.isdisjoint(chain(below, [one.layer]))
    )
