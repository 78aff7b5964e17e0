"""Paths that need no token, or no role, or carry the secret that opens them."""

import re

from upwell.policy.access.roles import Action
from upwell.server.auth import passwords
from upwell.server.auth.people import OPEN_PATHS
from upwell.server.auth.request_info import SIGNED, TOKEN_EXCHANGE_PATH

_HEALTH = {"/livez", "/readyz", "/healthz"}
_OPEN = {
    *_HEALTH,
    *("/version", "/image-signing.pub", "/webhooks/registry"),
    *(TOKEN_EXCHANGE_PATH, passwords.METADATA, passwords.AUTHORIZE),
    *OPEN_PATHS,
}
"""Needs no token: says nothing that is private, is a hint that is looked into, takes another, or
begins a session."""
_BUILD_WEBHOOK = re.compile(
    r"/(?:apis/build\.openshift\.io|oapi)/v1/namespaces/[^/]+/buildconfigs/[^/]+/webhooks/[^/]+/[^/]+"
)
"""Has a secret of its own in its path."""
_DISCOVERY = re.compile(r"/api(?:/v1)?|/apis(?:/[^/]+){0,2}|/openapi/v[23](?:/.*)?")
"""Needs a token, and no role."""
_REGISTRY_BASE = re.compile(r"/v2/(?:_catalog|auth)?|/v2")
"""Needs a token, and no role: what is listed there is what the token may pull."""


def is_health(path: str) -> bool:
    """Return True if the path is a probe's, which is answered to everyone and not counted."""
    return path in _HEALTH


def needs_no_token(path: str) -> bool:
    """Return True if anybody may ask for the path, or if it carries the secret that opens it."""
    return path in _OPEN or carries_secret(path)


def is_open_path(path: str) -> bool:
    """Return True if every token may read the path, whatever its roles."""
    is_base = _REGISTRY_BASE.fullmatch(path) is not None
    return path in _OPEN or is_discovery(path) or is_base


def is_discovery(path: str) -> bool:
    """Return True if the path tells which kinds there are: the same to every token."""
    return _DISCOVERY.fullmatch(path) is not None


def carries_secret(path: str) -> bool:
    """Return True if the path itself carries the secret that opens it."""
    return any(form.fullmatch(path) for form in (_BUILD_WEBHOOK, SIGNED))


def without_secret(path: str, action: Action) -> Action:
    """Return an action without the secret that its path carries."""
    if signed := SIGNED.fullmatch(path):
        return Action(action.verb, signed[1])
    if not _BUILD_WEBHOOK.fullmatch(path):
        return action
    *_, namespace, _, name, _, _, _ = path.split("/")
    return Action("create", "buildconfigs", namespace, name, "webhooks")
