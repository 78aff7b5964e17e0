"""Rights of the authors of objects, as a test turns them."""

from dataclasses import dataclass, field

from upwell.policy.access.roles import Grant, parse_grant


@dataclass
class FixedAuthors:
    """Grants of each name. Implements AuthorGrants."""

    found: dict[str, tuple[str, ...]] = field(default_factory=dict)

    async def grants(self, author: str) -> tuple[Grant, ...]:
        """Return the grants of a name."""
        return tuple(map(parse_grant, self.found.get(author, ())))
