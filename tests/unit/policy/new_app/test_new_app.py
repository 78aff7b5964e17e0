"""Results of `new-app`: components, streams, objects that are valid and a graph that closes."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from upwell.api.apps import Deployment
from upwell.api.builds.config import BuildConfig
from upwell.api.codec import decode, decode_as, encode
from upwell.api.core import Secret
from upwell.api.defaults import apply_defaults
from upwell.api.image import ImageStream
from upwell.api.meta import Resource
from upwell.api.pipeline import Pipeline
from upwell.api.validation.objects import validate
from upwell.policy.explain.graph import EdgeRole, build_graph
from upwell.policy.new_app.application import Application, ApplicationBuild, parse_stages
from upwell.policy.new_app.components import (
    NewAppComponent,
    NewAppError,
    NewAppStrategy,
    SourceRepository,
    application_name,
    parse_component,
)
from upwell.policy.new_app.dockerfile import DockerfileFacts, exposed_port, read_dockerfile
from upwell.policy.new_app.images import FollowedImage, ImportOptions, follow
from upwell.policy.new_app.objects import application_objects

SHOP = SourceRepository("https://git.test/team/shop.git")
SOURCE = ApplicationBuild(SHOP, NewAppStrategy.SOURCE)


def stream(name: str, tags: Mapping[str, str], pushed: str = "") -> ImageStream:
    annotations = {
        "upwell.dev/import-interval": "1m",
        "kubectl.kubernetes.io/last-applied-configuration": "{}",
    }
    document = {
        "metadata": {
            "name": name,
            "namespace": "team",
            "labels": {"owner": "us"},
            "annotations": annotations,
        },
        "spec": {
            "tags": [
                {"name": tag, "generation": 2, "from": {"kind": "DockerImage", "name": image}}
                for tag, image in tags.items()
            ]
        },
        "status": {"tags": [{"tag": pushed}] if pushed else []},
    }
    return decode_as(ImageStream, document)


def new(image: str) -> FollowedImage:
    return follow(image, {}, ImportOptions())


def stored(app: Application) -> list[Resource]:
    """Return the objects as the server keeps them, each of them valid."""
    objects = []
    for made in application_objects(app):
        document = encode(made)
        document["metadata"]["namespace"] = "team"
        resource = apply_defaults(decode(document))
        assert validate(resource) == ()
        objects.append(resource)
    return objects


def kinds(objects: list[Resource]) -> list[str]:
    return [f"{item.KIND.kind}/{item.name}" for item in objects]


def edges(objects: list[Resource]) -> list[tuple[str, EdgeRole, str, bool]]:
    graph = build_graph(objects)
    order = list(graph.order())
    found = sorted(graph.edges, key=lambda edge: order.index(edge.source))
    return [(str(e.source), e.role, str(e.target), e.automatic) for e in found]


@pytest.mark.parametrize(
    ("text", "component"),
    [
        (
            "python:3.11~https://git.test/shop.git",
            NewAppComponent("python:3.11", SourceRepository("https://git.test/shop.git")),
        ),
        (
            "https://git.test/shop#main",
            NewAppComponent(repository=SourceRepository("https://git.test/shop", "main")),
        ),
        (
            "git@git.test:team/shop.git",
            NewAppComponent(repository=SourceRepository("git@git.test:team/shop.git")),
        ),
        (
            "ssh://git@git.test/shop",
            NewAppComponent(repository=SourceRepository("ssh://git@git.test/shop")),
        ),
        (
            "https://git.test/~eve/shop.git",
            NewAppComponent(repository=SourceRepository("https://git.test/~eve/shop.git")),
        ),
        (
            "python~https://git.test/~eve/shop.git",
            NewAppComponent("python", SourceRepository("https://git.test/~eve/shop.git")),
        ),
        ("registry.test:5000/team/shop:1", NewAppComponent("registry.test:5000/team/shop:1")),
        ("nginx", NewAppComponent("nginx")),
    ],
)
def test_components_are_images_repositories_or_both(text: str, component: NewAppComponent) -> None:
    assert parse_component(text) == component


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("~https://git.test/shop.git", "BUILDER~REPOSITORY"),
        ("python~", "BUILDER~REPOSITORY"),
        ("python~shop", "not the URL"),
        ("https://eve:hunter2@git.test/shop.git", "--source-secret"),
        ("https://token@git.test/shop.git", "--source-secret"),
        ("ssh://git:hunter2@git.test/shop.git", "--source-secret"),
    ],
)
def test_what_is_no_component_is_refused(text: str, why: str) -> None:
    with pytest.raises(NewAppError, match=why) as caught:
        parse_component(text)

    assert "hunter2" not in str(caught.value)
    assert "token@" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("python~https://git.test/team/Ruby_Hello.World.git", "ruby-hello-world"),
        ("git@git.test:shop.git", "shop"),
        ("https://git.test/shop/", "shop"),
        ("registry.test/team/front_end:2", "front-end"),
        (f"registry.test/{'a' * 57}-b", "a" * 57),
    ],
)
def test_names_come_from_the_repository_or_the_image(text: str, name: str) -> None:
    assert application_name("", parse_component(text)) == name


@pytest.mark.parametrize("name", ["Shop", "1shop", "shop-", "a" * 59, "sh op", "a.b"])
def test_names_that_kubernetes_would_refuse_are_refused(name: str) -> None:
    with pytest.raises(NewAppError, match="is not a valid application name"):
        application_name(name, NewAppComponent("nginx"))


def test_a_repository_without_a_usable_name_needs_one() -> None:
    with pytest.raises(NewAppError, match="--name"):
        application_name("", parse_component("https://git.test/123.git"))


def test_an_unknown_image_is_imported_on_schedule() -> None:
    followed = new("registry.test/team/python:3.11")

    assert followed.stream_tag == "python:3.11"
    assert followed.declared is not None
    assert encode(followed.declared)["spec"]["tags"] == [
        {
            "name": "3.11",
            "from": {"kind": "DockerImage", "name": "registry.test/team/python:3.11"},
            "importPolicy": {"scheduled": True},
        }
    ]


def test_a_digest_is_not_looked_at_again_and_a_registry_may_be_insecure() -> None:
    image = f"registry.test/python@sha256:{'a' * 64}"

    followed = follow(image, {}, ImportOptions(insecure=True))

    assert followed.declared is not None
    tag = followed.declared.spec.tags[0]
    assert (tag.name, tag.scheduled, tag.insecure) == ("latest", False, True)


def test_a_tag_that_is_there_is_used() -> None:
    streams = {"python": stream("python", {"3.11": "python:3.11"}, pushed="mine")}

    for image in ("python:3.11", "docker.io/library/python:3.11", "python:mine"):
        assert follow(image, streams, ImportOptions()).declared is None


def test_a_new_tag_stands_beside_those_that_are_there() -> None:
    streams = {"python": stream("python", {"3.11": "python:3.11"})}

    declared = follow("python:3.12", streams, ImportOptions()).declared

    assert declared is not None
    assert [tag.name for tag in declared.spec.tags] == ["3.11", "3.12"]
    assert declared.labels == {"owner": "us"}
    assert declared.annotations == {"upwell.dev/import-interval": "1m"}
    assert declared.spec.tags[0].generation is None


def test_a_tag_from_elsewhere_is_not_taken_over() -> None:
    streams = {"python": stream("python", {"3.11": "python:3.11"})}

    with pytest.raises(NewAppError, match="imagestream/python has a tag"):
        follow("other.test/python:3.11", streams, ImportOptions())


@pytest.mark.parametrize("deployment_config", [False, True])
def test_a_source_build_closes_the_way_from_base_to_workload(*, deployment_config: bool) -> None:
    app = Application(
        "shop", new("python:3.11"), SOURCE, as_deployment_config=deployment_config, expose=True
    )
    workload = "DeploymentConfig" if deployment_config else "Deployment"

    objects = stored(app)

    assert kinds(objects) == [
        "ImageStream/python",
        "ImageStream/shop",
        "BuildConfig/shop",
        "Service/shop",
        f"{workload}/shop",
        "Route/shop",
    ]
    assert edges(objects) == [
        ("docker.io/library/python:3.11", EdgeRole.IMPORT, "team/python:3.11", True),
        ("team/python:3.11", EdgeRole.BASE, "BuildConfig team/shop", True),
        ("BuildConfig team/shop", EdgeRole.OUTPUT, "team/shop:latest", True),
        ("team/shop:latest", EdgeRole.DEPLOY, f"{workload} team/shop", True),
    ]


def test_webhooks_come_with_the_secret_that_they_refer_to() -> None:
    app = Application("shop", new("python:3.11"), replace(SOURCE, webhook_secret="hush"))

    objects = stored(app)

    assert kinds(objects)[2:4] == ["Secret/shop-webhooks", "BuildConfig/shop"]
    [secret] = [item for item in objects if isinstance(item, Secret)]
    assert secret.decoded() == {"WebHookSecretKey": b"hush"}
    assert "hush" not in repr(app)


def test_an_image_is_run_as_it_is() -> None:
    objects = stored(Application("front", new("registry.test/nginx:1.27")))

    assert kinds(objects) == ["ImageStream/nginx", "Service/front", "Deployment/front"]
    assert "env" not in encode(objects[-1])["spec"]["template"]["spec"]["containers"][0]
    assert edges(objects)[-1] == ("team/nginx:1.27", EdgeRole.DEPLOY, "Deployment team/front", True)


@pytest.mark.parametrize("as_deployment_config", [False, True])
def test_with_stages_a_pipeline_moves_the_image(*, as_deployment_config: bool) -> None:
    stages = parse_stages("dev, live=front", "shop")
    app = Application(
        "shop", new("python:3"), SOURCE, stages=stages, as_deployment_config=as_deployment_config
    )

    made = application_objects(app)

    assert [fault for one in made for fault in validate(apply_defaults(one))] == []
    workload = "DeploymentConfig" if as_deployment_config else "Deployment"
    assert [(one.KIND.kind, one.namespace) for one in made[2:]] == [
        ("BuildConfig", ""),
        ("Pipeline", ""),
        ("Service", "shop-dev"),
        (workload, "shop-dev"),
        ("Service", "front"),
        (workload, "front"),
    ]
    assert "ImageStreamTag" not in str(encode(made[-1]))
    (pipeline,) = (one for one in made if isinstance(one, Pipeline))
    assert pipeline.spec.components[0].from_.name == "shop:latest"
    dev, live = pipeline.spec.stages
    assert (dev.name, dev.namespace, live.name, live.namespace) == (
        ("dev", "shop-dev", "live", "front")
    )
    assert [(one.kind, one.name) for one in dev.workloads] == [(workload, "shop")]
    assert [check.name for check in live.verification.checks] == ["answers"]
    assert live.verification.checks[0].tcp is not None


def test_a_given_test_is_run_in_the_applications_own_image() -> None:
    stages = parse_stages("dev", "shop")
    made = application_objects(
        Application("shop", new("python:3"), SOURCE, stages=stages, test="make check")
    )

    (pipeline,) = (one for one in made if isinstance(one, Pipeline))
    (check,) = pipeline.spec.stages[0].verification.checks
    assert check.job is not None
    assert (check.job.component, check.job.command) == ("shop", ("/bin/sh", "-c", "make check"))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("dev,dev", "stage dev is given twice"),
        ("dev=a,live=a", "namespace a is given twice"),
        ("dev,,live", "'' is not a valid application name"),
        ("Dev", "'Dev' is not a valid application name"),
        ("dev=", "names no namespace"),
        ("dev=A B", "'A B' is not a valid application name"),
    ],
)
def test_wrong_stages_are_refused(text: str, said: str) -> None:
    with pytest.raises(NewAppError, match=said):
        parse_stages(text, "shop")


def test_every_image_of_a_dockerfile_starts_builds() -> None:
    facts = read_dockerfile(
        "FROM golang:1.25 AS made\nFROM debian:12\nCOPY --from=made /a /a\nEXPOSE 9000 8443/udp\n"
    )
    build = replace(
        SOURCE, strategy=NewAppStrategy.DOCKER, inputs=tuple(new(image) for image in facts.others)
    )

    objects = stored(Application("shop", new(facts.base), build))

    assert facts == DockerfileFacts("debian:12", ("golang:1.25",), 9000)
    into = {
        (source, role) for source, role, target, auto in edges(objects) if auto and "Bu" in target
    }
    assert into == {("team/debian:12", EdgeRole.BASE), ("team/golang:1.25", EdgeRole.INPUT)}


def test_the_volumes_of_a_dockerfile_are_read_in_both_forms() -> None:
    facts = read_dockerfile('FROM debian:12\nVOLUME /a /b\nVOLUME ["/c", "/d"]\n')

    assert facts.volumes == ("/a", "/b", "/c", "/d")


def test_a_last_stage_that_goes_on_from_another_has_no_base_to_replace() -> None:
    facts = read_dockerfile("FROM debian:12 AS first\nFROM first\n")

    assert facts == DockerfileFacts("", ("debian:12",), None)


def test_a_dockerfile_that_cannot_be_read_is_refused() -> None:
    with pytest.raises(NewAppError, match="before the first FROM"):
        read_dockerfile("RUN true\n")


@pytest.mark.parametrize(
    ("exposed", "port"),
    [
        ({"80/tcp": {}, "8080/tcp": {}}, 8080),
        ({"9000": {}, "443/tcp": {}, "53/udp": {}}, 443),
        ({"0/tcp": {}, "70000": {}, "x": {}}, None),
        (None, None),
    ],
)
def test_the_port_of_an_image_comes_from_its_configuration(exposed: Any, port: int | None) -> None:
    assert exposed_port({"Config": {"ExposedPorts": exposed}}) == port


def test_what_was_asked_for_is_in_the_objects() -> None:
    build = ApplicationBuild(
        SourceRepository(SHOP.uri, "main"),
        NewAppStrategy.SOURCE,
        context_dir="web",
        source_secret="login",
        env={"PIP": "1"},
    )
    app = Application(
        "shop", new("python:3"), build, 9000, {"LEVEL": "a=b"}, {"app": "all", "team": "web"}
    )

    found = {item.KIND.kind: encode(item) for item in stored(app)}

    source = found["BuildConfig"]["spec"]["source"]
    assert source["git"] == {"uri": SHOP.uri, "ref": "main"}
    assert (source["contextDir"], source["sourceSecret"]) == ("web", {"name": "login"})
    strategy = found["BuildConfig"]["spec"]["strategy"]["sourceStrategy"]
    assert strategy["env"] == [{"name": "PIP", "value": "1"}]
    template = found["Deployment"]["spec"]["template"]
    assert template["spec"]["containers"][0]["env"] == [{"name": "LEVEL", "value": "a=b"}]
    assert template["metadata"]["labels"] == {"app": "all", "team": "web", "deployment": "shop"}
    service = found["Service"]["spec"]
    assert (service["selector"], service["ports"][0]["port"]) == ({"deployment": "shop"}, 9000)


def test_the_result_never_goes_into_the_stream_of_its_base() -> None:
    with pytest.raises(NewAppError, match="--name"):
        application_objects(Application("python", new("python:3.11"), SOURCE))


def test_a_docker_build_without_a_known_base_follows_nothing() -> None:
    build = replace(SOURCE, strategy=NewAppStrategy.DOCKER)

    config = next(i for i in stored(Application("a", None, build)) if isinstance(i, BuildConfig))

    assert [trigger.type for trigger in config.spec.triggers] == ["ConfigChange"]
    with pytest.raises(NewAppError, match="builder"):
        application_objects(Application("a", None, SOURCE))


@pytest.mark.parametrize("as_config", [False, True])
def test_a_port_that_is_known_makes_a_readiness_probe(*, as_config: bool) -> None:
    app = Application("shop", new("shop:1"), port=9000, as_deployment_config=as_config)

    found = next(encode(item)["spec"] for item in stored(app) if "Deployment" in item.KIND.kind)

    probe = found["template"]["spec"]["containers"][0]["readinessProbe"]
    assert probe["tcpSocket"] == {"port": "9000-tcp"}
    deadline = (
        found["strategy"]["rollingParams"]["timeoutSeconds"]
        if as_config
        else found["progressDeadlineSeconds"]
    )
    assert deadline == 300


@pytest.mark.parametrize(
    ("changed", "probed"),
    [
        ({}, False),
        ({"expose": True}, True),
        ({"stages": parse_stages("dev", "shop")}, True),
    ],
)
def test_an_assumed_port_is_probed_where_something_needs_an_answer_at_it(
    changed: dict[str, Any], *, probed: bool
) -> None:
    app = Application("shop", new("shop:1"), port_is_assumed=True, **changed)

    pod = next(item for item in stored(app) if isinstance(item, Deployment)).spec.template.spec

    assert (pod.containers[0].readiness_probe is not None) == probed
