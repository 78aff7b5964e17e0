"""A foreign token for one of a ServiceAccount: once, by the administrator's rules.

Each exchange leaves a Secret in the account's namespace. Its name is made of the foreign token's
identity, so that the store itself lets nobody exchange one twice, after a kill or a restart too;
and what is given out is bound to it, so that its deletion ends it.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

from upwell.api.core import Secret, ServiceAccount
from upwell.api.meta import ObjectMeta
from upwell.policy.access.service_accounts import account_name
from upwell.policy.access.token_exchange import ExchangeRule, first_match
from upwell.server.auth.foreign_tokens import InvalidTokenError, issuer_of
from upwell.server.auth.issuers import Issuer, IssuerUnavailableError
from upwell.server.auth.service_accounts import AccountToken, AccountTokens, WantedAccountToken
from upwell.store.interface import AlreadyExistsError, NotFoundError, Store

EXCHANGE_TYPE = "upwell.dev/token-exchange"
"""Type of the Secret that an exchange leaves."""
ENDS_ANNOTATION = "upwell.dev/ends"
"""Of such a Secret: when the foreign token and what was given for it have ended."""
_LONGEST_VALID = timedelta(days=31)
"""Of a foreign token: its exchange is remembered for as long."""
_LEEWAY = timedelta(minutes=5)
_NAME_LETTERS = 40
_MAX_SHOWN = 80
_SCOPES = "ask for system:serviceaccount:NAMESPACE:NAME, or name no scope"


class ExchangeError(Exception):
    """Base of the refusals; `error` is that of RFC 6749, 5.2, and the message holds no token."""

    error: ClassVar[str] = "invalid_grant"
    status: ClassVar[int] = 400


class IssuerSilentError(ExchangeError):
    """The issuer cannot be asked: later it may be."""

    error = "temporarily_unavailable"
    status = 503


@dataclass(frozen=True, slots=True)
class Exchanged:
    """Token that was given out, and why."""

    rule: ExchangeRule
    token: AccountToken
    lifetime: timedelta
    reason: str
    """For the audit log: the rule, the claims that it asks for, the foreign token's subject."""


class TokenExchange:
    """Exchanges tokens. `issuers` has an issuer for each URL that a rule names."""

    def __init__(
        self,
        rules: Sequence[ExchangeRule],
        issuers: Mapping[str, Issuer],
        accounts: AccountTokens,
        clock: Callable[[], datetime],
    ) -> None:
        self._rules = rules
        self._issuers = issuers
        self._accounts = accounts
        self._clock = clock

    async def exchange(self, store: Store, foreign: str, wanted: str) -> Exchanged:
        """Give a token for a foreign one; raises ExchangeError.

        `wanted` is the principal that it shall be of; empty: that of the first rule that matches.
        """
        rules, claims = await self._verified(foreign)
        rules = [one for one in rules if wanted in {"", account_name(one.namespace, one.account)}]
        rule = first_match(rules, claims)
        if not isinstance(rule, ExchangeRule):
            if not rule:
                raise ExchangeError(f"no rule is for scope {wanted[:_MAX_SHOWN]!r}: {_SCOPES}")
            raise ExchangeError(f"no rule allows this token; claims that differ: {'; '.join(rule)}")
        account = await self._account(store, rule)
        ends = self._end(claims)
        now = self._clock()
        record = await self._remember(store, rule, foreign, claims, max(ends, now + rule.lifetime))
        issued = WantedAccountToken(account, lifetime=rule.lifetime, bound=record)
        made = self._accounts.issue(issued)
        facts = {**rule.matched(claims), "sub": str(claims["sub"]), "token": made.id}
        told = " ".join(f"{name}={value[:_MAX_SHOWN]}" for name, value in facts.items())
        left = made.ends - self._clock()  # a slow disk may have taken some of it
        return Exchanged(rule, made, left, f"exchange {rule.name}: {told}")

    async def _verified(self, foreign: str) -> tuple[Sequence[ExchangeRule], Mapping[str, Any]]:
        try:
            url = issuer_of(foreign)
            rules = [rule for rule in self._rules if rule.issuer == url]
            if not rules:
                raise ExchangeError(f"no rule is for issuer {url[:_MAX_SHOWN]!r}")
            return rules, await self._issuers[url].verify(foreign, rules[0].audience)
        except InvalidTokenError as error:
            raise ExchangeError(str(error)) from error
        except IssuerUnavailableError as error:
            raise IssuerSilentError(str(error)) from error

    async def _account(self, store: Store, rule: ExchangeRule) -> ServiceAccount:
        try:
            return await store.get(ServiceAccount, rule.namespace, rule.account)
        except NotFoundError as error:
            message = f"rule {rule.name} names {error.key}, which does not exist: create it"
            raise ExchangeError(message) from error

    def _end(self, claims: Mapping[str, Any]) -> datetime:
        """Return the end of a foreign token, which has been verified."""
        longest = self._clock() + _LONGEST_VALID
        if claims["exp"] > longest.timestamp():
            days = _LONGEST_VALID.days
            raise ExchangeError(f"the token is valid for more than {days} days: ask for another")
        return datetime.fromtimestamp(claims["exp"], UTC)

    async def _remember(
        self,
        store: Store,
        rule: ExchangeRule,
        foreign: str,
        claims: Mapping[str, Any],
        ends: datetime,
    ) -> Secret:
        """Store that the token is exchanged; raises ExchangeError if it was before."""
        values = {"issuer": rule.issuer, "rule": rule.name, "subject": str(claims["sub"])}
        record = Secret(
            metadata=ObjectMeta(
                name=_record_name(foreign, claims),
                namespace=rule.namespace,
                annotations={ENDS_ANNOTATION: (ends + _LEEWAY).isoformat()},
            ),
            type=EXCHANGE_TYPE,
            string_data={**rule.matched(claims), **values},
            immutable=True,
        )
        try:
            return await store.create(record)
        except AlreadyExistsError:
            message = "the token was exchanged before: have the CI make another"
            raise ExchangeError(message) from None


def _record_name(foreign: str, claims: Mapping[str, Any]) -> str:
    """Return a name by the token's identity; without one, by all that is signed of it."""
    identity = claims.get("jti")
    if not isinstance(identity, str) or not identity:
        identity = foreign.rpartition(".")[0]
    said = f"{claims['iss']}\0{identity}".encode(errors="surrogatepass")
    return f"exchanged-{hashlib.sha256(said).hexdigest()[:_NAME_LETTERS]}"
