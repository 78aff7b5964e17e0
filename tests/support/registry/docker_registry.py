"""Debian's docker-registry as a process on loopback, and images to put into it."""

import asyncio
import json
import os
import shutil
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from tests.support.ports import free_port

from upwell.oci import Digest, Manifest, MediaType, parse_manifest

ALICE = ("alice", "wonderland")
HTPASSWD = "alice:$2y$05$abcdefghijklmnopqrstuuA0vov2GDneHB3.8.cv9UF9g.RdvScIW\n"
CONFIG = b'{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]}}'


@asynccontextmanager
async def docker_registry(
    folder: Path,
    auth: Mapping[str, Any] | None = None,
    tls: Mapping[str, str] | None = None,
    *,
    access_log: bool = False,
    deletes: bool = False,
    program: str = "docker-registry",
) -> AsyncIterator[str]:
    """Run a registry that keeps its files in `folder`; yields `host:port` when it answers.

    `tls` names its `certificate` and `key`. An access log goes into `registry.log`. It removes
    nothing unless it `deletes`. `program` may be another version of distribution.
    """
    if shutil.which(program) is None:
        pytest.skip(f"needs {program}: apt install docker-registry")
    port = free_port()
    config = {
        "version": "0.1",
        "log": {"level": "error", "accesslog": {"disabled": not access_log}},
        "storage": {
            "filesystem": {"rootdirectory": str(folder / "data")},
            "delete": {"enabled": deletes},
        },
        "http": {"addr": f"127.0.0.1:{port}", **({"tls": tls} if tls else {})},
        **({"auth": auth} if auth else {}),
    }
    path = folder / "config.yml"
    path.write_text(json.dumps(config))  # JSON is YAML
    with (folder / "registry.log").open("ab") as log:
        process = await asyncio.create_subprocess_exec(
            *(program, "serve", str(path)),
            stdout=log,
            stderr=log,
            env={**os.environ, "OTEL_TRACES_EXPORTER": "none"},  # of 3.0: else it looks for one
        )
    try:
        async with asyncio.timeout(60):
            await _accepts(port, process)
        yield f"127.0.0.1:{port}"
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def _accepts(port: int, process: asyncio.subprocess.Process) -> None:
    while process.returncode is None:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            await asyncio.sleep(0.02)
        else:
            writer.close()
            await writer.wait_closed()
            return
    raise AssertionError(f"docker-registry ended with {process.returncode}")


async def push_image(
    registry: str, repository: str, *tags: str, config: bytes = CONFIG, login: str = ""
) -> Manifest:
    """Push an image without layers under every one of `tags`."""
    manifest = image_manifest(config)
    base = f"http://{registry}/v2/{repository}"
    headers = {"Authorization": login} if login else {}
    async with aiohttp.ClientSession(headers=headers, raise_for_status=True) as session:
        await push_blob(session, base, config)
        for tag in tags:
            async with session.put(
                f"{base}/manifests/{tag}",
                data=manifest.raw,
                headers={"Content-Type": manifest.media_type},
            ):
                pass
    return manifest


async def push_blob(session: aiohttp.ClientSession, base: str, content: bytes) -> Digest:
    digest = Digest.of(content)
    async with session.post(f"{base}/blobs/uploads/") as begun:
        location = begun.headers["Location"]
    query = f"{'&' if '?' in location else '?'}digest={digest}"
    async with session.put(
        begun.url.join(type(begun.url)(location + query)),
        data=content,
        headers={"Content-Type": "application/octet-stream"},
    ):
        return digest


def image_manifest(config: bytes = CONFIG) -> Manifest:
    descriptor = {
        "mediaType": "application/vnd.oci.image.config.v1+json",
        "digest": str(Digest.of(config)),
        "size": len(config),
    }
    document = {
        "schemaVersion": 2,
        "mediaType": MediaType.OCI_MANIFEST,
        "config": descriptor,
        "layers": [],
    }
    manifest = parse_manifest(json.dumps(document).encode())
    assert isinstance(manifest, Manifest)
    return manifest
