"""Files of a repository that hold the images of a stage."""

from collections.abc import Iterable, Sequence
from posixpath import normpath

from upwell.gitops.interface import MAX_FILE_BYTES, FileKind, TreeFile
from upwell.policy.promotion.manifests import helm, kustomize
from upwell.policy.promotion.manifests.flux import MARK
from upwell.policy.promotion.manifests.wanted import ManifestError, WantedImage

MAX_FILES = 200
"""Files that name an image, for one stage."""

_SUFFIXES = (".yaml", ".yml", ".json")


def place(path: str) -> str:
    """Return a path in a repository without superfluous parts; raises ManifestError."""
    found = normpath(path or ".")
    if found.startswith(("/", "..")) or "\0" in found or ".git" in found.split("/"):
        raise ManifestError(f"{path!r} is not a path in a repository")
    return found


def choose(entries: Sequence[TreeFile], layout: str, path: str) -> list[TreeFile]:
    """Return the files to look into, of all that a tree has at `path` and below it.

    No link is followed: what it leads to is a file of the repository, to be named itself, or none.
    """
    there = place(path)
    if not entries:
        raise ManifestError(f"there is no {there} (links on the way are not followed)")
    if len(entries) == 1 and entries[0].path == there:
        return [_plain(entries[0])]
    by_path = {one.path: one for one in entries}
    names = {"Kustomize": kustomize.NAMES, "Helm": helm.NAMES}.get(layout)
    if names is None:
        files = [one for one in entries if one.path.endswith(_SUFFIXES)]
        return [one for one in files if one.kind is FileKind.FILE]
    prefix = "" if there == "." else f"{there}/"
    found = [by_path[f"{prefix}{name}"] for name in names if f"{prefix}{name}" in by_path]
    if not found:
        raise ManifestError(f"{there} has no {names[0]}: name the file in `path`")
    return [_plain(found[0])]


def narrowed(files: Iterable[TreeFile], containing: Iterable[str] | None) -> list[TreeFile]:
    """Return the files that hold one of the words, none of them too large; None: all do."""
    wanted = None if containing is None else set(containing)
    found = [one for one in files if wanted is None or one.path in wanted]
    for one in found:
        if one.size > MAX_FILE_BYTES:
            raise ManifestError(f"{one.path} is larger than {MAX_FILE_BYTES} bytes")
    if len(found) > MAX_FILES:
        raise ManifestError(f"over {MAX_FILES} files name the images: narrow `path`")
    return found


def words(layout: str, wanted: Iterable[WantedImage]) -> tuple[str, ...]:
    """Return words of which a file must hold one to be of interest; empty: every file is."""
    if layout == "Flux":
        return (MARK,)
    if layout != "Plain":
        return ()
    found: set[str] = set()
    for one in wanted:
        names = [one.key or one.component, one.image.name, *one.repositories]
        found |= {name.rpartition("/")[2] for name in names}
    return tuple(sorted(found))


def _plain(entry: TreeFile) -> TreeFile:
    if entry.kind is not FileKind.FILE:
        raise ManifestError(f"{entry.path} is a {entry.kind}: name the file itself")
    return entry
