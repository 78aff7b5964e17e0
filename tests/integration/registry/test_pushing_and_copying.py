"""Pushes and copies between two real registries, and what a registry with mirrors is read from."""

import hashlib
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.support.registry.docker_registry import docker_registry, push_image
from tests.support.registry.embedded_server import serving
from tests.support.registry.layered_images import CONFIG, blob_of, opened, push_index, push_layered

from upwell.formats.sigstore import InTotoStatement, Subject
from upwell.formats.sigstore.artifacts import BUNDLE_TYPE
from upwell.oci import Descriptor, Digest, Index, Reference
from upwell.outbound.dialing import unrestricted
from upwell.reconcilers.signing.images import ImageSigning
from upwell.registry.attachments.reader import AttachmentReader
from upwell.registry.attachments.targets import RemoteArtifacts
from upwell.registry.attachments.writer import ImageAttachments
from upwell.registry.client.client import RegistryClient
from upwell.registry.client.push import RegistryPusher
from upwell.registry.copying import CopyProgress, CopyStep, ImageCopier
from upwell.registry.errors import (
    BlobUnknownError,
    InvalidAnswerError,
    ManifestUnknownError,
    RegistryRejectedError,
    RegistryUnavailableError,
)
from upwell.registry.hosts import PullFrom, RegistryHost, RegistryHosts, RegistryMirror
from upwell.registry.interface import DEFAULT_ACCESS
from upwell.signing.key_signer import KeySigner
from upwell.signing.keys import SigningKeys


@dataclass(frozen=True)
class TwoRegistries:
    """Two registries: Debian's distribution, and the embedded one over HTTP."""

    client: RegistryClient
    pusher: RegistryPusher
    distribution: str
    embedded: str


@pytest.fixture
async def two(tmp_path: Path) -> AsyncIterator[TwoRegistries]:
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(RegistryClient(unrestricted()))
        served = await stack.enter_async_context(serving(tmp_path / "embedded"))
        (tmp_path / "distribution").mkdir()
        host = await stack.enter_async_context(docker_registry(tmp_path / "distribution"))
        yield TwoRegistries(client, RegistryPusher(client.connection), host, served.host)


@pytest.mark.parametrize("where", ["distribution", "embedded"])
async def test_what_is_pushed_is_there(two: TwoRegistries, where: str) -> None:
    host = getattr(two, where)
    layer = os.urandom(300_000)
    reference = Reference.parse(f"{host}/team/app:1")
    assert not await two.pusher.has_blob(reference, Digest.of(layer))
    manifest = await push_layered(two.pusher, str(reference), layer)
    assert await two.pusher.has_blob(reference, Digest.of(layer))
    assert await two.pusher.has_manifest(reference, manifest.digest)
    assert (await two.client.resolve(reference)).digest == manifest.digest
    async with two.client.open_blob(reference, Digest.of(layer)) as chunks:
        received = hashlib.sha256()
        async for chunk in chunks:
            received.update(chunk)
    assert received.hexdigest() == Digest.of(layer).hex


@pytest.mark.parametrize("where", ["distribution", "embedded"])
async def test_a_blob_is_mounted_from_another_repository(two: TwoRegistries, where: str) -> None:
    host = getattr(two, where)
    layer = b"shared"
    await push_layered(two.pusher, f"{host}/team/app:1", layer)
    goal = Reference.parse(f"{host}/other/app:1")
    assert await two.pusher.mount(goal, Digest.of(layer), "team/app")
    assert await two.pusher.has_blob(goal, Digest.of(layer))
    assert not await two.pusher.mount(goal, Digest.of(b"absent"), "team/app")


@pytest.mark.parametrize("where", ["distribution", "embedded"])
async def test_content_that_is_not_what_it_says_is_refused(two: TwoRegistries, where: str) -> None:
    reference = Reference.parse(f"{getattr(two, where)}/team/app:1")
    wrong = Descriptor("m", Digest.of(b"right"), len(b"wrong"))
    with pytest.raises(RegistryRejectedError):
        await two.pusher.push_blob(reference, wrong, opened(b"wrong"))
    assert not await two.pusher.has_blob(reference, wrong.digest)
    other = await push_image(two.distribution, "elsewhere/app", "1")
    with pytest.raises((RegistryRejectedError, BlobUnknownError)):
        await two.pusher.push_manifest(reference, other)


