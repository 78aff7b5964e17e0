"""The judge of images: what it asks, what it remembers, and what it writes down."""

import asyncio
import json
from datetime import timedelta

import pytest
from tests.support.registry.memory import RegistryInMemory
from tests.support.registry.origins import STREAM, StreamInMemory
from tests.support.registry.referrers import referrer_manifest
from tests.support.registry.signed_images import (
    PROVENANCE,
    CosignKey,
    add_evidence,
    add_manifest,
    cluster_policy,
    image_judge,
    namespace_policy,
)
from tests.support.rollouts.memory_machine import MemoryClock
from tests.support.workload.waiting import eventually

from upwell.api.image_policies.policy import (
    AttestationRequirement,
    ClusterImagePolicy,
    ImagePolicy,
    ImagePolicyResource,
    PolicyPoint,
)
from upwell.formats.attachment_tags import signature_tag
from upwell.formats.sigstore import Blob, signature_manifest
from upwell.formats.sigstore.artifacts import SIGNATURE_TYPE
from upwell.oci import Descriptor, Digest, Manifest, Reference, parse_manifest
from upwell.policy.signatures.findings import MAX_PASSED
from upwell.policy.signatures.judgement import ImageJudgement, PolicyVerdict
from upwell.policy.signatures.verification import VERIFIED, Verdict, VerdictReason
from upwell.reconcilers.signatures.findings import DeferredPasses, FindingRecorder
from upwell.reconcilers.signatures.questions import (
    ImagePolicyError,
    ImagePolicyUnknownError,
    ImageQuestion,
)
from upwell.registry.attachments.reader import (
    MAX_ATTESTATION_BYTES,
    MAX_SIGNATURES,
    AttachmentReader,
)
from upwell.registry.errors import RegistryUnavailableError
from upwell.registry.interface import PushEvent, RequestAccess
from upwell.store.memory import MemoryStore

KEY, STRANGER = CosignKey(), CosignKey()
CONFIG = {"mediaType": "application/vnd.oci.image.config.v1+json", "size": 2}


def app_manifest(mark: str = "app") -> Manifest:
    config = {**CONFIG, "digest": str(Digest.of(mark.encode()))}
    raw = json.dumps({"schemaVersion": 2, "config": config, "layers": []}).encode()
    found = parse_manifest(raw)
    assert isinstance(found, Manifest)
    return found


APP = app_manifest()
IMAGE = Reference.parse(f"registry.test/team/app@{APP.digest}")
SIGNATURE = KEY.signature_blob(IMAGE.name, APP.digest)


class PolicySetup:
    """A judge, a store of policies, and the registry that it asks."""

    def __init__(self) -> None:
        self.clock = MemoryClock()
        self.store = MemoryStore(self.clock)
        self.images = RegistryInMemory(APP)
        self.judge = image_judge(self.store, self.images, self.clock)

    async def reason(
        self, point: PolicyPoint = PolicyPoint.ROLLOUT, namespace: str = "shop"
    ) -> VerdictReason | None:
        """Return the first verdict; None: no policy is about the image."""
        found = await self.judge.judge(ImageQuestion(IMAGE, namespace, point))
        return found.verdicts[0].verdict.reason if found.verdicts else None

    async def findings(self, kind: type[ImagePolicyResource] = ClusterImagePolicy) -> list[str]:
        (policy,) = (await self.store.list(kind)).items
        return [f"{one.at} {one.reason}" for one in policy.status.findings]


@pytest.fixture
def setup() -> PolicySetup:
    return PolicySetup()


async def test_without_a_policy_nothing_is_asked(setup: PolicySetup) -> None:
    assert await setup.reason() is None
    await setup.store.create(cluster_policy("signed", KEY.spec("elsewhere.test")))
    assert await setup.reason() is None
    assert setup.images.asked == 0


async def test_a_signature_is_found_by_its_tag_and_remembered(setup: PolicySetup) -> None:
    await setup.store.create(cluster_policy("signed", KEY.spec("registry.test")))
    add_evidence(setup.images, IMAGE, [SIGNATURE])
    assert await setup.reason() is VerdictReason.VERIFIED
    asked = setup.images.asked
    assert await setup.reason(namespace="bank") is VerdictReason.VERIFIED
    setup.images.tagged.clear()
    assert await setup.reason() is VerdictReason.VERIFIED
    assert setup.images.asked <= 2 * asked


