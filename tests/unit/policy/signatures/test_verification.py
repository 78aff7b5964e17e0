"""Verification of images: whose signature counts, under which name, and what is attested."""

import base64
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.registry.signed_images import PROVENANCE, CosignKey

from upwell.api.image_policies.policy import (
    AttestationRequirement,
    ExactRepository,
    ImagePolicySpec,
    RemapIdentity,
    SignedIdentity,
)
from upwell.formats.sigstore import SignedEnvelope
from upwell.formats.sigstore.statement import COSIGN_SIGNATURE
from upwell.oci import Digest, Reference
from upwell.policy.signatures.scopes import JudgedImage, judged_image
from upwell.policy.signatures.verification import (
    ImageAttestation,
    ImageEvidence,
    ImageSignature,
    Verdict,
    VerdictReason,
    verify,
)

NOW = datetime(2026, 11, 29, tzinfo=UTC)
DIGEST, OTHER = Digest.of(b"image"), Digest.of(b"another image")
NAME = "registry.test/team/app"
KEY, STRANGER = CosignKey(), CosignKey()


def app(name: str = NAME) -> JudgedImage:
    return judged_image(Reference.parse(f"{name}@{DIGEST}"), DIGEST, "")


def judged(spec: ImagePolicySpec, *signatures: ImageSignature, name: str = NAME) -> Verdict:
    return verify(spec, app(name), ImageEvidence(signatures), NOW)


def test_an_image_that_the_key_has_signed_passes() -> None:
    assert judged(KEY.spec("*"), KEY.signature(NAME, DIGEST)).passed


def test_one_good_signature_among_those_of_strangers_is_enough() -> None:
    signatures = (
        STRANGER.signature(NAME, DIGEST),
        ImageSignature(b"{", b"nothing"),
        KEY.signature(NAME, DIGEST),
    )
    assert judged(KEY.spec("*"), *signatures).passed


@pytest.mark.parametrize(
    ("signature", "reason"),
    [
        (STRANGER.signature(NAME, DIGEST), VerdictReason.NOT_TRUSTED),
        (KEY.signature(NAME, OTHER), VerdictReason.NOT_TRUSTED),
        (KEY.signature("registry.test/team/other", DIGEST), VerdictReason.OTHER_IDENTITY),
        (
            replace(
                KEY.signature(NAME, DIGEST), payload=STRANGER.signature(NAME, DIGEST).payload + b" "
            ),
            VerdictReason.NOT_TRUSTED,
        ),
        (ImageSignature(b"not json", KEY.sign(b"not json")), VerdictReason.NOT_TRUSTED),
    ],
)
def test_no_other_signature_counts(signature: ImageSignature, reason: VerdictReason) -> None:
    assert judged(KEY.spec("*"), signature).reason is reason


def test_an_image_without_signatures_does_not_pass() -> None:
    assert judged(KEY.spec("*")).reason is VerdictReason.NOT_SIGNED


def test_an_old_key_beside_the_new_one_is_as_good() -> None:
    both = base64.b64encode(KEY.pem + STRANGER.pem).decode()
    spec = KEY.spec("*")
    root = spec.policy.root_of_trust
    assert root.public_key is not None
    public_key = root.public_key.model_copy(update={"key_data": both})
    policy = spec.policy.model_copy(
        update={"root_of_trust": root.model_copy(update={"public_key": public_key})}
    )
    spec = spec.model_copy(update={"policy": policy})

    for signer in (KEY, STRANGER):
        assert judged(spec, signer.signature(NAME, DIGEST)).passed


@pytest.mark.parametrize(
    ("identity", "stated", "passes"),
    [
        (SignedIdentity(match_policy="MatchRepository"), NAME, True),
        (SignedIdentity(match_policy="MatchRepository"), f"{NAME}:1.2", True),
        (SignedIdentity(), f"{NAME}:1.2", True),
        (SignedIdentity(), "not a name", False),
        (
            SignedIdentity(
                match_policy="ExactRepository",
                exact_repository=ExactRepository(repository="vendor.test/app"),
            ),
            "vendor.test/app",
            True,
        ),
        (
            SignedIdentity(
                match_policy="ExactRepository",
                exact_repository=ExactRepository(repository="vendor.test/app"),
            ),
            NAME,
            False,
        ),
        (
            SignedIdentity(
                match_policy="RemapIdentity",
                remap_identity=RemapIdentity(
                    prefix="registry.test/team", signed_prefix="vendor.test/images"
                ),
            ),
            "vendor.test/images/app",
            True,
        ),
        (
            SignedIdentity(
                match_policy="RemapIdentity",
                remap_identity=RemapIdentity(prefix="registry.test/te", signed_prefix="v.test/x"),
            ),
            "v.test/xam/app",
            False,
        ),
        (SignedIdentity(match_policy="Anything"), NAME, False),
    ],
)
def test_the_name_that_is_signed_is_judged_by_the_policy(
    identity: SignedIdentity, stated: str, *, passes: bool
) -> None:
    spec = KEY.spec("*", identity=identity)
    assert judged(spec, KEY.signature(stated, DIGEST)).passed is passes


