"""Referrers of a manifest, page by page (distribution-spec, Listing Referrers)."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from upwell.oci import (
    Descriptor,
    Digest,
    Index,
    InvalidManifestError,
    MediaType,
    Reference,
    parse_manifest,
)
from upwell.oci.manifest import MAX_MANIFEST_BYTES
from upwell.registry.client.connection import Connection, raise_for_status
from upwell.registry.client.transport import RegistryRequest, RegistryResponse
from upwell.registry.errors import (
    InvalidAnswerError,
    ManifestUnknownError,
    RegistryRejectedError,
)
from upwell.registry.hosts import RegistryEndpoint
from upwell.registry.interface import RequestAccess

MAX_REFERRERS = 1000
"""Referrers of one image that are read."""
_LINK = re.compile(r'<([^>]*)>((?:\s*;\s*[^\s;,="]+\s*=\s*(?:"[^"]*"|[^\s;,"]*))*)')
"""A target and its parameters (RFC 8288, 3)."""
_NEXT = re.compile(r';\s*rel\s*=\s*"?next"?\s*(?:;|$)', re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class ReferrerReader:
    """Reads the referrers of one image."""

    connection: Connection
    reference: Reference
    access: RequestAccess

    async def read(self, endpoint: RegistryEndpoint) -> Sequence[Descriptor]:
        """Return the referrers that an endpoint lists; none where it has no such API."""
        subject = self.reference.digest
        if subject is None:
            return ()
        found: dict[Digest, Descriptor] = {}
        path: str | None = f"/v2/{endpoint.repository}/referrers/{subject}"
        asked: set[str] = set()
        while path is not None and path not in asked:
            asked.add(path)
            try:
                path, page = await self._page(endpoint, path)
            except (ManifestUnknownError, RegistryRejectedError):
                return tuple(found.values())
            found.update({one.digest: one for one in page})
            if len(found) > MAX_REFERRERS:
                raise InvalidAnswerError(endpoint.name, f"more than {MAX_REFERRERS} referrers")
        return tuple(found.values())

    async def _page(
        self, endpoint: RegistryEndpoint, path: str
    ) -> tuple[str | None, Sequence[Descriptor]]:
        call = RegistryRequest("GET", endpoint, path, str(MediaType.OCI_INDEX))
        async with self.connection.open(call, self.access) as answer:
            await raise_for_status(answer, ManifestUnknownError(self.reference))
            raw = await answer.read(MAX_MANIFEST_BYTES)
        try:
            index = parse_manifest(raw, MediaType.OCI_INDEX)
        except InvalidManifestError as error:
            raise InvalidAnswerError(endpoint.name, f"its list of referrers: {error}") from error
        if not isinstance(index, Index):
            raise InvalidAnswerError(endpoint.name, "its list of referrers is no index")
        return next_page(answer, endpoint, "its list of referrers"), index.manifests


def next_page(answer: RegistryResponse, endpoint: RegistryEndpoint, what: str) -> str | None:
    """Return path and query of the next page of a list (distribution-spec), if any."""
    links = ",".join(answer.response.headers.all("Link"))
    target = next((link[1] for link in _LINK.finditer(links) if _NEXT.search(link[2])), None)
    if target is None:
        return None
    try:
        url = answer.url.join(target)
    except ValueError:
        raise InvalidAnswerError(endpoint.name, f"{what} goes on nowhere") from None
    if not url.is_same_origin(answer.url):
        raise InvalidAnswerError(endpoint.name, f"{what} goes on at another registry")
    return url.target
