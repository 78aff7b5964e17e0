"""Roots of trust of image policies: the fields of OpenShift's API, read and bounded."""

import base64
import binascii
import re
from datetime import datetime
from typing import assert_never

from upwell.api.image_policies.policy import (
    FulcioRoot,
    PkiRoot,
    PolicyType,
    PublicKeyRoot,
    RootOfTrust,
)
from upwell.formats.regular_expressions import InvalidExpressionError, RegularExpression
from upwell.formats.sigstore import (
    CertificateAuthorities,
    InvalidCertificateError,
    InvalidPublicKeyError,
    SignatureKey,
    TrustedAuthorities,
    TrustedFulcio,
    TrustedKeys,
    TrustRoot,
)

MAX_KEYS = 16
"""Keys of one policy."""
_PEM = re.compile(rb"-----BEGIN PUBLIC KEY-----.*?-----END PUBLIC KEY-----", re.DOTALL)


class InvalidRootError(ValueError):
    """A root of trust cannot be used; `field` is the path below rootOfTrust."""

    def __init__(self, field: str, why: str) -> None:
        super().__init__(f"{field}: {why}")
        self.field = field
        self.why = why


def root_of_trust(root: RootOfTrust, now: datetime) -> TrustRoot:
    """Return what judges signatures at a time; raises InvalidRootError."""
    try:
        kind = PolicyType(root.policy_type)
    except ValueError as error:
        known = ", ".join(PolicyType)
        raise InvalidRootError("policyType", f"{root.policy_type!r} is none of {known}") from error
    match kind:
        case PolicyType.PUBLIC_KEY:
            return _keys(root.public_key or PublicKeyRoot())
        case PolicyType.FULCIO:
            return _fulcio(root.fulcio_ca_with_rekor or FulcioRoot())
        case PolicyType.PKI:
            return _own(root.pki or PkiRoot(), now)
        case _:
            assert_never(kind)


def _keys(root: PublicKeyRoot) -> TrustedKeys:
    log = root.rekor_key_data
    return TrustedKeys(
        _public_keys(root.key_data, "publicKey.keyData"),
        _public_keys(log, "publicKey.rekorKeyData") if log else (),
    )


def _fulcio(root: FulcioRoot) -> TrustedFulcio:
    subject, at = root.fulcio_subject, "fulcioCAWithRekor.fulcioSubject"
    if not subject.oidc_issuer:
        raise InvalidRootError(f"{at}.oidcIssuer", "required: the issuer of the identity, a URL")
    if bool(subject.signed_email) == bool(subject.signed_uri):
        raise InvalidRootError(f"{at}.signedEmail", "required: this, or signedURI, and not both")
    try:
        expression = RegularExpression(subject.signed_uri) if subject.signed_uri else None
    except InvalidExpressionError as error:
        raise InvalidRootError(f"{at}.signedURI", str(error)) from error
    return TrustedFulcio(
        _authorities(root.fulcio_ca_data, "", "fulcioCAWithRekor.fulcioCAData"),
        _public_keys(root.rekor_key_data, "fulcioCAWithRekor.rekorKeyData"),
        subject.oidc_issuer,
        subject.signed_email,
        expression.fullmatch if expression is not None else None,
    )


def _own(root: PkiRoot, now: datetime) -> TrustedAuthorities:
    subject = root.pki_certificate_subject
    if not subject.email and not subject.hostname:
        where = "pki.pkiCertificateSubject"
        raise InvalidRootError(where, "required: email or hostname, or both")
    return TrustedAuthorities(
        _authorities(root.ca_roots_data, root.ca_intermediates_data, "pki.caRootsData"),
        now,
        subject.email,
        subject.hostname,
    )


def _authorities(roots: str, intermediates: str, field: str) -> CertificateAuthorities:
    try:
        return CertificateAuthorities.parse(_decoded(roots, field), _decoded(intermediates, field))
    except InvalidCertificateError as error:
        raise InvalidRootError(field, str(error)) from error


def _public_keys(text: str, field: str) -> tuple[SignatureKey, ...]:
    if not text:
        raise InvalidRootError(field, "required: public keys in PEM, in base64")
    blocks: list[bytes] = _PEM.findall(_decoded(text, field))
    if not blocks:
        raise InvalidRootError(field, "it has no PUBLIC KEY in PEM")
    if len(blocks) > MAX_KEYS:
        raise InvalidRootError(field, f"it has {len(blocks)} keys, more than {MAX_KEYS}")
    try:
        return tuple(map(SignatureKey.parse, blocks))
    except InvalidPublicKeyError as error:
        raise InvalidRootError(field, str(error)) from error


def _decoded(text: str, field: str) -> bytes:
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidRootError(field, f"it is not base64: {error}") from error
