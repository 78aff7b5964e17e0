import base64
import json
from typing import Any

import pytest
from tests.support.registry.logins import OneLogin
from tests.support.rollouts.memory_machine import MemoryClock

from upwell.api.codec import decode_as
from upwell.api.core import Secret, ServiceAccount
from upwell.api.meta import ObjectMeta
from upwell.reconcilers.images.pull_secrets import EXCLUDE_ANNOTATION, PullSecrets, credentials_of
from upwell.registry.errors import InvalidCredentialsError
from upwell.registry.interface import Credential
from upwell.store.memory import MemoryStore

JSON = "kubernetes.io/dockerconfigjson"
OLD = "kubernetes.io/dockercfg"


def pull_secret(
    name: str, user: str, *, kind: str = JSON, namespace: str = "shop", **annotations: str
) -> Secret:
    logins = {"vendor.example": {"username": user, "password": "hidden"}}
    document = {"auths": logins} if kind == JSON else logins
    key = ".dockerconfigjson" if kind == JSON else ".dockercfg"
    return secret(name, kind, key, json.dumps(document), namespace, annotations)


def secret(
    name: str,
    kind: str,
    key: str,
    text: str,
    namespace: str = "shop",
    annotations: dict[str, str] | None = None,
) -> Secret:
    return Secret(
        metadata=ObjectMeta(name=name, namespace=namespace, annotations=annotations or {}),
        type=kind,
        data={key: base64.b64encode(text.encode()).decode()},
    )


async def login(*secrets: Secret, registry: str = "vendor.example") -> str | None:
    store = MemoryStore(MemoryClock())
    for item in secrets:
        await store.create(item)
    source = await PullSecrets(store, OneLogin(Credential("server", "own"))).of_namespace("shop")
    found = await source.find(registry, "debian")
    return found.username if found else None


@pytest.mark.parametrize("kind", [JSON, OLD])
async def test_a_login_comes_from_the_namespace_first(kind: str) -> None:
    assert await login(pull_secret("pull", "shop", kind=kind)) == "shop"


async def test_a_login_that_no_secret_has_is_the_servers_own() -> None:
    assert await login(pull_secret("pull", "shop"), registry="other.example") == "server"
    assert await login(pull_secret("pull", "other", namespace="other")) == "server"


@pytest.mark.parametrize(("value", "expected"), [("true", "server"), ("false", "shop")])
async def test_a_secret_may_be_left_out(value: str, expected: str) -> None:
    marked = pull_secret("pull", "shop", **{EXCLUDE_ANNOTATION: value})
    assert await login(marked) == expected


@pytest.mark.parametrize("text", ["garbage", "[]", '{"auths": 5}'])
async def test_a_broken_secret_takes_no_other_login_away(text: str) -> None:
    broken = secret("a-broken", JSON, ".dockerconfigjson", text)
    assert await login(broken, pull_secret("pull", "shop")) == "shop"
    with pytest.raises(InvalidCredentialsError, match="shop/a-broken") as caught:
        credentials_of(broken)
    assert text not in str(caught.value)


async def test_a_secret_of_another_type_has_no_login() -> None:
    opaque = secret("opaque", "Opaque", ".dockerconfigjson", "{}")
    assert credentials_of(opaque) is None
    assert await login(opaque) == "server"


async def chosen(account: str, *first: str, accounts: dict[str, dict[str, Any]]) -> str | None:
    """Return whose login is taken of those in the Secrets `a`, `b` and `c`."""
    store = MemoryStore(MemoryClock())
    for name in "abc":
        await store.create(pull_secret(name, f"user-{name}"))
    for name, links in accounts.items():
        place = {"name": name, "namespace": "shop"}
        await store.create(decode_as(ServiceAccount, {"metadata": place, **links}))
    source = await PullSecrets(store).of_account("shop", account, first)
    found = await source.find("vendor.example", "debian")
    return found.username if found else None


async def test_the_secrets_that_an_account_links_come_first() -> None:
    pulls = {"default": {"imagePullSecrets": [{"name": "gone"}, {"name": "c"}, {"name": "b"}]}}
    assert await chosen("default", accounts=pulls) == "user-c"
    assert await chosen("builder", accounts=pulls) == "user-a"
    assert await chosen("default", "b", accounts=pulls) == "user-b"
    assert await chosen("default", "b", "c", "b", accounts={}) == "user-b"
    assert await chosen("builder", accounts={"builder": {"secrets": [{"name": "b"}]}}) == "user-b"


async def test_a_link_takes_no_secret_in_that_is_left_out() -> None:
    store = MemoryStore(MemoryClock())
    await store.create(pull_secret("kept-back", "shop", **{EXCLUDE_ANNOTATION: "true"}))
    source = await PullSecrets(store).of_account("shop", "default", ["kept-back"])
    assert await source.find("vendor.example", "debian") is None
