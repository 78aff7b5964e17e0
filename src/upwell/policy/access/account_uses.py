"""ServiceAccounts that the Pods of an object run as, and whose tokens they get; pure.

On a cluster a Pod has what its account has: pull Secrets, what admission plugins give it, and,
unless the template refuses, a token. So whoever names one must be let use it, as whoever may create
Pods in its namespace is (Kubernetes, "RBAC Good Practices", workload creation).

On one machine a template asks for a token. Whoever says what runs has it, and with it all that the
account may do: so they need the right to ask for one, and each of its grants
(`service_accounts.exceeding`).
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from upwell.api.builds.build import Build
from upwell.api.builds.config import BuildConfig
from upwell.api.core import BUILD_ACCOUNT, DEFAULT_ACCOUNT
from upwell.api.meta import Resource
from upwell.api.pod_template import PodTemplate
from upwell.policy.access.declared import run_beside, says_the_same
from upwell.policy.access.needs import Need
from upwell.policy.access.roles import Action, Grant, grant_text
from upwell.policy.access.service_accounts import exceeding
from upwell.policy.pod_security.templates import templates_of
from upwell.policy.rollouts.pod_template import account_of, has_tokens, template_hash

_OF_BUILDS = frozenset({"", BUILD_ACCOUNT, DEFAULT_ACCOUNT})
"""Accounts that builds have by themselves."""


@dataclass(frozen=True, slots=True)
class TokenUse:
    """Use of a ServiceAccount's token by a template."""

    path: str
    """Of the template."""
    namespace: str
    account: str
    subject: str
    """Identity of what runs with it."""


def token_uses(resource: Resource) -> Iterator[TokenUse]:
    """Yield the tokens that the templates of an object give to what they run."""
    for placed in templates_of(resource):
        if has_tokens(placed.template):
            chosen = f"{run_beside(resource)} {placed.commands}"
            subject = f"{template_hash(placed.template)} {chosen}"
            account = account_of(placed.template)
            yield TokenUse(placed.path, placed.namespace, account, subject)


def new_token_uses(resource: Resource, old: Resource | None) -> list[TokenUse]:
    """Return the uses that a change brings in, or decides anew."""
    if old is not None and says_the_same(resource, old):
        return []
    known = frozenset(token_uses(old)) if old is not None else frozenset()
    return [use for use in token_uses(resource) if use not in known]


def token_needs(resource: Resource) -> Iterator[Need]:
    """Yield the right to ask for the token of each account; whoever says what runs is asked."""
    for use in token_uses(resource):
        action = Action("create", "serviceaccounts", use.namespace, use.account, "token")
        where = use.path or "its containers"
        why = f"gives {where} a token of ServiceAccount {use.namespace}/{use.account}"
        yield Need(action, why, subject=use.subject)


def excess(holder: Iterable[Grant], account: str, grants: Iterable[Grant]) -> str:
    """Say which grant of an account somebody lacks, so that they may not act as it; empty: none."""
    grant = exceeding(holder, grants)
    if grant is None:
        return ""
    return f"{account} has {grant_text(grant)}, which whoever says what runs as it needs too"


def service_account_needs(resource: Resource) -> Iterator[Need]:
    """Yield the right to use each account; whoever says what runs as it is asked."""
    if isinstance(resource, Build | BuildConfig):
        account = resource.spec.service_account or ""
        if account not in _OF_BUILDS:
            why = f"builds as ServiceAccount {resource.namespace}/{account}"
            yield Need(_using(resource.namespace, account), why, stays=False)
    for placed in templates_of(resource):
        account = named_account(placed.template)
        if account != DEFAULT_ACCOUNT:
            why = f"runs {placed.path or 'its containers'} as ServiceAccount"
            chosen = f"{run_beside(resource)} {placed.commands}"
            yield Need(
                _using(placed.namespace, account),
                f"{why} {placed.namespace}/{account}",
                subject=f"{template_hash(placed.template)} {chosen}",
            )


def named_account(template: PodTemplate) -> str:
    """Return the account of a template, by the deprecated name of the field too (core/v1)."""
    deprecated = (template.spec.model_extra or {}).get("serviceAccount")
    return template.spec.service_account_name or str(deprecated or DEFAULT_ACCOUNT)


def _using(namespace: str, account: str) -> Action:
    return Action("use", "serviceaccounts", namespace, account)
