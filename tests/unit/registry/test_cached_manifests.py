"""Manifests that were read before are not asked for again, within a limit."""

import json

import pytest
from tests.support.registry.logins import OneLogin
from tests.support.registry.memory import RegistryInMemory

from upwell.oci import Digest, Manifest, MediaType, Reference, parse_manifest
from upwell.outbound.dialing import unrestricted
from upwell.registry.caching import CachingRegistry
from upwell.registry.client.client import RegistryClient
from upwell.registry.credentials import SecretCredentials
from upwell.registry.hosts import RegistryHost, RegistryHosts, RegistryMirror
from upwell.registry.interface import Credential, RequestAccess

_NAME = "registry.example/team/app"


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
    remote = RegistryInMemory(ONE, tags={f"{_NAME}:1": ONE.digest})
    registry = CachingRegistry(remote)
    assert [await registry.manifest(pinned(ONE)) for _ in range(3)] == [ONE] * 3
    assert remote.fetched == [ONE.digest]


async def test_a_tag_is_always_asked_for_and_its_digest_is_known_then() -> None:
    remote = RegistryInMemory(ONE, tags={f"{_NAME}:1": ONE.digest})
    registry = CachingRegistry(remote)
    for _ in range(2):
        await registry.manifest(Reference.parse(f"{_NAME}:1"))
    await registry.manifest(pinned(ONE))
    assert remote.fetched == [ONE.digest] * 2


async def test_what_one_repository_gave_is_asked_of_another() -> None:
    remote = RegistryInMemory(ONE, tags={f"{_NAME}:1": ONE.digest})
    registry = CachingRegistry(remote)
    await registry.manifest(pinned(ONE))
    await registry.manifest(pinned(ONE, "registry.example/other/app"))
    assert remote.fetched == [ONE.digest] * 2


async def test_what_one_login_may_read_is_asked_anew_with_another() -> None:
    remote = RegistryInMemory(ONE, tags={f"{_NAME}:1": ONE.digest})
    registry = CachingRegistry(remote)
    logins = [None, *(OneLogin(Credential("ann", password)) for password in ("one", "two"))]
    for login in (*logins, *logins):
        await registry.manifest(pinned(ONE), RequestAccess(login))
    assert remote.fetched == [ONE.digest] * 3


@pytest.mark.parametrize("place", ["mirror.example", "real.example"])
async def test_a_login_counts_at_the_places_that_are_really_asked(place: str) -> None:
    """They are the key of what is remembered, and decide what is everybody's."""
    mirrors = (RegistryMirror("mirror.example/all"),)
    host = RegistryHost("registry.example", location="real.example", mirrors=mirrors)
    async with RegistryClient(unrestricted(), RegistryHosts([host])) as client:
        registry = CachingRegistry(client)
        for asked, found in ((place, (Credential("ann", "word"),)), ("registry.example", ())):
            auths = {"auths": {asked: {"username": "ann", "password": "word"}}}
            source = SecretCredentials.from_dockerconfigjson(json.dumps(auths).encode(), "a Secret")
            assert await registry.logins(pinned(ONE), RequestAccess(source)) == found


@pytest.mark.parametrize("again", [ONE, TWO])
async def test_the_manifest_that_was_not_asked_for_longest_is_forgotten(again: Manifest) -> None:
    third = a_manifest("three")
    remote = RegistryInMemory(ONE, TWO, third)
    registry = CachingRegistry(remote, max_bytes=len(ONE.raw) + len(TWO.raw) + 10)
    for manifest in (ONE, TWO, again, third):
        await registry.manifest(pinned(manifest))
    remote.fetched.clear()
    await registry.manifest(pinned(again))
    assert remote.fetched == []
    await registry.manifest(pinned(TWO if again is ONE else ONE))
    assert len(remote.fetched) == 1
