"""Key files of the data folder, sealed: each by a data key of its own, which lies in it, wrapped.

So a file is opened without any database, of whatever age that is, and what wraps data keys is asked
once for it. A sealed file is JSON; no key is.
"""

import base64
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from secrets import token_bytes
from threading import Lock

from upwell.encryption.faults import EncryptionKeyError
from upwell.encryption.keyring import Keyring
from upwell.encryption.sealing import KEY_BYTES, DataKey, Sealer, SealError, open_bare, place
from upwell.machine.private_file import DamagedFileError, PrivateFiles, write_private

_VERSION = 2
_BARE_VERSION = 1
"""Of an earlier version, whose content has no form of its own."""
_BEGIN = b"{"
_OVERHEAD = 128 * 1024
"""Bytes that a sealed file may have above twice its content: a program may wrap at length."""


@dataclass(frozen=True, slots=True)
class _Sealed:
    """A file as it is kept."""

    source: str
    wrapped: bytes
    content: bytes
    is_bare: bool = False

    @classmethod
    def parse(cls, raw: bytes, path: Path) -> "_Sealed":
        """Read it; raises DamagedFileError."""
        try:
            document = json.loads(raw)
            version = document["version"]
            if version not in {_VERSION, _BARE_VERSION}:
                raise DamagedFileError(path, "another version of Upwell has sealed it")
            wrapped, content = (
                base64.b64decode(document[name], validate=True) for name in ("wrapped", "sealed")
            )
            return cls(str(document["source"]), wrapped, content, version == _BARE_VERSION)
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise DamagedFileError(path, "it is not what was sealed") from error

    def encode(self) -> str:
        document = {
            "version": _VERSION,
            "source": self.source,
            "wrapped": base64.b64encode(self.wrapped).decode(),
            "sealed": base64.b64encode(self.content).decode(),
        }
        return f"{json.dumps(document, indent=1)}\n"


class SealedFiles(PrivateFiles):
    """Files of one data folder, sealed where the settings name a key.

    All methods raise EncryptionKeyError where a key is missing, having changed nothing.
    """

    def __init__(self, keyring: Keyring) -> None:
        self._keyring = keyring
        self._known: dict[Path, None] = {}
        self._lock = Lock()
        """Held while one is written: a rotation puts back what it has read before."""

    def read(self, path: Path, limit: int) -> bytes:
        """Return the content of a file, sealed or not; raises OSError or DamagedFileError."""
        return self._read(path, limit)[0]

    def settle(self, path: Path, content: bytes) -> None:
        """See that a file that was read, and is whole, is kept as it shall be; raises OSError."""
        with self._lock:
            self._known[path] = None
            kept, is_current = self._read(path, len(content))
            if kept != content or is_current:
                return
            with path.open("r+b") as old:
                self._write(path, content)
                _overwrite(old.fileno())  # a plain key, or one by a key that goes, is left nowhere

    def write(self, path: Path, content: bytes) -> None:
        """Write a whole file; raises OSError."""
        with self._lock:
            self._known[path] = None
            self._write(path, content)

    def rotate(self) -> Sequence[Path]:
        """Seal each file by a new data key; raises OSError or DamagedFileError. Return which."""
        for path in tuple(self._known):
            with self._lock:
                self._write(path, self._read(path, _OVERHEAD)[0])
        return tuple(self._known)

    def _read(self, path: Path, limit: int) -> tuple[bytes, bool]:
        """Return the content, and whether it is kept as it shall be."""
        raw = super().read(path, 2 * limit + _OVERHEAD)
        if not raw.startswith(_BEGIN):
            return raw[: limit + 1], not self._keyring.encrypts
        sealed = _Sealed.parse(raw, path)
        found = self._keyring.unwrap(sealed.wrapped)
        if found is None:
            raise EncryptionKeyError(
                f"{path} is encrypted, and its key {sealed.source} is not among those of the"
                f" settings ({self._keyring}): name that key in [encryption] keys, or restore it"
                " from a copy; nothing was changed"
            )
        key, is_first = found
        try:
            if sealed.is_bare:
                bound = f"upwell file\0{path.name}".encode()
                return open_bare(key, sealed.content, bound), is_first
            return Sealer(DataKey.of(key)).open_at(_place(path), sealed.content), is_first
        except SealError as error:
            raise DamagedFileError(path, "it is not what was sealed") from error

    def _write(self, path: Path, content: bytes) -> None:
        key = token_bytes(KEY_BYTES)
        wrapped = self._keyring.wrap(key)
        if wrapped is None:
            write_private(path, content)
            return
        sealed = Sealer(DataKey.of(key)).seal(_place(path), content)
        write_private(path, _Sealed(self._keyring.first, wrapped, sealed).encode())


def _place(path: Path) -> bytes:
    """Return what a file's content is sealed for: one key is not put in another's place."""
    return place("file", path.name)


def _overwrite(descriptor: int) -> None:
    """Overwrite a file whose name is gone, as far as its file system does that in place."""
    size = os.fstat(descriptor).st_size
    os.pwrite(descriptor, bytes(size), 0)
    os.fsync(descriptor)
