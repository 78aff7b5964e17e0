"""`new-app` on real parts: built, run and reached; then the base changes."""

import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest
from tests.support.builds.base_images import serve_registry
from tests.support.installation.applications import SOURCES
from tests.support.installation.installation import Installation, installation, until
from tests.support.installation.traffic import answer
from tests.support.installation.vendor_images import publish, publish_script

HOST = "gate.default.localhost"
DATABASE_HOST = "db.default.localhost"
DATABASE_LIVE = "db.db-live.localhost"
NETWORK = "192.0.2.1"
DATABASE: Mapping[str, Mapping[str, object]] = {
    "Volumes": {"/data": {}},
    "ExposedPorts": {"8080/tcp": {}},
}


async def test_one_command_makes_an_application_that_follows_its_base(made: Installation) -> None:
    await publish(made.vendor, "vendor/base:1", "1.0")
    made.commit("applications", SOURCES)
    repository = f"{made.vendor}/vendor/base:1~{made.git}/applications"
    options = ["--strategy=docker", "--context-dir=gate", "--name=gate", "--expose"]
    saved = made.folder / "gate.yaml"

    done = made.upwell("new-app", repository, *options, "--insecure-registry", "--save", str(saved))

    assert done.returncode == 0, done.stderr
    assert "assuming port 8080" in done.stderr
    assert "cannot read the metadata" not in done.stderr
    await until(partial(answer, made.router_port, HOST), "gate 1.0".__eq__)
    again = made.upwell("apply", "-f", str(saved))
    assert {line.split()[1] for line in again.stdout.splitlines()} == {"unchanged"}, again.stderr
    await publish(made.vendor, "vendor/base:1", "2.0")
    imported = made.upwell("import-image", "base:1")
    assert imported.returncode == 0, imported.stderr
    await until(partial(answer, made.router_port, HOST), "gate 2.0".__eq__)


async def test_with_stages_every_image_is_tested_on_its_way_to_production(
    made: Installation,
) -> None:
    await publish(made.vendor, "vendor/base:1", "1.0")
    made.commit("applications", SOURCES)
    repository = f"{made.vendor}/vendor/base:1~{made.git}/applications"
    options = ["--strategy=docker", "--context-dir=gate", "--name=gate", "--expose"]
    stages = ["--stages=dev,production", '--test=test -n "$UPWELL_ADDRESS"']

    done = made.upwell("new-app", repository, *options, *stages, "--insecure-registry")

    assert done.returncode == 0, done.stderr
    host = "gate.gate-production.localhost"
    await until(partial(answer, made.router_port, host), "gate 1.0".__eq__)
    await publish(made.vendor, "vendor/base:1", "2.0")
    imported = made.upwell("import-image", "base:1")
    assert imported.returncode == 0, imported.stderr
    await until(partial(answer, made.router_port, host), "gate 2.0".__eq__)
    passed = made.upwell(
        "wait", "promotion/gate-2.production", "--for=jsonpath={.status.phase}=Succeeded"
    )
    assert passed.returncode == 0, passed.stderr


def database(version: str) -> str:
    return (
        "test ! -e /data/lock || { echo two at once; exit 9; }; touch /data/lock;"
        f" echo {version} >> /data/index.html; trap 'rm /data/lock; exit 0' TERM;"
        " httpd -f -p 8080 -h /data & wait"
    )


def machine_address() -> str:
    """Return an address of this machine that is not on loopback."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((NETWORK, 9))  # nothing is sent
        except OSError:
            pytest.skip("this machine has no network but loopback")
        return str(probe.getsockname()[0])


@pytest.fixture
async def remote(tmp_path: Path) -> AsyncIterator[Installation]:
    with contextmanager(serve_registry)(tmp_path, host=machine_address()) as vendor:
        async with installation(vendor=vendor) as running:
            yield running


async def publish_database(made: Installation, version: str, script: str = "") -> None:
    await publish_script(made.vendor, "vendor/db:1", script or database(version), **DATABASE)


def new_app(made: Installation, *options: str) -> str:
    image = f"--image={made.vendor}/vendor/db:1"
    done = made.upwell("new-app", image, "--name=db", "--insecure-registry", "--expose", *options)
    assert done.returncode == 0, done.stderr
    return done.stderr


async def test_an_update_keeps_the_files_and_never_runs_two_at_once(
    remote: Installation,
) -> None:
    await publish_database(remote, "one")
    said = new_app(remote)
    assert "declares the volume /data, at which nothing is mounted" in said
    await until(partial(answer, remote.router_port, DATABASE_HOST), "one".__eq__)

    await publish_database(remote, "two")
    assert remote.upwell("import-image", "db:1").returncode == 0
    await until(partial(answer, remote.router_port, DATABASE_HOST), "one\ntwo".__eq__)

    # One that ends at once, after it has written: the last good one comes back to its files.
    await publish_database(remote, "three", "echo three >> /data/index.html; exit 3")
    assert remote.upwell("import-image", "db:1").returncode == 0
    served = await until(
        partial(answer, remote.router_port, DATABASE_HOST),
        lambda text: text.startswith("one\ntwo\nthree"),
    )
    assert served.splitlines()[-1] == "two"
    described = remote.upwell("describe", "deployment/db").stdout
    assert "StopsBeforeStart" in described
    assert "two at once" not in remote.upwell("logs", "deployment/db").stdout


async def test_what_can_be_imported_is_run_and_tested_in_every_stage_once_it_listens(
    remote: Installation,
) -> None:
    await publish_database(remote, "one", f"sleep 3; {database('one')}")
    new_app(remote, "--stages=dev,live", '--test=test one = "$(wget -qO- $UPWELL_ADDRESS)"')

    await until(partial(answer, remote.router_port, DATABASE_LIVE), "one".__eq__)
    passed = remote.upwell(
        "wait", "promotion/db-1.live", "--for=jsonpath={.status.phase}=Succeeded"
    )
    assert passed.returncode == 0, passed.stderr
