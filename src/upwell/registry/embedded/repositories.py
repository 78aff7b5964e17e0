"""Repositories of the registry, each read from its files when it is first asked for."""

import logging
import threading
from collections.abc import Iterator
from pathlib import Path

from upwell.oci import Digest
from upwell.registry.embedded.contents import Contents
from upwell.registry.embedded.integrity import StoredFile
from upwell.registry.embedded.repository import Repository
from upwell.registry.embedded.usage import BLOBS, MANIFESTS, TAGS, StorageUsage

log = logging.getLogger(__name__)


class StoredRepositories:
    """Repositories of the registry; each is read from its files when it is first asked for."""

    def __init__(
        self, root: Path, contents: Contents, usage: StorageUsage, temporary: Path
    ) -> None:
        self._root = root
        self._contents = contents
        self._usage = usage
        self._temporary = temporary
        self._loaded: dict[str, Repository] = {}
        self._damaged: dict[Path, Digest] = {}
        """Names of blobs that are damaged."""
        self._lock = threading.Lock()
        self._loading: dict[str, threading.Lock] = {}
        """Held while one is read: others do not wait for it."""

    def loaded(self, name: str) -> Repository | None:
        """Return a repository that was asked for before; does not block."""
        return self._loaded.get(name)

    def damage(self) -> dict[str, list[str]]:
        """Return what is damaged, of what was asked for or looked at, by repository; blocks."""
        found: dict[str, list[str]] = {}
        for name, one in sorted(self._loaded.items()):
            if damage := one.damage():
                found[name] = damage
        for link, digest in sorted(self._damaged.items()):
            if self._is_still_damaged(link):
                name = str(link.parent.parent.parent.relative_to(self._root))
                found.setdefault(name, []).append(f"blob {digest.short}")
            else:
                self._damaged.pop(link, None)
        return found

    def note_damage(self, digest: Digest) -> None:
        """Note each repository that has a blob which is damaged; blocks."""
        for link in self._contents.links_of(digest):
            is_blob = link.parent.parent.name == BLOBS
            if is_blob and link not in self._damaged and self._is_still_damaged(link):
                log.error("damaged on the disk; not served", extra={"file": str(link)})
                self._damaged[link] = digest

    def files(self) -> Iterator[StoredFile]:
        """Name each blob of each repository; blocks a little at each step."""
        for name in self.all_names():
            for link in (self._root / name / BLOBS).glob("*/*"):
                yield StoredFile(name, link, Digest(link.parent.name, link.name))

    def _is_still_damaged(self, link: Path) -> bool:
        try:
            return self._contents.integrity.is_damaged(link.stat())
        except FileNotFoundError:
            return False

    def find(self, name: str) -> Repository | None:
        """Return a repository that something was pushed to, or None; blocks while it is read."""
        return self._open(name) if self._exists(name) else None

    def create(self, name: str) -> Repository:
        """Return a repository, whether or not something was pushed to it; blocks."""
        return self._open(name)

    def names(self) -> list[str]:
        """List the repositories that hold a manifest, sorted."""
        return sorted(
            name for name in self.all_names() if any((self._root / name / MANIFESTS).glob("*/*"))
        )

    def all_names(self) -> Iterator[str]:
        """Name every repository that something was pushed to."""
        for folder, children, _ in self._root.walk():
            if BLOBS in children or MANIFESTS in children:
                yield str(folder.relative_to(self._root))
            children[:] = [child for child in children if child not in {BLOBS, MANIFESTS, TAGS}]

    def _exists(self, name: str) -> bool:
        folder = self._root / name
        return name in self._loaded or any((folder / kind).is_dir() for kind in (BLOBS, MANIFESTS))

    def _open(self, name: str) -> Repository:
        with self._lock:
            if (known := self._loaded.get(name)) is not None:
                return known
            loading = self._loading.setdefault(name, threading.Lock())
        with loading:
            repository = self._loaded.get(name)
            if repository is None:
                repository = Repository(
                    name, self._root / name, self._contents, self._usage, self._temporary
                )
                with self._lock:
                    self._loaded[name] = repository
                    self._loading.pop(name, None)
        return repository
