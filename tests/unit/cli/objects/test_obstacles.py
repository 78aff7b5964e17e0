"""Waits for new workloads: what keeps their images away is told, and a failed build ends them."""

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from upwell.api.builds.build import Build
from upwell.api.builds.config import BuildConfig
from upwell.api.codec import decode_as
from upwell.api.image import ImageStream
from upwell.api.meta import Resource
from upwell.cli.objects.obstacles import tell_obstacles

if TYPE_CHECKING:
    from click.testing import Result
    from tests.unit.cli.conftest import FakeClient

type Upwell = Callable[..., "Result"]

WHY = "no manifest registry.test/shop:1: check the name, and that it was pushed"


def having(client: "FakeClient", monkeypatch: pytest.MonkeyPatch, phase: str) -> None:
    """Have each BuildConfig a build in this phase as soon as it is made, and no tag an image."""
    create = client.create

    async def create_with_state(resource: Any) -> Resource:
        made: Resource = await create(resource)
        place = {"namespace": made.namespace}
        if isinstance(made, ImageStream) and made.spec.tags:
            fault = {"type": "ImportSuccess", "status": "False", "reason": "ManifestUnknown"}
            tag = {"tag": made.spec.tags[0].name, "conditions": [fault | {"message": WHY}]}
            status = decode_as(ImageStream, {"metadata": place, "status": {"tags": [tag]}}).status
            await client.update_status(made.with_status(status))
        if isinstance(made, BuildConfig):
            labels = {"openshift.io/build-config.name": made.name}
            metadata = {**place, "name": f"{made.name}-1", "labels": labels}
            status_of_build = {
                "phase": phase,
                "reason": "FetchSourceFailed",
                "message": "no access",
            }
            build = decode_as(Build, {"metadata": metadata, "spec": {}, "status": status_of_build})
            await client.update_status((await create(build)).with_status(build.status))
        return made

    monkeypatch.setattr(client, "create", create_with_state)


BUILT = ("new-app", "registry.test/builder:1~https://git.test/shop.git", "--name", "shop")


def test_a_build_that_has_failed_ends_the_wait(
    upwell: Upwell, client: "FakeClient", monkeypatch: pytest.MonkeyPatch
) -> None:
    having(client, monkeypatch, "Failed")
    done = upwell(*BUILT, "--wait", "--timeout", "60s")

    assert done.exit_code == 1, done.output
    assert done.stderr.splitlines()[-1] == (
        "error: build shop-1 failed: FetchSourceFailed: no access;"
        " `upwell logs buildconfig/shop -n default` says why"
    )


def test_what_keeps_images_away_is_told_once(
    upwell: Upwell, client: "FakeClient", monkeypatch: pytest.MonkeyPatch
) -> None:
    having(client, monkeypatch, "New")
    done = upwell(*BUILT, "--wait", "--timeout", "2s")

    assert done.exit_code == 5
    assert [line for line in done.stderr.splitlines() if "waits:" in line] == [f"waits: {WHY}"]


async def test_what_goes_on_is_not_told_again_for_its_next_attempt(client: "FakeClient") -> None:
    manifest = {"metadata": {"namespace": "default", "name": "shop"}}
    stream, told = await client.create(decode_as(ImageStream, manifest)), list[str]()
    arrived = asyncio.Semaphore(0)

    def tell(fault: str) -> None:
        told.append(fault)
        arrived.release()

    async def fail(*messages: str) -> None:
        fault = {"type": "ImportSuccess", "status": "False", "reason": "ManifestUnknown"}
        tags = [
            {"tag": str(tag), "conditions": [fault | {"message": message}]}
            for tag, message in enumerate(messages)
        ]
        failed = decode_as(ImageStream, {**manifest, "status": {"tags": tags}})
        found = await client.get(ImageStream, "default", "shop")
        await client.update_status(found.with_status(failed.status))
        await asyncio.wait_for(arrived.acquire(), 20)

    first = f"{WHY}; tried again at 2026-12-01T02:01:00Z"
    async with asyncio.TaskGroup() as group:
        telling = group.create_task(tell_obstacles(client, [stream], tell))
        await fail(first)
        await fail(f"{WHY}; tried again at 2026-12-01T02:02:00Z", "no access")
        telling.cancel()
    assert told == [first, "no access"]


def test_what_keeps_the_image_of_a_service_away_is_told(
    upwell: Upwell, client: "FakeClient", monkeypatch: pytest.MonkeyPatch
) -> None:
    having(client, monkeypatch, "New")
    done = upwell("add", "registry.test/shop:1", "--wait", "--timeout", "2s")
    assert f"waits: {WHY}" in done.stderr.splitlines()
