"""Logins of registries: containers auth files, pull Secrets, credential helpers.

See containers-auth.json(5) for the files and their order, and kubernetes.io/dockercfg and
kubernetes.io/dockerconfigjson for Secrets. No error quotes what a file holds.
"""

import base64
import binascii
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol, Self

from upwell.oci.registry_names import canonical_name
from upwell.registry.errors import InvalidCredentialsError
from upwell.registry.interface import Credential, CredentialSource

MAX_AUTH_FILE_BYTES = 1024 * 1024


class HelperRunner(Protocol):
    """Asks a `docker-credential-*` program."""

    async def get(self, helper: str, registry: str) -> Credential | None:
        """Return what `helper` holds for `registry`; raises InvalidCredentialsError."""
        ...


def default_auth_files(environ: Mapping[str, str], home: Path) -> list[Path]:
    """List where auth files may be, first match first; they need not exist."""
    runtime = environ.get("XDG_RUNTIME_DIR")
    config = Path(environ.get("XDG_CONFIG_HOME") or home / ".config")
    explicit = environ.get("REGISTRY_AUTH_FILE")
    return [
        *([Path(explicit)] if explicit else []),
        *([Path(runtime) / "containers/auth.json"] if runtime else []),
        config / "containers/auth.json",
        Path(environ.get("DOCKER_CONFIG") or home / ".docker") / "config.json",
        home / ".dockercfg",
    ]


@dataclass(frozen=True, slots=True)
class AuthConfig:
    """The parsed content of an auth file or a pull Secret."""

    logins: Mapping[str, Credential] = field(default_factory=lambda: MappingProxyType({}))
    helpers: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    default_helper: str = ""

    @classmethod
    def parse(cls, raw: bytes, where: str, *, legacy: bool = False) -> Self:
        """Parse a document; `legacy` is the format of .dockercfg, which is its `auths` alone.

        `where` names the document in the InvalidCredentialsError that this raises.
        """
        document = _document(raw, where)
        auths = _mapping(document if legacy else document.get("auths") or {}, where, "auths")
        helpers = _mapping(
            {} if legacy else document.get("credHelpers") or {}, where, "credHelpers"
        )
        default = "" if legacy else document.get("credsStore") or ""
        logins = {key: _login(entry, where, key) for key, entry in auths.items()}
        known = {key: login for key, login in logins.items() if login is not None}
        return cls(
            # What is written as we would write it wins over another spelling of the same.
            MappingProxyType({_normal(key): login for key, login in known.items()} | known),
            MappingProxyType({_normal(key): str(name) for key, name in helpers.items()}),
            str(default),
        )

    def login(self, registry: str, repository: str) -> Credential | None:
        """Return the most specific login that stands in the document itself."""
        keys = _keys(registry, repository)
        return next((self.logins[key] for key in keys if key in self.logins), None)

    def helper(self, registry: str, repository: str) -> str:
        """Return the helper that is named for this repository or registry, or ''."""
        keys = _keys(registry, repository)
        return next((self.helpers[key] for key in keys if key in self.helpers), "")


class SecretCredentials:
    """Implements CredentialSource by one pull Secret.

    The helpers that it may name are never run: users write it.
    """

    def __init__(self, config: AuthConfig) -> None:
        self._config = config

    @classmethod
    def from_dockerconfigjson(cls, raw: bytes, where: str) -> Self:
        """Read the data of a kubernetes.io/dockerconfigjson Secret that `where` names."""
        return cls(AuthConfig.parse(raw, where))

    @classmethod
    def from_dockercfg(cls, raw: bytes, where: str) -> Self:
        """Read the data of a kubernetes.io/dockercfg Secret that `where` names."""
        return cls(AuthConfig.parse(raw, where, legacy=True))

    async def find(self, registry: str, repository: str) -> Credential | None:
        """Return the most specific login."""
        return self._config.login(registry, repository)