def provenance(builder: str, *sources: str) -> dict[str, Any]:
    return {
        "buildDefinition": {
            "buildType": "https://example.test/build",
            "externalParameters": {},
            "resolvedDependencies": [
                *({"uri": one, "digest": {"gitCommit": "f" * 40}} for one in sources),
                {"uri": "pkg:docker/base", "digest": {"sha256": "0" * 64}},
            ],
        },
        "runDetails": {"builder": {"id": builder}},
    }


GOOD = provenance("https://upwell.test/builder", "git+https://git.test/shop/app@refs/heads/main")
WANTED = AttestationRequirement(
    predicate_type=PROVENANCE,
    builder="https://upwell\\.test/.*",
    sources=("https://git\\.test/shop/.*",),
)


def attested(*envelopes: SignedEnvelope, wanted: AttestationRequirement = WANTED) -> Verdict:
    spec = KEY.spec("*", attestations=(wanted,))
    found = tuple(map(ImageAttestation, envelopes))
    evidence = ImageEvidence((KEY.signature(NAME, DIGEST),), found)
    return verify(spec, app(), evidence, NOW)


def test_provenance_of_the_builder_and_source_passes() -> None:
    assert attested(KEY.envelope(DIGEST, PROVENANCE, GOOD)).passed


@pytest.mark.parametrize(
    "envelope",
    [
        STRANGER.envelope(DIGEST, PROVENANCE, GOOD),
        KEY.envelope(OTHER, PROVENANCE, GOOD),
        KEY.envelope(DIGEST, "https://spdx.dev/Document", GOOD),
        replace(KEY.envelope(DIGEST, PROVENANCE, GOOD), payload_type="text/plain"),
    ],
)
def test_what_nobody_trusted_has_attested_counts_for_nothing(envelope: SignedEnvelope) -> None:
    assert attested(envelope).reason is VerdictReason.NOT_ATTESTED


@pytest.mark.parametrize(
    "predicate",
    [
        provenance("https://evil.test/upwell.test/", "git+https://git.test/shop/app"),
        provenance("https://upwell.test/builder", "git+https://git.evil.test/shop/app"),
        provenance("https://upwell.test/b", "https://git.test/shop/a", "https://evil.test/shop/b"),
        provenance("https://upwell.test/builder"),
        {},
        {"buildDefinition": [], "runDetails": {"builder": "x"}},
    ],
)
def test_provenance_of_another_builder_or_source_is_refused(predicate: dict[str, Any]) -> None:
    found = attested(KEY.envelope(DIGEST, PROVENANCE, predicate))
    assert found.reason is VerdictReason.ATTESTATION_DIFFERS


def test_a_user_and_revision_in_a_source_do_not_pass_for_its_host() -> None:
    sneaky = provenance("https://upwell.test/b", "https://git.test/shop/@evil.test/x")
    assert attested(KEY.envelope(DIGEST, PROVENANCE, sneaky)).passed  # the host is git.test
    sneaky = provenance("https://upwell.test/b", "https://git.test@evil.test/shop/x")
    assert not attested(KEY.envelope(DIGEST, PROVENANCE, sneaky)).passed


@pytest.mark.parametrize(
    "uri",
    [
        "git+https://git.example/team/../evil/app",
        "https://git.example/team/app/../../evil/app",
        "https://git.example/team/%2E%2e/evil/app",
        "https://git.example/./evil/app",
    ],
)
def test_dots_in_a_source_do_not_pass_for_another_place(uri: str) -> None:
    assert not sourced(provenance("builder", uri), "https://git.example/team/.*")
    assert sourced(provenance("builder", uri), "https://git.example/evil/app")


@pytest.mark.parametrize(
    ("parameters", "named"),
    [
        ({"source": {"dockerfile": "FROM evil"}}, "dockerfile:inline"),
        ({"strategy": {"sourceStrategy": {"scripts": "https://evil/s2i"}}}, "https://evil/s2i"),
        ({"strategy": {"customStrategy": {"from": {"name": "evil"}}}}, "builder:custom"),
    ],
)
def test_what_is_built_besides_commits_is_a_source_too(
    parameters: dict[str, Any], named: str
) -> None:
    predicate = provenance("builder", "https://git.example/team/app")
    predicate["buildDefinition"]["externalParameters"] = parameters

    assert not sourced(predicate, "https://git.example/team/.*")
    assert sourced(predicate, "https://git.example/team/.*", named)


