"""Images of the embedded registry, pushed or built: each has its object."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.support.builds.memory_builds import (
    AMD64,
    ARM64,
    INTERNAL,
    NAMESPACE,
    BuildMachine,
    image_stream,
    push,
    push_index,
    stream_key,
)

from upwell.api.image import Image, ImageStream, NamedTagEventList, TagEvent
from upwell.oci import Digest
from upwell.policy.images.proofs import is_public
from upwell.reconcilers.images.hosted import HostedImages
from upwell.reconcilers.images.records import FIRST_SEEN_ANNOTATION, ImageRecords
from upwell.store.interface import NotFoundError

REPOSITORY = f"{NAMESPACE}/app"


@pytest.fixture
async def machine(tmp_path: Path) -> BuildMachine:
    made = BuildMachine(tmp_path)
    await made.store.create(image_stream("app"))
    return made


async def image_of(machine: BuildMachine, digest: Digest) -> Image | None:
    try:
        return await machine.store.get(Image, "", str(digest))
    except NotFoundError:
        return None


async def test_what_is_pushed_has_an_image(machine: BuildMachine) -> None:
    streams = machine.streams()
    for mark in ("old", "new"):
        digest = await push(machine.internal, f"{REPOSITORY}:1", mark, layers=[b"layer"])
        await streams.reconcile(stream_key("app"))
        found = await image_of(machine, digest)
        assert found is not None
        assert found.docker_image_reference == f"{INTERNAL}/{REPOSITORY}@{digest}"
        assert [layer.name for layer in found.docker_image_layers] == [str(Digest.of(b"layer"))]
        assert not is_public(found)


async def test_what_was_pushed_to_an_older_server_has_an_image_after_a_start(
    machine: BuildMachine,
) -> None:
    seen = machine.clock()
    digests = []
    for mark in ("old", "new"):
        digests.append(await push(machine.internal, f"{REPOSITORY}:1", mark))
        await machine.streams().reconcile(stream_key("app"))
    for digest in digests:
        await machine.store.delete(Image, "", str(digest))
    machine.clock.advance(3600)

    await machine.streams().reconcile(stream_key("app"))
    for digest in digests:
        found = await image_of(machine, digest)
        assert found is not None
        assert found.annotations[FIRST_SEEN_ANNOTATION] == f"{seen:%Y-%m-%dT%H:%M:%SZ}"


async def test_nothing_is_looked_at_twice(machine: BuildMachine) -> None:
    streams = machine.streams()
    first = await push(machine.internal, f"{REPOSITORY}:1", "first")
    await streams.reconcile(stream_key("app"))
    await machine.store.delete(Image, "", str(first))

    second = await push(machine.internal, f"{REPOSITORY}:2", "second")
    await streams.reconcile(stream_key("app"))
    assert await image_of(machine, first) is None
    assert await image_of(machine, second) is not None

    await machine.store.delete(ImageStream, NAMESPACE, "app")
    await streams.reconcile(stream_key("app"))
    await machine.store.create(image_stream("app"))
    await streams.reconcile(stream_key("app"))
    assert await image_of(machine, first) is not None


async def test_an_index_has_images_of_its_own_for_our_platforms(machine: BuildMachine) -> None:
    parts = {
        one: await push(machine.internal, f"{REPOSITORY}:{one.architecture}", str(one))
        for one in (AMD64, ARM64)
    }
    whole = await push_index(machine.internal, f"{REPOSITORY}:1", parts)
    for one in parts:
        await machine.internal.untag(REPOSITORY, one.architecture)
    await machine.streams(platforms=[AMD64]).reconcile(stream_key("app"))
    shown = [await image_of(machine, one) for one in (whole, *parts.values())]
    assert [one is not None for one in shown] == [True, True, False]


async def test_no_claim_of_an_image_makes_an_object(machine: BuildMachine) -> None:
    foreign = await push(machine.internal, "bank/app:1", "of the bank")
    gone = Digest.of(b"nothing that was pushed")
    stream = await machine.store.get(ImageStream, NAMESPACE, "app")
    claims = [
        ("bank/app", foreign, None),  # as stored before there was `unproven`
        (REPOSITORY, foreign, True),
        (REPOSITORY, gone, None),
    ]
    events = tuple(
        TagEvent(
            created=datetime(2026, 1, 1, tzinfo=UTC),
            docker_image_reference=f"{INTERNAL}/{repository}@{digest}",
            image=str(digest),
            unproven=unproven,
        )
        for repository, digest, unproven in claims
    )
    status = stream.status.model_copy(update={"tags": (NamedTagEventList(tag="1", items=events),)})
    await machine.store.update_status(stream.with_status(status))
    await machine.streams().reconcile(stream_key("app"))
    assert await image_of(machine, foreign) is None
    assert await image_of(machine, gone) is None


async def test_one_namespace_has_so_many(machine: BuildMachine) -> None:
    images = ImageRecords(machine.store, machine.internal, (), INTERNAL)
    hosted = HostedImages(images, machine.internal, 2)
    streams = machine.streams()
    digests = []
    for tag in "abc":
        digests.append(await push(machine.internal, f"{REPOSITORY}:{tag}", tag))
        await streams.reconcile(stream_key("app"))
        await machine.store.delete(Image, "", str(digests[-1]))
    for _ in range(2):
        stream = await machine.store.get(ImageStream, NAMESPACE, "app")
        await hosted.record(stream)
    shown = [await image_of(machine, one) is not None for one in digests]
    assert shown == [True, True, False]

    fewer = stream.status.model_copy(update={"tags": stream.status.tags[1:]})
    await hosted.record(stream.with_status(fewer))
    assert await image_of(machine, digests[2]) is not None
    hosted.forget(stream.key)
    assert not hosted._counted


async def test_a_large_image_keeps_what_an_ordinary_one_has(machine: BuildMachine) -> None:
    labels = {f"label-{number}": "x" * 100 for number in range(400)}
    config = json.dumps({"os": "linux", "rootfs": {}, "config": {"Labels": labels}}).encode()
    layers = [str(number).encode() for number in range(3)]
    digest = await push(machine.internal, f"{REPOSITORY}:1", "large", config, layers)
    await machine.streams().reconcile(stream_key("app"))
    found = await image_of(machine, digest)
    assert found is not None
    assert (len(found.docker_image_layers), found.docker_image_metadata) == (3, {})
