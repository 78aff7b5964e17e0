"""Waves and other kinds as commands read them."""

from upwell.api.meta import Resource
from upwell.api.waves.wave import Wave
from upwell.cli.core.errors import CommandError, Exit
from upwell.cli.core.terminal import echo
from upwell.store.interface import ApiClient, NotFoundError
from upwell.store.kubernetes_errors import StoreForbiddenError


async def all_of[R: Resource](client: ApiClient, kind: type[R]) -> list[R]:
    """Return all objects of a kind; none to a token that may not read them, which is told."""
    try:
        return list((await client.list(kind)).items)
    except StoreForbiddenError:
        echo(f"{kind.KIND.plural} are left out: your token cannot read them", err=True)
        return []


async def named_wave(client: ApiClient, name: str) -> Wave:
    """Return the Wave of `NAME` or `wave/NAME`; raises CommandError."""
    bare = name.rpartition("/")[2]
    try:
        return await client.get(Wave, "", bare)
    except NotFoundError:
        raise CommandError(
            f"wave/{bare} does not exist; `upwell wave list` lists the Waves", Exit.NOT_FOUND
        ) from None