async def test_an_index_is_copied_as_it_is_and_a_second_time_costs_nothing(
    two: TwoRegistries,
) -> None:
    base = os.urandom(50_000)
    children = {
        name: await push_layered(
            two.pusher,
            f"{two.distribution}/vendor/app:{name}",
            base,
            name.encode(),
            config=f'"{name}"'.encode(),
        )
        for name in ("amd64", "arm64")
    }
    index = await push_index(two.pusher, f"{two.distribution}/vendor/app:1", **children)
    origin = Reference.parse(f"{two.distribution}/vendor/app:1")
    goal = Reference.parse(f"{two.embedded}/mirror/app:1")
    steps: list[CopyProgress] = []
    copier = ImageCopier(two.client, two.pusher, report=steps.append)
    assert len(await copier.plan(origin, goal)) == 8
    copied = await copier.copy(origin, goal)
    assert copied.target.digest == index.digest
    assert copied.sent_bytes >= 50_000
    assert {step.step for step in steps} <= {CopyStep.COPIED, CopyStep.TAGGED, CopyStep.PRESENT}
    found = await two.client.manifest(goal)
    assert found.raw == index.raw
    assert await copier.plan(origin, goal) == ()
    again = await copier.copy(origin, goal)
    assert (again.sent_bytes, again.counts[CopyStep.PRESENT]) == (0, 1)


async def test_a_cut_short_copy_sends_what_is_missing_alone(two: TwoRegistries) -> None:
    first, second = os.urandom(40_000), os.urandom(30_000)
    await push_layered(two.pusher, f"{two.distribution}/vendor/app:1", first, second)
    origin = Reference.parse(f"{two.distribution}/vendor/app:1")
    goal = Reference.parse(f"{two.embedded}/mirror/app:1")
    await two.pusher.push_blob(goal, blob_of(first), opened(first))
    copied = await ImageCopier(two.client, two.pusher).copy(origin, goal)
    assert copied.sent_bytes == len(second) + len(CONFIG)


async def test_within_one_registry_nothing_is_sent(two: TwoRegistries) -> None:
    await push_layered(two.pusher, f"{two.distribution}/vendor/app:1", os.urandom(40_000))
    origin = Reference.parse(f"{two.distribution}/vendor/app:1")
    goal = Reference.parse(f"{two.distribution}/promoted/app:prod")
    copied = await ImageCopier(two.client, two.pusher).copy(origin, goal)
    assert (copied.sent_bytes, copied.counts[CopyStep.MOUNTED]) == (0, 2)


async def test_a_filter_keeps_the_wanted_platforms(two: TwoRegistries) -> None:
    children = {
        name: await push_layered(two.pusher, f"{two.distribution}/vendor/app:{name}", name.encode())
        for name in ("amd64", "arm64", "s390x")
    }
    await push_index(two.pusher, f"{two.distribution}/vendor/app:1", **children)
    origin = Reference.parse(f"{two.distribution}/vendor/app:1")
    goal = Reference.parse(f"{two.embedded}/mirror/app:1")
    wanted = ImageCopier(
        two.client, two.pusher, platforms=lambda platform: platform.architecture != "s390x"
    )
    copied = await wanted.copy(origin, goal)
    found = await two.client.manifest(goal)
    assert isinstance(found, Index)
    assert found.digest == copied.target.digest
    assert [entry.digest for entry in found.manifests] == [
        children["amd64"].digest,
        children["arm64"].digest,
    ]
    none = ImageCopier(two.client, two.pusher, platforms=lambda _platform: False)
    with pytest.raises(InvalidAnswerError, match="wanted platforms"):
        await none.copy(origin, goal)