async def test_what_a_usual_signature_is_of_is_known_by_its_digest(setup: PolicySetup) -> None:
    await setup.store.create(cluster_policy("signed", KEY.spec("registry.test")))
    add_evidence(setup.images, IMAGE, [SIGNATURE])
    setup.images.blobs.clear()
    assert await setup.reason() is VerdictReason.VERIFIED
    assert setup.images.asked == 1
    assert len(setup.images.fetched) == 1


async def test_a_signature_is_found_among_the_referrers(setup: PolicySetup) -> None:
    await setup.store.create(cluster_policy("signed", KEY.spec("registry.test")))
    described = Descriptor(APP.media_type, APP.digest, len(APP.raw))
    artifact = signature_manifest(described, [SIGNATURE])
    raw = json.loads(artifact.manifest.raw) | {"artifactType": SIGNATURE_TYPE}
    manifest = parse_manifest(json.dumps(raw).encode())
    assert isinstance(manifest, Manifest)
    add_manifest(setup.images, manifest, artifact.blobs)
    assert await setup.reason() is VerdictReason.VERIFIED


async def test_a_signature_that_comes_later_is_asked_for_again(setup: PolicySetup) -> None:
    await setup.store.create(cluster_policy("signed", KEY.spec("registry.test")))
    woken: list[bool] = []
    setup.judge.on_signed.append(lambda: woken.append(True))
    with pytest.raises(ImagePolicyError, match="ClusterImagePolicy signed: it has no signature"):
        await setup.judge.require(ImageQuestion(IMAGE, "shop", PolicyPoint.ROLLOUT))
    asked = setup.images.asked
    assert await setup.reason() is VerdictReason.NOT_SIGNED
    assert setup.images.asked == asked  # for a while, the answer stands
    assert await setup.findings() == ["rollout NotSigned"]

    add_evidence(setup.images, IMAGE, [SIGNATURE])
    pushed = PushEvent("team/app", "latest", APP.digest, "", "somebody")
    setup.judge.note_push(pushed)
    assert not woken
    tag = signature_tag(APP.digest)
    setup.judge.note_push(PushEvent("team/app", tag, Digest.of(b"signature"), "", "somebody"))

    assert woken
    assert await setup.reason() is VerdictReason.VERIFIED
    assert await setup.findings() == []


async def test_a_changed_policy_is_asked_anew(setup: PolicySetup) -> None:
    policy = await setup.store.create(cluster_policy("signed", KEY.spec("registry.test")))
    add_evidence(setup.images, IMAGE, [SIGNATURE])
    assert await setup.reason() is VerdictReason.VERIFIED
    changed = policy.model_copy(update={"spec": STRANGER.spec("registry.test")})
    current = await setup.store.get(ClusterImagePolicy, "", "signed")
    version = current.resource_version
    await setup.store.update(changed.with_metadata(resource_version=version))
    assert await setup.reason() is VerdictReason.NOT_TRUSTED


async def test_what_cannot_be_asked_is_not_allowed_and_said_to_be_open(
    setup: PolicySetup,
) -> None:
    await setup.store.create(cluster_policy("signed", KEY.spec("registry.test")))
    setup.images.failure = RegistryUnavailableError("registry.test", "connection refused")
    with pytest.raises(ImagePolicyUnknownError, match="cannot be checked"):
        await setup.judge.require(ImageQuestion(IMAGE, "shop", PolicyPoint.ROLLOUT))
    assert await setup.findings() == ["rollout NotChecked"]


async def test_a_policy_that_only_warns_lets_everything_through_and_tells(
    setup: PolicySetup,
) -> None:
    await setup.store.create(cluster_policy("signed", KEY.spec("registry.test", mode="warn")))
    warnings = await setup.judge.require(ImageQuestion(IMAGE, "shop", PolicyPoint.BUILD))
    assert ["would not satisfy ClusterImagePolicy signed" in one for one in warnings] == [True]
    assert await setup.findings() == ["build NotSigned"]


