"""The server's certificate: the administrator's own, or one of an authority made here.

A generated authority lives as long as the data directory, so clients trust it once; the server's
certificate is renewed from it well before it ends, and whenever the names change.
"""

import asyncio
import ipaddress
import logging
import ssl
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Self

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from upwell.formats.pem import private_pem
from upwell.machine.private_file import make_private, write_private

log = logging.getLogger(__name__)

_AUTHORITY_LIFE = timedelta(days=3650)
_SERVER_LIFE = timedelta(days=397)
"""The longest that Apple's and others' TLS stacks accept."""
_RENEW_BEFORE = timedelta(days=60)
_BACKDATE = timedelta(hours=1)
"""For clients whose clocks are behind."""
_CHECK_SECONDS = 12 * 3600.0


class CertificateError(Exception):
    """A certificate or its key cannot be used; the message names the file."""


@dataclass(frozen=True, slots=True)
class Certificate:
    """Files in PEM; `authority` is what clients have to trust, unless the system does already."""

    chain: Path
    key: Path
    authority: Path | None = None


def certificate_digest(chain: Path) -> str:
    """Return the SHA-256 of a certificate file's first one (DER), in hex.

    Raises OSError or CertificateError.
    """
    try:
        certificate = x509.load_pem_x509_certificate(chain.read_bytes())
    except ValueError as error:
        raise CertificateError(f"{chain} is no certificate in PEM") from error
    return certificate.fingerprint(hashes.SHA256()).hex()


type RenewCertificate = Callable[[], Awaitable[Certificate]]
"""Returns the certificate that is to be used now; made anew where that is due."""


