"""The content store: each content once, hard-linked into the repositories that may see it."""

import errno
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from upwell.oci import Digest
from upwell.registry.embedded.files import make_directories, remove, sync_directory
from upwell.registry.embedded.integrity import Integrity
from upwell.registry.embedded.usage import (
    BLOBS,
    MANIFESTS,
    StorageUsage,
    folders_of_repositories,
)
from upwell.registry.hosting import StorageQuota


@dataclass(frozen=True, slots=True)
class Allowance:
    """Repository that content is for, and the quota of its namespace."""

    repository: str
    quota: StorageQuota | None = None


class Contents:
    """Files under `root/ALGORITHM/XX/HEX`; every method blocks and is safe in threads.

    Links are made and removed here alone, below the folder `repositories`, and counted in `usage`.
    """

    def __init__(
        self, root: Path, repositories: Path, usage: StorageUsage, integrity: Integrity
    ) -> None:
        self._root = root
        self._repositories = repositories
        self._usage = usage
        self.integrity = integrity
        # Guards "no link is left, so remove the content" against a link being made meanwhile.
        self._lock = usage.lock

    def path(self, digest: Digest) -> Path:
        """Return where the content is or would be."""
        return self._root / digest.algorithm / digest.hex[:2] / digest.hex

    def adopt(
        self, verified: Path, digest: Digest, link: Path, allowed: Allowance | None = None
    ) -> None:
        """Take over the file `verified`, synced and known to be `digest`, and link it.

        The file is gone afterwards, whether the content was new, was known, or could not be kept.
        Content that is known and that the disk has changed is replaced in every repository, so it
        is hashed again.
        Raises QuotaExceededError.
        """
        content = self.path(digest)
        try:
            make_directories(content.parent)
            make_directories(link.parent)
            damaged = not self._are_whole((content, link), digest)
            with self._lock:
                self._usage.end(verified)  # no upload any more, but content
                if allowed is not None:
                    present = verified if damaged or not content.exists() else content
                    self._usage.require(allowed.repository, present.stat(), allowed.quota)
                if damaged:
                    self._heal(verified, digest)
                elif not content.exists():
                    self._take(verified, content)
                try:
                    self._link(content, link)
                except OSError as error:
                    if error.errno != errno.EMLINK:
                        raise
                    # The file has as many links as the file system allows: start another copy.
                    self._take(verified, content)
                    self._link(content, link)
                self.integrity.touch(link)  # known content is as young as its last push
            sync_directory(content.parent)
            sync_directory(link.parent)
        finally:
            verified.unlink(missing_ok=True)

    def _are_whole(self, files: Iterable[Path], digest: Digest) -> bool:
        """Return False if one of the files is there, and damaged; blocks while they are hashed.

        What is known of them does not count: whoever brings the content may know that it is not.
        """
        looked_at = set[int]()
        for file in files:
            with suppress(FileNotFoundError):
                inode = file.stat().st_ino
                if inode not in looked_at and not self.integrity.check_again(file, digest):
                    return False
                looked_at.add(inode)
        return True

    def _take(self, verified: Path, content: Path) -> None:
        verified.rename(content)
        self.integrity.note_whole(content.stat())

    def _heal(self, verified: Path, digest: Digest) -> None:
        """Put a file in the place of what is damaged, under all names that this has."""
        content = self.path(digest)
        self._take(verified, content)
        for link in self.links_of(digest):
            if self.integrity.is_damaged(link.stat()):
                self._unlink(link)
                try:
                    self._link(content, link)
                except OSError as error:
                    if error.errno != errno.EMLINK:
                        raise

    def links_of(self, digest: Digest) -> list[Path]:
        """Return the names of content in all repositories."""
        name = Path(digest.algorithm, digest.hex)
        links = (
            folder / kind / name
            for folder in folders_of_repositories(self._repositories)
            for kind in (BLOBS, MANIFESTS)
        )
        return [link for link in links if link.exists()]

    def share(self, source: Path, link: Path, allowed: Allowance) -> bool:
        """Make `link` another name of `source`; False when `source` is not there or is full.

        So it is with one that is damaged. Raises QuotaExceededError.
        """
        make_directories(link.parent)
        try:
            with self._lock:
                if self.integrity.is_damaged(source.stat()):
                    return False
                self._usage.require(allowed.repository, source.stat(), allowed.quota)
                self._link(source, link)
                self.integrity.touch(link)
        except OSError as error:
            if error.errno in {errno.ENOENT, errno.EMLINK}:
                return False
            raise
        sync_directory(link.parent)
        return True

    def release(self, link: Path, digest: Digest) -> bool:
        """Remove a link, and the content with the last one; False when there is no such link."""
        with self._lock:
            if not self._unlink(link):
                return False
            sync_directory(link.parent)
            self._drop_unlinked(self.path(digest))
        return True

    def collect(self, before: float) -> int:
        """Remove content that no repository links to, left by a crash; return how many files.

        Content younger than the time `before` stays.
        """
        collected = 0
        for content in self._root.glob("*/*/*"):
            with self._lock:
                if content.stat().st_mtime < before and self._drop_unlinked(content):
                    collected += 1
        return collected

    def _link(self, content: Path, link: Path) -> None:
        try:
            link.hardlink_to(content)
        except FileExistsError:
            return  # content-addressed: what is there is the same
        self._usage.linked(link, link.stat())

    def _unlink(self, link: Path) -> bool:
        """Remove a link; False when there is none."""
        try:
            facts = link.stat()
            link.unlink()
        except FileNotFoundError:
            return False
        self._usage.unlinked(link, facts)
        return True

    def _drop_unlinked(self, content: Path) -> bool:
        try:
            facts = content.stat()
        except FileNotFoundError:
            return False
        if facts.st_nlink > 1:
            return False
        self.integrity.forget(facts)
        return remove(content)
