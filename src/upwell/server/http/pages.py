"""Lists in pages: `limit` and `continue`.

A page goes on after the last name of the one before, in the state of the moment: an object that is
created meanwhile may or may not appear, none appears twice.
"""

import base64
import json
from bisect import bisect_right
from collections.abc import Sequence
from typing import Any, Protocol

from starlette.requests import Request

from upwell.server.http.errors import ApiError
from upwell.server.http.query import integer

_MAX_TOKEN = 1024
"""Two names of at most 253 characters each take 700."""

type Document = dict[str, Any]


class PagedItem(Protocol):
    """Object, or what one is made of, by whose names pages are ordered."""

    @property
    def namespace(self) -> str:
        """Empty: it is in none."""
        ...

    @property
    def name(self) -> str:
        """Name in the namespace."""
        ...


def page_of[N: PagedItem](
    request: Request, resources: Sequence[N], version: str, most: int = 0
) -> tuple[Sequence[N], Document]:
    """Return the page that is asked for of ordered objects, and the list's metadata.

    No page has more than `most`, whatever is asked for; 0: one may have all.
    """
    limit = integer(request, "limit")
    if most:
        limit = min(limit or most, most)
    token = request.query_params.get("continue", "")
    metadata: Document = {"resourceVersion": version}
    if token:
        begin = bisect_right(resources, _decode(token), key=lambda one: (one.namespace, one.name))
        resources = resources[begin:]
    if not limit or len(resources) <= limit:
        return resources, metadata
    last = resources[limit - 1]
    metadata["continue"] = _encode(last)
    metadata["remainingItemCount"] = len(resources) - limit
    return resources[:limit], metadata


def _encode(last: PagedItem) -> str:
    return base64.urlsafe_b64encode(json.dumps([last.namespace, last.name]).encode()).decode()


def _decode(token: str) -> tuple[str, str]:
    if len(token) > _MAX_TOKEN:
        raise ApiError(400, "continue: not a token of this server")
    try:
        namespace, name = json.loads(base64.urlsafe_b64decode(token))
    except (ValueError, TypeError, RecursionError):
        raise ApiError(400, "continue: not a token of this server") from None
    if not isinstance(namespace, str) or not isinstance(name, str):
        raise ApiError(400, "continue: not a token of this server")
    return namespace, name
