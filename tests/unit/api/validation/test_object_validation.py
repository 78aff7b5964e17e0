from typing import Any

import pytest

from upwell.api.codec import decode
from upwell.api.defaults import apply_defaults
from upwell.api.validation.objects import validate

BUILD = ("build.openshift.io/v1", "BuildConfig")
STREAM = ("image.openshift.io/v1", "ImageStream")
DOCKER = {"dockerStrategy": {"from": {"kind": "ImageStreamTag", "name": "base:1"}}}


def faults(kind: tuple[str, str], /, name: str = "a", **fields: Any) -> dict[str, str]:
    metadata = {"name": name, "namespace": "shop"} | fields.pop("metadata", {})
    document = {"apiVersion": kind[0], "kind": kind[1], "metadata": metadata, **fields}
    return {f.path: f.message for f in validate(apply_defaults(decode(document)))}


def build_faults(**spec: Any) -> dict[str, str]:
    return faults(BUILD, spec={"strategy": DOCKER, **spec})


def test_a_complete_build_config_has_no_fault() -> None:
    assert (
        build_faults(
            source={"git": {"uri": "https://example.com/a.git"}, "contextDir": "src/app"},
            output={"to": {"kind": "ImageStreamTag", "name": "app:latest"}},
            triggers=[{"type": "ConfigChange"}, {"type": "ImageChange"}],
        )
        == {}
    )


@pytest.mark.parametrize("name", ["A", "a_b", "-a", "a-", "a..b", "a" * 254, "a b", "a/b", "a\n"])
def test_a_name_is_a_lower_case_dns_name(name: str) -> None:
    assert list(faults(("v1", "ConfigMap"), name)) == ["metadata.name"]


@pytest.mark.parametrize("name", ["a", "a.b", "a-b.c", "0", "a" * 253])
def test_good_names_pass(name: str) -> None:
    assert faults(("v1", "ConfigMap"), name) == {}


@pytest.mark.parametrize(
    ("api", "kind", "longest"),
    [
        (*BUILD, 63),
        ("apps.openshift.io/v1", "DeploymentConfig", 58),
        ("upwell.dev/v1alpha1", "Pipeline", 63),
        ("batch/v1", "CronJob", 52),
    ],
)
def test_a_name_leaves_room_for_what_is_made_of_its_object(
    api: str, kind: str, longest: int
) -> None:
    assert "metadata.name" not in faults((api, kind), "a" * longest)
    message = faults((api, kind), "a" * (longest + 1))["metadata.name"]
    assert f"must be no more than {longest} characters" in message


def test_a_name_or_a_prefix_for_one_is_required() -> None:
    assert list(faults(("v1", "ConfigMap"), "")) == ["metadata.name"]
    assert faults(("v1", "ConfigMap"), "", metadata={"generateName": "run-"}) == {}
    found = faults(("v1", "ConfigMap"), "", metadata={"generateName": "Run-"})
    assert list(found) == ["metadata.generateName"]


@pytest.mark.parametrize("namespace", ["a.b", "A", "-", "a" * 64])
def test_a_namespace_is_a_label(namespace: str) -> None:
    found = faults(("v1", "ConfigMap"), metadata={"namespace": namespace})

    assert list(found) == ["metadata.namespace"]


def test_an_image_may_be_named_by_its_digest() -> None:
    assert faults(("image.openshift.io/v1", "Image"), "sha256:" + "a" * 64) == {}


def test_a_strategy_is_exactly_one() -> None:
    assert list(build_faults(strategy={})) == ["spec.strategy"]
    assert "spec.strategy" in build_faults(strategy={**DOCKER, "jenkinsPipelineStrategy": {}})


