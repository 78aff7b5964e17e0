"""The graph of images, builds and workloads: edges, barriers, order and cycles."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from upwell.api.codec import decode
from upwell.api.meta import ObjectKey, Resource
from upwell.policy.explain.graph import Edge, EdgeRole, Graph, Node, build_graph
from upwell.policy.images.names import UpstreamImage
from upwell.policy.images.streams import StreamTag

NS = "shop"


def stream(name: str, *tags: dict[str, Any], **status: Any) -> Resource:
    return decode(
        {
            "apiVersion": "image.openshift.io/v1",
            "kind": "ImageStream",
            "metadata": {"name": name, "namespace": NS},
            "spec": {"tags": list(tags)},
            "status": {"dockerImageRepository": f"127.0.0.1:7080/{NS}/{name}"} | status,
        }
    )


def imported(tag: str, image: str, *, scheduled: bool = True) -> dict[str, Any]:
    return {
        "name": tag,
        "from": {"kind": "DockerImage", "name": image},
        "importPolicy": {"scheduled": scheduled},
    }


def config(
    name: str,
    *bases: str,
    to: str = "",
    paused: bool = False,
    tracked: tuple[str, ...] = (),
    images: tuple[str, ...] = (),
) -> Resource:
    """Build from `bases`, the first being the strategy's; each triggers."""
    references = [{"kind": "ImageStreamTag", "name": base} for base in bases]
    triggers = [
        {"type": "ImageChange", "imageChange": {"from": reference, "paused": paused}}
        for reference in references[1:]
    ]
    return decode(
        {
            "apiVersion": "build.openshift.io/v1",
            "kind": "BuildConfig",
            "metadata": {"name": name, "namespace": NS},
            "spec": {
                "source": {
                    "images": [{"from": {"kind": "ImageStreamTag", "name": n}} for n in images]
                },
                "strategy": {"dockerStrategy": {"from": references[0]} if references else {}},
                "output": {"to": {"kind": "ImageStreamTag", "name": to or f"{name}:latest"}},
                "triggers": [
                    {"type": "ImageChange", "imageChange": {"paused": paused}},
                    *triggers,
                ],
            },
            "status": {"trackedImages": list(tracked)},
        }
    )


def deployment(name: str, annotation: object, image: str = " ") -> Resource:
    return decode(
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {
                "name": name,
                "namespace": NS,
                "annotations": {
                    "image.openshift.io/triggers": annotation
                    if isinstance(annotation, str)
                    else json.dumps(annotation)
                },
            },
            "spec": {"template": {"spec": {"containers": [{"name": "web", "image": image}]}}},
        }
    )


def follow(name: str, **more: Any) -> dict[str, Any]:
    return {
        "from": {"kind": "ImageStreamTag", "name": name},
        "fieldPath": "spec.template.spec.containers[0].image",
        **more,
    }


def tag(name: str) -> StreamTag:
    repository, _, label = name.partition(":")
    return StreamTag(NS, repository, label)


def build(name: str) -> ObjectKey:
    return ObjectKey("BuildConfig", NS, name)


def edge_between(graph: Graph, source: Node, target: Node) -> Edge:
    [found] = [edge for edge in graph.edges if (edge.source, edge.target) == (source, target)]
    return found


def test_a_chain_leads_from_the_upstream_image_to_the_workload() -> None:
    graph = build_graph(
        [
            stream("debian", imported("11", "vendor.test/debian:11")),
            config("builder", "debian:11"),
            config("web", "builder:latest"),
            deployment("web", [follow("web:latest")]),
        ]
    )

    assert [(str(e.source), str(e.target), e.role) for e in graph.edges] == [
        ("BuildConfig shop/builder", "shop/builder:latest", EdgeRole.OUTPUT),
        ("BuildConfig shop/web", "shop/web:latest", EdgeRole.OUTPUT),
        ("shop/builder:latest", "BuildConfig shop/web", EdgeRole.BASE),
        ("shop/debian:11", "BuildConfig shop/builder", EdgeRole.BASE),
        ("shop/web:latest", "Deployment shop/web", EdgeRole.DEPLOY),
        ("vendor.test/debian:11", "shop/debian:11", EdgeRole.IMPORT),
    ]
    assert all(edge.automatic for edge in graph.edges)
    assert graph.order()[0] == UpstreamImage("vendor.test/debian:11")
    assert graph.order()[-1] == ObjectKey("Deployment", NS, "web")
    assert graph.cycles == ()


