"""A database of a version that stored no defaults: nothing that it holds begins anything."""

import json
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from upwell.api.codec import decode, encode, resource_of_kind
from upwell.api.meta import Resource
from upwell.policy.rollouts.history import wanted_revision
from upwell.policy.rollouts.pod_template import same_meaning
from upwell.policy.rollouts.settings import WORKLOADS, template_of
from upwell.store import semantics
from upwell.store.interface import Selector
from upwell.store.migrations import MIGRATIONS
from upwell.store.sqlite import SqliteStore

_OBJECTS = json.loads(
    (Path(__file__).parents[2] / "support" / "store" / "before_defaults.json").read_text()
)
_IDS = [f"{one['kind']}-{one['metadata']['name']}" for one in _OBJECTS]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return a database as that version has left it."""
    path = tmp_path / "upwell.db"
    with closing(sqlite3.connect(path)) as connection, connection:
        for statements in MIGRATIONS:
            for statement in statements:
                connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")
        for version, document in enumerate(_OBJECTS, start=1):
            meta = document["metadata"]
            body = json.dumps(document | {"metadata": meta | {"resourceVersion": str(version)}})
            place = (document["kind"], meta["namespace"], meta["name"])
            connection.execute("INSERT INTO objects VALUES (?, ?, ?, ?)", (*place, body))
            change = (version, "ADDED", document["kind"], None, body)
            connection.execute("INSERT INTO changes VALUES (?, ?, ?, ?, ?)", change)
    return path


@pytest.fixture
async def store(path: Path) -> AsyncIterator[SqliteStore]:
    store = await SqliteStore.open(path, clock=lambda: datetime.now(UTC))
    yield store
    await store.close()


async def read(store: SqliteStore, document: dict[str, Any]) -> Resource:
    meta = document["metadata"]
    kind = resource_of_kind(document["kind"])
    return await store.get(kind, meta["namespace"], meta["name"])


@pytest.mark.parametrize("document", _OBJECTS, ids=_IDS)
async def test_the_revision_in_force_stays_the_wanted_one(
    store: SqliteStore, document: dict[str, Any]
) -> None:
    found = await read(store, document)
    if isinstance(found, WORKLOADS):
        assert wanted_revision(found) == document["status"]["revisions"][0]["hash"]


async def test_a_revision_means_what_its_template_does(store: SqliteStore) -> None:
    seen = 0
    for document in _OBJECTS:
        found = await read(store, document)
        if isinstance(found, WORKLOADS):
            first = found.status.revisions[0].template
            assert same_meaning(template_of(found), first)
            seen += 1
    assert seen > 4


@pytest.mark.parametrize("document", _OBJECTS, ids=_IDS)
async def test_declaring_it_again_changes_nothing(
    store: SqliteStore, document: dict[str, Any]
) -> None:
    found = await read(store, document)
    declared = decode({**document, "metadata": encode(found)["metadata"]})
    assert semantics.updated(found, declared) is found


async def test_defaults_are_shown_and_nothing_is_rewritten(store: SqliteStore, path: Path) -> None:
    shown = {(one["kind"], one["metadata"]["name"]): one["spec"] for one in _OBJECTS}
    for kind, name in shown:
        listing = await store.list(resource_of_kind(kind), Selector("shop", name=name))
        shown[kind, name] = encode(listing.items[0])["spec"]
    assert shown["Deployment", "plain"]["strategy"] == {
        "type": "RollingUpdate",
        "rollingUpdate": {"maxUnavailable": "25%", "maxSurge": "25%"},
    }
    assert shown["DeploymentConfig", "plain"]["strategy"]["recreateParams"] == {
        "timeoutSeconds": 600
    }
    assert shown["Route", "web"]["to"] == {"name": "web", "kind": "Service", "weight": 100}
    assert [tag["name"] for tag in shown["ImageStream", "web"]["tags"]] == ["a", "b"]
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        assert "weight" not in str(connection.execute("SELECT body FROM objects").fetchall())
