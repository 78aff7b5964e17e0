"""Difference that a base update makes, and an image's own layers above it."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from upwell.inventory.interface import EntryKind, LayerFiles
from upwell.policy.rebase.layered_files import LayeredFiles, parents
from upwell.policy.rebase.runtimes import library_versions

_LIBRARY_FOLDERS = re.compile(
    r"(?:usr/|usr/local/)?lib(?:32|64|x32)?(?:/[a-z0-9_]+-linux-(?:gnu|musl)[a-z0-9]*)?"
)
"""Folders that a program loader looks into by itself (ld.so(8), and Debian's multiarch)."""
_LINKED_IN = re.compile(
    r"\.(?:a|rlib|hpp|hh|hxx|ipp)$|^usr/(?:local/)?include/(?:c\+\+|boost|eigen3)/"
    r"|^usr/(?:local|lib|share)/go(?:-[0-9.]+)?/"
)
"""Static libraries, those of Rust, headers that are C++ code, and Go's library: compilers put them
into each program."""
_WHEEL = re.compile(r"(?:.*/)?([^/-]+-[^/-]+)-[^/]+\.whl")
"""A wheel, by the distribution and version that its name begins with (PEP 427)."""
_MOST_LOOKUPS = 2_000_000
"""An image of a thousand programs takes some ten thousand."""
_NAME_LENGTH = 256
PROGRAM_FOLDERS = ("usr/local/sbin", "usr/local/bin", "usr/sbin", "usr/bin", "sbin", "bin")


class TooMuchToCompareError(Exception):
    """Programs and libraries are so many that to compare each with each takes too long."""


@dataclass(frozen=True)
class BaseComparison:
    """Difference of an old and a new base, the same for all images on them."""

    old: LayeredFiles
    new: LayeredFiles

    @cached_property
    def changed(self) -> frozenset[str]:
        """Paths at which the bases differ, by more than times."""
        old, new = self.old.entries, self.new.entries
        return frozenset(path for path in old.keys() | new if old.get(path) != new.get(path))

    @cached_property
    def changed_folders(self) -> frozenset[str]:
        """Folders below which something differs."""
        return frozenset(folder for path in self.changed for folder in parents(path))

    @cached_property
    def added_to(self) -> Mapping[str, tuple[str, ...]]:
        """Folders of the old base to which the new adds, with the old one's paths in each."""
        old = self.old.entries
        added = {path.rpartition("/")[0] for path in self.changed if path not in old}
        found: dict[str, list[str]] = {folder: [] for folder in added if folder in old}
        for path in old:
            folder = path.rpartition("/")[0]
            if folder in found:
                found[folder].append(path)
        return {folder: tuple(paths) for folder, paths in found.items()}

    @cached_property
    def linked_in(self) -> frozenset[str]:
        """Paths of the old base that differ, and that compilers put into programs."""
        return frozenset(
            path
            for path in self.changed
            if _LINKED_IN.search(path) is not None and path in self.old.entries
        )

    @cached_property
    def outdated(self) -> frozenset[str]:
        """Contents that only the old base has, of files that are not empty."""
        kept = frozenset(entry.content for entry in self.new.entries.values())
        old = (self.old.entries.get(path) for path in self.changed)
        return frozenset(
            entry.content
            for entry in old
            if entry is not None and entry.kind is EntryKind.FILE and entry.size
        ).difference(kept)

    @cached_property
    def wheels(self) -> frozenset[str]:
        """Names and versions of the wheels of the old base that differ."""
        found = (_WHEEL.fullmatch(path) for path in self.changed if path in self.old.entries)
        return frozenset(match[1] for match in found if match is not None)

    @cached_property
    def runtimes(self) -> tuple[Mapping[str, frozenset[str]], Mapping[str, frozenset[str]]]:
        """Versions of runtimes in the old and in the new base."""
        return library_versions(self.old), library_versions(self.new)


@dataclass(frozen=True)
class BaseUpdate:
    """Old and new base, and the layers that an image has above."""

    bases: BaseComparison
    layers: Sequence[LayerFiles]
    _lookups: list[int] = field(default_factory=lambda: [_MOST_LOOKUPS])

    def spend(self, lookups: int) -> None:
        """Count what is looked up for each of many others; raises TooMuchToCompareError."""
        self._lookups[0] -= lookups
        if self._lookups[0] < 0:
            raise TooMuchToCompareError

    @property
    def old(self) -> LayeredFiles:
        """The old base."""
        return self.bases.old

    @property
    def new(self) -> LayeredFiles:
        """The new base."""
        return self.bases.new

    @property
    def changed(self) -> frozenset[str]:
        """Paths at which the bases differ."""
        return self.bases.changed

    @property
    def changed_folders(self) -> frozenset[str]:
        """Folders below which something differs."""
        return self.bases.changed_folders

    @cached_property
    def own(self) -> LayeredFiles:
        """Files of the image's own layers by themselves."""
        return LayeredFiles.of(self.layers)

    @cached_property
    def before(self) -> LayeredFiles:
        """The image as it is."""
        return self.old.above(self.layers)

    @cached_property
    def after(self) -> LayeredFiles:
        """The image on its new base."""
        return self.new.above(self.layers)

    def names(self, path: str) -> Iterator[str]:
        """Yield a path, and those that it has if a folder of it is a link."""
        yield path
        folder, _, base = path.rpartition("/")
        for found in self.targets(folder):
            yield f"{found}/{base}" if found else base

    def targets(self, folder: str) -> Iterator[str]:
        """Yield where a folder is, if it or one above is a link, in the bases or in the image.

        Whether a layer's path through a link is put where that leads to, or in its place, is for
        each runtime to say (image-spec, layer.md has no word on it): both count.
        """
        for files in (self.old, self.new, self.before):
            if any(_is_link(files, above) for above in (*parents(folder), folder)):
                found = files.resolve(folder)
                if found is not None:
                    yield found

    def loses(self, path: str) -> bool:
        """Return True if the image has a path now, and would not have it on its new base."""
        return self.before.resolve(path) is not None and self.after.resolve(path) is None

    def loses_program(self, name: str, folders: Sequence[str] = PROGRAM_FOLDERS) -> bool:
        """Return True if a program by its name is found now, and would not be."""
        if "/" in name:
            return self.loses(name)
        self.spend(len(folders) * (1 + len(name) // _NAME_LENGTH))
        paths = (f"{folder.strip('/')}/{name}" for folder in folders)
        known = [path for path in paths if self.before.resolve(path) is not None]
        again = (f"{folder.strip('/')}/{name}" for folder in folders)
        return bool(known) and all(self.after.resolve(path) is None for path in again)


def is_library_folder(folder: str) -> bool:
    """Return True if a program loader looks for libraries there without being told."""
    return _LIBRARY_FOLDERS.fullmatch(folder) is not None


def _is_link(files: LayeredFiles, path: str) -> bool:
    entry = files.entries.get(path)
    return entry is not None and entry.kind is EntryKind.SYMLINK
