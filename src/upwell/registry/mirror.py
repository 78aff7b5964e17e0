"""Copies of upstream images in the embedded registry.

A build pulls its base from here: each byte comes over the network once for all builds, a push
finds the base's layers already stored and in their compressed form, and an upstream that is away
or rate-limited stops no build.

One namespace's copy is no other's: a build is given a view (`oci/copies`) that holds what was
fetched without a login, or what the source has given to the build's own namespace. The bytes lie
there once, whoever may see them.
"""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from weakref import WeakValueDictionary

from upwell.oci import Descriptor, Digest, Index, Manifest, Platform, Reference
from upwell.oci.copies import ROOT, private_view, public_view
from upwell.oci.index_tags import index_tag
from upwell.registry.announced import announced
from upwell.registry.attachments.mirrored import MirroredImage
from upwell.registry.errors import (
    BlobUnknownError,
    InvalidAnswerError,
    ManifestUnknownError,
    PlatformMissingError,
)
from upwell.registry.hosting import HostedRegistry, ManifestPush, UploadUnknownError
from upwell.registry.interface import Registry, RequestAccess

type NoteMirrored = Callable[[MirroredImage], None]
"""Takes in that an image is used that has a copy here; never blocks."""


class Mirror:
    """Brings images of `platform` into the embedded registry, each digest once.

    `note` is told of each that is fetched: what lies beside it comes along later.
    """

    def __init__(
        self,
        remote: Registry,
        hosted: HostedRegistry,
        platform: Platform,
        note: NoteMirrored = lambda _image: None,
    ) -> None:
        self._note = note
        self._remote = remote
        self._hosted = hosted
        self._platform = platform
        self._locks: WeakValueDictionary[Digest, asyncio.Lock] = WeakValueDictionary()

    async def fetch(self, reference: Reference, access: RequestAccess, namespace: str) -> Reference:
        """Return an internal reference to the image that `reference` pins, copying what is missing.

        It is in a view that `namespace` may read. What is in none of them its source is asked for,
        with `access`, whether there is a copy or not. An index comes as the manifest of our
        platform. An internal image is returned as it is. Raises RegistryError.
        """
        digest = reference.digest
        if reference.registry == self._hosted.host or digest is None:
            return reference
        store = mirror_repository(reference)
        async with self._locks.setdefault(digest, asyncio.Lock()):
            seen = await self._seen(views(reference, namespace), digest)
            if seen is None:
                manifest = await self._stored(reference, store, access)
                view = await self._view_of(reference, access, namespace)
                await self._show(reference, view, manifest, access)
                await self._remember(view, digest, manifest.digest)
                seen = view, manifest.digest
        view, known = seen
        digests = tuple(dict.fromkeys((digest, known)))
        self._note(MirroredImage(reference, store, digests, access))
        return Reference(self._hosted.host, view, digest=known)

    async def _seen(self, repositories: Sequence[str], digest: Digest) -> tuple[str, Digest] | None:
        """Return the first of the repositories that has the image, and its manifest there."""
        for repository in repositories:
            known = await self._known(repository, digest)
            if known is not None:
                return repository, known
        return None

    async def _stored(self, reference: Reference, store: str, access: RequestAccess) -> Manifest:
        """Return our platform's manifest, in the store afterwards, as its source gives it.

        A copy spares the bytes, not the question: the source says who may read what.
        """
        digest = reference.digest
        known = await self._known(store, digest) if digest is not None else None
        if known is not None:
            await self._remote.resolve(reference, access)
            with suppress(ManifestUnknownError):  # it is met as damaged, or was deleted meanwhile
                found = await self._hosted.manifest(
                    Reference(self._hosted.host, store, digest=known)
                )
                if isinstance(found, Index):
                    raise InvalidAnswerError(str(reference), "an index inside an index")
                return found
        manifest = await self._manifest(reference, access)
        await self._copy(reference, store, manifest, access)
        if digest is not None:
            await self._remember(store, digest, manifest.digest)
        return manifest

    async def _show(
        self, reference: Reference, view: str, manifest: Manifest, access: RequestAccess
    ) -> None:
        """Put an image of the store into a view, by links to its content."""
        store = mirror_repository(reference)
        for blob in manifest.references:
            if blob.urls or await self._hosted.mount_blob(view, blob.digest, store):
                continue
            await self._copy_blob(reference, view, blob, access)
        await self._put(view, manifest)

    async def _view_of(self, reference: Reference, access: RequestAccess, namespace: str) -> str:
        """Return the view that shows what is fetched: with any login at hand, the namespace's."""
        public, private = views(reference, namespace)
        return private if await self._remote.logins(reference, access) else public

    async def _known(self, repository: str, digest: Digest) -> Digest | None:
        """Return our platform's manifest of the image `digest`, if it is here."""
        if await self._hosted.has_manifest(repository, digest):
            return digest
        tag = index_tag(digest, self._platform)
        known = await self._hosted.tag_digest(repository, tag) if tag else None
        # What is damaged is as good as not here: its source may have it whole.
        has_it = known is not None and await self._hosted.has_manifest(repository, known)
        return known if has_it else None

    async def _remember(self, repository: str, index: Digest, manifest: Digest) -> None:
        tag = index_tag(index, self._platform)
        if tag and index != manifest:
            with suppress(ManifestUnknownError):  # deleted meanwhile: the next fetch finds out
                await self._hosted.tag(repository, tag, manifest)

    async def _manifest(self, reference: Reference, access: RequestAccess) -> Manifest:
        return await platform_manifest(self._remote, reference, access, self._platform)

    async def _copy(
        self, reference: Reference, repository: str, manifest: Manifest, access: RequestAccess
    ) -> None:
        if await self._hosted.has_manifest(repository, manifest.digest):
            return
        for blob in manifest.references:
            if not blob.urls:  # a foreign layer is fetched from where its urls say
                await self._copy_blob(reference, repository, blob, access)
        await self._put(repository, manifest)

    async def _put(self, repository: str, manifest: Manifest) -> None:
        await self._hosted.put_manifest(
            ManifestPush(
                repository,
                manifest.raw,
                str(manifest.media_type),
                digest=manifest.digest,
                actor="mirror",
            )
        )

    async def _copy_blob(
        self, reference: Reference, repository: str, blob: Descriptor, access: RequestAccess
    ) -> None:
        digest = blob.digest
        try:
            await self._hosted.blob_size(repository, digest)
        except BlobUnknownError:
            upload = await self._hosted.start_upload(repository, digest.algorithm)
            try:
                async with self._remote.open_blob(reference, digest, access) as chunks:
                    bounded = announced(chunks, blob, reference.name)
                    await self._hosted.append(repository, upload, bounded)
                await self._hosted.finish_upload(repository, upload, digest)
            except BaseException:
                with suppress(UploadUnknownError):  # what was too much, or wrong, is gone
                    await self._hosted.cancel_upload(repository, upload)
                raise


