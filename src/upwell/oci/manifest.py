"""Manifests, indexes and image configurations (OCI image-spec; Docker image manifest v2 schema 2).

A Manifest or Index keeps the raw bytes that its digest is the hash of: nothing re-encodes it.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Self

from upwell.oci.digest import Digest, InvalidDigestError
from upwell.oci.json_values import has_more_values

MAX_MANIFEST_BYTES = 4 * 1024 * 1024
"""The size that every registry must accept (distribution-spec, Pushing manifests)."""

MAX_CONFIG_BYTES = 8 * 1024 * 1024
MAX_VALUES = 200_000
"""Values in one document; an empty list takes thirty times as much memory as text."""
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")


class MediaType(StrEnum):
    """Media types of manifests that we understand."""

    OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
    OCI_INDEX = "application/vnd.oci.image.index.v1+json"
    DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
    DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"

    @property
    def is_index(self) -> bool:
        """True if the document lists manifests of several platforms."""
        return self in {MediaType.OCI_INDEX, MediaType.DOCKER_LIST}


class InvalidManifestError(ValueError):
    """The bytes are not a manifest, index or image configuration of a type that we understand."""


@dataclass(frozen=True, slots=True)
class Platform:
    """Platform that an image runs on (image-spec, image-index.md)."""

    os: str
    architecture: str
    variant: str = ""

    def __str__(self) -> str:
        return "/".join(part for part in (self.os, self.architecture, self.variant) if part)


@dataclass(frozen=True, slots=True)
class Descriptor:
    """Names content: its media type, digest and size in bytes."""

    media_type: str
    digest: Digest
    size: int
    platform: Platform | None = None
    annotations: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    urls: tuple[str, ...] = ()
    artifact_type: str = ""
    """Type of what a manifest holds that is no image: a signature, say."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """One image of one platform."""

    raw: bytes = field(repr=False)
    digest: Digest
    media_type: MediaType
    config: Descriptor
    layers: tuple[Descriptor, ...]
    annotations: Mapping[str, str]
    subject: Descriptor | None = None
    artifact_type: str = ""

    @property
    def references(self) -> tuple[Descriptor, ...]:
        """The blobs that must exist before this manifest may."""
        return (self.config, *self.layers)


@dataclass(frozen=True, slots=True)
class Index:
    """Manifests of several platforms under one digest."""

    raw: bytes = field(repr=False)
    digest: Digest
    media_type: MediaType
    manifests: tuple[Descriptor, ...]
    annotations: Mapping[str, str]
    subject: Descriptor | None = None
    artifact_type: str = ""

    def select(self, platform: Platform) -> Descriptor | None:
        """Return the manifest of `platform`; a variant asked for but absent falls back to any."""
        candidates = [
            entry
            for entry in self.manifests
            if entry.platform is not None
            and entry.platform.os == platform.os
            and entry.platform.architecture == platform.architecture
        ]
        exact = [e for e in candidates if e.platform and e.platform.variant == platform.variant]
        return next(iter([*exact, *candidates]), None)


@dataclass(frozen=True, slots=True)
class ImageConfig:
    """The defaults of a container that runs an image (image-spec, config.md)."""

    platform: Platform
    created: str = ""
    env: tuple[str, ...] = ()
    entrypoint: tuple[str, ...] = ()
    cmd: tuple[str, ...] = ()
    user: str = ""
    working_dir: str = ""
    labels: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    on_build: tuple[str, ...] = ()
    needs_docker_format: bool = False
    """True if it has a health check or a shell: fields that an OCI configuration has no place for.

    (image-spec, config.md: "reserved")
    """
    history: tuple[str, ...] = field(default=(), repr=False)
    """Steps that made it, as it says itself: `created_by` of each, the oldest first."""

    @classmethod
    def parse(cls, raw: bytes) -> Self:
        """Parse an image configuration; raises InvalidManifestError."""
        document = _object(raw, "image configuration", MAX_CONFIG_BYTES)
        config = _mapping(document.get("config") or {}, "config")
        return cls(
            platform=_platform(document),
            created=str(document.get("created") or ""),
            env=_strings(config.get("Env")),
            entrypoint=_strings(config.get("Entrypoint")),
            cmd=_strings(config.get("Cmd")),
            user=str(config.get("User") or ""),
            working_dir=str(config.get("WorkingDir") or ""),
            labels=_string_map(config.get("Labels"), "config.Labels"),
            on_build=_strings(config.get("OnBuild")),
            needs_docker_format=any(config.get(name) for name in ("Healthcheck", "Shell")),
            history=tuple(_steps(document.get("history"))),
        )


def parse_manifest(raw: bytes, media_type: str | None = None) -> Manifest | Index:
    """Parse a manifest or an index; `media_type` is what the registry said, if it said one.

    The document's own `mediaType` wins; without either, its fields decide (manifest.md).
    Raises InvalidManifestError.
    """
    document = _object(raw, "manifest", MAX_MANIFEST_BYTES)
    kind = _media_type(document, media_type)
    digest = Digest.of(raw)
    annotations = _string_map(document.get("annotations"), "annotations")
    subject = _descriptor(document["subject"], "subject") if document.get("subject") else None
    artifact_type = str(document.get("artifactType") or "")
    if kind.is_index:
        manifests = _descriptors(document.get("manifests"), "manifests")
        return Index(raw, digest, kind, manifests, annotations, subject, artifact_type)
    if "config" not in document:
        raise InvalidManifestError("manifest: config is missing")
    return Manifest(
        raw,
        digest,
        kind,
        _descriptor(document["config"], "config"),
        _descriptors(document.get("layers"), "layers"),
        annotations,
        subject,
        artifact_type,
    )


def _media_type(document: Mapping[str, Any], declared: str | None) -> MediaType:
    text = str(document.get("mediaType") or (declared or "").split(";")[0].strip())
    if not text or text in {"application/json", "application/octet-stream", "text/plain"}:
        text = MediaType.OCI_INDEX if "manifests" in document else MediaType.OCI_MANIFEST
    try:
        return MediaType(text)
    except ValueError:
        raise InvalidManifestError(f"manifest: media type {text!r} is not supported") from None


def _object(raw: bytes, what: str, limit: int) -> Mapping[str, Any]:
    if len(raw) > limit:
        raise InvalidManifestError(f"{what}: {len(raw)} bytes, more than the {limit} allowed")
    if has_more_values(raw, MAX_VALUES):
        raise InvalidManifestError(f"{what}: more than the {MAX_VALUES} values allowed")
    try:
        document = json.loads(raw)
        if _SURROGATE.search(raw) is not None:
            document = _in_unicode(document)
    except (ValueError, RecursionError) as error:
        raise InvalidManifestError(f"{what}: not JSON: {error}") from error
    return _mapping(document, what)


def _in_unicode(value: Any) -> Any:
    """Return JSON data with U+FFFD for each half of a surrogate pair, which is no text.

    JSON can write what UTF-8 cannot (RFC 8259, section 8.2): whoever answers it would fail.
    """
    match value:
        case str():
            return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        case dict():
            return {_in_unicode(key): _in_unicode(item) for key, item in value.items()}
        case list():
            return [_in_unicode(item) for item in value]
        case _:
            return value


def _mapping(value: object, what: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise InvalidManifestError(f"{what}: expected an object, found {type(value).__name__}")
    return value


def _strings(value: object) -> tuple[str, ...]:
    if value is None:
        return ()
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise InvalidManifestError("image configuration: expected a list of strings")
    return tuple(value)


def _steps(history: object) -> Iterator[str]:
    """Yield what the steps of a history say of themselves; they bind nobody to any form."""
    for step in history if isinstance(history, list) else ():
        if isinstance(step, dict) and isinstance(step.get("created_by"), str):
            yield step["created_by"]


def _string_map(value: object, what: str) -> Mapping[str, str]:
    items = _mapping(value or {}, what)
    return MappingProxyType({str(key): str(text) for key, text in items.items()})


def _platform(document: Mapping[str, Any]) -> Platform:
    return Platform(
        str(document.get("os") or "linux"),
        str(document.get("architecture") or ""),
        str(document.get("variant") or ""),
    )


def _descriptors(value: object, where: str) -> tuple[Descriptor, ...]:
    if value is None:
        return ()
    if not isinstance(value, list):
        raise InvalidManifestError(f"{where}: expected a list")
    return tuple(_descriptor(item, f"{where}[{at}]") for at, item in enumerate(value))


def _descriptor(value: object, where: str) -> Descriptor:
    item = _mapping(value, where)
    size = item.get("size")
    if not isinstance(size, int) or isinstance(size, bool) or size < 0:
        raise InvalidManifestError(f"{where}.size: expected a number of bytes, found {size!r}")
    try:
        digest = Digest.parse(str(item.get("digest")))
    except InvalidDigestError as error:
        raise InvalidManifestError(f"{where}.digest: {error}") from error
    platform = item.get("platform")
    return Descriptor(
        media_type=str(item.get("mediaType") or ""),
        digest=digest,
        size=size,
        platform=_platform(_mapping(platform, f"{where}.platform")) if platform else None,
        annotations=_string_map(item.get("annotations"), f"{where}.annotations"),
        urls=_strings(item.get("urls")),
        artifact_type=str(item.get("artifactType") or ""),
    )
