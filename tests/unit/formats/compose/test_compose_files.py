"""Compose files: what is read, and each fault by its line."""

from collections.abc import Mapping

import pytest

from upwell.formats.compose.errors import ComposeError
from upwell.formats.compose.model import (
    ComposeProject,
    FileGrant,
    HealthCheck,
    MountKind,
    PublishedPort,
    ServiceBuild,
    ServiceMount,
)
from upwell.formats.compose.project import parse_compose
from upwell.formats.compose.services import ProjectContext

FILES = {
    "/srv/shop/web.env": b"# of the web\nLEVEL=info\nNAME=\"a b\" # words\nKEPT='$X'\n",
    "/srv/shop/password.txt": b"secret\n",
}


def read(path: str) -> bytes:
    try:
        return FILES[path]
    except KeyError:
        raise FileNotFoundError(2, "No such file or directory", path) from None


def project(
    text: str, profiles: tuple[str, ...] = (), environment: Mapping[str, str] | None = None
) -> ComposeProject:
    context = ProjectContext("/srv/shop", environment or {"HOME": "/root"}, read)
    return parse_compose(text, "compose.yaml", context, profiles)


def faults(text: str) -> tuple[str, ...]:
    with pytest.raises(ComposeError) as raised:
        project(text)
    return raised.value.faults


FULL = """\
name: shop
services:
  web:
    image: docker.io/library/nginx:${VERSION:-1.27}
    entrypoint: ["/bin/app"]
    command: serve --name 'a b'
    env_file: web.env
    environment: {LEVEL: debug, FROM_SHELL: , COST: $$5}
    ports: ["127.0.0.1:8080:80", "9000-9001:9000-9001", {target: 443, published: "8443"}]
    expose: [7000]
    volumes:
      - ./site:/usr/share/nginx/html:ro
      - data:/data
      - /cache
      - {type: tmpfs, target: /run}
    secrets: [password, {source: password, target: /etc/pw, mode: 0400}]
    configs: [{source: motd, target: /etc/motd}]
    healthcheck: {test: curl -f http://localhost, interval: 1m30s, timeout: 500ms, retries: 5}
    depends_on: {db: {condition: service_healthy}}
    networks: {default: {aliases: [www]}}
    user: "1000:1000"
    deploy: {replicas: 2, resources: {limits: {cpus: "0.5", memory: 256m}}}
    stop_grace_period: 1m
    labels: [com.example.team=shop]
    restart: unless-stopped
  db:
    image: postgres
    volumes: ["db:/var/lib/postgresql/data"]
  api:
    build: {context: ./api, dockerfile: Dockerfile.prod, args: {MODE: fast}}
    profiles: [extra]
volumes: {data: , db: {name: shop-db}}
secrets: {password: {file: ./password.txt}}
configs: {motd: {content: hello}}
"""


def test_a_service_is_read_in_every_notation() -> None:
    web = next(one for one in project(FULL).services if one.name == "web")

    assert web.image == "docker.io/library/nginx:1.27"
    assert (web.depends_on, web.healthy) == (("db",), ("db",))
    assert (web.entrypoint, web.command) == (("/bin/app",), ("serve", "--name", "a b"))
    assert web.environment == {"LEVEL": "debug", "NAME": "a b", "KEPT": "$X", "COST": "$5"}
    assert web.ports == (
        PublishedPort(80, 8080, "127.0.0.1"),
        PublishedPort(9000, 9000),
        PublishedPort(9001, 9001),
        PublishedPort(443, 8443),
        PublishedPort(7000),
    )
    assert web.mounts == (
        ServiceMount(MountKind.BIND, "/usr/share/nginx/html", "/srv/shop/site", read_only=True),
        ServiceMount(MountKind.VOLUME, "/data", "data"),
        ServiceMount(MountKind.VOLUME, "/cache"),
        ServiceMount(MountKind.TMPFS, "/run"),
    )
    assert web.secrets == (
        FileGrant("password", "/run/secrets/password"),
        FileGrant("password", "/etc/pw", 0o400),
    )
    assert web.configs == (FileGrant("motd", "/etc/motd"),)
    assert web.health == HealthCheck(("/bin/sh", "-c", "curl -f http://localhost"), "", 90, 1, 5)
    assert (web.aliases, web.user, web.replicas) == (("www",), "1000:1000", 2)
    assert web.limits == {"cpu": "500m", "memory": str(256 * 1024**2)}
    assert (web.stop_grace_seconds, web.labels) == (60, {"com.example.team": "shop"})


def test_services_come_after_what_they_depend_on_and_profiles_leave_out() -> None:
    assert [one.name for one in project(FULL).services] == ["db", "web"]
    with_api = project(FULL, ("extra",)).services
    assert [one.name for one in with_api] == ["db", "api", "web"]
    assert with_api[1].build == ServiceBuild(
        "/srv/shop/api", "Dockerfile.prod", "", {"MODE": "fast"}
    )


