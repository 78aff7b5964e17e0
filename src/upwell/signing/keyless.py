"""Signer without a key of its own: Fulcio certifies one for each signature, and Rekor logs it."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding

from upwell.formats.sigstore import (
    Bundle,
    EnvelopeSignature,
    InvalidCertificateError,
    SignedContent,
    SignedEnvelope,
    SigningProof,
    TrustedFulcio,
    UntrustedSignatureError,
    pre_authentication,
)
from upwell.formats.sigstore.certificates import SignerCertificate
from upwell.formats.sigstore.dsse import IN_TOTO
from upwell.formats.sigstore.log_body import dsse_proposal, rekord_body
from upwell.signing.interface import PayloadSignature, SigningServiceError
from upwell.signing.keys import ImageSigner
from upwell.signing.sigstore_services import SigstoreServices

_MAX_TOKEN_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class _Certified:
    """A key that lives for one signature, and its certificates, the own one first."""

    signer: ImageSigner = field(repr=False)
    certificates: Sequence[bytes]

    @property
    def certificate(self) -> SignerCertificate:
        """Return the one of the key; raises InvalidCertificateError."""
        return SignerCertificate.parse(self.certificates[0])


class KeylessSigner:
    """Signs as whom an identity token names. Implements ContentSigner.

    The token is read from its file each time: somebody else renews it. `trust` has the authorities,
    the log and the identity: what the services answer counts if it satisfies that.
    """

    def __init__(
        self,
        services: SigstoreServices,
        token_file: Path,
        trust: TrustedFulcio,
        clock: Callable[[], datetime],
    ) -> None:
        self._services = services
        self._token_file = token_file
        self._trust = trust
        self._clock = clock

    @property
    def trust(self) -> TrustedFulcio:
        """The authorities, the log and the identity."""
        return self._trust

    async def sign_payload(self, payload: bytes) -> PayloadSignature:
        """Return a signature of the payload itself; raises SigningServiceError."""
        certified = await self._certified()
        signature = certified.signer.sign(payload)
        content = SignedContent.of_payload(payload, signature)
        proposal = rekord_body(content, signature, certified.certificate)
        return PayloadSignature(signature, await self._proof(certified, content, proposal))

    async def sign_statement(self, statement: bytes) -> Bundle:
        """Return an envelope (DSSE) with an in-toto statement; raises SigningServiceError."""
        certified = await self._certified()
        envelope = await asyncio.to_thread(_enveloped, statement, certified.signer)
        proposal = await asyncio.to_thread(dsse_proposal, envelope, certified.certificate)
        content = SignedContent.of_envelope(envelope)
        return Bundle(envelope, proof=await self._proof(certified, content, proposal))

    async def _certified(self) -> _Certified:
        """Make a key and have it certified for the identity; raises SigningServiceError."""
        token = await asyncio.to_thread(self._token)
        signer = ImageSigner.generate()
        request = (
            x509.CertificateSigningRequestBuilder()
            .subject_name(x509.Name([]))
            .sign(signer.private, SHA256())
            .public_bytes(Encoding.PEM)
        )
        found = _Certified(signer, await self._services.certificates(request, token))
        try:
            if found.certificate.key().id != signer.key.id:
                raise SigningServiceError(f"{self._services.fulcio} certified another key")
            # Before it is logged: what the log has, it has for good.
            self._trust.identity(found.certificate, found.certificates[1:], self._clock())
        except InvalidCertificateError as error:
            raise SigningServiceError(
                f"{self._services.fulcio} issued a certificate that [keyless] does not ask for:"
                f" {error}"
            ) from error
        return found

    async def _proof(
        self, certified: _Certified, content: SignedContent, proposal: bytes
    ) -> SigningProof:
        """Have a signature logged; raises SigningServiceError unless that is so."""
        entry = await self._services.log(proposal)
        proof = SigningProof(tuple(certified.certificates), (entry,))
        try:
            await asyncio.to_thread(self._trust.signer, content, proof)
        except UntrustedSignatureError as error:
            raise SigningServiceError(
                f"{self._services.rekor} answers another entry than it was asked for: {error}"
            ) from error
        return proof

    def _token(self) -> str:
        path = self._token_file
        try:
            with path.open("rb") as file:
                raw = file.read(_MAX_TOKEN_BYTES)
            token = raw.decode("ascii").strip()
        except OSError as error:
            why = f"[keyless] identity-token-file {path} cannot be read: {error.strerror}"
            raise SigningServiceError(why) from error
        except UnicodeDecodeError as error:
            why = f"[keyless] identity-token-file {path} has no identity token"
            raise SigningServiceError(why) from error
        if not token:
            raise SigningServiceError(f"[keyless] identity-token-file {path} is empty")
        return token


def _enveloped(statement: bytes, signer: ImageSigner) -> SignedEnvelope:
    signature = signer.sign(pre_authentication(IN_TOTO, statement))
    return SignedEnvelope(statement, (EnvelopeSignature(signature),))
