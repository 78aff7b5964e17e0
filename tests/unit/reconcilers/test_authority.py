"""Authors of objects are asked again when the objects act, by the rights that they have then."""

from datetime import UTC, datetime
from typing import Any

import pytest

from upwell.api.codec import decode
from upwell.api.meta import Resource
from upwell.policy.access.roles import Grant, parse_grant
from upwell.reconcilers.authority import Authority
from upwell.server.auth.tokens import TokenRecord, Tokens, hash_of, new_token, own_token
from upwell.store.memory import MemoryStore

NOW = datetime(2024, 5, 1, tzinfo=UTC)


def build(author: str = "eve", **spec: Any) -> Resource:
    annotations = {"upwell.dev/author": author} if author else {}
    metadata = {"name": "app-1", "namespace": "a", "annotations": annotations}
    to = {"kind": "ImageStreamTag", "name": "app:1", "namespace": "b"}
    document = {"output": {"to": to}, **spec}
    api = "build.openshift.io/v1"
    return decode({"apiVersion": api, "kind": "Build", "metadata": metadata, "spec": document})


class FixedGrants:
    def __init__(self, *grants: str) -> None:
        self.found = tuple(map(parse_grant, grants))

    async def grants(self, author: str) -> tuple[Grant, ...]:
        return self.found if author == "eve" else ()


async def test_a_right_that_was_lost_is_named_with_the_object_and_its_author() -> None:
    authors = FixedGrants("builder@a,b")
    assert await Authority(authors).refusal(build()) == ""
    authors.found = (parse_grant("builder@a"),)
    why = await Authority(authors).refusal(build())
    assert "Build a/app-1" in why
    assert "eve" in why
    assert "push repositories in namespace b needs role builder there" in why


async def test_what_has_no_author_is_the_administrators() -> None:
    assert await Authority(FixedGrants()).refusal(build("")) == ""


async def test_an_author_who_is_gone_has_no_right() -> None:
    assert "push repositories" in await Authority(FixedGrants("admin@*")).refusal(build("ann"))


@pytest.mark.parametrize("expires", [None, datetime(2023, 1, 1, tzinfo=UTC)])
async def test_an_expired_token_opens_nothing_and_what_it_has_written_stands(
    expires: datetime | None,
) -> None:
    store = MemoryStore(lambda: NOW)
    token = new_token("eve")
    record = TokenRecord("eve", hash_of(token), (parse_grant("builder@a,b"),), expires)
    kept = await store.create(record.as_secret())
    tokens = Tokens(store, lambda: NOW, [own_token(new_token("root"))])
    assert (await tokens.principal(token) is None) == (expires is not None)
    assert await Authority(tokens).refusal(build()) == ""
    assert await Authority(tokens).refusal(build("system:admin")) == ""
    await store.delete(type(kept), kept.namespace, kept.name)
    assert "push repositories" in await Authority(tokens).refusal(build())
