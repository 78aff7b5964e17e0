"""Scopes of image policies: which images they are about, and which of several counts."""

import pytest
from tests.support.registry.signed_images import (
    CosignKey,
    cluster_policy,
    names,
    namespace_policy,
)

from upwell.api.image_policies.policy import PolicyPoint
from upwell.oci import Digest, Reference
from upwell.oci.registry_names import OPENSHIFT_NAME
from upwell.policy.signatures.scopes import (
    judged_image,
    scope_fault,
    weight,
)
from upwell.policy.signatures.selection import policies_for

DIGEST = Digest.of(b"image")
INTERNAL = "127.0.0.1:7080"
KEY = CosignKey()


def image(name: str) -> Reference:
    return Reference.parse(f"{name}@{DIGEST}")


def is_about(scope: str, name: str) -> bool:
    names = judged_image(image(name), DIGEST, INTERNAL).names
    return any(weight(scope, one, DIGEST) is not None for one in names)


@pytest.mark.parametrize(
    ("scope", "name"),
    [
        ("*", "quay.io/team/app"),
        ("quay.io", "quay.io/team/app"),
        ("quay.io/team", "quay.io/team/app"),
        ("quay.io/team/app", "quay.io/team/app"),
        (f"quay.io/team/app@{DIGEST}", "quay.io/team/app"),
        ("*.example.com", "registry.example.com:5000/app"),
        ("docker.io", "python"),
        ("docker.io/library/python", "python"),
        ("index.docker.io/library", "python"),
        (f"{INTERNAL}/shop", f"{INTERNAL}/shop/app"),
        (f"{OPENSHIFT_NAME}/shop", f"{INTERNAL}/shop/app"),
        ("docker.io", f"{INTERNAL}/upstream/docker.io/library/python"),
        ("registry.test:5000/base", f"{INTERNAL}/upstream/registry.test-5000/base/python"),
        # One registry under the other spellings of its name.
        ("quay.io", "QUAY.io/team/app"),
        ("quay.io/team", "quay.io:443/team/app"),
        ("Quay.io:443/team", "quay.io/team/app"),
        ("*.example.com", "REGISTRY.Example.com:5000/app"),
        ("docker.io", "registry.hub.docker.com/library/python"),
        ("docker.io/library", "Index.Docker.io:443/library/python"),
        ("docker.io", f"{INTERNAL}/upstream/docker.io-443/library/python"),
    ],
)
def test_a_scope_is_about_an_image(scope: str, name: str) -> None:
    assert is_about(scope, name)


@pytest.mark.parametrize(
    ("scope", "name"),
    [
        ("quay.io/team", "quay.io/team2/app"),
        ("quay.io/team/app", "quay.io/team/app2"),
        ("quay.io", "quay.io.evil.test/team/app"),
        ("*.example.com", "example.com/app"),
        ("*.example.com", "evilexample.com/app"),
        (f"quay.io/team/app@{Digest.of(b'other')}", "quay.io/team/app"),
        (f"{OPENSHIFT_NAME}/shop", "quay.io/shop/app"),
        ("docker.io", "quay.io/upstream/docker.io/library/python"),
    ],
)
def test_a_scope_is_about_no_other_image(scope: str, name: str) -> None:
    assert not is_about(scope, name)


@pytest.mark.parametrize(
    "scope", ["*", "*.example.com", "docker.io", "localhost:5000", "quay.io/a/b", f"a.b/c@{DIGEST}"]
)
def test_scopes_are_accepted(scope: str) -> None:
    assert scope_fault(scope) == ""


@pytest.mark.parametrize(
    "scope",
    ["", "python", "library/python", "quay.io/team/app:1", "*.", "*.*.com", "quay.io/", "q*"],
)
def test_what_is_no_scope_is_refused(scope: str) -> None:
    assert scope_fault(scope)


def test_the_closest_scope_of_the_cluster_counts_and_a_namespace_only_adds() -> None:
    policies = [
        cluster_policy("everything", KEY.spec("*")),
        cluster_policy("quay", KEY.spec("quay.io")),
        cluster_policy("team", KEY.spec("quay.io/team", "docker.io")),
        cluster_policy("tried", KEY.spec("quay.io/team/app", mode="warn")),
        namespace_policy("shop", "own", KEY.spec("quay.io")),
        namespace_policy("bank", "others", KEY.spec("quay.io")),
    ]
    app = judged_image(image("quay.io/team/app"), DIGEST, INTERNAL)

    found = policies_for(policies, app, "shop", PolicyPoint.ROLLOUT)

    assert names(found) == ["team", "tried", "own"]


def test_a_policy_judges_at_its_points_and_stages_alone() -> None:
    at_builds = cluster_policy("builds", KEY.spec("*", at=("build", "import")))
    at_production = cluster_policy(
        "production", KEY.spec("*", at=("promotion",), stages=("production",))
    )
    app = judged_image(image("quay.io/team/app"), DIGEST, INTERNAL)

    def found(point: PolicyPoint, stage: str = "") -> list[str]:
        return names(policies_for([at_builds, at_production], app, "shop", point, stage))

    assert found(PolicyPoint.BUILD) == found(PolicyPoint.IMPORT) == ["builds"]
    assert found(PolicyPoint.ROLLOUT) == found(PolicyPoint.PROMOTION, "dev") == []
    assert found(PolicyPoint.PROMOTION, "production") == ["production"]


def test_another_name_of_an_image_takes_it_out_of_no_policy() -> None:
    policies = [
        cluster_policy("built", KEY.spec(f"{INTERNAL}/shop")),
        cluster_policy("lax", KEY.spec("quay.io/a/name/that/is/longer/than/that/of/the/shop")),
    ]
    origin = image("quay.io/a/name/that/is/longer/than/that/of/the/shop/app")
    app = judged_image(image(f"{INTERNAL}/shop/app"), DIGEST, INTERNAL, origin)
    found = policies_for(policies, app, "shop", PolicyPoint.ROLLOUT)
    assert names(found) == ["built", "lax"]


def test_the_internal_registry_is_itself_under_any_spelling() -> None:
    names = judged_image(image("Registry.Test/shop/app"), DIGEST, "registry.test:443").names
    assert f"{OPENSHIFT_NAME}/shop/app" in names
