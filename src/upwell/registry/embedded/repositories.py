"""Repositories: manifests, tags and referrers as files, with an index of them in memory."""

import os
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

from upwell.oci import (
    Descriptor,
    Digest,
    Index,
    InvalidDigestError,
    InvalidManifestError,
    Manifest,
    MediaType,
    parse_manifest,
)
from upwell.registry.embedded.contents import Contents
from upwell.registry.embedded.files import (
    make_directories,
    remove,
    sync_directory,
    write_temporary,
)
from upwell.registry.errors import DigestMismatchError
from upwell.registry.hosting import (
    ManifestContentUnknownError,
    ManifestEntry,
    ManifestInvalidError,
    ManifestPush,
)
from upwell.registry.interface import StoredManifest, StoredRepository, StoredTag

_BLOBS = "_blobs"
_MANIFESTS = "_manifests"
_TAGS = "_tags"
# A component of a repository name starts with a letter or a digit, so these are never one.

type TagHook = Callable[[str, str, ManifestEntry], None]
"""Callback with the repository, the tag and the manifest after a tag was set."""


class Repository:
    """One repository. Methods that change it block, and are safe in threads.

    The maps are an index of the files: whoever reads them on the event loop sees a whole change or
    none, as each is one assignment.
    """

    def __init__(self, name: str, root: Path, contents: Contents, temporary: Path) -> None:
        self.name = name
        self.manifests: dict[Digest, ManifestEntry] = {}
        self.tags: dict[str, Digest] = {}
        self._referrers: dict[Digest, tuple[ManifestEntry, ...]] = {}
        self._children: dict[Digest, frozenset[Digest]] = {}
        """Children of each index, once it was asked for."""
        self._root = root
        self._contents = contents
        self._temporary = temporary
        # Makes "the content exists, so keep the manifest" and the order of tag changes atomic.
        self._lock = threading.RLock()
        self._load()

    def blob_link(self, digest: Digest) -> Path:
        """Return the file that shows blob `digest` here, if it is there."""
        return self._root / _BLOBS / digest.algorithm / digest.hex

    def manifest_link(self, digest: Digest) -> Path:
        """Return the file that holds manifest `digest`, if it is there."""
        return self._root / _MANIFESTS / digest.algorithm / digest.hex

    def referrers(self, subject: Digest) -> list[ManifestEntry]:
        """Return the manifests whose subject is `subject`, in the order of their digests."""
        return sorted(self._referrers.get(subject, ()), key=lambda entry: entry.digest)

    def put_manifest(self, push: ManifestPush, tagged: TagHook) -> ManifestEntry:
        """Store a manifest and set its tag; see HostedRegistry.put_manifest."""
        digest = push.digest or Digest.of(push.raw)
        if not digest.matches(push.raw):
            raise DigestMismatchError(
                self.name, digest, Digest.of(push.raw, algorithm=digest.algorithm)
            )
        entry, needs = _examine(push.raw, digest, push.media_type)
        with self._lock:
            missing = [item.digest for item in needs if not self._holds(item.digest)]
            if missing and not push.sparse:
                raise ManifestContentUnknownError(self.name, list(dict.fromkeys(missing)))
            if digest not in self.manifests:
                file = write_temporary(self._temporary, push.raw)
                self._contents.adopt(file, digest, self.manifest_link(digest))
                self._remember(entry)
            else:
                os.utime(self.manifest_link(digest))  # its age counts from the last push
            if push.tag is not None:
                self.set_tag(push.tag, digest, tagged)
        return self.manifests[digest]

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
                    folder = self._root / _TAGS
                    make_directories(folder)
                    file.rename(folder / tag)
                finally:
                    file.unlink(missing_ok=True)
                sync_directory(folder)
                self.tags[tag] = digest
            tagged(self.name, tag, entry)
        return True

    def remove_tag(self, tag: str) -> bool:
        """Remove a tag; False when there is no such tag."""
        with self._lock:
            removed = remove(self._root / _TAGS / tag)
            self.tags.pop(tag, None)
        return removed

    def remove_manifest(self, digest: Digest) -> bool:
        """Remove a manifest, its tags first; False when there is no such manifest."""
        with self._lock:
            for tag in [tag for tag, target in self.tags.items() if target == digest]:
                self.remove_tag(tag)
            removed = self._contents.release(self.manifest_link(digest), digest)
            self._forget(digest)
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
            return self.remove_manifest(digest)

    def survey(self) -> StoredRepository:
        """Return what is stored here."""
        with self._lock:
            manifests = [self._stored_manifest(digest) for digest in self.manifests]
            tags = {
                tag: StoredTag(digest, _changed(self._root / _TAGS / tag))
                for tag, digest in self.tags.items()
            }
        return StoredRepository(self.name, tags, manifests)

    def touch_blob(self, digest: Digest) -> bool:
        """Note that a blob is used, so that it stays while its manifest is pushed; False: gone."""
        with self._lock:
            try:
                os.utime(self.blob_link(digest))
            except FileNotFoundError:
                return False
            return True

    def remove_blob(self, digest: Digest) -> bool:
        """Take a blob out of this repository; False when it is not in it."""
        with self._lock:
            return self._contents.release(self.blob_link(digest), digest)

    def remove_unused_blobs(self, before: float) -> int:
        """Take out the blobs that no manifest names and that were not pushed since `before`."""
        removed = 0
        with self._lock:
            used = set[Digest]()
            for entry in self.manifests.values():
                raw = self.manifest_link(entry.digest).read_bytes()
                used.update(item.digest for item in _content(parse_manifest(raw)))
            for link in self._root.glob(f"{_BLOBS}/*/*"):
                digest = Digest(link.parent.name, link.name)
                if digest not in used and link.stat().st_mtime < before:
                    removed += self.remove_blob(digest)
        return removed

    def _is_child(self, digest: Digest) -> bool:
        for entry in self.manifests.values():
            if not MediaType(entry.media_type).is_index:
                continue
            if entry.digest not in self._children:
                self._children[entry.digest] = self._stored_manifest(entry.digest).children
            if digest in self._children[entry.digest]:
                return True
        return False

    def _stored_manifest(self, digest: Digest) -> StoredManifest:
        link = self.manifest_link(digest)
        raw = link.read_bytes()
        found = parse_manifest(raw)
        content = {item.digest: item.size for item in _content(found)}
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
        return digest in self.manifests or self.blob_link(digest).exists()

    def _remember(self, entry: ManifestEntry) -> None:
        self.manifests[entry.digest] = entry
        if entry.subject is not None:
            others = self._referrers.get(entry.subject, ())
            self._referrers[entry.subject] = (*others, entry)

    def _forget(self, digest: Digest) -> None:
        self._children.pop(digest, None)
        entry = self.manifests.pop(digest, None)
        if entry is not None and entry.subject is not None:
            others = self._referrers[entry.subject]
            self._referrers[entry.subject] = tuple(other for other in others if other != entry)

    def _load(self) -> None:
        for file in self._root.glob(f"{_MANIFESTS}/*/*"):
            digest = Digest(file.parent.name, file.name)
            raw = file.read_bytes()
            if digest.matches(raw):  # a damaged disk must not be served as the truth
                self._remember(_examine(raw, digest, "")[0])
        for file in self._root.glob(f"{_TAGS}/*"):
            try:
                target = Digest.parse(file.read_text(errors="replace"))
            except InvalidDigestError:
                continue
            if target in self.manifests:
                self.tags[file.name] = target