def test_an_upload_is_a_source_too() -> None:
    predicate = provenance("builder", "https://git.example/team/app")
    upload = {"name": "upload", "digest": {"sha256": "0" * 64}}
    predicate["buildDefinition"]["resolvedDependencies"].append(upload)

    assert not sourced(predicate, "https://git.example/team/.*")
    assert sourced(predicate, "https://git.example/team/.*", "upload:")


def sourced(predicate: dict[str, Any], *sources: str) -> bool:
    wanted = AttestationRequirement(predicate_type=PROVENANCE, sources=sources)
    return attested(KEY.envelope(DIGEST, PROVENANCE, predicate), wanted=wanted).passed


@pytest.mark.parametrize(("result", "passes"), [("PASSED", True), ("FAILED", False)])
def test_tests_have_to_have_passed(result: str, *, passes: bool) -> None:
    kind = "https://in-toto.io/attestation/test-result/v0.1"
    wanted = AttestationRequirement(predicate_type=kind, result="PASSED")
    found = attested(KEY.envelope(DIGEST, kind, {"result": result}), wanted=wanted)
    assert found.passed is passes


@pytest.mark.parametrize(
    ("stages", "passes"),
    [
        (["shop/app/staging"], True),
        (["shop/app/dev", "shop/app/staging"], True),
        (["shop/app/dev"], False),
        (["evil/shop/app/staging"], False),
        ([], False),
    ],
)
def test_tests_have_to_be_those_of_the_stage(stages: list[str], *, passes: bool) -> None:
    kind = "https://in-toto.io/attestation/test-result/v0.1"
    wanted = AttestationRequirement(
        predicate_type=kind, result="PASSED", configurations=("shop/[^/]+/staging",)
    )
    predicate = {"result": "PASSED", "configuration": [{"name": one} for one in stages]}
    assert attested(KEY.envelope(DIGEST, kind, predicate), wanted=wanted).passed is passes


BY_DIGEST = SignedIdentity(match_policy="MatchDigest")


def test_a_signature_without_a_name_counts_where_the_digest_is_enough() -> None:
    signed = ImageAttestation(KEY.envelope(DIGEST, COSIGN_SIGNATURE, {}))
    evidence = ImageEvidence((), (signed,))
    assert verify(KEY.spec("*", identity=BY_DIGEST), app(), evidence, NOW).passed
    assert verify(KEY.spec("*"), app(), evidence, NOW).reason is VerdictReason.NOT_SIGNED
    assert judged(KEY.spec("*", identity=BY_DIGEST), KEY.signature("any name", DIGEST)).passed
    both = KEY.spec("*", identity=BY_DIGEST, attestations=(WANTED,))
    assert verify(both, app(), evidence, NOW).reason is VerdictReason.NOT_ATTESTED


@pytest.mark.parametrize(
    "envelope",
    [
        STRANGER.envelope(DIGEST, COSIGN_SIGNATURE, {}),
        KEY.envelope(OTHER, COSIGN_SIGNATURE, {}),
        KEY.envelope(DIGEST, PROVENANCE, GOOD),
    ],
)
def test_no_other_statement_is_a_signature(envelope: SignedEnvelope) -> None:
    evidence = ImageEvidence((), (ImageAttestation(envelope),))
    spec = KEY.spec("*", identity=BY_DIGEST, attestations=(WANTED,))
    assert verify(spec, app(), evidence, NOW).reason is VerdictReason.NOT_SIGNED


def test_every_attestation_of_a_policy_is_needed() -> None:
    other = AttestationRequirement(predicate_type="https://spdx.dev/Document")
    spec = KEY.spec("*", attestations=(WANTED, other))
    signatures = (KEY.signature(NAME, DIGEST),)
    one = ImageAttestation(KEY.envelope(DIGEST, PROVENANCE, GOOD))
    two = ImageAttestation(KEY.envelope(DIGEST, "https://spdx.dev/Document", {}))

    assert not verify(spec, app(), ImageEvidence(signatures, (one,)), NOW).passed
    assert verify(spec, app(), ImageEvidence(signatures, (one, two)), NOW).passed
    assert not verify(spec, app(), ImageEvidence((), (one, two)), NOW).passed


@given(payload=st.binary(max_size=300), signature=st.binary(max_size=80))
def test_nothing_that_a_stranger_writes_passes_or_breaks(payload: bytes, signature: bytes) -> None:
    evidence = ImageEvidence((ImageSignature(payload, signature),))
    assert not verify(KEY.spec("*"), app(), evidence, NOW).passed


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=20), inner, max_size=3)
    ),
    max_leaves=10,
)


@given(
    st.dictionaries(
        st.sampled_from(["buildDefinition", "runDetails", "invocation", "builder", "result"]),
        json_values,
    )
)
def test_no_predicate_breaks_the_judge(predicate: dict[str, Any]) -> None:
    assert not attested(KEY.envelope(DIGEST, PROVENANCE, predicate)).passed
