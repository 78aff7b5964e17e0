"""Verdicts of image policies in explanations and in the tree of status."""

from datetime import UTC, datetime

import pytest
from tests.support.registry.signed_images import CosignKey, cluster_policy, namespace_policy
from tests.unit.policy.explain.test_explain_changes import (
    BASE,
    NS,
    SHOP,
    build,
    config,
    debian,
    deployment,
    stream,
)

from upwell.api.image import Image, ImageStreamTag
from upwell.api.image_policies.policy import (
    ImagePolicyResource,
    ImagePolicyStatus,
    PolicyFinding,
    PolicyPass,
)
from upwell.api.meta import Resource
from upwell.cli.explain.status_tree import StatusTree
from upwell.policy.explain.changes import explain
from upwell.policy.explain.freshness import Snapshot
from upwell.policy.explain.statement import Topic

KEY = CosignKey()
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
UNSIGNED = "it has no signature"
OURS = "sha256:" + "1" * 64
THEIRS = "sha256:" + "2" * 64


def policy(
    name: str,
    mode: str = "enforce",
    *,
    passed: tuple[tuple[str, str], ...] = (),
    failed: tuple[tuple[str, str], ...] = (),
    namespace: str = NS,
    judged: int = 1,
) -> ImagePolicyResource:
    """Return a policy that has judged images (digest, point) for a namespace."""
    findings = [
        PolicyFinding(
            image=f"x.test/any@{digest}",
            at=at,
            namespace=namespace,
            reason="NotSigned",
            message=UNSIGNED,
            since=NOW,
        )
        for digest, at in failed
    ]
    passes = [
        PolicyPass(image=f"x.test/any@{digest}", at=at, namespace=namespace, since=NOW)
        for digest, at in passed
    ]
    status = ImagePolicyStatus(
        observed_generation=judged, findings=tuple(findings), passed=tuple(passes)
    )
    made = cluster_policy(name, KEY.spec("*", mode=mode))
    return made.with_metadata(generation=1).with_status(status)


def told(asked: Resource, *objects: Resource) -> list[tuple[Topic, str]]:
    statements = explain(Snapshot([asked, *objects]), asked)
    return [(one.topic, one.text) for one in statements if "Policy" in one.text]


def test_a_workload_tells_what_its_image_passed_and_why_the_next_is_kept_out() -> None:
    signed = policy(
        "signed",
        passed=((SHOP[0], "promotion"), (SHOP[0], "rollout")),
        failed=((SHOP[1], "rollout"),),
    )
    trial = policy("trial", "warn", failed=((SHOP[0], "rollout"),))
    newer = stream("shop", "latest", SHOP[:2])

    why = f"NotSigned: {UNSIGNED} (at rollout)"
    passed = "passed ClusterImagePolicy signed (at rollout, promotion)"
    warned = f"would be refused by ClusterImagePolicy trial: {why}"
    refused = f"is refused by ClusterImagePolicy signed: {why}"
    assert told(deployment("Complete"), newer, signed, trial) == [
        (Topic.POLICY, f"image {SHOP[0]} {passed}"),
        (Topic.POLICY, f"image {SHOP[0]} {warned}"),
        (Topic.HELD, f"image {SHOP[1]} {refused}"),
    ]


def test_a_workload_tells_who_has_signed_its_image() -> None:
    signed = policy("signed", passed=((SHOP[0], "rollout"),))
    by_whom = "signed by dev@vendor.test at issuer https://accounts.test"
    passed = tuple(
        one.model_copy(update={"message": by_whom}) for one in signed.status.passed
    )  # fmt: skip
    signed = signed.with_status(signed.status.model_copy(update={"passed": passed}))
    newer = stream("shop", "latest", SHOP[:1])
    assert told(deployment("Complete"), newer, signed) == [
        (
            Topic.POLICY,
            f"image {SHOP[0]} passed ClusterImagePolicy signed: {by_whom} (at rollout)",
        )
    ]


def test_a_build_tells_it_of_what_it_takes() -> None:
    signed = policy("signed", failed=((BASE[0], "build"),))
    [(topic, text)] = told(build(1), debian(BASE[:1]), signed)
    assert topic is Topic.HELD
    assert text.startswith(f"image {BASE[0]} is refused by ClusterImagePolicy signed")