def server_context(certificate: Certificate) -> ssl.SSLContext:
    """Return how the server speaks TLS; raises CertificateError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    load(context, certificate)
    return context


def load(context: ssl.SSLContext, certificate: Certificate) -> None:
    """Use the certificate for new connections; raises CertificateError."""
    try:
        context.load_cert_chain(certificate.chain, certificate.key)
    except (OSError, ssl.SSLError) as error:
        why = error.strerror or "not a certificate and its key"
        raise CertificateError(f"{certificate.chain} and {certificate.key}: {why}") from error


async def keep_fresh(
    context: ssl.SSLContext,
    renew: RenewCertificate,
    seconds: float = _CHECK_SECONDS,
) -> None:
    """Renew the certificate in time, for ever; `renew` returns what is to be used now."""
    while True:
        await asyncio.sleep(seconds)
        load(context, await renew())


def generated(folder: Path, names: Sequence[str], now: datetime) -> Certificate:
    """Return a certificate for host names and addresses from `folder`, making what is missing.

    Raises CertificateError when the folder holds something else.
    """
    folder.mkdir(mode=0o700, exist_ok=True)
    authority = _authority_of(folder)
    issuer = _read(*authority)
    if issuer is None or issuer.ends_before(now + _RENEW_BEFORE):
        issuer = _make_authority(now)
        _write(issuer, *authority)
    return _issued(folder, issuer, names, now, authority[0])


@dataclass(frozen=True, slots=True)
class SharedAuthority:
    """Authority that issues the certificates of several servers, as PEM texts."""

    certificate: str
    key: str = field(repr=False)

    @classmethod
    def new(cls, now: datetime) -> Self:
        """Return one that was never used."""
        made = _make_authority(now)
        return cls(made.public_pem().decode(), made.private_pem().decode())

    @classmethod
    def parse(cls, certificate: bytes, key: bytes) -> Self:
        """Return one from its PEM texts; raises CertificateError."""
        try:
            pair = _parse(certificate, key)
        except _UNREADABLE as error:
            raise CertificateError(f"not an authority and its key: {error}") from error
        return cls(pair.public_pem().decode(), pair.private_pem().decode())

    def is_due(self, now: datetime) -> bool:
        """Return True if another has to be made in its place; raises CertificateError."""
        return self._pair().ends_before(now + 2 * _RENEW_BEFORE)

    def issue(self, folder: Path, names: Sequence[str], now: datetime) -> Certificate:
        """Return a server's certificate for names and addresses, kept in `folder` while it holds.

        Raises CertificateError.
        """
        folder.mkdir(mode=0o700, exist_ok=True)
        return _issued(folder, self._pair(), names, now)

    def _pair(self) -> "_Pair":
        try:
            return _parse(self.certificate.encode(), self.key.encode())
        except _UNREADABLE as error:
            raise CertificateError(
                f"an authority that replicas share is damaged: {error}"
            ) from error


def kept_authority(folder: Path) -> SharedAuthority | None:
    """Return the authority of a folder of `generated`; None: it has none yet.

    Raises CertificateError when the folder holds something else.
    """
    pair = _read(*_authority_of(folder))
    if pair is None:
        return None
    return SharedAuthority(pair.public_pem().decode(), pair.private_pem().decode())


def keep_authority(folder: Path, authority: SharedAuthority) -> None:
    """Have `generated` issue by this authority in a folder; raises OSError or CertificateError."""
    folder.mkdir(mode=0o700, exist_ok=True)
    _write(_parse(authority.certificate.encode(), authority.key.encode()), *_authority_of(folder))


def _authority_of(folder: Path) -> tuple[Path, Path]:
    return folder / "ca.pem", folder / "ca.key"


def _issued(
    folder: Path,
    issuer: "_Pair",
    names: Sequence[str],
    now: datetime,
    authority: Path | None = None,
) -> Certificate:
    server = Certificate(folder / "server.pem", folder / "server.key", authority)
    present = _read_derived(server.chain, server.key)
    if present is None or not present.serves(issuer, names, now + _RENEW_BEFORE):
        _write(_make_server(issuer, names, now), server.chain, server.key)
    return server


@dataclass(frozen=True, slots=True)
class _Pair:
    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    def public_pem(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    def private_pem(self) -> bytes:
        return private_pem(self.key)

    def ends_before(self, then: datetime) -> bool:
        return self.certificate.not_valid_after_utc < then

    def serves(self, issuer: "_Pair", names: Sequence[str], until: datetime) -> bool:
        found = self.certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
        wanted = x509.SubjectAlternativeName(_general_names(names))
        ours = self.certificate.issuer == issuer.certificate.subject
        return ours and found.value == wanted and not self.ends_before(until)


def _read_derived(chain: Path, key: Path) -> _Pair | None:
    """Return the pair; None for a damaged one, as the authority makes another."""
    try:
        return _read(chain, key)
    except CertificateError as error:
        log.warning("certificate is made anew", extra={"file": str(chain), "why": str(error)})
        return None


def _read(chain: Path, key: Path) -> _Pair | None:
    if not chain.exists() or not key.exists():
        return None
    make_private(key)
    try:
        return _parse(chain.read_bytes(), key.read_bytes())
    except _ForeignKeyError as error:
        message = f"{key} was not made by Upwell: name it with --tls-key instead"
        raise CertificateError(message) from error
    except _UNREADABLE as error:
        raise _damaged(chain, key) from error


class _ForeignKeyError(ValueError):
    """A key of another kind than those that are made here."""


_UNREADABLE = (ValueError, TypeError, UnsupportedAlgorithm)


def _parse(certificate_pem: bytes, key_pem: bytes) -> _Pair:
    """Return a certificate and its key; raises one of `_UNREADABLE`."""
    certificate = x509.load_pem_x509_certificate(certificate_pem)
    private = serialization.load_pem_private_key(key_pem, password=None)
    if not isinstance(private, ec.EllipticCurvePrivateKey):
        raise _ForeignKeyError("not a key of an elliptic curve")
    if certificate.public_key() != private.public_key():
        raise ValueError("the key is not that of the certificate")
    return _Pair(certificate, private)


def _damaged(chain: Path, key: Path) -> CertificateError:
    return CertificateError(
        f"{chain} or {key} is damaged: restore both from a copy, or remove both and start again"
        " (clients that trust the old authority have to trust the new one then)"
    )


def _write(pair: _Pair, chain: Path, key: Path) -> None:
    """Write the key first: a certificate without its key would be of no use after a crash."""
    private, public = pair.private_pem(), pair.public_pem()
    chain.unlink(missing_ok=True)
    for path, content, mode in ((key, private, 0o600), (chain, public, 0o644)):
        write_private(path, content, mode=mode)


def _make_authority(now: datetime) -> _Pair:
    key = ec.generate_private_key(ec.SECP256R1())
    # The number tells a new authority from an old one that clients still trust.
    name = _subject(f"Upwell {x509.random_serial_number():x}"[:40])
    usage = {"key_cert_sign": True, "crl_sign": True}
    certificate = (
        _builder(name, name, key, now, _AUTHORITY_LIFE)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(usage), critical=True)
        .sign(key, hashes.SHA256())
    )
    return _Pair(certificate, key)


def _make_server(issuer: _Pair, names: Sequence[str], now: datetime) -> _Pair:
    key = ec.generate_private_key(ec.SECP256R1())
    life = min(_SERVER_LIFE, issuer.certificate.not_valid_after_utc - now)
    issuer_key = x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.key.public_key())
    server = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])
    certificate = (
        _builder(_subject("upwell"), issuer.certificate.subject, key, now, life)
        .add_extension(x509.SubjectAlternativeName(_general_names(names)), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage({"digital_signature": True}), critical=True)
        .add_extension(server, critical=False)
        .add_extension(issuer_key, critical=False)
        .sign(issuer.key, hashes.SHA256())
    )
    return _Pair(certificate, key)


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    now: datetime,
    life: timedelta,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACKDATE)
        .not_valid_after(now + life)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _subject(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _key_usage(allowed: dict[str, bool]) -> x509.KeyUsage:
    usages = (
        "digital_signature content_commitment key_encipherment data_encipherment key_agreement"
        " key_cert_sign crl_sign encipher_only decipher_only"
    )
    return x509.KeyUsage(**{usage: allowed.get(usage, False) for usage in usages.split()})


def _general_names(names: Sequence[str]) -> list[x509.GeneralName]:
    return [_general_name(name) for name in dict.fromkeys(names)]


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)
