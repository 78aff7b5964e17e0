"""Deletions of objects that change between the check and the deletion."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.server.granted_api import GrantedApi, open_granted_api, path_of

from upwell.api.image import ImageStream
from upwell.api.waves.wave import APPROVAL_ANNOTATION
from upwell.store.interface import NotFoundError

STREAM = path_of("imagestreams", "shop", "debian")


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[GrantedApi]:
    async with open_granted_api(tmp_path) as served:
        await served.create("admin", "imagestreams", "shop", {"metadata": {"name": "debian"}})
        await served.grant("builder", "builder@shop")
        yield served


def change_before_deletion(
    served: GrantedApi, monkeypatch: pytest.MonkeyPatch, **annotations: str
) -> None:
    """Have the stream change once, right before it is deleted."""
    store = served.api.store
    delete, changed = store.delete, list[str]()

    async def slowly(kind: type[Any], namespace: str, name: str, **options: Any) -> None:
        if kind is ImageStream and not changed:
            changed.append(name)
            stream = await store.get(ImageStream, namespace, name)
            told = {**stream.annotations, **annotations}
            await store.update(stream.with_metadata(annotations=told))
        await delete(kind, namespace, name, **options)

    monkeypatch.setattr(store, "delete", slowly)


@pytest.mark.parametrize("path", [STREAM, path_of("imagestreams", "shop")])
async def test_who_may_not_delete_what_it_has_become_does_not(
    served: GrantedApi, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    change_before_deletion(served, monkeypatch, **{APPROVAL_ANNOTATION: "manual"})
    answer = await served.send("builder", "DELETE", path)
    assert answer.status == 403, answer.text
    await served.api.store.get(ImageStream, "shop", "debian")


@pytest.mark.parametrize("path", [STREAM, path_of("imagestreams", "shop")])
async def test_a_change_that_is_no_matter_keeps_nobody_from_deleting(
    served: GrantedApi, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    change_before_deletion(served, monkeypatch, note="mine")
    answer = await served.send("builder", "DELETE", path)
    assert answer.status == 200, answer.text
    with pytest.raises(NotFoundError):
        await served.api.store.get(ImageStream, "shop", "debian")


async def test_a_version_that_is_asked_for_is_that_which_is_deleted(served: GrantedApi) -> None:
    stream = await served.api.store.get(ImageStream, "shop", "debian")
    for version, status in (("1-stale", 409), (stream.resource_version, 200)):
        body = {"preconditions": {"resourceVersion": version}}
        answer = await served.send("builder", "DELETE", STREAM, body)
        assert answer.status == status, answer.text
