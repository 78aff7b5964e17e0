"""Manifests of what is no image (image-spec, Guidelines for Artifact Usage)."""

import json
from collections.abc import Mapping, Sequence

from upwell.oci.digest import Digest
from upwell.oci.manifest import Descriptor, Manifest, MediaType, parse_manifest

EMPTY_CONTENT = b"{}"
EMPTY = Descriptor(
    "application/vnd.oci.empty.v1+json", Digest.of(EMPTY_CONTENT), len(EMPTY_CONTENT)
)
"""Configuration of an artifact that has none: its content is EMPTY_CONTENT."""


def artifact_manifest(
    config: Descriptor,
    layers: Sequence[Descriptor],
    *,
    artifact_type: str = "",
    annotations: Mapping[str, str] | None = None,
    subject: Descriptor | None = None,
) -> Manifest:
    """Return a manifest, the same bytes for the same parts: keys sorted, no spaces, UTF-8."""
    document: dict[str, object] = {
        "schemaVersion": 2,
        "mediaType": MediaType.OCI_MANIFEST,
        "config": _document(config),
        "layers": [_document(layer) for layer in layers],
    }
    if artifact_type:
        document["artifactType"] = artifact_type
    if annotations:
        document["annotations"] = dict(annotations)
    if subject is not None:
        document["subject"] = _document(subject)
    raw = json.dumps(document, ensure_ascii=False, separators=(",", ":"), sort_keys=True)
    manifest = parse_manifest(raw.encode())
    if not isinstance(manifest, Manifest):
        raise TypeError("an artifact is no index")
    return manifest


def _document(descriptor: Descriptor) -> dict[str, object]:
    document: dict[str, object] = {
        "mediaType": descriptor.media_type,
        "digest": str(descriptor.digest),
        "size": descriptor.size,
    }
    if descriptor.annotations:
        document["annotations"] = dict(descriptor.annotations)
    return document
