"""Kinds that a token may not be allowed to read."""

from upwell.api.meta import Resource
from upwell.cli.core.terminal import echo
from upwell.store.interface import ApiClient
from upwell.store.kubernetes_errors import StoreForbiddenError


async def all_of[R: Resource](client: ApiClient, kind: type[R]) -> list[R]:
    """Return all objects of a kind; none to a token that may not read them, which is told."""
    try:
        return list((await client.list(kind)).items)
    except StoreForbiddenError:
        echo(f"{kind.KIND.plural} are left out: your token cannot read them", err=True)
        return []
