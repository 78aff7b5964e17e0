"""Blob uploads over HTTP: whole, in chunks, or mounted (distribution-spec, Pushing blobs)."""

from collections.abc import Callable

from starlette.requests import Request
from starlette.responses import Response

from upwell.oci import Digest
from upwell.oci.reference import is_repository
from upwell.oci.replica_contents import is_replica_content
from upwell.registry.hosting import HostedRegistry
from upwell.server.distribution.requests import (
    DistributionError,
    chunk_start,
    digest_of,
    repository_of,
)
from upwell.server.http.bounded_body import BodyError, BodyLimits, bounded

_ALGORITHMS = {"sha256", "sha512"}


class UploadRoutes:
    """The endpoints under /blobs/uploads/."""

    def __init__(
        self, registry: HostedRegistry, limits: BodyLimits, actor: Callable[[Request], str]
    ) -> None:
        self._registry = registry
        self._actor = actor
        self._limits = limits

    async def start(self, request: Request) -> Response:
        """Begin an upload (end-4a), take a whole blob (end-4b), or mount one (end-11)."""
        name = repository_of(request)
        query = request.query_params
        source = query.get("from", "")
        if "mount" in query and is_repository(source) and not is_replica_content(source):
            digest = digest_of(query["mount"])
            if await self._registry.mount_blob(name, digest, source):
                return _created(name, digest)
        if "digest" in query:
            return await self._take_whole(request, name, digest_of(query["digest"]))
        algorithm = query.get("digest-algorithm", "sha256")
        if algorithm not in _ALGORITHMS:
            raise DistributionError(
                400, "DIGEST_INVALID", f"cannot verify {algorithm[:30]!r} digests"
            )
        upload = await self._registry.start_upload(name, algorithm, self._actor(request))
        return _progress(name, upload, 0, 202)

    async def _take_whole(self, request: Request, name: str, digest: Digest) -> Response:
        owner = self._actor(request)
        upload = await self._registry.start_upload(name, digest.algorithm, owner)
        try:
            await self._registry.append(name, upload, bounded(request, self._limits))
        except BodyError:
            # The client never learned the upload's name, so it cannot go on.
            await self._registry.cancel_upload(name, upload)
            raise
        await self._registry.finish_upload(name, upload, digest)
        return _created(name, digest)

    async def status(self, request: Request) -> Response:
        """Say how many bytes have arrived (end-13)."""
        name, upload = repository_of(request), _upload_of(request)
        offset = await self._registry.upload_offset(name, upload)
        return _progress(name, upload, offset, 204)

    async def append(self, request: Request) -> Response:
        """Take a chunk (end-5)."""
        name, upload = repository_of(request), _upload_of(request)
        body = bounded(request, self._limits)
        offset = await self._registry.append(name, upload, body, chunk_start(request))
        return _progress(name, upload, offset, 202)

    async def finish(self, request: Request) -> Response:
        """Take the last chunk, if any, and close the upload (end-6)."""
        name, upload = repository_of(request), _upload_of(request)
        digest = digest_of(request.query_params.get("digest", ""))
        body = bounded(request, self._limits)
        await self._registry.append(name, upload, body, chunk_start(request))
        await self._registry.finish_upload(name, upload, digest)
        return _created(name, digest)

    async def cancel(self, request: Request) -> Response:
        """Drop an upload (end-14)."""
        await self._registry.cancel_upload(repository_of(request), _upload_of(request))
        return Response(status_code=204)


def _upload_of(request: Request) -> str:
    upload: str = request.path_params["upload"]
    return upload


def _created(name: str, digest: Digest) -> Response:
    headers = {"Location": f"/v2/{name}/blobs/{digest}", "Docker-Content-Digest": str(digest)}
    return Response(status_code=201, headers=headers)


def _progress(name: str, upload: str, offset: int, status: int) -> Response:
    headers = {
        "Location": f"/v2/{name}/blobs/uploads/{upload}",
        # An empty upload also says 0-0, as distribution does: clients refuse a missing Range.
        "Range": f"0-{max(offset - 1, 0)}",
        "Docker-Upload-UUID": upload,
    }
    return Response(status_code=status, headers=headers)
