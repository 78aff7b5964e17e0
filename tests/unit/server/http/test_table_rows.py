"""Rows of tables are read once of an object; what depends on the time is told anew."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from upwell.api.core import ConfigMap
from upwell.api.meta import ObjectMeta
from upwell.server.http.rendering import Rendering

BEGAN = datetime(2024, 5, 1, tzinfo=UTC)
KIND = ConfigMap.KIND


def row(resource: ConfigMap, after: int, include: str = "Metadata") -> Any:
    rendering = Rendering(as_table=True, include=include, now=BEGAN + timedelta(seconds=after))
    table = json.loads(b"".join(rendering.many(KIND, [resource], {"resourceVersion": "1"})))
    return table["rows"][0]


def config_map(**data: str) -> ConfigMap:
    meta = ObjectMeta(name="one", creation_timestamp=BEGAN, labels={"a": "ä"})
    return ConfigMap(metadata=meta, data=data)


def test_a_row_that_is_read_once_tells_each_age() -> None:
    resource = config_map(a="1")

    assert row(resource, 5)["cells"] == ["one", "1", "5s"]
    assert row(resource, 90)["cells"] == ["one", "1", "90s"]
    assert row(config_map(a="1", b="2"), 90)["cells"] == ["one", "2", "90s"]


@pytest.mark.parametrize("include", ["Metadata", "Object", "None"])
def test_a_row_has_as_much_of_its_object_as_is_asked_for(include: str) -> None:
    resource = config_map(a="1")
    found = row(resource, 5, include)

    assert found == row(resource, 5, include)
    if include == "None":
        assert "object" not in found
        return
    assert found["object"]["metadata"]["labels"] == {"a": "ä"}
    assert ("data" in found["object"]) is (include == "Object")
    assert found["object"]["kind"] == (
        "ConfigMap" if include == "Object" else "PartialObjectMetadata"
    )
