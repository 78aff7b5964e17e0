import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from upwell.api.patches.merge_keys import in_order
from upwell.api.patches.patch import (
    MAX_OPERATIONS,
    PatchError,
    PatchTestFailedError,
    json_patch,
    merge_patch,
    strategic_merge_patch,
)

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text("ab/~", max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab/~", max_size=2), inner),
    max_leaves=8,
)
OBJECTS = st.dictionaries(st.text("ab/~", max_size=2), JSON, max_size=4)


@pytest.mark.parametrize(
    ("document", "operation", "expected"),
    [  # RFC 6902, appendix A
        ({"foo": "bar"}, {"op": "add", "path": "/baz", "value": 1}, {"foo": "bar", "baz": 1}),
        ({"foo": [1, 2]}, {"op": "add", "path": "/foo/1", "value": 9}, {"foo": [1, 9, 2]}),
        ({"foo": [1]}, {"op": "add", "path": "/foo/-", "value": [2]}, {"foo": [1, [2]]}),
        ({"foo": [1, 2]}, {"op": "remove", "path": "/foo/0"}, {"foo": [2]}),
        ({"a": 1}, {"op": "replace", "path": "/a", "value": None}, {"a": None}),
        ({"a": {"b": 1}, "c": {}}, {"op": "move", "from": "/a/b", "path": "/c/d"}, None),
        ({"foo": [1, 2, 3]}, {"op": "move", "from": "/foo/0", "path": "/foo/2"}, None),
        ({"a": [1]}, {"op": "copy", "from": "/a", "path": "/b"}, {"a": [1], "b": [1]}),
        ({"~": 1, "a/b": 2}, {"op": "remove", "path": "/~0"}, {"a/b": 2}),
        ({"~": 1, "a/b": 2}, {"op": "remove", "path": "/a~1b"}, {"~": 1}),
        ({"a": 1}, {"op": "add", "path": "", "value": {"b": 2}}, {"b": 2}),
        ({"a": 1}, {"op": "test", "path": "/a", "value": 1}, {"a": 1}),
    ],
)
def test_json_patch_does_what_the_rfc_shows(
    document: dict[str, Any], operation: dict[str, Any], expected: dict[str, Any] | None
) -> None:
    if expected is None:
        moved: dict[str, dict[str, Any]] = {
            "/a/b": {"a": {}, "c": {"d": 1}},
            "/foo/0": {"foo": [2, 3, 1]},
        }
        expected = moved[operation["from"]]
    before = copy.deepcopy(document)
    assert json_patch(document, [operation]) == expected
    assert document == before


@pytest.mark.parametrize(
    "operation",
    [
        {"op": "add", "path": "/a/b", "value": 1},
        {"op": "add", "path": "/list/3", "value": 1},
        {"op": "add", "path": "/list/01", "value": 1},
        {"op": "add", "path": "/list/-1", "value": 1},
        {"op": "remove", "path": "/list/2"},
        {"op": "remove", "path": "/none"},
        {"op": "replace", "path": "/none", "value": 1},
        {"op": "replace", "path": "/list/-", "value": 1},
        {"op": "move", "from": "/list", "path": "/list/0"},
        {"op": "copy", "from": "/none", "path": "/x"},
        {"op": "add", "path": "/x"},
        {"op": "add", "path": "x", "value": 1},
        {"op": "jump", "path": "/x"},
        {"op": "remove", "path": ""},
        {"op": "add", "path": "", "value": []},
        "add",
    ],
)
def test_json_patch_refuses_what_does_not_fit(operation: object) -> None:
    with pytest.raises(PatchError):
        json_patch({"a": 1, "list": [1, 2]}, [operation])


@pytest.mark.parametrize(("stored", "tested"), [(1, True), (0, False), ([1], [True]), ("1", 1)])
def test_a_test_tells_types_apart(stored: object, tested: object) -> None:
    with pytest.raises(PatchTestFailedError):
        json_patch({"a": stored}, [{"op": "test", "path": "/a", "value": tested}])


def test_copies_cannot_grow_without_end() -> None:
    doubling = [{"op": "copy", "from": "/a", "path": "/a/-"}] * 64
    with pytest.raises(PatchError, match="too large"):
        json_patch({"a": ["x" * 1000]}, doubling)
    with pytest.raises(PatchError, match="operations"):
        json_patch({}, [{"op": "test", "path": "", "value": {}}] * (MAX_OPERATIONS + 1))


@given(OBJECTS, OBJECTS)
def test_json_patch_turns_any_document_into_any_other(
    one: dict[str, Any], other: dict[str, Any]
) -> None:
    def pointer(key: str) -> str:
        return "/" + key.replace("~", "~0").replace("/", "~1")

    operations: list[dict[str, Any]] = [{"op": "remove", "path": pointer(key)} for key in one]
    operations += [{"op": "add", "path": pointer(key), "value": v} for key, v in other.items()]
    operations += [{"op": "test", "path": "", "value": other}]
    assert json_patch(one, operations) == other


