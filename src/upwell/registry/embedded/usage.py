"""Bytes that each namespace has in the registry, counted as files come and go.

A namespace has what its repositories link to: each content once, however many of them do, and each
again for another namespace, whoever pushed it first. Tags and uploads count as files of their own.
Every file counts in blocks of the disk, so that many small ones are not for nothing.

What is counted is taken from the files when it is first asked for, so that nothing need be kept,
and a killed process leaves no count that is wrong.
"""

import os
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from upwell.registry.hosted.quotas import (
    BLOCK,
    charge,
    namespace_of,
    require_another_upload,
    require_quota,
)
from upwell.registry.hosting import StorageQuota

BLOBS, MANIFESTS, TAGS = "_blobs", "_manifests", "_tags"
# A component of a repository name starts with a letter or a digit, so these are never one.


@dataclass(slots=True)
class _Contents:
    """Contents that the repositories of one namespace link to."""

    is_whole: bool = False
    """True once all repositories are counted."""
    repositories: set[Path] = field(default_factory=set)
    """Folders of those that are, until all are."""
    links: dict[int, int] = field(default_factory=dict)
    """Inode -> number of links."""
    size: int = 0
    """Bytes of contents and tags."""

    def link(self, facts: os.stat_result) -> None:
        if facts.st_ino not in self.links:
            self.size += charge(facts.st_size)
        self.links[facts.st_ino] = self.links.get(facts.st_ino, 0) + 1

    def unlink(self, facts: os.stat_result) -> None:
        left = self.links.get(facts.st_ino, 0) - 1
        if left > 0:
            self.links[facts.st_ino] = left
        elif self.links.pop(facts.st_ino, None) is not None:
            self.size -= charge(facts.st_size)

    def take_in(self, repository: Path) -> None:
        if self.is_whole or repository in self.repositories:
            return
        for kind in (BLOBS, MANIFESTS):
            for link in repository.glob(f"{kind}/*/*"):
                self.link(link.stat())
        self.size += sum(BLOCK for _ in repository.glob(f"{TAGS}/*"))
        self.repositories.add(repository)


class StorageUsage:
    """Counts for one registry; methods are safe in threads, and block where they read files.

    `lock` is held by whoever makes or removes a link or a tag, until it is told here.
    """

    def __init__(self, repositories: Path, uploads: Path) -> None:
        self.lock = threading.RLock()
        self._repositories = repositories
        self._contents: dict[str, _Contents] = {}
        self._uploads = _OpenUploads(uploads)

    def used(self, namespace: str) -> int:
        """Return the bytes that a namespace has, counted already or now."""
        found = self._contents.setdefault(namespace, _Contents())
        while not self._is_whole(namespace, found):
            for repository in self._uncounted(namespace, found):
                with self.lock:  # anew for each: pushes wait for no more than one
                    found.take_in(repository)
        return found.size + self._uploads.size(namespace)

    def require(
        self, repository: str, facts: os.stat_result | None, quota: StorageQuota | None
    ) -> None:
        """Raise QuotaExceededError when a link to a file is more than there may be.

        Without `facts` it is a tag.
        """
        if quota is None:
            return
        namespace = namespace_of(repository)
        used = self.used(namespace)
        if facts is not None and facts.st_ino in self._contents[namespace].links:
            return
        require_quota(quota, repository, used, charge(facts.st_size if facts else 0))

    def linked(self, link: Path, facts: os.stat_result) -> None:
        """Count a link that was made."""
        if found := self._counted(link):
            found.link(facts)

    def unlinked(self, link: Path, facts: os.stat_result) -> None:
        """Count a link that was removed."""
        if found := self._counted(link):
            found.unlink(facts)

    def tagged(self, tag: Path, number: int) -> None:
        """Count a tag that was made (1) or removed (-1)."""
        if found := self._counted(tag):
            found.size += number * BLOCK

    def begin(self, repository: str, upload: Path, owner: str) -> None:
        """Count an upload of a client, or, without an owner, of the server.

        Raises TooManyUploadsError.
        """
        self._uploads.begin(namespace_of(repository), upload, owner)

    def grow(self, repository: str, upload: Path, size: int, quota: StorageQuota | None) -> None:
        """Count what an upload is about to have; raises QuotaExceededError."""
        namespace = namespace_of(repository)
        if quota is None:
            self._uploads.put(namespace, upload, size)
            return
        with self.lock:  # each counts those before it
            more = charge(size) - self._uploads.charged(namespace, upload)
            require_quota(quota, repository, self.used(namespace), more)
            self._uploads.put(namespace, upload, size)

    def end(self, upload: Path) -> None:
        """Forget an upload, which is over, or becomes content."""
        self._uploads.end(upload)

    def _counted(self, file: Path) -> _Contents | None:
        """Return where a file of a repository is counted; None: it will be, with all others."""
        found = self._contents.get(file.relative_to(self._repositories).parts[0])
        if found is None or found.is_whole:
            return found
        folder = file.parent
        while folder.name not in {BLOBS, MANIFESTS, TAGS}:
            folder = folder.parent
        return found if folder.parent in found.repositories else None

    def _is_whole(self, namespace: str, found: _Contents) -> bool:
        if not found.is_whole:
            with self.lock:
                if not self._uncounted(namespace, found):
                    found.is_whole = True
                    found.repositories.clear()
        return found.is_whole

    def _uncounted(self, namespace: str, found: _Contents) -> list[Path]:
        return [
            one
            for one in folders_of_repositories(self._repositories / namespace)
            if one not in found.repositories
        ]


