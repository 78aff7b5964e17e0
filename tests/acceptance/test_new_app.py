"""`new-app` on real parts: built, run and reached; then the base changes."""

from collections.abc import AsyncIterator
from functools import partial

import pytest
from tests.support.installation.applications import SOURCES
from tests.support.installation.installation import Installation, installation, until
from tests.support.installation.traffic import answer
from tests.support.installation.vendor_images import publish

HOST = "gate.default.localhost"


@pytest.fixture
async def made() -> AsyncIterator[Installation]:
    async with installation() as running:
        yield running


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
