"""`upwell adopt` of a container that Podman runs, with its volume and its port."""

import asyncio
import json
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

import pytest
from tests.support.builds.base_images import serve_registry
from tests.support.delivery.http_receiver import HttpReceiver, receiving
from tests.support.faults.on_demand import on_demand
from tests.support.installation.installation import Installation, installation, until
from tests.support.installation.traffic import answer
from tests.support.installation.vendor_images import publish_script
from tests.support.ports import free_port

NAME = "adopted-db"
LAYER_BYTES = 4096
"""Blobs of the vendor's image above this are layers, not manifests."""
SERVE = (
    "test -f /kept/index.html || echo first {0} > /kept/index.html; trap 'exit 0' TERM;"
    " httpd -f -p 8080 -h /kept & wait"
)


def podman(*arguments: str) -> str:
    done = subprocess.run(["podman", *arguments], capture_output=True, check=False, text=True)
    return done.stdout.strip()


@pytest.fixture
async def made(tmp_path: Path) -> AsyncIterator[Installation]:
    with ExitStack() as vendor:
        address = vendor.enter_context(contextmanager(serve_registry)(tmp_path))
        async with installation(vendor=address) as found:
            yield found


@pytest.fixture
async def chat(made: Installation) -> AsyncIterator[HttpReceiver]:
    async with receiving(port=made.spare_port()) as found:
        yield found


@pytest.fixture
async def port(made: Installation) -> AsyncIterator[int]:
    """Have Podman run a service with a volume; the result is its port of the machine."""
    await publish_script(made.vendor, "db:1", SERVE.format(1), ExposedPorts={"8080/tcp": {}})
    found = free_port()
    with removed():
        await asyncio.to_thread(
            podman,
            *("run", "--detach", "--tls-verify=false", "--name", NAME, "--restart=always"),
            *("--volume", f"{NAME}:/kept", "--publish", f"{found}:8080", f"{made.vendor}/db:1"),
        )
        await until(partial(answer, found, "localhost"), "first 1".__eq__)
        yield found


def lose_layers(folder: Path) -> None:
    """Remove the layers that a registry keeps in a folder."""
    for blob in folder.rglob("blobs/sha256/*/*/data"):
        if blob.stat().st_size > LAYER_BYTES:
            blob.unlink()


@contextmanager
def removed() -> Iterator[None]:
    try:
        yield
    finally:
        podman("rm", "--force", NAME)
        podman("volume", "rm", "--force", NAME)


@on_demand(
    "tests/unit/cli/adoption/test_adopt.py"
    "::test_a_container_is_not_stopped_before_the_images_of_its_successor_are_there"
)
async def test_a_container_with_a_volume_is_taken_over_with_its_files(
    made: Installation, chat: HttpReceiver, port: int
) -> None:
    adopt = ("adopt", NAME, "--yes", "--data-dir", str(made.data_dir), "--notify", chat.url)
    done = await asyncio.to_thread(made.upwell, *adopt)
    assert done.returncode == 0, done.stderr
    await until(partial(answer, port, "localhost"), "first 1".__eq__)
    assert podman("inspect", "--format", "{{.State.Running}}", NAME) == "false"
    shown = json.loads(made.upwell("get", "deployment", NAME, "-o", "json").stdout)
    assert not [one for one in shown["metadata"]["annotations"] if "takeover" in one]

    await until(partial(_told, chat), {"started", "completed"}.__le__)
    assert not await _told(chat) & {"failed", "degraded", "recovered"}


@on_demand(
    "tests/unit/cli/adoption/test_adopt.py"
    "::test_a_container_is_not_stopped_before_the_images_of_its_successor_are_there"
)
async def test_a_container_whose_image_its_registry_lost_goes_on(
    made: Installation, chat: HttpReceiver, port: int, tmp_path: Path
) -> None:
    started = podman("inspect", "--format", "{{.State.StartedAt}}", NAME)
    lose_layers(tmp_path)
    adopt = ("adopt", NAME, "--yes", "--timeout", "5s", "--data-dir", str(made.data_dir))
    done = await asyncio.to_thread(made.upwell, *adopt, "--notify", chat.url)
    assert done.returncode == 5, done.stderr
    assert f"{NAME}: its images are not there after 5 s" in done.stderr
    assert podman("inspect", "--format", "{{.State.StartedAt}}", NAME) == started
    assert await answer(port, "localhost") == "first 1"
    assert not chat.arrived


async def _told(chat: HttpReceiver) -> set[str]:
    """Return what the chat was told of the Deployment, by the last word of each type."""
    events = [json.loads(one.body) for one in chat.arrived]
    mine = (one["type"] for one in events if "/Deployment/" in one["subject"])
    return {kind.rpartition(".")[2] for kind in mine}
