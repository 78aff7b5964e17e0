"""OpenShift's own templates and pipelines: processed, valid, and in one graph."""

import json
import re
from typing import Any

import pytest
from tests.support.openshift import needs_corpus
from tests.support.openshift_objects import documents, stored

from upwell.api.builds.config import BuildConfig
from upwell.api.codec import decode, encode
from upwell.api.legacy import to_group_form
from upwell.api.template import Template
from upwell.policy.explain.graph import EdgeRole, build_graph
from upwell.policy.templates.process import InvalidTemplateError, ProcessRequest, process_template

_REFERENCE = re.compile(r"\$\{\{?[A-Za-z0-9_]+\}")

pytestmark = needs_corpus


def first(alphabet: str) -> str:
    return alphabet[0]


def template(file: str) -> Template:
    (document,) = documents(file)
    found = decode(document)
    assert isinstance(found, Template)
    return found


def process(file: str, **values: str) -> list[dict[str, Any]]:
    return list(process_template(template(file), ProcessRequest(values), first).objects)


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
