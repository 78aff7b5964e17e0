"""Certificates of signers, and the authorities that issue them (RFC 5280).

Fulcio's say who has signed: fulcio, docs/certificate-specification.md and docs/oid-info.md.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Self

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID
from cryptography.x509.verification import (
    Criticality,
    ExtensionPolicy,
    Policy,
    PolicyBuilder,
    Store,
    VerificationError,
)

from upwell.formats.sigstore.keys import SignatureKey

MAX_CERTIFICATES_BYTES = 64 * 1024
MAX_AUTHORITIES = 16
"""Certificates of a policy's authorities."""
_MAX_SHOWN = 5
"""Certificates that a signer shows besides the own one: they bound what chains are tried."""
_MAX_DEPTH = 4
_MAX_PEM = 16 * 1024
_MIN_RSA_BITS, _MAX_RSA_BITS = 2048, 8192
_PEM = re.compile(rb"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL)
_ISSUER_V1 = x509.ObjectIdentifier("1.3.6.1.4.1.57264.1.1")
"""OIDC issuer as raw text."""
_ISSUER_V2 = x509.ObjectIdentifier("1.3.6.1.4.1.57264.1.8")
"""OIDC issuer as a UTF8String in DER."""
_UTF8_STRING = 0x0C
_LONG_FORM = 0x80
_UNREADABLE = (
    ValueError,
    TypeError,
    OverflowError,
    UnsupportedAlgorithm,
    x509.DuplicateExtension,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
)
"""Errors of cryptography about certificates that strangers made up; most parts are read late."""
_USAGES = frozenset({ExtendedKeyUsageOID.CODE_SIGNING, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE})


class InvalidCertificateError(ValueError):
    """Bytes are no certificate, or it is none that counts; the message says why."""


@dataclass(frozen=True, slots=True)
class SignerCertificate:
    """A certificate that a signer shows: nothing is trusted before an authority has issued it."""

    certificate: x509.Certificate

    @classmethod
    def parse(cls, der: bytes) -> Self:
        """Read a certificate; raises InvalidCertificateError."""
        return cls(_parsed(der))

    @property
    def der(self) -> bytes:
        """The certificate in DER."""
        return self.certificate.public_bytes(Encoding.DER)

    def key(self) -> SignatureKey:
        """Return the key that it is about; raises InvalidCertificateError."""
        try:
            key = self.certificate.public_key()
        except _UNREADABLE as error:
            raise InvalidCertificateError("its key cannot be read") from error
        if not isinstance(key, EllipticCurvePublicKey | Ed25519PublicKey | RSAPublicKey):
            raise InvalidCertificateError("its key is none of ECDSA, RSA and Ed25519")
        if isinstance(key, RSAPublicKey) and not _MIN_RSA_BITS <= key.key_size <= _MAX_RSA_BITS:
            raise InvalidCertificateError(f"its RSA key has {key.key_size} bits")
        return SignatureKey(key)

    def emails(self) -> Sequence[str]:
        """Return the email addresses that it is about; raises InvalidCertificateError."""
        names = self._names()
        return names.get_values_for_type(x509.RFC822Name) if names else ()

    def uris(self) -> Sequence[str]:
        """Return the URIs that it is about; raises InvalidCertificateError."""
        names = self._names()
        return names.get_values_for_type(x509.UniformResourceIdentifier) if names else ()

    def hosts(self) -> Sequence[str]:
        """Return the host names that it is about; raises InvalidCertificateError."""
        names = self._names()
        return names.get_values_for_type(x509.DNSName) if names else ()

    def oidc_issuer(self) -> str:
        """Return who has vouched for the identity; raises InvalidCertificateError."""
        found = set()
        for extension in _extensions(self.certificate):
            if isinstance(extension.value, x509.UnrecognizedExtension):
                if extension.oid == _ISSUER_V1:
                    found.add(_utf8(extension.value.value))
                elif extension.oid == _ISSUER_V2:
                    found.add(_utf8(_der_utf8(extension.value.value)))
        if len(found) != 1:
            raise InvalidCertificateError(
                "its extensions name different issuers" if found else "it names no OIDC issuer"
            )
        return found.pop()

    def _names(self) -> x509.SubjectAlternativeName | None:
        for extension in _extensions(self.certificate):
            if isinstance(extension.value, x509.SubjectAlternativeName):
                return extension.value
        return None


@dataclass(frozen=True, slots=True)
class CertificateAuthorities:
    """Authorities whose certificates for signing code count."""

    roots: tuple[x509.Certificate, ...]
    intermediates: tuple[x509.Certificate, ...] = ()

    @classmethod
    def parse(cls, roots: bytes, intermediates: bytes = b"") -> Self:
        """Read certificates in PEM; raises InvalidCertificateError."""
        found = tuple(map(_parsed, certificates_of(roots, MAX_AUTHORITIES)))
        if not found:
            raise InvalidCertificateError("it has no CERTIFICATE in PEM")
        between = certificates_of(intermediates, MAX_AUTHORITIES)
        return cls(found, tuple(map(_parsed, between)))

    def require_issued(
        self, signer: SignerCertificate, shown: Iterable[bytes], at: datetime
    ) -> None:
        """Raise InvalidCertificateError unless they have issued it for signing, valid at a time.

        `shown` are certificates in DER that the signer shows between it and an authority.
        """
        between = [_parsed(der) for der in list(shown)[:_MAX_SHOWN]]
        try:
            verifier = (
                PolicyBuilder()
                .store(Store(list(self.roots)))
                .time(at.astimezone(UTC).replace(tzinfo=None))
                .max_chain_depth(_MAX_DEPTH)
                .extension_policies(ca_policy=_AUTHORITY, ee_policy=_SIGNER)
                .build_client_verifier()
            )
            verifier.verify(signer.certificate, [*self.intermediates, *between])
        except (VerificationError, *_UNREADABLE) as error:
            when = f"{at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
            raise InvalidCertificateError(
                f"its certificate is none that the policy's authorities have issued for signing,"
                f" valid at {when}"
            ) from error


def certificates_of(pem: bytes, most: int) -> Sequence[bytes]:
    """Return the certificates of a text in PEM, in DER; raises InvalidCertificateError."""
    if len(pem) > MAX_CERTIFICATES_BYTES:
        raise InvalidCertificateError(f"{len(pem)} bytes, more than {MAX_CERTIFICATES_BYTES}")
    blocks = _PEM.findall(pem)
    if len(blocks) > most:
        raise InvalidCertificateError(f"it has {len(blocks)} certificates, more than {most}")
    try:
        return [
            x509.load_pem_x509_certificate(block).public_bytes(Encoding.DER) for block in blocks
        ]
    except _UNREADABLE as error:
        raise InvalidCertificateError("it is no certificate in PEM") from error


def pem_of(certificates: Iterable[bytes]) -> str:
    """Return certificates in DER as a text in PEM."""
    return "".join(_parsed(der).public_bytes(Encoding.PEM).decode() for der in certificates)


def _parsed(der: bytes) -> x509.Certificate:
    if len(der) > _MAX_PEM:
        raise InvalidCertificateError(f"{len(der)} bytes are no certificate")
    try:
        return x509.load_der_x509_certificate(der)
    except _UNREADABLE as error:
        raise InvalidCertificateError("it is no certificate") from error


def _extensions(certificate: x509.Certificate) -> x509.Extensions:
    try:
        return certificate.extensions
    except _UNREADABLE as error:
        raise InvalidCertificateError("its extensions cannot be read") from error


def _utf8(raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        raise InvalidCertificateError("its OIDC issuer is no text") from error


def _der_utf8(raw: bytes) -> bytes:
    """Return what a UTF8String holds (X.690, 8.1 and 10.1)."""
    content = b""
    if len(raw) > 1 and raw[0] == _UTF8_STRING and raw[1] < _LONG_FORM:
        length, content = raw[1], raw[2:]
    elif len(raw) > 1 and raw[0] == _UTF8_STRING:
        width = raw[1] - _LONG_FORM
        length, content = int.from_bytes(raw[2 : 2 + width]), raw[2 + width :]
        if length < _LONG_FORM:
            content = b""
    else:
        length = 0
    if not content or len(content) != length:
        raise InvalidCertificateError("its OIDC issuer is no UTF8String")
    return content


def _require_authority(
    _policy: Policy, _certificate: x509.Certificate, constraints: x509.BasicConstraints
) -> None:
    if not constraints.ca:
        raise ValueError("it is no authority")


def _require_issuing(
    _policy: Policy, _certificate: x509.Certificate, usage: x509.KeyUsage | None
) -> None:
    if usage is not None and not usage.key_cert_sign:
        raise ValueError("it may not issue certificates")


def _require_code_signing(
    _policy: Policy, _certificate: x509.Certificate, usages: x509.ExtendedKeyUsage | None
) -> None:
    if usages is not None and _USAGES.isdisjoint(usages):
        raise ValueError("it is not for signing code")


def _require_no_authority(
    _policy: Policy, _certificate: x509.Certificate, constraints: x509.BasicConstraints | None
) -> None:
    if constraints is not None and constraints.ca:
        raise ValueError("it is an authority")


def _require_signing(
    _policy: Policy, _certificate: x509.Certificate, usage: x509.KeyUsage | None
) -> None:
    if usage is not None and not usage.digital_signature:
        raise ValueError("it may not sign")


_AUTHORITY = (
    ExtensionPolicy.permit_all()
    .require_present(x509.BasicConstraints, Criticality.AGNOSTIC, _require_authority)
    .may_be_present(x509.KeyUsage, Criticality.AGNOSTIC, _require_issuing)
    .may_be_present(x509.ExtendedKeyUsage, Criticality.AGNOSTIC, _require_code_signing)
)
_SIGNER = (
    ExtensionPolicy.permit_all()
    .may_be_present(x509.BasicConstraints, Criticality.AGNOSTIC, _require_no_authority)
    .may_be_present(x509.KeyUsage, Criticality.AGNOSTIC, _require_signing)
    .may_be_present(x509.ExtendedKeyUsage, Criticality.AGNOSTIC, _require_code_signing)
)
