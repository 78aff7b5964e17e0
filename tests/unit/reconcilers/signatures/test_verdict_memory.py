"""Verdicts are remembered as long as what they stand on."""

import pytest

from upwell.api.image_policies.policy import (
    ClusterImagePolicy,
    ImagePolicySpec,
    RootOfTrust,
    SignaturePolicy,
)
from upwell.api.meta import ObjectMeta
from upwell.oci import Digest
from upwell.policy.signatures.scopes import JudgedImage
from upwell.policy.signatures.verification import Verdict, VerdictReason
from upwell.reconcilers.signatures.verdicts import VerdictKey, VerdictMemory

IMAGE = JudgedImage(("vendor.example/base",), Digest.of(b"base"))
PASSED = Verdict(VerdictReason.VERIFIED)


def key(policy_type: str) -> VerdictKey:
    root = RootOfTrust(policy_type=policy_type)
    spec = ImagePolicySpec(policy=SignaturePolicy(root_of_trust=root))
    policy = ClusterImagePolicy(metadata=ObjectMeta(name="signed", uid="1"), spec=spec)
    return VerdictKey.of(policy, IMAGE, "shop")


@pytest.mark.parametrize(
    ("policy_type", "lasting"), [("PKI", False), ("PublicKey", True), ("FulcioCAWithRekor", True)]
)
def test_a_verdict_does_not_outlive_a_certificate(policy_type: str, *, lasting: bool) -> None:
    now = [0.0]
    memory = VerdictMemory(lambda: now[0])
    asked = key(policy_type)
    memory.remember(asked, PASSED)
    now[0] = 3599.0
    assert memory.recall(asked) == PASSED
    now[0] = 3601.0
    assert (memory.recall(asked) is not None) == lasting


def test_a_signature_that_is_told_of_ends_refusals_alone() -> None:
    memory = VerdictMemory(lambda: 0.0)
    memory.remember(key("PKI"), PASSED)
    assert not memory.forget_refusals(IMAGE.digest)
    memory.remember(key("PublicKey"), Verdict(VerdictReason.NOT_SIGNED))
    assert memory.forget_refusals(IMAGE.digest)
    assert memory.recall(key("PKI")) == PASSED
