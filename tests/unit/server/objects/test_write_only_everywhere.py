"""No answer, watch, audit line or log line tells a secret of any kind, whatever it is made of."""

import asyncio
import json
import logging
import tempfile
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from tests.support.server.api_server import Api, ApiAnswer, ApiClock, serving
from tests.support.server.audit_logs import audit_lines, audit_log
from tests.support.server.write_only_documents import (
    Document,
    Secrets,
    documents,
    forgotten,
    refused_documents,
    with_copy,
)

from upwell.api.codec import decode, resource_for
from upwell.policy.access.roles import parse_grant
from upwell.server.auth.access_control import AccessControl
from upwell.server.auth.tokens import TokenRecord, Tokens, hash_of, new_token
from upwell.server.http.limits import ServerLimits
from upwell.store.memory import MemoryStore

GRANTS = {
    "viewer": ("viewer@*",),
    "developer": ("builder@shop", "deployer@shop", "pipeline-editor@shop", "promoter@shop"),
    "owner": ("admin@shop",),
}
APPLY = "application/apply-patch+yaml"
MERGE = "application/merge-patch+json"
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io"
READS = ("application/json", TABLE, f"{TABLE};includeObject=Object")


class Client:
    """Sends requests, and keeps every answer to somebody who may read no Secrets."""

    def __init__(self, api: Api, tokens: dict[str, str]) -> None:
        self._api = api
        self._tokens = tokens
        self.answers: list[str] = []

    async def send(
        self, who: str, method: str, path: str, body: object = None, **headers: str
    ) -> ApiAnswer:
        token = {"Authorization": f"Bearer {self._tokens[who]}"}
        answer = await self._api.send(method, path, body, **token, **headers)
        if who != "owner":
            self.answers.append(answer.text)
        return answer

    async def written(self, method: str, path: str, body: object, **headers: str) -> None:
        """Write as a developer."""
        answer = await self.send("developer", method, path, body, **headers)
        assert answer.status in {200, 201}, answer.text


def path_of(document: Document, *rest: str) -> str:
    kind = resource_for(document["apiVersion"], document["kind"]).KIND
    return "/".join((f"/apis/{kind.api_version}/namespaces/shop/{kind.plural}", *rest))


async def use(client: Client, document: Document) -> None:
    """Write and read an object in every way."""
    every, name = path_of(document), document["metadata"]["name"]
    one = path_of(document, name)
    watching = asyncio.create_task(
        client.send("viewer", "GET", f"{every}?watch=true&timeoutSeconds=1")
    )
    await client.written("POST", every, with_copy(document))
    await client.written(
        "PATCH", f"{one}?fieldManager=other&force=true", document, content_type=APPLY
    )
    label = {"metadata": {"labels": {"a": "b"}}}
    await client.written("PATCH", one, label, content_type=MERGE)
    seen = (await client.send("developer", "GET", one)).json
    seen["metadata"]["labels"]["a"] = "c"
    await client.written("PUT", f"{one}?dryRun=All", seen)
    await client.written("PUT", one, seen)
    await client.send("developer", "PATCH", one, {"spec": [], "objects": 1}, content_type=MERGE)
    for who in ("viewer", "developer"):
        for path in (every, one, every.replace("/namespaces/shop", "")):
            for accept in READS:
                await client.send(who, "GET", path, Accept=accept)
    await watching
    assert "mark" in (await client.send("owner", "GET", one)).text
    await client.send("developer", "DELETE", one)


async def told(text: str, logged: Callable[[], str]) -> dict[str, list[str]]:
    """Use an object of every kind; return the secrets that somebody was told, by where."""
    secrets = Secrets(text)
    made, refused = list(documents(secrets)), list(refused_documents(secrets))
    assert forgotten([decode(one) for one in (*made, *refused)]) == []
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="upwell-audit-")))

        def guard(store: MemoryStore, clock: ApiClock) -> AccessControl:
            return AccessControl(Tokens(store, clock), audit_log(folder, clock))

        limits = ServerLimits(bookmark_seconds=0.05)
        api = await stack.enter_async_context(serving(limits, guard=guard))
        tokens = {name: new_token(name) for name in GRANTS}
        for name, token in tokens.items():
            found = tuple(map(parse_grant, GRANTS[name]))
            await api.store.create(TokenRecord(name, hash_of(token), found).as_secret())
        client = Client(api, tokens)
        await asyncio.gather(*(use(client, document) for document in made))
        for document in refused:
            answer = await client.send("developer", "POST", path_of(document), document)
            assert answer.status == 422, answer.text
        await client.send("viewer", "GET", "/api/v1/events")
        audit = json.dumps(audit_lines(folder))
    places = {"answers": "\n".join(client.answers), "audit log": audit, "log": logged()}
    assert "hidden-value-" in places["answers"]
    assert "one-route" in audit
    return {
        place: [mark for mark in secrets.marks if mark in content]
        for place, content in places.items()
    }


@settings(
    max_examples=3,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],  # a smaller text would tell nothing more
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(text=st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=30))
def test_secrets_of_every_kind_are_told_to_nobody(
    text: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    found = asyncio.run(told(text, lambda: caplog.text))
    assert found == {"answers": [], "audit log": [], "log": []}