def test_the_tip_of_a_diamond_has_both_sides_and_the_root_upstream_once() -> None:
    graph = build_graph(
        [
            config("root", "debian:11"),
            config("left", "root:latest"),
            config("right", "root:latest"),
            config("tip", "left:latest", "right:latest"),
        ]
    )

    assert graph.upstream(build("tip")) == {build("root"), build("left"), build("right")}
    assert graph.upstream(build("root")) == frozenset()
    order = graph.order()
    assert order.count(build("tip")) == 1
    assert order.index(build("tip")) > max(order.index(build(n)) for n in ("left", "right"))


def test_producers_of_a_tag() -> None:
    graph = build_graph([config("builder"), config("web", "builder:latest")])

    assert graph.producers(tag("builder:latest")) == {build("builder")}
    assert graph.producers(tag("nobody:latest")) == frozenset()


def test_a_tag_that_follows_another_has_the_producers_of_that_one() -> None:
    streams = stream(
        "web",
        {"name": "stable", "from": {"kind": "ImageStreamTag", "name": "latest"}},
    )
    graph = build_graph([streams, config("web"), config("top", "web:stable")])

    assert graph.producers(tag("web:stable")) == {build("web")}
    assert graph.upstream(build("top")) == {build("web")}
    assert edge_between(graph, tag("web:latest"), tag("web:stable")).automatic


def test_a_tag_of_another_stream_is_followed() -> None:
    graph = build_graph(
        [stream("prod", {"name": "live", "from": {"kind": "ImageStreamTag", "name": "web:latest"}})]
    )

    assert edge_between(graph, tag("web:latest"), tag("prod:live")).automatic


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        ("127.0.0.1:7080/shop/builder:v2", tag("builder:v2")),
        ("vendor.test/debian:11", tag("debian:11")),
        ("elsewhere.test/other:1", UpstreamImage("elsewhere.test/other:1")),
        ("busybox", UpstreamImage("docker.io/library/busybox:latest")),
    ],
)
def test_an_image_of_a_dockerfile_is_found_in_the_stream_that_keeps_it(
    image: str, expected: Node
) -> None:
    graph = build_graph(
        [
            stream("debian", imported("11", "vendor.test/debian:11")),
            stream("builder"),
            config("web", "debian:12", tracked=(image,)),
        ]
    )

    edge = edge_between(graph, expected, build("web"))
    assert edge.role is EdgeRole.INPUT
    assert not edge.automatic


def test_a_short_name_counts_only_with_a_local_lookup_policy() -> None:
    plain = stream("base")
    local = plain.model_validate(
        plain.model_dump() | {"spec": {"lookup_policy": {"local": True}}}, strict=False
    )
    web = config("web", tracked=("base:v1",))

    assert tag("base:v1") in build_graph([local, web]).nodes
    assert tag("base:v1") not in build_graph([plain, web]).nodes


def test_a_copied_image_is_an_input_and_an_unreadable_name_is_none() -> None:
    graph = build_graph([config("web", images=("tools:1",), tracked=("NOT an image",))])

    assert [edge.source for edge in graph.inputs(build("web"))] == [tag("tools:1")]


def test_a_paused_trigger_is_an_edge_that_a_person_passes_on() -> None:
    graph = build_graph([config("web", "debian:11", paused=True)])

    assert not edge_between(graph, tag("debian:11"), build("web")).automatic


@pytest.mark.parametrize(
    ("annotation", "automatic"),
    [
        ([follow("web:latest")], True),
        ([follow("web:latest", paused=True)], False),
        ([follow("web:latest", paused="true")], False),
    ],
)
def test_a_deployment_follows_its_annotation(annotation: object, *, automatic: bool) -> None:
    graph = build_graph([deployment("web", annotation)])

    edge = edge_between(graph, tag("web:latest"), ObjectKey("Deployment", NS, "web"))
    assert edge.automatic is automatic


