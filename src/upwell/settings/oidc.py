"""The table [oidc] of the configuration file: where people sign in, and what they may do."""

from datetime import timedelta
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, ValidationInfo, model_validator

from upwell.api.pipeline import GROUP_APPROVER
from upwell.policy.access.groups import GroupGrant
from upwell.policy.access.roles import Grant, InvalidGrantError, parse_grant
from upwell.settings.base import SettingsTable
from upwell.settings.values import (
    AllowedValues,
    Count,
    FilePath,
    HttpAddress,
    Interval,
    Text,
    issuer_url,
    require_readable,
)

_SYSTEM = "system:"


def _grant(value: Any) -> Grant:
    if isinstance(value, Grant):
        return value
    try:
        return parse_grant(value if isinstance(value, str) else "")
    except InvalidGrantError as error:
        raise ValueError(str(error)) from error


def _prefix(value: Any) -> str:
    is_text = isinstance(value, str) and value.isprintable() and " " not in value
    if not is_text or ":" not in value[1:] or value.startswith((_SYSTEM, GROUP_APPROVER)):
        raise ValueError("not a prefix")
    return str(value)


class OidcGrant(SettingsTable):
    """A grant of everybody in a group."""

    group: Annotated[str, Field(min_length=1), AllowedValues("a group, as the provider names it")]
    """The group, to the letter."""
    grant: Annotated[Grant, BeforeValidator(_grant), AllowedValues("ROLE@NAMESPACE[,NAMESPACE…]")]
    """The role that it gives, and where, as for `upwell token create --grant`."""


class OidcSettings(SettingsTable):
    """Sign-in of people at an OpenID Connect provider; without an issuer, nobody signs in."""

    issuer: Annotated[
        str,
        BeforeValidator(issuer_url),
        AllowedValues("https://HOST[:PORT][/PATH]", blank=True),
    ] = ""
    """The issuer of the provider, to the letter as its metadata have it."""
    client_id: Text = ""
    """This server's name at the provider; needed with an issuer."""
    client_secret_file: FilePath | None = None
    """A file with its secret there; without one it is a public client."""
    ca_file: FilePath | None = None
    """A certificate authority that is trusted besides the system's, PEM."""
    url: HttpAddress = ""
    """The address of this server for browsers. The provider has to know `URL/oidc/callback`.
    Without it, the address at which the server listens."""
    scopes: Annotated[
        tuple[Annotated[str, AllowedValues("a scope")], ...],
        Field(strict=False),
        AllowedValues("a list of scopes"),
    ] = ("openid", "profile", "email", "offline_access")
    """Scopes that are asked for; `offline_access` has a session confirmed while it lasts."""
    username_claim: Annotated[str, Field(min_length=1), AllowedValues("the name of a claim")] = (
        "sub"
    )
    """The claim that people are named by. It must never be another person's later, nor chosen by
    its owner; `email` counts when the provider has verified it."""
    username_prefix: Annotated[
        str,
        BeforeValidator(_prefix),
        AllowedValues('a text with a colon, neither "system:" nor "group:"'),
    ] = "oidc:"
    """Begins the names of people, so that they are no token's."""
    groups_claim: Annotated[str, Field(min_length=1), AllowedValues("the name of a claim")] = (
        "groups"
    )
    """The claim with the groups, of the ID token or of the userinfo endpoint."""
    session: Interval = timedelta(days=1)
    """The time from a sign-in to the end of its session."""
    idle: Interval = timedelta(hours=12)
    """The time without a request after which a session ends."""
    recheck: Interval = timedelta(minutes=5)
    """The time after which the provider is asked again for a session that is used."""
    believed: Interval = timedelta(hours=1)
    """The time for which the provider's last word counts while it cannot be asked."""
    authored: Interval = timedelta(days=90)
    """The time after the provider's last word for which objects act in their author's name."""
    sessions_per_person: Count = 20
    """The most sessions of a person; beyond them the one used longest ago ends."""
    grants: Annotated[
        tuple[OidcGrant, ...], Field(strict=False), AllowedValues("[[oidc.grants]] tables")
    ] = ()

    @model_validator(mode="after")
    def _goes_together(self, info: ValidationInfo) -> "OidcSettings":
        if not self.issuer:
            return self
        require_readable("client-secret-file", self.client_secret_file, info)
        require_readable("ca-file", self.ca_file, info)
        if not self.client_id:
            raise ValueError("client-id: missing, as there is an issuer")
        if "openid" not in self.scopes:
            raise ValueError("scopes: `openid` has to be one of them")
        if self.recheck > self.believed:
            raise ValueError("recheck: longer than believed, so that every session would end")
        if self.idle < 2 * self.recheck:
            raise ValueError("idle: has to be twice `recheck` at least, which tells of use")
        return self

    @property
    def group_grants(self) -> tuple[GroupGrant, ...]:
        """The grants by group."""
        return tuple(GroupGrant(one.group, one.grant) for one in self.grants)
