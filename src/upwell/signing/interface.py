"""The port of signing: what makes signatures of images and of statements about them."""

from dataclasses import dataclass, field
from typing import Protocol

from upwell.formats.sigstore import NO_PROOF, Bundle, SigningProof, TrustRoot


class SigningServiceError(Exception):
    """A service that signing needs did not do its part; the message names it and the next step."""


@dataclass(frozen=True, slots=True)
class PayloadSignature:
    """A signature of a payload, and what proves whose it is."""

    signature: bytes = field(repr=False)
    proof: SigningProof = NO_PROOF


class ContentSigner(Protocol):
    """Signs; `trust` accepts whatever it has signed, at any time before too."""

    @property
    def trust(self) -> TrustRoot:
        """The root of trust that tells its signatures from those of others."""
        ...

    async def sign_payload(self, payload: bytes) -> PayloadSignature:
        """Return a signature of the payload itself; raises SigningServiceError."""
        ...

    async def sign_statement(self, statement: bytes) -> Bundle:
        """Return an envelope (DSSE) with an in-toto statement; raises SigningServiceError."""
        ...
