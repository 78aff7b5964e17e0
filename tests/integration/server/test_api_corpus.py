"""Real OpenShift manifests through the API: applied again by any means, they change nothing."""

import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.unit.server.api_server import Answer, Api, serving

from upwell.api.codec import UnknownKindError, resource_for
from upwell.api.manifests import InvalidManifestTextError, parse_manifests
from upwell.api.openapi import collection_path
from upwell.server.limits import ServerLimits

_SHARED = Path(os.environ.get("UPWELL_SHARED") or Path(__file__).parents[4] / "shared")
_CORPUS = _SHARED / "corpus" / "openshift"

pytestmark = pytest.mark.skipif(
    not _CORPUS.is_dir(), reason=f"no manifests in {_CORPUS} (set UPWELL_SHARED)"
)


def _objects() -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield each object of a known kind, those in Templates too, and its collection's path."""
    files = sorted(_CORPUS.rglob("*"))
    for count, file in enumerate(f for f in files if f.suffix in {".json", ".yaml", ".yml"}):
        try:
            documents = parse_manifests(file.read_text(), file.name)
        except InvalidManifestTextError:
            continue
        for document in documents:
            documents.extend(document.get("objects") or ())
            try:
                kind = resource_for(document["apiVersion"], document["kind"]).KIND
            except (KeyError, UnknownKindError):
                continue
            metadata = document.get("metadata", {})
            # An exported object names what it was read as, and so would conflict.
            for field in ("namespace", "resourceVersion", "uid"):
                metadata.pop(field, None)
            if not kind.is_stored:
                continue
            path = collection_path(kind).format(namespace=f"n{count}")
            yield path, document | {"apiVersion": kind.api_version}


async def _again(api: Api, path: str, document: dict[str, Any]) -> AsyncIterator[Answer]:
    yield await api.send("PUT", path, document)
    for kind in ("strategic-merge-patch+json", "merge-patch+json"):
        yield await api.send("PATCH", path, document, f"application/{kind}")


async def test_every_manifest_rests_once_it_is_stored() -> None:
    stored = refused = 0
    async with serving(ServerLimits()) as api:
        for collection, document in _objects():
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
