"""Rights of the authors of objects, as a test turns them."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from upwell.api.meta import Resource
from upwell.policy.access.needs import Need
from upwell.policy.access.roles import Grant, parse_grant
from upwell.reconcilers.authority import GrantedAuthors


@dataclass
class FixedAuthors:
    """Grants of each name. Implements AuthorGrants and AuthorRights."""

    found: dict[str, tuple[str, ...]] = field(default_factory=dict)

    async def grants(self, author: str) -> tuple[Grant, ...]:
        """Return the grants of a name."""
        return tuple(map(parse_grant, self.found.get(author, ())))

    async def refusal(self, resource: Resource, author: str, wanted: Sequence[Need]) -> str:
        """Say which of the rights no grant of the author gives."""
        return await GrantedAuthors(self).refusal(resource, author, wanted)

    def asks_writers(self, resource: Resource) -> bool:
        """Return True, as on one machine."""
        return GrantedAuthors(self).asks_writers(resource)