@pytest.mark.parametrize(
    ("here", "there"), [("distribution", "embedded"), ("embedded", "distribution")]
)
async def test_signatures_and_attestations_come_along_and_nothing_at_the_goal_is_lost(
    two: TwoRegistries, tmp_path: Path, here: str, there: str
) -> None:
    origin = Reference.parse(f"{getattr(two, here)}/vendor/app:1")
    goal = Reference.parse(f"{getattr(two, there)}/mirror/app:1")
    await push_layered(two.pusher, str(origin), b"content")
    manifest = await two.client.manifest(origin)
    remote = RemoteArtifacts(two.client, two.pusher)
    attachments = ImageAttachments(two.client, "", remote, remote)
    keys = SigningKeys(tmp_path)
    signing = ImageSigning(attachments, KeySigner(lambda: keys.signer))
    image, copy = origin.with_digest(manifest.digest), goal.with_digest(manifest.digest)

    async def attest(place: Reference, kind: str) -> None:
        statement = InTotoStatement((Subject(place.name, manifest.digest),), kind, {})
        await signing.attest(place, statement, DEFAULT_ACCESS)

    await signing.sign(image, DEFAULT_ACCESS)
    await attest(image, "https://example.com/first")
    copier = ImageCopier(two.client, two.pusher)
    assert (await copier.copy(origin, goal)).left_behind == ""
    await signing.sign(copy, DEFAULT_ACCESS)
    await attest(copy, "https://example.com/second")
    await attest(image, "https://example.com/third")
    for _ in range(2):
        await copier.copy(origin, goal)

    assert await signing.is_signed(copy, DEFAULT_ACCESS)
    assert len(await attachments.signatures(copy)) == 2
    for kind in ("first", "second", "third"):
        url = f"https://example.com/{kind}"
        assert len(await signing.statements(copy, url, DEFAULT_ACCESS)) == 1
    bundles = [
        entry for entry in await two.client.referrers_of(copy) if entry.artifact_type == BUNDLE_TYPE
    ]
    assert len(bundles) == 3


async def test_a_strange_tag_at_the_goal_keeps_nothing_else_back(
    two: TwoRegistries, tmp_path: Path
) -> None:
    origin = Reference.parse(f"{two.embedded}/vendor/app:1")
    goal = Reference.parse(f"{two.distribution}/mirror/app:1")
    image = await push_layered(two.pusher, str(origin), b"content")
    # The tag under which clients keep the list of referrers where a registry has none.
    await push_layered(two.pusher, str(goal.with_tag(f"sha256-{image.digest.hex}")), b"strange")
    remote = RemoteArtifacts(two.client, two.pusher)
    keys = SigningKeys(tmp_path)
    attachments = ImageAttachments(two.client, "", remote, remote)
    signing = ImageSigning(attachments, KeySigner(lambda: keys.signer))
    kind = "https://example.com/kind"
    place, copy = origin.with_digest(image.digest), goal.with_digest(image.digest)
    await signing.sign(place, DEFAULT_ACCESS)
    statement = InTotoStatement((Subject(place.name, image.digest),), kind, {})
    await signing.attest(place, statement, DEFAULT_ACCESS)

    copied = await ImageCopier(two.client, two.pusher).copy(origin, goal)
    assert "no index of referrers" in copied.left_behind
    assert len(await attachments.signatures(copy)) == 1
    assert len(await attachments.attestations(copy, kind)) == 1
    await signing.sign(copy, DEFAULT_ACCESS)
    assert await signing.is_signed(copy, DEFAULT_ACCESS)


async def test_a_missing_image_is_an_error_of_its_source(two: TwoRegistries) -> None:
    copier = ImageCopier(two.client, two.pusher)
    with pytest.raises(ManifestUnknownError):
        await copier.copy(
            Reference.parse(f"{two.distribution}/vendor/none:1"),
            Reference.parse(f"{two.embedded}/mirror/none:1"),
        )


def mirrored(two: TwoRegistries, pulls: PullFrom = PullFrom.ALL) -> RegistryClient:
    """Return a client for which the embedded registry mirrors distribution's `vendor/`."""
    mirrors = (
        RegistryMirror("127.0.0.1:1/away"),
        RegistryMirror(f"{two.embedded}/mirror", pulls=pulls),
    )
    host = RegistryHost(f"{two.distribution}/vendor", mirrors=mirrors)
    return RegistryClient(unrestricted(), RegistryHosts([host]))


