"""Rights that an object takes, as a cluster is asked for them."""

import pytest

from upwell.cluster.interface import AccessAttributes
from upwell.policy.access.roles import Action
from upwell.policy.cluster_access.attributes import attributes_of

IMAGES = "image.openshift.io"


@pytest.mark.parametrize(
    ("action", "wanted"),
    [
        (
            Action("get", "imagestreams", "b", "base"),
            AccessAttributes("get", IMAGES, "imagestreams", "", "b", "base"),
        ),
        (
            Action("pull", "repositories", "b", "b/base"),
            AccessAttributes("get", IMAGES, "imagestreams", "layers", "b", "base"),
        ),
        (
            Action("push", "repositories", "b", "b/deep/er"),
            AccessAttributes("update", IMAGES, "imagestreams", "layers", "b", "deep/er"),
        ),
        (
            Action("push", "repositories"),
            AccessAttributes("update", IMAGES, "imagestreams", "layers"),
        ),
        (
            Action("patch", "deployments", "b"),
            AccessAttributes("patch", "apps", "deployments", "", "b"),
        ),
        (
            Action("create", "jobs", "b"),
            AccessAttributes("create", "batch", "jobs", "", "b"),
        ),
        (
            Action("create", "serviceaccounts", "b", "robot", "token"),
            AccessAttributes("create", "", "serviceaccounts", "token", "b", "robot"),
        ),
        (
            Action("create", "pipelines", "b", "line", "override"),
            AccessAttributes("create", "upwell.dev", "pipelines", "override", "b", "line"),
        ),
        (
            Action("create", "subscriptions", part="everywhere"),
            AccessAttributes("create", "upwell.dev", "subscriptions", "everywhere"),
        ),
        (
            Action("use", "hostpaths", "b"),
            AccessAttributes("use", "upwell.dev", "hostpaths", "", "b"),
        ),
    ],
    ids=str,
)
def test_a_right_is_asked_for_as_the_request_that_it_allows(
    action: Action, wanted: AccessAttributes
) -> None:
    assert attributes_of(action) == (wanted,)


def test_a_secret_is_used_by_whoever_may_use_or_read_it() -> None:
    asked = attributes_of(Action("use", "secrets", "b", "login"))
    assert [one.verb for one in asked] == ["use", "get"]
    assert {(one.group, one.resource, one.namespace, one.name) for one in asked} == {
        ("", "secrets", "b", "login")
    }


def test_an_account_is_used_by_whoever_may_use_it_or_create_pods() -> None:
    asked = attributes_of(Action("use", "serviceaccounts", "b", "robot"))
    assert asked == (
        AccessAttributes("use", "", "serviceaccounts", "", "b", "robot"),
        AccessAttributes("create", "", "pods", "", "b"),
    )
