"""`upwell add`: one line that follows an image."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from upwell.api.codec import decode
from upwell.api.defaults import apply_defaults
from upwell.policy.admission.faults import admission_faults

if TYPE_CHECKING:
    from click.testing import Result

type Upwell = Callable[..., "Result"]

NGINX = "docker.io/library/nginx:1.27"


def shown(upwell: Upwell, *arguments: str) -> dict[str, dict[str, Any]]:
    """Return the objects that are printed, by kind; each is valid."""
    result = upwell("add", *arguments, "-o", "yaml")
    assert result.exit_code == 0, result.stderr
    items = yaml.safe_load(result.stdout)["items"]
    for item in items:
        assert admission_faults(apply_defaults(decode(item))) == ()
    return {item["kind"]: item for item in items}


def container(deployment: dict[str, Any]) -> dict[str, Any]:
    (only,) = deployment["spec"]["template"]["spec"]["containers"]
    assert isinstance(only, dict)
    return only


def test_one_line_makes_all_objects_and_says_what_is_next(upwell: Upwell) -> None:
    result = upwell("add", NGINX, "--port", "8080:80", "--volume", "site:/data", "-e", "A=b")
    assert result.stdout.splitlines() == [
        "persistentvolumeclaim/site created",
        "imagestream.image.openshift.io/nginx created",
        "service/nginx created",
        "deployment.apps/nginx created",
    ]
    assert "http://localhost:8080/ once it is ready" in result.stderr
    again = upwell("add", NGINX)
    assert again.exit_code == 2
    assert "these objects exist" in again.stderr
    assert "`upwell add … -o yaml | upwell apply -f -`" in again.stderr


@pytest.mark.parametrize("source", ["./db", "../db", "~/db", "srv/db"])
def test_a_relative_path_is_no_name_of_a_volume(upwell: Upwell, source: str) -> None:
    result = upwell("add", NGINX, "--volume", f"{source}:/data")
    assert result.exit_code == 2
    assert "a path of the machine is written absolute, such as /srv/db:/data" in result.stderr


@pytest.mark.parametrize("address", ["slack", "://x", "mailto://"])
def test_who_is_told_has_a_url(upwell: Upwell, address: str) -> None:
    result = upwell("add", NGINX, "--notify", address)
    assert result.exit_code == 2
    assert "'--notify': that is no URL: write https://HOST/PATH for a webhook" in result.stderr


@pytest.mark.usefixtures("running")
def test_it_waits_and_says_where_it_is(upwell: Upwell) -> None:
    web = upwell("add", NGINX, "--port", "8080:80", "--port", "443", "--wait")
    assert web.exit_code == 0, web.stderr
    assert web.stdout.splitlines()[-1] == "http://localhost:8080/"
    assert f"nginx follows {NGINX}: `upwell describe is/nginx`" in web.stderr
    db = upwell("add", "registry.test/db:16", "--port", "127.0.0.1:5433:5432", "--wait")
    assert db.stdout.splitlines()[-1] == "127.0.0.1:5433"


def test_a_udp_port_is_for_one_instance_at_a_time(upwell: Upwell) -> None:
    found = shown(upwell, "registry.test/dns:1", "-p", "53:5353/udp", "-p", "53:5353/tcp")
    ports = container(found["Deployment"])["ports"]
    assert [(port["hostPort"], port.get("protocol", "TCP")) for port in ports] == [
        (53, "UDP"),
        (53, "TCP"),
    ]
    assert container(found["Deployment"])["readinessProbe"]["tcpSocket"] == {"port": 5353}
    assert found["Deployment"]["spec"]["strategy"] == {"type": "Recreate"}
    refused = upwell("add", "registry.test/dns:1", "-p", "53:53/udp", "--health", "tcp")
    assert "--health tcp asks a TCP port" in refused.stderr


def test_the_printed_objects_check_health_and_stop_what_writes_first(upwell: Upwell) -> None:
    found = shown(
        upwell, NGINX, "--name", "web", "-p", "80:8080", "--volume", "d:/d", "--health", "/up"
    )
    probe = container(found["Deployment"])["readinessProbe"]
    assert probe["httpGet"]["path"] == "/up"
    assert found["Deployment"]["spec"]["strategy"]["type"] == "Recreate"
    assert found["PersistentVolumeClaim"]["metadata"]["name"] == "d"


@pytest.mark.parametrize(
    ("window", "cron", "seconds", "zone"),
    [
        ("03:00+2h", "0 3 * * *", 7200, "UTC"),
        ("30 4 * * 6+4h Europe/Berlin", "30 4 * * 6", 14400, "Europe/Berlin"),
    ],
)
def test_a_window_bounds_updates_and_not_the_first_start(
    upwell: Upwell, window: str, cron: str, seconds: int, zone: str
) -> None:
    found = shown(upwell, NGINX, "--port", "80", "--window", window)
    (stage,) = found["Pipeline"]["spec"]["stages"]
    (only,) = stage["windows"]
    assert (only["cron"], only["durationSeconds"], only.get("timeZone", "UTC")) == (
        cron,
        seconds,
        zone,
    )
    assert container(found["Deployment"])["image"] == NGINX


def test_to_watch_is_to_tell_alone(upwell: Upwell) -> None:
    found = shown(upwell, NGINX, "--watch", "--notify", "json://notices.test")
    assert sorted(found) == ["ImageStream", "Secret", "Subscription"]
    assert "default/ImageStream/nginx" in found["Subscription"]["spec"]["filter"]["subjects"]


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("--port", "x"), "write [[IP:]HOST:]CONTAINER"),
        (
            ("--port", "8080:80", "--port", "8080:81"),
            "--port 8080:81: port 8080 of the machine leads to 80 already",
        ),
        (
            ("--port", "0.0.0.0:8080:80", "--port", "192.0.2.1:8080:81"),
            "port 8080 of the machine leads to 80 already",
        ),
        (("--port", "70000:80"), "a port is a number from 1 to 65535"),
        (("--volume", "data"), "write NAME:/path"),
        (("--window", "night"), "write 03:00+2h"),
        (("--window", "25:00+2h"), "25:00 is no time of the day, 00:00 to 23:59"),
        (("--window", "3:60+2h"), "3:60 is no time of the day"),
        (("-p", "80", "--health", "ready"), "write /ready to ask this path over HTTP"),
        (("-p", "80", "--health", "api/healthz"), "write /api/healthz to ask this path"),
        (("--health", "/up"), "name it with --port"),
        (("--name", "Web"), "'Web' is not a valid application name"),
    ],
)
def test_what_is_not_understood_says_what_to_write(
    upwell: Upwell, arguments: tuple[str, ...], why: str
) -> None:
    result = upwell("add", NGINX, *arguments)
    assert result.exit_code == 2
    assert why in result.stderr