async def test_a_namespace_asks_for_more_than_the_cluster_and_for_no_less(
    setup: PolicySetup,
) -> None:
    await setup.store.create(cluster_policy("signed", KEY.spec("registry.test")))
    lax = STRANGER.spec("registry.test/team/app", mode="warn")
    await setup.store.create(namespace_policy("shop", "own", lax))
    with pytest.raises(ImagePolicyError):
        await setup.judge.require(ImageQuestion(IMAGE, "shop", PolicyPoint.ROLLOUT))
    add_evidence(setup.images, IMAGE, [SIGNATURE])
    setup.judge.note_signed(signature_tag(APP.digest))
    await setup.judge.require(ImageQuestion(IMAGE, "shop", PolicyPoint.ROLLOUT))
    own = await setup.store.get(ImagePolicy, "shop", "own")
    strict = own.model_copy(update={"spec": STRANGER.spec("registry.test")})
    await setup.store.update(strict)
    with pytest.raises(ImagePolicyError, match="ImagePolicy shop/own"):
        await setup.judge.require(ImageQuestion(IMAGE, "shop", PolicyPoint.ROLLOUT))
    await setup.judge.require(ImageQuestion(IMAGE, "bank", PolicyPoint.ROLLOUT))


async def test_attestations_are_read_when_a_policy_asks_for_them(setup: PolicySetup) -> None:
    wanted = AttestationRequirement(predicate_type=PROVENANCE, builder="https://upwell\\.test")
    spec = KEY.spec("registry.test", attestations=(wanted,))
    await setup.store.create(cluster_policy("built", spec))
    predicate = {"runDetails": {"builder": {"id": "https://upwell.test"}}}
    attestation = KEY.attestation_blob(APP.digest, PROVENANCE, predicate)
    add_evidence(setup.images, IMAGE, [SIGNATURE])
    assert await setup.reason() is VerdictReason.NOT_ATTESTED
    add_evidence(setup.images, IMAGE, [SIGNATURE], [attestation])
    setup.judge.note_signed(signature_tag(APP.digest))
    assert await setup.reason() is VerdictReason.VERIFIED


async def test_a_trial_is_neither_remembered_nor_written_down(setup: PolicySetup) -> None:
    await setup.store.create(cluster_policy("signed", KEY.spec("registry.test")))
    add_evidence(setup.images, IMAGE, [SIGNATURE])
    spec = STRANGER.spec("*")
    question = ImageQuestion(IMAGE, "shop", PolicyPoint.ROLLOUT, trial=spec, quiet=True)
    judgement = await setup.judge.judge(question)
    assert not judgement.allowed
    assert await setup.findings() == []
    assert await setup.reason() is VerdictReason.VERIFIED


async def test_a_thousand_referrers_and_large_attestations_cost_little(
    setup: PolicySetup,
) -> None:
    wanted = AttestationRequirement(predicate_type=PROVENANCE)
    await setup.store.create(
        cluster_policy("built", KEY.spec("registry.test", attestations=(wanted,)))
    )
    large = Blob("application/vnd.dsse.envelope.v1+json", b"x" * 1024 * 1024)
    layers = tuple(
        {"mediaType": large.media_type, "digest": str(large.descriptor.digest), "size": size}
        for size in (len(large.content), MAX_ATTESTATION_BYTES + 1, 2**40)
    )
    for number in range(1000):
        noise = referrer_manifest(APP, SIGNATURE_TYPE, (*layers, {**layers[0], "size": number}))
        add_manifest(setup.images, noise, [large])
    add_evidence(setup.images, IMAGE, [SIGNATURE])

    assert await setup.reason() is VerdictReason.NOT_ATTESTED
    assert len(setup.images.fetched) < 50


