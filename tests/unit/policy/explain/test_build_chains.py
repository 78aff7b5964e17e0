from tests.support.openshift import CHAINS, needs_corpus

from upwell.api.builds.config import (
    BuildConfig,
    BuildConfigSpec,
    BuildTriggerPolicy,
    ImageChangeTrigger,
)
from upwell.api.builds.inputs import BuildOutput, BuildStrategy, DockerBuildStrategy
from upwell.api.codec import decode
from upwell.api.defaults import apply_defaults
from upwell.api.manifests import parse_manifests
from upwell.api.meta import ObjectMeta, ObjectReference, Resource
from upwell.policy.explain.build_chain import MAX_LINES, Chain
from upwell.policy.explain.graph import Graph, build_graph
from upwell.policy.images.streams import StreamTag


def manifests(name: str) -> Graph:
    found: list[Resource] = [
        apply_defaults(decode(document))
        for document in parse_manifests((CHAINS / name).read_text(), name)
    ]
    return build_graph(found)


def tag(name: str, namespace: str = "test") -> StreamTag:
    return StreamTag(namespace, name, "latest")


def built(name: str, base: str, *also: str, to: str | None = None) -> BuildConfig:
    """A BuildConfig that follows `base` and `also`, and pushes to the tag of its own name."""

    def istag(stream: str) -> ObjectReference:
        return ObjectReference(kind="ImageStreamTag", name=f"{stream}:latest")

    triggers = [
        BuildTriggerPolicy(type="ImageChange", image_change=ImageChangeTrigger(from_=istag(one)))
        for one in (base, *also)
    ]
    return BuildConfig(
        metadata=ObjectMeta(name=name, namespace="test"),
        spec=BuildConfigSpec(
            strategy=BuildStrategy(docker_strategy=DockerBuildStrategy(from_=istag(base))),
            output=BuildOutput(to=istag(to or name)),
            triggers=tuple(triggers),
        ),
    )


@needs_corpus
def test_one_namespace_is_shown_as_oc_shows_it() -> None:
    chain = Chain(manifests("single-namespace-bcs.yaml"), tag("ruby-25-centos7"))

    assert list(chain.lines()) == [
        "istag/ruby-25-centos7:latest",
        "\tbc/ruby-hello-world",
        "\t\tistag/ruby-hello-world:latest",
        "\tbc/ruby-sample-build",
        "\t\tistag/origin-ruby-sample:latest",
    ]


@needs_corpus
def test_several_namespaces_are_named_as_oc_names_them() -> None:
    graph = manifests("multiple-namespaces-bcs.yaml")
    chain = Chain(graph, tag("ruby-25-centos7", "master"), with_namespaces=True)

    assert list(chain.lines()) == [
        "<master istag/ruby-25-centos7:latest>",
        "\t<default bc/ruby-hello-world>",
        "\t\t<test istag/ruby-hello-world:latest>",
        "\t<test bc/ruby-sample-build>",
        "\t\t<another istag/origin-ruby-sample:latest>",
    ]


@needs_corpus
def test_in_reverse_a_tag_leads_to_what_it_is_built_from() -> None:
    graph = manifests("single-namespace-bcs.yaml")
    lines = list(Chain(graph, tag("ruby-hello-world"), reverse=True).lines())

    assert lines == [
        "istag/ruby-hello-world:latest",
        "\tbc/ruby-hello-world",
        "\t\tistag/ruby-25-centos7:latest",
    ]


@needs_corpus
def test_a_chain_can_be_drawn() -> None:
    graph = manifests("single-namespace-bcs.yaml")
    text = list(Chain(graph, tag("ruby-25-centos7")).dot())

    assert text[0] == 'digraph "ruby-25-centos7:latest" {'
    assert text[-1] == "}"
    for label in (
        "BuildConfig|test/ruby-hello-world",
        "BuildConfig|test/ruby-sample-build",
        "ImageStreamTag|test/ruby-hello-world:latest",
        "ImageStreamTag|test/ruby-25-centos7:latest",
        "ImageStreamTag|test/origin-ruby-sample:latest",
    ):
        assert sum(f'[label="{label}"]' in line for line in text) == 1
    assert sum('[label="BuildTriggerImage"]' in line for line in text) == 2
    assert sum('[label="BuildOutput"]' in line for line in text) == 2


def test_a_diamond_is_shown_along_both_ways() -> None:
    graph = build_graph([built("a", "base"), built("b", "base"), built("tip", "a", "b")])

    assert list(Chain(graph, tag("base")).lines()) == [
        "istag/base:latest",
        "\tbc/a",
        "\t\tistag/a:latest",
        "\t\t\tbc/tip",
        "\t\t\t\tistag/tip:latest",
        "\tbc/b",
        "\t\tistag/b:latest",
        "\t\t\tbc/tip",
        "\t\t\t\tistag/tip:latest",
    ]
    assert sum("|test/tip:latest" in line for line in Chain(graph, tag("base")).dot()) == 1


def test_an_input_without_a_trigger_is_shown_only_on_demand() -> None:
    silent = built("a", "base")
    silent = silent.model_copy(update={"spec": silent.spec.model_copy(update={"triggers": ()})})
    graph = build_graph([silent])

    assert list(Chain(graph, tag("base")).lines()) == ["istag/base:latest"]
    assert list(Chain(graph, tag("base"), triggers_only=False).lines())[1:] == [
        "\tbc/a",
        "\t\tistag/a:latest",
    ]
    assert any("BuildInputImage" in x for x in Chain(graph, tag("base"), triggers_only=False).dot())


def test_a_cycle_is_named_in_its_order() -> None:
    graph = build_graph([built("a", "c"), built("b", "a"), built("c", "b"), built("d", "a")])

    assert Chain(graph, tag("b")).cycle() == (
        "Cycle detected in build configurations: istag/b:latest -> bc/c -> istag/c:latest"
        " -> bc/a -> istag/a:latest -> bc/b -> istag/b:latest"
    )
    assert Chain(graph, tag("d")).cycle() is None


def test_layers_of_diamonds_do_not_fill_the_screen_for_ever() -> None:
    layers = []
    for at in range(14):
        layers += [built(f"a{at}", f"t{at}"), built(f"b{at}", f"t{at}")]
        layers += [built(f"t{at + 1}", f"a{at}", f"b{at}")]
    lines = list(Chain(build_graph(layers), tag("t0")).lines())

    assert len(lines) == MAX_LINES + 1
    assert lines[-1] == f"(only the first {MAX_LINES} lines are shown)"
