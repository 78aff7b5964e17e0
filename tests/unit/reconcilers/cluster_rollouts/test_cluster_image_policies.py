"""Image policies on a cluster: what they keep out is not set, and what runs goes on."""

import pytest
from tests.support.cluster.workloads import PLACEHOLDER, image, move_tag, workload
from tests.support.registry.memory import RegistryInMemory
from tests.support.registry.signed_images import (
    CosignKey,
    add_evidence,
    cluster_policy,
    image_judge,
    namespace_policy,
)
from tests.unit.reconcilers.cluster_rollouts.test_cluster_rollouts import (
    ClusterSetup,
    at_good,
    image_of,
)
from tests.unit.reconcilers.cluster_rollouts.test_deployment_configs import (
    ConfigSetup,
    config,
    reason,
)

from upwell.api.apps import Deployment
from upwell.formats.attachment_tags import signature_tag
from upwell.oci import Reference
from upwell.policy.cluster_rollouts.observation import NATIVE_WORKLOADS, NativeWorkload
from upwell.reconcilers.cluster_rollouts.image_policies import RolloutPolicies
from upwell.reconcilers.signatures.policies import ImagePolicies
from upwell.reconcilers.signatures.questions import ImagePolicyError
from upwell.registry.errors import RegistryUnavailableError

KEY = CosignKey()


class JudgedCluster:
    """A cluster's workloads, with the registry where their images may be signed."""

    def __init__(self) -> None:
        self.setup = ClusterSetup()
        self.registry = RegistryInMemory()
        self.judge = image_judge(self.setup.store, self.registry, self.setup.clock)
        self.setup.policies = RolloutPolicies(self.judge)
        self.setup.reconciler = self.setup.restarted()

    async def restrict(self, *at: str) -> None:
        """Ask for signatures of all images."""
        spec = KEY.spec("registry.test", at=at)
        await self.setup.store.create(cluster_policy("signed", spec))

    def sign(self, version: str) -> None:
        sign(self.judge, self.registry, version)


def sign(judge: ImagePolicies, registry: RegistryInMemory, version: str) -> None:
    reference = Reference.parse(image(version))
    assert reference.digest is not None
    add_evidence(registry, reference, [KEY.signature_blob(reference.name, reference.digest)])
    judge.note_signed(signature_tag(reference.digest))


@pytest.fixture
def judged() -> JudgedCluster:
    return JudgedCluster()


@pytest.mark.parametrize("kind", NATIVE_WORKLOADS)
async def test_a_workload_gets_its_image_once_it_is_signed(
    judged: JudgedCluster, kind: type[NativeWorkload]
) -> None:
    setup = judged.setup
    await judged.restrict("rollout")
    stored = await setup.store.create(workload(kind))
    await move_tag(setup.store, "good")
    assert image_of(await setup.roll(stored)) == PLACEHOLDER
    assert setup.cluster.writes == 0
    told = setup.cluster.told[-1]
    assert told.reason == "ImagePolicyNotSatisfied"
    assert told.is_warning
    assert "does not satisfy ClusterImagePolicy signed: it has no signature" in told.message
    assert image("good") in told.message
    waiting = setup.reconciler.kept_back[stored.key]
    assert waiting.reason.value == "ImagePolicyNotSatisfied"

    judged.sign("good")
    assert image_of(await setup.roll(stored)) == image("good")
    assert stored.key not in setup.reconciler.kept_back


async def test_what_a_policy_keeps_out_is_asked_about_ever_later(judged: JudgedCluster) -> None:
    setup = judged.setup
    await judged.restrict()
    stored = await setup.store.create(workload(Deployment))
    await move_tag(setup.store, "good")
    pauses = [(await setup.reconcile(stored.key)).requeue_after or 0 for _ in range(12)]
    assert 0 < pauses[0] <= 2
    assert 100 <= pauses[-1] <= 300
    assert setup.reasons == ["ImagePolicyNotSatisfied"]


async def test_what_runs_goes_on_and_what_ran_before_comes_back(judged: JudgedCluster) -> None:
    setup = judged.setup
    stored = await at_good(setup, Deployment)
    await move_tag(setup.store, "better")
    await setup.finish(await setup.roll(stored))
    await judged.restrict()

    await move_tag(setup.store, "worse")
    assert image_of(await setup.roll(stored)) == image("better")
    await move_tag(setup.store, "good")
    assert image_of(await setup.roll(stored)) == image("good")


async def test_a_registry_that_is_away_sets_nothing(judged: JudgedCluster) -> None:
    setup = judged.setup
    stored = await at_good(setup, Deployment)
    await judged.restrict()
    judged.registry.failure = RegistryUnavailableError("registry.test", "it is away")
    await move_tag(setup.store, "better")
    assert image_of(await setup.roll(stored)) == image("good")
    assert setup.reasons[-1] == "ImagePolicyNotChecked"


async def test_policies_of_other_points_and_namespaces_keep_nothing_out(
    judged: JudgedCluster,
) -> None:
    setup = judged.setup
    await judged.restrict("import", "build", "promotion")
    await setup.store.create(namespace_policy("bank", "signed", KEY.spec("registry.test")))
    stored = await setup.store.create(workload(Deployment))
    await move_tag(setup.store, "good")
    assert image_of(await setup.roll(stored)) == image("good")


async def test_a_deployment_config_begins_no_revision_of_an_image_that_is_kept_out() -> None:
    setup, registry = ConfigSetup(), RegistryInMemory()
    setup.policies = RolloutPolicies(image_judge(setup.store, registry, setup.clock))
    setup.lead()
    await setup.store.create(config(image("good")))
    await setup.roll()
    before = await setup.sizes()
    await setup.store.create(cluster_policy("signed", KEY.spec("registry.test")))

    await setup.change(config(image("better")))
    with pytest.raises(ImagePolicyError, match="it has no signature"):
        await setup.reconcile()
    assert reason(await setup.read()) == "ImagePolicyNotSatisfied"
    assert await setup.sizes() == before

    await setup.change(config(image("good")))  # it has run before
    await setup.roll()
    sign(setup.policies.judge, registry, "better")
    await setup.change(config(image("better")))
    await setup.roll()
    assert len(await setup.sizes()) == 2
