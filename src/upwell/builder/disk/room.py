"""Room that a build takes on the disk while it runs: its folder, and what its steps have written.

Layers of the images that it takes from elsewhere are the store's: other builds have them too.
"""

import asyncio
from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from upwell.builder.disk.listings import (
    Entry,
    chain,
    driver_of,
    entries,
    layer_folder,
    layers_of,
    stored_images,
)
from upwell.machine.process import ChildCommand, Launcher, OutputTooLargeError

_SECONDS = 120.0
"""For one look."""
_MAX_OUTPUT = 1024 * 1024


@dataclass(frozen=True, slots=True)
class CacheInUse:
    """A cache that a build uses, and its bytes before that."""

    path: Path
    bytes_before: int


@dataclass(frozen=True, slots=True)
class RoomOnDisk:
    """Counts the bytes of trees on the disk, in a process of its own.

    So a tree of a million files keeps nothing of ours waiting.
    """

    launcher: Launcher
    path: str
    """PATH of the process."""

    async def bytes_of(self, folders: Collection[Path]) -> int | None:
        """Return the bytes of all `folders` together; None: they could not be counted in time."""
        paths = [str(one) for one in folders if one.exists()]
        if not paths:
            return 0
        argv = ("nice", "-n", "10", "du", "-s", "-x", "-c", "--block-size=1", "--", *paths)
        command = ChildCommand(argv, {"PATH": self.path, "LC_ALL": "C"}, Path("/"))
        with suppress(TimeoutError, OutputTooLargeError):
            async with asyncio.timeout(_SECONDS):
                outcome = await self.launcher.capture(command, _MAX_OUTPUT)
            # What goes away meanwhile makes it fail, and is no longer there to be counted.
            return _total(outcome.output)
        return None


@dataclass(slots=True)
class BuildRoom:
    """The room of one build, whose steps began at `since` (seconds since 1970)."""

    since: float
    cache: CacheInUse | None = None
    layers: dict[Path, set[str]] = field(default_factory=dict)
    """Layers that its steps have made in each store, wherever they are by now."""
    used: int = 0
    """Bytes, as of the last look, without its cache."""

    async def look(
        self,
        disk: RoomOnDisk,
        folders: Collection[Path],
        roots: Collection[Path],
        containers: Collection[str],
    ) -> int:
        """Count the bytes on the disk below `folders`, and of the steps' layers in the stores.

        And those by which its cache has grown.
        """
        found: list[Path] = []
        for root in roots:
            found += await asyncio.to_thread(self._layers, root, containers)
        used = await disk.bytes_of((*folders, *found))
        self.used = self.used if used is None else used
        cache = self.cache  # the steps may end while it is counted, and their use of it with them
        if cache is None:
            return self.used
        cached = await disk.bytes_of([cache.path]) or 0
        return self.used + max(0, cached - cache.bytes_before)

    def _layers(self, root: Path, containers: Collection[str]) -> list[Path]:
        """Return the folders of the layers that the steps have made in a store."""
        driver = driver_of(root)
        if driver is None:
            return []
        layers = layers_of(root, driver)
        tops = [
            one["layer"]
            for one in entries(root, f"{driver}-containers/*containers.json")
            if one["id"] in containers
        ]
        taken = chain(layers, _tops_of_named(root, driver))
        made = self.layers.get(root, set()) | {
            one for one in chain(layers, tops) - taken if _created(layers[one]) >= self.since
        }
        self.layers[root] = made & layers.keys()
        return [layer_folder(root, driver, one) for one in self.layers[root]]


def top_layer(root: Path, image: str) -> Path | None:
    """Return the folder with the uppermost layer of an image, by its id; None: there is none."""
    driver = driver_of(root)
    for one in stored_images(root):
        if driver and one.id == image and one.layer:
            folder = layer_folder(root, driver, one.layer)
            return folder if folder.is_dir() else None
    return None


def _tops_of_named(root: Path, driver: str) -> Iterator[str]:
    """Yield the uppermost layers of the images with a name, which a build did not make just now."""
    for image in entries(root, f"{driver}-images/images.json"):
        if image.get("names"):
            yield image.get("layer") or ""
            yield from image.get("mapped-layers") or ()


def _created(layer: Entry) -> float:
    return datetime.fromisoformat(layer["created"]).timestamp()


def _total(output: str) -> int | None:
    """Return the sum that `du -c` ends with."""
    number = output.rstrip().rpartition("\n")[2].partition("\t")[0]
    return int(number) if number.isdecimal() else None
