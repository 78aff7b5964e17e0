"""Signs images and attests what is known of them: each claim once, by this server's key."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Protocol

from upwell.formats.sigstore import (
    Blob,
    EnvelopeSignature,
    InTotoStatement,
    InvalidSignatureDocumentError,
    SignatureKey,
    SignedEnvelope,
    SimpleSigning,
    layer_signature,
    pre_authentication,
    verified_claim,
    verified_statement,
)
from upwell.formats.sigstore.artifacts import signature_layer
from upwell.formats.sigstore.dsse import IN_TOTO
from upwell.oci import Digest, Reference
from upwell.registry.interface import RequestAccess


class Signer(Protocol):
    """A key that signs."""

    @property
    def key(self) -> SignatureKey:
        """The key that checks what is signed now."""
        ...

    @property
    def keys(self) -> Sequence[SignatureKey]:
        """Every key that checks signatures of this server."""
        ...

    def sign(self, content: bytes) -> bytes:
        """Return the signature of `content`."""
        ...


class Attachments(Protocol):
    """Signatures and attestations beside images; every method raises a RegistryError."""

    async def signatures(self, image: Reference, access: RequestAccess) -> Sequence[Blob]:
        """Return payloads of signatures, with the annotations that hold the signatures."""
        ...

    async def attestations(
        self, image: Reference, predicate_type: str, access: RequestAccess
    ) -> Sequence[bytes]:
        """Return envelopes that are said to hold statements of this type."""
        ...

    async def add_signature(self, image: Reference, layer: Blob, access: RequestAccess) -> None:
        """Add a signature of an image that is there."""
        ...

    async def add_attestation(
        self,
        image: Reference,
        envelope: SignedEnvelope,
        predicate_type: str,
        key_id: str,
        access: RequestAccess,
    ) -> None:
        """Add an attestation of an image that is there."""
        ...


type IsSame = Callable[[InTotoStatement], bool]
"""Returns True if a statement says already what another one would."""


class ImageSigning:
    """Signs images in any registry; every method raises a RegistryError."""

    def __init__(self, attachments: Attachments, signer: Callable[[], Signer]) -> None:
        self._attachments = attachments
        self._signer = signer

    async def is_signed(self, image: Reference, access: RequestAccess) -> bool:
        """Return True if a key of this server has signed the image under this name."""
        if image.digest is None:
            return False
        wanted = SimpleSigning(image.name, image.digest)
        layers = await self._attachments.signatures(image, access)
        return await asyncio.to_thread(_claims, layers, wanted, self._signer().keys)

    async def sign(self, image: Reference, access: RequestAccess) -> None:
        """Sign an image, unless it is."""
        if image.digest is None or await self.is_signed(image, access):
            return
        payload = SimpleSigning(image.name, image.digest).encode()
        layer = signature_layer(payload, self._signer().sign(payload))
        await self._attachments.add_signature(image, layer, access)

    async def statements(
        self, image: Reference, predicate_type: str, access: RequestAccess
    ) -> Sequence[InTotoStatement]:
        """Return what keys of this server attest of the image."""
        if image.digest is None:
            return ()
        envelopes = await self._attachments.attestations(image, predicate_type, access)
        return await asyncio.to_thread(_trusted, envelopes, image.digest, self._signer().keys)

    async def attest(
        self,
        image: Reference,
        statement: InTotoStatement,
        access: RequestAccess,
        is_same: IsSame = lambda _: True,
    ) -> None:
        """Attest a statement about the image, unless one of its type is there that `is_same`."""
        known = await self.statements(image, statement.predicate_type, access)
        if any(is_same(one) for one in known):
            return
        signer = self._signer()
        envelope = await asyncio.to_thread(_signed, statement, signer)
        await self._attachments.add_attestation(
            image, envelope, statement.predicate_type, signer.key.id, access
        )


def _claims(layers: Sequence[Blob], wanted: SimpleSigning, keys: Sequence[SignatureKey]) -> bool:
    """Return True if one of the layers is a signature of this claim; many take a while."""
    return any(
        verified_claim(keys, layer_signature(layer.annotations), layer.content) == wanted
        for layer in layers
    )


def _signed(statement: InTotoStatement, signer: Signer) -> SignedEnvelope:
    payload = statement.encode()
    signature = signer.sign(pre_authentication(IN_TOTO, payload))
    # Verifiers of cosign take a key id for one of a key that they know by that name: none is given.
    return SignedEnvelope(payload, (EnvelopeSignature(signature),))


def _trusted(
    envelopes: Sequence[bytes], image: Digest, keys: Sequence[SignatureKey]
) -> Sequence[InTotoStatement]:
    found = []
    for raw in envelopes:
        try:
            statement = verified_statement(keys, SignedEnvelope.parse(raw), image)
        except InvalidSignatureDocumentError:
            continue
        if statement is not None:
            found.append(statement)
    return found
