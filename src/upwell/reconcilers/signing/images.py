"""Signs images and attests what is known of them: each claim once by each signer."""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from upwell.formats.sigstore import (
    Blob,
    Bundle,
    InTotoStatement,
    InvalidSignatureDocumentError,
    SignedContent,
    SignedEnvelope,
    SigningProof,
    SimpleSigning,
    TrustRoot,
    UntrustedSignatureError,
    claim_of,
    layer_signature,
    statement_of,
)
from upwell.formats.sigstore.artifacts import signature_layer
from upwell.oci import Digest, Reference
from upwell.registry.errors import RegistryError
from upwell.registry.interface import RequestAccess
from upwell.signing.interface import ContentSigner, SigningServiceError


class SignerAwayError(RegistryError):
    """A service that signing needs did not do its part; it may later."""

    reason = "SigningServiceUnavailable"
    retryable = True


class Attachments(Protocol):
    """Signatures and attestations beside images; every method raises a RegistryError."""

    async def signatures(self, image: Reference, access: RequestAccess) -> Sequence[Blob]:
        """Return payloads of signatures, with the annotations that hold the signatures."""
        ...

    async def attestations(
        self, image: Reference, predicate_type: str, access: RequestAccess
    ) -> Sequence[Blob]:
        """Return envelopes that are said to hold statements of this type."""
        ...

    async def add_signature(self, image: Reference, layer: Blob, access: RequestAccess) -> None:
        """Add a signature of an image that is there."""
        ...

    async def add_attestation(
        self, image: Reference, bundle: Bundle, predicate_type: str, access: RequestAccess
    ) -> None:
        """Add an attestation of an image that is there."""
        ...


type IsSame = Callable[[InTotoStatement], bool]
"""Returns True if a statement says already what another one would."""


class ImageSigning:
    """Signs images in any registry; every method raises a RegistryError.

    `own` is this server's key, whose signatures say what was made here; `others` sign besides.
    """

    def __init__(
        self, attachments: Attachments, own: ContentSigner, others: Sequence[ContentSigner] = ()
    ) -> None:
        self._attachments = attachments
        self._own = own
        self._signers = (own, *others)

    async def is_signed(self, image: Reference, access: RequestAccess) -> bool:
        """Return True if a key of this server has signed the image under this name."""
        return self._own not in await self._missing(image, access)

    async def sign(self, image: Reference, access: RequestAccess) -> None:
        """Sign an image by each signer, unless it has."""
        if image.digest is None:
            return
        payload = SimpleSigning(image.name, image.digest).encode()
        for signer in await self._missing(image, access):
            try:
                made = await signer.sign_payload(payload)
            except SigningServiceError as error:
                raise SignerAwayError(str(error)) from error
            layer = signature_layer(payload, made.signature, made.proof)
            await self._attachments.add_signature(image, layer, access)

    async def statements(
        self, image: Reference, predicate_type: str, access: RequestAccess
    ) -> Sequence[InTotoStatement]:
        """Return what keys of this server attest of the image."""
        if image.digest is None:
            return ()
        found = await self._attachments.attestations(image, predicate_type, access)
        return await asyncio.to_thread(_trusted, found, image.digest, self._own.trust)

    async def attest(
        self,
        image: Reference,
        statement: InTotoStatement,
        access: RequestAccess,
        is_same: IsSame = lambda _: True,
    ) -> None:
        """Attest a statement about the image by each signer.

        Unless one of its type is there by that signer that `is_same`.
        """
        if image.digest is None:
            return
        kind = statement.predicate_type
        found = await self._attachments.attestations(image, kind, access)
        content = await asyncio.to_thread(statement.encode)
        for signer in self._signers:
            known = await asyncio.to_thread(_trusted, found, image.digest, signer.trust)
            if any(is_same(one) for one in known):
                continue
            try:
                bundle = await signer.sign_statement(content)
            except SigningServiceError as error:
                raise SignerAwayError(str(error)) from error
            await self._attachments.add_attestation(image, bundle, kind, access)

    async def _missing(self, image: Reference, access: RequestAccess) -> Sequence[ContentSigner]:
        """Return the signers that have not signed the image under this name."""
        if image.digest is None:
            return self._signers
        wanted = SimpleSigning(image.name, image.digest)
        layers = await self._attachments.signatures(image, access)

        def missing() -> list[ContentSigner]:
            return [one for one in self._signers if not _claims(layers, wanted, one.trust)]

        return await asyncio.to_thread(missing)


def _claims(layers: Iterable[Blob], wanted: SimpleSigning, trust: TrustRoot) -> bool:
    """Return True if one of the layers is a signature of this claim; many take a while."""
    return any(
        claim_of(one.content) == wanted
        and _is_trusted(
            trust,
            SignedContent.of_payload(one.content, layer_signature(one.annotations)),
            SigningProof.of_annotations(one.annotations),
        )
        for one in layers
    )


def _trusted(found: Iterable[Blob], image: Digest, trust: TrustRoot) -> Sequence[InTotoStatement]:
    statements = []
    for one in found:
        try:
            envelope = SignedEnvelope.parse(one.content)
        except InvalidSignatureDocumentError:
            continue
        content = SignedContent.of_envelope(envelope, one.content)
        if not _is_trusted(trust, content, SigningProof.of_annotations(one.annotations)):
            continue
        statement = statement_of(envelope, image)
        if statement is not None:
            statements.append(statement)
    return statements


def _is_trusted(trust: TrustRoot, content: SignedContent, proof: SigningProof) -> bool:
    try:
        trust.signer(content, proof)
    except UntrustedSignatureError:
        return False
    return True
