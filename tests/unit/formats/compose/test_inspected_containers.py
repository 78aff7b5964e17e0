"""Containers as engines print them, read into services: what the image brings is left out."""

from typing import Any

import pytest

from upwell.formats.compose.inspected import read_container
from upwell.formats.compose.model import (
    ComposeService,
    HealthCheck,
    MountKind,
    PublishedPort,
    ServiceMount,
)

IMAGE = {
    "Created": "2026-01-01T00:00:00Z",
    "RepoDigests": ["docker.io/library/web@sha256:" + "a" * 64],
    "Digest": "sha256:" + "b" * 64,
    "Config": {
        "Env": ["PATH=/bin", "LANG=C"],
        "Cmd": ["serve"],
        "Entrypoint": ["/entry"],
        "User": "www",
        "WorkingDir": "/srv",
        "Labels": {"maintainer": "x"},
    },
}


def inspected(**changes: Any) -> dict[str, Any]:
    config = {
        "Image": "docker.io/library/web:1",
        "Env": ["PATH=/bin", "LANG=C", "HOSTNAME=abc", "LEVEL=info", "container=podman"],
        "Cmd": ["serve"],
        "Entrypoint": ["/entry"],
        "User": "www",
        "WorkingDir": "/srv",
        "Labels": {"maintainer": "x"},
        **changes.pop("Config", {}),
    }
    return {
        "Id": "c" * 64,
        "Name": "/web-1",
        "Config": config,
        "HostConfig": changes.pop("HostConfig", {}),
        "Mounts": changes.pop("Mounts", []),
        "NetworkSettings": changes.pop("NetworkSettings", {}),
    }


def service(**changes: Any) -> ComposeService:
    return read_container(inspected(**changes), IMAGE).service


@pytest.mark.parametrize(
    ("host", "notes"),
    [
        ({"Dns": ["192.0.2.1"]}, ("its DNS servers are left out",)),
        ({"Ulimits": [{"Name": "nofile"}]}, ("its limits (nofile) are left out",)),
        ({"Ulimits": [{"Name": "RLIMIT_NOFILE"}], "ShmSize": 65_536_000, "Dns": []}, ()),
        ({"ShmSize": 1024**3}, ("the size of its /dev/shm is left out",)),
    ],
)
def test_options_that_a_service_loses_are_told(host: dict[str, Any], notes: object) -> None:
    assert read_container(inspected(HostConfig=host), IMAGE).notes == notes


def test_what_the_image_and_the_engine_give_is_left_out() -> None:
    assert service() == ComposeService(
        "web-1", "docker.io/library/web:1", environment={"LEVEL": "info"}
    )


def test_what_was_given_is_kept() -> None:
    found = service(
        Config={
            "Cmd": ["serve", "--fast"],
            "User": "1000:1000",
            "WorkingDir": "/other",
            "Labels": {"com.docker.compose.service": "web", "diun.enable": "true"},
            "Healthcheck": {"Test": ["CMD-SHELL", "true"], "Interval": 5_000_000_000, "Retries": 2},
        },
        HostConfig={
            "PortBindings": {
                "80/tcp": [
                    {"HostIp": "0.0.0.0", "HostPort": "8080"},
                    {"HostIp": "127.0.0.1", "HostPort": "81"},
                ]
            },
            "Memory": 1024,
            "NanoCpus": 500_000_000,
            "ReadonlyRootfs": True,
            "Tmpfs": {"/run": ""},
        },
        NetworkSettings={"Networks": {"n": {"Aliases": ["web", "www", "c" * 12]}}},
        Mounts=[
            {
                "Type": "volume",
                "Name": "data",
                "Source": "/v/data",
                "Destination": "/data",
                "RW": True,
            },
            {
                "Type": "volume",
                "Name": "d" * 64,
                "Source": "/v/x",
                "Destination": "/cache",
                "RW": True,
            },
            {"Type": "bind", "Source": "/srv/site", "Destination": "/site", "RW": False},
        ],
    )
    assert found == ComposeService(
        "web",
        "docker.io/library/web:1",
        command=("serve", "--fast"),
        environment={"LEVEL": "info"},
        ports=(PublishedPort(80, 8080), PublishedPort(80, 81, "127.0.0.1")),
        mounts=(
            ServiceMount(MountKind.VOLUME, "/data", "data"),
            ServiceMount(MountKind.VOLUME, "/cache"),
            ServiceMount(MountKind.BIND, "/site", "/srv/site", read_only=True),
            ServiceMount(MountKind.TMPFS, "/run"),
        ),
        health=HealthCheck(("/bin/sh", "-c", "true"), "", 5, 30, 2),
        aliases=("www",),
        labels={"diun.enable": "true"},
        user="1000:1000",
        working_dir="/other",
        read_only=True,
        limits={"cpu": "500m", "memory": "1024"},
    )


