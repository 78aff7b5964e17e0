"""Real OpenShift manifests through the API: applied again by any means, they change nothing."""

from collections.abc import AsyncIterator
from typing import Any

from tests.support.openshift import needs_corpus
from tests.support.server.api_server import Api, ApiAnswer, serving
from tests.support.server.corpus_objects import corpus_objects

from upwell.server.http.limits import ServerLimits

pytestmark = needs_corpus


async def _again(api: Api, path: str, document: dict[str, Any]) -> AsyncIterator[ApiAnswer]:
    yield await api.send("PUT", path, document)
    for kind in ("strategic-merge-patch+json", "merge-patch+json"):
        yield await api.send("PATCH", path, document, f"application/{kind}")


async def test_every_manifest_rests_once_it_is_stored() -> None:
    stored = refused = 0
    async with serving(ServerLimits()) as api:
        for collection, document in corpus_objects():
            created = await api.send("POST", collection, document)
            if created.status != 201:
                assert created.status in {409, 422}, created.text
                refused += 1
                continue
            stored += 1
            if "name" not in document["metadata"]:
                continue
            path = f"{collection}/{document['metadata']['name']}"
            async for answer in _again(api, path, document):
                assert answer.json == created.json, answer.text
            apply = "application/apply-patch+yaml"
            manager = f"{path}?fieldManager=me"
            applied = await api.send("PATCH", manager, document, apply)
            assert applied.status == 200, applied.text
            assert applied.json.get("spec") == created.json.get("spec")
            assert (await api.send("PATCH", manager, document, apply)).json == applied.json
    assert stored > refused
