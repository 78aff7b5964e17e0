"""Records of images that are asked for at the same time."""

import asyncio
import json
from datetime import UTC, datetime, timedelta

import pytest
from tests.support.registry.docker_registry import CONFIG, image_manifest
from tests.support.registry.logins import OneLogin
from tests.support.registry.memory import RegistryInMemory

from upwell.api.image import Image, ImageStream, TagReference
from upwell.api.meta import ObjectMeta, ObjectReference, format_time
from upwell.oci import Digest, Index, Manifest, MediaType, Reference, parse_manifest
from upwell.policy.images.checks import ImportCheck
from upwell.policy.images.proofs import is_public
from upwell.policy.images.schedule import ImportSchedule
from upwell.policy.images.streams import replace_tag
from upwell.reconcilers.images.records import (
    FIRST_SEEN_ANNOTATION,
    ImageRecords,
    is_unread,
)
from upwell.reconcilers.images.tags import ImportTurn, TagImporter
from upwell.registry.errors import (
    BlobUnknownError,
    RegistryError,
    RegistryUnavailableError,
    UnauthorizedError,
)
from upwell.registry.interface import DEFAULT_ACCESS, Credential, RequestAccess
from upwell.store.memory import MemoryStore

NOW = datetime(2026, 11, 29, 12, tzinfo=UTC)
MANIFEST = image_manifest()
HOST = "registry.internal:5000"
LOGIN, OTHER_LOGIN = (RequestAccess(OneLogin(Credential(one, "password"))) for one in ("a", "b"))


class HeldRegistry(RegistryInMemory):
    """Answers for manifests when a test lets it; what begins with `failing` is away."""

    def __init__(self) -> None:
        super().__init__(MANIFEST)
        self.blobs[Digest.of(CONFIG)] = CONFIG
        self.go = asyncio.Event()
        self.begun: list[str] = []
        self.at_once: list[int] = []
        """Number of questions under way, at the beginning of each."""
        self._under_way = 0
        self.failing = ""
        self.mean = "mean"
        """Repository that gives no configuration."""
        self.refused: set[str] = set()
        self.refusal: RegistryError | None = None
        """Answer of the repository `mean` to who asks for a configuration."""

    async def manifest(
        self, reference: Reference, access: RequestAccess = DEFAULT_ACCESS
    ) -> Manifest | Index:
        self.begun.append(reference.name)
        self._under_way += 1
        self.at_once.append(self._under_way)
        try:
            await self.go.wait()
            await asyncio.sleep(0)
            return await self._manifest(reference, access)
        finally:
            self._under_way -= 1

    async def _manifest(self, reference: Reference, access: RequestAccess) -> Manifest | Index:
        if reference.repository in self.refused:
            raise UnauthorizedError(reference.name, "HTTP 401")
        if self.failing and reference.repository.startswith(self.failing):
            raise RegistryUnavailableError(reference.name, "HTTP 500")
        return await super().manifest(reference, access)

    async def blob(
        self,
        reference: Reference,
        digest: Digest,
        limit: int,
        access: RequestAccess = DEFAULT_ACCESS,
    ) -> bytes:
        if reference.repository == self.mean:
            raise self.refusal or BlobUnknownError(reference.name, digest)
        return await super().blob(reference, digest, limit, access)


@pytest.fixture
async def registry() -> HeldRegistry:
    return HeldRegistry()


def pinned(name: str) -> Reference:
    return Reference.parse(f"{name}@{MANIFEST.digest}")


async def learn(registry: HeldRegistry, *names: str) -> list[asyncio.Task[object]]:
    """Ask for the image by each of the names at once, until nobody goes on by themselves."""
    records = ImageRecords(MemoryStore(lambda: NOW), registry, (), HOST)
    asked = [
        asyncio.ensure_future(records.learn(pinned(name), DEFAULT_ACCESS, NOW)) for name in names
    ]
    for _ in range(10):
        await asyncio.sleep(0)
    return list(asked)


async def test_who_asks_for_an_image_that_is_fetched_waits_for_it(registry: HeldRegistry) -> None:
    asked = await learn(registry, *(f"vendor.example/app{number}" for number in range(5)))
    assert registry.begun == ["vendor.example/app0"]
    registry.go.set()
    images = await asyncio.gather(*asked)
    assert all(image == images[0] for image in images)
    assert registry.fetched == [MANIFEST.digest]


async def test_where_the_fetch_fails_another_repository_is_asked(registry: HeldRegistry) -> None:
    registry.failing = "private"
    private, public = await learn(registry, "vendor.example/private", "vendor.example/public")
    registry.go.set()
    with pytest.raises(RegistryUnavailableError):
        await private
    await public
    assert registry.begun == ["vendor.example/private", "vendor.example/public"]


