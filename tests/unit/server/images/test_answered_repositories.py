"""Repository of a stream: the answer to its creation names it already."""

from pathlib import Path
from typing import Any

from tests.support.server.granted_api import REGISTRY, open_granted_api

GROUP = "/apis/image.openshift.io/v1/namespaces/shop"
STREAM = {
    "apiVersion": "image.openshift.io/v1",
    "kind": "ImageStream",
    "metadata": {"name": "app"},
}
IMPORT: dict[str, Any] = {
    "apiVersion": "image.openshift.io/v1",
    "kind": "ImageStreamImport",
    "metadata": {"name": "base"},
    "spec": {
        "import": True,
        "images": [{"from": {"kind": "DockerImage", "name": "127.0.0.1:1/base:1"}}],
    },
}


async def test_a_new_stream_says_where_to_push(tmp_path: Path) -> None:
    async with open_granted_api(tmp_path) as granted:
        streams = f"{GROUP}/imagestreams"
        tried = await granted.send("admin", "POST", f"{streams}?dryRun=All", STREAM)
        made = await granted.send("admin", "POST", streams, STREAM)
        label = {"metadata": {"labels": {"team": "shop"}}}
        merge = "application/merge-patch+json"
        changed = await granted.send("admin", "PATCH", f"{streams}/app", label, content_type=merge)
    for answer in (tried, made, changed):
        assert answer.status < 300, answer.text
        assert answer.json["status"]["dockerImageRepository"] == f"{REGISTRY}/shop/app"


async def test_an_import_answers_a_stream_that_says_so(tmp_path: Path) -> None:
    async with open_granted_api(tmp_path) as granted:
        imported = await granted.send("admin", "POST", f"{GROUP}/imagestreamimports", IMPORT)
    assert imported.status == 201, imported.text
    stream = imported.json["status"]["import"]
    assert stream["status"]["dockerImageRepository"] == f"{REGISTRY}/shop/base"
