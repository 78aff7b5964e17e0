"""Rights of somebody, as answers to what they need: by grants, or of a cluster; pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

from upwell.policy.access.needs import Need
from upwell.policy.access.roles import Grant, is_allowed, missing


class Rights(Protocol):
    """Rights that somebody has now."""

    def lacking(self, wanted: Iterable[Need]) -> str | None:
        """Say which of the rights they lack, as what follows "it"; None: none."""
        ...


@dataclass(frozen=True, slots=True)
class GrantedRights:
    """Rights by grants. Implements Rights."""

    grants: tuple[Grant, ...]

    def lacking(self, wanted: Iterable[Need]) -> str | None:
        """Say which of the rights no grant gives."""
        for need in in_order(wanted):
            if not is_allowed(self.grants, need.action):
                return f"{need.why}, and {need.action} {missing(need.action)}"
        return None


@dataclass(frozen=True, slots=True)
class AnsweredRights:
    """Rights that were asked for beforehand, one by one. Implements Rights."""

    refused: Mapping[Need, str]
    """For each that is missing: what gives it, as what follows the action."""

    def lacking(self, wanted: Iterable[Need]) -> str | None:
        """Say which of the rights was refused."""
        for need in in_order(wanted):
            if (remedy := self.refused.get(need)) is not None:
                return f"{need.why}, and {need.action} {remedy}"
        return None


def in_order(wanted: Iterable[Need]) -> list[Need]:
    """Return the needs in the order in which they are told."""
    return sorted(wanted, key=lambda one: str(one.action))
