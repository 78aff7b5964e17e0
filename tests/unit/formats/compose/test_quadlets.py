"""Quadlets and units of systemd, read into services."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.formats.compose.test_writing import WEB

from upwell.formats.compose.inspected import InspectedContainer
from upwell.formats.compose.model import HealthCheck, MountKind, PublishedPort, ServiceMount
from upwell.formats.compose.quadlets import read_quadlet
from upwell.formats.compose.run_units import container_units
from upwell.formats.compose.unit_file import UnitFileError, words
from upwell.formats.compose.writing import quadlet_text

FILE = "/etc/containers/systemd/web.container"


def read(text: str, *drop_ins: str, **files: str) -> InspectedContainer:
    def content(path: str) -> bytes:
        name = path.removeprefix("/etc/containers/systemd/")
        if name not in files:
            raise FileNotFoundError(2, "No such file or directory")
        return files[name].encode()

    texts = {FILE: text} | {f"{at}.conf": one for at, one in enumerate(drop_ins)}
    return read_quadlet(FILE, texts, content)


def container(*lines: str, **files: str) -> InspectedContainer:
    return read("\n".join(("[Container]", "Image=registry.test/web:1", *lines)), **files)


def test_what_was_written_is_read_back() -> None:
    found = read(quadlet_text(WEB))
    assert found.obstacles == ()
    assert (found.name, found.unit, found.runs) == ("web", "web.service", False)
    # Those are the engine's own, or not a Quadlet's to say.
    assert found.service == replace(
        WEB,
        ports=WEB.ports[:1],
        networks=(),
        labels={**WEB.labels, "io.containers.autoupdate": "registry"},
        replicas=1,
        requests={"memory": WEB.requests["memory"]},
    )


@given(st.lists(st.text(max_size=8), max_size=4))
def test_the_words_of_a_command_are_read_back(command: list[str]) -> None:
    printable = tuple("".join(c for c in word if c.isprintable()) for word in command)
    found = read(quadlet_text(replace(WEB, command=printable)))
    assert found.service.command == printable


def test_what_the_file_says_becomes_a_service() -> None:
    found = read(
        """\
# a comment
[Unit]
After=network-online.target db.service
[Container]
Image=registry.test/web:1
Environment=A=1 "B=two words" \\
  'C=3'
EnvironmentFile=web.env
EnvironmentFile=-missing.env
PublishPort=127.0.0.1:8080:80
PublishPort=443:443/tcp
Volume=data.volume:/data
Volume=./conf:/etc/web:ro,Z
Volume=/scratch
Tmpfs=/run
Label=team=shop
HealthCmd=curl -f localhost
HealthInterval=10s
Notify=healthy
PodmanArgs=--memory=512m
""",
        "[Container]\nEnvironment=\nEnvironment=A=%%\n",
        **{"web.env": "D=d d\n#E=e\n", "data.volume": "[Volume]\nVolumeName=shop-data\n"},
    )
    service = found.service
    assert found.obstacles == ()
    assert found.notes == ("Notify is left out",)
    assert found.name == "systemd-web"
    assert service.environment == {"A": "%", "D": "d d"}
    assert service.depends_on == ("db",)
    assert service.ports == (PublishedPort(80, 8080, "127.0.0.1"), PublishedPort(443, 443))
    assert service.mounts == (
        ServiceMount(MountKind.VOLUME, "/data", "shop-data"),
        ServiceMount(MountKind.BIND, "/etc/web", "/etc/containers/systemd/conf", read_only=True),
        ServiceMount(MountKind.VOLUME, "/scratch"),
        ServiceMount(MountKind.TMPFS, "/run"),
    )
    assert service.labels == {"team": "shop"}
    assert service.limits == {"memory": str(512 * 1024**2)}
    assert service.health == HealthCheck(("/bin/sh", "-c", "curl -f localhost"), interval=10)


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("AddDevice=-/dev/dri", "AddDevice=-/dev/dri: a device that may be missing"),
        ("AddDevice=dri", "its device 'dri' is none"),
        ("Secret=token", "Secret is not supported"),
        ("Network=host", "uses the network 'host'"),
        ("PublishPort=53:53/sctp", "publishes 53/sctp: host ports are TCP or UDP"),
        ("PublishPort=80", "published at any free one"),
        ("PublishPort=none", "invalid port 'none'"),
        ("User=web", "its user 'web' is a name"),
        ("EnvironmentFile=none.env", "its environment file /etc/containers/systemd/none.env: No"),
        ("Volume=%h/data:/data", "has a specifier"),
        ('Exec="open', "has a quote that is not closed"),
        ("PodmanArgs=--ipc=host", "PodmanArgs=--ipc=host is not supported"),
        ("Image=web.build", "made by web.build"),
    ],
)
def test_what_a_service_has_no_words_for_stands_against_it(line: str, why: str) -> None:
    assert any(why in one for one in container(line).obstacles)


def test_devices_and_gpus_are_kept() -> None:
    found = container("AddDevice=/dev/dri:/dev/dri:rw", "PodmanArgs=--device=/dev/kvm --gpus=all")
    assert found.service.devices == ("/dev/dri:/dev/dri:rw", "/dev/kvm", "nvidia.com/gpu=all")
    assert not found.obstacles


def test_a_file_that_is_no_unit_is_refused_with_its_line() -> None:
    with pytest.raises(UnitFileError, match=r"web.container:2: neither"):
        read("[Container]\nImage\n")


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ('a  \'b c\' "d\\"e"', ["a", "b c", 'd"e']),
        (r"a\x20b \101 \n", ["a b", "A", "\n"]),
        ("x='y z'", ["x=y z"]),
        ("", []),
        ("50%%", ["50%"]),
    ],
)
def test_words_are_split_as_systemd_splits_them(written: str, expected: list[str]) -> None:
    assert words(written) == expected


def test_units_that_run_containers_are_known_by_their_commands() -> None:
    shown = """\
Id=web.service
ExecStart={ path=/usr/bin/podman ; argv[]=/usr/bin/podman run --rm --name web -p 80:80 i ; ignore_errors=no ; pid=1 }

Id=db.service
ExecStart={ path=/usr/bin/docker ; argv[]=/usr/bin/docker start -a db ; ignore_errors=no }

Id=ssh.service
ExecStart={ path=/usr/sbin/sshd ; argv[]=/usr/sbin/sshd -D ; ignore_errors=no }

Id=cron.service
"""  # noqa: E501 - as it is printed
    assert container_units(shown) == {
        ("podman", "web"): "web.service",
        ("docker", "db"): "db.service",
    }
