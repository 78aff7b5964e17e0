"""Rebases by one call of `upwell rebase`, and by crane, one process for each image.

REBASE_IMAGES says of how many images, 100 if it does not. UPWELL_CRANE names crane's program, if it
is not on PATH. Run with
`pytest -m benchmark -s tests/benchmarks/images/test_rebase.py`.
"""

import asyncio
import gzip
import http.client
import os
import random
import resource
import shutil
import socket
import sys
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.support.benchmarks.ratios import Ratios
from tests.support.registry.docker_registry import docker_registry
from tests.support.registry.made_images import MadeImage, made_image, push_made, tar_of

from upwell.outbound.dialing import unrestricted
from upwell.registry.client.client import RegistryClient
from upwell.registry.client.push import RegistryPusher

pytestmark = pytest.mark.benchmark

CRANE = os.environ.get("UPWELL_CRANE") or shutil.which("crane")
IMAGES = int(os.environ.get("REBASE_IMAGES", "100"))
PROCESSES = 4
BASE_BYTES = (30_000_000, 15_000_000, 5_000_000)
STEPS = [{"created_by": "layer", "created": "2026-01-01T00:00:00Z"}] * 4


@dataclass(frozen=True)
class RebaseSample:
    """Wall clock, processor time of client and registry, and requests, all for one image."""

    milliseconds: float
    processor: float
    registry: float
    requests: float

    def __str__(self) -> str:
        return (
            f"{self.milliseconds:.1f} ms, {self.processor:.1f} ms of processor,"
            f" {self.registry:.1f} ms of the registry's,"
            f" {self.requests:.1f} requests"
        )


def base(seed: int) -> MadeImage:
    layers = [
        tar_of({f"base/{at}": random.Random(f"{seed} {at}").randbytes(size)})  # noqa: S311
        for at, size in enumerate(BASE_BYTES)
    ]
    return made_image(*layers, history=STEPS[:3], level=1)


def plain(image: MadeImage) -> list[bytes]:
    return [gzip.decompress(layer) for layer in image.layers]


def requests(log: Path) -> int:
    return log.read_text().count('HTTP/1.1"')


def registry_processor(folder: Path) -> float:
    """Return the seconds of processor of the registry whose configuration is in a folder."""
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if str(folder).encode() in (process / "cmdline").read_bytes():
                used = (process / "stat").read_text().rpartition(")")[2].split()[11:13]
                return sum(map(int, used)) / os.sysconf("SC_CLK_TCK")
    return 0.0


async def sampled(log: Path, count: int, work: Callable[[], Awaitable[None]]) -> RebaseSample:
    def processor() -> float:
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        return used.ru_utime + used.ru_stime

    lines, began, used = requests(log), time.perf_counter(), processor()
    served = registry_processor(log.parent)
    await work()
    took, used = time.perf_counter() - began, processor() - used
    served = registry_processor(log.parent) - served
    asked = requests(log) - lines
    took, used, served = (one / count * 1000 for one in (took, used, served))
    return RebaseSample(took, used, served, asked / count)


async def called(*command: str, **env: str) -> None:
    process = await asyncio.create_subprocess_exec(
        *command,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, **env},
    )
    _, stderr = await process.communicate()
    assert process.returncode == 0, stderr.decode()


async def by_upwell(host: str, names: Sequence[str], tag: str, cache: Path) -> None:
    bases = f"--old-base={host}/base:1", f"--new-base={host}/base:2"
    upwell = sys.executable, "-m", "upwell", "rebase"
    await called(*upwell, *names, *bases, f"--tag={tag}", XDG_CACHE_HOME=str(cache))


async def by_crane(host: str, names: Sequence[str], tag: str) -> None:
    bases = f"--old_base={host}/base:1", f"--new_base={host}/base:2"
    slots = asyncio.Semaphore(PROCESSES)

    async def one(name: str) -> None:
        target = f"{name.rpartition(':')[0]}:{tag}"
        async with slots:
            await called(str(CRANE), "rebase", name, *bases, "-t", target)

    await asyncio.gather(*map(one, names))


