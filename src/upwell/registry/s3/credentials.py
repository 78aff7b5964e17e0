"""Credentials of a bucket: a file as AWS' tools have it, or the folder of a mounted Secret.

They are read again when they change, so that renewed ones, as of a session, are used at once.
"""

import asyncio
import configparser
from pathlib import Path

from upwell.registry.s3.errors import BucketCredentialsError
from upwell.registry.s3.signing import S3Credential

_MAX_BYTES = 64 * 1024
_FIELDS = ("aws_access_key_id", "aws_secret_access_key", "aws_session_token")

type _State = tuple[int, int, int]


class CredentialsFile:
    """Credentials in a file (`[default]`, `aws_access_key_id = …`) or a folder of such files.

    In a folder each value is a file of its own, named as in the first or in capitals, as the keys
    of a Secret are.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known: tuple[_State, S3Credential] | None = None

    async def read(self) -> S3Credential:
        """Return the credentials as they are now; raises BucketCredentialsError."""
        return await asyncio.to_thread(self._read)

    def _read(self) -> S3Credential:
        try:
            facts = (self._path / "..data").stat() if self._is_mount() else self._path.stat()
            state = (facts.st_ino, facts.st_mtime_ns, facts.st_size)
            if self._known is None or self._known[0] != state:
                self._known = state, self._parsed()
        except (OSError, UnicodeError) as error:
            why = getattr(error, "strerror", None) or "it is no text"
            raise BucketCredentialsError(str(self._path), f"cannot be read: {why}") from None
        return self._known[1]

    def _is_mount(self) -> bool:
        return (self._path / "..data").is_symlink()  # of a Secret: replaced as a whole

    def _parsed(self) -> S3Credential:
        if self._path.is_dir():
            found = {name: self._value(name) for name in _FIELDS}
        else:
            parser = configparser.RawConfigParser()
            try:
                parser.read_string(_text(self._path))
            except configparser.Error:  # its message quotes the line, which may be a secret
                raise BucketCredentialsError(str(self._path), "is no file of [sections]") from None
            section = next(iter(parser.sections()), "")
            section = "default" if parser.has_section("default") else section
            found = {name: parser.get(section, name, fallback="").strip() for name in _FIELDS}
        access, secret, token = (found[name] for name in _FIELDS)
        if not access or not secret:
            missing = [name for name in _FIELDS[:2] if not found[name]]
            raise BucketCredentialsError(str(self._path), f"has no {' and no '.join(missing)}")
        return S3Credential(access, secret, token)

    def _value(self, name: str) -> str:
        for spelled in (name.upper(), name):
            path = self._path / spelled
            if path.exists():
                return _text(path).strip()
        return ""


def _text(path: Path) -> str:
    with path.open("rb") as file:
        return file.read(_MAX_BYTES).decode()
