"""Images written straight into a registry: in a hundredth of the time of a build."""

import gzip
import hashlib
import http.client
import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Self

from upwell.machine.platform import machine_platform
from upwell.oci import Digest, Reference

_OCI = "application/vnd.oci.image"
_DOCKER = "application/vnd.docker"
_TYPES = {
    False: (f"{_OCI}.manifest.v1+json", f"{_OCI}.config.v1+json", f"{_OCI}.layer.v1.tar+gzip"),
    True: (
        f"{_DOCKER}.distribution.manifest.v2+json",
        f"{_DOCKER}.container.image.v1+json",
        f"{_DOCKER}.image.rootfs.diff.tar.gzip",
    ),
}
"""Media types of manifest, configuration and layer, by whether the format is Docker's."""


class Layer:
    """Files of an image, all of them root's; folders are named before what lies in them."""

    def __init__(self) -> None:
        self._content = io.BytesIO()
        self._tar = tarfile.TarFile(fileobj=self._content, mode="w", format=tarfile.PAX_FORMAT)

    def folder(self, path: str, mode: int = 0o755) -> None:
        entry = tarfile.TarInfo(path.strip("/"))
        entry.type, entry.mode = tarfile.DIRTYPE, mode
        self._tar.addfile(entry)

    def file(self, path: str, content: bytes, mode: int = 0o755) -> None:
        entry = tarfile.TarInfo(path.strip("/"))
        entry.size, entry.mode = len(content), mode
        self._tar.addfile(entry, io.BytesIO(content))

    def link(self, path: str, target: str) -> None:
        entry = tarfile.TarInfo(path.strip("/"))
        entry.type, entry.linkname, entry.mode = tarfile.SYMTYPE, target, 0o777
        self._tar.addfile(entry)

    def remove(self, path: str) -> None:
        """Hide a file of the layers below (image-spec, layer.md)."""
        folder, _, name = path.rpartition("/")
        self.file(f"{folder}/.wh.{name}", b"")

    def tar(self) -> bytes:
        self._tar.close()
        return self._content.getvalue()


@dataclass(frozen=True)
class WrittenImage:
    """Layers as tar files, the lowest first, and the configuration (image-spec, config.md)."""

    layers: Sequence[bytes]
    config: Mapping[str, Any] = field(default_factory=dict)
    docker_format: bool = False

    def push(self, to: Reference) -> Reference:
        """Push to a registry without TLS; return the reference with its digest."""
        manifest_type, config_type, layer_type = _TYPES[self.docker_format]
        platform = machine_platform()
        created = datetime.now(UTC).isoformat()
        document = {
            "architecture": platform.architecture,
            "os": platform.os,
            "created": created,
            "config": dict(self.config),
            "rootfs": {"type": "layers", "diff_ids": [_digest(layer) for layer in self.layers]},
            "history": [{"created": created, "created_by": "test"} for _ in self.layers],
        }
        with _Upload(to) as upload:
            manifest = {
                "schemaVersion": 2,
                "mediaType": manifest_type,
                "config": upload.blob(json.dumps(document).encode(), config_type),
                "layers": [upload.blob(_compressed(layer), layer_type) for layer in self.layers],
            }
            raw = json.dumps(manifest).encode()
            upload.manifest(raw, manifest_type)
        return to.with_digest(Digest.of(raw))


class _Upload:
    """Uploads to one repository (distribution-spec, "Push")."""

    def __init__(self, to: Reference) -> None:
        self._to = to
        self._http = http.client.HTTPConnection(to.registry, timeout=60)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def blob(self, content: bytes, media_type: str) -> dict[str, object]:
        digest = _digest(content)
        path = f"/v2/{self._to.repository}/blobs"
        if self._ask("HEAD", f"{path}/{digest}").status != http.client.OK:
            location = self._ask("POST", f"{path}/uploads/").headers["Location"]
            place = location.partition(self._to.registry)[2] or location
            sign = "&" if "?" in place else "?"
            headers = {"Content-Type": "application/octet-stream"}
            self._put(f"{place}{sign}digest={digest}", content, headers)
        return {"mediaType": media_type, "digest": digest, "size": len(content)}

    def manifest(self, raw: bytes, media_type: str) -> None:
        path = f"/v2/{self._to.repository}/manifests/{self._to.tag}"
        self._put(path, raw, {"Content-Type": media_type})

    def _put(self, path: str, content: bytes, headers: Mapping[str, str]) -> None:
        answer = self._ask("PUT", path, content, headers)
        assert answer.status == http.client.CREATED, (path, answer.status)

    def _ask(
        self,
        method: str,
        path: str,
        content: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> http.client.HTTPResponse:
        self._http.request(method, path, content, dict(headers or {}))
        answer = self._http.getresponse()
        answer.read()
        return answer


@lru_cache(maxsize=4)  # most images have the same system
def _compressed(layer: bytes) -> bytes:
    return gzip.compress(layer, 1, mtime=0)


def _digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"
