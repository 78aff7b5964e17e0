"""Roots of trust: keys, Fulcio with a log, and authorities that are somebody's own; pure.

They judge as containers/image does (signature/policy_eval_sigstore.go).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from upwell.formats.sigstore.certificates import (
    CertificateAuthorities,
    InvalidCertificateError,
    SignerCertificate,
)
from upwell.formats.sigstore.keys import SignatureKey
from upwell.formats.sigstore.log_body import SignedContent, tells_of
from upwell.formats.sigstore.log_entry import NotLoggedError
from upwell.formats.sigstore.proof import SigningProof


class UntrustedSignatureError(ValueError):
    """A signature is none that a root of trust accepts; the message says why."""


@dataclass(frozen=True, slots=True)
class SignedBy:
    """Signer of something, as far as the root of trust knows."""

    identity: str = ""
    """Email address, URI or host; empty: a key."""
    issuer: str = ""
    """Issuer that has vouched for the identity, as a URL."""
    logged: datetime | None = None

    def __str__(self) -> str:
        if not self.identity:
            return ""
        issuer = f" at issuer {self.issuer}" if self.issuer else ""
        logged = f", logged at {self.logged:%Y-%m-%dT%H:%M:%SZ}" if self.logged else ""
        return f"signed by {self.identity}{issuer}{logged}"


class TrustRoot(Protocol):
    """Says by whom something is signed."""

    def signer(self, content: SignedContent, proof: SigningProof) -> SignedBy:
        """Return the signer; raises UntrustedSignatureError."""
        ...


@dataclass(frozen=True, slots=True)
class TrustedKeys:
    """Keys, each of which is good; with keys of a log, it has to have the signature too."""

    keys: tuple[SignatureKey, ...]
    log: tuple[SignatureKey, ...] = ()

    def signer(self, content: SignedContent, proof: SigningProof) -> SignedBy:
        """Return the signer; raises UntrustedSignatureError."""
        made = [
            (key, one)
            for key in self.keys
            for one in content.signatures
            if key.verifies(one, content.signed)
        ]
        if not made:
            raise UntrustedSignatureError("no key of the policy has signed it")
        if not self.log:
            return SignedBy()
        for entry in proof.entries:
            if any(tells_of(entry.body, content, one, key) for key, one in made):
                try:
                    entry.require_logged(self.log)
                except NotLoggedError as error:
                    raise UntrustedSignatureError(str(error)) from error
                return SignedBy()
        raise UntrustedSignatureError("it has no entry of the log that is about its signature")


@dataclass(frozen=True, slots=True)
class TrustedFulcio:
    """Authorities of Fulcio, and the keys of a log that says when they counted."""

    authorities: CertificateAuthorities
    log: tuple[SignatureKey, ...]
    issuer: str
    email: str = ""
    """Address that has signed, to the letter; empty: see `is_signer`."""
    is_signer: Callable[[str], bool] | None = None
    """Says whether a URI is one that may have signed."""

    def signer(self, content: SignedContent, proof: SigningProof) -> SignedBy:
        """Return the signer; raises UntrustedSignatureError."""
        certificate = _shown(proof)
        why = "it has no entry of the log that is about its signature"
        for entry in proof.entries:
            try:
                signature = _made_by(certificate, content)
                if not tells_of(entry.body, content, signature, certificate):
                    continue
                logged = entry.time(self.log)
                identity = self.identity(certificate, proof.certificates[1:], logged)
                return SignedBy(identity, self.issuer, logged)
            except (NotLoggedError, InvalidCertificateError) as error:
                why = str(error)
        raise UntrustedSignatureError(why)

    def identity(self, certificate: SignerCertificate, shown: Sequence[bytes], at: datetime) -> str:
        """Return whom a certificate is for, if it counted then; raises InvalidCertificateError.

        `shown` are those between it and an authority, in DER.
        """
        self.authorities.require_issued(certificate, shown, at)
        issuer = certificate.oidc_issuer()
        if issuer != self.issuer:
            raise InvalidCertificateError(f"it is signed at the issuer {_quoted(issuer)}")
        for one in certificate.emails() if self.email else certificate.uris():
            if one and self._is_trusted(one):
                return one
        names = [*certificate.emails(), *certificate.uris()]
        raise InvalidCertificateError(f"it is signed by {_listed(names)}")

    def _is_trusted(self, name: str) -> bool:
        if self.email:
            return name == self.email
        return self.is_signer is not None and self.is_signer(name)


@dataclass(frozen=True, slots=True)
class TrustedAuthorities:
    """Authorities of somebody's own, whose certificates have to be valid at the time `now`."""

    authorities: CertificateAuthorities
    now: datetime
    email: str = ""
    host: str = ""

    def signer(self, content: SignedContent, proof: SigningProof) -> SignedBy:
        """Return the signer; raises UntrustedSignatureError."""
        certificate = _shown(proof)
        try:
            _made_by(certificate, content)
            self.authorities.require_issued(certificate, proof.certificates[1:], self.now)
            self._require_named(certificate)
        except InvalidCertificateError as error:
            raise UntrustedSignatureError(str(error)) from error
        return SignedBy(self.email or self.host)

    def _require_named(self, certificate: SignerCertificate) -> None:
        emails = certificate.emails()
        if self.email and self.email not in emails:
            raise InvalidCertificateError(f"it is signed by {_listed(emails)}")
        hosts = certificate.hosts()
        if self.host and not any(_is_host(one, self.host) for one in hosts):
            raise InvalidCertificateError(f"it is signed by {_listed(hosts)}")


def _shown(proof: SigningProof) -> SignerCertificate:
    if not proof.certificates:
        raise UntrustedSignatureError("it is signed without a certificate")
    try:
        return SignerCertificate.parse(proof.certificates[0])
    except InvalidCertificateError as error:
        raise UntrustedSignatureError(f"its certificate: {error}") from error


def _made_by(certificate: SignerCertificate, content: SignedContent) -> bytes:
    """Return the signature that the holder of a certificate has made."""
    key = certificate.key()
    for one in content.signatures:
        if key.verifies(one, content.signed):
            return one
    raise InvalidCertificateError("its signature is not of its certificate's key")


def _is_host(pattern: str, host: str) -> bool:
    """Return True if a name of a certificate is about a host (RFC 6125, 6.4)."""
    pattern, host = pattern.lower().rstrip("."), host.lower().rstrip(".")
    if pattern.startswith("*."):
        return host.partition(".")[2] == pattern[2:] and not host.startswith(".")
    return pattern == host


def _listed(names: Sequence[str]) -> str:
    return ", ".join(map(_quoted, names[:3])) or "somebody else"


def _quoted(text: str) -> str:
    return repr(text[:200])