async def test_mirrors_are_read_first_and_the_source_where_they_fail(two: TwoRegistries) -> None:
    there = await push_layered(two.pusher, f"{two.embedded}/mirror/app:1", b"mirrored")
    here = await push_layered(two.pusher, f"{two.distribution}/vendor/app:1", b"own")
    alone = await push_layered(two.pusher, f"{two.distribution}/vendor/alone:1", b"alone")
    async with mirrored(two) as client:
        app = Reference.parse(f"{two.distribution}/vendor/app:1")
        assert (await client.resolve(app)).digest == there.digest
        assert (await client.manifest(app)).digest == there.digest
        assert await client.blob(app, Digest.of(b"mirrored"), 100) == b"mirrored"
        assert await client.blob(app, Digest.of(b"own"), 100) == b"own"
        async with client.open_blob(app, Digest.of(b"own")) as chunks:
            assert b"".join([chunk async for chunk in chunks]) == b"own"
        other = Reference.parse(f"{two.distribution}/vendor/alone:1")
        assert (await client.resolve(other)).digest == alone.digest
        with pytest.raises(ManifestUnknownError):
            await client.resolve(Reference.parse(f"{two.distribution}/vendor/none:1"))
        assert (await client.tags(app)) == ("1",)
        pusher = RegistryPusher(client.connection)
        await pusher.push_manifest(app.with_tag("2"), here)
    assert (await two.client.resolve(app.with_tag("2"))).digest == here.digest
    with pytest.raises(ManifestUnknownError):
        await two.client.resolve(Reference.parse(f"{two.embedded}/mirror/app:2"))


async def test_a_signature_that_its_mirror_does_not_have_is_found_at_the_source(
    two: TwoRegistries, tmp_path: Path
) -> None:
    mirror = Reference.parse(f"{two.embedded}/mirror/app:1")
    source = Reference.parse(f"{two.distribution}/vendor/app:1")
    for place in (mirror, source):
        await push_layered(two.pusher, str(place), b"content")
    digest = (await two.client.resolve(source)).digest
    remote = RemoteArtifacts(two.client, two.pusher)
    attachments = ImageAttachments(two.client, "", remote, remote)

    async def sign(place: Reference, signer: str) -> None:
        (tmp_path / signer).mkdir(exist_ok=True)
        keys = SigningKeys(tmp_path / signer)
        signing = ImageSigning(attachments, KeySigner(lambda: keys.signer))
        await signing.sign(place.with_digest(digest), DEFAULT_ACCESS)

    await sign(mirror, "first")
    await sign(source, "first")
    await sign(source, "second")
    async with mirrored(two) as client:
        readings = AttachmentReader(client).readings(source.with_digest(digest))
        found = [len(one.signatures) async for one in readings]
    assert (found[0], found[-1]) == (1, 3)  # that of the mirror first, and both of the source


async def test_a_mirror_for_digests_is_not_asked_for_tags(two: TwoRegistries) -> None:
    there = await push_layered(two.pusher, f"{two.embedded}/mirror/app:1", b"mirrored")
    here = await push_layered(two.pusher, f"{two.distribution}/vendor/app:1", b"own")
    async with mirrored(two, PullFrom.DIGEST_ONLY) as client:
        app = Reference.parse(f"{two.distribution}/vendor/app:1")
        assert (await client.resolve(app)).digest == here.digest
        assert (await client.resolve(app.with_digest(there.digest))).digest == there.digest


async def test_without_any_answer_the_sources_failure_counts() -> None:
    host = RegistryHost("127.0.0.1:1", mirrors=(RegistryMirror("127.0.0.1:2"),))
    async with RegistryClient(unrestricted(), RegistryHosts([host])) as client:
        with pytest.raises(RegistryUnavailableError, match=r"127\.0\.0\.1:1/"):
            await client.resolve(Reference.parse("127.0.0.1:1/a/b:1"))
