"""Stores in which builds find their steps again: they hold what was made there, and nothing else.

Buildah takes a step from any image that it sees whose history and layers fit, and both are in every
pushed image for all to copy. So pulled images stay in a store of their own. A build that may find
steps sees of these only what it names itself; builds that may not are made beside the pulled ones.

Builds of one scope have a store of their own: for each step, Buildah reads all images that stand on
the same, so that in one store for all, a build costs more with each build that there was.
"""

import asyncio
import json
import logging
import time
from collections.abc import Collection, Iterable
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
_IN_USE = "kept-steps"
"""In a build's folder, a link to the store that it finds its steps in."""
_NAME_LENGTH = 16
"""Of a store's folder: the paths of all layers below an image go into one mount."""


@dataclass(frozen=True, slots=True)
class KeptSteps:
    """Steps that one build may find again."""

    commands: BuildahCommands
    """On the store that holds them."""
    bases: Path
    """A store with the images that the build names, and no others."""


class StepStores:
    """The stores, beside that of pulled images; each may be deleted while no build runs.

    One that cannot be read fails every build that would find steps: it begins anew. What an earlier
    version kept in one store for all, at `root` itself, is there to be pruned.
    """

    def __init__(self, pulled: BuildahCommands, root: Path, run_root: Path) -> None:
        self._pulled = pulled
        self._root = root
        self._run_root = run_root
        self._commands: dict[Path, BuildahCommands] = {}
        self._renewing = asyncio.Lock()

    async def opened(self) -> list[BuildahCommands]:
        """Return the commands on every store that there is; raises BuildError."""
        found = []
        for root in await asyncio.to_thread(self._roots):
            await self._renew_unreadable(root)
            if root.exists():
                found.append(await self._open(root))
        return found

    async def used_by(self, folder: Path) -> list[BuildahCommands]:
        """Return the commands on the store of the build in `folder`, if it has one."""
        link = folder / _IN_USE
        if not link.is_symlink():
            return []
        root = link.readlink()
        await self._renew_unreadable(root)
        return [await self._open(root)] if root.exists() else []

    async def kept_steps(
        self, folder: Path, images: Collection[str], mark: str
    ) -> KeptSteps | None:
        """Return the steps for a build on pulled images, given by their ids; raises BuildError.

        `mark` is its scope's. None: one of the images is not in the store, or there are steps that
        would fail the build.
        """
        bases, pulled, root = folder / "bases", self._pulled.root, self._root / mark[:_NAME_LENGTH]
        await self._renew_unreadable(root)
        commands = await self._open(root)
        if not await asyncio.to_thread(_show_images, pulled, set(images), bases):
            return None
        if lost := await asyncio.to_thread(_lost, root, pulled):
            for image in lost:
                await commands.remove_image(image, folder)
            if await asyncio.to_thread(_lost, root, pulled):
                return None
        if not (folder / _IN_USE).is_symlink():
            (folder / _IN_USE).symlink_to(root)
        return KeptSteps(commands, bases)

    async def needed(self) -> frozenset[str]:
        """Return the ids of the pulled images that steps stand on; raises BuildError."""
        roots = [one.root for one in await self.opened()]
        return await asyncio.to_thread(_needed, roots, self._pulled.root)

    async def remove_empty(self) -> None:
        """Remove the stores without images; no build may run."""
        for root in await asyncio.to_thread(self._roots):
            if root != self._root and not await asyncio.to_thread(stored_images, root):
                self._commands.pop(root, None)
                for folder in (root, self._run_root / root.name):
                    await asyncio.to_thread(remove_deep, folder)

    def _roots(self) -> list[Path]:
        found = self._root.glob("*") if self._root.is_dir() else ()
        scopes = (one for one in found if len(one.name) == _NAME_LENGTH and driver_of(one))
        return [*([self._root] if driver_of(self._root) else []), *scopes]

    async def _renew_unreadable(self, root: Path) -> None:
        """Remove a store if its lists cannot be read: the next step begins another."""
        async with self._renewing:  # who looks next sees what has begun meanwhile
            await asyncio.to_thread(_renew_unreadable, root)

    async def _open(self, root: Path) -> BuildahCommands:
        if root not in self._commands:
            run_root = self._run_root if root == self._root else self._run_root / root.name
            # The folder is there, as the store of pulled images is in it.
            self._commands[root] = await self._pulled.above(root, run_root, self._root.parent)
        return self._commands[root]


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


def _needed(roots: Iterable[Path], pulled: Path) -> frozenset[str]:
    below = layers_of(pulled)
    stood_on: set[str] = set()
    for root in roots:
        stood_on |= {one.layer for one in stored_images(root)}
        stood_on |= {one.get("parent") or "" for one in layers_of(root).values()}
    used = stood_on & below.keys()
    return frozenset(
        one.id for one in stored_images(pulled) if not used.isdisjoint(chain(below, [one.layer]))
    )
