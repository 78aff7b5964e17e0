"""Promises of AccessReviews, kept by a cluster and by the fake of unit tests."""

import json
from collections.abc import AsyncIterator

import pytest
from tests.support.cluster.fixed_reviews import FixedReviews
from tests.support.kubernetes.cluster import KitCluster

from upwell.cluster.interface import AccessAttributes, AccessReviews, ClusterUser
from upwell.cluster.kubernetes_access import KubernetesAccessReviews
from upwell.store.kubernetes_connections import ServerAccess
from upwell.store.kubernetes_http import ApiConnection

GROUP = "system:serviceaccounts:reviews"
READ = AccessAttributes("get", "image.openshift.io", "imagestreams", "", "default", "base")
"""The one right that is given to the group."""


@pytest.fixture(params=["fake", "kubernetes"])
async def reviews(
    request: pytest.FixtureRequest,
) -> AsyncIterator[AccessReviews]:
    if request.param == "fake":
        yield FixedReviews({GROUP: {"get imagestreams default"}})
        return
    cluster: KitCluster = request.getfixturevalue("cluster")
    give(cluster)
    api = ApiConnection(ServerAccess(cluster.base_url, cluster.token, cluster.ca))
    yield KubernetesAccessReviews(api)
    await api.close()
    cluster.kubectl("-n", "default", "delete", "role/reviews", "rolebinding/reviews")


def give(cluster: KitCluster) -> None:
    api = "rbac.authorization.k8s.io"
    metadata = {"name": "reviews", "namespace": "default"}
    rule = {"apiGroups": [READ.group], "resources": [READ.resource], "verbs": [READ.verb]}
    about = {"apiVersion": f"{api}/v1", "metadata": metadata}
    binding = {
        **about,
        "kind": "RoleBinding",
        "roleRef": {"apiGroup": api, "kind": "Role", "name": "reviews"},
        "subjects": [{"apiGroup": api, "kind": "Group", "name": GROUP}],
    }
    items = [{**about, "kind": "Role", "rules": [rule]}, binding]
    cluster.kubectl(
        "apply", "-f", "-", given=json.dumps({"apiVersion": "v1", "kind": "List", "items": items})
    )


async def test_a_group_alone_is_asked_about(reviews: AccessReviews) -> None:
    assert await reviews.is_allowed(ClusterUser(groups=(GROUP,)), READ)
    assert await reviews.is_allowed(ClusterUser("ann", (GROUP,)), READ)
    assert not await reviews.is_allowed(ClusterUser("ann"), READ)


@pytest.mark.parametrize(
    "wanted",
    [
        AccessAttributes("update", READ.group, READ.resource, "", "default"),
        AccessAttributes("get", READ.group, READ.resource, "layers", "default"),
        AccessAttributes("get", READ.group, READ.resource, "", "kube-system"),
        AccessAttributes("get", READ.group, READ.resource),
        AccessAttributes("use", "upwell.dev", "hostpaths", "", "default"),
    ],
    ids=str,
)
async def test_another_request_is_another_right(
    reviews: AccessReviews, wanted: AccessAttributes
) -> None:
    assert not await reviews.is_allowed(ClusterUser("ann", (GROUP,)), wanted)
