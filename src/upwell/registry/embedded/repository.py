"""One repository: manifests, tags and referrers as files, with an index of them in memory."""

import contextlib
import errno
import logging
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from upwell.oci import Digest, Index, InvalidDigestError, MediaType, parse_manifest
from upwell.registry.embedded.contents import Allowance, Contents
from upwell.registry.embedded.files import (
    make_directories,
    remove,
    sync_directory,
    write_temporary,
)
from upwell.registry.embedded.usage import BLOBS, MANIFESTS, TAGS, StorageUsage
from upwell.registry.errors import DigestMismatchError
from upwell.registry.hosted.documents import content_of, examine
from upwell.registry.hosting import (
    ManifestContentUnknownError,
    ManifestEntry,
    ManifestPush,
    StorageQuota,
)
from upwell.registry.interface import StoredManifest, StoredRepository, StoredTag

log = logging.getLogger(__name__)

type TagHook = Callable[[str, str, ManifestEntry], None]
"""Callback with the repository, the tag and the manifest after a tag was set."""


class Repository:
    """One repository. Methods that change it block, and are safe in threads.

    The maps are an index of the files: whoever reads them on the event loop sees a whole change or
    none, as each is one assignment. While one of the files is damaged nobody knows what it named:
    nothing expires, and no blob counts as unused.
    """

    def __init__(
        self, name: str, root: Path, contents: Contents, usage: StorageUsage, temporary: Path
    ) -> None:
        self.name = name
        self.manifests: dict[Digest, ManifestEntry] = {}
        self.tags: dict[str, Digest] = {}
        self._referrers: dict[Digest, tuple[ManifestEntry, ...]] = {}
        self._children: dict[Digest, frozenset[Digest]] = {}
        """Children of each index, once it was asked for."""
        self.used: dict[Digest, float] = {}
        """Time at which the use of a manifest was noted last, of those that were asked for."""
        self._damaged: dict[Path, str] = {}
        """File -> what it holds, for people."""
        self._root = root
        self._contents = contents
        self._usage = usage
        self._temporary = temporary
        # Makes "the content exists, so keep the manifest" and the order of tag changes atomic.
        self._lock = threading.RLock()
        self._load()

    def blob_link(self, digest: Digest) -> Path:
        """Return the file that shows blob `digest` here, if it is there."""
        return self._root / BLOBS / digest.algorithm / digest.hex

    def manifest_link(self, digest: Digest) -> Path:
        """Return the file that holds manifest `digest`, if it is there."""
        return self._root / MANIFESTS / digest.algorithm / digest.hex

    def damage(self) -> list[str]:
        """Return the manifests and tags that the disk has changed; blocks.

        What was pushed again or deleted since is none of them.
        """
        with self._lock:
            for link in [one for one in self._damaged if one.parent.parent.name == MANIFESTS]:
                self.read(Digest(link.parent.name, link.name))  # healed by a push to another one
            return sorted(self._damaged.values())

    def is_damaged(self, digest: Digest) -> bool:
        """Return True if a manifest is known to be damaged."""
        return bool(self._damaged) and self.manifest_link(digest) in self._damaged

    def has_whole(self, digest: Digest) -> bool:
        """Return True if a manifest is here, and nothing it names is known to be damaged; blocks.

        A file is read for that where damage is known at all.
        """
        if digest not in self.manifests or self.is_damaged(digest):
            return False
        if not (self._damaged or self._contents.integrity.has_damage):
            return True
        raw = self.read(digest)
        named = content_of(parse_manifest(raw)) if raw is not None else ()
        return raw is not None and not any(self._is_known_damaged(one.digest) for one in named)

    def read(self, digest: Digest) -> bytes | None:
        """Return the bytes of a manifest; None when it is not there, or is damaged: it is noted."""
        link = self.manifest_link(digest)
        try:
            raw = link.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            raw = b""
        if digest.matches(raw):
            if link in self._damaged:
                self._recover(link, digest, raw)
            return raw
        self._note_damage(link, f"manifest {digest}")
        return None

    def _recover(self, link: Path, digest: Digest, raw: bytes) -> None:
        """Take in a manifest that is whole again."""
        with self._lock:
            if digest not in self.manifests:
                self._remember(examine(raw, digest, "")[0])
            self._damaged.pop(link, None)

    def referrers(self, subject: Digest) -> list[ManifestEntry]:
        """Return the manifests whose subject is `subject`, in the order of their digests."""
        return sorted(self._referrers.get(subject, ()), key=lambda entry: entry.digest)

    def put_manifest(
        self, push: ManifestPush, tagged: TagHook, quota: StorageQuota | None = None
    ) -> ManifestEntry:
        """Store a manifest and set its tag; see HostedRegistry.put_manifest."""
        with self._lock:
            entry = self.check_manifest(push, quota)
            digest = entry.digest
            link = self.manifest_link(digest)
            if digest in self.manifests and self.read(digest) is not None:
                self._contents.integrity.touch(link)  # its age counts from the last push
            else:
                file = write_temporary(self._temporary, push.raw)
                self._contents.adopt(file, digest, link, Allowance(self.name, quota))
                self._forget(digest)
                self._remember(entry)
                self._damaged.pop(link, None)
            if push.tag is not None:
                self.set_tag(push.tag, digest, tagged)
        return self.manifests[digest]

    def check_manifest(
        self, push: ManifestPush, quota: StorageQuota | None = None
    ) -> ManifestEntry:
        """Return what to remember of a manifest; raises what it is refused for."""
        digest = push.digest or Digest.of(push.raw)
        if not digest.matches(push.raw):
            raise DigestMismatchError(
                self.name, digest, Digest.of(push.raw, algorithm=digest.algorithm)
            )
        entry, needs = examine(push.raw, digest, push.media_type)
        with self._lock:
            missing = [item.digest for item in needs if not self._holds(item.digest)]
            if missing and not push.sparse:
                raise ManifestContentUnknownError(self.name, list(dict.fromkeys(missing)))
            self._require_tag(push.tag, quota)
        return entry

    def set_tag(self, tag: str, digest: Digest, tagged: TagHook) -> bool:
        """Point `tag` at a manifest, atomically; False when there is no such manifest.

        `tagged` is called once the tag is durable, before another change of this repository.
        """
        with self._lock:
            entry = self.manifests.get(digest)
            if entry is None:
                return False
            if self.tags.get(tag) != digest:
                file = write_temporary(self._temporary, str(digest).encode())
                try:
                    folder = self._root / TAGS
                    make_directories(folder)
                    with self._usage.lock:
                        is_new = not (folder / tag).exists()
                        file.rename(folder / tag)
                        self._usage.tagged(folder / tag, int(is_new))
                finally:
                    file.unlink(missing_ok=True)
                sync_directory(folder)
                self.tags[tag] = digest
                self._damaged.pop(folder / tag, None)
            tagged(self.name, tag, entry)
        return True

    def remove_tag(self, tag: str) -> bool:
        """Remove a tag; False when there is no such tag."""
        with self._lock:
            with self._usage.lock:
                removed = remove(self._root / TAGS / tag)
                self._usage.tagged(self._root / TAGS / tag, -int(removed))
            self.tags.pop(tag, None)
            self._damaged.pop(self._root / TAGS / tag, None)
        return removed

    def remove_manifest(self, digest: Digest) -> bool:
        """Remove a manifest, its tags first; False when there is no such manifest."""
        with self._lock:
            for tag in [tag for tag, target in self.tags.items() if target == digest]:
                self.remove_tag(tag)
            removed = self._contents.release(self.manifest_link(digest), digest)
            self._forget(digest)
            self._damaged.pop(self.manifest_link(digest), None)
        return removed

    def expire_tag(self, tag: str, digest: Digest) -> bool:
        """Remove a tag if it still names `digest`."""
        with self._lock:
            return self.tags.get(tag) == digest and self.remove_tag(tag)

    def expire_manifest(self, digest: Digest, before: float) -> bool:
        """Remove a manifest that no tag and no index names and that was pushed before `before`."""
        with self._lock:
            try:
                pushed = self.manifest_link(digest).stat().st_mtime
            except FileNotFoundError:
                return False
            if pushed >= before or digest in self.tags.values() or self._is_child(digest):
                return False
            if self._damaged:
                return False
            return self.remove_manifest(digest)

    def survey(self) -> StoredRepository:
        """Return what is stored here."""
        with self._lock:
            found = [self._stored_manifest(digest) for digest in self.manifests]
            tags = {
                tag: StoredTag(digest, _changed(self._root / TAGS / tag))
                for tag, digest in self.tags.items()
            }
        return StoredRepository(self.name, tags, [one for one in found if one is not None])

    def touch_blob(self, digest: Digest) -> bool:
        """Note that a blob is used, so that it stays while its manifest is pushed; False: gone."""
        with self._lock:
            try:
                self._contents.integrity.touch(self.blob_link(digest))
            except FileNotFoundError:
                return False
            return True

    def touch_manifest(self, digest: Digest) -> None:
        """Note that a manifest is used, so that it stays for as long as a young one."""
        with self._lock, contextlib.suppress(FileNotFoundError):
            self._contents.integrity.touch(self.manifest_link(digest))

    def remove_blob(self, digest: Digest) -> bool:
        """Take a blob out of this repository; False when it is not in it."""
        with self._lock:
            return self._contents.release(self.blob_link(digest), digest)

    def remove_unused_blobs(self, before: float) -> int:
        """Take out the blobs that no manifest names and that were not pushed since `before`."""
        removed = 0
        with self._lock:
            used = set[Digest]()
            for digest in self.manifests:
                raw = self.read(digest)
                if raw is not None:
                    used.update(item.digest for item in content_of(parse_manifest(raw)))
            if self._damaged:
                return 0
            for link in self._root.glob(f"{BLOBS}/*/*"):
                digest = Digest(link.parent.name, link.name)
                if digest not in used and link.stat().st_mtime < before:
                    removed += self.remove_blob(digest)
        return removed

    def _require_tag(self, tag: str | None, quota: StorageQuota | None) -> None:
        if tag is not None and tag not in self.tags:
            with self._usage.lock:
                self._usage.require(self.name, None, quota)

    def _is_child(self, digest: Digest) -> bool:
        for entry in self.manifests.values():
            if not MediaType(entry.media_type).is_index:
                continue
            if entry.digest not in self._children:
                stored = self._stored_manifest(entry.digest)
                if stored is None:
                    continue  # nothing expires while it is damaged
                self._children[entry.digest] = stored.children
            if digest in self._children[entry.digest]:
                return True
        return False

    def _stored_manifest(self, digest: Digest) -> StoredManifest | None:
        raw = self.read(digest)
        if raw is None:
            return None
        link = self.manifest_link(digest)
        found = parse_manifest(raw)
        content = {item.digest: item.size for item in content_of(found)}
        is_index = isinstance(found, Index)
        return StoredManifest(
            digest=digest,
            created=_changed(link),
            size=len(raw),
            children=frozenset(content) if is_index else frozenset(),
            subject=found.subject.digest if found.subject else None,
            blobs={} if is_index else content,
        )

    def _holds(self, digest: Digest) -> bool:
        is_here = digest in self.manifests or self.blob_link(digest).exists()
        return is_here and not self._is_known_damaged(digest)

    def _is_known_damaged(self, digest: Digest) -> bool:
        if digest in self.manifests:
            return self.is_damaged(digest)
        try:
            return self._contents.integrity.is_damaged(self.blob_link(digest).stat())
        except FileNotFoundError:
            return False

    def _remember(self, entry: ManifestEntry) -> None:
        self.manifests[entry.digest] = entry
        if entry.subject is not None:
            others = self._referrers.get(entry.subject, ())
            self._referrers[entry.subject] = (*others, entry)

    def _forget(self, digest: Digest) -> None:
        self._children.pop(digest, None)
        self.used.pop(digest, None)
        entry = self.manifests.pop(digest, None)
        if entry is not None and entry.subject is not None:
            others = self._referrers[entry.subject]
            self._referrers[entry.subject] = tuple(other for other in others if other != entry)

    def _load(self) -> None:
        for file in self._root.glob(f"{MANIFESTS}/*/*"):
            digest = Digest(file.parent.name, file.name)
            raw = self.read(digest)
            if raw is not None:  # a damaged disk must not be served as the truth
                self._remember(examine(raw, digest, "")[0])
            time.sleep(0)  # the event loop waits for no more than one of thousands
        for file in self._root.glob(f"{TAGS}/*"):
            try:
                target = Digest.parse(file.read_text(errors="replace"))
            except InvalidDigestError:
                self._note_damage(file, f"tag {file.name}")
                continue
            if target in self.manifests:
                self.tags[file.name] = target

    def _note_damage(self, file: Path, what: str) -> None:
        if file not in self._damaged:
            extra = {"repository": self.name, "what": what, "file": str(file)}
            log.error("damaged on the disk; nothing of the repository is removed", extra=extra)
            self._damaged[file] = what


def _changed(file: Path) -> datetime:
    return datetime.fromtimestamp(file.stat().st_mtime, UTC)
