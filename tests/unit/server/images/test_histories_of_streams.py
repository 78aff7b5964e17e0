"""Histories of streams: a pruner that is a client does not shorten them."""

import pytest
from tests.support.server.api_server import serving

from upwell.server.http.limits import ServerLimits

STREAMS = "/apis/image.openshift.io/v1/namespaces/shop/imagestreams"
ITEMS = [
    {
        "created": "2026-03-01T11:50:00Z",
        "dockerImageReference": f"registry.test/app@sha256:{digit * 64}",
        "image": f"sha256:{digit * 64}",
    }
    for digit in "ba"
]
STREAM = {
    "apiVersion": "image.openshift.io/v1",
    "kind": "ImageStream",
    "metadata": {"name": "app"},
    "status": {"tags": [{"tag": "latest", "items": ITEMS}]},
}


@pytest.mark.parametrize("kept", [[], ITEMS[:1], ITEMS[1:]])
async def test_a_client_takes_no_image_out_of_a_history(kept: list[dict[str, str]]) -> None:
    status = {"status": {"tags": [{"tag": "latest", "items": kept}]}}
    async with serving(ServerLimits()) as api:
        assert (await api.send("POST", STREAMS, STREAM)).status == 201
        assert (await api.send("PUT", f"{STREAMS}/app/status", STREAM)).status == 200

        refused = await api.send("PUT", f"{STREAMS}/app/status", STREAM | status)

        assert (refused.status, "`upwell prune`" in refused.text) == (403, True), refused.text
        merge = "application/merge-patch+json"
        assert (await api.send("PATCH", f"{STREAMS}/app/status", status, merge)).status == 403
        [tag] = (await api.get(f"{STREAMS}/app")).json["status"]["tags"]
        assert [item["image"] for item in tag["items"]] == [item["image"] for item in ITEMS]
