"""Objects of Compose services: valid, and with the field's meaning."""

import json
from typing import Any

import pytest

from upwell.api.codec import encode
from upwell.api.defaults import apply_defaults
from upwell.formats.compose.model import ComposeProject
from upwell.formats.compose.project import parse_compose
from upwell.formats.compose.services import ProjectContext
from upwell.policy.admission.faults import admission_faults
from upwell.policy.adoption.builds import BuildInput
from upwell.policy.adoption.labels import follow_rule
from upwell.policy.adoption.names import AdoptionError
from upwell.policy.adoption.objects import AdoptionPlan, project_plan
from upwell.policy.new_app.dockerfile import DockerfileFacts


def project(text: str) -> ComposeProject:
    context = ProjectContext("/srv/shop", {}, lambda _path: b"content")
    return parse_compose(text, "compose.yaml", context)


def plan(text: str) -> AdoptionPlan:
    return project_plan(
        project(text), {"api": BuildInput(DockerfileFacts("python:3.11", ("node:20",)))}
    )


def objects(text: str) -> dict[str, dict[str, Any]]:
    """Return the documents by `Kind/name`; each of them is valid."""
    found = {}
    for resource in plan(text).objects:
        stored = apply_defaults(resource.with_metadata(namespace="default"))
        assert admission_faults(stored) == ()
        found[f"{resource.KIND.kind}/{resource.name}"] = encode(resource)
    return found


def container(document: dict[str, Any]) -> dict[str, Any]:
    (only,) = document["spec"]["template"]["spec"]["containers"]
    assert isinstance(only, dict)
    return only


SHOP = """\
services:
  web_front:
    image: docker.io/library/nginx:1.27
    ports: ["8080:80"]
    environment: {LEVEL: info}
    secrets: [password]
    configs: [{source: motd, target: /etc/motd}]
    labels: {com.example.team: shop}
    user: "1000:1001"
    cap_drop: [ALL]
  db:
    image: postgres:16
    volumes: ["data:/var/lib/postgresql/data", "/scratch"]
    healthcheck: {test: [CMD, pg_isready], interval: 10s, timeout: 5s}
  api: {build: ./api, expose: [8000], networks: {default: {aliases: [backend]}}}
volumes: {data: }
secrets: {password: {file: ./p}}
configs: {motd: {content: hello}}
"""


def test_every_service_becomes_objects_of_known_kinds() -> None:
    assert sorted(objects(SHOP)) == [
        "BuildConfig/api",
        "ConfigMap/motd",
        "Deployment/api",
        "Deployment/db",
        "Deployment/web-front",
        "ImageStream/api",
        "ImageStream/api-node",
        "ImageStream/api-python",
        "ImageStream/db",
        "ImageStream/web-front",
        "PersistentVolumeClaim/data",
        "PersistentVolumeClaim/db-scratch",
        "Secret/password",
        "Service/api",
        "Service/backend",
        "Service/db",
        "Service/web-front",
    ]


def test_a_published_port_is_probed_and_followed_by_its_stream() -> None:
    found = objects(SHOP)
    deployment = found["Deployment/web-front"]
    web = container(deployment)

    assert web["ports"] == [{"containerPort": 80, "protocol": "TCP", "hostPort": 8080}]
    assert web["readinessProbe"]["tcpSocket"] == {"port": 80}
    assert (
        '"web-front:1.27"' in deployment["metadata"]["annotations"]["image.openshift.io/triggers"]
    )
    assert found["ImageStream/web-front"]["spec"]["tags"][0]["importPolicy"]["scheduled"] is True
    assert web["securityContext"] == {
        "runAsUser": 1000,
        "runAsGroup": 1001,
        "capabilities": {"drop": ["ALL"]},
    }
    assert [(one["mountPath"], one["subPath"]) for one in web["volumeMounts"]] == [
        ("/run/secrets/password", "content"),
        ("/etc/motd", "content"),
    ]


def test_a_volume_is_a_claim_and_stops_the_old_instance_first() -> None:
    found = objects(SHOP)
    database = found["Deployment/db"]["spec"]
    assert database["strategy"] == {"type": "Recreate"}
    assert container(found["Deployment/db"])["readinessProbe"]["exec"] == {
        "command": ["pg_isready"]
    }
    assert found["Service/db"]["spec"]["clusterIP"] == "None"  # no port is said: every one works


def test_devices_order_and_udp_ports_are_kept() -> None:
    text = """\
services:
  dns_server:
    image: dns:1
    ports: ["53:53/udp"]
    devices: [/dev/net/tun]
    gpus: all
    depends_on: {db_1: {condition: service_healthy}, cache: {condition: service_started}}
  db_1: {image: "db:1"}
  cache: {image: "cache:1"}
"""
    found = objects(text)["Deployment/dns-server"]
    assert found["spec"]["strategy"] == {"type": "Recreate"}
    assert container(found)["resources"]["limits"] == {
        "podman.io/device=/dev/net/tun": "1",
        "nvidia.com/gpu=all": "1",
    }
    annotations = found["metadata"]["annotations"]
    assert annotations["upwell.dev/depends-on"] == "db-1:service_healthy,cache:service_started"
    assert "allowed-devices has to allow it" in plan(text).notes[0]


