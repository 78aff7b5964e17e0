"""Tokens of registry clients for some repositories, for minutes (distribution, spec/auth/token.md).

Clients that know no other way, such as caches that pull through, get them for their login. A token
is that login, sealed with what it was asked for: so it ends with the login, and gives no right that
the login does not give at that moment. None is kept.
"""

import binascii
import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from secrets import token_bytes

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from upwell.oci.reference import is_repository
from upwell.policy.access.roles import REPOSITORIES, Action
from upwell.server.auth.principals import Principal

REGISTRY_TOKEN_PATH = "/v2/auth"  # noqa: S105 - a path
SERVICE = "upwell"
LIFETIME = 300
"""Seconds."""
CATALOG = "/v2/_catalog"
REGISTRY_TOKENS = "registrytokens"
"""Resource of these tokens in the audit log: there are no such objects."""
LOGIN = "upwell.registry_login"
"""Key of the scope under which is the token that a client has sent to get another."""
_PREFIX = "upwell-registry_"
_NONCE_BYTES = 12
_MAX_SCOPES, _MAX_SCOPE_LETTERS = 32, 512
_VERBS = {"pull": ("pull",), "push": ("push",), "delete": ("push",), "*": ("pull", "push")}


@dataclass(frozen=True, slots=True)
class RegistryAccess:
    """Login, and what of its rights is wanted."""

    login: str = field(repr=False)
    repositories: Mapping[str, frozenset[str]]
    """Repositories by `pull` and `push`."""
    lists: bool = False
    """True if it is for the list of repositories too."""

    def of(self, owner: Principal, path: str = "") -> Principal:
        """Return the owner of the login with no more rights than these, for a request's path."""
        if self.lists and path == CATALOG:
            return replace(owner, registry_only=True)
        allowed = self.granted(owner).repositories
        return replace(owner, registry_only=True, repositories=allowed)

    def granted(self, owner: Principal) -> "RegistryAccess":
        """Return what of it the owner of the login has the right to."""
        allowed = {
            verb: frozenset(name for name in names if may(owner, verb, name))
            for verb, names in self.repositories.items()
        }
        return replace(self, repositories=allowed)

    def without(self, other: "RegistryAccess") -> "RegistryAccess":
        """Return what of it is not in another."""
        rest = {
            verb: names - other.repositories.get(verb, frozenset())
            for verb, names in self.repositories.items()
        }
        return replace(self, repositories=rest, lists=self.lists and not other.lists)


class RegistryAccessTokens:
    """Seals and opens tokens; `clock` tells seconds since 1970.

    Replicas with the same `key` (32 bytes) open those of each other; without one, nobody does.
    """

    def __init__(self, clock: Callable[[], float], key: bytes = b"") -> None:
        self._clock = clock
        self._cipher = AESGCM(key or AESGCM.generate_key(256))

    def issue(self, access: RegistryAccess) -> str:
        """Return a token; it ends after LIFETIME."""
        content = {
            "login": access.login,
            "ends": self._clock() + LIFETIME,
            "lists": access.lists,
            "repositories": {verb: sorted(names) for verb, names in access.repositories.items()},
        }
        nonce = token_bytes(_NONCE_BYTES)
        sealed = self._cipher.encrypt(nonce, json.dumps(content).encode(), None)
        return _PREFIX + urlsafe_b64encode(nonce + sealed).decode()

    def open(self, token: str) -> RegistryAccess | None:
        """Return what a token is for; None when it was not issued here, or has ended."""
        try:
            raw = urlsafe_b64decode(token.removeprefix(_PREFIX))
            content = json.loads(self._cipher.decrypt(raw[:_NONCE_BYTES], raw[_NONCE_BYTES:], None))
        except (binascii.Error, ValueError, InvalidTag):
            return None
        if content["ends"] <= self._clock():
            return None
        named = {verb: frozenset(names) for verb, names in content["repositories"].items()}
        return RegistryAccess(content["login"], named, content["lists"])


def is_registry_access(token: str) -> bool:
    """Return True if a token has the form of these."""
    return token.startswith(_PREFIX)


def wanted(login: str, scopes: Iterable[str]) -> RegistryAccess:
    """Return what is asked for by scopes, `repository:NAME:pull,push`; others are passed over."""
    repositories: dict[str, set[str]] = {"pull": set(), "push": set()}
    lists = False
    for scope in list(scopes)[:_MAX_SCOPES]:
        kind, _, rest = scope[:_MAX_SCOPE_LETTERS].partition(":")
        name, _, actions = rest.rpartition(":")
        lists = lists or (kind, name) == ("registry", "catalog")
        if kind.partition("(")[0] == "repository" and is_repository(name):
            for action in actions.split(","):
                for verb in _VERBS.get(action, ()):
                    repositories[verb].add(name)
    return RegistryAccess(
        login, {verb: frozenset(names) for verb, names in repositories.items()}, lists
    )


def scopes_of(access: RegistryAccess) -> list[str]:
    """Return scopes as clients write them."""
    pulls, pushes = (access.repositories.get(verb, frozenset()) for verb in ("pull", "push"))
    found = ["registry:catalog:*"] if access.lists else []
    for name in sorted(pulls | pushes):
        actions = [*(["pull"] if name in pulls else []), *(["push"] if name in pushes else [])]
        found.append(f"repository:{name}:{','.join(actions)}")
    return found


def may(owner: Principal, verb: str, repository: str) -> bool:
    """Return True if somebody has the right to pull from, or push to, a repository."""
    return owner.may(Action(verb, REPOSITORIES, repository.partition("/")[0], repository))


def challenge(address: str, action: Action, path: str, error: str = "") -> str:
    """Return the challenge that tells a client where to get a token, and for what.

    `address` is that of the server, as the client knows it.
    """
    fields = {"realm": f"{address}{REGISTRY_TOKEN_PATH}", "service": SERVICE}
    if path == CATALOG:
        fields["scope"] = "registry:catalog:*"
    elif is_repository(action.name):
        verbs = "pull" if action.verb == "pull" else "pull,push"
        fields["scope"] = f"repository:{action.name}:{verbs}"
    if error:
        fields["error"] = error
    return "Bearer " + ",".join(f'{name}="{text}"' for name, text in fields.items())
