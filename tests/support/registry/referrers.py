"""Manifests that refer to an image, pushed as clients do: with a subject, and with a tag."""

import json

import aiohttp
from tests.support.registry.docker_registry import push_blob

from upwell.oci import Digest, Manifest, MediaType, parse_manifest

EMPTY = b"{}"


def referrer_manifest(
    subject: Manifest, artifact_type: str, layers: tuple[dict[str, object], ...] = ()
) -> Manifest:
    """Return an artifact about `subject` (image-spec, Guidelines for Artifact Usage)."""
    empty = {
        "mediaType": "application/vnd.oci.empty.v1+json",
        "digest": str(Digest.of(EMPTY)),
        "size": len(EMPTY),
    }
    document = {
        "schemaVersion": 2,
        "mediaType": MediaType.OCI_MANIFEST,
        "artifactType": artifact_type,
        "config": empty,
        "layers": list(layers) or [empty],
        "subject": {
            "mediaType": subject.media_type,
            "digest": str(subject.digest),
            "size": len(subject.raw),
        },
    }
    manifest = parse_manifest(json.dumps(document).encode())
    assert isinstance(manifest, Manifest)
    return manifest


async def push_referrer(
    registry: str, repository: str, subject: Manifest, artifact_type: str
) -> Manifest:
    """Push a referrer of `subject`, and the index by which registries without that API find it."""
    manifest = referrer_manifest(subject, artifact_type)
    entry = {
        "mediaType": manifest.media_type,
        "digest": str(manifest.digest),
        "size": len(manifest.raw),
        "artifactType": artifact_type,
    }
    index = {"schemaVersion": 2, "mediaType": MediaType.OCI_INDEX, "manifests": [entry]}
    base = f"http://{registry}/v2/{repository}"
    async with aiohttp.ClientSession(raise_for_status=True) as session:
        await push_blob(session, base, EMPTY)
        await put_manifest(session, base, str(manifest.digest), manifest.raw)
        tag = f"sha256-{subject.digest.hex}"
        await put_manifest(session, base, tag, json.dumps(index).encode(), MediaType.OCI_INDEX)
    return manifest


async def put_manifest(
    session: aiohttp.ClientSession,
    base: str,
    target: str,
    raw: bytes,
    media_type: MediaType = MediaType.OCI_MANIFEST,
) -> None:
    headers = {"Content-Type": media_type}
    async with session.put(f"{base}/manifests/{target}", data=raw, headers=headers):
        pass