def by_bare_sockets(host: str, made: Mapping[str, MadeImage], tag: str) -> None:
    """Write images whose content is known by no more requests than it takes, over one connection.

    For each: a mount of each layer of the base, two for the configuration, and one for the tag.
    """
    address, _, port = host.partition(":")
    with socket.create_connection((address, int(port))) as connection:
        answers = connection.makefile("rb")

        def asked(method: str, target: str, body: bytes = b"", kind: str = "x/x") -> str:
            head = f"{method} {target} HTTP/1.1\r\nHost: {host}\r\nContent-Type: {kind}\r\n"
            connection.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
            status, fields = answers.readline(), http.client.parse_headers(answers)
            answers.read(int(fields["Content-Length"] or 0))
            assert b" 201 " in status or b" 202 " in status, (method, target, status)
            return str(fields["Location"])

        for repository, image in made.items():
            uploads = f"/v2/{repository}/blobs/uploads/"
            for layer in image.manifest.layers[: len(BASE_BYTES)]:
                asked("POST", f"{uploads}?mount={layer.digest}&from=base")
            session = asked("POST", uploads).removeprefix(f"http://{host}")
            asked("PUT", f"{session}&digest={image.manifest.config.digest}", image.config)
            manifest = image.manifest
            kind = str(manifest.media_type)
            asked("PUT", f"/v2/{repository}/manifests/{tag}", manifest.raw, kind)


def note(ratios: Ratios, title: str, ours: RebaseSample, theirs: RebaseSample) -> None:
    """Note what ours takes of crane's time, and of all processor time that it takes."""
    ratios.note_cost(f"{title}, time of crane", ours.milliseconds / theirs.milliseconds)
    processor = (ours.processor + ours.registry) / (theirs.processor + theirs.registry)
    ratios.note_cost(f"{title}, processor of crane with its registry", processor)


async def test_many_images_get_their_new_base(tmp_path: Path, ratios: Ratios) -> None:
    async with docker_registry(tmp_path, access_log=True) as host:
        old, new = base(1), base(2)
        names = [f"{host}/team/app{number}:1" for number in range(IMAGES)]
        layers = plain(old)
        async with RegistryClient(unrestricted()) as client:
            pusher = RegistryPusher(client.connection)
            await push_made(pusher, f"{host}/base:1", old)
            await push_made(pusher, f"{host}/base:2", new)
            for number, name in enumerate(names):
                application = tar_of({"srv/app": f"application {number}".encode()})
                image = made_image(*layers, application, history=STEPS, level=1)
                await push_made(pusher, name, image, beside="base")
            above = plain(new)
            floor = {
                f"team/app{number}": made_image(
                    *above,
                    tar_of({"srv/app": f"application {number}".encode()}),
                    history=STEPS,
                    level=1,
                )
                for number in range(min(IMAGES, 100))
            }
        log, cache = tmp_path / "registry.log", tmp_path / "cache"
        found = {
            "upwell, layers unknown": await sampled(
                log, IMAGES, lambda: by_upwell(host, names, "unknown", cache)
            ),
            "upwell, layers known": await sampled(
                log, IMAGES, lambda: by_upwell(host, names, "known", cache)
            ),
            "upwell, one image": await sampled(
                log, 1, lambda: by_upwell(host, names[:1], "one", cache)
            ),
        }
        found["bare sockets, the least requests"] = await sampled(
            log, len(floor), lambda: asyncio.to_thread(by_bare_sockets, host, floor, "floor")
        )
        if CRANE is not None:
            found["crane"] = await sampled(log, IMAGES, lambda: by_crane(host, names, "crane"))
            found["crane, one image"] = await sampled(
                log, 1, lambda: by_crane(host, names[:1], "one-crane")
            )
            many = "rebase of many images, layers known"
            note(ratios, many, found["upwell, layers known"], found["crane"])
            one = found["upwell, one image"], found["crane, one image"]
            note(ratios, "rebase of one image", *one)
        for title, sample in found.items():
            print(f"{title}: {sample} for an image")  # noqa: T201
