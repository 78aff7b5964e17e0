"""`upwell prune` beside a running loop: what a deleted application left goes, and no more."""

import json
import os
import time
from functools import partial
from pathlib import Path

from tests.support.installation.applications import SOURCES, two_applications
from tests.support.installation.installation import Installation, installation, until
from tests.support.installation.traffic import answer, traffic
from tests.support.installation.vendor_images import publish

from upwell.api.builds.build import Build
from upwell.store.interface import ApiClient


async def test_what_a_deleted_application_has_left_goes_and_the_other_is_served() -> None:
    async with installation() as made, made.client() as client:
        await publish(made.vendor, "vendor/base:1", "1")
        made.commit("applications", SOURCES)
        await made.apply(client, two_applications(made.vendor, f"{made.git}/applications"))
        for name in ("shop", "gate"):
            await until(partial(answer, made.router_port, f"{name}.test"), f"{name} 1".__eq__)
        await delete_shop(made, client)
        grow_old(made.data_dir)
        before = {name: made.images(f"default/{name}") for name in ("gate", "builder")}

        async with traffic(made.router_port, ["gate.test"]) as seen:
            listed = made.upwell("prune")
            assert listed.returncode == 0, listed.stderr
            assert " default/shop@" in listed.stdout
            assert len(made.images("default/shop")) == 1
            done = made.upwell("prune", "--confirm", "-o", "json")
            assert done.returncode == 0, done.stderr
            # The loop goes on with what is left.
            await publish(made.vendor, "vendor/base:1", "2")
            await until(partial(answer, made.router_port, "gate.test"), "gate 2".__eq__)
        assert not seen["gate.test"].failures

        status = json.loads(done.stdout)["status"]
        names = {item["name"].partition("@")[0] for item in status["items"]}
        assert "default/shop" in names
        assert "default/shop:latest" in names
        assert not {"default/gate:latest", "default/builder:latest"} & names
        removed = {item["name"] for item in status["items"]}
        for name, images in before.items():
            assert not {f"default/{name}@{digest}" for digest in images} & removed
        assert status["bytes"] > 0
        assert made.manifests("default/shop") == []
        for name, images in before.items():
            assert images <= made.images(f"default/{name}")


async def delete_shop(made: Installation, client: ApiClient) -> None:
    gone = ("bc/shop", "deployment/shop", "is/shop")
    deleted = made.upwell("delete", *gone, "--wait")
    assert deleted.returncode == 0, deleted.stderr

    async def builds() -> list[str]:
        return [build.name for build in (await client.list(Build)).items]

    await until(builds, lambda names: not [name for name in names if name.startswith("shop-")])


def grow_old(data_dir: Path) -> None:
    """Date what the registry keeps back by two days."""
    then = time.time() - 2 * 24 * 3600
    for path in (data_dir / "registry").rglob("*"):
        if path.is_file():
            os.utime(path, (then, then))
