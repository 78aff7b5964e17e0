"""Manifests that were read before are not asked for again, within a limit."""

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager

import pytest

from upwell.oci import Descriptor, Digest, Index, Manifest, MediaType, Reference, parse_manifest
from upwell.registry.caching import CachingRegistry
from upwell.registry.interface import DEFAULT_ACCESS, RequestAccess

_NAME = "registry.example/team/app"


class CountingRegistry:
    """Has every manifest that it is given, and counts how often each is fetched."""

    def __init__(self, *manifests: Manifest) -> None:
        self._manifests = {manifest.digest: manifest for manifest in manifests}
        self._newest = manifests[-1]
        self.fetched: list[Digest] = []

    async def resolve(
        self, reference: Reference, access: RequestAccess = DEFAULT_ACCESS
    ) -> Descriptor:
        raise NotImplementedError

    async def manifest(
        self, reference: Reference, access: RequestAccess = DEFAULT_ACCESS
    ) -> Manifest | Index:
        del access
        found = self._manifests[reference.digest] if reference.digest else self._newest
        self.fetched.append(found.digest)
        return found

    async def blob(
        self,
        reference: Reference,
        digest: Digest,
        limit: int,
        access: RequestAccess = DEFAULT_ACCESS,
    ) -> bytes:
        raise NotImplementedError

    def open_blob(
        self, reference: Reference, digest: Digest, access: RequestAccess = DEFAULT_ACCESS
    ) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        raise NotImplementedError

    async def tags(
        self, reference: Reference, access: RequestAccess = DEFAULT_ACCESS
    ) -> Sequence[str]:
        raise NotImplementedError


def a_manifest(name: str) -> Manifest:
    config = {"mediaType": "application/json", "digest": str(Digest.of(b"{}")), "size": 2}
    document = {
        "schemaVersion": 2,
        "mediaType": MediaType.OCI_MANIFEST,
        "config": config,
        "layers": [],
        "annotations": {"name": name},
    }
    manifest = parse_manifest(json.dumps(document).encode())
    assert isinstance(manifest, Manifest)
    return manifest


ONE, TWO = a_manifest("one"), a_manifest("two")


def pinned(manifest: Manifest, name: str = _NAME) -> Reference:
    return Reference.parse(f"{name}@{manifest.digest}")


async def test_a_digest_is_fetched_once() -> None:
    remote = CountingRegistry(ONE)
    registry = CachingRegistry(remote)
    assert [await registry.manifest(pinned(ONE)) for _ in range(3)] == [ONE] * 3
    assert remote.fetched == [ONE.digest]


async def test_a_tag_is_always_asked_for_and_its_digest_is_known_then() -> None:
    remote = CountingRegistry(ONE)
    registry = CachingRegistry(remote)
    for _ in range(2):
        await registry.manifest(Reference.parse(f"{_NAME}:1"))
    await registry.manifest(pinned(ONE))
    assert remote.fetched == [ONE.digest] * 2


async def test_what_one_repository_gave_is_asked_of_another() -> None:
    remote = CountingRegistry(ONE)
    registry = CachingRegistry(remote)
    await registry.manifest(pinned(ONE))
    await registry.manifest(pinned(ONE, "registry.example/other/app"))
    assert remote.fetched == [ONE.digest] * 2


@pytest.mark.parametrize("again", [ONE, TWO])
async def test_the_manifest_that_was_not_asked_for_longest_is_forgotten(again: Manifest) -> None:
    remote = CountingRegistry(ONE, TWO)
    third = a_manifest("three")
    remote._manifests[third.digest] = third
    registry = CachingRegistry(remote, max_bytes=len(ONE.raw) + len(TWO.raw) + 10)
    for manifest in (ONE, TWO, again, third):
        await registry.manifest(pinned(manifest))
    remote.fetched.clear()
    await registry.manifest(pinned(again))
    assert remote.fetched == []
    await registry.manifest(pinned(TWO if again is ONE else ONE))
    assert len(remote.fetched) == 1
