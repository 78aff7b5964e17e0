"""Signers by a test's Fulcio and Rekor."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

from tests.support.outbound.dialers import loopback_dialer
from tests.support.signing.sigstore_services import ISSUER, Sigstore, identity_token

from upwell.formats.sigstore import CertificateAuthorities, SignatureKey, TrustedFulcio
from upwell.outbound.provider_requests import ProviderClient
from upwell.signing.keyless import KeylessSigner
from upwell.signing.sigstore_services import SigstoreServices

BUILDER = "builder@upwell.test"


@asynccontextmanager
async def keyless_signer(
    services: Sigstore, folder: Path, seconds: float = 60
) -> AsyncIterator[KeylessSigner]:
    """Hold a signer that signs as BUILDER."""
    token = folder / "identity-token"
    token.write_text(f"{identity_token(BUILDER)}\n")
    trust = TrustedFulcio(
        CertificateAuthorities.parse(services.authority.pem()),
        (SignatureKey(services.log.key.public_key()),),
        ISSUER,
        BUILDER,
    )
    async with ProviderClient.open(loopback_dialer(), seconds=seconds) as client:
        asked = SigstoreServices(client, services.url, services.url)
        yield KeylessSigner(asked, token, trust, lambda: datetime.now(UTC))
