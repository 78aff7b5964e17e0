"""OpenShift's own templates, pipelines and applications: processed, valid, and in one graph."""

import json
import re
from typing import Any

import pytest
from tests.support.paths import SHARED

from upwell.api.build import BuildConfig
from upwell.api.codec import UnknownKindError, decode, encode
from upwell.api.defaults import apply_defaults
from upwell.api.image import ImageStream
from upwell.api.legacy import to_group_form
from upwell.api.manifests import parse_manifests
from upwell.api.meta import Resource
from upwell.api.template import Template
from upwell.api.validation.objects import validate
from upwell.policy.explain.graph import EdgeRole, build_graph
from upwell.policy.new_app.application import Application, ApplicationBuild
from upwell.policy.new_app.components import NewAppStrategy, SourceRepository
from upwell.policy.new_app.images import ImportOptions, follow
from upwell.policy.new_app.objects import application_objects
from upwell.policy.templates.process import InvalidTemplateError, ProcessRequest, process_template

_ORIGIN = SHARED / "corpus" / "openshift" / "openshift-origin@5c0e8a64"
_REFERENCE = re.compile(r"\$\{\{?[A-Za-z0-9_]+\}")

pytestmark = pytest.mark.skipif(
    not _ORIGIN.is_dir(), reason=f"no manifests in {_ORIGIN} (set UPWELL_SHARED)"
)


def first(alphabet: str) -> str:
    return alphabet[0]


def documents(file: str) -> list[dict[str, Any]]:
    return parse_manifests((_ORIGIN / file).read_text(), file)


def template(file: str) -> Template:
    (document,) = documents(file)
    found = decode(document)
    assert isinstance(found, Template)
    return found


def process(file: str, **values: str) -> list[dict[str, Any]]:
    return list(process_template(template(file), ProcessRequest(values), first).objects)


def stored(document: dict[str, Any]) -> Resource:
    """Return the object as the server would keep it; it must be valid."""
    metadata = {**document["metadata"], "namespace": "shop"}
    resource = apply_defaults(decode({**document, "metadata": metadata}))
    assert validate(resource) == ()
    return resource


@pytest.mark.parametrize("strategy", ["stibuild", "dockerbuild"])
def test_the_sample_application_closes_the_way_from_base_to_deployment(strategy: str) -> None:
    made = process(f"examples/sample-app/application-template-{strategy}.json", MYSQL_USER="eve")

    objects = [stored(document) for document in made]

    assert _REFERENCE.search(json.dumps(made)) is None
    assert {item["metadata"]["labels"]["template"] for item in made} == {
        f"application-template-{strategy}"
    }
    secret = next(item for item in made if item["kind"] == "Secret")
    assert secret["stringData"] == {"mysql-user": "eve", "mysql-password": "a" * 8}
    edges = {
        (str(e.source), e.role, str(e.target), e.automatic) for e in build_graph(objects).edges
    }
    assert edges == {
        ("shop/ruby-22-centos7:latest", EdgeRole.BASE, "BuildConfig shop/ruby-sample-build", True),
        (
            "BuildConfig shop/ruby-sample-build",
            EdgeRole.OUTPUT,
            "shop/origin-ruby-sample:latest",
            True,
        ),
        ("shop/origin-ruby-sample:latest", EdgeRole.DEPLOY, "DeploymentConfig shop/frontend", True),
    }


@pytest.mark.parametrize("name", ["samplepipeline", "maven-pipeline"])
def test_templates_with_pipelines_are_processed(name: str) -> None:
    objects = [stored(found) for found in process(f"examples/jenkins/pipeline/{name}.yaml")]

    configs = [item for item in objects if isinstance(item, BuildConfig)]
    assert any(config.spec.strategy.jenkins_pipeline_strategy for config in configs)


@pytest.mark.parametrize("name", ["nodejs-sample-pipeline", "openshift-client-plugin-pipeline"])
def test_pipelines_are_accepted_and_stand_in_no_way_from_base_to_workload(name: str) -> None:
    found = documents(f"examples/jenkins/pipeline/{name}.yaml")

    configs = [stored(to_group_form(document)) for document in found]

    assert [encode(config)["spec"]["strategy"]["type"] for config in configs] == ["JenkinsPipeline"]
    assert list(build_graph(configs).edges) == []


def test_only_namespaces_with_a_text_parameter_stay() -> None:
    made = process("test/testdata/template-with-namespaces.json")

    assert {item["metadata"]["name"]: item["metadata"].get("namespace") for item in made} == {
        "route-edge-stripped": None,
        "route-edge-substituted": "substituted",
        "route-edge-prefix-substituted": "prefix-substituted",
        "route-edge-refstripped": None,
        "route-edge-prefix-refstripped": None,
    }


def test_large_numbers_keep_their_last_digit() -> None:
    (pod,) = process("test/testdata/template-type-precision.json")

    assert pod["spec"]["terminationGracePeriodSeconds"] == 2**63 - 1
    assert pod["spec"]["securityContext"]["supplementalGroups"] == [0, 1000030003, 2**31 - 1]


def test_a_required_parameter_is_required() -> None:
    file = "test/testdata/template_required_params.yaml"

    assert process(file, required_param="eve")[0]["metadata"]["name"] == "eve"
    with pytest.raises(InvalidTemplateError, match="'required_param' is required"):
        process(file)


def test_objects_of_other_groups_pass_through() -> None:
    made = process("test/testdata/invalid-api-version-template.yaml")

    versions = [(item["apiVersion"], item["kind"]) for item in made[2:]]
    assert versions[0] == ("route.openshift.io/v1", "Route")
    assert versions[-1] == ("othergroup/v2", "Foo")


@pytest.mark.parametrize(
    ("file", "workloads"),
    [("no-build", 1), ("one-build", 1), ("deployed-app", 1), ("two-deployment-configs", 2)],
)
def test_what_new_app_made_in_openshift_is_one_graph(file: str, workloads: int) -> None:
    objects = []
    for document in documents(f"test/testdata/app-scenarios/new-project-{file}.yaml"):
        try:
            objects.append(stored(to_group_form(document)))
        except UnknownKindError as error:
            assert error.kind in {"ReplicationController", "Pod"}  # noqa: PT017 - both are left out

    edges = list(build_graph(objects).edges)

    roles = [edge.role for edge in edges]
    assert sorted(roles) == sorted([EdgeRole.BASE, EdgeRole.OUTPUT, *[EdgeRole.DEPLOY] * workloads])
    # These builds name a plain image, which nothing follows.
    assert [edge.role for edge in edges if not edge.automatic] == [EdgeRole.BASE]


def test_new_app_builds_from_a_stream_of_openshift() -> None:
    (document,) = documents("test/testdata/newapp/imagestream-ref.yaml")
    stream = stored(to_group_form(document))
    assert isinstance(stream, ImageStream)

    followed = follow("myruby", {"myruby": stream}, ImportOptions())
    build = ApplicationBuild(SourceRepository("https://git.test/hello.git"), NewAppStrategy.SOURCE)
    made = application_objects(Application("hello", followed, build))

    assert [item.KIND.kind for item in made] == [
        "ImageStream",
        "BuildConfig",
        "Service",
        "Deployment",
    ]
    graph = build_graph([stream, *(stored(encode(item)) for item in made)])
    assert [str(node) for node in graph.order()] == [
        "shop/ruby:2.3",
        "shop/myruby:2.3",
        "shop/myruby:latest",
        "BuildConfig shop/hello",
        "shop/hello:latest",
        "Deployment shop/hello",
    ]
