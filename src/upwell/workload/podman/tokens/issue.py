"""Issue of tokens for instances: what the runtime asks for, and what it gets."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime

from upwell.workload.errors import WorkloadError
from upwell.workload.instance_spec import Owner, TokenFile


class TokenRefusedError(WorkloadError):
    """There is no such ServiceAccount, or the author of the workload may not act as it."""

    reason = "TokenRefused"
    retryable = True


@dataclass(frozen=True, slots=True)
class BoundInstance:
    """Instance with which a token ends."""

    name: str
    uid: str
    owner: Owner


@dataclass(frozen=True, slots=True)
class IssuedToken:
    """A token, and its end."""

    token: str = field(repr=False)
    ends: datetime


type IssueToken = Callable[[BoundInstance, TokenFile], Awaitable[IssuedToken]]
"""Makes a token; raises TokenRefusedError."""


async def issue_none(instance: BoundInstance, wanted: TokenFile) -> IssuedToken:
    """Refuse a token, where nobody makes any."""
    raise TokenRefusedError(
        f"no token of ServiceAccount {instance.owner.namespace}/{wanted.account} can be had:"
        " this server makes none"
    )
