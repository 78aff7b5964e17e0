"""Objects on their way between a machine and a cluster."""

from datetime import UTC, datetime

import pytest

from upwell.api.apps import Job
from upwell.api.builds.build import Build
from upwell.api.builds.config import BuildConfig
from upwell.api.codec import decode_as, encode
from upwell.api.core import ConfigMap, Namespace, Secret, Service, ServiceAccount
from upwell.api.kept import KEPT
from upwell.api.meta import ObjectMeta, OwnerReference, Resource
from upwell.api.pipeline import Pipeline
from upwell.policy.transfer.left_out import may_exist, not_for_cluster, stays_behind
from upwell.policy.transfer.objects import (
    ORIGIN,
    UNFINISHED,
    ObjectOrigin,
    for_cluster,
    from_cluster,
    in_order,
)

LONG_AGO = datetime(2025, 1, 2, 3, 4, 5, tzinfo=UTC)


def pipeline(name: str, **metadata: object) -> Pipeline:
    document = {
        "metadata": {
            "name": name,
            "namespace": "shop",
            "uid": f"uid-{name}",
            "generation": 7,
            "creationTimestamp": "2025-01-02T03:04:05Z",
            **metadata,
        },
        "spec": {"components": [], "stages": []},
        "status": {"conditions": [{"type": "Ready", "status": "True", "observedGeneration": 7}]},
    }
    return decode_as(Pipeline, document)


def created(resource: Pipeline, uid: str, generation: int = 1) -> Pipeline:
    """Return what a cluster makes of an object that is created there."""
    return resource.with_metadata(
        uid=uid, generation=generation, creation_timestamp=datetime.now(UTC), resource_version="9"
    )


def test_the_way_there_and_back_changes_nothing() -> None:
    first = pipeline("web")
    there = created(for_cluster(first, {}), "new")
    (back,) = from_cluster([there])
    assert encode(back.with_metadata(resource_version=None)) == encode(first)


@pytest.mark.parametrize(("address", "kept"), [("10.130.163.132", None), ("None", "None")])
def test_a_service_gets_an_address_where_it_comes_to(address: str, kept: str | None) -> None:
    spec = {"clusterIP": address, "clusterIPs": [address], "ports": [{"port": 80}]}
    service = decode_as(Service, {"metadata": {"name": "web", "namespace": "shop"}, "spec": spec})

    there = for_cluster(service, {})
    (back,) = from_cluster([service])

    for one in (there, back):
        assert isinstance(one, Service)
        assert one.spec.cluster_ip == kept
        assert ("clusterIPs" in encode(one)["spec"]) == bool(kept)


def test_a_status_stays_as_current_as_it_was() -> None:
    current = for_cluster(pipeline("web"), {})
    (condition,) = current.status.conditions
    assert condition.observed_generation == 1

    # Changed twice on the cluster, and not looked at since.
    (back,) = from_cluster([created(current, "new", generation=3)])
    assert isinstance(back, Pipeline)
    (condition,) = back.status.conditions
    assert (back.generation, condition.observed_generation) == (9, 7)
    assert back.metadata.creation_timestamp == LONG_AGO


def test_owners_come_first_and_are_named_by_their_new_uids() -> None:
    owner = OwnerReference(api_version="v1", kind="Pipeline", name="web", uid="uid-web")
    child = pipeline("a", owner_references=[owner.model_dump(by_alias=True)])
    assert [one.name for one in in_order([child, pipeline("web")])] == ["web", "a"]

    there = for_cluster(child, {"uid-web": "new"})
    assert [one.uid for one in there.metadata.owner_references] == ["new"]
    web = created(for_cluster(pipeline("web"), {}), "new")
    back = {one.name: one for one in from_cluster([web, created(there, "other")])}
    assert [one.uid for one in back["a"].metadata.owner_references] == ["uid-web"]


