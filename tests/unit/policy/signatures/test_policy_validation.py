"""Image policies as clients send them: OpenShift's form is taken, and no field is passed over."""

import base64
from typing import Any

import pytest
from tests.support.registry.signed_images import CosignKey, cluster_policy
from tests.support.signing.sigstore_services import CodeAuthority

from upwell.api.codec import decode
from upwell.api.image_policies.policy import (
    ClusterImagePolicy,
    ImagePolicy,
    ImagePolicyResource,
    ImagePolicyStatus,
    PolicyFinding,
)
from upwell.policy.signatures.findings import MAX_FINDINGS, MAX_PASSED, with_verdict
from upwell.policy.signatures.validation import image_policy_faults

KEY = CosignKey()
AUTHORITY = base64.b64encode(CodeAuthority("root").pem()).decode()
GOOD: dict[str, Any] = {
    "scopes": ["quay.io/team", "*.example.com"],
    "policy": {
        "rootOfTrust": {"policyType": "PublicKey", "publicKey": {"keyData": KEY.key_data}},
        "signedIdentity": {"matchPolicy": "MatchRepoDigestOrExact"},
    },
}


def policy(spec: dict[str, Any], version: str = "v1", kind: str = "ClusterImagePolicy") -> Any:
    document = {"apiVersion": f"config.openshift.io/{version}", "kind": kind}
    return decode({**document, "metadata": {"name": "signed"}, "spec": spec})


def fulcio(**fields: object) -> dict[str, Any]:
    """Return a root of trust of Fulcio's, with other fields."""
    subject = {"oidcIssuer": "https://accounts.test", "signedEmail": "dev@vendor.test"}
    good = {"fulcioCAData": AUTHORITY, "rekorKeyData": KEY.key_data, "fulcioSubject": subject}
    return {"policyType": "FulcioCAWithRekor", "fulcioCAWithRekor": {**good, **fields}}


def with_field(path: str, value: object) -> dict[str, Any]:
    """Return the good policy with another value at a path."""
    first, _, rest = path.partition(".")
    return {**GOOD, first: _replaced(GOOD.get(first, {}), rest, value) if rest else value}


def _replaced(document: dict[str, Any], path: str, value: object) -> dict[str, Any]:
    first, _, rest = path.partition(".")
    return {**document, first: _replaced(document.get(first, {}), rest, value) if rest else value}


@pytest.mark.parametrize("version", ["v1", "v1alpha1"])
@pytest.mark.parametrize("kind", [ClusterImagePolicy, ImagePolicy])
def test_the_policies_of_openshift_are_taken(version: str, kind: type[ImagePolicyResource]) -> None:
    found = policy(GOOD, version, kind.__name__)
    assert isinstance(found, kind)
    assert found.api_version == "config.openshift.io/v1"
    assert list(image_policy_faults(found)) == []


def test_every_root_of_trust_of_openshift_is_taken() -> None:
    subject = {"email": "dev@vendor.test", "hostname": "vendor.test"}
    pki = {"caRootsData": AUTHORITY, "pkiCertificateSubject": subject}
    logged = {"keyData": KEY.key_data, "rekorKeyData": KEY.key_data}
    for root in (
        fulcio(),
        {"policyType": "PKI", "pki": pki},
        {"policyType": "PKI", "pki": {**pki, "caIntermediatesData": AUTHORITY}},
        {"policyType": "PublicKey", "publicKey": logged},
    ):
        found = policy(with_field("policy.rootOfTrust", root))
        assert list(image_policy_faults(found)) == []


