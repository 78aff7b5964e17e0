"""Reads images and their bases: manifests and configurations, each once."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

from upwell.oci import (
    Descriptor,
    Digest,
    Index,
    InvalidManifestError,
    Manifest,
    Platform,
    Reference,
)
from upwell.oci.manifest import MAX_CONFIG_BYTES
from upwell.oci.rebase.documents import NamedBase, NotRebasableError
from upwell.oci.rebase.images import LayeredImage, closest_base
from upwell.oci.rebase.records import BaseRecord
from upwell.registry.errors import (
    BlobUnknownError,
    InvalidAnswerError,
    ManifestUnknownError,
    PlatformMissingError,
    RegistryError,
)
from upwell.registry.interface import DEFAULT_ACCESS, Registry, RequestAccess

_ATTESTATION = "vnd.docker.reference.type"
"""Annotation of an index's entry that is about another one of it (BuildKit)."""
_UNKNOWN = "unknown"


class BaseUnknownError(RegistryError):
    """The base of an image is not recorded, or is none of those that were named."""

    reason = "BaseUnknown"

    def __init__(self, image: Reference, why: str) -> None:
        super().__init__(f"cannot tell the base of {image}: {why}")


@dataclass
class ImageReader:
    """Reader of images; what it has read by digest it does not ask for again."""

    registry: Registry
    access: RequestAccess = DEFAULT_ACCESS
    max_config_bytes: int = MAX_CONFIG_BYTES
    _images: dict[tuple[str, Digest], LayeredImage] = field(default_factory=dict)
    _documents: dict[Reference, Manifest | Index] = field(default_factory=dict)
    _locks: dict[Reference, asyncio.Lock] = field(default_factory=dict)

    async def document(self, name: Reference) -> Manifest | Index:
        """Fetch a manifest or an index, once; raises a RegistryError."""
        async with self._locks.setdefault(name, asyncio.Lock()):
            if name not in self._documents:
                self._documents[name] = await self.registry.manifest(name, self.access)
            return self._documents[name]

    async def image(self, name: Reference, manifest: Manifest) -> LayeredImage:
        """Return an image with its configuration; raises a RegistryError or NotRebasableError."""
        key = name.name, manifest.digest
        if key not in self._images:
            raw = await self.config(name, manifest)
            try:
                self._images[key] = LayeredImage.parse(manifest, raw)
            except InvalidManifestError as error:
                raise InvalidAnswerError(name.name, str(error)) from error
        return self._images[key]

    async def config(self, name: Reference, manifest: Manifest) -> bytes:
        """Return the configuration of an image; raises a RegistryError or NotRebasableError."""
        config = manifest.config
        limit = min(config.size, self.max_config_bytes)
        if config.size > self.max_config_bytes:
            raise NotRebasableError(
                f"{name.name} has a configuration of {config.size} bytes, and one of at most"
                f" {limit} is rebased"
            )
        return await self.registry.blob(name, config.digest, limit, self.access)

    async def base(self, name: Reference, platform: Platform) -> NamedBase:
        """Return a base on a platform; raises a RegistryError, and names a platform it lacks."""
        digest, manifest = await self.base_manifest(name, platform)
        return NamedBase(await self.image(name, manifest), name, digest)

    async def base_manifest(self, name: Reference, platform: Platform) -> tuple[Digest, Manifest]:
        """Return what a base's name stands for, and its manifest on a platform.

        Raises what `base` does.
        """
        found = await self.document(name)
        digest, manifest = found.digest, found
        if isinstance(manifest, Index):
            entry = manifest.select(platform)
            if entry is None:
                raise PlatformMissingError(str(name), str(platform))
            manifest = await self.document(name.with_digest(entry.digest))
        if isinstance(manifest, Index):
            raise InvalidAnswerError(str(name), "an index that lists an index")
        return digest, manifest

    async def recorded_base(
        self, name: Reference, image: LayeredImage, records: Sequence[BaseRecord]
    ) -> NamedBase:
        """Return the base that an image says it has, and stands on; raises BaseUnknownError."""
        pinned = [one for record in records for one in record.pinned]
        if not pinned:
            raise BaseUnknownError(name, "it records none: name it with --old-base")
        tried = []
        for one in pinned:
            try:
                base = await self.base(one, image.platform)
            except (ManifestUnknownError, BlobUnknownError, PlatformMissingError) as error:
                tried.append(str(error))
                continue
            if image.stands_on(base.image):
                return base
            tried.append(f"it does not stand on {one}, which it records")
        raise BaseUnknownError(name, f"{'; '.join(tried)}: name it with --old-base")

    async def best_base(
        self, name: Reference, image: LayeredImage, candidates: Sequence[Reference]
    ) -> NamedBase:
        """Return the candidate with the most layers that an image stands on.

        Those that do not exist, or not for its platform, are none. Raises BaseUnknownError.
        """
        found = await asyncio.gather(*(self.candidate(one, image) for one in candidates))
        known = [base for base in found if base is not None]
        closest = closest_base(image, [base.image for base in known])
        if closest is None:
            names = ", ".join(map(str, candidates))
            why = f"its lowest layers are not those of {names}: name it with --old-base"
            raise BaseUnknownError(name, why)
        return next(base for base in known if base.image is closest)

    async def candidate(self, name: Reference, image: LayeredImage) -> NamedBase | None:
        """Return a base for the platform of an image; None: it does not exist, or not for that."""
        try:
            return await self.base(name, image.platform)
        except (ManifestUnknownError, BlobUnknownError, PlatformMissingError):
            return None


def platforms_of(index: Index) -> tuple[Descriptor, ...]:
    """Return the entries of an index that are images of a platform, and not about others of it."""
    return tuple(
        entry
        for entry in index.manifests
        if entry.platform is not None
        and _UNKNOWN not in {entry.platform.os, entry.platform.architecture}
        and _ATTESTATION not in entry.annotations
        and not entry.artifact_type
    )
