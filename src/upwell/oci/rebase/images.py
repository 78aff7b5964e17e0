"""Images of one platform as their layers: manifest and configuration, checked against each other.

(image-spec, manifest.md and config.md: `rootfs.diff_ids` names the layers' uncompressed content.)
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn, Self

from upwell.oci import (
    Descriptor,
    Digest,
    ImageConfig,
    InvalidDigestError,
    InvalidManifestError,
    Manifest,
    Platform,
)

_TOO_DEEP = "a document is nested deeper than any is"


@dataclass(frozen=True, slots=True)
class LayeredImage:
    """An image of one platform; it has as many layers as diff_ids."""

    manifest: Manifest
    document: Mapping[str, Any] = field(repr=False)
    """The manifest's own JSON object."""
    config: Mapping[str, Any] = field(repr=False)
    """The configuration's own JSON object."""
    platform: Platform
    os_version: str
    diff_ids: tuple[Digest, ...]

    @classmethod
    def parse(cls, manifest: Manifest, raw_config: bytes) -> Self:
        """Return the image of a manifest and its configuration; raises InvalidManifestError."""
        known = ImageConfig.parse(raw_config)
        config = _strict(raw_config)
        rootfs = config.get("rootfs")
        named = rootfs.get("diff_ids") if isinstance(rootfs, dict) else None
        diff_ids = tuple(_digests(named if isinstance(named, list) else []))
        if len(diff_ids) != len(manifest.layers):
            raise InvalidManifestError(
                f"image {manifest.digest}: its manifest has {len(manifest.layers)} layers, and its"
                f" configuration names {len(diff_ids)}"
            )
        version = str(config.get("os.version") or "")
        document = _strict(manifest.raw)
        return cls(manifest, document, config, known.platform, version, diff_ids)

    @property
    def digest(self) -> Digest:
        """The digest of the manifest."""
        return self.manifest.digest

    @property
    def layers(self) -> tuple[Descriptor, ...]:
        """The descriptors of the layers, the lowest first."""
        return self.manifest.layers

    @property
    def settings(self) -> Mapping[str, Any]:
        """The object `config` of the configuration: the defaults of a container."""
        value = self.config.get("config")
        return value if isinstance(value, dict) else {}

    @property
    def labels(self) -> Mapping[str, str]:
        """The labels, of texts alone."""
        labels = self.settings.get("Labels")
        items = labels.items() if isinstance(labels, dict) else ()
        return {key: text for key, text in items if isinstance(text, str)}

    @property
    def history(self) -> Sequence[Mapping[str, Any]]:
        """The history, of objects alone."""
        steps = self.config.get("history")
        return [one for one in steps if isinstance(one, dict)] if isinstance(steps, list) else []

    def stands_on(self, base: "LayeredImage") -> bool:
        """Return True if the layers of `base` are the lowest of this image.

        By their uncompressed content, each in its place: a base that was compressed anew is the
        same base.
        """
        count = len(base.diff_ids)
        return 0 < count <= len(self.diff_ids) and self.diff_ids[:count] == base.diff_ids


def closest_base(image: LayeredImage, candidates: Sequence[LayeredImage]) -> LayeredImage | None:
    """Return the candidate with the most layers that `image` stands on; None: it stands on none."""
    fitting = [one for one in candidates if image.stands_on(one)]
    return max(fitting, key=lambda one: len(one.diff_ids), default=None)


def recompressed(layers: Sequence[Descriptor], base: Sequence[Descriptor]) -> list[int]:
    """Return which of an image's layers a configuration alone says are the base's."""
    pairs = zip(layers, base, strict=False)
    return [at for at, (layer, known) in enumerate(pairs) if layer.digest != known.digest]


def encoded(document: Mapping[str, Any]) -> bytes:
    """Return the bytes of a document that was made anew; raises InvalidManifestError."""
    try:
        return json.dumps(document, separators=(",", ":"), allow_nan=False).encode()
    except RecursionError:
        raise InvalidManifestError(_TOO_DEEP) from None
    except ValueError as error:
        raise InvalidManifestError(f"a document has a number that JSON has not: {error}") from None


def _strict(raw: bytes) -> Mapping[str, Any]:
    """Decode a document that was parsed before, whose numbers JSON must have."""
    try:
        found = json.loads(raw, parse_constant=_refused)
    except RecursionError:
        raise InvalidManifestError(_TOO_DEEP) from None
    return found if isinstance(found, dict) else {}


def _refused(constant: str) -> NoReturn:
    raise InvalidManifestError(f"a document has the number {constant}, which JSON has not")


def _digests(named: Sequence[object]) -> Iterator[Digest]:
    for one in named:
        try:
            yield Digest.parse(str(one))
        except InvalidDigestError as error:
            raise InvalidManifestError(f"rootfs.diff_ids: {error}") from error
