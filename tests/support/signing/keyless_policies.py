"""Image policies that ask for certificates of a test's Fulcio, and signatures by them."""

import base64

from tests.support.signing.sigstore_services import ISSUER, Sigstore

from upwell.api.image_policies.policy import (
    AttestationRequirement,
    FulcioRoot,
    FulcioSubject,
    ImagePolicySpec,
    PolicyType,
    RootOfTrust,
    SignaturePolicy,
    SignedIdentity,
)


def fulcio_policy(
    services: Sigstore,
    email: str = "",
    uri: str = "",
    issuer: str = ISSUER,
    attestations: tuple[AttestationRequirement, ...] = (),
    identity: SignedIdentity | None = None,
) -> ImagePolicySpec:
    subject = FulcioSubject(oidc_issuer=issuer, signed_email=email, signed_uri=uri)
    root = FulcioRoot(
        fulcio_ca_data=base64.b64encode(services.authority.pem()).decode(),
        rekor_key_data=base64.b64encode(services.log.pem()).decode(),
        fulcio_subject=subject,
    )
    trusted = RootOfTrust(policy_type=PolicyType.FULCIO, fulcio_ca_with_rekor=root)
    return ImagePolicySpec(
        scopes=("*",),
        policy=SignaturePolicy(root_of_trust=trusted, signed_identity=identity),
        attestations=attestations,
    )
