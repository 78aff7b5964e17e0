"""Memory of the last changes: bounded by what Python takes for them, whatever they are made of."""

import gc
import json
import tracemalloc
from typing import Any

import pytest
from tests.support.server.api_server import config_map, deployment

from upwell.api.codec import decode, encode_json
from upwell.store.history import ChangeRecord, History
from upwell.store.interface import Change

SIZE = 1024 * 1024
DOCUMENTS = {
    "few fields": config_map("few", x="y" * 1000),
    "a large text": config_map("large", x="y" * 20_000),
    "many fields": config_map("many", **{f"k{number}": "v" for number in range(100)}),
    "a workload": deployment("app"),
}


def changed(document: dict[str, Any], version: int) -> ChangeRecord:
    """Return a change of the object that shares nothing with those before."""
    text = json.dumps(document | {"metadata": {**document["metadata"], "uid": str(version)}})
    resource = decode(json.loads(text))
    return ChangeRecord(version, Change.MODIFIED, resource, None, encode_json(resource))


@pytest.mark.parametrize("name", DOCUMENTS)
def test_a_history_takes_no_more_memory_than_it_says(name: str) -> None:
    history = History(limit=100_000, size=SIZE)
    changed(DOCUMENTS[name], 0)  # what is made once is made now
    gc.collect()
    tracemalloc.start(1)
    try:
        for version in range(1, 1501):
            history.publish([changed(DOCUMENTS[name], version)])
        gc.collect()
        taken = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert history.forgotten > 0
    assert taken < SIZE * 1.5
