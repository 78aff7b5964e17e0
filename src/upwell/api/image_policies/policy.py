"""config.openshift.io/v1: ClusterImagePolicy and ImagePolicy, as OpenShift has them.

`attestations` and `enforcement` are additions of ours: what else is asked of an image, where, and
whether what does not pass is refused or only told of.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, ClassVar

from pydantic import Field

from upwell.api.meta import Column, ColumnType, Kind, Model, Resource, Scope, Time

GROUP = "config.openshift.io"


class PolicyType(StrEnum):
    """Kind of a root of trust."""

    PUBLIC_KEY = "PublicKey"
    FULCIO = "FulcioCAWithRekor"
    PKI = "PKI"


class MatchPolicy(StrEnum):
    """Relation of an image's name to the one that its signature states."""

    REPO_DIGEST_OR_EXACT = "MatchRepoDigestOrExact"
    """The same repository: images are judged by digest."""
    REPOSITORY = "MatchRepository"
    EXACT_REPOSITORY = "ExactRepository"
    REMAP_IDENTITY = "RemapIdentity"
    DIGEST = "MatchDigest"
    """The digest alone, whatever name is stated, or none; an addition of ours."""


class PublicKeyRoot(Model):
    """Public keys in PEM, in base64; several that follow one another are each good."""

    key_data: str = ""
    rekor_key_data: str | None = None


class FulcioSubject(Model):
    """Identity of who has signed, and who vouches for it."""

    oidc_issuer: str = ""
    signed_email: str = ""
    """Email address, to the letter."""
    signed_uri: str = Field(default="", alias="signedURI")
    """Expression (RE2) that the whole URI of a workload has to match; an addition of ours."""


class FulcioRoot(Model):
    """Authorities of Fulcio, and keys of Rekor's log, in PEM, in base64."""

    fulcio_ca_data: str = Field(default="", alias="fulcioCAData")
    rekor_key_data: str = ""
    fulcio_subject: FulcioSubject = Field(default_factory=FulcioSubject)


class PkiSubject(Model):
    """Names that a certificate has to have."""

    email: str = ""
    hostname: str = ""


class PkiRoot(Model):
    """Authorities of somebody's own, in PEM, in base64."""

    ca_roots_data: str = ""
    ca_intermediates_data: str = ""
    pki_certificate_subject: PkiSubject = Field(default_factory=PkiSubject)


class RootOfTrust(Model):
    """Keys, or authorities, whose signatures count."""

    policy_type: str = ""
    public_key: PublicKeyRoot | None = None
    fulcio_ca_with_rekor: FulcioRoot | None = Field(default=None, alias="fulcioCAWithRekor")
    pki: PkiRoot | None = None


class ExactRepository(Model):
    """Repository that a signature has to state."""

    repository: str = ""


class RemapIdentity(Model):
    """Prefix of an image's name, and what a signature states in its place."""

    prefix: str = ""
    signed_prefix: str = ""


class SignedIdentity(Model):
    """Name that a signature has to state."""

    match_policy: str = MatchPolicy.REPO_DIGEST_OR_EXACT
    exact_repository: ExactRepository | None = None
    remap_identity: RemapIdentity | None = None


class SignaturePolicy(Model):
    """Signature that an image has to have."""

    root_of_trust: RootOfTrust = Field(default_factory=RootOfTrust)
    signed_identity: SignedIdentity | None = None


class AttestationRequirement(Model):
    """Attestation that an image has to have, signed by the same root of trust."""

    predicate_type: str = ""
    """Of in-toto, such as `https://slsa.dev/provenance/v1`."""
    builder: str = ""
    """Expression (RE2) that the whole id of the provenance's builder has to match; empty: any."""
    sources: tuple[str, ...] = ()
    """Expressions (RE2), one of which each source that the provenance names has to match."""
    result: str = ""
    """Result of the tests: `PASSED`; empty: any."""
    configurations: tuple[str, ...] = ()
    """Expressions (RE2), one of which the name of a configuration that was tested has to match:
    of this server's verdicts the stage, `NAMESPACE/PIPELINE/STAGE`."""


class EnforcementMode(StrEnum):
    """Consequence for what does not pass."""

    ENFORCE = "enforce"
    WARN = "warn"


class PolicyPoint(StrEnum):
    """Point at which images are judged."""

    IMPORT = "import"
    BUILD = "build"
    ROLLOUT = "rollout"
    PROMOTION = "promotion"


class Enforcement(Model):
    """Consequence and places of a policy."""

    mode: str = EnforcementMode.ENFORCE
    at: tuple[str, ...] = ()
    """Points; none: all."""
    stages: tuple[str, ...] = ()
    """Stages of Pipelines whose promotions are judged; none: all."""


class ImagePolicySpec(Model):
    """Scopes of a policy, and what it asks of the images in them."""

    scopes: tuple[str, ...] = ()
    policy: SignaturePolicy = Field(default_factory=SignaturePolicy)
    attestations: tuple[AttestationRequirement, ...] = ()
    enforcement: Enforcement = Field(default_factory=Enforcement)


class PolicyFinding(Model):
    """An image that does not pass."""

    image: str
    """Pull spec with digest."""
    at: str
    namespace: str = ""
    reason: str
    message: str = ""
    since: Time


class PolicyPass(Model):
    """An image that passes."""

    image: str
    """Pull spec with digest."""
    at: str
    namespace: str = ""
    message: str = ""
    """Signer, as far as a certificate says."""
    since: Time


class ImagePolicyStatus(Model):
    """Images that did not pass, and that did, when they were judged last."""

    observed_generation: int | None = None
    findings: tuple[PolicyFinding, ...] = ()
    """The newest first."""
    finding_count: int | None = None
    """Number of findings, as a column of a custom resource counts nothing."""
    passed: tuple[PolicyPass, ...] = ()
    """The newest first."""


def _mode(policy: Mapping[str, Any]) -> str:
    """Return the mode, where the object leaves it out too."""
    spec = policy.get("spec") or {}
    return str((spec.get("enforcement") or {}).get("mode") or EnforcementMode.ENFORCE.value)


_COLUMNS = (
    Column("MODE", "spec.enforcement.mode", text=_mode),
    Column("SCOPES", "spec.scopes[*]"),
    Column("FINDINGS", "status.findingCount", ColumnType.INTEGER),
)


class ImagePolicyResource(Resource):
    """Base of both kinds."""

    spec: ImagePolicySpec = Field(default_factory=ImagePolicySpec)
    status: ImagePolicyStatus = Field(default_factory=ImagePolicyStatus)


class ClusterImagePolicy(ImagePolicyResource):
    """Signatures that images need in all namespaces."""

    KIND: ClassVar[Kind] = Kind(
        GROUP,
        "v1",
        "ClusterImagePolicy",
        "clusterimagepolicies",
        scope=Scope.CLUSTER,
        earlier_versions=("v1alpha1",),
        columns=_COLUMNS,
    )


class ImagePolicy(ImagePolicyResource):
    """Signatures that images need in one namespace, besides those of ClusterImagePolicies."""

    KIND: ClassVar[Kind] = Kind(
        GROUP,
        "v1",
        "ImagePolicy",
        "imagepolicies",
        earlier_versions=("v1alpha1",),
        columns=_COLUMNS,
    )
