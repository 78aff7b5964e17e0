"""Tables as an API server makes them (meta.k8s.io/v1 Table), without the classes of objects.

To load those takes longer than all else of a command that prints a list.
"""

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any
from urllib.parse import quote, urlencode

from upwell.store.kubernetes_connections import (
    ConnectionFailedError,
    HttpConnections,
    HttpRequest,
    ServerAccess,
    TimeLimits,
)

_TABLE = "application/json;as=Table;g=meta.k8s.io;v=v1"
_MOST_BYTES = 64 * 1024 * 1024
"""Of a page."""
_PAGE = 500
"""Rows of a page of a list: none takes the server long."""
_REFUSALS = {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND}
"""Statuses that a request for the objects themselves is answered with, too."""
_REFUSAL_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class TableRequest:
    """The objects of a Table: those of a collection that match `params`, or the one of `name`."""

    api_version: str
    plural: str
    namespace: str = ""
    name: str = ""
    params: Mapping[str, str] = field(default_factory=dict)

    def path(self, page: str = "") -> str:
        """Return the URL path with its query, of the page that `page` continues with."""
        steps = ["apis" if "/" in self.api_version else "api", *self.api_version.split("/")]
        if self.namespace:
            steps += ["namespaces", self.namespace]
        steps += [self.plural, self.name]
        path = "".join(f"/{quote(step, safe=':')}" for step in steps if step)
        params = dict(self.params)
        if not self.name:
            params["limit"] = str(_PAGE)
        if page:
            params["continue"] = page
        return f"{path}?{urlencode(params)}" if params else path


class TablesRefusedError(Exception):
    """The server refuses one of the requests: whoever asks for the objects is refused as well."""

    def __init__(self, request: TableRequest, status: int, body: bytes) -> None:
        super().__init__(f"{request.path()}: the server answered {status}")
        self.request = request
        self.status = status
        self.body = body
        """The answer: a Status, or what a proxy says."""


async def read_tables(
    access: ServerAccess, requests: Sequence[TableRequest]
) -> Sequence[Sequence[Mapping[str, Any]]] | None:
    """Return the Tables, page by page, in the order of `requests`; None: one is not to be had.

    The reason is left to who asks for the objects themselves then. Raises TimeoutError and
    TablesRefusedError, as nobody has to ask the same server twice.
    """
    connections = HttpConnections(access.base_url.rstrip("/"), access.ca, access.socket)
    headers = [("Accept", _TABLE), ("User-Agent", "upwell")]
    if token := access.bearer_token:
        headers.append(("Authorization", f"Bearer {token}"))

    async def read(request: TableRequest, following: str) -> Mapping[str, Any] | None:
        asked = HttpRequest("GET", request.path(following), headers)
        async with connections.ask(asked, TimeLimits(whole=access.timeout)) as answer:
            if answer.status in _REFUSALS:
                body = await answer.read_at_most(_REFUSAL_BYTES)
                raise TablesRefusedError(request, answer.status, body)
            if answer.status != HTTPStatus.OK:
                return None
            body = await answer.read_at_most(_MOST_BYTES)
        return table_in(body) if len(body) <= _MOST_BYTES else None

    async def read_all(request: TableRequest) -> Sequence[Mapping[str, Any]] | None:
        pages: list[Mapping[str, Any]] = []
        following = ""
        while True:
            page = await read(request, following)
            if page is None:
                return None
            pages.append(page)
            following = str((page.get("metadata") or {}).get("continue") or "")
            if not following:
                return pages

    try:
        found = await asyncio.gather(*map(read_all, requests))
    except ConnectionFailedError:
        return None
    finally:
        await connections.close()
    lists = [pages for pages in found if pages is not None]
    return lists if len(lists) == len(found) else None


def table_in(body: bytes) -> Mapping[str, Any] | None:
    """Return the Table of an answer; None: it is none."""
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return document if _is_table(document) else None


def _is_table(document: object) -> bool:
    """Return whether it is one, whose rows have a cell for each of its columns."""
    if not isinstance(document, dict) or document.get("kind") != "Table":
        return False
    columns, rows = document.get("columnDefinitions"), document.get("rows") or []
    if not isinstance(columns, list) or not columns or not isinstance(rows, list):
        return False
    document["rows"] = rows
    named = all(isinstance(column, dict) and "name" in column for column in columns)
    # One that is always shown, at least: what a row is about.
    narrow = named and any(not column.get("priority") for column in columns)
    whole = isinstance(document.get("metadata") or {}, dict)
    return narrow and whole and all(_is_row(row, len(columns)) for row in rows)


def _is_row(row: object, columns: int) -> bool:
    if not isinstance(row, dict):
        return False
    cells, about = row.get("cells"), row.get("object") or {}
    metadata = (about.get("metadata") or {}) if isinstance(about, dict) else None
    if not isinstance(cells, list) or len(cells) != columns or not isinstance(metadata, dict):
        return False
    labels = metadata.get("labels") or {}
    texts = (
        metadata.get("namespace") or "",
        *(labels.values() if isinstance(labels, dict) else (labels,)),
    )
    return all(isinstance(text, str) for text in texts)
