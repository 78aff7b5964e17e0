"""Permissions of who asks for rollouts."""

from upwell.api.meta import Resource


async def permit_all(wanted: Resource, old: Resource) -> Resource:
    """Return the wanted object: where nobody is asked for rights."""
    del old
    return wanted
