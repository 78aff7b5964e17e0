"""Asks the author of an object again, when the object acts: by the rights that they have then."""

from typing import Protocol

from upwell.api.meta import Resource
from upwell.api.values.author import author_of
from upwell.policy.access.authority import lacking, needs
from upwell.policy.access.roles import Grant
from upwell.policy.rollouts.pod_template import TemplateError

MISSING_RIGHT = "MissingRight"
"""Reason of a condition that says which right the author lacks."""
ASK_AGAIN_SECONDS = 30.0
"""Until an author is asked again: no object's change tells of the grants that they got."""


class MissingRightError(TemplateError):
    """The author of what is to begin lacks a right; it is asked for again by itself."""

    def __init__(self, message: str) -> None:
        super().__init__(MISSING_RIGHT, message)


class AuthorGrants(Protocol):
    """Grants that the authors of objects have now."""

    async def grants(self, author: str) -> tuple[Grant, ...]:
        """Return the grants of a name; none when nobody has it any more."""
        ...


class Authority:
    """Judge of what authors may do when their objects act; without `authors`, nobody is asked."""

    def __init__(self, authors: AuthorGrants | None = None) -> None:
        self._authors = authors

    async def refusal(self, *resources: Resource) -> str:
        """Say which right an author lacks that their object takes; empty: they have all.

        The administrator has all, and stands for what has no author.
        """
        for resource in resources:
            why = await self._refusal(resource)
            if why:
                return why
        return ""

    async def _refusal(self, resource: Resource) -> str:
        author = author_of(resource)
        if self._authors is None or not author:
            return ""
        wanted = needs(resource)
        if not wanted:
            return ""
        why = lacking(wanted, await self._authors.grants(author))
        if why is None:
            return ""
        return (
            f"the author of {resource.key}, {author}, has lost a right: it {why};"
            " grant it, or have somebody who has it change the spec"
        )


UNASKED = Authority()
"""Asks nobody: where the API is served without authorization."""
