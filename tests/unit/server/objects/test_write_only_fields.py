"""Write-only values in every answer: shown to readers of Secrets, hidden from all others."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.support.server.api_server import Api, ApiAnswer, ApiClock, serving
from tests.support.server.audit_logs import audit_lines, audit_log

from upwell.api.builds.config import BuildConfig
from upwell.api.meta import ObjectMeta, Resource
from upwell.api.route import Route
from upwell.api.write_only.hidden import LAST_APPLIED, hidden
from upwell.policy.access.roles import parse_grant
from upwell.server.auth.access_control import AccessControl
from upwell.server.auth.tokens import TokenRecord, Tokens, hash_of, new_token
from upwell.server.http.limits import ServerLimits
from upwell.store.memory import MemoryStore

type Document = dict[str, Any]

HOOK, PASSWORD, TLS_KEY = "hook-secret-1", "git-password-1", "tls-key-1"
SECRETS = (HOOK, PASSWORD, TLS_KEY)
CONFIGS = "/apis/build.openshift.io/v1/namespaces/shop/buildconfigs"
ROUTES = "/apis/route.openshift.io/v1/namespaces/shop/routes"
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io"
JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"

CONFIG: Document = {
    "apiVersion": "build.openshift.io/v1",
    "kind": "BuildConfig",
    "metadata": {"name": "app"},
    "spec": {
        "source": {"type": "Git", "git": {"uri": f"https://ada:{PASSWORD}@git.example.com/app"}},
        "strategy": {"type": "Docker", "dockerStrategy": {}},
        "triggers": [{"type": "Generic", "generic": {"secret": HOOK}}],
    },
}
CONFIG["metadata"]["annotations"] = {LAST_APPLIED: json.dumps(CONFIG)}
ROUTE: Document = {
    "apiVersion": "route.openshift.io/v1",
    "kind": "Route",
    "metadata": {"name": "web"},
    "spec": {
        "host": "shop.example.com",
        "to": {"name": "web"},
        "tls": {"termination": "edge", "key": TLS_KEY, "certificate": "public"},
    },
}


@dataclass
class Readers:
    api: Api
    tokens: dict[str, str]
    folder: Path

    async def send(
        self, who: str, method: str, path: str, body: Any = None, **headers: str
    ) -> ApiAnswer:
        token = {"Authorization": f"Bearer {self.tokens[who]}"}
        return await self.api.send(method, path, body, **token, **headers)


@pytest.fixture
async def readers(tmp_path: Path) -> AsyncIterator[Readers]:
    def guard(store: MemoryStore, clock: ApiClock) -> AccessControl:
        return AccessControl(Tokens(store, clock), audit_log(tmp_path, clock))

    async with serving(ServerLimits(bookmark_seconds=0.05), guard=guard) as api:
        grants = {
            "viewer": ("viewer@*",),
            "developer": ("builder@shop", "deployer@shop"),
            "owner": ("admin@shop",),
        }
        tokens = {name: new_token(name) for name in grants}
        for name, token in tokens.items():
            found = tuple(map(parse_grant, grants[name]))
            await api.store.create(TokenRecord(name, hash_of(token), found).as_secret())
        running = Readers(api, tokens, tmp_path)
        for path, document in ((CONFIGS, CONFIG), (ROUTES, ROUTE)):
            answer = await running.send("developer", "POST", path, document)
            assert answer.status == 201, answer.text
            assert not told(answer.text)
        yield running


def told(text: str) -> list[str]:
    """Return the secrets that a text tells."""
    return [secret for secret in SECRETS if secret in text]


@pytest.mark.parametrize("path", [CONFIGS, f"{CONFIGS}/app", ROUTES, f"{ROUTES}/web"])
@pytest.mark.parametrize("accept", ["application/json", TABLE])
async def test_reads_tell_nothing(readers: Readers, path: str, accept: str) -> None:
    for who in ("viewer", "developer"):
        answer = await readers.send(who, "GET", f"{path}?includeObject=Object", Accept=accept)
        assert answer.status == 200
        assert not told(answer.text)


async def test_lists_of_all_namespaces_tell_nothing(readers: Readers) -> None:
    answer = await readers.send("viewer", "GET", CONFIGS.replace("/namespaces/shop", ""))
    assert "hidden-value-" in answer.text
    assert not told(answer.text)


async def test_readers_of_secrets_see_them(readers: Readers) -> None:
    assert told((await readers.send("owner", "GET", f"{CONFIGS}/app")).text) == [HOOK, PASSWORD]
    assert told((await readers.send("owner", "GET", ROUTES)).text) == [TLS_KEY]


async def test_watches_tell_nothing(readers: Readers) -> None:
    path = f"{CONFIGS}?watch=true&timeoutSeconds=1"
    watching = asyncio.create_task(readers.send("viewer", "GET", path))
    label = {"metadata": {"labels": {"a": "b"}}}
    await readers.send("owner", "PATCH", f"{CONFIGS}/app", label, content_type=MERGE_PATCH)
    text = (await watching).text
    assert '"ADDED"' in text
    assert not told(text)


async def test_selectors_are_no_oracle(readers: Readers) -> None:
    async def found(who: str, selector: str) -> int:
        answer = await readers.send(who, "GET", f"{ROUTES}?fieldSelector={selector}")
        return len(answer.json["items"])

    assert await found("owner", f"spec.tls.key={TLS_KEY}") == 1
    assert await found("viewer", f"spec.tls.key={TLS_KEY}") == 0
    assert await found("viewer", "spec.host=shop.example.com") == 1


@pytest.mark.parametrize("query", ["", "labelSelector=app", "fieldSelector=status.phase!=Gone"])
async def test_a_long_list_lets_others_have_their_turn(readers: Readers, query: str) -> None:
    stored = await readers.api.store.get(BuildConfig, "shop", "app")
    for at in range(300):
        meta = ObjectMeta(name=f"c{at:03}", namespace="shop", labels={"app": "x"})
        await readers.api.store.create(stored.model_copy(update={"metadata": meta}))
    hidden_at: list[int] = []
    turns = 0

    def counted(resource: Resource, key: bytes) -> Resource:
        hidden_at.append(turns)
        return hidden(resource, key)

    async def others() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("upwell.policy.access.visibility.hidden", counted)
        task = asyncio.create_task(others())
        answer = await readers.send("viewer", "GET", f"{CONFIGS}?{query}")
        task.cancel()
    assert answer.status == 200
    assert not told(answer.text)
    assert len(hidden_at) >= 300
    assert max(Counter(hidden_at).values()) <= 100


async def test_what_is_read_can_be_changed_and_written_back(readers: Readers) -> None:
    document = (await readers.send("developer", "GET", f"{CONFIGS}/app")).json
    document["spec"]["runPolicy"] = "Parallel"
    document["spec"]["triggers"].insert(0, {"type": "ConfigChange"})
    answer = await readers.send("developer", "PUT", f"{CONFIGS}/app", document)
    assert answer.status == 200, answer.text
    assert not told(answer.text)
    config = await readers.api.store.get(BuildConfig, "shop", "app")
    assert [one.generic.secret for one in config.spec.triggers if one.generic] == [HOOK]
    git = config.spec.source.git
    assert git is not None
    assert git.uri == CONFIG["spec"]["source"]["git"]["uri"]
    assert config.spec.run_policy == "Parallel"


async def test_apply_of_what_was_read_keeps_the_value(readers: Readers) -> None:
    document = (await readers.send("developer", "GET", f"{ROUTES}/web")).json
    document["metadata"] = {"name": "web"}
    document["spec"]["host"] = "new.example.com"
    path = f"{ROUTES}/web?fieldManager=test&force=true"
    headers = {"content_type": "application/apply-patch+yaml"}
    answer = await readers.send("developer", "PATCH", path, document, **headers)
    assert answer.status == 200, answer.text
    route = await readers.api.store.get(Route, "shop", "web")
    assert route.spec.tls is not None
    assert (route.spec.host, route.spec.tls.key) == ("new.example.com", TLS_KEY)


async def test_a_patch_moves_nothing_into_sight(readers: Readers) -> None:
    copy = [
        {"op": "add", "path": "/metadata/labels", "value": {}},
        {"op": "copy", "from": "/spec/tls/key", "path": "/metadata/labels/key"},
    ]
    test = [{"op": "test", "path": "/spec/tls/key", "value": TLS_KEY}]
    headers = {"content_type": JSON_PATCH}
    copied = await readers.send("developer", "PATCH", f"{ROUTES}/web", copy, **headers)
    assert not told(copied.text)
    tested = await readers.send("developer", "PATCH", f"{ROUTES}/web", test, **headers)
    assert tested.status >= 400
    assert (await readers.send("owner", "PATCH", f"{ROUTES}/web", test, **headers)).status == 200


@pytest.mark.parametrize(
    "content_type", [JSON_PATCH, MERGE_PATCH, "application/apply-patch+yaml", "PUT"]
)
async def test_a_hook_cannot_be_made_an_address_that_all_read(
    readers: Readers, content_type: str
) -> None:
    document = (await readers.send("developer", "GET", f"{CONFIGS}/app")).json
    placeholder = document["spec"]["triggers"][0]["generic"]["secret"]
    change = {"spec": {"source": {"git": {"httpProxy": placeholder}}}}
    document["spec"]["source"]["git"]["httpProxy"] = placeholder
    declared = {key: document[key] for key in ("apiVersion", "kind")} | change
    secret, proxy = "/spec/triggers/0/generic/secret", "/spec/source/git/httpProxy"
    body: Any = {
        JSON_PATCH: [{"op": "copy", "from": secret, "path": proxy}],
        MERGE_PATCH: change,
        "PUT": document,
    }.get(content_type, declared)
    path = f"{CONFIGS}/app?fieldManager=test&force=true"
    if content_type == "PUT":
        answer = await readers.send("developer", "PUT", path, body)
    else:
        answer = await readers.send("developer", "PATCH", path, body, content_type=content_type)
    assert answer.status == 422, answer.text
    assert "spec.source.git.httpProxy: stands for a value that is hidden" in answer.json["message"]
    assert not told((await readers.send("viewer", "GET", f"{CONFIGS}/app")).text)


async def test_a_placeholder_from_elsewhere_is_refused_with_its_path(readers: Readers) -> None:
    document = (await readers.send("viewer", "GET", f"{ROUTES}/web")).json
    document["metadata"] = {"name": "copy"}
    answer = await readers.send("developer", "POST", ROUTES, document)
    assert answer.status == 422
    assert "spec.tls.key: stands for a value that is hidden" in answer.json["message"]


async def test_answers_to_actions_and_deletions_tell_nothing(readers: Readers) -> None:
    started = await readers.send("developer", "POST", f"{CONFIGS}/app/instantiate")
    assert started.status == 201, started.text
    assert "hidden-value-" in started.text
    assert not told(started.text)
    gone = await readers.send("developer", "DELETE", CONFIGS)
    assert gone.json["items"]
    assert not told(gone.text)


async def test_the_audit_log_tells_nothing_of_a_change(readers: Readers) -> None:
    change = {"spec": {"source": {"git": {"uri": "https://ada:other-1@git.example.com/app"}}}}
    headers = {"content_type": MERGE_PATCH}
    answer = await readers.send("owner", "PATCH", f"{CONFIGS}/app", change, **headers)
    assert answer.status == 200
    lines = json.dumps(audit_lines(readers.folder))
    assert "spec.source.git.uri" in lines
    assert not told(lines)
    assert "other-1" not in lines
