"""Logins of builds: which of several Secrets of the namespace is used at a registry."""

import json
from typing import Any

import pytest
from tests.support.rollouts.memory_machine import MemoryClock

from upwell.api.builds.build import Build
from upwell.api.codec import decode_as
from upwell.api.core import Secret, ServiceAccount
from upwell.api.meta import ObjectMeta
from upwell.reconcilers.builds.logins import BuildLogins
from upwell.registry.interface import CredentialSource
from upwell.store.memory import MemoryStore

REGISTRY = "registry.test"
LINKED = {"secrets": [{"name": "b-linked"}]}
PULLED = {"imagePullSecrets": [{"name": "b-linked"}]}


async def logins(**accounts: dict[str, Any]) -> BuildLogins:
    """Return the logins of `shop`, of which each Secret has the login of its name."""
    store = MemoryStore(MemoryClock())
    for name in ("a-first", "b-linked", "c-named"):
        auths = {"auths": {REGISTRY: {"username": name, "password": "hidden"}}}
        secret = Secret(
            metadata=ObjectMeta(name=name, namespace="shop"),
            type="kubernetes.io/dockerconfigjson",
            data=Secret.encode_values({".dockerconfigjson": json.dumps(auths).encode()}),
        )
        await store.create(secret)
    for name, links in accounts.items():
        place = {"name": name, "namespace": "shop"}
        await store.create(decode_as(ServiceAccount, {"metadata": place, **links}))
    return BuildLogins(store, "internal.test")


def build(pull_secret: str = "", push_secret: str = "", account: str = "") -> Build:
    strategy: dict[str, Any] = {"from": {"kind": "DockerImage", "name": f"{REGISTRY}/base:1"}}
    output: dict[str, Any] = {"to": {"kind": "DockerImage", "name": f"{REGISTRY}/app:1"}}
    if pull_secret:
        strategy["pullSecret"] = {"name": pull_secret}
    if push_secret:
        output["pushSecret"] = {"name": push_secret}
    spec = {
        "strategy": {"type": "Docker", "dockerStrategy": strategy},
        "output": output,
        "serviceAccount": account,
    }
    return decode_as(Build, {"metadata": {"name": "app-1", "namespace": "shop"}, "spec": spec})


async def user(source: CredentialSource) -> str:
    found = await source.find(REGISTRY, "base")
    assert found is not None
    return found.username


@pytest.mark.parametrize("links", [LINKED, PULLED])
async def test_what_the_account_builder_links_comes_before_the_others(
    links: dict[str, Any],
) -> None:
    found = await (await logins(builder=links)).read(build())
    assert (await user(found.pulls), await user(found.push)) == ("b-linked", "b-linked")
    found = await (await logins(default=links)).read(build())
    assert (await user(found.pulls), await user(found.push)) == ("a-first", "a-first")


async def test_a_build_takes_the_links_of_the_account_that_it_names() -> None:
    found = await (await logins(robot=LINKED)).read(build(account="robot"))
    assert (await user(found.pulls), await user(found.push)) == ("b-linked", "b-linked")


async def test_what_the_build_names_comes_first() -> None:
    accounts = await logins(builder=LINKED)
    found = await accounts.read(build(pull_secret="c-named"))
    assert (await user(found.pulls), await user(found.push)) == ("c-named", "b-linked")
    found = await accounts.read(build(push_secret="c-named"))
    assert (await user(found.pulls), await user(found.push)) == ("b-linked", "c-named")