def test_a_build_follows_the_images_of_its_dockerfile() -> None:
    config = objects(SHOP)["BuildConfig/api"]["spec"]
    assert config["strategy"]["dockerStrategy"]["from"]["name"] == "api-python:3.11"
    assert [one["type"] for one in config["triggers"]] == ["ImageChange", "ImageChange"]
    assert config["source"]["type"] == "Binary"


def test_the_trigger_of_what_its_labels_keep_from_updates_is_paused() -> None:
    text = """\
services:
  a:
    image: redis:7
    labels: {com.centurylinklabs.watchtower.monitor-only: "true"}
"""
    found = objects(text)
    assert container(found["Deployment/a"])["image"] == "redis:7"
    metadata = found["Deployment/a"]["metadata"]
    (trigger,) = json.loads(metadata["annotations"]["image.openshift.io/triggers"])
    assert (trigger["from"]["name"], trigger["paused"]) == ("a:7", True)
    assert "ImageStream/a" in found
    assert plan(text).notes == ("a: its labels ask to be told only: its image is not updated",)


def test_what_its_labels_keep_from_notices_is_not_said_to_be_told_of() -> None:
    text = """\
services:
  a:
    image: redis:7
    labels: {com.centurylinklabs.watchtower.enable: "false"}
"""
    (note,) = plan(text).notes
    assert note == "a: its labels ask to leave its image alone: it is neither updated nor told of"


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ({}, (True, True)),
        ({"com.centurylinklabs.watchtower.enable": "true"}, (True, True)),
        ({"com.centurylinklabs.watchtower.enable": "false"}, (False, False)),
        ({"com.centurylinklabs.watchtower.monitor-only": "true"}, (True, False)),
        ({"diun.enable": "true"}, (True, False)),
        ({"diun.enable": "true", "com.centurylinklabs.watchtower.enable": "true"}, (True, True)),
        ({"wud.watch": "true"}, (True, False)),
        ({"wud.watch": "false"}, (False, False)),
        ({"wud.watch": "true", "wud.trigger.include": "docker.local"}, (True, True)),
        ({"wud.trigger.include": "smtp.mail,dockercompose.shop:minor"}, (True, True)),
        ({"wud.watch": "true", "wud.trigger.include": "smtp.mail"}, (True, False)),
        (
            {"wud.trigger.include": "docker.local", "wud.trigger.exclude": "docker.local"},
            (True, False),
        ),
        ({"wud.display.name": "Shop"}, (True, False)),
        ({"io.containers.autoupdate": "registry"}, (True, True)),
        ({"io.containers.autoupdate": "local"}, (True, False)),
    ],
)
def test_labels_of_other_updaters_are_understood(
    labels: dict[str, str], expected: tuple[bool, bool]
) -> None:
    rule = follow_rule(labels)
    assert (rule.watched, rule.updated) == expected


def test_a_pattern_of_tags_is_followed() -> None:
    labels = {
        "wud.watch.digest": "false",
        "wud.display.icon": "x",
        "wud.link.template": "https://x",
        "wud.trigger.include": "smtp.mail",
    }
    assert [note.partition(" ")[0] for note in follow_rule(labels).notes] == ["its", *labels]
    assert follow_rule({"wud.tag.include": r"^1\.\d+$"}).selection == r"pattern:^1\.\d+$"


def test_two_services_of_one_name_are_refused() -> None:
    with pytest.raises(AdoptionError, match="both be named a-b: rename one"):
        plan("services: {a_b: {image: i}, a.b: {image: i}}")


def test_services_without_a_common_network_are_kept_apart() -> None:
    found = objects("""\
services:
  proxy: {image: "a:1", networks: [front, default]}
  web: {image: "b:1", networks: [front]}
  db: {image: "c:1"}
networks: {front: }
""")
    labels = {
        name: [
            key.removeprefix("io.kompose.network/")
            for key in found[f"Deployment/{name}"]["spec"]["template"]["metadata"]["labels"]
            if key.startswith("io.kompose.network/")
        ]
        for name in ("proxy", "web", "db")
    }
    assert labels == {"proxy": ["front", "default"], "web": ["front"], "db": ["default"]}
    members = {"matchLabels": {"io.kompose.network/front": "true"}}
    assert found["NetworkPolicy/network-front"]["spec"] == {
        "podSelector": members,
        "ingress": [{"from": [{"podSelector": members}]}],
    }
    assert "NetworkPolicy/network-default" in found
    assert not any(name.startswith("NetworkPolicy") for name in objects(SHOP))
