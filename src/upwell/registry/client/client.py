"""The client of any OCI registry (distribution-spec 1.1, Docker registry API v2).

Asks with HEAD before GET, verifies digests on raw bytes, and repeats nothing by itself.
"""

import hashlib
import json
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from http import HTTPStatus
from random import random
from types import TracebackType
from typing import Self

from upwell.oci import (
    Descriptor,
    Digest,
    Index,
    InvalidManifestError,
    Manifest,
    MediaType,
    Reference,
    parse_manifest,
)
from upwell.oci.manifest import MAX_MANIFEST_BYTES
from upwell.oci.reference import MAX_TAG_LENGTH, is_tag
from upwell.outbound.dialing import Dialer
from upwell.registry.client.connection import Connection, raise_for_status, stated_digest
from upwell.registry.client.referrers import MAX_REFERRERS, ReferrerReader, next_page
from upwell.registry.client.transport import RegistryRequest, RegistryResponse, Timeouts
from upwell.registry.errors import (
    BlobUnknownError,
    DigestMismatchError,
    InvalidAnswerError,
    ManifestUnknownError,
    RegistryError,
    RepositoryUnknownError,
)
from upwell.registry.hosts import RegistryEndpoint, RegistryHosts
from upwell.registry.interface import DEFAULT_ACCESS, Credential, CredentialSource, RequestAccess

log = logging.getLogger(__name__)

MAX_TAGS = 200_000
MAX_TAG_PAGE_BYTES = 4 * 1024 * 1024
_TAGS_PER_PAGE = 1000
# All of them, always: without the OCI types, distribution answers 404 for an OCI manifest that
# exists, and old registries convert an index into its linux/amd64 manifest.
_ACCEPT = ", ".join(MediaType)
_MANIFEST_TYPES = frozenset(MediaType)
_NO_HEAD = {HTTPStatus.METHOD_NOT_ALLOWED, HTTPStatus.NOT_IMPLEMENTED}


