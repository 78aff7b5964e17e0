"""The graph that follows changes: the same as one that is made of the objects that are there."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from upwell.api.codec import decode
from upwell.api.meta import ObjectKey, Resource
from upwell.policy.explain.graph import build_graph
from upwell.policy.explain.live_graph import LiveGraph

NAMESPACES = st.sampled_from(["shop", "team"])
NAMES = st.sampled_from(["a", "b", "c"])
UPSTREAM = st.sampled_from(["docker.io/library/debian:11", "vendor.test/base:1"])
PATH = 'spec.template.spec.containers[?(@.name=="web")].image'


def of(kind: str, api: str, namespace: str, name: str, **parts: Any) -> Resource:
    metadata = {"name": name, "namespace": namespace, **parts.pop("metadata", {})}
    return decode({"apiVersion": api, "kind": kind, "metadata": metadata, **parts})


@st.composite
def references(draw: st.DrawFn) -> dict[str, Any]:
    name = f"{draw(NAMES)}:1"
    match draw(st.integers(0, 4)):
        case 0:
            return {"kind": "DockerImage", "name": draw(UPSTREAM)}
        case 1:
            return {"kind": "DockerImage", "name": name}
        case 2:
            return {"kind": "DockerImage", "name": f"registry.test/{draw(NAMESPACES)}/{name}"}
        case 3:
            return {"kind": "ImageStreamTag", "name": name, "namespace": draw(NAMESPACES)}
        case _:
            return {"kind": "ImageStreamTag", "name": name}


@st.composite
def streams(draw: st.DrawFn) -> Resource:
    namespace, name = draw(NAMESPACES), draw(NAMES)
    tag = {"name": "1", "importPolicy": {"scheduled": draw(st.booleans())}}
    if draw(st.booleans()):
        tag["from"] = draw(references())
    status = {}
    if draw(st.booleans()):
        status["dockerImageRepository"] = f"registry.test/{namespace}/{name}"
    spec = {"tags": [tag], "lookupPolicy": {"local": draw(st.booleans())}}
    api = "image.openshift.io/v1"
    return of("ImageStream", api, namespace, name, spec=spec, status=status)


@st.composite
def configs(draw: st.DrawFn) -> Resource:
    spec = {
        "strategy": {"dockerStrategy": {"from": draw(references())}},
        "output": {"to": draw(references())},
        "triggers": [
            {"type": "ImageChange", "imageChange": {"from": one}}
            for one in draw(st.lists(references(), max_size=2))
            if one["kind"] == "ImageStreamTag"
        ],
    }
    tracked = draw(st.lists(UPSTREAM, max_size=1))
    return of(
        "BuildConfig",
        "build.openshift.io/v1",
        draw(NAMESPACES),
        draw(NAMES),
        spec=spec,
        status={"trackedImages": tracked},
    )


@st.composite
def workloads(draw: st.DrawFn) -> Resource:
    annotations = {}
    if draw(st.booleans()):
        from_ = {"kind": "ImageStreamTag", "name": f"{draw(NAMES)}:1"}
        annotations["image.openshift.io/triggers"] = json.dumps(
            [{"from": from_, "fieldPath": PATH}]
        )
    image = draw(references())["name"]
    spec = {"template": {"spec": {"containers": [{"name": "web", "image": image}]}}}
    metadata = {"annotations": annotations, "labels": {"tier": draw(NAMES)}}
    return of(
        draw(st.sampled_from(["Deployment", "StatefulSet"])),
        "apps/v1",
        draw(NAMESPACES),
        draw(NAMES),
        metadata=metadata,
        spec=spec,
    )


@st.composite
def pipelines(draw: st.DrawFn) -> Resource:
    def stage(name: str) -> dict[str, Any]:
        who: dict[str, Any] = {"kind": "Deployment", "name": draw(NAMES)}
        if draw(st.booleans()):
            who = {"kind": "Deployment", "selector": {"matchLabels": {"tier": draw(NAMES)}}}
        promotion = draw(st.sampled_from(["Automatic", "Manual"]))
        place = {"namespace": draw(NAMESPACES), "promotion": promotion}
        return {"name": name, "workloads": [who], **place}

    tag = {"kind": "ImageStreamTag", "name": f"{draw(NAMES)}:1"}
    spec = {
        "components": [{"name": draw(st.sampled_from(["web", "other"])), "from": tag}],
        "stages": [stage(name) for name in ("dev", "live")],
    }
    return of("Pipeline", "upwell.dev/v1alpha1", draw(NAMESPACES), draw(NAMES), spec=spec)


CHANGES = st.lists(
    st.tuples(
        st.one_of(streams(), configs(), workloads(), pipelines()),
        st.sampled_from(["put", "put", "put", "delete"]),
    ),
    max_size=12,
)


@given(CHANGES)
@settings(max_examples=150, deadline=None)
def test_after_any_changes_it_is_the_graph_of_what_is_there(
    changes: list[tuple[Resource, str]],
) -> None:
    live, known = LiveGraph(), dict[ObjectKey, Resource]()
    for item, what in changes:
        before = known.pop(item.key, None)
        if what == "put":
            known[item.key] = item
        live.move(before, known.get(item.key))

        whole = build_graph(known.values())
        assert build_graph(known.values(), edges=live.edges_among(known.values())).edges == (
            whole.edges
        )
        assert {str(edge) for edge in live.edges()} == {str(edge) for edge in whole.edges}
        for node in whole.nodes:
            assert live.inputs(node) == whole.inputs(node)
            assert live.outputs(node) == whole.outputs(node)
            assert (node in live) or not (whole.inputs(node) or whole.outputs(node))


def test_nothing_is_left_of_what_has_gone() -> None:
    live = LiveGraph()
    base = {"kind": "ImageStreamTag", "name": "a:1"}
    spec = {"strategy": {"dockerStrategy": {"from": base}}, "output": {"to": base}}
    config = of("BuildConfig", "build.openshift.io/v1", "shop", "c", spec=spec)
    live.move(None, config)
    assert list(live.edges())
    live.move(config, None)

    assert not list(live.edges())
    left = {name: value for name, value in vars(live).items() if name != "names"}
    for value in left.values():
        assert not list(value)


@pytest.mark.parametrize("status", [{"trackedImages": ["vendor.test/base:1"]}, {}])
def test_a_status_that_names_other_images_counts(status: dict[str, Any]) -> None:
    live = LiveGraph()
    spec: dict[str, Any] = {"strategy": {"dockerStrategy": {}}}
    before, after = (
        of("BuildConfig", "build.openshift.io/v1", "shop", "c", spec=spec, status=one)
        for one in ({}, status)
    )
    live.move(None, before)
    live.move(before, after)

    assert len(list(live.edges())) == len(status)
