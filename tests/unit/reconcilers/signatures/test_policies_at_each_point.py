"""Image policies at imports, builds, rollouts and promotions: what they keep out, and what not."""

from dataclasses import replace
from pathlib import Path

import pytest
from tests.support.builds.memory_builds import (
    INTERNAL,
    NAMESPACE,
    VENDOR,
    BuildMachine,
    docker_build,
    image_stream,
    imported,
    push,
    stream_key,
)
from tests.support.promotion.reconciled_pipeline import ReconciledPipeline, image
from tests.support.registry.memory import RegistryInMemory
from tests.support.registry.signed_images import (
    CosignKey,
    add_evidence,
    cluster_policy,
    image_judge,
    namespace_policy,
    push_signature,
)
from tests.support.rollouts.memory_machine import BETTER, GOOD, RolloutSetup
from tests.unit.reconcilers.builds.test_builds import until_phase, until_reason
from tests.unit.reconcilers.rollouts.test_rollouts_deployment import (
    KEY as WORKLOAD,
)
from tests.unit.reconcilers.rollouts.test_rollouts_deployment import (
    change,
    condition,
    deployment,
    rolled_out,
)

from upwell.actions.promotion import PromotionActions
from upwell.api.builds.build import BuildPhase
from upwell.api.image_policies.policy import ClusterImagePolicy, PolicyPoint
from upwell.formats.attachment_tags import signature_tag
from upwell.oci import Digest, Reference
from upwell.policy.images.registry_webhooks import PushNotice
from upwell.policy.promotion.requests import Asked
from upwell.reconcilers.images.image_streams import ImageStreams
from upwell.reconcilers.signatures.questions import ImagePolicyError, ImageQuestion
from upwell.registry.errors import RegistryUnavailableError
from upwell.registry.routed import RoutedRegistry

KEY = CosignKey()


@pytest.fixture
def machine(tmp_path: Path) -> BuildMachine:
    machine = BuildMachine(tmp_path)
    registries = RoutedRegistry(machine.internal, machine.vendor)
    machine.policies = image_judge(machine.store, registries, machine.clock, INTERNAL)
    return machine


async def sign(machine: BuildMachine, digest: Digest) -> None:
    signature = KEY.signature_blob(f"{VENDOR}/debian", digest)
    await push_signature(machine.vendor.registry, "debian", digest, signature)


@pytest.fixture
async def streams(machine: BuildMachine) -> ImageStreams:
    """A stream whose tag has a signed image, which a policy asks for."""
    await machine.store.create(cluster_policy("signed", KEY.spec(VENDOR)))
    tag = imported("11", f"{VENDOR}/debian:11", scheduled=True)
    await machine.store.create(image_stream("debian", tag))
    await sign(machine, await push(machine.vendor.registry, "debian:11", "old"))
    streams = machine.streams()
    await streams.reconcile(stream_key("debian"))
    return streams


async def test_an_import_keeps_the_last_signed_image_until_the_new_one_is_signed(
    machine: BuildMachine, streams: ImageStreams
) -> None:
    old = (await machine.history("debian", "11")).latest
    assert old is not None
    new = await push(machine.vendor.registry, "debian:11", "new")
    machine.clock.advance(3600)
    await streams.reconcile(stream_key("debian"))

    history = await machine.history("debian", "11")
    assert history.latest == old
    (failed,) = history.conditions
    assert (failed.status, failed.reason) == ("False", "ImagePolicyNotSatisfied")
    assert "does not satisfy ClusterImagePolicy signed: it has no signature" in failed.message

    await sign(machine, new)
    await streams.note([PushNotice("", "debian", signature_tag(new))])
    await streams.reconcile(stream_key("debian"))

    history = await machine.history("debian", "11")
    assert history.latest is not None
    assert history.latest.image == str(new)
    assert history.conditions == ()


async def test_what_a_tag_has_already_stays_when_a_policy_comes(
    machine: BuildMachine, streams: ImageStreams
) -> None:
    other = CosignKey()
    await machine.store.create(cluster_policy("stricter", other.spec(f"{VENDOR}/debian")))
    machine.clock.advance(3600)
    await streams.reconcile(stream_key("debian"))
    history = await machine.history("debian", "11")
    assert history.latest is not None
    assert history.conditions == ()