async def test_images_of_a_deaf_registry_hold_up_their_own_namespace_alone(
    setup: PolicySetup, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_evidence(setup.images, IMAGE, [SIGNATURE])
    await setup.store.create(cluster_policy("signed", KEY.spec("*")))
    answer, asked_in_vain = setup.images.resolve, asyncio.Event()

    async def resolve(reference: Reference, access: RequestAccess) -> Descriptor:
        if reference.registry == "deaf.test":
            asked_in_vain.set()
            await asyncio.Event().wait()
        return await answer(reference, access)

    monkeypatch.setattr(setup.images, "resolve", resolve)

    def ask(name: str, namespace: str) -> asyncio.Task[ImageJudgement]:
        image = Reference.parse(f"{name}@{APP.digest}")
        question = ImageQuestion(image, namespace, PolicyPoint.ROLLOUT)
        return asyncio.create_task(setup.judge.judge(question))

    hanging = [ask(f"deaf.test/a/{number}", "mallory") for number in range(20)]
    await asked_in_vain.wait()
    hanging.append(ask(IMAGE.name, "mallory"))  # it waits for its turn with the image of others
    await asyncio.sleep(0)
    async with asyncio.timeout(20):
        assert (await ask(IMAGE.name, "shop")).allowed
    assert not any(one.done() for one in hanging)
    for one in hanging:
        one.cancel()
    await asyncio.gather(*hanging, return_exceptions=True)


async def test_of_very_many_small_attestations_a_few_are_looked_at(setup: PolicySetup) -> None:
    wanted = AttestationRequirement(predicate_type=PROVENANCE)
    await setup.store.create(
        cluster_policy("built", KEY.spec("registry.test", attestations=(wanted,)))
    )
    noise = [
        STRANGER.attestation_blob(APP.digest, PROVENANCE, {"n": number}) for number in range(200)
    ]
    add_evidence(setup.images, IMAGE, [SIGNATURE], noise)
    reader = AttachmentReader(setup.images)
    found = [one async for one in reader.readings(IMAGE, frozenset({PROVENANCE}))]
    assert len(found[-1].attestations) == MAX_SIGNATURES
    assert await setup.reason() is VerdictReason.NOT_ATTESTED


async def test_the_findings_of_a_policy_keep_their_time(setup: PolicySetup) -> None:
    await setup.store.create(cluster_policy("signed", KEY.spec("registry.test")))
    await setup.reason()
    (before,) = (await setup.store.list(ClusterImagePolicy)).items
    setup.clock.advance(timedelta(hours=1).total_seconds())
    await setup.reason()
    (after,) = (await setup.store.list(ClusterImagePolicy)).items
    assert after == before


async def test_an_image_of_a_stream_is_judged_as_what_it_was_imported_from(
    setup: PolicySetup,
) -> None:
    await setup.store.create(cluster_policy("signed", KEY.spec("registry.test")))
    internal = "registry.internal:5000"
    own = Reference.parse(f"{internal}/{STREAM}@{APP.digest}")
    origins = StreamInMemory(origins={APP.digest: IMAGE})
    judge = image_judge(setup.store, setup.images, setup.clock, internal, origins)
    question = ImageQuestion(own, "shop", PolicyPoint.ROLLOUT)
    with pytest.raises(ImagePolicyError):
        await judge.require(question)
    add_evidence(setup.images, IMAGE, [SIGNATURE])
    judge.note_signed(signature_tag(APP.digest))
    await judge.require(question)


async def test_images_that_pass_are_named_and_none_is_written_again_that_a_status_forgot(
    setup: PolicySetup,
) -> None:
    await setup.store.create(cluster_policy("signed", KEY.spec("*")))
    images = []
    for number in range(MAX_PASSED + 5):
        manifest = app_manifest(f"app-{number}")
        image = Reference.parse(f"registry.test/team/app@{manifest.digest}")
        setup.images.manifests[manifest.digest] = manifest
        add_evidence(setup.images, image, [KEY.signature_blob(image.name, manifest.digest)])
        images.append(image)
    for image in images:
        await setup.judge.require(ImageQuestion(image, "shop", PolicyPoint.ROLLOUT))
    (before,) = (await setup.store.list(ClusterImagePolicy)).items
    assert [one.image for one in before.status.passed] == [str(one) for one in images[:4:-1]]
    for image in images:
        await setup.judge.require(ImageQuestion(image, "shop", PolicyPoint.ROLLOUT))
    (after,) = (await setup.store.list(ClusterImagePolicy)).items
    assert after == before


async def test_what_passes_is_recorded_later_and_what_does_not_at_once(setup: PolicySetup) -> None:
    policy = await setup.store.create(cluster_policy("signed", KEY.spec("*")))
    findings = DeferredPasses(FindingRecorder(setup.store, setup.clock))
    refused = Verdict(VerdictReason.NOT_SIGNED, "it has no signature")
    points = (PolicyPoint.IMPORT, PolicyPoint.BUILD)
    for point, verdict in zip(points, (VERIFIED, VERIFIED), strict=True):
        await findings.record(PolicyVerdict(policy, verdict), str(IMAGE), point, "shop")
    assert await setup.findings() == []
    await findings.record(PolicyVerdict(policy, refused), str(IMAGE), points[0], "shop")
    assert await setup.findings() == ["import NotSigned"]

    async def passed() -> list[str]:
        (stored,) = (await setup.store.list(ClusterImagePolicy)).items
        return [one.at for one in stored.status.passed]

    running = asyncio.create_task(findings.run())
    await eventually(passed, ["build"].__eq__)
    running.cancel()
    assert await setup.findings() == ["import NotSigned"]
