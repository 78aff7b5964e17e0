"""Writer of signatures and attestations beside an image, in any registry.

Each is written in the forms that clients look for (`formats/sigstore/artifacts`). What is there
already is left as it is, whoever made it; what is no signature takes no signature's place.
"""

import asyncio
from collections.abc import Sequence
from functools import partial
from weakref import WeakValueDictionary

from upwell.formats.attachment_tags import attestation_tag, signature_tag
from upwell.formats.sigstore import Artifact, Blob, Bundle, bundle_manifest, layered_manifest
from upwell.formats.sigstore.artifacts import attestation_layer
from upwell.formats.sigstore.dsse import MEDIA_TYPE as ENVELOPE
from upwell.oci import Descriptor, Digest, Reference
from upwell.registry.attachments.reader import MAX_SIGNATURES, AttachmentReader, layers_at
from upwell.registry.attachments.targets import ArtifactTarget
from upwell.registry.client.push import once
from upwell.registry.errors import BlobUnknownError, RegistryRejectedError
from upwell.registry.hosting import ManifestContentUnknownError
from upwell.registry.interface import DEFAULT_ACCESS, Registry, RequestAccess

MAX_LAYERS = 200
"""Signatures or attestations under one tag; the last ones give way to a new one."""
_INCOMPLETE = (BlobUnknownError, ManifestContentUnknownError, RegistryRejectedError)
"""Errors of a registry that lacks what a manifest names."""


class ImageAttachments:
    """Signatures and attestations of images; every method raises a RegistryError.

    `image` names a digest. `hosted` is where the embedded registry's are written to, `remote` all
    others.
    """

    def __init__(
        self, registry: Registry, host: str, hosted: ArtifactTarget, remote: ArtifactTarget
    ) -> None:
        self._registry = registry
        self._reader = AttachmentReader(registry)
        self._host = host
        self._hosted = hosted
        self._remote = remote
        self._locks: WeakValueDictionary[tuple[str, Digest], asyncio.Lock] = WeakValueDictionary()
        """Held from reading what a tag names until it names more."""

    async def signatures(
        self, image: Reference, access: RequestAccess = DEFAULT_ACCESS
    ) -> Sequence[Blob]:
        """Return payloads of signatures, with the annotations that hold the signatures."""
        return await self._reader.signatures(image, access)

    async def attestations(
        self, image: Reference, predicate_type: str, access: RequestAccess = DEFAULT_ACCESS
    ) -> Sequence[Blob]:
        """Return envelopes that are said to hold statements of this type; nothing is checked."""
        found = await self._reader.attestations(image, predicate_type, access)
        return [one for one in found if one.media_type == ENVELOPE]

    async def add_signature(
        self, image: Reference, layer: Blob, access: RequestAccess = DEFAULT_ACCESS
    ) -> None:
        """Add a signature of an image that is there."""
        subject = await self._described(image, access)
        await self._add(image, signature_tag(subject.digest), layer, subject, access)

    async def add_attestation(
        self,
        image: Reference,
        bundle: Bundle,
        predicate_type: str,
        access: RequestAccess = DEFAULT_ACCESS,
    ) -> None:
        """Add an attestation of an image that is there."""
        subject = await self._described(image, access)
        layer = attestation_layer(bundle.envelope.encode(), predicate_type, bundle.proof)
        referrer = bundle_manifest(subject, bundle, predicate_type)
        await self._push(image.with_digest(referrer.manifest.digest), referrer, access)
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
            layers = await layers_at(self._registry, place, [layer.media_type], access)
            if any(one.digest == layer.descriptor.digest and one.annotations == layer.annotations
                   for one in layers):  # fmt: skip
                return
            try:
                await self._push(place, _with(layers, layer, subject), access)
            except _INCOMPLETE:
                held = await self._held(place, layers, access)
                if len(held) == len(layers):
                    raise
                await self._push(place, _with(held, layer, subject), access)

    async def _held(
        self, place: Reference, layers: Sequence[Descriptor], access: RequestAccess
    ) -> Sequence[Descriptor]:
        """Return the layers whose content is there: somebody may have taken it away."""
        target = self._target(place)
        return [
            one for one in layers[:MAX_LAYERS] if await target.has_blob(place, one.digest, access)
        ]

    async def _push(self, place: Reference, artifact: Artifact, access: RequestAccess) -> None:
        target = self._target(place)
        for blob in artifact.blobs:
            await target.put_blob(place, blob.descriptor, partial(once, blob.content), access)
        await target.put_manifest(place, artifact.manifest, access)

    async def _described(self, image: Reference, access: RequestAccess) -> Descriptor:
        manifest = await self._registry.manifest(image, access)
        return Descriptor(str(manifest.media_type), manifest.digest, len(manifest.raw))

    def _target(self, place: Reference) -> ArtifactTarget:
        return self._hosted if place.registry == self._host else self._remote


def _with(layers: Sequence[Descriptor], layer: Blob, subject: Descriptor | None) -> Artifact:
    """Return the manifest of a tag with one more layer: where readers still come to it."""
    mine = layer.descriptor
    if len(layers) < MAX_SIGNATURES:
        return layered_manifest([*layers, mine], [layer], subject)
    return layered_manifest([mine, *layers][:MAX_LAYERS], [layer], subject)


def _digest(image: Reference) -> Digest:
    if image.digest is None:
        raise ValueError(f"{image} names no digest")
    return image.digest
