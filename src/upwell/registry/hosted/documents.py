"""Documents that are pushed: what a manifest or an index is, and the content that it needs."""

from upwell.oci import (
    Descriptor,
    Digest,
    Index,
    InvalidManifestError,
    Manifest,
    MediaType,
    parse_manifest,
)
from upwell.registry.hosting import ManifestEntry, ManifestInvalidError


def examine(raw: bytes, digest: Digest, media_type: str) -> tuple[ManifestEntry, list[Descriptor]]:
    """Check a manifest; return what to remember of it, and the content that it needs.

    The document alone decides what it is (only OCI documents may leave their media type out, and
    their fields tell which they are), so that what is stored needs no record beside it.
    """
    try:
        manifest = parse_manifest(raw)
    except InvalidManifestError as error:
        raise ManifestInvalidError(str(error)) from error
    declared = media_type.split(";", maxsplit=1)[0].strip()
    if declared in set(MediaType) and declared != manifest.media_type:
        raise ManifestInvalidError(f"manifest: sent as {declared}, but is {manifest.media_type}")
    default_type = "" if isinstance(manifest, Index) else manifest.config.media_type
    entry = ManifestEntry(
        digest=digest,
        media_type=str(manifest.media_type),
        size=len(raw),
        subject=manifest.subject.digest if manifest.subject else None,
        artifact_type=manifest.artifact_type or default_type,
        annotations=manifest.annotations,
    )
    return entry, content_of(manifest)


def content_of(manifest: Manifest | Index) -> list[Descriptor]:
    """Return what must be stored beside a manifest: all but foreign layers, which have URLs."""
    content = manifest.manifests if isinstance(manifest, Index) else manifest.references
    return [item for item in content if not item.urls]


def is_index(media_type: str) -> bool:
    """Return True if what is pushed says so, which its document has to say as well."""
    declared = media_type.partition(";")[0].strip()
    return declared in set(MediaType) and MediaType(declared).is_index
