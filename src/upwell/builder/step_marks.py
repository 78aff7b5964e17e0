"""Marks that part the steps of builds which must not take each other's place in the layers.

Buildah finds a step again by the history before it, in all images that it has: pulled ones too. A
mark is in that history. It follows from a key that stays here, so that nobody who has not seen an
image of a build can make one that passes for its steps.
"""

import hashlib
import hmac
from contextlib import suppress
from pathlib import Path
from secrets import token_bytes

from upwell.machine.private_file import write_private

_KEY_BYTES = 32


class StepMarks:
    """Makes marks by a key in a file, which is made at first use."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._key = b""

    def of(self, scope: str) -> str:
        """Return the mark of a scope, hexadecimal; empty for none. Raises OSError."""
        if not scope:
            return ""
        self._key = self._key or self._kept()
        return hmac.new(self._key, scope.encode(), hashlib.sha256).hexdigest()

    def _kept(self) -> bytes:
        with suppress(FileNotFoundError):
            if len(key := self._path.read_bytes()) == _KEY_BYTES:
                return key
        key = token_bytes(_KEY_BYTES)
        write_private(self._path, key)
        return key
