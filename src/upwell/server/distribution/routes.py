"""The OCI distribution API v1.1 under /v2/ (distribution-spec, section API): storage over HTTP.

Requests are translated here and nowhere else: names and digests are parsed, bodies are bounded in
time, errors become the codes of the specification. What is stored is the storage's affair.
"""

from collections.abc import AsyncIterator, Callable, Sequence
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import BaseRoute, Mount, Route, Router

from upwell.oci import Digest, MediaType
from upwell.oci.manifest import MAX_MANIFEST_BYTES
from upwell.policy.access.roles import MIRROR_NAMESPACE
from upwell.registry.hosting import (
    ContentTooLargeError,
    HostedRegistry,
    ManifestEntry,
    ManifestPush,
)
from upwell.server.distribution.errors import answering_errors
from upwell.server.distribution.image_limits import ImageLimits
from upwell.server.distribution.pushed_streams import PushedStreams
from upwell.server.distribution.requests import (
    DistributionError,
    accepts,
    actor_of,
    byte_span,
    digest_in,
    last_digest,
    may_list,
    page_of,
    repository_of,
    tag_or_digest,
    tags_of,
)
from upwell.server.distribution.uploads import UploadRoutes
from upwell.server.http.bounded_body import DEFAULT_BODY_LIMITS, BodyLimits, read_at_most

_VERSION = {"Docker-Distribution-API-Version": "registry/2.0"}
_MAX_PAGE = 10_000
_MAX_REFERRERS = 1000
_MAX_REFERRERS_SIZE = 1024 * 1024
"""Characters of annotations; clients read an index of 4 MiB."""


def create_routes(
    registry: HostedRegistry,
    limits: BodyLimits = DEFAULT_BODY_LIMITS,
    actor: Callable[[Request], str] = actor_of,
    image_limits: ImageLimits | None = None,
    streams: PushedStreams | None = None,
) -> list[BaseRoute]:
    """Return the routes of /v2/; `actor` names who pushes, for PushEvent."""
    content = _ContentRoutes(registry, limits, actor, image_limits or ImageLimits(), streams)
    uploads = UploadRoutes(registry, limits, actor)
    table = [
        ("/{name:path}/manifests/{reference}", content.pull_manifest, ["GET"]),
        ("/{name:path}/manifests/{reference}", content.push_manifest, ["PUT"]),
        ("/{name:path}/manifests/{reference}", content.delete_manifest, ["DELETE"]),
        ("/{name:path}/blobs/uploads/", uploads.start, ["POST"]),
        ("/{name:path}/blobs/uploads/{upload}", uploads.status, ["GET"]),
        ("/{name:path}/blobs/uploads/{upload}", uploads.append, ["PATCH"]),
        ("/{name:path}/blobs/uploads/{upload}", uploads.finish, ["PUT"]),
        ("/{name:path}/blobs/uploads/{upload}", uploads.cancel, ["DELETE"]),
        ("/{name:path}/blobs/{digest}", content.pull_blob, ["GET"]),
        ("/{name:path}/blobs/{digest}", content.delete_blob, ["DELETE"]),
        ("/{name:path}/tags/list", content.list_tags, ["GET"]),
        ("/{name:path}/referrers/{digest}", content.list_referrers, ["GET"]),
        ("/_catalog", content.list_repositories, ["GET"]),
        ("/", content.version, ["GET"]),
    ]
    routes = [
        Route(path, answering_errors(endpoint), methods=methods)
        for path, endpoint, methods in table
    ]
    return [Mount("/v2", app=Router(routes, redirect_slashes=False))]


