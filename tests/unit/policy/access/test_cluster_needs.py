"""Rights that a Pipeline takes for the clusters of its stages, and a Cluster for its Secret."""

from typing import Any

from upwell.api.clusters.cluster import Cluster
from upwell.api.codec import decode_as
from upwell.api.pipeline import Pipeline
from upwell.policy.access.authority import needs
from upwell.policy.access.roles import Action, is_allowed, parse_grant


def actions(*stages: dict[str, Any]) -> set[str]:
    named = [{"name": "s", "workloads": [{"name": "web"}], **stage} for stage in stages]
    metadata = {"namespace": "shop", "name": "shop"}
    pipeline = decode_as(Pipeline, {"metadata": metadata, "spec": {"stages": named}})
    return {f"{need.action} {need.action.name}".strip() for need in needs(pipeline)}


def test_a_stage_on_a_cluster_takes_the_right_to_use_it() -> None:
    assert actions({"cluster": "east"}) == {"use clusters in all namespaces east"}


def test_a_stage_that_selects_takes_the_right_to_use_all() -> None:
    chosen = {"selector": {"matchLabels": {"a": "b"}}}
    assert actions({"clusters": chosen}) == {"use clusters in all namespaces"}


def test_the_own_place_takes_none() -> None:
    assert actions({}, {"cluster": "local"}) == set()


def test_rights_in_a_namespace_here_are_not_asked_for_one_there() -> None:
    assert actions({"cluster": "east", "namespace": "other"}) == {
        "use clusters in all namespaces east"
    }
    assert actions({"namespace": "other"}) == {"patch deployments in namespace other"}


def test_a_cluster_uses_its_secret() -> None:
    access = {"secretRef": {"namespace": "ops", "name": "east"}}
    cluster = decode_as(Cluster, {"metadata": {"name": "east"}, "spec": {"kubeConfig": access}})

    assert {str(need.action) for need in needs(cluster)} == {"use secrets in namespace ops"}


def test_the_right_to_use_clusters_is_given_for_all_namespaces() -> None:
    use = Action("use", "clusters", name="east")

    assert is_allowed([parse_grant("cluster-user@*")], use)
    assert is_allowed([parse_grant("admin@*")], use)
    assert not is_allowed([parse_grant("cluster-user@shop"), parse_grant("promoter@*")], use)
