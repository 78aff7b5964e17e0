"""Signing the images of builds: once, whatever dies or fails, and only what was made here."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, override

import pytest
from tests.support.registry.hosted_images import push

from upwell.api.builds.build import Build
from upwell.api.codec import decode
from upwell.api.conditions import find
from upwell.builder.interface import BuildError
from upwell.formats.attachment_tags import attestation_tag, signature_tag
from upwell.formats.sigstore import PredicateType
from upwell.inventory.interface import InventoryError, InventoryFailedError, Package
from upwell.oci import Descriptor, Digest, Reference
from upwell.policy.health.builds import SBOM_ATTESTED, SIGNED
from upwell.policy.signing.provenance import BuilderIdentity
from upwell.reconcilers.builds.logins import BuildLogins
from upwell.reconcilers.images.insecure import InsecureRegistries
from upwell.reconcilers.signing.builds import BuildSigning
from upwell.reconcilers.signing.images import ImageSigning
from upwell.reconcilers.signing.packages import PackageSigning
from upwell.reconcilers.signing.pushed import PushedImages
from upwell.reconcilers.signing.reporting import ConditionWriter
from upwell.registry.attachments.targets import HostedArtifacts
from upwell.registry.attachments.writer import ImageAttachments
from upwell.registry.client.push import OpenContent
from upwell.registry.embedded import EmbeddedRegistry
from upwell.registry.errors import RegistryUnavailableError
from upwell.registry.hosting import ManifestPush
from upwell.registry.interface import DEFAULT_ACCESS, RequestAccess
from upwell.signing.key_signer import KeySigner
from upwell.signing.keys import SigningKeys
from upwell.store.memory import MemoryStore

HOST = "registry.test"
NOW = datetime(2026, 1, 2, tzinfo=UTC)
MADE = ({"name": "FetchInputs"}, {"name": "PushImage"})
TAKEN = MADE[:1]


class FailingArtifacts(HostedArtifacts):
    """Fails at one of its writes, as a registry that dies; then goes on."""

    def __init__(self, hosted: EmbeddedRegistry, at: int) -> None:
        super().__init__(hosted)
        self.left = at

    @override
    async def put_blob(
        self, place: Reference, blob: Descriptor, content: OpenContent, access: RequestAccess
    ) -> None:
        self._count()
        await super().put_blob(place, blob, content, access)

    @override
    async def put_manifest(self, place: Reference, manifest: Any, access: RequestAccess) -> None:
        self._count()
        await super().put_manifest(place, manifest, access)

    def _count(self) -> None:
        self.left -= 1
        if self.left == 0:
            raise RegistryUnavailableError(HOST, "it is away")


class KnownPackages:
    """Knows the packages of every image, or why nobody can."""

    def __init__(self) -> None:
        self.known: Sequence[Package] = (Package("libc6", "2.41", "amd64", "glibc"),)
        self.error: InventoryError | None = None

    async def packages(self, image: Reference, access: RequestAccess) -> Sequence[Package]:
        del image, access
        if self.error is not None:
            raise self.error
        return self.known


class SigningBench:
    """A store, a registry with one image, and what signs it."""

    def __init__(self, folder: Path, failing_at: int = 0) -> None:
        self.folder = folder
        self.store = MemoryStore(clock=lambda: NOW)
        self.registry = EmbeddedRegistry(folder / "registry", HOST)
        self.attachments = ImageAttachments(
            self.registry,
            HOST,
            FailingArtifacts(self.registry, failing_at),
            _Nowhere(self.registry),
        )
        self.keys = SigningKeys(folder)
        self.signing = ImageSigning(self.attachments, KeySigner(lambda: self.keys.signer))
        logins = BuildLogins(self.store, HOST)
        images = PushedImages(logins, InsecureRegistries(self.store), HOST, HOST)
        conditions = ConditionWriter(self.store, lambda: NOW)
        self.reader = KnownPackages()
        self.packages = PackageSigning(self.store, self.signing, images, self.reader, conditions)
        self.builds = BuildSigning(
            self.store,
            self.signing,
            images,
            BuilderIdentity("https://upwell.test", "1"),
            conditions,
        )

    async def build(self, digest: Digest, stages: tuple[Mapping[str, str], ...] = MADE) -> Build:
        """Create a complete build of the image."""
        found = decode({
            "apiVersion": "build.openshift.io/v1",
            "kind": "Build",
            "metadata": {"name": "web-1", "namespace": "shop"},
            "spec": {
                "strategy": {"dockerStrategy": {}},
                "output": {"to": {"kind": "ImageStreamTag", "name": "web:latest"}},
            },
        })  # fmt: skip
        created = await self.store.create(found)
        assert isinstance(created, Build)
        status = created.status.model_validate({
            "phase": "Complete",
            "inputs": "f" * 64,
            "completion_timestamp": NOW,
            "output": {"to": {"imageDigest": str(digest)}},
            "stages": stages,
        })  # fmt: skip
        return await self.store.update_status(created.with_status(status))

    async def condition(self, kind: str = SIGNED) -> tuple[str, str]:
        build = await self.store.get(Build, "shop", "web-1")
        found = find(build.status.conditions, kind)
        return (found.status, found.reason) if found else ("", "")

    async def referrers(self, digest: Digest) -> list[Digest]:
        return [entry.digest for entry in await self.registry.referrers("shop/web", digest)]

    def image(self, digest: Digest) -> Reference:
        return Reference(HOST, "shop/web", digest=digest)


class _Nowhere(HostedArtifacts):
    """Other registries, of which there are none here."""


@pytest.fixture
def made(tmp_path: Path) -> SigningBench:
    return SigningBench(tmp_path)


async def test_an_image_is_signed_and_attested_where_it_lies(made: SigningBench) -> None:
    digest = await push(made.registry, "shop/web")
    build = await made.build(digest)

    await made.builds.reconcile(build.key)

    assert await made.condition() == ("True", "Signed")
    image = made.image(digest)
    assert await made.signing.is_signed(image, DEFAULT_ACCESS)
    (statement,) = await made.signing.statements(image, PredicateType.PROVENANCE, DEFAULT_ACCESS)
    assert statement.is_about(digest)
    metadata = statement.predicate["runDetails"]["metadata"]
    assert metadata["invocationId"] == f"shop/web-1/{build.uid}"
    signature = await made.registry.tag_digest("shop/web", signature_tag(digest))
    assert signature in await made.referrers(digest)
    assert len(await made.referrers(digest)) == 2


@pytest.mark.parametrize("at", range(1, 13))
async def test_a_signing_that_dies_anywhere_ends_the_same_without_doubles(
    tmp_path: Path, at: int
) -> None:
    made = SigningBench(tmp_path, failing_at=at)
    digest = await push(made.registry, "shop/web")
    build = await made.build(digest)
    try:
        await made.builds.reconcile(build.key)
    except RegistryUnavailableError:
        assert await made.condition() == ("False", "Unavailable")

    await made.builds.reconcile(build.key)
    await made.builds.reconcile(build.key)

    assert await made.condition() == ("True", "Signed")
    assert len(await made.referrers(digest)) == 2
    for tag in (signature_tag(digest), attestation_tag(digest)):
        named = await made.registry.tag_digest("shop/web", tag)
        assert named is not None
        manifest = await made.registry.manifest(Reference(HOST, "shop/web", tag=tag))
        assert len(getattr(manifest, "layers", ())) == 1


async def test_signing_at_once_and_again_later_leaves_one_of_each(made: SigningBench) -> None:
    digest = await push(made.registry, "shop/web")
    build = await made.build(digest)

    running = build.with_status(build.status.model_copy(update={"completion_timestamp": None}))
    assert await made.builds.sign_pushed(running, digest) == ""
    await made.builds.reconcile(build.key)

    assert await made.condition() == ("True", "Signed")
    assert len(await made.referrers(digest)) == 2


async def test_a_registry_that_fails_costs_no_build(tmp_path: Path) -> None:
    made = SigningBench(tmp_path, failing_at=1)
    digest = await push(made.registry, "shop/web")

    assert "it is away" in await made.builds.sign_pushed(await made.build(digest), digest)


async def test_only_what_may_pass_by_itself_is_left_to_the_work_queue(made: SigningBench) -> None:
    build = await made.build(Digest.of(b"gone"))
    conditions = ConditionWriter(made.store, lambda: NOW)

    passing = BuildError("FetchSecretFailed", "its store is away", retryable=True)
    with pytest.raises(BuildError, match="its store is away"):
        await conditions.report_fault(build, SIGNED, passing)
    assert await made.condition() == ("False", "FetchSecretFailed")

    refused = BuildError("InvalidOutputReference", "it pushes nothing")
    result = await conditions.report_fault(build, SIGNED, refused)

    assert result.requeue_after is not None
    assert await made.condition() == ("False", "InvalidOutputReference")


async def test_what_equal_inputs_had_made_is_signed_by_nobody_else(made: SigningBench) -> None:
    digest = await push(made.registry, "shop/web")
    build = await made.build(digest, TAKEN)

    await made.builds.reconcile(build.key)

    assert await made.condition() == ("False", "NotMadeHere")
    assert await made.referrers(digest) == []


async def test_an_earlier_builds_signature_counts_for_those_that_take_its_image(
    made: SigningBench,
) -> None:
    digest = await push(made.registry, "shop/web")
    await made.signing.sign(made.image(digest), DEFAULT_ACCESS)
    build = await made.build(digest, TAKEN)

    await made.builds.reconcile(build.key)

    assert await made.condition() == ("True", "Signed")


async def test_an_image_that_is_gone_stays_unsigned(made: SigningBench) -> None:
    build = await made.build(Digest.of(b"gone"))

    result = await made.builds.reconcile(build.key)

    assert result.requeue_after is None
    assert await made.condition() == ("False", "ImageGone")


async def test_others_signatures_stay_and_count_for_nothing(
    made: SigningBench, tmp_path: Path
) -> None:
    (tmp_path / "other").mkdir()
    stranger = SigningKeys(tmp_path / "other")
    digest = await push(made.registry, "shop/web")
    image = made.image(digest)
    await ImageSigning(made.attachments, KeySigner(lambda: stranger.signer)).sign(
        image, DEFAULT_ACCESS
    )
    assert not await made.signing.is_signed(image, DEFAULT_ACCESS)

    await made.signing.sign(image, DEFAULT_ACCESS)

    assert len(await made.attachments.signatures(image)) == 2
    assert await made.signing.is_signed(image, DEFAULT_ACCESS)


async def test_a_signature_of_another_image_or_name_counts_for_nothing(made: SigningBench) -> None:
    mine, other = [await push(made.registry, "shop/web", mark=mark) for mark in ("1", "2")]
    await made.signing.sign(made.image(other), DEFAULT_ACCESS)
    signed = await made.registry.find_manifest("shop/web", signature_tag(other))
    raw = await made.registry.read_manifest("shop/web", signed.digest)
    moved = ManifestPush("shop/web", raw, signed.media_type, signature_tag(mine))
    await made.registry.put_manifest(moved)

    assert not await made.signing.is_signed(made.image(mine), DEFAULT_ACCESS)


async def test_what_an_old_key_signed_stays_signed(made: SigningBench) -> None:
    digest = await push(made.registry, "shop/web")
    await made.signing.sign(made.image(digest), DEFAULT_ACCESS)
    made.keys.rotate()

    assert await made.signing.is_signed(made.image(digest), DEFAULT_ACCESS)
    await made.signing.sign(made.image(digest), DEFAULT_ACCESS)
    assert len(await made.attachments.signatures(made.image(digest))) == 1


async def test_packages_are_attested_once_the_image_is_signed(made: SigningBench) -> None:
    digest = await push(made.registry, "shop/web")
    build = await made.build(digest)
    await made.packages.reconcile(build.key)
    assert await made.condition(SBOM_ATTESTED) == ("", "")

    await made.builds.reconcile(build.key)
    for _ in range(2):
        await made.packages.reconcile(build.key)

    assert await made.condition(SBOM_ATTESTED) == ("True", SBOM_ATTESTED)
    image = made.image(digest)
    (statement,) = await made.signing.statements(image, PredicateType.SPDX, DEFAULT_ACCESS)
    assert "libc6" in {package["name"] for package in statement.predicate["packages"]}


async def test_an_image_without_known_packages_has_no_sbom(made: SigningBench) -> None:
    digest = await push(made.registry, "shop/web")
    build = await made.build(digest)
    await made.builds.reconcile(build.key)
    made.reader.error = InventoryFailedError("the worker was killed")
    with pytest.raises(InventoryFailedError):
        await made.packages.reconcile(build.key)

    made.reader.error = InventoryError("its database is damaged")
    await made.packages.reconcile(build.key)

    assert await made.condition(SBOM_ATTESTED) == ("False", "NoPackages")
    image = made.image(digest)
    assert await made.signing.statements(image, PredicateType.SPDX, DEFAULT_ACCESS) == []
