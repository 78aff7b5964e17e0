"""Grants of people by their groups, as the administrator gives them; pure."""

from collections.abc import Iterable
from dataclasses import dataclass

from upwell.policy.access.roles import Grant


@dataclass(frozen=True, slots=True)
class GroupGrant:
    """A grant of everybody in a group."""

    group: str
    """To the letter: groups have no patterns."""
    grant: Grant


def grants_of_groups(rules: Iterable[GroupGrant], groups: Iterable[str]) -> tuple[Grant, ...]:
    """Return the grants of somebody in these groups, in the order of the rules."""
    own = frozenset(groups)
    return tuple(dict.fromkeys(rule.grant for rule in rules if rule.group in own))