def test_its_volumes_unit_and_digests_are_known() -> None:
    found = read_container(
        inspected(
            Config={"Labels": {"PODMAN_SYSTEMD_UNIT": "web.service"}},
            HostConfig={"RestartPolicy": {"Name": "always"}},
            Mounts=[{"Type": "volume", "Name": "data", "Source": "/v/data", "Destination": "/d"}],
        ),
        IMAGE,
    )
    assert (found.unit, found.restart, found.volumes) == (
        "web.service",
        "always",
        {"data": "/v/data"},
    )
    assert found.digests == {f"sha256:{'a' * 64}", f"sha256:{'b' * 64}"}


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"HostConfig": {"NetworkMode": "host"}}, "shares the network of host"),
        ({"HostConfig": {"PidMode": "host"}}, "shares the processes of host"),
        ({"HostConfig": {"Devices": [{"PathOnHost": "dri"}]}}, "has the device 'dri'"),
        ({"HostConfig": {"DeviceRequests": [{"Driver": "tpu"}]}}, "devices of the driver tpu"),
        ({"HostConfig": {"ExtraHosts": ["a:1"]}}, "/etc/hosts"),
        (
            {"HostConfig": {"PortBindings": {"53/sctp": [{"HostPort": "53"}]}}},
            "publishes 53/sctp: host ports are TCP or UDP",
        ),
        ({"Config": {"User": "postgres"}}, "its user 'postgres' is a name"),
        ({"HostConfig": {"AutoRemove": True}}, "is removed when it stops (--rm)"),
        (
            {
                "Config": {"Labels": {"PODMAN_SYSTEMD_UNIT": "web.service"}},
                "HostConfig": {"AutoRemove": True},
                "Mounts": [{"Type": "volume", "Name": "f" * 64, "Destination": "/data"}],
            },
            "its nameless volume /data is removed when it stops",
        ),
    ],
)
def test_what_cannot_be_run_otherwise_is_an_obstacle(changes: dict[str, Any], why: str) -> None:
    (obstacle,) = read_container(inspected(**changes), IMAGE).obstacles
    assert why in obstacle


@pytest.mark.parametrize(
    ("changes", "devices"),
    [
        (
            {"HostConfig": {"Devices": [{"PathOnHost": "/dev/a", "PathInContainer": "/dev/b"}]}},
            ("/dev/a:/dev/b",),
        ),
        (
            {"HostConfig": {"DeviceRequests": [{"Count": -1, "Capabilities": [["gpu"]]}]}},
            ("nvidia.com/gpu=all",),
        ),
        (  # Podman shows what a CDI device comes to
            {
                "Config": {"CreateCommand": ["podman", "run", "--gpus", "all", "--device=/dev/a"]},
                "HostConfig": {"Devices": [{"PathOnHost": "/dev/nvidia0"}]},
            },
            ("nvidia.com/gpu=all", "/dev/a"),
        ),
    ],
)
def test_devices_are_kept(changes: dict[str, Any], devices: tuple[str, ...]) -> None:
    found = read_container(inspected(**changes), IMAGE)
    assert found.service.devices == devices
    assert not found.obstacles


def test_udp_ports_are_published_as_those_of_tcp_are() -> None:
    bindings = {"53/udp": [{"HostPort": "53", "HostIp": "0.0.0.0"}, {"HostPort": "53"}]}
    found = read_container(inspected(HostConfig={"PortBindings": bindings}), IMAGE)
    assert found.service.ports == (PublishedPort(53, 53, "", "udp"),)
    assert not found.obstacles


def test_nothing_at_all_is_read_without_a_fault() -> None:
    assert read_container({}, {}).service.name == ""


def test_a_unit_makes_its_container_anew() -> None:
    quadlet = inspected(
        Config={"Labels": {"PODMAN_SYSTEMD_UNIT": "web.service"}},
        HostConfig={"AutoRemove": True},
        Mounts=[{"Type": "volume", "Name": "data", "Destination": "/data"}],
    )
    assert read_container(quadlet, IMAGE).obstacles == ()


def test_capabilities_are_kept() -> None:
    found = service(HostConfig={"CapAdd": ["CAP_NET_ADMIN"], "CapDrop": ["CAP_CHOWN", "kill"]})
    assert (found.cap_add, found.cap_drop) == (("NET_ADMIN",), ("CHOWN", "KILL"))
    every = service(HostConfig={"Privileged": True, "CapAdd": ["CAP_SYS_ADMIN"]})
    assert (every.privileged, every.cap_add) == (True, ())