async def test_a_build_upon_an_unsigned_base_waits_before_anything_is_pulled(
    machine: BuildMachine,
) -> None:
    await machine.store.create(cluster_policy("signed", KEY.spec(VENDOR, at=("build",))))
    await machine.store.create(image_stream("app"))
    base = await push(machine.vendor.registry, "debian:11", "base")
    build = docker_build(dockerfile=f"FROM {VENDOR}/debian@{base}\n")
    await machine.store.create(build)
    async with machine.building():
        waiting = await until_reason(machine, build.name, "ImagePolicyNotSatisfied")
        assert waiting.status.phase is BuildPhase.NEW
        assert waiting.status.retry_time is not None
        assert "it has no signature" in (waiting.status.message or "")
        assert f"upstream/{VENDOR}/debian" not in await machine.internal.repositories()
        await sign(machine, base)
        machine.clock.advance(600)
    async with machine.building():
        await until_phase(machine, build.name, BuildPhase.COMPLETE)


async def test_a_build_that_waits_is_woken_by_the_signature(
    machine: BuildMachine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("upwell.reconcilers.builds.builds.FIRST_RETRY_SECONDS", 600.0)
    await machine.store.create(cluster_policy("signed", KEY.spec(VENDOR, at=("build",))))
    await machine.store.create(image_stream("app"))
    base = await push(machine.vendor.registry, "debian:11", "base")
    build = docker_build(dockerfile=f"FROM {VENDOR}/debian@{base}\n")
    await machine.store.create(build)
    async with machine.building() as builds:
        machine.policies.on_signed.append(builds.retry_refused)
        waiting = await until_reason(machine, build.name, "ImagePolicyNotSatisfied")
        assert waiting.status.retry_time is not None
        await sign(machine, base)
        machine.policies.note_signed(signature_tag(base))
        done = await until_phase(machine, build.name, BuildPhase.COMPLETE)
        assert done.status.attempts == 2


async def test_a_build_is_warned_in_its_log(machine: BuildMachine) -> None:
    spec = KEY.spec(VENDOR, mode="warn")
    await machine.store.create(namespace_policy(NAMESPACE, "tried", spec))
    await machine.store.create(image_stream("app"))
    base = await push(machine.vendor.registry, "debian:11", "base")
    build = docker_build(dockerfile=f"FROM {VENDOR}/debian@{base}\n")
    stored = await machine.store.create(build)
    async with machine.building():
        await until_phase(machine, build.name, BuildPhase.COMPLETE)
        log = machine.logs.tail(stored.uid, 50)
    assert f"would not satisfy ImagePolicy {NAMESPACE}/tried: it has no signature" in log


async def judged_rollouts() -> RolloutSetup:
    """Return a Deployment of GOOD, which nobody has signed, and a policy that comes after it."""
    setup = RolloutSetup()
    setup.policies = image_judge(setup.store, setup.registry, setup.clock)
    setup.restart()
    await rolled_out(setup)
    await setup.store.create(cluster_policy("signed", KEY.spec("registry.test")))
    return setup


async def test_a_rollout_begins_when_its_image_is_signed_and_what_runs_goes_on() -> None:
    setup = await judged_rollouts()
    await change(setup, deployment(BETTER))
    for _ in range(3):
        await setup.reconcile(WORKLOAD)
    progressing = await condition(setup, "Progressing")
    assert progressing.reason == "ImagePolicyNotSatisfied"
    assert f"image {BETTER} does not satisfy" in progressing.message
    assert setup.runtime.images() == [GOOD]

    (name,) = [one.name for one in await setup.runtime.instances()]
    setup.runtime.end(name)
    for _ in range(5):
        await setup.reconcile(WORKLOAD)
    assert setup.runtime.images() == [GOOD]  # an instance that ended comes back

    better = Reference.parse(BETTER)
    assert better.digest is not None
    add_evidence(setup.registry, better, [KEY.signature_blob(better.name, better.digest)])
    setup.policies.note_signed(signature_tag(better.digest))
    await setup.settle(WORKLOAD)
    assert setup.runtime.images() == [BETTER]


async def test_a_registry_that_is_down_begins_nothing_and_ends_nothing() -> None:
    setup = await judged_rollouts()
    setup.registry.failure = RegistryUnavailableError("registry.test", "it is away")
    await change(setup, deployment(BETTER))
    for _ in range(3):
        await setup.reconcile(WORKLOAD)
    assert (await condition(setup, "Progressing")).reason == "ImagePolicyNotChecked"
    assert setup.runtime.images() == [GOOD]


async def judged_pipeline(**enforcement: object) -> tuple[ReconciledPipeline, RegistryInMemory]:
    """Return a Pipeline whose first Release is everywhere, and a policy of its last stage."""
    pipelines, registry = ReconciledPipeline(), RegistryInMemory()
    pipelines.policies = image_judge(pipelines.store, registry, pipelines.clock)
    pipelines.restart()
    await pipelines.pipeline({"name": "dev"}, {"name": "production"})
    await pipelines.push("one")
    await pipelines.settle()
    spec = KEY.spec("*", at=("promotion",), stages=("production",))
    changed = spec.enforcement.model_copy(update=enforcement)
    await pipelines.store.create(
        cluster_policy("signed", spec.model_copy(update={"enforcement": changed}))
    )
    await pipelines.push("two")
    await pipelines.settle()
    return pipelines, registry


async def test_a_release_is_promoted_when_its_images_are_signed() -> None:
    pipelines, registry = await judged_pipeline()
    assert (await pipelines.phases())["shop-2.dev"] == "Succeeded"
    waiting = await pipelines.promotion("shop-2.production")
    assert waiting.status.phase.value == "Waiting"
    assert "ClusterImagePolicy signed: it has no signature" in waiting.status.message

    two = Reference.parse(image("two"))
    assert two.digest is not None
    add_evidence(registry, two, [KEY.signature_blob(two.name, two.digest)])
    pipelines.policies.note_signed(signature_tag(two.digest))
    await pipelines.settle()
    assert await pipelines.running("production-shop") == image("two")


async def test_a_policy_that_only_warns_holds_no_promotion() -> None:
    pipelines, _ = await judged_pipeline(mode="warn")
    assert await pipelines.running("production-shop") == image("two")
    (policy,) = (await pipelines.store.list(ClusterImagePolicy)).items
    found = [(one.image, one.at, one.reason) for one in policy.status.findings]
    assert found == [(image("two"), "promotion", "NotSigned")]


async def test_an_emergency_goes_past_a_policy_with_its_own_images_alone() -> None:
    pipelines, _ = await judged_pipeline(at=(), stages=())
    actions = PromotionActions(pipelines.store, pipelines.clock)
    asked = Asked("production", "ada", release="shop-2", bypass="it burns")
    await actions.promote("shop", "shop", asked)
    await pipelines.settle()
    assert await pipelines.running("production-shop") == image("one")  # a bypass alone does not

    past = replace(asked, past_image_policies=True)
    made = (await actions.promote("shop", "shop", past)).promotion
    two = Reference.parse(image("two"))
    assert made.spec.past_image_policies == (str(two.digest),)
    question = ImageQuestion(two, "shop", PolicyPoint.ROLLOUT)
    with pytest.raises(ImagePolicyError):  # it has not begun
        await pipelines.policies.require(question)
    await pipelines.settle()
    assert await pipelines.running("production-shop") == image("two")

    [told] = await pipelines.policies.require(question)
    assert "it was let past them by ada with Promotion" in told
    assert "it burns" in told
    three = Reference.parse(image("three"))
    for other in (
        ImageQuestion(three, "shop", PolicyPoint.ROLLOUT),
        ImageQuestion(two, "bank", PolicyPoint.ROLLOUT),
        ImageQuestion(two, "shop", PolicyPoint.BUILD),
        ImageQuestion(two, "shop", PolicyPoint.IMPORT),
    ):
        with pytest.raises(ImagePolicyError):
            await pipelines.policies.require(other)
    await pipelines.push("three")
    await pipelines.settle()
    assert await pipelines.running("production-shop") == image("two")
