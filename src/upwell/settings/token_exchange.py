"""Tables of the configuration file about the exchange of tokens of foreign issuers."""

import re
from collections.abc import Iterable, Iterator
from datetime import timedelta
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, ValidationInfo, model_validator

from upwell.policy.access.roles import SYSTEM_NAMESPACE
from upwell.policy.access.token_exchange import ClaimPattern, ExchangeRule
from upwell.settings.base import SettingsTable
from upwell.settings.values import (
    AllowedValues,
    FilePath,
    Text,
    duration,
    issuer_url,
    require_readable,
)

_LONGEST = timedelta(hours=24)
_ACCOUNT = re.compile(r"([a-z0-9](?:[a-z0-9-]*[a-z0-9])?)/([a-z0-9](?:[a-z0-9.-]*[a-z0-9])?)")


def _account(value: Any) -> str:
    if not isinstance(value, str) or _ACCOUNT.fullmatch(value) is None:
        raise ValueError("no account")
    return value


def _lifetime(value: Any) -> timedelta:
    found = duration(value)
    if not isinstance(found, timedelta) or not timedelta(0) < found <= _LONGEST:
        raise ValueError("no lifetime")
    return found


class TokenExchangeSettings(SettingsTable):
    """Tokens of a foreign issuer, such as a CI's, that are exchanged for one of a ServiceAccount.

    All claims have to match; the first table that does decides.
    """

    name: Annotated[str, Field(min_length=1), AllowedValues("a text")]
    """Its name in the audit log."""
    issuer: Annotated[str, BeforeValidator(issuer_url), AllowedValues("https://HOST[/PATH]")]
    """The `iss` of the tokens, to the letter. Its keys are asked for by OpenID Connect
    Discovery."""
    ca_file: FilePath | None = None
    """A certificate authority of the issuer that is trusted besides the system's, PEM."""
    audience: Text = "upwell"
    """The `aud` that the tokens must be for."""
    claims: Annotated[
        tuple[Annotated[str, AllowedValues("CLAIM=PATTERN")], ...],
        Field(strict=False, min_length=1),
        AllowedValues("a list of CLAIM=PATTERN, at least one"),
    ]
    """Claims of the tokens: `repository=acme/shop`, `ref=refs/heads/release/*`. `*` stands for all
    but `/` and `:`, `**` for these too."""
    service_account: Annotated[
        str, BeforeValidator(_account), AllowedValues("NAMESPACE/NAME of a ServiceAccount")
    ]
    """The account whose token is given; its grants are those of the account."""
    lifetime: Annotated[
        timedelta, BeforeValidator(_lifetime), AllowedValues("a duration up to 24h")
    ] = timedelta(minutes=15)
    """The lifetime of what is given."""

    @model_validator(mode="after")
    def _is_a_rule(self, info: ValidationInfo) -> "TokenExchangeSettings":
        require_readable("ca-file", self.ca_file, info)
        if self.rule.namespace == SYSTEM_NAMESPACE:
            raise ValueError(f"service-account: none of {SYSTEM_NAMESPACE} is given to others")
        return self

    @property
    def rule(self) -> ExchangeRule:
        """The rule; raises ValueError."""
        namespace, _, account = self.service_account.partition("/")
        return ExchangeRule(
            self.name,
            self.issuer,
            self.audience,
            namespace,
            account,
            tuple(map(ClaimPattern, self.claims)),
            self.lifetime,
        )


def exchange_faults(tables: Iterable[TokenExchangeSettings]) -> Iterator[str]:
    """Yield what does not go together among the tables."""
    known: dict[str, TokenExchangeSettings] = {}
    names: set[str] = set()
    for table in tables:
        first = known.setdefault(table.issuer, table)
        if (first.audience, first.ca_file) != (table.audience, table.ca_file):
            yield (
                f"[[token-exchange]] {first.name} and {table.name}: one issuer, so the same"
                " audience and ca-file"
            )
        if table.name in names:
            yield f"[[token-exchange]] {table.name}: several tables have this name"
        names.add(table.name)
