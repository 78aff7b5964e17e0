"""Attack by whoever may build: bases made to be large, on which the server puts images anew."""

import asyncio
import gzip
import hashlib
import io
import itertools
import json
import tarfile
from collections.abc import Iterable, Mapping
from typing import Any

import aiohttp
from tests.support.attacks.attacks import NAMESPACE, Attack, Target, until_created

FILES = 140_000
LABELS = 60_000
"""Of a configuration of almost a mebibyte, which is as large as it may be."""
APPLICATIONS = ("first", "second")
_PAUSE = 0.2
"""Between looks at the builds."""
_OCI = "application/vnd.oci.image"
_IMAGES = f"/apis/image.openshift.io/v1/namespaces/{NAMESPACE}"
_BUILDS = f"/apis/build.openshift.io/v1/namespaces/{NAMESPACE}"


async def hostile_rebases(target: Target) -> None:
    """Push one large base after the other, and have two images put on each of them."""
    many = await asyncio.to_thread(_many_files)
    async with target.session() as session:
        await _push(session, [_layer(b"", "0")], {})
        await _create(session, f"{_IMAGES}/imagestreams", _stream("base"))
        for name in APPLICATIONS:
            await _create(session, f"{_IMAGES}/imagestreams", _stream(name))
            await _create(session, f"{_BUILDS}/buildconfigs", _build_config(name))
        await _until_built(session, 1)
        for version in itertools.count(1):
            labels = {f"l{number:05}": "" for number in range(LABELS)}
            layer = await asyncio.to_thread(_layer, many, str(version))
            await _push(session, [layer], {"Labels": labels | {"version": str(version)}})
            for build in await _until_built(session, version + 1):
                rebase = build["status"].get("rebase") or {}
                assert rebase.get("rebased"), rebase


REBASE_ATTACKS: Mapping[str, Attack] = {"hostile-rebases": hostile_rebases}


async def _until_built(session: aiohttp.ClientSession, number: int) -> list[Any]:
    """Return this build of each application when it has ended."""
    names = {f"{application}-{number}" for application in APPLICATIONS}
    while True:
        async with session.get(f"{_BUILDS}/builds") as answer:
            found = (await answer.json())["items"] if answer.status == 200 else []
        ended = [
            build
            for build in found
            if build["metadata"]["name"] in names and build["status"].get("completionTimestamp")
        ]
        if len(ended) == len(names):
            assert {build["status"]["phase"] for build in ended} == {"Complete"}, ended
            return ended
        await asyncio.sleep(_PAUSE)


async def _create(session: aiohttp.ClientSession, path: str, document: Mapping[str, Any]) -> None:
    text = json.dumps(document).encode()
    await until_created(session, path, lambda: io.BytesIO(text))


def _stream(name: str) -> Mapping[str, Any]:
    return {"metadata": {"name": name}}


def _build_config(name: str) -> Mapping[str, Any]:
    base = {"kind": "ImageStreamTag", "name": "base:1"}
    return {
        "metadata": {"name": name, "annotations": {"upwell.dev/on-base-change": "rebase"}},
        "spec": {
            "source": {"dockerfile": f"FROM base:1\nWORKDIR /{name}\n"},
            "strategy": {"dockerStrategy": {"from": base}},
            "output": {"to": {"kind": "ImageStreamTag", "name": f"{name}:latest"}},
            "triggers": [{"type": "ConfigChange"}, {"type": "ImageChange", "imageChange": {}}],
        },
    }


async def _push(
    session: aiohttp.ClientSession, layers: Iterable[tuple[bytes, str]], config: Mapping[str, Any]
) -> None:
    """Push the base with layers, each with the digest of what it unpacks to."""
    layers = [*layers]
    document = {
        "architecture": "amd64",
        "os": "linux",
        "config": config,
        "rootfs": {"type": "layers", "diff_ids": [diff_id for _, diff_id in layers]},
    }
    raw_config = json.dumps(document, separators=(",", ":")).encode()
    repository = f"/v2/{NAMESPACE}/base"
    for blob in (raw_config, *(packed for packed, _ in layers)):
        upload = f"{repository}/blobs/uploads/?digest={_digest(blob)}"
        await until_created(session, upload, lambda blob=blob: io.BytesIO(blob))  # type: ignore[misc]
    manifest = {
        "schemaVersion": 2,
        "mediaType": f"{_OCI}.manifest.v1+json",
        "config": _descriptor(f"{_OCI}.config.v1+json", raw_config),
        "layers": [_descriptor(f"{_OCI}.layer.v1.tar+gzip", packed) for packed, _ in layers],
    }
    headers = {"Content-Type": f"{_OCI}.manifest.v1+json"}
    body = json.dumps(manifest).encode()
    async with session.put(f"{repository}/manifests/1", data=body, headers=headers) as answer:
        assert answer.status == 201, await answer.text()


def _descriptor(media_type: str, content: bytes) -> Mapping[str, Any]:
    return {"mediaType": media_type, "digest": _digest(content), "size": len(content)}


def _digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def _many_files() -> bytes:
    """Return the beginning of an archive, of files without content."""
    names = (f"srv/{number // 1000}/{number}" for number in range(FILES))
    return b"".join(tarfile.TarInfo(name).tobuf() for name in names)


def _layer(begin: bytes, version: str) -> tuple[bytes, str]:
    """Return a layer that begins with `begin`, and the digest of what it unpacks to."""
    text = f"{version}\n".encode()
    file = tarfile.TarInfo("etc/base-version")
    file.size = len(text)
    end = file.tobuf() + text.ljust(tarfile.BLOCKSIZE, b"\0") + bytes(tarfile.RECORDSIZE)
    return gzip.compress(begin + end, 1, mtime=0), _digest(begin + end)
