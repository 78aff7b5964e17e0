"""Warnings about volumes, as an apply gets them."""

import json
from typing import Any

import pytest
from tests.support.server.api_server import Api, deployment

from upwell.api.apps import TRIGGERS_ANNOTATION
from upwell.api.codec import decode_as
from upwell.api.image import Image, ImageStream
from upwell.api.meta import Resource

DEPLOYMENTS = "/apis/apps/v1/namespaces/shop/deployments"
DIGEST = f"sha256:{'a' * 64}"
TRIGGER = {
    "from": {"kind": "ImageStreamTag", "name": "db:1"},
    "fieldPath": "spec.template.spec.containers[0].image",
}


async def know_image(api: Api) -> None:
    image = {
        "metadata": {"name": DIGEST},
        "dockerImageMetadata": {"Config": {"Volumes": {"/data": {}}}},
    }
    await api.store.create(decode_as(Image, image))
    event = {
        "created": "2026-01-01T00:00:00Z",
        "image": DIGEST,
        "dockerImageReference": f"vendor.test/db@{DIGEST}",
    }
    stream = await api.store.create(
        decode_as(ImageStream, {"metadata": {"namespace": "shop", "name": "db"}})
    )
    status = {"tags": [{"tag": "1", "items": [event]}]}
    known = decode_as(ImageStream, {"metadata": {}, "status": status}).status
    await api.store.update_status(stream.with_status(known))


def database(image: str, *, mounted: bool = False) -> dict[str, Any]:
    made = deployment("db")
    pod = made["spec"]["template"]["spec"]
    pod["containers"][0]["image"] = image
    if image == " ":
        made["metadata"]["annotations"] = {TRIGGERS_ANNOTATION: json.dumps([TRIGGER])}
    if mounted:
        pod["containers"][0]["volumeMounts"] = [{"name": "data", "mountPath": "/data"}]
        pod["volumes"] = [{"name": "data", "emptyDir": {}}]
    return made


@pytest.mark.parametrize("image", [f"vendor.test/db@{DIGEST}", " "], ids=["digest", "tag"])
async def test_a_volume_of_a_known_image_is_told_of_once(api: Api, image: str) -> None:
    await know_image(api)

    created = await api.send("POST", DEPLOYMENTS, database(image))
    again = await api.send("PUT", f"{DEPLOYMENTS}/db", database(image))

    [warning] = created.warnings
    assert "declares the volume /data, at which nothing is mounted" in warning
    assert again.warnings == ()


async def test_an_image_without_a_digest_is_looked_for_under_no_name(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a path its slashes would name a subresource, which no role of a cluster grants."""
    read, names = api.store.get, list[str]()

    async def get[R: Resource](kind: type[R], namespace: str, name: str) -> R:
        names.append(name)
        return await read(kind, namespace, name)

    monkeypatch.setattr(api.store, "get", get)

    created = await api.send("POST", DEPLOYMENTS, database("vendor.test/db:1"))

    assert created.status == 201
    assert [one for one in names if "vendor.test" in one] == []


async def test_a_volume_that_is_mounted_is_not_worth_a_word(api: Api) -> None:
    await know_image(api)

    created = await api.send("POST", DEPLOYMENTS, database(f"db@{DIGEST}", mounted=True))

    assert created.warnings == ()


async def test_a_claim_that_is_written_stops_the_old_instance_first(api: Api) -> None:
    wanted = database("vendor.test/db:1", mounted=True)
    claim = {"persistentVolumeClaim": {"claimName": "pg"}}
    wanted["spec"] |= {"replicas": 1}
    wanted["spec"]["template"]["spec"]["volumes"] = [{"name": "data", **claim}]

    created = await api.send("POST", DEPLOYMENTS, wanted)

    [warning] = created.warnings
    assert "instances write persistentVolumeClaim pg" in warning
    assert "stops the old one before the new one starts" in warning
