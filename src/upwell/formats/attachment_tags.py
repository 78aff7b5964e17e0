"""Tags under which cosign keeps what belongs to an image (specs/SIGNATURE_SPEC.md).

Apart from what is kept there: most who meet such a tag only tell it from an image's.
"""

import re

from upwell.oci import Digest

_TAG = re.compile(
    r"(sha256(?=-[0-9a-f]{64}\.)|sha512(?=-[0-9a-f]{128}\.))-([0-9a-f]+)\.(?:sig|att|sbom)",
    re.ASCII,
)


def signature_tag(image: Digest) -> str:
    """Return the tag under which cosign finds the signatures of an image."""
    return f"{image.algorithm}-{image.hex}.sig"


def attestation_tag(image: Digest) -> str:
    """Return the tag under which cosign finds the attestations of an image."""
    return f"{image.algorithm}-{image.hex}.att"


def attachment_tags(image: Digest) -> tuple[str, ...]:
    """Return every tag under which cosign keeps something about an image."""
    return tuple(f"{image.algorithm}-{image.hex}.{kind}" for kind in ("sig", "att", "sbom"))


def image_of_tag(tag: str) -> Digest | None:
    """Return the image whose signatures, attestations or SBOM a tag names; None: another tag."""
    match = _TAG.fullmatch(tag)
    return Digest.parse(f"{match[1]}:{match[2]}") if match else None
