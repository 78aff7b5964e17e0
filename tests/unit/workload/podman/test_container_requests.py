from dataclasses import replace
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

from upwell.api.values.security_context import ContainerSecurity
from upwell.oci import Reference
from upwell.workload.instance_spec import (
    ContainerSpec,
    Files,
    InstanceMount,
    InstanceSpec,
    Owner,
    PortMapping,
)
from upwell.workload.podman.bridge import candidates
from upwell.workload.podman.containers.body import ContainerContext, create_body
from upwell.workload.podman.users.ids import OwnIds

OWNER = Owner("Deployment", "shop", "web")
WEB = ContainerSpec("web", Reference.parse("localhost/web"))


def body(container: ContainerSpec, joins: str | None = None, **changes: Any) -> dict[str, Any]:
    spec = replace(InstanceSpec("web-1", OWNER, "rev", (container,)), **changes)
    return create_body(
        spec, container, ContainerContext("u1", "net", joins, {("v", ""): Path("/")}, 4)
    )


def test_our_labels_win_over_those_of_the_workload() -> None:
    labels = body(WEB, labels={"app": "web", "upwell.dev/instance": "forged"})["labels"]
    assert labels["app"] == "web"
    assert labels["upwell.dev/instance"] == "u1"
    assert labels["upwell.dev/restarts"] == "4"


def test_the_image_decides_what_the_spec_leaves_open() -> None:
    assert body(WEB).keys().isdisjoint({"entrypoint", "command", "user", "work_dir"})
    assert body(replace(WEB, args=("a",)))["command"] == ["a"]


def test_an_own_command_does_not_get_the_image_s_arguments() -> None:
    made = body(replace(WEB, command=("/x",)))
    assert (made["entrypoint"], made["command"]) == (["/x"], [])


def test_the_first_owns_the_namespaces_and_the_others_join_them() -> None:
    assert body(WEB)["Networks"] == {"net": {}}
    joined = body(WEB, joins="first")
    for namespace in ("netns", "utsns", "ipcns"):
        assert joined[namespace] == {"nsmode": "container", "value": "first"}
    assert "Networks" not in joined


def test_the_first_of_those_that_last_has_the_published_ports() -> None:
    ports = (PortMapping(53, 5353, "UDP", "10.0.0.1"),)
    mapped = {"host_ip": "10.0.0.1", "host_port": 53, "container_port": 5353, "protocol": "udp"}
    assert body(WEB, published=ports)["portmappings"] == [mapped]
    assert "portmappings" not in body(WEB, joins="first", published=ports)
    spec = InstanceSpec("web-1", OWNER, "rev", (WEB,), published=ports)
    initial = ContainerContext("u1", "net", None, {}, 0, init=0)
    assert "portmappings" not in create_body(spec, WEB, initial)


def test_the_first_makes_the_user_namespace_and_the_others_join_it() -> None:
    context = ContainerContext("u1", "net", None, {}, 0, users=OwnIds(2_000_300_000, (70_000,)))
    spec = InstanceSpec("web-1", OWNER, "rev", (WEB,))
    made = create_body(spec, WEB, context)
    assert made["userns"] == {"nsmode": "private"}
    maps = made["idmappings"]
    assert maps["UIDMap"] == maps["GIDMap"]
    assert maps["UIDMap"] == [
        {"container_id": 0, "host_id": 2_000_300_000, "size": 65_536},
        {"container_id": 70_000, "host_id": 2_000_365_536, "size": 1},
    ]
    joined = create_body(spec, WEB, replace(context, joins="first"))
    assert joined["userns"] == {"nsmode": "container", "value": "first"}
    assert "idmappings" not in joined
    assert body(WEB).keys().isdisjoint({"userns", "idmappings"})


def test_files_are_read_only_whatever_the_mount_says() -> None:
    mounted = replace(WEB, mounts=(InstanceMount("v", "/v"),))
    assert body(mounted)["mounts"][0]["options"] == ["rbind", "rw"]
    assert body(mounted, volumes={"v": Files({})})["mounts"][0]["options"] == ["rbind", "ro"]


def test_devices_are_given_as_podman_takes_them() -> None:
    devices = ("/dev/dri:/dev/dri:rw", "nvidia.com/gpu=all")
    made = body(replace(WEB, devices=devices))
    assert made["devices"] == [{"path": one} for one in devices]
    assert "devices" not in body(WEB)


def test_limits_are_in_the_kernel_s_units() -> None:
    limits = body(replace(WEB, memory_bytes=1024, cpus=0.5))["resource_limits"]
    assert limits == {"memory": {"limit": 1024}, "cpu": {"quota": 50_000, "period": 100_000}}


def test_restrictions_of_a_container_are_asked_of_podman() -> None:
    restricted = ContainerSecurity(1001, read_only_root=True, drop=("ALL",))
    made = body(replace(WEB, security=restricted))
    asked = ("user", "read_only_filesystem", "read_write_tmpfs", "cap_add", "cap_drop")
    assert [made[field] for field in asked] == ["1001", True, False, [], ["ALL"]]
    assert made["no_new_privileges"]
    silent = body(WEB)
    assert silent["no_new_privileges"]
    assert silent["cap_drop"], "of Podman's capabilities, those that hardly any program needs"
    assert "privileged" not in silent
    assert not body(replace(WEB, security=ContainerSecurity(new_privileges=True)))[
        "no_new_privileges"
    ]


def test_two_upwells_get_networks_of_their_own() -> None:
    ours = next(candidates("upwell-a", "a"))
    theirs = next(candidates("upwell-b", "b"))
    for key in ("network_interface", "subnets"):
        assert ours[key] != theirs[key]
    for made in candidates("upwell-a", "a"):
        network = IPv4Network(made["subnets"][0]["subnet"])
        assert network.subnet_of(IPv4Network("10.128.0.0/9"))
        assert len(made["network_interface"]) <= 15
