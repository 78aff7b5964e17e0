"""Services written for engines: a Compose file says the same when it is read again."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from upwell.formats.compose.model import (
    ComposeService,
    HealthCheck,
    MountKind,
    PublishedPort,
    ServiceMount,
)
from upwell.formats.compose.project import parse_compose
from upwell.formats.compose.quadlets import read_quadlet
from upwell.formats.compose.services import ProjectContext
from upwell.formats.compose.writing import compose_text, environment_file, quadlet_text

WEB = ComposeService(
    "web",
    "docker.io/library/web:1",
    entrypoint=("/entry",),
    command=("sh", "-c", 'echo "$A" 100%'),
    environment={"A": "a $b 'c'", "B": "2"},
    ports=(PublishedPort(80, 8080, "127.0.0.1"), PublishedPort(9000)),
    mounts=(
        ServiceMount(MountKind.BIND, "/data", "/srv/data"),
        ServiceMount(MountKind.BIND, "/etc/x", "/srv/x", read_only=True),
        ServiceMount(MountKind.TMPFS, "/run"),
    ),
    health=HealthCheck(("true",), interval=5),
    networks=("default",),
    aliases=("www",),
    user="1000:1001",
    working_dir="/srv",
    read_only=True,
    no_new_privileges=True,
    cap_drop=("ALL",),
    stop_grace_seconds=30,
    replicas=2,
    limits={"cpu": "500m", "memory": "1048576"},
    requests={"cpu": "250m", "memory": "65536"},
    groups=(44,),
    sysctls={"net.core.somaxconn": "512"},
    annotations={"example.com/a": "b c"},
    labels={"app": "web"},
    stdin=True,
    tty=True,
)


def read(text: str) -> ComposeService:
    context = ProjectContext("/", {"A": "never", "b": "never"}, lambda _path: b"")
    (service,) = parse_compose(text, "compose.yaml", context).services
    return service


def test_a_compose_file_is_read_back_as_it_was() -> None:
    assert read(compose_text([WEB])) == WEB


def test_what_a_service_waits_for_is_read_back() -> None:
    waiting = replace(WEB, name="late", ports=(), depends_on=("web",), healthy=("web",))
    context = ProjectContext("/", {}, lambda _path: b"")
    text = compose_text([WEB, waiting])
    assert parse_compose(text, "compose.yaml", context).services == (WEB, waiting)
    assert {"Wants=web.service", "After=web.service"} <= set(quadlet_text(waiting).splitlines())


def test_options_of_engines_are_written() -> None:
    service = ComposeService("a", "i", security_options=("label=type:t",))
    assert "- label=type:t" in compose_text([service])
    assert "PodmanArgs=--security-opt=label=type:t" in quadlet_text(service)


def test_a_variable_with_lines_is_in_the_quadlet_itself() -> None:
    values = {"A": "b c", "KEY": "one\ntwo\n"}
    said = replace(WEB, environment=values)
    files = {"/q/web.env": environment_file(values)}
    assert files == {"/q/web.env": "A=b c\n"}
    read_again = read_quadlet(
        "/q/web.container",
        {"/q/web.container": quadlet_text(said, "/q")},
        lambda path: files[path].encode(),
    )
    assert read_again.service.environment == values


@given(st.dictionaries(st.from_regex(r"[A-Z_]{1,5}", fullmatch=True), st.text(max_size=20)))
def test_variables_survive(values: dict[str, str]) -> None:
    printable = {
        name: "".join(one for one in value if one.isprintable()) for name, value in values.items()
    }
    service = ComposeService("a", "i", environment=printable)
    assert read(compose_text([service])).environment == printable


def test_a_quadlet_says_what_podman_needs() -> None:
    lines = quadlet_text(WEB).splitlines()
    assert {
        "Image=docker.io/library/web:1",
        'Entrypoint=["/entry"]',
        'Exec=sh -c "echo \\"$$A\\" 100%%"',
        "Environment=\"A=a $$b 'c'\"",
        "PublishPort=127.0.0.1:8080:80",
        "Volume=/srv/x:/etc/x:ro",
        "Tmpfs=/run",
        "User=1000",
        "Group=1001",
        "NetworkAlias=www",
        'HealthCmd=["true"]',
        "PodmanArgs=--memory=1048576 --cpus=0.5 --memory-reservation=65536 --interactive --tty",
        "TimeoutStopSec=40",
        "AutoUpdate=registry",
    } <= set(lines)
    assert "EnvironmentFile=/q/web.env" in quadlet_text(WEB, "/q").splitlines()
    assert environment_file({"A": "b c"}) == "A=b c\n"


def test_what_is_not_set_is_not_written() -> None:
    plain = replace(ComposeService("a", "i"), labels={})
    assert compose_text([plain]) == "services:\n  a:\n    image: i\n    restart: always\n"
