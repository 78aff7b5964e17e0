"""Namespaces that are not there, and those that are."""

import asyncio
from difflib import get_close_matches

from upwell.api.core import Namespace
from upwell.store.interface import ApiClient, NotFoundError, StoreError

_SECONDS = 1.0
_MOST = 500
"""Names that are looked at."""
_NAMED = 5


async def absent_namespace(client: ApiClient, namespace: str) -> str:
    """Return that a namespace is not there, and which ones are, the most like it first.

    Empty where it is there, and where the server does not tell: it is too slow, or whoever asks may
    not read namespaces.
    """
    try:
        async with asyncio.timeout(_SECONDS):
            if not namespace or await _is_there(client, namespace):
                return ""
            names = await client.names(Namespace, "", _MOST)
    except (StoreError, OSError):  # among them TimeoutError
        return ""
    near = get_close_matches(namespace, names, n=_NAMED)
    known = list(dict.fromkeys([*near, *names]))
    more = " …" if len(known) > _NAMED else ""
    there = f"; there are {', '.join(known[:_NAMED])}{more}" if known else ""
    return f"namespace {namespace} is not there{there} (`upwell projects`)"


async def _is_there(client: ApiClient, namespace: str) -> bool:
    try:
        await client.get(Namespace, "", namespace)
    except NotFoundError:
        return False
    return True
