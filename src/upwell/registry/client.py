"""The client of any OCI registry (distribution-spec 1.1, Docker registry API v2).

Asks with HEAD before GET, verifies digests on raw bytes, and repeats nothing by itself.
"""

import hashlib
import json
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from http import HTTPStatus
from random import random
from types import TracebackType
from typing import Self

from yarl import URL

from upwell.oci import (
    Descriptor,
    Digest,
    Index,
    InvalidDigestError,
    InvalidManifestError,
    Manifest,
    MediaType,
    Reference,
    parse_manifest,
)
from upwell.oci.manifest import MAX_MANIFEST_BYTES
from upwell.oci.reference import is_tag
from upwell.registry.authorizer import Authorizer, explain
from upwell.registry.budget import BudgetStatus, RequestBudget
from upwell.registry.errors import (
    BlobUnknownError,
    DigestMismatchError,
    InvalidAnswerError,
    ManifestUnknownError,
    RegistryError,
    RejectedError,
    UnauthorizedError,
    UnavailableError,
)
from upwell.registry.hosting import RepositoryUnknownError
from upwell.registry.hosts import Endpoint, RegistryHosts
from upwell.registry.interface import DEFAULT_ACCESS, Access, CredentialSource
from upwell.registry.transport import Answer, Call, Timeouts, Transport

MAX_TAGS = 200_000
MAX_TAG_PAGE_BYTES = 4 * 1024 * 1024
_TAGS_PER_PAGE = 1000
# All of them, always: without the OCI types, distribution answers 404 for an OCI manifest that
# exists, and old registries convert an index into its linux/amd64 manifest.
_ACCEPT = ", ".join(MediaType)
_NO_HEAD = {HTTPStatus.METHOD_NOT_ALLOWED, HTTPStatus.NOT_IMPLEMENTED}


