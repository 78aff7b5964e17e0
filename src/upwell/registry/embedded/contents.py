"""The content store: each content once, hard-linked into the repositories that may see it."""

import errno
import os
from dataclasses import dataclass
from pathlib import Path

from upwell.oci import Digest
from upwell.registry.embedded.files import make_directories, remove, sync_directory
from upwell.registry.embedded.usage import StorageUsage
from upwell.registry.hosting import StorageQuota


@dataclass(frozen=True, slots=True)
class Allowance:
    """Repository that content is for, and the quota of its namespace."""

    repository: str
    quota: StorageQuota | None = None


class Contents:
    """Files under `root/ALGORITHM/XX/HEX`; every method blocks and is safe in threads.

    Links are made and removed here alone, and counted in `usage`.
    """

    def __init__(self, root: Path, usage: StorageUsage) -> None:
        self._root = root
        self._usage = usage
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
        Raises QuotaExceededError.
        """
        content = self.path(digest)
        try:
            make_directories(content.parent)
            make_directories(link.parent)
            with self._lock:
                self._usage.end(verified)  # no upload any more, but content
                if allowed is not None:
                    present = content if content.exists() else verified
                    self._usage.require(allowed.repository, present.stat(), allowed.quota)
                if not content.exists():
                    verified.rename(content)
                try:
                    self._link(content, link)
                except OSError as error:
                    if error.errno != errno.EMLINK:
                        raise
                    # The file has as many links as the file system allows: start another copy.
                    verified.rename(content)
                    self._link(content, link)
                os.utime(link)  # known content is as young as its last push
            sync_directory(content.parent)
            sync_directory(link.parent)
        finally:
            verified.unlink(missing_ok=True)

    def replace(self, verified: Path, digest: Digest, link: Path) -> None:
        """Take over the file `verified` in place of content that is damaged, and link it anew."""
        with self._lock:
            self._unlink(link)
            self.path(digest).unlink(missing_ok=True)
        self.adopt(verified, digest, link)

    def share(self, source: Path, link: Path, allowed: Allowance) -> bool:
        """Make `link` another name of `source`; False when `source` is not there or is full.

        Raises QuotaExceededError.
        """
        make_directories(link.parent)
        try:
            with self._lock:
                self._usage.require(allowed.repository, source.stat(), allowed.quota)
                self._link(source, link)
                os.utime(link)
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

    @staticmethod
    def _drop_unlinked(content: Path) -> bool:
        try:
            if content.stat().st_nlink > 1:
                return False
        except FileNotFoundError:
            return False
        return remove(content)
