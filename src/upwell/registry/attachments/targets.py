"""Targets of artifacts, such as signatures: the embedded registry, and all others."""

import logging
from http import HTTPStatus
from typing import Protocol

from upwell.oci import Descriptor, Digest, Manifest, Reference
from upwell.registry.client.push import OpenContent, RegistryPusher
from upwell.registry.errors import BlobUnknownError, RegistryRejectedError
from upwell.registry.hosting import HostedRegistry, ManifestPush
from upwell.registry.interface import Registry, RequestAccess
from upwell.registry.referrer_index import ReferrersTagTakenError, push_referrer

log = logging.getLogger(__name__)

_ACTOR = "signing"


class ArtifactTarget(Protocol):
    """Takes what is pushed; raises a RegistryError."""

    async def has_blob(self, place: Reference, digest: Digest, access: RequestAccess) -> bool:
        """Return True if the repository holds a blob."""
        ...

    async def put_blob(
        self, place: Reference, blob: Descriptor, content: OpenContent, access: RequestAccess
    ) -> None:
        """Store a blob that may be there already; its content is streamed."""
        ...

    async def put_manifest(
        self, place: Reference, manifest: Manifest, access: RequestAccess
    ) -> None:
        """Store a manifest under the tag or the digest that `place` names."""
        ...

    async def delete_manifest(self, place: Reference, access: RequestAccess) -> None:
        """Remove the manifest that `place` names by digest, with its tags, if that can be done.

        Raises ManifestUnknownError where nothing is there, unless nobody can tell.
        """
        ...


class RemoteArtifacts:
    """Implements ArtifactTarget for other registries."""

    def __init__(self, registry: Registry, pusher: RegistryPusher) -> None:
        self._registry = registry
        self._pusher = pusher

    async def has_blob(self, place: Reference, digest: Digest, access: RequestAccess) -> bool:
        """Return True if the repository holds a blob."""
        return await self._pusher.has_blob(place, digest, access)

    async def put_blob(
        self, place: Reference, blob: Descriptor, content: OpenContent, access: RequestAccess
    ) -> None:
        """Store a blob that may be there already."""
        if await self.has_blob(place, blob.digest, access):
            return
        try:
            await self._pusher.push_blob(place, blob, content, access)
        except RegistryRejectedError as error:
            if error.status != HTTPStatus.BAD_REQUEST:
                raise
            # distribution says DIGEST_INVALID to one of two that push the same content at once.
            if not await self.has_blob(place, blob.digest, access):
                await self._pusher.push_blob(place, blob, content, access)

    async def put_manifest(
        self, place: Reference, manifest: Manifest, access: RequestAccess
    ) -> None:
        """Store a manifest under the tag or the digest that `place` names."""
        try:
            await push_referrer(self._registry, self._pusher, place, manifest, access)
        except ReferrersTagTakenError as error:  # it is found by its own tag
            log.warning("referrer not listed", extra={"place": str(place), "why": str(error)})

    async def delete_manifest(self, place: Reference, access: RequestAccess) -> None:
        """Remove a manifest; a registry that removes none keeps it."""
        await self._pusher.delete_manifest(place, access)


class HostedArtifacts:
    """Implements ArtifactTarget for the embedded registry, in process."""

    def __init__(self, hosted: HostedRegistry) -> None:
        self._hosted = hosted

    async def has_blob(self, place: Reference, digest: Digest, access: RequestAccess) -> bool:
        """Return True if the repository holds a blob."""
        del access
        try:
            await self._hosted.blob_size(place.repository, digest)
        except BlobUnknownError:
            return False
        return True

    async def put_blob(
        self, place: Reference, blob: Descriptor, content: OpenContent, access: RequestAccess
    ) -> None:
        """Store a blob that may be there already."""
        if not await self.has_blob(place, blob.digest, access):
            upload = await self._hosted.start_upload(place.repository, blob.digest.algorithm)
            await self._hosted.append(place.repository, upload, content())
            await self._hosted.finish_upload(place.repository, upload, blob.digest)

    async def put_manifest(
        self, place: Reference, manifest: Manifest, access: RequestAccess
    ) -> None:
        """Store a manifest under the tag or the digest that `place` names."""
        del access
        push = ManifestPush(
            place.repository,
            manifest.raw,
            str(manifest.media_type),
            tag=place.tag if place.digest is None else None,
            digest=place.digest,
            actor=_ACTOR,
        )
        await self._hosted.put_manifest(push)

    async def delete_manifest(self, place: Reference, access: RequestAccess) -> None:
        """Remove a manifest, with its tags."""
        del access
        if place.digest is None:
            raise ValueError(f"{place} names no digest")
        await self._hosted.delete_manifest(place.repository, place.digest)