def test_volumes_of_a_build_name_a_source_and_folders_of_their_own() -> None:
    good = {"type": "Secret", "secret": {"secretName": "s"}}
    volumes = [
        {"name": "a", "source": good, "mounts": [{"destinationPath": "/x"}]},
        {
            "name": "a",
            "source": {"type": "CSI", "csi": {"driver": "d"}},
            "mounts": [{"destinationPath": "/x/"}],
        },
        {"name": "b", "source": {"secret": {"secretName": ""}}, "mounts": []},
        {"name": "c", "source": good, "mounts": [{"destinationPath": "up/../x"}]},
        {"name": "d", "source": good, "mounts": [{"destinationPath": "/"}]},
    ]
    path = "spec.strategy.dockerStrategy.volumes"
    source = {"dockerfile": "FROM base\n"}
    found = build_faults(source=source, strategy={"dockerStrategy": {"volumes": volumes}})
    assert set(found) == {
        f"{path}[1].name",
        f"{path}[1].source",
        f"{path}[1].mounts[0].destinationPath",
        f"{path}[2].source.type",
        f"{path}[2].source.secret.secretName",
        f"{path}[2].mounts",
        f"{path}[3].mounts[0].destinationPath",
        f"{path}[4].mounts[0].destinationPath",
    }
    fine = {"dockerStrategy": {"volumes": volumes[:1]}}
    assert build_faults(source=source, strategy=fine) == {}


def test_every_fault_of_a_build_config_is_found_at_once() -> None:
    found = build_faults(
        strategy={"sourceStrategy": {"from": {"kind": "DockerImage", "name": "Not A Reference"}}},
        source={"git": {"uri": ""}, "binary": {}, "contextDir": "../up"},
        output={"to": {"kind": "ImageStreamTag", "name": "untagged"}},
        triggers=[{"type": "ImageChange", "imageChange": {"from": {"kind": "DockerImage"}}}],
    )

    assert set(found) == {
        "spec.strategy.sourceStrategy.from.name",
        "spec.source.git",
        "spec.source.binary",
        "spec.source.git.uri",
        "spec.source.contextDir",
        "spec.output.to.name",
        "spec.triggers[0].imageChange.from.kind",
    }


@pytest.mark.parametrize("path", ["/etc/..", "..", "a/../../b"])
def test_a_context_stays_in_the_source_tree(path: str) -> None:
    source = {"git": {"uri": "https://example.com/a.git"}}

    assert list(build_faults(source={**source, "contextDir": path})) == ["spec.source.contextDir"]
    assert build_faults(source={**source, "contextDir": "/app"}) == {}  # below the source


def test_an_image_is_followed_once() -> None:
    found = build_faults(
        source={"dockerfile": "FROM base\n"},
        triggers=[
            {"type": "ImageChange"},
            {
                "type": "ImageChange",
                "imageChange": {"from": {"kind": "ImageStreamTag", "name": "base:1"}},
            },
        ],
    )

    assert found == {
        "spec.triggers[1].imageChange.from": (
            'Invalid value: "base:1": multiple ImageChange triggers refer to the same image stream '
            "tag"
        )
    }


def test_tags_have_good_names_used_once() -> None:
    found = faults(
        STREAM,
        spec={
            "tags": [
                {"name": "1.0"},
                {"name": "1.0"},
                {"name": "not a tag"},
                {"name": "b", "from": {"kind": "Pod", "name": "x"}},
                {"name": "c", "from": {"kind": "DockerImage", "name": "UPPER/x"}},
                {"name": "d", "from": {"kind": "ImageStreamTag"}},
                {"name": "e", "from": {"name": "a:1"}, "importPolicy": {"scheduled": True}},
            ]
        },
    )

    assert set(found) == {
        "spec.tags[1].name",
        "spec.tags[2].name",
        "spec.tags[3].from.kind",
        "spec.tags[4].from.name",
        "spec.tags[5].from.name",
        "spec.tags[6].importPolicy.scheduled",
    }


LABELS = {"app": "web"}


def workload_spec(**container: Any) -> dict[str, Any]:
    """Return the spec of a DeploymentConfig, whose selector is that of its template."""
    pod = {"containers": [{"name": "web", "image": "web:1", **container}]}
    return {"template": {"metadata": {"labels": LABELS}, "spec": pod}}


def selecting(kind: tuple[str, str], spec: dict[str, Any]) -> dict[str, Any]:
    """Return the spec with the selector that a kind of workload needs."""
    return spec if kind[1] == "DeploymentConfig" else spec | {"selector": {"matchLabels": LABELS}}