@pytest.mark.parametrize("annotation", ["{", "[1]", '"text"', [{"fieldPath": "x"}]])
def test_an_unreadable_annotation_gives_no_edge(annotation: object) -> None:
    assert build_graph([deployment("web", annotation)]).edges == ()


def test_an_image_that_only_names_a_tag_is_shown_but_not_followed() -> None:
    graph = build_graph([stream("web"), deployment("web", [], "127.0.0.1:7080/shop/web:v1")])

    edge = edge_between(graph, tag("web:v1"), ObjectKey("Deployment", NS, "web"))
    assert not edge.automatic


@pytest.mark.parametrize("automatic", [True, False])
def test_a_deployment_config_follows_its_triggers(*, automatic: bool) -> None:
    workload = decode(
        {
            "apiVersion": "apps.openshift.io/v1",
            "kind": "DeploymentConfig",
            "metadata": {"name": "gate", "namespace": NS},
            "spec": {
                "template": {"spec": {"containers": [{"name": "gate"}]}},
                "triggers": [
                    {"type": "ConfigChange"},
                    {
                        "type": "ImageChange",
                        "imageChangeParams": {
                            "automatic": automatic,
                            "containerNames": ["gate"],
                            "from": {
                                "kind": "ImageStreamTag",
                                "name": "gate:latest",
                                "namespace": "other",
                            },
                        },
                    },
                ],
            },
        }
    )

    [edge] = build_graph([workload]).edges
    assert edge.source == StreamTag("other", "gate", "latest")
    assert edge.automatic is automatic


def test_a_cycle_is_named_in_its_order_and_is_no_barrier_for_its_members() -> None:
    graph = build_graph(
        [
            config("root"),
            config("a", "c:latest", "root:latest"),
            config("b", "a:latest"),
            config("c", "b:latest"),
            config("after", "c:latest"),
        ]
    )

    assert graph.cycles == (
        (
            build("a"),
            tag("a:latest"),
            build("b"),
            tag("b:latest"),
            build("c"),
            tag("c:latest"),
        ),
    )
    assert graph.upstream(build("a")) == {build("root")}
    assert graph.upstream(build("after")) == {build(n) for n in ("root", "a", "b", "c")}
    order = graph.order()
    assert order.index(build("root")) < order.index(build("a")) < order.index(build("after"))


def test_a_build_of_its_own_output_is_a_cycle() -> None:
    graph = build_graph([config("web", "web:latest")])

    assert graph.cycles == ((build("web"), tag("web:latest")),)


def test_a_chain_longer_than_the_stack_is_ordered() -> None:
    length = 3000
    graph = build_graph(config(f"c{at}", f"c{at - 1}:latest") for at in range(1, length + 1))

    assert len(graph.upstream(build(f"c{length}"))) == length - 1
    assert graph.order()[-1] == tag(f"c{length}:latest")


_NAMES = st.integers(0, 7).map(lambda number: tag(f"t{number}:latest"))
_EDGES = st.lists(
    st.tuples(_NAMES, _NAMES).map(lambda pair: Edge(*pair, EdgeRole.TAG, automatic=True)),
    max_size=20,
)


@given(_EDGES)
def test_order_puts_every_source_first_except_on_cycles(edges: list[Edge]) -> None:
    graph = Graph((), edges)
    order = graph.order()

    assert sorted(order, key=str) == list(graph.nodes)
    for edge in graph.edges:
        on_cycle = edge.target in graph.ancestors(edge.source) or edge.source == edge.target
        assert on_cycle or order.index(edge.source) < order.index(edge.target)


@given(_EDGES)
def test_every_named_cycle_is_a_closed_way(edges: list[Edge]) -> None:
    graph = Graph((), edges)
    steps = {(edge.source, edge.target) for edge in graph.edges}

    for cycle in graph.cycles:
        assert set(zip(cycle, (*cycle[1:], cycle[0]), strict=True)) <= steps


def test_the_order_is_found_once_however_many_ask_for_a_place_in_it() -> None:
    graph = build_graph([config("web", "base:1"), config("tip", "web:latest")])

    assert graph.order() is graph.order()
    assert [graph.place_of(node) for node in graph.order()] == list(range(len(graph.nodes)))
