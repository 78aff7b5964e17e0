"""Fulcio, which issues certificates, and Rekor, whose log keeps when they were used.

The APIs are Fulcio's v2 (fulcio.proto, CreateSigningCertificate) and Rekor's v1 (openapi.yaml,
createLogEntry). Nothing that they answer is believed here.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus

from upwell.formats.sigstore import (
    InvalidCertificateError,
    InvalidSignatureDocumentError,
    canonical,
)
from upwell.formats.sigstore.certificates import certificates_of
from upwell.formats.sigstore.documents import encoded, items, json_object, mapping, text
from upwell.formats.sigstore.log_entry import MAX_ENTRY_BYTES, LogEntry
from upwell.outbound.provider_requests import (
    ProviderAnswer,
    ProviderClient,
    ProviderRequest,
    ProviderRequestError,
)
from upwell.signing.interface import SigningServiceError

_MAX_CERTIFICATES_BYTES = 64 * 1024
_MAX_SHOWN = 6
_ISSUED = ("signedCertificateEmbeddedSct", "signedCertificateDetachedSct")


@dataclass(frozen=True, slots=True)
class SigstoreServices:
    """Fulcio and Rekor at these URLs."""

    client: ProviderClient
    fulcio: str
    rekor: str

    async def certificates(self, request: bytes, token: str) -> Sequence[bytes]:
        """Have a key certified, by its signing request (PKCS #10, PEM); raises SigningServiceError.

        Returns certificates in DER, the one of the key first.
        """
        asked = {
            "credentials": {"oidcIdentityToken": token},
            "certificateSigningRequest": encoded(request),
        }
        url = f"{self.fulcio}/api/v2/signingCert"
        answer = await self._post(url, canonical(asked), _MAX_CERTIFICATES_BYTES)
        if answer.status in {HTTPStatus.BAD_REQUEST, HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
            raise SigningServiceError(
                f"{url}: HTTP {answer.status}: is the token in [keyless] identity-token-file one"
                " that is not over, for Fulcio's audience, of an issuer that it knows?"
            )
        _require(url, answer)
        try:
            return _certificates(answer.body)
        except (InvalidCertificateError, InvalidSignatureDocumentError) as error:
            raise SigningServiceError(f"{url}: it answers no certificate: {error}") from error

    async def log(self, proposal: bytes) -> LogEntry:
        """Have the log take an entry in; raises SigningServiceError."""
        url = f"{self.rekor}/api/v1/log/entries"
        answer = await self._post(url, proposal, MAX_ENTRY_BYTES)
        _require(url, answer)
        try:
            return LogEntry.of_answer(answer.body)
        except InvalidSignatureDocumentError as error:
            raise SigningServiceError(f"{url}: it answers no entry: {error}") from error

    async def _post(self, url: str, document: bytes, limit: int) -> ProviderAnswer:
        try:
            return await self.client.ask(ProviderRequest(url, limit, document=document))
        except ProviderRequestError as error:
            raise SigningServiceError(f"{url}: {error}") from error


def _require(url: str, answer: ProviderAnswer) -> None:
    if answer.status not in {HTTPStatus.OK, HTTPStatus.CREATED}:
        raise SigningServiceError(f"{url}: HTTP {answer.status}")


def _certificates(body: bytes) -> Sequence[bytes]:
    answer = json_object(body, "answer", _MAX_CERTIFICATES_BYTES)
    issued = next((answer[one] for one in _ISSUED if one in answer), None)
    chain = mapping(mapping(issued, "signedCertificate").get("chain"), "chain")
    shown = items(chain.get("certificates"), "certificates", _MAX_SHOWN)
    pem = "\n".join(text(one, "certificates") for one in shown)
    found = certificates_of(pem.encode(), _MAX_SHOWN)
    if not found:
        raise InvalidCertificateError("there is none")
    return found