@pytest.mark.parametrize(
    ("path", "value", "fault"),
    [
        ("scopes", [], "spec.scopes"),
        ("atestations", [{"predicateType": "https://slsa.dev/provenance/v1"}], "spec.atestations"),
        (
            "attestations",
            [{"predicateType": "https://slsa.dev/provenance/v1", "bulder": "x"}],
            "spec.attestations[0].bulder",
        ),
        ("enforcement", {"mod": "warn"}, "spec.enforcement.mod"),
        ("scopes", ["quay.io", "python"], "spec.scopes[1]"),
        ("policy.rootOfTrust", {}, "spec.policy.rootOfTrust.policyType"),
        (
            "policy.rootOfTrust",
            {"policyType": "FulcioCAWithRekor", "fulcioCAWithRekor": {"fulcioCAData": "x"}},
            "spec.policy.rootOfTrust.fulcioCAWithRekor.fulcioSubject.oidcIssuer",
        ),
        (
            "policy.rootOfTrust",
            fulcio(fulcioCAData="x"),
            "spec.policy.rootOfTrust.fulcioCAWithRekor.fulcioCAData",
        ),
        (
            "policy.rootOfTrust",
            fulcio(rekorKeyData=""),
            "spec.policy.rootOfTrust.fulcioCAWithRekor.rekorKeyData",
        ),
        (
            "policy.rootOfTrust",
            fulcio(fulcioSubject={"oidcIssuer": "https://x.test", "signedURI": "("}),
            "spec.policy.rootOfTrust.fulcioCAWithRekor.fulcioSubject.signedURI",
        ),
        (
            "policy.rootOfTrust",
            {"policyType": "PKI", "pki": {"caRootsData": AUTHORITY}},
            "spec.policy.rootOfTrust.pki.pkiCertificateSubject",
        ),
        ("policy.rootOfTrust.policyType", "Keyless", "spec.policy.rootOfTrust.policyType"),
        ("policy.rootOfTrust.publicKey", {}, "spec.policy.rootOfTrust.publicKey.keyData"),
        (
            "policy.rootOfTrust.publicKey.keyData",
            base64.b64encode(b"no key").decode(),
            "spec.policy.rootOfTrust.publicKey.keyData",
        ),
        (
            "policy.rootOfTrust.publicKey.rekorKeyData",
            base64.b64encode(b"no key").decode(),
            "spec.policy.rootOfTrust.publicKey.rekorKeyData",
        ),
        ("policy.rootOfTrust.pki", {}, "spec.policy.rootOfTrust.pki"),
        (
            "policy.signedIdentity",
            {"matchPolicy": "Anything"},
            "spec.policy.signedIdentity.matchPolicy",
        ),
        (
            "policy.signedIdentity",
            {"matchPolicy": "ExactRepository"},
            "spec.policy.signedIdentity.exactRepository.repository",
        ),
        (
            "policy.signedIdentity",
            {"matchPolicy": "RemapIdentity", "remapIdentity": {"prefix": "a.test"}},
            "spec.policy.signedIdentity.remapIdentity.signedPrefix",
        ),
        ("attestations", [{}], "spec.attestations[0].predicateType"),
        (
            "attestations",
            [{"predicateType": "x", "sources": ["("]}],
            "spec.attestations[0].sources[0]",
        ),
        ("enforcement", {"mode": "perhaps"}, "spec.enforcement.mode"),
        ("enforcement", {"at": ["import", "sometimes"]}, "spec.enforcement.at[1]"),
    ],
)
def test_what_is_not_supported_is_refused_with_its_path(
    path: str, value: object, fault: str
) -> None:
    found = list(image_policy_faults(policy(with_field(path, value))))
    assert [one.path for one in found] == [fault]


def finding(image: str, reason: str = "NotSigned") -> PolicyFinding:
    since = "2026-01-01T00:00:00Z"
    return PolicyFinding.model_validate_json(
        f'{{"image":"{image}","at":"rollout","namespace":"shop","reason":"{reason}","since":"{since}"}}'
    )


def test_findings_are_bounded_and_go_when_the_image_passes() -> None:
    found = cluster_policy("signed", KEY.spec("*"))
    for number in range(MAX_FINDINGS + 5):
        status = with_verdict(found, finding(f"image-{number}"), passed=False)
        found = found.with_status(status)
    assert found.status.finding_count == len(found.status.findings) == MAX_FINDINGS
    assert found.status.findings[0].image == f"image-{MAX_FINDINGS + 4}"

    again = with_verdict(found, finding("image-20"), passed=False)
    assert again == found.status  # nothing new is written
    gone = with_verdict(found, finding("image-20"), passed=True)
    assert "image-20" not in [one.image for one in gone.findings]
    assert gone.finding_count == MAX_FINDINGS - 1
    assert [one.image for one in gone.passed] == ["image-20"]
    found = found.with_status(gone)
    assert with_verdict(found, finding("image-20"), passed=True) == gone
    back = with_verdict(found, finding("image-20"), passed=False)
    assert (back.findings[0].image, back.passed) == ("image-20", ())

    for number in range(MAX_PASSED + 5):
        status = with_verdict(found, finding(f"image-{number}"), passed=True)
        found = found.with_status(status)
    assert len(found.status.passed) == MAX_PASSED


def test_findings_that_an_earlier_version_wrote_are_counted() -> None:
    found = cluster_policy("signed", KEY.spec("*"))
    earlier = ImagePolicyStatus(
        observed_generation=found.generation, findings=(finding("image-1"),)
    )
    status = with_verdict(found.with_status(earlier), finding("image-1"), passed=False)
    assert (status.finding_count, status.findings) == (1, earlier.findings)
