"""Failures of the process, the disk and the client under the embedded registry."""

import asyncio
import contextlib
import hashlib
import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import aiohttp
import pytest
from tests.support.paths import ROOT
from tests.support.registry.embedded_server import serving, serving_registry

from upwell.oci import Digest, MediaType, Reference
from upwell.registry.embedded import EmbeddedRegistry
from upwell.registry.hosted.limits import StorageLimits

MIB = 1024 * 1024
CONFIG = b"{}"


@contextlib.asynccontextmanager
async def child(root: Path) -> AsyncIterator[tuple[str, asyncio.subprocess.Process]]:
    """The registry in another process, killed at the end."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.support.registry.embedded_server",
        str(root),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(60):
            host = (await process.stdout.readline()).decode().strip()
        yield f"http://{host}", process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGKILL)
        await process.wait()


def files(root: Path) -> list[Path]:
    return [path for path in root.rglob("*") if path.is_file()]


def assert_sound(root: Path) -> None:
    """Assert that each visible blob has the digest that its name says."""
    for path in [*root.glob("blobs/*/*/*"), *root.glob("repositories/**/_blobs/*/*")]:
        algorithm = "sha512" if len(path.name) == 128 else "sha256"
        assert hashlib.new(algorithm, path.read_bytes()).hexdigest() == path.name
    for path in root.glob("repositories/**/_tags/*"):
        digest = Digest.parse(path.read_text())
        manifest = path.parent.parent / "_manifests" / digest.algorithm / digest.hex
        for item in [json.loads(manifest.read_bytes())["config"]]:
            assert (path.parent.parent / "_blobs" / "sha256" / item["digest"][7:]).exists()


async def endless() -> AsyncIterator[bytes]:
    while True:
        yield b"\0" * 65536


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110 - files of another process set no Event
            await asyncio.sleep(0.01)


async def post(session: aiohttp.ClientSession, url: str, content: bytes) -> int:
    params = {"digest": str(Digest.of(content))}
    async with session.post(url, data=io.BytesIO(content), params=params) as answer:
        return answer.status


def manifest(number: int) -> bytes:
    config = {"mediaType": "c", "digest": str(Digest.of(CONFIG)), "size": len(CONFIG)}
    return json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": MediaType.OCI_MANIFEST,
            "config": config,
            "layers": [],
            "annotations": {"number": str(number)},
        }
    ).encode()


async def test_a_kill_in_the_middle_of_an_upload_lets_the_client_go_on(tmp_path: Path) -> None:
    content = os.urandom(6 * MIB)
    digest = Digest.of(content)

    async def half() -> AsyncIterator[bytes]:
        yield content[: 3 * MIB]
        await asyncio.Event().wait()

    async with aiohttp.ClientSession() as session:
        async with child(tmp_path) as (url, process):
            async with session.post(f"{url}/v2/a/blobs/uploads/") as answer:
                location = answer.headers["Location"]
            pushing = asyncio.create_task(session.patch(url + location, data=half()))
            await until(lambda: sum(f.stat().st_size for f in files(tmp_path)) >= MIB)
            process.send_signal(signal.SIGKILL)
            with pytest.raises(aiohttp.ClientError):
                await pushing

        async with child(tmp_path) as (url, _):
            async with session.head(f"{url}/v2/a/blobs/{digest}") as answer:
                assert answer.status == 404
            async with session.get(url + location) as answer:
                offset = int(answer.headers["Range"].removeprefix("0-")) + 1
            assert MIB <= offset <= 3 * MIB
            async with session.put(
                url + location,
                data=io.BytesIO(content[offset:]),
                params={"digest": str(digest)},
                headers={"Content-Range": f"{offset}-{len(content) - 1}"},
            ) as answer:
                assert answer.status == 201
            async with session.get(f"{url}/v2/a/blobs/{digest}") as answer:
                assert await answer.read() == content


@pytest.mark.parametrize("delay", [0.0, 0.01, 0.03, 0.06, 0.1])
async def test_what_was_acknowledged_survives_a_kill(tmp_path: Path, delay: float) -> None:
    acknowledged: list[int] = []

    async def push_for_ever(url: str) -> None:
        async with aiohttp.ClientSession() as session:
            await post(session, f"{url}/v2/a/blobs/uploads/", CONFIG)
            for number in range(100_000):
                target = f"{url}/v2/a/manifests/t{number}"
                async with session.put(target, data=manifest(number)) as answer:
                    assert answer.status == 201
                acknowledged.append(number)

    async with child(tmp_path) as (url, process):
        pushing = asyncio.create_task(push_for_ever(url))
        await until(lambda: acknowledged)
        await asyncio.sleep(delay)  # the moment of the kill is what varies
        process.send_signal(signal.SIGKILL)
        with pytest.raises(aiohttp.ClientError):
            await pushing

    assert_sound(tmp_path)
    registry = EmbeddedRegistry(tmp_path, "internal")
    await registry.recover()
    for number in acknowledged:
        expected = Digest.of(manifest(number))
        assert await registry.tag_digest("a", f"t{number}") == expected
        reference = Reference("internal", "a", digest=expected)
        assert (await registry.manifest(reference)).raw == manifest(number)
    assert list((tmp_path / "temporary").iterdir()) == []


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    if os.geteuid() != 0:
        pytest.skip("mounting a small file system needs root")
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(disk)], check=False
    )
    if mounted.returncode:
        pytest.skip("this machine does not allow to mount a tmpfs (needs CAP_SYS_ADMIN)")
    yield disk
    subprocess.run(["umount", "--lazy", str(disk)], check=True)


async def test_a_full_disk_refuses_the_push_and_harms_nothing(small_disk: Path) -> None:
    kept, too_much = os.urandom(MIB // 2), os.urandom(4 * MIB)
    async with serving(small_disk) as served, aiohttp.ClientSession() as session:
        uploads = f"{served.url}/v2/a/blobs/uploads/"
        assert await post(session, uploads, kept) == 201

        params = {"digest": str(Digest.of(too_much))}
        async with session.post(uploads, data=io.BytesIO(too_much), params=params) as answer:
            assert answer.status == 507
            assert (await answer.json())["errors"][0]["code"] == "UNAVAILABLE"

        assert not files(small_disk / "uploads")
        assert_sound(small_disk)
        assert await post(session, uploads, os.urandom(MIB // 2)) == 201
        async with session.get(f"{served.url}/v2/a/blobs/{Digest.of(kept)}") as answer:
            assert await answer.read() == kept


async def test_a_full_disk_keeps_a_tag_where_it_was(small_disk: Path) -> None:
    async with serving(small_disk) as served, aiohttp.ClientSession() as session:
        target = f"{served.url}/v2/a/manifests/v1"
        assert await post(session, f"{served.url}/v2/a/blobs/uploads/", CONFIG) == 201
        async with session.put(target, data=manifest(1)) as answer:
            assert answer.status == 201
        filler = small_disk / "filler"
        with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
            while file.write(b"\0" * 4096):
                pass

        async with session.put(target, data=manifest(2)) as answer:
            assert answer.status == 507
        async with session.get(target) as answer:
            assert await answer.read() == manifest(1)
        filler.unlink()
        async with session.put(target, data=manifest(2)) as answer:
            assert answer.status == 201
        assert len(served.events) == 2


@pytest.mark.parametrize("target", ["blobs/uploads/?digest=" + str(Digest.of(b"")), "manifests/x"])
async def test_an_endless_body_is_cut_off(tmp_path: Path, target: str) -> None:
    method = "PUT" if target.startswith("manifests") else "POST"
    async with (
        serving(tmp_path, StorageLimits(blob_bytes=2 * MIB)) as served,
        aiohttp.ClientSession() as session,
        asyncio.timeout(60),
    ):
        # Either the client still sees the answer, or the connection is closed under it.
        with contextlib.suppress(aiohttp.ClientError):
            async with session.request(
                method, f"{served.url}/v2/a/{target}", data=endless()
            ) as answer:
                assert answer.status == 413

        await until(lambda: not files(tmp_path))


async def test_a_body_that_stops_is_given_up_and_the_upload_goes_on(tmp_path: Path) -> None:
    async def stalling() -> AsyncIterator[bytes]:
        yield b"01234"
        await asyncio.Event().wait()

    async with serving(tmp_path, idle=0.1) as served, aiohttp.ClientSession() as session:
        async with session.post(f"{served.url}/v2/a/blobs/uploads/") as answer:
            location = served.url + answer.headers["Location"]
        async with session.patch(location, data=stalling()) as answer:
            assert answer.status == 408
        async with session.get(location) as answer:
            assert (answer.status, answer.headers["Range"]) == (204, "0-4")


async def test_an_upload_takes_one_body_at_a_time(tmp_path: Path) -> None:
    sending = asyncio.Event()

    async def waiting() -> AsyncIterator[bytes]:
        yield b"0" * 65536
        sending.set()
        await asyncio.Event().wait()

    async with serving(tmp_path) as served, aiohttp.ClientSession() as session:
        async with session.post(f"{served.url}/v2/a/blobs/uploads/") as answer:
            location = served.url + answer.headers["Location"]
        first = asyncio.create_task(session.patch(location, data=waiting()))
        await sending.wait()
        statuses = []

        async def refused() -> bool:
            async with session.patch(location, data=b"1") as answer:
                statuses.append(answer.status)
            return statuses[-1] == 409

        async with asyncio.timeout(60):
            while not await refused():
                pass
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)


async def test_many_push_the_same_blob_at_once(tmp_path: Path) -> None:
    content = os.urandom(2 * MIB)
    async with serving(tmp_path) as served, aiohttp.ClientSession() as session:
        async with asyncio.TaskGroup() as group:
            pushes = [
                group.create_task(post(session, f"{served.url}/v2/{name}/blobs/uploads/", content))
                for name in ("a", "a", "a", "b", "b", "c")
            ]

        assert [push.result() for push in pushes] == [201] * 6
        assert_sound(tmp_path)
        stored = [path for path in files(tmp_path) if path.name == Digest.of(content).hex]
        assert len(stored) == 4
        assert {path.stat().st_ino for path in stored} == {stored[0].stat().st_ino}
        assert not files(tmp_path / "uploads")


async def test_many_move_the_same_tag_at_once(tmp_path: Path) -> None:
    async with serving(tmp_path) as served, aiohttp.ClientSession() as session:
        await post(session, f"{served.url}/v2/a/blobs/uploads/", CONFIG)

        async def push(number: int) -> None:
            target = f"{served.url}/v2/a/manifests/v1"
            async with session.put(target, data=manifest(number)) as answer:
                assert answer.status == 201

        async with asyncio.TaskGroup() as group:
            for number in range(20):
                group.create_task(push(number))

        now = await served.registry.tag_digest("a", "v1")
        again = EmbeddedRegistry(tmp_path, "internal")
        assert await again.tag_digest("a", "v1") == now == served.events[-1].digest
        assert len(served.events) == 20


async def test_a_blob_deleted_while_it_is_read_is_read_to_its_end(tmp_path: Path) -> None:
    content = os.urandom(8 * MIB)
    async with serving(tmp_path) as served, aiohttp.ClientSession() as session:
        await post(session, f"{served.url}/v2/a/blobs/uploads/", content)
        async with session.get(f"{served.url}/v2/a/blobs/{Digest.of(content)}") as answer:
            head = await answer.content.read(1024)
            await served.registry.delete_blob("a", Digest.of(content))
            assert head + await answer.read() == content
        assert not files(tmp_path)


async def test_a_client_in_the_middle_of_a_large_body_is_told_that_the_disk_is_full(
    tmp_path: Path,
) -> None:
    def create(host: str) -> EmbeddedRegistry:
        return EmbeddedRegistry(tmp_path, host, pressure=lambda: "the disk is full")

    content = bytes(64 * MIB)
    async with serving_registry(create) as registry, aiohttp.ClientSession() as session:
        url = f"http://{registry.host}/v2/a/b/blobs/uploads/"
        assert await post(session, url, content) == 507
