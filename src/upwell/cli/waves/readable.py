"""Waves as commands read them."""

from upwell.api.waves.wave import Wave
from upwell.cli.core.errors import CommandError, Exit
from upwell.store.interface import ApiClient, NotFoundError


async def named_wave(client: ApiClient, name: str) -> Wave:
    """Return the Wave of `NAME` or `wave/NAME`; raises CommandError."""
    bare = name.rpartition("/")[2]
    try:
        return await client.get(Wave, "", bare)
    except NotFoundError:
        raise CommandError(
            f"wave/{bare} does not exist; `upwell wave list` lists the Waves", Exit.NOT_FOUND
        ) from None
