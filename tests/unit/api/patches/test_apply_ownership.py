from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from upwell.api.patches.apply import (
    ApplyConflictError,
    InvalidApplyError,
    Manager,
    apply,
    from_fields_v1,
    owned_paths,
    record_update,
    to_fields_v1,
)

MORNING = datetime(2024, 5, 1, 8, tzinfo=UTC)
NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)


def manager(name: str, time: datetime = MORNING) -> Manager:
    return Manager(name, "apps/v1", time)


def declared(**spec: Any) -> dict[str, Any]:
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "x"}, "spec": spec}


def owners(document: dict[str, Any]) -> dict[str, Any]:
    return {entry["manager"]: entry["fieldsV1"] for entry in document["metadata"]["managedFields"]}


def test_who_applies_a_field_owns_it() -> None:
    live = apply(
        {},
        declared(replicas=1, containers=[{"name": "a", "image": "i"}]),
        manager("me"),
        force=False,
    )
    assert owners(live) == {
        "me": {
            "f:spec": {
                "f:containers": {'k:{"name":"a"}': {".": {}, "f:image": {}, "f:name": {}}},
                "f:replicas": {},
            }
        }
    }


def test_a_field_that_is_no_longer_applied_goes() -> None:
    first = declared(
        replicas=1,
        selector={"a": "1"},
        containers=[{"name": "a", "image": "i", "env": [{"name": "X", "value": "1"}]}],
    )
    live = apply({}, first, manager("me"), force=False)
    second = declared(containers=[{"name": "a", "image": "i"}])
    live = apply(live, second, manager("me"), force=False)
    assert live["spec"] == {"containers": [{"name": "a", "image": "i"}]}


def test_what_others_own_or_nobody_owns_stays() -> None:
    live = apply({}, declared(containers=[{"name": "a", "image": "i"}]), manager("me"), force=False)
    live = apply(
        live,
        declared(containers=[{"name": "b", "image": "j"}], replicas=1),
        manager("other"),
        force=False,
    )
    live["spec"]["paused"] = True  # written by a controller, past every manager
    live = apply(live, declared(), manager("me"), force=False)
    assert live["spec"] == {
        "containers": [{"name": "b", "image": "j"}],
        "replicas": 1,
        "paused": True,
    }


def test_a_shared_field_goes_with_its_last_owner() -> None:
    live = apply({}, declared(replicas=3), manager("me"), force=False)
    live = apply(live, declared(replicas=3), manager("other"), force=False)
    live = apply(live, declared(), manager("me"), force=False)
    assert live["spec"] == {"replicas": 3}
    live = apply(live, declared(), manager("other"), force=False)
    assert live["spec"] == {}


def test_anothers_field_conflicts_unless_forced() -> None:
    live = apply({}, declared(replicas=3), manager("me"), force=False)
    with pytest.raises(ApplyConflictError) as caught:
        apply(live, declared(replicas=5), manager("other"), force=False)
    assert [(c.field, c.manager) for c in caught.value.conflicts] == [(".spec.replicas", "me")]
    live = apply(live, declared(replicas=5), manager("other"), force=True)
    assert live["spec"] == {"replicas": 5}
    assert [*owners(live)] == ["other"]


def test_a_conflict_in_a_list_names_the_item() -> None:
    live = apply({}, declared(containers=[{"name": "a", "image": "i"}]), manager("me"), force=False)
    wanted = declared(containers=[{"name": "a", "image": "j"}])
    with pytest.raises(ApplyConflictError) as caught:
        apply(live, wanted, manager("other"), force=False)
    assert caught.value.conflicts[0].field == '.spec.containers[name="a"].image'


def test_an_update_takes_over_what_it_changes() -> None:
    live = apply({}, declared(replicas=3, paused=True), manager("me"), force=False)
    changed = {**live, "spec": {"replicas": 5, "paused": True}}
    live = record_update(live, changed, manager("editor"))
    assert owners(live) == {
        "editor": {"f:spec": {"f:replicas": {}}},
        "me": {"f:spec": {"f:paused": {}}},
    }
    with pytest.raises(ApplyConflictError):
        apply(live, declared(replicas=3, paused=True), manager("me"), force=False)


def test_an_update_that_removes_a_field_ends_its_ownership() -> None:
    live = apply({}, declared(replicas=3), manager("me"), force=False)
    live = record_update(live, {**live, "spec": {}}, manager("editor"))
    assert owners(live) == {"editor": {"f:spec": {}}}
    live = apply(live, declared(replicas=4), manager("other"), force=False)
    assert live["spec"] == {"replicas": 4}


