"""Parts that sign-in is made of, as its handlers use them."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

from starlette.requests import Request

from upwell.server.auth.rate_limits import Rate, Rates
from upwell.server.http.limits import ServerLimits
from upwell.server.signin.provider import Provider
from upwell.server.signin.seals import Seals
from upwell.server.signin.sessions import Sessions

_OF_ADDRESS = Rate(2, 60)
_OF_ALL = Rate(20, 200)
"""Requests that may have the provider asked: nobody makes this server flood it."""


@dataclass(frozen=True, slots=True)
class SignIn:
    """Sign-in of people at one provider."""

    provider: Provider
    sessions: Sessions
    seals: Seals
    url: str
    """The address of this server for browsers, without a slash at its end."""
    limits: ServerLimits
    now: Callable[[], datetime]
    rates: Rates = field(repr=False)

    def count(self, request: Request) -> None:
        """Count a request of somebody who is nobody yet; raises RateError."""
        address = str((request.scope.get("client") or ("this machine",))[0])
        self.rates.take(f"sign-in from {address}", _OF_ADDRESS)
        self.rates.take("sign-in of all", _OF_ALL)
