"""Manifests that carry signatures: found by a tag, found as referrers, the same bytes each time."""

import json

from upwell.formats.attachment_tags import attestation_tag, image_of_tag, signature_tag
from upwell.formats.sigstore import (
    Bundle,
    EnvelopeSignature,
    SignedEnvelope,
    bundle_manifest,
    layered_manifest,
    signature_manifest,
)
from upwell.formats.sigstore.artifacts import attestation_layer, signature_layer
from upwell.oci import Descriptor, Digest, MediaType

IMAGE = Descriptor(MediaType.OCI_MANIFEST, Digest.of(b"image"), 5)
ENVELOPE = SignedEnvelope(b"{}", (EnvelopeSignature(b"signature"),))


def test_tags_say_which_image_they_are_about() -> None:
    image = IMAGE.digest

    assert signature_tag(image) == f"sha256-{image.hex}.sig"
    assert image_of_tag(signature_tag(image)) == image_of_tag(attestation_tag(image)) == image
    for tag in ("latest", f"sha256-{image.hex}", f"sha256-{image.hex}.exe", "sha512-" + "a" * 70):
        assert image_of_tag(tag) is None


def test_a_tag_of_no_digest_is_none_of_ours() -> None:
    assert image_of_tag(f"sha512-{'a' * 64}.sig") is None
    assert image_of_tag(f"sha256-{'a' * 128}.sig") is None


def test_a_signature_is_a_referrer_of_its_image() -> None:
    layer = signature_layer(b"payload", b"signature")
    manifest = signature_manifest(IMAGE, [layer]).manifest

    assert manifest.subject == IMAGE
    assert manifest.layers == (layer.descriptor,)
    assert manifest.layers[0].annotations == {"dev.cosignproject.cosign/signature": "c2lnbmF0dXJl"}
    assert manifest.config.media_type == "application/vnd.dev.cosign.artifact.sig.v1+json"


def test_attestations_under_a_tag_keep_the_layers_that_were_there() -> None:
    old = attestation_layer(ENVELOPE.encode(), "https://example.com/old").descriptor
    new = attestation_layer(b"new", "https://example.com/new")
    artifact = layered_manifest([old, new.descriptor], [new])

    assert [layer.annotations["predicateType"] for layer in artifact.manifest.layers] == [
        "https://example.com/old",
        "https://example.com/new",
    ]
    assert {blob.descriptor.digest for blob in artifact.blobs} == {
        artifact.manifest.config.digest,
        new.descriptor.digest,
    }
    assert artifact.manifest.subject is None


def test_a_bundle_says_what_it_attests_where_lists_of_referrers_show_it() -> None:
    manifest = bundle_manifest(IMAGE, Bundle(ENVELOPE, "id"), "https://example.com/p").manifest

    assert manifest.subject == IMAGE
    assert manifest.artifact_type == "application/vnd.dev.sigstore.bundle.v0.3+json"
    assert manifest.annotations["dev.sigstore.bundle.predicateType"] == "https://example.com/p"
    assert json.loads(manifest.raw)["config"]["mediaType"] == "application/vnd.oci.empty.v1+json"


def test_equal_content_has_equal_digests() -> None:
    bundles = {bundle_manifest(IMAGE, Bundle(ENVELOPE), "p").manifest.digest for _ in range(2)}

    assert len(bundles) == 1
