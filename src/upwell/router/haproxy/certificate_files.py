"""Certificates as files for the router: named by content, readable by us alone."""

import hashlib
import ssl
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class WrittenCertificates:
    """Paths of certificates written, and faults of others: one bad file would stop the router."""

    paths: Mapping[str, str]
    faults: Mapping[str, str]


class CertificateFiles:
    """A folder of PEM files; writing what is there already changes nothing."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def write(self, certificates: Sequence[str], authorities: Sequence[str]) -> WrittenCertificates:
        """Write certificates, each with its key, and authorities to trust; remove all other files.

        What a running process has loaded it does not read again.
        """
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        paths: dict[str, str] = {}
        faults: dict[str, str] = {}
        checks: dict[str, Callable[[Path], None]] = dict.fromkeys(certificates, _check_certificate)
        checks.update(dict.fromkeys(authorities, _check_authority))
        for text, check in checks.items():
            path = self._folder / f"{hashlib.sha256(text.encode()).hexdigest()[:32]}.pem"
            if not path.exists() and (fault := _publish(text, path, check)):
                faults[text] = fault
            else:
                paths[text] = str(path)
        for path in self._folder.iterdir():
            if str(path) not in paths.values():
                path.unlink()
        return WrittenCertificates(paths, faults)


def _publish(text: str, path: Path, check: Callable[[Path], None]) -> str:
    """Write the file if it is of use; else say why it is not."""
    draft = path.with_suffix(".new")
    draft.unlink(missing_ok=True)
    draft.touch(mode=0o600)
    draft.write_text(text)
    try:
        check(draft)
    except (ssl.SSLError, ValueError) as error:
        draft.unlink()
        return getattr(error, "reason", None) or str(error)
    draft.replace(path)
    return ""


def _check_certificate(path: Path) -> None:
    # An empty password: without one, OpenSSL would ask the terminal for that of an encrypted key.
    ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(path, password="")


def _check_authority(path: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(path)
    if not context.cert_store_stats()["x509_ca"]:
        raise ValueError("it has no certificate of an authority")