async def test_a_failure_is_shared_by_those_that_ask_for_the_same(registry: HeldRegistry) -> None:
    registry.failing = "private"
    asked = await learn(registry, *["vendor.example/private"] * 50)
    registry.go.set()
    ends = await asyncio.gather(*asked, return_exceptions=True)
    assert {type(end) for end in ends} == {RegistryUnavailableError}
    assert len(registry.begun) == 1


async def test_failures_of_others_fail_nobody_and_let_loose_no_storm(
    registry: HeldRegistry,
) -> None:
    registry.failing = "private"
    names = [f"vendor.example/private/{number}" for number in range(20)]
    asked = await learn(registry, *names, "vendor.example/public")
    registry.go.set()
    *failed, public = await asyncio.gather(*asked, return_exceptions=True)
    assert {type(end) for end in failed} == {RegistryUnavailableError}
    assert isinstance(public, Image)
    assert len(registry.begun) == 21
    assert registry.at_once[:3] == [1, 1, 1]
    assert max(registry.at_once) == 4


async def test_those_that_are_refused_ask_one_by_one_until_one_gets_it(
    registry: HeldRegistry,
) -> None:
    registry.refused = {f"app{number}" for number in range(5)}
    asked = await learn(registry, *(f"vendor.example/app{number}" for number in range(20)))
    registry.go.set()
    ends = await asyncio.gather(*asked, return_exceptions=True)
    assert [isinstance(end, UnauthorizedError) for end in ends] == [True] * 5 + [False] * 15
    assert len(registry.begun) == 6


async def test_a_fetch_that_is_given_up_takes_nothing_from_others(registry: HeldRegistry) -> None:
    first, second = await learn(registry, "vendor.example/app", "vendor.example/app")
    first.cancel()
    registry.go.set()
    await second
    assert first.cancelled()


async def test_nobody_waits_for_another_registry(registry: HeldRegistry) -> None:
    asked = await learn(registry, "slow.example/app", "vendor.example/app")
    assert registry.begun == ["slow.example/app", "vendor.example/app"]
    registry.go.set()
    await asyncio.gather(*asked)


@pytest.mark.parametrize("refusal", [None, UnauthorizedError("evil.example/mean", "HTTP 403")])
async def test_what_one_registry_does_not_give_of_an_image_another_does(
    registry: HeldRegistry, refusal: RegistryError | None
) -> None:
    registry.refusal = refusal
    registry.go.set()
    records = ImageRecords(MemoryStore(lambda: NOW), registry, (), HOST)
    later = NOW + timedelta(days=1)

    poor = await records.learn(pinned("evil.example/mean"), DEFAULT_ACCESS, NOW)
    again = await records.learn(pinned("evil.example/mean"), DEFAULT_ACCESS, later)
    whole = await records.learn(pinned("vendor.example/app"), DEFAULT_ACCESS, later)

    assert again == poor
    assert not poor.docker_image_metadata
    assert whole.docker_image_metadata["Architecture"] == "amd64"
    assert whole.docker_image_reference == str(pinned("vendor.example/app"))
    assert whole.annotations[FIRST_SEEN_ANNOTATION] == format_time(NOW)
    assert await records.find(str(MANIFEST.digest)) == whole
    assert await records.learn(pinned("evil.example/mean"), DEFAULT_ACCESS, later) == whole


@pytest.fixture
def records(registry: HeldRegistry) -> ImageRecords:
    registry.go.set()
    return ImageRecords(MemoryStore(lambda: NOW), registry, (), HOST)


async def test_what_needed_a_login_is_not_told_to_a_registry_that_claims_it(
    registry: HeldRegistry, records: ImageRecords
) -> None:
    """The claimant has the manifest, and no configuration; before the owner asks, and after."""
    claimed = await records.learn(pinned("evil.example/mean"), LOGIN, NOW)
    whole = await records.learn(pinned("vendor.example/app"), LOGIN, NOW)
    assert whole.docker_image_metadata
    for access in (LOGIN, OTHER_LOGIN, DEFAULT_ACCESS):
        again = await records.learn(pinned("evil.example/mean"), access, NOW)
        assert is_unread(claimed)
        assert is_unread(again)
        assert not again.docker_image_metadata
    registry.manifests.clear()
    with pytest.raises(RegistryError):
        await records.learn(pinned("evil.example/other"), LOGIN, NOW)
    kept = await records.find(str(MANIFEST.digest))
    assert kept == whole
    assert not is_public(whole)


async def test_a_repository_is_asked_once_for_each_login(
    registry: HeldRegistry, records: ImageRecords
) -> None:
    for access in (LOGIN, LOGIN, OTHER_LOGIN, LOGIN, OTHER_LOGIN):
        await records.learn(pinned("vendor.example/app"), access, NOW)
    assert len(registry.begun) == 2


