"""Rules by which tokens of foreign issuers are exchanged for those of ServiceAccounts; pure."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from upwell.formats.regular_expressions import RegularExpression

_WILDCARD = re.compile(r"(\*\*?)")
_WILDCARDS = {"**": ".*", "*": "[^/:]*"}


class ClaimPattern:
    """A claim and its value: `*` stands for all but `/` and `:`, `**` for these too.

    `text` is `NAME=PATTERN`; raises ValueError. Matching takes time linear in the value.
    """

    __slots__ = ("_expression", "name", "text")

    def __init__(self, text: str) -> None:
        self.name, is_whole, pattern = text.partition("=")
        if not self.name or not is_whole or not pattern:
            raise ValueError(f"{text!r} is not CLAIM=PATTERN")
        parts = _WILDCARD.split(pattern)
        escaped = (_WILDCARDS.get(part) or re.escape(part) for part in parts)
        self._expression = RegularExpression(f"(?s:{''.join(escaped)})")
        self.text = text

    def matches(self, claims: Mapping[str, Any]) -> bool:
        """Return True if the claim is there, and is a text, number or truth value that matches."""
        value = claims.get(self.name)
        return isinstance(value, str | int | float) and self._expression.fullmatch(shown(value))


def shown(value: str | float) -> str:
    """Return the value of a claim as patterns have it."""
    return str(value).lower() if isinstance(value, bool) else str(value)


@dataclass(frozen=True, slots=True)
class ExchangeRule:
    """Tokens of one issuer that stand for one ServiceAccount."""

    name: str
    issuer: str
    audience: str
    namespace: str
    account: str
    claims: tuple[ClaimPattern, ...]
    lifetime: timedelta

    def differing(self, claims: Mapping[str, Any]) -> Iterator[str]:
        """Yield the names of claims that do not match."""
        return (pattern.name for pattern in self.claims if not pattern.matches(claims))

    def matched(self, claims: Mapping[str, Any]) -> Mapping[str, str]:
        """Return the claims that the rule asks for, as the token has them."""
        return {one.name: shown(claims[one.name]) for one in self.claims}


def first_match(
    rules: Sequence[ExchangeRule], claims: Mapping[str, Any]
) -> ExchangeRule | Sequence[str]:
    """Return the first rule whose claims all match; else each rule's name, and what differs."""
    told = []
    for rule in rules:
        differing = list(rule.differing(claims))
        if not differing:
            return rule
        told.append(f"{rule.name} ({', '.join(differing)})")
    return told