def test_the_same_again_changes_nothing() -> None:
    wanted = declared(replicas=3, containers=[{"name": "a"}, {"name": "b"}])
    live = apply({}, wanted, manager("me", MORNING), force=False)
    assert apply(live, wanted, manager("me", NOON), force=False) == live
    assert record_update(live, live, manager("editor", NOON)) == live


def test_the_time_of_an_entry_is_that_of_its_last_change() -> None:
    live = apply({}, declared(replicas=3), manager("me", MORNING), force=False)
    live = apply(live, declared(replicas=3, paused=True), manager("me", NOON), force=False)
    assert live["metadata"]["managedFields"][0]["time"] == "2024-05-01T12:00:00Z"


def test_finalizers_are_a_set() -> None:
    live = apply({}, {"metadata": {"finalizers": ["a"]}}, manager("me"), force=False)
    live = apply(live, {"metadata": {"finalizers": ["b"]}}, manager("other"), force=False)
    assert live["metadata"]["finalizers"] == ["a", "b"]
    live = apply(live, {"metadata": {}}, manager("me"), force=False)
    assert live["metadata"]["finalizers"] == ["b"]


def test_ports_that_differ_by_protocol_are_two() -> None:
    ports = [{"port": 53}, {"port": 53, "protocol": "UDP"}]
    live = apply({}, declared(ports=ports), manager("me"), force=False)
    live = apply(
        live, declared(ports=[{"port": 53, "protocol": "TCP"}]), manager("me"), force=False
    )
    assert live["spec"]["ports"] == [{"port": 53, "protocol": "TCP"}]


def test_a_list_whose_items_lack_the_key_is_one_value() -> None:
    live = apply({}, declared(containers=[{"image": "i"}]), manager("me"), force=False)
    assert owners(live) == {"me": {"f:spec": {"f:containers": {}}}}


@pytest.mark.parametrize("fields", [{"f:a": 1}, [], {"f:a": {"f:b": "x"}}])
def test_malformed_managed_fields_are_refused(fields: object) -> None:
    with pytest.raises(InvalidApplyError):
        from_fields_v1(fields)
    with pytest.raises(InvalidApplyError):
        apply({}, {"metadata": {"managedFields": [{"manager": "x"}]}}, manager("me"), force=True)


def test_ten_thousand_items_are_no_burden() -> None:
    many = declared(containers=[{"name": f"c{n}", "image": "i"} for n in range(10_000)])
    live = apply({}, many, manager("me"), force=False)
    assert apply(live, declared(), manager("me"), force=False)["spec"] == {}


LEAVES: st.SearchStrategy[Any] = (
    st.integers(0, 3) | st.text("ab", max_size=2) | st.just({}) | st.lists(st.integers(0, 2))
)
SPECS = st.fixed_dictionaries(
    {},
    optional={
        "replicas": st.integers(0, 3),
        "labels": st.dictionaries(st.sampled_from("abc"), LEAVES, max_size=3),
        "containers": st.lists(
            st.fixed_dictionaries(
                {"name": st.sampled_from("xyz")}, optional={"image": st.text("ij", max_size=1)}
            ),
            unique_by=lambda item: item["name"],
            max_size=3,
        ),
    },
)


@given(SPECS)
def test_paths_survive_fields_v1(spec: dict[str, Any]) -> None:
    paths = owned_paths(declared(**spec))
    assert from_fields_v1(to_fields_v1(paths)) == paths


@given(SPECS, SPECS, SPECS)
def test_an_apply_leaves_the_declared_and_what_others_own(
    mine_before: dict[str, Any], theirs: dict[str, Any], mine: dict[str, Any]
) -> None:
    live = apply({}, declared(**mine_before), manager("me"), force=True)
    live = apply(live, declared(**theirs), manager("other"), force=True)
    live = apply(live, declared(**mine), manager("me"), force=True)
    present = owned_paths(live)
    lost = owned_paths(declared(**mine)) - present
    # An empty object is also there when others have filled it.
    assert all(any(path[: len(empty)] == empty for path in present) for empty in lost)
    assert apply(live, declared(**mine), manager("me"), force=False) == live
    owned = {
        path
        for entry in live["metadata"]["managedFields"]
        for path in from_fields_v1(entry["fieldsV1"])
    }
    leaves = {path for path in present if path[-1] in {"f:replicas", "f:image"}}
    assert leaves <= owned
