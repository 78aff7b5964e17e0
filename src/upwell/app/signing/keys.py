"""Opens the key that signs images, as the settings say."""

import asyncio
from collections.abc import Sequence

from upwell.app.data_folder import DataFolderError
from upwell.machine.private_file import PrivateFiles
from upwell.server.signing.image_signing_keys import ImageSigningKeys
from upwell.settings import ServerSettings
from upwell.signing.keys import SigningKeyError, SigningKeys
from upwell.store.interface import RejectedError


def open_signing_keys(settings: ServerSettings, files: PrivateFiles) -> SigningKeys | None:
    """Return the keys; None where nothing is signed. Raises OSError or DataFolderError.

    `files` keeps the private one.
    """
    if not settings.signing.enabled:
        return None
    try:
        return SigningKeys(settings.data_dir, settings.signing.key, files)
    except SigningKeyError as error:
        raise DataFolderError(str(error)) from error


def served_keys(keys: SigningKeys | None) -> ImageSigningKeys | None:
    """Return what the API tells of the keys, and how it asks for another one."""
    if keys is None:
        return None
    lock = asyncio.Lock()

    def public() -> Sequence[bytes]:
        return [key.pem() for key in keys.signer.keys]

    async def rotate() -> None:
        async with lock:
            try:
                await asyncio.to_thread(keys.rotate)
            except (SigningKeyError, OSError) as error:
                raise RejectedError(str(error)) from error

    return ImageSigningKeys(public, rotate)
