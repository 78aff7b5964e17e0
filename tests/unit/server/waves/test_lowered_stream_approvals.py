"""Approval that a namespace asks for changes of a stream is given up by who may approve alone."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.server.granted_api import GrantedApi, open_granted_api, path_of

from upwell.api.image import ImageStream, NamedTagEventList, TagEvent
from upwell.api.waves.wave import APPROVAL_ANNOTATION
from upwell.oci import Digest

MERGE = "application/merge-patch+json"
OWNER = {"apiVersion": "v1", "kind": "ConfigMap", "name": "mine", "uid": "mine-1"}
STREAM = path_of("imagestreams", "shop", "debian")
TAG = path_of("imagestreamtags", "shop", "debian:11")


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[GrantedApi]:
    """Serve a stream whose changes are approved in its namespace, and one beside it."""
    async with open_granted_api(tmp_path) as served:
        for name, value in (("debian", "manual"), ("free", "auto")):
            source = {"kind": "DockerImage", "name": "vendor.test/debian:11"}
            document = {
                "metadata": {"name": name, "annotations": {APPROVAL_ANNOTATION: value}},
                "spec": {"tags": [{"name": "11", "from": source}]},
            }
            await served.create("admin", "imagestreams", "shop", document)
            stream = await served.api.store.get(ImageStream, "shop", name)
            digest = str(Digest.of(b"debian"))
            pulled = f"vendor.test/debian@{digest}"
            event = TagEvent(
                created=served.api.clock(), docker_image_reference=pulled, image=digest
            )
            history = NamedTagEventList(tag="11", items=(event,))
            status = stream.status.model_copy(update={"tags": (history,)})
            await served.api.store.update_status(stream.with_status(status))
        await served.grant("builder", "builder@shop")
        await served.grant("approver", "builder@shop", "approver@shop")
        yield served


def annotated(value: str | None) -> dict[str, Any]:
    return {"metadata": {"annotations": {APPROVAL_ANNOTATION: value}}}


LOWERING = [
    ("PATCH", STREAM, annotated(None)),
    ("PATCH", STREAM, annotated("auto")),
    ("PATCH", STREAM, {"metadata": {"annotations": None}}),
    ("PATCH", STREAM, {"metadata": {"ownerReferences": [OWNER]}}),
    ("DELETE", STREAM, {}),
    ("DELETE", path_of("imagestreams", "shop"), {}),
    ("DELETE", TAG, {}),
]


@pytest.mark.parametrize(("method", "path", "body"), LOWERING)
async def test_to_ask_for_approval_no_more_takes_the_right_to_approve(
    served: GrantedApi, method: str, path: str, body: dict[str, Any]
) -> None:
    sent = {"content_type": MERGE} if method == "PATCH" else {}
    refused = await served.send("builder", method, path, body, **sent)
    assert refused.status == 403, refused.text
    needed = "create imagestreams/approve in namespace shop needs role promoter"
    assert needed in refused.json["message"]
    stream = await served.api.store.get(ImageStream, "shop", "debian")
    assert stream.annotations[APPROVAL_ANNOTATION] == "manual"
    assert stream.status.tag("11") is not None
    done = await served.send("approver", method, path, body, **sent)
    assert done.status == 200, done.text


async def test_a_stream_is_not_replaced_without_what_it_asks(served: GrantedApi) -> None:
    stream = (await served.send("builder", "GET", STREAM)).json
    del stream["metadata"]["annotations"]
    refused = await served.send("builder", "PUT", STREAM, stream)
    assert refused.status == 403, refused.text


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (STREAM, {"metadata": {"labels": {"a": "b"}, "annotations": {"c": "d"}}}),
        (STREAM, {"spec": {"tags": [{"name": "11", "annotations": {"e": "f"}}]}}),
        (path_of("imagestreams", "shop", "free"), annotated("manual")),
        (path_of("imagestreams", "shop", "free"), {"metadata": {"ownerReferences": [OWNER]}}),
    ],
)
async def test_other_changes_of_streams_are_the_builders(
    served: GrantedApi, path: str, body: dict[str, Any]
) -> None:
    answer = await served.send("builder", "PATCH", path, body, content_type=MERGE)
    assert answer.status == 200, answer.text


async def test_what_asks_for_nothing_is_the_builders_to_remove(served: GrantedApi) -> None:
    for path in ("imagestreamtags/free:11", "imagestreams/free"):
        kind, name = path.split("/")
        answer = await served.send("builder", "DELETE", path_of(kind, "shop", name))
        assert answer.status == 200, answer.text