class RegistryClient:
    """Implements Registry for remote registries. Close it after use, or use it as a context.

    `credentials` are those of requests whose Access names none. `clock` gives seconds since
    the epoch, `jitter` numbers from 0 to 1. `dialer` decides which
    addresses are asked: on behalf of objects by a policy, for a person who runs a command all.
    """

    def __init__(
        self,
        dialer: Dialer,
        hosts: RegistryHosts | None = None,
        credentials: CredentialSource | None = None,
        timeouts: Timeouts | None = None,
        clock: Callable[[], float] = time.time,
        jitter: Callable[[], float] = random,
    ) -> None:
        self._connection = Connection(dialer, hosts, credentials, timeouts, clock, jitter)

    @property
    def connection(self) -> Connection:
        """Connection that the client sends its requests through; for those who push as well."""
        return self._connection

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close every connection."""
        await self._connection.aclose()

    async def resolve(
        self, reference: Reference, access: RequestAccess = DEFAULT_ACCESS
    ) -> Descriptor:
        """Return media type, digest and size of what `reference` names now, with one HEAD.

        The size is 0 where the registry does not say it. Without a usable Docker-Content-Digest,
        or without HEAD, it takes a GET. Raises a RegistryError.
        """

        async def ask(endpoint: RegistryEndpoint) -> Descriptor | None:
            return await self._head(endpoint, reference, access)

        found = await self._first(reference, access, ask)
        if found is not None:
            return found
        manifest = await self.manifest(reference, access)
        return Descriptor(manifest.media_type, manifest.digest, len(manifest.raw))

    async def _head(
        self, endpoint: RegistryEndpoint, reference: Reference, access: RequestAccess
    ) -> Descriptor | None:
        """Return what a HEAD says; None where it says too little."""
        call = _manifest_call("HEAD", endpoint, reference)
        async with self._connection.open(call, access) as answer:
            # A presigned URL behind a redirect is often good for GET alone.
            head_failed = answer.redirected and answer.status != HTTPStatus.OK
            if answer.status not in _NO_HEAD and not head_failed:
                if answer.status != HTTPStatus.OK:
                    await raise_for_status(answer, ManifestUnknownError(reference))
                digest, media_type = stated_digest(answer), answer.media_type
                if digest is not None and media_type in _MANIFEST_TYPES:
                    _verify(reference.name, reference.digest, digest)
                    return Descriptor(media_type, digest, answer.response.content_length or 0)
        return None

    async def manifest(
        self, reference: Reference, access: RequestAccess = DEFAULT_ACCESS
    ) -> Manifest | Index:
        """Fetch a manifest or index; its digest is verified before anything decodes it.

        Raises ManifestUnknownError, DigestMismatchError or another RegistryError.
        """

        async def ask(endpoint: RegistryEndpoint) -> Manifest | Index:
            return await self._get_manifest(endpoint, reference, access)

        return await self._first(reference, access, ask)

    async def _get_manifest(
        self, endpoint: RegistryEndpoint, reference: Reference, access: RequestAccess
    ) -> Manifest | Index:
        call = _manifest_call("GET", endpoint, reference)
        async with self._connection.open(call, access) as answer:
            await raise_for_status(answer, ManifestUnknownError(reference))
            raw = await answer.read(MAX_MANIFEST_BYTES)
            stated = stated_digest(answer)
        for expected in (reference.digest, stated):
            if expected is not None:
                _verify(reference.name, expected, Digest.of(raw, expected.algorithm))
        try:
            return parse_manifest(raw, answer.media_type)
        except InvalidManifestError as error:
            raise InvalidAnswerError(reference.name, str(error)) from error

    async def blob(
        self,
        reference: Reference,
        digest: Digest,
        limit: int,
        access: RequestAccess = DEFAULT_ACCESS,
    ) -> bytes:
        """Fetch and verify a small blob of at most `limit` bytes; raises a RegistryError."""

        async def ask(endpoint: RegistryEndpoint) -> bytes:
            opened = self._open_blob(endpoint, digest, access, is_blob=False)
            async with opened as answer:
                raw = await answer.read(limit)
            _verify(reference.name, digest, Digest.of(raw, digest.algorithm))
            return raw

        return await self._first(reference, access, ask)

    @asynccontextmanager
    async def open_blob(
        self, reference: Reference, digest: Digest, access: RequestAccess = DEFAULT_ACCESS
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """Stream a blob; the iterator raises DigestMismatchError at the end when it was wrong.

        Holds one of the registry's slots until the context is left.
        """
        async with AsyncExitStack() as stack:

            async def ask(endpoint: RegistryEndpoint) -> RegistryResponse:
                opened = self._open_blob(endpoint, digest, access, is_blob=True)
                return await stack.enter_async_context(opened)

            answer = await self._first(reference, access, ask)
            yield _verified_chunks(answer, reference.name, digest)

    @asynccontextmanager
    async def _open_blob(
        self, endpoint: RegistryEndpoint, digest: Digest, access: RequestAccess, *, is_blob: bool
    ) -> AsyncIterator[RegistryResponse]:
        path = f"/v2/{endpoint.repository}/blobs/{digest}"
        call = RegistryRequest("GET", endpoint, path, is_blob=is_blob)
        async with self._connection.open(call, access) as answer:
            await raise_for_status(answer, BlobUnknownError(endpoint.name, digest))
            yield answer

    async def logins(
        self, reference: Reference, access: RequestAccess = DEFAULT_ACCESS
    ) -> tuple[Credential, ...]:
        """Return the logins that go to the mirrors of `reference` and its source; BlockedError."""
        endpoints = self._connection.hosts.endpoints(reference, insecure=access.insecure)
        return await self._connection.logins(endpoints, access)

    async def tags(
        self, reference: Reference, access: RequestAccess = DEFAULT_ACCESS
    ) -> Sequence[str]:
        """List every tag of a repository, following pagination; raises a RegistryError.

        The order is the registry's. A page that comes twice, or over MAX_TAGS, is an error.
        """
        endpoint = self._connection.hosts.endpoint(reference, insecure=access.insecure)
        path = f"/v2/{endpoint.repository}/tags/list?n={_TAGS_PER_PAGE}"
        found: dict[str, None] = {}
        asked = set[str]()
        while path not in asked:
            asked.add(path)
            async with self._connection.open(
                RegistryRequest("GET", endpoint, path), access
            ) as answer:
                await raise_for_status(answer, RepositoryUnknownError(endpoint.name))
                raw = await answer.read(MAX_TAG_PAGE_BYTES)
            found.update(dict.fromkeys(_tags_of_page(raw, reference.name)))
            if len(found) > MAX_TAGS:
                raise InvalidAnswerError(reference.name, f"more than {MAX_TAGS} tags")
            following = next_page(answer, endpoint, "its list of tags")
            if following is None:
                return tuple(found)
            path = following
        raise InvalidAnswerError(reference.name, "its list of tags leads back to the same page")

    async def referrers_of(
        self, reference: Reference, access: RequestAccess = DEFAULT_ACCESS
    ) -> Sequence[Descriptor]:
        """List the manifests whose subject is the digest of `reference`; raises a RegistryError.

        More than MAX_REFERRERS are an error. A mirror that knows of none leaves the word to the
        source.
        """
        *mirrors, source = self._connection.hosts.endpoints(reference, insecure=access.insecure)
        reader = ReferrerReader(self._connection, reference, access)
        for mirror in mirrors:
            try:
                if found := await reader.read(mirror):
                    return found
            except RegistryError as error:
                log.info("mirror passed over", extra={"mirror": mirror.name, "error": str(error)})
        if found := await reader.read(source):
            return found
        return await self._tagged_referrers(reference, access)

    async def _tagged_referrers(
        self, reference: Reference, access: RequestAccess
    ) -> Sequence[Descriptor]:
        """Return the index that clients keep where a registry lists no referrers."""
        subject = reference.digest
        if subject is None:
            return ()
        tag = f"{subject.algorithm}-{subject.hex}"[:MAX_TAG_LENGTH]
        try:
            found = await self.manifest(reference.with_tag(tag), access)
        except ManifestUnknownError:
            return ()
        if not isinstance(found, Index) or found.digest == subject:
            return ()  # some take such a tag for the digest: what it names is the image itself
        return found.manifests[:MAX_REFERRERS]

    async def _first[T](
        self,
        reference: Reference,
        access: RequestAccess,
        ask: Callable[[RegistryEndpoint], Awaitable[T]],
    ) -> T:
        """Ask the mirrors in turn, and the source last: its answer counts, whatever theirs were."""
        *mirrors, source = self._connection.hosts.endpoints(reference, insecure=access.insecure)
        if access.behind_mirrors:
            if not mirrors:
                raise ManifestUnknownError(reference)
            mirrors = []
        for mirror in mirrors:
            try:
                return await ask(mirror)
            except RegistryError as error:
                log.info("mirror passed over", extra={"mirror": mirror.name, "error": str(error)})
        return await ask(source)


def _manifest_call(
    method: str, endpoint: RegistryEndpoint, reference: Reference
) -> RegistryRequest:
    path = f"/v2/{endpoint.repository}/manifests/{reference.target}"
    return RegistryRequest(method, endpoint, path, _ACCEPT, is_pull=method == "GET")


def _verify(name: str, expected: Digest | None, actual: Digest) -> None:
    if expected is not None and expected != actual:
        raise DigestMismatchError(name, expected, actual)


async def _verified_chunks(
    answer: RegistryResponse, name: str, digest: Digest
) -> AsyncIterator[bytes]:
    content = hashlib.new(digest.algorithm)
    async for chunk in answer.chunks():
        content.update(chunk)
        yield chunk
    _verify(name, digest, Digest(digest.algorithm, content.hexdigest()))


def _tags_of_page(raw: bytes, name: str) -> Sequence[str]:
    try:
        tags = json.loads(raw)["tags"] or ()
    except (ValueError, LookupError, TypeError, RecursionError):
        raise InvalidAnswerError(name, "its list of tags is not JSON with `tags`") from None
    if not isinstance(tags, list | tuple) or not all(
        isinstance(tag, str) and is_tag(tag) for tag in tags
    ):
        raise InvalidAnswerError(name, "its list of tags holds something else")
    return tuple(tags)
