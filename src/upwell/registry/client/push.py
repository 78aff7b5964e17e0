"""Writes to any OCI registry (distribution-spec 1.1, Push): blobs, mounts, manifests.

Each method asks once; what is there already is the caller's to find out first.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import replace
from http import HTTPStatus
from urllib.parse import quote

from upwell.oci import Descriptor, Digest, Index, Manifest, MediaType, Reference
from upwell.outbound.http.messages import Body
from upwell.registry.client.connection import Connection, raise_for_status, stated_digest
from upwell.registry.client.transport import RegistryRequest, RegistryResponse
from upwell.registry.errors import (
    BlobUnknownError,
    DigestMismatchError,
    InvalidAnswerError,
    RegistryError,
    RegistryRejectedError,
    RegistryUnavailableError,
)
from upwell.registry.hosts import RegistryEndpoint
from upwell.registry.interface import DEFAULT_ACCESS, RequestAccess

type OpenContent = Callable[[], AsyncIterator[bytes]]
"""Opens the bytes of a blob; called again when they must be sent again."""


async def once(content: bytes) -> AsyncIterator[bytes]:
    """Yield the bytes as one piece: an OpenContent of what is in memory, with `partial`."""
    yield content


_CREATED = frozenset({HTTPStatus.CREATED, HTTPStatus.NO_CONTENT})
_STARTED = frozenset({HTTPStatus.ACCEPTED})
_FOUND = frozenset({HTTPStatus.OK})
_UNTAGGED = frozenset({HTTPStatus.NOT_FOUND, HTTPStatus.BAD_REQUEST, HTTPStatus.METHOD_NOT_ALLOWED})
"""Answers to the removal of what is gone, or what the registry cannot remove."""


class PushRefusedError(RegistryError):
    """The registry has no such repository, and does not create it."""

    reason = "PushRefused"

    def __init__(self, name: str) -> None:
        super().__init__(f"{name} does not exist, or may not be pushed to")


class RegistryPusher:
    """Pushes through the connection of a RegistryClient. Mirrors are never written to."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def has_blob(
        self, reference: Reference, digest: Digest, access: RequestAccess = DEFAULT_ACCESS
    ) -> bool:
        """Return True if the repository holds a blob, with one HEAD."""
        endpoint = self._endpoint(reference, access)
        path = f"/v2/{endpoint.repository}/blobs/{digest}"
        return await self._exists(RegistryRequest("HEAD", endpoint, path), access)

    async def has_manifest(
        self, reference: Reference, digest: Digest, access: RequestAccess = DEFAULT_ACCESS
    ) -> bool:
        """Return True if the repository holds a manifest or index, with one HEAD."""
        endpoint = self._endpoint(reference, access)
        path = f"/v2/{endpoint.repository}/manifests/{digest}"
        return await self._exists(RegistryRequest("HEAD", endpoint, path, _ANY_MANIFEST), access)

    async def mount(
        self,
        reference: Reference,
        digest: Digest,
        source: str,
        access: RequestAccess = DEFAULT_ACCESS,
    ) -> bool:
        """Take a blob over from the repository `source` of the same registry.

        False when the registry would rather have it uploaded; raises a RegistryError.
        """
        endpoint = self._endpoint(reference, access)
        query = f"mount={digest}&from={quote(source, safe='/')}"
        path = f"/v2/{endpoint.repository}/blobs/uploads/?{query}"
        scopes = (*_push_scopes(endpoint), f"repository:{source}:pull")
        call = RegistryRequest("POST", endpoint, path, body=_NOTHING, scopes=scopes)
        try:
            async with self._connection.open(call, access) as answer:
                if answer.status in _CREATED:
                    return True
                await raise_for_status(answer, PushRefusedError(endpoint.name), _STARTED)
                upload = _upload_path(answer, endpoint)
        except RegistryError as error:
            if error.retryable:
                raise
            return False  # registries differ in how they say no: 400, 401, 404
        await self._cancel(endpoint, upload, access)
        return False

    async def push_blob(
        self,
        reference: Reference,
        blob: Descriptor,
        content: OpenContent,
        access: RequestAccess = DEFAULT_ACCESS,
    ) -> None:
        """Upload a blob; the registry checks its digest. Raises a RegistryError."""
        endpoint = self._endpoint(reference, access)
        upload = await self._start(endpoint, access)
        joined = "&" if "?" in upload else "?"
        finish = RegistryRequest(
            "PUT",
            endpoint,
            f"{upload}{joined}digest={quote(str(blob.digest), safe='')}",
            body=Body(content, blob.size),
            is_blob=True,
            scopes=_push_scopes(endpoint),
        )
        lost = RegistryUnavailableError(endpoint.name, "it lost the upload")
        try:
            async with self._connection.open(finish, access) as answer:
                await raise_for_status(answer, lost, _CREATED)
        except RegistryRejectedError as error:
            if error.status != HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
                raise
            raise lost from error

    async def try_push(self, reference: Reference, access: RequestAccess = DEFAULT_ACCESS) -> None:
        """Begin an upload and give it up, which stores nothing; raises a RegistryError."""
        endpoint = self._endpoint(reference, access)
        upload = await self._start(endpoint, access)
        with suppress(RegistryError):  # it was let in, which is what was asked
            await self._cancel(endpoint, upload, access)

    async def push_manifest(
        self,
        reference: Reference,
        manifest: Manifest | Index,
        access: RequestAccess = DEFAULT_ACCESS,
    ) -> bool:
        """Store a manifest under the tag or digest that `reference` names.

        Return True if the registry lists it among the referrers of its subject by itself.
        Raises BlobUnknownError when the registry misses its content, or another RegistryError.
        """
        endpoint = self._endpoint(reference, access)
        digest = manifest.digest

        async def raw() -> AsyncIterator[bytes]:
            yield manifest.raw

        call = RegistryRequest(
            "PUT",
            endpoint,
            f"/v2/{endpoint.repository}/manifests/{reference.target}",
            body=Body(raw, len(manifest.raw), str(manifest.media_type)),
            scopes=_push_scopes(endpoint),
        )
        async with self._connection.open(call, access) as answer:
            unknown = BlobUnknownError(endpoint.name, digest)
            await raise_for_status(answer, unknown, _CREATED)
            stated = stated_digest(answer)
            is_listed = "OCI-Subject" in answer.headers
        if stated is not None and stated != digest:
            raise DigestMismatchError(endpoint.name, digest, stated)
        return is_listed

    async def delete_manifest(
        self, reference: Reference, access: RequestAccess = DEFAULT_ACCESS
    ) -> None:
        """Remove a tag, keeping what it names, or by its digest a manifest with its tags.

        Nothing is done where there is none. A registry that removes none keeps it
        (distribution-spec, Content Management).
        """
        endpoint = self._endpoint(reference, access)
        path = f"/v2/{endpoint.repository}/manifests/{reference.target}"
        scope = f"repository:{endpoint.repository}:pull,push,delete"
        call = RegistryRequest("DELETE", endpoint, path, scopes=(scope,))
        async with self._connection.open(call, access) as answer:
            if answer.status not in _UNTAGGED:
                await raise_for_status(answer, PushRefusedError(endpoint.name), _STARTED)

    def _endpoint(self, reference: Reference, access: RequestAccess) -> RegistryEndpoint:
        return self._connection.hosts.endpoint(reference, insecure=access.insecure)

    async def _exists(self, call: RegistryRequest, access: RequestAccess) -> bool:
        call = replace(call, scopes=_push_scopes(call.endpoint))
        async with self._connection.open(call, access) as answer:
            if answer.status == HTTPStatus.NOT_FOUND:
                return False
            await raise_for_status(answer, PushRefusedError(call.endpoint.name), _FOUND)
            return True

    async def _start(self, endpoint: RegistryEndpoint, access: RequestAccess) -> str:
        """Begin an upload; return its path and query."""
        path = f"/v2/{endpoint.repository}/blobs/uploads/"
        scopes = _push_scopes(endpoint)
        call = RegistryRequest("POST", endpoint, path, body=_NOTHING, scopes=scopes)
        async with self._connection.open(call, access) as answer:
            await raise_for_status(answer, PushRefusedError(endpoint.name), _STARTED)
            return _upload_path(answer, endpoint)

    async def _cancel(self, endpoint: RegistryEndpoint, upload: str, access: RequestAccess) -> None:
        call = RegistryRequest("DELETE", endpoint, upload, scopes=_push_scopes(endpoint))
        async with self._connection.open(call, access):
            return  # a registry that keeps it forgets it by itself


async def _no_bytes() -> AsyncIterator[bytes]:
    for _ in ():
        yield b""


_NOTHING = Body(_no_bytes, 0)
_ANY_MANIFEST = ", ".join(MediaType)


def _push_scopes(endpoint: RegistryEndpoint) -> tuple[str, ...]:
    return (f"repository:{endpoint.repository}:pull,push",)


def _upload_path(answer: RegistryResponse, endpoint: RegistryEndpoint) -> str:
    """Return path and query of an upload that was started; raises InvalidAnswerError.

    A Location may be relative. It may not lead to another host: our login would go there.
    """
    location = answer.headers.get("Location", "")
    try:
        url = answer.url.join(location)
    except ValueError:
        url = None
    if not location or url is None or url.host != answer.url.host:
        raise InvalidAnswerError(endpoint.name, "it names no place for the upload on its own host")
    return url.target
