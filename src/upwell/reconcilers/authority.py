"""Asks the author of an object again, when the object acts: by the rights that they have then."""

from collections.abc import Iterable
from typing import Protocol

from upwell.api.meta import Resource
from upwell.api.values.author import author_of, content_authors_of
from upwell.oci import Reference
from upwell.policy.access.authority import Need, lacking, needs_in_use
from upwell.policy.access.content import content_needs
from upwell.policy.access.images import image_needs, pull_needs
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
    """Judge of what authors may do when their objects act; without `authors`, nobody is asked.

    `registry` is the `host:port` of the embedded registry.
    """

    def __init__(self, authors: AuthorGrants | None = None, registry: str = "") -> None:
        self._authors = authors
        self._registry = registry

    async def refusal(self, *resources: Resource) -> str:
        """Say which right an author lacks that their object takes; empty: they have all.

        The administrator has all, and stands for what has no author.
        """
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

    async def content_refusal(self, resource: Resource, wanted: Iterable[Need]) -> str:
        """Say which of the rights those lack who decide what `resource` builds; empty: none."""
        wanted = tuple(wanted)
        if self._authors is None or not wanted:
            return ""
        for name in content_authors_of(resource):
            why = lacking(wanted, await self._authors.grants(name))
            if why is not None:
                return (
                    f"{name}, who decides what {resource.key} builds, lacks a right: it {why};"
                    " grant it, or have somebody who has it decide"
                )
        return ""

    async def refusal_of(self, resource: Resource, wanted: Iterable[Need]) -> str:
        """Say which of the rights the author of `resource` lacks; empty: none."""
        author, wanted = author_of(resource), tuple(wanted)
        if self._authors is None or not author or not wanted:
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