def test_shared_things_have_their_names_and_contents() -> None:
    found = project(FULL)
    assert found.volumes == {"data": "data", "db": "shop-db"}
    assert [(one.name, one.content) for one in (*found.secrets, *found.configs)] == [
        ("password", b"secret\n"),
        ("motd", b"hello"),
    ]


def test_a_merge_gives_its_values() -> None:
    text = """\
x-base: &base {image: nginx, labels: {a: b}}
services:
  one: {<<: *base, user: "1"}
"""
    (one,) = project(text).services
    assert (one.image, one.labels, one.user) == ("nginx", {"a": "b"}, "1")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("$A", "1"),
        ("${A}x", "1x"),
        ("${B-two}", "two"),
        ("${E-two}", ""),
        ("${E:-two}", "two"),
        ("${A:+yes}${B:+no}", "yes"),
        ("${B:-${A:-x}}", "1"),
        ("$$A", "$A"),
        ("${NONE}", ""),
    ],
)
def test_variables_are_interpolated(text: str, value: str) -> None:
    document = f"services: {{a: {{image: i, working_dir: '/{text}'}}}}"
    (service,) = project(document, environment={"A": "1", "E": ""}).services
    assert service.working_dir == f"/{value}"


def test_a_variable_without_a_value_is_warned_of() -> None:
    assert project("services: {a: {image: 'i$NONE'}}").warnings == (
        "compose.yaml:1: the variable NONE is not set; it is taken as a blank string",
    )


REFUSED = {
    "services: {a: {image: i, colour: red}}": "services.a.colour: additional property",
    "services: {a: {image: i}}\nbogus: 1": "bogus: additional property is not allowed",
    "services: {a: {image: i, port: ['80:80']}}": "not allowed; did you mean ports?",
    "services: {a: {image: i, healthcheck: {tset: x}}}": "not allowed; did you mean test?",
    "services: {a: {image: i}}\nvolume: {v: }": "not allowed; did you mean volumes?",
    "web: {image: i}": "not allowed; services stand below `services:`",
    "services: {a: {command: x}}": "services.a: has neither an image nor a build context specified",
    "services: {a: {image: i, depends_on: [b]}}": "depends on undefined service 'b'",
    "services: {a: {image: i, volumes: ['d:/d']}}": "refers to undefined volume d",
    "services: {a: {image: i, networks: [n]}}": "refers to undefined network n",
    "services: {a: {image: i, secrets: [s]}}": "refers to undefined secret s",
    "services: {a: {image: i, configs: [s]}}": "refers to undefined config s",
    "services: {a: {image: i, ports: ['99999:1']}}": "invalid port '99999'",
    "services: {a: {image: i, ports: ['1:1/abc']}}": "invalid proto 'abc'",
    "services: {a: {image: i, ports: ['1-2:1-3']}}": "the ranges have different lengths",
    "services: {a: {image: i, volumes: [data]}}": "invalid spec 'data'",
    "services: {a: {image: i, volumes: ['./a:/x', './b:/x']}}": "duplicate mount point /x",
    "services: {a: {image: i, environment: 5}}": "must be a mapping or a list",
    "services: {a: {image: i, env_file: none.env}}": "env file /srv/shop/none.env not found",
    "services: {a: {image: i, restart: often}}": "unknown policy 'often'",
    "services: {a: {image: i, stop_grace_period: soon}}": "'soon' is no duration",
    "services: {a: {image: i, mem_limit: much}}": "'much' is no size",
    "services: {a: {image: i, healthcheck: {test: t, timeout: 99999999h}}}": "is longer than",
    f"services: {{a: {{image: i, stop_grace_period: {'9' * 400}s}}}}": "is longer than",
    f"services: {{a: {{image: i, mem_limit: {'9' * 400}g}}}}": "is larger than",
    "services: {a: {image: i, cpus: 1e5000}}": "is more than",
    "services: {a: {image: i, cpus: '1e5000'}}": "is more than",
    "services: {a: {image: i, healthcheck: {test: [RUN, x]}}}": "must begin with CMD",
    "services: {a: {image: '${A'}}": "a brace is not closed",
    "services: {a: {image: '${A:?say it}'}}": "required variable A is missing a value: say it",
    "services: [a]": "services: must be a mapping",
    "services: {}": "there are none: nothing to apply",
    "include: [x.yaml]\nservices: {a: {image: i}}": "include: not supported",
    "services: {a: {image: i, extends: b}}": "extends: not supported",
    "services: {a: {image: i, devices: [dri]}}": "devices.0: 'dri' is no device",
    "services: {a: {image: i, devices: {a: b}}}": "devices: must be a list",
    "services: {a: {image: i, gpus: [{driver: tpu}]}}": "gpus.0: not supported: only GPUs",
    "services: {a: {image: i, gpus: 99999999999999999999}}": "gpus.0: not supported: only GPUs",
    "services: {a: {image: i, device_cgroup_rules: [c]}}": "name the devices themselves",
    "services: {a: {image: i, network_mode: host}}": "'host' is not supported",
    "services: {a: {image: i, restart: 'no'}}": (
        "put a under `profiles: [once]`, and run it with `upwell create job a --image=i -- COMMAND`"
    ),
    "services: {a: {image: i, user: postgres}}": "write its number",
    "services: {a: {image: i, ports: ['53:53/sctp']}}": "host ports are TCP or UDP",
    "services: {a: {image: i, scale: 2, ports: ['53:53/udp']}}": "53/udp of the host goes to one",
    "services: {a: {image: i, ports: ['53:5/udp']}, b: {image: i, ports: ['53:6/udp']}}": (
        "port 53/udp of the host is published by a already"
    ),
    "services: {a: {image: i, ports: ['0.0.0.0:5:5']}, b: {image: i, ports: ['192.0.2.1:5:6']}}": (
        "port 5/tcp of the host is published by a already"
    ),
    "services: {a: {image: i}}\nvolumes: {v: {driver: nfs}}": "volumes.v.driver: not supported",
    "services: {a: {image: i}}\nsecrets: {s: {file: no.txt}}": "cannot read no.txt",
}


