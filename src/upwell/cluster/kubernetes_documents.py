"""Objects of a cluster as its API sends them, page by page."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from upwell.api.meta import Kind, ObjectKey
from upwell.cluster.kubernetes import cluster_error
from upwell.store.interface import StoreError
from upwell.store.kubernetes_http import ApiConnection, ApiRequest, list_documents

_PAGE = 200
"""Objects in one answer: ConfigMaps are up to 1 MiB each, and most are small."""


@dataclass(frozen=True, slots=True)
class ListPage:
    """Part of a list."""

    items: Sequence[Mapping[str, Any]]
    resource_version: str
    """Of the whole list."""


async def list_pages(
    api: ApiConnection, request: ApiRequest, limit: int
) -> AsyncGenerator[ListPage]:
    """Yield a list as of one moment in pages of up to `limit` objects; raises a ClusterError.

    ListExpiredError: it expired between two pages, and has to begin anew.
    """
    try:
        async with aclosing(list_documents(api, request, limit)) as documents:
            async for document in documents:
                meta = document.get("metadata")
                meta = meta if isinstance(meta, Mapping) else {}
                version = str(meta.get("resourceVersion") or "")
                yield ListPage(document.get("items") or (), version)
    except StoreError as error:
        raise cluster_error(error) from error


class KubernetesDocuments:
    """Implements ClusterDocuments at the API server behind `api`."""

    def __init__(self, api: ApiConnection, *, page: int = _PAGE) -> None:
        self._api = api
        self._page = page

    async def pages(self, kind: Kind) -> AsyncGenerator[Sequence[Mapping[str, Any]]]:
        """Yield the objects of all namespaces."""
        request = ApiRequest("GET", kind, ObjectKey(kind.kind, "", ""))
        async for page in list_pages(self._api, request, self._page):
            yield page.items
