"""The data folder emptied, restored from an old copy, damaged and moved, beside what runs."""

import shutil

import pytest
from tests.support.faults.on_demand import on_demand
from tests.support.installation.applications import deployment, published
from tests.support.installation.data_folders import refused
from tests.support.installation.installation import Installation, until
from tests.support.installation.traffic import answer
from tests.support.installation.vendor_images import publish

from upwell.api.apps import Deployment
from upwell.api.image import ImageStream
from upwell.store.interface import ApiClient

STREAM = """\
apiVersion: image.openshift.io/v1
kind: ImageStream
metadata: {name: web}
spec:
  lookupPolicy: {local: true}
  tags: [{name: "latest", from: {kind: DockerImage, name: "%s/vendor/base:1"},
          importPolicy: {insecure: true}, referencePolicy: {type: Local}}]
---
"""
SERVES = 'command: [/bin/sh, -c, "mkdir -p /www; echo up > /www/index.html; exec serve"]'
SECONDS = 60


def web(name: str = "web") -> str:
    text = deployment(name).replace('image: " "', f'image: "web:latest"\n          {SERVES}')
    return text.replace(f'{name}:latest"}}', 'web:latest"}')


async def serving(made: Installation, client: ApiClient) -> set[str]:
    """Bring up one application; return the names of its containers."""
    await publish(made.vendor, "vendor/base:1", "1.0")
    await made.apply(client, STREAM % made.vendor)

    async def imported() -> int:
        return len((await client.get(ImageStream, "default", "web")).status.tags)

    await until(imported, bool, SECONDS)
    await made.apply(client, web() + published("web"))
    await ready(client, "web")
    await answers(made)
    return made.podman_names()


async def ready(client: ApiClient, name: str) -> None:
    async def replicas() -> int | None:
        return (await client.get(Deployment, "default", name)).status.ready_replicas

    await until(replicas, lambda count: count == 1, SECONDS)


async def answers(made: Installation) -> None:
    async def get() -> str:
        return await answer(made.router_port, "web.test")

    await until(get, lambda text: text == "up", SECONDS)


def remove_database(made: Installation) -> None:
    for path in made.data_dir.glob("upwell.db*"):
        path.unlink()


@pytest.mark.parametrize(
    "emptied",
    [
        True,
        pytest.param(
            False,
            marks=on_demand(
                "tests/unit/app/test_data_folder.py::"
                "test_an_empty_database_beside_instances_is_refused",
                "tests/acceptance/data_folder/test_lost_database.py::"
                "test_what_an_accepted_empty_database_does_not_know_runs_on",
            ),
        ),
    ],
)
async def test_an_empty_database_beside_what_runs_is_refused(
    made: Installation,
    emptied: bool,  # noqa: FBT001 - pytest passes parameters by name
) -> None:
    async with made.client() as client:
        before = await serving(made, client)
    made.kill()
    saved = made.folder / "saved"
    saved.mkdir()
    for path in made.data_dir.glob("upwell.db*"):
        shutil.move(path, saved)
    if emptied:
        (made.data_dir / "upwell.db").touch()

    said = refused(made)
    assert "deployment/web in default" in said
    assert "--adopt-empty" in said
    assert made.podman_names() == before
    await answers(made)

    remove_database(made)
    for path in saved.iterdir():
        shutil.copy(path, made.data_dir)
    await made.start()
    async with made.client() as client:
        await ready(client, "web")
    assert made.podman_names() == before
    await answers(made)


async def test_what_an_accepted_empty_database_does_not_know_runs_on(made: Installation) -> None:
    async with made.client() as client:
        before = await serving(made, client)
    made.kill()
    remove_database(made)
    made.options = ("--adopt-empty",)
    await made.start()
    async with made.client() as client:
        await made.apply(client, STREAM % made.vendor)
        await made.apply(client, web("other"))
        await ready(client, "other")
    made.options = ()
    made.stop()
    await made.start()
    async with made.client() as client:
        await ready(client, "other")

    assert before < made.podman_names()
    listed = made.upwell("prune", "--leftovers")
    assert all(name.split(".")[1] in listed.stdout for name in before), listed
    assert made.upwell("prune", "--leftovers", "--confirm").returncode == 0
    assert not before & made.podman_names()


async def test_an_old_copy_that_lacks_what_runs_is_refused(made: Installation) -> None:
    made.stop()
    old = made.folder / "old.db"
    shutil.copy(made.data_dir / "upwell.db", old)
    await made.start()
    async with made.client() as client:
        before = await serving(made, client)
    made.kill()
    remove_database(made)
    shutil.copy(old, made.data_dir / "upwell.db")

    assert "knows fewer objects" in refused(made)
    assert made.podman_names() == before