RESERVED = "deploy: {{resources: {{reservations: {{devices: [{{{}}}]}}}}}}"


@pytest.mark.parametrize(
    ("written", "devices"),
    [
        ("devices: [/dev/ttyUSB0, '/dev/dri:/dev/x:rw']", ("/dev/ttyUSB0", "/dev/dri:/dev/x:rw")),
        ("devices: [{source: /dev/kvm, target: /dev/k, permissions: r}]", ("/dev/kvm:/dev/k:r",)),
        ("devices: [nvidia.com/gpu=all]", ("nvidia.com/gpu=all",)),
        ("gpus: all", ("nvidia.com/gpu=all",)),
        ("gpus: [{driver: amd, count: 2}]", ("amd.com/gpu=0", "amd.com/gpu=1")),
        (
            RESERVED.format("driver: nvidia, device_ids: [GPU-a1], capabilities: [gpu]"),
            ("nvidia.com/gpu=GPU-a1",),
        ),
        (
            RESERVED.format("driver: cdi, device_ids: [vendor.com/fpga=0], capabilities: [fpga]"),
            ("vendor.com/fpga=0",),
        ),
    ],
)
def test_devices_are_named_as_podman_names_them(written: str, devices: tuple[str, ...]) -> None:
    (service,) = project(f"services: {{a: {{image: i, {written}}}}}").services
    assert service.devices == devices


@pytest.mark.parametrize(("text", "why"), REFUSED.items())
def test_what_is_not_understood_is_refused_by_name(text: str, why: str) -> None:
    found = faults(text)
    assert len(found) == 1
    assert why in found[0]
    assert found[0].startswith("compose.yaml:")


def test_a_fault_names_its_line_and_all_are_told() -> None:
    text = "services:\n  a:\n    image: i\n    colour: red\n    ports:\n      - 80:80\n      - x\n"
    assert faults(text) == (
        "compose.yaml:4: services.a.colour: additional property is not allowed",
        "compose.yaml:7: services.a.ports.1: invalid port 'x': 1 to 65535, or a range",
    )


def test_one_port_of_the_host_has_one_service() -> None:
    text = "services:\n  a: {image: i, ports: ['80:1']}\n  b: {image: i, ports: ['80:2']}\n"
    assert faults(text) == (
        (
            "compose.yaml:3: services.b.ports: port 80/tcp of the host is published by a already:"
            " publish another"
        ),
    )


def test_a_circle_of_dependencies_is_refused() -> None:
    text = "services:\n  a: {image: i, depends_on: [b]}\n  b: {image: i, depends_on: [a]}\n"
    assert "dependency cycle detected: a -> b" in faults(text)[0]


def test_what_has_no_effect_is_warned_of_by_name() -> None:
    text = "version: '3'\nservices: {a: {image: i, container_name: web, logging: {driver: syslog}}}"
    assert [one.partition(": ")[2].partition(":")[0] for one in project(text).warnings] == [
        "version",
        "services.a.container_name",
        "services.a.logging",
    ]


@pytest.mark.parametrize(
    "text",
    ["services: {a: {image: i}", "a: &a [*a]\nservices: {}", "- 1", "services: {a: 1, a: 2}"],
)
def test_what_is_no_yaml_is_refused(text: str) -> None:
    assert faults(text)[0].startswith("compose.yaml")