class AuthFile:
    """Implements CredentialSource by one auth file, read again when it changes.

    A file that is missing holds nothing.
    """

    def __init__(self, path: Path, helpers: HelperRunner | None = None) -> None:
        self._path = path
        self._helpers = helpers
        self._seen: tuple[int, ...] | None = None
        self._config = AuthConfig()

    async def find(self, registry: str, repository: str) -> Credential | None:
        """Return the most specific login; raises InvalidCredentialsError naming the file."""
        config = self._load()
        helper = config.helper(registry, repository)
        login = None if helper else config.login(registry, repository)
        helper = helper or config.default_helper
        if login is None and helper and self._helpers is not None:
            return await self._helpers.get(helper, registry)
        return login

    def _load(self) -> AuthConfig:
        # One stat, and rarely the read of a small local file: cheaper than a hop to a thread.
        try:
            if _version(self._path.stat()) == self._seen:
                return self._config
            with self._path.open("rb") as file:
                seen = _version(os.fstat(file.fileno()))
                raw = file.read(MAX_AUTH_FILE_BYTES + 1)
        except (FileNotFoundError, NotADirectoryError):
            self._seen, self._config = None, AuthConfig()
            return self._config
        except OSError as error:
            raise InvalidCredentialsError(
                str(self._path), error.strerror or "unreadable"
            ) from error
        self._config = AuthConfig.parse(
            raw, str(self._path), legacy=self._path.name == ".dockercfg"
        )
        self._seen = seen
        return self._config


def _version(stat: os.stat_result) -> tuple[int, ...]:
    return (stat.st_mtime_ns, stat.st_size, stat.st_ino)


class ChainedCredentials:
    """Implements CredentialSource by several; the first that knows the repository decides."""

    def __init__(self, sources: Sequence[CredentialSource]) -> None:
        self._sources = tuple(sources)

    async def find(self, registry: str, repository: str) -> Credential | None:
        """Return the first login found, or None."""
        for source in self._sources:
            if (login := await source.find(registry, repository)) is not None:
                return login
        return None


class RememberedCredentials:
    """Implements CredentialSource by another one, which is asked once for each repository.

    For what is short: a login that changes meanwhile is not seen. What fails is asked for again.
    """

    def __init__(self, source: CredentialSource) -> None:
        self._source = source
        self._found: dict[tuple[str, str], Credential | None] = {}

    async def find(self, registry: str, repository: str) -> Credential | None:
        """Return the login that the source gave first, or gives now."""
        key = (registry, repository)
        if key not in self._found:
            self._found[key] = await self._source.find(registry, repository)
        return self._found[key]


def _keys(registry: str, repository: str) -> Iterator[str]:
    """Yield `registry/a/b`, `registry/a`, `registry`: most specific first."""
    key = f"{_normal(registry)}/{repository}"
    while key:
        yield key
        key = key.rpartition("/")[0]


def _normal(key: str) -> str:
    """Write a key as `host[:port][/namespace]`; docker login writes URLs, whose path means nothing.

    Docker Hub's many names become `docker.io`.
    """
    bare = key.removeprefix("https://").removeprefix("http://")
    if bare != key:
        bare = bare.partition("/")[0]
    host, slash, path = bare.rstrip("/").partition("/")
    if path in {"v1", "v2"}:
        slash, path = "", ""
    return canonical_name(f"{host}{slash}{path}")


def _document(raw: bytes, where: str) -> Mapping[str, Any]:
    if len(raw) > MAX_AUTH_FILE_BYTES:
        raise InvalidCredentialsError(where, f"more than {MAX_AUTH_FILE_BYTES} bytes")
    if not raw.strip():
        return {}
    try:
        document = json.loads(raw)
    except json.JSONDecodeError as error:
        why = f"not JSON: {error.msg} in line {error.lineno}, column {error.colno}"
        # Without the cause: it carries the whole document.
        raise InvalidCredentialsError(where, why) from None
    except (ValueError, RecursionError):
        raise InvalidCredentialsError(where, "not JSON") from None
    return _mapping(document, where, "the document")


def _mapping(value: object, where: str, what: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise InvalidCredentialsError(where, f"{what} is not an object")
    return value


def _login(entry: object, where: str, key: str) -> Credential | None:
    """Read one entry; an empty one (docker writes it beside a credsStore) holds no login."""
    fields = _mapping(entry, where, f"the entry of {key}")
    username, password = fields.get("username") or "", fields.get("password") or ""
    if encoded := fields.get("auth"):
        try:
            pair = base64.b64decode(str(encoded), validate=True).decode()
        except (binascii.Error, UnicodeDecodeError):
            why = f"`auth` of {key} is not base64 of USER:PASSWORD"
            raise InvalidCredentialsError(where, why) from None
        username, colon, password = pair.partition(":")
        if not colon:
            why = f"`auth` of {key} is not base64 of USER:PASSWORD"
            raise InvalidCredentialsError(where, why)
        password = password.strip("\0")
    token = fields.get("identitytoken") or ""
    if not all(isinstance(text, str) for text in (username, password, token)):
        raise InvalidCredentialsError(where, f"the entry of {key} holds something else than text")
    return Credential(username, password, token) if username or token else None
