"""Keys that wrap data keys; they lie outside the data folder: a file, a credential, a program.

Named in the settings by a text: `file:PATH`, `credential:NAME` (systemd.exec(5), LoadCredential=),
`exec:PROGRAM`, or `none`.
"""

import base64
import binascii
import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from secrets import token_bytes
from typing import Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from upwell.machine.private_file import is_open_to_others, write_private
from upwell.store.interface import StoreError

KEY_BYTES = 32
_NONCE_BYTES = 12
_PURPOSE = b"upwell data key"
_MAX_FILE_BYTES = 4096
_SECONDS = 30
_MAX_OUTPUT = 64 * 1024
_MAKE = "`upwell encryption new-key FILE` makes one"


class EncryptionKeyError(StoreError):
    """A key is missing, or is the wrong one; the message names it and the next step."""

    reason = "EncryptionKey"


class InvalidKeySourceError(ValueError):
    """The text names no key."""


class WrappingKey(Protocol):
    """A key that data keys are wrapped by; what is wrapped can be kept anywhere."""

    def wrap(self, data_key: bytes) -> bytes:
        """Wrap a data key; raises EncryptionKeyError."""
        ...

    def unwrap(self, wrapped: bytes) -> bytes | None:
        """Return the data key; None if another key wrapped it. Raises EncryptionKeyError."""
        ...


@dataclass(frozen=True, slots=True)
class KeySource:
    """Place of a wrapping key."""

    kind: str
    value: str

    @classmethod
    def parse(cls, text: str) -> "KeySource":
        """Return the source that a text names; raises InvalidKeySourceError."""
        kind, _, value = text.partition(":")
        if text == "none":
            return cls("none", "")
        if kind in {"file", "exec"} and Path(value).is_absolute():
            return cls(kind, value)
        if kind == "credential" and value and "/" not in value:
            return cls(kind, value)
        raise InvalidKeySourceError(
            f"{text!r} is none of file:/PATH, credential:NAME, exec:/PROGRAM and none"
        )

    def __str__(self) -> str:
        return f"{self.kind}:{self.value}" if self.value else self.kind

    def open(self, data_folder: Path) -> WrappingKey | None:
        """Return the key; None for `none`. Raises EncryptionKeyError.

        A key in `data_folder` would be copied with what it protects, and is refused.
        """
        match self.kind:
            case "none":
                return None
            case "exec":
                return _Program(Path(self.value))
            case "credential":
                folder = os.environ.get("CREDENTIALS_DIRECTORY", "")
                if not folder:
                    raise EncryptionKeyError(
                        f"{self}: systemd gave this process no credentials: add"
                        f" LoadCredential={self.value}:/PATH to the unit"
                    )
                return _AesKey(_read_key(Path(folder) / self.value, str(self)))
            case _:
                path = Path(self.value)
                if path.resolve().is_relative_to(data_folder.resolve()):
                    raise EncryptionKeyError(
                        f"{self} lies in the data folder, beside what it protects: move it"
                    )
                _require_private(path)
                return _AesKey(_read_key(path, str(self)))


def write_new_key(path: Path) -> None:
    """Write a new key, for its owner alone; raises OSError, FileExistsError too."""
    if path.exists():
        raise FileExistsError(f"{path} exists, and may be what a database needs")
    write_private(path, base64.b64encode(token_bytes(KEY_BYTES)) + b"\n")


class _AesKey:
    """A key of 32 bytes. Implements WrappingKey by AES-256-GCM."""

    def __init__(self, key: bytes) -> None:
        self._cipher = AESGCM(key)

    def wrap(self, data_key: bytes) -> bytes:
        """Wrap."""
        nonce = token_bytes(_NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, data_key, _PURPOSE)

    def unwrap(self, wrapped: bytes) -> bytes | None:
        """Unwrap."""
        try:
            return self._cipher.decrypt(wrapped[:_NONCE_BYTES], wrapped[_NONCE_BYTES:], _PURPOSE)
        except (InvalidTag, ValueError):
            return None


class _Program:
    """A program that knows the key: of a TPM, a PKCS#11 token or a KMS. Implements WrappingKey.

    It is run with `wrap` or `unwrap`, gets one line of base64 on stdin, and answers with one. Exit
    code 3 to `unwrap` says that another key wrapped it; any other but 0 is a fault.
    """

    _OTHER_KEY = 3

    def __init__(self, path: Path) -> None:
        self._path = path

    def wrap(self, data_key: bytes) -> bytes:
        """Wrap."""
        found = self._ask("wrap", data_key)
        if found is None:
            raise EncryptionKeyError(f"exec:{self._path} wrap: exited with {self._OTHER_KEY}")
        return found

    def unwrap(self, wrapped: bytes) -> bytes | None:
        """Unwrap."""
        return self._ask("unwrap", wrapped)

    def _ask(self, verb: str, content: bytes) -> bytes | None:
        what = f"exec:{self._path} {verb}"
        try:
            done = subprocess.run(
                [str(self._path), verb],
                input=base64.b64encode(content) + b"\n",
                capture_output=True,
                check=False,
                timeout=_SECONDS,
            )
        except subprocess.TimeoutExpired as error:
            raise EncryptionKeyError(f"{what}: no answer within {_SECONDS} s") from error
        except OSError as error:
            raise EncryptionKeyError(f"{what}: {error.strerror}") from error
        if verb == "unwrap" and done.returncode == self._OTHER_KEY:
            return None
        if done.returncode:
            why = done.stderr[-300:].decode(errors="replace").strip()
            raise EncryptionKeyError(f"{what}: exited with {done.returncode}: {why}")
        try:
            return base64.b64decode(done.stdout[:_MAX_OUTPUT].strip(), validate=True)
        except binascii.Error as error:
            raise EncryptionKeyError(f"{what}: answered something else than base64") from error


def unwrapped(wrapped: bytes, keys: Sequence[WrappingKey]) -> bytes | None:
    """Return the data key that one of the keys has wrapped; raises EncryptionKeyError."""
    for key in keys:
        found = key.unwrap(wrapped)
        if found is not None and len(found) == KEY_BYTES:
            return found
    return None


def _require_private(path: Path) -> None:
    try:
        is_open = is_open_to_others(path)
    except OSError as error:
        raise EncryptionKeyError(
            f"file:{path}: {error.strerror}: restore it from a copy; for a new database, {_MAKE}"
        ) from error
    if is_open:
        raise EncryptionKeyError(f"file:{path} can be read by others: chmod 600 {path}")


def _read_key(path: Path, what: str) -> bytes:
    try:
        with path.open("rb") as file:
            raw = file.read(_MAX_FILE_BYTES)
    except OSError as error:
        raise EncryptionKeyError(f"{what}: {error.strerror}: {_MAKE}") from error
    try:
        key = base64.b64decode(raw.strip(), validate=True)
    except binascii.Error:
        key = b""
    if len(key) != KEY_BYTES:
        raise EncryptionKeyError(f"{what} is not 32 bytes in base64: {_MAKE}")
    return key
