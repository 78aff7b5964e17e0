"""Lifetimes of tokens: each has an end unless it is asked to have none; and how one is made."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import click

from upwell.cli.core.durations import SPAN
from upwell.machine import clock
from upwell.policy.access.roles import Grant
from upwell.server.auth.tokens import TokenRecord, hash_of, new_token

if TYPE_CHECKING:
    from upwell.store.interface import ApiClient

DEFAULT_LIFETIME = "90d"


@dataclass(frozen=True, slots=True)
class WantedToken:
    """A token that somebody wants; `lifetime` None: without an end."""

    name: str
    grants: tuple[Grant, ...]
    lifetime: timedelta | None
    person: str = ""
    groups: tuple[str, ...] = ()

    async def create(self, client: "ApiClient") -> str:
        """Create it and return it; the server keeps its hash. Raises AlreadyExistsError."""
        made = new_token(self.name)
        end = clock.now() + self.lifetime if self.lifetime is not None else None
        record = TokenRecord(
            self.name, hash_of(made), self.grants, end, person=self.person, groups=self.groups
        )
        await client.create(record.as_secret())
        return made


def lifetime_option[F: Callable[..., Any]](function: F) -> F:
    """Add `--for`, whose parameter is `lifetime`."""
    return click.option(
        "--for",
        "--expires",
        "lifetime",
        type=SPAN,
        default=DEFAULT_LIFETIME,
        show_default=True,
        metavar="DURATION",
        help="Lifetime of the token, such as 12h or 90d.",
    )(function)
