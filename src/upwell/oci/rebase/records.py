"""Records in an image of the base that it was made from.

Annotations of the OCI (image-spec, annotations.md), the same keys as labels, and the metadata of
Cloud Native Buildpacks (buildpacks/spec, platform.md: `io.buildpacks.lifecycle.metadata`). All are
hints: only layers say what an image stands on.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from upwell.oci import Digest, InvalidDigestError, InvalidReferenceError, Reference
from upwell.oci.rebase.images import LayeredImage

BASE_NAME = "org.opencontainers.image.base.name"
BASE_DIGEST = "org.opencontainers.image.base.digest"
BASE_MANIFEST = "upwell.dev/base-manifest"
"""Digest of the base's manifest for the image's own platform, where BASE_DIGEST is an index."""
BUILDPACKS = "io.buildpacks.lifecycle.metadata"
REBASABLE = "io.buildpacks.rebasable"
_MAX_CHARACTERS = 1024 * 1024


@dataclass(frozen=True, slots=True)
class BaseRecord:
    """A base that an image says it has."""

    name: Reference
    """Tag that its updates are found at."""
    pinned: tuple[Reference, ...] = ()
    """Names of the very base, by digest; each may be unknown to its registry."""
    source: str = ""
    """Place of the record, for people."""


def base_records(image: LayeredImage) -> list[BaseRecord]:
    """Return the bases that an image names, the most trusted record first."""
    return [
        *_oci(image.manifest.annotations, "annotations"),
        *_oci(image.labels, "labels"),
        *_buildpacks(image.labels),
    ]


def recorded(
    values: Mapping[str, str], name: str, digest: Digest, manifest: Digest
) -> dict[str, str]:
    """Return annotations or labels that name a base by tag, digest and its platform's manifest."""
    made = {**values, BASE_NAME: name, BASE_DIGEST: str(digest)}
    made.pop(BASE_MANIFEST, None)
    return made if digest == manifest else {**made, BASE_MANIFEST: str(manifest)}


def buildpacks_label(label: str, base: LayeredImage, repository: str) -> str:
    """Return the lifecycle's metadata with another run image; what is none stays as it is."""
    metadata = _metadata(label)
    if metadata is None or not base.diff_ids:
        return label
    reference = f"{repository}@{base.digest}"
    run_image = {
        **metadata["runImage"],
        "topLayer": str(base.diff_ids[-1]),
        "reference": reference,
    }
    return json.dumps({**metadata, "runImage": run_image}, separators=(",", ":"))


def _oci(values: Mapping[str, str], source: str) -> Iterator[BaseRecord]:
    name = _reference(values.get(BASE_NAME))
    if name is None:
        return
    pinned = tuple(
        name.with_digest(digest)
        for key in (BASE_DIGEST, BASE_MANIFEST)
        if (digest := _digest(values.get(key))) is not None
    )
    yield BaseRecord(name, pinned, source)


def _buildpacks(labels: Mapping[str, str]) -> Iterator[BaseRecord]:
    metadata = _metadata(labels.get(BUILDPACKS, ""))
    if metadata is None:
        return
    run_image = metadata["runImage"]
    exact = _reference(run_image.get("reference"))
    name = _reference(run_image.get("image")) or exact
    if name is not None:
        pinned = (exact,) if exact is not None and exact.digest is not None else ()
        yield BaseRecord(name, pinned, "buildpacks' metadata")


def _metadata(label: str) -> dict[str, Any] | None:
    if not label or len(label) > _MAX_CHARACTERS:
        return None
    with suppress(ValueError, RecursionError):
        metadata: Any = json.loads(label)
        if isinstance(metadata, dict) and isinstance(metadata.get("runImage"), dict):
            return metadata
    return None


def _reference(text: object) -> Reference | None:
    if isinstance(text, str) and text:
        with suppress(InvalidReferenceError):
            return Reference.parse(text)
    return None


def _digest(text: str | None) -> Digest | None:
    with suppress(InvalidDigestError):
        return Digest.parse(text or "")
    return None
