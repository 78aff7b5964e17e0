"""Store in which builds find their steps again: it holds what they made there, and nothing else.

Buildah takes a step from any image that it sees whose history and layers fit, and both are in every
pushed image for all to copy. So pulled images stay in a store of their own. A build that may find
steps sees of these only what it names itself; builds that may not are made beside the pulled ones.
"""

import asyncio
import json
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from upwell.builder.commands import BuildahCommands
from upwell.builder.disk.listings import (
    chain,
    driver_of,
    entries,
    layers_of,
    stored_images,
)
from upwell.builder.interface import BuilderStrategy, BuildPlan
from upwell.builder.steps.marks import bears
from upwell.oci import ImageConfig


@dataclass(frozen=True, slots=True)
class KeptSteps:
    """Steps that one build may find again."""

    commands: BuildahCommands
    """On the store that holds them."""
    bases: Path
    """A store with the images that the build names, and no others."""


class StepStore:
    """The store, beside that of pulled images; it may be deleted while no build runs."""

    def __init__(self, pulled: BuildahCommands, root: Path, run_root: Path) -> None:
        self._pulled = pulled
        self.root = root
        self._run_root = run_root
        self._commands: BuildahCommands | None = None

    async def opened(self) -> list[BuildahCommands]:
        """Return the commands on the store, if there is one yet; raises BuildError."""
        return [await self._open()] if self.root.exists() else []

    async def kept_steps(self, folder: Path, images: Collection[str]) -> KeptSteps | None:
        """Return the steps for a build on pulled images, given by their ids; raises BuildError.

        None: one of them is not in the store.
        """
        bases, pulled = folder / "bases", self._pulled.root
        commands = await self._open()
        if not await asyncio.to_thread(_show_images, pulled, set(images), bases):
            return None
        for image in await asyncio.to_thread(_orphans, self.root, pulled):
            await commands.remove_image(image, folder)
        return KeptSteps(commands, bases)

    async def needed(self) -> frozenset[str]:
        """Return the ids of the pulled images that steps stand on."""
        return await asyncio.to_thread(_needed, self.root, self._pulled.root)

    async def _open(self) -> BuildahCommands:
        if self._commands is None:  # the folder is there, as the store of pulled images is in it
            self._commands = await self._pulled.above(self.root, self._run_root, self.root.parent)
        return self._commands


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


def _orphans(root: Path, pulled: Path) -> list[str]:
    """Return the images whose own layer went with the base that was removed: Buildah fails at them.

    The youngest first: so a step goes before what it stands on.
    """
    layers = layers_of(root).keys() | layers_of(pulled).keys()
    lost = [one for one in stored_images(root) if one.layer and one.layer not in layers]
    return [one.id for one in sorted(lost, key=lambda one: one.created, reverse=True)]


def _needed(root: Path, pulled: Path) -> frozenset[str]:
    own, below = layers_of(root), layers_of(pulled)
    stood_on = {one.get("parent") for one in own.values()}
    stood_on |= {one.layer for one in stored_images(root)}
    used = stood_on & below.keys()
    return frozenset(
        one.id for one in stored_images(pulled) if not used.isdisjoint(chain(below, [one.layer]))
    )
