"""Room that a build takes on the disk while it runs: its folder, and what its steps have written.

Layers of the images that it takes from elsewhere are the store's: other builds have them too.
"""

import asyncio
import json
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from upwell.machine.process import ChildCommand, Launcher, OutputTooLargeError

_SECONDS = 120.0
"""For one look."""
_MAX_OUTPUT = 1024 * 1024
_VFS = "vfs"


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
    layers: set[str] = field(default_factory=set)
    """Layers that its steps have made, wherever they are by now."""
    used: int = 0
    """Bytes, as of the last look, without its cache."""

    async def look(
        self, disk: RoomOnDisk, folders: Collection[Path], root: Path, containers: Collection[str]
    ) -> int:
        """Count the bytes on the disk below `folders`, and of the steps' layers in `root`.

        And those by which its cache has grown.
        """
        found = await asyncio.to_thread(self._layers, root, containers)
        used = await disk.bytes_of((*folders, *found))
        self.used = self.used if used is None else used
        if self.cache is None:
            return self.used
        cached = await disk.bytes_of([self.cache.path]) or 0
        return self.used + max(0, cached - self.cache.bytes_before)

    def _layers(self, root: Path, containers: Collection[str]) -> list[Path]:
        """Return the folders of the layers that the steps have made."""
        for listing in root.glob("*-layers"):
            driver = listing.name.removesuffix("-layers")
            layers = {one["id"]: one for one in _entries(root, f"{driver}-layers/*layers.json")}
            tops = [
                one["layer"]
                for one in _entries(root, f"{driver}-containers/*containers.json")
                if one["id"] in containers
            ]
            taken = _chain(layers, _tops_of_named(root, driver))
            self.layers |= {
                one for one in _chain(layers, tops) - taken if _created(layers[one]) >= self.since
            }
            self.layers &= layers.keys()
            return [_content(root, driver, one) for one in self.layers]
        return []


def top_layer(root: Path, image: str) -> Path | None:
    """Return the folder with the uppermost layer of an image, by its id; None: there is none."""
    for listing in root.glob("*-images"):
        driver = listing.name.removesuffix("-images")
        for one in _entries(root, f"{driver}-images/images.json"):
            if one["id"] == image and one.get("layer"):
                folder = _content(root, driver, one["layer"])
                return folder if folder.is_dir() else None
    return None


def _tops_of_named(root: Path, driver: str) -> Iterator[str]:
    """Yield the uppermost layers of the images with a name, which a build did not make just now."""
    for image in _entries(root, f"{driver}-images/images.json"):
        if image.get("names"):
            yield image.get("layer") or ""
            yield from image.get("mapped-layers") or ()


def _chain(
    layers: Mapping[str, Mapping[str, Any]], tops: Collection[str] | Iterator[str]
) -> set[str]:
    """Return some layers and all below them."""
    found: set[str] = set()
    for top in tops:
        layer = top
        while layer in layers and layer not in found:
            found.add(layer)
            layer = layers[layer].get("parent") or ""
    return found


def _created(layer: Mapping[str, Any]) -> float:
    return datetime.fromisoformat(layer["created"]).timestamp()


def _content(root: Path, driver: str, layer: str) -> Path:
    return root / driver / "dir" / layer if driver == _VFS else root / driver / layer / "diff"


def _entries(root: Path, pattern: str) -> Iterator[Mapping[str, Any]]:
    """Yield the entries of lists that Buildah replaces as a whole at each change."""
    for listing in root.glob(pattern):
        with suppress(FileNotFoundError):
            yield from json.loads(listing.read_text() or "[]")


def _total(output: str) -> int | None:
    """Return the sum that `du -c` ends with."""
    number = output.rstrip().rpartition("\n")[2].partition("\t")[0]
    return int(number) if number.isdecimal() else None