class _ContentRoutes:
    """Routes of content, uploads apart; Starlette answers HEAD where there is GET."""

    def __init__(
        self,
        registry: HostedRegistry,
        limits: BodyLimits,
        actor: Callable[[Request], str],
        image_limits: ImageLimits,
        streams: PushedStreams | None,
    ) -> None:
        self._streams = streams
        self._image_limits = image_limits
        self._registry = registry
        self._limits = limits
        self._actor = actor

    async def version(self, request: Request) -> Response:
        """Say that this is a registry (end-1)."""
        del request
        return JSONResponse({}, headers=_VERSION)

    async def pull_manifest(self, request: Request) -> Response:
        """Answer a manifest (end-3); a HEAD reads no file."""
        name = repository_of(request)
        entry = await self._registry.find_manifest(name, tag_or_digest(request, pushing=False))
        if not accepts(request, entry.media_type):
            raise DistributionError(
                406, "MANIFEST_UNKNOWN", f"the manifest is {entry.media_type}; accept that type"
            )
        headers = {
            **_content_headers(entry.digest),
            "Content-Type": entry.media_type,
            "Content-Length": str(entry.size),
        }
        if _is_known(request, entry.digest):
            return Response(status_code=304, headers=_content_headers(entry.digest))
        if request.method == "HEAD":
            await self._registry.keep_manifest(name, entry.digest)
            return Response(headers=headers)
        raw = await self._registry.read_manifest(name, entry.digest)
        return Response(raw, headers=headers)

    async def push_manifest(self, request: Request) -> Response:
        """Store a manifest (end-7)."""
        name = repository_of(request)
        target = tag_or_digest(request, pushing=True)
        raw = await read_at_most(MAX_MANIFEST_BYTES, request, self._limits)
        if raw is None:
            raise ContentTooLargeError(name, MAX_MANIFEST_BYTES)
        if isinstance(target, str):
            tags: list[str | None] = [target]
        else:
            tags = [*tags_of(request)] or [None]
        pushes = [
            ManifestPush(
                repository=name,
                raw=raw,
                media_type=request.headers.get("Content-Type", ""),
                tag=tag,
                digest=target if isinstance(target, Digest) else None,
                actor=self._actor(request),
            )
            for tag in tags
        ]
        for push in pushes:
            await self._image_limits.require(self._registry, push)
            if self._streams is not None:
                await self._streams.require(self._registry, request, push)
        for push in pushes:
            entry = await self._registry.put_manifest(push)
            if self._streams is not None:
                await self._streams.wait_for(push, entry.digest)
        headers = {
            "Location": f"/v2/{name}/manifests/{target}",
            "Docker-Content-Digest": str(entry.digest),
        }
        if isinstance(target, Digest) and tags != [None]:
            headers["OCI-Tag"] = ", ".join(map(str, tags))
        if entry.subject is not None:
            headers["OCI-Subject"] = str(entry.subject)
        return Response(status_code=201, headers=headers)

    async def delete_manifest(self, request: Request) -> Response:
        """Delete a tag or a manifest (end-9)."""
        name = repository_of(request)
        target = tag_or_digest(request, pushing=False)
        if isinstance(target, Digest):
            await self._registry.delete_manifest(name, target)
        else:
            if self._streams is not None:
                await self._streams.require_pushed(name, target)
            await self._registry.untag(name, target)
            if self._streams is not None:
                await self._streams.untag(name, target)
        return Response(status_code=202)

    async def pull_blob(self, request: Request) -> Response:
        """Answer a blob or one range of it (end-2)."""
        name, digest = repository_of(request), digest_in(request)
        reads = request.method != "HEAD"
        size = await self._registry.blob_size(name, digest, verified=reads)
        headers = {
            **_content_headers(digest),
            "Accept-Ranges": "bytes",
            "Content-Type": "application/octet-stream",
        }
        if _is_known(request, digest):
            return Response(status_code=304, headers=headers)
        span = byte_span(request, size)
        status = 200
        if span is None:
            span = range(size)
        else:
            status = 206
            headers["Content-Range"] = f"bytes {span.start}-{span.stop - 1}/{size}"
        headers["Content-Length"] = str(len(span))
        if not reads:
            return Response(status_code=status, headers=headers)
        return StreamingResponse(self._stream(name, digest, span), status, headers)

    async def _stream(self, name: str, digest: Digest, span: range) -> AsyncIterator[bytes]:
        async with self._registry.read_blob(name, digest, span) as chunks:
            async for chunk in chunks:
                yield chunk

    async def delete_blob(self, request: Request) -> Response:
        """Take a blob out of a repository (end-10)."""
        await self._registry.delete_blob(repository_of(request), digest_in(request))
        return Response(status_code=202)

    async def list_tags(self, request: Request) -> Response:
        """List tags in pages (end-8)."""
        name = repository_of(request)
        if not may_list(request, name):
            why = f"{name} has its tags listed for who has a role in namespace {MIRROR_NAMESPACE}"
            raise DistributionError(403, "DENIED", why)
        tags = await self._registry.tag_names(name)
        page, headers = _page(request, tags, f"/v2/{name}/tags/list")
        return JSONResponse({"name": name, "tags": page}, headers=headers)

    async def list_repositories(self, request: Request) -> Response:
        """List the repositories that the client may list, in pages (distribution's _catalog)."""
        names = [name for name in await self._registry.repositories() if may_list(request, name)]
        page, headers = _page(request, names, "/v2/_catalog")
        return JSONResponse({"repositories": page}, headers=headers)

    async def list_referrers(self, request: Request) -> Response:
        """List the manifests that refer to a digest, in pages (end-12a, end-12b)."""
        name, digest = repository_of(request), digest_in(request)
        entries = await self._registry.referrers(name, digest)
        headers = {}
        if wanted := request.query_params.get("artifactType"):
            entries = [entry for entry in entries if entry.artifact_type == wanted]
            headers["OCI-Filters-Applied"] = "artifactType"
        if last := last_digest(request):
            entries = [entry for entry in entries if entry.digest > last]
        page = _referrers_page(entries)
        if len(page) < len(entries):
            query = urlencode(
                {"last": str(page[-1].digest)} | ({"artifactType": wanted} if wanted else {})
            )
            headers["Link"] = f'</v2/{name}/referrers/{digest}?{query}>; rel="next"'
        index = {
            "schemaVersion": 2,
            "mediaType": str(MediaType.OCI_INDEX),
            "manifests": [_descriptor(entry) for entry in page],
        }
        return JSONResponse(index, headers=headers, media_type=str(MediaType.OCI_INDEX))


