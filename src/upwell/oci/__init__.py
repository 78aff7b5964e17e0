"""OCI names and documents as checked values: references, digests, manifests, image configurations.

Pure: nothing here reads a file or a network. A value that exists has been checked.
"""

from upwell.oci.digest import Digest, InvalidDigestError
from upwell.oci.manifest import (
    Descriptor,
    ImageConfig,
    Index,
    InvalidManifestError,
    Manifest,
    MediaType,
    Platform,
    parse_manifest,
)
from upwell.oci.reference import InvalidReferenceError, Reference

__all__ = [
    "Descriptor",
    "Digest",
    "ImageConfig",
    "Index",
    "InvalidDigestError",
    "InvalidManifestError",
    "InvalidReferenceError",
    "Manifest",
    "MediaType",
    "Platform",
    "Reference",
    "parse_manifest",
]