class StoredRepositories:
    """Repositories of the registry; each is read from its files when it is first asked for."""

    def __init__(self, root: Path, contents: Contents, temporary: Path) -> None:
        self._root = root
        self._contents = contents
        self._temporary = temporary
        self._loaded: dict[str, Repository] = {}
        self._lock = threading.Lock()

    def loaded(self, name: str) -> Repository | None:
        """Return a repository that was asked for before; does not block."""
        return self._loaded.get(name)

    def find(self, name: str) -> Repository | None:
        """Return a repository that something was pushed to, or None."""
        with self._lock:
            return self._open(name) if self._exists(name) else None

    def create(self, name: str) -> Repository:
        """Return a repository, whether or not something was pushed to it."""
        with self._lock:
            return self._open(name)

    def names(self) -> list[str]:
        """List the repositories that hold a manifest, sorted."""
        return sorted(
            name for name in self.all_names() if any((self._root / name / _MANIFESTS).glob("*/*"))
        )

    def all_names(self) -> Iterator[str]:
        """Name every repository that something was pushed to."""
        for folder, children, _ in self._root.walk():
            if _BLOBS in children or _MANIFESTS in children:
                yield str(folder.relative_to(self._root))
            children[:] = [child for child in children if child not in {_BLOBS, _MANIFESTS, _TAGS}]

    def _exists(self, name: str) -> bool:
        folder = self._root / name
        return name in self._loaded or any(
            (folder / kind).is_dir() for kind in (_BLOBS, _MANIFESTS)
        )

    def _open(self, name: str) -> Repository:
        repository = self._loaded.get(name)
        if repository is None:
            repository = Repository(name, self._root / name, self._contents, self._temporary)
            self._loaded[name] = repository
        return repository


def _changed(file: Path) -> datetime:
    return datetime.fromtimestamp(file.stat().st_mtime, UTC)


def _examine(raw: bytes, digest: Digest, media_type: str) -> tuple[ManifestEntry, list[Descriptor]]:
    """Check a manifest; return what to remember of it, and the content that it needs.

    The document alone decides what it is (only OCI documents may leave their media type out, and
    their fields tell which they are), so that the stored file needs no record beside it.
    """
    try:
        manifest = parse_manifest(raw)
    except InvalidManifestError as error:
        raise ManifestInvalidError(str(error)) from error
    declared = media_type.split(";", maxsplit=1)[0].strip()
    if declared in set(MediaType) and declared != manifest.media_type:
        raise ManifestInvalidError(f"manifest: sent as {declared}, but is {manifest.media_type}")
    default_type = "" if isinstance(manifest, Index) else manifest.config.media_type
    entry = ManifestEntry(
        digest=digest,
        media_type=str(manifest.media_type),
        size=len(raw),
        subject=manifest.subject.digest if manifest.subject else None,
        artifact_type=manifest.artifact_type or default_type,
        annotations=manifest.annotations,
    )
    return entry, _content(manifest)


def _content(manifest: Manifest | Index) -> list[Descriptor]:
    """Return what must be stored beside a manifest: all but foreign layers, which have URLs."""
    content = manifest.manifests if isinstance(manifest, Index) else manifest.references
    return [item for item in content if not item.urls]
