"""Copies of private images: read by the namespace that their source gave them to, by no other."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.support.builds.memory_builds import (
    AMD64,
    INTERNAL,
    VENDOR,
    UpstreamRegistry,
    push,
    push_index,
)
from tests.support.registry.logins import OneLogin
from tests.support.registry.origins import STREAM, StreamInMemory

from upwell.oci import Descriptor, Digest, Index, Manifest, Reference
from upwell.oci.copies import private_view, public_view, store_of
from upwell.registry.embedded import EmbeddedRegistry
from upwell.registry.errors import BlobUnknownError, RegistryUnavailableError, UnauthorizedError
from upwell.registry.interface import DEFAULT_ACCESS, Credential, RequestAccess
from upwell.registry.mirror import Mirror, mirror_repository
from upwell.registry.pull_through import PullThroughRegistry


class GatedRegistry(UpstreamRegistry):
    """A registry that lets in whom it knows; `sent` are the digests of blobs that it gave."""

    def __init__(self, registry: EmbeddedRegistry) -> None:
        super().__init__(registry)
        self.known = {"shop", "other"}
        self.sent: list[Digest] = []

    async def resolve(
        self, reference: Reference, access: RequestAccess = DEFAULT_ACCESS
    ) -> Descriptor:
        await self._require(reference, access)
        return await super().resolve(reference, access)

    async def manifest(
        self, reference: Reference, access: RequestAccess = DEFAULT_ACCESS
    ) -> Manifest | Index:
        await self._require(reference, access)
        return await super().manifest(reference, access)

    def open_blob(
        self, reference: Reference, digest: Digest, access: RequestAccess = DEFAULT_ACCESS
    ) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        self.sent.append(digest)
        return super().open_blob(reference, digest, access)

    async def _require(self, reference: Reference, access: RequestAccess) -> None:
        login = None
        if access.credentials is not None:
            login = await access.credentials.find(reference.registry, reference.repository)
        if self.known and (login is None or login.username not in self.known):
            raise UnauthorizedError(reference.name, "who are you?")


def access_of(user: str) -> RequestAccess:
    """Return the access of a namespace that has the login of a user, or none where it is empty."""
    return RequestAccess(OneLogin(Credential(user, "password") if user else None))


@dataclass
class PrivateBase:
    vendor: GatedRegistry
    internal: EmbeddedRegistry
    image: Digest
    index: Digest
    by_digest: bool = False

    async def fetch(self, namespace: str, login: str = "") -> Reference:
        access = access_of(login)
        mirror = Mirror(self.vendor, self.internal, AMD64)  # as a new process has it
        return await mirror.fetch(self.base, access, namespace)

    @property
    def base(self) -> Reference:
        return Reference(VENDOR, "base", digest=self.image if self.by_digest else self.index)

    @property
    def store(self) -> str:
        return mirror_repository(self.base)

    async def holders(self) -> list[str]:
        return [name for name in await self.internal.repositories() if name != self.store]


@pytest.fixture(params=["index", "manifest"])
async def private(request: pytest.FixtureRequest, tmp_path: Path) -> PrivateBase:
    vendor = GatedRegistry(EmbeddedRegistry(tmp_path / "vendor", VENDOR))
    image = await push(vendor.registry, "base:amd64", "amd64")
    index = await push_index(vendor.registry, "base:1", {AMD64: image})
    internal = EmbeddedRegistry(tmp_path / "internal", INTERNAL)
    return PrivateBase(vendor, internal, image, index, request.param == "manifest")


async def test_a_copy_is_no_other_namespaces(private: PrivateBase) -> None:
    fetched = await private.fetch("shop", "shop")
    own = private_view(private.store, "shop")
    assert fetched == Reference(INTERNAL, own, digest=private.image)

    for login in ("", "eve"):
        with pytest.raises(UnauthorizedError):
            await private.fetch("bank", login)
    assert await private.holders() == [own]


async def test_another_login_is_asked_once_and_moves_no_byte(private: PrivateBase) -> None:
    await private.fetch("shop", "shop")
    private.vendor.requests.clear()
    private.vendor.sent.clear()

    fetched = await private.fetch("bank", "other")
    assert fetched.repository == private_view(private.store, "bank")
    assert private.vendor.requests == [f"HEAD {private.base}"]
    assert await private.fetch("bank", "other") == fetched
    assert len(private.vendor.requests) == 1
    assert private.vendor.sent == []
    manifest = await private.internal.manifest(fetched)
    assert isinstance(manifest, Manifest)
    for blob in manifest.references:
        await private.internal.blob_size(fetched.repository, blob.digest)


async def test_who_was_given_an_image_needs_its_source_no_more(private: PrivateBase) -> None:
    fetched = await private.fetch("shop", "shop")
    private.vendor.failure = RegistryUnavailableError(VENDOR, "away")
    assert await private.fetch("shop", "shop") == fetched
    with pytest.raises(RegistryUnavailableError):
        await private.fetch("bank", "other")


async def test_what_lay_there_before_there_were_views_is_given_after_a_question(
    private: PrivateBase,
) -> None:
    await private.fetch("shop", "shop")
    view = private_view(private.store, "shop")
    for tag in await private.internal.tag_names(view):
        await private.internal.untag(view, tag)
    await private.internal.delete_manifest(view, private.image)
    private.vendor.sent.clear()

    with pytest.raises(UnauthorizedError):
        await private.fetch("shop", "eve")
    assert (await private.fetch("shop", "shop")).repository == view
    assert private.vendor.sent == []


async def test_what_needs_no_login_is_everybodys_without_another_question(
    private: PrivateBase,
) -> None:
    private.vendor.known = set()
    fetched = await private.fetch("shop")
    assert fetched.repository == public_view(private.store)
    private.vendor.requests.clear()
    assert await private.fetch("bank", "other") == fetched == await private.fetch("third")
    assert private.vendor.requests == []


def test_a_view_is_of_one_store() -> None:
    store = "upstream/vendor.example-5000/team/base"
    found = [store_of(name) for name in (store, public_view(store), private_view(store, "shop"))]
    assert found == [store] * 3
    assert store_of("shop/private/app/base") == "shop/private/app/base"


async def test_a_stream_that_claims_a_copy_gets_nothing_of_it(
    private: PrivateBase, tmp_path: Path
) -> None:
    fetched = await private.fetch("bank", "other")
    manifest = await private.internal.manifest(fetched)
    assert isinstance(manifest, Manifest)
    content = [manifest.digest, *(blob.digest for blob in manifest.references)]
    claims = StreamInMemory(origins=dict.fromkeys(content, private.base))
    served = PullThroughRegistry(
        EmbeddedRegistry(tmp_path / "internal", INTERNAL), private.vendor, claims
    )

    for blob in manifest.references:
        with pytest.raises(BlobUnknownError):
            await served.blob_size(STREAM, blob.digest)
    with pytest.raises(UnauthorizedError):
        await served.find_manifest(STREAM, manifest.digest)
