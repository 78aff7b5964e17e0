"""Contract of sources of logins: a login for what they know, else none; asking changes nothing."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.support.registry.logins import OneLogin

from upwell.app.access import InternalLogins
from upwell.app.promotion import PushLogins
from upwell.registry.credentials import (
    AuthFile,
    ChainedCredentials,
    RememberedCredentials,
    SecretCredentials,
)
from upwell.registry.interface import Credential, CredentialSource
from upwell.server.auth.tokens import RegistryTokens

HOST, REPOSITORY = "registry.test", "team/app"
LOGIN = Credential("alice", "hidden")
DOCUMENT = {"auths": {f"{HOST}/team": {"username": "alice", "password": "hidden"}}}
TOKENS = RegistryTokens()


@dataclass(frozen=True)
class KnownCredentials:
    """A source, and its login for `registry.test/team/app`."""

    source: CredentialSource
    login: Credential


def auth_file(folder: Path) -> AuthFile:
    path = folder / "auth.json"
    path.write_text(json.dumps(DOCUMENT))
    return AuthFile(path)


def secret() -> SecretCredentials:
    return SecretCredentials.from_dockerconfigjson(json.dumps(DOCUMENT).encode(), "Secret shop/a")


def internal(tokens: RegistryTokens) -> InternalLogins:
    return InternalLogins(HOST, tokens)


KNOWN: dict[str, Callable[[Path], KnownCredentials]] = {
    "auth file": lambda folder: KnownCredentials(auth_file(folder), LOGIN),
    "pull Secret": lambda _: KnownCredentials(secret(), LOGIN),
    "chain": lambda _: KnownCredentials(ChainedCredentials((OneLogin(None), secret())), LOGIN),
    "internal": lambda _: KnownCredentials(
        internal(TOKENS), Credential("upwell", TOKENS.to_pull())
    ),
    "pushes": lambda _: KnownCredentials(
        PushLogins(internal(TOKENS)), Credential("upwell", TOKENS.to_push("team"))
    ),
    "memory": lambda _: KnownCredentials(OneLogin(LOGIN), LOGIN),
    "remembered": lambda _: KnownCredentials(RememberedCredentials(OneLogin(LOGIN)), LOGIN),
}
STRANGERS: dict[str, Callable[[Path], CredentialSource]] = {
    "auth file": auth_file,
    "no auth file": lambda folder: AuthFile(folder / "none.json"),
    "pull Secret": lambda _: secret(),
    "chain": lambda _: ChainedCredentials((OneLogin(None), secret())),
    "empty chain": lambda _: ChainedCredentials(()),
    "internal": lambda _: internal(TOKENS),
    "memory": lambda _: OneLogin(None),
    "remembered": lambda _: RememberedCredentials(OneLogin(None)),
}


@pytest.mark.parametrize("name", KNOWN)
async def test_a_repository_has_its_login_however_often_it_is_asked_for(
    name: str, tmp_path: Path
) -> None:
    known = KNOWN[name](tmp_path)
    assert [await known.source.find(HOST, REPOSITORY) for _ in range(2)] == [known.login] * 2


@pytest.mark.parametrize("name", STRANGERS)
async def test_a_registry_without_login_is_anonymous(name: str, tmp_path: Path) -> None:
    assert await STRANGERS[name](tmp_path).find("other.test", REPOSITORY) is None


@pytest.mark.parametrize("name", KNOWN)
async def test_a_login_is_not_shown(name: str, tmp_path: Path) -> None:
    known = KNOWN[name](tmp_path)
    found = await known.source.find(HOST, REPOSITORY)
    assert found is not None
    assert found.password
    assert found.password not in f"{found!r} {known.source!r}"
