"""Signatures and attestations beside an image, in any registry: read, and added to.

Each is written in the forms that clients look for (`formats/sigstore/artifacts`). What is there
already is left as it is, whoever made it.
"""

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import Protocol
from weakref import WeakValueDictionary

from upwell.formats.sigstore import (
    Artifact,
    Blob,
    Bundle,
    SignedEnvelope,
    attestation_tag,
    bundle_manifest,
    layered_manifest,
    signature_tag,
)
from upwell.formats.sigstore.artifacts import PREDICATE_TYPE, attestation_layer
from upwell.formats.sigstore.dsse import MAX_ENVELOPE_BYTES
from upwell.formats.sigstore.simple_signing import MAX_PAYLOAD_BYTES
from upwell.oci import Descriptor, Digest, Manifest, Reference
from upwell.registry.client.push import RegistryPusher, once
from upwell.registry.errors import BlobUnknownError, InvalidAnswerError, ManifestUnknownError
from upwell.registry.hosting import HostedRegistry, ManifestPush
from upwell.registry.interface import DEFAULT_ACCESS, Registry, RequestAccess
from upwell.registry.referrer_index import push_referrer

MAX_LAYERS = 200
"""Signatures or attestations under one tag; nothing is added beyond."""
_ACTOR = "signing"


class ArtifactTarget(Protocol):
    """Takes what is pushed; raises a RegistryError."""

    async def put_blob(self, place: Reference, blob: Blob, access: RequestAccess) -> None:
        """Store a blob that may be there already."""
        ...

    async def put_manifest(
        self, place: Reference, manifest: Manifest, access: RequestAccess
    ) -> None:
        """Store a manifest under the tag or the digest that `place` names."""
        ...


class RemoteArtifacts:
    """Implements ArtifactTarget for other registries."""

    def __init__(self, registry: Registry, pusher: RegistryPusher) -> None:
        self._registry = registry
        self._pusher = pusher

    async def put_blob(self, place: Reference, blob: Blob, access: RequestAccess) -> None:
        """Store a blob that may be there already."""
        if await self._pusher.has_blob(place, blob.descriptor.digest, access):
            return
        await self._pusher.push_blob(place, blob.descriptor, partial(once, blob.content), access)

    async def put_manifest(
        self, place: Reference, manifest: Manifest, access: RequestAccess
    ) -> None:
        """Store a manifest under the tag or the digest that `place` names."""
        await push_referrer(self._registry, self._pusher, place, manifest, access)


class HostedArtifacts:
    """Implements ArtifactTarget for the embedded registry, in process."""

    def __init__(self, hosted: HostedRegistry) -> None:
        self._hosted = hosted

    async def put_blob(self, place: Reference, blob: Blob, access: RequestAccess) -> None:
        """Store a blob that may be there already."""
        del access
        digest = blob.descriptor.digest
        try:
            await self._hosted.blob_size(place.repository, digest)
        except BlobUnknownError:
            upload = await self._hosted.start_upload(place.repository, digest.algorithm)
            await self._hosted.append(place.repository, upload, once(blob.content))
            await self._hosted.finish_upload(place.repository, upload, digest)

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


class ImageAttachments:
    """Signatures and attestations of images; every method raises a RegistryError.

    `image` names a digest. `hosted` is where the embedded registry's are written to, `remote` all
    others.
    """

    def __init__(
        self, registry: Registry, host: str, hosted: ArtifactTarget, remote: ArtifactTarget
    ) -> None:
        self._registry = registry
        self._host = host
        self._hosted = hosted
        self._remote = remote
        self._locks: WeakValueDictionary[tuple[str, Digest], asyncio.Lock] = WeakValueDictionary()
        """Held from reading what a tag names until it names more."""

    async def signatures(
        self, image: Reference, access: RequestAccess = DEFAULT_ACCESS
    ) -> Sequence[Blob]:
        """Return payloads of signatures, with the annotations that hold the signatures."""
        place = image.with_tag(signature_tag(_digest(image)))
        return [
            Blob(layer.media_type, await self._read(place, layer, MAX_PAYLOAD_BYTES, access),
                 layer.annotations)
            for layer in await self._layers(place, access)
        ]  # fmt: skip

    async def attestations(
        self, image: Reference, predicate_type: str, access: RequestAccess = DEFAULT_ACCESS
    ) -> Sequence[bytes]:
        """Return envelopes that are said to hold statements of this type; nothing is checked."""
        place = image.with_tag(attestation_tag(_digest(image)))
        return [
            await self._read(place, layer, MAX_ENVELOPE_BYTES, access)
            for layer in await self._layers(place, access)
            if layer.annotations.get(PREDICATE_TYPE) == predicate_type
        ]

    async def add_signature(
        self, image: Reference, layer: Blob, access: RequestAccess = DEFAULT_ACCESS
    ) -> None:
        """Add a signature of an image that is there."""
        subject = await self._described(image, access)
        await self._add(image, signature_tag(subject.digest), layer, subject, access)

    async def add_attestation(
        self,
        image: Reference,
        envelope: SignedEnvelope,
        predicate_type: str,
        key_id: str,
        access: RequestAccess = DEFAULT_ACCESS,
    ) -> None:
        """Add an attestation of an image that is there."""
        subject = await self._described(image, access)
        layer = attestation_layer(envelope.encode(), predicate_type)
        bundle = bundle_manifest(subject, Bundle(envelope, key_id), predicate_type)
        await self._push(image.with_digest(bundle.manifest.digest), bundle, access)
        # The tag last: who finds an attestation there need not look for the referrer.
        await self._add(image, attestation_tag(subject.digest), layer, None, access)

    async def _add(
        self,
        image: Reference,
        tag: str,
        layer: Blob,
        subject: Descriptor | None,
        access: RequestAccess,
    ) -> None:
        place = image.with_tag(tag)
        async with self._locks.setdefault((image.name, _digest(image)), asyncio.Lock()):
            layers = list(await self._layers(place, access))
            if any(one.digest == layer.descriptor.digest and one.annotations == layer.annotations
                   for one in layers):  # fmt: skip
                return
            if len(layers) >= MAX_LAYERS:
                raise InvalidAnswerError(str(place), f"it has {len(layers)} layers already")
            artifact = layered_manifest([*layers, layer.descriptor], [layer], subject)
            await self._push(place, artifact, access)

    async def _push(self, place: Reference, artifact: Artifact, access: RequestAccess) -> None:
        target = self._target(place)
        for blob in artifact.blobs:
            await target.put_blob(place, blob, access)
        await target.put_manifest(place, artifact.manifest, access)

    async def _layers(self, place: Reference, access: RequestAccess) -> Sequence[Descriptor]:
        try:
            manifest = await self._registry.manifest(place, access)
        except ManifestUnknownError:
            return ()
        if not isinstance(manifest, Manifest) or len(manifest.layers) > MAX_LAYERS:
            raise InvalidAnswerError(str(place), f"it is no manifest of up to {MAX_LAYERS} layers")
        return manifest.layers

    async def _read(
        self, place: Reference, layer: Descriptor, limit: int, access: RequestAccess
    ) -> bytes:
        return await self._registry.blob(place, layer.digest, limit, access)

    async def _described(self, image: Reference, access: RequestAccess) -> Descriptor:
        manifest = await self._registry.manifest(image, access)
        return Descriptor(str(manifest.media_type), manifest.digest, len(manifest.raw))

    def _target(self, place: Reference) -> ArtifactTarget:
        return self._hosted if place.registry == self._host else self._remote


def _digest(image: Reference) -> Digest:
    if image.digest is None:
        raise ValueError(f"{image} names no digest")
    return image.digest
