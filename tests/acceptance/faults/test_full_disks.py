"""Full disks: the server lives, says so, takes nothing that needs room, and goes on with room."""

from base64 import b64encode
from collections.abc import Sequence
from pathlib import Path
from secrets import token_hex

import aiohttp
import pytest
from tests.support.faults.on_demand import on_demand
from tests.support.installation.applications import (
    base_stream,
    deployment,
    docker_build,
    published,
    stream,
)
from tests.support.installation.installation import Installation, installation, until
from tests.support.installation.traffic import answer
from tests.support.installation.vendor_images import publish

from upwell.api.apps import Deployment
from upwell.api.conditions import find

WEB = 'FROM base:1\nRUN mkdir -p /www && cp /etc/base-version /www/index.html\nCMD ["serve"]\n'


def small_data(made: Installation) -> None:
    made.mount_small_disk(made.data_dir, megabytes=150)


async def get(made: Installation, path: str) -> tuple[int, str]:
    async with (
        aiohttp.ClientSession() as session,
        session.get(made.url + path, headers={"Authorization": f"Bearer {made.token}"}) as got,
    ):
        return got.status, await got.text()


async def push(made: Installation) -> tuple[int, str]:
    """Begin the upload of a blob to the embedded registry."""
    login = b64encode(f"upwell:{made.token}".encode()).decode()
    url = f"{made.url}/v2/default/pushed/blobs/uploads/"
    async with (
        aiohttp.ClientSession() as session,
        session.post(url, headers={"Authorization": f"Basic {login}"}) as got,
    ):
        return got.status, await got.text()


async def record(made: Installation) -> tuple[int, str]:
    """Create an object that takes room."""
    item = {"metadata": {"generateName": "large-"}, "data": {"text": token_hex(250_000)}}
    headers = {"Authorization": f"Bearer {made.token}"}
    async with (
        aiohttp.ClientSession() as session,
        session.post(
            f"{made.url}/api/v1/namespaces/default/configmaps", json=item, headers=headers
        ) as got,
    ):
        return got.status, await got.text()


def fill(file: Path, *, leave: int = 0) -> None:
    """Write until the disk has at most so many bytes free."""
    with file.open("wb", buffering=0) as out:
        try:
            while True:
                out.write(bytes(65536))
        except OSError:
            size = out.tell()
        out.truncate(max(size - leave, 0))


@pytest.mark.parametrize(
    "leave",
    [
        pytest.param(
            0,
            id="full",
            marks=on_demand(
                "tests/acceptance/faults/test_faults_of_machines.py::"
                "test_a_full_data_directory_stops_no_server_and_loses_nothing"
            ),
        ),
        pytest.param(12 * 1024 * 1024, id="below-the-floor"),
    ],
)
async def test_a_disk_that_fills_in_the_loop_stops_no_server(leave: int) -> None:
    async with installation(prepare=small_data) as made, made.client() as client:
        await publish(made.vendor, "vendor/base:1", "1.0")
        await made.apply(
            client,
            base_stream(made.vendor)
            + stream("web")
            + docker_build("web", dockerfile=WEB)
            + deployment("web")
            + published("web"),
        )
        await until(lambda: answer(made.router_port, "web.test"), "1.0".__eq__)
        filler = made.data_dir / "filler"
        fill(filler, leave=leave)

        async def ready() -> tuple[int, str]:
            return await get(made, "/readyz?verbose")

        code, text = await until(ready, lambda seen: seen[0] == 503)
        assert "storage" in text
        assert "free space" in text
        code, text = await push(made)
        assert code == 507
        assert '"code":"UNAVAILABLE"' in text.replace(" ", "")
        _, metrics = await get(made, "/metrics")
        assert f'upwell_disk_free_bytes{{path="{made.data_dir}"}}' in metrics

        (container,) = made.podman_names()
        started = made.container_started_at(container)
        await publish(made.vendor, "vendor/base:1", "2.0")
        made.kill_container(container)  # what runs is mended, also on a full disk

        async def mended() -> bool:
            anew = made.container_started_at(container) != started
            return anew and await answer(made.router_port, "web.test") == "1.0"

        async def build_started() -> bool:
            return "build created" in made.log()

        async def refused() -> bool:
            code, text = await record(made)
            return code == 503 and "was not written" in text

        if leave:  # without any room, there is none for the record of a start
            await until(mended, bool)
            await until(build_started, bool)
        else:
            await until(refused, bool)  # the log that is there takes some records yet
        assert made.is_alive, made.log()[-3000:]

        filler.unlink()
        await until(ready, lambda seen: seen[0] == 200)
        await until(lambda: answer(made.router_port, "web.test"), "2.0".__eq__)
        assert tracebacks(made) == []


async def test_a_new_revision_waits_for_room_and_says_so() -> None:
    async with installation(prepare=small_data) as made, made.client() as client:
        await publish(made.vendor, "vendor/base:1", "1.0")
        await made.apply(
            client, base_stream(made.vendor) + stream("web") + docker_build("web", dockerfile=WEB)
        )
        await until(lambda: built(made), bool)
        filler = made.data_dir / "filler"
        fill(filler, leave=12 * 1024 * 1024)

        async def ready() -> int:
            return (await get(made, "/readyz"))[0]

        await until(ready, (503).__eq__)
        await made.apply(client, deployment("web"))

        async def progressing() -> tuple[str, str]:
            conditions = (await client.get(Deployment, "default", "web")).status.conditions
            found = find(conditions, "Progressing")
            return (found.reason, found.message) if found else ("", "")

        _, message = await until(progressing, lambda seen: seen[0] == "DiskPressure")
        assert "free space" in message

        filler.unlink()

        async def serving() -> int:
            return (await client.get(Deployment, "default", "web")).status.ready_replicas or 0

        await until(serving, (1).__eq__)


async def test_a_server_that_starts_on_a_full_disk_says_so_or_starts() -> None:
    async with installation(prepare=small_data) as made, made.client() as client:
        await made.apply(client, stream("kept"))
        made.kill()
        filler = made.data_dir / "filler"
        fill(filler)
        made.launch()

        async def state() -> tuple[bool, int]:
            if not made.is_alive:
                return False, 0
            try:
                return True, (await get(made, "/readyz"))[0]
            except aiohttp.ClientError:
                return True, 0

        alive, code = await until(state, lambda seen: seen != (True, 0))
        if alive:
            assert code == 503
        else:
            assert "error: " in made.log()
        assert tracebacks(made) == []
        made.kill()
        filler.unlink()
        await made.start()
        assert (await get(made, "/readyz"))[0] == 200


async def built(made: Installation) -> bool:
    return bool(made.inputs_tags("default/web"))


def tracebacks(made: Installation) -> Sequence[str]:
    return [line for line in made.log().splitlines() if "Traceback" in line]
