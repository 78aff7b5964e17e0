"""The vendor's base image: a static busybox, a web site to serve, and a version in every file."""

import gzip
import io
import json
import shutil
import subprocess
import tarfile
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

import aiohttp
from yarl import URL

from upwell.machine.platform import machine_platform
from upwell.oci import Digest

SERVE = """\
#!/bin/sh
trap 'kill $!; exit 0' TERM
httpd -f -p 8080 -h /www &
wait $!
"""
_STATUS = """\
Package: libc6
Status: install ok installed
Architecture: amd64
Source: glibc
Version: {version}
"""
_OCI = "application/vnd.oci.image"


async def publish(registry: str, name: str, version: str, *, token: str = "") -> Digest:
    """Push the base image in this version to `name` (repository:tag); return its digest.

    `token` is for a registry that wants one: Upwell's own.
    """
    layers = [busybox_layer(), _version_layer(version)]
    return await push(registry, name, layers, ["/bin/sh"], token=token)


async def push(
    registry: str,
    name: str,
    layers: Sequence[bytes],
    command: Sequence[str],
    *,
    token: str = "",
    **more: Mapping[str, object],
) -> Digest:
    """Push an image of these layers (tar, gzip) to `name`; return its digest.

    `more` are further fields of its configuration: Volumes, ExposedPorts.
    """
    repository, _, tag = name.partition(":")
    config = {
        "architecture": machine_platform().architecture,
        "os": "linux",
        "config": {"Env": ["PATH=/bin"], "Cmd": command, **more},
        "rootfs": {
            "type": "layers",
            "diff_ids": [str(Digest.of(gzip.decompress(layer))) for layer in layers],
        },
    }
    base = f"http://{registry}/v2/{repository}"
    headers = {"Authorization": aiohttp.encode_basic_auth("test", token)} if token else {}
    async with aiohttp.ClientSession(headers=headers, raise_for_status=True) as session:
        raw_config = json.dumps(config).encode()
        for blob in (*layers, raw_config):
            await _push_blob(session, base, blob)
        manifest = {
            "schemaVersion": 2,
            "mediaType": f"{_OCI}.manifest.v1+json",
            "config": _descriptor(f"{_OCI}.config.v1+json", raw_config),
            "layers": [_descriptor(f"{_OCI}.layer.v1.tar+gzip", layer) for layer in layers],
        }
        raw = json.dumps(manifest).encode()
        headers = {"Content-Type": f"{_OCI}.manifest.v1+json"}
        async with session.put(f"{base}/manifests/{tag}", data=raw, headers=headers):
            return Digest.of(raw)


async def publish_script(
    registry: str, name: str, script: str, **more: Mapping[str, object]
) -> Digest:
    """Push an image that runs a shell script; `more` are further fields of its configuration."""
    command = ["/bin/sh", "-c", script]
    return await push(registry, name, [busybox_layer()], command, token="", **more)


async def _push_blob(session: aiohttp.ClientSession, base: str, content: bytes) -> None:
    digest = str(Digest.of(content))
    async with session.head(f"{base}/blobs/{digest}", raise_for_status=False) as present:
        if present.status == 200:
            return
    async with session.post(f"{base}/blobs/uploads/") as begun:
        location = begun.url.join(URL(begun.headers["Location"]))
    headers = {"Content-Type": "application/octet-stream"}
    target = location.update_query(digest=digest)
    async with session.put(target, data=io.BytesIO(content), headers=headers):
        pass


def _descriptor(media_type: str, content: bytes) -> dict[str, object]:
    return {"mediaType": media_type, "digest": str(Digest.of(content)), "size": len(content)}


@cache
def busybox_layer() -> bytes:
    program = shutil.which("busybox") or "busybox"
    applets = subprocess.run([program, "--list"], check=True, capture_output=True, text=True)
    files = {
        "bin/busybox": Path(program).read_bytes(),
        "bin/serve": SERVE.encode(),
        "etc/passwd": b"root:x:0:0:root:/root:/bin/sh\n",
        "etc/group": b"root:x:0:\n",
    }
    links = [f"bin/{name}" for name in applets.stdout.split() if name != "busybox"]
    return layer(files, folders={"bin": 0o755, "etc": 0o755, "tmp": 0o1777}, links=links)


def _version_layer(version: str) -> bytes:
    files = {
        "etc/base-version": f"{version}\n".encode(),
        "var/lib/dpkg/status": _STATUS.format(version=version).encode(),
    }
    return layer(files, folders={"var/lib/dpkg": 0o755})


def layer(
    files: dict[str, bytes], folders: dict[str, int], links: list[str] | None = None
) -> bytes:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as archive:
        for name, mode in folders.items():
            folder = tarfile.TarInfo(name)
            folder.type, folder.mode = tarfile.DIRTYPE, mode
            archive.addfile(folder)
        for name, raw in files.items():
            file = tarfile.TarInfo(name)
            file.size, file.mode = len(raw), 0o755 if name.startswith("bin/") else 0o644
            archive.addfile(file, io.BytesIO(raw))
        for name in links or ():
            link = tarfile.TarInfo(name)
            link.type, link.linkname = tarfile.SYMTYPE, "busybox"
            archive.addfile(link)
    return gzip.compress(content.getvalue(), mtime=0)