@pytest.mark.parametrize(
    "kind",
    [
        ("apps/v1", "Deployment"),
        ("apps/v1", "StatefulSet"),
        ("apps/v1", "DaemonSet"),
        ("apps.openshift.io/v1", "DeploymentConfig"),
    ],
)
def test_a_workload_has_a_good_template(kind: tuple[str, str]) -> None:
    path = "spec.template.spec.containers"

    def of(spec: dict[str, Any]) -> dict[str, str]:
        return faults(kind, spec=selecting(kind, spec))

    assert of(workload_spec(image=" ")) == {}
    assert of({"template": {"metadata": {"labels": LABELS}}}) == {path: "Required value"}
    assert list(of(workload_spec(image="a b"))) == [f"{path}[0].image"]
    mount = {"name": "none", "mountPath": "/x"}
    assert of(workload_spec(volumeMounts=[mount])) == {
        f"{path}[0].volumeMounts[0].name": 'Not found: "none"'
    }


def test_container_names_differ() -> None:
    kind = ("apps/v1", "Deployment")
    spec = selecting(kind, workload_spec())
    spec["template"]["spec"]["containers"] = [
        {"name": name, "image": "web:1"} for name in ("a", "a", "")
    ]

    assert list(faults(kind, spec=spec)) == [
        "spec.template.spec.containers[1].name",
        "spec.template.spec.containers[2].name",
    ]


def test_a_trigger_of_a_deployment_config_names_containers() -> None:
    params = {"containerNames": ["other"], "from": {"kind": "ImageStreamTag", "name": "a:1"}}
    spec = workload_spec() | {
        "triggers": [
            {"type": "ImageChange"},
            {"type": "ImageChange", "imageChangeParams": params},
            {"type": "ImageChange", "imageChangeParams": params | {"containerNames": ["web"]}},
            {"type": "ImageChange", "imageChangeParams": params | {"containerNames": []}},
        ]
    }

    assert faults(("apps.openshift.io/v1", "DeploymentConfig"), spec=spec) == {
        "spec.triggers[0].imageChangeParams": "Required value",
        "spec.triggers[3].imageChangeParams.containerNames": "Required value",
    }


def test_a_deployment_config_has_a_template() -> None:
    found = faults(("apps.openshift.io/v1", "DeploymentConfig"), spec={})

    assert found["spec.template"] == "Required value"


def test_several_ports_have_names_that_differ() -> None:
    service = ("v1", "Service")

    assert faults(service, spec={"ports": [{"port": 80}]}) == {}
    assert list(faults(service, spec={"ports": [{"port": 80}, {"port": 81}]})) == [
        "spec.ports[0].name",
        "spec.ports[1].name",
    ]
    same = [{"name": "a", "port": port} for port in (80, 81)]
    assert list(faults(service, spec={"ports": same})) == ["spec.ports[1].name"]


def test_a_route_leads_from_a_host_to_a_service() -> None:
    route = ("route.openshift.io/v1", "Route")
    to = {"kind": "Service", "name": "web"}

    assert faults(route, spec={"host": "*.example.com", "to": to}) == {}
    assert list(faults(route, spec={"host": "a b", "to": to})) == ["spec.host"]
    assert list(faults(route, spec={"to": {"kind": "Service", "name": ""}})) == ["spec.to.name"]


def test_the_data_of_a_secret_is_base64_and_stays_hidden() -> None:
    found = faults(("v1", "Secret"), data={"good": "YQ==", "bad": "hunter2!"})

    assert found == {"data[bad]": "not base64"}


@pytest.mark.parametrize("key", ["../up", "..", ".", "..x", "a/b", "a b", "", "a\n", "x" * 254])
@pytest.mark.parametrize("kind", ["ConfigMap", "Secret"])
def test_a_key_cannot_lead_out_of_its_folder(kind: str, key: str) -> None:
    assert list(faults(("v1", kind), data={key: "", ".ok-_1": ""})) == [f"data[{key}]"]


def test_the_binary_data_of_a_config_map_is_base64() -> None:
    found = faults(("v1", "ConfigMap"), data={"a": "!"}, binaryData={"bad": "a"})

    assert found == {"binaryData[bad]": "not base64"}


def test_an_unknown_answer_to_a_change_of_the_base_is_named() -> None:
    def answered(text: str) -> dict[str, str]:
        annotations = {"upwell.dev/on-base-change": text}
        spec = {"strategy": DOCKER, "source": {"dockerfile": "FROM base"}}
        return faults(BUILD, metadata={"annotations": annotations}, spec=spec)

    assert answered("auto") == answered("notify") == {}
    (path,) = answered("Auto")
    assert path == "metadata.annotations[upwell.dev/on-base-change]"
    assert '"rebase"' in answered("Auto")[path]
