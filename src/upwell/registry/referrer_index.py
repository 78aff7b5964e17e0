"""The index of referrers that clients keep where a registry lists none itself.

(distribution-spec 1.1, Pushing Manifests with Subject; Unavailable Referrers API)
"""

import json
from typing import Any

from upwell.oci import Index, Manifest, MediaType, Reference, parse_manifest
from upwell.oci.reference import MAX_TAG_LENGTH
from upwell.registry.client.push import RegistryPusher
from upwell.registry.errors import InvalidAnswerError, ManifestUnknownError
from upwell.registry.interface import Registry, RequestAccess

MAX_LISTED = 1000


class ReferrersTagTakenError(InvalidAnswerError):
    """The tag of the index of referrers names something else: what was pushed is not in a list."""

    retryable = False

    def __init__(self, tagged: Reference) -> None:
        super().__init__(str(tagged), "it is no index of referrers: remove this tag")


async def push_referrer(
    registry: Registry,
    pusher: RegistryPusher,
    place: Reference,
    manifest: Manifest | Index,
    access: RequestAccess,
) -> None:
    """Push a manifest, and see that it is listed as a referrer of its subject, if it has one.

    Raises a RegistryError: ReferrersTagTakenError when it is pushed, and cannot be listed.
    `registry` reads what `pusher` writes. Of two clients that add to an index at once, the later
    one wins: the protocol has no more.
    """
    is_listed = await pusher.push_manifest(place, manifest, access)
    if manifest.subject is None or is_listed:
        return
    subject = manifest.subject.digest
    tagged = place.with_tag(f"{subject.algorithm}-{subject.hex}"[:MAX_TAG_LENGTH])
    try:
        found = await registry.manifest(tagged, access)
    except ManifestUnknownError:
        entries: list[Any] = []
    else:
        if not isinstance(found, Index):
            raise ReferrersTagTakenError(tagged)
        entries = list(json.loads(found.raw)["manifests"])
    digest = str(manifest.digest)
    if any(entry.get("digest") == digest for entry in entries) or len(entries) >= MAX_LISTED:
        return
    document = {
        "schemaVersion": 2,
        "mediaType": MediaType.OCI_INDEX,
        "manifests": [*entries, _entry(manifest)],
    }
    index = parse_manifest(json.dumps(document, separators=(",", ":")).encode())
    await pusher.push_manifest(tagged, index, access)


def _entry(manifest: Manifest | Index) -> dict[str, object]:
    kind = manifest.artifact_type
    if not kind and isinstance(manifest, Manifest):
        kind = manifest.config.media_type
    found: dict[str, object] = {
        "mediaType": str(manifest.media_type),
        "digest": str(manifest.digest),
        "size": len(manifest.raw),
        "artifactType": kind,
    }
    if manifest.annotations:
        found["annotations"] = dict(manifest.annotations)
    return found