@pytest.mark.parametrize(
    ("document", "patch", "expected"),
    [  # RFC 7386, appendix A
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ],
)
def test_merge_patch_does_what_the_rfc_shows(
    document: dict[str, Any], patch: dict[str, Any], expected: dict[str, Any]
) -> None:
    assert merge_patch(document, patch) == expected


@given(OBJECTS, OBJECTS)
def test_a_merge_patch_twice_is_once(document: dict[str, Any], patch: dict[str, Any]) -> None:
    once = merge_patch(document, patch)
    assert merge_patch(once, patch) == once


def pod(*containers: dict[str, Any]) -> dict[str, Any]:
    return {"spec": {"containers": list(containers)}}


def test_a_strategic_patch_merges_lists_by_their_keys() -> None:
    document = pod(
        {"name": "a", "image": "a:1", "env": [{"name": "X", "value": "1"}], "args": ["1", "2"]},
        {"name": "b", "image": "b:1"},
    )
    patch = pod(
        {"name": "a", "env": [{"name": "Y", "value": "2"}], "args": ["3"]},
        {"name": "c", "image": "c:1"},
        {"name": "b", "$patch": "delete"},
    )
    assert strategic_merge_patch(document, patch) == pod(
        {
            "name": "a",
            "image": "a:1",
            "env": [{"name": "X", "value": "1"}, {"name": "Y", "value": "2"}],
            "args": ["3"],
        },
        {"name": "c", "image": "c:1"},
    )


def test_a_strategic_patch_knows_its_directives() -> None:
    document = {
        "metadata": {"finalizers": ["a", "b"], "labels": {"x": "1", "y": "2"}},
        "spec": {"containers": [{"name": "a"}, {"name": "b"}], "strategy": {"type": "A", "q": 1}},
    }
    patch = {
        "metadata": {
            "$deleteFromPrimitiveList/finalizers": ["a"],
            "finalizers": ["c"],
            "labels": {"$patch": "replace", "z": "3"},
        },
        "spec": {
            "$setElementOrder/containers": [{"name": "b"}, {"name": "a"}],
            "strategy": {"$retainKeys": ["type"], "type": "B"},
        },
    }
    assert strategic_merge_patch(document, patch) == {
        "metadata": {"finalizers": ["b", "c"], "labels": {"z": "3"}},
        "spec": {"containers": [{"name": "b"}, {"name": "a"}], "strategy": {"type": "B"}},
    }


def test_the_ports_of_containers_and_services_have_keys_of_their_own() -> None:
    document = pod({"name": "a", "ports": [{"containerPort": 80, "name": "x"}]})
    document["spec"]["ports"] = [{"port": 80, "targetPort": 1}]
    patch = pod({"name": "a", "ports": [{"containerPort": 80, "name": "y"}]})
    patch["spec"]["ports"] = [{"port": 80, "targetPort": 2}]
    patched = strategic_merge_patch(document, patch)
    assert patched["spec"]["containers"][0]["ports"] == [{"containerPort": 80, "name": "y"}]
    assert patched["spec"]["ports"] == [{"port": 80, "targetPort": 2}]


def test_ports_of_one_number_are_told_apart_by_their_protocol() -> None:
    ports = [{"port": 53, "protocol": "TCP"}, {"port": 53, "protocol": "UDP"}]
    document = {"spec": {"ports": ports}}
    assert strategic_merge_patch(document, document) == document


def test_a_list_of_texts_where_items_have_keys_elsewhere_is_replaced() -> None:
    document = {"execNewPod": {"volumes": ["data", "logs"]}}
    patch = {"execNewPod": {"volumes": ["data"]}}
    assert strategic_merge_patch(document, patch) == patch


def test_an_empty_list_changes_no_list_with_keys() -> None:
    assert strategic_merge_patch(pod({"name": "a"}), pod()) == pod({"name": "a"})


@pytest.mark.parametrize(
    "patch",
    [[], pod({"image": "x"}), {"spec": {"$patch": "burn"}}, {"spec": {"containers": [{}, 5]}}],
)
def test_a_malformed_strategic_patch_is_refused(patch: object) -> None:
    with pytest.raises(PatchError):
        strategic_merge_patch(pod({"name": "a"}), patch)


@given(st.lists(st.integers(0, 9), unique=True), st.lists(st.integers(0, 9), unique=True))
def test_an_order_keeps_all_and_puts_the_wanted_in_their_order(
    existing: list[int], wanted: list[int]
) -> None:
    order = in_order(existing, wanted)
    assert sorted(order) == sorted({*existing, *wanted})
    assert [key for key in order if key in wanted] == wanted


def test_an_item_that_is_not_ordered_stays_behind_the_one_before_it() -> None:
    assert in_order(["x", "a", "y", "z", "b"], ["b", "a"]) == ["x", "b", "a", "y", "z"]
