"""Actions that each role may take, and denials that name what is missing."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from upwell.api.codec import RESOURCES
from upwell.oci.replica_contents import ReplicaContent
from upwell.policy.access.roles import (
    REPOSITORIES,
    RULES,
    SELF_REVIEWS,
    SYSTEM_NAMESPACE,
    Action,
    Grant,
    InvalidGrantError,
    Role,
    allows,
    grant_text,
    is_allowed,
    missing,
    parse_grant,
    parse_grants,
    rules_in,
)

PLURALS = [resource.KIND.plural for resource in RESOURCES]
REQUESTS = {
    "basesearches",
    "imagepolicyreviews",
    "impactplans",
    "imagestreamimports",
    "imagestreammappings",
    "processedtemplates",
    "projectrequests",
    "subjectaccessreviews",
    "tokenreviews",
    *SELF_REVIEWS,
}
"""Kinds that are sent and not kept: there is nothing to look at."""
READERS = [role for role in Role if role not in {Role.AUTH_DELEGATOR, Role.CLUSTER_USER}]


def may(grant: str, verb: str, resource: str, namespace: str = "shop", part: str = "") -> bool:
    return is_allowed([parse_grant(grant)], Action(verb, resource, namespace, "x", part))


@pytest.mark.parametrize("role", READERS)
@pytest.mark.parametrize("plural", sorted(set(PLURALS) - {"secrets"} - REQUESTS))
def test_every_role_may_look_at_every_kind_but_secrets(role: Role, plural: str) -> None:
    assert all(may(f"{role}@shop", verb, plural) for verb in ("get", "list", "watch"))


@pytest.mark.parametrize("role", sorted(set(Role) - {Role.ADMIN}))
@pytest.mark.parametrize("verb", ["get", "list", "watch", "create", "update", "patch", "delete"])
def test_secrets_are_an_admins_alone(role: Role, verb: str) -> None:
    assert not may(f"{role}@*", verb, "secrets")
    assert may("admin@shop", verb, "secrets")


@pytest.mark.parametrize(
    ("verb", "resource", "part", "roles"),
    [
        ("create", "builds", "", "builder admin"),
        ("create", "buildconfigs", "instantiate", "builder ci admin"),
        ("create", "buildconfigs", "instantiatebinary", "builder ci admin"),
        ("patch", "imagestreams", "", "builder admin"),
        ("create", "imagestreamimports", "", "builder admin"),
        ("create", "imagestreammappings", "", "builder admin"),
        ("push", "repositories", "", "builder admin"),
        ("patch", "deployments", "", "deployer admin"),
        ("create", "deploymentconfigs", "rollback", "deployer admin"),
        ("patch", "statefulsets", "scale", "deployer admin"),
        ("delete", "routes", "", "deployer admin"),
        ("create", "releases", "", "promoter admin"),
        ("delete", "pipelines", "", "promoter pipeline-editor admin"),
        ("create", "releases", "promote", "promoter ci admin"),
        ("create", "releases", "verify", "promoter ci admin"),
        ("create", "releases", "evidence", "promoter ci admin"),
        ("create", "promotions", "approve", "promoter approver admin"),
        ("create", "releases", "reject", "promoter approver admin"),
        ("create", "pipelines", "rollback", "promoter overrider admin"),
        ("create", "promotions", "override", "overrider admin"),
        ("use", "secrets", "", "secret-user builder deployer promoter pipeline-editor admin"),
        ("use", "serviceaccounts", "", "builder deployer promoter pipeline-editor admin"),
        ("update", "builds", "status", ""),
        ("patch", "routes", "status", ""),
        ("create", "namespaces", "", "admin"),
        ("create", "images", "", "admin"),
        ("get", "builds", "log", " ".join(READERS)),
        ("pull", "repositories", "", " ".join(READERS)),
    ],
)
def test_what_changes_something_needs_its_role(
    verb: str, resource: str, part: str, roles: str
) -> None:
    found = [role for role in Role if may(f"{role}@shop", verb, resource, part=part)]
    assert found == roles.split()


@pytest.mark.parametrize("resource", ["routes", "services", "imagestreams", "builds"])
def test_a_status_is_read_by_all_and_written_by_the_admin_of_all(resource: str) -> None:
    for verb in ("update", "patch"):
        assert may("admin@*", verb, resource, part="status")
        assert not may("admin@shop", verb, resource, part="status")
    assert may("viewer@shop", "get", resource, part="status")


@pytest.mark.parametrize("role", READERS)
def test_a_role_ends_at_its_namespaces(role: Role) -> None:
    assert may(f"{role}@shop", "list", "builds", "shop")
    assert not may(f"{role}@shop", "list", "builds", "bank")
    assert not may(f"{role}@shop", "list", "builds", "")  # all namespaces at once
    assert may(f"{role}@*", "list", "builds", "")


def test_who_has_one_namespace_cannot_reach_the_tokens() -> None:
    admin = Grant(Role.ADMIN, frozenset({"shop", SYSTEM_NAMESPACE}))
    assert not is_allowed([admin], Action("create", "secrets", SYSTEM_NAMESPACE))
    with pytest.raises(InvalidGrantError, match="holds the tokens"):
        parse_grant(f"admin@{SYSTEM_NAMESPACE}")


@pytest.mark.parametrize("verb", ["pull", "push"])
def test_what_replicas_share_is_the_admins_of_all_alone(verb: str) -> None:
    shared = ReplicaContent.UPLOADS.repository("shop")
    for grant in ("admin@shop", *(f"{role}@*" for role in set(Role) - {Role.ADMIN})):
        granted = parse_grant(grant)
        assert not is_allowed([granted], Action(verb, REPOSITORIES, "upwell.uploads", shared))
    admin = parse_grant("admin@*")
    assert is_allowed([admin], Action(verb, REPOSITORIES, "upwell.uploads", shared))
    with pytest.raises(InvalidGrantError):
        parse_grant("admin@upwell.uploads")


@pytest.mark.parametrize("role", sorted(set(Role) - {Role.ADMIN}))
def test_every_namespace_is_not_that_of_the_tokens(role: Role) -> None:
    changes = [
        (verb, plural)
        for verb in ("create", "patch", "delete", "use")
        for plural in set(PLURALS) - SELF_REVIEWS - {"projectrequests"}  # asked of each namespace
    ]
    assert not any(may(f"{role}@*", verb, plural, SYSTEM_NAMESPACE) for verb, plural in changes)
    assert not may(f"{role}@*", "create", "deployments", SYSTEM_NAMESPACE, "exec")
    assert may(f"{role}@*", "list", "pods", SYSTEM_NAMESPACE) is (role in READERS)
    assert may("admin@*", "create", "deployments", SYSTEM_NAMESPACE)


def test_images_and_public_copies_are_for_everyone_who_has_a_grant() -> None:
    assert may("viewer@shop", "get", "images", "")
    public, private = "upstream/public/h.example/base", "upstream/private/shop/h.example/base"
    shop, all_copies = [parse_grant("viewer@shop")], [parse_grant("viewer@upstream")]
    for name, grants, allowed in (
        (public, shop, True),
        (private, shop, False),
        ("upstream/h.example/base", shop, False),
        ("upstream/public", shop, False),
        ("upstream/publicity/base", shop, False),
        (private, all_copies, True),
        (public, [], False),
    ):
        assert is_allowed(grants, Action("pull", "repositories", "upstream", name)) is allowed, name
    assert not is_allowed(shop, Action("push", "repositories", "upstream", public))
    assert not may("builder@shop", "push", "repositories", "upstream")
    assert not is_allowed([], Action("get", "images", "", "sha256:0"))
    assert not is_allowed([parse_grant("viewer@shop")], Action("list", "images"))


@pytest.mark.parametrize("plural", sorted(SELF_REVIEWS))
def test_who_has_any_grant_may_ask_about_himself(plural: str) -> None:
    asked = Action("create", plural)
    assert is_allowed([parse_grant("viewer@shop")], asked)
    assert not is_allowed([], asked)
    assert not is_allowed([parse_grant("viewer@shop")], Action("list", plural))


def test_the_rules_of_a_namespace_are_those_of_the_grants_that_reach_it() -> None:
    grants = [parse_grant("builder@shop"), parse_grant("viewer@*")]
    assert rules_in(grants, "shop") == list(RULES[Role.BUILDER])
    assert rules_in(grants, "bank") == list(RULES[Role.VIEWER])
    assert rules_in(grants, "") == list(RULES[Role.VIEWER])
    assert rules_in([parse_grant("builder@shop")], "bank") == []


@pytest.mark.parametrize(
    ("action", "text"),
    [
        (Action("create", "builds", "prod"), "needs role builder there"),
        (Action("list", "builds"), "needs role viewer in all namespaces"),
        (Action("get", "secrets", "prod", "x"), "needs role admin there"),
        (Action("patch", "routes", "prod", "x", "status"), "needs role admin in all namespaces"),
        (Action("get", "secrets", SYSTEM_NAMESPACE), "needs role admin in all namespaces"),
        (Action("get", "no/such/path"), "needs role admin in all namespaces"),
    ],
)
def test_a_denial_names_the_least_role(action: Action, text: str) -> None:
    assert missing(action) == text


@given(
    st.sampled_from(Role),
    st.sampled_from(["get", "list", "create", "delete", "push", "pull"]),
    st.sampled_from([*PLURALS, "repositories"]),
    st.sampled_from(["", "log", "scale", "status", "instantiate"]),
)
def test_an_admin_may_all_that_any_role_may(
    role: Role, verb: str, resource: str, part: str
) -> None:
    action = Action(verb, resource, "shop", "x", part)
    assert allows(Role.ADMIN, action) or not allows(role, action)


@pytest.mark.parametrize("text", ["", "viewer", "viewer@", "root@shop", "viewer@shop,", "@shop"])
def test_what_is_no_grant_is_refused(text: str) -> None:
    with pytest.raises(InvalidGrantError):
        parse_grant(text)


@pytest.mark.parametrize("text", ["builder@shop,viewer@bank", "viewer@Shop", "viewer@shop;bank"])
def test_a_grant_names_what_can_be_a_namespace(text: str) -> None:
    with pytest.raises(InvalidGrantError, match="is no namespace; write each grant by itself"):
        parse_grant(text)


def test_a_grant_that_was_given_before_is_still_read() -> None:
    assert [one.role for one in parse_grants("builder@shop,viewer@bank")] == [Role.BUILDER]


@given(st.sampled_from(Role), st.sets(st.sampled_from(["a", "b-1", "*"]), min_size=1))
def test_a_grant_survives_its_text(role: Role, namespaces: set[str]) -> None:
    grant = Grant(role, frozenset(namespaces))
    assert parse_grant(grant_text(grant)) == grant


def test_every_role_has_rules() -> None:
    assert set(RULES) == set(Role)
