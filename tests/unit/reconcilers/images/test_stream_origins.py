"""Repositories that may be pulled through, and their origins."""

from pathlib import Path

import pytest
from tests.support.builds.memory_builds import (
    AMD64,
    ARM64,
    NAMESPACE,
    VENDOR,
    BuildMachine,
    image_stream,
    imported,
    push,
    push_index,
    stream_key,
)

from upwell.api.image import ImportPolicy
from upwell.oci import Digest
from upwell.policy.images.names import ImageNames
from upwell.reconcilers.images.origins import StreamOrigins

REPOSITORY = f"{NAMESPACE}/debian"


@pytest.fixture
def machine(tmp_path: Path) -> BuildMachine:
    return BuildMachine(tmp_path)


async def test_what_a_stream_has_or_had_comes_from_where_it_was_imported(
    machine: BuildMachine,
) -> None:
    tag = imported("11", f"{VENDOR}/debian:11", scheduled=True).model_copy(
        update={"import_policy": ImportPolicy(scheduled=True, insecure=True)}
    )
    await machine.store.create(image_stream("debian", tag))
    streams, origins = machine.streams(), StreamOrigins(machine.store, machine.secrets)
    digests = []
    for mark in ("old", "new"):
        digests.append(await push(machine.vendor.registry, "debian:11", mark))
        machine.clock.advance(3600)
        await streams.reconcile(stream_key("debian"))
    assert await origins.digest(REPOSITORY, "11") == digests[1]
    for digest in digests:
        origin = await origins.find(REPOSITORY, digest)
        assert origin is not None
        assert str(origin.reference) == f"{VENDOR}/debian@{digest}"
        assert origin.access.insecure


async def test_the_platforms_of_an_index_are_parts_of_it(machine: BuildMachine) -> None:
    await machine.store.create(image_stream("debian", imported("11", f"{VENDOR}/debian:11")))
    amd64, arm64 = [
        await push(machine.vendor.registry, "debian:part", mark) for mark in ("amd64", "arm64")
    ]
    await push_index(machine.vendor.registry, "debian:11", {AMD64: amd64, ARM64: arm64})
    await machine.streams().reconcile(stream_key("debian"))
    origin = await StreamOrigins(machine.store, machine.secrets).find(REPOSITORY, arm64)
    assert origin is not None
    assert str(origin.reference) == f"{VENDOR}/debian@{arm64}"


async def test_what_no_stream_names_has_no_origin(machine: BuildMachine) -> None:
    pointer = imported("b", f"{VENDOR}/debian:11").model_copy(update={"reference": True})
    await machine.store.create(image_stream("debian", pointer))
    await machine.streams().reconcile(stream_key("debian"))
    origins = StreamOrigins(machine.store, machine.secrets)
    assert await origins.digest(REPOSITORY, "b") is None
    assert await origins.digest(REPOSITORY, "c") is None
    for repository in (REPOSITORY, "shop/none", "upstream/vendor.example/debian", "debian"):
        assert await origins.find(repository, Digest.of(b"x")) is None


def test_a_dockerfile_may_name_a_stream_in_short() -> None:
    stream = image_stream("debian", imported("11", f"{VENDOR}/debian:11"))
    local = stream.model_copy(
        update={
            "spec": stream.spec.model_validate_json('{"lookupPolicy": {"local": true}, "tags": []}')
        }
    )
    names = ImageNames([local])
    assert str(names.keeper("debian:11", NAMESPACE)) == f"{NAMESPACE}/debian:11"
    assert str(names.keeper("debian", NAMESPACE)) == f"{NAMESPACE}/debian:latest"
    assert names.keeper("debian:11", "elsewhere") is None
    assert ImageNames([stream]).keeper("debian:11", NAMESPACE) is None
