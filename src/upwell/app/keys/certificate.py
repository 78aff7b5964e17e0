"""The certificate of the API: the administrator's own, or a generated one.

On a cluster, one authority issues the generated certificates of all replicas: who trusts it trusts
whichever of them answers.
"""

import asyncio
import logging
import socket
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from upwell.app.kubernetes.shared_keys import KeyEntries, SharedKeys
from upwell.server.asgi.mixed_tls import TLS_NAME
from upwell.server.asgi.tls import (
    Certificate,
    CertificateError,
    RenewCertificate,
    SharedAuthority,
    generated,
    keep_authority,
    kept_authority,
)
from upwell.settings import ServerSettings

log = logging.getLogger(__name__)

_CERTIFICATE, _KEY = "tls-ca.crt", "tls-ca.key"


@dataclass(frozen=True, slots=True)
class ServerCertificate:
    """The API's certificate as of now, and what renews one that is generated."""

    current: Certificate
    renewal: RenewCertificate | None
    """None: it is the administrator's own."""


async def server_certificate(
    settings: ServerSettings, clock: Callable[[], datetime], shared: SharedKeys | None = None
) -> ServerCertificate:
    """Return the certificate, generated where there is none.

    Raises OSError, CertificateError or, on a cluster, a StoreError.
    """
    access = settings.access
    if access.tls_cert is not None and access.tls_key is not None:
        return ServerCertificate(Certificate(access.tls_cert, access.tls_key), None)

    async def renewal() -> Certificate:
        if shared is not None:
            await _share_authority(shared, settings.data_dir / "tls", clock())
        return await asyncio.to_thread(_generate, settings, clock())

    return ServerCertificate(await renewal(), renewal)


async def _share_authority(shared: SharedKeys, folder: Path, now: datetime) -> None:
    """Have the folder hold the authority of all replicas; its own may become that."""
    own = await asyncio.to_thread(kept_authority, folder)

    def change(found: KeyEntries) -> KeyEntries:
        authority = _authority_in(found, shared.name) or own
        if authority is None or authority.is_due(now):
            authority = SharedAuthority.new(now)
        pair = {_CERTIFICATE: authority.certificate.encode(), _KEY: authority.key.encode()}
        return {**found, **pair}

    entries = await shared.agree(change)
    agreed = _authority_in(entries, shared.name)
    shared.remember({name: entries[name] for name in (_CERTIFICATE, _KEY)})
    if agreed is not None and agreed != own:
        if own is not None:
            log.warning(
                "the authority of all replicas takes the place of the folder's own: clients that"
                " trust that one have to trust the other",
                extra={"folder": str(folder)},
            )
        await asyncio.to_thread(keep_authority, folder, agreed)


def _authority_in(entries: KeyEntries, where: str) -> SharedAuthority | None:
    """Return the authority among entries of the Secret; raises CertificateError."""
    if _CERTIFICATE not in entries and _KEY not in entries:
        return None
    try:
        return SharedAuthority.parse(entries[_CERTIFICATE], entries[_KEY])
    except (KeyError, CertificateError) as error:
        raise CertificateError(
            f"{_CERTIFICATE} and {_KEY} in {where} are no authority: restore both from a copy, or"
            " remove both and start all replicas again (clients have to trust the new one then)"
        ) from error


def _generate(settings: ServerSettings, now: datetime) -> Certificate:
    hosts = [name.strip("[]") for name in (*settings.local_names, "localhost", "127.0.0.1")]
    names = [*hosts, socket.gethostname(), TLS_NAME, *settings.certificate_names]
    return generated(settings.data_dir / "tls", names, now)
