"""Lists of images and layers that containers/storage keeps in the folder of a store.

Read as files: of a layer whose parent is in another store, Buildah itself tells nothing. Each is
decoded once for all who ask while it stays as it is: it has an entry for each image or layer, and
each build looks several times.
"""

import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

from upwell.builder.interface import BuildError

_VFS = "vfs"
_KEPT_LISTS = 12
"""Lists that are kept decoded: those of the store of pulled images, and of that of steps."""

type Entry = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class StoredImage:
    """An image of the store."""

    id: str
    names: tuple[str, ...]
    digest: str
    created: float
    """Seconds since 1970."""
    layer: str = ""
    """The uppermost; empty: it has none."""


class UnreadableStoreError(BuildError):
    """A list of a store is not what Buildah writes: Buildah cannot use the store either."""

    def __init__(self, root: Path, why: str) -> None:
        super().__init__(
            "GenericBuildFailed",
            f"the image store {root} cannot be read ({why}): remove it while no build runs,"
            " images are pulled anew then",
        )
        self.why = why


def entries(root: Path, pattern: str) -> Iterator[Entry]:
    """Yield the entries of lists that Buildah replaces as a whole at each change.

    Raises UnreadableStoreError.
    """
    for listing in root.glob(pattern):
        with suppress(FileNotFoundError):
            yield from _read(root, listing, _version(listing))


def require_readable(root: Path) -> None:
    """Raise UnreadableStoreError if a list of a store cannot be read; one without lists can."""
    try:
        stored_images(root)
        layers_of(root)
        list(entries(root, "*-containers/*containers.json"))
    except (ValueError, TypeError) as error:
        raise UnreadableStoreError(root, str(error)) from error


def _version(listing: Path) -> tuple[int, ...]:
    """Return what differs between a list and the one that takes its place: another file does."""
    found = listing.stat()
    return (found.st_ino, found.st_mtime_ns, found.st_ctime_ns, found.st_size)


@lru_cache(_KEPT_LISTS)
def _read(root: Path, listing: Path, _: tuple[int, ...]) -> Sequence[Entry]:
    try:
        found = json.loads(listing.read_text() or "[]") or []
    except (ValueError, RecursionError) as error:
        raise UnreadableStoreError(root, f"{listing.name}: {error}") from error
    if isinstance(found, list) and all(isinstance(_id(one), str) for one in found):
        return found
    raise UnreadableStoreError(root, f"{listing.name}: it is no list of objects with ids")


def _id(entry: object) -> object:
    return entry.get("id") if isinstance(entry, dict) else None


def driver_of(root: Path) -> str | None:
    """Return the storage driver of a store; None: there is no store yet."""
    return next((path.name.removesuffix("-images") for path in root.glob("*-images")), None)


def stored_images(root: Path) -> list[StoredImage]:
    """Return every image of a store, those of single steps too."""
    found: list[StoredImage] = []
    for listing in root.glob("*-images/images.json"):
        with suppress(FileNotFoundError):
            found += _images(root, listing, _version(listing))
    return found


@lru_cache(_KEPT_LISTS)
def _images(root: Path, listing: Path, version: tuple[int, ...]) -> Sequence[StoredImage]:
    return [
        StoredImage(
            one["id"],
            tuple(one.get("names") or ()),
            one.get("digest") or "",
            _seconds(one),
            one.get("layer") or "",
        )
        for one in _read(root, listing, version)
    ]


def layers_of(root: Path, driver: str = "*") -> dict[str, Entry]:
    """Return the layers of a store by their ids."""
    return {one["id"]: one for one in entries(root, f"{driver}-layers/*layers.json")}


def whole_image(root: Path, name: str) -> str | None:
    """Return the id of the image with this name; None: it is not there, or has lost a layer."""
    image = next((one for one in stored_images(root) if name in one.names), None)
    return image.id if image and is_whole(layers_of(root), image.layer) else None


def is_whole(layers: Mapping[str, Entry], top: str) -> bool:
    """Say whether a layer and all below it are listed; an image without layers has them all."""
    parents = {layers[one].get("parent") or "" for one in chain(layers, [top])}
    return {top, *parents} - {""} <= layers.keys()


def chain(layers: Mapping[str, Entry], tops: Iterable[str]) -> set[str]:
    """Return some layers and all below them."""
    found: set[str] = set()
    for top in tops:
        layer = top
        while layer in layers and layer not in found:
            found.add(layer)
            layer = layers[layer].get("parent") or ""
    return found


def may_have_containers(root: Path) -> bool:
    """Say whether a working container is listed in a store, or a list cannot be read."""
    try:
        return any(True for _ in entries(root, "*-containers/*containers.json"))
    except UnreadableStoreError:
        return True


def layer_folder(root: Path, driver: str, layer: str) -> Path:
    """Return the folder with the files of a layer."""
    return root / driver / "dir" / layer if driver == _VFS else root / driver / layer / "diff"


def can_be_mounted(roots: Collection[Path], driver: str, layer: str) -> bool:
    """Say whether a layer of the first store has its files, and those below it the names it knows.

    Overlay names layers anew whenever they are pulled; those of all `roots` are seen.
    """
    files = layer_folder(next(iter(roots)), driver, layer)
    if not files.is_dir():
        return False
    below = files.with_name("lower")
    names = below.read_text().split(":") if driver != _VFS and below.exists() else ()
    return all(any((root / driver / name).exists() for root in roots) for name in names)


def _seconds(entry: Entry) -> float:
    written = entry.get("created")
    return datetime.fromisoformat(written).timestamp() if written else 0.0
