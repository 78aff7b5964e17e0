"""Opens what signs without a key of its own, as the settings say."""

import ssl
from contextlib import AsyncExitStack
from pathlib import Path

from upwell.app.data_folder import DataFolderError
from upwell.app.outbound import outbound_policy, place_of
from upwell.formats.sigstore import (
    CertificateAuthorities,
    InvalidCertificateError,
    InvalidPublicKeyError,
    SignatureKey,
    TrustedFulcio,
)
from upwell.machine.clock import now
from upwell.outbound.dialing import Dialer
from upwell.outbound.provider_requests import ProviderClient
from upwell.settings import ServerSettings
from upwell.settings.keyless import KeylessSettings
from upwell.signing.keyless import KeylessSigner
from upwell.signing.sigstore_services import SigstoreServices

_SECONDS = 30.0
"""For one request: an entry about a list of many packages is large."""


async def open_keyless(settings: ServerSettings, stack: AsyncExitStack) -> KeylessSigner | None:
    """Return the signer until the stack ends; None where there is none.

    Nothing is asked before it has to be. Raises OSError or DataFolderError.
    """
    keyless = settings.keyless
    if not keyless.fulcio or not settings.signing.enabled or keyless.identity_token_file is None:
        return None
    trust = _trust(keyless)
    places = [place_of(keyless.fulcio), place_of(keyless.rekor)]
    dialer = Dialer(outbound_policy(settings).also(places))
    stack.callback(dialer.close)
    authorities = ssl.create_default_context()
    if keyless.ca_file is not None:
        authorities.load_verify_locations(keyless.ca_file)
    client = await stack.enter_async_context(ProviderClient.open(dialer, authorities, _SECONDS))
    services = SigstoreServices(client, keyless.fulcio.rstrip("/"), keyless.rekor.rstrip("/"))
    return KeylessSigner(services, keyless.identity_token_file, trust, now)


def _trust(keyless: KeylessSettings) -> TrustedFulcio:
    """Return what the services' answers have to satisfy."""
    try:
        authorities = CertificateAuthorities.parse(_content(keyless.fulcio_ca_file))
        log = (SignatureKey.parse(_content(keyless.rekor_key_file)),)
    except InvalidCertificateError as error:
        raise DataFolderError(f"[keyless] fulcio-ca-file: {error}") from error
    except InvalidPublicKeyError as error:
        raise DataFolderError(f"[keyless] rekor-key-file: {error}") from error
    identity = keyless.identity
    if "://" in identity:
        return TrustedFulcio(authorities, log, keyless.issuer, is_signer=identity.__eq__)
    return TrustedFulcio(authorities, log, keyless.issuer, identity)


def _content(path: Path | None) -> bytes:
    return path.read_bytes() if path is not None else b""
