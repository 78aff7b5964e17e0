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
"""Of an answer: a larger list is read page by page, as objects."""


@dataclass(frozen=True, slots=True)
class TableRequest:
    """The objects of a Table: those of a collection that match `params`, or the one of `name`."""

    api_version: str
    plural: str
    namespace: str = ""
    name: str = ""
    params: Mapping[str, str] = field(default_factory=dict)

    @property
    def path(self) -> str:
        """The URL path with its query."""
        steps = ["apis" if "/" in self.api_version else "api", *self.api_version.split("/")]
        if self.namespace:
            steps += ["namespaces", self.namespace]
        steps += [self.plural, self.name]
        path = "".join(f"/{quote(step, safe=':')}" for step in steps if step)
        return f"{path}?{urlencode(self.params)}" if self.params else path


async def read_tables(
    access: ServerAccess, requests: Sequence[TableRequest]
) -> Sequence[Mapping[str, Any]] | None:
    """Return the Tables in the order of `requests`; None if any of them is not to be had.

    The reason is left to who asks for the objects themselves then.
    """
    connections = HttpConnections(access.base_url.rstrip("/"), access.ca, access.socket)
    headers = [("Accept", _TABLE), ("User-Agent", "upwell")]
    if token := access.bearer_token:
        headers.append(("Authorization", f"Bearer {token}"))

    async def read(request: TableRequest) -> Mapping[str, Any] | None:
        asked = HttpRequest("GET", request.path, headers)
        async with connections.ask(asked, TimeLimits(whole=access.timeout)) as answer:
            if answer.status != HTTPStatus.OK:
                return None
            body = await answer.read_at_most(_MOST_BYTES)
        return table_in(body) if len(body) <= _MOST_BYTES else None

    try:
        found = await asyncio.gather(*map(read, requests))
    except (ConnectionFailedError, TimeoutError):
        return None
    finally:
        await connections.close()
    tables = [table for table in found if table is not None]
    return tables if len(tables) == len(found) else None


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
    return named and all(_is_row(row, len(columns)) for row in document["rows"])


def _is_row(row: object, columns: int) -> bool:
    cells = row.get("cells") if isinstance(row, dict) else None
    return isinstance(cells, list) and len(cells) == columns
