"""File system that layers make: whiteouts applied, links followed (image-spec, layer.md)."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from upwell.inventory.interface import ElfFacts, EntryKind, LayerEntry, LayerFiles

_MAX_LINKS = 40
"""As Linux has it (path_resolution(7))."""


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
        left = path.lstrip("/").split("/")[::-1]
        at: list[str] = []
        links = 0
        while left:
            part = left.pop()
            if part in {"", "."}:
                continue
            if part == "..":
                del at[-1:]
                continue
            entry = self.entries.get("/".join([*at, part]))
            if entry is not None and entry.kind is EntryKind.SYMLINK:
                links += 1
                if links > _MAX_LINKS:
                    return None
                at = [] if entry.content.startswith("/") else at
                left += entry.content.split("/")[::-1]
                continue
            at.append(part)
        found = "/".join(at)
        return found if not found or found in self.entries or found in self.folders else None

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