async def test_what_needs_no_login_is_known_for_all_once_somebody_has_asked_without(
    registry: HeldRegistry, records: ImageRecords
) -> None:
    first = await records.learn(pinned("vendor.example/app"), LOGIN, NOW)
    later = NOW + timedelta(days=1)
    found = await records.learn(pinned("vendor.example/app"), DEFAULT_ACCESS, later)
    assert is_public(found)
    assert found.annotations[FIRST_SEEN_ANNOTATION] == first.annotations[FIRST_SEEN_ANNOTATION]
    asked = len(registry.begun)
    for access in (LOGIN, OTHER_LOGIN, DEFAULT_ACCESS):
        assert await records.learn(pinned("elsewhere.example/mean"), access, later) == found
    assert len(registry.begun) == asked


async def test_what_lies_in_the_embedded_registry_is_not_everybodys(records: ImageRecords) -> None:
    assert not is_public(await records.learn(pinned(f"{HOST}/bank/app"), DEFAULT_ACCESS, NOW))


@pytest.mark.parametrize("access", [DEFAULT_ACCESS, LOGIN])
async def test_the_registry_of_an_image_outranks_who_has_pushed_a_copy(
    registry: HeldRegistry, records: ImageRecords, access: RequestAccess
) -> None:
    later = NOW + timedelta(days=1)
    await records.record(registry, pinned(f"{HOST}/beta/copy"), NOW)
    found = await records.learn(pinned("vendor.example/app"), access, later)
    await records.record(registry, pinned(f"{HOST}/beta/copy"), NOW)
    assert await records.find(str(MANIFEST.digest)) == found
    assert found.docker_image_reference == str(pinned("vendor.example/app"))
    assert found.annotations[FIRST_SEEN_ANNOTATION] == format_time(later)
    assert found.docker_image_metadata["Architecture"] == "amd64"


async def large_index(registry: HeldRegistry) -> Index:
    """Have an index, larger than what is kept of one that was pushed."""
    entry = {
        "mediaType": str(MANIFEST.media_type),
        "digest": str(MANIFEST.digest),
        "size": len(MANIFEST.raw),
        "platform": {"os": "linux", "architecture": "amd64"},
    }
    others = [{**entry, "digest": str(Digest.of(b"%d" % number))} for number in range(200)]
    document = {"schemaVersion": 2, "manifests": [entry, *others]}
    found = parse_manifest(json.dumps(document).encode(), MediaType.OCI_INDEX)
    assert isinstance(found, Index)
    registry.manifests[found.digest] = found
    return found


async def test_a_push_decides_nothing_of_what_others_know_of_a_large_image(
    registry: HeldRegistry, records: ImageRecords
) -> None:
    index = await large_index(registry)
    pushed = Reference.parse(f"{HOST}/beta/copy").with_digest(index.digest)
    upstream = Reference.parse("vendor.example/app").with_digest(index.digest)
    later = NOW + timedelta(days=1)

    await records.record(registry, pushed, NOW)
    cut = await records.find(str(index.digest))
    own = await records.learn(pushed, DEFAULT_ACCESS, NOW)
    assert cut is not None
    assert not cut.docker_image_manifests
    assert len(own.docker_image_manifests) == 201, "an import sees all"
    assert await records.find(str(index.digest)) == cut, "which is not kept"

    found = await records.learn(upstream, DEFAULT_ACCESS, later)
    assert len(found.docker_image_manifests) == 201
    assert found.docker_image_reference == str(upstream)
    assert found.annotations[FIRST_SEEN_ANNOTATION] == format_time(later)
    assert is_public(found)
    for name in (pushed, upstream):
        await records.record(registry, pushed, NOW)
        assert await records.learn(name, DEFAULT_ACCESS, NOW) == found


async def test_an_image_of_which_nothing_new_is_found_is_not_written(
    records: ImageRecords,
) -> None:
    first = await records.learn(pinned("vendor.example/app"), LOGIN, NOW)
    again = await records.learn(pinned("vendor.example/copy"), LOGIN, NOW)
    assert again.resource_version == first.resource_version


async def test_a_person_has_the_registry_asked_anew_for_what_it_did_not_give(
    registry: HeldRegistry, records: ImageRecords
) -> None:
    registry.tagged["vendor.example/mean:1"] = MANIFEST.digest
    importer = TagImporter(registry, records, ImportSchedule())
    login = OneLogin(Credential("a", "password"))
    stream = ImageStream(metadata=ObjectMeta(name="app", namespace="shop"))
    source = ObjectReference(kind="DockerImage", name="vendor.example/mean:1")

    async def unproven(generation: int) -> bool | None:
        nonlocal stream
        tag = TagReference(name="1", from_=source, generation=generation)
        turn = ImportTurn(login, NOW, 0.5, stream.status.by_tag())
        outcome = await importer.ask(stream, tag, turn)
        if isinstance(outcome, ImportCheck):
            return stream.status.tags[0].items[0].unproven
        history = outcome.fold_into(stream.status.tag("1"), NOW)
        stream = stream.with_status(replace_tag(stream.status, history))
        return stream.status.tags[0].items[0].unproven

    assert await unproven(1)
    registry.mean = ""
    assert [await unproven(1), await unproven(2)] == [True, None]
