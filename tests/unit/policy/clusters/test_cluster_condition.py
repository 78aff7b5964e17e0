"""Status of a Cluster, from what it answered."""

from datetime import UTC, datetime, timedelta

from upwell.api.clusters.cluster import AUTHORIZED, REACHABLE, Cluster
from upwell.api.codec import decode_as
from upwell.api.conditions import find
from upwell.policy.clusters.condition import ClusterObservation, cluster_status, is_reachable
from upwell.policy.clusters.rights import check_rights, missing_text, needed_rights

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def cluster() -> Cluster:
    secret = {"secretRef": {"namespace": "ops", "name": "east"}}
    return decode_as(Cluster, {"metadata": {"name": "east"}, "spec": {"kubeConfig": secret}})


def after(one: Cluster, seen: ClusterObservation, now: datetime = NOW) -> Cluster:
    return one.with_status(cluster_status(one, seen, now))


def test_one_that_answers_is_reachable_and_says_its_version() -> None:
    found = after(cluster(), ClusterObservation("v1.30.2", ()))

    assert is_reachable(found)
    assert found.status.version == "v1.30.2"
    assert found.status.last_seen == NOW


def test_rights_that_are_missing_are_named() -> None:
    wanted = needed_rights(("shop",))
    denied = tuple(one for one in wanted if one.verb == "patch" and one.resource == "deployments")

    found = find(after(cluster(), ClusterObservation("v1", denied)).status.conditions, AUTHORIZED)

    assert found is not None
    assert (found.status, found.reason) == ("False", "MissingRights")
    assert found.message == "the access lacks: patch deployments.apps in namespace shop"


def test_one_that_is_away_keeps_what_was_seen_of_it() -> None:
    seen = after(cluster(), ClusterObservation("v1.30.2", ()))

    later = NOW + timedelta(minutes=5)
    away = after(seen, ClusterObservation(reason="ClusterUnavailable", message="no route"), later)

    assert not is_reachable(away)
    assert away.status.version == "v1.30.2"
    assert away.status.last_seen == NOW
    reachable = find(away.status.conditions, REACHABLE)
    authorized = find(away.status.conditions, AUTHORIZED)
    assert reachable is not None
    assert (reachable.message, reachable.last_transition_time) == ("no route", later)
    assert authorized is not None
    assert authorized.is_true


def test_looks_within_a_minute_write_nothing() -> None:
    seen = after(cluster(), ClusterObservation("v1.30.2", ()))

    def at(seconds: int) -> Cluster:
        return after(seen, ClusterObservation("v1.30.2"), NOW + timedelta(seconds=seconds))

    assert at(59).status == seen.status
    assert at(60).status.last_seen == NOW + timedelta(seconds=60)
    assert at(-3600).status.last_seen == NOW - timedelta(hours=1), "the clock went back"


def test_rights_that_are_missing_are_named_once_for_all_namespaces_that_lack_them() -> None:
    every = [one for one in needed_rights(["shop", "web"]) if one.resource != "pods"]

    assert missing_text(every) == (
        "get/list/patch deployments.apps, get/list/patch statefulsets.apps,"
        " get/list/patch daemonsets.apps, get/list/patch cronjobs.batch, create/patch events"
        " in namespaces shop and web"
    )
    assert missing_text([*every[:1], *check_rights(["web"])[-1:]]) == (
        "get deployments.apps in namespace shop; get pods/log in namespace web"
    )