class _OpenUploads:
    """Uploads that are open, of all namespaces."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._lock = threading.Lock()
        self._charged: dict[str, dict[Path, int]] = {}
        """Namespace -> upload -> what it counts as."""
        self._owners: dict[Path, str] = {}
        """Upload -> client, of those that were begun in this process."""
        self._by_owner: Counter[str] = Counter()

    def size(self, namespace: str) -> int:
        with self._lock:
            return sum(self._of(namespace).values())

    def charged(self, namespace: str, upload: Path) -> int:
        with self._lock:
            return self._of(namespace).get(upload, 0)

    def begin(self, namespace: str, upload: Path, owner: str) -> None:
        with self._lock:
            known = self._of(namespace)
            if owner:
                require_another_upload(namespace, owner, len(known), self._by_owner[owner])
            known[upload] = 0
            if owner:
                self._owners[upload] = owner
                self._by_owner[owner] += 1

    def put(self, namespace: str, upload: Path, size: int) -> None:
        with self._lock:
            self._of(namespace)[upload] = charge(size)

    def end(self, upload: Path) -> None:
        with self._lock:
            owner = self._owners.pop(upload, None)
            if owner is not None:
                self._by_owner[owner] -= 1
                if not self._by_owner[owner]:
                    del self._by_owner[owner]
            self._charged.get(upload.parent.name.partition("+")[0], {}).pop(upload, None)

    def _of(self, namespace: str) -> dict[Path, int]:
        known = self._charged.get(namespace)
        if known is None:
            folders = (self._root / namespace, *self._root.glob(f"{namespace}+*"))
            known = {one: _charge_of(one) for each in folders for one in each.glob("*")}
            self._charged[namespace] = known
        return known


def _charge_of(file: Path) -> int:
    try:
        return charge(file.stat().st_size)
    except FileNotFoundError:  # it has ended meanwhile
        return 0


def folders_of_repositories(root: Path) -> Iterator[Path]:
    """Name the folders of all repositories below `root`."""
    kinds = {BLOBS, MANIFESTS, TAGS}
    for folder, children, _ in root.walk():
        if not kinds.isdisjoint(children):
            yield folder
        children[:] = [child for child in children if child not in kinds]
