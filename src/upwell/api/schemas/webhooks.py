"""Configurations by which a cluster asks Upwell about each write of its kinds, and their faults.

admissionregistration.k8s.io/v1: one that sets authors (mutating), one that refuses (validating).
Both fail closed, and neither leaves out a namespace or an object: whatever came past them would be
believed. They stand for the kinds of Upwell alone.
"""

import base64
import binascii
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from upwell.api.schemas.crds import custom_kinds

CONFIGURATION = "upwell"
"""Name of both configurations."""
AUTHORITY_SECRET = "upwell-admission"  # noqa: S105 - a name, not a secret
"""Secret, in the namespace of the server, with the authority of the webhook's certificates."""
MUTATING, VALIDATING = "MutatingWebhookConfiguration", "ValidatingWebhookConfiguration"
PATHS: Mapping[str, str] = {MUTATING: "/admission/mutate", VALIDATING: "/admission/validate"}
REVIEW_SECONDS = 10
"""Time after which the cluster refuses a write about which it has no answer."""
_NAMES = {MUTATING: "authors.admission.upwell.dev", VALIDATING: "admission.upwell.dev"}

type ClientConfig = Callable[[str], Mapping[str, Any]]
"""Returns how the cluster reaches a path (WebhookClientConfig), without an authority."""


def webhook_configurations(client: ClientConfig) -> tuple[dict[str, Any], ...]:
    """Return both configurations; the leader writes the authority of its certificates into them."""
    return tuple(_configuration(kind, client) for kind in (MUTATING, VALIDATING))


def configuration_fault(kind: str, found: Mapping[str, Any] | None, authority: str) -> str:
    """Say why a configuration does not hold as it stands on the cluster; empty: it does.

    `authority` is the PEM text by which the cluster has to trust the webhook.
    """
    if found is None:
        return f"there is no {kind} {CONFIGURATION}"
    webhooks = found.get("webhooks")
    (webhook,) = webhooks if isinstance(webhooks, list) and len(webhooks) == 1 else ({},)
    wanted = _webhook(kind, lambda _path: {})
    for field in ("failurePolicy", "rules", "matchPolicy"):
        if webhook.get(field) != wanted[field]:
            return f"{field} of {kind} {CONFIGURATION} is not as installed"
    for field in ("namespaceSelector", "objectSelector", "matchConditions"):
        if webhook.get(field):
            return f"{field} of {kind} {CONFIGURATION} leaves something out"
    if authority_of(webhook) != authority:
        return f"{kind} {CONFIGURATION} does not have the present authority of certificates yet"
    return ""


def authority_of(webhook: Mapping[str, Any]) -> str:
    """Return the authority in a webhook, as PEM; empty: it has none that can be read."""
    client = webhook.get("clientConfig")
    text = client.get("caBundle") if isinstance(client, Mapping) else None
    try:
        return base64.b64decode(text or "", validate=True).decode()
    except (binascii.Error, TypeError, UnicodeDecodeError):
        return ""


def with_authority(configuration: Mapping[str, Any], authority: str) -> dict[str, Any]:
    """Return a configuration whose webhooks are trusted by an authority in PEM."""
    bundle = base64.b64encode(authority.encode()).decode()
    webhooks = [
        {**one, "clientConfig": {**one.get("clientConfig", {}), "caBundle": bundle}}
        for one in configuration.get("webhooks") or ()
    ]
    return {**configuration, "webhooks": webhooks}


def _configuration(kind: str, client: ClientConfig) -> dict[str, Any]:
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": kind,
        "metadata": {"name": CONFIGURATION},
        "webhooks": [_webhook(kind, client)],
    }


def _webhook(kind: str, client: ClientConfig) -> dict[str, Any]:
    webhook: dict[str, Any] = {
        "name": _NAMES[kind],
        "admissionReviewVersions": ["v1"],
        "clientConfig": dict(client(PATHS[kind])),
        "failurePolicy": "Fail",
        "matchPolicy": "Equivalent",
        "rules": list(_rules(kind)),
        "sideEffects": "None",
        "timeoutSeconds": REVIEW_SECONDS,
    }
    if kind == MUTATING:
        webhook["reinvocationPolicy"] = "Never"
    return webhook


def _rules(kind: str) -> Iterator[dict[str, Any]]:
    """Yield rules for each group; nobody but Upwell writes a status, which is asked about too."""
    groups: dict[str, list[str]] = defaultdict(list)
    for resource in custom_kinds():
        groups[resource.KIND.group].append(resource.KIND.plural)
        if kind == VALIDATING and resource.KIND.has_status:
            groups[resource.KIND.group].append(f"{resource.KIND.plural}/status")
    operations: Sequence[str] = ["CREATE", "UPDATE"]
    if kind == VALIDATING:
        operations = [*operations, "DELETE"]
    for group, resources in sorted(groups.items()):
        yield {
            "apiGroups": [group],
            "apiVersions": ["*"],
            "operations": list(operations),
            "resources": resources,
            "scope": "*",
        }