async def platform_manifest(
    registry: Registry, reference: Reference, access: RequestAccess, platform: Platform
) -> Manifest:
    """Return an image's manifest; of an index, that of the platform. Raises a RegistryError."""
    found = await registry.manifest(reference, access)
    if isinstance(found, Index):
        entry = found.select(platform)
        if entry is None:
            raise PlatformMissingError(str(reference), str(platform))
        found = await registry.manifest(reference.with_digest(entry.digest), access)
    if isinstance(found, Index):
        raise InvalidAnswerError(str(reference), "an index inside an index")
    return found


def views(reference: Reference, namespace: str) -> tuple[str, str]:
    """Return the repositories with what a namespace may read of an upstream repository's copies."""
    store = mirror_repository(reference)
    return public_view(store), private_view(store, namespace)


def mirrored_copy(reference: Reference, host: str) -> Reference | None:
    """Return where the mirror of the registry `host` keeps an image; None: it keeps it not."""
    if reference.registry == host:
        return None
    return Reference(host, mirror_repository(reference), digest=reference.digest)


def is_mirror(repository: str) -> bool:
    """Return True if an internal repository mirrors an upstream one."""
    return repository.startswith(f"{ROOT}/") and repository.count("/") > 1


def mirror_repository(reference: Reference) -> str:
    """Return the internal repository that stores the copies of an upstream one.

    It has at least three parts, so that it is no ImageStream's, which has two.
    """
    host = reference.registry.lower().replace(":", "-").strip("[]")
    return f"{ROOT}/{host}/{reference.repository}"
