"""Tables of registries in the configuration file: of pulls, and of where images are kept."""

import re
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, ValidationInfo, model_validator

from upwell.registry.hosts import (
    DEFAULT_CONCURRENCY,
    PullFrom,
    RegistryHost,
    RegistryLimits,
    RegistryMirror,
)
from upwell.settings.base import SettingsTable
from upwell.settings.bucket import BucketSettings
from upwell.settings.values import (
    AllowedValues,
    Count,
    FilePath,
    Flag,
    Rate,
    RegistryName,
    RegistryPrefix,
    Text,
    has_files_here,
)

_PLACE = re.compile(
    r"(?:[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:.]+\])"
    r"(?::[0-9]{1,5})?(?:/[A-Za-z0-9._-]+)*/?"
)

_MAX_CA_BYTES = 1024 * 1024

_MIRROR = AllowedValues("a location or a table")


def _require_place(text: str, key: str) -> None:
    """Raise ValueError for what cannot be a registry, or a part of one."""
    if _PLACE.fullmatch(text) is None:
        raise ValueError(f"{key} {text!r} is no HOST[:PORT][/NAMESPACE]")


def _require_file(path: Path | None, info: ValidationInfo) -> None:
    """Raise ValueError if a file of certificates cannot be read, where it is of this machine."""
    if path is None or not has_files_here(info):
        return
    try:
        with path.open("rb") as file:
            found = file.read(_MAX_CA_BYTES)
    except OSError as error:
        raise ValueError(f"ca-file {path} cannot be read: {error.strerror}") from error
    if b"-----BEGIN " not in found:
        raise ValueError(f"ca-file {path} holds no certificate in PEM")


class MirrorSettings(SettingsTable):
    """A mirror: a table, or its location alone."""

    location: Annotated[str, Field(min_length=1), AllowedValues("HOST[:PORT][/NAMESPACE]")]
    """Takes the place of the registry's prefix."""
    insecure: Flag = False
    """Allows unverified TLS and plain HTTP."""
    ca_file: FilePath | None = None
    """A certificate authority that is trusted besides the system's, PEM."""
    pulls: Annotated[
        PullFrom,
        Field(strict=False),
        AllowedValues(f"one of {', '.join(PullFrom)}", blank=True),
    ] = PullFrom.ALL
    """The pulls that it serves: its tags may be behind, its digests cannot."""

    @model_validator(mode="before")
    @classmethod
    def _from_location(cls, value: Any) -> Any:
        return {"location": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _is_reachable(self, info: ValidationInfo) -> "MirrorSettings":
        _require_place(self.location, "location")
        _require_file(self.ca_file, info)
        return self

    @property
    def mirror(self) -> RegistryMirror:
        """The mirror as the registry's client knows it."""
        return RegistryMirror(
            self.location, insecure=self.insecure, ca_file=self.ca_file, pulls=self.pulls
        )


class RegistrySettings(SettingsTable):
    """A registry, or a part of one: the longest prefix of an image's name decides."""

    prefix: Annotated[str, Field(min_length=1), AllowedValues("HOST[:PORT][/NAMESPACE] or *.HOST")]
    """The beginning of the names of images that this is about."""
    location: Text = ""
    """Takes the place of the prefix when the registry is called; not with *.HOST."""
    insecure: Flag = False
    """Allows unverified TLS and plain HTTP."""
    ca_file: FilePath | None = None
    """A certificate authority that is trusted besides the system's, PEM."""
    blocked: Flag = False
    """Refuses every request to it."""
    concurrency: Count = DEFAULT_CONCURRENCY
    """The most requests that are open at once."""
    per_second: Rate | None = None
    """The most requests that begin in a second; without it, any number."""
    mirrors: Annotated[
        tuple[Annotated[MirrorSettings, _MIRROR], ...], Field(strict=False), AllowedValues("a list")
    ] = ()
    """Mirrors that are asked before the registry itself, in this order."""

    @model_validator(mode="after")
    def _is_a_host(self, info: ValidationInfo) -> "RegistrySettings":
        _ = self.host
        _require_place(self.prefix.removeprefix("*."), "prefix")
        if self.location:
            _require_place(self.location, "location")
        _require_file(self.ca_file, info)
        return self

    @property
    def host(self) -> RegistryHost:
        """The registry as its client knows it; raises ValueError if it cannot be one."""
        return RegistryHost(
            self.prefix,
            self.location,
            insecure=self.insecure,
            ca_file=self.ca_file,
            blocked=self.blocked,
            limits=RegistryLimits(self.concurrency, self.per_second),
            mirrors=tuple(entry.mirror for entry in self.mirrors),
        )


class EmbeddedRegistrySettings(SettingsTable):
    """The registry of this server: its address, and what it takes."""

    address: RegistryName = ""
    """The name by which nodes, Pods of builds and clients reach it, and which references to its
    images have; without one, the address at which the server listens. With TLS, the server's
    certificate has it."""
    sparse_indexes: Flag = False
    """Takes an index of several platforms without the images that it names, as of a copy of some
    platforms with the digest of all. Without it, such a push is refused, with what is missing."""
    bucket: BucketSettings = BucketSettings()


class ExternalRegistrySettings(SettingsTable):
    """A registry elsewhere that takes the place of the embedded one (docs/external-registry.md)."""

    prefix: RegistryPrefix = ""
    """The beginning of the names of images: builds push to PREFIX/NAMESPACE/STREAM, and streams
    name images there. Without it, the embedded registry has them."""
