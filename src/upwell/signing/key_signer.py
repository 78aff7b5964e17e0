"""Signer by the key of this server."""

import asyncio
from collections.abc import Callable

from upwell.formats.sigstore import (
    Bundle,
    EnvelopeSignature,
    SignedEnvelope,
    TrustedKeys,
    pre_authentication,
)
from upwell.formats.sigstore.dsse import IN_TOTO
from upwell.signing.interface import PayloadSignature
from upwell.signing.keys import ImageSigner


class KeySigner:
    """Signs by the key that is in force. Implements ContentSigner."""

    def __init__(self, signer: Callable[[], ImageSigner]) -> None:
        self._signer = signer

    @property
    def trust(self) -> TrustedKeys:
        """The key that is in force, and those before it."""
        return TrustedKeys(tuple(self._signer().keys))

    async def sign_payload(self, payload: bytes) -> PayloadSignature:
        """Return a signature of the payload itself: always the same."""
        return PayloadSignature(self._signer().sign(payload))

    async def sign_statement(self, statement: bytes) -> Bundle:
        """Return an envelope with an in-toto statement: always the same."""
        return await asyncio.to_thread(_bundle, statement, self._signer())


def _bundle(statement: bytes, signer: ImageSigner) -> Bundle:
    signature = signer.sign(pre_authentication(IN_TOTO, statement))
    # Verifiers of cosign take a key id for one of a key that they know by that name: none is given.
    envelope = SignedEnvelope(statement, (EnvelopeSignature(signature),))
    return Bundle(envelope, signer.key.id)
