from typing import Any

import pytest

from upwell.api.codec import decode, encode
from upwell.api.defaults import apply_defaults

META = {"name": "a", "namespace": "shop"}


def complete(api_version: str, kind: str, **fields: Any) -> dict[str, Any]:
    document = {"apiVersion": api_version, "kind": kind, "metadata": META, **fields}
    resource = apply_defaults(decode(document))
    assert apply_defaults(resource) == resource
    return encode(resource)


def build_config(**spec: Any) -> dict[str, Any]:
    spec_after: dict[str, Any] = complete("build.openshift.io/v1", "BuildConfig", spec=spec)["spec"]
    return spec_after


@pytest.mark.parametrize(
    ("source", "type_"),
    [
        ({"git": {"uri": "https://example.com/a.git"}}, "Git"),
        ({"binary": {}}, "Binary"),
        ({"dockerfile": "FROM a"}, "Dockerfile"),
        ({"images": [{"from": {"name": "a"}}]}, "Image"),
        ({}, "None"),
        ({"git": {"uri": "u"}, "dockerfile": "FROM a"}, "Git"),
        ({"type": "Git", "binary": {}}, "Git"),
    ],
)
def test_the_source_type_follows_from_what_is_set(source: dict[str, Any], type_: str) -> None:
    assert build_config(source=source)["source"]["type"] == type_


@pytest.mark.parametrize(
    ("field", "type_"),
    [
        ("sourceStrategy", "Source"),
        ("dockerStrategy", "Docker"),
        ("customStrategy", "Custom"),
        ("jenkinsPipelineStrategy", "JenkinsPipeline"),
    ],
)
def test_the_strategy_type_is_recomputed(field: str, type_: str) -> None:
    strategy = {"type": "Wrong", field: {"from": {"kind": "DockerImage", "name": "a"}}}

    assert build_config(strategy=strategy)["strategy"]["type"] == type_


def test_an_unnamed_kind_of_base_is_an_image_stream_tag() -> None:
    spec = build_config(strategy={"dockerStrategy": {"from": {"name": "base:1"}}})

    assert spec["strategy"]["dockerStrategy"]["from"] == {
        "kind": "ImageStreamTag",
        "name": "base:1",
    }


def test_builds_run_one_after_the_other() -> None:
    assert build_config()["runPolicy"] == "Serial"
    assert build_config(runPolicy="Parallel")["runPolicy"] == "Parallel"


def test_old_trigger_names_become_the_new_ones() -> None:
    spec = build_config(
        triggers=[{"type": "github"}, {"type": "configChange"}, {"type": "Generic"}],
    )

    assert [trigger["type"] for trigger in spec["triggers"]] == [
        "GitHub",
        "ConfigChange",
        "Generic",
    ]


def test_a_default_image_trigger_needs_a_stream_to_follow() -> None:
    triggers = [
        {"type": "ImageChange"},
        {"type": "ImageChange", "imageChange": {"from": {"kind": "ImageStreamTag", "name": "b:1"}}},
    ]
    image = {"dockerStrategy": {"from": {"kind": "DockerImage", "name": "example.com/a"}}}
    stream = {"dockerStrategy": {"from": {"kind": "ImageStreamTag", "name": "a:1"}}}

    assert build_config(strategy=image, triggers=triggers)["triggers"] == triggers[1:]
    assert build_config(strategy=stream, triggers=triggers)["triggers"] == [
        {"type": "ImageChange", "imageChange": {}},
        triggers[1],
    ]


def test_a_tag_of_an_unnamed_kind_follows_another_tag() -> None:
    spec = complete(
        "image.openshift.io/v1",
        "ImageStream",
        spec={"tags": [{"name": "a", "from": {"name": "b:1"}}, {"name": "c"}]},
    )["spec"]

    policy = {"referencePolicy": {"type": "Source"}}
    assert spec["tags"] == [
        {"name": "a", "from": {"kind": "ImageStreamTag", "name": "b:1"}, **policy},
        {"name": "c", **policy},
    ]


def test_a_deployment_config_rolls_out_when_its_template_changes() -> None:
    template = {"metadata": {"labels": {"app": "a"}}, "spec": {"containers": [{"name": "a"}]}}

    spec = complete("apps.openshift.io/v1", "DeploymentConfig", spec={"template": template})["spec"]

    assert spec["triggers"] == [{"type": "ConfigChange"}]
    assert spec["replicas"] == 1
    assert spec["selector"] == {"app": "a"}


def test_no_triggers_at_all_can_be_wished_for() -> None:
    spec = complete("apps.openshift.io/v1", "DeploymentConfig", spec={"triggers": []})["spec"]

    assert spec["triggers"] == []


def test_a_service_port_leads_to_the_same_port() -> None:
    ports = [{"port": 80}, {"port": 81, "targetPort": "web"}]

    spec = complete("v1", "Service", spec={"ports": ports})["spec"]

    assert spec["ports"] == [
        {"port": 80, "protocol": "TCP", "targetPort": 80},
        {"port": 81, "protocol": "TCP", "targetPort": "web"},
    ]


def test_plain_text_of_a_secret_is_folded_into_its_data() -> None:
    secret = complete(
        "v1", "Secret", stringData={"a": "new", "b": "ü"}, data={"a": "b2xk", "c": "Yw=="}
    )

    assert secret["data"] == {"a": "bmV3", "b": "w7w=", "c": "Yw=="}
    assert not secret.get("stringData")


def test_a_secret_with_wrong_base64_is_left_for_validation_to_refuse() -> None:
    secret = complete("v1", "Secret", stringData={"a": "x"}, data={"c": "a"})

    assert secret["data"]["c"] == "a"
