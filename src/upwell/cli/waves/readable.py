"""Waves as commands read them."""

from upwell.api.waves.wave import Wave
from upwell.cli.core.errors import CommandError, Exit
from upwell.store.interface import ApiClient, NotFoundError


async def named_wave(client: ApiClient, name: str) -> Wave:
    """Return the Wave of `NAME` or `wave/NAME`; raises CommandError."""
    bare = wave_name(name)
    try:
        return await client.get(Wave, "", bare)
    except NotFoundError:
        raise missing_wave(bare) from None


def wave_name(name: str) -> str:
    """Return the name of a Wave of `NAME` or `wave/NAME`."""
    return name.rpartition("/")[2]


def missing_wave(name: str) -> CommandError:
    """Return the error of a Wave that does not exist."""
    text = f"wave/{name} does not exist; `upwell wave list` lists the Waves"
    return CommandError(text, Exit.NOT_FOUND)
