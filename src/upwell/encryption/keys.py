"""Keys that wrap data keys; they lie outside the data folder: a file, a token, a program.

Named in the settings by a text: `file:PATH`, `credential:NAME` (systemd.exec(5), LoadCredential=),
`pkcs11:…` (RFC 7512), `exec:PROGRAM`, or `none`.
"""

import base64
import binascii
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from secrets import token_bytes
from typing import Protocol

from upwell.encryption.faults import EncryptionKeyError
from upwell.encryption.programs import KeyProgram
from upwell.encryption.sealing import KEY_BYTES, DataKey, Sealer, SealError, open_bare, place
from upwell.encryption.token_uri import InvalidTokenUriError, TokenUri
from upwell.machine.private_file import is_open_to_others, write_private

_PLACE = place("data key")
_BARE_PURPOSE = b"upwell data key"
_BARE_BYTES = 60
"""Of a data key that an earlier version has wrapped."""
_MAX_FILE_BYTES = 4096
_TOKEN_COMMAND = (sys.executable, "-P", "-m", "upwell.encryption.token_command")
_MAKE = "`upwell encryption new-key FILE` makes one"


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
        if kind == "pkcs11":
            try:
                TokenUri.parse(text)
            except InvalidTokenUriError as error:
                shown = text.partition("?")[0]  # what comes after it may be a PIN, by mistake
                raise InvalidKeySourceError(f"{shown}: {error}") from error
            return cls(kind, value)
        if kind in {"file", "exec"} and Path(value).is_absolute():
            return cls(kind, value)
        if kind == "credential" and value and "/" not in value:
            return cls(kind, value)
        raise InvalidKeySourceError(
            f"{text!r} is none of file:/PATH, credential:NAME, pkcs11:…, exec:/PROGRAM and none"
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
                return KeyProgram([self.value], str(self))
            case "pkcs11":
                for path in self.files:
                    _require_outside(path, data_folder, f"{path}, which has the PIN,")
                return self._token()
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
                _require_outside(path, data_folder, str(self))
                _require_private(path)
                return _AesKey(_read_key(path, str(self)))

    @property
    def files(self) -> Sequence[Path]:
        """Files of this machine that have the key, or the PIN of its token."""
        if self.kind == "file":
            return (Path(self.value),)
        pin = TokenUri.parse(str(self)).pin_file if self.kind == "pkcs11" else None
        return () if pin is None else (pin,)

    def make(self) -> None:
        """Make a new key there; raises EncryptionKeyError, OSError, FileExistsError too."""
        if self.kind == "pkcs11":
            self._token().ask("new", b"")
        elif self.kind == "file":
            write_new_key(Path(self.value))
        else:
            raise EncryptionKeyError(f"{self}: Upwell makes keys in files and on tokens alone")

    def _token(self) -> KeyProgram:
        """Return the token's key; its library may print what it likes, and take its time."""
        uri = TokenUri.parse(str(self))
        name = f"pkcs11:token={uri.token or uri.serial};object={uri.label or uri.key_id.hex()}"
        return KeyProgram(_TOKEN_COMMAND, name, [str(self)])


def write_new_key(path: Path) -> None:
    """Write a new key, for its owner alone; raises OSError, FileExistsError too."""
    if path.exists():
        raise FileExistsError(f"{path} exists, and may be what a database needs")
    write_private(path, base64.b64encode(token_bytes(KEY_BYTES)) + b"\n")


class _AesKey:
    """A key of 32 bytes. Implements WrappingKey by AES-256-GCM."""

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._sealer = Sealer(DataKey.of(key))

    def wrap(self, data_key: bytes) -> bytes:
        """Wrap."""
        return self._sealer.seal(_PLACE, data_key)

    def unwrap(self, wrapped: bytes) -> bytes | None:
        """Unwrap."""
        try:
            if len(wrapped) == _BARE_BYTES:
                return open_bare(self._key, wrapped, _BARE_PURPOSE)
            return self._sealer.open_at(_PLACE, wrapped)
        except SealError:
            return None


def _require_outside(path: Path, data_folder: Path, what: str) -> None:
    if path.resolve().is_relative_to(data_folder.resolve()):
        raise EncryptionKeyError(
            f"{what} lies in the data folder, beside what it protects: move it"
        )


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
