"""File system that layers make: whiteouts applied, links followed (image-spec, layer.md)."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from upwell.inventory.interface import ElfFacts, EntryKind, LayerEntry, LayerFiles

_MAX_LINKS = 40
"""As Linux has it (path_resolution(7))."""
_MAX_TARGET = 4095
"""Of a link, as Linux has it (symlink(2))."""


@dataclass
class LayeredFiles:
    """Paths of stacked layers; a path may be asked for with a leading slash."""

    entries: dict[str, LayerEntry] = field(default_factory=dict)
    elf: dict[str, ElfFacts | None] = field(default_factory=dict)
    scripts: dict[str, str] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, layers: Iterable[LayerFiles]) -> "LayeredFiles":
        """Return what layers make, the lowest first."""
        made = cls()
        for layer in layers:
            made._add(layer)
        return made

    def above(self, layers: Sequence[LayerFiles]) -> "LayeredFiles":
        """Return a copy with further layers."""
        made = LayeredFiles(
            dict(self.entries), dict(self.elf), dict(self.scripts), dict(self.texts)
        )
        hidden = [made._add(layer) for layer in layers]
        if not any(hidden):  # most folders are the base's, which knows them
            own = (folder for layer in layers for path in layer.entries for folder in parents(path))
            made.folders = self.folders.union(own)
        return made

    def _add(self, layer: LayerFiles) -> bool:
        """Put a layer above, before anything is asked; return True if it may have hidden paths."""
        hides = self._hide(layer)
        for known in (self.elf, self.scripts, self.texts):
            for path in [path for path in known if path in layer.entries]:
                del known[path]
        self.entries.update(layer.entries)
        self.elf.update(layer.elf)
        for path, entry in layer.entries.items():
            if entry.kind is EntryKind.HARD_LINK:
                self._link(path, entry)
        self.scripts.update(layer.scripts)
        self.texts.update(layer.texts)
        return hides

    def _link(self, path: str, entry: LayerEntry) -> None:
        """Let a hard link be the file that it is another name of, where that is known."""
        target = self.entries.get(entry.content)
        if target is not None and target.kind is EntryKind.FILE:
            self.entries[path] = target
            if entry.content in self.elf:
                self.elf[path] = self.elf[entry.content]

    def _hide(self, layer: LayerFiles) -> bool:
        covered = {
            path
            for path, entry in layer.entries.items()
            if entry.kind is not EntryKind.DIRECTORY
            and path in self.entries
            and self.entries[path].kind is EntryKind.DIRECTORY
        }
        gone = layer.removed | covered
        if not gone and not layer.opaque:
            return False
        for path in list(self.entries):
            folders = set(parents(path))
            if path in gone or folders & gone or folders & layer.opaque:
                del self.entries[path]
                for known in (self.elf, self.scripts, self.texts):
                    known.pop(path, None)
        return True

    def resolve(self, path: str) -> str | None:
        """Return the path that a path leads to through all links; None: there is none."""
        found = self._walk("", path, _MAX_LINKS)
        return None if found is None else found[0]

    def _walk(self, at: str, path: str, most: int) -> tuple[str, int] | None:
        """Return where `path` leads to from a folder, and through how many links; None: nowhere."""
        links = 0
        for part in path.split("/"):
            if part in {"", "."}:
                continue
            if part == "..":
                at = at.rpartition("/")[0]
                continue
            below = f"{at}/{part}" if at else part
            entry = self.entries.get(below)
            if entry is None and below not in self.folders:
                return None
            if entry is None or entry.kind is not EntryKind.SYMLINK:
                at = below
                continue
            found = self._end(at, below, entry, most - links - 1)
            if found is None:
                return None
            at, links = found[0], links + 1 + found[1]
            if links > most:
                return None
        return at, links

    def _end(self, folder: str, path: str, link: LayerEntry, most: int) -> tuple[str, int] | None:
        """Return where a link leads to, as `_walk` does; each is followed once."""
        if most < 0 or len(link.content) > _MAX_TARGET:
            return None
        if path not in self._ends:
            self._ends[path] = None  # what comes by again leads round and round
            start = "" if link.content.startswith("/") else folder
            self._ends[path] = self._walk(start, link.content, most)
        return self._ends[path]

    @cached_property
    def _ends(self) -> dict[str, tuple[str, int] | None]:
        """The ends of links so far, and the links on the way there."""
        return {}

    @cached_property
    def folders(self) -> frozenset[str]:
        """Every path that something lies below; archives need not name their folders."""
        return frozenset(folder for path in self.entries for folder in parents(path))

    @cached_property
    def by_name(self) -> Mapping[str, tuple[str, ...]]:
        """Paths by their last part."""
        found: dict[str, list[str]] = {}
        for path in self.entries:
            found.setdefault(path.rpartition("/")[2], []).append(path)
        return {name: tuple(paths) for name, paths in found.items()}


def parents(path: str) -> Iterator[str]:
    """Yield the folders above a path, the root ("") among them."""
    yield ""
    at = path.find("/")
    while at >= 0:
        yield path[:at]
        at = path.find("/", at + 1)
