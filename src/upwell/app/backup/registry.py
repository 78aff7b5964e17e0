"""Content of the embedded registry that a backup has: what tags and objects reach."""

from collections.abc import Collection, Iterator
from pathlib import Path

from upwell.backup.interface import BackupFile, BackupPart
from upwell.machine.private_file import write_private
from upwell.oci import (
    Descriptor,
    Digest,
    Index,
    InvalidDigestError,
    InvalidManifestError,
    Manifest,
    parse_manifest,
)
from upwell.registry.embedded.usage import BLOBS, MANIFESTS, TAGS, folders_of_repositories

type _Manifests = dict[Digest, Manifest | Index]


class RegistryContent:
    """Files of the registry below a data folder; tags are copied into `drafts`, as they may move.

    `named` are the digests that objects name; None: any manifest may be named.
    """

    def __init__(self, data: Path, drafts: Path, named: Collection[str] | None) -> None:
        self._data = data
        self._root = data / "registry"
        self._drafts = drafts
        self._named = named
        self._seen: set[Path] = set()

    def files(self) -> Iterator[BackupFile]:
        """Yield the files of what is reachable.

        Uploads under way, and blobs that no such manifest names, are left out. Content that several
        repositories have is one file with several names, in the backup as on the disk.
        """
        for repository in folders_of_repositories(self._root / "repositories"):
            yield from self._repository(repository)

    def _repository(self, repository: Path) -> Iterator[BackupFile]:
        tags = {path: path.read_text().strip() for path in sorted((repository / TAGS).glob("*"))}
        manifests = dict(_manifests(repository))
        wanted = {
            digest
            for digest in manifests
            if self._named is None or str(digest) in self._named or str(digest) in tags.values()
        }
        reached = _reached(manifests, wanted)
        blobs = {item.digest for digest in reached for item in _content(manifests[digest])}
        for digest in sorted(reached):
            yield from self._content(repository / MANIFESTS, digest)
        for digest in sorted(blobs):
            yield from self._content(repository / BLOBS, digest)
        for path, target in tags.items():
            copy = self._drafts / f"tag-{len(self._seen)}"
            self._seen.add(copy)
            write_private(copy, target, synced=False)
            yield self._file(path, copy)

    def _content(self, folder: Path, digest: Digest) -> Iterator[BackupFile]:
        link = folder / digest.algorithm / digest.hex
        if not link.is_file():
            return
        content = self._root / "blobs" / digest.algorithm / digest.hex[:2] / digest.hex
        if content not in self._seen and content.is_file():
            self._seen.add(content)
            yield self._file(content, content)
        yield self._file(link, link)

    def _file(self, path: Path, source: Path) -> BackupFile:
        return BackupFile(source, str(path.relative_to(self._data)), BackupPart.REGISTRY)


def _reached(manifests: _Manifests, wanted: Collection[Digest]) -> set[Digest]:
    """Return what is wanted, with the children of indexes and what refers to any of them."""
    reached = set(wanted)
    while True:
        children = {item.digest for one in reached for item in _content(manifests[one])}
        more = {
            digest
            for digest, found in manifests.items()
            if digest in children or (found.subject and found.subject.digest in reached)
        }
        if more <= reached:
            return reached
        reached |= more


def _content(found: Manifest | Index) -> list[Descriptor]:
    return list(found.manifests if isinstance(found, Index) else found.references)


def _manifests(repository: Path) -> Iterator[tuple[Digest, Manifest | Index]]:
    for path in sorted((repository / MANIFESTS).glob("*/*")):
        try:
            yield Digest(path.parent.name, path.name), parse_manifest(path.read_bytes())
        except (InvalidManifestError, InvalidDigestError, FileNotFoundError):
            continue  # damaged or removed meanwhile: the server serves neither