class RegistryClient:
    """Implements Registry for remote registries. Close it after use, or use it as a context.

    `credentials` are those of requests whose Access names none. `clock` gives seconds since
    the epoch, `jitter` numbers from 0 to 1.
    """

    def __init__(
        self,
        hosts: RegistryHosts | None = None,
        credentials: CredentialSource | None = None,
        timeouts: Timeouts | None = None,
        clock: Callable[[], float] = time.time,
        jitter: Callable[[], float] = random,
    ) -> None:
        self._hosts = hosts or RegistryHosts()
        self._credentials = credentials
        self._budget = RequestBudget(self._hosts.limits, clock, jitter)
        self._transport = Transport(self._budget, timeouts or Timeouts())
        self._authorizer = Authorizer(self._transport, clock)

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
        await self._authorizer.aclose()
        await self._transport.aclose()

    def status(self, reference: Reference) -> BudgetStatus:
        """Say whether the registry that `reference` is reached at may be asked now; for `explain`.

        Raises BlockedError.
        """
        return self._budget.status(self._hosts.endpoint(reference).registry)

    async def resolve(self, reference: Reference, access: Access = DEFAULT_ACCESS) -> Descriptor:
        """Return media type, digest and size of what `reference` names now, with one HEAD.

        The size is 0 where the registry does not say it. Without a usable Docker-Content-Digest,
        or without HEAD, it takes a GET. Raises a RegistryError.
        """
        call = self._manifest_call("HEAD", reference, access)
        async with self._open(call, access) as answer:
            # A presigned URL behind a redirect is often good for GET alone.
            head_failed = answer.redirected and answer.status != HTTPStatus.OK
            if answer.status not in _NO_HEAD and not head_failed:
                await _raise_for_status(answer, ManifestUnknownError(reference))
                digest = _stated_digest(answer)
                if digest is not None and answer.media_type in set(MediaType):
                    _verify(reference.name, reference.digest, digest)
                    size = answer.headers.get("Content-Length", "")
                    return Descriptor(
                        answer.media_type, digest, int(size) if size.isdecimal() else 0
                    )
        found = await self.manifest(reference, access)
        return Descriptor(found.media_type, found.digest, len(found.raw))

    async def manifest(
        self, reference: Reference, access: Access = DEFAULT_ACCESS
    ) -> Manifest | Index:
        """Fetch a manifest or index; its digest is verified before anything decodes it.

        Raises ManifestUnknownError, DigestMismatchError or another RegistryError.
        """
        call = self._manifest_call("GET", reference, access)
        async with self._open(call, access) as answer:
            await _raise_for_status(answer, ManifestUnknownError(reference))
            raw = await answer.read(MAX_MANIFEST_BYTES)
            stated = _stated_digest(answer)
        for expected in (reference.digest, stated):
            if expected is not None:
                _verify(reference.name, expected, Digest.of(raw, expected.algorithm))
        try:
            return parse_manifest(raw, answer.media_type)
        except InvalidManifestError as error:
            raise InvalidAnswerError(reference.name, str(error)) from error

    async def blob(
        self, reference: Reference, digest: Digest, limit: int, access: Access = DEFAULT_ACCESS
    ) -> bytes:
        """Fetch and verify a small blob of at most `limit` bytes; raises a RegistryError."""
        call = self._blob_call(reference, digest, access, is_blob=False)
        async with self._open(call, access) as answer:
            await _raise_for_status(answer, BlobUnknownError(reference.name, digest))
            raw = await answer.read(limit)
        _verify(reference.name, digest, Digest.of(raw, digest.algorithm))
        return raw

    @asynccontextmanager
    async def open_blob(
        self, reference: Reference, digest: Digest, access: Access = DEFAULT_ACCESS
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """Stream a blob; the iterator raises DigestMismatchError at the end when it was wrong.

        Holds one of the registry's slots until the context is left.
        """
        call = self._blob_call(reference, digest, access, is_blob=True)
        async with self._open(call, access) as answer:
            await _raise_for_status(answer, BlobUnknownError(reference.name, digest))
            yield _verified_chunks(answer, reference.name, digest)

    async def tags(self, reference: Reference, access: Access = DEFAULT_ACCESS) -> Sequence[str]:
        """List every tag of a repository, following pagination; raises a RegistryError.

        The order is the registry's. A page that comes twice, or over MAX_TAGS, is an error.
        """
        endpoint = self._hosts.endpoint(reference, insecure=access.insecure)
        path = f"/v2/{endpoint.repository}/tags/list?n={_TAGS_PER_PAGE}"
        found: dict[str, None] = {}
        asked = set[str]()
        while path not in asked:
            asked.add(path)
            async with self._open(Call("GET", endpoint, path), access) as answer:
                await _raise_for_status(answer, RepositoryUnknownError(endpoint.name))
                raw = await answer.read(MAX_TAG_PAGE_BYTES)
            found.update(dict.fromkeys(_tags_of_page(raw, reference.name)))
            if len(found) > MAX_TAGS:
                raise InvalidAnswerError(reference.name, f"more than {MAX_TAGS} tags")
            following = _next_page(answer, endpoint)
            if following is None:
                return tuple(found)
            path = following
        raise InvalidAnswerError(reference.name, "its list of tags leads back to the same page")

    def _manifest_call(self, method: str, reference: Reference, access: Access) -> Call:
        endpoint = self._hosts.endpoint(reference, insecure=access.insecure)
        path = f"/v2/{endpoint.repository}/manifests/{reference.target}"
        return Call(method, endpoint, path, _ACCEPT, is_pull=method == "GET")

    def _blob_call(
        self, reference: Reference, digest: Digest, access: Access, *, is_blob: bool
    ) -> Call:
        endpoint = self._hosts.endpoint(reference, insecure=access.insecure)
        return Call("GET", endpoint, f"/v2/{endpoint.repository}/blobs/{digest}", is_blob=is_blob)

    @asynccontextmanager
    async def _open(self, call: Call, access: Access) -> AsyncIterator[Answer]:
        """Send `call` with the credentials that `access` finds, within the registry's budget."""
        endpoint = call.endpoint
        source = access.credentials or self._credentials
        credential = (
            None if source is None else await source.find(endpoint.registry, endpoint.repository)
        )
        async with (
            self._budget.slot(endpoint.registry, pull=call.is_pull),
            await self._authorizer.send(call, credential) as answer,
        ):
            yield answer


async def _raise_for_status(answer: Answer, unknown: RegistryError) -> None:
    """Raise what any answer but 200 means; `unknown` is what 404 does."""
    status = answer.status
    if status == HTTPStatus.OK:
        return
    why = await explain(answer)
    if status == HTTPStatus.NOT_FOUND:
        raise unknown
    if status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
        raise UnauthorizedError(answer.name, why)
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR or status == HTTPStatus.REQUEST_TIMEOUT:
        raise UnavailableError(answer.name, why)
    if status >= HTTPStatus.BAD_REQUEST:
        raise RejectedError(answer.name, status, why)
    raise InvalidAnswerError(answer.name, f"HTTP {status}")


def _stated_digest(answer: Answer) -> Digest | None:
    text = answer.headers.get("Docker-Content-Digest")
    if not text:
        return None
    try:
        return Digest.parse(text)
    except InvalidDigestError as error:
        raise InvalidAnswerError(answer.name, f"Docker-Content-Digest: {error}") from error


def _verify(name: str, expected: Digest | None, actual: Digest) -> None:
    if expected is not None and expected != actual:
        raise DigestMismatchError(name, expected, actual)


async def _verified_chunks(answer: Answer, name: str, digest: Digest) -> AsyncIterator[bytes]:
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


def _next_page(answer: Answer, endpoint: Endpoint) -> str | None:
    """Return path and query of the next page (distribution-spec, Listing Tags), if any."""
    link = answer.response.links.get("next")
    if link is None:
        return None
    url = URL(str(link["url"]))
    if url.origin() != answer.url.origin():
        raise InvalidAnswerError(endpoint.name, "its list of tags goes on at another registry")
    return url.raw_path_qs