def _referrers_page(entries: Sequence[ManifestEntry]) -> Sequence[ManifestEntry]:
    """Return the first entries, as many as fit into an index that every client reads."""
    size = 0
    for count, entry in enumerate(entries[:_MAX_REFERRERS]):
        size += sum(len(key) + len(text) for key, text in entry.annotations.items())
        if size > _MAX_REFERRERS_SIZE and count:
            return entries[:count]
    return entries[:_MAX_REFERRERS]


def _content_headers(digest: Digest) -> dict[str, str]:
    return {"Docker-Content-Digest": str(digest), "ETag": f'"{digest}"'}


def _is_known(request: Request, digest: Digest) -> bool:
    # Clients of distribution send the digest without the quotes that HTTP asks for.
    known = request.headers.get("If-None-Match", "")
    tags = {tag.strip().removeprefix("W/").strip('"') for tag in known.split(",")}
    return str(digest) in tags or "*" in tags


def _page(
    request: Request, names: Sequence[str], path: str
) -> tuple[Sequence[str], dict[str, str]]:
    """Cut the page that was asked for out of sorted `names`, with the Link to the next one."""
    count, last = page_of(request, _MAX_PAGE)
    after = [name for name in names if name > last] if last else list(names)
    page = after[:count]
    if len(page) == len(after) or not page:
        return page, {}
    query = urlencode({"n": count, "last": page[-1]})
    return page, {"Link": f'<{path}?{query}>; rel="next"'}


def _descriptor(entry: ManifestEntry) -> dict[str, object]:
    descriptor: dict[str, object] = {
        "mediaType": entry.media_type,
        "digest": str(entry.digest),
        "size": entry.size,
    }
    if entry.artifact_type:
        descriptor["artifactType"] = entry.artifact_type
    if entry.annotations:
        descriptor["annotations"] = dict(entry.annotations)
    return descriptor
