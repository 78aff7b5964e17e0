"""Findings about files: what an image replaces or removes of what a base update changes."""

from collections import defaultdict
from collections.abc import Iterator

from upwell.inventory.interface import EntryKind, LayerEntry
from upwell.policy.rebase.comparison import BaseUpdate
from upwell.policy.rebase.findings import RebaseFault, RebaseFinding
from upwell.policy.rebase.layered_files import parents

_DATABASES = (
    "var/lib/dpkg/",
    "lib/apk/db/",
    "usr/lib/apk/db/",
    "var/lib/rpm/",
    "usr/lib/sysimage/rpm/",
    "usr/share/rpm/",
    "var/lib/pacman/",
)


def file_findings(update: BaseUpdate) -> Iterator[RebaseFinding]:
    """Yield what is wrong with the files of the image's own layers."""
    found: dict[tuple[RebaseFault, str], list[str]] = defaultdict(list)
    for path, entry in update.own.entries.items():
        if (problem := _problem(update, path, entry)) is not None:
            found[problem].append(path)
    for path in sorted(_removed(update)):
        why = "the image removes what the base update changes"
        found[RebaseFault.WHITEOUT, why].append(path)
    for folder in _swept(update):
        why = (
            "the base update adds to a folder, all of which the image removes or gives other rights"
        )
        found[RebaseFault.FILE_OVERLAP, why].append(folder)
    for (fault, why), paths in found.items():
        yield RebaseFinding(fault, why, tuple(sorted(paths)))


def _problem(update: BaseUpdate, path: str, entry: LayerEntry) -> tuple[RebaseFault, str] | None:
    if any(_overlaps(update, name, entry) for name in update.names(path)):
        if path.startswith(_DATABASES):
            why = "it would list the packages of the old base, not those that are there"
            return RebaseFault.PACKAGE_DATABASE, why
        return RebaseFault.FILE_OVERLAP, "the base update changes what the image has of its own"
    if any(_leads_elsewhere(update, folder) for folder in parents(path)):
        return RebaseFault.FILE_OVERLAP, "a folder above it is a link in one of the bases alone"
    if entry.kind is EntryKind.HARD_LINK and any(
        name in update.changed for name in update.names(entry.content)
    ):
        return RebaseFault.FILE_OVERLAP, "it is a hard link to what the base update changes"
    if lost := _lost(update, path, entry):
        return RebaseFault.MISSING_FILE, lost
    return None


def _lost(update: BaseUpdate, path: str, entry: LayerEntry) -> str:
    """Say what of the old base a path needs that the new has not; empty: nothing."""
    if any(_is_gone(update, folder) for folder in parents(path)):
        return "it is in a folder of the old base, which the new has not"
    if entry.kind is EntryKind.SYMLINK and update.loses(path):
        return "it is a link to what the new base has not"
    return ""


def _overlaps(update: BaseUpdate, path: str, entry: LayerEntry) -> bool:
    """Return True if an entry would stand in the place of something else than it was made for."""
    new = update.new.entries.get(path)
    if entry.kind is not EntryKind.DIRECTORY:
        return (path in update.changed and new != entry) or path in update.changed_folders
    # Layers name the folders of their files again, with the owner and mode that these had.
    return path in update.changed and new is not None and new != entry


def _leads_elsewhere(update: BaseUpdate, folder: str) -> bool:
    """Return True if a folder is one in the old or the new base alone, and a link or file there."""
    if folder not in update.changed:
        return False
    entries = (bottom.entries.get(folder) for bottom in (update.old, update.new))
    return any(entry is not None and entry.kind is not EntryKind.DIRECTORY for entry in entries)


def _is_gone(update: BaseUpdate, folder: str) -> bool:
    """Return True if a folder had something of the old base, and is none of the new."""
    new = update.new
    is_old = folder != "" and folder in update.old.folders
    return is_old and folder not in new.folders and folder not in new.entries


def _swept(update: BaseUpdate) -> Iterator[str]:
    """Yield folders of which a step has met all that the old base has, and the new has more.

    As `rm -rf FOLDER/*` and `chown -R` do: a build would do so with the rest, too.
    """
    removed = frozenset(path for layer in update.layers for path in layer.removed)
    for folder, paths in update.bases.added_to.items():
        names = paths or (folder,)
        met = [
            _is_met(update, path, removed) for path in names if not _is_passed_over(update, path)
        ]
        if met and all(met):
            yield folder


def _is_passed_over(update: BaseUpdate, path: str) -> bool:
    """Return True for what `*` does not stand for, and for links, which chmod(1) leaves alone."""
    is_hidden = path.rpartition("/")[2].startswith(".")
    return is_hidden or update.old.entries[path].kind is EntryKind.SYMLINK


def _is_met(update: BaseUpdate, path: str, removed: frozenset[str]) -> bool:
    """Return True if the image removes a path of the base, or has its content with other rights."""
    own, old = update.own.entries.get(path), update.old.entries[path]
    if own is None:
        return path in removed
    return own != old and (own.kind, own.content) == (old.kind, old.content)


def _removed(update: BaseUpdate) -> Iterator[str]:
    for layer in update.layers:
        for path in layer.removed:
            if any(_hides(update, name) for name in update.names(path)):
                yield path
        for folder in layer.opaque:
            names = (*update.names(folder), *update.targets(folder))
            if any(name in update.changed_folders and _has(update, name) for name in names):
                yield folder


def _hides(update: BaseUpdate, path: str) -> bool:
    differs = path in update.changed or path in update.changed_folders
    return differs and _has(update, path)


def _has(update: BaseUpdate, path: str) -> bool:
    """Return True if the new base has something to hide there."""
    return path in update.new.entries or path in update.new.folders
