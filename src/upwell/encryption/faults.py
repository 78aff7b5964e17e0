"""Errors of keys that lie elsewhere."""

from typing import ClassVar


class EncryptionKeyError(Exception):
    """A key is missing, or is the wrong one; the message names it and the next step."""

    reason: ClassVar[str] = "EncryptionKey"
    retryable: ClassVar[bool] = False


class WrongPinError(EncryptionKeyError):
    """A token refuses its PIN: whoever tries again and again locks it."""