def test_a_tag_tells_it_of_what_it_is_and_of_what_is_kept_out() -> None:
    state = {"source": "vendor.test/debian:11", "importedDigest": BASE[1]}
    asked = ImageStreamTag().with_metadata(name="debian:11", namespace=NS)
    signed = policy("signed", passed=((BASE[0], "import"),), failed=((BASE[1], "import"),))
    found = told(asked, stream("debian", "11", BASE[:1], importState=state), signed)
    assert [topic for topic, _ in found] == [Topic.POLICY, Topic.HELD]
    assert [BASE[0] in found[0][1], BASE[1] in found[1][1]] == [True, True]


def test_an_image_tells_it_for_every_namespace() -> None:
    asked = Image(docker_image_reference=f"x.test/any@{BASE[0]}").with_metadata(name=BASE[0])
    signed = policy("signed", passed=((BASE[0], "import"),), namespace="shop")
    assert told(asked, signed) == [
        (
            Topic.POLICY,
            f"image {BASE[0]} passed ClusterImagePolicy signed (at import in namespace shop)",
        )
    ]
    texts = [one.text for one in explain(Snapshot([asked]), asked)]
    assert "no image policy that you may read has judged it" in texts


@pytest.mark.parametrize(
    "other",
    [
        policy("signed", failed=((SHOP[0], "rollout"),), namespace="bank"),
        policy("signed", failed=((SHOP[0], "rollout"),), judged=0),
    ],
    ids=["of another namespace", "before the policy changed"],
)
def test_what_was_judged_for_others_or_by_another_policy_is_not_told(
    other: ImagePolicyResource,
) -> None:
    assert told(deployment("Complete"), stream("shop", "latest", SHOP[:1]), other) == []


def test_the_tree_of_status_tells_it_of_every_image() -> None:
    signed = policy(
        "signed",
        passed=((BASE[0], "import"), (BASE[0], "build"), (SHOP[0], "rollout")),
        failed=((SHOP[1], "rollout"),),
    )
    own = namespace_policy(NS, "trial", KEY.spec("*", mode="warn")).with_metadata(generation=1)
    warned = policy("x", failed=((SHOP[0], "rollout"),)).status
    objects = [
        *(debian(BASE[:1]), config(), build(1), stream("shop", "latest", SHOP[:2])),
        *(deployment("Complete"), signed, own.with_status(warned)),
    ]
    tree = StatusTree(Snapshot(objects), NOW, NS)

    lines = {line.strip("├└─ "): line for line in tree.lines()}
    [workload] = [line for line in lines if line.startswith("Deployment")]
    unsigned = f"NotSigned: {UNSIGNED}"
    assert f"! bbbbbbbbbbbb refused by ClusterImagePolicy signed: {unsigned}" in workload
    assert f"! aaaaaaaaaaaa would be refused by ImagePolicy {NS}/trial: {unsigned}" in workload
    assert "passed ClusterImagePolicy signed" in workload
    for kind in ("ImageStreamTag default/debian", "BuildConfig"):
        [line] = [line for line in lines if line.startswith(kind)]
        assert line.endswith("passed ClusterImagePolicy signed")
    data = {node["kind"]: node for node in tree.data()["nodes"]}
    verdicts = data["Deployment"]["imagePolicies"]
    assert {(one["mode"], one["passed"], one["reason"]) for one in verdicts} == {
        ("enforce", True, "Verified"),
        ("enforce", False, "NotSigned"),
        ("warn", False, "NotSigned"),
    }


@pytest.mark.parametrize(
    ("mode", "verb"), [("enforce", "is refused"), ("warn", "would be refused")]
)
def test_a_policy_itself_names_the_images_that_do_not_pass(mode: str, verb: str) -> None:
    asked = policy("signed", mode, failed=((OURS, "build"),), passed=((THEIRS, "build"),))

    held, passed = explain(Snapshot([asked]), asked)

    assert held.text.endswith(f"{OURS} {verb} at build in namespace {NS}: NotSigned: {UNSIGNED}")
    assert (held.topic is Topic.HELD) is (mode == "enforce")
    assert passed.text == "1 of the images that it judged last pass"


def test_a_policy_that_was_changed_says_that_it_has_judged_nothing() -> None:
    asked = policy("signed", failed=((OURS, "build"),), judged=0)

    assert "it has judged no image yet, as it stands now" in [
        one.text for one in explain(Snapshot([asked]), asked)
    ]