def test_a_copy_of_an_imported_object_takes_nobody_s_place() -> None:
    there = created(for_cluster(pipeline("web"), {}), "new")
    copy = created(there, "copied").with_metadata(name="a-copy")
    back = in_order(from_cluster([copy, there]))
    assert {one.name: one.uid for one in back} == {"a-copy": "copied", "web": "uid-web"}
    assert all(ORIGIN not in one.annotations for one in back)


def test_nobody_claims_the_identity_of_another_object() -> None:
    victim = created(pipeline("web"), "victim")
    thief = created(pipeline("a"), "thief").with_metadata(
        annotations={ORIGIN: ObjectOrigin("victim", "", 1).annotation()}
    )
    assert {one.uid for one in in_order(from_cluster([thief, victim]))} == {"victim", "thief"}


@pytest.mark.parametrize(
    "said",
    [
        "",
        "[" * 100_000,
        '{"uid": ["a"], "creationTimestamp": "", "generation": 1, "here": 1}',
        '{"uid": "a", "creationTimestamp": "", "generation": "1", "here": 1}',
        '{"uid": "a", "creationTimestamp": "", "generation": 1, "here": 1e999}',
        '{"uid": "a", "creationTimestamp": "yesterday", "generation": 1, "here": 1}',
        '{"uid": "a", "creationTimestamp": "2025-01-02T03:04:05", "generation": 1, "here": 1}',
    ],
)
def test_an_annotation_that_somebody_has_made_up_is_none(said: str) -> None:
    web = created(pipeline("web"), "new").with_metadata(annotations={ORIGIN: said})
    assert [one.uid for one in from_cluster([web])] == ["new"]


def test_owners_in_a_circle_are_both_there() -> None:
    def owned(name: str, by: str) -> Pipeline:
        owner = {"apiVersion": "v1", "kind": "Pipeline", "name": by, "uid": f"uid-{by}"}
        return pipeline(name, ownerReferences=[owner])

    assert {one.name for one in in_order([owned("a", "b"), owned("b", "a")])} == {"a", "b"}


def test_an_object_is_unfinished_until_its_status_is_there() -> None:
    assert UNFINISHED in for_cluster(pipeline("web"), {}).annotations


def test_what_would_act_on_a_cluster_is_left_out() -> None:
    job = Job(metadata=ObjectMeta(name="test", namespace="shop"))
    role: Resource = KEPT[0](metadata=ObjectMeta(name="any", namespace="shop"))
    assert "run again" in not_for_cluster(job)
    assert "apply it yourself" in not_for_cluster(role)
    for kind in (Build, BuildConfig, ConfigMap, Namespace):
        assert not not_for_cluster(kind(metadata=ObjectMeta(name="kept", namespace="shop")))


def test_what_a_cluster_made_for_itself_stays_there() -> None:
    token = Secret(
        metadata=ObjectMeta(name="default-token", namespace="shop"),
        type="kubernetes.io/service-account-token",
    )
    ours = ConfigMap(
        metadata=ObjectMeta(
            name="upwell", namespace="upwell", labels={"app.kubernetes.io/part-of": "upwell"}
        )
    )
    kept = Secret(metadata=ObjectMeta(name="login", namespace="shop"))
    assert stays_behind(Namespace(metadata=ObjectMeta(name="kube-system")))
    assert stays_behind(token)
    of_the_api = Service(metadata=ObjectMeta(name="kubernetes", namespace="default"))
    assert stays_behind(of_the_api)
    assert not_for_cluster(of_the_api)
    assert not stays_behind(Service(metadata=ObjectMeta(name="kubernetes", namespace="shop")))
    assert stays_behind(ours)
    keys = Secret.encode_values({"signing.key": b"k"})
    meta = ObjectMeta(name="upwell-keys", namespace="upwell")
    assert stays_behind(Secret(metadata=meta, data=keys))
    assert not stays_behind(Secret(metadata=meta)), "somebody's own"
    assert not stays_behind(kept)
    assert may_exist(ServiceAccount(metadata=ObjectMeta(name="default", namespace="shop")))
    assert not may_exist(ServiceAccount(metadata=ObjectMeta(name="builder", namespace="shop")))
