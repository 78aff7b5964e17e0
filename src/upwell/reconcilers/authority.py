"""Asks the author of an object again, when the object acts: by the rights that they have then."""

from collections.abc import Iterable, Sequence
from typing import Protocol

from upwell.api.meta import Resource
from upwell.api.values.author import author_of, content_authors_of
from upwell.oci import Reference
from upwell.policy.access.authority import Need, needs_in_use
from upwell.policy.access.content import content_needs
from upwell.policy.access.images import image_needs, pull_needs
from upwell.policy.access.rights import GrantedRights
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


class AuthorRights(Protocol):
    """Rights that the authors of objects have now, wherever rights are given."""

    async def refusal(self, resource: Resource, author: str, wanted: Sequence[Need]) -> str:
        """Say who lacks which of the rights, and what mends it; empty: they have all.

        `author` is the object's, or one of those who decide its content; empty: it has none.
        Raises what is worth another try.
        """
        ...

    def asks_writers(self, resource: Resource) -> bool:
        """Return True if whoever wrote the object was asked for its rights when they did."""
        ...


class GrantedAuthors:
    """Authors who have grants; what has none is the administrator's. Implements AuthorRights."""

    def __init__(self, authors: AuthorGrants) -> None:
        self._authors = authors

    async def refusal(self, resource: Resource, author: str, wanted: Sequence[Need]) -> str:
        """Say which of the rights no grant of the author gives."""
        if not author:
            return ""
        why = GrantedRights(await self._authors.grants(author)).lacking(wanted)
        return "" if why is None else lost_right(resource, author, why)

    def asks_writers(self, resource: Resource) -> bool:
        """Return True: all writes come by the API."""
        del resource
        return True


def lost_right(resource: Resource, author: str, why: str) -> str:
    """Return how it is told that somebody who stands for an object lacks a right."""
    if author == author_of(resource):
        return (
            f"the author of {resource.key}, {author}, has lost a right: it {why};"
            " grant it, or have somebody who has it change the spec"
        )
    return (
        f"{author}, who decides what {resource.key} builds, lacks a right: it {why};"
        " grant it, or have somebody who has it decide"
    )


class Authority:
    """Judge of what authors may do when their objects act; without `authors`, nobody is asked.

    `registry` is the `host:port` of the embedded registry.
    """

    def __init__(self, authors: AuthorRights | None = None, registry: str = "") -> None:
        self._authors = authors
        self._registry = registry

    async def refusal(self, *resources: Resource) -> str:
        """Say which right an author lacks that their object takes; empty: they have all."""
        for resource in resources:
            why = await self.refusal_of(resource, needs_in_use(resource, self._registry))
            why = why or await self.content_refusal(
                resource, content_needs(resource, self._registry)
            )
            if why:
                return why
        return ""

    async def pull_refusal(self, resource: Resource, *images: str | Reference) -> str:
        """Say which images of the embedded registry the author of `resource` may not pull."""
        return await self.refusal_of(
            resource, pull_needs(resource.namespace, images, self._registry)
        )

    async def image_refusal(self, resource: Resource) -> str:
        """Say which images that `resource` itself names its author may not pull; empty: none.

        Not of what triggers and promotions write images into.
        """
        return await self.refusal_of(resource, image_needs(resource, self._registry))

    def asks_writers(self, resource: Resource) -> bool:
        """Return True if whoever wrote the object was asked for its rights when they did."""
        return self._authors is None or self._authors.asks_writers(resource)

    async def content_refusal(self, resource: Resource, wanted: Iterable[Need]) -> str:
        """Say which of the rights those lack who decide what `resource` builds; empty: none."""
        wanted = tuple(wanted)
        if self._authors is None or not wanted:
            return ""
        for name in content_authors_of(resource):
            if why := await self._authors.refusal(resource, name, wanted):
                return why
        return ""

    async def refusal_of(self, resource: Resource, wanted: Iterable[Need]) -> str:
        """Say which of the rights the author of `resource` lacks; empty: none."""
        wanted = tuple(wanted)
        if self._authors is None or not wanted:
            return ""
        return await self._authors.refusal(resource, author_of(resource), wanted)


UNASKED = Authority()
"""Asks nobody: where the API is served without authorization."""
