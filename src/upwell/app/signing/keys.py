"""Opens the key that signs images, as the settings say."""

from upwell.app.data_folder import DataFolderError
from upwell.settings import ServerSettings
from upwell.signing.keys import SigningKeyError, SigningKeys


def open_signing_keys(settings: ServerSettings) -> SigningKeys | None:
    """Return the keys; None where nothing is signed. Raises OSError or DataFolderError."""
    if not settings.signing.enabled:
        return None
    try:
        return SigningKeys(settings.data_dir, settings.signing.key)
    except SigningKeyError as error:
        raise DataFolderError(str(error)) from error
